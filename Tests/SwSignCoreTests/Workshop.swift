import Foundation
import HTTPTransport
import InToto
import LocalSigstore
import LocalSystem
import SigstoreClients
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import SwSignCore
import TestServices
import Testing

/// Makes sessions against the local services.
struct Workshop {
    let services: LocalServices
    let http: CountingClient
    let trustedRoot: TrustedRoot

    init(attempts: Int = 3) throws {
        services = try LocalServices.current
        http = CountingClient(attempts: attempts)
        trustedRoot = try TrustedRoot(parsing: [UInt8](try Data(contentsOf: URL(filePath: services.files.trustedRoot))))
    }

    /// - Parameters:
    ///   - authorityTimeout: How long a timestamp authority may take.
    ///   - logTimeout: How long a log may take.
    func clients(
        _ kind: LocalServices.SigningConfigKind, authorityTimeout: Duration = .seconds(300),
        logTimeout: Duration = .seconds(300)
    ) throws -> SigningSession.Services {
        let config = try SigningConfig(
            parsing: [UInt8](try Data(contentsOf: URL(filePath: services.files.signingConfig(kind)))))
        var clients = try instance.signingServices(in: config)
        clients.timestampAuthorities = clients.timestampAuthorities.map {
            TimestampClient(url: $0.url, http: http, timeout: authorityTimeout)
        }
        clients.transparencyLogs = clients.transparencyLogs.map {
            RekorClient(url: $0.url, version: $0.version, http: http, timeout: logTimeout)
        }
        return clients
    }

    /// The local services, as a program sees them.
    var instance: SigstoreInstance { SigstoreInstance(trustedRoot: .value(trustedRoot), http: http) }

    func rekor(_ version: RekorClient.Version, timeout: Duration = .seconds(300)) throws -> RekorClient {
        let url = version == .v1 ? services.rekorV1.url : services.rekorV2.url
        return RekorClient(url: try HTTPURL(parsing: url), version: version, http: http, timeout: timeout)
    }

    func fulcio(timeout: Duration = .seconds(300)) throws -> FulcioClient {
        FulcioClient(url: try HTTPURL(parsing: services.fulcio.url), http: http, timeout: timeout)
    }

    func signatory(_ identity: LocalIdentity, options: TokenOptions = TokenOptions(), timeout: Duration = .seconds(300))
        throws -> SigningSession.Signatory
    {
        let token = try IdentityToken(parsing: try services.issuer.token(for: identity, options: options))
        return .identity(try fulcio(timeout: timeout), GivenIdentityToken(token), audience: "sigstore")
    }

    func session(
        _ identity: LocalIdentity, _ services: SigningSession.Services, unfinished: UnfinishedSignatures? = nil
    ) throws -> SigningSession {
        try SigningSession(
            signatory: try signatory(identity), services: services, trustedRoot: trustedRoot, unfinished: unfinished)
    }

    /// Verifies a bundle as a stranger does.
    func verify(
        _ bundle: SigstoreBundle, by identity: LocalIdentity, _ claim: BundleClaim, logs: Int
    ) throws -> VerifiedBundle {
        let expected = CertificateIdentity(
            subject: .exactly(services.issuer.subject(of: identity)),
            issuer: .exactly(services.issuer.issuer(of: identity)))
        return try Verifier(trustedRoot: trustedRoot, now: SystemClock.now).verify(
            try SigstoreBundle(parsing: bundle.serialized()), claim,
            VerificationPolicy(
                signedBy: .identities([expected]),
                transparencyLog: logs == 0 ? .insecurelyIgnored : .required(threshold: logs)))
    }

    /// How often a log was asked to record something.
    var recordings: Int { http.requests.filter { $0.hasSuffix("/log/entries") && $0.hasPrefix("POST") }.count }
}

/// A statement about some digest.
func statement(_ name: String = "artifact") -> [UInt8] {
    Statement(
        layout: .v1,
        subjects: [
            ResourceDescriptor(name: name, digests: [(algorithm: "sha256", hex: String(repeating: "ab", count: 32))])
        ],
        predicateType: PredicateType(uri: "https://example.com/p"), predicate: .object([:])
    ).json().serialized()
}

/// The error that something throws.
func failure(_ body: () async throws -> Void) async -> SigstoreError? {
    do {
        try await body()
        return nil
    } catch { return error as? SigstoreError ?? (error as? RejectedBundle)?.error }
}
