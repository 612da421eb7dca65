internal import SigstoreCrypto
internal import SigstoreVerification
public import StrictJSON

/// A signature in OpenSSH's own form (SSHSIG), as git has `ssh-keygen -Y sign` make it.
public struct SSHSignature: Sendable {
    /// The key that signed, as SSH writes it: a bare key, or a certificate.
    public let key: [UInt8]
    /// What the signature is for, such as `git`.
    public let namespace: [UInt8]
    /// The certificate, if ``key`` is one.
    let certificate: SSHCertificate?

    private let publicKey: SSHPublicKey
    private let bareKey: [UInt8]
    private let hash: HashAlgorithm
    private let signature: [UInt8]

    /// Reads a signature.
    /// - Parameter armored: The whole block, `SSH SIGNATURE`.
    /// - Throws: `SigstoreError` with `malformed-pem` or `malformed-ssh-data`; with `unsupported-key` for keys that are not
    ///   used here, such as DSA's.
    public init(armored: [UInt8]) throws(SigstoreError) {
        let blocks = try PEM.blocks(in: armored, limit: 1)
        guard let block = blocks.first, block.label.utf8.elementsEqual("SSH SIGNATURE".utf8) else {
            throw SSHReader.fault("it is no block SSH SIGNATURE")
        }
        var reader = SSHReader(block.bytes)
        guard try reader.bytes(6).elementsEqual("SSHSIG".utf8), try reader.number(4) == 1 else {
            throw SSHReader.fault("it is not version 1 of a signature")
        }
        key = Array(try reader.string())
        namespace = Array(try reader.string())
        _ = try reader.string()  // reserved, and not part of what is signed
        let algorithm = try reader.name()
        guard
            let hash = [HashAlgorithm.sha256, .sha512].first(where: { $0.rawValue.utf8.elementsEqual(algorithm.utf8) })
        else { throw SSHReader.fault("its hash is neither sha256 nor sha512") }
        self.hash = hash
        signature = Array(try reader.string())
        try reader.end()
        guard !namespace.isEmpty else { throw SSHReader.fault("it is for nothing: the namespace is empty") }
        var parts = SSHReader(key)
        let type = try parts.name()
        if type.utf8.count > SSHCertificate.suffix.utf8.count,
            type.utf8.suffix(SSHCertificate.suffix.utf8.count).elementsEqual(SSHCertificate.suffix.utf8)
        {
            let certificate = try SSHCertificate(key)
            (publicKey, bareKey) = (certificate.publicKey, certificate.bareKey)
            self.certificate = certificate
        } else {
            publicKey = try SSHPublicKey(type, &parts)
            try parts.end()
            (bareKey, certificate) = (key, nil)
        }
    }

    /// The key's name as SSH shows it: `SHA256:` and base64 without padding.
    public func fingerprint() throws(SigstoreError) -> String {
        let encoded = Base64.encode(try Digest.sha256(bareKey).bytes).utf8
        return "SHA256:" + String(decoding: encoded.filter { $0 != 0x3d }, as: UTF8.self)
    }

    /// Verifies that the key has signed this, for this purpose. Whose key it is, ``AllowedSigners`` says.
    /// - Throws: `SigstoreError` with `wrong-ssh-namespace`, or with `invalid-signature`.
    public func verify(_ message: [UInt8], namespace expected: String) throws(SigstoreError) {
        guard namespace.elementsEqual(expected.utf8) else {
            throw SigstoreError(
                .wrongSSHNamespace,
                "the signature is for another purpose: expected \(expected), found "
                    + String(decoding: namespace.prefix(64), as: UTF8.self))
        }
        func field(_ bytes: some Collection<UInt8>) -> [UInt8] {
            [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: bytes.count >> $0) } + bytes
        }
        let digest = try Digest.hash(message, hash)
        let signed =
            Array("SSHSIG".utf8) + field(namespace) + field([]) + field(hash.rawValue.utf8) + field(digest.bytes)
        guard try publicKey.verifies(signature, of: signed) else {
            throw SigstoreError(
                .invalidSignature, "the signature by the SSH key \(try fingerprint()) does not hold",
                advice: "what was signed or the signature was changed, or another key signed it")
        }
    }
}

/// A certificate of OpenSSH's own kind (PROTOCOL.certkeys): an authority says which names a key may use, and until when.
struct SSHCertificate: Sendable {
    static let suffix = "-cert-v01@openssh.com"
    /// How many names a certificate may have.
    private static let principalLimit = 256

    let publicKey: SSHPublicKey
    /// The key without the certificate.
    let bareKey: [UInt8]
    /// The names that it is for.
    let principals: [[UInt8]]
    /// Seconds since 1970; the second is the first moment at which it does not hold any more.
    let validAfter: UInt64
    let validBefore: UInt64
    /// The authority's key, as SSH writes it.
    let authority: [UInt8]

    /// Reads a certificate, and verifies that the authority that it names has signed it.
    /// - Throws: `SigstoreError` with `malformed-ssh-data`, `unsupported-key`, or `invalid-signature`.
    init(_ blob: [UInt8]) throws(SigstoreError) {
        var reader = SSHReader(blob)
        let type = try reader.name()
        let stem = String(decoding: type.utf8.dropLast(Self.suffix.utf8.count), as: UTF8.self)
        // A token's key keeps whose kind it is in its own name too.
        let bare = stem.utf8.starts(with: "sk-".utf8) ? stem + "@openssh.com" : stem
        _ = try reader.string()  // the nonce
        let before = reader.rest
        publicKey = try SSHPublicKey(bare, &reader)
        let name = Array(bare.utf8)
        bareKey = [0, 0, 0, UInt8(truncatingIfNeeded: name.count)] + name + before[..<reader.rest.startIndex]
        _ = try reader.number(8)  // the serial number
        let kind = try reader.number(4)
        guard kind == 1 else { throw SSHReader.fault("a certificate is not one for a user") }
        _ = try reader.string()  // the key's name
        var names = SSHReader(try reader.string())
        var principals: [[UInt8]] = []
        while !names.isAtEnd {
            guard principals.count < Self.principalLimit else {
                throw SSHReader.fault("a certificate has too many names")
            }
            principals.append(Array(try names.string()))
        }
        self.principals = principals
        validAfter = try reader.number(8)
        validBefore = try reader.number(8)
        guard try reader.string().isEmpty else {
            throw SigstoreError(.unsupportedKey, "an SSH certificate has critical options, which are not known here")
        }
        _ = try reader.string()  // what it allows in a session
        _ = try reader.string()  // reserved
        authority = Array(try reader.string())
        let signed = Array(blob[..<reader.rest.startIndex])
        let signature = try reader.string()
        try reader.end()
        var key = SSHReader(authority)
        let issuer = try SSHPublicKey(try key.name(), &key)
        try key.end()
        guard try issuer.verifies(signature, of: signed) else {
            throw SigstoreError(.invalidSignature, "the authority's signature on an SSH certificate does not hold")
        }
    }
}

extension SigstoreError.Code {
    /// An SSH signature was made for another purpose than git.
    public static let wrongSSHNamespace = Self("wrong-ssh-namespace")
}
