import ArgumentParser
import LocalSystem
import Provenance
import SigstoreVerification
import StrictJSON
import SwSignCore

struct VerifyProvenance: SwSignCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify-provenance", _superCommandName: SwSign.name,
        abstract:
            "Verifies who built packages, by the rules of where they are published. Nobody is asked over the network.")

    @Argument(help: "The files whose provenance is verified, or directories of them.")
    var files: [String]
    @Option(
        help:
            "Where the provenance is from: \(ProvenanceSource.allCases.map(\.rawValue).joined(separator: ", ")); without it, what the attestations plainly say."
    )
    var from: Origin?
    @Option(
        name: [.long, .customShort("b")],
        help:
            "The file with the attestations, or a folder with a file for each file by its name; without it, what stands beside each file."
    )
    var attestations: String?
    @OptionGroup(title: "Who must have built it") var publisher: PublisherOptions
    @OptionGroup(title: "Models") var model: ModelSignerOptions
    @Option(
        name: .customLong("trusted-root"), help: "A trusted root file; without it, the public Sigstore instance's.")
    var trustedRoot: String?
    @Flag(help: "Believe the public instance's staging, which is for rehearsals only.")
    var staging = false
    @Option(help: "How results are printed: text, or json on standard output, one object a file.")
    var output: OutputFormat = .text
    @Option(name: .customLong("max-workers"), help: "How many files are worked on at the same time.")
    var maxWorkers = 10
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run(_ context: Context) throws(SigstoreError) {
        try BlobBatch.expectOneStandardInput(files + [attestations].compactMap { $0 })
        if from?.source == .model || from == nil && files.allSatisfy(ModelSignerOptions.isModel) {
            return try verifyModels(context)
        }
        try model.expectUnused()
        var inputs: [InputFile] = []
        for name in files {
            guard let inside = try InputFile(name).filesInDirectory() else {
                inputs.append(InputFile(name))
                continue
            }
            let found = AttestationFiles.artifacts(among: inside)
            guard !found.isEmpty else {
                throw SigstoreError(.fileNotFound, "there is no file to verify in the directory \(name)")
            }
            inputs += found
        }
        let rules = ProvenanceRules(from: from?.source, pypi: try publisher.pypi())
        var sources = TrustSources(context: context)
        (sources.trustedRoot, sources.staging) = (trustedRoot, staging)
        context.trustVariables.named(sources.variables)
        let verifier = Verifier(trustedRoot: try sources.trustedRoot(offline: true), now: context.now)
        let place = attestations.map(InputFile.init)
        let isOneOfMany = inputs.count > 1
        try BlobBatch(verb: "verified", workers: maxWorkers, context: context).forEachOnThreads(inputs) {
            file throws(SigstoreError) in
            do throws(SigstoreError) {
                try file.expectFile()
                let document = try AttestationFiles.document(for: file, at: place)
                let verified = try rules.verify(file, document, with: verifier)
                let description = ProvenanceDescription(file.name, verified)
                if output == .json { try context.output.json(description.json) }
                if !isOneOfMany {
                    context.output.note("Verified OK", .success)
                    for line in description.lines { context.output.note("  \(line)") }
                }
                for warning in verified.attestations.flatMap(\.warnings) {
                    context.output.warn("\(file.name): \(warning.message)")
                }
                return "Verified OK, \(description.summary)"
            } catch {
                if output == .json, error.code != .outputFailed, error.code != .readerEnded {
                    try context.output.json(ProvenanceDescription.json(file.name, error))
                }
                throw error
            }
        }
    }
}

extension VerifyProvenance {
    /// An ecosystem by its name.
    struct Origin: ExpressibleByArgument {
        let source: ProvenanceSource

        init?(argument: String) {
            guard let source = ProvenanceSource(rawValue: argument) else { return nil }
            self.source = source
        }

        static var allValueStrings: [String] { ProvenanceSource.allCases.map(\.rawValue) }
    }
}

/// What is demanded of each ecosystem's files in one run.
struct ProvenanceRules: Sendable {
    /// The ecosystem that was named; `nil` if each file's attestations are to say it.
    let from: ProvenanceSource?
    /// What is demanded of files of PyPI; `nil` if nothing was said of them.
    let pypi: PyPIPolicy?

    /// Verifies one file by the rules of the ecosystem that its attestations are from.
    func verify(_ file: InputFile, _ document: AttestationDocument, with verifier: Verifier) throws(SigstoreError)
        -> VerifiedProvenance
    {
        guard let source = from ?? document.source else {
            throw SigstoreError(
                .unclearProvenance,
                "the attestations are \(document.forms.map(\.rawValue).sorted().joined(separator: " and ")), and do not say "
                    + "plainly where they are from",
                advice: .sentence(
                    "say it with --from: \(ProvenanceSource.allCases.map(\.rawValue).joined(separator: ", "))"))
        }
        switch source {
        case .pypi:
            guard let pypi else {
                throw SigstoreError(
                    .usage, "nothing says who must have published the file",
                    advice: "give --repository, or --certificate-identity and --certificate-oidc-issuer")
            }
            return try pypi.verify(file, name: file.baseName, document, with: verifier)
        case .model:
            throw SigstoreError(
                .unclearProvenance, "this is about a package, and models were named",
                advice: "name the model's folder")
        }
    }
}

