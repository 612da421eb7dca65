import Foundation
import LocalSigstore
import OCIRegistry
import SigstoreCrypto
import StrictJSON
import Testing

/// What registries did to others of this kind.
struct RegistryAttackTests {
    // MARK: Too much

    @Test(
        "101 signatures are refused, 100 are read (cosign CVE-2023-46737, notation CVE-2023-33957, CVE-2023-33958)",
        arguments: Scheme.allCases)
    func tooManySignatures(scheme: Scheme) async throws {
        let place = try await ImageFixture()
        let image = try await place.push()
        await place.sign(image.name, scheme: scheme).expectSuccess()
        let registry = try place.registry
        func add(upTo count: Int) async throws {
            switch scheme {
            case .older:
                let manifest = try #require(
                    try await place.store.manifest(try ManifestSelector(tag: image.tag("sig")))?.image)
                var grown = manifest
                let first = try #require(manifest.layers.first)
                while grown.layers.count < count {
                    var layer = first
                    layer.annotations["dev.cosignproject.cosign/signature"] = Base64.encode(
                        Array("\(grown.layers.count)".utf8))
                    grown.layers.append(layer)
                }
                let encoded = try grown.encoded()
                try registry.placeManifest(
                    encoded.bytes, mediaType: encoded.mediaType, tag: image.tag("sig"), in: ImageFixture.path)
            case .newer:
                let list = try await place.store.referrers(of: image.digest, artifactType: nil).descriptors
                let first = try #require(list.first)
                let manifest = try #require(try await place.store.manifest(.digest(first.digest))?.image)
                for number in list.count..<count {
                    var another = manifest
                    another.annotations["number"] = "\(number)"
                    let encoded = try another.encoded()
                    try registry.placeManifest(encoded.bytes, mediaType: encoded.mediaType, in: ImageFixture.path)
                }
            }
        }
        try await add(upTo: 100)
        let held = try await place.verify(image.name).payloads()
        #expect(held.count == (scheme == .older ? 1 : 100))
        try await add(upTo: 101)
        registry.server.forgetRequests()
        await place.verify(image.name).expectRefusal(1, "too-many-signatures", "101", "100")
        #expect(!registry.server.requests.contains { $0.target.contains("/blobs/") }, "they were fetched first")
        // Signing refuses to add one more that nobody would look at.
        if scheme == .older { await place.sign(image.name, scheme: scheme).expectRefusal(1, "too-many-signatures") }
    }

    @Test("A manifest with 1,001 layers is refused (cosign CVE-2024-29903)", arguments: Scheme.allCases)
    func tooManyLayers(scheme: Scheme) async throws {
        let place = try await ImageFixture()
        let image = try await place.push()
        let layer =
            #"{"mediaType":"\#(ImageFixture.bundleType)","digest":"\#(try Digest.sha256(Array("{}".utf8)))","size":2}"#
        let subject =
            #"{"mediaType":"\#(image.descriptor.mediaType)","digest":"\#(image.digest)","size":\#(image.descriptor.size)}"#
        let manifest =
            #"{"schemaVersion":2,"mediaType":"\#(MediaType.imageManifest)","config":\#(layer),"layers":["#
            + Array(repeating: layer, count: 1001).joined(separator: ",") + #"],"subject":\#(subject)}"#
        let registry = try place.registry
        try registry.placeManifest(
            Array(manifest.utf8), mediaType: MediaType.imageManifest, tag: scheme == .older ? image.tag("sig") : nil,
            in: ImageFixture.path)
        if scheme == .older { registry.faults.add(Fault(.noReferrersAPI)) }
        let verified = await place.verify(image.name)
        #expect(!registry.server.requests.contains { $0.target.contains("/blobs/") }, "its layers were fetched")
        switch scheme {
        case .older: verified.expectRefusal(1, "malformed-manifest", "1001")
        case .newer:
            // Anyone who may write there may list such a thing: it hides no good signature.
            verified.expectRefusal(12, "no-matching-signature", "1001")
            await place.sign(image.name).expectSuccess()
            await place.verify(image.name).expectSuccess()
        }
    }

    @Test("A layer whose size lies, up or down, takes no memory (cosign CVE-2024-29902)", arguments: Scheme.allCases)
    func lyingLayer(scheme: Scheme) async throws {
        let place = try await ImageFixture()
        let registry = try place.registry
        let large = [UInt8](repeating: 0x20, count: 64 << 20)
        let digest = try Digest.sha256(large)
        try registry.placeBlob(Array("{}".utf8), in: ImageFixture.path)
        try registry.placeBlob(large, digest: digest.description, in: ImageFixture.path)
        func verify(claiming size: Int64) async throws -> Program.Outcome {
            let image = try await place.push("size \(size)")
            let type = scheme == .older ? ImageFixture.payloadType : ImageFixture.bundleType
            let manifest = try ImageManifest(
                artifactType: scheme == .older ? nil : type,
                config: Descriptor(mediaType: MediaType.empty, digest: try Digest.sha256(Array("{}".utf8)), size: 2),
                layers: [
                    Descriptor(
                        mediaType: type, digest: digest, size: size,
                        annotations: ["dev.cosignproject.cosign/signature": "c2lnbmF0dXJl"])
                ], subject: scheme == .older ? nil : image.descriptor
            ).encoded()
            try await place.put([], manifest, tag: scheme == .older ? image.tag("sig") : nil)
            registry.server.forgetRequests()
            var program = Program(directory: place.directory.path)
            program.measuresMemory = true
            return await program.run(["verify", "--key", "key.pub"] + ImageFixture.verifying + [image.name])
        }
        // The whole program takes less than half of what came.
        let small = try await verify(claiming: 1000)
        small.expectRefusal(1, "digest-mismatch", "more than 1000 bytes came")
        #expect(small.peakMemory < 48 << 10, "\(small.peakMemory) KiB")
        let huge = try await verify(claiming: 1 << 40)
        huge.expectRefusal(12, "no-matching-signature", "more than the 134217728 accepted")
        #expect(huge.peakMemory < 48 << 10, "\(huge.peakMemory) KiB")
        #expect(!registry.server.requests.contains { $0.target.contains("/blobs/") }, "it was fetched")
    }

    @Test("A list whose pages never end is an error, for reading and for writing")
    func endlessPages() async throws {
        let place = try await ImageFixture()
        let image = try await place.push(tag: "v1")
        await place.sign(image.name).expectSuccess()
        let registry = try place.registry
        registry.faults.add(Fault(.endlessPages))
        registry.server.forgetRequests()
        await place.verify(image.name).expectRefusal(1, "too-large", "pages")
        #expect(registry.server.requests.count < 600)
        await place.sign(image.name, scheme: .older, flags: ["--concurrent-signers"])
            .expectRefusal(1, "too-large", "pages")
    }

    @Test("Pages that go in a circle, and pages on another host")
    func strangePages() async throws {
        let (place, thief) = (try await ImageFixture(), try await Thief())
        let image = try await place.push(tag: "v1")
        let registry = try place.registry
        for (link, code) in [("", "too-large"), (thief.url, "redirect-refused")] {
            registry.faults.removeAll()
            registry.faults.add(
                Fault(
                    .header("Link", "<\(link)/v2/\(ImageFixture.path)/referrers/\(image.digest)>; rel=\"next\""),
                    path: "/referrers/"))
            await place.verify(image.name).expectRefusal(1, code)
        }
        #expect(thief.requests.isEmpty)
    }

    // MARK: Something else than was asked for

    @Test("A substituted manifest is seen (notation CVE-2023-33959)", arguments: Scheme.allCases)
    func substitutedManifest(scheme: Scheme) async throws {
        let place = try await ImageFixture()
        let (image, other) = (try await place.push("good"), try await place.push("evil"))
        await place.sign(image.name, scheme: scheme).expectSuccess()
        let registry = try place.registry
        let evil = try #require(registry.manifest(other.digest.description, in: ImageFixture.path))

        // The index of platforms is another one than its digest says.
        let (index, _) = try await place.pushIndex(["amd64"])
        await place.sign(index.name, scheme: scheme, flags: ["--recursive"]).expectSuccess()
        try registry.placeManifest(
            evil.bytes, mediaType: index.descriptor.mediaType, digest: index.digest.description, in: ImageFixture.path)
        await place.verify(index.name, flags: ["--recursive"]).expectRefusal(
            1, "digest-mismatch", index.digest.description)

        // The registry says that it answers with something else than was asked for.
        registry.faults.add(Fault(.wrongDigestHeader, path: "/manifests/\(image.digest)"))
        await place.verify(image.name, key: "other").expectRefusal(1, "digest-mismatch", image.digest.description)
        registry.faults.removeAll()

        // The manifest that holds the signature is another one, or its bundle is.
        switch scheme {
        case .newer:
            let referrer = try #require(
                try await place.store.referrers(of: image.digest, artifactType: nil).descriptors.first)
            let good = try #require(registry.manifest(referrer.digest.description, in: ImageFixture.path))
            var forged = good.bytes
            forged.append(0x0a)
            try registry.placeManifest(
                forged, mediaType: good.mediaType, digest: referrer.digest.description, in: ImageFixture.path)
        case .older:
            registry.faults.add(Fault(.corruptBody, method: "GET", path: ".sig"))
        }
        await place.verify(image.name).expectRefusal(1, "digest-mismatch")
    }

    @Test("A manifest that changes between two reads is seen", arguments: Scheme.allCases)
    func changingManifest(scheme: Scheme) async throws {
        let place = try await ImageFixture()
        let (index, _) = try await place.pushIndex(["amd64", "arm64"], tag: "v1")
        let (evil, _) = try await place.pushIndex(["mips"])
        await place.sign(index.name, scheme: scheme, flags: ["--recursive"]).expectSuccess()
        let registry = try place.registry
        let content = try #require(registry.manifest(evil.digest.description, in: ImageFixture.path))
        registry.faults.add(
            Fault(
                .answer(200, contentType: content.mediaType, body: content.bytes), path: "/manifests/\(index.digest)"))
        for flags in [["--recursive"], ["--platform", "linux/mips"]] {
            await place.verify("\(place.repository):v1", flags: flags)
                .expectRefusal(1, "digest-mismatch", index.digest.description)
        }
    }

    @Test("A blob with other content under its digest is seen", arguments: Scheme.allCases)
    func substitutedBlob(scheme: Scheme) async throws {
        let place = try await ImageFixture()
        let image = try await place.push()
        await place.sign(image.name, scheme: scheme).expectSuccess()
        try place.registry.faults.add(Fault(.corruptBody, path: "/blobs/"))
        await place.verify(image.name).expectRefusal(1, "digest-mismatch", "other content came")
    }

    // MARK: Credentials

    /// Another host, which remembers what it is sent.
    final class Thief: Sendable {
        let registry: LocalRegistry
        init() async throws { registry = try await LocalRegistry.start() }
        deinit { Task { [registry] in await registry.stop() } }

        var url: String { registry.server.url }
        var requests: [ReceivedRequest] { registry.server.requests }

        /// Expects that none of the secrets arrived, in no form.
        func expectNoSecret(sourceLocation: SourceLocation = #_sourceLocation) {
            for request in requests {
                let all =
                    request.target + String(decoding: request.body, as: UTF8.self)
                    + request.headers.map { "\($0.key): \($0.value)" }.joined()
                #expect(request.headers["authorization"] == nil, "\(request.target)", sourceLocation: sourceLocation)
                for secret in RegistryAttackTests.secrets {
                    #expect(!all.contains(secret), "\(request.target)", sourceLocation: sourceLocation)
                }
            }
        }
    }

    static let sentinel = "sentinel-5eC-ret"
    static let secrets = [sentinel, Base64.encode(Array("me:\(sentinel)".utf8))]

    /// How the program is given the secret.
    enum Source: String, CaseIterable, Sendable {
        case flags, token, docker, podman
    }

    /// The flags and variables that give the secret.
    private func credentials(_ source: Source, _ place: ImageFixture) throws -> (
        flags: [String], environment: [String: String]
    ) {
        let host = try place.registry.address
        let entry = Base64.encode(Array("me:\(Self.sentinel)".utf8))
        let auths = #"{"auths":{"\#(host)":{"auth":"\#(entry)"}}}"#
        switch source {
        case .flags: return (["--registry-username", "me", "--registry-password", Self.sentinel], [:])
        case .token: return (["--registry-token", Self.sentinel], [:])
        case .docker:
            try place.directory.makeDirectory("docker")
            try place.directory.write("docker/config.json", auths)
            return ([], ["DOCKER_CONFIG": place.directory["docker"]])
        case .podman:
            try place.directory.write("auth.json", auths)
            return ([], ["REGISTRY_AUTH_FILE": place.directory["auth.json"]])
        }
    }

    @Test(
        "A realm on another host never gets the credentials (ratify CVE-2025-27403, distribution CVE-2026-33540)",
        arguments: Source.allCases)
    func realmElsewhere(source: Source) async throws {
        let thief = try await Thief()
        let place = try await ImageFixture {
            $0.authentication = .token(username: "me", password: Self.sentinel, realm: "\(thief.url)/token")
        }
        let image = try await place.push()
        let (flags, environment) = try credentials(source, place)
        let outcomes = [
            await place.verify(image.name, flags: flags, environment: environment),
            await place.sign(image.name, flags: flags, environment: environment),
        ]
        for outcome in outcomes {
            outcome.expectRefusal(1, "unauthorized")
            #expect(!outcome.messages.contains(Self.sentinel))
        }
        thief.expectNoSecret()
        // By the user's own say it may have them.
        guard source == .flags else { return }
        _ = await place.verify(image.name, flags: flags + ["--registry-auth-realm", thief.registry.address])
        #expect(thief.requests.contains { $0.headers["authorization"] == "Basic \(Self.secrets[1])" })
    }

    @Test(
        "A redirect to another host never takes the credentials along (gh CVE-2026-48501)", arguments: Source.allCases,
        Scheme.allCases)
    func redirectElsewhere(source: Source, scheme: Scheme) async throws {
        let thief = try await Thief()
        let place = try await ImageFixture {
            $0.authentication = source == .token ? .none : .basic(username: "me", password: Self.sentinel)
        }
        let image = try await place.push()
        let (flags, environment) = try credentials(source, place)
        await place.sign(image.name, scheme: scheme, flags: flags, environment: environment).expectSuccess()
        let registry = try place.registry
        if source == .token {
            registry.faults.add(
                Fault(
                    .header("WWW-Authenticate", "Bearer realm=\"\(registry.server.url)/token\""), path: "/v2/", count: 1
                ))
            registry.faults.add(Fault(.status(401, retryAfter: nil), path: "/v2/", count: 1))
        }
        // Registries keep blobs elsewhere, and that is fine; but elsewhere is another host.
        let stored = try #require(
            scheme == .older
                ? try await self.layer(of: image, registry, place)
                : try await self.bundle(of: image, registry))
        registry.server.forgetRequests()
        try thief.registry.placeBlob(stored.content, in: ImageFixture.path)
        registry.faults.add(
            Fault(
                .redirect("\(thief.url)/v2/\(ImageFixture.path)/blobs/\(stored.digest)"),
                path: "/blobs/\(stored.digest)")
        )
        let verified = await place.verify(image.name, flags: ["--verbose"] + flags, environment: environment)
        verified.expectSuccess()
        #expect(!thief.requests.isEmpty)
        thief.expectNoSecret()
        for secret in Self.secrets { #expect(!verified.messages.contains(secret), "--verbose shows a secret") }
        // The registry itself did get it.
        #expect(registry.server.requests.contains { $0.headers["authorization"] != nil })

        // Uploads that are sent elsewhere, and lists that go on elsewhere.
        registry.faults.removeAll()
        registry.faults.add(
            Fault(
                .header("Location", "\(thief.url)/v2/\(ImageFixture.path)/blobs/uploads/1"), method: "POST",
                path: "/blobs/uploads/"))
        registry.faults.add(Fault(.redirect("\(thief.url)/v2/\(ImageFixture.path)/"), path: "/referrers/"))
        _ = await place.sign(image.name, scheme: scheme, flags: ["-a", "x=y"] + flags, environment: environment)
        thief.expectNoSecret()
    }

    private func layer(of image: TestImage, _ registry: LocalRegistry, _ place: ImageFixture) async throws
        -> (digest: String, content: [UInt8])?
    {
        let bytes = try #require(registry.manifest(image.tag("sig"), in: ImageFixture.path)?.bytes)
        return try content(of: bytes, registry)
    }

    private func bundle(of image: TestImage, _ registry: LocalRegistry) async throws -> (
        digest: String, content: [UInt8]
    )? {
        // The referrers API needs the password: what it lists is found by the tags and manifests behind it.
        for request in registry.server.requests where request.method == "PUT" {
            guard let digest = request.target.split(separator: "/").last.map(String.init),
                let bytes = registry.manifest(digest, in: ImageFixture.path)?.bytes
            else { continue }
            return try content(of: bytes, registry)
        }
        return nil
    }

    private func content(of manifest: [UInt8], _ registry: LocalRegistry) throws -> (digest: String, content: [UInt8])?
    {
        let layer = try #require(try JSONCursor(try JSONValue(parsing: manifest)).member("layers").elements().first)
        let digest = try layer.member("digest").string()
        return registry.blob(digest, in: ImageFixture.path).map { (digest: digest, content: $0) }
    }

    @Test("The urls of a layer are never fetched")
    func foreignLayer() async throws {
        let (place, thief) = (try await ImageFixture(), try await Thief())
        let image = try await place.push()
        let content = Array("{}".utf8)
        let digest = try Digest.sha256(content)
        let text =
            #"{"schemaVersion":2,"mediaType":"\#(MediaType.imageManifest)","config":{"mediaType":"\#(MediaType.empty)","#
            + #""digest":"\#(digest)","size":2},"layers":[{"mediaType":"\#(ImageFixture.payloadType)","digest":"sha256:"#
            + #"\#(String(repeating: "1", count: 64))","size":2,"urls":["\#(thief.url)/layer"],"#
            + #""annotations":{"dev.cosignproject.cosign/signature":"c2ln"}}]}"#
        try await place.put([content], try Manifest(Array(text.utf8)), tag: image.tag("sig"))
        await place.verify(image.name).expectRefusal(1, "not-found")
        #expect(thief.requests.isEmpty)
    }
}
