internal import HTTPTransport
internal import InToto
internal import KeyProviders
public import LocalSystem
public import SigstoreClients
public import SigstoreCrypto
public import SigstoreVerification
public import StrictJSON

/// The one way to sign: certificate → signature → timestamps → log entries → the finished bundle, verified.
///
/// A session serves a whole run and may be used by several tasks at once. With a key and no services it only signs;
/// each service that it has adds its step. Nothing leaves it that does not verify with our own verifier.
public final class SigningSession: Sendable {
    /// Who signs.
    public enum Signatory: Sendable {
        /// The owner of a key. The algorithm is for keys that allow more than one.
        case key(any Signer, algorithm: SigningAlgorithm?)
        /// The owner of an identity, with an ephemeral key that Fulcio certifies. The audience is whom the token is
        /// meant for, `sigstore` on the public instance.
        case identity(FulcioClient, any IdentityTokenProvider, audience: String)
    }

    /// Who is told of signatures.
    public struct Services: Sendable {
        /// Who timestamps signatures.
        public var timestampAuthorities: [TimestampClient]
        /// Where signatures are recorded.
        public var transparencyLogs: [RekorClient]

        public init(timestampAuthorities: [TimestampClient] = [], transparencyLogs: [RekorClient] = []) {
            self.timestampAuthorities = timestampAuthorities
            self.transparencyLogs = transparencyLogs
        }
    }

    /// What is signed.
    private enum Subject {
        /// A file that was read once.
        case message(HashedMessage)
        /// An envelope's payload; in cosign's older scheme the envelope is what is timestamped.
        case payload([UInt8], type: String, envelopeIsTimestamped: Bool)
    }

    /// A key that signs, with what the bundle says about it.
    private struct SigningKey {
        let signer: any Signer
        let material: SigstoreBundle.KeyMaterial
        let certified: CertifiedKey?
    }

    private let signatory: Signatory
    /// Who is told of signatures.
    let services: Services
    private let trustedRoot: TrustedRoot?
    private let unfinished: UnfinishedSignatures?
    /// The time now, in seconds since 1970.
    let clock: @Sendable () -> Int64
    private let certifiedKeys: CertifiedKeySource?
    /// How many signatures a key that is elsewhere is asked for at once.
    private let turns = Turns(10)
    /// The certificate of the key that was given, and those above it; empty if the key has none.
    public let certificates: [Certificate]

    /// Makes a session. No person and no service is asked yet.
    /// - Parameters:
    ///   - signatory: Who signs.
    ///   - services: The services that are told of it; by default none.
    ///   - trustedRoot: What the finished bundles are verified against; needed for an identity and for logs.
    ///   - unfinished: Where signatures that did not reach their place are kept; `nil` keeps none.
    ///   - certificates: A certificate for the key that signs, and those above it up to the root. The first goes into
    ///     bundles in place of the key's hint.
    ///   - clock: The time now, in seconds since 1970.
    /// - Throws: `SigstoreError` with `unsupported-key` if the algorithm is not for the key, `no-trusted-root`, or
    ///   `no-time` if nothing would prove when a certificate was used; with `wrong-key` if the certificate is for another
    ///   key, and why it is not one that the others vouch for.
    public init(
        signatory: Signatory, services: Services = Services(), trustedRoot: TrustedRoot? = nil,
        unfinished: UnfinishedSignatures? = nil, certificates: [Certificate] = [],
        clock: @escaping @Sendable () -> Int64 = { SystemClock.now() }
    ) throws(SigstoreError) {
        self.clock = clock
        self.certificates = certificates
        self.signatory = signatory
        self.services = services
        self.trustedRoot = trustedRoot
        self.unfinished = unfinished
        if trustedRoot == nil, !services.transparencyLogs.isEmpty || !services.timestampAuthorities.isEmpty {
            throw Self.noTrustedRoot
        }
        try Self.expectOnce(services.timestampAuthorities.map(\.url), "timestamp authority")
        try Self.expectOnce(services.transparencyLogs.map(\.url), "transparency log")
        switch signatory {
        case .key(let signer, let algorithm):
            certifiedKeys = nil
            try Self.expect(certificates, certify: signer.publicKey, at: clock())
            let kind = signer.publicKey.kind
            guard let algorithm else { return }
            guard kind.allows(algorithm), signer.schemes.contains(algorithm.scheme) else {
                throw SigstoreError(
                    .unsupportedKey, "the key is \(kind), which cannot sign with \(algorithm.rawValue)",
                    advice: .remedy(.giveFittingKey))
            }
        case .identity(let fulcio, let provider, let audience):
            guard let trustedRoot else { throw Self.noTrustedRoot }
            guard
                !services.timestampAuthorities.isEmpty
                    || services.transparencyLogs.contains(where: { $0.version == .v1 })
            else {
                throw SigstoreError(
                    .noTime,
                    services.transparencyLogs.isEmpty
                        ? "signing with an identity needs a transparency log or a timestamp authority, and there is neither"
                        : "signing with an identity and Rekor v2 needs a timestamp authority, and there is none",
                    advice: .remedy(.nameTimestampAuthority))
            }
            guard
                !trustedRoot.timestampAuthorities.isEmpty
                    || services.transparencyLogs.contains(where: { $0.version == .v1 })
            else {
                throw SigstoreError(
                    .noTime,
                    "signing with an identity needs a timestamp here, and the trusted root knows no timestamp authority; nothing was signed",
                    advice: .remedy(.giveTrustedRootOfServices))
            }
            certifiedKeys = CertifiedKeySource(
                fulcio: fulcio, provider: provider, audience: audience, trustedRoot: trustedRoot, clock: clock)
        }
    }

