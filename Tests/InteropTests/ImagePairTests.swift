import Foundation
import HTTPTransport
import OCIRegistry
import SigstoreCrypto
import StrictJSON
import TestServices
import Testing

/// Images that one tool signs or attests with a key, and the others verify.
@Suite(.needsPeers)
struct ImagePairTests {
    enum Action: String, CaseIterable, Sendable { case sign, attest }
    enum Scheme: String, CaseIterable, Sendable { case newer, older }

    /// A registry of one kind, and the images in it.
    final class Images: Sendable {
        let address: String
        private let running: RegistryFixture
        let place: Workplace

        init(_ kind: RegistryKind) async throws {
            running = try await RegistryFixture(kind)
            address = try #require(running.address)
            place = try Workplace()
            for key in ["key", "stranger"] {
                try await place.must(Tool.swsign.program, ["generate-key-pair", "--output-key-prefix", key])
            }
            try await place.must(Tool.cosign3.program, ["signing-config", "create", "--out", "none.json"])
            try place.write(#"{"builder":{"id":"tests"},"buildType":"tested"}"#, to: "predicate")
        }

        var store: RegistryClient {
            get throws {
                var options = RegistryOptions()
                options.credentials = CredentialStore(environment: { _ in nil })
                return Registries(CurlClient(), options).client(for: try Repository(parsing: "\(address)/team/app"))
            }
        }

        func name(_ manifest: Manifest) -> String { "\(address)/team/app@\(manifest.digest)" }

        func push(_ text: String, tag: String? = nil) async throws -> Manifest {
            try await store.pushImage(text, tag: tag)
        }

        /// Pushes an index of two images.
        func pushIndex(_ text: String) async throws -> (index: Manifest, images: [Manifest]) {
            var images: [Manifest] = []
            var descriptors: [Descriptor] = []
            for architecture in ["amd64", "arm64"] {
                let image = try await push("\(text) for \(architecture)")
                images.append(image)
                var descriptor = image.descriptor
                descriptor.platform = Platform(os: "linux", architecture: architecture)
                descriptors.append(descriptor)
            }
            let index = try ImageIndex(manifests: descriptors).encoded()
            try await store.putManifest(index, tag: nil)
            return (index, images)
        }

        /// Signs or attests; `nil` where the tool cannot.
        func make(_ action: Action, _ scheme: Scheme, by tool: Tool, _ image: String, flags: [String] = []) async throws
            -> Workplace.Outcome?
        {
            var arguments = [action.rawValue, "--yes", "--key", "key.key"] + flags
            if action == .attest { arguments += ["--type", "slsaprovenance", "--predicate", "predicate"] }
            switch (tool, scheme) {
            case (.swsign, .newer), (.cosign2, .older): arguments += ["--tlog-upload=false"]
            case (.swsign, .older): arguments += ["--tlog-upload=false", "--new-bundle-format=false"]
            case (.cosign2, .newer):
                // cosign 2.5 writes bundles for attestations only.
                guard action == .attest else { return nil }
                arguments += ["--tlog-upload=false", "--new-bundle-format"]
            case (.cosign3, .newer): arguments += ["--signing-config", "none.json"]
            case (.cosign3, .older):
                arguments += ["--use-signing-config=false", "--new-bundle-format=false", "--tlog-upload=false"]
            }
            return try await place.run(tool.program, arguments + [image])
        }

        func verify(
            _ action: Action, _ scheme: Scheme, by tool: Tool, _ image: String, key: String = "key",
            type: String = "slsaprovenance", flags: [String] = []
        ) async throws -> Workplace.Outcome {
            var arguments = [action == .sign ? "verify" : "verify-attestation", "--insecure-ignore-tlog"]
            arguments += ["--key", key + ".pub"] + flags
            if action == .attest { arguments += ["--type", type] }
            switch (tool, scheme) {
            case (.swsign, _), (.cosign2, .older): break
            case (.cosign2, .newer): arguments += ["--new-bundle-format", "--trusted-root", Shared.trustedRoot]
            case (.cosign3, .newer): arguments += ["--trusted-root", Shared.trustedRoot]
            case (.cosign3, .older): arguments += ["--new-bundle-format=false"]
            }
            return try await place.run(tool.program, arguments + [image])
        }

        /// Puts what stands beside one image beside another as well.
        func copySignatures(from image: Manifest, to other: Manifest) async throws {
            for descriptor in try await store.referrers(of: image.digest, artifactType: nil).descriptors {
                var copy = try #require(try await store.manifest(.digest(descriptor.digest))?.image)
                copy.subject = other.descriptor
                try await store.putReferrer(try copy.encoded())
            }
            for suffix in ["sig", "att"] {
                guard
                    let manifest = try await store.manifest(
                        try ManifestSelector(tag: "sha256-\(image.digest.hex).\(suffix)"))
                else { continue }
                try await store.putManifest(manifest, tag: "sha256-\(other.digest.hex).\(suffix)")
            }
        }
    }

