import HTTPTransport
import LocalSystem
import Provenance
import SigstoreClients
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import SwSignCore

/// The program that git calls to sign commits and tags, and to verify them: `gpg.x509.program`. git speaks to it as to gpg, by
/// these flags and by lines of status (GnuPG's `doc/DETAILS`; git's `gpg-interface.c`).
struct GitProgram {
    /// The name of a link by which git may call this program.
    static let name = "swsign-git"

    /// What git asks for.
    private enum Action {
        case sign
        /// The file with the signature, and what it is over.
        case verify(signature: InputFile, content: InputFile)
    }

    private let action: Action
    /// Where lines of status go; `nil` if git has not asked for them.
    private let status: StandardStream?

    // MARK: - How git calls

    /// Whether this is git's way to call the program that signs.
    /// - Parameters:
    ///   - name: The name by which it was called.
    ///   - arguments: What follows it.
    static func isCalled(as name: String, _ arguments: [String]) -> Bool {
        guard !name.utf8.elementsEqual(Self.name.utf8) else { return true }
        guard let first = arguments.first else { return false }
        let flag = String(Substring(first.utf8.prefix { $0 != 0x3d }))
        return ["--status-fd", "--keyid-format", "--detach-sign", "--sign", "--armor", "--local-user", "--verify"]
            .contains(flag) || first.utf8.count > 2 && first.utf8.first == 0x2d && isCluster(first)
    }

    private static func isCluster(_ word: String) -> Bool {
        word.utf8.dropFirst().allSatisfy { "bsau".utf8.contains($0) }
    }

    /// The world around it. git keeps what is written to standard error to itself while it has something signed, so a person is
    /// told and asked at the terminal too.
    static func context(_ arguments: [String]) -> Context {
        var streams = Streams()
        if !arguments.contains("--verify") {
            streams.write = { (bytes, stream) throws(SigstoreError) in
                if stream == .errors, !stream.isTerminal { TerminalDevice()?.write(bytes) }
                try stream.write(bytes)
            }
            streams.isTerminal = { $0 == .input ? TerminalDevice() != nil : $0.isTerminal }
        }
        return Context(streams: streams)
    }

    /// Reads git's flags.
    /// - Throws: `SigstoreError` for what git does not say.
    init(_ arguments: [String]) throws(SigstoreError) {
        var rest = arguments[...]
        var names: [String] = []
        var (isDetached, signs, verifies): (Bool, Bool, Bool) = (false, false, false)
        var stream: String?
        while let word = rest.popFirst() {
            guard word.utf8.first == 0x2d, word.utf8.count > 1 else {
                names.append(word)
                continue
            }
            if word == "--" {
                names += rest
                break
            }
            guard word.utf8.starts(with: "--".utf8) else {
                // The last one may have the signer's name behind it, or in the next word. Who signs is in the configuration.
                let letters = word.utf8.dropFirst().prefix { $0 != 0x75 }
                let isNamed = letters.count < word.utf8.count - 1
                guard letters.allSatisfy({ "bsa".utf8.contains($0) }) else { throw Self.unknown(word) }
                if letters.contains(0x62) { isDetached = true }
                if letters.contains(0x73) { signs = true }
                if isNamed, letters.count == word.utf8.count - 2 { _ = try Self.value(word, &rest) }
                continue
            }
            let flag = String(Substring(word.utf8.prefix { $0 != 0x3d }))
            let value =
                flag.utf8.count < word.utf8.count ? String(Substring(word.utf8.dropFirst(flag.utf8.count + 1))) : nil
            switch flag {
            case "--status-fd":
                if let value { stream = value } else { stream = try Self.value(word, &rest) }
            case "--keyid-format", "--local-user": if value == nil { _ = try Self.value(word, &rest) }
            case "--detach-sign": (isDetached, signs) = (true, true)
            case "--sign": signs = true
            case "--armor": break
            case "--verify": verifies = true
            default: throw Self.unknown(word)
            }
        }
        switch stream {
        case nil: status = nil
        case "1": status = .output
        case "2": status = .errors
        default:
            throw SigstoreError(
                .usage, "--status-fd is \"\(stream ?? "")\", and lines of status are written to 1 or 2 alone")
        }
        guard signs != verifies, signs ? names.isEmpty && isDetached : names.count == 2 else {
            throw SigstoreError(
                .usage, "this is neither git's way to have something signed nor its way to have it verified",
                advice: .sentence(
                    "git calls --status-fd=2 -bsau NAME, or --status-fd=1 --verify FILE -; \(SwSign.helpAdvice(["git"]))"
                ))
        }
        action = signs ? .sign : .verify(signature: InputFile(names[0]), content: InputFile(names[1]))
    }