    private static var noTrustedRoot: SigstoreError {
        SigstoreError(
            .noTrustedRoot, "there is no trusted root to verify what the services answer; nothing was signed",
            advice: .remedy(.giveTrustedRootOfServices))
    }

    /// Refuses a service that is named twice: what it answers would be the same, and a bundle may hold it once only.
    private static func expectOnce(_ urls: [HTTPURL], _ what: String) throws(SigstoreError) {
        var names: Set<[UInt8]> = []
        for url in urls {
            guard names.insert(Self.name(url)).inserted else {
                throw SigstoreError(
                    .usage, "the \(what) \(url) is named twice; nothing was signed",
                    advice: .remedy(.nameServiceOnce))
            }
        }
    }

    /// Bytes that are the same for one service, with a slash at the end and without.
    private static func name(_ url: HTTPURL) -> [UInt8] {
        var name = Array(url.description.utf8)
        while name.last == 0x2f { name.removeLast() }
        return name
    }

    /// Refuses a certificate that is for another key, or that those above it do not vouch for.
    private static func expect(_ certificates: [Certificate], certify key: PublicKey, at now: Int64)
        throws(SigstoreError)
    {
        guard let leaf = certificates.first else { return }
        guard leaf.publicKey.spki == key.spki else {
            throw SigstoreError(
                .wrongKey,
                "the certificate of \(leaf.displayName) is for another key than the one that signs: expected \(try key.hint()), found \(try leaf.publicKey.hint())",
                advice: "give the certificate that was issued for this key, or the key that belongs to it")
        }
        guard leaf.isValid(at: now) else {
            throw SigstoreError(
                now < leaf.notBefore ? .certificateNotYetValid : .certificateExpired,
                "the certificate of \(leaf.displayName) is valid from \(Instant(seconds: leaf.notBefore)) to \(Instant(seconds: leaf.notAfter)), not now",
                advice: "have a certificate issued that is valid now")
        }
        guard let root = certificates.dropFirst().last else { return }
        _ = try CertificatePath.build(
            leaf: leaf, intermediates: Array(certificates.dropFirst().dropLast()), anchors: [root], at: now,
            purpose: .codeSigning)
    }

    /// Gets the certificate of the identity that signs. No other is got afterwards, and no person or service is asked for a
    /// token: once it has ended, signing fails.
    /// - Returns: The certificate, and when it is begun to be used for the last time, in seconds since 1970; `nil` if a key
    ///   signs.
    /// - Throws: `SigstoreError` that says why there is no token or no certificate.
    public func settleCertificate() async throws(SigstoreError) -> (certificate: Certificate, end: Int64)? {
        guard let certifiedKeys else { return nil }
        let key = try await certifiedKeys.onlyKey()
        return (key.certificate, key.lastUse)
    }

    /// Whether signatures are recorded in a transparency log.
    public var isLogged: Bool { !services.transparencyLogs.isEmpty }

    /// Whether signatures are timestamped.
    public var isTimestamped: Bool { !services.timestampAuthorities.isEmpty }

    /// The key that signs, if it is a key that was given.
    public var key: (any Signer)? {
        if case .key(let signer, _) = signatory { return signer }
        return nil
    }

    /// How everything is signed in this session.
    public var schemes: SchemeChoice {
        if case .key(let signer, let algorithm) = signatory {
            return SchemeChoice(signer, algorithm: algorithm, logs: services.transparencyLogs)
        }
        return SchemeChoice(nil, algorithm: nil, logs: services.transparencyLogs)
    }

    private func settledScheme(_ scheme: SignatureScheme?, for content: SchemeChoice.Content)
        throws(SigstoreError) -> SignatureScheme
    {
        if let scheme { return scheme }
        return try schemes.scheme(for: content)
    }

