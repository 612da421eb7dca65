public import HTTPTransport
internal import InToto
internal import LocalSystem
internal import SigstoreClients
internal import SigstoreCrypto
public import SigstoreVerification
public import StrictJSON
internal import Synchronization

/// Looks up the log entries of signatures that came without one, in logs of Rekor v1 that the trusted root knows.
///
/// A log is asked for exactly one entry, made of the signature, the key or certificate, and the digest: never for whatever it
/// has about a digest. What it answers becomes part of the bundle, and the verifier, which asks no service, looks at it as
/// at one that came with the signature.
public final class LogLookup: Sendable {
    /// Why there is no entry to look at.
    public enum Failure: Error, Sendable {
        /// The signature does not hold by itself, or is by nobody who is demanded. No log was asked.
        case refused(RejectedBundle)
        /// No log has the entry, or none can have it.
        case notFound(SigstoreError)
        /// A log that may have it could not be asked: whether it is there is not known.
        case couldNotLook(SigstoreError)
    }

    private let verifier: Verifier
    private let signers: DemandedSigners
    private let url: String?
    private let http: @Sendable () throws(SigstoreError) -> any HTTPClient
    private let announce: @Sendable (String, Bool) -> Void
    /// The hosts that were announced, with what they learn.
    private let announced = Mutex<Set<String>>([])
    /// The logs that are asked, once they are known.
    private let known = Mutex<[RekorClient]?>(nil)

    /// - Parameters:
    ///   - verifier: Who verifies what is found, and whose trusted root names the logs.
    ///   - signers: Who must have signed.
    ///   - url: The one log to ask, in place of those of the trusted root at the addresses that stand there. Its key must be
    ///     that of a log which the trusted root knows.
    ///   - http: Makes what carries requests, when the first one is needed.
    ///   - announce: Called before a host is asked for the first time: it learns the digest of what was signed, and of an
    ///     attestation the whole.
    public init(
        verifier: Verifier, signers: DemandedSigners, url: String? = nil,
        http: @escaping @Sendable () throws(SigstoreError) -> any HTTPClient,
        announce: @escaping @Sendable (_ host: String, _ learnsWhole: Bool) -> Void
    ) {
        (self.verifier, self.signers, self.url, self.http) = (verifier, signers, url, http)
        self.announce = announce
    }

    /// Looks up the entry of a signature.
    /// - Parameters:
    ///   - bundle: The signature, without an entry.
    ///   - claim: What is claimed of it; what is read of it here is not read again for the verifier if the claim is
    ///     read once (`BundleClaim.readOnce(digests:schemes:)`).
    /// - Returns: The bundle with each entry that was found, of which one must hold; at least one.
    public func bundles(_ bundle: SigstoreBundle, _ claim: BundleClaim) async throws(Failure) -> [SigstoreBundle] {
        let entry = try proposal(bundle, claim)
        let logs: [RekorClient]
        do throws(SigstoreError) { logs = try await self.logs() } catch { throw Self.couldNotLook(error) }
        guard !logs.isEmpty else { throw .notFound(Self.nobodyToAsk) }
        var found: [SigstoreBundle] = []
        var failure: SigstoreError?
        for log in logs {
            let host = log.url.origin.authority
            let isWhole = if case .envelope = entry.content { true } else { false }
            if announced.withLock({ $0.insert("\(host) \(isWhole)").inserted }) { announce(host, isWhole) }
            do throws(SigstoreError) {
                let written = bundle.isEnvelopeTimestamped ? try bundle.timestampedBytes() : nil
                for entry in try await log.retrieve(entry, written: written) {
                    var complete = bundle
                    complete.logEntries = [entry]
                    found.append(complete)
                }
            } catch { failure = failure ?? error }
        }
        // A log that was not reached may have one that holds.
        if let failure, !found.contains(where: { (try? verifier.verify($0, claim, signers.anyOne)) != nil }) {
            throw Self.couldNotLook(failure)
        }
        guard !found.isEmpty else {
            throw .notFound(
                SigstoreError(
                    .noLogEntry,
                    "there is no entry of this signature in \(logs.map(\.url.origin.authority).joined(separator: ", "))",
                    advice: .remedy(.signWithBundle)))
        }
        return found
    }

    private static func couldNotLook(_ error: SigstoreError) -> Failure {
        .couldNotLook(error.concerning("the signature's log entry could not be looked up"))
    }

    private static let nobodyToAsk = SigstoreError(
        .noLogEntry,
        "no log of the trusted root can be asked for its entry: only one of Rekor v1 can, at the address that stands there",
        advice: .remedy(.signWithBundle))
    private static let unlogged = SigstoreError(
        .noLogEntry, "signatures of its kind (pure Ed25519, RSA-PSS) are in no log of Rekor v1",
        advice: .remedy(.signWithBundle))

