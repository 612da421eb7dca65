import FaultServer
import Foundation
import HTTPTransport
import SigstoreCrypto
import StrictJSON
import Synchronization
import Testing

@testable import KeyProviders

/// Keys in AWS KMS.
struct AWSTests {
    static let now: Int64 = 1_767_323_045

    /// Answers requests as a test says, and keeps them.
    final class Service: HTTPClient, Sendable {
        typealias Answer = (status: Int, headers: [(name: String, value: String)], body: String)
        let answer: @Sendable (HTTPRequest, Int) throws(SigstoreError) -> Answer
        private let seen = Mutex<[HTTPRequest]>([])
        var requests: [HTTPRequest] { seen.withLock { $0 } }

        init(_ answer: @escaping @Sendable (HTTPRequest, Int) throws(SigstoreError) -> Answer) { self.answer = answer }

        func send(_ request: HTTPRequest, into sink: (any BodySink)?) async throws(SigstoreError) -> HTTPResponse {
            let number = seen.withLock {
                $0.append(request)
                return $0.count
            }
            let (status, headers, body) = try answer(request, number)
            let response = HTTPResponse(status: status, headers: headers, body: Array(body.utf8), url: request.url)
            guard (200...299).contains(status) || request.handledStatuses.contains(status) else {
                throw response.failure(request.method)
            }
            return response
        }
    }

    static let keys = [
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1",
    ]

    static func surroundings(_ client: any HTTPClient, _ variables: [String: String], now: Int64 = now)
        -> KeySurroundings
    {
        var surroundings = KeySurroundings(
            variable: { variables[$0].flatMap { $0.isEmpty ? nil : $0 } }, now: { now },
            client: { (_) throws(SigstoreError) in client })
        surroundings.secretBytes = { variables[$0].map { SecretBytes($0.utf8) } }
        surroundings.machineName = { nil }
        return surroundings
    }

    /// Pauses that were asked for, none of which is made.
    final class Pauses: Sendable {
        private let seen = Mutex<[Duration]>([])
        var all: [Duration] { seen.withLock { $0 } }
        @Sendable func add(_ time: Duration) async { seen.withLock { $0.append(time) } }
    }

    static func place(_ client: any HTTPClient, _ variables: [String: String] = keys) -> AWSKeys {
        AWSKeys(surroundings(client, variables))
    }

    static func target(_ request: HTTPRequest) -> String {
        request.header("X-Amz-Target").map { $0.replacingOccurrences(of: "TrentService.", with: "") } ?? ""
    }

    static func value(_ secret: Authorization?) -> String {
        secret.map { secret in unsafe secret.withValue { unsafe String(decoding: $0, as: UTF8.self) } } ?? ""
    }

    /// KMS with one key, that signs what it is asked for.
    static func kms(_ key: PrivateKey, algorithms: [String] = ["ECDSA_SHA_256"]) -> Service {
        Service { request, _ throws(SigstoreError) in
            guard request.header("X-Amz-Target") != nil else {
                return (
                    200, [],
                    """
                    <GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:iam::123456789012:user/ann</Arn>
                    </GetCallerIdentityResult></GetCallerIdentityResponse>
                    """
                )
            }
            let asked = JSONCursor(try JSONValue(parsing: Array(request.text.utf8)))
            if target(request) == "GetPublicKey" {
                let parts = try asked.member("KeyId").string().split(separator: ":").prefix(5)
                return (
                    200, [],
                    publicKeyAnswer(
                        key.publicKey, algorithms,
                        place: parts.count == 5 ? parts.joined(separator: ":") : "arn:aws:kms:us-east-1:123456789012")
                )
            }
            let digest = try Digest(.sha256, bytes: try asked.member("Message").bytes())
            let signature = try key.sign(HashedMessage(digest: digest), scheme: key.publicKey.defaultScheme)
            return (200, [], "{\"Signature\":\"\(Base64.encode(signature))\"}")
        }
    }

    static func publicKeyAnswer(
        _ key: PublicKey, _ algorithms: [String], usage: String = "SIGN_VERIFY", specification: String? = nil,
        place: String = "arn:aws:kms:us-east-1:123456789012"
    ) -> String {
        """
        {"KeyId":"\(place):key/9932cde6-6bc6-4f84-a155-9bbd4dc23210","KeyUsage":"\(usage)",
        \(specification.map { "\"KeySpec\":\"\($0)\"," } ?? "")
        "PublicKey":"\(Base64.encode(key.spki))","SigningAlgorithms":["\(algorithms.joined(separator: "\",\""))"]}
        """
    }

    static func failure(_ work: () async throws -> Void) async -> SigstoreError? {
        do {
            try await work()
            return nil
        } catch { return error as? SigstoreError }
    }

    static let unreachable = Service { _, _ throws(SigstoreError) in
        throw SigstoreError(.unreachable, "there is no network")
    }

    // MARK: - Recorded exchanges

    private static let recordings: Comment = "left out: the recorded exchanges, in ../shared/keys/wire"

