import ArgumentParser
import HTTPTransport
import KeyProviders
import LocalSystem
import SigstoreClients
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import SwSignCore

/// The flags of the commands that sign, files and images.
struct SigningOptions: ParsableArguments {
    @Option(
        help:
            "The private key: a file, env://NAME, - for standard input, or a key service's reference. Without it, an identity signs."
    )
    var key: String?
    @OptionGroup var securityKey: SecurityKeyOptions
    @Option(help: "Write a Sigstore bundle to this file.")
    var bundle: String?
    @Option(name: .customLong("output-signature"), help: "Write the signature to this file.")
    var outputSignature: String?
    @Option(
        name: .customLong("output-certificate"), help: "Write the signer's certificate to this file, as cosign 2 does.")
    var outputCertificate: String?
    @Option(
        name: .customLong("rfc3161-timestamp"), help: "Write the signature's timestamp to this file, as cosign 2 does.")
    var timestampOutput: String?
    @Flag(
        name: .customLong("new-bundle-format"), inversion: .prefixedNo,
        help: "Write bundles of version 0.3; otherwise the form that cosign 2 wrote.")
    var newBundleFormat = true
    @Flag(
        name: .shortAndLong,
        help: "Do not ask before something becomes public; replace a bundle that stands beside its file."
    )
    var yes = false

    /// Refuses outputs that would take the place of what is read, or of each other.
    /// - Parameters:
    ///   - others: Outputs of flags that are not among these.
    ///   - inputs: The files that are read; the key is one more.
    ///   - files: Those of them that are signed.
    ///   - printing: Whether something is printed that no flag has a place for.
    func expectOwnPlaces(
        _ others: [String?] = [], inputs: [String?], files: [String?] = [], printing: Bool
    ) throws(SigstoreError) {
        let places = ([bundle, outputSignature, outputCertificate, timestampOutput] + others).compactMap { $0 }
        let printed = places.filter { $0 == "-" }
        guard printed.count + (printing ? 1 : 0) <= 1 else {
            throw SigstoreError(
                .usage, "two things would be written to standard output (-)", advice: "name a file for one of the two")
        }
        guard printed.isEmpty || !files.contains("-") else {
            throw SigstoreError(
                .usage, "- is given both for the file that is signed and for what is written",
                advice: "name a file for one of the two")
        }
        let outputs = places.filter { $0 != "-" }.map { OutputFile($0) }
        for (index, output) in outputs.enumerated() {
            if let input = (inputs + [key]).compactMap({ $0 }).first(where: { $0 != "-" && output.isSame(as: $0) }) {
                throw SigstoreError(
                    .usage, "\(input) is read, and would be replaced by what is written to \(output.path)")
            }
            if outputs[..<index].contains(where: { output.isSame(as: $0.path) }) {
                throw SigstoreError(.usage, "two things would be written to \(output.path)")
            }
            try output.expectWritable()
        }
    }

    /// Refuses what cannot be written because there will be no such thing, before anything is signed. A certificate that a key
    /// does not have is only warned of, as cosign has it.
    func expectParts(of session: SigningSession, _ context: Context) throws(SigstoreError) {
        if timestampOutput != nil, !session.isTimestamped {
            throw SigstoreError(
                .usage,
                "--rfc3161-timestamp: no timestamp authority is asked, so there would be no timestamp; nothing was signed",
                advice: "name one with --timestamp-server-url or --signing-config, or leave the flag out")
        }
        if let outputCertificate, session.key != nil, session.certificates.isEmpty {
            context.output.warn("a key signs, so there is no certificate to write to \(outputCertificate)")
        }
    }

    /// What keeps the log entry of an image's signature, if nothing does now; `nil` if it is kept.
    /// - Parameter upload: Whether the signature is put beside the image.
    func unkept(upload: Bool) -> String? {
        guard !upload, bundle == nil else { return nil }
        return newBundleFormat ? "give --bundle FILE" : "leave --upload=false out"
    }

