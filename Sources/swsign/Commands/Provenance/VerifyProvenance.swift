import ArgumentParser
import LocalSystem
import Provenance
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import SwSignCore

struct VerifyProvenance: SwSignCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify-provenance", _superCommandName: SwSign.name,
        abstract:
            "Verifies who built packages, by the rules of where they are published. Only with --fetch is anything asked over the network."
    )

    @Argument(
        help:
            "The files whose provenance is verified, or directories of them; images as oci://IMAGE or oci-layout:PATH.")
    var files: [String] = []
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
    @OptionGroup(title: "At which branch or tag, and with what (slsa)") var build: BuildOptions
    @OptionGroup(title: "A verification summary in place of provenance (slsa)") var summary: SummaryOptions
    @OptionGroup(title: "Over the network") var fetching: FetchOptions
    @OptionGroup(title: "Models") var model: ModelSignerOptions
    @Option(
        name: .customLong("trusted-root"),
        help:
            "A trusted root file, or several roots, one a line, of which the one counts that the certificate leads to; without it, the public Sigstore instance's."
    )
    var trustedRoot: String?
    @Flag(help: "Believe the public instance's staging, which is for rehearsals only.")
    var staging = false
    @Option(help: "How results are printed: text, or json on standard output, one object a file.")
    var output: OutputFormat = .text
    @OptionGroup(title: "Registry of images") var registry: RegistryFlags
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run(_ context: Context) throws(SigstoreError) {
        try BlobBatch.expectOneStandardInput(files + [attestations].compactMap { $0 })
        let given = publisher.given + build.given
        if summary.isDemanded { return try verifySummary(given, context) }
        guard !files.isEmpty else {
            throw SigstoreError(.usage, "no file is named", advice: "name the files whose provenance is to be verified")
        }
        if from?.source == .model || from == nil && files.allSatisfy(ModelSignerOptions.isModel) {
            return try verifyModels(context)
        }
        try model.expectUnused()
        if let source = from?.source { try DemandFlag.expect(given, by: source, isNamed: true) }
        let inputs = try inputs()
        try fetching.expectSound(images: inputs.filter(\.isImage))
        var sources = TrustSources(context: context)
        (sources.trustedRoot, sources.staging) = (trustedRoot, staging)
        // One file without a name of a package is a lock file.
        if from?.source == .npm, inputs.count == 1, !publisher.namesPackage, let lock = inputs.first {
            return try verifyLockFile(lock, sources, context)
        }
        // A source without a package is what SLSA's rules begin with.
        let slsa =
            publisher.isAboutNPM || from?.source == .npm
            ? nil : try build.slsa(source: publisher.sourceURI, builder: publisher.builderID)
        let offline = !fetching.fetch
        let rules = ProvenanceRules(
            from: from?.source, given: given, github: try publisher.github(), pypi: try publisher.pypi(),
            npm: try publisher.npm(files: inputs.count, sources, offline: offline), slsa: slsa,
            conda: try publisher.conda())
        let host = rules.github?.host ?? GitHubPolicy.publicHost
        guard trustedRoot != nil || host.utf8.elementsEqual(GitHubPolicy.publicHost.utf8) else {
            throw SigstoreError(
                .usage, "the trusted root of \(host) is not at hand, and is not fetched",
                advice: "give it with --trusted-root: gh attestation trusted-root --hostname \(host) prints it")
        }
        context.trustVariables.named(sources.variables)
        let place = attestations.map(InputFile.init)
        let asksServer = fetching.fetch && place == nil && !(fetching.bundleFromOCI && inputs.allSatisfy(\.isImage))
        let access = ProvenanceAccess(
            options: fetching, place: place, images: try registry.images(context), rules: rules,
            server: asksServer ? try fetching.server(rules.serverSource, host: host, context) : nil)
        let root =
            rules.github == nil
            ? try sources.trustedRoot(offline: offline) : try sources.gitHubTrustedRoot(offline: offline)
        let verifier = Verifier(trustedRoot: root, now: context.now)
        let isOneOfMany = inputs.count > 1
        let batch = BlobBatch(verb: "verified", workers: registry.connection.maxWorkers, context: context)
        guard !access.waits(for: inputs) else {
            return try batch.forEach(inputs) { file throws(SigstoreError) in
                let outcome: Result<VerifiedProvenance, SigstoreError>
                do throws(SigstoreError) {
                    try file.expectFile()
                    outcome = .success(try await access.verify(file, with: verifier))
                } catch { outcome = .failure(error) }
                return try report(file, outcome, isOneOfMany: isOneOfMany, context)
            }
        }
        // A file of attestations is read and verified once, however many files they are about.
        let shared = isOneOfMany ? place.flatMap(Self.shared) : nil
        let known = shared.map { _ in KnownAttestations() }
        let workers = isOneOfMany ? Workers.one : BlobBatch.threads
        try batch.forEachOnThreads(inputs) { file throws(SigstoreError) in
            let outcome = Result<VerifiedProvenance, SigstoreError> { () throws(SigstoreError) in
                try file.expectFile()
                let document =
                    if let shared { try shared.get() } else {
                        try AttestationFiles.document(for: file, at: place, by: workers)
                    }
                return try rules.verify(
                    file, try file.artifact(), document, with: verifier, by: workers, knowing: known)
            }
            return try report(file, outcome, isOneOfMany: isOneOfMany, context)
        }
    }

    /// The files that were named, and those in the directories that were.
    private func inputs() throws(SigstoreError) -> [InputFile] {
        var inputs: [InputFile] = []
        for name in files {
            let input = InputFile(name)
            guard !input.isImage, let inside = try input.filesInDirectory() else {
                inputs.append(input)
                continue
            }
            let found = AttestationFiles.artifacts(among: inside, areElsewhere: attestations != nil)
            guard !found.isEmpty else {
                throw SigstoreError(.fileNotFound, "there is no file to verify in the directory \(name)")
            }
            inputs += found
        }
        return inputs
    }

    /// Prints what came of a file.
    /// - Parameter isInList: Whether its name is not what was typed.
    /// - Returns: The same in a few words.
    func report(
        _ file: InputFile, _ outcome: Result<VerifiedProvenance, SigstoreError>, isOneOfMany: Bool,
        isInList: Bool = false, _ context: Context
    ) throws(SigstoreError) -> String {
        switch outcome {
        case .success(let verified):
            let description = ProvenanceDescription(file.name, verified)
            if output == .json { try context.output.json(try description.json()) }
            if !isOneOfMany {
                context.output.note("Verified OK", .success)
                for line in description.lines { context.output.note("  \(line)") }
            }
            for warning in verified.attestations.flatMap(\.warnings) {
                context.output.warn("\(file.name): \(warning.message)")
            }
            return "Verified OK, \(description.summary)"
        case .failure(let error):
            if output == .json, error.code != .outputFailed, error.code != .readerEnded {
                try context.output.json(ProvenanceDescription.json(file.name, error))
            }
            throw isInList && !isOneOfMany ? error.concerning(file.name) : error
        }
    }
}

