import Foundation
import Glibc
import LocalSigstore
import OCIRegistry
import SigstoreCrypto
import StrictJSON
import TestServices
import Testing

@Suite("Images: save and load")
struct ImageSaveTests {
    @Test("What was saved is loaded and verified, in both schemes", arguments: RegistryKind.registries)
    func saveAndLoad(kind: RegistryKind) async throws {
        let directory = TemporaryDirectory()
        for name in ["key", "second"] { try directory.makeKey(name) }
        let digests = try await directory.makeImages()
        try directory.write("sbom.json", #"{"spdxVersion":"SPDX-2.3"}"#)
        try await kind.run { address, _ in
            let image = "\(address)/team/multi:v1"
            try await directory.must("copy", "oci-layout:img:multi", image)
            for older in [true, false] {
                try await directory.must(
                    "sign", "-r", "--key", "key.pem", "--tlog-upload=false", "--new-bundle-format=\(!older)", image)
                try await directory.attest(image, older: older)
            }
            try await directory.must("attach", "sbom", "--sbom", "sbom.json", image)
            try await directory.must("save", "--dir", "saved", image)
            #expect(try await directory.signatures("saved", "--local-image") == 2)
            #expect(try await directory.signatures("saved", "--local-image", "--recursive") == 6)
            #expect(try await directory.attestations("saved", "--local-image") == 2)
            #expect(try await directory.signatures("oci-layout:saved") == 2)

            try await directory.must("load", "--dir", "saved", "\(address)/loaded/multi:v2")
            #expect(try await directory.signatures("\(address)/loaded/multi:v2", "--recursive") == 6)
            #expect(try await directory.attestations("\(address)/loaded/multi:v2") == 2)
            #expect(
                try await directory.must("download", "sbom", "\(address)/loaded/multi:v2").output.contains("SPDX-2.3"))

            // Saving another image replaces what was saved; what is signed in the folder is kept there.
            try await directory.must("save", "--dir", "saved", "oci-layout:img:one")
            #expect(
                try await directory.must("triangulate", "--type", "digest", "oci-layout:saved").line.hasSuffix(
                    "@\(digests.one)"))
            for older in [true, false] { try await directory.sign("oci-layout:saved", key: "second", older: older) }
            #expect(try await directory.signatures("saved", key: "second", "--local-image") == 2)
        }
    }

    @Test("A folder that holds something else is left alone")
    func otherFolders() async throws {
        let directory = TemporaryDirectory()
        try await directory.makeImages()
        try directory.makeDirectory("full")
        try directory.write("full/file", "mine")
        try directory.write("plain", "a file")
        try await directory.expectRefusal("already-there", "full", of: ["save", "--dir", "full", "oci-layout:img:one"])
        try await directory.expectRefusal("already-there", "copy", of: ["save", "--dir", "img", "oci-layout:img:one"])
        let file = await directory.swsign("save", "--dir", "plain", "oci-layout:img:one")
        #expect(file.ending == .exit(1), "\(file.messages)")
        let none = await directory.swsign("load", "--dir", "nowhere", "oci-layout:new:v1")
        #expect(none.ending == .exit(1) && none.code == "not-found", "\(none.messages)")
        #expect(!directory.exists("new"))
        let missing = await directory.swsign("save", "--dir", "new", "oci-layout:img:nope")
        #expect(missing.ending == .exit(11) && !directory.exists("new"), "\(missing.messages)")
        try directory.makeDirectory("empty")
        try await directory.must("save", "--dir", "empty", "oci-layout:img:one")
        try await directory.must("tree", "oci-layout:empty")
    }

    @Test("A save that breaks off leaves what was saved before")
    func interrupted() async throws {
        let directory = TemporaryDirectory()
        try directory.makeKey()
        let digests = try await directory.makeImages()
        try await directory.sign("oci-layout:img:one", older: false)
        try await directory.must("save", "--dir", "saved", "oci-layout:img:one")
        try await RegistryKind.referrersAPI.run { address, registry in
            let registry = try #require(registry)
            try await directory.must("copy", "oci-layout:img:multi", "\(address)/team/multi:v1")
            registry.faults.add(Fault(.status(403, retryAfter: nil), method: "GET", path: "/referrers/", skip: 1))
            let outcome = await directory.swsign("save", "--dir", "saved", "\(address)/team/multi:v1")
            #expect(outcome.ending == .exit(1) && outcome.code == "denied", "\(outcome.messages)")
            #expect(
                try await directory.must("triangulate", "--type", "digest", "oci-layout:saved").line.hasSuffix(
                    "@\(digests.one)"))
            #expect(try await directory.signatures("saved", "--local-image") == 1)
        }
    }

    @Test(
        "A save that is stopped leaves whole blobs alone in the folder, and the next one goes on",
        .enabled(if: TemporaryDirectory.holdsUnnamedFiles, "left out: the file system has no files without a name"),
        arguments: [SIGKILL, SIGTERM])
    func stopped(signal: Int32) async throws {
        let directory = TemporaryDirectory()
        try await directory.makeImages()
        try await RegistryKind.referrersAPI.run { address, registry in
            let registry = try #require(registry)
            try await directory.must("copy", "oci-layout:img:one", "\(address)/team/one:v1")
            // One blob comes, and of the other one a byte now and then.
            registry.faults.add(Fault(.drip(seconds: 0.5), method: "GET", path: "/blobs/", skip: 1))
            let program = Program(directory: directory.path)
            let arguments = ["save", "--dir", "saved", "\(address)/team/one:v1"]
            let outcome = await program.run(arguments, input: .stopped(by: signal) { registry.faults.met > 0 })
            #expect(outcome.ending == .signal(signal), "\(outcome.messages)")
            var blobs = 0
            for (name, content) in try directory.snapshot() where name.hasPrefix("saved/") && !content.isEmpty {
                if name.hasPrefix("saved/blobs/") { blobs += 1 }
                #expect(
                    try ["saved/index.json", "saved/oci-layout"].contains(name)
                        || name == "saved/blobs/sha256/\(Digest.sha256(Array(content)).hex)")
            }
            #expect(!directory.names(below: "saved").contains { $0.contains("tmp") })
            #expect(blobs < 3)
            registry.faults.removeAll()
            try await directory.must("save", "--dir", "saved", "\(address)/team/one:v1")
            try await directory.must("tree", "oci-layout:saved")
        }
    }

    /// cosign 2 loads and verifies the older scheme, cosign 3 verifies both. (cosign 3's own `load` of bundles fails with
    /// every registry here: it sends their manifests before their blobs.)
    @Test("cosign reads what swsign saved, and swsign what cosign saved", .needsShared, arguments: Cosign.allCases)
    func interop(cosign: Cosign) async throws {
        let directory = TemporaryDirectory()
        try directory.makeKey()
        try await directory.makeImages()
        try await RegistryKind.dockerRegistry.run { address, _ in
            let image = "\(address)/team/app:v1"
            try await directory.must("copy", "oci-layout:img:one", image)
            let schemes = cosign == .two ? [true] : [true, false]
            for older in schemes {
                try await directory.sign(image, older: older)
                try await directory.attest(image, older: older)
            }
            for (saver, folder) in [("swsign", "ours"), ("cosign", "theirs")] {
                if saver == "swsign" {
                    try await directory.must("save", "--dir", folder, image)
                } else {
                    let saved = try await cosign.run("save", "--dir", folder, image, in: directory)
                    #expect(saved.succeeded, "\(saved.messages)")
                }
                #expect(try await directory.signatures(folder, "--local-image") == schemes.count, "\(saver)")
                #expect(try await directory.attestations(folder, "--local-image") == schemes.count, "\(saver)")
                for command in [["verify"], ["verify-attestation", "--type", "custom"]] {
                    let verified = try await cosign.verify(command, folder, "--local-image", in: directory)
                    #expect(verified.succeeded, "\(saver) \(command): \(verified.messages)")
                }
                try await directory.must("load", "--dir", folder, "\(address)/\(saver)/ours:v1")
                #expect(try await directory.signatures("\(address)/\(saver)/ours:v1") == schemes.count)
                let verified = try await cosign.verify(["verify"], "\(address)/\(saver)/ours:v1", in: directory)
                #expect(verified.succeeded, "\(verified.messages)")
            }
            if cosign == .two {
                let loaded = try await cosign.run("load", "--dir", "ours", "\(address)/theirs/app:v1", in: directory)
                #expect(loaded.succeeded, "\(loaded.messages)")
                #expect(try await directory.signatures("\(address)/theirs/app:v1") == 1)
                #expect(try await directory.attestations("\(address)/theirs/app:v1") == 1)
            }
            // Signing in a folder that cosign saved: cosign finds that signature, too.
            try directory.makeKey("second")
            // (cosign 3 sees no older signatures where there are newer ones.)
            try await directory.sign("oci-layout:theirs", key: "second", older: cosign == .two)
            let verified = try await cosign.verify(["verify"], key: "second", "theirs", "--local-image", in: directory)
            #expect(verified.succeeded, "\(verified.messages)")
            #expect(try await directory.signatures("theirs", "--local-image") == schemes.count)
        }
    }
}

extension TemporaryDirectory {
    /// Whether a file can be without a name here until it is whole.
    fileprivate static let holdsUnnamedFiles: Bool = {
        // Linux's `O_TMPFILE`, a macro that Swift does not import.
        let file = unsafe open(NSTemporaryDirectory(), 0o20000000 | O_DIRECTORY | O_WRONLY, 0o600)
        defer { if file >= 0 { close(file) } }
        return file >= 0
    }()

    /// The names of all files below a folder in here.
    fileprivate func names(below folder: String) -> [String] {
        (try? FileManager.default.subpathsOfDirectory(atPath: self[folder])) ?? []
    }
}

extension Cosign {
    /// Verifies with a key and without a log.
    func verify(_ command: [String], key: String = "key", _ arguments: String..., in directory: TemporaryDirectory)
        async throws
        -> Program.Outcome
    {
        try await run(command + ["--key", "\(key).pub", "--insecure-ignore-tlog"] + arguments, in: directory)
    }
}
