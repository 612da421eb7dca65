import LocalSigstore
import OCIRegistry
import SigstoreCrypto
import StrictJSON
import TestServices
import Testing

@Suite("Images: copy")
struct ImageCopyTests {
    @Test("A copy has the image and everything that is attached, in both schemes", arguments: RegistryKind.registries)
    func everything(kind: RegistryKind) async throws {
        let directory = TemporaryDirectory()
        try directory.makeKey()
        let digests = try await directory.makeImages()
        try directory.write("sbom.json", #"{"spdxVersion":"SPDX-2.3"}"#)
        try await kind.run { address, _ in
            let image = "\(address)/team/app:v1"
            try await directory.must("copy", "oci-layout:img:one", image)
            for older in [true, false] {
                try await directory.sign(image, older: older)
                try await directory.attest(image, older: older)
            }
            try await directory.must("attach", "sbom", "--sbom", "sbom.json", image)
            let sbom = try await directory.must("triangulate", "--type", "sbom", image).line
            try await directory.sign(sbom, older: false)

            let copy = "\(address)/other/app:v2"
            let copied = try await directory.must("copy", image, copy)
            #expect(copied.stdout.isEmpty)
            #expect(
                try await directory.must("triangulate", "--type", "digest", copy).line
                    == "\(address)/other/app@\(digests.one)")
            #expect(try await directory.signatures(copy) == 2)
            #expect(try await directory.attestations(copy) == 2)
            #expect(try await directory.must("download", "sbom", copy).output == #"{"spdxVersion":"SPDX-2.3"}"#)
            #expect(try await directory.signatures(sbom.replacing("team/app", with: "other/app")) == 1)
            // Once more changes nothing, and neither does a copy to the same repository under another tag.
            let tree = try await directory.must("tree", copy).output.split(separator: "\n").dropFirst()
            try await directory.must("copy", image, copy)
            #expect(try await directory.must("tree", copy).output.split(separator: "\n").dropFirst() == tree)
            try await directory.must("copy", copy, "\(address)/other/app:v3")
            #expect(try await directory.signatures("\(address)/other/app:v3") == 2)

            // Through a layout, which is made, to a registry again.
            try await directory.must("copy", copy, "oci-layout:out/side:v1")
            #expect(try await directory.signatures("oci-layout:out/side:v1") == 2)
            try await directory.must("copy", "oci-layout:out/side:v1", "\(address)/third/app")
            #expect(try await directory.signatures("\(address)/third/app:latest") == 2)
            #expect(try await directory.attestations("\(address)/third/app") == 2)
        }
    }

