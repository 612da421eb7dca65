public import StrictJSON

/// PEM text (RFC 7468): labelled blocks of base64.
public enum PEM {
    /// One block.
    public struct Block: Sendable {
        /// What stands between `-----BEGIN ` and `-----`.
        public let label: String
        /// The decoded bytes.
        public internal(set) var bytes: [UInt8]
    }

    /// Reads every block of a text; what stands between blocks is passed over, as RFC 7468 allows.
    /// - Parameters:
    ///   - text: The text, which must be ASCII inside the blocks.
    ///   - limit: How many blocks are read before the rest is refused.
    /// - Throws: `SigstoreError` with `malformed-pem` if a block does not end, has headers (the encryption of OpenSSL's
    ///   old format) or is not base64. A text without blocks gives an empty list.
    public static func blocks(in text: [UInt8], limit: Int = 64) throws(SigstoreError) -> [Block] {
        var blocks: [Block] = []
        var open: [UInt8]?
        // Never grows while it is filled, so that the base64 of a private key stands in one place and can be cleansed.
        var body: [UInt8] = []
        body.reserveCapacity(text.count)
        defer { SecretBytes.cleanse(&body) }
        for line in text.split(whereSeparator: { $0 == 0x0a || $0 == 0x0d }) {
            var line = line
            while let last = line.last, last == 0x20 || last == 0x09 { line.removeLast() }
            while let first = line.first, first == 0x20 || first == 0x09 { line.removeFirst() }
            if let label = open {
                if line.starts(with: Array("-----END ".utf8)) {
                    guard line.elementsEqual(Array("-----END ".utf8) + label + Array("-----".utf8)) else {
                        throw SigstoreError(
                            .malformedPEM, "a PEM block ends with another label than it begins with",
                            advice: "the file may be cut short")
                    }
                    let name = String(decoding: label, as: UTF8.self)
                    guard let bytes = Base64.decode(body), !bytes.isEmpty else {
                        throw SigstoreError(.malformedPEM, "the PEM block \"\(name)\" does not hold base64")
                    }
                    guard blocks.count < limit else {
                        throw SigstoreError(.malformedPEM, "there are more than \(limit) PEM blocks")
                    }
                    blocks.append(Block(label: name, bytes: bytes))
                    open = nil
                } else if line.contains(0x3a) {
                    throw SigstoreError(
                        .malformedPEM, "the PEM block has headers, as OpenSSL's old encrypted keys do",
                        advice: "convert it with: openssl pkcs8 -topk8 -in OLD.pem -out NEW.pem")
                } else {
                    body += line
                }
            } else if line.starts(with: Array("-----BEGIN ".utf8)), line.count > 16,
                line.suffix(5).elementsEqual("-----".utf8)
            {
                open = Array(line.dropFirst(11).dropLast(5))
                body.removeAll(keepingCapacity: true)
            }
        }
        guard open == nil else {
            throw SigstoreError(.malformedPEM, "a PEM block does not end", advice: "the file may be cut short")
        }
        return blocks
    }

    /// Writes one block, 64 characters a line.
    public static func encode(label: String, _ bytes: [UInt8]) -> String {
        var text = "-----BEGIN \(label)-----\n"
        var rest = Base64.encode(bytes).utf8[...]
        while !rest.isEmpty {
            text += String(decoding: rest.prefix(64), as: UTF8.self) + "\n"
            rest = rest.dropFirst(64)
        }
        return text + "-----END \(label)-----\n"
    }
}

extension SigstoreError.Code {
    /// PEM text that is cut short, mixed up or not base64.
    public static let malformedPEM = Self("malformed-pem")
}