    /// Whether a request is as the real client's, in its form and in these members of its body.
    private static func expectSame(
        _ pair: (request: HTTPRequest, recorded: RecordedExchanges.Exchange), _ members: [String]
    )
        throws
    {
        for field in ["Content-Type", "X-Amz-Target"] {
            #expect(pair.request.header(field) == pair.recorded.headers[field.lowercased()])
        }
        let sent = JSONCursor(try JSONValue(parsing: Array(pair.request.text.utf8)))
        let was = JSONCursor(try JSONValue(parsing: Array(pair.recorded.body.utf8)))
        #expect(try sent.names().sorted() == members.sorted())
        for member in members {
            // Of a key's kind, newer services have another name.
            let old = member == "KeySpec" ? "CustomerMasterKeySpec" : member
            guard member != "Description" else { continue }
            #expect(try sent.member(member).value.serialized() == was.member(old).value.serialized(), "\(member)")
        }
    }

    @Test(
        "A key signs as the real client asks for it, without its DescribeKey",
        .enabled(if: RecordedExchanges.folder != nil, recordings))
    func recordedSignature() async throws {
        let recorded = try RecordedExchanges("awskms-08", "awskms-10")
        let signer = try await Self.place(recorded).signer("awskms:///alias/swsign-p256") { SecretBytes([]) }
        let digest = try Digest(
            .sha256, bytes: try #require(Base64.decode("HRoYMAaesadgydGAlkxLrJhhqPYrLp3Zl9eBtSbjTlo=")))
        let signature = try await signer.sign(HashedMessage(digest: digest), scheme: .ecdsa(.sha256))
        #expect(
            try signer.publicKey.verifies(signature, of: HashedMessage(digest: digest), scheme: .ecdsa(.sha256)))
        #expect(recorded.requests.map { Self.target($0.request) } == ["GetPublicKey", "Sign"])
        try Self.expectSame(recorded.requests[0], ["KeyId"])
        try Self.expectSame(recorded.requests[1], ["KeyId", "Message", "MessageType", "SigningAlgorithm"])
    }

    @Test(
        "A public key is asked for by what the reference names",
        .enabled(if: RecordedExchanges.folder != nil, recordings),
        arguments: [
            ("9932cde6-6bc6-4f84-a155-9bbd4dc23210", "awskms-28"),
            ("arn:aws:kms:us-east-1:123456789012:key/9932cde6-6bc6-4f84-a155-9bbd4dc23210", "awskms-29"),
            ("arn:aws:kms:us-east-1:123456789012:alias/swsign-p256", "awskms-30"),
        ])
    func recordedPublicKey(_ id: String, _ name: String) async throws {
        let recorded = try RecordedExchanges(name)
        #expect(try await Self.place(recorded).publicKey("awskms:///\(id)").kind == .ecP256)
        #expect(recorded.requests.count == 1)
        try Self.expectSame(recorded.requests[0], ["KeyId"])
    }

