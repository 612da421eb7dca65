import InToto
import LocalSigstore
import OCIRegistry
import SigstoreCrypto
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

    @Test("Each type removes what it names, and nothing else", arguments: ["docker", "local", "layout"])
    func types(place: String) async throws {
        let directory = TemporaryDirectory()
        try directory.makeKey()
        let digest = try await directory.makeImages().one
        let kind = RegistryKind(rawValue: place) ?? .local
        try await kind.run { address, _ in
            for (type, left) in [
                ("signature", [0, 2, 1, 1]), ("attestation", [2, 0, 1, 1]), ("sbom", [2, 2, 0, 1]),
                ("referrer", [1, 1, 1, 0]),
                ("all", [0, 0, 0, 1]),
            ] {
                let image = place == "layout" ? "oci-layout:img:one" : "\(address)/team/\(type):v1"
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
                if place == "layout" { try await directory.must("clean", "--yes", image) }
            }
        }
    }

    @Test("Many signatures are removed with all that their writers left", arguments: RegistryKind.allCases)
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
        try await RegistryKind.docker.run { address, _ in
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
        for kind in RegistryKind.allCases {
            try await kind.run { address, _ in
                for name in ["one", "multi"] {
                    try await directory.must("copy", "oci-layout:img:\(name)", "\(address)/team/app:\(name)")
                    try await directory.must("attach", "sbom", "--sbom", "sbom.json", "\(address)/team/app:\(name)")
                }
                let outcome = await directory.swsign("clean", "--yes", "--type", "sbom", "\(address)/team/app:one")
                #expect(outcome.code == (kind == .docker ? "unsupported" : nil), "\(outcome.messages)")
                try await directory.must("download", "sbom", "\(address)/team/app:multi")
            }
        }
    }
}
