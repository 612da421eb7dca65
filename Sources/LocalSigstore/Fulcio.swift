import Foundation
import SigstoreCrypto
import StrictJSON

/// A certificate authority that gives a short-lived certificate to the holder of an identity token (Fulcio's API v2,
/// and v1 for older clients), answering as Fulcio 1.8 does.
struct Fulcio: Sendable {
    let issuer: IdentityIssuer
    let intermediate: CertificateIssuer
    let root: X509
    let log: CertificateLog

    /// What Fulcio answers instead of a certificate: a code of gRPC, and its words.
    private struct Refusal: Error {
        var code = 3
        let message: String

        static let key = Refusal(message: "The public key supplied in the request could not be parsed")
        static let token = Refusal(message: "There was an error processing the identity token")
        static let proof = Refusal(message: "The signature supplied in the request could not be verified")
        static let request = Refusal(message: "The certificate signing request could not be parsed")
    }

    private static func error(_ status: Int, code: Int, _ message: String) -> LoopbackResponse {
        .json(
            status,
            .object(["code": .integer(code), "message": .string(message), "details": .array([])]))
    }

    func answer(_ request: LoopbackRequest) throws -> LoopbackResponse {
        do {
            switch (request.path, request.method) {
            case ("/api/v2/signingCert", "POST"):
                let chain = try certify(request, legacy: false).map { JSONValue.string($0.pem.trimmed) }
                return .json(
                    200,
                    .object([
                        "signedCertificateEmbeddedSct": .object(["chain": .object(["certificates": .array(chain)])])
                    ]))
            case ("/api/v1/signingCert", "POST"):
                let chain = try certify(request, legacy: true).map(\.pem).joined()
                return .text(201, chain, contentType: "application/pem-certificate-chain")
            case ("/api/v2/trustBundle", "GET"):
                let chain = [intermediate.certificate, root].map { JSONValue.string($0.pem) }
                return .json(200, .object(["chains": .array([.object(["certificates": .array(chain)])])]))
            case ("/api/v1/rootCert", "GET"):
                return .text(
                    200, [intermediate.certificate, root].map(\.pem).joined(separator: "\n"),
                    contentType: "application/pem-certificate-chain")
            case ("/api/v2/configuration", "GET"): return .json(200, configuration)
            case ("/healthz", "GET"): return .json(200, .object(["status": .string("SERVING")]))
            case ("/api/v2/signingCert", _), ("/api/v2/trustBundle", _), ("/api/v2/configuration", _):
                return Self.error(501, code: 12, "Method Not Allowed")
            default: return Self.error(404, code: 5, "Not Found")
            }
        } catch let refusal as Refusal {
            return Self.error(refusal.code == 13 ? 500 : 400, code: refusal.code, refusal.message)
        }
    }

    private var configuration: JSONValue {
        func entry(_ path: String, _ claim: String, _ type: String, domain: String = "") -> JSONValue {
            .object([
                "issuerUrl": .string(issuer.url + path), "audience": .string("sigstore"),
                "challengeClaim": .string(claim),
                "spiffeTrustDomain": .string(""), "issuerType": .string(type), "subjectDomain": .string(domain),
                "skipEmailVerification": .bool(false),
            ])
        }
        return .object([
            "issuers": .array([
                entry("", "email", "email"), entry("/github", "sub", "ci-provider"),
                entry("/uri", "sub", "uri", domain: issuer.url), entry("/fed", "email", "email"),
            ])
        ])
    }

    // MARK: - A certificate

    /// Checks a request and answers it.
    /// - Parameter legacy: Whether its members are those of API v1.
    private func certify(_ request: LoopbackRequest, legacy: Bool) throws -> [X509] {
        let parsed: JSONValue
        // No body is taken for an empty request.
        do { parsed = request.body.isEmpty ? .object([:]) : try JSONValue(parsing: request.body) } catch {
            throw Refusal(message: GoJSON.complaint(about: request.body))
        }
        let words = ProtoJSON(request.body)
        guard case .object = parsed else { throw Refusal(message: words.unexpected(parsed)) }
        let body = JSONCursor(parsed)
        let choices = ["publicKeyRequest", "certificateSigningRequest"]
        let chosen = try body.names().filter { name in
            try choices.contains { $0 == name } && body.optional(name) != nil
        }
        if chosen.count > 1, let last = chosen.last {
            throw Refusal(
                message: "proto: \(words.position(of: last)): error parsing \"\(last)\", oneof "
                    + "dev.sigstore.fulcio.v2.CreateSigningCertificateRequest.key is already set")
        }
        if let proof = try? body.optional("publicKeyRequest")?.optional("proofOfPossession")?.string(),
            Base64.decode(proof) == nil
        {
            throw Refusal(
                message:
                    "proto: \(words.position(of: "proofOfPossession", value: true)): invalid value for bytes field "
                    + "proofOfPossession: \"\(proof)\"")
        }
        var token: String?
        if let header = request.header("Authorization"), header.lowercased().hasPrefix("bearer ") {
            token = String(header.dropFirst(7))
        } else {
            token = try? body.optional("credentials")?.optional("oidcIdentityToken")?.string()
        }
        guard let claims = token.flatMap(issuer.claims), let principal = Principal(claims, issuer: issuer) else {
            throw Refusal.token
        }
        var key = try provenKey(body, principal: principal, legacy: legacy)
        if request.faults.contains(.wrongKey) { key = try PrivateKey.generate(.ecdsaP256).publicKey }
        return try issue(to: principal, key: key, faults: request.faults)
    }

