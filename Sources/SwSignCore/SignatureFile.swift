internal import Glibc
public import InToto
internal import SigstoreCrypto
public import SigstoreVerification

/// Signatures kept in files. Every form, old or new, becomes a ``SigstoreBundle`` here, at the door.
public enum SignatureFile {
    /// What a bundle's name ends with, behind the name of the file that it is for.
    public static let bundleSuffix = ".sigstore.json"
    private static let suffixes = [bundleSuffix, ".sigstore"]

    /// The bundle that stands beside a file.
    /// - Parameter artifact: The file's path.
    /// - Returns: The path with `.sigstore.json` or else `.sigstore` added.
    /// - Throws: ``SigstoreError`` with ``SigstoreError/Code/fileNotFound`` where neither is there.
    public static func bundle(beside artifact: InputFile) throws(SigstoreError) -> InputFile {
        guard !artifact.isStandardInput else {
            throw SigstoreError(.usage, "there is no bundle beside standard input", advice: "give --bundle or --signature")
        }
        for suffix in suffixes where unsafe access(artifact.path + suffix, F_OK) == 0 {
            return InputFile(artifact.path + suffix)
        }
        throw SigstoreError(
            .fileNotFound,
            "no signature was given for \(artifact.path), and neither \(artifact.path)\(suffixes[0]) nor \(artifact.path)\(suffixes[1]) is there",
            advice: "give --bundle or --signature")
    }

    /// Reads a bundle file: a Sigstore bundle, or the form that cosign 2 wrote.
    /// - Throws: ``SigstoreError`` that names the file.
    public static func bundle(_ file: InputFile) throws(SigstoreError) -> SigstoreBundle {
        let content = try file.contents(limit: SigstoreBundle.sizeLimit)
        do throws(SigstoreError) {
            guard let older = try OlderBlobBundle(parsing: content) else { return try SigstoreBundle(parsing: content) }
            return older.bundle
        } catch { throw error.concerning(file.name) }
    }

    /// Reads what stands after `--signature`: a file, or the base64 itself.
    /// - Throws: ``SigstoreError`` that names the file, where it is neither base64 nor a bare signature.
    public static func detached(_ reference: String) throws(SigstoreError) -> SigstoreBundle {
        let content = try contents(reference)
        guard !content.isEmpty else { throw SigstoreError(.malformedSignature, "\(name(reference)): the signature is empty") }
        return SigstoreBundle(
            keyMaterial: .publicKey(hint: ""),
            content: .messageSignature(
                SigstoreBundle.MessageSignature(digest: nil, signature: try signature(content, reference))))
    }

    /// Reads an attestation given with `--signature`: a DSSE envelope, bare or in base64.
    /// - Throws: ``SigstoreError`` that names the file.
    public static func detachedAttestation(_ reference: String) throws(SigstoreError) -> SigstoreBundle {
        let content = try contents(reference)
        let json = content.first == 0x7b ? content : Base64.decode(content) ?? content
        do throws(SigstoreError) {
            return SigstoreBundle(
                keyMaterial: .publicKey(hint: ""),
                content: .dsse(try DSSEEnvelope(JSONCursor(try JSONValue(parsing: json)))))
        } catch { throw error.concerning(name(reference)) }
    }

    /// The content of the file, without the line breaks that editors add; or the reference itself.
    private static func contents(_ reference: String) throws(SigstoreError) -> [UInt8] {
        var content: [UInt8]
        if unsafe reference == "-" || access(reference, F_OK) == 0 {
            content = try InputFile(reference).contents(limit: SigstoreBundle.sizeLimit)
        } else {
            content = Array(reference.utf8)
            guard Base64.decode(content) != nil else {
                throw SigstoreError(
                    .fileNotFound, "--signature is neither a file nor a signature in base64: \(reference.prefix(80))",
                    advice: "check the path")
            }
        }
        if content.first != 0x30 { while let last = content.last, last == 0x0a || last == 0x0d { content.removeLast() } }
        return content
    }

    private static func name(_ reference: String) -> String {
        reference.utf8.count > 80 ? "--signature" : InputFile(reference).name
    }

    /// Base64 where it is that, else the bytes themselves, as `sign-blob --b64=false` writes them.
    private static func signature(_ content: [UInt8], _ reference: String) throws(SigstoreError) -> [UInt8] {
        if let decoded = Base64.decode(content), !decoded.isEmpty { return decoded }
        // A bare ECDSA signature is a DER sequence; bare RSA and Ed25519 signatures have fixed lengths.
        let couldBeBare = content.first == 0x30 || [64, 256, 384, 512].contains(content.count)
        guard couldBeBare, content.count <= 1024, !content.allSatisfy({ $0 >= 0x20 && $0 < 0x7f }) else {
            throw SigstoreError(
                .malformedSignature, "\(name(reference)) is neither base64 nor a signature's bare bytes",
                advice: "the file may be cut short or altered")
        }
        return content
    }
}

/// The form of `--bundle` that cosign 2 wrote: `base64Signature`, `cert`, `rekorBundle`.
struct OlderBlobBundle {
    let bundle: SigstoreBundle

    /// - Returns: `nil` where the JSON is not of this form.
    init?(parsing content: [UInt8]) throws(SigstoreError) {
        let json = JSONCursor(try JSONValue(parsing: content))
        guard case .object(let object) = json.value, object["base64Signature"] != nil else { return nil }
        try json.expectOnly(["base64Signature", "cert", "rekorBundle"])
        let unchecked = [try json.optional("cert"), try json.optional("rekorBundle")].compactMap { $0 }
        guard unchecked.isEmpty else {
            throw SigstoreError(
                .notBuiltYet, "certificates and log entries in cosign 2's bundle form cannot be verified yet")
        }
        bundle = SigstoreBundle(
            keyMaterial: .publicKey(hint: ""),
            content: .messageSignature(
                SigstoreBundle.MessageSignature(digest: nil, signature: try json.member("base64Signature").bytes())))
    }
}

extension SigstoreError.Code {
    /// Bytes that should be a signature are not one.
    public static let malformedSignature = Self("malformed-signature")
    /// The command line, or a combination of its parts, cannot be understood.
    public static let usage = Self("usage")
}