    /// Writes the parts that cosign 2 keeps in files of their own, if they are wanted and there.
    func writeParts(of bundle: SigstoreBundle, _ context: Context) throws(SigstoreError) {
        let parts = LegacySignature(bundle)
        if let path = outputCertificate, let certificate = try parts.certificate() {
            try context.output.write(
                Array(Base64.encode(Array(certificate.utf8)).utf8), .line, to: path, "certificate")
        }
        if let path = timestampOutput, let timestamp = parts.timestamp() {
            try context.output.write(timestamp.serialized(), .json, to: path, "timestamp")
        }
    }
}

/// Where the log entry of a signature is kept, which decides on the log.
enum LogEntryPlace {
    /// In a bundle.
    case bundle
    /// In the form that cosign 2 wrote, which has no place for entries of Rekor v2.
    case legacyForm
    /// Nowhere. Who verifies the signature has to ask a log for it, and only Rekor v1 answers.
    case nowhere
    /// In a bundle, by this log alone.
    case log(RekorClient.Version)

    /// The versions of Rekor that will do, the best first.
    /// - Parameter key: The key that signs; `nil` without one.
    func versions(_ key: (any Signer)?) -> [RekorClient.Version] {
        switch (self, key?.publicKey.kind) {
        case (.log(let version), _): [version]
        case (.legacyForm, _): [.v1]
        // A signature alone is over SHA-256, which Rekor v1 does not take of these.
        case (.nowhere, .ecP384?), (.nowhere, .ecP521?), (.bundle, _): [.v2, .v1]
        case (.nowhere, _): [.v1, .v2]
        }
    }
}

/// The flags that say who is told of a signature: a certificate authority, timestamp authorities, logs.
struct ServiceOptions: ParsableArguments {
    @Flag(
        name: .customLong("tlog-upload"), inversion: .prefixedNo,
        help: "Record the signature in a transparency log.")
    var tlogUpload = true
    @Option(name: .customLong("signing-config"), help: "A signing config file: the services to sign with.")
    var signingConfig: String?
    @Flag(
        name: .customLong("use-signing-config"), inversion: .prefixedNo,
        help: "Take the services from the public instance's signing config.")
    var useSigningConfig = true
    @Option(name: .customLong("fulcio-url"), help: "The certificate authority, in place of the signing config's.")
    var fulcioURL: String?
    @Option(name: .customLong("rekor-url"), help: "A Rekor v1 log, in place of the signing config's.")
    var rekorURL: String?
    @Option(name: .customLong("timestamp-server-url"), help: "A timestamp authority, in place of the signing config's.")
    var timestampURL: String?
    @Option(
        name: .customLong("timestamp-client-cacert"),
        help: "The CA certificates for the timestamp authority's TLS, in PEM.")
    var timestampAuthorityFile: String?
    @Option(
        name: .customLong("timestamp-client-cert"), help: "The client certificate for the timestamp authority, in PEM.")
    var timestampClientCertificate: String?
    @Option(name: .customLong("timestamp-client-key"), help: "The key of that client certificate, in PEM.")
    var timestampClientKey: String?
    @Option(
        name: .customLong("timestamp-server-name"),
        help: "The name that the timestamp authority's TLS certificate must have.")
    var timestampServerName: String?
    @Option(name: .customLong("rekor-entry-type"), help: "dsse, as cosign's default; no other is written.")
    var rekorEntryType: String?
    @Option(name: .customLong("trusted-root"), help: "A trusted root file, to verify what the services answer.")
    var trustedRoot: String?
    @Flag(help: "Use the public instance's staging services, which are for rehearsals only.")
    var staging = false
    @Option(name: .customLong("identity-token"), help: "The identity token, or a file that holds it.")
    var identityToken: String?
    @Option(
        name: .customLong("oidc-provider"),
        help: "Where the token comes from: github-actions, google, buildkite-agent, spiffe, filesystem, envvar.")
    var oidcProvider: String?
    @Flag(name: .customLong("oidc-disable-ambient-providers"), help: "Do not look for a token in the surroundings.")
    var disableAmbientProviders = false
    @Option(name: .customLong("oidc-issuer"), help: "The issuer to sign in at.")
    var oidcIssuer: String?
    @Option(name: .customLong("oidc-client-id"), help: "The client id at the issuer, and the token's audience.")
    var oidcClientID = "sigstore"
    @Option(name: .customLong("oidc-client-secret-file"), help: "A file with the client's secret.")
    var oidcClientSecretFile: String?
    @Option(name: .customLong("oidc-redirect-url"), help: "Where the browser comes back to on this machine.")
    var oidcRedirectURL: String?
    @Option(name: .customLong("fulcio-auth-flow"), help: "normal (browser), device, or token.")
    var authFlow: AuthFlow?

