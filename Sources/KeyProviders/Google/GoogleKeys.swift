import HTTPTransport
import LocalSystem
public import SigstoreCrypto
public import StrictJSON
import Synchronization

/// Keys in Google Cloud KMS: `gcpkms://projects/P/locations/L/keyRings/R/cryptoKeys/K`, or one version of such a key.
///
/// To sign takes the role `roles/cloudkms.signerVerifier` on the key, and to verify `roles/cloudkms.publicKeyViewer`; without a
/// version in the reference, `cloudkms.cryptoKeyVersions.list` besides. A version's public half is asked for once a run, and
/// verifying is done here.
public final class GoogleKeys: KeyMaker {
    /// What the service tells of one version of a key.
    struct Version: Sendable {
        let number: Int
        let publicKey: PublicKey
        /// Google's name of how it signs, such as `EC_SIGN_P256_SHA256`, and what that is here.
        let algorithm: (name: String, scheme: SignatureScheme)
        let subject: GoogleKeyService.Subject
    }

    private let surroundings: KeySurroundings
    private let services = Once<Int, GoogleKeyService>()
    private let numbers = Once<String, [Int]>()
    private let versions = Once<String, Version>()
    /// The keys that were named, without their projects, and whether those were named by their numbers.
    private let spellings = Mutex<[String: Bool]>([:])

    /// Makes the place. Nothing is read or asked yet.
    /// - Parameter surroundings: The variables, the clock and the network.
    public init(_ surroundings: KeySurroundings) { self.surroundings = surroundings }

    public func knows(_ reference: String) -> Bool { GoogleKeyReference.isMeant(reference) }

    public func owner(of reference: String) -> String {
        (try? GoogleKeyReference(reference)).map { "gcpkms:\($0.keyName)" } ?? reference
    }

    public func trustVariables(_ reference: String) -> [String] {
        // A file of credentials may name another universe.
        [
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS", "GOOGLE_CLOUD_UNIVERSE_DOMAIN",
            "GOOGLE_APPLICATION_CREDENTIALS", "CLOUDSDK_CONFIG",
        ].filter { surroundings.variable($0) != nil }
    }

    public func check(_ reference: String) throws(SigstoreError) {
        let place = try GoogleKeyReference(reference)
        // A project has an id and a number: one key that is named by both would count for two signers.
        let isNumber = place.project.utf8.allSatisfy { (0x30...0x39).contains($0) }
        let key = "\(place.location)/\(place.ringID)/\(place.keyID)"
        let before = spellings.withLock { spellings in
            let before = spellings[key]
            spellings[key] = before ?? isNumber
            return before
        }
        guard before ?? isNumber == isNumber else {
            throw SigstoreError(
                .unknownKeyReference,
                "\(reference): a key of this name was named too with its project's \(isNumber ? "id" : "number"), and may be the same one",
                advice: "name projects by their ids")
        }
    }

    public func publicKey(_ reference: String) async throws(SigstoreError) -> PublicKey {
        try await newest(GoogleKeyReference(reference)).publicKey
    }

    /// The most versions of a key whose signatures count if the reference names none.
    private static let versionLimit = 20

    public func publicKeys(_ reference: String) async throws(SigstoreError) -> [PublicKey] {
        let place = try GoogleKeyReference(reference)
        let numbers = try await numbers(place)
        if numbers.count > Self.versionLimit {
            surroundings.notice(
                "\(reference) has \(numbers.count) versions that are enabled; the newest \(Self.versionLimit) count, and another one if the reference names it"
            )
        }
        let found = await sideBySide(numbers.prefix(Self.versionLimit)) {
            number async -> Result<Version, SigstoreError> in
            do throws(SigstoreError) { return .success(try await self.version(number, of: place)) } catch {
                return .failure(error)
            }
        }
        var keys: [PublicKey] = []
        var unusable: SigstoreError?
        for version in found {
            do throws(SigstoreError) { keys.append(try version.get().publicKey) } catch {
                // One of a kind that is not known here, or that was disabled meanwhile, verifies nothing.
                guard error.code == .keyUnusable else { throw error }
                unusable = unusable ?? error
            }
        }
        if keys.isEmpty, let unusable { throw unusable }
        return keys
    }

    public func signer(_ reference: String, password: @escaping PasswordSource) async throws(SigstoreError)
        -> any Signer
    {
        GoogleSigner(version: try await newest(GoogleKeyReference(reference)), service: try await service())
    }