extension VerifyProvenance {
    /// The attestations of several files in one file, or why it cannot be read; `nil` if they are in a folder.
    private static func shared(_ place: InputFile) -> Result<AttestationDocument, SigstoreError>? {
        guard !AttestationFiles.isFolder(place) else { return nil }
        return Result { () throws(SigstoreError) in
            try AttestationFiles.document(for: place, at: place, by: BlobBatch.threads)
        }
    }

    /// Verifies every package of npm's lock file, each with its attestations in the folder, `NAME@VERSION.json`, or as the registry
    /// has them.
    private func verifyLockFile(_ file: InputFile, _ sources: TrustSources, _ context: Context) throws(SigstoreError) {
        let lock: NPMLockFile
        let content = try file.contents(limit: 1 << 26)
        do throws(SigstoreError) { lock = try NPMLockFile(parsing: content) } catch {
            throw error.concerning(file.name)
        }
        guard attestations != nil || fetching.fetch else {
            throw SigstoreError(
                .usage, "nothing says where the packages' attestations are",
                advice:
                    "give the folder with --attestations: a file NAME@VERSION.json for each package; or have them fetched with --fetch"
            )
        }
        let folder = attestations.map { $0.hasSuffix("/") ? String($0.dropLast()) : $0 }
        let server = folder == nil ? try fetching.server(.npm, context) : nil
        let keys = try publisher.keys(sources, offline: !fetching.fetch)
        let build: BuildDemand
        if let given = try publisher.build() {
            build = given
        } else {
            build = try BuildDemand(builderID: publisher.builderID)
        }
        context.trustVariables.named(sources.variables)
        let verifier = Verifier(trustedRoot: try sources.trustedRoot(offline: !fetching.fetch), now: context.now)
        var outcomes: [[UInt8]: Result<NPMLockFile.Package, SigstoreError>] = [:]
        var names: [InputFile] = []
        for (name, outcome) in lock.packages.map({ ($0.reference, Result<_, SigstoreError>.success($0)) })
            + lock.unprovable.map({ ($0.place, .failure($0.reason)) })
        {
            names.append(InputFile(name))
            outcomes[Array(name.utf8)] = outcome
        }
        var batch = BlobBatch(verb: "verified", workers: registry.connection.maxWorkers, context: context)
        batch.names = (many: "packages", title: "PACKAGE")
        let (isOneOfMany, known) = (names.count > 1, outcomes)
        @Sendable func package(_ label: InputFile) throws(SigstoreError) -> NPMLockFile.Package {
            guard let package = try known[Array(label.path.utf8)]?.get() else {
                throw SigstoreError(.noProvenance, "it was not looked at")
            }
            return package
        }
        @Sendable func verify(_ package: NPMLockFile.Package, _ document: AttestationDocument) throws(SigstoreError)
            -> VerifiedProvenance
        {
            try NPMPolicy(package: package.name, version: package.version, keys: keys, build: build)
                .verify(ArtifactDigest(package.digest), document, with: verifier)
        }
        if let server {
            return try batch.forEach(names) { label throws(SigstoreError) in
                let outcome: Result<VerifiedProvenance, SigstoreError>
                do throws(SigstoreError) {
                    let package = try package(label)
                    let document = try await server.npm(package: package.name, version: package.version)
                    outcome = .success(
                        try await onBlockingThread { () throws(SigstoreError) in try verify(package, document) })
                } catch { outcome = .failure(error) }
                return try report(label, outcome, isOneOfMany: isOneOfMany, isInList: true, context)
            }
        }
        try batch.forEachOnThreads(names) { label throws(SigstoreError) in
            let outcome = Result<VerifiedProvenance, SigstoreError> { () throws(SigstoreError) in
                let package = try package(label)
                let path = "\(folder ?? ".")/\(package.reference).json"
                guard OutputFile(path).exists else {
                    throw SigstoreError(
                        .noProvenance, "there are no attestations of it: \(path) is not there",
                        advice: .sentence(
                            "get https://registry.npmjs.org/-/npm/v1/attestations/\(package.reference), or give --fetch; a "
                                + "package without provenance has none"))
                }
                return try verify(package, try AttestationFiles.document(for: label, at: InputFile(path)))
            }
            return try report(label, outcome, isOneOfMany: isOneOfMany, isInList: true, context)
        }
    }

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
    /// The flags that demand something.
    let given: [DemandFlag]
    /// What is demanded of what workflows of GitHub attested; `nil` if nothing was said of it.
    let github: GitHubPolicy?
    /// What is demanded of files of PyPI; `nil` if nothing was said of them.
    let pypi: PyPIPolicy?
    /// What is demanded of a package of npm; `nil` if nothing was said of one.
    let npm: NPMPolicy?
    /// What is demanded of what has SLSA's provenance; `nil` if nothing was said of it.
    let slsa: SLSAPolicy?
    /// What is demanded of packages of conda; `nil` if nothing says who must have published them.
    let conda: CondaPolicy?

