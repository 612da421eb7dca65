public import SigstoreVerification
public import StrictJSON

/// Reads the fields of a protobuf message one after another, strictly: every field is known, and none but a list stands twice.
private struct ProtobufReader {
    /// What a field holds.
    enum Value {
        case number(UInt64)
        case bytes(ArraySlice<UInt8>)
    }

    private var rest: ArraySlice<UInt8>
    private var seen: [UInt64] = []

    init(_ bytes: ArraySlice<UInt8>) { rest = bytes }

    static func fault(_ what: String) -> SigstoreError {
        SigstoreError(.malformedLogEntry, "the log entry is malformed: \(what)")
    }

    private mutating func number() throws(SigstoreError) -> UInt64 {
        var value: UInt64 = 0
        for shift in stride(from: 0 as UInt64, through: 63, by: 7) {
            guard let byte = rest.popFirst() else { break }
            let digit = UInt64(byte & 0x7f)
            guard shift < 63 || digit <= 1 else { break }
            value |= digit << shift
            if byte < 0x80 { return value }
        }
        throw Self.fault("a number is cut short or too large")
    }

    /// The next field; `nil` at the end.
    /// - Parameter list: The field that may stand several times.
    mutating func next(list: UInt64 = 0) throws(SigstoreError) -> (field: UInt64, value: Value)? {
        guard !rest.isEmpty else { return nil }
        let tag = try number()
        let field = tag >> 3
        guard field == list || !seen.contains(field) else { throw Self.fault("the field \(field) stands twice") }
        if field != list { seen.append(field) }
        switch tag & 7 {
        case 0: return (field, .number(try number()))
        case 2:
            let count = try number()
            guard count <= UInt64(rest.count), let length = Int(exactly: count) else {
                throw Self.fault("the field \(field) is cut short")
            }
            let bytes = rest.prefix(length)
            rest = rest.dropFirst(length)
            return (field, .bytes(bytes))
        default: throw Self.fault("the field \(field) is of an unknown kind")
        }
    }
}

extension ProtobufReader.Value {
    func count() throws(SigstoreError) -> Int64 {
        guard case .number(let number) = self, let count = Int64(exactly: number) else {
            throw ProtobufReader.fault("a field is not a number from 0")
        }
        return count
    }

    func bytes() throws(SigstoreError) -> ArraySlice<UInt8> {
        guard case .bytes(let bytes) = self else { throw ProtobufReader.fault("a field is a number, expected bytes") }
        return bytes
    }

    func text() throws(SigstoreError) -> String {
        guard let text = String(validating: try bytes(), as: UTF8.self) else {
            throw ProtobufReader.fault("a text is not UTF-8")
        }
        return text
    }

    /// The one field of a message that has one.
    fileprivate func only() throws(SigstoreError) -> ProtobufReader.Value? {
        var reader = ProtobufReader(try bytes())
        guard let (field, value) = try reader.next() else { return nil }
        guard field == 1, try reader.next() == nil else { throw ProtobufReader.fault("a message has an unknown field") }
        return value
    }
}

extension TransparencyLogEntry {
    /// An encoding larger than this many bytes is refused.
    static let protobufLimit = 1 << 16

    /// Reads an entry in protobuf's binary form (protobuf-specs, `TransparencyLogEntry`), as strictly as its JSON.
    /// - Parameter encoded: The message. The entry itself may be left out; its body is empty then.
    /// - Throws: `SigstoreError` with `malformed-log-entry`.
    public init(protobuf encoded: [UInt8]) throws(SigstoreError) {
        guard encoded.count <= Self.protobufLimit else {
            throw ProtobufReader.fault("it has more than \(Self.protobufLimit) bytes")
        }
        self.init(logIndex: 0, logID: [], kind: "", kindVersion: "", body: [])
        var reader = ProtobufReader(encoded[...])
        while let (field, value) = try reader.next() {
            switch field {
            case 1: logIndex = try value.count()
            case 2: logID = Array(try value.only()?.bytes() ?? [])
            case 3:
                var kinds = ProtobufReader(try value.bytes())
                while let (field, value) = try kinds.next() {
                    switch field {
                    case 1: kind = try value.text()
                    case 2: kindVersion = try value.text()
                    default: throw ProtobufReader.fault("its kind has an unknown field")
                    }
                }
            case 4: integratedTime = try value.count()
            case 5: promise = Array(try value.only()?.bytes() ?? [])
            case 6: proof = try Self.proof(value)
            case 7: body = Array(try value.bytes())
            default: throw ProtobufReader.fault("it has an unknown field, \(field)")
            }
        }
        guard !logID.isEmpty, !kind.isEmpty, !kindVersion.isEmpty, promise?.isEmpty != true else {
            throw ProtobufReader.fault("its log, its kind or its promise is not stated")
        }
    }