    private static func unknown(_ word: String) -> SigstoreError {
        SigstoreError(
            .usage, "unknown flag \(word) among those of git", advice: .sentence(SwSign.helpAdvice(["git"])))
    }

    private static func value(_ flag: String, _ rest: inout ArraySlice<String>) throws(SigstoreError) -> String {
        guard let value = rest.popFirst() else {
            throw SigstoreError(.usage, "the flag \(flag) needs a value")
        }
        return value
    }

    /// Does what git asks for.
    func run(_ context: Context) throws(SigstoreError) {
        switch action {
        case .sign: try sign(context)
        case .verify(let signature, let content): try verify(signature, content, context)
        }
    }

    /// Writes a line of status. No text in it, wherever it comes from, can begin another line.
    private func say(_ words: String...) throws(SigstoreError) {
        guard let status else { return }
        let line = "[GNUPG:] " + words.map(Output.escaped).joined(separator: " ") + "\n"
        try status.write(Array(line.utf8))
    }

    // MARK: - Signing

    private func sign(_ context: Context) throws(SigstoreError) {
        let payload = try InputFile("-").contents(limit: GitObject.sizeLimit)
        // Before a person is asked for anything.
        _ = try GitSigner.object(payload)
        let settings = try GitRepository(folder: nil, environment: context.environment.all)
            .settings(of: ["swsign", "gitsign"])
        let flags = GitSettingFlags(settings, context.environment, context.output)
        var context = context
        var given = try given(
            "sign-blob",
            try flags.arguments("sign-blob", except: ["oidc-provider"]) + Self.provider(flags, context.environment),
            &context)
        // The variables of gitsign's that name certificates; there is no flag for them when signing.
        var trust: [String: String] = [:]
        trust["SIGSTORE_ROOT_FILE"] = try flags.gitsignValue("ca-roots")
        trust["SIGSTORE_TSA_CERTIFICATE_FILE"] = try flags.gitsignValue("timestamp-certificate-chain")
        let signing = SigningOptions(&given)
        let services = ServiceOptions(&given)
        let name: String? = given.value("signing-algorithm")
        let algorithm = try name.map { name throws(SigstoreError) in try SigningAlgorithm(named: name) }
        try Self.expectReadable(given)
        try say("BEGIN_SIGNING")
        let isOnline = flags.isOn("gitsignonline")
        // The agent is asked before a person is. What gitsign's online mode wants is no commit, which it would not sign.
        if !isOnline, try signing.securityKey.key(or: signing.key, context) == nil, services.identityToken == nil,
            let made = try context.signedByAgent(payload)
        {
            if flags.isOn("matchcommitter") {
                try GitSigner.expectCommitter(of: try GitSigner.object(payload), in: made.certificate)
            }
            try context.output.text(String(decoding: made.pem, as: UTF8.self))
            return try say(
                "SIG_CREATED", "D", Self.number(of: made.certificate.publicKey), Self.number(of: .sha256), "00",
                "\(context.now())", try Self.fingerprint(made.certificate, []))
        }
        let session = try services.session(
            signing, algorithm: algorithm, standardInputIsTaken: true,
            entryPlace: try Self.place(flags, context.environment), keepsUnfinished: false,
            context.adding(trust))
        let signer = try GitSigner(session, matchesCommitter: flags.isOn("matchcommitter"))
        let signed = try waiting { () throws(SigstoreError) in
            let signed = try await signer.sign(payload)
            if isOnline { try await signer.recordFinished(signed) }
            return signed
        }
        try context.output.text(signed.pem)
        try say(
            "SIG_CREATED", "D", Self.number(of: signed.publicKey), Self.number(of: signed.scheme.hash), "00",
            "\(signed.time)", try Self.fingerprint(signed.certificate, try signed.publicKey.subjectKeyIdentifier()))
    }

