import InToto
import LocalSigstore
import OCIRegistry
import SigstoreCrypto
import StrictJSON
import TestServices
import Testing

@Suite("Images: clean")
struct ImageCleanTests {
    /// An image with everything attached to it, in both schemes, and a note that somebody else attached.
    private func makeImage(_ directory: TemporaryDirectory, _ image: String, _ digest: Digest) async throws {
        let layout = try ImageLayout(opening: directory["img"])
        let (note, empty) = (try Blob(Array("a note".utf8)), try Blob(Array("{}".utf8)))
        for blob in [note, empty] { try await layout.putBlob(blob) }
        let subject = try await layout.resolve(.digest(digest))
        try await layout.putReferrer(
            try ImageManifest(
                artifactType: "application/x-note",
                config: Descriptor(mediaType: MediaType.empty, digest: empty.digest, size: empty.size),
                layers: [Descriptor(mediaType: "text/plain", digest: note.digest, size: note.size)],
                subject: subject
            ).encoded())
        try directory.write("sbom.json", "{}")
        if image != "oci-layout:img:one" { try await directory.must("copy", "oci-layout:img:one", image) }
        for older in [true, false] {
            try await directory.sign(image, older: older)
            try await directory.attest(image, older: older)
        }
        try await directory.must("attach", "sbom", "--sbom", "sbom.json", image)
    }

    /// What is there: signatures, attestations, SBOMs, notes.
    private func count(_ directory: TemporaryDirectory, _ image: String) async throws -> [Int] {
        let tree = try await directory.must("tree", image).output
        return [
            try await directory.signatures(image), try await directory.attestations(image),
            await directory.swsign("download", "sbom", image).succeeded ? 1 : 0,
            tree.contains("application/x-note") ? 1 : 0,
        ]
    }

    @Test("Each type removes what it names, and nothing else", arguments: RegistryKind.main)
    func types(kind: RegistryKind) async throws {
        let directory = TemporaryDirectory()
        try directory.makeKey()
        let digest = try await directory.makeImages().one
        try await kind.run { address, _ in
            for (type, left) in [
                ("signature", [0, 2, 1, 1]), ("attestation", [2, 0, 1, 1]), ("sbom", [2, 2, 0, 1]),
                ("referrer", [1, 1, 1, 0]),
                ("all", [0, 0, 0, 1]),
            ] {
                let image = kind == .layout ? "oci-layout:img:one" : "\(address)/team/\(type):v1"
                try await makeImage(directory, image, digest)
                #expect(try await count(directory, image) == [2, 2, 1, 1], "\(type)")
                let outcome = try await directory.must("clean", "--type", type, type == "all" ? "-f" : "--yes", image)
                #expect(outcome.messages.contains("Removed "), "\(outcome.messages)")
                #expect(try await count(directory, image) == left, "\(type)")
                let again = try await directory.must("clean", "--type", type, "--yes", image)
                #expect(again.messages.contains("nothing was removed"), "\(again.messages)")
                // What was removed does not come back with the next signature.
                if type == "signature" {
                    for older in [true, false] { try await directory.sign(image, older: older) }
                    #expect(try await directory.signatures(image) == 2)
                }
                if kind == .layout { try await directory.must("clean", "--yes", image) }
            }
        }
    }