    @Option(help: "A certificate for the key that signs, which goes into the signature: PEM, or base64 of PEM.")
    var certificate: String?
    @Option(
        name: .customLong("certificate-chain"),
        help: "The certificates above that one, its issuer's first and the root last, in PEM.")
    var certificateChain: String?

    @Flag(
        name: .customLong("pkcs11-certificate"),
        help:
            "Put the certificate that is on the token with the key into the signature, in place of the key."
    )
    var pkcs11Certificate = false

    enum AuthFlow: String, ExpressibleByArgument, CaseIterable { case normal, device, token }

    /// Makes the session that signs everything in this run. Nothing becomes public by that; whatever can fail without a
    /// service being told anything fails here, or earlier.
    /// - Parameters:
    ///   - signing: The other flags.
    ///   - algorithm: The algorithm, if the key allows more than one.
    ///   - standardInputIsTaken: Whether something else is read from standard input.
    ///   - entryPlace: Where log entries are kept.
    ///   - keepsUnfinished: Whether signatures that did not reach their place are kept for another run.
    func session(
        _ signing: SigningOptions, algorithm: SigningAlgorithm? = nil, standardInputIsTaken: Bool,
        entryPlace: LogEntryPlace, keepsUnfinished: Bool = true, _ context: Context
    ) throws(SigstoreError) -> SigningSession {
        if let rekorEntryType, rekorEntryType != "dsse" {
            throw SigstoreError(
                .notBuiltYet, "--rekor-entry-type \(rekorEntryType) cannot be used; nothing was signed",
                advice: "leave it out: dsse is written")
        }
        // Before a person is asked for anything: that a key cannot be used, or a flag has no sense, is said first.
        let reference = try signing.securityKey.key(or: signing.key, context).map { key throws(SigstoreError) in
            try context.key(key)
        }
        guard reference != nil || algorithm == nil || algorithm == .ecdsaP256 else {
            throw SigstoreError(
                .unsupportedKey, "without a key, signatures are made with ecdsa-sha2-256-nistp256",
                advice: "leave --signing-algorithm out, or give a key")
        }
        let given = try certificatesGiven(for: reference)
        let key = try reference.map { key throws(SigstoreError) in
            try Self.signer(key, standardInputIsTaken: standardInputIsTaken, context)
        }
        // Now that the token is logged in to, it shows the certificates that only its owner may see too.
        let certificates = try (certificateOnToken(reference, context).map { [$0] } ?? []) + given
        let instance = try self.instance(needsServices: key == nil || tlogUpload, context)
        let (options, unfinished) = (self, keepsUnfinished ? Self.unfinished(context) : nil)
        let session = try TUFAccess.advising(TUFAccess.filesInstead) { () throws(SigstoreError) in
            try waiting { () throws(SigstoreError) in
                let config = try await instance.signingConfig()
                let services = try options.services(of: instance, config, entryPlace, key)
                let signatory: SigningSession.Signatory
                if let key {
                    signatory = .key(key, algorithm: algorithm)
                } else {
                    let provider = try options.provider(try instance.issuer(in: config), instance.http, context)
                    signatory = .identity(
                        try instance.certificateAuthority(in: config), provider, audience: options.oidcClientID)
                }
                return try await instance.session(
                    signatory, services, unfinished: unfinished, certificates: certificates)
            }
        }
        try signing.expectParts(of: session, context)
        return session
    }

    /// The files that are read for these flags.
    var inputs: [String] { [certificate, certificateChain].compactMap { $0 } }

