import HTTPTransport
import LocalSystem
public import SigstoreCrypto
public import StrictJSON

/// Keys in AWS KMS: `awskms:///alias/NAME` and the like.
///
/// To sign takes two permissions, kms:GetPublicKey and kms:Sign; to verify the first one. A key's public half is asked for once
/// a run, and verifying is done here.
public final class AWSKeys: KeyMaker {
    /// What the service tells of a key.
    private struct Key: Sendable {
        let publicKey: PublicKey
        /// The algorithms that it signs with and that are known here, the best first, by their schemes.
        let algorithms: [(scheme: SignatureScheme, name: String)]
        let subject: AWSKeyService.Subject
        let service: AWSKeyService
    }

    /// What all keys of a run share.
    private struct Setting: Sendable {
        let profiles: AWSProfiles
        let http: any HTTPClient
    }

    private let surroundings: KeySurroundings
    private let settings = Once<Int, Setting>()
    private let services = Once<[String], AWSKeyService>()
    private let regions = Once<Int, String?>()
    private let keys = Once<String, Key>()

    /// Makes the place. Nothing is read or asked yet.
    /// - Parameter surroundings: The variables, the clock and the network.
    public init(_ surroundings: KeySurroundings) { self.surroundings = surroundings }

    public func knows(_ reference: String) -> Bool { AWSKeyReference.isMeant(reference) }

    public func trustVariables(_ reference: String) -> [String] {
        [
            "AWS_ENDPOINT_URL_KMS", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_CA_BUNDLE",
            "AWS_TLS_INSECURE_SKIP_VERIFY", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_PROFILE",
            "AWS_DEFAULT_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN",
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "AWS_USE_FIPS_ENDPOINT",
            "AWS_USE_DUALSTACK_ENDPOINT",
        ].filter { surroundings.variable($0) != nil }
    }

    public func check(_ reference: String) throws(SigstoreError) { _ = try AWSKeyReference(reference) }

    public func publicKey(_ reference: String) async throws(SigstoreError) -> PublicKey {
        try await key(AWSKeyReference(reference)).publicKey
    }

    public func signer(_ reference: String, password: @escaping PasswordSource) async throws(SigstoreError)
        -> any Signer
    {
        let key = try await key(AWSKeyReference(reference))
        return AWSSigner(
            publicKey: key.publicKey, algorithms: key.algorithms, keyID: try AWSKeyReference(reference).keyID,
            subject: key.subject, service: key.service)
    }

    public func facts(_ reference: String) async throws(SigstoreError) -> [KeyFact] {
        let key = try await key(AWSKeyReference(reference))
        let credentials = try await key.service.credentials()
        var facts = [
            KeyFact("service", "AWS KMS, \(key.service.url.origin)"), KeyFact("region", key.service.region),
            KeyFact("key", key.subject.name), KeyFact("algorithm", "\(key.publicKey.kind)"),
            KeyFact("signs as", key.algorithms.map(\.name).joined(separator: ", ")),
            KeyFact("credentials", "\(credentials.source), access key \(credentials.accessKeyID)"),
        ]
        if let account = key.subject.account { facts.append(KeyFact("key's account", account)) }
        facts.append(KeyFact("identity", try await key.service.identity()))
        if let end = credentials.expiration { facts.append(KeyFact("credentials end", "\(end)")) }
        return facts
    }

    // MARK: - Making keys

    /// What KMS calls a kind of key (KMS API, CreateKey, KeySpec).
    private static func specification(_ algorithm: SigningAlgorithm) -> (kind: PublicKey.Kind, name: String)? {
        switch algorithm {
        case .ecdsaP256: (.ecP256, "ECC_NIST_P256")
        case .ecdsaP384: (.ecP384, "ECC_NIST_P384")
        case .ecdsaP521: (.ecP521, "ECC_NIST_P521")
        case .rsa2048: (.rsa(bits: 2048), "RSA_2048")
        case .rsa3072: (.rsa(bits: 3072), "RSA_3072")
        case .rsa4096: (.rsa(bits: 4096), "RSA_4096")
        case .ed25519, .ed25519ph: nil
        }
    }