    public func facts(_ reference: String) async throws(SigstoreError) -> [KeyFact] {
        let place = try GoogleKeyReference(reference)
        let (version, numbers, service) = (try await newest(place), try await numbers(place), try await service())
        let token = try await service.token()
        return [
            KeyFact("service", "Google Cloud KMS, \(service.url.origin)"), KeyFact("key", place.keyName),
            KeyFact("version", "\(version.number)"),
            KeyFact("other versions", numbers.dropFirst().map { "\($0)" }.joined(separator: ", ")),
            KeyFact("algorithm", "\(version.publicKey.kind)"),
            KeyFact("signs as", "\(version.algorithm.name) (\(version.algorithm.scheme))"),
            KeyFact("hash", version.algorithm.scheme.hash?.rawValue ?? "none: it signs the message itself"),
            KeyFact("credentials", token.source),
            KeyFact("identity", token.account ?? "not known: the credentials do not say it"),
            KeyFact("quota project", token.quotaProject ?? ""),
            KeyFact("credentials end", token.expiration.map { "\($0)" } ?? ""),
        ].filter { !$0.value.isEmpty }
    }

    // MARK: - Making keys

    public func makeKey(_ reference: String, algorithm: SigningAlgorithm?) async throws(SigstoreError) -> (
        publicKey: PublicKey, isNew: Bool
    ) {
        let place = try GoogleKeyReference(reference)
        let wanted = algorithm ?? .ecdsaP256
        let template = try name(of: wanted, reference, "Google Cloud KMS", Self.template)
        guard place.version == nil else {
            throw SigstoreError(
                .unknownKeyReference, "\(reference): a key is made, and its versions get their numbers from Google",
                advice: .sentence("write it as gcpkms://\(place.keyName)"))
        }
        let there = try await keyThere(reference) { () async throws(SigstoreError) in
            try await newest(place)
        } difference: { there in
            algorithm == nil || there.algorithm.name.utf8.elementsEqual(template.utf8)
                ? nil : "signs as \(there.algorithm.name), not as \(template)"
        }
        if let there { return (there.publicKey, false) }
        let service = try await service()
        let ring = try await makeRing(place, service) ? "; the key ring \(place.ringName) was made" : ""
        var isOurs = true
        do throws(SigstoreError) {
            _ = try await service.ask(
                .createKey, "\(place.ringName)/cryptoKeys", query: "cryptoKeyId=\(place.keyID)",
                body: [
                    "purpose": .string("ASYMMETRIC_SIGN"),
                    "versionTemplate": .object(["algorithm": .string(template)]),
                ], about: GoogleKeyService.Subject(reference: place, name: place.keyName))
        } catch {
            // Others have made it meanwhile, or a first attempt of ours whose answer was lost.
            guard error.httpStatus == 409 else {
                var error = error
                if !error.wroteNothing {
                    error = error.mayHaveMadeKey(
                        "look whether it is there: gcloud kms keys list --keyring \(place.ringID) --location \(place.location) --project \(place.project)"
                    )
                }
                error.message += ring
                throw error
            }
            isOurs = false
        }
        // A version is made in the background, and may take seconds.
        var attempt = 1
        while true {
            do throws(SigstoreError) {
                let found = try await newest(place)
                guard found.algorithm.name.utf8.elementsEqual(template.utf8) else {
                    guard isOurs else {
                        if algorithm == nil { return (found.publicKey, false) }
                        throw SigstoreError(
                            .keyExists,
                            "\(reference): a key was made there meanwhile, and it signs as \(found.algorithm.name), not as \(template)",
                            advice: "name another key, or leave the algorithm out to use the key that is there")
                    }
                    throw GoogleKeyService.fault(
                        found.subject, "the key was made as \(template), and is \(found.algorithm.name)")
                }
                return (found.publicKey, isOurs)
            } catch {
                guard [.keyNotFound, .keyUnusable].contains(error.code), attempt < 12 else {
                    var error = error
                    error.message += isOurs ? "; the key \(place.keyName) was made\(ring)" : ring
                    throw error
                }
            }
            do throws(SigstoreError) {
                try await ServiceAttempts.pause(RetryPolicy().delay(after: attempt))
            } catch {
                var error = error
                error.message += "; the key \(place.keyName) is being made"
                throw error
            }
            attempt += 1
        }
    }