    /// The key in a request, once its holder has proved to have the private half.
    private func provenKey(_ body: JSONCursor, principal: Principal, legacy: Bool) throws -> PublicKey {
        if let text = try? body.optional("certificateSigningRequest")?.string(), !text.isEmpty {
            guard let pem = Base64.decode(text), let block = try? PEM.blocks(in: pem).first,
                block.label == "CERTIFICATE REQUEST", let outer = try? DERElement(parsing: block.bytes).children(),
                let signed = try? outer.at(0, 0x30), let key = try? PublicKey(der: signed.children().at(2, 0x30).whole),
                let signature = try? outer.at(2, 0x03).bits
            else { throw Refusal.request }
            let scheme = Self.schemes.first { scheme in
                key.schemes.contains(scheme)
                    && (try? key.verifies(signature, ofBytes: signed.whole, scheme: scheme)) == true
            }
            guard let scheme else { throw Refusal.proof }
            guard scheme == key.defaultScheme || scheme.hash == nil else {
                let kind = if case .rsa = key.kind { "rsa" } else { "ecdsa" }
                let hash = scheme.hash.map { "SHA-\($0.byteCount * 8)" } ?? ""
                throw Refusal(message: "signing algorithm not permitted: *\(kind).PublicKey, \(hash)")
            }
            return key
        }
        let outer = legacy ? body : try? body.optional("publicKeyRequest")
        let text = try? outer?.optional("publicKey")?.optional("content")?.string()
        let bytes = legacy ? text.flatMap { Base64.decode($0) } : text.map { Array($0.utf8) }
        guard let bytes, let key = try? PublicKey(file: bytes) else { throw Refusal.key }
        let proof = try? outer?.optional(legacy ? "signedEmailAddress" : "proofOfPossession")?.string()
        guard let signature = proof.flatMap({ Base64.decode($0) }),
            (try? key.verifies(signature, ofBytes: Array(principal.challenge.utf8), scheme: key.defaultScheme)) == true
        else { throw Refusal.proof }
        return key
    }

    /// How a request may be signed; of these only the one that is usual for its key is permitted.
    private static let schemes: [SignatureScheme] = [
        .ed25519, .ecdsa(.sha256), .ecdsa(.sha384), .ecdsa(.sha512), .rsaPKCS1(.sha256), .rsaPKCS1(.sha384),
        .rsaPKCS1(.sha512),
    ]

    private func issue(to principal: Principal, key: PublicKey, faults: [Fault.Action]) throws -> [X509] {
        var now = Int64(Date().timeIntervalSince1970)
        for case .wrongTime(let seconds) in faults { now += seconds }
        var principal = principal
        if faults.contains(.wrongCertificate) { principal.name = "someone-else@local.test" }
        // As Go's x509, which makes no other names.
        guard principal.name.utf8.allSatisfy({ $0 < 0x80 }) else {
            throw Refusal(code: 13, message: "error communicating with CA backend")
        }
        let extensions: [CertificateExtension] =
            [
                .keyUsage(digitalSignature: true), .extendedKeyUsage(CertificateExtension.codeSigning),
                .subjectKeyIdentifier(try X509.keyIdentifier(key)),
                .authorityKeyIdentifier(try X509.keyIdentifier(intermediate.key.publicKey)),
                .subjectAlternativeName(principal.isEmail ? 1 : 6, principal.name),
            ] + principal.extensions
        var request = CertificateIssuer.Request(
            subject: DistinguishedName.empty, publicKey: key, notBefore: now, notAfter: now + 600,
            extensions: extensions + [.poison])
        var authority = intermediate
        var chain = [intermediate.certificate, root]
        if faults.contains(.wrongChain) {
            let other = try CertificateIssuer.root(
                DistinguishedName(organization: "local-sigstore", commonName: "another root"),
                key: PrivateKey.generate(.ecdsaP384), notBefore: now - 3_600, notAfter: now + 86_400)
            authority = try other.intermediate(
                DistinguishedName(organization: "local-sigstore", commonName: "another intermediate"),
                key: PrivateKey.generate(.ecdsaP256), purpose: CertificateExtension.codeSigning, notBefore: now - 3_600,
                notAfter: now + 86_400)
            chain = [authority.certificate, other.certificate]
        }
        let precertificate = try authority.issue(request)
        let timestamp = try log.add(
            [precertificate] + chain, precertificate: true, at: now,
            signer: faults.contains(.wrongSCT) ? PrivateKey.generate(.ecdsaP256) : nil)
        request.extensions = extensions + (faults.contains(.missingSCT) ? [] : [.timestamps([timestamp.encoded])])
        return [try authority.issue(request)] + chain
    }
}