    /// The certificate that will stand for the signer: the key's own, or that of an identity, which is asked for now unless it
    /// is at hand. Nothing is signed yet.
    /// - Returns: `nil` if a key signs that has none.
    /// - Throws: `SigstoreError` if there is no identity token, or no certificate can be had for it.
    func signerCertificate() async throws(SigstoreError) -> Certificate? {
        if let certifiedKeys { return try await certifiedKeys.certifiedKey().certificate }
        return certificates.first
    }

    // MARK: - What becomes public

    /// What signing will make public, for a person to read before it happens.
    /// - Parameter attestations: Whether attestations are signed, which logs of Rekor v1 get whole.
    /// - Returns: Sentences; none if nothing becomes public.
    /// - Throws: `SigstoreError` if there is no identity token, or it is no good; with `no-trusted-root` if the answer of a
    ///   log could not be verified.
    public func publication(ofAttestations attestations: Bool) async throws(SigstoreError) -> [String] {
        var lines: [String] = []
        if let certifiedKeys {
            let token = try await certifiedKeys.token()
            lines.append(
                "the identity \(token.identity), vouched for by \(token.certificateIssuer), in a certificate that is "
                    + "recorded in certificate transparency logs")
        }
        let now = Instant(seconds: clock())
        if let log = services.transparencyLogs.first,
            trustedRoot?.transparencyLogs.contains(where: { $0.validFor.contains(now) }) != true
        {
            throw SigstoreError(
                .noTrustedRoot,
                "the trusted root knows no transparency log that counts now, so what \(log.url) answers could not be verified; nothing was signed",
                advice: .remedy(.giveTrustedRootOfServices))
        }
        for log in services.transparencyLogs {
            let verifier =
                if certifiedKeys != nil { "that certificate" } else {
                    certificates.isEmpty ? "the public key" : "the key's certificate"
                }
            lines.append(
                attestations && log.version == .v1
                    ? "each attestation, whole, with its signature and \(verifier), in the transparency log \(log.url)"
                    : "each signature with \(verifier) and the digest of what is signed, in the transparency log \(log.url)"
            )
        }
        if !lines.isEmpty { lines.append("this is public for good, and cannot be taken back") }
        return lines
    }

    /// Whether a bundle is what this session would make of a file: by the same signer, in the same way, with what its services
    /// give, and it holds.
    /// - Parameters:
    ///   - bundle: A bundle, of which nothing is believed yet.
    ///   - artifact: The file, which is read once.
    ///   - scheme: How the file would be signed; by default as ``schemes`` has it for a file.
    /// - Throws: `SigstoreError` if there is no identity token, or the file cannot be read.
    public func hasMade(_ bundle: SigstoreBundle, of artifact: some ArtifactSource, scheme: SignatureScheme? = nil)
        async throws(SigstoreError) -> Bool
    {
        let scheme = try settledScheme(scheme, for: .file)
        // Timestamps by authorities that the trusted root does not know cannot be verified, but must be there.
        guard bundle.timestamps.count >= services.timestampAuthorities.count, hasEntries(bundle) else { return false }
        switch bundle.keyMaterial {
        case .publicKey: guard certificates.isEmpty else { return false }
        case .certificates(let chain): guard key == nil || chain.first == certificates.first?.der else { return false }
        }
        let (verifier, policy) = try await verification()
        return try await onBlockingThread { () throws(SigstoreError) in
            do throws(RejectedBundle) {
                return try verifier.verify(bundle, .message(artifact), policy).scheme == scheme
            } catch {
                return false
            }
        }
    }

    /// What verifies that this session's signer has signed something, with what the session's services give.
    /// - Throws: `SigstoreError` if there is no identity token.
    public func verification() async throws(SigstoreError) -> (verifier: Verifier, policy: VerificationPolicy) {
        let signedBy: VerificationPolicy.SignedBy
        if let certifiedKeys {
            signedBy = .identities(try await certifiedKeys.token().certificateIdentities())
        } else if let key {
            signedBy = .key(key.publicKey)
        } else {
            throw Self.noTrustedRoot
        }
        var policy = VerificationPolicy(
            signedBy: signedBy,
            transparencyLog: isLogged ? .required(threshold: services.transparencyLogs.count) : .insecurelyIgnored)
        if isTimestamped, trustedRoot?.timestampAuthorities.isEmpty == false {
            policy.signedTimestamps = .required(threshold: services.timestampAuthorities.count)
        }
        return (Verifier(trustedRoot: trustedRoot, now: clock), policy)
    }

    /// Whether a bundle has an entry of each log. If the trusted root does not say which of its logs is at a log's URL, an
    /// entry of the same version of Rekor will do.
    private func hasEntries(_ bundle: SigstoreBundle) -> Bool {
        services.transparencyLogs.allSatisfy { log in
            let known = (trustedRoot?.transparencyLogs ?? []).filter { known in
                (try? HTTPURL(parsing: known.baseURL)).map(Self.name) == Self.name(log.url)
            }
            return bundle.logEntries.contains { entry in
                guard let body = try? LogEntryBody(parsing: entry.body), body.isRekorV2 == (log.version == .v2) else {
                    return false
                }
                return known.isEmpty || known.contains { $0.logID == entry.logID }
            }
        }
    }

