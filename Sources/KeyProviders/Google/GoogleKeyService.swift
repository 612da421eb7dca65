import HTTPTransport
import LocalSystem
import StrictJSON
import Synchronization

/// Google Cloud KMS over REST: sends requests with a token, and says what its errors mean (Cloud KMS API, v1).
final class GoogleKeyService: Sendable {
    /// What the service is asked to do.
    enum Operation: Sendable {
        case listVersions, getPublicKey, sign, getRing, createRing, createKey

        /// The permission that it needs.
        var permission: String {
            switch self {
            case .listVersions: "cloudkms.cryptoKeyVersions.list"
            case .getPublicKey: "cloudkms.cryptoKeyVersions.viewPublicKey"
            case .sign: "cloudkms.cryptoKeyVersions.useToSign"
            case .getRing: "cloudkms.keyRings.get"
            case .createRing: "cloudkms.keyRings.create"
            case .createKey: "cloudkms.cryptoKeys.create"
            }
        }

        /// A role that has the permission.
        var role: String {
            switch self {
            case .listVersions: "roles/cloudkms.viewer"
            case .getPublicKey: "roles/cloudkms.publicKeyViewer"
            case .sign: "roles/cloudkms.signerVerifier"
            case .getRing, .createRing, .createKey: "roles/cloudkms.admin"
            }
        }
    }

    /// What a request is about, as errors name it.
    struct Subject: Sendable {
        let reference: GoogleKeyReference
        /// The name of the key, of its version, or of the key ring.
        let name: String
    }

    /// Where the service is.
    let url: HTTPURL
    private let http: any HTTPClient
    private let chain: GoogleCredentialChain
    private let surroundings: KeySurroundings
    private let turns = ServiceAttempts()

    init(_ url: HTTPURL, http: any HTTPClient, chain: GoogleCredentialChain, surroundings: KeySurroundings) {
        (self.url, self.http, self.chain, self.surroundings) = (url, http, chain, surroundings)
    }

    /// What requests are sent with.
    func token() async throws(SigstoreError) -> GoogleToken { try await chain.token() }

    /// Asks the service.
    /// - Parameters:
    ///   - operation: What to do.
    ///   - path: What stands behind `/v1/`.
    ///   - query: The parameters, percent-encoded already.
    ///   - body: What to send; `nil` to get something.
    ///   - subject: What it is about.
    /// - Throws: `SigstoreError` that says what is wrong with which key and which credentials.
    func ask(
        _ operation: Operation, _ path: String, query: String? = nil, body: JSONObject? = nil, about subject: Subject
    ) async throws(SigstoreError) -> JSONCursor {
        let body = body.map { JSONValue.object($0).serialized() }
        // Quotas are for a minute, which so many attempts outlast.
        let refused = Mutex<GoogleToken?>(nil)
        return try await turns.run(passing: 5, throttled: 11) { () async throws(FailedRequest) in
            // A token may end, or be withdrawn, before its time: another one is had once.
            let isFirst = refused.withLock { $0 == nil }
            do throws(FailedRequest) {
                return try await self.askOnce(operation, path, query, body, subject, refused)
            } catch {
                guard isFirst, error.error.httpStatus == 401, refused.withLock({ $0 != nil }) else { throw error }
                return try await self.askOnce(operation, path, query, body, subject, refused)
            }
        }
    }

    private func askOnce(
        _ operation: Operation, _ path: String, _ query: String?, _ body: [UInt8]?, _ subject: Subject,
        _ refused: borrowing Mutex<GoogleToken?>
    ) async throws(FailedRequest) -> JSONCursor {
        let (answer, token): (HTTPResponse, GoogleToken)
        do throws(SigstoreError) {
            let base = url.path.utf8.last == 0x2f ? url.path : url.path + "/"
            let whole = try HTTPURL(url.origin, path: "\(base)v1/\(path)", query: query)
            token = try await chain.token(otherThan: refused.withLock { $0 })
            var request = HTTPRequest(
                body == nil ? "GET" : "POST", whole, authorization: token.authorization,
                body: body.map { .bytes($0) } ?? .none, bodyLimit: 1 << 20, timeout: .seconds(30),
                handledStatuses: Set(400...599), isIdempotent: false)
            if body != nil { request.headers.append((name: "Content-Type", value: "application/json")) }
            if let project = token.quotaProject {
                request.headers.append((name: "X-Goog-User-Project", value: project))
            }
            request.refusesRedirects = true
            // Each attempt is counted here: the transport makes none of its own.
            request.latestStart = .now + .seconds(240)
            answer = try await http.send(request)
        } catch {
            // Nothing is made twice under one name, so that a second attempt does no harm.
            throw FailedRequest(
                error.concerning(subject.reference.text),
                [.unreachable, .timedOut].contains(error.code) ? .passing : .lasting)
        }
        if answer.status == 401 { refused.withLock { $0 = token } }
        guard answer.status == 200 else { throw failure(answer, operation, subject, token) }
        do throws(SigstoreError) {
            return JSONCursor(try JSONValue(parsing: answer.body, depth: 16, values: 1 << 16))
        } catch {
            throw FailedRequest(
                Self.fault(subject, "what Google Cloud KMS answers cannot be read: \(error.message)", error))
        }
    }