    /// What cosign 2.5 says of any signature of the newer scheme: it looks for bundles of attestations only.
    static let faultOfCosign2 = "no signatures found"

    @Test(
        arguments: RegistryKind.registries,
        [(Action.sign, Scheme.newer), (.sign, .older), (.attest, .newer), (.attest, .older)])
    func eachVerifiesWhatTheOthersMade(kind: RegistryKind, what: (action: Action, scheme: Scheme)) async throws {
        let images = try await Images(kind)
        let (action, scheme) = what
        for signer in Tool.allCases {
            let image = try await images.push("by \(signer)")
            let flags = action == .sign ? ["-a", "author=\(signer)", "-a", "version=1.0.0"] : []
            guard let made = try await images.make(action, scheme, by: signer, images.name(image), flags: flags) else {
                #expect(signer == .cosign2 && action == .sign && scheme == .newer)
                continue
            }
            try #require(made.status == 0, "\(signer) does not \(action): \(made.messages)")
            for verifier in Tool.allCases {
                let cell = Comment("\(verifier) of what \(signer) made")
                let outcome = try await images.verify(action, scheme, by: verifier, images.name(image), flags: flags)
                if verifier == .cosign2, action == .sign, scheme == .newer {
                    #expect(outcome.status != 0, cell)
                    #expect(outcome.lastWords == Self.faultOfCosign2, cell)
                } else {
                    #expect(outcome.status == 0, "\(cell): \(outcome.messages)")
                }
            }
            try await refusals(of: image, action, scheme, signer, images)
        }
    }

    /// Ours refuses all of this, whoever made the signature.
    private func refusals(of image: Manifest, _ action: Action, _ scheme: Scheme, _ signer: Tool, _ images: Images)
        async throws
    {
        let name = images.name(image)
        func expect(_ status: Int32, _ what: String, _ outcome: Workplace.Outcome) {
            #expect(outcome.status == status, "\(what), by \(signer): \(outcome.messages)")
        }
        expect(12, "wrong key", try await images.verify(action, scheme, by: .swsign, name, key: "stranger"))
        if action == .sign {
            let wrong = ["-a", "version=1.0.1"]
            expect(12, "wrong annotation", try await images.verify(action, scheme, by: .swsign, name, flags: wrong))
            expect(10, "no attestation", try await images.verify(.attest, scheme, by: .swsign, name))
        } else {
            expect(12, "wrong type", try await images.verify(action, scheme, by: .swsign, name, type: "vuln"))
            expect(10, "no signature", try await images.verify(.sign, scheme, by: .swsign, name))
        }
        let other = try await images.push("not by \(signer)")
        expect(10, "another image", try await images.verify(action, scheme, by: .swsign, images.name(other)))
        try await images.copySignatures(from: image, to: other)
        expect(12, "a moved signature", try await images.verify(action, scheme, by: .swsign, images.name(other)))
    }

    @Test("Images for several platforms", arguments: RegistryKind.registries, Scheme.allCases)
    func recursive(kind: RegistryKind, scheme: Scheme) async throws {
        let images = try await Images(kind)
        for signer in Tool.allCases {
            let (index, parts) = try await images.pushIndex("by \(signer)")
            guard
                let made = try await images.make(.sign, scheme, by: signer, images.name(index), flags: ["--recursive"])
            else { continue }
            try #require(made.status == 0, "\(signer): \(made.messages)")
            let all = try await images.verify(.sign, scheme, by: .swsign, images.name(index), flags: ["--recursive"])
            #expect(all.status == 0, "\(signer): \(all.messages)")
            #expect(try JSONCursor(JSONValue(parsing: all.output)).elements().count == 3, "\(signer)")
            guard signer == .swsign else { continue }
            for verifier in [Tool.cosign2, .cosign3] where verifier == .cosign3 || scheme == .older {
                for manifest in [index] + parts {
                    let outcome = try await images.verify(.sign, scheme, by: verifier, images.name(manifest))
                    #expect(outcome.status == 0, "\(verifier): \(outcome.messages)")
                }
            }
        }
    }