    // MARK: - Signing

    /// Signs a file.
    /// - Parameters:
    ///   - artifact: The file, read once.
    ///   - scheme: How; by default as ``schemes`` has it for a file.
    /// - Returns: A bundle that our own verifier has accepted.
    /// - Throws: `SigstoreError` naming the service or the step that failed, and what was recorded before.
    public func sign(_ artifact: some ArtifactSource, scheme: SignatureScheme? = nil) async throws(SigstoreError)
        -> SigstoreBundle
    {
        let scheme = try settledScheme(scheme, for: .file)
        return try await sign(try await read(artifact, schemes: [scheme]), scheme: scheme)
    }

    /// Reads a file for signing, once.
    /// - Parameter schemes: How it will be signed.
    func read(_ artifact: some ArtifactSource, schemes: Set<SignatureScheme>) async throws(SigstoreError)
        -> HashedMessage
    {
        // A signer that takes no digests takes what pure Ed25519 needs: the message itself.
        let whole = key?.takesWholeMessages == true && !schemes.contains(.ed25519)
        let needed = whole ? schemes.union([.ed25519]) : schemes
        do throws(SigstoreError) {
            return try await onBlockingThread { () throws(SigstoreError) in
                try artifact.read(digests: self.digests, schemes: needed)
            }
        } catch {
            guard whole, error.code == .messageTooLarge, let key else { throw error }
            throw SigstoreError(
                .messageTooLarge,
                "\(key.displayName) takes messages whole, and this one is larger than 128 MiB",
                advice: "sign a file that holds its digest, or use a key that signs digests", cause: error)
        }
    }

    /// The digests that a message is read for besides those that its scheme needs.
    private var digests: Set<HashAlgorithm> { unfinished == nil ? [] : [.sha256] }

    /// Signs a message that was read for the scheme and for `digests`.
    func sign(_ message: HashedMessage, scheme: SignatureScheme) async throws(SigstoreError) -> SigstoreBundle {
        try await sign(.message(message), named: message.digest(.sha256), scheme)
    }

    /// Signs a statement as a DSSE envelope.
    /// - Parameters:
    ///   - statement: JSON in UTF-8, signed as it is.
    ///   - scheme: How; by default as ``schemes`` has it for an envelope.
    ///   - envelopeIsTimestamped: Whether timestamps are over the envelope, as cosign's older scheme has it, and not over
    ///     the signature.
    /// - Returns: A bundle that our own verifier has accepted.
    /// - Throws: `SigstoreError` naming the service or the step that failed, and what was recorded before.
    public func attest(_ statement: [UInt8], scheme: SignatureScheme? = nil, envelopeIsTimestamped: Bool = false)
        async throws(SigstoreError) -> SigstoreBundle
    {
        let scheme = try settledScheme(scheme, for: .envelope)
        return try await sign(
            .payload(statement, type: Statement.payloadType, envelopeIsTimestamped: envelopeIsTimestamped),
            named: try Self.name(of: statement), scheme)
    }

    /// Gives a finished bundle to the function that writes or pushes it. If that fails, the bundle is kept, so that the
    /// next run delivers it instead of signing again.
    /// - Parameters:
    ///   - bundle: A bundle that this session has made.
    ///   - delivery: Writes or pushes it.
    /// - Throws: What the delivery threw, with what was recorded already.
    public func deliver(_ bundle: SigstoreBundle, _ delivery: (SigstoreBundle) async throws(SigstoreError) -> Void)
        async throws(SigstoreError)
    {
        guard !bundle.logEntries.isEmpty else { return try await delivery(bundle) }
        let name = unfinished?.takeName(of: bundle)
        var entry = UnfinishedSignatures.Entry(bundle: bundle)
        entry.timestampAuthorities = services.timestampAuthorities.prefix(bundle.timestamps.count).map(
            \.url.description)
        entry.transparencyLogs = services.transparencyLogs.prefix(bundle.logEntries.count).map(\.url.description)
        // Also if the run is stopped meanwhile.
        var begun: String?
        if let name { begun = await unfinished?.begin(entry, name) }
        var failure: SigstoreError?
        do throws(SigstoreError) { try await delivery(bundle) } catch {
            failure = await kept(entry, askingLogsAgain: false, name: name, after: error)
        }
        if let begun { await unfinished?.end(begun) }
        if let failure { throw failure }
    }

