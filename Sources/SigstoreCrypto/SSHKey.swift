public import StrictJSON

/// Reads what SSH writes (RFC 4251, section 5), one value after another and never beyond the end.
package struct SSHReader: Sendable {
    /// What is not read yet.
    package private(set) var rest: ArraySlice<UInt8>

    package init(_ bytes: some Collection<UInt8>) { rest = Array(bytes)[...] }

    /// Whether everything was read.
    package var isAtEnd: Bool { rest.isEmpty }

    /// That something is not what SSH writes.
    /// - Parameter what: The end of a sentence.
    package static func fault(_ what: String) -> SigstoreError {
        SigstoreError(.malformedSSHData, "what SSH wrote is malformed: \(what)")
    }

    /// Exactly so many bytes.
    package mutating func bytes(_ count: Int) throws(SigstoreError) -> ArraySlice<UInt8> {
        guard count <= rest.count else { throw Self.fault("it is cut short") }
        defer { rest = rest.dropFirst(count) }
        return rest.prefix(count)
    }

    /// A number of that many bytes.
    package mutating func number(_ count: Int) throws(SigstoreError) -> UInt64 {
        try bytes(min(count, 8)).reduce(0) { $0 << 8 | UInt64($1) }
    }

    /// Bytes with their length before them.
    package mutating func string() throws(SigstoreError) -> ArraySlice<UInt8> {
        let count = try number(4)
        guard let length = Int(exactly: count), length <= rest.count else { throw Self.fault("it is cut short") }
        return try bytes(length)
    }

    /// Such bytes as a name: printable ASCII.
    package mutating func name() throws(SigstoreError) -> String {
        let bytes = try string()
        guard bytes.count <= 64, bytes.allSatisfy({ $0 > 0x20 && $0 < 0x7f }) else {
            throw Self.fault("a name is not of up to 64 printable characters")
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// A number from 0 of any size: its bytes in the shortest form, which is that of DER too.
    fileprivate mutating func integer() throws(SigstoreError) -> ArraySlice<UInt8> {
        let bytes = try string()
        guard let first = bytes.first, first < 0x80, first != 0 || (bytes.dropFirst().first ?? 0) >= 0x80 else {
            throw Self.fault("a number is negative, nothing, or not in its shortest form")
        }
        return bytes
    }

    /// Refuses anything that is left.
    package func end() throws(SigstoreError) {
        guard rest.isEmpty else { throw Self.fault("\(rest.count) bytes stand where it should end") }
    }
}

/// A key as SSH has it: a plain one, or one of a hardware token, which signs more than the message (PROTOCOL.u2f).
package struct SSHPublicKey: Sendable {
    /// The key without what SSH says of it.
    package let key: PublicKey
    /// What the token's key is for, such as `ssh:`; `nil` for a plain key.
    private let application: [UInt8]?

    /// How the names of tokens' keys begin and end.
    private static let (tokenPrefix, tokenSuffix) = ("sk-", "@openssh.com")

    /// Reads what follows the name of its type in a key, or the nonce in a certificate.
    /// - Parameters:
    ///   - type: The type of a key, not of a certificate, such as `ssh-ed25519` or `sk-ssh-ed25519@openssh.com`.
    ///   - reader: Stands at the key's own values, and afterwards behind them.
    /// - Throws: `SigstoreError` with `malformed-ssh-data`, `malformed-key` or `unsupported-key`.
    package init(_ type: String, _ reader: inout SSHReader) throws(SigstoreError) {
        let (prefix, suffix) = (Self.tokenPrefix.utf8, Self.tokenSuffix.utf8)
        let name = type.utf8
        guard name.starts(with: prefix), name.count > prefix.count + suffix.count,
            name.suffix(suffix.count).elementsEqual(suffix)
        else {
            (key, application) = (try .ssh(type, &reader), nil)
            return
        }
        let plain = String(decoding: name.dropFirst(prefix.count).dropLast(suffix.count), as: UTF8.self)
        key = try .ssh(plain, &reader)
        switch key.kind {
        case .ed25519, .ecP256: break
        case .rsa, .ecP384, .ecP521:
            throw SigstoreError(.unsupportedKey, "SSH keys of the type \(type) are not supported")
        }
        application = Array(try reader.string())
    }

    /// Whether a signature as SSH writes it holds. Of a token it is demanded that a person was there and touched it.
    /// - Parameters:
    ///   - signature: The name of the algorithm, and the signature; of a token also its flags and its counter, which it has
    ///     signed.
    ///   - message: What was signed.
    /// - Throws: `SigstoreError` with `malformed-ssh-data`.
    package func verifies(_ signature: some Collection<UInt8>, of message: [UInt8]) throws(SigstoreError) -> Bool {
        guard let application else { return try key.verifiesSSH(signature, of: message) }
        var reader = SSHReader(signature)
        let algorithm = try reader.name()
        let bytes = try reader.string()
        let flags = try reader.bytes(1)
        let counter = try reader.bytes(4)
        try reader.end()
        let (prefix, suffix) = (Self.tokenPrefix.utf8, Self.tokenSuffix.utf8)
        guard algorithm.utf8.starts(with: prefix), algorithm.utf8.count > prefix.count + suffix.count,
            algorithm.utf8.suffix(suffix.count).elementsEqual(suffix), let first = flags.first, first & 1 == 1
        else { return false }
        let signed =
            try Digest.sha256(application).bytes + flags + counter + Digest.sha256(message).bytes
        return try key.verifiesSSH(
            by: String(decoding: algorithm.utf8.dropFirst(prefix.count).dropLast(suffix.count), as: UTF8.self),
            Array(bytes), of: signed)
    }
}

extension PublicKey {
    /// SSH's kinds of keys and how each signs (RFC 8332, RFC 5656, RFC 8709).
    private static let sshCurves: [(name: String, kind: Kind, hash: HashAlgorithm)] = [
        ("nistp256", .ecP256, .sha256), ("nistp384", .ecP384, .sha384), ("nistp521", .ecP521, .sha512),
    ]

    /// Reads what follows the name of its type in a key, or the nonce in a certificate.
    /// - Parameters:
    ///   - type: The type of a key, not of a certificate, such as `ssh-ed25519`.
    ///   - reader: Stands at the key's own values, and afterwards behind them.
    /// - Throws: `SigstoreError` with `malformed-ssh-data`, `malformed-key` or `unsupported-key`.
    fileprivate static func ssh(_ type: String, _ reader: inout SSHReader) throws(SigstoreError) -> PublicKey {
        func isType(_ name: String) -> Bool { type.utf8.elementsEqual(name.utf8) }
        if isType("ssh-ed25519") {
            let point = try reader.string()
            guard point.count == 32 else { throw SSHReader.fault("an Ed25519 key has \(point.count) bytes") }
            return try PublicKey(der: [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00] + point)
        }
        if isType("ssh-rsa") {
            let exponent = try reader.integer()
            let modulus = try reader.integer()
            typealias Tag = DERReader.Tag
            return try PublicKey(
                der: DERWriter.element(
                    Tag.sequence,
                    DERWriter.element(Tag.integer, modulus) + DERWriter.element(Tag.integer, exponent)))
        }
        for curve in sshCurves where isType("ecdsa-sha2-\(curve.name)") {
            guard try reader.name().utf8.elementsEqual(curve.name.utf8),
                let spki = encoding(ofPoint: Array(try reader.string()), on: curve.kind)
            else { throw SSHReader.fault("a key on the curve \(curve.name) is none") }
            return try PublicKey(der: spki)
        }
        throw SigstoreError(.unsupportedKey, "SSH keys of the type \(type) are not supported")
    }

    /// Whether a signature as SSH writes it holds.
    /// - Parameters:
    ///   - signature: The name of the algorithm, and the signature.
    ///   - message: What was signed.
    /// - Throws: `SigstoreError` with `malformed-ssh-data`.
    fileprivate func verifiesSSH(
        _ signature: some Collection<UInt8>, of message: [UInt8]
    ) throws(SigstoreError) -> Bool {
        var reader = SSHReader(signature)
        let algorithm = try reader.name()
        let bytes = Array(try reader.string())
        try reader.end()
        return try verifiesSSH(by: algorithm, bytes, of: message)
    }

    fileprivate func verifiesSSH(
        by algorithm: String, _ signature: [UInt8], of message: [UInt8]
    ) throws(SigstoreError) -> Bool {
        var bytes = signature
        func isAlgorithm(_ name: String) -> Bool { algorithm.utf8.elementsEqual(name.utf8) }
        switch kind {
        case .ed25519:
            guard isAlgorithm("ssh-ed25519"), bytes.count == 64 else { return false }
            return try verifies(bytes, ofBytes: message, scheme: .ed25519)
        case .rsa(let bits):
            let hash: HashAlgorithm
            if isAlgorithm("rsa-sha2-256") {
                hash = .sha256
            } else if isAlgorithm("rsa-sha2-512") {
                hash = .sha512
            } else {
                return false
            }
            // Zeros at the beginning may be left out.
            let size = (bits + 7) / 8
            guard bytes.count <= size else { return false }
            bytes = [UInt8](repeating: 0, count: size - bytes.count) + bytes
            return try verifies(bytes, ofBytes: message, scheme: .rsaPKCS1(hash))
        case .ecP256, .ecP384, .ecP521:
            guard let curve = Self.sshCurves.first(where: { $0.kind == kind }), isAlgorithm("ecdsa-sha2-\(curve.name)")
            else { return false }
            var numbers = SSHReader(bytes)
            typealias Tag = DERReader.Tag
            let (first, second) = (try numbers.integer(), try numbers.integer())
            try numbers.end()
            let encoded = DERWriter.element(
                Tag.sequence, DERWriter.element(Tag.integer, first) + DERWriter.element(Tag.integer, second))
            return try verifies(encoded, ofBytes: message, scheme: .ecdsa(curve.hash))
        }
    }
}

extension SigstoreError.Code {
    /// A key, certificate or signature of SSH is malformed.
    public static let malformedSSHData = Self("malformed-ssh-data")
}
