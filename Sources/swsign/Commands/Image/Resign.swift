import ArgumentParser
import LocalSystem
import OCIRegistry
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import SwSignCore

struct Resign: SwSignCommand {
    static let configuration = CommandConfiguration(
        commandName: "resign", _superCommandName: SwSign.name,
        abstract: "Signs by a new key or identity every image of a repository that a former one has signed.",
        discussion: """
            The tags of each repository are listed, and each digest is looked at once. What does not verify by the former \
            signer is not signed, and neither are tags of signatures; what the new signer has signed already is left as it is.
            """)

    @Argument(
        help: "The repositories, such as registry.example/app, or oci-layout:PATH; with --plan, those in the plan.")
    var repositories: [String] = []
    @OptionGroup(title: "Former signer") var former: FormerSignerOptions
    @Option(help: "The new private key, as for sign. Without it, an identity signs.")
    var key: String?
    @OptionGroup var securityKey: SecurityKeyOptions
    @Flag(
        name: .customLong("new-bundle-format"), inversion: .prefixedNo,
        help: "Write the newer scheme; otherwise the one that cosign 2 wrote.")
    var newBundleFormat = true
    @Flag(name: .shortAndLong, help: "Do not ask before something becomes public.")
    var yes = false
    @Flag(name: .customLong("dry-run"), help: "Sign nothing, and show what would be signed.")
    var dryRun = false
    @Option(help: "With --dry-run, write what would be signed to this file; otherwise, sign exactly what is in it.")
    var plan: String?
    @Option(
        name: .customLong("signed-before"),
        help: "Sign only what a timestamp authority or a log proves to be older, such as 2026-11-01T00:00:00Z.")
    var signedBefore: String?
    @Flag(help: "Sign the former signer's attestations too.")
    var attestations = false
    @Flag(name: .shortAndLong, help: "Look at every image of an index as well.")
    var recursive = false
    @OptionGroup var storage: StorageOptions
    @Option(name: .shortAndLong, help: "How results are printed on standard output: json or text.")
    var output: OutputFormat = .text
    @OptionGroup(title: "Services and identity") var services: ServiceOptions
    @OptionGroup(title: "Registry") var registry: RegistryFlags
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run(_ context: Context) throws(SigstoreError) {
        try expectSound()
        let limit = try signedBefore.map { text throws(SigstoreError) in try Self.time(text) }
        let given = try plan.flatMap { path throws(SigstoreError) in dryRun ? nil : try Self.plan(path, context) }
        if let plan, dryRun { try OutputFile(plan).expectWritable() }
        let now = try context.signingTime()
        let access = try storage.images(registry, isLong: true, context)
        let (formerSigners, formerVerifier, lookup) = try former.verifier(
            services, needsTimes: limit != nil, context)
        var none = GivenFlags([])
        var signing = SigningOptions(&none)
        (signing.key, signing.securityKey, signing.newBundleFormat, signing.yes) = (
            key, securityKey, newBundleFormat, yes
        )
        let session = try services.session(
            signing, standardInputIsTaken: false, entryPlace: newBundleFormat ? .bundle : .legacyForm, context)
        if let own = session.key?.publicKey, formerSigners.keys.contains(where: { $0.isSame(as: own) }) {
            throw SigstoreError(
                .usage, "the new key is one of the former keys", advice: "give the new private key with --key")
        }
        let own = try waiting { () throws(SigstoreError) in try await session.verification() }
        let resigner = ImageResigner(
            former: ImageVerifier(verifier: formerVerifier, signers: formerSigners),
            latter: ImageVerifier(verifier: own.verifier, policy: own.policy), lookup: lookup, provenBefore: limit,
            takesAttestations: attestations)
        if given == nil, limit == nil {
            context.output.warn(
                "if the former key was stolen, what the thief has signed is signed anew too: --signed-before TIME leaves out "
                    + "what is not proven to be older, and --dry-run --plan FILE lets a person look first")
        }
        var run = ResigningRun(
            resigner: resigner, access: access, isRecursive: recursive,
            creationTime: storage.creationTime(now),
            reportsLeft: limit != nil, context: context)
        try run.find(in: repositories, given)
        try run.examine(given)
        if dryRun {
            if let plan {
                try context.output.write(
                    run.plan(at: Instant(seconds: now)).json().serialized(), .json, to: plan, "plan")
            }
        } else if run.hasWork {
            let signer = BlobSigner(session)
            if newBundleFormat || attestations {
                try signer.expectRecordable(statementsAs: newBundleFormat ? .bundle : .detached)
            }
            if !newBundleFormat { try signer.expectRecordable(filesAs: [.detached]) }
            try services.confirm(session, signing, attestations: attestations, unkept: nil, context)
            access.noteScheme("signature", isLegacyForm: !newBundleFormat, isQuiet: global.quiet)
            try run.sign(ImageSigner(signer: signer, scheme: newBundleFormat ? .bundle : .layer, now: now))
        }
        try run.report(output, isDry: dryRun)
    }

