import HTTPTransport
import LocalSystem
import SigstoreCrypto
import StrictJSON
import Synchronization

/// AWS KMS in one region, or at one endpoint: sends requests with a signature, and says what its errors mean (AWS KMS API
/// Reference).
final class AWSKeyService: Sendable {
    /// What the service is asked to do.
    enum Operation: String, Sendable {
        case getPublicKey = "GetPublicKey"
        case sign = "Sign"
        case createKey = "CreateKey"
        case createAlias = "CreateAlias"

        /// The permission that it needs.
        var permission: String { "kms:\(rawValue)" }
    }

    /// Where the service is.
    let url: HTTPURL
    /// The region that requests are signed for.
    let region: String
    private let http: any HTTPClient
    private let chain: AWSCredentialChain
    private let surroundings: KeySurroundings
    /// How often a request is sent, as `AWS_MAX_ATTEMPTS` says; `nil` if it says nothing.
    private let attempts: Int?
    private let turns = ServiceAttempts()

    init(
        _ url: HTTPURL, region: String, http: any HTTPClient, chain: AWSCredentialChain, surroundings: KeySurroundings,
        attempts: Int?
    ) {
        (self.url, self.region, self.http, self.chain) = (url, region, http, chain)
        (self.surroundings, self.attempts) = (surroundings, attempts)
    }

    /// The credentials that requests are signed with.
    func credentials() async throws(SigstoreError) -> AWSCredentials { try await chain.credentials() }

    /// Whose the credentials are, as an ARN; the reason if that cannot be learned.
    func identity() async throws(SigstoreError) -> String { try await chain.identity() }

    /// Asks the service.
    /// - Parameters:
    ///   - operation: What to do.
    ///   - members: The request, a JSON object.
    ///   - key: The key that it is about, as a person knows it, and its ARN or what else is known of it.
    /// - Returns: The answer.
    /// - Throws: `SigstoreError` that says what is wrong with which key and which credentials.
    func ask(_ operation: Operation, _ members: JSONObject, about key: Subject) async throws(SigstoreError) -> JSONValue
    {
        let body = JSONValue.object(members).serialized()
        let count = Mutex(0)
        return try await turns.run(passing: attempts ?? 3, throttled: attempts ?? 8) {
            () async throws(FailedRequest) in
            let isRepeated = count.withLock { count in
                count += 1
                return count > 1
            }
            return try await self.askOnce(operation, body, about: key, isRepeated: isRepeated)
        }
    }

    private func askOnce(_ operation: Operation, _ body: [UInt8], about key: Subject, isRepeated: Bool)
        async throws(FailedRequest) -> JSONValue
    {
        var request = HTTPRequest(
            "POST", url,
            headers: [
                (name: "Content-Type", value: "application/x-amz-json-1.1"),
                (name: "X-Amz-Target", value: "TrentService.\(operation.rawValue)"),
            ], body: .bytes(body), bodyLimit: 1 << 16, timeout: .seconds(30), handledStatuses: Set(400...599),
            isIdempotent: false)
        request.refusesRedirects = true
        // A second attempt is signed anew, so the transport makes none.
        request.latestStart = .now + .seconds(240)
        let now = surroundings.now()
        let credentials: AWSCredentials
        do throws(SigstoreError) {
            credentials = try await chain.credentials()
            request = try credentials.signing(request, region: region, service: "kms", at: now)
        } catch { throw FailedRequest(error.concerning(key.reference)) }
        let answer: HTTPResponse
        do throws(SigstoreError) { answer = try await http.send(request) } catch {
            let failed = FailedRequest(
                error.concerning(key.reference), error.code == .unreachable ? .passing : .lasting)
            throw Self.final(failed, operation, wasNotDone: error.wasNotSent)
        }
        guard answer.status == 200 else {
            // An attempt whose answer did not come may have made the alias; the caller looks what it names.
            if operation == .createAlias, isRepeated, Self.code(answer).code == "AlreadyExistsException" {
                return .null
            }
            throw Self.final(
                failure(answer, operation, key, credentials, now), operation, wasNotDone: answer.status < 500)
        }
        do throws(SigstoreError) { return try Self.read(answer, key) } catch {
            throw Self.final(FailedRequest(error), operation, wasNotDone: false)
        }
    }

    /// What failed, for good if a key may have been made: nobody knows then, and a second one would be left alone.
    private static func final(_ failed: FailedRequest, _ operation: Operation, wasNotDone: Bool) -> FailedRequest {
        if case .throttled = failed.kind { return failed }
        guard operation == .createKey, !wasNotDone else { return failed }
        return FailedRequest(mayHaveMade(failed.error))
    }