    // MARK: - An entry about a name

    /// How many entries about one name are read. Anyone can add some.
    private static let entryLimit = 32

    /// Looks up the entry that gitsign's online mode makes: over the name of the finished commit or tag, by the certificate that
    /// signed it.
    /// - Parameters:
    ///   - bundle: The signature, without an entry.
    ///   - claim: What is claimed of it.
    ///   - name: The name of the object, in hexadecimal digits.
    ///   - signers: Who must have signed.
    /// - Returns: The entry as a signature over the name, verified. That the bundle's own signature holds is verified too.
    func verified(
        _ bundle: SigstoreBundle, _ claim: BundleClaim, named name: String, by signers: DemandedSigners
    ) async throws(Failure) -> VerifiedBundle {
        let certificate = try expectHolds(bundle, claim, signers)
        let logs: [RekorClient]
        let digest: Digest
        do throws(SigstoreError) {
            digest = try Digest.sha256(name.utf8)
            logs = try await self.logs()
        } catch { throw Self.couldNotLook(error) }
        guard let root = verifier.trustedRoot, !logs.isEmpty else { throw .notFound(Self.nobodyToAsk) }
        var rejected: RejectedBundle?
        var failure: SigstoreError?
        for log in logs {
            let host = log.url.origin.authority
            if announced.withLock({ $0.insert("\(host) \(false)").inserted }) { announce(host, false) }
            do throws(SigstoreError) {
                let found = try await log.search(.digest(digest))
                if found.count > Self.entryLimit {
                    throw SigstoreError(
                        .tooManyEntries,
                        "the log has \(found.count) entries about \(name), more than \(Self.entryLimit)")
                }
                for uuid in found {
                    let entry = try await log.entry(uuid: uuid, root: root, now: SystemClock.now())
                    guard let one = Self.bundle(of: entry, digest, certificate) else { continue }
                    do throws(RejectedBundle) {
                        return try verifier.verify(one, .message(ArtifactBytes(Array(name.utf8))), signers.anyOne)
                    } catch { rejected = rejected ?? error }
                }
            } catch { failure = failure ?? error }
        }
        if let failure { throw Self.couldNotLook(failure) }
        if let rejected { throw .refused(rejected) }
        throw .notFound(
            SigstoreError(
                .noLogEntry,
                "there is no entry about it in \(logs.map(\.url.origin.authority).joined(separator: ", ")), nor inside it",
                advice: "have it signed anew"))
    }

    /// Verifies all of a signature but its log entry, as far as its certificate tells when it was made.
    /// - Returns: The signer's certificate.
    private func expectHolds(
        _ bundle: SigstoreBundle, _ claim: BundleClaim, _ signers: DemandedSigners
    ) throws(Failure) -> Certificate {
        let certificate: Certificate
        do throws(SigstoreError) {
            guard case .certificates(let chain) = bundle.keyMaterial, let leaf = chain.first else {
                throw SigstoreError(.keyNotCertificate, "there is no certificate that a log could know")
            }
            certificate = try Certificate(der: leaf)
        } catch { throw .notFound(error) }
        do throws(RejectedBundle) {
            _ = try Verifier(trustedRoot: verifier.trustedRoot) { certificate.notBefore }
                .verify(bundle, claim, signers.anyOne.withoutLog)
        } catch { throw .refused(error) }
        return certificate
    }

    /// An entry as a signature over a name; `nil` if it is about something else, or by another certificate.
    private static func bundle(
        of entry: VerifiedLogEntry, _ digest: Digest, _ certificate: Certificate
    ) -> SigstoreBundle? {
        guard case .message(let found) = entry.body.subject, found == digest, entry.body.signatures.count == 1,
            let logged = entry.body.signatures.first, let signature = logged.signature,
            case .certificate(let der) = logged.verifier, der == certificate.der
        else { return nil }
        return SigstoreBundle(
            keyMaterial: .certificates([der]), content: .messageSignature(.init(digest: digest, signature: signature)),
            logEntries: [entry.entry], timestamps: [],
            version: entry.entry.proof?.checkpoint == nil ? .v01 : .v03)
    }

    // MARK: - Which logs are asked

    private func logs() async throws(SigstoreError) -> [RekorClient] {
        if let known = known.withLock({ $0 }) { return known }
        let logs = try await findLogs()
        known.withLock { $0 = logs }
        return logs
    }