/// Whom a token speaks of, as Fulcio writes it into a certificate.
private struct Principal {
    /// What goes into the subject's alternative name.
    var name: String
    let isEmail: Bool
    /// What the proof of possession must sign.
    let challenge: String
    let extensions: [CertificateExtension]

    /// - Returns: `nil` if the claims are not enough.
    init?(_ claims: JSONObject, issuer: IdentityIssuer) {
        func text(_ name: String) -> String? { if case .string(let text)? = claims[name] { text } else { nil } }
        guard let source = text("iss"), let subject = text("sub") else { return nil }
        // Extensions 1 to 6 hold raw text, those from 8 on a DER UTF8String (Fulcio's oid-info.md).
        func raw(_ number: Int, _ text: String) -> CertificateExtension {
            CertificateExtension(oid: "1.3.6.1.4.1.57264.1.\(number)", value: Array(text.utf8))
        }
        func encoded(_ number: Int, _ text: String) -> CertificateExtension {
            CertificateExtension(oid: "1.3.6.1.4.1.57264.1.\(number)", value: DER.utf8String(text))
        }
        var named = source
        if case .object(let federated)? = claims["federated_claims"],
            case .string(let connector)? = federated["connector_id"]
        {
            named = connector
        }
        switch String(source.dropFirst(issuer.url.count)) {
        case "", "/fed":
            guard let email = text("email"), case .bool(true)? = claims["email_verified"], email.contains("@") else {
                return nil
            }
            name = email
            isEmail = true
            challenge = email
            extensions = [raw(1, named), encoded(8, named), encoded(24, subject)]
        case "/uri":
            guard subject.hasPrefix(issuer.url + "/") else { return nil }
            name = subject
            isEmail = false
            challenge = subject
            extensions = [raw(1, source), encoded(8, source), encoded(24, subject)]
        case "/github":
            guard let event = text("event_name"), let sha = text("sha"), let workflow = text("workflow"),
                let repository = text("repository"), let ref = text("ref"), let job = text("job_workflow_ref"),
                let jobSHA = text("job_workflow_sha"), let runner = text("runner_environment"),
                let repositoryID = text("repository_id"), let owner = text("repository_owner"),
                let ownerID = text("repository_owner_id"), let workflowRef = text("workflow_ref"),
                let workflowSHA = text("workflow_sha"), let run = text("run_id"), let attempt = text("run_attempt"),
                let visibility = text("repository_visibility")
            else { return nil }
            let host = GitHubWorkflow.host(of: named)
            name = "\(host)/\(job)"
            isEmail = false
            challenge = subject
            extensions = [
                raw(1, named), raw(2, event), raw(3, sha), raw(4, workflow), raw(5, repository), raw(6, ref),
                encoded(8, named), encoded(9, "\(host)/\(job)"), encoded(10, jobSHA), encoded(11, runner),
                encoded(12, "\(host)/\(repository)"), encoded(13, sha), encoded(14, ref), encoded(15, repositoryID),
                encoded(16, "\(host)/\(owner)"), encoded(17, ownerID), encoded(18, "\(host)/\(workflowRef)"),
                encoded(19, workflowSHA), encoded(20, event),
                encoded(21, "\(host)/\(repository)/actions/runs/\(run)/attempts/\(attempt)"), encoded(22, visibility),
                encoded(24, subject),
            ]
        default: return nil
        }
    }
}

/// The words in which services written in Go say that a body is not JSON.
enum GoJSON {
    static func complaint(about body: [UInt8]) -> String {
        let text = body.drop { $0 == 0x20 || $0 == 0x0a || $0 == 0x0d || $0 == 0x09 }
        guard let first = text.first else { return "EOF" }
        let inside = text.dropFirst().drop { $0 == 0x20 || $0 == 0x0a || $0 == 0x0d || $0 == 0x09 }
        if first == 0x7b, let next = inside.first, next != 0x22, next != 0x7d {
            return "invalid character '\(Character(UnicodeScalar(next)))' looking for beginning of object key string"
        }
        guard first == 0x7b || first == 0x5b || first == 0x22 else {
            return "invalid character '\(Character(UnicodeScalar(first)))' looking for beginning of value"
        }
        return "unexpected EOF"
    }
}

extension String {
    /// Without the line break at the end.
    var trimmed: String { hasSuffix("\n") ? String(dropLast()) : self }
}
