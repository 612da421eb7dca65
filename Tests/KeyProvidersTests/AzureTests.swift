import Foundation
import HTTPTransport
import SigstoreCrypto
import StrictJSON
import Synchronization
import Testing

@testable import KeyProviders

/// Keys in Azure Key Vault and in Managed HSMs.
struct AzureTests {
    private static let recordings: Comment = "left out: the recorded exchanges, in ../shared/keys/wire"
    static let tenant = "11111111-2222-3333-4444-555555555555"
    static let client = "aaaaaaaa-0000-0000-0000-000000000000"
    static let secret = [
        "AZURE_TENANT_ID": tenant, "AZURE_CLIENT_ID": client, "AZURE_CLIENT_SECRET": "s3cr3t",
    ]
    static let reference = "azurekms://testvault.vault.azure.net/signkey"
    static let version = "0123456789abcdef0123456789abcdef"
    static let challenge = [
        (
            name: "www-authenticate",
            value:
                "Bearer authorization=\"https://login.microsoftonline.com/\(tenant)\", resource=\"https://vault.azure.net\""
        )
    ]

    static func place(_ client: any HTTPClient, _ variables: [String: String] = secret) -> AzureKeys {
        AzureKeys(AWSTests.surroundings(client, variables))
    }

    /// What a vault says of a key.
    static func answer(
        _ key: PublicKey, type: String? = nil, version: String = version, attributes: String = "\"enabled\":true",
        operations: String = "\"sign\",\"verify\"", host: String = "testvault.vault.azure.net"
    ) throws -> String {
        var numbers: String
        let spki = key.spki
        if let size = key.kind.coordinateSize {
            let curve = [32: "P-256", 48: "P-384", 66: "P-521"][size] ?? ""
            let (x, y) = (spki.suffix(2 * size).prefix(size), spki.suffix(size))
            numbers = #""crv":"\#(curve)","x":"\#(Base64.encodeURLSafe(x))","y":"\#(Base64.encodeURLSafe(y))""#
        } else {
            // An RSA key of 2048 bits has its modulus 5 bytes from its end, which are the exponent.
            numbers = #""n":"\#(Base64.encodeURLSafe(spki.suffix(261).prefix(256)))","e":"AQAB""#
        }
        return """
            {"key":{"kid":"https://\(host)/keys/signkey/\(version)","kty":"\(type ?? (key.kind.coordinateSize == nil ? "RSA" : "EC"))",
            "key_ops":[\(operations)],\(numbers)},"attributes":{\(attributes)}}
            """
    }

    /// `r ‖ s` of a signature in DER.
    static func fixedWidth(_ der: [UInt8], _ size: Int) -> [UInt8] {
        var place = der[1] < 0x80 ? 2 : 3
        var out: [UInt8] = []
        for _ in 0..<2 {
            let count = Int(der[place + 1])
            let digits = der[(place + 2)..<(place + 2 + count)].drop { $0 == 0 }
            out += [UInt8](repeating: 0, count: size - digits.count) + digits
            place += 2 + count
        }
        return out
    }