    @Test(
        "A key is made as the real client makes it", .enabled(if: RecordedExchanges.folder != nil, recordings))
    func recordedCreation() async throws {
        let recorded = try RecordedExchanges("awskms-01", "awskms-02", "awskms-03", "awskms-04")
        let made = try await Self.place(recorded).makeKey("awskms:///alias/swsign-p256", algorithm: nil)
        #expect(made.isNew && made.publicKey.kind == .ecP256)
        #expect(
            recorded.requests.map { Self.target($0.request) }
                == ["GetPublicKey", "CreateKey", "CreateAlias", "GetPublicKey"])
        try Self.expectSame(recorded.requests[1], ["KeySpec", "KeyUsage", "Description"])
        try Self.expectSame(recorded.requests[2], ["AliasName", "TargetKeyId"])
    }

    // MARK: - References

    @Test(
        "Every form of reference is read, of any partition",
        arguments: [
            ("awskms:///alias/release", "alias/release", nil, nil),
            ("awskms:///alias/team/a_b-c", "alias/team/a_b-c", nil, nil),
            ("awskms:///9932cde6-6bc6-4f84-a155-9bbd4dc23210", "9932cde6-6bc6-4f84-a155-9bbd4dc23210", nil, nil),
            ("awskms:///9932cde66bc64f84a1559bbd4dc23210", "9932cde66bc64f84a1559bbd4dc23210", nil, nil),
            ("awskms:///mrk-9932cde66bc64f84a1559bbd4dc23210", "mrk-9932cde66bc64f84a1559bbd4dc23210", nil, nil),
            ("awskms://localhost:4566/alias/x", "alias/x", nil, "https://localhost:4566/"),
            (
                "awskms:///arn:aws:kms:eu-west-1:123456789012:alias/x", "arn:aws:kms:eu-west-1:123456789012:alias/x",
                "eu-west-1", nil
            ),
            (
                "awskms://vpce.example/arn:aws-us-gov:kms:us-gov-west-1:123456789012:key/mrk-9932cde66bc64f84a1559bbd4dc23210",
                "arn:aws-us-gov:kms:us-gov-west-1:123456789012:key/mrk-9932cde66bc64f84a1559bbd4dc23210",
                "us-gov-west-1", "https://vpce.example/"
            ),
            (
                "awskms:///arn:aws-eusc:kms:eusc-de-east-1:123456789012:key/9932cde6-6bc6-4f84-a155-9bbd4dc23210",
                "arn:aws-eusc:kms:eusc-de-east-1:123456789012:key/9932cde6-6bc6-4f84-a155-9bbd4dc23210",
                "eusc-de-east-1", nil
            ),
        ] as [(String, String, String?, String?)])
    func references(_ text: String, _ id: String, _ region: String?, _ endpoint: String?) throws {
        let reference = try AWSKeyReference(text)
        #expect(reference.keyID == id && reference.arn?.region == region)
        #expect(reference.endpoint?.description == endpoint)
        #expect(Self.place(Self.unreachable).knows(text))
    }

    @Test(
        "A reference that is nearly right says the right form",
        arguments: [
            ("awskms://alias/x", "awskms:///alias/x"), ("AWSKMS:///alias/x", "awskms:///alias/x"),
            ("awskms:/alias/x", "awskms:///alias/NAME"), ("awskms:alias/x", "awskms:///alias/NAME"),
            ("awskms://9932cde6-6bc6-4f84-a155-9bbd4dc23210", "awskms:///9932cde6-6bc6-4f84-a155-9bbd4dc23210"),
            ("awskms:///release", "awskms:///alias/release"), ("awskms:///", "awskms:///alias/NAME"),
            ("awskms:///alias/", "awskms:///alias/NAME"), ("awskms:///alias/é", "awskms:///alias/NAME"),
            ("awskms://user@host/alias/x", "awskms:///alias/NAME"),
            (
                "arn:aws:kms:eu-west-1:123456789012:alias/x", "awskms:///arn:aws:kms:eu-west-1:123456789012:alias/x"
            ), ("awskms:///arn:aws:kms:eu-west-1:1234:alias/x", "awskms:///alias/NAME"),
            ("awskms:///arn:aws:s3:eu-west-1:123456789012:alias/x", "awskms:///alias/NAME"),
            ("awskms:///arn:aws:kms::123456789012:alias/x", "awskms:///alias/NAME"),
            (
                "awskms://arn:aws:kms:eu-west-1:123456789012:alias/x",
                "awskms:///arn:aws:kms:eu-west-1:123456789012:alias/x"
            ),
        ])
    func wrongReferences(_ text: String, _ form: String) {
        Self.place(Self.unreachable).expectForm(form, for: text)
    }

    // MARK: - Signatures of requests

    private func signature(token: String?) throws -> RequestSignature {
        var headers = [
            (name: "Content-Type", value: "application/x-amz-json-1.1"),
            (name: "X-Amz-Target", value: "TrentService.GetPublicKey"),
            (name: "X-Amz-Date", value: RequestSignature.date(Self.now)),
        ]
        if let token { headers.append((name: "X-Amz-Security-Token", value: token)) }
        return try RequestSignature(
            method: "POST", url: HTTPURL(parsing: "https://kms.us-east-1.amazonaws.com/"), headers: headers,
            body: Array(#"{"KeyId":"alias/demo"}"#.utf8), accessKeyID: "AKIDEXAMPLE",
            secret: SecretBytes("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".utf8), region: "us-east-1", service: "kms",
            date: "20260102T030405Z")
    }

    @Test("Requests are signed as the worked examples are")
    func signatures() throws {
        let plain = try signature(token: nil)
        #expect(
            plain.canonicalRequest == """
                POST
                /

                content-type:application/x-amz-json-1.1
                host:kms.us-east-1.amazonaws.com
                x-amz-date:20260102T030405Z
                x-amz-target:TrentService.GetPublicKey

                content-type;host;x-amz-date;x-amz-target
                aec6898f198948eb31eac5c3828788afde92fb10df13614ad6957bf0777a8587
                """)
        #expect(
            plain.stringToSign == """
                AWS4-HMAC-SHA256
                20260102T030405Z
                20260102/us-east-1/kms/aws4_request
                3bdfd00270f61dacafb606e67cdae9b5ad9bd9f49085770dccc9fdbbadf67541
                """)
        let key = try RequestSignature.signingKey(
            SecretBytes("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".utf8), day: "20260102", region: "us-east-1",
            service: "kms")
        #expect(
            unsafe key.withBytes { unsafe Hexadecimal.encode($0) }
                == "11430ad8a00c2d57affadef989330e493df112710a5c800ad0feba27ebe1c9fe")
        #expect(plain.signature == "90b1b6f51479e0eabf519432a48369ac8cdfac6da767894b9820e06709518fe4")
        #expect(
            plain.credentials
                == "Credential=AKIDEXAMPLE/20260102/us-east-1/kms/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature=90b1b6f51479e0eabf519432a48369ac8cdfac6da767894b9820e06709518fe4"
        )
        let withToken = try signature(token: "SESSION/TOKEN+EXAMPLE==")
        #expect(
            try Digest.sha256(Array(withToken.canonicalRequest.utf8)).hex
                == "f52e9384d81ed9bbc6cffff1d6712f420243bf4f448caed153a3dc5acda21fc1")
        #expect(withToken.signature == "70a8114580c6a13d4b520e4b06d42c60007fb28178f69f93722db5fe9e610184")
    }

    @Test("A query is sorted, a path encoded once more, and spaces in a value are one")
    func canonicalForm() throws {
        let url = try HTTPURL(parsing: "https://iam.amazonaws.com:8443/a%20b/?b=2&a=3&a=1&c")
        let signature = try RequestSignature(
            method: "GET", url: url, headers: [(name: "X-Two", value: "  a   b ")], body: [], accessKeyID: "A",
            secret: SecretBytes("s".utf8), region: "r", service: "iam", date: "20260102T030405Z")
        #expect(
            signature.canonicalRequest.hasPrefix(
                "GET\n/a%2520b/\na=1&a=3&b=2&c=\nhost:iam.amazonaws.com:8443\nx-two:a b\n\nhost;x-two\n"))
        // The example of AWS's own documentation (Signature Version 4 signing process, 2015).
        let documented = try RequestSignature(
            method: "GET", url: HTTPURL(parsing: "https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08"),
            headers: [
                (name: "content-type", value: "application/x-www-form-urlencoded; charset=utf-8"),
                (name: "x-amz-date", value: "20150830T123600Z"),
            ], body: [], accessKeyID: "AKIDEXAMPLE",
            secret: SecretBytes("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".utf8), region: "us-east-1", service: "iam",
            date: "20150830T123600Z")
        #expect(documented.signature == "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7")
    }

    // MARK: - Regions and endpoints

    @Test(
        "Region and endpoint come from where AWS's own programs take them, and the region from an ARN first",
        arguments: [
            ("alias/x", [:], "https://kms.us-east-1.amazonaws.com/", "us-east-1"),
            (
                "alias/x", ["AWS_REGION": "", "AWS_DEFAULT_REGION": "cn-north-1"],
                "https://kms.cn-north-1.amazonaws.com.cn/", "cn-north-1"
            ),
            ("arn:aws:kms:eu-west-1:123456789012:alias/x", [:], "https://kms.eu-west-1.amazonaws.com/", "eu-west-1"),
            (
                "arn:aws-iso:kms:us-iso-east-1:123456789012:alias/x", [:], "https://kms.us-iso-east-1.c2s.ic.gov/",
                "us-iso-east-1"
            ),
            ("alias/x", ["AWS_USE_FIPS_ENDPOINT": "true"], "https://kms-fips.us-east-1.amazonaws.com/", "us-east-1"),
            (
                "alias/x", ["AWS_USE_FIPS_ENDPOINT": "true", "AWS_REGION": "us-gov-west-1"],
                "https://kms-fips.us-gov-west-1.amazonaws.com/", "us-gov-west-1"
            ),
            ("alias/x", ["AWS_USE_DUALSTACK_ENDPOINT": "true"], "https://kms.us-east-1.api.aws/", "us-east-1"),
            ("alias/x", ["AWS_ENDPOINT_URL": "http://127.0.0.1:1"], "http://127.0.0.1:1/", "us-east-1"),
            (
                "alias/x", ["AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_ENDPOINT_URL_KMS": "http://127.0.0.1:2/k"],
                "http://127.0.0.1:2/k", "us-east-1"
            ),
            ("//h:1/alias/x", ["AWS_ENDPOINT_URL": "http://127.0.0.1:1"], "https://h:1/", "us-east-1"),
            ("//h:1/alias/x", ["AWS_ENDPOINT_URL_KMS": "http://127.0.0.1:2"], "http://127.0.0.1:2/", "us-east-1"),
            (
                "//h:1/alias/x",
                ["AWS_ENDPOINT_URL_KMS": "http://127.0.0.1:2", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"],
                "https://h:1/", "us-east-1"
            ),
            (
                "//vpce-1.kms.eu-west-3.vpce.amazonaws.com/alias/x", ["AWS_REGION": ""],
                "https://vpce-1.kms.eu-west-3.vpce.amazonaws.com/", "eu-west-3"
            ),
            ("alias/x", ["AWS_REGION": "", "AWS_PROFILE": "p"], "http://127.0.0.1:3/", "ap-south-1"),
        ] as [(String, [String: String], String, String)])
    func endpoints(_ key: String, _ more: [String: String], _ url: String, _ region: String) async throws {
        let home = try Home(
            config:
                "[profile p]\nregion = ap-south-1\nservices = s\n[services s]\nkms =\n  endpoint_url = http://127.0.0.1:3\n"
        )
        let service = Self.kms(try PrivateKey.generate(.ecdsaP256))
        let variables = Self.keys.merging(["HOME": home.path]) { $1 }.merging(more) { $1 }
        let text = key.hasPrefix("//") ? "awskms:\(key)" : "awskms:///\(key)"
        _ = try await Self.place(service, variables).publicKey(text)
        let request = try #require(service.requests.first)
        #expect(service.requests.count == 1 && request.url.description == url)
        #expect(
            Self.value(request.authorization).contains("Credential=AKIDEXAMPLE/20260102/\(region)/kms/aws4_request,"))
    }

    @Test("Without a region the instance is asked, and if there is none, that is said")
    func noRegion() async throws {
        let variables = ["AWS_ACCESS_KEY_ID": "A", "AWS_SECRET_ACCESS_KEY": "s", "HOME": "/nonexistent"]
        let nothing = Service { _, _ throws(SigstoreError) in throw SigstoreError(.unreachable, "no network") }
        let error = await Self.failure {
            _ = try await Self.place(nothing, variables).publicKey("awskms:///alias/x")
        }
        #expect(error?.code == .keyServiceSettings && error?.advice?.description.contains("AWS_REGION") == true)
        let asked = nothing.requests
        #expect(asked.count == 1)
        #expect(asked.allSatisfy { $0.url.description == "http://169.254.169.254/latest/api/token" && $0.isDirect })
        #expect(asked.allSatisfy { $0.timeout <= .seconds(1) && $0.latestStart != nil && $0.refusesRedirects })
        let key = try PrivateKey.generate(.ecdsaP256)
        let instance = Service { request, _ throws(SigstoreError) in
            switch request.url.path {
            case "/latest/api/token": return (200, [], "token")
            case "/latest/meta-data/placement/region": return (200, [], "eu-north-1")
            default:
                #expect(request.url.description == "https://kms.eu-north-1.amazonaws.com/")
                return (200, [], Self.publicKeyAnswer(key.publicKey, ["ECDSA_SHA_256"]))
            }
        }
        #expect(try await Self.place(instance, variables).publicKey("awskms:///alias/x").isSame(as: key.publicKey))
    }

    // MARK: - Signing

    @Test("A run asks for the public key once and signs a hundred times, also if it is throttled")
    func manySignatures() async throws {
        let key = try PrivateKey.generate(.ecdsaP256)
        let service = Service { request, number throws(SigstoreError) in
            if number == 3 || number == 50 {
                return (400, [], #"{"__type":"ThrottlingException","message":"Rate exceeded"}"#)
            }
            if number == 7 { return (500, [], #"{"__type":"KMSInternalException"}"#) }
            if Self.target(request) == "GetPublicKey" {
                return (200, [], Self.publicKeyAnswer(key.publicKey, ["ECDSA_SHA_256"]))
            }
            let asked = JSONCursor(try JSONValue(parsing: Array(request.text.utf8)))
            let digest = try Digest(.sha256, bytes: try asked.member("Message").bytes())
            let signature = try key.sign(HashedMessage(digest: digest), scheme: .ecdsa(.sha256))
            return (200, [], "{\"Signature\":\"\(Base64.encode(signature))\"}")
        }
        let place = Self.place(service)
        try await withThrowingTaskGroup { group in
            for number in 0..<100 {
                group.addTask {
                    let signer = try await place.signer("awskms:///alias/x") { SecretBytes([]) }
                    let message = try HashedMessage.of(Array("\(number)".utf8), schemes: [.ecdsa(.sha256)])
                    _ = try await signer.sign(message, scheme: .ecdsa(.sha256))
                }
            }
            try await group.waitForAll()
        }
        let targets = service.requests.map(Self.target)
        #expect(targets.filter { $0 == "GetPublicKey" }.count == 1)
        #expect(targets.filter { $0 == "Sign" }.count == 103)
    }

    @Test(
        "Each kind of key signs in the ways that KMS offers, the usual one first",
        arguments: [
            (SigningAlgorithm.ecdsaP384, ["ECDSA_SHA_384"], [SignatureScheme.ecdsa(.sha384)]),
            (
                .rsa2048, ["RSASSA_PSS_SHA_256", "RSASSA_PKCS1_V1_5_SHA_512", "RSASSA_PKCS1_V1_5_SHA_256"],
                [.rsaPKCS1(.sha256), .rsaPKCS1(.sha512), .rsaPSS(.sha256)]
            ),
        ])
    func schemes(_ algorithm: SigningAlgorithm, _ names: [String], _ schemes: [SignatureScheme]) async throws {
        let key = try PrivateKey.generate(algorithm)
        let place = Self.place(Self.kms(key, algorithms: names))
        #expect(try await place.signer("awskms:///alias/x") { SecretBytes([]) }.schemes == schemes)
        let facts = try await place.facts("awskms:///alias/x")
        #expect(facts.contains(KeyFact("key's account", "123456789012")))
        #expect(facts.contains(KeyFact("identity", "arn:aws:iam::123456789012:user/ann")))
        #expect(facts.contains { $0.name == "credentials" && $0.value.contains("AKIDEXAMPLE") })
        #expect(!facts.contains { $0.value.contains("secret") })
    }

    @Test(
        "Answers that cannot be are refused",
        arguments: [
            "{\"Signature\":", "{}", "{\"Signature\":7}", "{\"Signature\":\"!\"}", "[]", "null", "",
            "{\"Signature\":\"AAAA\",\"SigningAlgorithm\":\"ECDSA_SHA_512\"}",
        ])
    func wrongAnswers(_ answer: String) async throws {
        let key = try PrivateKey.generate(.ecdsaP256)
        let service = Service { request, _ throws(SigstoreError) in
            (200, [], Self.target(request) == "Sign" ? answer : Self.publicKeyAnswer(key.publicKey, ["ECDSA_SHA_256"]))
        }
        let message = try HashedMessage.of([1], schemes: [.ecdsa(.sha256)])
        let error = await Self.failure {
            _ = try await Self.place(service).signer("awskms:///alias/x") { SecretBytes([]) }
                .sign(message, scheme: .ecdsa(.sha256))
        }
        #expect(error?.code == .keyServiceAnswer && error?.message.hasPrefix("awskms:///alias/x: ") == true)
        let first = await Self.failure {
            _ = try await Self.place(Service { _, _ throws(SigstoreError) in (200, [], answer) })
                .publicKey("awskms:///alias/x")
        }
        #expect(first?.code == .keyServiceAnswer)
    }

    @Test("An answer about another key than an id or an ARN names, or one that contradicts itself, is refused")
    func answersAboutOthers() async throws {
        let key = try PrivateKey.generate(.ecdsaP256).publicKey
        let id = "9932cde6-6bc6-4f84-a155-9bbd4dc23210"
        for (reference, place, specification, holds) in [
            (id, "arn:aws:kms:us-east-1:123456789012", nil, true),
            (id.filter { $0 != "-" }.uppercased(), "arn:aws:kms:us-east-1:123456789012", "ECC_NIST_P256", true),
            (id, "arn:aws:kms:us-east-1:123456789012", "ECC_NIST_P384", false),
            ("0000cde6-6bc6-4f84-a155-9bbd4dc23210", "arn:aws:kms:us-east-1:123456789012", nil, false),
            ("arn:aws:kms:us-east-1:123456789012:key/\(id)", "arn:aws:kms:us-east-1:123456789012", nil, true),
            ("arn:aws:kms:us-east-1:123456789012:key/\(id)", "arn:aws:kms:us-east-1:999999999999", nil, false),
            ("arn:aws:kms:us-east-1:123456789012:key/\(id)", "arn:aws:kms:eu-west-1:123456789012", nil, false),
            ("arn:aws:kms:us-east-1:123456789012:alias/x", "arn:aws:kms:us-east-1:999999999999", nil, false),
            ("alias/x", "arn:aws:kms:us-east-1:999999999999", nil, true),
        ] as [(String, String, String?, Bool)] {
            let answer = Self.publicKeyAnswer(key, ["ECDSA_SHA_256"], specification: specification, place: place)
            let error = await Self.failure {
                _ = try await Self.place(Service { _, _ throws(SigstoreError) in (200, [], answer) })
                    .publicKey("awskms:///\(reference)")
            }
            #expect(error?.code == (holds ? nil : .keyServiceAnswer), "\(reference): \(error?.description ?? "")")
        }
    }

    @Test("A key for something else, and one of a kind that is not known, are said to be that")
    func otherKeys() async throws {
        let key = try PrivateKey.generate(.ecdsaP256)
        // secp256k1, by OpenSSL.
        let other =
            "MFYwEAYHKoZIzj0CAQYFK4EEAAoDQgAEDVFsLnBfnwcSjXUCrFFBh+eiP2Z/fY+CVhgZCwKzvNA4nbNBseBZ+IXHCY7yByZDO0+N380OZS4YJk0Z7rbOIA=="
        for (answer, words) in [
            (Self.publicKeyAnswer(key.publicKey, ["ECDSA_SHA_256"], usage: "ENCRYPT_DECRYPT"), "ENCRYPT_DECRYPT"),
            (Self.publicKeyAnswer(key.publicKey, ["ML_DSA_SHAKE_256"]), "ML_DSA_SHAKE_256"),
            (
                """
                {"KeyId":"x","KeyUsage":"SIGN_VERIFY","KeySpec":"ECC_SECG_P256K1","PublicKey":"\(other)",
                "SigningAlgorithms":["ECDSA_SHA_256"]}
                """, "ECC_SECG_P256K1"
            ),
        ] {
            let error = await Self.failure {
                _ = try await Self.place(Service { _, _ throws(SigstoreError) in (200, [], answer) })
                    .publicKey("awskms:///alias/x")
            }
            #expect(error?.code == .keyUnusable && error?.message.contains(words) == true)
        }
    }

    @Test("A redirect gets nothing of what proves who asks")
    func redirect() async throws {
        let other = FaultServer { _, connection in connection.respond(200, [], "{}") }
        let server = FaultServer { _, connection in
            connection.respond(307, ["Location: \(other.url)/"], "")
        }
        defer {
            server.stop()
            other.stop()
        }
        let variables = Self.keys.merging(["AWS_ENDPOINT_URL": server.url]) { $1 }
        let error = await Self.failure {
            _ = try await Self.place(CurlClient(), variables).publicKey("awskms:///alias/x")
        }
        #expect(error?.code == .redirectRefused && other.requests.isEmpty && server.requests.count == 1)
        // Also to the same place, and of a request that only reads.
        let near = FaultServer { request, connection in
            if request.target == "/creds" { return connection.respond(302, ["Location: /other"], "") }
            connection.respond(200, [], "{}")
        }
        defer { near.stop() }
        let container = ["AWS_CONTAINER_CREDENTIALS_FULL_URI": "\(near.url)/creds", "AWS_REGION": "us-east-1"]
        let refused = await Self.failure {
            _ = try await Self.place(CurlClient(), container).publicKey("awskms:///alias/x")
        }
        #expect(refused?.code == .redirectRefused && near.requests.count == 1, "\(refused?.description ?? "")")
    }

    // MARK: - Errors

    @Test(
        "Each error of the service says what is the matter, with which key, for whom",
        arguments: [
            (
                "NotFoundException", "Alias arn:aws:kms:us-east-1:123456789012:alias/x is not found.",
                SigstoreError.Code.keyNotFound, ["alias/x", "us-east-1"]
            ),
            (
                "AccessDeniedException", "User: arn:aws:iam::1:user/bob is not authorized to perform: kms:Sign",
                .keyDenied,
                ["kms:Sign is missing", "key/9932cde6", "for arn:aws:iam::1:user/bob", "account 123456789012"]
            ),
            ("DisabledException", "it is disabled", .keyUnusable, ["is disabled", "enable-key"]),
            (
                "KMSInvalidStateException", "arn is pending deletion.", .keyUnusable,
                ["is to be deleted", "cancel-key-deletion"]
            ),
            ("KMSInvalidStateException", "arn is pending import.", .keyUnusable, ["no state to be used"]),
            ("InvalidKeyUsageException", "", .keyUnusable, ["not for signing", "SIGN_VERIFY"]),
            ("UnsupportedOperationException", "", .keyUnusable, ["symmetric"]),
            ("ExpiredTokenException", "expired", .keyDenied, ["have expired", "AWS_ACCESS_KEY_ID"]),
            ("UnrecognizedClientException", "", .keyDenied, ["not known"]),
            (
                "InvalidSignatureException", "The request signature we calculated does not match", .keyDenied,
                ["secret access key"]
            ),
            (
                "InvalidSignatureException", "Signature expired: 20260102T030405Z is now earlier than", .keyDenied,
                ["2026-01-02T03:04:05Z", "Fri, 02 Jan 2026 04:00:00 GMT", "clock"]
            ),
            ("com.amazon#LimitExceededException", "", .keyServiceFailed, ["too many requests"]),
            ("ThrottlingException", "Rate exceeded", .keyServiceFailed, ["too many requests"]),
            ("KMSInternalException", "", .keyServiceFailed, ["failed"]),
            ("SomethingNewException", "no such thing", .keyServiceFailed, ["SomethingNewException: no such thing"]),
        ] as [(String, String, SigstoreError.Code, [String])])
    func serviceErrors(_ type: String, _ message: String, _ code: SigstoreError.Code, _ words: [String]) async throws {
        let key = try PrivateKey.generate(.ecdsaP256)
        let service = Service { request, _ throws(SigstoreError) in
            if Self.target(request) == "GetPublicKey" {
                return (200, [], Self.publicKeyAnswer(key.publicKey, ["ECDSA_SHA_256"]))
            }
            return (
                400, [(name: "date", value: "Fri, 02 Jan 2026 04:00:00 GMT")],
                "{\"__type\":\"\(type)\",\"message\":\"\(message)\"}"
            )
        }
        let variables = Self.keys.merging(["AWS_MAX_ATTEMPTS": "2"]) { $1 }
        let content = try HashedMessage.of([1], schemes: [.ecdsa(.sha256)])
        let error = await Self.failure {
            _ = try await Self.place(service, variables).signer("awskms:///alias/x") { SecretBytes([]) }
                .sign(content, scheme: .ecdsa(.sha256))
        }
        #expect(error?.code == code, "\(error?.description ?? "")")
        for word in words + ["awskms:///alias/x"] {
            #expect(error?.description.contains(word) == true, "\(word): \(error?.description ?? "")")
        }
        let isRepeated = ["Thrott", "LimitExceeded", "KMSInternal"].contains { type.contains($0) }
        #expect(service.requests.count == (isRepeated ? 3 : 2))
    }

    // MARK: - Making keys

    @Test("A key is made once, under an alias; what is left if that fails is said")
    func makeKey() async throws {
        let key = try PrivateKey.generate(.ecdsaP384)
        let service = Service { request, number throws(SigstoreError) in
            switch Self.target(request) {
            case "CreateKey":
                return (
                    200, [], #"{"KeyMetadata":{"KeyId":"9932cde6-6bc6-4f84-a155-9bbd4dc23210","Arn":"arn:the-key"}}"#
                )
            case "CreateAlias": return (200, [], "null")
            default:
                // The alias is not seen everywhere at once.
                return number < 5
                    ? (400, [], #"{"__type":"NotFoundException","message":"Alias is not found."}"#)
                    : (200, [], Self.publicKeyAnswer(key.publicKey, ["ECDSA_SHA_384"]))
            }
        }
        let place = Self.place(service)
        let made = try await place.makeKey("awskms:///alias/x", algorithm: .ecdsaP384)
        #expect(made.isNew && made.publicKey.isSame(as: key.publicKey))
        #expect(
            service.requests.map(Self.target) == [
                "GetPublicKey", "CreateKey", "CreateAlias", "GetPublicKey", "GetPublicKey",
            ])
        let again = try await place.makeKey("awskms:///alias/x", algorithm: nil)
        #expect(!again.isNew && service.requests.count == 5)
        let other = await Self.failure { _ = try await place.makeKey("awskms:///alias/x", algorithm: .rsa2048) }
        #expect(other?.code == .keyUnusable && service.requests.count == 5)
        for (reference, algorithm) in [
            ("awskms:///9932cde6-6bc6-4f84-a155-9bbd4dc23210", nil), ("awskms:///alias/y", SigningAlgorithm.ed25519),
        ] {
            #expect(await Self.failure { _ = try await place.makeKey(reference, algorithm: algorithm) } != nil)
        }
        #expect(service.requests.count == 5)
        let orphan = Service { request, _ throws(SigstoreError) in
            switch Self.target(request) {
            case "CreateKey": return (200, [], #"{"KeyMetadata":{"KeyId":"9932","Arn":"arn:the-key"}}"#)
            case "CreateAlias": return (400, [], #"{"__type":"AccessDeniedException","message":"no"}"#)
            default: return (400, [], #"{"__type":"NotFoundException"}"#)
            }
        }
        let error = await Self.failure { _ = try await Self.place(orphan).makeKey("awskms:///alias/x", algorithm: nil) }
        #expect(error?.code == .keyDenied)
        for words in ["kms:CreateAlias", "the key arn:the-key was made, and has no alias"] {
            #expect(error?.message.contains(words) == true, "\(error?.message ?? "")")
        }
        for (status, answer) in [
            (0, ""), (500, #"{"__type":"KMSInternalException"}"#), (200, "{"), (200, "{}"),
        ] {
            let broken = Service { request, _ throws(SigstoreError) in
                guard Self.target(request) == "CreateKey" else {
                    return (400, [], #"{"__type":"NotFoundException"}"#)
                }
                if status == 0 { throw SigstoreError(.unreachable, "broken off") }
                return (status, [], answer)
            }
            let error = await Self.failure {
                _ = try await Self.place(broken).makeKey("awskms:///alias/x", algorithm: nil)
            }
            #expect(broken.requests.map(Self.target) == ["GetPublicKey", "CreateKey"])
            for words in ["the key may have been made", "aws kms list-keys"] {
                #expect(error?.description.contains(words) == true, "\(error?.description ?? "")")
            }
        }
    }

    @Test("A key is not made under an alias that cannot be, and one of another account is not given the alias")
    func impossibleKeys() async throws {
        let none = Service { _, _ throws(SigstoreError) in (400, [], #"{"__type":"NotFoundException"}"#) }
        for alias in ["alias/aws/x", "alias/a:b"] {
            let error = await Self.failure {
                _ = try await Self.place(none).makeKey("awskms:///\(alias)", algorithm: nil)
            }
            #expect(error?.code == .unknownKeyReference && none.requests.isEmpty, "\(error?.description ?? "")")
        }
        let elsewhere = Service { request, _ throws(SigstoreError) in
            guard Self.target(request) == "CreateKey" else { return (400, [], #"{"__type":"NotFoundException"}"#) }
            let arn = "arn:aws:kms:us-east-1:123456789012:key/9932cde6-6bc6-4f84-a155-9bbd4dc23210"
            return (200, [], #"{"KeyMetadata":{"KeyId":"9932cde6-6bc6-4f84-a155-9bbd4dc23210","Arn":"\#(arn)"}}"#)
        }
        let error = await Self.failure {
            _ = try await Self.place(elsewhere).makeKey(
                "awskms:///arn:aws:kms:us-east-1:999999999999:alias/x", algorithm: nil)
        }
        #expect(error?.code == .keyDenied && error?.message.contains("123456789012:key/9932cde6") == true)
        #expect(elsewhere.requests.map(Self.target) == ["GetPublicKey", "CreateKey"])
    }

    @Test("An alias that was made although its answer did not come is found; one that names another key is not taken")
    func aliasTwice() async throws {
        let key = try PrivateKey.generate(.ecdsaP256)
        for (made, isOurs) in [
            ("9932cde6-6bc6-4f84-a155-9bbd4dc23210", true), ("0000cde6-6bc6-4f84-a155-9bbd4dc23210", false),
        ] {
            let service = Service { request, number throws(SigstoreError) in
                switch Self.target(request) {
                case "CreateKey": return (200, [], "{\"KeyMetadata\":{\"KeyId\":\"\(made)\"}}")
                case "CreateAlias":
                    if number == 3 { throw SigstoreError(.unreachable, "broken off") }
                    return (400, [], #"{"__type":"AlreadyExistsException"}"#)
                default:
                    return number == 1
                        ? (400, [], #"{"__type":"NotFoundException"}"#)
                        : (200, [], Self.publicKeyAnswer(key.publicKey, ["ECDSA_SHA_256"]))
                }
            }
            let error = await Self.failure {
                _ = try await Self.place(service).makeKey("awskms:///alias/x", algorithm: nil)
            }
            #expect(error?.code == (isOurs ? nil : .keyUnusable), "\(error?.description ?? "")")
        }
    }
}

/// A home directory with AWS's configuration files.
final class Home: Sendable {
    let path: String

    init(config: String? = nil, credentials: String? = nil) throws {
        let url = FileManager.default.temporaryDirectory.appendingPathComponent("aws-\(UUID().uuidString)")
        path = url.path
        try FileManager.default.createDirectory(
            at: url.appendingPathComponent(".aws/sso/cache"), withIntermediateDirectories: true)
        if let config { try write(".aws/config", config) }
        if let credentials { try write(".aws/credentials", credentials) }
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func write(_ name: String, _ text: String) throws {
        try text.write(toFile: "\(path)/\(name)", atomically: false, encoding: .utf8)
    }
}