    /// The certificate that is kept with the key, if it is to go into the signature. Which of the two goes in is said.
    private func certificateOnToken(_ reference: KeyReference?, _ context: Context) throws(SigstoreError)
        -> Certificate?
    {
        guard let reference, certificate == nil else { return nil }
        let wanted = pkcs11Certificate && !reference.ignoresCertificates
        let found: Certificate?
        do throws(SigstoreError) {
            found = try waiting { () throws(SigstoreError) in try await reference.certificate() }
        } catch {
            // What is not asked for keeps nobody from signing.
            guard !wanted, error.code == .malformedCertificate else { throw error }
            context.output.warn("\(error.message); the signature names the key")
            return nil
        }
        guard let found else {
            guard !wanted else {
                throw SigstoreError(
                    .keyNotFound, "\(reference.text): there is no certificate for this key with it; nothing was signed",
                    advice:
                        "leave --pkcs11-certificate out to sign with the key alone, or give a file with --certificate")
            }
            return nil
        }
        guard wanted else {
            context.output.note(
                "The signature names the key; the certificate of \(found.displayName) on the token is left out "
                    + (pkcs11Certificate
                        ? "(COSIGN_PKCS11_IGNORE_CERTIFICATE)" : "(--pkcs11-certificate puts it in)"))
            return nil
        }
        context.output.note(
            "The signature holds the certificate of \(found.displayName) on the token, not the key: cosign does not verify that with --key"
        )
        return found
    }

    /// The certificate of the key that signs, and those above it, as files were given for them; none if none was given. No key is
    /// opened, so nobody is asked for a PIN before flags are refused that cannot be meant.
    private func certificatesGiven(for reference: KeyReference?) throws(SigstoreError) -> [Certificate] {
        if pkcs11Certificate {
            guard reference != nil else {
                throw SigstoreError(
                    .usage, "--pkcs11-certificate is about a key on a token, and no key was given",
                    advice: "give the key with --key pkcs11:…, or with --sk")
            }
            guard certificate == nil else {
                throw SigstoreError(
                    .usage, "--certificate and --pkcs11-certificate cannot be given together",
                    advice: "leave one of them out")
            }
        }
        guard let certificate else {
            guard certificateChain == nil || pkcs11Certificate && reference?.ignoresCertificates == false else {
                throw SigstoreError(
                    .usage, "--certificate-chain needs --certificate",
                    advice: "give the signer's own certificate with --certificate")
            }
            return try chain()
        }
        guard reference != nil else {
            throw SigstoreError(
                .usage, "--certificate is the certificate of a key, and no key was given",
                advice: "give its key with --key, or leave --certificate out: Fulcio issues one for an identity")
        }
        let file = InputFile(certificate)
        let content = try file.contents(limit: 1 << 20)
        var found: [Certificate] = []
        do throws(SigstoreError) {
            guard case .certificates(let encoded) = try LegacyBlobBundle.keyMaterial(content) else {
                throw SigstoreError(.malformedCertificate, "this is a public key where a certificate is needed")
            }
            for der in encoded { found.append(try Certificate(der: der)) }
        } catch { throw error.concerning(file.name) }
        return try found + chain()
    }

    /// The certificates above the key's own.
    private func chain() throws(SigstoreError) -> [Certificate] {
        guard let certificateChain else { return [] }
        let chain = InputFile(certificateChain)
        let above = try chain.contents(limit: 1 << 20)
        do throws(SigstoreError) { return try Certificate.chain(pem: above) } catch {
            throw error.concerning(chain.name)
        }
    }

    /// Where signatures that were recorded and did not reach their place are kept.
    private static func unfinished(_ context: Context) -> UnfinishedSignatures? {
        guard let home = context.environment.value("HOME") else { return nil }
        return UnfinishedSignatures(directory: "\(home)/.sigstore/swsign/unfinished") { [output = context.output] in
            output.note($0)
        }
    }