    public func makeKey(_ reference: String, algorithm: SigningAlgorithm?) async throws(SigstoreError) -> (
        publicKey: PublicKey, isNew: Bool
    ) {
        let place = try AWSKeyReference(reference)
        let wanted = algorithm ?? .ecdsaP256
        let specification = try name(of: wanted, reference, "AWS KMS", Self.specification)
        guard let alias = place.alias else {
            throw SigstoreError(
                .unknownKeyReference, "\(reference): a key is made under an alias, and this names one by its id",
                advice: "write it as awskms:///alias/NAME")
        }
        // What cannot be made is found before a key is, which would be left without an alias.
        guard !alias.utf8.starts(with: "alias/aws/".utf8), !alias.utf8.contains(0x3a) else {
            throw SigstoreError(
                .unknownKeyReference, "\(reference): the alias \(alias) is not one that can be made",
                advice: "use letters, digits, / _ and - behind alias/, and not alias/aws/…, which is AWS's own")
        }
        let there = try await keyThere(reference) { () async throws(SigstoreError) in
            try await key(place)
        } difference: { there in
            algorithm == nil || there.publicKey.kind == specification.kind
                ? nil : "is \(there.publicKey.kind), not one for \(wanted.rawValue)"
        }
        if let there { return (there.publicKey, false) }
        let service = try await service(place)
        let subject = subject(place)
        let made = try await service.ask(
            .createKey,
            [
                "Description": .string("Created by swsign"), "KeySpec": .string(specification.name),
                "KeyUsage": .string("SIGN_VERIFY"),
            ], about: subject)
        let (id, name): (String, String)
        do throws(SigstoreError) {
            let metadata = try JSONCursor(made).member("KeyMetadata")
            id = try metadata.member("KeyId").string()
            name = try metadata.optional("Arn")?.string() ?? id
            if let account = place.arn?.account, let arn = AWSKeyReference.arn(name)?.parts, arn.account != account {
                throw SigstoreError(
                    .keyDenied,
                    "\(reference) names the account \(account), and these credentials make keys in \(arn.account): the key \(name) was made there, and has no alias",
                    advice:
                        "remove it (aws kms schedule-key-deletion), and use credentials of the account that is named")
            }
        } catch {
            if error.code == .keyDenied { throw error }
            throw AWSKeyService.mayHaveMade(
                AWSKeyService.fault(
                    subject, "what AWS KMS answers to CreateKey is not as it should be: \(error.message)", error))
        }
        do throws(SigstoreError) {
            _ = try await service.ask(
                .createAlias, ["AliasName": .string(alias), "TargetKeyId": .string(id)], about: subject)
        } catch {
            var error = error
            error.message += "; the key \(name) was made, and has no alias"
            error.advice = SigstoreError.Advice.sentence(
                "then give that key the alias (aws kms create-alias), or remove it (aws kms schedule-key-deletion)"
            ).after(error.advice)
            throw error
        }
        // What was just made may take a moment to be seen everywhere.
        var attempt = 1
        while true {
            do throws(SigstoreError) {
                let found = try await key(place)
                guard
                    AWSKeyReference.isSameKey(found.subject.name, id)
                        || found.subject.name.utf8.elementsEqual(alias.utf8)
                else {
                    throw SigstoreError(
                        .keyUnusable,
                        "\(reference): the alias names the key \(found.subject.name), which was made at the same time; the key \(name) was made, and has no alias",
                        advice: "use the key that is there, and remove the other one (aws kms schedule-key-deletion)")
                }
                guard found.publicKey.kind == specification.kind else {
                    throw AWSKeyService.fault(
                        subject, "the key \(name) was made as \(specification.name), and is \(found.publicKey.kind)")
                }
                return (found.publicKey, true)
            } catch {
                guard error.code == .keyNotFound, attempt < 6 else {
                    var error = error
                    error.message += "; the key \(name) was made, and has the alias \(alias)"
                    throw error
                }
            }
            try await ServiceAttempts.pause(RetryPolicy().delay(after: attempt))
            attempt += 1
        }
    }

    // MARK: - Looking a key up

    private func subject(_ place: AWSKeyReference) -> AWSKeyService.Subject {
        AWSKeyService.Subject(reference: place.text, name: place.keyID, account: place.arn?.account)
    }