    /// A vault with one key, that asks for a token and signs what it is asked for.
    static func vault(
        _ key: PrivateKey, signedVersion: String = version,
        describing: String? = nil,
        _ before: @escaping @Sendable (HTTPRequest, Int) throws(SigstoreError) -> AWSTests.Service.Answer? = { _, _ in
            nil
        }
    ) throws -> AWSTests.Service {
        let described = try describing ?? answer(key.publicKey)
        return AWSTests.Service { request, number throws(SigstoreError) in
            if request.url.origin.host == "login.microsoftonline.com" {
                return try before(request, number) ?? (200, [], #"{"access_token":"az-token","expires_in":3599}"#)
            }
            guard request.authorization != nil else {
                return try before(request, number) ?? (401, challenge, #"{"error":{"code":"Unauthorized"}}"#)
            }
            if let answer = try before(request, number) { return answer }
            guard request.method == "POST" else { return (200, [], described) }
            let asked = JSONCursor(try JSONValue(parsing: Array(request.text.utf8)))
            let name = try asked.member("alg").string()
            let hash: HashAlgorithm = name.hasSuffix("256") ? .sha256 : name.hasSuffix("384") ? .sha384 : .sha512
            let digest = try Digest(hash, bytes: Base64.decodeURLSafe(try asked.member("value").string()) ?? [])
            let scheme: SignatureScheme =
                name.hasPrefix("E") ? .ecdsa(hash) : name.hasPrefix("R") ? .rsaPKCS1(hash) : .rsaPSS(hash)
            var signature = try key.sign(HashedMessage(digest: digest), scheme: scheme)
            if let size = key.publicKey.kind.coordinateSize { signature = fixedWidth(signature, size) }
            let kid = "https://testvault.vault.azure.net/keys/signkey/\(signedVersion)"
            return (200, [], #"{"kid":"\#(kid)","value":"\#(Base64.encodeURLSafe(signature))"}"#)
        }
    }

    // MARK: - References

    @Test(
        "Every form of reference is read",
        arguments: [
            ("azurekms://v.vault.azure.net/release", "v.vault.azure.net", "release", nil),
            ("azurekms://V.Vault.Azure.CN/Release-1/", "v.vault.azure.cn", "Release-1", nil),
            ("azurekms://v.vault.azure.net/r/\(version)", "v.vault.azure.net", "r", version),
            ("azurekms://h.managedhsm.azure.net:8443/r", "h.managedhsm.azure.net:8443", "r", nil),
        ] as [(String, String, String, String?)])
    func references(_ text: String, _ authority: String, _ key: String, _ version: String?) throws {
        let reference = try AzureKeyReference(text)
        #expect(reference.origin.authority == authority && reference.key == key && reference.version == version)
        #expect(reference.isManagedHSM == text.contains("managedhsm"))
    }

    @Test(
        "A reference that is nearly right says the right form, and is no file",
        arguments: [
            ("azurekms://myvault/release", "azurekms://myvault.vault.azure.net/release"),
            ("AZUREKMS://v.vault.azure.net/r", "azurekms://v.vault.azure.net/r"),
            ("azurekms:/v.vault.azure.net/r", "azurekms://VAULT.vault.azure.net/KEY"),
            ("azurekms:v.vault.azure.net/r", "azurekms://VAULT.vault.azure.net/KEY"),
            ("azurekms://v.vault.azure.net", "azurekms://VAULT.vault.azure.net/KEY"),
            ("azurekms://v.vault.azure.net/", "azurekms://VAULT.vault.azure.net/KEY"),
            ("azurekms:///release", "azurekms://VAULT.vault.azure.net/KEY"),
            ("azurekms://v.vault.azure.net/r_s", "azurekms://VAULT.vault.azure.net/KEY"),
            ("azurekms://v.vault.azure.net/é", "azurekms://VAULT.vault.azure.net/KEY"),
            ("azurekms://v.vault.azure.net/r/1", "azurekms://VAULT.vault.azure.net/KEY"),
            ("azurekms://v.vault.azure.net/r/\(version)/x", "azurekms://VAULT.vault.azure.net/KEY"),
            ("azurekms://v.vault.azure.net/r/\(version.uppercased())", "azurekms://v.vault.azure.net/r/\(version)"),
            ("azurekms://v.vault.azure.net/keys/r", "azurekms://v.vault.azure.net/r"),
            ("azurekms://v.vault.azure.net/keys/r/\(version)", "azurekms://v.vault.azure.net/r/\(version)"),
            ("azurekms://user@v.vault.azure.net/r", "azurekms://VAULT.vault.azure.net/KEY"),
        ])
    func wrongReferences(_ text: String, _ form: String) {
        Self.place(AWSTests.unreachable).expectForm(form, for: text)
    }

    @Test("Versions of one key, in any letter case, are one signer's")
    func owner() {
        let place = Self.place(AWSTests.unreachable)
        let names = ["azurekms://V.vault.azure.net/R/\(Self.version)", "azurekms://v.vault.azure.net/r"]
        #expect(Set(names.map { place.owner(of: $0) }).count == 1)
        #expect(place.owner(of: names[0]) != place.owner(of: "azurekms://w.vault.azure.net/r"))
    }

    // MARK: - As the real client

    /// The recordings, in which no version is named to sign, and each vault was asked without a token only once.
    private struct Recorded: HTTPClient {
        let exchanges: RecordedExchanges

        func send(_ request: HTTPRequest, into sink: (any BodySink)?) async throws(SigstoreError) -> HTTPResponse {
            var asked = request
            var path = request.url.path
            if request.url.path.hasPrefix("/keys/"), request.authorization == nil { path = "/keys/signkey/" }
            let parts = path.split(separator: "/")
            if parts.count == 4, parts[3] == "sign" { path = "/keys/\(parts[1])/sign" }
            asked.url = try HTTPURL(request.url.origin, path: path, query: request.url.query)
            return try await exchanges.send(asked, into: sink)
        }
    }

    @Test(
        "A key signs as the real client asks for it, but for the version, which is pinned, and what is needless",
        .enabled(if: RecordedExchanges.folder != nil, recordings),
        arguments: [
            ("signkey", ["azure-09", "azure-10"], SignatureScheme.ecdsa(.sha256)),
            ("rsa2048", ["azure-15", "azure-16"], .rsaPKCS1(.sha256)),
            ("ec384", ["azure-19", "azure-20"], .ecdsa(.sha384)),
        ])
    func recordedSignature(_ name: String, _ names: [String], _ scheme: SignatureScheme) async throws {
        let recorded = try RecordedExchanges("azure-01", "azure-04", names[0], names[1])
        let signer = try await Self.place(Recorded(exchanges: recorded)).signer(
            "azurekms://testvault.vault.azure.net/\(name)"
        ) { SecretBytes([]) }
        #expect(signer.schemes.first == scheme)
        // The digest that was signed when it was recorded.
        let exchange = try RecordedExchanges.exchange(names[1])
        let asked = JSONCursor(try JSONValue(parsing: Array(exchange.body.utf8)))
        let bytes = try #require(Base64.decodeURLSafe(try asked.member("value").string()))
        let message = HashedMessage(digest: try Digest(scheme.hash ?? .sha256, bytes: bytes))
        let signature = try await signer.sign(message, scheme: scheme)
        let holds = try signer.publicKey.verifies(signature, of: message, scheme: scheme)
        #expect(holds)

        let requests = recorded.requests
        #expect(requests.count == 4)
        for (request, recorded) in requests {
            #expect(request.header("accept") == recorded.headers["accept"])
            #expect(AWSTests.value(request.authorization) == recorded.headers["authorization"] ?? "")
            #expect(request.refusesRedirects)
            guard request.url.origin.host.hasPrefix("login") else {
                #expect(
                    request.text == recorded.body && request.header("content-type") == recorded.headers["content-type"])
                continue
            }
            #expect(Self.form(request.text) == Self.form(recorded.body))
        }
        #expect(requests.first?.request.authorization == nil)
    }

    /// A form without what is needless: `claims` says that its sender can do more than is done here.
    private static func form(_ text: String) -> [String] {
        text.split(separator: "&").map(String.init).filter { !$0.hasPrefix("claims=") && !$0.hasPrefix("client_info=") }
            .sorted()
    }

    @Test(
        "A workload's token is shown as the real client shows it",
        .enabled(if: RecordedExchanges.folder != nil, recordings))
    func recordedWorkload() async throws {
        let home = try Home()
        try home.write("token", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.x\n")
        let recorded = try RecordedExchanges("azure-01", "azure-14", "azure-09")
        let variables = [
            "AZURE_TENANT_ID": Self.tenant, "AZURE_CLIENT_ID": Self.client,
            "AZURE_FEDERATED_TOKEN_FILE": "\(home.path)/token",
        ]
        _ = try await Self.place(Recorded(exchanges: recorded), variables).publicKey(Self.reference)
        let asked = try #require(recorded.requests.first { $0.request.method == "POST" })
        #expect(Self.form(asked.request.text) == Self.form(asked.recorded.body))
    }

    @Test(
        "What the real service was recorded to refuse is said with what helps",
        .enabled(if: RecordedExchanges.folder != nil, recordings))
    func recordedRefusals() async throws {
        let wrong = await AWSTests.failure {
            _ = try await Self.place(Recorded(exchanges: try RecordedExchanges("azure-01", "azure-12")))
                .publicKey(Self.reference)
        }
        #expect(wrong?.code == .keyDenied, "\(wrong?.description ?? "")")
        #expect(wrong?.message.contains("AADSTS7000215: Invalid client secret provided.") == true)
        #expect(wrong?.message.contains("Trace ID") == false && wrong?.message.contains("s3cr3t") == false)
        let none = await AWSTests.failure {
            _ = try await Self.place(Recorded(exchanges: try RecordedExchanges("azure-01", "azure-04", "azure-13")))
                .publicKey("azurekms://testvault.vault.azure.net/none")
        }
        #expect(none?.code == .keyNotFound && none?.message.contains("there is no key none") == true)
    }

    // MARK: - Signing

    @Test("Signatures of fixed width become DER, whatever zeros their halves begin with")
    func leadingZeros() async throws {
        let key = try PrivateKey.generate(.ecdsaP256)
        let seen = Mutex<Set<Int>>([])
        let service = try Self.vault(key)
        let signer = try await Self.place(service).signer(Self.reference) { SecretBytes([]) }
        var number = 0
        while seen.withLock({ $0.count < 2 }), number < 20_000 {
            let message = try HashedMessage.of(Array("\(number)".utf8), schemes: [.ecdsa(.sha256)])
            let signature = try await signer.sign(message, scheme: .ecdsa(.sha256))
            let bytes = Self.fixedWidth(signature, 32)
            for half in [0, 1] where bytes[32 * half] == 0 { _ = seen.withLock { $0.insert(half) } }
            #expect(try key.publicKey.verifies(signature, of: message, scheme: .ecdsa(.sha256)))
            number += 1
        }
        #expect(seen.withLock { $0 } == [0, 1])
    }

    @Test(
        "A key on a curve signs over the hash of its curve alone, as the guide's table has it",
        arguments: [
            (SigningAlgorithm.ecdsaP256, SignatureScheme.ecdsa(.sha256)), (.ecdsaP384, .ecdsa(.sha384)),
            (.ecdsaP521, .ecdsa(.sha512)),
        ])
    func curves(_ algorithm: SigningAlgorithm, _ scheme: SignatureScheme) async throws {
        let key = try PrivateKey.generate(algorithm)
        let signer = try await Self.place(try Self.vault(key)).signer(Self.reference) { SecretBytes([]) }
        #expect(signer.schemes == [scheme])
        let message = try HashedMessage.of([1, 2, 3], schemes: [scheme])
        let signature = try await signer.sign(message, scheme: scheme)
        #expect(try key.publicKey.verifies(signature, of: message, scheme: scheme))
        await #expect(throws: SigstoreError.self) {
            try await signer.sign(message, scheme: scheme == .ecdsa(.sha256) ? .ecdsa(.sha384) : .ecdsa(.sha256))
        }
    }

    @Test(
        "RSA keys sign in every way that Azure has, over SHA-256 first; the version that is known is the one that signs"
    )
    func algorithms() async throws {
        let key = try PrivateKey.generate(.rsa2048)
        let service = try Self.vault(key)
        let signer = try await Self.place(service).signer(Self.reference) { SecretBytes([]) }
        #expect(signer.schemes.first == .rsaPKCS1(.sha256) && signer.schemes.count == 6)
        for scheme in signer.schemes {
            let message = try HashedMessage.of([1, 2, 3], schemes: [scheme])
            let signature = try await signer.sign(message, scheme: scheme)
            #expect(try key.publicKey.verifies(signature, of: message, scheme: scheme))
        }
        let paths = service.requests.map(\.url.path)
        #expect(paths.last == "/keys/signkey/\(Self.version)/sign")
        // The challenge, the token, the key, and a signature for each way.
        #expect(paths.count == 9)
    }

    @Test(
        "A run asks for the public key once and signs a hundred times, also if it is throttled, and with another token if one ends"
    )
    func manySignatures() async throws {
        let key = try PrivateKey.generate(.ecdsaP256)
        let tokens = Mutex(0)
        let service = try Self.vault(key) { request, number throws(SigstoreError) in
            if request.url.origin.host.hasPrefix("login") {
                let count = tokens.withLock {
                    $0 += 1
                    return $0
                }
                return (200, [], #"{"access_token":"token\#(count)","expires_in":"3599"}"#)
            }
            if number == 5 || number == 50 { return (429, [(name: "retry-after", value: "0")], "") }
            if number == 7 { return (500, [], "") }
            // The first token ends before its time.
            if number > 20, AWSTests.value(request.authorization) == "Bearer token1" {
                return (401, Self.challenge, #"{"error":{"code":"Unauthorized","message":"AKV10000"}}"#)
            }
            return nil
        }
        let place = Self.place(service)
        try await withThrowingTaskGroup { group in
            for number in 0..<100 {
                group.addTask {
                    let signer = try await place.signer(Self.reference) { SecretBytes([]) }
                    let message = try HashedMessage.of(Array("\(number)".utf8), schemes: [.ecdsa(.sha256)])
                    _ = try await signer.sign(message, scheme: .ecdsa(.sha256))
                }
            }
            try await group.waitForAll()
        }
        #expect(service.requests.filter { $0.method == "GET" && $0.authorization != nil }.count == 1)
        #expect(tokens.withLock { $0 } == 2)
    }

    @Test("A signature by another version is refused")
    func otherVersionSigns() async throws {
        let key = try PrivateKey.generate(.ecdsaP256)
        let message = try HashedMessage.of([1], schemes: [.ecdsa(.sha256)])
        let service = try Self.vault(key, signedVersion: String(Self.version.reversed()))
        let error = await AWSTests.failure {
            let signer = try await Self.place(service).signer(Self.reference) { SecretBytes([]) }
            _ = try await signer.sign(message, scheme: .ecdsa(.sha256))
        }
        #expect(error?.code == .keyMismatch, "\(error?.description ?? "")")
        for words in ["ES256", "sha256", Self.version] { #expect(error?.message.contains(words) == true) }
    }

    @Test(
        "Answers that cannot be are refused",
        arguments: [
            "", "{", "[]", "{}", #"{"key":{}}"#, #"{"key":{"kty":"EC"}}"#,
            #"{"key":{"kid":"https://testvault.vault.azure.net/keys/other/\#(version)","kty":"EC","crv":"P-256","x":"AA","y":"AA"}}"#,
            #"{"key":{"kid":"https://other.vault.azure.net/keys/signkey/\#(version)","kty":"EC","crv":"P-256","x":"AA","y":"AA"}}"#,
            #"{"key":{"kid":"https://testvault.vault.azure.net/keys/signkey/\#(version)","kty":"EC","crv":"P-256","x":"AA","y":"AA"}}"#,
            #"{"key":{"kid":"https://testvault.vault.azure.net/keys/signkey/\#(version)","kty":"EC","crv":"P-256","x":"A!","y":"AA"}}"#,
            #"{"key":{"kid":"https://testvault.vault.azure.net/keys/signkey/\#(version)","kty":"RSA","n":"AQAB","e":"AQAB"}}"#,
        ])
    func strangeAnswers(_ text: String) async throws {
        let service = try Self.vault(try PrivateKey.generate(.ecdsaP256), describing: text)
        let error = await AWSTests.failure { _ = try await Self.place(service).publicKey(Self.reference) }
        #expect(
            error?.code == .keyServiceAnswer || error?.code == .keyUnusable && text.contains("RSA"),
            "\(error?.description ?? "")")
    }

    @Test("A version that was not asked for is refused")
    func otherVersion() async throws {
        let service = try Self.vault(try PrivateKey.generate(.ecdsaP256))
        let other = "\(Self.reference)/\(String(Self.version.reversed()))"
        let error = await AWSTests.failure { _ = try await Self.place(service).publicKey(other) }
        #expect(error?.code == .keyServiceAnswer && error?.message.contains(Self.version) == true)
    }

    @Test(
        "Keys that cannot sign are refused before anything is signed, and still verify",
        arguments: [
            ("\"enabled\":false", "\"sign\"", "is disabled"),
            ("\"enabled\":true,\"exp\":1700000000", "\"sign\"", "has expired"),
            ("\"enabled\":true,\"nbf\":1800000000", "\"sign\"", "may not be used before"),
            ("\"enabled\":true", "\"verify\"", "is not for signing, but for verify"),
        ])
    func unusable(_ attributes: String, _ operations: String, _ words: String) async throws {
        let key = try PrivateKey.generate(.ecdsaP256)
        let text = try Self.answer(key.publicKey, attributes: attributes, operations: operations)
        let place = Self.place(try Self.vault(key, describing: text))
        let error = await AWSTests.failure { _ = try await place.signer(Self.reference) { SecretBytes([]) } }
        #expect(error?.code == .keyUnusable && error?.message.contains(words) == true, "\(error?.description ?? "")")
        #expect(try await place.publicKey(Self.reference).isSame(as: key.publicKey))
    }

    @Test("Keys of other kinds are refused by their names", arguments: [("EC", "P-256K"), ("oct-HSM", "P-256")])
    func otherKinds(_ type: String, _ curve: String) async throws {
        let text = try Self.answer(try PrivateKey.generate(.ecdsaP256).publicKey, type: type).replacing(
            "P-256", with: curve)
        let service = try Self.vault(try PrivateKey.generate(.ecdsaP256), describing: text)
        let error = await AWSTests.failure { _ = try await Self.place(service).publicKey(Self.reference) }
        #expect(error?.code == .keyUnusable && error?.message.contains(type == "EC" ? curve : type) == true)
    }

    @Test("Keys in hardware and coordinates without their zeros are read")
    func webKeys() throws {
        var key = try PrivateKey.generate(.ecdsaP256).publicKey
        // One in 256 coordinates begins with a zero.
        while key.spki.suffix(64).first != 0 { key = try PrivateKey.generate(.ecdsaP256).publicKey }
        let text = try Self.answer(key, type: "EC-HSM")
        let short = text.replacing(
            Base64.encodeURLSafe(key.spki.suffix(64).prefix(32)),
            with: Base64.encodeURLSafe(key.spki.suffix(63).prefix(31)))
        for text in [text, short] {
            let json = try JSONCursor(try JSONValue(parsing: Array(text.utf8))).member("key")
            let read = try JSONWebKey(json)
            #expect(read.publicKey.isSame(as: key) && read.type == "EC-HSM")
        }
        #expect(text != short)
    }

    // MARK: - Errors

    @Test(
        "Each error of the service says what is the matter, with which key, for whom",
        arguments: [
            (
                403,
                #"{"code":"Forbidden","message":"Caller is not authorized to perform action on resource.\r\nCaller: appid=app-1;oid=obj-1;iss=https://sts.windows.net/x/\r\nAction: 'x'","innererror":{"code":"ForbiddenByRbac"}}"#,
                "key-denied",
                [
                    "Microsoft.KeyVault/vaults/keys/sign/action", "appid=app-1;oid=obj-1", "Key Vault Crypto User",
                    "signkey",
                ]
            ),
            (
                403,
                #"{"code":"Forbidden","message":"The user does not have keys sign permission","innererror":{"code":"AccessDenied"}}"#,
                "key-denied", ["application \(client)", "the key permission sign"]
            ),
            (
                403,
                #"{"code":"Forbidden","message":"Client address is not authorized and caller is not a trusted service.","innererror":{"code":"ForbiddenByFirewall"}}"#,
                "key-denied", ["firewall", "network rules"]
            ),
            (
                403,
                #"{"code":"Forbidden","message":"Operation sign is not allowed on a disabled key.","innererror":{"code":"KeyDisabled"}}"#,
                "key-unusable", ["is disabled", "signkey"]
            ),
            (
                403, #"{"code":"Forbidden","message":"Operation sign is not allowed on an expired key."}"#,
                "key-unusable", ["has expired"]
            ),
            (
                403, #"{"code":"Forbidden","message":"Operation sign is not allowed on a key that is not yet valid."}"#,
                "key-unusable",
                ["may not be used yet"]
            ),
            (
                403, #"{"code":"Forbidden","message":"Operation sign is not permitted on this key."}"#, "key-unusable",
                ["not for signing"]
            ),
            (
                404, #"{"code":"KeyNotFound","message":"A key was not found in this key vault."}"#, "key-not-found",
                ["az keyvault key list --vault-name testvault"]
            ),
            (
                401, #"{"code":"Unauthorized","message":"AKV10032: Invalid issuer. Expected one of x"}"#, "key-denied",
                ["another tenant"]
            ),
            (
                401, #"{"code":"Unauthorized","message":"AKV10000"}"#, "key-denied",
                ["2026-01-02T03:04:05Z", "Thu, 01 Jan"]
            ),
            (429, #"{"code":"Throttled","message":"slow"}"#, "key-service-failed", ["too many requests"]),
            (503, #"{"code":"ServiceUnavailable","message":"busy"}"#, "key-service-failed", ["failed"]),
            (
                400, #"{"code":"BadParameter","message":"Invalid length of value"}"#, "key-unusable",
                ["BadParameter", "Invalid length"]
            ),
            (403, "\"a string\"", "key-denied", ["HTTP 403"]),
        ] as [(Int, String, String, [String])])
    func errors(_ status: Int, _ error: String, _ code: String, _ words: [String]) async throws {
        let key = try PrivateKey.generate(.ecdsaP256)
        let service = try Self.vault(key) { request, _ throws(SigstoreError) in
            guard request.method == "POST", request.authorization != nil else { return nil }
            return (
                status, [(name: "retry-after", value: "99"), (name: "date", value: "Thu, 01 Jan 2026 00:00:00 GMT")],
                "{\"error\":\(error)}"
            )
        }
        let signer = try await Self.place(service).signer(Self.reference) { SecretBytes([]) }
        let message = try HashedMessage.of([1], schemes: [.ecdsa(.sha256)])
        let found = await AWSTests.failure { _ = try await signer.sign(message, scheme: .ecdsa(.sha256)) }
        #expect(found?.code.rawValue == code, "\(found?.description ?? "")")
        for words in words + [Self.reference] {
            #expect(found?.description.contains(words) == true, "\(found?.description ?? "")")
        }
        #expect(found?.description.contains("az-token") == false && found?.description.contains("s3cr3t") == false)
    }

    @Test("The network's errors say to look at the name of the vault")
    func noVault() async throws {
        let error = await AWSTests.failure { _ = try await Self.place(AWSTests.unreachable).publicKey(Self.reference) }
        #expect(error?.code == .unreachable && error?.description.contains("check the name of the vault") == true)
    }

    // MARK: - Making keys

    @Test("A key is made once, in hardware by a Managed HSM; what is left of one that was deleted is said")
    func making() async throws {
        let key = try PrivateKey.generate(.ecdsaP384)
        func service(_ host: String, _ status: Int = 200) throws -> AWSTests.Service {
            let text = try Self.answer(key.publicKey, host: host)
            return AWSTests.Service { request, _ throws(SigstoreError) in
                if request.url.origin.host.hasPrefix("login") {
                    return (200, [], #"{"access_token":"t","expires_in":3599}"#)
                }
                guard request.authorization != nil else {
                    let resource = host.contains("managedhsm") ? "managedhsm" : "vault"
                    return (
                        401,
                        [
                            (
                                name: "www-authenticate",
                                value:
                                    "Bearer authorization=\"https://l/t\", resource=\"https://\(resource).azure.net\""
                            )
                        ], ""
                    )
                }
                guard request.method == "POST" else {
                    return (404, [], #"{"error":{"code":"KeyNotFound","message":""}}"#)
                }
                return (
                    status, [],
                    status == 200 ? text : #"{"error":{"code":"Conflict","message":"ObjectIsDeletedButRecoverable"}}"#
                )
            }
        }
        for (host, type) in [("testvault.vault.azure.net", "EC"), ("hsm.managedhsm.azure.net", "EC-HSM")] {
            let service = try service(host)
            let made = try await Self.place(service).makeKey("azurekms://\(host)/signkey", algorithm: .ecdsaP384)
            #expect(made.isNew && made.publicKey.isSame(as: key.publicKey))
            let request = try #require(service.requests.last)
            #expect(request.url.description == "https://\(host)/keys/signkey/create?api-version=2025-07-01")
            #expect(
                request.text
                    == #"{"attributes":{"enabled":true},"key_ops":["sign","verify"],"kty":"\#(type)","tags":{"use":"sigstore"},"crv":"P-384"}"#
            )
        }
        let deleted = await AWSTests.failure {
            _ = try await Self.place(try service("testvault.vault.azure.net", 409)).makeKey(
                Self.reference, algorithm: nil)
        }
        #expect(deleted?.code == .keyUnusable)
        #expect(deleted?.description.contains("az keyvault key recover --vault-name testvault --name signkey") == true)
        let there = Self.place(try Self.vault(key))
        #expect(try await !there.makeKey(Self.reference, algorithm: nil).isNew)
        for (reference, algorithm) in [(Self.reference, SigningAlgorithm.ecdsaP256), (Self.reference, .ed25519)] {
            let error = await AWSTests.failure { _ = try await there.makeKey(reference, algorithm: algorithm) }
            #expect(error?.code == .keyUnusable)
        }
        let named = await AWSTests.failure {
            _ = try await there.makeKey("\(Self.reference)/\(Self.version)", algorithm: nil)
        }
        #expect(named?.code == .unknownKeyReference)
    }

    @Test(
        "If nobody knows whether a key was made, that is said, with the command that shows it, and it is made no second time",
        arguments: [
            (500, "", true), (408, "", true), (0, "", true), (200, "{", true), (200, "{}", true), (400, "{}", false),
        ])
    func lostAnswer(_ status: Int, _ answer: String, _ mayBeThere: Bool) async throws {
        let service = try Self.vault(try PrivateKey.generate(.ecdsaP256)) { request, _ throws(SigstoreError) in
            guard request.authorization != nil else { return nil }
            guard request.method == "POST" else { return (404, [], #"{"error":{"code":"KeyNotFound","message":""}}"#) }
            guard status != 0 else { throw SigstoreError(.unreachable, "the connection broke off") }
            return (status, [], answer)
        }
        let error = await AWSTests.failure {
            _ = try await Self.place(service).makeKey(Self.reference, algorithm: nil)
        }
        let text = error?.description ?? "no error"
        #expect(text.contains("the key may have been made") == mayBeThere, "\(text)")
        let command = "az keyvault key show --vault-name testvault --name signkey"
        #expect(text.contains(command) == mayBeThere, "\(text)")
        #expect(service.requests.filter { $0.url.path.hasSuffix("/create") }.count == 1)
    }

    @Test(
        "A conflict says which one it is",
        arguments: [
            (
                "ObjectIsDeletedButRecoverable", "was deleted and can still be recovered",
                "az keyvault key recover --vault-name testvault --name signkey"
            ),
            ("ObjectIsBeingDeleted", "is being deleted", "in a minute"),
            ("ObjectIsBeingRecovered", "is being recovered", "in a minute"),
            ("Other", "does something else with the key signkey just now", "az keyvault key show"),
        ])
    func conflicts(_ inner: String, _ words: String, _ advice: String) async throws {
        for isInner in [true, false] {
            // Older answers say it in words alone.
            let said = [
                "ObjectIsDeletedButRecoverable": "Key signkey is currently in a deleted but recoverable state",
                "ObjectIsBeingDeleted": "Key signkey is currently being deleted",
                "ObjectIsBeingRecovered": "Key signkey is currently being recovered",
            ]
            let error =
                isInner
                ? #"{"code":"Conflict","message":"x","innererror":{"code":"\#(inner)"}}"#
                : #"{"code":"Conflict","message":"\#(said[inner] ?? "x")"}"#
            let service = try Self.vault(try PrivateKey.generate(.ecdsaP256)) { request, _ throws(SigstoreError) in
                guard request.authorization != nil else { return nil }
                return request.method == "POST"
                    ? (409, [], "{\"error\":\(error)}")
                    : (404, [], #"{"error":{"code":"KeyNotFound","message":""}}"#)
            }
            let found = await AWSTests.failure {
                _ = try await Self.place(service).makeKey(Self.reference, algorithm: nil)
            }
            #expect(
                found?.code == .keyUnusable && found?.message.contains(words) == true, "\(found?.description ?? "")")
            #expect(found?.advice?.description.contains(advice) == true, "\(found?.description ?? "")")
        }
    }

    @Test("Two keys, and two vaults, whose names are nearly one are never taken for each other")
    func nearlyOne() async throws {
        let (prod, dev) = (try PrivateKey.generate(.ecdsaP256), try PrivateKey.generate(.ecdsaP256))
        let references = [
            "azurekms://team-prod.vault.azure.net/prod", "azurekms://team-prod.vault.azure.net/prod1",
            "azurekms://team-prod1.vault.azure.net/prod", "azurekms://team-dev.vault.azure.net/prod",
            "azurekms://team-prod.managedhsm.azure.net/prod", "azurekms://team-prod.vault.azure.cn/prod",
        ]
        let place = Self.place(AWSTests.unreachable)
        #expect(Set(references.map { place.owner(of: $0) }).count == references.count)
        let expected = try AzureKeyReference(references[0])
        for other in references {
            let id = other.replacing("azurekms://", with: "https://").replacing(".net/", with: ".net/keys/")
                .replacing(".cn/", with: ".cn/keys/")
            #expect((expected.version(in: "\(id)/\(Self.version)") == nil) == (other != references[0]), "\(other)")
        }
        // One run with both: each is asked for by its name, and answers with its own key.
        let service = AWSTests.Service { request, _ throws(SigstoreError) in
            if request.url.origin.host.hasPrefix("login") {
                return (200, [], #"{"access_token":"t","expires_in":3599}"#)
            }
            guard request.authorization != nil else { return (401, Self.challenge, "") }
            let parts = request.url.path.split(separator: "/")
            let isProd = parts[1] == "prod" && request.url.origin.host == "team-prod.vault.azure.net"
            do {
                let text = try Self.answer((isProd ? prod : dev).publicKey, host: request.url.origin.host)
                return (200, [], text.replacing("/keys/signkey/", with: "/keys/\(parts[1])/"))
            } catch { throw SigstoreError(.unexpectedJSON, "\(error)") }
        }
        let both = Self.place(service)
        for reference in references.prefix(4) + references.prefix(4) {
            let key = try await both.publicKey(reference)
            #expect(key.isSame(as: (reference == references[0] ? prod : dev).publicKey), "\(reference)")
        }
        #expect(service.requests.filter { $0.authorization != nil }.count == 4)
    }

    // MARK: - For whom a token is

    @Test(
        "A token is never asked for another service than the one that the vault is in",
        arguments: [
            "Bearer authorization=\"https://l/t\", resource=\"https://management.azure.com\"",
            "Bearer authorization=\"https://l/t\", resource=\"https://ault.azure.net\"",
            "Bearer authorization=\"https://l/t\", resource=\"http://vault.azure.net\"",
            "Bearer authorization=\"https://l/t\", resource=\"https://vault.azure.net:8443\"",
            "Bearer authorization=\"https://l/t\", resource=\"https://vault.azure.net\", resource=\"https://azure.net\"",
            "Bearer authorization=\"https://l/t\", resource=\"https://net\"", "Bearer authorization=\"https://l/t\"",
            "Basic realm=x", "",
        ])
    func otherServices(_ header: String) async throws {
        let service = AWSTests.Service { request, _ throws(SigstoreError) in
            #expect(request.authorization == nil)
            return (401, header.isEmpty ? [] : [(name: "www-authenticate", value: header)], "")
        }
        let error = await AWSTests.failure { _ = try await Self.place(service).publicKey(Self.reference) }
        #expect(error?.code == .keyServiceAnswer && service.requests.count == 1, "\(error?.description ?? "")")
    }

    @Test("A challenge may name a scope, and stand beside others")
    func scopes() throws {
        let origin = try HTTPURL.origin("h.managedhsm.azure.net", .https)
        let challenge = try AzureChallenge(
            [
                "PoP nonce=x",
                "bearer authorization_uri=\"https://login.microsoftonline.com/\(Self.tenant)\", scope=\"https://managedhsm.azure.net/.default\"",
            ], of: origin)
        #expect(challenge.resource == "https://managedhsm.azure.net" && challenge.tenant == Self.tenant)
    }
}
