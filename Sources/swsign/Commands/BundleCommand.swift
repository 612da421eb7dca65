import ArgumentParser
import InToto
import SigstoreCrypto
import SigstoreVerification
import SwSignCore

struct BundleCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bundle", abstract: "Shows what a bundle holds.", subcommands: [Inspect.self])

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
            let input = InputFile(file)
            let rows = try BundleDescription(try SignatureFile.bundle(input)).rows
            if output == .json {
                let members = rows.map { (name: $0.name, value: $0.json) }
                try Output.json(.object(JSONObject([(name: "version", value: .integer(1))] + members)))
            } else {
                for row in rows { for line in row.lines { try Output.result(line) } }
                Output.note("Nothing of this was verified.")
            }
        }
    }
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
            add("Digest", "digest", .string(message.digest?.description ?? "not stated (the signature is over the file itself)"))
        case .dsse(let envelope):
            add("Content", "content", .string("attestation"))
            add("Payload type", "payloadType", .string(envelope.payloadType))
            if let statement = try? Statement(parsing: envelope.payload) {
                add("Predicate type", "predicateType", .string(statement.predicateType.uri))
                add("Subject", "subjects", .array(statement.subjects.map(Self.subject)))
            }
        }
        add("Signature", "signature", .bytes(try bundle.signature()))
        switch bundle.keyMaterial {
        case .publicKey(let hint):
            add("Signed with", "signedWith", .string("a key"))
            add("Key hint", "keyHint", .string(hint.isEmpty ? "none" : hint))
        case .certificates(let chain):
            add("Signed with", "signedWith", .string("a certificate"))
            add("Certificates", "certificates", .integer(chain.count))
        }
        add("Log entry", "logEntries", .array(bundle.logEntries.map(Self.entry)))
        add("Signed timestamps", "signedTimestamps", .integer(bundle.timestamps.count))
    }

    private mutating func add(_ label: String, _ name: String, _ json: JSONValue) {
        rows.append(Row(label: label, name: name, json: json))
    }

    private static func subject(_ subject: ResourceDescriptor) -> JSONValue {
        var object: JSONObject = [:]
        if let name = subject.name { object["name"] = .string(name) }
        for digest in subject.digests { object[digest.algorithm] = .string(digest.hex) }
        return .object(object)
    }

    private static func entry(_ entry: TransparencyLogEntry) -> JSONValue {
        var object: JSONObject = [
            "index": .integer(entry.logIndex), "kind": .string("\(entry.kind) \(entry.kindVersion)"),
            "log": .string(Base64.encode(entry.logID)),
        ]
        if entry.integratedTime > 0 { object["time"] = .string(UTCTime.text(entry.integratedTime)) }
        if entry.promise != nil { object["promise"] = .bool(true) }
        if entry.proof != nil { object["proof"] = .bool(true) }
        return .object(object)
    }
}