    /// - Returns: Whether the key ring was made now.
    private func makeRing(_ place: GoogleKeyReference, _ service: GoogleKeyService) async throws(SigstoreError) -> Bool
    {
        let subject = GoogleKeyService.Subject(reference: place, name: place.ringName)
        do throws(SigstoreError) { _ = try await service.ask(.getRing, place.ringName, about: subject) } catch {
            // Who may make keys in a ring may perhaps not look at it.
            if error.httpStatus == 403 { return false }
            guard error.code == .keyNotFound else { throw error }
            do throws(SigstoreError) {
                _ = try await service.ask(
                    .createRing, "\(place.locationName)/keyRings", query: "keyRingId=\(place.ringID)", body: [:],
                    about: subject)
                return true
            } catch { guard error.httpStatus == 409 else { throw error } }
        }
        return false
    }

    /// What Google calls a kind of key (Cloud KMS API, CryptoKeyVersionAlgorithm).
    private static func template(_ algorithm: SigningAlgorithm) -> String? {
        switch algorithm {
        case .ecdsaP256: "EC_SIGN_P256_SHA256"
        case .ecdsaP384: "EC_SIGN_P384_SHA384"
        case .ed25519: "EC_SIGN_ED25519"
        case .rsa2048: "RSA_SIGN_PKCS1_2048_SHA256"
        case .rsa3072: "RSA_SIGN_PKCS1_3072_SHA256"
        case .rsa4096: "RSA_SIGN_PKCS1_4096_SHA256"
        case .ecdsaP521, .ed25519ph: nil
        }
    }

    // MARK: - Looking a key up

    private func newest(_ place: GoogleKeyReference) async throws(SigstoreError) -> Version {
        guard let number = try await numbers(place).first else {
            throw SigstoreError(.keyNotFound, "\(place.text): the key has no version")
        }
        return try await version(number, of: place)
    }

    /// The numbers of the versions that count, the newest first: the one that the reference names, or all that are enabled.
    private func numbers(_ place: GoogleKeyReference) async throws(SigstoreError) -> [Int] {
        if let version = place.version { return [version] }
        return try await numbers.value(place.keyName) { () async throws(SigstoreError) in
            // The filter spares pages; what counts is what each version says of itself.
            let enabled = try await self.list(place, "filter=state%3DENABLED&orderBy=name+desc")
                .filter { $0.state.utf8.elementsEqual("ENABLED".utf8) }.map(\.number)
            guard enabled.isEmpty else { return enabled.sorted(by: >) }
            let others = try await self.list(place, nil).sorted { $0.number > $1.number }
            let isPending = others.contains { $0.state.utf8.starts(with: "PENDING_".utf8) }
            let states = others.prefix(5).map { "version \($0.number) is \($0.state)" }.joined(separator: ", ")
            throw SigstoreError(
                .keyUnusable,
                "\(place.text): the key \(place.keyName) has no version that is enabled\(states.isEmpty ? "" : ": \(states)")",
                advice: .sentence(
                    isPending
                        ? "it is still being made or imported: try again in a minute"
                        : "enable one, or make one, with gcloud kms keys versions enable or create, --key \(place.keyID) --keyring \(place.ringID) --location \(place.location) --project \(place.project)"
                ))
        }
    }

    /// The most pages of a list of versions that are read.
    private static let pageLimit = 64

    private func list(_ place: GoogleKeyReference, _ query: String?) async throws(SigstoreError) -> [(
        number: Int, state: String
    )] {
        let (service, subject) = (
            try await service(), GoogleKeyService.Subject(reference: place, name: place.keyName)
        )
        var (found, token): ([(number: Int, state: String)], String?) = ([], nil)
        for _ in 0..<Self.pageLimit {
            let page = token.map { "pageToken=\(HTTPURL.percentEncoded($0))" }
            let parameters = [query, page].compactMap { $0 }.joined(separator: "&")
            let answer = try await service.ask(
                .listVersions, "\(place.keyName)/cryptoKeyVersions", query: parameters.isEmpty ? nil : parameters,
                about: subject)
            do throws(SigstoreError) {
                for version in try answer.optional("cryptoKeyVersions")?.elements() ?? [] {
                    let name = try version.member("name")
                    guard let number = Self.number(try name.string(), of: place) else {
                        throw name.fault("is not a version of this key")
                    }
                    found.append((number, SigstoreError.shortened(try version.member("state").string())))
                }
                token = try answer.optional("nextPageToken")?.string()
            } catch {
                throw GoogleKeyService.fault(
                    subject, "the list of the key's versions is not as it should be: \(error.message)", error)
            }
            if token?.isEmpty ?? true { return found }
        }
        throw GoogleKeyService.fault(subject, "the list of the key's versions has more than \(Self.pageLimit) pages")
    }