    /// An answer that cannot be.
    static func fault(_ subject: Subject, _ what: String, _ cause: SigstoreError? = nil) -> SigstoreError {
        .strangeAnswer(subject.reference.text, what, check: "that the endpoint is that of Google Cloud KMS", cause)
    }

    // MARK: - What errors mean

    /// An error in the form that Google's services have (google.rpc.Status, google.rpc.ErrorInfo).
    struct Status {
        /// The name of the code, such as `PERMISSION_DENIED`.
        let name: String
        /// The service's words.
        let words: String
        /// Why, in one word, such as `SERVICE_DISABLED`; empty if it is not said.
        let reason: String
        /// The permission that is missing, if it is said.
        let permission: String?

        init(_ answer: HTTPResponse) {
            let json = (try? JSONValue(parsing: answer.body, depth: 16, values: 4096)).map(JSONCursor.init)
            let error = (try? json?.optional("error")) ?? nil
            func text(_ name: String, of cursor: JSONCursor?) -> String? {
                ((try? cursor?.optional(name)?.string()) ?? nil).map { SigstoreError.shortened($0) }
            }
            name = text("status", of: error) ?? ""
            words = text("message", of: error) ?? ""
            let details = (try? error?.optional("details")?.elements()) ?? []
            let info = details.first { text("reason", of: $0) != nil }
            reason = text("reason", of: info) ?? ""
            permission = text("permission", of: (try? info?.optional("metadata")) ?? nil)
        }

        /// What the service says, for a message.
        func said(_ answer: HTTPResponse, by service: String) -> String {
            let code = name.isEmpty ? "HTTP \(answer.status)" : name
            return "\(service) says \(code)\(reason.isEmpty ? "" : " (\(reason))")\(words.isEmpty ? "" : ": \(words)")"
        }
    }

    private func failure(
        _ answer: HTTPResponse, _ operation: Operation, _ subject: Subject, _ token: GoogleToken
    ) -> FailedRequest {
        let status = Status(answer)
        let said = status.said(answer, by: "Google Cloud KMS")
        let (reference, name) = (subject.reference, subject.name)
        let who = token.account.map { "\($0) (\(token.source))" } ?? "these credentials (\(token.source))"
        func error(
            _ code: SigstoreError.Code, _ what: String, _ advice: String, _ kind: FailedRequest.Kind = .lasting
        ) -> FailedRequest {
            FailedRequest(
                SigstoreError(
                    code, "\(reference.text): \(what); \(said)", advice: .sentence(advice),
                    cause: HTTPStatusError(response: answer)), kind)
        }
        // The key's own name may hold any of these words.
        let words = status.words.replacing(name, with: "").replacing(reference.keyName, with: "")
        func has(_ word: String) -> Bool { words.contains(word) }
        let number = String(name.utf8.reversed().prefix { $0 != 0x2f }.reversed().map { Character(Unicode.Scalar($0)) })
        let flags = "--location \(reference.location) --project \(reference.project)"
        switch (answer.status, status.name) {
        case (401, _):
            if let clock = GoogleTokens.clockError(answer, surroundings.now()) {
                return FailedRequest(clock.concerning(reference.text))
            }
            return error(
                .keyDenied, "the token has ended, or is not accepted, for \(who)", token.renewal)
        case (403, _): return denied(status, operation, subject, token, error)
        case (404, _):
            switch operation {
            case .createRing, .createKey:
                return error(
                    .keyNotFound, "there is no place to make \(name) in, asked by \(who)",
                    "check the project \(reference.project), the location \(reference.location) and the key ring \(reference.ringID)"
                )
            case .getRing: return error(.keyNotFound, "there is no key ring \(name), asked by \(who)", "check its name")
            case .listVersions, .getPublicKey, .sign:
                return error(
                    .keyNotFound, "there is no key \(name), asked by \(who)",
                    "check its name: gcloud kms keys list --keyring \(reference.ringID) \(flags)")
            }
        case (409, _):
            return error(
                .keyUnusable,
                operation == .createKey || operation == .createRing
                    ? "\(name) is there already, and was not a moment ago" : "\(name) was changed at the same time",
                "try again")
        case (429, _):
            return error(
                .keyServiceFailed,
                "too many requests for the quota of the project \(token.quotaProject ?? reference.project)",
                "try again later, sign fewer at once, or have the quota of Cloud KMS raised",
                .throttled(after: answer.retryAfter(now: surroundings.now())))
        case (503, _):
            let pause = answer.retryAfter(now: surroundings.now())
            return error(
                .keyServiceFailed, "Google Cloud KMS cannot answer now", "try again later",
                pause == nil ? .passing : .throttled(after: pause))
        case (500..., _):
            return error(.keyServiceFailed, "Google Cloud KMS failed", "try again later", .passing)
        default: break
        }
        // A key's version, which is in no state to be used.
        let versions = "gcloud kms keys versions"
        let which = "--key \(reference.keyID) --keyring \(reference.ringID) \(flags)"
        if has("DESTROY_SCHEDULED") {
            return error(
                .keyUnusable, "\(name) is to be destroyed",
                "keep it with \(versions) restore \(number) \(which) and then enable it, or use another version")
        }
        if has("DESTROYED") { return error(.keyUnusable, "\(name) is destroyed", "use another version or key") }
        if has("DISABLED") {
            return error(
                .keyUnusable, "\(name) is disabled",
                "enable it with \(versions) enable \(number) \(which), or use another one")
        }
        if has("PENDING_GENERATION") || has("PENDING_IMPORT") {
            return error(.keyUnusable, "\(name) is still being made or imported", "try again in a minute")
        }
        if has("purpose") {
            return error(
                .keyUnusable, "\(name) is not for signing",
                "use a key that was made with the purpose asymmetric-signing")
        }
        if status.name == "FAILED_PRECONDITION" {
            return error(
                .keyUnusable, "\(name) cannot be used for this, asked by \(who)",
                "look at it with \(versions) list \(which)")
        }
        return error(
            .keyServiceFailed, "Google Cloud KMS refuses this for \(name), asked by \(who)",
            "what Google Cloud KMS says names the cause")
    }

