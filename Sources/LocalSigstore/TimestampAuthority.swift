import Foundation
import SigstoreCrypto
import StrictJSON

/// A timestamp authority (RFC 3161), answering as Sigstore's timestamp-authority 2.1 does.
struct TimestampAuthority: Sendable {
    let key: PrivateKey
    let certificate: X509
    /// The authorities above the certificate, the root last.
    let issuers: [X509]

    private static let hashes: [[UInt8]: HashAlgorithm] = [
        DER.oid("2.16.840.1.101.3.4.2.1"): .sha256, DER.oid("2.16.840.1.101.3.4.2.2"): .sha384,
        DER.oid("2.16.840.1.101.3.4.2.3"): .sha512,
    ]
    private static let policy = "1.3.6.1.4.1.57264.2"
    private static let sha1 = DER.oid("1.3.14.3.2.26")

    /// What is asked to be stamped.
    private struct Query {
        var algorithm: HashAlgorithm
        var algorithmDER: [UInt8]
        var digest: [UInt8]
        var nonce: [UInt8]?
        var wantsCertificate = false
    }

    private struct Refusal: Error {
        let message: String
        static let malformed = Refusal(message: "Error generating timestamp response")
        static let weak = Refusal(message: "Weak hash algorithm in timestamp request")
        static let length = Refusal(message: "Message digest has incorrect length for specified algorithm")
    }

    private static func error(_ status: Int, code: Int? = nil, _ message: String, type: String = "application/json")
        -> LoopbackResponse
    {
        let body: JSONValue = .object(["code": .integer(code ?? status), "message": .string(message)])
        return LoopbackResponse(status, contentType: type, body: body.serialized())
    }

    func answer(_ request: LoopbackRequest) throws -> LoopbackResponse {
        switch (request.method, request.path) {
        case ("POST", "/api/v1/timestamp"): return try stamp(request)
        case ("GET", "/api/v1/timestamp/certchain"):
            return .text(
                200, ([certificate] + issuers).map(\.pem).joined(), contentType: "application/pem-certificate-chain")
        case ("GET", "/ping"), ("GET", "/healthz"): return .text(200, "ok\n")
        case (let method, "/api/v1/timestamp"):
            var refused = Self.error(405, "method \(method) is not allowed, but [POST] are")
            refused.set("Allow", "POST")
            return refused
        default: return Self.error(404, "path \(request.path) was not found")
        }
    }

    private func stamp(_ request: LoopbackRequest) throws -> LoopbackResponse {
        let types = ["application/timestamp-query", "application/json"]
        guard let type = request.contentType, types.contains(type) else {
            return Self.error(
                415,
                "unsupported media type \"\(request.contentType ?? "")\", "
                    + "only [application/timestamp-query application/json] are allowed"
            )
        }
        guard !request.body.isEmpty else { return Self.error(422, code: 602, "request in body is required") }
        do {
            let query = type == types[0] ? try Self.parse(request.body) : try Self.parse(json: request.body)
            return LoopbackResponse(
                200, contentType: "application/timestamp-reply", body: try response(to: query, faults: request.faults))
        } catch let refusal as Refusal {
            return Self.error(400, refusal.message, type: "application/timestamp-reply")
        }
    }

    // MARK: - Requests (RFC 3161, section 2.4.1)

    private static func parse(_ der: [UInt8]) throws(Refusal) -> Query {
        guard let fields = try? DERElement(parsing: der).children(), let version = try? fields.at(0, 0x02),
            version.content == [1], let imprint = try? fields.at(1, 0x30).children(),
            let algorithm = try? imprint.at(0, 0x30), let oid = try? algorithm.children().at(0, 0x06).whole,
            let digest = try? imprint.at(1, 0x04).content
        else { throw .malformed }
        if oid == sha1 { throw .weak }
        guard let hash = hashes[oid] else { throw .malformed }
        guard digest.count == hash.byteCount else { throw .length }
        var query = Query(algorithm: hash, algorithmDER: algorithm.whole, digest: digest)
        for field in fields.dropFirst(2) {
            switch field.tag {
            case 0x02: query.nonce = field.whole
            case 0x01: query.wantsCertificate = field.content != [0]
            case 0x06:
                guard field.whole == DER.oid(policy) else {
                    throw Refusal(
                        message: "unaccepted policy: requested TSA policy is not supported by the TSA")
                }
            case 0xa0: continue
            default: throw .malformed
            }
        }
        return query
    }

    /// The form of a request in JSON that Sigstore's authority takes as well.
    private static func parse(json: [UInt8]) throws(Refusal) -> Query {
        guard let parsed = try? JSONValue(parsing: json),
            let name = try? JSONCursor(parsed).member("hashAlgorithm").string()
        else { throw .malformed }
        let digest = (try? JSONCursor(parsed).optional("artifactHash")?.bytes()) ?? []
        if name == "sha1" { throw .weak }
        guard let (oid, hash) = hashes.first(where: { $0.value.rawValue == name }) else { throw .malformed }
        guard digest.count == hash.byteCount else { throw .length }
        var query = Query(algorithm: hash, algorithmDER: DER.sequence([oid, [0x05, 0]]), digest: digest)
        if let nonce = try? JSONCursor(parsed).optional("nonce")?.integer() {
            query.nonce = DER.integer(TLS.integer(UInt64(clamping: nonce), bytes: 8))
        }
        query.wantsCertificate = (try? JSONCursor(parsed).optional("certificates")?.bool()) ?? false
        return query
    }