    @Test("One image signed by all of them, one after the other: nothing is lost", arguments: RegistryKind.registries)
    func together(kind: RegistryKind) async throws {
        let images = try await Images(kind)
        let image = try await images.push("by all")
        let makers: [(Tool, Scheme)] = [
            (.cosign2, .older), (.cosign3, .newer), (.swsign, .older), (.swsign, .newer), (.cosign3, .older),
            (.swsign, .older), (.cosign3, .newer), (.swsign, .newer),
        ]
        for (number, (tool, scheme)) in makers.enumerated() {
            let made = try #require(
                try await images.make(.sign, scheme, by: tool, images.name(image), flags: ["-a", "number=\(number)"]))
            try #require(made.status == 0, "\(tool): \(made.messages)")
        }
        func numbers(_ tool: Tool, _ scheme: Scheme) async throws -> [String] {
            let outcome = try await images.verify(
                .sign, scheme, by: tool, images.name(image), flags: tool == .swsign ? ["--all-signatures"] : [])
            try #require(outcome.status == 0, "\(tool): \(outcome.messages)")
            return try JSONCursor(JSONValue(parsing: outcome.output)).elements()
                .map { try $0.member("optional").member("number").string() }.sorted()
        }
        #expect(try await numbers(.swsign, .newer) == ["0", "1", "2", "3", "4", "5", "6", "7"])
        #expect(try await numbers(.cosign3, .newer) == ["1", "3", "6", "7"])
        #expect(try await numbers(.cosign3, .older) == ["0", "2", "4", "5"])
        #expect(try await numbers(.cosign2, .older) == ["0", "2", "4", "5"])
    }

    @Test("While cosign signs the same image, none of our signatures is lost")
    func besideCosign() async throws {
        let images = try await Images(.dockerRegistry)
        let image = images.name(try await images.push("hello"))
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 1...4 {
                group.addTask {
                    let tool = number == 4 ? Tool.cosign3 : .swsign
                    func sign() async throws -> Workplace.Outcome? {
                        try await images.make(.sign, .newer, by: tool, image, flags: ["-a", "number=\(number)"])
                    }
                    var outcome = try await sign()
                    // docker-registry writes its files in place, and may read one that is half written. cosign gives up then.
                    for _ in 1...3
                    where tool == .cosign3 && outcome?.messages.contains("MANIFEST_BLOB_UNKNOWN") == true {
                        outcome = try await sign()
                    }
                    #expect(outcome?.status == 0, "\(outcome?.messages ?? "")")
                }
            }
            try await group.waitForAll()
        }
        let verified = try await images.verify(.sign, .newer, by: .swsign, image)
        let payloads = try JSONCursor(JSONValue(parsing: verified.output)).elements()
        let numbers = try payloads.map { try $0.member("optional").member("number").string() }
        #expect(Set(numbers).isSuperset(of: ["1", "2", "3"]), "\(numbers)")
    }

    @Test("A folder that a cosign saved an image to, with what swsign signed", arguments: [Tool.cosign2, .cosign3])
    func savedFolder(saver: Tool) async throws {
        let images = try await Images(.dockerRegistry)
        let image = try await images.push("saved", tag: "v1")
        for action in Action.allCases {
            let made = try #require(try await images.make(action, .older, by: .swsign, images.name(image)))
            try #require(made.status == 0, "\(made.messages)")
        }
        try await images.place.must(saver.program, ["save", "--dir", "saved", images.name(image)])
        for action in Action.allCases {
            for verifier in Tool.allCases {
                let outcome = try await images.verify(action, .older, by: verifier, "saved", flags: ["--local-image"])
                #expect(outcome.status == 0, "\(verifier) \(action): \(outcome.messages)")
            }
            let wrong = try await images.verify(
                action, .older, by: .swsign, "saved", key: "stranger", flags: ["--local-image"])
            #expect(wrong.status == 12, "\(wrong.messages)")
        }
    }
}

extension ImageStore {
    /// Pushes an image; the config says what it runs on, as cosign wants to know.
    func pushImage(_ text: String, tag: String? = nil) async throws -> Manifest {
        let (config, layer) = (
            try Blob(Array(#"{"architecture":"amd64","os":"linux"}"#.utf8)), try Blob(Array(text.utf8))
        )
        for blob in [config, layer] { try await putBlob(blob) }
        let manifest = try ImageManifest(
            config: Descriptor(mediaType: MediaType.imageConfig, digest: config.digest, size: config.size),
            layers: [
                Descriptor(
                    mediaType: "application/vnd.oci.image.layer.v1.tar", digest: layer.digest, size: layer.size)
            ]
        ).encoded()
        try await putManifest(manifest, tag: tag)
        return manifest
    }
}