    /// Where gitsign's setting says that the identity token comes from.
    private static func provider(_ flags: GitSettingFlags, _ environment: Environment) throws(SigstoreError) -> [String]
    {
        let ours = try environment.text(CommandFlag("oidc-provider").variable) ?? ""
        guard ours.isEmpty else { return [] }
        if let named = flags.last("oidcprovider") { return ["--oidc-provider=\(named)"] }
        switch try flags.gitsignValue("token-provider") {
        case nil: return []
        case "interactive": return ["--oidc-disable-ambient-providers"]
        case "device": return ["--oidc-disable-ambient-providers", "--fulcio-auth-flow=device"]
        case "google-workload-identity", "google-impersonation": return ["--oidc-provider=google"]
        case let other?: return ["--oidc-provider=\(other)"]
        }
    }

    /// Which logs will do, as `gitsign.rekorVersion` says.
    private static func place(_ flags: GitSettingFlags, _ environment: Environment) throws(SigstoreError)
        -> LogEntryPlace
    {
        let text = try environment.text("GITSIGN_REKOR_VERSION") ?? flags.last("rekorversion") ?? ""
        guard !text.isEmpty else { return .bundle }
        guard let number = Int64(text), let version = RekorClient.Version(rawValue: number) else {
            throw SigstoreError(
                .usage, "gitsign.rekorVersion is \"\(text)\", and there are the versions 1 and 2; nothing was signed")
        }
        return .log(version)
    }

    /// The flags of one of our commands that git's configuration and the environment give.
    private func given(_ command: String, _ arguments: [String], except: [String] = [], _ context: inout Context)
        throws(SigstoreError) -> GivenFlags
    {
        let environment = context.environment
        let hidden = except.map { CommandFlag($0).variable }
        let words = command.split(separator: " ").map(String.init)
        let normalized = try NormalizedArguments(words + arguments) { name throws(SigstoreError) in
            hidden.contains(name) ? nil : try environment.text(name)
        }
        context.trustVariables = TrustVariables(normalized.fromEnvironment, context.output)
        Preparation.begin(for: normalized.arguments)
        var given = GivenFlags(normalized.arguments.dropFirst(words.count))
        var global = GlobalOptions(&given)
        // The result is git's.
        (global.outputFile, global.errors) = (nil, .text)
        try global.apply(to: &context)
        return given
    }

    private static func expectReadable(_ given: GivenFlags) throws(SigstoreError) {
        guard !given.isReadable else { return }
        throw SigstoreError(
            .usage, "a value in git's configuration or in a variable of the environment cannot be read",
            advice: .sentence("look at them with git config --get-regexp swsign, and with \(SwSign.name) env"))
    }

    // MARK: - Verifying

    private func verify(_ signature: InputFile, _ content: InputFile, _ context: Context) throws(SigstoreError) {
        // Another processor asks git meanwhile, which takes as long to read its configuration as this one to read the signature,
        // and then begins with what is slow.
        let (environment, now) = (context.environment, context.now())
        let settings = WorkAside(
            { () throws(SigstoreError) in
                // Of a repository's own files nothing counts: they come from where the commits come from.
                try GitRepository(folder: nil, environment: environment.all).settings(of: ["swsign", "gitsign"])
                    .filter { !$0.isOfRepository }
            }, more: { Self.lookAhead($0, now) })
        try say("NEWSIG")
        var found = Found()
        do throws(SigstoreError) {
            let payload = try Self.whole(content)
            let signed = try GitSignature(
                pem: try signature.contents(limit: GitObject.signatureLimit), payload: payload,
                noting: { found.note($0) })
            try judge(signed, found, settings, context)
        } catch {
            switch error.code {
            case .signedDataMismatch, .signedDataSignature, .invalidSignature, .malformedSignature, .logEntryMismatch,
                .artifactMismatch, .timestampMismatch:
                try say("BADSIG", found.fingerprint, found.name)
            case .certificateExpired: try say("EXPSIG", found.fingerprint, found.name)
            default:
                try say("ERRSIG", found.fingerprint, found.algorithm, found.hash, "00", "0", "1", found.fingerprint)
            }
            // Without any word on trust, git ends with a fault of its own if it is asked for it (%GT).
            try say("TRUST_NEVER", "0", "shell")
            throw error
        }
    }