    /// - Parameter isAnew: Whether a certificate has ended before this signature already.
    private func sign(
        _ subject: Subject, named digest: Digest?, _ scheme: SignatureScheme, isAnew: Bool = false
    ) async throws(SigstoreError) -> SigstoreBundle {
        var envelopeIsTimestamped = false
        if case .payload(_, _, let flag) = subject { envelopeIsTimestamped = flag }
        let name = try await unfinishedName(digest, envelopeIsTimestamped)
        var entry: UnfinishedSignatures.Entry
        let certified: CertifiedKey?
        var isResumed = false
        var begun: String?
        if let (found, key) = try await resumed(name, subject) {
            (entry, certified, isResumed) = (found, key, true)
        } else {
            for log in services.transparencyLogs {
                let isEnvelope = if case .payload = subject { true } else { false }
                try log.expectRecordable(scheme, by: key?.publicKey.kind ?? .ecP256, inEnvelope: isEnvelope)
            }
            // 1. The key; with an identity, its certificate, which was verified when it came.
            let key = try await signingKey()
            certified = key.certified
            // 2. The signature.
            entry = UnfinishedSignatures.Entry(bundle: try await signed(subject, key, scheme))
        }
        var isInTime = true
        if let certified, comesTooLate(entry, certified) {
            guard try await isRecordedInTime(entry, subject, certified, scheme) else {
                try await giveUp(isResumed ? name : nil, certified, isAnew)
                return try await sign(subject, named: digest, scheme, isAnew: true)
            }
            isInTime = false
        }
        if envelopeIsTimestamped { entry.bundle = entry.bundle.withEnvelopeTimestamped() }
        var mayBeLogged = false
        var isComplete = false
        signing: do throws(SigstoreError) {
            // 3. Timestamps. What does not hold with them is not recorded.
            let timestamped = try entry.bundle.timestampedBytes()
            for authority in services.timestampAuthorities {
                let url = authority.url.description
                guard !entry.timestampAuthorities.contains(where: { $0.utf8.elementsEqual(url.utf8) }) else { continue }
                let timestamp = try await authority.timestamp(over: timestamped)
                try Self.expectTimely(timestamp, authority, certified)
                entry.bundle.timestamps.append(timestamp)
                entry.timestampAuthorities.append(url)
            }
            _ = try verified(entry.bundle, subject, certified, logs: 0)
            // 4. Log entries.
            for log in services.transparencyLogs {
                let url = log.url.description
                guard !entry.transparencyLogs.contains(where: { $0.utf8.elementsEqual(url.utf8) }) else { continue }
                if isInTime, let certified, comesTooLate(entry, certified) { break signing }
                let proposal = try proposal(entry.bundle, subject, certified, scheme)
                if let name { begun = await unfinished?.begin(entry, name, at: begun) }
                mayBeLogged = true
                entry.bundle.logEntries.append(
                    try await log.record(proposal, trusted: trustedRoot?.transparencyLogs ?? []))
                mayBeLogged = false
                entry.transparencyLogs.append(url)
            }
            isComplete = true
            // 5. The finished bundle, as a verifier will read it.
            let finished = try verified(entry.bundle, subject, certified, logs: services.transparencyLogs.count)
            if let name {
                // What another file with the same content has left is not this one's.
                if isResumed { await unfinished?.remove(name) }
                try unfinished?.remember(name, of: finished)
            }
            if let begun { await unfinished?.end(begun) }
            return finished
        } catch {
            var error = error
            if isResumed, let name, let path = unfinished?.path(name) {
                error.message += "; the signature was begun by an earlier run"
                error.advice = SigstoreError.Advice.sentence("to begin anew, remove what that run has kept in \(path)")
                    .after(error.advice)
            }
            let isOpen = mayBeLogged && Self.leavesOpen(error)
            if isOpen || !entry.transparencyLogs.isEmpty {
                error = await kept(entry, askingLogsAgain: isComplete, name: name, after: error)
            }
            if let begun { await unfinished?.end(begun) }
            throw error
        }
        if let begun { await unfinished?.end(begun) }
        if let certified { try await giveUp(isResumed ? name : nil, certified, isAnew) }
        return try await sign(subject, named: digest, scheme, isAnew: true)
    }

    /// Whether a certificate has ended before a service that would have to say when it was used has answered. Rekor v1 would
    /// record the signature all the same, with a time that no verifier accepts. Rekor v2 says no time: there a timestamp
    /// that was made in time is enough.
    private func comesTooLate(_ entry: UnfinishedSignatures.Entry, _ certified: CertifiedKey) -> Bool {
        guard certified.hasEnded(at: clock()) else { return false }
        func isMissing(_ url: HTTPURL, _ found: [String]) -> Bool {
            !found.contains { $0.utf8.elementsEqual(url.description.utf8) }
        }
        return services.timestampAuthorities.contains { isMissing($0.url, entry.timestampAuthorities) }
            || services.transparencyLogs.contains { $0.version == .v1 && isMissing($0.url, entry.transparencyLogs) }
    }