    /// What a refusal for want of a permission means.
    private func denied(
        _ status: Status, _ operation: Operation, _ subject: Subject, _ token: GoogleToken,
        _ error: (SigstoreError.Code, String, String, FailedRequest.Kind) -> FailedRequest
    ) -> FailedRequest {
        let reference = subject.reference
        let who = token.account.map { "\($0) (\(token.source))" } ?? "these credentials (\(token.source))"
        let quota = token.quotaProject ?? reference.project
        switch status.reason {
        case "SERVICE_DISABLED":
            return error(
                .keyServiceSettings, "the API of Cloud KMS is not switched on for the project \(quota)",
                "switch it on with gcloud services enable cloudkms.googleapis.com --project \(quota)", .lasting)
        case "ACCESS_TOKEN_SCOPE_INSUFFICIENT":
            return error(
                .keyDenied, "the token of \(who) was given for other uses than Cloud KMS",
                "get one with the scope https://www.googleapis.com/auth/cloudkms; a machine's are set with gcloud compute instances set-service-account --scopes",
                .lasting)
        case "BILLING_DISABLED":
            return error(
                .keyServiceSettings, "the project \(quota) has no billing", "switch billing on for the project",
                .lasting)
        case "USER_PROJECT_DENIED":
            return error(
                .keyDenied, "the permission serviceusage.services.use is missing on the project \(quota) for \(who)",
                "grant roles/serviceusage.serviceUsageConsumer on it, or name another project in GOOGLE_CLOUD_QUOTA_PROJECT",
                .lasting)
        case "SECURITY_POLICY_VIOLATED":
            return error(
                .keyDenied, "a perimeter of VPC Service Controls keeps \(who) from \(subject.name)",
                "run this from within the perimeter, or have an ingress rule made for it", .lasting)
        default: break
        }
        if status.words.contains("organization's policy") || status.words.contains("VPC Service Controls") {
            return error(
                .keyDenied, "a perimeter of VPC Service Controls keeps \(who) from \(subject.name)",
                "run this from within the perimeter, or have an ingress rule made for it", .lasting)
        }
        let permission = status.permission ?? operation.permission
        let isMaking = operation == .createKey || operation == .createRing
        let place =
            operation == .createKey
            ? "the key ring \(reference.ringName)"
            : operation == .createRing ? "the project \(reference.project)" : subject.name
        var advice = "grant \(operation.role) to \(token.account ?? "them") on it"
        switch operation {
        case .listVersions:
            advice += ", or name a version in the reference (\(reference.text)/versions/N): no list is needed then"
        case .getPublicKey: advice += "; to sign too, roles/cloudkms.signerVerifier"
        default: break
        }
        return error(
            .keyDenied,
            "the permission \(permission) is missing on \(place) for \(who)\(status.words.contains("may not exist") && !isMaking ? ", or there is no such key" : "")",
            advice, .lasting)
    }
}