    /// The number of a version in its name.
    private static func number(_ name: String, of place: GoogleKeyReference) -> Int? {
        let digits = Array(name.utf8.reversed().prefix { $0 != 0x2f }.reversed())
        guard let number = Int(String(decoding: digits, as: UTF8.self)), number > 0,
            place.isName(name, of: "\(place.keyName)/cryptoKeyVersions/\(number)")
        else { return nil }
        return number
    }

    private func version(_ number: Int, of place: GoogleKeyReference) async throws(SigstoreError) -> Version {
        let name = "\(place.keyName)/cryptoKeyVersions/\(number)"
        return try await versions.value(name) { () async throws(SigstoreError) in
            let subject = GoogleKeyService.Subject(reference: place, name: name)
            let answer = try await self.service().ask(.getPublicKey, "\(name)/publicKey", about: subject)
            do throws(SigstoreError) {
                try subject.expectName(answer)
                let pem = try answer.member("pem").string()
                try subject.expect(answer.member("pemCrc32c"), isChecksumOf: Array(pem.utf8))
                let algorithm = try answer.member("algorithm").string()
                guard let known = Self.algorithms.first(where: { $0.name.utf8.elementsEqual(algorithm.utf8) }) else {
                    throw SigstoreError(
                        .keyUnusable,
                        "\(place.text): the key \(name) is of the kind \(SigstoreError.shortened(String(algorithm.prefix(64)))), which does not sign in a way that is known here",
                        advice:
                            "use a key of the kind EC_SIGN_P256_SHA256, EC_SIGN_P384_SHA384, EC_SIGN_ED25519, RSA_SIGN_PKCS1_… or RSA_SIGN_PSS_…"
                    )
                }
                // Google takes a salt for PSS that is as long as the digest (Cloud KMS, "Key purposes and algorithms").
                let key = try PublicKey(file: Array(pem.utf8)).demandingDigestSalt()
                guard key.kind == known.kind else {
                    throw SigstoreError(
                        .unexpectedJSON, "the public key is \(key.kind), and \(known.name) is for \(known.kind)")
                }
                return Version(
                    number: number, publicKey: key, algorithm: (known.name, known.scheme), subject: subject)
            } catch {
                if error.code == .keyUnusable { throw error }
                throw GoogleKeyService.fault(
                    subject,
                    "what Google Cloud KMS answers about the public key of \(name) is not as it should be: \(error.message)",
                    error)
            }
        }
    }

    /// How keys sign that are known here (Cloud KMS API, CryptoKeyVersionAlgorithm). The salt of PSS is as long as the digest.
    private static let algorithms: [(name: String, kind: PublicKey.Kind, scheme: SignatureScheme)] = [
        ("EC_SIGN_P256_SHA256", .ecP256, .ecdsa(.sha256)), ("EC_SIGN_P384_SHA384", .ecP384, .ecdsa(.sha384)),
        ("EC_SIGN_ED25519", .ed25519, .ed25519),
        ("RSA_SIGN_PKCS1_2048_SHA256", .rsa(bits: 2048), .rsaPKCS1(.sha256)),
        ("RSA_SIGN_PKCS1_3072_SHA256", .rsa(bits: 3072), .rsaPKCS1(.sha256)),
        ("RSA_SIGN_PKCS1_4096_SHA256", .rsa(bits: 4096), .rsaPKCS1(.sha256)),
        ("RSA_SIGN_PKCS1_4096_SHA512", .rsa(bits: 4096), .rsaPKCS1(.sha512)),
        ("RSA_SIGN_PSS_2048_SHA256", .rsa(bits: 2048), .rsaPSS(.sha256)),
        ("RSA_SIGN_PSS_3072_SHA256", .rsa(bits: 3072), .rsaPSS(.sha256)),
        ("RSA_SIGN_PSS_4096_SHA256", .rsa(bits: 4096), .rsaPSS(.sha256)),
        ("RSA_SIGN_PSS_4096_SHA512", .rsa(bits: 4096), .rsaPSS(.sha512)),
    ]

    // MARK: - Finding the service

