import InToto
import Provenance
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import Testing

/// What a signature of a model says of its files.
struct ModelManifestTests {
    private static let digest = String(repeating: "ab", count: 32)

    private static func file(
        _ name: String, _ algorithm: String = "sha256", _ digest: String = digest, more: String = ""
    )
        -> String
    {
        #"{"name":"\#(name)","algorithm":"\#(algorithm)","digest":"\#(digest)"\#(more)}"#
    }

    /// A statement about files, whose subject's digest is right unless another is given.
    private static func statement(
        _ files: [String], method: String = "files", hash: String = "sha256", more: String = "", subject: String? = nil,
        predicate: String = "https://model_signing/signature/v1.0", type: String = "https://in-toto.io/Statement/v1"
    ) throws -> Statement {
        var digests: [UInt8] = []
        for file in files {
            let json = JSONCursor(try JSONValue(parsing: Array(file.utf8)))
            digests += Hexadecimal.decode(try json.member("digest").string()) ?? []
        }
        let digest = try subject ?? Digest.sha256(digests).hex
        let text = """
            {"_type":"\(type)","subject":[{"name":"m","digest":{"sha256":"\(digest)"}}],"predicateType":"\(predicate)",
            "predicate":{"serialization":{"method":"\(method)","hash_type":"\(hash)","allow_symlinks":false\(more)},
            "resources":[\(files.joined(separator: ","))]}}
            """
        return try Statement(parsing: Array(text.utf8))
    }

    private static func refusal(_ statement: Statement) -> SigstoreError? {
        do throws(SigstoreError) {
            _ = try ModelManifest(statement)
            return nil
        } catch { return error }
    }

    @Test(
        "A name that is not the same file everywhere is refused",
        arguments: [
            "/etc/passwd", "../a", "a/../b", "a/..", "..", ".", "a/./b", "", "a//b", "a/", "a\\\\b", "..\\\\a",
            "a\\u0000b", "a\\nb", "a\\u001b[2J", "a\\u0085",
        ])
    func names(name: String) throws {
        #expect(Self.refusal(try Self.statement([Self.file(name)]))?.code == .modelFileName)
    }

