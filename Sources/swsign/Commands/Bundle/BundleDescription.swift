import InToto
import SigstoreCrypto
import SigstoreVerification
import StrictJSON

/// What a bundle holds, for people and for programs.
struct BundleDescription {
    /// One fact: a label for people, a name for programs.
    struct Row {
        let label: String
        let name: String
        let json: JSONValue

        var lines: [String] {
            switch json {
            case .array(let values):
                values.isEmpty ? ["\(label): none"] : values.map { "\(label): \(Self.text($0))" }
            default: ["\(label): \(Self.text(json))"]
            }
        }

        private static func text(_ value: JSONValue) -> String {
            switch value {
            case .string(let text), .number(let text): text
            case .object(let object): object.members.map { "\($0.name) \(text($0.value))" }.joined(separator: ", ")
            case .array(let values): values.map(text).joined(separator: " ")
            case .null: "not stated"
            default: String(decoding: value.serialized(), as: UTF8.self)
            }
        }
    }

    private(set) var rows: [Row] = []

    init(_ bundle: SigstoreBundle) throws(SigstoreError) {
        add("Format", "mediaType", .string(bundle.version.mediaType))
        switch bundle.content {
        case .messageSignature(let message):
            add("Content", "content", .string("signature over a file"))
            add("Digest", "digest", message.digest.map { .string($0.description) } ?? .null)
        case .dsse(let envelope):
            add("Content", "content", .string("attestation"))
            add("Payload type", "payloadType", .string(envelope.payloadType))
            do throws(SigstoreError) {
                let statement = try Statement(parsing: envelope.payload)
                add("Predicate type", "predicateType", .string(statement.predicateType.uri))
                add("Subject", "subjects", .array(statement.subjects.map(Self.subject)))
            } catch { add("Statement", "statement", .string("cannot be read: \(error.message)")) }
        }
        add("Signature", "signature", .bytes(try bundle.signature()))
        switch bundle.keyMaterial {
        case .publicKey(let hint):
            add("Signed with", "signedWith", .string("a key"))
            add("Key hint", "keyHint", hint.isEmpty ? .null : .string(hint))
        case .certificates(let chain):
            add("Signed with", "signedWith", .string("a certificate"))
            add("Certificate", "certificates", .array(chain.map(Self.certificate)))
        }
        add("Log entry", "logEntries", .array(bundle.logEntries.map(Self.entry)))
        add("Signed timestamp", "signedTimestamps", .array(bundle.timestamps.map(Self.timestamp)))
    }

    private mutating func add(_ label: String, _ name: String, _ json: JSONValue) {
        rows.append(Row(label: label, name: name, json: json))
    }

    private static func subject(_ subject: ResourceDescriptor) -> JSONValue {
        var object: JSONObject = [:]
        if let name = subject.name { object["name"] = .string(name) }
        var digests: JSONObject = [:]
        for digest in subject.digests { digests[digest.algorithm] = .string(digest.hex) }
        object["digest"] = .object(digests)
        return .object(object)
    }

    private static func certificate(_ der: [UInt8]) -> JSONValue {
        do throws(SigstoreError) {
            let certificate = try Certificate(der: der)
            var object: JSONObject = [:]
            let names = certificate.subjectAlternativeNames.compactMap(\.text)
            if !names.isEmpty { object["identity"] = .string(names.joined(separator: " ")) }
            if let issuer = try CertificateClaims(certificate).issuer() { object["issuer"] = .string(issuer) }
            object["subject"] = .string(certificate.displayName)
            object["validFrom"] = .string(Instant(seconds: certificate.notBefore).description)
            object["validTo"] = .string(Instant(seconds: certificate.notAfter).description)
            object["key"] = .string(certificate.publicKey.kind.description)
            object["serialNumber"] = .string(certificate.serialNumberHex)
            let promises = try SignedCertificateTimestamp.embedded(in: certificate)
            object["certificateTimestamps"] = .array(
                promises.map { .string("\(Instant(seconds: $0.time)) by log \(Base64.encode($0.logID))") })
            return .object(object)
        } catch { return .string("cannot be read: \(error.message)") }
    }

    private static func entry(_ entry: TransparencyLogEntry) -> JSONValue {
        var object: JSONObject = [
            "index": .integer(entry.logIndex), "kind": .string("\(entry.kind) \(entry.kindVersion)"),
            "log": .string(Base64.encode(entry.logID)),
        ]
        if entry.integratedTime > 0 { object["time"] = .string(Instant(seconds: entry.integratedTime).description) }
        object["promise"] = .bool(entry.promise != nil)
        object["proof"] = .bool(entry.proof != nil)
        if let text = entry.proof?.checkpoint {
            do throws(SigstoreError) {
                let checkpoint = try Checkpoint(text)
                object["checkpoint"] = .string("\(checkpoint.origin), size \(checkpoint.treeSize)")
            } catch { object["checkpoint"] = .string("cannot be read: \(error.message)") }
        }
        return .object(object)
    }

    private static func timestamp(_ response: [UInt8]) -> JSONValue {
        do throws(SigstoreError) {
            let token = try TimestampToken(response: response)
            return .object([
                "time": .string(Instant(seconds: token.time).description), "over": .string(token.imprint.description),
                "policy": .string(token.policy),
            ])
        } catch { return .string("cannot be read: \(error.message)") }
    }
}