    private func expectSound() throws(SigstoreError) {
        guard !repositories.isEmpty || plan != nil && !dryRun else {
            throw SigstoreError(.usage, "no repository is named", advice: "name one, such as registry.example/app")
        }
        try former.expectGiven()
        try registry.connection.expectWritable(newBundleFormat: newBundleFormat)
    }

    private static func time(_ text: String) throws(SigstoreError) -> Instant {
        guard let time = Instant(rfc3339: text) ?? Instant(rfc3339: text + "T00:00:00Z") else {
            throw SigstoreError(
                .usage, "--signed-before is \"\(text)\", which is not a time",
                advice: "write it as 2026-11-01T00:00:00Z, or as 2026-11-01 for the beginning of that day in UTC")
        }
        return time
    }

    private static func plan(_ path: String, _ context: Context) throws(SigstoreError) -> ResigningPlan {
        let file = InputFile(path)
        let content = try file.contents(limit: ResigningPlan.byteLimit)
        let plan: ResigningPlan
        do throws(SigstoreError) { plan = try ResigningPlan(parsing: content) } catch {
            throw error.concerning("the plan \(file.name)")
        }
        if !plan.isComplete {
            context.output.warn("not everything could be looked at when the plan \(file.name) was made")
        }
        return plan
    }
}

/// The flags that say who has signed so far, and what must hold of that.
struct FormerSignerOptions: ParsableArguments {
    @OptionGroup var named: FormerSigners
    @Flag(
        name: .customLong("insecure-ignore-tlog"),
        help: "Do not demand an entry in a transparency log of former signatures. Weakens the check.")
    var insecureIgnoreTlog = false
    @Flag(
        name: .customLong("private-infrastructure"),
        help: "The same, for signatures that were meant to be made without a log.")
    var privateInfrastructure = false
    @Flag(
        name: .customLong("allow-http-key"),
        help: "Let a public key come over plain HTTP from another machine, where it can be replaced on its way.")
    var allowHTTPKey = false

    func expectGiven() throws(SigstoreError) {
        let identities = try named.identities()
        guard named.keys.isEmpty, identities.isEmpty else { return }
        throw SigstoreError(
            .usage, "nothing says who has signed so far",
            advice: "give the former public key with --former-key, or --former-signer identity=…,issuer=…")
    }

    /// What verifies former signatures.
    /// - Parameters:
    ///   - services: The flags that say whom to believe.
    ///   - needsTimes: Whether it matters when something was signed.
    func verifier(_ services: ServiceOptions, needsTimes: Bool, _ context: Context) throws(SigstoreError)
        -> (signers: DemandedSigners, verifier: Verifier, lookup: LogLookup?)
    {
        var words = named.keys.map { "--key=\($0)" } + named.signers.map { "--signer=\($0)" }
        if insecureIgnoreTlog { words.append("--insecure-ignore-tlog") }
        if privateInfrastructure { words.append("--private-infrastructure") }
        if allowHTTPKey { words.append("--allow-http-key") }
        if services.staging { words.append("--staging") }
        if let root = services.trustedRoot { words.append("--trusted-root=\(root)") }
        var given = GivenFlags(words[...])
        let (verification, identity, trust) = (
            VerificationOptions(&given), IdentityOptions(&given), TrustOptions(&given)
        )
        let signers = try verification.signers(identity, standardInputIsTaken: false, context)
        let verifier: Verifier
        if needsTimes {
            verification.trustVariables(identity, trust, context)
            verifier = Verifier(trustedRoot: try trust.trust(offline: false, context), now: context.now)
        } else {
            verifier = try verification.verifier(identity, trust, context)
        }
        return (signers, verifier, verification.lookup(verifier, signers, context))
    }
}
