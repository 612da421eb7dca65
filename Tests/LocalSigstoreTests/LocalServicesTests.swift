import Foundation
import SigstoreCrypto
import StrictJSON
import TestServices
import Testing

@testable import LocalSigstore

extension LoopbackServer {
    fileprivate var client: RawClient { RawClient(port: port) }
}

/// A key, the certificate that Fulcio gave it, and what was asked.
private struct Certified {
    let key: PrivateKey
    let chain: [Certificate]
}

extension LocalServices {
    /// Asks Fulcio as cosign does: a public key, and a signature over the challenge.
    fileprivate func askFulcio(
        token: String, challenge: String, key: PrivateKey, scheme: SignatureScheme? = nil
    ) async throws -> RawAnswer {
        let proof = try key.sign(Array(challenge.utf8), scheme: scheme ?? key.publicKey.defaultScheme)
        return try await fulcio.client.post(
            "/api/v2/signingCert",
            json: .object([
                "publicKeyRequest": .object([
                    "publicKey": .object(["algorithm": .string("ECDSA"), "content": .string(key.publicKey.pem)]),
                    "proofOfPossession": .bytes(proof),
                ])
            ]), headers: ["Authorization": "Bearer \(token)"])
    }

    fileprivate func certify(_ identity: LocalIdentity = .email("alice@local.test")) async throws -> Certified {
        let key = try PrivateKey.generate(.ecdsaP256)
        var challenge = issuer.subject(of: identity)
        if case .gitHubWorkflow(let workflow) = identity {
            challenge = "repo:\(workflow.repository):ref:\(workflow.ref)"
        }
        let answer = try await askFulcio(token: issuer.token(for: identity), challenge: challenge, key: key)
        #expect(answer.status == 200)
        let pem = try answer.json().member("signedCertificateEmbeddedSct").member("chain").member("certificates")
        let chain = try pem.elements().flatMap { try Certificate.chain(pem: Array($0.string().utf8)) }
        return Certified(key: key, chain: chain)
    }

    fileprivate func trusted(_ list: String, _ index: Int = 0) throws -> JSONCursor {
        let file = try Data(contentsOf: URL(filePath: files.trustedRoot))
        let elements = try JSONCursor(JSONValue(parsing: Array(file))).member(list).elements()
        return try #require(elements.indices.contains(index) ? elements[index] : nil)
    }

    fileprivate func trustedKey(_ list: String, _ index: Int = 0) throws -> PublicKey {
        try PublicKey(der: trusted(list, index).member("publicKey").member("rawBytes").bytes())
    }
}

/// A hashedrekord entry as clients propose it.
private func hashedRekord(
    _ message: String, key: PrivateKey, scheme: SignatureScheme = .ecdsa(.sha256), verifier: String? = nil
) throws -> JSONValue {
    let digest = try Digest.hash(Array(message.utf8), scheme.hash ?? .sha256)
    return .object([
        "apiVersion": .string("0.0.1"), "kind": .string("hashedrekord"),
        "spec": .object([
            "data": .object([
                "hash": .object(["algorithm": .string(digest.algorithm.rawValue), "value": .string(digest.hex)])
            ]),
            "signature": .object([
                "content": .bytes(try key.sign(HashedMessage(digest: digest), scheme: scheme)),
                "publicKey": .object(["content": .bytes(Array((verifier ?? key.publicKey.pem).utf8))]),
            ]),
        ]),
    ])
}

private func hashedRekordV2(_ message: String, key: PrivateKey, details: String? = "PKIX_ECDSA_P256_SHA_256") throws
    -> JSONValue
{
    let digest = try Digest.sha256(Array(message.utf8))
    var verifier: JSONObject = ["publicKey": .object(["rawBytes": .bytes(key.publicKey.spki)])]
    verifier["keyDetails"] = details.map { .string($0) }
    return .object([
        "hashedRekordRequestV002": .object([
            "digest": .bytes(digest.bytes),
            "signature": .object([
                "content": .bytes(try key.sign(HashedMessage(digest: digest), scheme: .ecdsa(.sha256))),
                "verifier": .object(verifier),
            ]),
        ])
    ])
}

/// The root that an inclusion proof leads to (RFC 9162, section 2.1.3.2), worked out apart from the tree's own code.
private func root(of leaf: [UInt8], index: Int, size: Int, path: [[UInt8]]) throws -> [UInt8] {
    var hash = try Digest.sha256([0] + leaf).bytes
    var place = index
    var last = size - 1
    for sibling in path {
        if place % 2 == 1 || place == last {
            hash = try Digest.sha256([1] + sibling + hash).bytes
            while place % 2 == 0, place != 0 {
                place /= 2
                last /= 2
            }
        } else {
            hash = try Digest.sha256([1] + hash + sibling).bytes
        }
        place /= 2
        last /= 2
    }
    #expect(last == 0)
    return hash
}

/// Whether a consistency proof leads to both roots (RFC 9162, section 2.1.4.2).
private func isConsistent(_ path: [[UInt8]], from first: Int, _ firstRoot: [UInt8], to second: Int, _ root: [UInt8])
    throws -> Bool
{
    var path = path
    if first & (first - 1) == 0 { path.insert(firstRoot, at: 0) }
    guard var old = path.first else { return false }
    var new = old
    var place = first - 1
    var last = second - 1
    while place % 2 == 1 {
        place /= 2
        last /= 2
    }
    for sibling in path.dropFirst() {
        if last == 0 { return false }
        if place % 2 == 1 || place == last {
            old = try Digest.sha256([1] + sibling + old).bytes
            new = try Digest.sha256([1] + sibling + new).bytes
            while place % 2 == 0, place != 0 {
                place /= 2
                last /= 2
            }
        } else {
            new = try Digest.sha256([1] + new + sibling).bytes
        }
        place /= 2
        last /= 2
    }
    return last == 0 && old == firstRoot && new == root
}

@Suite struct MerkleTreeTests {
    @Test func proofsLeadToTheRoot() throws {
        var tree = MerkleTree()
        var roots: [[UInt8]] = [try tree.root(size: 0)]
        let leaves = (0..<40).map { [UInt8($0), 7] }
        for leaf in leaves {
            try tree.append(leafHash: MerkleTree.leafHash(leaf))
            roots.append(try tree.root(size: tree.size))
        }
        for size in 1...leaves.count {
            #expect(try tree.root(size: size) == roots[size])
            for index in 0..<size {
                let path = try tree.inclusionProof(index: index, size: size)
                #expect(try root(of: leaves[index], index: index, size: size, path: path) == roots[size])
            }
            for first in 1..<size {
                let path = try tree.consistencyProof(from: first, to: size)
                #expect(try isConsistent(path, from: first, roots[first], to: size, roots[size]))
            }
        }
        // The root of the RFC's empty tree.
        #expect(try Hexadecimal.encode(MerkleTree().root(size: 0)).hasPrefix("e3b0c44298fc1c14"))
    }
}

