import ArgumentParser
import InToto
import LocalSystem
import SigstoreCrypto
import StrictJSON
import SwSignCore

/// How the report of an audit is written, and what is done with it.
struct AuditReportOptions: ParsableArguments {
    @Option(name: .shortAndLong, help: "The form of the report: table, json, jsonl, csv, markdown or html.")
    var output: Form = .table
    @Option(
        help:
            "Print what changed since this report (json or jsonl), in place of the report: as table, markdown, json or jsonl.",
        completion: .file())
    var compare: String?
    @Flag(
        help:
            "Sign the report of --output-file as an attestation, beside it as FILE.sigstore.json; without --attest-key, an identity signs."
    )
    var attest = false
    @Option(
        name: .customLong("attest-key"),
        help: "The private key for --attest: a file, env://NAME, or a key service's reference.")
    var attestKey: String?
    @Option(
        name: .customLong("signing-config"), help: "For --attest: a signing config file, the services to sign with.")
    var signingConfig: String?
    @Flag(
        name: .customLong("tlog-upload"), inversion: .prefixedNo,
        help: "For --attest: record the signature in a transparency log.")
    var tlogUpload = true
    @Option(
        name: .customLong("timestamp-server-url"),
        help: "For --attest: a timestamp authority, in place of the signing config's.")
    var timestampURL: String?
    @Option(name: .customLong("identity-token"), help: "For --attest: the identity token, or a file that holds it.")
    var identityToken: String?
    @Flag(name: .shortAndLong, help: "Do not ask before something becomes public.")
    var yes = false

    /// The forms that a report is written in, by name.
    enum Form: String, ExpressibleByArgument, CaseIterable { case table, json, jsonl, csv, markdown, html }

    /// The type of the predicate of a report's attestation: the head and the sums.
    static let predicateType = "urn:swsign:audit:v1"

    /// Prepares to write a report: whatever can fail before there is one fails here, such as a password.
    /// - Parameters:
    ///   - global: The flags that every command has, with the place of the report.
    ///   - trustedRoot: The trusted root file, to verify what the services of `--attest` answer.
    ///   - staging: Whether those are the public instance's staging services.
    func begin(_ global: GlobalOptions, trustedRoot: String? = nil, staging: Bool = false, _ context: Context)
        throws(SigstoreError) -> AuditReportWriter
    {
        var writer = AuditReportWriter(format: AuditFormat(rawValue: output.rawValue) ?? .table, context: context)
        if let compare {
            guard output != .csv, output != .html else {
                throw SigstoreError(
                    .usage, "--compare cannot be written as \(output.rawValue)",
                    advice: "give --output table, markdown, json or jsonl")
            }
            writer.old = try AuditReportFile(compare)
        }
        guard attest else {
            guard attestKey == nil else {
                throw SigstoreError(.usage, "--attest-key belongs to --attest", advice: "give both")
            }
            return writer
        }
        guard let path = global.outputFile, path != "-", !path.isEmpty, !OutputFile(path).isWrittenInPlace else {
            throw SigstoreError(
                .usage, "--attest signs the file of --output-file, and none was named",
                advice: "give --output-file FILE")
        }
        let place = OutputFile(path + SignatureFile.bundleSuffix, mode: 0o644)
        try place.expectWritable()
        var none = GivenFlags([])
        var (signing, services) = (SigningOptions(&none), ServiceOptions(&none))
        (signing.key, signing.yes) = (attestKey, yes)
        (services.signingConfig, services.tlogUpload) = (signingConfig, tlogUpload)
        (services.timestampURL, services.identityToken) = (timestampURL, identityToken)
        (services.trustedRoot, services.staging) = (trustedRoot, staging)
        let session = try services.session(signing, standardInputIsTaken: false, entryPlace: .bundle, context)
        let signer = BlobSigner(session)
        try signer.expectRecordable(statementsAs: .bundle)
        try services.confirm(session, signing, attestations: true, unkept: nil, context)
        writer.attestation = AuditReportWriter.Attestation(signer: signer, name: InputFile(path).baseName, place: place)
        return writer
    }
}

/// Writes the report of an audit as the flags say.
struct AuditReportWriter {
    fileprivate let format: AuditFormat
    fileprivate let context: Context
    /// The report that this one is compared with.
    fileprivate var old: AuditReportFile?
    fileprivate var attestation: Attestation?

    fileprivate struct Attestation {
        let signer: BlobSigner
        /// The name of the report's file, and where the bundle goes.
        let name: String
        let place: OutputFile
    }

    fileprivate init(format: AuditFormat, context: Context) { (self.format, self.context) = (format, context) }

    /// Writes the report to standard output, or to the file of `--output-file`.
    func write(_ head: AuditHead, _ sums: AuditSums, _ rows: @escaping AuditRows) throws(SigstoreError) {
        let isJSON = format == .json || format == .jsonl
        let columns = context.output.isOnTerminal ? StandardStream.output.columns : nil
        var hasher: MessageHasher? = try MessageHasher(digests: [.sha256], schemes: [])
        func deliver(_ piece: [UInt8]) throws(SigstoreError) {
            if attestation != nil {
                unsafe try piece.span.bytes.withUnsafeBytes { (bytes) throws(SigstoreError) in
                    unsafe try hasher?.update(bytes)
                }
            }
            try context.output.report(piece, isJSON: isJSON)
        }
        if let old {
            try AuditComparison(head, since: old).write(format, rows: rows, columns: columns, to: deliver)
        } else {
            try format.write(head, sums, rows: rows, columns: columns, to: deliver)
        }
        guard let attestation, let digest = try hasher.take()?.finish().digest(.sha256) else { return }
        // The report has its name before its attestation does.
        try context.output.finish(succeeded: true)
        try attest(attestation, digest, head, sums)
    }

    private func attest(_ attestation: Attestation, _ digest: Digest, _ head: AuditHead, _ sums: AuditSums)
        throws(SigstoreError)
    {
        let predicate: JSONValue = .object([
            "version": .integer(AuditHead.version), "head": head.json(), "sums": sums.json(),
        ])
        let subject = ResourceDescriptor(name: attestation.name, digests: [(algorithm: "sha256", hex: digest.hex)])
        let statement = try Attester.statement(
            about: subject, type: AuditReportOptions.predicateType, predicate: predicate.serialized())
        try waiting { () throws(SigstoreError) in
            let bundle = try await attestation.signer.attest(statement)
            try await attestation.signer.session.deliver(bundle) { bundle throws(SigstoreError) in
                try attestation.place.write(bundle.serialized())
            }
        }
        context.output.note("Wrote attestation to file \(attestation.place.path)", .success)
    }
}