    private func findLogs() async throws(SigstoreError) -> [RekorClient] {
        var ofRoot: [TrustedRoot.Log] = []
        for log in verifier.trustedRoot?.transparencyLogs ?? [] where try log.mayBe(rekorV2: false) {
            ofRoot.append(log)
        }
        var addresses: [HTTPURL] = []
        for log in ofRoot where !log.baseURL.isEmpty {
            let address = try HTTPURL(parsing: log.baseURL)
            if !addresses.contains(address) { addresses.append(address) }
        }
        guard let url else {
            guard !addresses.isEmpty else { return [] }
            let http = try http()
            return addresses.map { RekorClient(url: $0, version: .v1, http: http) }
        }
        let named = RekorClient(url: try HTTPURL(parsing: url), version: .v1, http: try http())
        if !addresses.contains(named.url) {
            let key = try await named.statedKey()
            guard ofRoot.contains(where: { $0.publicKey.spki == key.spki }) else {
                throw SigstoreError(
                    .unknownLog,
                    "the log at \(named.url) has another key than every log of the trusted root: \(try key.hint())",
                    advice: .remedy(.giveTrustedRootOfServices))
            }
        }
        return [named]
    }

    // MARK: - What is asked for

    /// The entry that the signature would have, if it holds but for that, and is by a signer who is demanded.
    private func proposal(_ bundle: SigstoreBundle, _ claim: BundleClaim) throws(Failure) -> ProposedLogEntry {
        let entry: ProposedLogEntry?
        do throws(SigstoreError) { entry = try candidate(bundle, claim) } catch {
            // Of what cannot be read, such as a broken certificate, the verifier says why it does not hold.
            do throws(RejectedBundle) {
                _ = try verifier.verify(bundle, claim, signers.anyOne.withoutLog)
            } catch let rejected { throw .refused(rejected) }
            throw .couldNotLook(error)
        }
        // A key that is demanded has signed. With a certificate, its signer must be demanded too; but which of its two
        // forms an Ed25519 signature has, only the entry says, so that one is judged when the entry is there.
        let isProven = entry.map { $0.certificate == nil || $0.key.kind == .ed25519 } ?? false
        if !isProven {
            // A certificate says itself when it held. What the log says of the time is looked at when the entry is there.
            let time = entry?.certificate?.notBefore
            let unlogged = time.map { time in Verifier(trustedRoot: verifier.trustedRoot) { time } } ?? verifier
            do throws(RejectedBundle) {
                _ = try unlogged.verify(bundle, claim, signers.anyOne.withoutLog)
            } catch { throw .refused(error) }
        }
        guard let entry else { throw .notFound(Self.unlogged) }
        return entry
    }

    private func candidate(_ bundle: SigstoreBundle, _ claim: BundleClaim) throws(SigstoreError) -> ProposedLogEntry? {
        let signature = try bundle.signature()
        var certificate: Certificate?
        var keys = signers.keys
        if case .certificates(let chain) = bundle.keyMaterial, let leaf = chain.first {
            let found = try Certificate(der: leaf)
            (certificate, keys) = (found, [found.publicKey])
        }
        for key in keys {
            switch (bundle.content, claim) {
            case (.messageSignature, .message(let source)):
                // A log sees a digest only, so it has no signatures by pure Ed25519; nor has it any by PSS.
                let message = try source.read(digests: [], schemes: Set(key.schemes))
                for scheme in key.schemes {
                    guard scheme.isLoggedOverDigest, let hash = scheme.hash, let digest = message.digest(hash),
                        (try? key.verifies(signature, of: message, scheme: scheme)) == true
                    else { continue }
                    return ProposedLogEntry(
                        content: .message(digest), signature: signature, scheme: scheme, key: key,
                        certificate: certificate)
                }
            case (.dsse(let envelope), .attestation):
                let encoding = envelope.preAuthenticationEncoding
                for scheme in key.schemes where try key.verifies(signature, ofBytes: encoding, scheme: scheme) {
                    return ProposedLogEntry(
                        content: .envelope(envelope), signature: signature, scheme: scheme, key: key,
                        certificate: certificate)
                }
            case (.messageSignature, .attestation), (.dsse, .message): break
            }
        }
        return nil
    }
}

extension CombinedPolicy {
    /// The same policy, as far as it can be judged before the log entry is there.
    fileprivate var withoutLog: CombinedPolicy {
        switch self {
        case .policy(var policy):
            policy.transparencyLog = .insecurelyIgnored
            policy.certificateTransparency = .insecurelyIgnored
            return .policy(policy)
        case .allOf(let parts): return .allOf(parts.map(\.withoutLog))
        case .anyOf(let parts): return .anyOf(parts.map(\.withoutLog))
        }
    }
}

extension SignatureScheme {
    /// Whether Rekor v1 has signatures of this kind over files, of which it sees the digest only.
    fileprivate var isLoggedOverDigest: Bool {
        switch self {
        case .ecdsa, .rsaPKCS1, .ed25519ph: true
        case .ed25519, .rsaPSS: false
        }
    }
}

extension SigstoreError.Remedy {
    /// A signature came without its log entry, which only a bundle keeps.
    public static let signWithBundle = Self("keep-the-log-entry-in-a-bundle-when-signing")
}