    // MARK: - Tokens (RFC 3161, section 2.4.2; RFC 5652; RFC 5816)

    private func response(to query: Query, faults: [Fault.Action]) throws -> [UInt8] {
        var signer = self
        if faults.contains(.wrongCertificate) { signer = try impostor() }
        var digest = query.digest
        if faults.contains(.wrongImprint), let first = digest.first { digest[0] = first ^ 1 }
        var time = Int64(Date().timeIntervalSince1970)
        for case .wrongTime(let seconds) in faults { time += seconds }

        let info = DER.sequence(
            [
                DER.integer(1), DER.oid(Self.policy),
                DER.sequence([query.algorithmDER, DER.octetString(digest)]),
                DER.integer(CertificateIssuer.newSerial()), DER.generalizedTime(time), DER.sequence([DER.integer(1)]),
            ] + (query.nonce.map { [$0] } ?? []) + [DER.explicit(0, DER.explicit(4, certificate.subject))])
        let sha256 = DER.sequence([DER.oid("2.16.840.1.101.3.4.2.1")])
        let issuerAndSerial = [signer.certificate.issuer, DER.element(0x02, signer.certificate.serial)]
        let certificateID = DER.sequence([
            DER.octetString(try Digest.sha256(signer.certificate.der).bytes),
            DER.sequence([DER.sequence([DER.explicit(4, issuerAndSerial[0])]), issuerAndSerial[1]]),
        ])
        func attribute(_ oid: String, _ value: [UInt8]) -> [UInt8] { DER.sequence([DER.oid(oid), DER.set([value])]) }
        let contentType = DER.oid("1.2.840.113549.1.9.16.1.4")
        let attributes = DER.set([
            attribute("1.2.840.113549.1.9.3", contentType), attribute("1.2.840.113549.1.9.5", DER.utcTime(time)),
            attribute("1.2.840.113549.1.9.4", DER.octetString(try Digest.sha256(info).bytes)),
            attribute("1.2.840.113549.1.9.16.2.47", DER.sequence([DER.sequence([certificateID])])),
        ])
        // What is signed is the SET; in the token its tag is [0] (RFC 5652, section 5.4).
        let signature = try signer.key.sign(attributes, scheme: .ecdsa(.sha256))
        let signerInfo = DER.sequence([
            DER.integer(1), DER.sequence(issuerAndSerial), sha256, [0xa0] + attributes.dropFirst(),
            DER.sequence([DER.oid("1.2.840.10045.4.3.2")]), DER.octetString(signature),
        ])
        let signedData = DER.sequence([
            DER.integer(3), DER.set([sha256]),
            DER.sequence([contentType, DER.explicit(0, DER.octetString(info))]),
            DER.explicit(0, query.wantsCertificate ? signer.certificate.der : []), DER.set([signerInfo]),
        ])
        return DER.sequence([
            DER.sequence([DER.integer([])]),
            DER.sequence([DER.oid("1.2.840.113549.1.7.2"), DER.explicit(0, signedData)]),
        ])
    }

    /// An authority of the same names that nobody trusts.
    private func impostor() throws -> TimestampAuthority {
        let now = Int64(Date().timeIntervalSince1970)
        return try Self.make(
            rootKey: .generate(.ecdsaP384), intermediateKey: .generate(.ecdsaP384), key: .generate(.ecdsaP256),
            notBefore: now - 3_600, keep: { (_, make) throws(SigstoreError) in try make() })
    }

    /// Makes the authority's certificates.
    /// - Parameter keep: Given a certificate's name and how to make it, returns it, from where it was kept if it was.
    static func make(
        rootKey: PrivateKey, intermediateKey: PrivateKey, key: PrivateKey, notBefore: Int64,
        keep: (String, () throws(SigstoreError) -> X509) throws(SigstoreError) -> X509
    ) throws(SigstoreError) -> TimestampAuthority {
        func name(_ what: String) -> DistinguishedName {
            DistinguishedName(organization: "local-sigstore", commonName: "local timestamp \(what)")
        }
        let years: Int64 = 10 * 365 * 86_400
        let root = CertificateIssuer(
            key: rootKey,
            certificate: try keep("tsa-root") { () throws(SigstoreError) in
                try CertificateIssuer.root(
                    name("root"), key: rootKey, notBefore: notBefore, notAfter: notBefore + years
                ).certificate
            })
        let intermediate = CertificateIssuer(
            key: intermediateKey,
            certificate: try keep("tsa-intermediate") { () throws(SigstoreError) in
                try root.intermediate(
                    name("intermediate"), key: intermediateKey, purpose: CertificateExtension.timeStamping,
                    notBefore: notBefore, notAfter: notBefore + years - 1
                ).certificate
            })
        let leaf = try keep("tsa") { () throws(SigstoreError) in
            try intermediate.issue(
                CertificateIssuer.Request(
                    subject: name("authority").der, publicKey: key.publicKey, notBefore: notBefore,
                    notAfter: notBefore + years - 2,
                    extensions: [
                        .keyUsage(digitalSignature: true),
                        .extendedKeyUsage(CertificateExtension.timeStamping, critical: true),
                        .subjectKeyIdentifier(try X509.keyIdentifier(key.publicKey)),
                        .authorityKeyIdentifier(try X509.keyIdentifier(intermediateKey.publicKey)),
                    ]))
        }
        return TimestampAuthority(key: key, certificate: leaf, issuers: [intermediate.certificate, root.certificate])
    }
}