    /// The error of a request that makes a key, of which nobody knows whether it was done.
    static func mayHaveMade(_ error: SigstoreError) -> SigstoreError {
        error.mayHaveMadeKey("look for it, which has no alias, with aws kms list-keys before you try again")
    }

    private static func read(_ answer: HTTPResponse, _ key: Subject) throws(SigstoreError) -> JSONValue {
        if answer.body.isEmpty { return .null }
        do throws(SigstoreError) { return try JSONValue(parsing: answer.body, depth: 16, values: 4096) } catch {
            throw fault(key, "what AWS KMS answers cannot be read: \(error.message)", error)
        }
    }

    /// An answer that cannot be.
    static func fault(_ key: Subject, _ what: String, _ cause: SigstoreError? = nil) -> SigstoreError {
        .strangeAnswer(key.reference, what, check: "that the endpoint is that of AWS KMS", cause)
    }

    // MARK: - What errors mean

    /// A key, as errors name it.
    struct Subject: Sendable {
        /// The reference as the person wrote it.
        let reference: String
        /// The ARN, if it is known; else what KMS was asked for.
        var name: String
        /// The account that the key is of, if its ARN is known.
        var account: String?
    }

    private static let throttlingCodes = [
        "Throttling", "ThrottlingException", "ThrottledException", "RequestThrottled", "RequestThrottledException",
        "TooManyRequestsException", "RequestLimitExceeded", "BandwidthLimitExceeded", "SlowDown",
        "PriorRequestNotComplete", "LimitExceededException",
    ]
    private static let passingCodes = [
        "KMSInternalException", "DependencyTimeoutException", "KeyUnavailableException", "InternalFailure",
        "ServiceUnavailable", "RequestTimeout", "RequestTimeoutException", "TransactionInProgressException",
    ]

    /// The code and the words of an error: in the body, or the code in a header field.
    private static func code(_ answer: HTTPResponse) -> (code: String, words: String) {
        let json = (try? JSONValue(parsing: answer.body, depth: 16, values: 4096)).map(JSONCursor.init)
        func member(_ name: String) -> String? { (try? json?.optional(name)?.string()) ?? nil }
        let type = member("__type") ?? answer.header("x-amzn-errortype") ?? ""
        // `prefix#Code`, and in the header `Code:url`.
        let code = (type.split(separator: "#").last ?? "").prefix { $0 != ":" }
        return (String(code.prefix(64)), SigstoreError.shortened(member("message") ?? member("Message") ?? ""))
    }

    /// The error that clocks differ, if that is what an answer says.
    static func clockError(_ code: String, _ words: String, _ answer: HTTPResponse, _ now: Int64) -> SigstoreError? {
        let isClock =
            code == "RequestTimeTooSkewed" || code == "RequestExpired"
            || code == "InvalidSignatureException" && words.utf8.starts(with: "Signature expired".utf8)
            || code == "InvalidSignatureException" && words.utf8.starts(with: "Signature not yet current".utf8)
            || code == "SignatureDoesNotMatch" && words.utf8.starts(with: "Signature expired".utf8)
            || code == "SignatureDoesNotMatch" && words.utf8.starts(with: "Signature not yet current".utf8)
        guard isClock else { return nil }
        let theirs = answer.header("date").map { SigstoreError.shortened($0) } ?? "an unknown time"
        return SigstoreError(
            .keyDenied,
            "AWS does not accept the time of the request: here it is \(Instant(seconds: now)), there it is \(theirs); AWS says \(code): \(words)",
            advice: "set this machine's clock")
    }