    @Test(
        "Of an index, every image and what is attached to it is copied; with --platform, that one image",
        arguments: RegistryKind.registries)
    func index(kind: RegistryKind) async throws {
        let directory = TemporaryDirectory()
        try directory.makeKey()
        let digests = try await directory.makeImages()
        try await kind.run { address, _ in
            for older in [true, false] {
                try await directory.must(
                    "sign", "--recursive", "--key", "key.pem", "--tlog-upload=false", "--new-bundle-format=\(!older)",
                    "oci-layout:img:multi")
            }
            let copy = "\(address)/team/multi:v1"
            try await directory.must("copy", "oci-layout:img:multi", copy)
            #expect(
                try await directory.must("triangulate", "--type", "digest", copy).line.hasSuffix("@\(digests.multi)"))
            #expect(try await directory.signatures(copy, "--recursive") == 6)
            #expect(try await directory.signatures(copy, "--platform", "linux/arm64") == 2)
            try await directory.must("copy", "--platform", "linux/amd64", copy, "\(address)/team/one:v1")
            #expect(
                try await directory.must("triangulate", "--type", "digest", "\(address)/team/one:v1").line.hasSuffix(
                    "@\(digests.one)"))
            #expect(try await directory.signatures("\(address)/team/one:v1") == 2)
            let none = await directory.swsign("copy", "--platform", "linux/s390x", copy, "\(address)/team/none:v1")
            #expect(none.ending == .exit(11) && none.messages.contains("linux/arm64"), "\(none.messages)")
        }
    }

    @Test("What is attached at the destination stays", arguments: RegistryKind.registries)
    func merges(kind: RegistryKind) async throws {
        let directory = TemporaryDirectory()
        for name in ["key", "other"] { try directory.makeKey(name) }
        try await directory.makeImages()
        try await kind.run { address, _ in
            let (image, copy) = ("\(address)/team/app:v1", "\(address)/other/app:v1")
            for name in [image, copy] { try await directory.must("copy", "oci-layout:img:one", name) }
            for older in [true, false] {
                try await directory.sign(image, older: older)
                try await directory.sign(image, older: older)
                try await directory.sign(copy, key: "other", older: older)
            }
            try await directory.must("copy", image, copy)
            #expect(try await directory.signatures(copy) == directory.signatures(image))
            #expect(try await directory.signatures(copy, key: "other") == 2)
        }
    }

    @Test("A tag that points at another image is left alone without --force", arguments: RegistryKind.registries)
    func existing(kind: RegistryKind) async throws {
        let directory = TemporaryDirectory()
        let digests = try await directory.makeImages()
        try await kind.run { address, _ in
            let target = "\(address)/team/app:v1"
            try await directory.must("copy", "oci-layout:img:one", target)
            try await directory.expectRefusal(
                "already-there", "\(digests.one)", "--force", of: ["copy", "oci-layout:img:multi", target])
            #expect(
                try await directory.must("triangulate", "--type", "digest", target).line.hasSuffix("@\(digests.one)"))
            try await directory.must("copy", "-f", "oci-layout:img:multi", target)
            #expect(
                try await directory.must("triangulate", "--type", "digest", target).line.hasSuffix("@\(digests.multi)"))
            try await directory.expectRefusal(
                "usage", of: ["copy", "oci-layout:img:multi", "\(address)/team/app@\(digests.one)"])
            try await directory.must("copy", "oci-layout:img:multi", "\(address)/team/by-digest@\(digests.multi)")
            try await directory.must("tree", "\(address)/team/by-digest@\(digests.multi)")
        }
    }

    @Test("--only and --sig-only copy a part")
    func parts() async throws {
        let directory = TemporaryDirectory()
        try directory.makeKey()
        try await directory.makeImages()
        try await RegistryKind.referrersAPI.run { address, _ in
            let image = "oci-layout:img:one"
            for older in [true, false] {
                try await directory.sign(image, older: older)
                try await directory.attest(image, older: older)
            }
            for (number, only) in ["sig", "att", "sig,att", "sbom"].enumerated() {
                let copy = "\(address)/only/app\(number):v1"
                try await directory.must("copy", "--only=\(only)", image, copy)
                #expect(try await directory.signatures(copy) == (only.contains("sig") ? 2 : 0), "\(only)")
                #expect(try await directory.attestations(copy) == (only.contains("att") ? 2 : 0), "\(only)")
            }
            try await directory.must("copy", "--sig-only", image, "\(address)/only/signatures:v1")
            #expect(await directory.swsign("tree", "\(address)/only/signatures:v1").ending == .exit(11))
            try await directory.must("copy", "--only=sbom", image, "\(address)/only/signatures:v1")
            #expect(try await directory.signatures("\(address)/only/signatures:v1") == 2)
            try await directory.expectRefusal("usage", "nope", of: ["copy", "--only=nope", image, "\(address)/a:b"])
            try await directory.expectRefusal(
                "usage", of: ["copy", "--only=sig", "--sig-only", image, "\(address)/a:b"])
        }
    }

    @Test("A copy that breaks off leaves the tag unset; another one finishes it")
    func interrupted() async throws {
        let directory = TemporaryDirectory()
        try directory.makeKey()
        try await directory.makeImages()
        try await directory.sign("oci-layout:img:multi", older: true)
        try await directory.sign("oci-layout:img:multi", older: false)
        let copy = ["copy", "oci-layout:img:multi"]
        for (method, path) in [("POST", "/blobs/uploads/"), ("PUT", "/manifests/sha256:"), ("PUT", ".sig")] {
            try await RegistryKind.referrersAPI.run { address, registry in
                let registry = try #require(registry)
                registry.faults.add(Fault(.status(403, retryAfter: nil), method: method, path: path, skip: 1))
                if path == ".sig" {
                    registry.faults.removeAll()
                    registry.faults.add(Fault(.status(403, retryAfter: nil), method: method, path: path))
                }
                let outcome = await Program(directory: directory.path).run(copy + ["\(address)/team/app:v1"])
                #expect(outcome.ending == .exit(1) && outcome.code == "denied", "\(path): \(outcome.messages)")
                #expect(!registry.tags(in: "team/app").contains("v1"), "\(path)")
                registry.faults.removeAll()
                try await directory.must("copy", "oci-layout:img:multi", "\(address)/team/app:v1")
                #expect(try await directory.signatures("\(address)/team/app:v1") == 2)
            }
        }
    }

    @Test("A damaged blob is refused, and nothing gets a tag")
    func damaged() async throws {
        let directory = TemporaryDirectory()
        try await directory.makeImages()
        try await RegistryKind.referrersAPI.run { address, registry in
            let registry = try #require(registry)
            try await directory.must("copy", "oci-layout:img:one", "\(address)/team/app:v1")
            registry.faults.add(Fault(.corruptBody, method: "GET", path: "/blobs/"))
            let outcome = await directory.swsign("copy", "\(address)/team/app:v1", "oci-layout:out:v1")
            #expect(outcome.ending == .exit(1) && outcome.code == "digest-mismatch", "\(outcome.messages)")
            registry.faults.removeAll()
            #expect(await directory.swsign("tree", "oci-layout:out:v1").ending == .exit(11))
        }
    }

    @Test("Layers travel through no memory, and within a registry not at all")
    func streamed() async throws {
        let directory = TemporaryDirectory()
        let size = 96 << 20
        try await directory.makeImages(layer: [UInt8](repeating: 7, count: size))
        try await RegistryKind.dockerRegistry.run { address, _ in
            var program = Program(directory: directory.path)
            program.measuresMemory = true
            for arguments in [
                ["copy", "oci-layout:img:one", "\(address)/team/big:v1"],
                ["copy", "\(address)/team/big:v1", "oci-layout:out:v1"],
                ["copy", "\(address)/team/big:v1", "\(address)/other/big:v1"],
            ] {
                let outcome = await program.run(arguments)
                #expect(outcome.succeeded, "\(outcome.messages)")
                #expect(
                    outcome.peakMemory > 0 && outcome.peakMemory < 64 << 10, "\(arguments): \(outcome.peakMemory) KiB")
            }
        }
        try await RegistryKind.referrersAPI.run { address, registry in
            let registry = try #require(registry)
            try await directory.makeImages("small")
            try await directory.must("copy", "oci-layout:small:one", "\(address)/team/app:v1")
            registry.server.forgetRequests()
            try await directory.must("copy", "\(address)/team/app:v1", "\(address)/other/app:v1")
            #expect(registry.server.requests.allSatisfy { !($0.method == "GET" && $0.target.contains("/blobs/")) })
            #expect(registry.server.requests.contains { $0.target.contains("mount=sha256") })
        }
    }

    @Test("From one registry to another, with what other tools attached")
    func elsewhere() async throws {
        let directory = TemporaryDirectory()
        try directory.makeKey()
        let digests = try await directory.makeImages()
        try await directory.sign("oci-layout:img:one", older: false)
        let layout = try ImageLayout(opening: directory["img"])
        let note = try Blob(Array("a note".utf8))
        let empty = try Blob(Array("{}".utf8))
        for blob in [note, empty] { try await layout.putBlob(blob) }
        let subject = try #require(try await layout.resolve(.digest(digests.one)))
        let referrer = try ImageManifest(
            artifactType: "application/x-note",
            config: Descriptor(mediaType: MediaType.empty, digest: empty.digest, size: empty.size),
            layers: [Descriptor(mediaType: "text/plain", digest: note.digest, size: note.size)], subject: subject
        ).encoded()
        try await layout.putReferrer(referrer)
        try await RegistryKind.dockerRegistry.run { docker, _ in
            try await RegistryKind.referrersAPI.run { local, _ in
                try await directory.must("copy", "oci-layout:img:one", "\(docker)/a/b:c")
                try await directory.must("copy", "\(docker)/a/b:c", "\(local)/a/b:c")
                try await directory.must("copy", "\(local)/a/b:c", "\(docker)/d/e:f")
                for image in ["\(docker)/a/b:c", "\(local)/a/b:c", "\(docker)/d/e:f"] {
                    #expect(try await directory.signatures(image) == 1)
                    let tree = try await directory.must("tree", image).output
                    #expect(tree.contains("application/x-note artifacts") && tree.contains("\(note.digest)"), "\(tree)")
                }
            }
        }
    }
}