    /// The instance to sign with, with the services that were named in place of its own.
    /// - Parameter needsServices: Whether its own services have a part at all.
    private func instance(needsServices: Bool, _ context: Context) throws(SigstoreError) -> SigstoreInstance {
        var instance = try TrustSources(trustedRoot: trustedRoot, staging: staging, context: context).instance()
        if let signingConfig {
            instance.signingConfigSource = .file(signingConfig)
        } else if !useSigningConfig || !needsServices || fulcioURL != nil || rekorURL != nil {
            instance.signingConfigSource = .value(.rekorV1Public)
        }
        if let fulcioURL { instance.services.certificateAuthority = try HTTPURL(parsing: fulcioURL) }
        instance.services.issuer = oidcIssuer
        if let rekorURL { instance.services.transparencyLog = try HTTPURL(parsing: rekorURL) }
        if let timestampURL {
            for file in [timestampAuthorityFile, timestampClientCertificate, timestampClientKey].compactMap({ $0 }) {
                try InputFile(file).expectReadable()
            }
            var tls = TLSOptions()
            tls.authorityFile = timestampAuthorityFile
            tls.clientCertificateFile = timestampClientCertificate
            tls.clientKeyFile = timestampClientKey
            tls.serverName = timestampServerName
            instance.services.timestampAuthority = TimestampClient(
                url: try HTTPURL(parsing: timestampURL), http: try context.http(tls))
        }
        return instance
    }

    /// Who is told of signatures.
    private func services(
        of instance: SigstoreInstance, _ config: SigningConfig, _ entryPlace: LogEntryPlace, _ key: (any Signer)?
    ) throws(SigstoreError) -> SigningSession.Services {
        do throws(SigstoreError) {
            return try instance.signingServices(
                in: config, recording: tlogUpload, versions: entryPlace.versions(key))
        } catch {
            guard case .legacyForm = entryPlace, (try? instance.signingServices(in: config)) != nil else { throw error }
            throw SigstoreError(
                .usage,
                "the form that cosign 2 wrote has no place for an entry of Rekor v2, and the signing config names no other log; nothing was signed",
                advice: "leave out --new-bundle-format=false, or sign with a Rekor v1 log (--rekor-url)")
        }
    }

    /// Where the identity token comes from: the flag, the surroundings, or a person who signs in.
    private func provider(_ issuer: String, _ http: any HTTPClient, _ context: Context) throws(SigstoreError)
        -> any IdentityTokenProvider
    {
        if let identityToken { return GivenIdentityToken(try IdentityToken(tokenOrPath: identityToken)) }
        let ambient = AmbientIdentity(environment: context.environment.all, http: http)
        if !disableAmbientProviders || oidcProvider != nil, let found = try ambient.provider(named: oidcProvider) {
            // Read by now, if it is what counts; nobody else has a use for it.
            ProcessEnvironment.erase("SIGSTORE_ID_TOKEN")
            return found
        }
        guard authFlow != .token else {
            throw SigstoreError(
                .noIdentityToken, "--fulcio-auth-flow token needs a token", advice: "give --identity-token")
        }
        guard authFlow != nil || context.terminal.isInteractive else { throw ambient.noToken() }
        var secret: String?
        if let oidcClientSecretFile {
            let text = String(decoding: try InputFile(oidcClientSecretFile).contents(limit: 1 << 16), as: UTF8.self)
            secret = String(text.filter { !$0.isNewline })
        }
        return try OAuthFlow(
            issuer: issuer, clientSecret: secret,
            method: authFlow == .device
                ? .device : .browser(redirectURL: oidcRedirectURL ?? OAuthFlow.defaultRedirectURL),
            timeout: .seconds(Self.minutesToSignIn * 60), program: "swsign", http: http
        ) { Self.show($0, context) }
    }

    private static let minutesToSignIn = 5

    /// Says what a person is to do to sign in, what is waited for, and how to stop. Each address has a line of its own.
    private static func show(_ prompt: OAuthFlow.Prompt, _ context: Context) {
        let output = context.output
        switch prompt {
        case .open(let url):
            if Browser.open(url, environment: context.environment.all) {
                output.note(
                    "Sign-in: your browser was opened. If it was not, open this address on this machine:", .request)
                output.note("  \(url)")
            } else {
                output.note("Sign-in: open this address in a browser on this machine:", .request)
                output.note("  \(url)")
                output.note("To sign in on another machine, stop this and give --fulcio-auth-flow device.")
            }
        case .enter(let code, let url, let complete):
            output.note("Sign-in: open this address on any device, and enter the code \(code):", .request)
            output.note("  \(url)")
            if let complete {
                output.note("or open this one, which has the code in it:")
                output.note("  \(complete)")
            }
        case .signedIn(let identity):
            context.progress.say("signing")
            return output.note("Signed in as \(identity)", .success)
        }
        output.note(
            "Waiting for you to sign in there, at most \(minutesToSignIn) minutes. Control-C stops; nothing has been signed yet."
        )
        context.progress.say("waiting for the sign-in")
    }