    /// The ecosystem whose server is asked for attestations: the one that was named, or the only one of which something is
    /// demanded.
    var serverSource: ProvenanceSource? {
        if let from { return from }
        let demanded: [(isDemanded: Bool, source: ProvenanceSource)] = [
            (github != nil, .github), (pypi != nil, .pypi), (npm != nil, .npm), (slsa != nil, .slsa),
        ]
        let sources = demanded.filter(\.isDemanded).map(\.source)
        return sources.count == 1 ? sources[0] : nil
    }

    /// The error if nothing is demanded of GitHub's.
    var nothingDemanded: SigstoreError {
        SigstoreError(
            .usage, "nothing says whose workflow must have built the file", advice: "give --repo or --owner")
    }

    /// Verifies one file by the rules of the ecosystem that its attestations are from.
    /// - Parameters:
    ///   - file: What was named.
    ///   - artifact: The file, or the digest of the image.
    func verify(
        _ file: InputFile, _ artifact: any ArtifactSource, _ document: AttestationDocument, with verifier: Verifier,
        by workers: Workers = .one, knowing known: KnownAttestations? = nil
    ) throws(SigstoreError) -> VerifiedProvenance {
        let source = try source(of: document)
        try DemandFlag.expect(given, by: source, isNamed: from != nil)
        guard source == .github || source == .slsa || !file.isImage else {
            throw SigstoreError(
                .usage, "\(file.path) is an image, and attestations of \(source.rawValue) are not about images",
                advice: "say where they are from with --from github")
        }
        switch source {
        case .github:
            guard let github else { throw nothingDemanded }
            return try github.verify(artifact, document, with: verifier, by: workers, knowing: known)
        case .pypi:
            guard let pypi else {
                throw SigstoreError(
                    .usage, "nothing says who must have published the file",
                    advice: "give --repository, or --certificate-identity and --certificate-oidc-issuer")
            }
            return try pypi.verify(file, name: file.baseName, document, with: verifier, by: workers)
        case .model:
            throw SigstoreError(
                .unclearProvenance, "this is about a package, and models were named",
                advice: "name the model's folder")
        case .npm:
            guard let npm else {
                throw SigstoreError(
                    .usage, "nothing says which package it is, and who must have built it",
                    advice: "give --package, --package-version and --source-uri")
            }
            return try npm.verify(try file.package(), document, with: verifier)
        case .slsa:
            guard let slsa else {
                throw SigstoreError(
                    .usage, "nothing says which repository must have been built",
                    advice: "give --source-uri github.com/OWNER/NAME")
            }
            return try slsa.verify(
                artifact, document, isImage: file.isImage, with: verifier, by: workers, knowing: known)
        case .conda:
            guard let conda else {
                throw SigstoreError(
                    .usage, "nothing says who must have published the package",
                    advice: "give --repo or --owner, or --certificate-identity and --certificate-oidc-issuer")
            }
            return try conda.verify(
                artifact, name: file.baseName, document, with: verifier, by: workers, knowing: known)
        }
    }