    /// What a signature says of its signer, of which nothing is believed.
    private struct Found {
        var fingerprint = String(repeating: "0", count: 40)
        /// git takes what follows a fingerprint on the next line for a part of it, unless there is a name.
        var name = "unknown"
        var algorithm = "0"
        var hash = "0"

        mutating func note(_ signed: SignedData) {
            hash = GitProgram.number(of: signed.hash)
            let certificate = signed.certificates.first(where: signed.names)
            if let certificate {
                algorithm = GitProgram.number(of: certificate.publicKey)
                if !certificate.displayName.isEmpty { name = certificate.displayName }
            }
            if let name = try? GitProgram.fingerprint(certificate, signed.keyIdentifier ?? []), !name.isEmpty {
                fingerprint = name
            }
        }
    }

    private func judge(
        _ signed: GitSignature, _ found: Found, _ settings: WorkAside<[GitSetting]>, _ context: Context
    ) throws(SigstoreError) {
        let settings = try settings.value()
        let flags = GitSettingFlags(settings, context.environment, context.output)
        var context = context
        // The key of signing is a private one.
        let arguments = try flags.arguments("git verify", except: ["key"], aliases: ["publickey": "key"])
        var given = try given("git verify", arguments, except: ["key"], &context)
        var verification = VerificationOptions(&given)
        let identity = IdentityOptions(&given)
        let trust = TrustOptions(&given)
        try Self.expectReadable(given)
        try Self.expectAbsolute(verification, identity, trust)
        verification.offline = true
        let isExpected = verification.namesSigners(identity)
        let signers: DemandedSigners
        if isExpected {
            signers = try verification.signers(identity, standardInputIsTaken: true, context)
        } else {
            guard signed.keyIdentifier == nil else {
                throw SigstoreError(
                    .noSignerDemanded, "a key signed it, and nothing says which key may",
                    advice: "name the public key: git config --global swsign.publicKey FILE")
            }
            let anyone = CertificateIdentity.Pattern.matching(try IdentityPattern(".*"))
            var policy = try verification.rules(context)
            policy.signedBy = .identities([CertificateIdentity(subject: anyone, issuer: anyone)])
            signers = DemandedSigners(policy)
        }
        let verifier = try verification.verifier(identity, trust, context)
        let bundle = signed.bundle
        if Self.trustedRoot(settings) != nil, !bundle.timestamps.isEmpty {
            verifier.lookAhead(bundle)
        } else if BlockingThread.processors > 1 {
            _ = BlockingThread.start(isAside: true) { verifier.lookAhead(bundle) }
        }
        let held: VerifiedBundle?
        do throws(RejectedBundle) {
            held = try verifier.verify([signed.bundle], signed.claim, signers).first
        } catch {
            guard signed.isWithoutEntry, [.noLogEntry, .noTime].contains(error.error.code) else {
                throw signed.explained(error.explained, keys: signers.keys)
            }
            throw SigstoreError(
                .noLogEntry,
                "the log entry is not with the signature: gitsign's online mode keeps it in the log alone, where it is not looked up for git",
                advice: "have it signed in gitsign's offline mode")
        }
        guard let held else { throw SigstoreError(.noSignature, "there is no signature") }
        try held.expectPast(context.now())
        for warning in held.warnings { context.output.warn(warning.message) }
        let time = held.times.first?.seconds ?? 0
        let (name, issuer): (String, String?) =
            switch held.signer {
            case .certificate(let identity, let issuer): (identity, issuer)
            case .key(let fingerprint): ("key \(fingerprint)", nil)
            }
        let day = String(decoding: Instant(seconds: time).description.utf8.prefix(10), as: UTF8.self)
        try say("GOODSIG", found.fingerprint, name)
        try say(
            "VALIDSIG", found.fingerprint, day, "\(time)", "0", "3", "0", found.algorithm, found.hash, "00",
            found.fingerprint)
        try say(isExpected ? "TRUST_FULLY" : "TRUST_UNDEFINED", "0", "shell")
        context.output.note(
            "Good signature by \(name)" + (issuer.map { ", for whom \($0) vouches" } ?? "")
                + (time == 0 ? "" : ", made by \(Instant(seconds: time))"), .success)
        if !isExpected {
            context.output.warn(
                "nobody was expected, so it could be anyone's: name who may sign with git config --global swsign.signers FILE"
            )
        }
    }