    /// Opens the key.
    /// - Parameter standardInputIsTaken: Whether something else is read from standard input.
    private static func signer(_ reference: KeyReference, standardInputIsTaken: Bool, _ context: Context)
        throws(SigstoreError) -> any Signer
    {
        if reference.takesStandardInput && standardInputIsTaken {
            throw SigstoreError(.usage, "standard input (-) is named twice", advice: "name a file for one of the two")
        }
        return try reference.openSigner(context.terminal, standardInputIsTaken: standardInputIsTaken)
    }

    /// Shows what will be public for good, when everything else that can fail has been tried. On a terminal a person has to
    /// agree, unless `--yes` was given.
    /// - Parameters:
    ///   - session: Who signs, and who is told of it.
    ///   - signing: The other flags.
    ///   - attestations: Whether attestations are signed.
    ///   - unkept: What to do to keep the log entry, if neither a bundle nor an image does; `nil` if it is kept.
    func confirm(
        _ session: SigningSession, _ signing: SigningOptions, attestations: Bool, unkept: String?, _ context: Context
    ) throws(SigstoreError) {
        if let unkept, session.isLogged {
            // cosign 2 does the same, so it is not refused.
            context.output.warn(
                session.key == nil && signing.outputCertificate == nil
                    ? "the log entry and the certificate will be kept nowhere, and the signature alone cannot be verified by them: "
                        + "\(unkept) to keep them"
                    : "the log entry will be kept nowhere, and verifying has to ask the log for it, which only Rekor v1 answers: "
                        + "\(unkept) to keep it")
        }
        let lines = try waiting { () throws(SigstoreError) in
            try await session.publication(ofAttestations: attestations)
        }
        guard !lines.isEmpty else { return }
        context.output.note("What becomes public:")
        for line in lines { context.output.note("  \(line)") }
        guard !signing.yes, context.terminal.isInteractive else { return }
        guard try context.terminal.confirms("Go on?") else {
            throw SigstoreError(
                .declined, "nobody agreed; nothing was signed, and nothing became public",
                advice: "answer y, or give --yes")
        }
    }
}

/// Where the bundles of files go that were given no name.
struct BundlePlaceOptions: ParsableArguments {
    @Option(name: .customLong("output-directory"), help: "Write the bundle of each file into this directory.")
    var outputDirectory: String?

    /// Refuses combinations of outputs that cannot all be meant.
    /// - Parameters:
    ///   - signing: The other flags.
    ///   - files: How many files are signed.
    ///   - areMany: Whether each file has its bundle beside it, if only one is in a directory too.
    func expectSound(with signing: SigningOptions, files: Int, areMany: Bool) throws(SigstoreError) {
        if areMany, [signing.bundle, signing.outputSignature, signing.timestampOutput].contains(where: { $0 != nil }) {
            throw SigstoreError(
                .usage,
                "\(files) files are to be signed, and --bundle, --output-signature or --rfc3161-timestamp names only one",
                advice: "leave it out (each bundle goes beside its file) or give --output-directory")
        }
        if signing.bundle != nil, outputDirectory != nil {
            throw SigstoreError(.usage, "--bundle and --output-directory cannot be given together")
        }
    }

    /// Refuses two files whose bundles would get one name.
    func expectDistinctBundles(_ files: [InputFile]) throws(SigstoreError) {
        var paths: Set<[UInt8]> = []
        for file in files where !file.isStandardInput {
            let path = try bundleFile(for: file).path
            guard paths.insert(Array(path.utf8)).inserted else {
                throw SigstoreError(
                    .usage, "the bundles of two files would both be \(path)",
                    advice: outputDirectory == nil
                        ? "name each file once"
                        : "leave --output-directory out (each bundle goes beside its file), or sign them in two calls")
            }
        }
    }