    private static func proof(_ value: ProtobufReader.Value) throws(SigstoreError) -> InclusionProof {
        var proof = InclusionProof(logIndex: 0, rootHash: [], treeSize: 0, hashes: [], checkpoint: nil)
        var reader = ProtobufReader(try value.bytes())
        while let (field, value) = try reader.next(list: 4) {
            switch field {
            case 1: proof.logIndex = try value.count()
            case 2: proof.rootHash = Array(try value.bytes())
            case 3: proof.treeSize = try value.count()
            case 4:
                // A tree of 2^63 leaves is 63 levels high.
                guard proof.hashes.count < 63 else {
                    throw ProtobufReader.fault("it holds more hashes than any tree needs")
                }
                proof.hashes.append(Array(try value.bytes()))
            case 5:
                let note = try value.only()?.text() ?? ""
                proof.checkpoint = note.isEmpty ? nil : note
            default: throw ProtobufReader.fault("its proof has an unknown field")
            }
        }
        return proof
    }
}

// MARK: - Writing

extension TransparencyLogEntry {
    /// The entry in protobuf's binary form (protobuf-specs, `TransparencyLogEntry`). What is 0 or empty is left out, as protobuf
    /// has it.
    public func protobuf() -> [UInt8] {
        typealias Writer = ProtobufWriter
        var out = Writer.number(1, logIndex) + Writer.message(2, Writer.bytes(1, logID))
        out += Writer.message(3, Writer.bytes(1, kind.utf8) + Writer.bytes(2, kindVersion.utf8))
        out += Writer.number(4, integratedTime)
        if let promise { out += Writer.message(5, Writer.bytes(1, promise)) }
        if let proof {
            var inner = Writer.number(1, proof.logIndex) + Writer.bytes(2, proof.rootHash)
            inner += Writer.number(3, proof.treeSize)
            for hash in proof.hashes { inner += Writer.message(4, hash) }
            if let checkpoint = proof.checkpoint { inner += Writer.message(5, Writer.bytes(1, checkpoint.utf8)) }
            out += Writer.message(6, inner)
        }
        return out + Writer.bytes(7, body)
    }
}

/// Writes the fields of a protobuf message.
private enum ProtobufWriter {
    private static func varint(_ number: UInt64) -> [UInt8] {
        var (out, rest): ([UInt8], UInt64) = ([], number)
        while rest >= 0x80 {
            out.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        return out + [UInt8(rest)]
    }

    static func number(_ field: UInt64, _ number: Int64) -> [UInt8] {
        number == 0 ? [] : varint(field << 3) + varint(UInt64(bitPattern: number))
    }

    /// A field that is there, even if it holds nothing.
    static func message(_ field: UInt64, _ content: some Collection<UInt8>) -> [UInt8] {
        varint(field << 3 | 2) + varint(UInt64(content.count)) + content
    }

    static func bytes(_ field: UInt64, _ content: some Collection<UInt8>) -> [UInt8] {
        content.isEmpty ? [] : message(field, content)
    }
}

extension SigstoreError.Code {
    /// Bytes that should be a log entry in protobuf's binary form are none.
    public static let malformedLogEntry = Self("malformed-log-entry")
}
