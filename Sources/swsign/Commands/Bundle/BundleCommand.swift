import ArgumentParser
import InToto
import LocalSystem
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import SwSignCore

struct BundleCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bundle", abstract: "Shows what a bundle holds, or makes one of older parts.",
        subcommands: [Inspect.self, Create.self])

    struct Inspect: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "inspect", abstract: "Shows what a bundle holds. Nothing is verified.")

        @Argument(help: "The bundle; - is standard input.")
        var file: String
        @Option(name: .shortAndLong, help: "How it is printed: text or json.")
        var output: OutputFormat = .text
        @OptionGroup(title: "Global options") var global: GlobalOptions

        mutating func run() throws {
            try global.apply()
            let rows = try BundleDescription(try SignatureFile.bundle(InputFile(file))).rows
            if output == .json {
                let members = rows.map { (name: $0.name, value: $0.json) }
                try Output.json(.object(JSONObject([(name: "version", value: .integer(1))] + members)))
            } else {
                for row in rows { for line in row.lines { try Output.result(line) } }
                Output.note("Nothing of this was verified.")
            }
        }
    }

    struct Create: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "create", abstract: "Makes a bundle of the parts that older versions of cosign wrote.",
            discussion: """
                The parts are joined as they are; only an artifact that is named is checked against the signature's key. \
                Verify the bundle before you rely on it.
                """)

        @Option(help: "The file that was signed; its digest goes into the bundle.")
        var artifact: String?
        @Option(help: "The signature: a file, or the base64 itself.")
        var signature: String?
        @Option(help: "An attestation: a DSSE envelope.")
        var attestation: String?
        @Option(help: "A bundle of the form that cosign 2 wrote.")
        var bundle: String?
        @Option(help: "The signer's certificate.")
        var certificate: String?
        @Option(help: "The signer's public key.")
        var key: String?
        @Option(name: .customLong("rfc3161-timestamp"), help: "A timestamp over the signature.")
        var timestamp: String?
        @Flag(name: .customLong("ignore-tlog"), help: "Make a bundle although the parts hold no log entry.")
        var ignoreTlog = false
        @Option(help: "The file to write; without it, standard output.")
        var out: String?
        @OptionGroup(title: "Global options") var global: GlobalOptions

        mutating func run() throws {
            try global.apply()
            guard signature == nil || attestation == nil else {
                throw SigstoreError(.usage, "--signature and --attestation cannot be given together")
            }
            var joined = try SignatureFile.Parts(
                signature: attestation ?? signature, bundle: bundle.map(InputFile.init),
                certificate: certificate.map(InputFile.init), timestamp: timestamp.map(InputFile.init), names: .flags
            ).joined(attestation: attestation != nil)
            guard ignoreTlog || !joined.logEntries.isEmpty else {
                throw SigstoreError(
                    .noLogEntry, "the parts hold no entry in a transparency log",
                    advice: "add --ignore-tlog, or --bundle with the entry")
            }
            if let key { joined.keyMaterial = .publicKey(hint: try KeyReference(key).publicKey().hint()) }
            if case .messageSignature(var message) = joined.content {
                guard let artifact else {
                    throw SigstoreError(
                        .usage, "--artifact is missing: a bundle names the digest of the file that was signed")
                }
                let signer = try signer(joined)
                let read = try InputFile(artifact).read(digests: [.sha256], schemes: Set(signer?.schemes ?? []))
                message.digest = read.digest(.sha256)
                joined.content = .messageSignature(message)
                if let signer {
                    var holds = false
                    for scheme in signer.schemes where !holds {
                        holds = try signer.verifies(message.signature, of: read, scheme: scheme)
                    }
                    guard holds else {
                        throw SigstoreError(
                            .invalidSignature,
                            "the signature is not one over \(artifact) by the key or certificate given",
                            advice: "check that artifact, signature and key belong together")
                    }
                }
            } else if let artifact, case .dsse(let envelope) = joined.content {
                try Attester.check(
                    statement: envelope.payload,
                    isAbout: try InputFile(artifact).read(digests: [.sha256], schemes: []).digest(.sha256))
            }
            // A log entry of cosign 2's has a promise only, which no later version takes; nor do they take a chain.
            if joined.logEntries.isEmpty, !joined.hasChain { joined.version = .v03 }
            let content = joined.serialized()
            _ = try SigstoreBundle(parsing: content)
            guard let out else { return try Output.json(content) }
            try OutputFile(out).write(content)
            Output.note("Wrote bundle to file \(out)")
        }
    }
}

extension BundleCommand.Create {
    /// The key that must have signed, where one is known.
    private func signer(_ bundle: SigstoreBundle) throws(SigstoreError) -> PublicKey? {
        if let key { return try KeyReference(key).publicKey() }
        guard case .certificates(let chain) = bundle.keyMaterial, let leaf = chain.first else { return nil }
        return try Certificate(der: leaf).publicKey
    }
}

extension SigstoreBundle {
    /// Whether more than one certificate is in it.
    fileprivate var hasChain: Bool { if case .certificates(let chain) = keyMaterial { chain.count > 1 } else { false } }
}

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
            let issuers = [try certificate.fulcioExtension(8), try certificate.fulcioExtension(1)].compactMap { $0 }
            if let issuer = issuers.first { object["issuer"] = .string(issuer) }
            object["subject"] = .string(certificate.displayName)
            object["validFrom"] = .string(CalendarTime.iso8601(certificate.notBefore))
            object["validTo"] = .string(CalendarTime.iso8601(certificate.notAfter))
            object["key"] = .string(certificate.publicKey.kind.description)
            object["serialNumber"] = .string(certificate.serialNumberHex)
            let promises = try SignedCertificateTimestamp.embedded(in: certificate)
            object["certificateTimestamps"] = .array(
                promises.map { .string("\(CalendarTime.iso8601($0.time)) by log \(Base64.encode($0.logID))") })
            return .object(object)
        } catch { return .string("cannot be read: \(error.message)") }
    }

    private static func entry(_ entry: TransparencyLogEntry) -> JSONValue {
        var object: JSONObject = [
            "index": .integer(entry.logIndex), "kind": .string("\(entry.kind) \(entry.kindVersion)"),
            "log": .string(Base64.encode(entry.logID)),
        ]
        if entry.integratedTime > 0 { object["time"] = .string(CalendarTime.iso8601(entry.integratedTime)) }
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
                "time": .string(CalendarTime.iso8601(token.time)), "over": .string(token.imprint.description),
                "policy": .string(token.policy),
            ])
        } catch { return .string("cannot be read: \(error.message)") }
    }
}