/// The flags that say who must have built or published.
struct PublisherOptions: ParsableArguments {
    @Option(help: "pypi: the repository that must have published, such as https://github.com/OWNER/NAME.")
    var repository: String?
    @Option(
        name: .customLong("certificate-identity"),
        help: "The identity that the certificate must show, byte for byte; needs --certificate-oidc-issuer.")
    var identity: String?
    @Option(
        name: .customLong("certificate-identity-regexp"),
        help: "A regular expression (RE2, unanchored) that the identity must match; needs --certificate-oidc-issuer.")
    var identityPattern: String?
    @Option(name: .customLong("certificate-oidc-issuer"), help: "The issuer of the identity token, byte for byte.")
    var issuer: String?

    /// The identity that is demanded; `nil` if none is.
    func demandedIdentity() throws(SigstoreError) -> CertificateIdentity? {
        guard identity != nil || identityPattern != nil || issuer != nil else { return nil }
        guard identity == nil || identityPattern == nil else {
            throw SigstoreError(
                .usage, "--certificate-identity and --certificate-identity-regexp cannot be given together")
        }
        guard let issuer, !issuer.isEmpty, let subject = try subject() else {
            throw SigstoreError(
                .usage, "an identity needs both a name and an issuer, since one without the other trusts a stranger",
                advice: "give --certificate-identity and --certificate-oidc-issuer")
        }
        return CertificateIdentity(subject: subject, issuer: .exactly(issuer))
    }

    private func subject() throws(SigstoreError) -> CertificateIdentity.Pattern? {
        if let identityPattern { return .matching(try IdentityPattern(identityPattern)) }
        return identity.flatMap { $0.isEmpty ? nil : .exactly($0) }
    }

    /// What is demanded of files of PyPI; `nil` if nothing is.
    func pypi() throws(SigstoreError) -> PyPIPolicy? {
        let identity = try demandedIdentity()
        switch (repository, identity) {
        case (nil, nil): return nil
        case (let repository?, nil): return try PyPIPolicy(.repository(repository))
        case (nil, let identity?): return try PyPIPolicy(.identity(identity))
        case (_?, _?):
            throw SigstoreError(.usage, "--repository and --certificate-identity cannot be given together")
        }
    }
}

/// Provenance that holds, in words and for programs.
struct ProvenanceDescription {
    private let name: String
    private let verified: VerifiedProvenance
    private let attestations: [VerifiedDescription]

    init(_ name: String, _ verified: VerifiedProvenance) {
        (self.name, self.verified) = (name, verified)
        attestations = verified.attestations.map { VerifiedDescription($0) }
    }

    /// What came of it, for a person: a line for each fact, and for each attestation.
    var lines: [String] {
        verified.facts.map { "\($0.fact.words): \($0.value)" }
            + zip(verified.attestations, attestations).flatMap { attestation, description in
                [
                    "attested: \(attestation.statement?.predicateType.uri ?? "the file itself"), \(description.line)",
                    "checked: \(description.checks)",
                ]
            }
    }

    /// The same in a few words.
    var summary: String {
        func fact(_ name: VerifiedProvenance.Fact) -> String? { verified.facts.first { $0.fact == name }?.value }
        let what = [fact(.package), fact(.version)].compactMap { $0 }.joined(separator: " ")
        let by = fact(.sourceRepository) ?? attestations.first?.signer
        return [what, by].compactMap { $0 }.filter { !$0.isEmpty }.joined(separator: ", ")
    }

    /// The object that `--output json` prints.
    var json: JSONValue {
        var object: JSONObject = [
            "version": .integer(1), "file": .string(name), "verified": .bool(true),
            "from": .string(verified.source.rawValue),
        ]
        object["facts"] = .object(
            JSONObject(verified.facts.map { (name: $0.fact.rawValue, value: .string($0.value)) }))
        object["attestations"] = .array(attestations.map { .object(JSONObject($0.members)) })
        return .object(object)
    }

    /// The object for a file whose provenance does not hold.
    static func json(_ name: String, _ error: SigstoreError) -> JSONValue {
        var object: JSONObject = ["version": .integer(1), "file": .string(name), "verified": .bool(false)]
        if case .object(let members) = Output.report(error.advised), let words = members["error"] {
            object["error"] = words
        }
        return .object(object)
    }
}