    /// Whether all that a signature lacks are entries of Rekor v1 which the logs have already: an earlier run sent it in time,
    /// and did not see the answer. To ask records nothing.
    private func isRecordedInTime(
        _ entry: UnfinishedSignatures.Entry, _ subject: Subject, _ certified: CertifiedKey, _ scheme: SignatureScheme
    ) async throws(SigstoreError) -> Bool {
        guard entry.timestampAuthorities.count >= services.timestampAuthorities.count else { return false }
        let proposal = try proposal(entry.bundle, subject, certified, scheme)
        for log in services.transparencyLogs where log.version == .v1 {
            let url = log.url.description
            guard !entry.transparencyLogs.contains(where: { $0.utf8.elementsEqual(url.utf8) }) else { continue }
            let found = try await log.retrieve(proposal)
            guard found.contains(where: { certified.certificate.isValid(at: $0.integratedTime) }) else { return false }
        }
        return true
    }

    /// Forgets a signature that comes too late, and says so.
    /// - Parameter name: Under which name an earlier run has kept it.
    private func giveUp(_ name: String?, _ certified: CertifiedKey, _ isAnew: Bool) async throws(SigstoreError) {
        let end = Instant(seconds: certified.certificate.notAfter)
        guard !isAnew else {
            throw SigstoreError(
                .certificateExpired, "the certificate ended at \(end), before a transparency log was asked",
                advice: "try again, with services that answer sooner")
        }
        if let name { await unfinished?.remove(name) }
        unfinished?.say(
            "The certificate of a signature that was begun ended at \(end), too late for a log to record it: it is signed anew."
        )
    }

    /// A timestamp that is outside the certificate's time proves nothing; it is the authority's fault, and said to be.
    private static func expectTimely(_ timestamp: [UInt8], _ authority: TimestampClient, _ certified: CertifiedKey?)
        throws(SigstoreError)
    {
        guard let certificate = certified?.certificate else { return }
        let time = try TimestampToken(response: timestamp).time
        guard !certificate.isValid(at: time) else { return }
        throw SigstoreError(
            time < certificate.notBefore ? .certificateNotYetValid : .certificateExpired,
            "the timestamp authority \(authority.url) says that it is \(Instant(seconds: time)), and the certificate is valid "
                + "from \(Instant(seconds: certificate.notBefore)) to \(Instant(seconds: certificate.notAfter)); "
                + "nothing was recorded in a log",
            advice: "check the clock of the timestamp authority, or use another one")
    }

    private func signingKey() async throws(SigstoreError) -> SigningKey {
        switch signatory {
        case .key(let signer, _):
            let material: SigstoreBundle.KeyMaterial =
                if let leaf = certificates.first { .certificates([leaf.der]) } else {
                    .publicKey(hint: try signer.publicKey.hint())
                }
            return SigningKey(signer: signer, material: material, certified: nil)
        case .identity:
            guard let certified = try await certifiedKeys?.certifiedKey() else { throw Self.noTrustedRoot }
            return SigningKey(
                signer: certified.key, material: .certificates([certified.certificate.der]), certified: certified)
        }
    }

    private func signed(_ subject: Subject, _ key: SigningKey, _ scheme: SignatureScheme) async throws(SigstoreError)
        -> SigstoreBundle
    {
        let signer = key.signer
        switch subject {
        case .message(let message):
            let signature = try await signature(over: message, by: signer, scheme)
            return SigstoreBundle(
                keyMaterial: key.material,
                content: .messageSignature(
                    SigstoreBundle.MessageSignature(
                        digest: scheme.hash.flatMap { message.digest($0) }, signature: signature)))
        case .payload(let payload, let type, _):
            let message = try await onBlockingThread { () throws(SigstoreError) in
                try HashedMessage.of(
                    DSSEEnvelope.preAuthenticationEncoding(payloadType: type, payload: payload), schemes: [scheme],
                    keepingBytes: signer.takesWholeMessages)
            }
            let signature = try await signature(over: message, by: signer, scheme)
            return SigstoreBundle(
                keyMaterial: key.material,
                content: .dsse(
                    DSSEEnvelope(
                        payloadType: type, payload: payload,
                        signatures: [DSSEEnvelope.Signature(signature: signature)])))
        }
    }