    private func service() async throws(SigstoreError) -> GoogleKeyService {
        let surroundings = surroundings
        return try await services.value(0) { () async throws(SigstoreError) in
            let http = try surroundings.client(TLSOptions())
            let chain = GoogleCredentialChain(surroundings, http)
            let own = try await chain.credentials().universe
            let name = "GOOGLE_CLOUD_UNIVERSE_DOMAIN"
            let given = surroundings.variable(name)
            if let own, let given, !own.utf8.elementsEqual(given.utf8) {
                throw SigstoreError(
                    .keyServiceSettings,
                    "\(name) is \"\(given.prefix(100))\", and the credentials are for \"\(own.prefix(100))\"",
                    advice: .sentence("correct or unset \(name), or use other credentials"))
            }
            let override = "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS"
            let url: HTTPURL
            if let text = surroundings.variable(override) {
                do throws(SigstoreError) { url = try HTTPURL(parsing: text) } catch { throw error.concerning(override) }
                try url.expectNear(override)
            } else {
                do throws(SigstoreError) {
                    let origin = try HTTPURL.origin("cloudkms.\(given ?? own ?? "googleapis.com")", .https)
                    url = try HTTPURL(origin, path: "/")
                } catch { throw error.concerning(given == nil ? "universe_domain in the credentials" : name) }
            }
            return GoogleKeyService(url, http: http, chain: chain, surroundings: surroundings)
        }
    }
}

extension GoogleKeyService.Subject {
    /// Refuses an answer about another key.
    fileprivate func expectName(_ answer: JSONCursor) throws(SigstoreError) {
        let found = try answer.member("name")
        guard try reference.isName(found.string(), of: name) else { throw found.fault("is that of another key") }
    }

    /// Refuses bytes that were changed on their way.
    fileprivate func expect(_ checksum: JSONCursor, isChecksumOf bytes: [UInt8]) throws(SigstoreError) {
        let (given, computed) = (try checksum.integer(), Int64(CRC32C.of(bytes)))
        guard given == computed else {
            throw checksum.fault(
                "is \(given), and the bytes that came have \(computed): they were changed on their way")
        }
    }
}

/// A version of a key of Google Cloud KMS, which signs in one way.
private struct GoogleSigner: Signer {
    let version: GoogleKeys.Version
    let service: GoogleKeyService

    var publicKey: PublicKey { version.publicKey }
    var schemes: [SignatureScheme] { [version.algorithm.scheme] }
    var displayName: String { "Google Cloud KMS's key \(version.subject.name) (\(version.algorithm.name))" }

    /// The longest message that Google signs itself (Cloud KMS API, AsymmetricSign, `data`).
    private static let messageLimit = 65_536

    func sign(_ message: HashedMessage, scheme: SignatureScheme) async throws(SigstoreError) -> [UInt8] {
        let (subject, reference, name) = (version.subject, version.subject.reference.text, version.algorithm.name)
        guard scheme == version.algorithm.scheme else {
            throw SigstoreError(
                .unsupportedKey, "\(reference): the key \(subject.name) cannot sign with \(scheme), but as \(name)",
                advice: "leave the algorithm out, or use another key")
        }
        let body: JSONObject
        let verified: String
        let content: String
        if let hash = scheme.hash {
            guard let digest = message.digest(hash) else {
                throw SigstoreError(.messageNotRead, "the message was not read for \(scheme)")
            }
            (verified, content) = ("verifiedDigestCrc32c", "the \(hash.rawValue) digest")
            body = [
                "digest": .object(["sha\(hash.byteCount * 8)": .bytes(digest.bytes)]),
                "digestCrc32c": .string("\(CRC32C.of(digest.bytes))"),
            ]
        } else {
            guard let bytes = message.bytes else {
                throw SigstoreError(.messageNotRead, "the message was not kept, and \(scheme) signs it whole")
            }
            guard bytes.count <= Self.messageLimit else {
                throw SigstoreError(
                    .messageTooLarge,
                    "\(reference): the message is \(bytes.count) bytes, and a key of the kind \(name) signs \(Self.messageLimit) at the most",
                    advice: "use a key that signs a digest, such as one of the kind EC_SIGN_P256_SHA256")
            }
            (verified, content) = ("verifiedDataCrc32c", "the message")
            body = ["data": .bytes(bytes), "dataCrc32c": .string("\(CRC32C.of(bytes))")]
        }
        let answer = try await service.ask(.sign, "\(subject.name):asymmetricSign", body: body, about: subject)
        do throws(SigstoreError) {
            try subject.expectName(answer)
            guard try answer.optional(verified)?.bool() == true else {
                throw answer.fault("does not say that \(content) came as it was sent (\(verified))")
            }
            let signature = try answer.member("signature").bytes()
            try subject.expect(answer.member("signatureCrc32c"), isChecksumOf: signature)
            return signature
        } catch {
            throw GoogleKeyService.fault(
                subject,
                "what Google Cloud KMS answers to \(subject.name):asymmetricSign is not as it should be: \(error.message)",
                error)
        }
    }
}
