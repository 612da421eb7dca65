import StrictJSON
import Testing

@testable import SigstoreCrypto

/// Signed data by itself. What a timestamp demands of it besides is in `TimestampTokenTests`.
@Suite struct SignedDataTests {
    private static let text = "what is signed\n"
    private static let content = Array(text.utf8)
    private static let timestamp = "1.2.840.113549.1.9.16.1.4"

    private static func code(_ work: () throws -> Void) -> SigstoreError.Code? { CertificateTests.code(work) }

    /// Has the `openssl` command sign the content.
    private static func sign(in folder: OpenSSLCommandTests.Folder, _ more: [String]) throws -> [UInt8] {
        try folder.openssl(
            [
                "cms", "-sign", "-binary", "-in", "content", "-outform", "DER", "-out", "signed", "-signer",
                "signer.pem", "-inkey", "signer.key",
            ] + more)
        return try folder.read("signed")
    }

    @Test(
        "What OpenSSL signed, with its content inside and without",
        arguments: [(["ec", "-pkeyopt", "ec_paramgen_curve:P-256"], "sha384"), (["rsa:2048"], "sha256")])
    func attachedAndDetached(key: [String], hash: String) throws {
        let folder = try OpenSSLCommandTests.Folder()
        let authority = try folder.makeAuthority(key: key, digest: "sha256")
        let signer = authority[0]
        try folder.write("content", Self.text)
        let attached = try SignedData(
            Self.sign(in: folder, ["-nodetach", "-md", hash]), contentType: SignedData.plainContent)
        #expect(attached.content == Self.content)
        #expect(attached.hash.rawValue == hash)
        #expect(attached.certificates.map(\.der) == [signer.der])
        #expect(attached.names(signer) && !attached.names(authority[1]))
        try attached.verify(by: signer)
        try attached.verify(content: Self.content, by: signer)
        // Content that came along never stands for the content that was given.
        #expect(Self.code { try attached.verify(content: [0x78], by: signer) } == .signedDataMismatch)
        #expect(Self.code { try attached.verify(by: authority[1]) } == .signedDataSignature)

        let detached = try SignedData(
            Self.sign(in: folder, ["-md", hash, "-nocerts"]), contentType: SignedData.plainContent)
        #expect(detached.content == nil && detached.certificates.isEmpty)
        try detached.verify(content: Self.content, by: signer)
        #expect(Self.code { try detached.verify(content: Self.content + [0], by: signer) } == .signedDataMismatch)
        #expect(Self.code { try detached.verify(content: [], by: signer) } == .signedDataMismatch)
        #expect(Self.code { try detached.verify(by: signer) } == .malformedSignedData)
    }

    @Test("A signer that is named by the key's identifier, and attributes that are not signed")
    func keyIdentifier() throws {
        let folder = try OpenSSLCommandTests.Folder()
        let authority = try folder.makeAuthority(key: ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"], digest: "sha256")
        try folder.write("content", Self.text)
        let signed = try SignedData(Self.sign(in: folder, ["-keyid"]), contentType: SignedData.plainContent)
        #expect(signed.keyIdentifier == authority[0].subjectKeyIdentifier && signed.issuer.isEmpty)
        #expect(signed.names(authority[0]) && !signed.names(authority[1]))
        try signed.verify(content: Self.content, by: authority[0])
        #expect(Self.code { try signed.verify(content: Self.content, by: authority[1]) } == .signedDataSignature)
        #expect(Self.code { try signed.expectContent(Self.content + [0]) } == .signedDataMismatch)
        #expect(try signed.unsignedAttribute("1.2.3") == nil)
        #expect(signed.signedAttributes.first == 0x31)
    }

    @Test("Forms that are not accepted, each as OpenSSL writes it")
    func refusedForms() throws {
        let folder = try OpenSSLCommandTests.Folder()
        _ = try folder.makeAuthority(key: ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"], digest: "sha256")
        try folder.write("content", Self.text)
        let plain = SignedData.plainContent
        for (form, words) in [
            (["-noattr"], "signed attributes"), (["-md", "sha1"], "not SHA-256"),
            (["-signer", "root.pem", "-inkey", "root.key"], "more than one signer"),
            (["-econtent_type", Self.timestamp], "expected \(plain)"),
        ] {
            let signed = try Self.sign(in: folder, ["-nodetach"] + form)
            let error = #expect(throws: SigstoreError.self, "\(form)") {
                try SignedData(signed, contentType: plain)
            }
            #expect(error?.code == .malformedSignedData && error?.message.contains(words) == true, "\(form): \(error)")
        }
        let good = try Self.sign(in: folder, ["-nodetach"])
        #expect(Self.code { _ = try SignedData(good, contentType: Self.timestamp) } == .malformedSignedData)
        #expect(Self.code { _ = try SignedData(good, contentType: "data") } == .malformedSignedData)
        #expect(Self.code { _ = try SignedData(good + [0], contentType: plain) } == .malformedSignedData)
        for length in good.indices {
            #expect(throws: SigstoreError.self) { try SignedData(Array(good[..<length]), contentType: plain) }
        }
        let large = [UInt8](repeating: 0x30, count: SignedData.sizeLimit + 1)
        #expect(Self.code { _ = try SignedData(large, contentType: plain) } == .malformedSignedData)
    }

    @Test("The signature is the certificate's own, and over this content")
    func signature() throws {
        let authority = try TimestampTokenTests.Authority()
        var parts = TimestampTokenTests.Parts()
        parts.status = nil
        let signed = try SignedData(parts.token(authority.signer), contentType: Self.timestamp)
        try signed.verify(by: authority.signer.certificate)
        // The same name and serial number, another key.
        let impostor = try TimestampTokenTests.Authority()
        #expect(signed.names(impostor.signer.certificate))
        #expect(Self.code { try signed.verify(by: impostor.signer.certificate) } == .signedDataSignature)
        // And once more, since answers are remembered.
        #expect(Self.code { try signed.verify(by: impostor.signer.certificate) } == .signedDataSignature)
        try signed.verify(by: authority.signer.certificate)
        parts.contentDigest = [UInt8](repeating: 0, count: 32)
        let other = try SignedData(parts.token(authority.signer), contentType: Self.timestamp)
        #expect(Self.code { try other.verify(by: authority.signer.certificate) } == .signedDataMismatch)
        // An algorithm of another kind of key than the certificate's.
        parts.contentDigest = nil
        parts.algorithm = "1.2.840.113549.1.1.11"
        let mixed = try SignedData(parts.token(authority.signer), contentType: Self.timestamp)
        #expect(Self.code { try mixed.verify(by: authority.signer.certificate) } == .signedDataSignature)
    }

    @Test("Both attributes must be signed: the content's type and its digest", arguments: [[0], [1], [0, 1]])
    func missingAttributes(left: [Int]) throws {
        let authority = try TimestampTokenTests.Authority()
        var parts = TimestampTokenTests.Parts()
        parts.status = nil
        parts.leftOut = Set(left)
        let token = try parts.token(authority.signer)
        #expect(Self.code { _ = try SignedData(token, contentType: Self.timestamp) } == .malformedSignedData)
    }
}