    /// The file of a trusted root that git's configuration names.
    private static func trustedRoot(_ settings: [GitSetting]) -> String? {
        let file = settings.last { $0.name.utf8.elementsEqual("swsign.trustedroot".utf8) }?.value
        return file.flatMap { $0.utf8.first == 0x2f ? $0 : nil }
    }

    /// Looks for the paths of timestamp authorities, whose signatures are the slow part, while another processor reads the trusted
    /// root and looks for the path of the signer's certificate. It decides nothing.
    private static func lookAhead(_ settings: [GitSetting], _ now: Int64) {
        // What a pipe holds can be read only once.
        guard BlockingThread.processors > 1, let file = trustedRoot(settings), FileStatus(file)?.kind == .file,
            let json = try? LocalFile.read(file, limit: 1 << 20)
        else { return }
        TrustedRoot.findTimestampPaths(in: json, at: now)
    }

    /// Reads what was signed, to its end: git does not expect less.
    private static func whole(_ content: InputFile) throws(SigstoreError) -> [UInt8] {
        do throws(SigstoreError) { return try content.contents(limit: GitObject.sizeLimit) } catch {
            guard error.code == .fileTooLarge else { throw error }
            if content.isStandardInput {
                unsafe try LocalFile.forEachPiece(of: nil) { (_) throws(SigstoreError) in }
            }
            throw SigstoreError(
                .gitObjectTooLarge, "what was signed has more than \(GitObject.sizeLimit) bytes", cause: error)
        }
    }

    /// Refuses files that would be looked for in the repository, where git calls this program.
    private static func expectAbsolute(
        _ verification: VerificationOptions, _ identity: IdentityOptions, _ trust: TrustOptions
    ) throws(SigstoreError) {
        let files =
            identity.signerFiles + verification.keys.filter(KeyReference.isPath)
            + [verification.sct, trust.trustedRoot]
            .compactMap(\.self)
            + [trust.caRoots, trust.caIntermediates, trust.certificateChain, trust.timestampCertificateChain]
            .compactMap(\.self)
        for file in files where file.utf8.first != 0x2f {
            throw SigstoreError(
                .usage, "\(file) is not the whole path of a file: it would be looked for in the repository",
                advice: "write the whole path, or one that begins with ~/, into git's configuration")
        }
    }

    // MARK: - GnuPG's names

    /// The number of a key's algorithm (RFC 4880, section 9.1; RFC 6637, section 5).
    private static func number(of key: PublicKey) -> String {
        switch key.kind {
        case .rsa: "1"
        case .ecP256, .ecP384, .ecP521: "19"
        case .ed25519: "22"
        }
    }

    /// The number of a hash function (RFC 4880, section 9.4).
    private static func number(of hash: HashAlgorithm?) -> String {
        switch hash {
        case .sha256: "8"
        case .sha384: "9"
        case .sha512: "10"
        case nil: "0"
        }
    }

    /// What names the signer, in the form that gitsign and gpgsm have: SHA-1 of the certificate, or what names the key.
    private static func fingerprint(_ certificate: Certificate?, _ key: [UInt8]) throws(SigstoreError) -> String {
        Hexadecimal.encode(
            try certificate.map { certificate throws(SigstoreError) in try Digest.sha1(certificate.der) } ?? key)
    }
}