    /// Signs a message: every signature is made here. What comes back is used only if it holds for the public key.
    func signature(over message: HashedMessage, by signer: any Signer, _ scheme: SignatureScheme)
        async throws(SigstoreError) -> [UInt8]
    {
        if signer is PrivateKey {
            let signature = try await signer.sign(message, scheme: scheme)
            guard try signer.publicKey.verifies(signature, of: message, scheme: scheme) else { throw .signedWrongly }
            return signature
        }
        await turns.take()
        let signature: [UInt8]
        do throws(SigstoreError) { signature = try await signer.sign(message, scheme: scheme) } catch {
            await turns.giveBack()
            throw error
        }
        await turns.giveBack()
        guard try signer.publicKey.verifies(signature, of: message, scheme: scheme) else {
            throw SigstoreError(
                .keyMismatch,
                "the signature that \(signer.displayName) gave does not hold: expected one with \(scheme) by the \(signer.publicKey.kind) key \(try signer.publicKey.hint()); nothing was published",
                advice:
                    "the key or its version may have been changed meanwhile: try again; if it stays so, the service signs in another way than it says"
            )
        }
        return signature
    }

    private func proposal(
        _ bundle: SigstoreBundle, _ subject: Subject, _ certified: CertifiedKey?, _ scheme: SignatureScheme
    ) throws(SigstoreError) -> ProposedLogEntry {
        let content: ProposedLogEntry.Content
        switch (bundle.content, subject) {
        case (.dsse(let envelope), _): content = .envelope(envelope)
        case (.messageSignature, .message(let message)):
            guard let digest = scheme.hash.flatMap({ message.digest($0) }) else {
                throw SigstoreError(
                    .entryRefused, "a transparency log records files by a digest, and \(scheme) has none")
            }
            content = .message(digest)
        case (.messageSignature, .payload):
            throw SigstoreError(.attestationNotSignature, "what was signed is an attestation, not a file")
        }
        guard let key = certified?.certificate.publicKey ?? key?.publicKey else { throw Self.noTrustedRoot }
        return ProposedLogEntry(
            content: content, signature: try bundle.signature(), scheme: scheme, key: key,
            certificate: certified?.certificate ?? certificates.first)
    }

    /// The bundle, written, read back and verified.
    private func verified(_ bundle: SigstoreBundle, _ subject: Subject, _ certified: CertifiedKey?, logs: Int)
        throws(SigstoreError) -> SigstoreBundle
    {
        var readBack = try SigstoreBundle(parsing: bundle.serialized())
        if bundle.isEnvelopeTimestamped { readBack = readBack.withEnvelopeTimestamped() }
        let claim: BundleClaim =
            switch subject {
            case .message(let message): .message(ReadArtifact(message: message))
            case .payload: .attestation(subject: nil, predicateType: nil)
            }
        let signedBy: VerificationPolicy.SignedBy
        if let certified {
            signedBy = .identities(certified.identities)
        } else if let key {
            signedBy = .key(key.publicKey)
        } else {
            throw Self.noTrustedRoot
        }
        var policy = VerificationPolicy(
            signedBy: signedBy, transparencyLog: logs == 0 ? .insecurelyIgnored : .required(threshold: logs))
        if !bundle.timestamps.isEmpty, trustedRoot?.timestampAuthorities.isEmpty == false {
            policy.signedTimestamps = .required(threshold: bundle.timestamps.count)
        }
        var time = clock()
        if let certified {
            policy.detachedCertificateTimestamps = certified.detachedTimestamps
            // Without a timestamp yet, what counts is that the certificate holds at all.
            time = min(max(time, certified.certificate.notBefore), certified.certificate.notAfter)
        }
        let verifier = Verifier(trustedRoot: trustedRoot) { [time] in time }
        do throws(RejectedBundle) { _ = try verifier.verify(readBack, claim, policy) } catch {
            let error = error.error
            guard trustedRoot != nil else { throw SigstoreError.signedWrongly }
            throw SigstoreError(
                error.code, "the bundle that was just made does not verify, so it was not written: \(error.message)",
                advice: "check that the trusted root is that of the services that were used",
                cause: error)
        }
        return readBack
    }
}

/// Lets so many through at once; the others wait for their turn, in the order in which they came.
actor Turns {
    private var free: Int
    private var waiting: [CheckedContinuation<Void, Never>] = []
    private var next = 0

    init(_ count: Int) { free = count }

    func take() async {
        if free > 0 {
            free -= 1
        } else {
            await withCheckedContinuation { waiting.append($0) }
        }
    }

    func giveBack() {
        guard next < waiting.count else {
            (waiting, next) = ([], 0)
            return free += 1
        }
        next += 1
        waiting[next - 1].resume()
    }
}

// MARK: - What was left unfinished