    private func key(_ place: AWSKeyReference) async throws(SigstoreError) -> Key {
        try await keys.value(place.text) { () async throws(SigstoreError) in
            let service = try await self.service(place)
            var subject = self.subject(place)
            let answer = JSONCursor(
                try await service.ask(.getPublicKey, ["KeyId": .string(place.keyID)], about: subject))
            do throws(SigstoreError) {
                let id = try answer.optional("KeyId")?.string() ?? ""
                try place.expectAnswer(about: id)
                if let arn = AWSKeyReference.arn(id) { (subject.name, subject.account) = (id, arn.parts.account) }
                let usage = try answer.member("KeyUsage").string()
                guard usage.utf8.elementsEqual("SIGN_VERIFY".utf8) else {
                    throw SigstoreError(
                        .keyUnusable,
                        "the key \(subject.name) is not for signing: its usage is \(SigstoreError.shortened(usage)), expected SIGN_VERIFY",
                        advice: "use a key with the usage SIGN_VERIFY")
                }
                var offered: [String] = []
                for algorithm in try answer.member("SigningAlgorithms").elements() {
                    offered.append(try algorithm.string())
                }
                var specification = try answer.optional("KeySpec")?.string()
                if specification == nil { specification = try answer.optional("CustomerMasterKeySpec")?.string() }
                let name = subject.name
                func unusable(_ kind: String) -> SigstoreError {
                    SigstoreError(
                        .keyUnusable,
                        "the key \(name) (\(SigstoreError.shortened(specification ?? kind))) signs in no way that is known here, but with \(SigstoreError.shortened(offered.joined(separator: ", ")))",
                        advice: "use a key of the kind ECC_NIST_P256, P384 or P521, or RSA")
                }
                let publicKey: PublicKey
                do throws(SigstoreError) {
                    // KMS takes a salt for PSS that is as long as the digest (KMS Developer Guide, "Key spec reference").
                    publicKey = try PublicKey(der: try answer.member("PublicKey").bytes()).demandingDigestSalt()
                } catch {
                    guard error.code == .unsupportedKey else { throw error }
                    throw unusable(error.message)
                }
                if let known = SigningAlgorithm.allCases.lazy.compactMap(Self.specification).first(where: {
                    $0.name == specification
                }), known.kind != publicKey.kind {
                    throw SigstoreError(
                        .unexpectedJSON,
                        "it says that the key is \(known.name), and gives one that is \(publicKey.kind)")
                }
                let algorithms = Self.algorithms.filter { known in
                    publicKey.schemes.contains(known.scheme)
                        && offered.contains { $0.utf8.elementsEqual(known.name.utf8) }
                }
                guard !algorithms.isEmpty else { throw unusable("\(publicKey.kind)") }
                return Key(publicKey: publicKey, algorithms: algorithms, subject: subject, service: service)
            } catch {
                if error.code == .keyUnusable { throw error.concerning(place.text) }
                throw AWSKeyService.fault(
                    subject, "what AWS KMS answers to GetPublicKey is not as it should be: \(error.message)", error)
            }
        }
    }

    /// KMS's signing algorithms that are known here, the best first (KMS API, Sign).
    private static let algorithms: [(scheme: SignatureScheme, name: String)] = [
        (.ecdsa(.sha256), "ECDSA_SHA_256"), (.ecdsa(.sha384), "ECDSA_SHA_384"), (.ecdsa(.sha512), "ECDSA_SHA_512"),
        (.rsaPKCS1(.sha256), "RSASSA_PKCS1_V1_5_SHA_256"), (.rsaPKCS1(.sha384), "RSASSA_PKCS1_V1_5_SHA_384"),
        (.rsaPKCS1(.sha512), "RSASSA_PKCS1_V1_5_SHA_512"), (.rsaPSS(.sha256), "RSASSA_PSS_SHA_256"),
        (.rsaPSS(.sha384), "RSASSA_PSS_SHA_384"), (.rsaPSS(.sha512), "RSASSA_PSS_SHA_512"),
    ]

    // MARK: - Finding the service

    private func setting() async throws(SigstoreError) -> Setting {
        let surroundings = surroundings
        return try await settings.value(0) { () async throws(SigstoreError) in
            let profiles = try await onBlockingThread { () throws(SigstoreError) in
                try AWSProfiles(surroundings.variable)
            }
            var tls = TLSOptions()
            tls.authorityFile = surroundings.variable("AWS_CA_BUNDLE") ?? profiles.setting("ca_bundle")
            if surroundings.variable("AWS_TLS_INSECURE_SKIP_VERIFY") == "1" {
                guard tls.authorityFile == nil else {
                    throw SigstoreError(
                        .keyServiceSettings,
                        "AWS_CA_BUNDLE (or ca_bundle) says whom to trust, and AWS_TLS_INSECURE_SKIP_VERIFY to check no certificate",
                        advice: "unset AWS_TLS_INSECURE_SKIP_VERIFY")
                }
                tls.insecureSkipsVerification = true
                surroundings.warning(
                    "the certificates of AWS's services (KMS, and STS and single sign-on for credentials) are not verified: others may read and change what is sent (AWS_TLS_INSECURE_SKIP_VERIFY)"
                )
            }
            return Setting(profiles: profiles, http: try surroundings.client(tls))
        }
    }

