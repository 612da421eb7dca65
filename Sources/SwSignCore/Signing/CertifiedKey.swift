internal import HTTPTransport
internal import SigstoreClients
internal import SigstoreCrypto
internal import SigstoreVerification
internal import StrictJSON

/// An ephemeral key together with Fulcio's certificate for it, which was verified. The key is in memory only.
struct CertifiedKey: Sendable {
    let key: PrivateKey
    let certificate: Certificate
    /// Whom the certificate may name; one of them is whom it names.
    let identities: [CertificateIdentity]
    /// A signed certificate timestamp that does not stand in the certificate.
    let detachedTimestamps: [SignedCertificateTimestamp]
    /// When it came, by this machine's clock; when it was issued, if it came to an earlier run.
    let obtained: Int64

    /// How long before its end a certificate is not begun to be used, in seconds: the timestamp must still fall in it.
    private static let margin: Int64 = 30

    /// Whether the certificate's time is over, also if this machine's clock and Fulcio's differ.
    func hasEnded(at now: Int64) -> Bool { now - obtained >= certificate.notAfter - certificate.notBefore }

    func isUsable(at now: Int64) -> Bool { certificate.notBefore <= now && now < lastUse }

    /// When it is begun to be used for the last time.
    var lastUse: Int64 { certificate.notAfter - Self.margin }
}

/// Gets one certificate for a whole run, and another when it ends before the run does.
actor CertifiedKeySource {
    private let fulcio: FulcioClient
    private let provider: any IdentityTokenProvider
    private let audience: String
    private let trustedRoot: TrustedRoot
    private let clock: @Sendable () -> Int64
    private var held: IdentityToken?
    /// Whether there is no other certificate after the one that is there.
    private var isFinal = false
    private var current: Task<Result<CertifiedKey, SigstoreError>, Never>?

    init(
        fulcio: FulcioClient, provider: any IdentityTokenProvider, audience: String, trustedRoot: TrustedRoot,
        clock: @escaping @Sendable () -> Int64
    ) {
        self.clock = clock
        self.fulcio = fulcio
        self.provider = provider
        self.audience = audience
        self.trustedRoot = trustedRoot
    }

    /// A token that holds now; once ``onlyKey()`` has been had, the one with which it was.
    func token() async throws(SigstoreError) -> IdentityToken {
        let now = clock()
        if let held, isFinal || now < held.expiry { return held }
        let token = try await provider.token(audience: audience)
        do throws(SigstoreError) { try token.check(audience: audience, now: now) } catch {
            throw error.concerning(provider.name)
        }
        held = token
        return token
    }

    /// A key with a certificate that can be used now. A task that asks while one is being obtained waits for that one.
    /// A failure is final, so that no person is asked to sign in once for each file.
    func certifiedKey() async throws(SigstoreError) -> CertifiedKey {
        if let current {
            switch await current.value {
            case .success(let key) where key.isUsable(at: clock()): return key
            case .failure(let error): throw error
            // If Fulcio's clock is ahead of this one, it is not yet valid here, and was had all the same.
            case .success(let key) where isFinal && clock() < key.lastUse: return key
            case .success where isFinal:
                throw SigstoreError(
                    .certificateExpired, "the certificate with which everything is signed here has ended")
            case .success: if self.current == current { self.current = nil }
            }
        }
        let task =
            current
            ?? Task { () -> Result<CertifiedKey, SigstoreError> in
                do throws(SigstoreError) { return .success(try await self.obtain()) } catch { return .failure(error) }
            }
        current = task
        return try await task.value.get()
    }

    /// A key with a certificate that can be used now, after which there is no other.
    func onlyKey() async throws(SigstoreError) -> CertifiedKey {
        let key = try await certifiedKey()
        isFinal = true
        return key
    }

    private func obtain() async throws(SigstoreError) -> CertifiedKey {
        let token = try await token()
        let key = try PrivateKey.generate(.ecdsaP256)
        async let ahead: Void = findTimestampPaths()
        let issued = try await fulcio.certificate(for: key, token: token)
        await ahead
        var detached: [SignedCertificateTimestamp] = []
        if let json = issued.detachedTimestamp, !json.isEmpty {
            detached = [try SignedCertificateTimestamp(detached: json)]
        }
        let certified = CertifiedKey(
            key: key, certificate: issued.leaf, identities: try token.certificateIdentities(),
            detachedTimestamps: detached, obtained: clock())
        try check(certified, issued, token)
        return certified
    }

    /// What verifying the timestamp will need, while Fulcio is waited for.
    @concurrent
    private nonisolated func findTimestampPaths() async {
        trustedRoot.findTimestampPaths(at: clock())
    }

    /// The proof of possession is a signature like any other, so the verifier checks it: with it the certificate's
    /// path, its signed certificate timestamp, whom it names, and that it is for our key.
    private func check(_ certified: CertifiedKey, _ issued: IssuedCertificate, _ token: IdentityToken)
        throws(SigstoreError)
    {
        let challenge = try HashedMessage.of(
            Array(token.challenge.utf8), schemes: [certified.key.publicKey.defaultScheme])
        let proof = SigstoreBundle(
            keyMaterial: .certificates([certified.certificate.der]),
            content: .messageSignature(
                SigstoreBundle.MessageSignature(digest: challenge.digest(.sha256), signature: issued.proofOfPossession))
        )
        // If this machine's clock is a little off, what counts is Fulcio's.
        let time = min(max(clock(), certified.certificate.notBefore), certified.certificate.notAfter)
        var policy = VerificationPolicy(
            signedBy: .identities(certified.identities), transparencyLog: .insecurelyIgnored)
        policy.detachedCertificateTimestamps = certified.detachedTimestamps
        let verifier = Verifier(trustedRoot: trustedRoot) { time }
        do throws(RejectedBundle) {
            _ = try verifier.verify(proof, .message(ReadArtifact(message: challenge)), policy)
        } catch {
            throw SigstoreError(
                error.error.code,
                "the certificate that Fulcio at \(fulcio.url.origin.authority) issued does not hold: \(error.error.message)",
                advice: "nothing was signed; check that the trusted root is that of this Sigstore instance",
                cause: error.error)
        }
    }
}