@Suite(.localSigstore(.own)) struct LocalServicesTests {
    private let services: LocalServices

    init() throws { services = try LocalServices.current }

    // MARK: Fulcio

    @Test(arguments: [
        LocalIdentity.email("alice@local.test"), .gitHubWorkflow(), .uri("/users/1"),
        .federated(email: "ann+x@local.test", connector: "https://accounts.example.test"),
    ])
    func certifiesAnIdentity(_ identity: LocalIdentity) async throws {
        let chain = try await services.certify(identity).chain
        #expect(chain.count == 3)
        let leaf = try #require(chain.first)
        let subject = services.issuer.subject(of: identity)
        switch try #require(leaf.subjectAlternativeNames.first) {
        case .email(let name), .uri(let name): #expect(name == subject)
        default: Issue.record("an unexpected kind of name")
        }
        #expect(try leaf.fulcioExtension(8) == services.issuer.issuer(of: identity))
        #expect(leaf.notAfter - leaf.notBefore == 600)
        let now = Int64(Date().timeIntervalSince1970)
        let path = try CertificatePath.build(
            leaf: leaf, intermediates: [chain[1]], anchors: [chain[2]], at: now, purpose: .codeSigning)
        #expect(path.count == 3)
        let timestamp = try #require(try SignedCertificateTimestamp.embedded(in: leaf).first)
        try timestamp.verify(certificate: leaf, issuer: chain[1], logKey: services.trustedKey("ctlogs"))
    }

    @Test func certifiesEachKindOfKey() async throws {
        for algorithm in [SigningAlgorithm.ecdsaP384, .ecdsaP521, .ed25519, .rsa2048] {
            let answer = try await services.askFulcio(
                token: services.issuer.token(for: .email("a@b.test")), challenge: "a@b.test",
                key: .generate(algorithm))
            #expect(answer.status == 200, "\(algorithm)")
        }
        let weaker = try await services.askFulcio(
            token: services.issuer.token(for: .email("a@b.test")), challenge: "a@b.test",
            key: .generate(.ecdsaP384), scheme: .ecdsa(.sha256))
        #expect(weaker.status == 400)
    }

    @Test func refusesTokensAndProofsAsFulcioDoes() async throws {
        let key = try PrivateKey.generate(.ecdsaP256)
        let alice = LocalIdentity.email("alice@local.test")
        func options(_ change: (inout TokenOptions) -> Void) -> TokenOptions {
            var options = TokenOptions()
            change(&options)
            return options
        }
        let badTokens = [
            "garbage", try services.issuer.token(for: alice, options: options { $0.lifetime = -60 }),
            try services.issuer.token(for: alice, options: options { $0.audience = "someone" }),
            try services.issuer.token(for: alice, options: options { $0.forged = true }),
            try services.issuer.token(for: alice, options: options { $0.delay = 3_600 }),
            try services.issuer.token(for: .email("alice@local.test", verified: false)),
            try services.issuer.token(for: .uri("http://elsewhere.test/users/1")),
        ]
        for token in badTokens {
            let answer = try await services.askFulcio(token: token, challenge: "alice@local.test", key: key)
            #expect(answer.status == 400)
            #expect(try answer.json().member("code").integer() == 3)
            #expect(
                try answer.json().member("message").string() == "There was an error processing the identity token")
            #expect(try answer.json().member("details").elements().isEmpty)
        }
        let proof = try await services.askFulcio(
            token: services.issuer.token(for: alice), challenge: "someone@local.test", key: key)
        #expect(proof.status == 400)
        #expect(
            try proof.json().member("message").string()
                == "The signature supplied in the request could not be verified")
        let bearer = ["Authorization": "Bearer \(try services.issuer.token(for: alice))"]
        for (body, message) in [
            ("{}", "The public key supplied in the request could not be parsed"),
            ("{nonsense", "invalid character 'n' looking for beginning of object key string"),
            (#"{"certificateSigningRequest":"AAAA"}"#, "The certificate signing request could not be parsed"),
            ("[]", "proto: syntax error (line 1:1): unexpected token ["),
            (
                #"{"publicKeyRequest":{"proofOfPossession":"@@"}}"#,
                #"proto: (line 1:42): invalid value for bytes field proofOfPossession: "@@""#
            ),
            (
                #"{"publicKeyRequest":{},"certificateSigningRequest":"AAAA"}"#,
                #"proto: (line 1:24): error parsing "certificateSigningRequest", oneof "#
                    + "dev.sigstore.fulcio.v2.CreateSigningCertificateRequest.key is already set"
            ),
        ] {
            let answer = try await services.fulcio.client.send(
                "POST", "/api/v2/signingCert", headers: bearer, body: Array(body.utf8))
            #expect(answer.status == 400)
            #expect(try answer.json().member("message").string() == message)
        }
        let get = try await services.fulcio.client.get("/api/v2/signingCert")
        #expect(get.status == 501 && get.text == #"{"code":12,"message":"Method Not Allowed","details":[]}"#)
        let lost = try await services.fulcio.client.get("/api/v9/x")
        #expect(lost.status == 404 && lost.text == #"{"code":5,"message":"Not Found","details":[]}"#)
        let bundle = try await services.fulcio.client.get("/api/v2/trustBundle").json()
        #expect(try bundle.member("chains").elements().first?.member("certificates").elements().count == 2)
    }

    @Test func breaksCertificatesOnPurpose() async throws {
        let logKey = try services.trustedKey("ctlogs")
        func isTimestampGood(_ chain: [Certificate]) throws -> Bool {
            guard let timestamp = try SignedCertificateTimestamp.embedded(in: chain[0]).first else { return false }
            return (try? timestamp.verify(certificate: chain[0], issuer: chain[1], logKey: logKey)) != nil
        }
        #expect(try await isTimestampGood(services.certify().chain))
        services.fulcio.faults.add(Fault(.wrongSCT, count: 1))
        #expect(try await !isTimestampGood(services.certify().chain))
        services.fulcio.faults.add(Fault(.missingSCT, count: 1))
        #expect(try await SignedCertificateTimestamp.embedded(in: services.certify().chain[0]).isEmpty)
        services.fulcio.faults.add(Fault(.wrongCertificate, count: 1))
        let other = try await services.certify().chain[0].subjectAlternativeNames.first
        guard case .email("someone-else@local.test")? = other else {
            Issue.record("the name is \(String(describing: other))")
            return
        }
        services.fulcio.faults.add(Fault(.wrongKey, count: 1))
        let wrongKey = try await services.certify()
        #expect(!wrongKey.chain[0].publicKey.isSame(as: wrongKey.key.publicKey))
        services.fulcio.faults.add(Fault(.wrongChain, count: 1))
        let chain = try await services.certify().chain
        let trusted = try services.trusted("certificateAuthorities").member("certChain").member("certificates")
        #expect(try trusted.elements().allSatisfy { try $0.member("rawBytes").bytes() != chain[2].der })
        #expect(try await isTimestampGood(services.certify().chain))
    }

    @Test func keepsALogOfCertificates() async throws {
        for _ in 0..<3 { _ = try await services.certify() }
        let client = services.certificateLog.client
        let head = try await client.get("/sigstore/ct/v1/get-sth").json()
        #expect(try head.member("tree_size").integer() == 3)
        let entries = try await client.get("/sigstore/ct/v1/get-entries?start=0&end=9").json().member("entries")
        let leaves = try entries.elements().map { try $0.member("leaf_input").bytes() }
        #expect(leaves.count == 3)
        let hash = Base64.encode(try MerkleTree.leafHash(leaves[1]))
        let escaped = hash.addingPercentEncoding(withAllowedCharacters: .alphanumerics) ?? ""
        let proof = try await client.get("/sigstore/ct/v1/get-proof-by-hash?hash=\(escaped)&tree_size=3").json()
        let path = try proof.member("audit_path").elements().map { try $0.bytes() }
        #expect(
            try root(of: leaves[1], index: 1, size: 3, path: path) == head.member("sha256_root_hash").bytes())
    }

    // MARK: Rekor v1

    @Test func logsOnceAndProvesIt() async throws {
        let key = try PrivateKey.generate(.ecdsaP256)
        let client = services.rekorV1.client
        let logKey = try services.trustedKey("tlogs")
        let proposal = try hashedRekord("hello", key: key)
        let created = try await client.post("/api/v1/log/entries", json: proposal)
        #expect(created.status == 201)
        let location = try #require(created.headers["location"])
        let uuid = try #require(created.headers["etag"])
        #expect(location == "/api/v1/log/entries/\(uuid)" && uuid.count == 80)
        let entry = try created.json().member(uuid)
        let body = try entry.member("body").bytes()
        #expect(try entry.member("logIndex").integer() == 1)

        let promised: JSONValue = .object([
            "body": entry.value[member: "body"], "integratedTime": entry.value[member: "integratedTime"],
            "logID": entry.value[member: "logID"], "logIndex": entry.value[member: "logIndex"],
        ])
        let verification = try entry.member("verification")
        #expect(
            try logKey.verifies(
                verification.member("signedEntryTimestamp").bytes(), ofBytes: promised.canonicalized(),
                scheme: .ecdsa(.sha256)))
        let proof = try verification.member("inclusionProof")
        let path = try proof.member("hashes").elements().compactMap { try Hexadecimal.decode($0.string()) }
        let size = Int(try proof.member("treeSize").integer())
        let rootHash = try root(of: body, index: 1, size: size, path: path)
        #expect(try Hexadecimal.encode(rootHash) == proof.member("rootHash").string())
        let checkpoint = try proof.member("checkpoint").string()
        let parts = checkpoint.components(separatedBy: "\n\n")
        #expect(parts.first?.hasSuffix("\n\(size)\n\(Base64.encode(rootHash))") == true)
        let line = try #require(parts.last?.split(separator: " ").last).trimmingCharacters(in: .newlines)
        let signature = try #require(Base64.decode(line))
        #expect(
            try logKey.verifies(
                Array(signature.dropFirst(4)), ofBytes: Array(((parts.first ?? "") + "\n").utf8),
                scheme: .ecdsa(.sha256)))

        let again = try await client.post("/api/v1/log/entries", json: proposal)
        #expect(again.status == 409 && again.headers["location"] == location)
        #expect(
            again.text
                == #"{"code":409,"message":"an equivalent entry already exists in the transparency log with UUID \#(uuid)"}"#
        )
        #expect(try await client.get(location).json().member(uuid).member("body").bytes() == body)
        #expect(try await client.get("/api/v1/log/entries?logIndex=1").json().names() == [uuid])
        let found = try await client.post(
            "/api/v1/log/entries/retrieve", json: .object(["entryUUIDs": .array([.string(uuid)])]))
        #expect(try found.json().elements().first?.names() == [uuid])

        let digest = try Digest.sha256(Array("hello".utf8))
        let search = try await client.post(
            "/api/v1/index/retrieve", json: .object(["hash": .string(digest.description)]))
        #expect(search.text == "[\"\(uuid)\"]")
        let certified = try await services.certify()
        let keyless = try await client.post(
            "/api/v1/log/entries",
            json: hashedRekord("keyless", key: certified.key, verifier: certified.chain[0].pem))
        let byEmail = try await client.post(
            "/api/v1/index/retrieve", json: .object(["email": .string("alice@local.test")]))
        #expect(byEmail.text == "[\"\(keyless.headers["etag"] ?? "")\"]")

        let info = try await client.get("/api/v1/log").json()
        #expect(try info.member("treeSize").integer() == 3)
        let consistency = try await client.get("/api/v1/log/proof?firstSize=2&lastSize=3").json()
        let steps = try consistency.member("hashes").elements().compactMap { try Hexadecimal.decode($0.string()) }
        let newRoot = try #require(Hexadecimal.decode(info.member("rootHash").string()))
        #expect(try isConsistent(steps, from: 2, rootHash, to: 3, newRoot))
    }

    private static let payloadType = "application/vnd.in-toto+json"
    /// What an envelope's signature is over if its payload is `{}`.
    private static let signed = Array("DSSEv1 \(payloadType.utf8.count) \(payloadType) 2 {}".utf8)

    /// A dsse entry as clients propose it.
    private func dsse(_ signatures: [[UInt8]], _ keys: [PrivateKey]) -> JSONValue {
        let envelope: JSONValue = .object([
            "payloadType": .string(Self.payloadType), "payload": .bytes(Array("{}".utf8)),
            "signatures": .array(signatures.map { .object(["sig": .bytes($0)]) }),
        ])
        return .object([
            "apiVersion": .string("0.0.1"), "kind": .string("dsse"),
            "spec": .object([
                "proposedContent": .object([
                    "envelope": .string(String(decoding: envelope.serialized(), as: UTF8.self)),
                    "verifiers": .array(keys.map { .bytes(Array($0.publicKey.pem.utf8)) }),
                ])
            ]),
        ])
    }

    @Test func logsEnvelopes() async throws {
        let key = try PrivateKey.generate(.ecdsaP256)
        let (signed, payload) = (Self.signed, Array("{}".utf8))
        func proposal(_ signature: [UInt8]) -> JSONValue { dsse([signature], [key]) }
        let client = services.rekorV1.client
        let good = try await client.post(
            "/api/v1/log/entries", json: proposal(key.sign(signed, scheme: .ecdsa(.sha256))))
        #expect(good.status == 201)
        let uuid = try #require(good.headers["etag"])
        let body = JSONCursor(try JSONValue(parsing: good.json().member(uuid).member("body").bytes()))
        #expect(
            try body.member("spec").member("payloadHash").member("value").string() == Digest.sha256(payload).hex)
        let bad = try await client.post(
            "/api/v1/log/entries", json: proposal(key.sign([1], scheme: .ecdsa(.sha256))))
        #expect(
            bad.text
                == #"{"code":400,"message":"error processing entry: could not verify envelope: accepted signatures do not match threshold, Found: 0, Expected 1"}"#
        )
    }

    @Test(
        "Rekor v1 checks envelopes over SHA-256 whatever the curve, RSA by PKCS#1, and Ed25519 in its pure form",
        arguments: [
            (SigningAlgorithm.ecdsaP256, SignatureScheme.ecdsa(.sha256), true), (.ecdsaP384, .ecdsa(.sha256), true),
            (.ecdsaP384, .ecdsa(.sha384), false), (.ecdsaP521, .ecdsa(.sha256), true),
            (.ecdsaP521, .ecdsa(.sha512), false), (.rsa2048, .rsaPKCS1(.sha256), true),
            (.rsa2048, .rsaPKCS1(.sha512), false), (.rsa2048, .rsaPSS(.sha256), false), (.ed25519, .ed25519, true),
            (.ed25519, .ed25519ph, false),
        ])
    func checksEnvelopes(_ algorithm: SigningAlgorithm, _ scheme: SignatureScheme, _ isTaken: Bool) async throws {
        let key = try PrivateKey.generate(algorithm)
        let answer = try await services.rekorV1.client.post(
            "/api/v1/log/entries", json: dsse([key.sign(Self.signed, scheme: scheme)], [key]))
        #expect(answer.status == (isTaken ? 201 : 400), "\(answer.text)")
        guard !isTaken else { return }
        #expect(
            answer.text
                == #"{"code":400,"message":"error processing entry: could not verify envelope: accepted signatures do not match threshold, Found: 0, Expected 1"}"#
        )
    }

    @Test func demandsAKeyForEachSignature() async throws {
        let (key, other) = (try PrivateKey.generate(.ecdsaP256), try PrivateKey.generate(.ecdsaP384))
        let signature = try key.sign(Self.signed, scheme: .ecdsa(.sha256))
        let second = try other.sign(Self.signed, scheme: .ecdsa(.sha256))
        let client = services.rekorV1.client
        for (signatures, keys, words) in [
            (
                [signature], [other],
                "could not verify envelope: accepted signatures do not match threshold, Found: 0, Expected 1"
            ),
            ([signature, second], [key], "all signatures must have a key that verifies it"),
            ([], [key], "DSSE envelope must contain 1 or more signatures"),
        ] {
            let answer = try await client.post("/api/v1/log/entries", json: dsse(signatures, keys))
            #expect(answer.status == 400, "\(answer.text)")
            #expect(answer.text == #"{"code":400,"message":"error processing entry: \#(words)"}"#)
        }
        let both = try await client.post("/api/v1/log/entries", json: dsse([signature, second], [key, other]))
        #expect(both.status == 201, "\(both.text)")
    }

    @Test(
        "Rekor v1 takes one digest of each kind of key for files",
        arguments: [
            (SigningAlgorithm.ecdsaP384, SignatureScheme.ecdsa(.sha384), true), (.ecdsaP384, .ecdsa(.sha256), false),
            (.ecdsaP521, .ecdsa(.sha512), true), (.ecdsaP521, .ecdsa(.sha256), false),
            (.rsa2048, .rsaPKCS1(.sha256), true), (.rsa2048, .rsaPKCS1(.sha512), false),
        ])
    func checksDigests(_ algorithm: SigningAlgorithm, _ scheme: SignatureScheme, _ isTaken: Bool) async throws {
        let key = try PrivateKey.generate(algorithm)
        let answer = try await services.rekorV1.client.post(
            "/api/v1/log/entries", json: hashedRekord("a file", key: key, scheme: scheme))
        #expect(answer.status == (isTaken ? 201 : 400), "\(answer.text)")
        guard !isTaken else { return }
        #expect(
            answer.text == #"{"code":400,"message":"error processing entry: entry algorithms are not allowed"}"#)
    }

    @Test("Both Rekors check Ed25519ph, which signs a digest")
    func checksEd25519ph() async throws {
        let key = try PrivateKey.generate(.ed25519)
        let message = Array("a file".utf8)
        let digest = try Digest.hash(message, .sha512)
        for (scheme, isTaken) in [(SignatureScheme.ed25519ph, true), (.ed25519, false)] {
            let signature = try key.sign(message, scheme: scheme)
            let v1 = try await services.rekorV1.client.post(
                "/api/v1/log/entries",
                json: .object([
                    "apiVersion": .string("0.0.1"), "kind": .string("hashedrekord"),
                    "spec": .object([
                        "data": .object([
                            "hash": .object(["algorithm": .string("sha512"), "value": .string(digest.hex)])
                        ]),
                        "signature": .object([
                            "content": .bytes(signature),
                            "publicKey": .object(["content": .bytes(Array(key.publicKey.pem.utf8))]),
                        ]),
                    ]),
                ]))
            #expect(v1.status == (isTaken ? 201 : 400), "\(v1.text)")
            let v2 = try await services.rekorV2.client.post(
                "/api/v2/log/entries",
                json: .object([
                    "hashedRekordRequestV002": .object([
                        "digest": .bytes(digest.bytes),
                        "signature": .object([
                            "content": .bytes(signature),
                            "verifier": .object([
                                "publicKey": .object(["rawBytes": .bytes(key.publicKey.spki)]),
                                "keyDetails": .string("PKIX_ED25519_PH"),
                            ]),
                        ]),
                    ])
                ]))
            #expect(v2.status == (isTaken ? 201 : 400), "\(v2.text)")
        }
    }

    @Test("What comes after the certificate's time is recorded with a time that is too late, as Rekor does")
    func recordsTooLate() async throws {
        services.fulcio.faults.add(Fault(.wrongTime(seconds: -660)))
        let certified = try await services.certify()
        let end = try #require(certified.chain.first).notAfter
        #expect(end < Int64(Date().timeIntervalSince1970))
        let timestamp = try #require(try SignedCertificateTimestamp.embedded(in: certified.chain[0]).first)
        #expect(Int64(timestamp.timestamp) < end * 1_000)
        try timestamp.verify(
            certificate: certified.chain[0], issuer: certified.chain[1], logKey: services.trustedKey("ctlogs"))
        let created = try await services.rekorV1.client.post(
            "/api/v1/log/entries", json: hashedRekord("late", key: certified.key, verifier: certified.chain[0].pem))
        #expect(created.status == 201)
        let entries = try created.json()
        let entry = try entries.member(try #require(entries.names().first))
        #expect(try entry.member("integratedTime").integer() > end)
        // Of a chain it looks at who issued whom, and not at the times.
        for (chain, status) in [(certified.chain, 201), ([certified.chain[0], certified.chain[2]], 400)] {
            let answer = try await services.rekorV1.client.post(
                "/api/v1/log/entries",
                json: hashedRekord("chain", key: certified.key, verifier: chain.map(\.pem).joined()))
            #expect(answer.status == status, "\(answer.text)")
        }
    }

    /// The requests and answers that were recorded from Rekor 1.5.
    @Test(arguments: [
        ("application/json", "{oops", 500, "invalid character 'o' looking for beginning of object key string"),
        (
            "application/json", #"{"apiVersion":"0.0.1","kind":"nonesuch","spec":{}}"#, 422,
            #"invalid kind value: \"nonesuch\""#
        ),
        (
            "application/json", #"{"apiVersion":"9.9.9","kind":"hashedrekord","spec":{}}"#, 400,
            "error processing entry: hashedrekord implementation for version '9.9.9' not found: unable to locate entry for version 9.9.9"
        ),
        ("text/plain", "{}", 415, #"unsupported media type \"text/plain\", only [application/json] are allowed"#),
        ("application/json", #"{"apiVersion":"0.0.1","#, 500, "unexpected EOF"),
        (
            "application/json", "[]", 500,
            #"json: cannot unmarshal array into Go value of type struct { Kind string \"json:\\\"kind\\\"\" }"#
        ),
        (
            "application/json", #"{"apiVersion":"0.0.1","kind":"hashedrekord","spec":{}}"#, 400,
            #"error processing entry: validation failure list:\ndata in body is required"#
        ),
        (
            "application/json",
            #"{"apiVersion":"0.0.1","kind":"hashedrekord","spec":{"data":{"hash":{"algorithm":"md5","value":"00"}}}}"#,
            400,
            #"error processing entry: validation failure list:\ndata.data.hash.data.hash.algorithm in body should be one of [sha256 sha384 sha512]"#
        ),
        (
            "application/json",
            #"{"apiVersion":"0.0.1","kind":"hashedrekord","spec":{"data":{"hash":{"algorithm":"sha256","value":"00"}},"signature":{"content":"AA==","publicKey":{"content":"AA=="}}}}"#,
            400, "error processing entry: invalid public key: failure decoding PEM"
        ),
        (
            "application/json", #"{"apiVersion":"0.0.1","kind":"dsse","spec":{}}"#, 400,
            "error processing entry: either proposedContent or envelopeHash, payloadHash, and signatures must be present"
        ),
        (
            "application/json",
            #"{"apiVersion":"0.0.1","kind":"dsse","spec":{"proposedContent":{"envelope":"{}","verifiers":[]}}}"#, 400,
            #"error processing entry: validation failure list:\nproposedContent.proposedContent.verifiers in body should have at least 1 items"#
        ),
        (
            "application/json",
            #"{"apiVersion":"0.0.1","kind":"hashedrekord","spec":{"data":{"hash":{"algorithm":"sha256","value":"00"}},"signature":{"content":"@@","publicKey":{"content":"@@"}}}}"#,
            400,
            "error processing entry: failed parsing base64 data for signature content: illegal base64 data at input byte 0"
        ),
        (
            "application/json",
            #"{"apiVersion":"0.0.1","kind":"hashedrekord","spec":{"data":{"hash":{"algorithm":"sha256","value":"1bec18ac6e448762bb8806e12b383bdc33d0dd2fe959032afab5bac7df5acf0d"}},"signature":{"content":"MEYCIQCZqCcB3uxGqSf88BgmwtdOhgzJ/hUxcjkeTaZIrT2k4QIhAOQpD8j5jDTEZ9/3j1Lr1euNZQCQzMYZHPBd0XHJkBSU","publicKey":{"content":"LS0tLS1CRUdJTiBQVUJMSUMgS0VZLS0tLS0KTUZrd0V3WUhLb1pJemowQ0FRWUlLb1pJemowREFRY0RRZ0FFYklzRi9RZStmcWVQSHdlVFRiYmx5UTZtN21pUwozSjhlWCswUGxkWVE1YjllVWRDb25zMWprU25rQVRtNXNsZERKdTgxbWF0Z21QRzRuVDg0ZDZ0MTN3PT0KLS0tLS1FTkQgUFVCTElDIEtFWS0tLS0tCg=="}}}}"#,
            400,
            "error processing entry: verifying signature: invalid signature when validating ASN.1 encoded signature"
        ),
        (
            "application/json",
            #"{"apiVersion":"0.0.1","kind":"hashedrekord","spec":{"data":{"hash":{"algorithm":"sha256","value":"1bec18ac6e448762bb8806e12b383bdc33d0dd2fe959032afab5bac7df5acf0d"}},"signature":{"content":"yQ5kaoquCAkMtjCRd40H6N/sSoUHP7fg2nlB4jziMtywTVyyLh2MrHWSnz3kLTE1r/INr3Ri9V+t3jb2nqozAQ==","publicKey":{"content":"LS0tLS1CRUdJTiBQVUJMSUMgS0VZLS0tLS0KTUNvd0JRWURLMlZ3QXlFQWJkcGx3WGQwY2JEQXZ3aTU4QnZ4cXVrSk0vQVZCNUZGd0I0ODhrZDZwTnM9Ci0tLS0tRU5EIFBVQkxJQyBLRVktLS0tLQo="}}}}"#,
            400,
            #"error processing entry: verifying signature: unsupported hash algorithm: \"SHA-256\" not in [SHA-512]"#
        ),
    ])
    func refusesEntriesAsRekor1Does(_ type: String, _ body: String, _ status: Int, _ message: String) async throws {
        let answer = try await services.rekorV1.client.send(
            "POST", "/api/v1/log/entries", headers: ["Content-Type": type], body: Array(body.utf8))
        #expect(answer.status == status)
        #expect(answer.text == #"{"code":\#(status),"message":"\#(message)"}"#)
        #expect(answer.headers["content-type"] == "application/json")
    }

    /// What go-openapi says of a request whose form is wrong: a number of its own, and status 422.
    @Test(arguments: [
        ("GET", "/api/v1/log/entries", "", 602, "logIndex in query is required"),
        ("GET", "/api/v1/log/entries?logIndex=x", "", 601, #"logIndex in query must be of type int64: \"x\""#),
        (
            "GET", "/api/v1/log/entries?logIndex=-1", "", 609,
            "logIndex in query should be greater than or equal to 0"
        ),
        (
            "GET", "/api/v1/log/entries/xyz", "", 605,
            "entryUUID in path should match '^([0-9a-fA-F]{64}|[0-9a-fA-F]{80})$'"
        ),
        ("GET", "/api/v1/log/proof", "", 602, "lastSize in query is required"),
        ("POST", "/api/v1/log/entries", "", 602, "proposedEntry in body is required"),
        ("POST", "/api/v1/log/entries", "{}", 602, "kind in body is required"),
        ("POST", "/api/v1/log/entries", #"{"kind":"dsse"}"#, 602, "apiVersion in body is required"),
        ("POST", "/api/v1/log/entries", #"{"kind":"dsse","apiVersion":"0.0.1"}"#, 602, "spec in body is required"),
        (
            "POST", "/api/v1/log/entries/retrieve", #"{"entryUUIDs":["x"]}"#, 605,
            "entryUUIDs.0 in body should match '^([0-9a-fA-F]{64}|[0-9a-fA-F]{80})$'"
        ),
        (
            "POST", "/api/v1/log/entries/retrieve", #"{"logIndexes":[1,1,1,1,1,1,1,1,1,1,1]}"#, 611,
            "logIndexes in body should have at most 10 items"
        ),
        (
            "POST", "/api/v1/index/retrieve", #"{"hash":"x"}"#, 605,
            "hash in body should match '^(sha512:)?[0-9a-fA-F]{128}$|^(sha256:)?[0-9a-fA-F]{64}$|^(sha1:)?[0-9a-fA-F]{40}$'"
        ),
        (
            "POST", "/api/v1/index/retrieve", #"{"email":"x"}"#, 601, #"email in body must be of type email: \"x\""#
        ),
        (
            "POST", "/api/v1/index/retrieve", #"{"publicKey":{"content":"AA=="}}"#, 602,
            "publicKey.publicKey.format in body is required"
        ),
    ])
    func refusesFormsAsRekor1Does(_ method: String, _ target: String, _ body: String, _ code: Int, _ message: String)
        async throws
    {
        let answer = try await services.rekorV1.client.send(
            method, target, headers: body.isEmpty && method == "GET" ? [:] : ["Content-Type": "application/json"],
            body: Array(body.utf8))
        #expect(answer.status == 422 && answer.text == #"{"code":\#(code),"message":"\#(message)"}"#, "\(answer.text)")
    }

    @Test func saysThatAnEntryIsNotThere() async throws {
        let foreign = try await services.rekorV1.client.get("/api/v1/log/entries/\(String(repeating: "0", count: 80))")
        #expect(foreign.status == 500)
        #expect(foreign.text == #"{"code":500,"message":"unexpected error communicating with transparency log"}"#)

        for target in ["/\(String(repeating: "0", count: 64))", "?logIndex=999999"] {
            let answer = try await services.rekorV1.client.get("/api/v1/log/entries\(target)")
            #expect(answer.status == 404 && answer.body.isEmpty)
        }
    }

    @Test func breaksEntriesOnPurpose() async throws {
        let key = try PrivateKey.generate(.ecdsaP256)
        let client = services.rekorV1.client
        func add(_ message: String) async throws -> (JSONCursor, String) {
            let answer = try await client.post("/api/v1/log/entries", json: hashedRekord(message, key: key))
            return (try answer.json().member(answer.json().names().first ?? ""), answer.headers["etag"] ?? "")
        }
        let (good, uuid) = try await add("one")
        services.rekorV1.faults.add(Fault(.wrongPromise))
        let promise = try await client.get("/api/v1/log/entries/\(uuid)").json().member(uuid)
        var promised = JSONObject()
        for name in ["body", "integratedTime", "logID", "logIndex"] { promised[name] = promise.value[member: name] }
        #expect(
            try !services.trustedKey("tlogs").verifies(
                promise.member("verification").member("signedEntryTimestamp").bytes(),
                ofBytes: JSONValue.object(promised).canonicalized(), scheme: .ecdsa(.sha256)))
        services.rekorV1.faults.removeAll()
        services.rekorV1.faults.add(Fault(.wrongProof))
        let proof = try await client.get("/api/v1/log/entries/\(uuid)").json().member(uuid)
            .member("verification").member("inclusionProof")
        let path = try proof.member("hashes").elements().compactMap { try Hexadecimal.decode($0.string()) }
        #expect(
            try Hexadecimal.encode(root(of: good.member("body").bytes(), index: 1, size: 2, path: path))
                != proof.member("rootHash").string())
        services.rekorV1.faults.removeAll()
        services.rekorV1.faults.add(Fault(.wrongEntry))
        let (other, _) = try await add("two")
        #expect(try other.member("body").bytes() == good.member("body").bytes())
    }

    // MARK: Rekor v2

    @Test func logsInTiles() async throws {
        let key = try PrivateKey.generate(.ecdsaP256)
        let client = services.rekorV2.client
        var last = RawAnswer()
        for number in 0..<260 {
            last = try await client.post("/api/v2/log/entries", json: hashedRekordV2("m\(number)", key: key))
            #expect(last.status == 201)
        }
        let entry = try last.json()
        #expect(try entry.member("logIndex").string() == "260" && entry.member("integratedTime").string() == "0")
        #expect(
            try entry.member("logId").member("keyId").bytes()
                == services.trusted("tlogs", 1).member("logId").member("keyId").bytes())
        let proof = try entry.member("inclusionProof")
        let path = try proof.member("hashes").elements().map { try $0.bytes() }
        let body = try entry.member("canonicalizedBody").bytes()
        let rootHash = try root(of: body, index: 260, size: 261, path: path)
        #expect(try proof.member("rootHash").bytes() == rootHash)

        let checkpoint = try await client.get("/api/v2/checkpoint").text
        let parts = checkpoint.components(separatedBy: "\n\n")
        #expect(parts.first == "127.0.0.1\n261\n\(Base64.encode(rootHash))")
        let line = try #require(parts.last?.split(separator: " ").last).trimmingCharacters(in: .newlines)
        let signature = try #require(Base64.decode(line))
        #expect(
            try services.trustedKey("tlogs", 1).verifies(
                Array(signature.dropFirst(4)), ofBytes: Array(((parts.first ?? "") + "\n").utf8), scheme: .ed25519))

        // The tiles hold the same leaves, and their hashes make the same root.
        var tree = MerkleTree()
        for tile in ["000", "001.p/5"] {
            let hashes = try await client.get("/api/v2/tile/0/\(tile)").body
            for start in stride(from: 0, to: hashes.count, by: 32) {
                try tree.append(leafHash: Array(hashes[start..<start + 32]))
            }
        }
        #expect(try tree.size == 261 && tree.root(size: 261) == rootHash)
        let top = try await client.get("/api/v2/tile/1/000.p/1").body
        #expect(try top == tree.root(size: 256))
        let entries = try await client.get("/api/v2/tile/entries/001.p/5").body
        #expect(entries.suffix(body.count) == body[...])
        #expect(try await client.get("/api/v2/tile/0/001").status == 404)
        #expect(try await client.get("/api/v2/tile/0/x001/000").status == 404)
    }

    @Test func refusesEntriesAsRekor2Does() async throws {
        let key = try PrivateKey.generate(.ecdsaP256)
        let client = services.rekorV2.client
        let proposal = try hashedRekordV2("hello", key: key)
        #expect(try await client.post("/api/v2/log/entries", json: proposal).status == 201)
        let again = try await client.post("/api/v2/log/entries", json: proposal)
        #expect(again.status == 409 && again.headers["x-log-index"] == "1")
        #expect(
            again.text
                == #"{"code":6,"message":"an equivalent entry already exists in the transparency log with index 1","details":[]}"#
        )
        let invalid = #"{"code":3,"message":"invalid hashedrekord request","details":[]}"#
        for details in [nil, "PKIX_ECDSA_P384_SHA_384"] {
            let wrong = try hashedRekordV2("wrong", key: key, details: details)
            let answer = try await client.post("/api/v2/log/entries", json: wrong)
            #expect(answer.status == 400 && answer.text == invalid)
        }
        for (body, status, message) in [
            (
                "{oops", 400,
                #"{"code":3,"message":"invalid character 'o' looking for beginning of object key string","details":[]}"#
            ),
            (
                #"{"nonesuch":1}"#, 400,
                #"{"code":3,"message":"proto: (line 1:2): unknown field \"nonesuch\"","details":[]}"#
            ),
            ("{}", 400, #"{"code":3,"message":"invalid type, must be hashedrekord","details":[]}"#),
            (
                #"{"dsseRequestV002":{}}"#, 400,
                #"{"code":3,"message":"invalid type, must be hashedrekord","details":[]}"#
            ),
            ("", 400, #"{"code":3,"message":"invalid type, must be hashedrekord","details":[]}"#),
            ("[]", 400, #"{"code":3,"message":"proto: syntax error (line 1:1): unexpected token [","details":[]}"#),
            (
                #"{"hashedRekordRequestV002":{"more":1}}"#, 400,
                #"{"code":3,"message":"proto: (line 1:29): unknown field \"more\"","details":[]}"#
            ),
            (
                "{\"hashedRekordRequestV002\":\n{\"digest\":5}}", 400,
                #"{"code":3,"message":"proto: (line 2:11): invalid value for bytes field digest: 5","details":[]}"#
            ),
            (
                #"{"hashedRekordRequestV002":{"signature":{"verifier":{"keyDetails":"NONE"}}}}"#, 400,
                #"{"code":3,"message":"proto: (line 1:67): invalid value for enum field keyDetails: \"NONE\"","details":[]}"#
            ),
            (
                #"{"hashedRekordRequestV002":{},"dsseRequestV002":{}}"#, 400,
                #"{"code":3,"message":"proto: (line 1:31): error parsing \"dsseRequestV002\", oneof dev.sigstore.rekor.v2.CreateEntryRequest.spec is already set","details":[]}"#
            ),
        ] {
            let answer = try await client.send("POST", "/api/v2/log/entries", body: Array(body.utf8))
            #expect(answer.status == status && answer.text == message)
        }
        let owner = try PrivateKey.generate(.ed25519)
        let pure: JSONValue = .object([
            "hashedRekordRequestV002": .object([
                "digest": .bytes(try Digest.hash([1], .sha512).bytes),
                "signature": .object([
                    "content": .bytes(try owner.sign([1], scheme: .ed25519)),
                    "verifier": .object([
                        "publicKey": .object(["rawBytes": .bytes(owner.publicKey.spki)]),
                        "keyDetails": .string("PKIX_ED25519"),
                    ]),
                ]),
            ])
        ])
        let ed25519 = try await client.post("/api/v2/log/entries", json: pure)
        #expect(
            ed25519.status == 500 && ed25519.text == #"{"code":13,"message":"internal server error","details":[]}"#)
        #expect(try await client.get("/api/v2/log/entries").status == 501)
        let older = try await client.post("/api/v1/log/entries", json: proposal)
        #expect(older.status == 404 && older.text == #"{"code":5,"message":"Not Found","details":[]}"#)
    }

    // MARK: Timestamps

    private func query(_ digest: [UInt8], algorithm: String = "2.16.840.1.101.3.4.2.1", certificate: Bool = false)
        -> [UInt8]
    {
        DER.sequence(
            [
                DER.integer(1),
                DER.sequence([DER.sequence([DER.oid(algorithm), [0x05, 0]]), DER.octetString(digest)]),
            ] + (certificate ? [DER.integer([0xa2, 1]), DER.boolean(true)] : []))
    }

    @Test func stampsTimes() async throws {
        let message = Array("a signature".utf8)
        let digest = try Digest.sha256(message).bytes
        let chain = try services.trusted("timestampAuthorities").member("certChain").member("certificates")
            .elements().map { try Certificate(der: $0.member("rawBytes").bytes()) }
        let headers = ["Content-Type": "application/timestamp-query"]
        for certificate in [false, true] {
            let before = Int64(Date().timeIntervalSince1970)
            let answer = try await services.timestampAuthority.client.send(
                "POST", "/api/v1/timestamp", headers: headers, body: query(digest, certificate: certificate))
            #expect(answer.status == 200 && answer.headers["content-type"] == "application/timestamp-reply")
            let token = try TimestampToken(response: answer.body)
            _ = try token.verify(over: message, authority: chain)
            #expect(token.certificates.count == (certificate ? 1 : 0))
            #expect((token.nonce != nil) == certificate)
            #expect((before...Int64(Date().timeIntervalSince1970)).contains(token.time))
        }
        let json = try await services.timestampAuthority.client.post(
            "/api/v1/timestamp",
            json: .object([
                "artifactHash": .bytes(digest), "hashAlgorithm": .string("sha256"), "certificates": .bool(true),
                "nonce": .integer(1_123_343_434),
            ]))
        _ = try TimestampToken(response: json.body).verify(over: message, authority: chain)
        for fault in [Fault.Action.wrongCertificate, .wrongImprint] {
            services.timestampAuthority.faults.removeAll()
            services.timestampAuthority.faults.add(Fault(fault))
            let answer = try await services.timestampAuthority.client.send(
                "POST", "/api/v1/timestamp", headers: headers, body: query(digest))
            let token = try TimestampToken(response: answer.body)
            #expect(throws: SigstoreError.self) { try token.verify(over: message, authority: chain) }
        }
        services.timestampAuthority.faults.removeAll()
        services.timestampAuthority.faults.add(Fault(.wrongTime(seconds: -7_200)))
        let early = try await services.timestampAuthority.client.send(
            "POST", "/api/v1/timestamp", headers: headers, body: query(digest))
        #expect(try TimestampToken(response: early.body).time < Int64(Date().timeIntervalSince1970) - 7_000)
    }

    @Test func refusesQueriesAsTheAuthorityDoes() async throws {
        let client = services.timestampAuthority.client
        let type = "application/timestamp-query"
        let reply = "application/timestamp-reply"
        let cases: [(String, [UInt8], Int, String, String)] = [
            (
                type, Array("\u{1}\u{2}garbage".utf8), 400, reply,
                #"{"code":400,"message":"Error generating timestamp response"}"#
            ),
            (
                type, query([UInt8](repeating: 0, count: 20), algorithm: "1.3.14.3.2.26"), 400, reply,
                #"{"code":400,"message":"Weak hash algorithm in timestamp request"}"#
            ),
            (
                type,
                DER.sequence([
                    DER.integer(1),
                    DER.sequence([
                        DER.sequence([DER.oid("2.16.840.1.101.3.4.2.1"), [0x05, 0]]),
                        DER.octetString([UInt8](repeating: 0, count: 32)),
                    ]), DER.oid("1.2.3.4"),
                ]), 400, reply,
                #"{"code":400,"message":"unaccepted policy: requested TSA policy is not supported by the TSA"}"#
            ),
            (
                type, query([UInt8](repeating: 0, count: 20)), 400, reply,
                #"{"code":400,"message":"Message digest has incorrect length for specified algorithm"}"#
            ),
            (
                type, query([UInt8](repeating: 0, count: 32)) + [0, 0], 400, reply,
                #"{"code":400,"message":"Error generating timestamp response"}"#
            ),
            (type, [], 422, "application/json", #"{"code":602,"message":"request in body is required"}"#),
            (
                "application/octet-stream", query([UInt8](repeating: 0, count: 32)), 415, "application/json",
                #"{"code":415,"message":"unsupported media type \"application/octet-stream\", only [application/timestamp-query application/json] are allowed"}"#
            ),
        ]
        for (contentType, body, status, answerType, text) in cases {
            let answer = try await client.send(
                "POST", "/api/v1/timestamp", headers: ["Content-Type": contentType], body: body)
            #expect(answer.status == status && answer.text == text && answer.headers["content-type"] == answerType)
        }
        let get = try await client.get("/api/v1/timestamp")
        #expect(get.status == 405 && get.headers["allow"] == "POST")
        #expect(get.text == #"{"code":405,"message":"method GET is not allowed, but [POST] are"}"#)
    }

    // MARK: Issuer

    /// The form that a browser would send.
    private func form(_ fields: [String: String]) -> [UInt8] {
        Array(
            fields.map { "\($0.key)=\($0.value.addingPercentEncoding(withAllowedCharacters: .alphanumerics) ?? "")" }
                .joined(separator: "&").utf8)
    }

    private func claims(_ token: String) throws -> JSONCursor {
        let part = token.split(separator: ".").dropFirst().first.map(String.init) ?? ""
        return JSONCursor(try JSONValue(parsing: Base64.decodeURLSafe(part) ?? []))
    }

    @Test func signsPeopleIn() async throws {
        let client = services.issuerServer.client
        let discovery = try await client.get("/.well-known/openid-configuration").json()
        #expect(try discovery.member("issuer").string() == services.issuer.url)
        #expect(try await client.get("/keys").json().member("keys").elements().count == 1)
        let verifier = "some-verifier-that-is-long-enough-for-the-standard"
        let challenge = Base64.encodeURLSafe(try Digest.sha256(Array(verifier.utf8)).bytes)
        let query =
            "client_id=sigstore&response_type=code&redirect_uri=http%3A%2F%2F127.0.0.1%3A9%2Fauth%2Fcallback"
            + "&scope=openid+email&state=s1&nonce=n1&code_challenge=\(challenge)&code_challenge_method=S256"
        let page = try await client.get("/auth/auth?\(query)")
        #expect(page.status == 200 && page.text.contains("name=\"state\" value=\"s1\""))
        func code() async throws -> String {
            let back = try await client.send(
                "POST", "/auth/auth?\(query)", body: form(["email": "ann@local.test"]))
            #expect(back.status == 303)
            let location = URLComponents(string: back.headers["location"] ?? "")
            #expect(location?.queryItems?.first { $0.name == "state" }?.value == "s1")
            return location?.queryItems?.first { $0.name == "code" }?.value ?? ""
        }
        func exchange(_ code: String, verifier: String) async throws -> RawAnswer {
            try await client.send(
                "POST", "/auth/token",
                body: form([
                    "grant_type": "authorization_code", "code": code, "code_verifier": verifier,
                    "client_id": "sigstore", "redirect_uri": "http://127.0.0.1:9/auth/callback",
                ]))
        }
        let wrong = try await exchange(code(), verifier: "another")
        #expect(try wrong.status == 400 && wrong.json().member("error").string() == "invalid_grant")
        let used = try await code()
        let tokens = try await exchange(used, verifier: verifier)
        #expect(tokens.status == 200)
        let claims = try claims(tokens.json().member("id_token").string())
        #expect(try claims.member("email").string() == "ann@local.test" && claims.member("nonce").string() == "n1")
        #expect(try await exchange(used, verifier: verifier).status == 400)
        let elsewhere = query.replacingOccurrences(of: "127.0.0.1", with: "example.com")
        #expect(try await client.get("/auth/auth?\(elsewhere)&email=ann@local.test").status == 400)
    }

    @Test func signsDevicesIn() async throws {
        let client = services.issuerServer.client
        let started = try await client.send("POST", "/auth/device/code", body: form(["client_id": "sigstore"]))
            .json()
        let poll = form([
            "grant_type": "urn:ietf:params:oauth:grant-type:device_code", "client_id": "sigstore",
            "device_code": try started.member("device_code").string(),
        ])
        let pending = try await client.send("POST", "/auth/token", body: poll)
        #expect(try pending.json().member("error").string() == "authorization_pending")
        let unknown = form(["user_code": "XXXX-XXXX", "email": "ann@local.test"])
        #expect(try await client.send("POST", "/auth/device", body: unknown).status == 404)
        let userCode = try started.member("user_code").string()
        let approval = form(["user_code": userCode, "email": "ann@local.test"])
        #expect(try await client.send("POST", "/auth/device", body: approval).status == 200)
        let token = try await client.send("POST", "/auth/token", body: poll).json().member("id_token").string()
        #expect(try claims(token).member("email").string() == "ann@local.test")
    }

    @Test func givesJobsTokens() async throws {
        let target = services.gitHubTokenURL.dropFirst(services.issuer.url.count) + "&audience=sigstore"
        #expect(try await services.issuerServer.client.get(String(target)).status == 401)
        let bearer = ["Authorization": "bearer \(services.requestToken)"]
        let value = try await services.issuerServer.client.get(String(target), headers: bearer).json()
        let token = try value.member("value").string()
        #expect(try claims(token).member("repository").string() == "example/demo")
        #expect(try claims(token).member("iss").string() == "\(services.issuer.url)/github")
    }

    // MARK: All together

    @Test func remembersKeysLogsAndPorts() async throws {
        let (first, folder) = (services, services.files.folder)
        let key = try PrivateKey.generate(.ecdsaP256)
        let created = try await first.rekorV1.client.post("/api/v1/log/entries", json: hashedRekord("kept", key: key))
        let location = try #require(created.headers["location"])
        let root = try Data(contentsOf: URL(filePath: first.files.trustedRoot))
        let token = try LocalServices.token(for: .email("a@b.test"), folder: folder)
        #expect(first.issuer.claims(of: token) != nil)
        await first.stop()
        let second = try await LocalServices.start(LocalServices.Configuration(folder: folder))
        #expect(try await second.rekorV1.client.get(location).status == 200)
        // Ports that someone took in between would be another matter, and stand in the file.
        if second.servers.map(\.server.port) == first.servers.map(\.server.port) {
            #expect(try Data(contentsOf: URL(filePath: second.files.trustedRoot)) == root)
        }
        let environment = try String(contentsOf: URL(filePath: second.files.environment), encoding: .utf8)
        #expect(environment.contains("export LOCAL_SIGSTORE_FULCIO='\(second.fulcio.url)'"))
        let secret = try FileManager.default.attributesOfItem(atPath: "\(folder)/keys/issuer.pem")[.posixPermissions]
        #expect(secret as? Int == 0o600)
        await second.stop()
    }

    @Test func rotatesTheKeysOfTheServices() async throws {
        let (first, folder) = (services, services.files.folder)
        let key = try PrivateKey.generate(.ecdsaP256)
        func entry(_ answer: RawAnswer) throws -> JSONCursor {
            let entries = try answer.json()
            return try entries.member(try #require(entries.names().first))
        }
        let lists = ["tlogs", "certificateAuthorities", "ctlogs", "timestampAuthorities"]
        func trustedRoot() throws -> JSONCursor {
            JSONCursor(try JSONValue(parsing: Array(Data(contentsOf: URL(filePath: first.files.trustedRoot)))))
        }
        let created = try await first.rekorV1.client.post("/api/v1/log/entries", json: hashedRekord("old", key: key))
        let location = try #require(created.headers["location"])
        let oldRoot = try #require(try await first.certify().chain.last)
        for (body, status) in [("{}", 400), (#"["other"]"#, 400), (#"["root",1]"#, 400), ("", 400)] {
            let answer = try await first.tufMirror.client.send("POST", "/_rotate", body: Array(body.utf8))
            #expect(answer.status == status, "\(body)")
        }
        #expect(try await first.tufMirror.client.get("/_rotate").status == 405)
        #expect(try await first.tufMirror.client.get("/2.root.json").status == 404)
        let answer = try await first.tufMirror.client.post(
            "/_rotate", json: .array([.string("keys"), .string("root")]))
        #expect(answer.status == 200 && answer.text == #"{"rootVersion":2,"keysNumber":2}"#)

        // The trusted root has the old keys until soon, and new ones from now on.
        let now = Date()
        for list in lists {
            let half = list == "tlogs" ? 2 : 1
            for place in 0..<2 * half {
                var window = try first.trusted(list, place)
                if list.hasSuffix("logs") { window = try window.member("publicKey") }
                window = try window.member("validFor")
                let start = try Date(window.member("start").string(), strategy: .iso8601)
                let end = try window.optional("end").map { try Date($0.string(), strategy: .iso8601) }
                #expect(start <= now)
                if place < half {
                    #expect(try #require(end) > now && #require(end) < now.addingTimeInterval(700), "\(list)")
                } else {
                    #expect(end == nil && start > now.addingTimeInterval(-60), "\(list)")
                }
            }
            #expect(try trustedRoot().member(list).elements().count == 2 * half)
        }
        #expect(
            try await first.tufMirror.client.get("/2.root.json").body
                == Array(Data(contentsOf: URL(filePath: "\(first.files.tufRepository)/root.json"))))

        // What is new is made with the new keys, and what is old can still be read.
        let added = try entry(
            await first.rekorV1.client.post("/api/v1/log/entries", json: hashedRekord("new", key: key)))
        let logs = try (0..<4).map {
            try Hexadecimal.encode(first.trusted("tlogs", $0).member("logId").member("keyId").bytes())
        }
        #expect(try added.member("logID").string() == logs[2])
        #expect(try await entry(first.rekorV1.client.get(location)).member("logID").string() == logs[0])
        let shards = try await first.rekorV1.client.get("/api/v1/log").json().member("inactiveShards").elements()
        #expect(shards.count == 1)
        #expect(
            try await first.rekorV1.client.get("/api/v1/log/entries/\(String(repeating: "0", count: 64))").status == 404
        )
        let newRoot = try #require(try await first.certify().chain.last)
        #expect(newRoot.der != oldRoot.der)
        let chain = try first.trusted("certificateAuthorities", 1).member("certChain").member("certificates").elements()
        #expect(try chain.last?.member("rawBytes").bytes() == newRoot.der)
        let v2 = try await first.rekorV2.client.post("/api/v2/log/entries", json: hashedRekordV2("new", key: key))
            .json()
        #expect(try Hexadecimal.encode(v2.member("logId").member("keyId").bytes()) == logs[3])

        // All of it outlasts a restart.
        let file = try Data(contentsOf: URL(filePath: first.files.trustedRoot))
        await first.stop()
        let second = try await LocalServices.start(LocalServices.Configuration(folder: folder))
        if second.servers.map(\.server.port) == first.servers.map(\.server.port) {
            #expect(try Data(contentsOf: URL(filePath: second.files.trustedRoot)) == file)
        }
        #expect(try await entry(second.rekorV1.client.get(location)).member("logID").string() == logs[0])
        #expect(try await second.certify().chain.last?.der == newRoot.der)
        try second.rotate(.keys)
        #expect(try await second.certify().chain.last?.der != newRoot.der)
        second.tufMirror.faults.add(Fault(.status(503, retryAfter: nil), path: "timestamp.json"))
        #expect(try await second.tufMirror.client.get("/timestamp.json").status == 503)
        #expect(try await second.tufMirror.client.get("/root.json").status == 200)
        await second.stop()
    }

    @Test func writesConfigsThatNameWhatTheyShould() async throws {
        for kind in LocalServices.SigningConfigKind.allCases {
            let file = try Data(contentsOf: URL(filePath: services.files.signingConfig(kind)))
            let config = JSONCursor(try JSONValue(parsing: Array(file)))
            let logs = try config.optional("rekorTlogUrls")?.elements().map { try $0.member("url").string() } ?? []
            let expected: [String] =
                switch kind {
                case .v1: [services.rekorV1.url]
                case .v2: [services.rekorV2.url]
                case .both: [services.rekorV2.url, services.rekorV1.url]
                case .timestamp, .none: []
                }
            #expect(logs == expected)
            #expect(try (config.optional("caUrls") == nil) == (kind == .none))
            #expect(try (config.optional("tsaUrls") == nil) == (kind == .none))
        }
    }
}

extension JSONValue {
    /// A member that must be there; `null` where it is not.
    fileprivate subscript(member name: String) -> JSONValue {
        if case .object(let object) = self, let value = object[name] { value } else { .null }
    }
}