    @Test("Many signatures are removed with all that their writers left", arguments: RegistryKind.registries)
    func many(kind: RegistryKind) async throws {
        let directory = TemporaryDirectory()
        for name in ["key", "other"] { try directory.makeKey(name) }
        try await directory.makeImages()
        try await kind.run { address, _ in
            let image = "\(address)/team/app:v1"
            try await directory.must("copy", "oci-layout:img:one", image)
            await withTaskGroup(of: Void.self) { group in
                for older in [true, true, false, false] {
                    group.addTask { _ = try? await directory.sign(image, key: "other", older: older) }
                }
            }
            #expect(try await directory.signatures(image, key: "other") == 4)
            try await directory.must("clean", "--yes", image)
            for older in [true, false] { try await directory.sign(image, older: older) }
            #expect(try await directory.signatures(image) == 2)
            #expect(
                await directory.swsign("verify", "--key", "other.pub", "--insecure-ignore-tlog", image).ending
                    == .exit(12))
        }
    }

    @Test("A person is asked; without a person nothing is removed")
    func asks() async throws {
        let directory = TemporaryDirectory()
        try directory.makeKey()
        try await directory.makeImages()
        try await directory.sign("oci-layout:img:one", older: false)
        for input in [Program.Input.nothing, .text("y\n")] {
            try await directory.expectRefusal(
                "declined", "--yes", "all signatures", of: ["clean", "oci-layout:img:one"], input: input)
        }
        let no = await directory.swsign(
            "clean", "oci-layout:img:one", input: .terminal, terminal: [Program.Turn("[y/N]", "n\n")])
        #expect(no.ending == .exit(1) && no.code == "declined")
        #expect(try await directory.signatures("oci-layout:img:one") == 1)
        let yes = await directory.swsign(
            "clean", "oci-layout:img:one", input: .terminal, terminal: [Program.Turn("[y/N]", "y\n")])
        #expect(yes.succeeded, "\(yes.messages)")
        #expect(try await directory.signatures("oci-layout:img:one") == 0)
        try await directory.expectRefusal(
            "usage", of: ["clean", "--yes", "--type", "everything", "oci-layout:img:one"])
    }

    @Test(
        "What cosign put there goes, and what we remove cosign no longer sees", .needsShared, arguments: Cosign.allCases
    )
    func interop(cosign: Cosign) async throws {
        let directory = TemporaryDirectory()
        try directory.makeKey()
        let digest = try await directory.makeImages().one
        try await RegistryKind.dockerRegistry.run { address, _ in
            let image = "\(address)/team/app:v1"
            try await makeImage(directory, image, digest)
            try await directory.must("clean", "--yes", image)
            let tree = try await cosign.run("tree", image, in: directory)
            #expect(!tree.output.contains(".sig") && !tree.output.contains("sigstore.dev"), "\(tree.output)")
            let verified = try await cosign.verify(["verify"], image, in: directory)
            #expect(!verified.succeeded)
        }
    }

    @Test("An SBOM's tag is not removed together with another image's where the registry cannot tell them apart")
    func sharedManifest() async throws {
        let directory = TemporaryDirectory()
        try await directory.makeImages()
        try directory.write("sbom.json", "{}")
        for kind in RegistryKind.registries {
            try await kind.run { address, _ in
                for name in ["one", "multi"] {
                    try await directory.must("copy", "oci-layout:img:\(name)", "\(address)/team/app:\(name)")
                    try await directory.must("attach", "sbom", "--sbom", "sbom.json", "\(address)/team/app:\(name)")
                }
                let outcome = await directory.swsign("clean", "--yes", "--type", "sbom", "\(address)/team/app:one")
                #expect(outcome.code == (kind == .dockerRegistry ? "unsupported" : nil), "\(outcome.messages)")
                try await directory.must("download", "sbom", "\(address)/team/app:multi")
            }
        }
    }

    // MARK: What is not this image's

    /// A store by what it can delete.
    enum Deletion: String, CaseIterable, Sendable {
        /// Tags alone.
        case tags
        /// What a tag points at, with all its tags.
        case withTag
        /// Manifests only.
        case manifests
        case layout

        func place() async throws -> ImageFixture {
            switch self {
            case .tags: try await ImageFixture(.fallbackTag)
            case .withTag: try await ImageFixture(.fallbackTag) { $0.deletesWithTag = true }
            case .manifests: try await ImageFixture(.dockerRegistry)
            case .layout: try await ImageFixture(.layout)
            }
        }
    }

    @Test("A signature's tag that points at another image never removes that image", arguments: Deletion.allCases)
    func tagOfAnother(deletion: Deletion) async throws {
        let place = try await deletion.place()
        let image = try await place.push()
        let production = try await place.push("production", tag: "prod")
        let (index, _) = try await place.pushIndex(["amd64", "arm64"], tag: "multi")
        let unnamed = try await place.push("named by its digest only")
        let manifest = try #require(try await place.store.manifest(.digest(production.digest)))
        let list = try #require(try await place.store.manifest(.digest(index.digest)))
        let rest = try #require(try await place.store.manifest(.digest(unnamed.digest)))
        // The tags of the older scheme, one that a writer uses, and the list of referrers.
        for tag in [image.tag("sig"), image.tag("sbom"), image.tag("sig.0a1b")] {
            try await place.store.putManifest(manifest, tag: tag)
        }
        try await place.store.putManifest(rest, tag: image.tag("att"))
        // Something else that refers to the image.
        let note = try ImageFixture.manifest(
            [(Array("a note".utf8), "text/plain", [:])], subject: image.descriptor, artifactType: "application/x-note")
        try await place.put([Array("{}".utf8), Array("a note".utf8)], note, tag: image.tag("att.0a1b"))
        try await place.store.putManifest(list, tag: "sha256-\(image.digest.hex)")
        for flags in [["--yes"], ["--force"], ["--force", "--type", "referrer"]] {
            await place.swsign(["clean"] + flags + [image.name]).expectSuccess("\(flags)")
            for (tag, digest) in [("prod", production.digest), ("multi", index.digest)] {
                #expect(try await place.store.resolve(.tag(tag))?.digest == digest, "\(tag), \(flags)")
            }
            #expect(try await place.store.resolve(.digest(unnamed.digest)) != nil, "\(flags)")
            let isKept = try await place.store.resolve(.digest(note.digest)) != nil
            #expect(isKept || flags.contains("referrer"), "\(flags)")
        }
        #expect(try await place.store.resolve(try ManifestSelector(tag: image.tag("att.0a1b"))) == nil)
        #expect(try await place.store.resolve(try ManifestSelector(tag: image.tag("sig"))) == nil)
        // In a layout nothing is kept that index.json does not name.
        guard deletion == .layout else { return }
        #expect(await place.swsign(["verify", "--local-image", "layout"]).code != "malformed-layout")
        #expect(try ImageLayout(opening: place.directory["layout"]).entries().contains { $0.digest == unnamed.digest })
    }

    @Test("Signatures that name another image are not this image's", arguments: [true, false])
    func signaturesOfAnother(isOwn: Bool) async throws {
        let place = try await ImageFixture(.dockerRegistry)
        let (image, other) = (try await place.push(), try await place.push("another"))
        let digest = (isOwn ? image : other).digest
        let payload = SimpleSigning.text(digest)
        let statement = Base64.encode(
            Array(
                #"{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"\#(digest.hex)"}}],"predicateType":"a:b","predicate":{}}"#
                    .utf8))
        let envelope =
            #"{"payloadType":"application/vnd.in-toto+json","payload":"\#(statement)","signatures":[{"sig":"c2ln"}]}"#
        try await place.putLayer(Array(payload.utf8), for: image)
        try await place.putLayer(
            Array(envelope.utf8), for: image, "att", mediaType: "application/vnd.dsse.envelope.v1+json")
        var manifests: [Digest] = []
        for suffix in ["sig", "att"] {
            let found = try await place.store.resolve(try ManifestSelector(tag: image.tag(suffix)))
            manifests.append(try #require(found).digest)
        }
        await place.swsign(["clean", "--force", image.name]).expectSuccess()
        for (suffix, manifest) in zip(["sig", "att"], manifests) {
            #expect(try await place.store.resolve(try ManifestSelector(tag: image.tag(suffix))) == nil, "\(suffix)")
            // What names another image is no longer found as this one's, and is there all the same.
            #expect((try await place.store.resolve(.digest(manifest)) == nil) == isOwn, "\(suffix)")
        }
    }

    @Test(
        "What other tags point at is left and named; --force removes it, and names it", arguments: RegistryKind.main,
        Scheme.allCases)
    func otherTags(kind: RegistryKind, scheme: Scheme) async throws {
        let place = try await ImageFixture(kind)
        let image = try await place.push(tag: "v1")
        await place.sign(image.name, scheme: scheme).expectSuccess()
        let digest: Digest
        switch scheme {
        case .newer:
            digest = try #require(
                try await place.store.referrers(of: image.digest, artifactType: nil).descriptors.first
            ).digest
        case .older:
            digest = try #require(try await place.store.resolve(try ManifestSelector(tag: image.tag("sig")))).digest
        }
        let manifest = try #require(try await place.store.manifest(.digest(digest)))
        try await place.store.putManifest(manifest, tag: "release-signatures")
        let outcome = await place.swsign(["clean", "--yes", image.name])
        // A tag alone takes no other with it.
        let isAlone = scheme == .older && kind != .dockerRegistry
        if isAlone {
            outcome.expectSuccess()
        } else {
            outcome.expectRefusal(1, "unsupported", "release-signatures", "\(digest)", "--force")
        }
        #expect(try await place.store.resolve(.tag("release-signatures"))?.digest == digest)
        let forced = await place.swsign(["clean", "--force", image.name])
        forced.expectSuccess()
        #expect(forced.messages.contains("Removed \(place.repository):release-signatures") != isAlone)
        #expect((try await place.store.resolve(.tag("release-signatures")) == nil) != isAlone)
        await place.verify(image.name).expectRefusal(10, "no-signature")
    }

    @Test("If tags cannot be listed, or are more than 1,000, a manifest is left and named, except with --force")
    func unknownTags() async throws {
        let place = try await ImageFixture { $0.tagsPage = 5000 }
        let image = try await place.push(tag: "v1")
        let registry = try place.registry
        let manifest = try #require(registry.manifest("v1", in: ImageFixture.path))
        let tagged = "\(place.repository):v1"
        for (what, name, fault) in [
            ("401", tagged, Fault(.status(401, retryAfter: nil), path: "/tags/list")),
            ("403", tagged, Fault(.status(403, retryAfter: nil), path: "/tags/list")),
            // It does not even name the image's own tag; without one it is not believed either that there is none.
            ("404", tagged, Fault(.status(404, retryAfter: nil), path: "/tags/list")),
            ("404", image.name, Fault(.status(404, retryAfter: nil), path: "/tags/list")),
            (
                "an empty list", tagged,
                Fault(
                    .answer(200, contentType: "application/json", body: Array(#"{"name":"a","tags":[]}"#.utf8)),
                    path: "/tags/list")
            ),
            ("more than the 1000", tagged, nil),
        ] {
            await place.sign(image.name).expectSuccess()
            let digest = try #require(
                try await place.store.referrers(of: image.digest, artifactType: nil).descriptors.first
            ).digest
            if let fault {
                registry.faults.add(fault)
            } else {
                for number in 0..<1000 {
                    try registry.placeManifest(
                        manifest.bytes, mediaType: manifest.mediaType, tag: "t\(number)", in: ImageFixture.path)
                }
            }
            let left = await place.swsign(["clean", "--yes", name])
            #expect(left.ending == .exit(1), "\(what): \(left.messages)")
            #expect(left.messages.contains("\(digest)") && left.messages.contains("is left"), "\(left.messages)")
            #expect(fault != nil || left.messages.contains(what), "\(left.messages)")
            #expect(try await place.store.resolve(.digest(digest)) != nil, "\(what)")
            let forced = await place.swsign(["clean", "--force", name])
            forced.expectSuccess(what)
            #expect(forced.messages.contains("Removed \(place.repository)@\(digest)"), "\(forced.messages)")
            registry.faults.removeAll()
            #expect(try await place.store.resolve(.digest(digest)) == nil, "\(what)")
        }
        // A tag of the older scheme goes alone, and what other writers left beside it is not known.
        await place.sign(image.name, scheme: .older).expectSuccess()
        registry.faults.add(Fault(.status(403, retryAfter: nil), path: "/tags/list"))
        await place.swsign(["clean", "--yes", image.name]).expectRefusal(1, "denied", "what other writers left")
        #expect(try await place.store.resolve(try ManifestSelector(tag: image.tag("sig"))) == nil)
    }

    @Test("An attestation that is replaced is left if another tag points at it")
    func replacedAttestation() async throws {
        let place = try await ImageFixture()
        let image = try await place.push(tag: "v1")
        func attest() async throws -> Program.Outcome {
            try await place.attest(image.name, type: "custom", flags: ["--replace"])
        }
        try await attest().expectSuccess()
        let old = try #require(
            try await place.store.referrers(of: image.digest, artifactType: nil).descriptors.first?.digest)
        let manifest = try #require(try await place.store.manifest(.digest(old)))
        try await place.store.putManifest(manifest, tag: "audit")
        let outcome = try await attest()
        #expect(outcome.ending == .exit(1) && outcome.code == "unsupported", "\(outcome.messages)")
        #expect(outcome.messages.contains("audit"), "\(outcome.messages)")
        #expect(try await place.store.resolve(.tag("audit"))?.digest == old)
    }

    @Test("If something cannot be looked at, nothing is removed; what cannot be read is named, and hides nothing")
    func couldNotLook() async throws {
        let place = try await ImageFixture()
        let image = try await place.push(tag: "v1")
        for scheme in Scheme.allCases { await place.sign(image.name, scheme: scheme).expectSuccess() }
        let registry = try place.registry
        registry.faults.add(Fault(.status(403, retryAfter: nil), path: ".att"))
        await place.swsign(["clean", "--force", image.name]).expectRefusal(1, "denied")
        await place.swsign(["copy", image.name, "oci-layout:copy:v1"]).expectRefusal(1, "denied")
        await place.swsign(["download", "attestation", image.name]).expectRefusal(1, "denied")
        registry.faults.removeAll()
        #expect(try await place.verify(image.name, flags: ["--all-signatures"]).payloads().count == 2)
        // A referrer that is no manifest, and one whose blob is gone.
        let broken = #"{"mediaType":"\#(MediaType.imageManifest)","subject":{"digest":"\#(image.digest)"}}"#
        try registry.placeManifest(Array(broken.utf8), mediaType: MediaType.imageManifest, in: ImageFixture.path)
        let content = Array("gone".utf8)
        let gone = try ImageFixture.manifest(
            [(content, ImageFixture.bundleType, [:])], subject: image.descriptor, artifactType: ImageFixture.bundleType)
        try await place.put([Array("{}".utf8)], gone)
        let tree = await place.swsign(["tree", image.name])
        #expect(tree.succeeded && tree.messages.contains("not shown: referrer sha256:"), "\(tree.messages)")
        let signatures = await place.swsign(["download", "signature", image.name])
        #expect(try signatures.succeeded && signatures.objects().count == 2, "\(signatures.messages)")
        #expect(signatures.messages.contains("passed over: referrer \(gone.digest)"), "\(signatures.messages)")
        await place.swsign(["copy", image.name, "oci-layout:copy:v1"]).expectRefusal(1, "malformed-manifest")
        let outcome = await place.swsign(["clean", "--force", image.name])
        #expect(outcome.ending == .exit(1) && outcome.code == "malformed-manifest", "\(outcome.messages)")
        #expect(try await place.store.resolve(.digest(gone.digest)) == nil)
        #expect(try await place.store.resolve(try ManifestSelector(tag: image.tag("sig"))) == nil)
    }
}

/// What cosign 2 signs for an image.
private enum SimpleSigning {
    static func text(_ digest: Digest) -> String {
        #"{"critical":{"identity":{"docker-reference":""},"image":{"docker-manifest-digest":"\#(digest)"},"#
            + #""type":"cosign container image signature"},"optional":null}"#
    }
}