    @Test("Two names that are one after normalisation are refused, and so is one that stands there twice")
    func sameNames() throws {
        for (one, other) in [("e\\u0301", "\\u00e9"), ("a", "a"), ("d/s\\u0323\\u0307", "d/\\u1e69")] {
            #expect(
                Self.refusal(try Self.statement([Self.file(one), Self.file(other)]))?.code == .modelFileName, "\(one)")
        }
    }

    @Test("What does not fit together is refused")
    func malformed() throws {
        let (a, b) = (Self.file("a"), Self.file("b"))
        for (statement, code) in [
            (try Self.statement([a, b], subject: Self.digest), SigstoreError.Code.malformedModelSignature),
            (try Self.statement([b, a]), .malformedModelSignature), (try Self.statement([]), .malformedModelSignature),
            (try Self.statement([Self.file("a", "sha256", "abcd")]), .malformedModelSignature),
            (try Self.statement([Self.file("a", "sha256", Self.digest + Self.digest)]), .malformedModelSignature),
            (try Self.statement([Self.file("a", "blake2b", Self.digest + Self.digest)]), .malformedModelSignature),
            (try Self.statement([a], more: #","ignore_paths":["a"]"#), .malformedModelSignature),
            (try Self.statement([a], type: "https://in-toto.io/Statement/v0.1"), .malformedModelSignature),
            (try Self.statement([a], more: #","ignore_paths":["../b"]"#), .modelFileName),
            (try Self.statement([a], more: #","ignore_paths":["."]"#), .modelFileName),
            (try Self.statement([a], more: #","follow":true"#), .unexpectedJSON),
            (try Self.statement([a], more: #","ignore_paths":"b""#), .unexpectedJSON),
            (try Self.statement([Self.file("a", more: #","size":1"#)]), .unexpectedJSON),
            (try Self.statement([a], hash: "blake3"), .unsupportedModelSignature),
            (try Self.statement([a], hash: "md5"), .unsupportedModelSignature),
            (try Self.statement([a], method: "shards", more: #","shard_size":10"#), .unsupportedModelSignature),
            (try Self.statement([a], method: "tensors"), .unsupportedModelSignature),
            (try Self.statement([a], predicate: "https://slsa.dev/provenance/v1"), .notAModelSignature),
        ] { #expect(Self.refusal(statement)?.code == code, "\(statement)") }
    }

    @Test("Files are sorted by the parts of their paths when signed, and read in that order and by bytes")
    func order() throws {
        let files = ["a.b", "a/x", "a/b/c", "a"].map {
            ModelManifest.File(name: $0, digest: Array(repeating: 1, count: 32))
        }
        let manifest = try ModelManifest(
            name: "m", hash: .sha256, allowsLinks: true, ignoredPaths: ["model.sig"], files: files)
        #expect(manifest.files.map(\.name) == ["a", "a/b/c", "a/x", "a.b"])
        let read = try ModelManifest(try Statement(parsing: try manifest.statement()))
        #expect(read.files.map(\.name) == ["a", "a/b/c", "a/x", "a.b"] && read.allowsLinks && read.name == "m")
        #expect(read.ignoredPaths == ["model.sig"])
        #expect(Self.refusal(try Self.statement(["a.b", "a/x"].map { Self.file($0) })) == nil)
        #expect(Self.refusal(try Self.statement(["a/x", "a.b"].map { Self.file($0) })) == nil)
    }

    @Test("Version 0.2 has a subject a file; BLAKE2b has 64 bytes, by either name")
    func forms() throws {
        let older = """
            {"_type":"https://in-toto.io/Statement/v1","predicateType":"https://model_signing/Digests/v0.1","predicate":{},
            "subject":[{"name":"b","digest":{"sha256":"\(Self.digest)"}},{"name":"a","digest":{"sha256":"\(Self.digest)"}}]}
            """
        let manifest = try ModelManifest(try Statement(parsing: Array(older.utf8)))
        #expect(manifest.files.map(\.name) == ["a", "b"] && manifest.hash == .sha256 && manifest.name == nil)
        for name in ["blake2b", "blake2"] {
            let file = Self.file("a", name, Self.digest + Self.digest)
            #expect(try ModelManifest(try Self.statement([file], hash: name)).hash == .blake2b)
        }
    }

    @Test("A path is left out with what is below it, and not with what begins like it")
    func ignored() {
        for (path, isIgnored) in [
            (".git", true), (".git/config", true), (".gitx", false), ("a/.git", false), ("a", false), ("b/c", true),
            ("b/cd", false), ("b", false),
        ] { #expect(ModelManifest.isIgnored(path, by: [".git", "b/c"]) == isIgnored, "\(path)") }
    }

    @Test("A chain in a bundle of version 0.3 is read here, without log entries, timestamps or a certificate beside it")
    func certificateForm() throws {
        func text(_ more: String, entries: String = "[]") -> [UInt8] {
            Array(
                """
                {"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"x509CertificateChain":
                {"certificates":[{"rawBytes":"AAAA"}]},"tlogEntries":\(entries)\(more)},
                "dsseEnvelope":{"payload":"e30=","payloadType":"application/vnd.in-toto+json","signatures":[{"sig":"AAAA"}]}}
                """.utf8)
        }
        #expect(throws: SigstoreError.self) { try SigstoreBundle(parsing: text("")) }
        let signature = try ModelSignature(parsing: text(""))
        #expect(signature.chain?.isEmpty == true)
        for more in [
            #","certificate":{"rawBytes":"AAAA"}"#, #","publicKey":{"hint":"a"}"#,
            #","timestampVerificationData":{"rfc3161Timestamps":[{"signedTimestamp":"AAAA"}]}"#, #","more":1"#,
        ] { #expect(throws: SigstoreError.self, "\(more)") { try ModelSignature(parsing: text(more)) } }
        #expect(throws: SigstoreError.self) { try ModelSignature(parsing: text("", entries: "[{}]")) }
    }
}