extension SigningSession {
    /// Under which name a signature over something is kept; `nil` if none is kept.
    private func unfinishedName(_ digest: Digest?, _ envelopeIsTimestamped: Bool) async throws(SigstoreError)
        -> String?
    {
        guard let digest, unfinished != nil, isLogged else { return nil }
        var signer: String
        if let certifiedKeys {
            let token = try await certifiedKeys.token()
            signer = "\(token.identity)\n\(token.certificateIssuer)"
        } else {
            signer = try key?.publicKey.hint() ?? ""
            if let leaf = certificates.first { signer += "\n\(leaf.fingerprint)" }
        }
        // Its timestamps are of no use to a bundle of the newer form.
        if envelopeIsTimestamped { signer += "\nenvelope" }
        // What other services made of it does not hold here.
        for url in services.timestampAuthorities.map(\.url) + services.transparencyLogs.map(\.url) {
            signer += "\n\(url)"
        }
        return try UnfinishedSignatures.name(signed: digest, signer: signer)
    }

    /// The digest that names a statement: that of what it says, without the time at which it was made, which cosign's custom
    /// predicates carry. A second run makes the same statement at another time.
    private static func name(of statement: [UInt8]) throws(SigstoreError) -> Digest {
        guard case .object(var document)? = try? JSONValue(parsing: statement),
            case .object(var predicate)? = document["predicate"], predicate["Timestamp"] != nil,
            (try? Statement(parsing: statement))?.predicateType.matches(.cosignCustom) == true
        else { return try Digest.sha256(statement) }
        predicate["Timestamp"] = nil
        document["predicate"] = .object(predicate)
        return try Digest.sha256(JSONValue.object(document).serialized())
    }

    /// The signature that an earlier run left, if it still holds.
    private func resumed(_ name: String?, _ subject: Subject) async throws(SigstoreError)
        -> (UnfinishedSignatures.Entry, CertifiedKey?)?
    {
        guard let name, let unfinished, let entry = try await unfinished.load(name) else { return nil }
        switch entry.bundle.keyMaterial {
        case .publicKey: return (entry, nil)
        case .certificates where key != nil: return (entry, nil)
        case .certificates(let chain):
            guard let certifiedKeys, let der = chain.first else { return nil }
            let certificate = try Certificate(der: der)
            // The key is gone; only what it signed is left.
            let token = try await certifiedKeys.token()
            let certified = CertifiedKey(
                key: try PrivateKey.generate(.ecdsaP256), certificate: certificate,
                identities: try token.certificateIdentities(), detachedTimestamps: [],
                obtained: certificate.notBefore)
            return (entry, certified)
        }
    }

    /// Whether a log may have recorded an entry although it reported a failure, or answered what is no good: always,
    /// unless it refused, or was sent nothing.
    private static func leavesOpen(_ error: SigstoreError) -> Bool {
        guard !error.wasNotSent else { return false }
        return switch error.code {
        case .entryRefused, .redirectRefused, .tlsFailed, .malformedRequest, .httpUnavailable: false
        case .httpStatus: error.httpStatus.map { $0 >= 500 || RetryPolicy.transientStatuses.contains($0) } ?? true
        default: true
        }
    }

    /// The error, with what was recorded before it; keeps the signature for the next run.
    /// - Parameter askingLogsAgain: Whether what the logs answered is no good. The next run then asks them for the same
    ///   entry again, which they have already and do not record twice.
    private func kept(
        _ entry: UnfinishedSignatures.Entry, askingLogsAgain: Bool, name: String?, after error: SigstoreError
    ) async -> SigstoreError {
        let recorded = zip(entry.bundle.logEntries, entry.transparencyLogs).map { "\($1) as entry \($0.logIndex)" }
        var error = error
        error.message +=
            recorded.isEmpty
            ? "; a transparency log may have recorded the signature nevertheless"
            : "; the signature is already recorded in \(recorded.joined(separator: " and "))"
        guard let name, let unfinished else { return error }
        var entry = entry
        if askingLogsAgain {
            entry.bundle.logEntries = []
            entry.transparencyLogs = []
        }
        do throws(SigstoreError) {
            try await unfinished.keep(entry, name)
            error.message += "; it is kept in \(unfinished.path(name))"
            error.advice = SigstoreError.Advice.sentence(
                "run the same command again, for this one alone, to finish it without recording it twice"
            ).after(error.advice)
        } catch {
            return SigstoreError(
                error.code, "the signature could not be kept for another run: \(error.message)", advice: error.advice,
                cause: error)
        }
        return error
    }
}

extension SigstoreError.Remedy {
    /// A service is named twice.
    public static let nameServiceOnce = Self("name-each-service-once")
    /// The key cannot sign with the algorithm that was named.
    public static let giveFittingKey = Self("leave-the-algorithm-out-or-give-its-key")
    /// A certificate holds for minutes, so a log or a timestamp authority must say when it was used.
    public static let nameTimestampAuthority = Self("name-a-timestamp-authority")
    /// What services answer needs a trusted root.
    public static let giveTrustedRootOfServices = Self("give-the-trusted-root-of-the-services")
}
