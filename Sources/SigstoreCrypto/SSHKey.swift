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
    package static func ssh(_ type: String, _ reader: inout SSHReader) throws(SigstoreError) -> PublicKey {
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
    package func verifiesSSH(_ signature: some Collection<UInt8>, of message: [UInt8]) throws(SigstoreError) -> Bool {
        var reader = SSHReader(signature)
        let algorithm = try reader.name()
        var bytes = Array(try reader.string())
        try reader.end()
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