    /// Whose rules the attestations are read by.
    private func source(of document: AttestationDocument) throws(SigstoreError) -> ProvenanceSource {
        if let from { return from }
        let stated = document.source
        // Rules for what a workflow of GitHub attested are gh's and SLSA's: the flags say which are meant.
        if [nil, .github, .slsa].contains(stated) {
            if github != nil { return .github }
            if slsa != nil { return .slsa }
        }
        guard let stated else {
            throw SigstoreError(
                .unclearProvenance,
                "the attestations are \(document.forms.map(\.rawValue).sorted().joined(separator: " and ")), and do not say "
                    + "plainly where they are from",
                advice: .sentence(
                    "say it with --from: \(ProvenanceSource.allCases.map(\.rawValue).joined(separator: ", "))"))
        }
        return stated
    }
}

extension InputFile {
    /// A package's archive, or its digest: `sha512:<hex>`, or `sha512-<base64>` as lock files have it, if no file has that name.
    func package() throws(SigstoreError) -> any ArtifactSource {
        let integrity = "sha512-"
        guard path.utf8.starts(with: integrity.utf8), !OutputFile(path).exists else { return try artifact() }
        guard let bytes = Base64.decode(Array(path.utf8.dropFirst(integrity.utf8.count))) else {
            throw SigstoreError(.malformedDigest, "\(path) is no digest: expected sha512- and base64")
        }
        return ArtifactDigest(try Digest(.sha512, bytes: bytes))
    }
}
