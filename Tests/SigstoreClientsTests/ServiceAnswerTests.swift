import Foundation
import HTTPTransport
import InToto
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import Testing

@testable import SigstoreClients

/// A key that signs nothing real: what counts is which public key it shows.
private struct ShownKey: Signer {
    let publicKey: PublicKey
    func sign(_ message: HashedMessage, scheme: SignatureScheme) throws(SigstoreError) -> [UInt8] { [1] }
}

private let base = "http://127.0.0.1/"

@Suite("Answers of real services")
struct ServiceAnswerTests {
    private func url() throws -> HTTPURL { try HTTPURL(parsing: base) }

    // MARK: - Fulcio

    private func recordedToken(_ exchange: WireExchange) throws -> IdentityToken {
        let header = try #require(exchange.request.headers.first { $0.name == "authorization" }?.value)
        return try IdentityToken(parsing: String(header.dropFirst("Bearer ".count)))
    }

    /// The key that a recorded request was for.
    private func recordedKey(_ exchange: WireExchange) throws -> ShownKey {
        let json = JSONCursor(try JSONValue(parsing: exchange.request.body))
        let pem = try json.member("publicKeyRequest").member("publicKey").member("content").string()
        return ShownKey(publicKey: try PublicKey(file: Array(pem.utf8)))
    }

