import FaultServer
import Foundation
import HTTPTransport
import SigstoreCrypto
import Spawning
import StrictJSON
import Synchronization
import Testing

@testable import KeyProviders

/// Keys in Google Cloud KMS.
struct GoogleTests {
    private static let recordings: Comment = "left out: the recorded exchanges, in ../shared/keys/wire"
    private typealias Service = AWSTests.Service

    static let ring = "projects/proj/locations/global/keyRings/ring"
    static let key = "\(ring)/cryptoKeys/signkey"
    static let reference = "gcpkms://\(key)"
    static let token = ["GOOGLE_OAUTH_ACCESS_TOKEN": "ya29.fake"]

    static func place(_ client: any HTTPClient, _ variables: [String: String] = token) -> GoogleKeys {
        GoogleKeys(AWSTests.surroundings(client, variables))
    }

    /// What is asked, by its last word.
    private static func asked(_ request: HTTPRequest) -> String {
        let name = request.url.path.split(separator: "/").last.map(String.init) ?? ""
        return name.split(separator: ":").last.map { "\(request.method) \($0)" } ?? ""
    }

    private static func list(_ numbers: [Int], next: String? = nil, state: String = "ENABLED") -> String {
        let versions = numbers.map { #"{"name":"\#(key)/cryptoKeyVersions/\#($0)","state":"\#(state)"}"# }
        let more = next.map { #","nextPageToken":"\#($0)""# } ?? ""
        return #"{"cryptoKeyVersions":[\#(versions.joined(separator: ","))]\#(more)}"#
    }

    private static func answer(
        _ publicKey: PublicKey, _ algorithm: String, version: Int = 1, crc: UInt32? = nil, name: String? = nil
    ) -> String {
        let pem = publicKey.pem
        return JSONValue.object([
            "pem": .string(pem), "algorithm": .string(algorithm),
            "pemCrc32c": .string("\(crc ?? CRC32C.of(pem.utf8))"),
            "name": .string(name ?? "\(key)/cryptoKeyVersions/\(version)"),
        ]).text
    }

    private static func signed(
        _ signature: [UInt8], crc: UInt32? = nil, name: String? = nil, verified: String = "verifiedDigestCrc32c"
    ) -> String {
        JSONValue.object([
            "signature": .bytes(signature), "signatureCrc32c": .string("\(crc ?? CRC32C.of(signature))"),
            verified: .bool(true), "name": .string(name ?? "\(key)/cryptoKeyVersions/1"),
        ]).text
    }

    /// Cloud KMS with one key, which signs what it is asked for.
    private static func kms(_ pair: PrivateKey, _ algorithm: String, _ scheme: SignatureScheme) -> Service {
        Service { request, _ throws(SigstoreError) in
            switch asked(request) {
            case "GET cryptoKeyVersions": return (200, [], list([1]))
            case "GET publicKey": return (200, [], answer(pair.publicKey, algorithm))
            default:
                let asked = JSONCursor(try JSONValue(parsing: Array(request.text.utf8)))
                guard let hash = scheme.hash else {
                    let data = try asked.member("data").bytes()
                    #expect(try asked.member("dataCrc32c").string() == "\(CRC32C.of(data))")
                    return (200, [], signed(try pair.sign(data, scheme: scheme), verified: "verifiedDataCrc32c"))
                }
                let bytes = try asked.member("digest").member("sha\(hash.byteCount * 8)").bytes()
                #expect(try asked.member("digestCrc32c").string() == "\(CRC32C.of(bytes))")
                let message = HashedMessage(digest: try Digest(hash, bytes: bytes))
                return (200, [], signed(try pair.sign(message, scheme: scheme)))
            }
        }
    }

    private static func sign(_ place: GoogleKeys, _ scheme: SignatureScheme = .ecdsa(.sha256)) async throws -> [UInt8] {
        try await place.signer(reference) { SecretBytes([]) }
            .sign(try HashedMessage.of([1], schemes: [scheme]), scheme: scheme)
    }

    // MARK: - References

    @Test(
        "A key, and either form of one of its versions",
        arguments: [("", nil), ("/versions/7", 7), ("/cryptoKeyVersions/12", 12)] as [(String, Int?)])
    func references(_ end: String, _ version: Int?) throws {
        for project in ["proj", "123456", "example.com:proj"] {
            let text = "gcpkms://projects/\(project)/locations/europe-west3/keyRings/r_1/cryptoKeys/k-1\(end)"
            let reference = try GoogleKeyReference(text)
            #expect(reference.version == version && reference.project == project)
            #expect(reference.keyName == "projects/\(project)/locations/europe-west3/keyRings/r_1/cryptoKeys/k-1")
            let place = Self.place(AWSTests.unreachable)
            #expect(place.knows(text) && place.owner(of: text) == "gcpkms:\(reference.keyName)")
        }
        #expect(!Self.place(AWSTests.unreachable).knows("projects/x.key"))
    }

    @Test(
        "A reference that is nearly right says the right form",
        arguments: [
            ("GCPKMS://\(key)", reference), ("gcpkms:\(key)", reference), ("gcpkms:/\(key)", reference),
            ("gcpkms:///\(key)", reference), (key, reference), ("\(reference)/", reference),
            ("//cloudkms.googleapis.com/\(key)/cryptoKeyVersions/3", "\(reference)/cryptoKeyVersions/3"),
            ("gcpkms://projects/proj/locations/global/keyrings/ring/cryptokeys/signkey", reference),
            ("gcpkms://\(ring)", "cryptoKeys/KEY"), ("gcpkms://\(ring)/cryptoKeys/", "cryptoKeys/KEY"),
            ("\(reference)/versions", "/versions/N"), ("\(reference)/versions/0", "/versions/N"),
            ("\(reference)/versions/01", "/versions/N"), ("\(reference)/versions/x", "/versions/N"),
            ("\(reference)/versions/1/publicKey", "/versions/N"), ("\(reference)/1", "/versions/N"),
            ("\(reference)/versions/99999999999999999999", "/versions/N"), ("gcpkms://", "projects/PROJECT"),
            ("gcpkms://projects/../locations/l/keyRings/r/cryptoKeys/k", "projects/PROJECT"),
            ("gcpkms://projects/p/locations/l/keyRings/r/cryptoKeys/ké", "cryptoKeys/KEY"),
            ("gcpkms://projects/p/locations/l/keyRings/r/cryptoKeys/k?x", "cryptoKeys/KEY"),
            ("gcpkms://projects/p%2F/locations/l/keyRings/r/cryptoKeys/k", "projects/PROJECT"),
        ])
    func wrongReferences(_ text: String, _ form: String) {
        Self.place(AWSTests.unreachable).expectForm(form, for: text)
    }

    // MARK: - What is sent

    @Test("Checksums are those of Castagnoli's polynomial, as Google has them")
    func checksums() throws {
        #expect(CRC32C.of("123456789".utf8) == 0xe306_9283 && CRC32C.of([]) == 0)
        #expect(CRC32C.of(try Digest.sha256(Array("hello kms\n".utf8)).bytes) == 3_763_676_297)
    }

    @Test(
        "A key is looked up and signs as the real client asks for it",
        .enabled(if: RecordedExchanges.folder != nil, recordings))
    func recordedSignature() async throws {
        let exchanges = try ["gcprest-05", "gcprest-06", "gcprest-07"].map(RecordedExchanges.exchange)
        let service = Service { _, number throws(SigstoreError) in (200, [], exchanges[min(number, 3) - 1].answer) }
        let signer = try await Self.place(service).signer(Self.reference) { SecretBytes([]) }
        let digest = try Digest.sha256(Array("hello kms\n".utf8))
        let signature = try await signer.sign(HashedMessage(digest: digest), scheme: .ecdsa(.sha256))
        #expect(try signer.publicKey.verifies(signature, of: HashedMessage(digest: digest), scheme: .ecdsa(.sha256)))
        #expect(service.requests.count == 3)
        for (request, exchange) in zip(service.requests, exchanges) {
            let query = request.url.query.map { "?\($0)" } ?? ""
            #expect(request.method == exchange.method && request.url.path + query == exchange.path)
            #expect(request.url.origin.description == "https://cloudkms.googleapis.com")
            #expect(AWSTests.value(request.authorization) == exchange.headers["authorization"])
            #expect(request.refusesRedirects)
        }
        let last = try #require(service.requests.last)
        #expect(last.header("content-type") == exchanges[2].headers["content-type"])
        let (sent, was) = (try JSONCursor.of(last.text), try JSONCursor.of(exchanges[2].body))
        // The name stands in the path already.
        #expect(try sent.names() == ["digest", "digestCrc32c"])
        for member in ["digest", "digestCrc32c"] {
            #expect(try sent.member(member).value.serialized() == was.member(member).value.serialized())
        }
    }

    @Test(
        "A key is made as the real client makes it, also its ring",
        .enabled(if: RecordedExchanges.folder != nil, recordings))
    func recordedMaking() async throws {
        let (missing, ring, made) = (
            try RecordedExchanges.exchange("gcprest-01"), try RecordedExchanges.exchange("gcprest-02"),
            try RecordedExchanges.exchange("gcprest-04")
        )
        let pending = Self.list([1], state: "PENDING_GENERATION")
        let (list, key) = (try RecordedExchanges.exchange("gcprest-05"), try RecordedExchanges.exchange("gcprest-06"))
        let service = Service { request, number throws(SigstoreError) in
            switch number {
            // There is no key; then it is made, and not ready yet.
            case 1: return (404, [], missing.answer)
            case 2: return (missing.status, [], missing.answer)
            case 3: return (200, [], ring.answer)
            case 4: return (200, [], made.answer)
            case 5: return (200, [], "{}")
            case 6: return (200, [], pending)
            case 7: return (200, [], list.answer)
            default: return (200, [], key.answer)
            }
        }
        let outcome = try await Self.place(service).makeKey(Self.reference, algorithm: nil)
        #expect(outcome.isNew && outcome.publicKey.kind == .ecP256)
        for (request, exchange) in zip(service.requests.dropFirst(), [missing, ring, made]) {
            #expect(request.method == exchange.method)
            #expect(request.url.path + (request.url.query.map { "?\($0)" } ?? "") == exchange.path)
        }
        #expect(service.requests[2].text == ring.body)
        #expect(
            service.requests[3].text
                == #"{"purpose":"ASYMMETRIC_SIGN","versionTemplate":{"algorithm":"EC_SIGN_P256_SHA256"}}"#)
        #expect(service.requests.count == 8)
    }

    @Test("If nobody knows whether a key was made, that is said, with the command that shows it")
    func lostAnswer() async throws {
        for (status, answer, mayBeThere) in [
            (200, "{", true), (403, #"{"error":{"status":"PERMISSION_DENIED"}}"#, false),
        ] {
            let service = Service { request, _ throws(SigstoreError) in
                if request.method == "POST" { return (status, [], answer) }
                return request.url.path.hasSuffix(Self.ring) ? (200, [], #"{"name":"\#(Self.ring)"}"#) : (404, [], "{}")
            }
            let error = await AWSTests.failure {
                _ = try await Self.place(service).makeKey(Self.reference, algorithm: nil)
            }
            let command = "gcloud kms keys list --keyring ring --location global --project proj"
            for words in ["the key may have been made", command] {
                #expect(error?.description.contains(words) == mayBeThere, "\(error?.description ?? "none")")
            }
            #expect(service.requests.filter { $0.method == "POST" }.count == 1)
        }
    }

    @Test("With a version, only its public key is asked for")
    func fixedVersion() async throws {
        let key = try PrivateKey.generate(.ecdsaP256)
        let service = Self.kms(key, "EC_SIGN_P256_SHA256", .ecdsa(.sha256))
        let place = Self.place(service)
        for form in ["versions", "cryptoKeyVersions"] {
            let keys = try await place.publicKeys("\(Self.reference)/\(form)/1")
            #expect(keys.count == 1 && keys[0].isSame(as: key.publicKey))
        }
        #expect(service.requests.map(Self.asked) == ["GET publicKey"])
        #expect(service.requests[0].url.path == "/v1/\(Self.key)/cryptoKeyVersions/1/publicKey")
    }

    @Test("A project that is named by its number may come back by its id, and no other key")
    func projectNumber() async throws {
        let key = try PrivateKey.generate(.ecdsaP256)
        let place = Self.place(Self.kms(key, "EC_SIGN_P256_SHA256", .ecdsa(.sha256)))
        let number = Self.reference.replacing("projects/proj", with: "projects/12")
        #expect(try await place.publicKey(number).isSame(as: key.publicKey))
        for other in [number.replacing("signkey", with: "other"), Self.reference.replacing("proj/", with: "other/")] {
            let error = await AWSTests.failure { _ = try await place.publicKey("\(other)/versions/1") }
            #expect(error?.code == .keyServiceAnswer)
        }
    }

    @Test("The newest version by number signs, on whatever page it stands; all that are enabled verify")
    func versions() async throws {
        var keys: [Int: PublicKey] = [:]
        for number in [1, 9, 10] { keys[number] = try PrivateKey.generate(.ecdsaP256).publicKey }
        let known = keys
        let service = Service { request, _ throws(SigstoreError) in
            if Self.asked(request) == "GET cryptoKeyVersions" {
                let isSecond = request.url.query?.hasSuffix("&pageToken=a%2Fb") == true
                return (200, [], isSecond ? Self.list([10, 1, 2]) : Self.list([9], next: "a/b"))
            }
            let number = request.url.path.split(separator: "/").dropLast().last.flatMap { Int($0) } ?? 0
            // One of the versions is of a kind that is not known here.
            let algorithm = known[number] == nil ? "PQ_SIGN_ML_DSA_65" : "EC_SIGN_P256_SHA256"
            let key = known[number] ?? known.values.first
            guard let key else { return (500, [], "") }
            return (200, [], Self.answer(key, algorithm, version: number))
        }
        let place = Self.place(service)
        let newest = try await place.publicKey(Self.reference)
        #expect(newest.isSame(as: try #require(keys[10])) && service.requests.count == 3)
        let all = try await place.publicKeys(Self.reference)
        #expect(all.count == 3)
        for (key, number) in zip(all, [10, 9, 1]) { #expect(key.isSame(as: try #require(keys[number]))) }
        let facts = try await place.facts(Self.reference)
        #expect(facts.contains(KeyFact("version", "10")) && facts.contains(KeyFact("other versions", "9, 2, 1")))
    }

    /// Cloud KMS with one key of many versions, which answers for their public keys only when several questions are open.
    private final class Gathering: HTTPClient, Sendable {
        let key: PublicKey
        let versions: Int
        private let state = Mutex((open: 0, most: 0, waiting: [CheckedContinuation<Void, Never>](), isFull: false))
        /// How many questions were open at once, at the most.
        var most: Int { state.withLock { $0.most } }

        init(_ key: PublicKey, versions: Int) { (self.key, self.versions) = (key, versions) }

        func send(_ request: HTTPRequest, into sink: (any BodySink)?) async throws(SigstoreError) -> HTTPResponse {
            var body = GoogleTests.list(Array(1...versions))
            if GoogleTests.asked(request) == "GET publicKey" {
                let number = request.url.path.split(separator: "/").dropLast().last.flatMap { Int($0) } ?? 0
                // One that was disabled meanwhile, in the middle.
                body = GoogleTests.answer(
                    key, number == 7 ? "PQ_SIGN_ML_DSA_65" : "EC_SIGN_P256_SHA256", version: number)
                await withCheckedContinuation { continuation in
                    let free = state.withLock { state in
                        state.open += 1
                        state.most = max(state.most, state.open)
                        state.waiting.append(continuation)
                        state.isFull = state.isFull || state.open == 5
                        guard state.isFull else { return [CheckedContinuation<Void, Never>]() }
                        defer { state.waiting = [] }
                        return state.waiting
                    }
                    for continuation in free { continuation.resume() }
                }
                for _ in 0..<10 { await Task.yield() }
                state.withLock { $0.open -= 1 }
            }
            return HTTPResponse(status: 200, headers: [], body: Array(body.utf8), url: request.url)
        }
    }

    @Test(
        "To verify, the versions' keys are asked for side by side, five at once, and come in their order",
        .timeLimit(.minutes(2)))
    func manyVersions() async throws {
        let key = try PrivateKey.generate(.ecdsaP256).publicKey
        let client = Gathering(key, versions: 25)
        let keys = try await Self.place(client).publicKeys(Self.reference)
        // The newest twenty, without the one that is of no known kind.
        #expect(keys.count == 19 && client.most == 5)
    }

    @Test(
        "Of a service that takes a salt as long as the digest, a signature by RSA-PSS with another one does not count")
    func salts() async throws {
        let (home, key) = (try Home(), try Self.privateKey(.rsa2048))
        let pem = try unsafe key.pkcs8().withBytes { unsafe PEM.encode(label: "PRIVATE KEY", Array($0)) }
        try home.write("key.pem", pem)
        try home.write("message", "message")
        let script =
            "openssl dgst -sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:$1 -sign key.pem -out $1 message"
        func signature(_ salt: String) async throws -> [UInt8] {
            let status = try await Spawning.run(
                "/bin/sh", ["-c", script, "sh", salt], in: home.path, environment: ["PATH": "/usr/bin:/bin"],
                output: "/dev/null", errors: "/dev/null")
            try #require(status == 0)
            return Array(try Data(contentsOf: URL(fileURLWithPath: "\(home.path)/\(salt)")))
        }
        let (right, other) = (try await signature("32"), try await signature("20"))
        let services: [(any KeyPlace, String)] = [
            (Self.place(Self.kms(key, "RSA_SIGN_PSS_2048_SHA256", .rsaPSS(.sha256))), Self.reference),
            (AzureTests.place(try AzureTests.vault(key)), AzureTests.reference),
            (AWSTests.place(AWSTests.kms(key, algorithms: ["RSASSA_PSS_SHA_256"])), "awskms:///alias/x"),
        ]
        let message = Array("message".utf8)
        for (place, reference) in services {
            let found = try await place.publicKeys(reference)[0]
            #expect(try found.verifies(right, ofBytes: message, scheme: .rsaPSS(.sha256)), "\(reference)")
            #expect(try !found.verifies(other, ofBytes: message, scheme: .rsaPSS(.sha256)), "\(reference)")
            // Of a key that was exported nobody knows what signs with it.
            let exported = try PublicKey(file: Array(found.pem.utf8))
            #expect(try exported.verifies(other, ofBytes: message, scheme: .rsaPSS(.sha256)))
        }
    }

    @Test("A key without an enabled version says in which states its versions are")
    func noVersion() async throws {
        let service = Service { _, _ throws(SigstoreError) in
            // This one does not filter, which changes nothing.
            (200, [], Self.list([1, 2], state: "DISABLED"))
        }
        let error = await AWSTests.failure { _ = try await Self.place(service).publicKey(Self.reference) }
        #expect(error?.code == .keyUnusable)
        #expect(error?.message.contains("version 2 is DISABLED, version 1 is DISABLED") == true)
    }

    @Test(
        "Each algorithm signs in its one way, and what comes back verifies",
        arguments: [
            ("EC_SIGN_P256_SHA256", SigningAlgorithm.ecdsaP256, SignatureScheme.ecdsa(.sha256)),
            ("EC_SIGN_P384_SHA384", .ecdsaP384, .ecdsa(.sha384)), ("EC_SIGN_ED25519", .ed25519, .ed25519),
            ("RSA_SIGN_PKCS1_2048_SHA256", .rsa2048, .rsaPKCS1(.sha256)),
            ("RSA_SIGN_PSS_2048_SHA256", .rsa2048, .rsaPSS(.sha256)),
            ("RSA_SIGN_PKCS1_3072_SHA256", .rsa3072, .rsaPKCS1(.sha256)),
            ("RSA_SIGN_PSS_3072_SHA256", .rsa3072, .rsaPSS(.sha256)),
            ("RSA_SIGN_PKCS1_4096_SHA256", .rsa4096, .rsaPKCS1(.sha256)),
            ("RSA_SIGN_PKCS1_4096_SHA512", .rsa4096, .rsaPKCS1(.sha512)),
            ("RSA_SIGN_PSS_4096_SHA256", .rsa4096, .rsaPSS(.sha256)),
            ("RSA_SIGN_PSS_4096_SHA512", .rsa4096, .rsaPSS(.sha512)),
        ])
    func algorithms(_ name: String, _ kind: SigningAlgorithm, _ scheme: SignatureScheme) async throws {
        let key = try Self.privateKey(kind)
        let place = Self.place(Self.kms(key, name, scheme))
        #expect(try await place.signer(Self.reference) { SecretBytes([]) }.schemes == [scheme])
        let signature = try await Self.sign(place, scheme)
        #expect(try key.publicKey.verifies(signature, ofBytes: [1], scheme: scheme))
        let facts = try await place.facts(Self.reference)
        #expect(facts.contains(KeyFact("signs as", "\(name) (\(scheme))")))
        #expect(facts.contains(KeyFact("credentials", "the token in the variable GOOGLE_OAUTH_ACCESS_TOKEN")))
        #expect(!facts.contains { $0.value.contains("ya29") })
    }

    /// RSA keys take long to make, so there is one of each size.
    static func privateKey(_ kind: SigningAlgorithm) throws -> PrivateKey {
        switch kind {
        case .rsa2048: try rsa2048.get()
        case .rsa3072: try rsa3072.get()
        case .rsa4096: try rsa4096.get()
        default: try PrivateKey.generate(kind)
        }
    }
    private static let rsa2048 = Result { try PrivateKey.generate(.rsa2048) }
    private static let rsa3072 = Result { try PrivateKey.generate(.rsa3072) }
    private static let rsa4096 = Result { try PrivateKey.generate(.rsa4096) }

    @Test("A message that is too long for Google is not sent")
    func longMessage() async throws {
        let key = try PrivateKey.generate(.ed25519)
        let service = Self.kms(key, "EC_SIGN_ED25519", .ed25519)
        let signer = try await Self.place(service).signer(Self.reference) { SecretBytes([]) }
        let message = try HashedMessage.of([UInt8](repeating: 1, count: 65_537), schemes: [.ed25519])
        let error = await AWSTests.failure { _ = try await signer.sign(message, scheme: .ed25519) }
        #expect(error?.code == .messageTooLarge && service.requests.count == 2)
    }

    @Test("A run asks for the key once and signs a hundred times, also if it is throttled")
    func manySignatures() async throws {
        let key = try PrivateKey.generate(.ecdsaP256)
        let plain = Self.kms(key, "EC_SIGN_P256_SHA256", .ecdsa(.sha256))
        let service = Service { request, number throws(SigstoreError) in
            switch number {
            case 2, 50: return (429, [(name: "retry-after", value: "0")], #"{"error":{"status":"RESOURCE_EXHAUSTED"}}"#)
            case 60: return (503, [(name: "retry-after", value: "0")], "")
            case 70: return (500, [], "")
            default: return try plain.answer(request, number)
            }
        }
        let place = Self.place(service)
        try await withThrowingTaskGroup { group in
            for _ in 0..<100 { group.addTask { _ = try await Self.sign(place) } }
            try await group.waitForAll()
        }
        let asked = service.requests.map(Self.asked)
        #expect(asked.filter { $0 == "GET cryptoKeyVersions" }.count == 1)
        #expect(asked.filter { $0 == "GET publicKey" }.count == 2)
        #expect(asked.filter { $0 == "POST asymmetricSign" }.count == 103)
    }

    @Test("The service is asked to wait no longer than a minute")
    func longPause() async throws {
        let service = Service { _, _ throws(SigstoreError) in (429, [(name: "retry-after", value: "3600")], "") }
        let error = await AWSTests.failure { _ = try await Self.place(service).publicKey(Self.reference) }
        #expect(error?.code == .keyServiceFailed && service.requests.count == 1)
    }

    // MARK: - Answers that cannot be

    @Test(
        "Answers to a signature that cannot be are refused: cut short, of the wrong type, changed on their way, for another key"
    )
    func wrongAnswers() async throws {
        let key = try PrivateKey.generate(.ecdsaP256)
        let good = try key.sign([1], scheme: .ecdsa(.sha256))
        let unverified = Self.signed(good).replacing("true", with: "false")
        for (answer, words) in [
            ("{\"signature\":", "cannot be read"), ("", "cannot be read"), ("[]", "not an object"), ("{}", "\"name\""),
            ("null", "not an object"), (Self.signed(good, crc: 1), "changed on their way"),
            (Self.signed(good, name: "\(Self.key)/cryptoKeyVersions/2"), "another key"),
            (unverified, "verifiedDigestCrc32c"), (Self.signed(good, verified: "x"), "verifiedDigestCrc32c"),
            (Self.signed(good).replacing("\"signature\":\"", with: "\"signature\":\"!"), "base64"),
            (Self.signed(good).replacing("\"signatureCrc32c\":\"", with: "\"signatureCrc32c\":\"x"), "whole number"),
        ] {
            let service = Service { request, _ throws(SigstoreError) in
                switch Self.asked(request) {
                case "GET cryptoKeyVersions": return (200, [], Self.list([1]))
                case "GET publicKey": return (200, [], Self.answer(key.publicKey, "EC_SIGN_P256_SHA256"))
                default: return (200, [], answer)
                }
            }
            let error = await AWSTests.failure { _ = try await Self.sign(Self.place(service)) }
            #expect(error?.code == .keyServiceAnswer, "\(answer): \(error?.description ?? "none")")
            #expect(error?.message.contains(words) == true, "\(answer): \(error?.description ?? "none")")
            #expect(error?.message.hasPrefix(Self.reference) == true)
        }
    }

    @Test("Answers about a key that cannot be are refused, and a key for something else")
    func wrongKeys() async throws {
        let (key, p384) = (try PrivateKey.generate(.ecdsaP256).publicKey, try PrivateKey.generate(.ecdsaP384).publicKey)
        let good = Self.answer(key, "EC_SIGN_P256_SHA256")
        for (list, answer, code, words) in [
            (
                Self.list([1]), Self.answer(key, "EC_SIGN_P256_SHA256", crc: 7), .keyServiceAnswer,
                "changed on their way"
            ),
            (Self.list([1]), Self.answer(key, "EC_SIGN_P256_SHA256", version: 2), .keyServiceAnswer, "another key"),
            (Self.list([1]), Self.answer(p384, "EC_SIGN_P256_SHA256"), .keyServiceAnswer, "ECDSA P-384"),
            (Self.list([1]), "{", .keyServiceAnswer, "cannot be read"),
            (Self.list([1]), good.replacing("pemCrc32c", with: "other"), .keyServiceAnswer, "pemCrc32c"),
            (Self.list([1]), Self.answer(key, "RSA_DECRYPT_OAEP_2048_SHA256"), .keyUnusable, "RSA_DECRYPT_OAEP"),
            (Self.list([1]), Self.answer(key, "EC_SIGN_SECP256K1_SHA256"), .keyUnusable, "SECP256K1"),
            ("[]", good, .keyServiceAnswer, "not an object"),
            (#"{"cryptoKeyVersions":{}}"#, good, .keyServiceAnswer, "not an array"),
            (#"{"cryptoKeyVersions":[{"name":"x"}]}"#, good, .keyServiceAnswer, "not a version of this key"),
            (#"{"nextPageToken":"again"}"#, good, .keyServiceAnswer, "more than 64 pages"),
        ] as [(String, String, SigstoreError.Code, String)] {
            let service = Service { request, _ throws(SigstoreError) in
                (200, [], Self.asked(request) == "GET publicKey" ? answer : list)
            }
            let error = await AWSTests.failure { _ = try await Self.place(service).publicKey(Self.reference) }
            #expect(error?.code == code, "\(words): \(error?.description ?? "none")")
            #expect(error?.message.contains(words) == true, "\(words): \(error?.description ?? "none")")
        }
    }

    @Test("A redirect gets nothing of what proves who asks; a wrong certificate, or too much, is refused at once")
    func transport() async throws {
        let other = FaultServer { _, connection in connection.respond(200, [], "{}") }
        let server = FaultServer { request, connection in
            if request.path.contains("/large/") {
                return connection.respond(200, [], [UInt8](repeating: 0x20, count: 2 << 20))
            }
            connection.respond(307, ["Location: \(other.url)/"], "")
        }
        defer {
            server.stop()
            other.stop()
        }
        for (end, code) in [("", .redirectRefused), ("/large/", .tooLarge)] as [(String, SigstoreError.Code)] {
            let count = server.requests.count
            let url = server.url + end
            let error = await AWSTests.failure {
                _ = try await Self.place(
                    CurlClient(), Self.token.merging(["CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS": url]) { $1 }
                ).publicKey(Self.reference)
            }
            #expect(
                error?.code == code && error?.message.hasPrefix(Self.reference) == true, "\(error?.description ?? "")")
            #expect(server.requests.count == count + 1)
        }
        #expect(other.requests.isEmpty)
        let untrusted = Service { _, _ throws(SigstoreError) in throw SigstoreError(.tlsFailed, "another's certificate")
        }
        let error = await AWSTests.failure { _ = try await Self.place(untrusted).publicKey(Self.reference) }
        #expect(error?.code == .tlsFailed && error?.message.hasPrefix(Self.reference) == true)
        #expect(untrusted.requests.count == 1)
    }

    // MARK: - Errors

    @Test(
        "Each error of the service says what is the matter, with which key, for whom",
        arguments: [
            (
                404, "NOT_FOUND", "CryptoKey x not found.", "", SigstoreError.Code.keyNotFound,
                ["there is no key \(key)", "gcloud kms keys list"]
            ),
            (
                401, "UNAUTHENTICATED", "Request had invalid authentication credentials.", "ACCESS_TOKEN_EXPIRED",
                .keyDenied, ["ended, or is not accepted", "gcloud auth print-access-token"]
            ),
            (
                403, "PERMISSION_DENIED",
                "Permission 'cloudkms.cryptoKeyVersions.useToSign' denied on resource 'x' (or it may not exist).", "",
                .keyDenied,
                [
                    "cloudkms.cryptoKeyVersions.useToSign is missing on \(key)/cryptoKeyVersions/1",
                    "roles/cloudkms.signerVerifier", "or there is no such key",
                ]
            ),
            (
                403, "PERMISSION_DENIED", "Cloud KMS API has not been used", "SERVICE_DISABLED", .keyServiceSettings,
                ["gcloud services enable"]
            ),
            (403, "PERMISSION_DENIED", "scopes", "ACCESS_TOKEN_SCOPE_INSUFFICIENT", .keyDenied, ["auth/cloudkms"]),
            (403, "PERMISSION_DENIED", "billing", "BILLING_DISABLED", .keyServiceSettings, ["billing"]),
            (
                403, "PERMISSION_DENIED", "quota", "USER_PROJECT_DENIED", .keyDenied,
                ["serviceusage.services.use is missing on the project quota-project"]
            ),
            (
                403, "PERMISSION_DENIED",
                "Request is prohibited by organization's policy. vpcServiceControlsUniqueIdentifier: x", "",
                .keyDenied, ["VPC Service Controls"]
            ),
            (
                400, "FAILED_PRECONDITION", "\(key)/cryptoKeyVersions/1 is not enabled, current state is: DISABLED.",
                "",
                .keyUnusable, ["is disabled", "versions enable"]
            ),
            (
                400, "FAILED_PRECONDITION", "current state is: DESTROY_SCHEDULED.", "", .keyUnusable,
                ["is to be destroyed", "versions restore"]
            ),
            (400, "FAILED_PRECONDITION", "current state is: DESTROYED.", "", .keyUnusable, ["is destroyed"]),
            (
                400, "FAILED_PRECONDITION", "current state is: PENDING_GENERATION.", "", .keyUnusable,
                ["still being made"]
            ),
            (400, "FAILED_PRECONDITION", "something", "", .keyUnusable, ["cannot be used for this"]),
            (
                400, "INVALID_ARGUMENT", "AsymmetricSign is not supported for purpose: ENCRYPT_DECRYPT", "",
                .keyUnusable, ["not for signing"]
            ),
            (400, "INVALID_ARGUMENT", "new", "", .keyServiceFailed, ["INVALID_ARGUMENT: new"]),
        ] as [(Int, String, String, String, SigstoreError.Code, [String])])
    func serviceErrors(
        _ status: Int, _ name: String, _ message: String, _ reason: String, _ code: SigstoreError.Code,
        _ words: [String]
    ) async throws {
        let key = try PrivateKey.generate(.ecdsaP256)
        let details = reason.isEmpty ? "" : #","details":[{"@type":"x"},{"reason":"\#(reason)"}]"#
        let body = #"{"error":{"code":\#(status),"message":"\#(message)","status":"\#(name)"\#(details)}}"#
        let good = Self.kms(key, "EC_SIGN_P256_SHA256", .ecdsa(.sha256))
        let service = Service { request, number throws(SigstoreError) in
            request.method == "POST" ? (status, [], body) : try good.answer(request, number)
        }
        let variables = Self.token.merging(["GOOGLE_CLOUD_QUOTA_PROJECT": "quota-project"]) { $1 }
        let error = await AWSTests.failure { _ = try await Self.sign(Self.place(service, variables)) }
        #expect(error?.code == code, "\(error?.description ?? "")")
        for word in words + [Self.reference, "GOOGLE_OAUTH_ACCESS_TOKEN"].prefix(code == .keyDenied ? 2 : 1) {
            #expect(error?.description.contains(word) == true, "\(word): \(error?.description ?? "")")
        }
        #expect(error?.description.contains("ya29.fake") == false && service.requests.count == (status == 401 ? 4 : 3))
        #expect(service.requests.allSatisfy { $0.header("X-Goog-User-Project") == "quota-project" })
    }

    @Test("One key by the id and by the number of its project is refused: it would count twice")
    func spellings() throws {
        let place = Self.place(AWSTests.unreachable)
        let number = Self.reference.replacing("projects/proj", with: "projects/12")
        for text in [Self.reference, "\(Self.reference)/versions/2", number.replacing("signkey", with: "other")] {
            try place.check(text)
        }
        let error = #expect(throws: SigstoreError.self) { try place.check(number) }
        #expect(error?.code == .unknownKeyReference && error?.message.contains("may be the same one") == true)
    }

    @Test("A list that may not be had says how to do without; a clock that is wrong is named with both times")
    func deniedList() async throws {
        let denied = Service { _, _ throws(SigstoreError) in (403, [], #"{"error":{"status":"PERMISSION_DENIED"}}"#) }
        let error = await AWSTests.failure { _ = try await Self.place(denied).publicKey(Self.reference) }
        #expect(error?.code == .keyDenied && error?.message.contains("cloudkms.cryptoKeyVersions.list") == true)
        #expect(error?.advice?.description.contains("\(Self.reference)/versions/N") == true)
        let late = Service { _, _ throws(SigstoreError) in
            (401, [(name: "date", value: "Fri, 02 Jan 2026 04:00:00 GMT")], "")
        }
        let clock = await AWSTests.failure { _ = try await Self.place(late).publicKey(Self.reference) }
        #expect(clock?.code == .keyDenied)
        for words in ["2026-01-02T03:04:05Z", "2026-01-02T04:00:00Z", "clock"] {
            #expect(clock?.description.contains(words) == true, "\(clock?.description ?? "")")
        }
    }

    // MARK: - Making keys, and where

    @Test("A key that is there stays as it is; what Google does not make is refused before anything is asked")
    func makeKey() async throws {
        let key = try PrivateKey.generate(.ecdsaP384)
        let service = Self.kms(key, "EC_SIGN_P384_SHA384", .ecdsa(.sha384))
        let place = Self.place(service)
        for algorithm in [SigningAlgorithm.ecdsaP384, nil] {
            let there = try await place.makeKey(Self.reference, algorithm: algorithm)
            #expect(!there.isNew && there.publicKey.isSame(as: key.publicKey))
        }
        let other = await AWSTests.failure { _ = try await place.makeKey(Self.reference, algorithm: .rsa2048) }
        #expect(other?.code == .keyUnusable && other?.message.contains("EC_SIGN_P384_SHA384") == true)
        #expect(service.requests.allSatisfy { $0.method == "GET" } && service.requests.count == 2)
        for (reference, algorithm) in [
            (Self.reference, SigningAlgorithm.ecdsaP521), (Self.reference, .ed25519ph),
            ("\(Self.reference)/versions/2", nil),
        ] {
            #expect(await AWSTests.failure { _ = try await place.makeKey(reference, algorithm: algorithm) } != nil)
        }
        #expect(service.requests.count == 2)
        // Who may not look at the ring may make a key in it; that another one made the key meanwhile is no fault.
        let quiet = Service { request, number throws(SigstoreError) in
            switch (number, Self.asked(request)) {
            case (1, _): return (404, [], "")
            case (_, "GET ring"): return (403, [], "")
            case (_, "POST cryptoKeys"): return (409, [], "")
            default: return try service.answer(request, number)
            }
        }
        #expect(try await !Self.place(quiet).makeKey(Self.reference, algorithm: .ecdsaP384).isNew)
        let refused = Service { request, _ throws(SigstoreError) in
            request.method == "POST" ? (403, [], "") : (404, [], "")
        }
        let error = await AWSTests.failure { _ = try await Self.place(refused).makeKey(Self.reference, algorithm: nil) }
        #expect(error?.code == .keyDenied && error?.message.contains("cloudkms.keyRings.create") == true)
    }

    @Test(
        "The address is that of Google, of another universe, or of the override; only this machine is asked over http",
        arguments: [
            ([:], "https://cloudkms.googleapis.com/v1/"),
            (["GOOGLE_CLOUD_UNIVERSE_DOMAIN": "apis.example.eu"], "https://cloudkms.apis.example.eu/v1/"),
            (["CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS": "https://kms.example"], "https://kms.example/v1/"),
            (["CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS": "http://127.0.0.1:7/base/"], "http://127.0.0.1:7/base/v1/"),
            (["CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS": "http://kms.example"], nil),
            (["CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS": "kms.example"], nil),
            (["GOOGLE_CLOUD_UNIVERSE_DOMAIN": "a/b"], nil),
        ] as [([String: String], String?)])
    func endpoints(_ more: [String: String], _ url: String?) async throws {
        let service = Self.kms(try PrivateKey.generate(.ecdsaP256), "EC_SIGN_P256_SHA256", .ecdsa(.sha256))
        let place = Self.place(service, Self.token.merging(more) { $1 })
        #expect(place.trustVariables(Self.reference) == more.keys.sorted())
        let error = await AWSTests.failure { _ = try await place.publicKey(Self.reference) }
        #expect((error == nil) == (url != nil), "\(error?.description ?? "")")
        if let url { #expect(service.requests[0].url.description.hasPrefix("\(url)\(Self.key)/")) }
        if url == nil { #expect(service.requests.isEmpty && error?.message.contains(more.keys.first ?? "") == true) }
    }
}

extension JSONValue {
    /// The text of a document.
    fileprivate var text: String { String(decoding: serialized(), as: UTF8.self) }
}

extension JSONCursor {
    /// Reads a document.
    static func of(_ text: String) throws(SigstoreError) -> JSONCursor {
        JSONCursor(try JSONValue(parsing: Array(text.utf8)))
    }
}