    private func service(_ place: AWSKeyReference) async throws(SigstoreError) -> AWSKeyService {
        do throws(SigstoreError) {
            let setting = try await setting()
            let profiles = setting.profiles
            let configured = try profiles.endpoint("kms")
            let endpoint: HTTPURL?
            switch configured {
            case .ofService(let url): endpoint = url
            case .ofAll(let url): endpoint = place.endpoint ?? url
            case nil: endpoint = place.endpoint
            }
            var region = place.arn?.region ?? profiles.region
            if region == nil, let endpoint { region = Self.region(in: endpoint.origin.host) ?? "us-east-1" }
            if region == nil { region = try await regionOfInstance(setting) }
            guard let region else {
                throw SigstoreError(
                    .keyServiceSettings,
                    "no region of AWS is named, by an ARN, AWS_REGION, or \(profiles.place)",
                    advice: "set AWS_REGION, such as AWS_REGION=eu-central-1, or give the ARN of the key")
            }
            let url: HTTPURL
            if let endpoint { url = endpoint } else { url = try profiles.standardEndpoint("kms", region: region) }
            return try await services.value([url.description, region]) {
                [surroundings] () async throws(SigstoreError) in
                if url.origin.scheme == .http, !url.origin.isLoopback {
                    surroundings.warning(
                        "AWS KMS is asked over plain HTTP at \(url.origin), as its endpoint is configured: others may read and change what is sent"
                    )
                }
                var attempts: Int?
                if let text = surroundings.variable("AWS_MAX_ATTEMPTS") ?? profiles.setting("max_attempts") {
                    guard let number = Int(text), (1...100).contains(number) else {
                        throw SigstoreError(
                            .keyServiceSettings,
                            "AWS_MAX_ATTEMPTS (or max_attempts) is \"\(text.prefix(32))\", not a number from 1 to 100",
                            advice: "correct it, or unset it")
                    }
                    attempts = number
                }
                let chain = AWSCredentialChain(surroundings, profiles, setting.http, region: region)
                return AWSKeyService(
                    url, region: region, http: setting.http, chain: chain, surroundings: surroundings,
                    attempts: attempts)
            }
        } catch { throw error.concerning(place.text) }
    }

    /// The region that stands in the name of an endpoint of AWS: `…kms.REGION.…`.
    private static func region(in host: String) -> String? {
        let labels = host.split(separator: ".").map(String.init)
        guard labels.contains(where: { $0 == "amazonaws" || $0 == "api" }),
            let place = labels.firstIndex(where: { $0 == "kms" || $0 == "kms-fips" }), labels.count > place + 1,
            AWSProfiles.isRegion(labels[place + 1])
        else { return nil }
        return labels[place + 1]
    }

    private func regionOfInstance(_ setting: Setting) async throws(SigstoreError) -> String? {
        let surroundings = surroundings
        return try await regions.value(0) { () async throws(SigstoreError) in
            do throws(SigstoreError) {
                let metadata = try await AWSInstanceMetadata(surroundings, setting.http)
                guard let bytes = try await metadata.get("/latest/meta-data/placement/region") else { return nil }
                let text = String(decoding: bytes, as: UTF8.self)
                return AWSProfiles.isRegion(text) ? text : nil
            } catch {
                // That there is no such service is no fault of its own: the region is missing.
                guard [.unreachable, .timedOut, .keyServiceSettings].contains(error.code) else { throw error }
                return nil
            }
        }
    }
}

/// A key of AWS KMS that signs digests.
private struct AWSSigner: Signer {
    let publicKey: PublicKey
    let algorithms: [(scheme: SignatureScheme, name: String)]
    /// What KMS is asked for.
    let keyID: String
    let subject: AWSKeyService.Subject
    let service: AWSKeyService

    var schemes: [SignatureScheme] { algorithms.map(\.scheme) }
    var displayName: String { "AWS KMS's key \(subject.name) (\(subject.reference))" }

    func sign(_ message: HashedMessage, scheme: SignatureScheme) async throws(SigstoreError) -> [UInt8] {
        guard let algorithm = algorithms.first(where: { $0.scheme == scheme })?.name, let hash = scheme.hash else {
            throw SigstoreError(
                .unsupportedKey,
                "\(subject.reference): the key \(subject.name) cannot sign with \(scheme), but with \(algorithms.map(\.name).joined(separator: ", "))",
                advice: "leave the algorithm out, or use another key")
        }
        guard let digest = message.digest(hash) else {
            throw SigstoreError(.messageNotRead, "the message was not read for \(scheme)")
        }
        let answer = JSONCursor(
            try await service.ask(
                .sign,
                [
                    "KeyId": .string(keyID), "Message": .bytes(digest.bytes), "MessageType": .string("DIGEST"),
                    "SigningAlgorithm": .string(algorithm),
                ], about: subject))
        do throws(SigstoreError) {
            if let used = try answer.optional("SigningAlgorithm")?.string(), !used.utf8.elementsEqual(algorithm.utf8) {
                throw SigstoreError(
                    .unexpectedJSON, "it was made with \(SigstoreError.shortened(used)), not with \(algorithm)")
            }
            return try answer.member("Signature").bytes()
        } catch {
            throw AWSKeyService.fault(
                subject, "what AWS KMS answers to Sign is not as it should be: \(error.message)", error)
        }
    }
}