    @Test(
        "Fulcio's certificates",
        arguments: ["fulcio-01-pubkey-ok", "fulcio-05-github-ok", "fulcio-07-fed-issuer-ok", "fulcio-08-uri-ok"])
    func certificates(_ name: String) async throws {
        let exchange = try WireExchange(name)
        let token = try recordedToken(exchange)
        let http = ScriptedClient(exchange)
        let issued = try await FulcioClient(url: try url(), http: http).certificate(
            for: recordedKey(exchange), token: token)
        #expect(issued.authorities.count == 2)
        #expect(issued.detachedTimestamp == nil)
        // Our request is the recorded one but for the proof.
        let sent = try #require(http.requests.first)
        #expect(sent.url.path == "/api/v2/signingCert" && sent.method == "POST")
        let (ours, theirs) = (
            JSONCursor(try JSONValue(parsing: sent.bytes)), JSONCursor(try JSONValue(parsing: exchange.request.body))
        )
        #expect(
            try ours.member("publicKeyRequest").member("publicKey").value.canonicalized()
                == theirs.member("publicKeyRequest").member("publicKey").value.canonicalized())
        #expect(try ours.names() == ["publicKeyRequest"])
        // What the certificate shows is what the token lets us expect.
        let name = issued.leaf.subjectAlternativeNames.first?.text
        let issuer = try issued.leaf.fulcioExtension(8)
        let fits = try token.certificateIdentities().contains { identity in
            guard case .exactly(let subject) = identity.subject, case .exactly(let by) = identity.issuer else {
                return false
            }
            return subject == name && by == issuer
        }
        #expect(fits, "\(name ?? "") \(issuer ?? "")")
        #expect(token.certificateIssuer == issuer)
    }

    @Test(
        "What Fulcio refuses",
        arguments: [
            ("fulcio-20-garbage-token", SigstoreError.Code.tokenRefused), ("fulcio-21-expired-token", .tokenRefused),
            ("fulcio-22-wrong-aud", .tokenRefused), ("fulcio-23-bad-token-signature", .tokenRefused),
            ("fulcio-24-unknown-issuer", .tokenRefused), ("fulcio-25-email-unverified", .tokenRefused),
            ("fulcio-26-no-token", .tokenRefused), ("fulcio-27-token-not-yet-valid", .tokenRefused),
            ("fulcio-30-bad-proof", .certificateRefused), ("fulcio-31-proof-over-sub-for-email", .certificateRefused),
            ("fulcio-32-empty-proof", .certificateRefused), ("fulcio-33-no-proof", .certificateRefused),
            ("fulcio-34-bad-key", .certificateRefused), ("fulcio-35-bad-csr-signature", .certificateRefused),
            ("fulcio-37-bad-json", .certificateRefused), ("fulcio-40-empty-object", .certificateRefused),
            ("fulcio-41-get", .certificateRefused), ("fulcio-44-404", .certificateRefused),
            ("fulcio-42-trustbundle", .unexpectedAnswer), ("fulcio-43-configuration", .unexpectedAnswer),
        ])
    func refusals(_ name: String, _ code: SigstoreError.Code) async throws {
        let good = try WireExchange("fulcio-01-pubkey-ok")
        let exchange = try WireExchange(name)
        let fulcio = FulcioClient(url: try url(), http: ScriptedClient(exchange))
        let error = try #require(
            await failure {
                _ = try await fulcio.certificate(for: recordedKey(good), token: recordedToken(good))
            })
        #expect(error.code == code, "\(error)")
        #expect(error.message.hasPrefix("Fulcio at 127.0.0.1: "))
        if exchange.response.status == 404 || exchange.response.status == 501 {
            #expect(error.message.contains("no Fulcio API v2"))
        }
        if code == .tokenRefused { #expect(error.message.contains("http://127.0.0.1:8888")) }
        #expect(!error.description.contains("eyJ"), "a token stands in the message")
    }

    @Test("A certificate for another key, or none, is refused")
    func otherKey() async throws {
        let exchange = try WireExchange("fulcio-01-pubkey-ok")
        let token = try recordedToken(exchange)
        let other = try PrivateKey.generate(.ecdsaP256)
        let fulcio = FulcioClient(url: try url(), http: ScriptedClient(exchange))
        #expect(await failure { _ = try await fulcio.certificate(for: other, token: token) }?.code == .unexpectedAnswer)
        for body in [
            "{\"signedCertificateEmbeddedSct\":{\"chain\":{\"certificates\":[]}}}",
            "{\"signedCertificateEmbeddedSct\":{\"chain\":{\"certificates\":[\"x\"]}}}",
            "{\"signedCertificateEmbeddedSct\":{},\"signedCertificateDetachedSct\":{}}", "", "[]", "{\"a\":1,\"a\":2}",
        ] {
            let answer = HTTPResponse(status: 200, headers: [], body: Array(body.utf8), url: try url())
            let fulcio = FulcioClient(url: try url(), http: ScriptedClient { _ in answer })
            let error = await failure { _ = try await fulcio.certificate(for: try recordedKey(exchange), token: token) }
            #expect(error?.code == .unexpectedAnswer, "\(body)")
        }
    }

    // MARK: - Rekor v1

    /// The entry that a recorded request proposed.
    private func proposalV1(_ exchange: WireExchange) throws -> ProposedLogEntry {
        let json = JSONCursor(try JSONValue(parsing: exchange.request.body))
        let spec = try json.member("spec")
        let pem: [UInt8]
        let content: ProposedLogEntry.Content
        let signature: [UInt8]
        if try json.member("kind").string() == "dsse" {
            let proposed = try spec.member("proposedContent")
            let text = try proposed.member("envelope").string()
            let envelope = try DSSEEnvelope(JSONCursor(try JSONValue(parsing: Array(text.utf8))))
            pem = try proposed.member("verifiers").elements()[0].bytes()
            content = .envelope(envelope)
            signature = envelope.signatures[0].signature
        } else {
            let hash = try spec.member("data").member("hash")
            content = .message(
                try Digest(
                    hex: try hash.member("value").string(),
                    try #require(HashAlgorithm(rawValue: try hash.member("algorithm").string()))))
            signature = try spec.member("signature").member("content").bytes()
            pem = try spec.member("signature").member("publicKey").member("content").bytes()
        }
        let isCertificate = try PEM.blocks(in: pem)[0].label == "CERTIFICATE"
        let certificate = isCertificate ? try Certificate.chain(pem: pem)[0] : nil
        let key = try certificate?.publicKey ?? PublicKey(file: pem)
        return ProposedLogEntry(
            content: content, signature: signature, scheme: key.defaultScheme, key: key, certificate: certificate)
    }

    @Test(
        "Rekor v1's entries",
        arguments: [
            "rekor1-01-hashedrekord-201", "rekor1-03-dsse-201", "rekor1-16-pubkey-pem", "rekor1-18-p384-sha384",
        ])
    func entriesV1(_ name: String) async throws {
        let exchange = try WireExchange(name)
        let http = ScriptedClient(exchange)
        let entry = try await RekorClient(url: try url(), version: .v1, http: http).record(proposalV1(exchange))
        #expect(entry.integratedTime > 1_700_000_000 && entry.promise != nil && entry.logID.count == 32)
        let proof = try #require(entry.proof)
        #expect(
            try MerkleTree.root(
                leafHash: MerkleTree.leafHash(entry.body), index: proof.logIndex, size: proof.treeSize,
                path: proof.hashes)
                == proof.rootHash)
        // The request is the recorded one, but for how texts within the text are written: envelopes, and certificates,
        // which were sent without the line feed at their end.
        let sent = try JSONValue(parsing: try #require(http.requests.first).bytes).canonicalized()
        let recorded = try JSONValue(parsing: exchange.request.body).canonicalized()
        if name.contains("pubkey") || name.contains("p384") { #expect(sent == recorded) }
    }

    @Test("Rekor v1's 409 leads to the entry that is there")
    func conflictV1() async throws {
        let exchange = try WireExchange("rekor1-02-duplicate-409")
        let found = try WireExchange("rekor1-20-get-entry")
        let (conflict, there) = (exchange.response, found.response)
        let http = ScriptedClient { $0.method == "POST" ? conflict : there }
        let entry = try await RekorClient(url: try url(), version: .v1, http: http).record(proposalV1(exchange))
        #expect(entry.promise != nil)
        #expect(http.requests.map(\.url.path).last == found.request.line.split(separator: " ")[1].description)
    }

    @Test(
        "A Location that leads elsewhere is never followed",
        arguments: [
            "http://evil.test/api/v1/log/entries/2ebb6f78f26380413f13e6e5b5c0f11deb7c797ae8dca340ce2ef97805db0d71d4342c40b6c91048",
            "//evil.test/2ebb6f78f26380413f13e6e5b5c0f11deb7c797ae8dca340ce2ef97805db0d71d4342c40b6c91048",
            "/x/../../y", "", "?a",
        ])
    func foreignLocation(_ location: String) async throws {
        let exchange = try WireExchange("rekor1-02-duplicate-409")
        let there = try WireExchange("rekor1-20-get-entry").response
        var conflict = exchange.response
        conflict.headers = [(name: "location", value: location)]
        let http = ScriptedClient { [conflict] in $0.method == "POST" ? conflict : there }
        let error = await failure {
            _ = try await RekorClient(url: try url(), version: .v1, http: http).record(proposalV1(exchange))
        }
        #expect(http.requests.allSatisfy { $0.url.origin.host == "127.0.0.1" })
        #expect(location.contains("2ebb") ? error == nil : error?.code == .entryExists)
    }

    @Test("An entry that is another one than was sent is refused")
    func otherEntry() async throws {
        let exchange = try WireExchange("rekor1-01-hashedrekord-201")
        for other in ["rekor1-16-pubkey-pem", "rekor1-18-p384-sha384", "rekor1-03-dsse-201", "rekor1-07-intoto002"] {
            let http = ScriptedClient(try WireExchange(other))
            let error = await failure {
                _ = try await RekorClient(url: try url(), version: .v1, http: http).record(proposalV1(exchange))
            }
            #expect(error?.code == .logEntryMismatch, "\(other): \(String(describing: error))")
        }
        let http = ScriptedClient(try WireExchange("rekor2-01-hashedrekord-201"))
        #expect(
            await failure {
                _ = try await RekorClient(url: try url(), version: .v1, http: http).record(proposalV1(exchange))
            }?.code == .unexpectedAnswer)
    }

    @Test(
        "What Rekor v1 refuses",
        arguments: [
            ("rekor1-06-dsse-bad-signature", SigstoreError.Code.entryRefused),
            ("rekor1-10-bad-signature", .entryRefused),
            ("rekor1-11-not-base64-sig", .entryRefused), ("rekor1-12-bad-json", .httpStatus),
            ("rekor1-13-unknown-kind", .entryRefused), ("rekor1-14-unknown-version", .entryRefused),
            ("rekor1-15-text-plain", .entryRefused), ("rekor1-17-ed25519", .entryRefused),
            ("rekor1-23-not-found", .entryRefused), ("rekor2-13-v1-path", .entryRefused),
            ("fault-03-rekor1-trillian-down", .httpStatus), ("rekor1-28-log", .unexpectedAnswer),
        ])
    func refusalsV1(_ name: String, _ code: SigstoreError.Code) async throws {
        let good = try proposalV1(try WireExchange("rekor1-01-hashedrekord-201"))
        let exchange = try WireExchange(name)
        let error = try #require(
            await failure {
                _ = try await RekorClient(url: try url(), version: .v1, http: ScriptedClient(exchange)).record(good)
            })
        #expect(error.code == code, "\(error)")
        #expect(error.message.hasPrefix("transparency log 127.0.0.1: "))
        if exchange.response.status == 404 { #expect(error.message.contains("no Rekor API v1")) }
        if exchange.response.status == 400 {
            #expect(
                error.message.contains("error processing entry") || error.message.contains("code")
                    || error.message.count > 80)
        }
    }

    // MARK: - Rekor v2

    private func proposalV2(_ exchange: WireExchange) throws -> ProposedLogEntry {
        let request = try JSONCursor(try JSONValue(parsing: exchange.request.body)).member("hashedRekordRequestV002")
        let verifier = try request.member("signature").member("verifier")
        let certificate = try verifier.optional("x509Certificate").map {
            try Certificate(der: try $0.member("rawBytes").bytes())
        }
        let key =
            try certificate?.publicKey ?? PublicKey(der: try verifier.member("publicKey").member("rawBytes").bytes())
        let bytes = try request.member("digest").bytes()
        let algorithm = try #require(HashAlgorithm.allCases.first { $0.byteCount == bytes.count })
        return ProposedLogEntry(
            content: .message(try Digest(algorithm, bytes: bytes)),
            signature: try request.member("signature").member("content").bytes(), scheme: key.defaultScheme, key: key,
            certificate: certificate)
    }

    @Test(
        "Rekor v2's entries",
        arguments: [
            "rekor2-01-hashedrekord-201", "rekor2-03-dsse-as-hashedrekord", "rekor2-11-publickey", "rekor2-14-p384",
        ])
    func entriesV2(_ name: String) async throws {
        let exchange = try WireExchange(name)
        let http = ScriptedClient(exchange)
        let entry = try await RekorClient(url: try url(), version: .v2, http: http).record(proposalV2(exchange))
        #expect(entry.integratedTime == 0 && entry.promise == nil)
        // What a bundle leaves out is left out.
        let json = JSONCursor(entry.json)
        #expect(try !json.names().contains("integratedTime") && !json.names().contains("inclusionPromise"))
        #expect(
            try JSONValue(parsing: try #require(http.requests.first).bytes).canonicalized()
                == JSONValue(parsing: exchange.request.body).canonicalized())
    }

    @Test("An envelope is recorded in Rekor v2 by the digest of what was signed")
    func envelopeV2() async throws {
        let key = try PrivateKey.generate(.ecdsaP256)
        let payload = Array("{}".utf8)
        let encoding = DSSEEnvelope.preAuthenticationEncoding(payloadType: "a/b", payload: payload)
        let signature = try key.sign(encoding, scheme: .ecdsa(.sha256))
        let envelope = DSSEEnvelope(payloadType: "a/b", payload: payload, signatures: [.init(signature: signature)])
        let http = ScriptedClient(try WireExchange("rekor2-05-bad-signature"))
        let error = await failure {
            _ = try await RekorClient(url: try url(), version: .v2, http: http).record(
                ProposedLogEntry(
                    content: .envelope(envelope), signature: signature, scheme: .ecdsa(.sha256), key: key.publicKey,
                    certificate: nil))
        }
        #expect(error?.code == .entryRefused && error?.message.contains("invalid hashedrekord request") == true)
        let sent = try JSONCursor(try JSONValue(parsing: try #require(http.requests.first).bytes)).member(
            "hashedRekordRequestV002")
        #expect(try sent.member("digest").bytes() == Digest.sha256(encoding).bytes)
    }

    @Test(
        "What Rekor v2 refuses",
        arguments: [
            ("rekor2-02-duplicate", SigstoreError.Code.entryExists), ("rekor2-04-dsse-request-dropped", .entryRefused),
            ("rekor2-05-bad-signature", .entryRefused), ("rekor2-06-wrong-keydetails", .entryRefused),
            ("rekor2-07-no-keydetails", .entryRefused), ("rekor2-08-bad-json", .entryRefused),
            ("rekor2-09-unknown-member", .entryRefused), ("rekor2-10-empty", .entryRefused),
            ("rekor2-12-v1-shape", .entryRefused), ("rekor2-13-v1-path", .entryRefused),
            ("rekor2-15-ed25519-pure", .httpStatus), ("rekor2-20-checkpoint-on-server", .entryRefused),
            ("rekor2-24-expect-text", .entryExists), ("rekor1-01-hashedrekord-201", .unexpectedAnswer),
        ])
    func refusalsV2(_ name: String, _ code: SigstoreError.Code) async throws {
        let good = try proposalV2(try WireExchange("rekor2-01-hashedrekord-201"))
        let exchange = try WireExchange(name)
        let http = ScriptedClient(exchange)
        let error = try #require(
            await failure {
                _ = try await RekorClient(url: try url(), version: .v2, http: http).record(good)
            })
        #expect(error.code == code, "\(error)")
        if code == .entryExists {
            #expect(error.message.contains("index 23") && error.advice?.description.contains("second time") == true)
            #expect(http.requests.filter { $0.method == "POST" }.count == 1)
        }
    }

    @Test("Keys that Rekor v2 does not take are not sent to it")
    func unsupportedV2() async throws {
        let key = try PrivateKey.generate(.ed25519)
        let http = ScriptedClient(try WireExchange("rekor2-01-hashedrekord-201"))
        let error = await failure {
            _ = try await RekorClient(url: try url(), version: .v2, http: http).record(
                ProposedLogEntry(
                    content: .message(try Digest.sha256([])), signature: [1], scheme: .ed25519, key: key.publicKey,
                    certificate: nil))
        }
        #expect(error?.code == .entryRefused)
        #expect(http.requests.isEmpty)
    }

    // MARK: - Timestamps

    @Test("Timestamp requests are as RFC 3161 has them")
    func timestampRequest() throws {
        let digest = try Digest(
            .sha256, bytes: WireExchange("tsa-02-ok-nonce-certreq").request.body[24..<56].map { $0 })
        let request = try TimestampRequest(digest)
        let recorded = try WireExchange("tsa-02-ok-nonce-certreq").request.body
        // Up to the nonce both are the same but for the lengths; our nonce has one byte less.
        #expect(Array(request.der[2..<56]) == Array(recorded[2..<56]))
        #expect(request.der.suffix(3) == [1, 1, 0xff] && Int(request.der[1]) == request.der.count - 2)
        #expect(request.nonce.count == 8 && (0x40...0x7f).contains(request.nonce[0]))
        #expect(try TimestampRequest(digest).nonce != request.nonce)
        #expect(throws: SigstoreError.self) {
            try request.token(in: try WireExchange("tsa-02-ok-nonce-certreq").response.body)
        }
        #expect(throws: SigstoreError.self) {
            try request.token(in: try WireExchange("tsa-01-ok-no-nonce").response.body)
        }
    }

    @Test(
        "What a timestamp authority refuses",
        arguments: [
            ("tsa-04-garbage", SigstoreError.Code.timestampRefused), ("tsa-05-sha1", .timestampRefused),
            ("tsa-06-wrong-length", .timestampRefused), ("tsa-07-content-type", .timestampRefused),
            ("tsa-08-get", .timestampRefused), ("tsa-11-empty", .timestampRefused),
            ("tsa-12-trailing", .timestampRefused),
            // Answers to other questions.
            ("tsa-01-ok-no-nonce", .timestampMismatch), ("tsa-02-ok-nonce-certreq", .timestampMismatch),
            ("tsa-10-sha512", .timestampMismatch), ("tsa-09-certchain", .malformedTimestamp),
        ])
    func timestamps(_ name: String, _ code: SigstoreError.Code) async throws {
        let http = ScriptedClient(try WireExchange(name))
        let error = try #require(
            await failure {
                _ = try await TimestampClient(url: try HTTPURL(parsing: "http://127.0.0.1/ts"), http: http).timestamp(
                    over: [1, 2])
            })
        #expect(error.code == code, "\(error)")
        #expect(error.message.hasPrefix("timestamp authority 127.0.0.1: "))
        #expect(http.requests.first?.url.path == "/ts")
    }
}
