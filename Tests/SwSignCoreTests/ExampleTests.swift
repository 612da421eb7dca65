import Foundation
import LocalSigstore
import OCIRegistry
import SigstoreClients
import SigstoreCrypto
import SigstoreVerification
import Spawning
import StrictJSON
import SwSignCore
import TestServices
import Testing

/// The documentation's programs: each is short, says what the documentation says, and does it.
@Suite(.localSigstore)
struct ExampleTests {
    private static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    private let folder: String
    private let services: LocalServices
    private let identity = LocalIdentity.email("release@local.test")

    init() throws {
        folder = FileManager.default.temporaryDirectory.appending(path: "example-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        services = try LocalServices.current
    }

    /// Runs an example on a machine that was set up for the local services.
    private func run(_ example: String, _ arguments: [String]) async throws -> (
        status: Int32, text: String, errors: String
    ) {
        let program = URL(filePath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent()
            .appending(path: example).path
        var environment = Dictionary(uniqueKeysWithValues: services.environment.map { ($0.name, $0.value) })
        environment["TUF_ROOT"] = "\(folder)/tuf"
        environment["HOME"] = folder
        environment["PATH"] = "/usr/bin:/bin"
        environment["SIGSTORE_ID_TOKEN"] = try services.issuer.token(for: identity)
        let (output, errors) = ("\(folder)/output-\(UUID().uuidString)", "\(folder)/errors-\(UUID().uuidString)")
        let status = try await Spawning.run(
            program, arguments, in: folder, environment: environment, output: output, errors: errors)
        return (
            status, try String(contentsOfFile: output, encoding: .utf8),
            try String(contentsOfFile: errors, encoding: .utf8)
        )
    }

    private var signer: [String] { [services.issuer.subject(of: identity), services.issuer.issuer(of: identity)] }

    @Test("A file is signed by one program and verified by the other, which believes nobody else")
    func file() async throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try "released".write(toFile: "\(folder)/app.tar.gz", atomically: true, encoding: .utf8)
        let signed = try await run("SignFile", ["app.tar.gz"])
        #expect(signed.status == 0, "\(signed.errors)")
        #expect(signed.text.contains("becomes public: the identity release@local.test"))
        #expect(FileManager.default.fileExists(atPath: "\(folder)/app.tar.gz.sigstore.json"))
        // A bundle that stands there is not replaced.
        #expect(try await run("SignFile", ["app.tar.gz"]).status != 0)

        let verified = try await run("VerifyFile", ["app.tar.gz"] + signer)
        #expect(verified.status == 0, "\(verified.errors)")
        #expect(verified.text.contains("release@local.test"))

        // An error that nobody catches is one sentence, and no dump. What Swift adds to it stands below.
        let refused = try await run("VerifyFile", ["app.tar.gz", "mallory@local.test", signer[1]])
        #expect(refused.status != 0)
        let line = try #require(refused.errors.split(separator: "\n").first)
        #expect(
            line.contains("Error raised at top level: app.tar.gz: step 6 of 8, identity: expected identity mallory@"),
            "\(refused.errors)")
        #expect(!refused.errors.contains("SigstoreError("), "\(refused.errors)")
        try "changed".write(toFile: "\(folder)/app.tar.gz", atomically: true, encoding: .utf8)
        #expect(try await run("VerifyFile", ["app.tar.gz"] + signer).status != 0)
    }

    @Test("An image that was signed with an identity is verified")
    func image() async throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let name = "oci-layout:\(try layout())"
        let unsigned = try await run("VerifyImage", [name] + signer)
        #expect(unsigned.status != 0 && unsigned.errors.contains("no signature"), "\(unsigned.errors)")

        let shop = try Workshop()
        let session = try shop.session(identity, try shop.clients(.both))
        let image = try await Image(finding: name)
        let imageSigner = ImageSigner(signer: BlobSigner(session), scheme: .bundle)
        try await imageSigner.store(try await imageSigner.sign(image, annotations: [:]), in: SignatureStore(image))
        let verified = try await run("VerifyImage", [name] + signer)
        #expect(verified.status == 0, "\(verified.errors)")
        #expect(verified.text.contains("release@local.test") && verified.text.contains("\(image.digest)"))
        #expect(try await run("VerifyImage", [name, "mallory@local.test", signer[1]]).status != 0)
    }

    /// A layout with one image, which holds nothing.
    private func layout() throws -> String {
        let path = "\(folder)/layout"
        try FileManager.default.createDirectory(atPath: "\(path)/blobs/sha256", withIntermediateDirectories: true)
        func put(_ content: String) throws -> String {
            let digest = try Digest.sha256(Array(content.utf8))
            try content.write(toFile: "\(path)/blobs/sha256/\(digest.hex)", atomically: true, encoding: .utf8)
            return "\"digest\":\"\(digest)\",\"size\":\(content.utf8.count)"
        }
        let config = try put("{}")
        let type = "application/vnd.oci.image.manifest.v1+json"
        let manifest = try put(
            "{\"schemaVersion\":2,\"mediaType\":\"\(type)\",\"config\":{\"mediaType\":\"application/vnd.oci.empty.v1+json\",\(config)},\"layers\":[]}"
        )
        try "{\"imageLayoutVersion\":\"1.0.0\"}".write(toFile: "\(path)/oci-layout", atomically: true, encoding: .utf8)
        try "{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"\(type)\",\(manifest)}]}".write(
            toFile: "\(path)/index.json", atomically: true, encoding: .utf8)
        return path
    }

    @Test(
        "The documentation, and of the first one the README, show the programs as they are, and each is short",
        arguments: [("VerifyFile", 6), ("SignFile", 8), ("VerifyImage", 8)])
    func documentation(name: String, limit: Int) throws {
        let program = try String(
            contentsOf: Self.root.appending(path: "Tests/Examples/\(name)/main.swift"), encoding: .utf8)
        #expect(program.split(separator: "\n").count <= limit)
        let pages = ["Sources/SwSignCore/SwSignCore.docc/SwSignCore.md"] + (name == "VerifyFile" ? ["README.md"] : [])
        for page in pages {
            #expect(
                try String(contentsOf: Self.root.appending(path: page), encoding: .utf8).contains(
                    "```swift\n\(program)```"), "\(page)")
        }
    }
}