    private func failure(
        _ answer: HTTPResponse, _ operation: Operation, _ key: Subject, _ credentials: AWSCredentials, _ now: Int64
    ) -> FailedRequest {
        let (code, words) = Self.code(answer)
        let said = "AWS KMS says \(code.isEmpty ? "HTTP \(answer.status)" : code)\(words.isEmpty ? "" : ": \(words)")"
        let place = "\(key.account.map { "account \($0), " } ?? "")region \(region)"
        let who = "\(credentials.source), access key \(credentials.accessKeyID)"
        func error(
            _ errorCode: SigstoreError.Code, _ what: String, _ advice: String, _ kind: FailedRequest.Kind = .lasting
        )
            -> FailedRequest
        {
            FailedRequest(
                SigstoreError(
                    errorCode, "\(key.reference): \(what); \(said)", advice: .sentence(advice),
                    cause: HTTPStatusError(response: answer)), kind)
        }
        if let clock = Self.clockError(code, words, answer, now) {
            return FailedRequest(clock.concerning(key.reference))
        }
        if Self.throttlingCodes.contains(code) || code.isEmpty && answer.status == 429 {
            guard code != "LimitExceededException" || operation == .sign || operation == .getPublicKey else {
                return error(
                    .keyUnusable, "the account has as many keys or aliases as it may have (\(place))",
                    "remove keys that nobody needs, or have the quota raised")
            }
            return error(
                .keyServiceFailed, "too many requests for the account's quota, after all attempts (\(place))",
                "try again later, sign fewer at once, or have the quota for cryptographic operations raised",
                .throttled(after: answer.retryAfter(now: now)))
        }
        switch code {
        case "NotFoundException":
            return error(
                .keyNotFound, "there is no key \(key.name) (\(place), \(who))",
                "check the alias or id, the region (AWS_REGION) and the account")
        case "AccessDeniedException", "AccessDenied":
            let user = Self.user(in: words) ?? credentials.identity
            return error(
                .keyDenied,
                "the permission \(operation.permission) is missing on \(key.name) (\(place)) for \(user ?? "these credentials") (\(who))",
                "allow \(operation.permission) on the key\(user.map { " for \($0)" } ?? ""), in its key policy or in a policy of that user or role"
            )
        case "DisabledException":
            return error(
                .keyUnusable, "the key \(key.name) is disabled (\(place))",
                "enable it with aws kms enable-key, or use another key")
        case "KMSInvalidStateException":
            let isPending = words.utf8.count > 0 && words.lowercased().contains("pending deletion")
            return error(
                .keyUnusable,
                "the key \(key.name) \(isPending ? "is to be deleted" : "is in no state to be used") (\(place))",
                isPending
                    ? "keep it with aws kms cancel-key-deletion and aws kms enable-key, or use another key"
                    : "look at it with aws kms describe-key")
        case "InvalidKeyUsageException":
            return error(
                .keyUnusable, "the key \(key.name) is not for signing (\(place))",
                "use a key with the usage SIGN_VERIFY")
        case "UnsupportedOperationException":
            return error(
                .keyUnusable, "the key \(key.name) is symmetric, or of a key store that does not sign (\(place))",
                "use an asymmetric key with the usage SIGN_VERIFY")
        case "ExpiredTokenException", "ExpiredToken":
            return error(
                .keyDenied, "the credentials have expired (\(who))",
                "renew them, or log in again (aws sso login)")
        case "UnrecognizedClientException", "InvalidClientTokenId":
            return error(
                .keyDenied, "the credentials are not known, or their session token is wrong (\(who))",
                "check the access key id, its session token, and that they are of this partition of AWS")
        case "InvalidSignatureException", "SignatureDoesNotMatch", "IncompleteSignature",
            "IncompleteSignatureException":
            return error(
                .keyDenied, "the secret access key is not that of this access key id (\(who))",
                "copy both again")
        case "MissingAuthenticationTokenException", "MissingAuthenticationToken":
            return error(
                .keyDenied, "AWS KMS saw no credentials (\(who))",
                "check what stands between that takes the header field Authorization away")
        case "OptInRequired", "SubscriptionRequiredException":
            return error(
                .keyDenied, "the account has not opted in to the region (\(place))", "enable the region for the account"
            )
        case "AlreadyExistsException":
            return error(
                .keyUnusable, "the alias \(key.name) is there already, and was not a moment ago (\(place))",
                "try again, or use another alias")
        case "InvalidAliasNameException":
            return error(
                .unknownKeyReference, "the alias \(key.name) is not one that can be made",
                "use alias/ and letters, digits, / _ and -, and no alias/aws/…")
        default: break
        }
        if Self.passingCodes.contains(code) || answer.status >= 500 {
            return error(.keyServiceFailed, "AWS KMS failed (\(place))", "try again later", .passing)
        }
        return error(
            .keyServiceFailed, "AWS KMS refuses \(operation.rawValue) for \(key.name) (\(place), \(who))",
            "what AWS says names the cause")
    }

    /// Whom a refusal is about: `User: ARN is not authorized …`.
    private static func user(in words: String) -> String? {
        guard words.utf8.starts(with: "User: arn:".utf8) else { return nil }
        let arn = words.dropFirst(6).prefix { $0 != " " }
        return arn.utf8.allSatisfy { (0x21...0x7e).contains($0) } ? String(arn) : nil
    }
}