    /// Where the bundle of a file goes that was given no name: beside the file, or into the directory.
    func bundleFile(for file: InputFile) throws(SigstoreError) -> OutputFile {
        guard !file.isStandardInput else {
            throw SigstoreError(
                .usage, "there is no name for the bundle of standard input", advice: "give --bundle FILE")
        }
        guard let outputDirectory else { return OutputFile(file.path + SignatureFile.bundleSuffix) }
        return OutputFile("\(outputDirectory)/\(file.baseName)\(SignatureFile.bundleSuffix)")
    }

    /// Refuses to sign a file whose bundle could not be written then, before any service is told of the signature. Who named
    /// no place does not mean a pipe or a device that stands there: it is neither read nor written to.
    func expectPlace(for file: InputFile) throws(SigstoreError) {
        let output = try bundleFile(for: file)
        try output.expectWritable()
        guard let status = FileStatus(output.path), status.kind != .file else { return }
        throw SigstoreError(
            .fileExists, "\(output.path) stands there, and is neither a file nor a directory",
            advice: "remove it, or give --output-directory for another place")
    }

    /// The bundle of a file that stands at its place already, if there is one.
    func standingBundle(of file: InputFile) throws(SigstoreError) -> InputFile? {
        let output = try bundleFile(for: file)
        return output.exists ? InputFile(output.path) : nil
    }

    /// Why a file whose bundle stands there already is not signed again.
    func refusal(toReplace bundle: InputFile) -> SigstoreError {
        standsThere(.exists(bundle.path))
    }

    private func standsThere(_ error: SigstoreError) -> SigstoreError {
        SigstoreError(
            .fileExists, error.message, advice: "give --yes to replace it, or --output-directory for another place")
    }

    /// Writes the bundle of a file; one that stands there already is only replaced if that was asked for.
    func write(_ bundle: [UInt8], for file: InputFile, replacing: Bool, _ context: Context) throws(SigstoreError) {
        let output = try bundleFile(for: file)
        do throws(SigstoreError) { try output.write(bundle, replacing: replacing) } catch
            where error.code == .fileExists
        {
            throw standsThere(error)
        }
        context.output.note("Wrote bundle to file \(output.path)", .success)
    }
}

extension SigningOptions: FlagReader {
    mutating func take(_ given: inout GivenFlags) {
        key = given.value("key")
        securityKey = SecurityKeyOptions(&given)
        bundle = given.value("bundle")
        outputSignature = given.value("output-signature")
        outputCertificate = given.value("output-certificate")
        timestampOutput = given.value("rfc3161-timestamp")
        newBundleFormat = !given.isOn("no-new-bundle-format")
        yes = given.isOn("yes")
    }
}

extension ServiceOptions: FlagReader {
    mutating func take(_ given: inout GivenFlags) {
        tlogUpload = !given.isOn("no-tlog-upload")
        signingConfig = given.value("signing-config")
        useSigningConfig = !given.isOn("no-use-signing-config")
        fulcioURL = given.value("fulcio-url")
        rekorURL = given.value("rekor-url")
        timestampURL = given.value("timestamp-server-url")
        timestampAuthorityFile = given.value("timestamp-client-cacert")
        timestampClientCertificate = given.value("timestamp-client-cert")
        timestampClientKey = given.value("timestamp-client-key")
        timestampServerName = given.value("timestamp-server-name")
        rekorEntryType = given.value("rekor-entry-type")
        trustedRoot = given.value("trusted-root")
        staging = given.isOn("staging")
        identityToken = given.value("identity-token")
        oidcProvider = given.value("oidc-provider")
        disableAmbientProviders = given.isOn("oidc-disable-ambient-providers")
        oidcIssuer = given.value("oidc-issuer")
        oidcClientID = given.value("oidc-client-id") ?? "sigstore"
        oidcClientSecretFile = given.value("oidc-client-secret-file")
        oidcRedirectURL = given.value("oidc-redirect-url")
        authFlow = given.value("fulcio-auth-flow")
        certificate = given.value("certificate")
        certificateChain = given.value("certificate-chain")
        pkcs11Certificate = given.isOn("pkcs11-certificate")
    }
}

extension BundlePlaceOptions: FlagReader {
    mutating func take(_ given: inout GivenFlags) {
        outputDirectory = given.value("output-directory")
    }
}
