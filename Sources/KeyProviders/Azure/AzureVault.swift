import HTTPTransport
import SigstoreCrypto
import StrictJSON

/// One vault of Azure Key Vault, or one Managed HSM: learns once for whom a token must be, sends requests with it, and says what
/// errors mean (Key Vault REST API, version 2025-07-01).
final class AzureVault: Sendable {
    /// What the service is asked to do with a key.
    enum Operation: String, Sendable {
        case get, sign, create

        /// The action that a role must allow, without the service's part at its front (Azure built-in roles for Key Vault).
        func action(isManagedHSM: Bool) -> String {
            let front = isManagedHSM ? "Microsoft.KeyVault/managedHsm/keys" : "Microsoft.KeyVault/vaults/keys"
            switch self {
            case .get: return "\(front)/read\(isManagedHSM ? "/action" : "")"
            case .sign: return "\(front)/sign/action"
            case .create: return "\(front)/create\(isManagedHSM ? "" : "/action")"
            }
        }

        /// The built-in role that allows it.
        func role(isManagedHSM: Bool) -> String {
            switch self {
            case .get, .sign: isManagedHSM ? "Managed HSM Crypto User" : "Key Vault Crypto User"
            case .create: isManagedHSM ? "Managed HSM Crypto User" : "Key Vault Crypto Officer"
            }
        }
    }

    let origin: HTTPURL.Origin
    private let http: any HTTPClient
    private let chain: AzureCredentialChain
    private let surroundings: KeySurroundings
    private let attempts = ServiceAttempts()
    private let challenges = Once<Int, AzureChallenge>()

    init(_ origin: HTTPURL.Origin, http: any HTTPClient, chain: AzureCredentialChain, surroundings: KeySurroundings) {
        (self.origin, self.http, self.chain, self.surroundings) = (origin, http, chain, surroundings)
    }

    /// The token that requests go with.
    func token(_ key: AzureKeyReference) async throws(SigstoreError) -> AzureToken {
        let challenge = try await challenge(key)
        do throws(SigstoreError) { return try await chain.token(challenge) } catch { throw error.concerning(key.text) }
    }

    /// Asks the service.
    /// - Parameters:
    ///   - operation: What to do.
    ///   - key: The key that it is about.
    ///   - version: The version of the key; `nil` for the newest.
    ///   - members: The request, a JSON object.
    /// - Returns: The answer.
    /// - Throws: `SigstoreError` that says what is wrong with which key and which account.
    func ask(
        _ operation: Operation, _ key: AzureKeyReference, version: String? = nil, _ members: JSONObject? = nil
    ) async throws(SigstoreError) -> JSONCursor {
        let body = members.map { JSONValue.object($0).serialized() }
        let url = try url(operation, key, version)
        let challenge = try await challenge(key)
        var refused: AzureToken?
        while true {
            let last = refused
            let (answer, token) = try await attempts.run(passing: 3, throttled: 8) {
                () async throws(FailedRequest) -> (HTTPResponse, AzureToken) in
                let token: AzureToken
                do throws(SigstoreError) { token = try await chain.token(challenge, otherThan: last) } catch {
                    throw FailedRequest(error.concerning(key.text))
                }
                var request = HTTPRequest(
                    operation == .get ? "GET" : "POST", url, headers: [(name: "Accept", value: "application/json")],
                    authorization: token.authorization, body: body.map { .bytes($0) } ?? .none)
                if body != nil { request.headers.append((name: "Content-Type", value: "application/json")) }
                let answer = try await send(request, operation, key)
                // A token may end, or be withdrawn, before its time: another one is had once.
                if answer.status == 200 || answer.status == 401 && last == nil { return (answer, token) }
                throw failure(answer, operation, key, token)
            }
            if answer.status == 200 {
                do throws(SigstoreError) { return try Self.read(answer, key) } catch {
                    throw operation == .create ? Self.mayHaveMade(key, error) : error
                }
            }
            refused = token
        }
    }

    private func url(_ operation: Operation, _ key: AzureKeyReference, _ version: String?) throws(SigstoreError)
        -> HTTPURL
    {
        // As the real client writes it: the newest version is an empty one.
        let rest =
            switch operation {
            case .get: "/\(version ?? "")"
            case .sign: "\(version.map { "/\($0)" } ?? "")/sign"
            case .create: "/create"
            }
        return try HTTPURL(origin, path: "/keys/\(key.key)\(rest)", query: "api-version=2025-07-01")
    }

    /// Sends a request once, within bounds.
    private func send(_ request: HTTPRequest, _ operation: Operation, _ key: AzureKeyReference)
        async throws(FailedRequest) -> HTTPResponse
    {
        var request = request
        (request.bodyLimit, request.timeout) = (1 << 16, .seconds(30))
        request.handledStatuses = Set(400...599)
        request.refusesRedirects = true
        // Each attempt is counted here, so the transport makes one.
        request.isIdempotent = false
        request.latestStart = .now + .seconds(240)
        do throws(SigstoreError) { return try await http.send(request) } catch {
            // Whether a key was made, if the answer was lost, nobody knows: a second one would be a second version.
            let mayBeDone = operation == .create && !error.wasNotSent
            let mayRepeat = error.code == .unreachable && !mayBeDone
            var error = error.concerning(key.text)
            if error.code == .unreachable {
                error.advice = SigstoreError.Advice.sentence(
                    "check the name of the vault, and that this machine may reach it"
                ).after(error.advice)
            }
            throw FailedRequest(mayBeDone ? Self.mayHaveMade(key, error) : error, mayRepeat ? .passing : .lasting)
        }
    }

    /// The error of a request that makes a key, of which nobody knows whether it was done.
    static func mayHaveMade(_ key: AzureKeyReference, _ error: SigstoreError) -> SigstoreError {
        error.mayHaveMadeKey(
            "look whether it is there before you try again: az keyvault key show \(key.place) --name \(key.key)")
    }

    private static func read(_ answer: HTTPResponse, _ key: AzureKeyReference) throws(SigstoreError) -> JSONCursor {
        do throws(SigstoreError) {
            return JSONCursor(try JSONValue(parsing: answer.body, depth: 16, values: 4096))
        } catch {
            throw fault(key, "what \(key.serviceName) answers cannot be read: \(error.message)", error)
        }
    }

    /// An answer that cannot be.
    static func fault(_ key: AzureKeyReference, _ what: String, _ cause: SigstoreError? = nil) -> SigstoreError {
        .strangeAnswer(key.text, what, check: "the name of the vault", cause)
    }

    // MARK: - For whom a token must be

    /// Asks without a token, and is told where to get one for what.
    private func challenge(_ key: AzureKeyReference) async throws(SigstoreError) -> AzureChallenge {
        try await challenges.value(0) { () async throws(SigstoreError) in
            try await self.attempts.run(passing: 3, throttled: 8) { () async throws(FailedRequest) in
                let request: HTTPRequest
                do throws(SigstoreError) {
                    request = HTTPRequest(
                        "GET", try self.url(.get, key, key.version),
                        headers: [(name: "Accept", value: "application/json")])
                } catch { throw FailedRequest(error) }
                let answer = try await self.send(request, .get, key)
                guard answer.status == 401 else {
                    if answer.status >= 400 { throw self.failure(answer, .get, key, nil) }
                    throw FailedRequest(
                        Self.fault(key, "\(self.origin.authority) does not ask who asks, as \(key.serviceName) does"))
                }
                do throws(SigstoreError) {
                    return try AzureChallenge(answer.allHeaders("www-authenticate"), of: self.origin)
                } catch {
                    throw FailedRequest(error.concerning(key.text))
                }
            }
        }
    }

    // MARK: - What errors mean

    /// The code, the inner code, and the words of an error.
    private static func code(_ answer: HTTPResponse) -> (code: String, inner: String, words: String) {
        let json = (try? JSONValue(parsing: answer.body, depth: 16, values: 4096)).map(JSONCursor.init)
        let error = (try? json?.optional("error")) ?? nil
        func text(_ json: JSONCursor?, _ name: String) -> String {
            ((try? json?.optional(name)?.string()) ?? nil) ?? ""
        }
        let inner = ((try? error?.optional("innererror")) ?? nil) ?? ((try? error?.optional("innerError")) ?? nil)
        return (
            SigstoreError.shortened(text(error, "code")), SigstoreError.shortened(text(inner, "code")),
            text(error, "message")
        )
    }

    private func failure(
        _ answer: HTTPResponse, _ operation: Operation, _ key: AzureKeyReference, _ token: AzureToken?
    ) -> FailedRequest {
        let (code, inner, words) = Self.code(answer)
        let names = [code, inner].filter { !$0.isEmpty }.joined(separator: ", ")
        let said =
            "\(key.serviceName) says \(names.isEmpty ? "HTTP \(answer.status)" : names)\(words.isEmpty ? "" : ": \(SigstoreError.shortened(words))")"
        let name = "\(key.key)\(key.version.map { ", version \($0)" } ?? "")"
        let place = origin.authority
        let who =
            token.map { "\($0.source)\($0.identity.map { identity in ", \(identity)" } ?? "")" } ?? "no account yet"
        func error(
            _ errorCode: SigstoreError.Code, _ what: String, _ advice: String, _ kind: FailedRequest.Kind = .lasting
        ) -> FailedRequest {
            FailedRequest(
                SigstoreError(
                    errorCode, "\(key.text): \(what); \(said)", advice: .sentence(advice),
                    cause: HTTPStatusError(response: answer)), kind)
        }
        func says(_ words: String...) -> Bool {
            // A code of its own says what it is. Words may go on with the names of resources, which may hold anything.
            let said =
                inner.isEmpty ? self.lowered(answer).split(separator: "resource:").first ?? "" : inner.lowercased()[...]
            return words.contains { said.contains($0) }
        }
        switch answer.status {
        case 401:
            if says("akv10032", "issuer") {
                return error(
                    .keyDenied, "the vault belongs to another tenant than the token (\(who))",
                    "set AZURE_TENANT_ID to the vault's tenant, or log in to it (az login --tenant TENANT)")
            }
            return error(
                .keyDenied,
                "\(place) does not accept the token (\(who)); here it is \(Instant(seconds: surroundings.now()))"
                    + (answer.header("date").map { ", there it is \(SigstoreError.shortened($0))" } ?? ""),
                "log in again, and check this machine's clock and AZURE_TENANT_ID")
        case 403:
            if says("keydisabled", "disabled key") {
                return error(
                    .keyUnusable, "the key \(name) is disabled (\(place))",
                    "enable it with az keyvault key set-attributes --enabled true, or use another key")
            }
            if says("keyexpired", "expired key") {
                return error(
                    .keyUnusable, "the key \(name) has expired (\(place))", "use a newer version, or another key")
            }
            if says("keynotyetvalid", "not yet valid") {
                return error(
                    .keyUnusable, "the key \(name) may not be used yet (\(place))", "use another key until then")
            }
            if says("not permitted on this key", "keyoperationforbidden", "operationnotallowed") {
                return error(
                    .keyUnusable, "the key \(name) is not for signing (\(place))",
                    "use a key that has sign among its operations (key_ops)")
            }
            if says("firewall", "forbiddenbyconnection", "public network access", "client address") {
                return error(
                    .keyDenied, "the firewall of \(place) does not let this machine's address through",
                    "add the address to the vault's network rules, or run it in a network that they allow")
            }
            guard !code.isEmpty || !words.isEmpty else {
                return error(
                    .keyDenied, "\(place) refuses it and does not say why, as a proxy between may do (\(who))",
                    "check what stands between, and the role \"\(operation.role(isManagedHSM: key.isManagedHSM))\" of the account"
                )
            }
            let action = operation.action(isManagedHSM: key.isManagedHSM)
            let caller = Self.caller(in: words) ?? token?.identity
            return error(
                .keyDenied,
                "the permission \(action) is missing on the key \(name) (\(place)) for \(caller ?? "this account") (\(token?.source ?? "no account yet"))",
                "give \(caller ?? "it") the role \"\(operation.role(isManagedHSM: key.isManagedHSM))\" on the key or the vault"
                    + (key.isManagedHSM
                        ? " (az keyvault role assignment create)"
                        : "; if the vault has access policies in place of roles, the key permission \(operation.rawValue)")
            )
        case 404:
            if says("keynotfound", "was not found in this key vault") || code.utf8.elementsEqual("KeyNotFound".utf8) {
                return error(
                    .keyNotFound, "there is no key \(name) (\(place), \(who))",
                    "check the name and the vault; az keyvault key list \(key.place) shows them")
            }
            return error(
                .keyServiceAnswer,
                "\(place) does not say that there is no such key, but that there is nothing at all (\(who))",
                "check the name of the vault")
        case 409:
            let command = "az keyvault key"
            if says("objectisdeletedbutrecoverable", "deleted but recoverable") {
                return error(
                    .keyUnusable,
                    "a key \(key.key) was deleted and can still be recovered, so that none can be made (\(place))",
                    "recover it with \(command) recover \(key.place) --name \(key.key), or use another name")
            }
            let isEnding = says("objectisbeingdeleted", "being deleted")
            if isEnding || says("objectisbeingrecovered", "being recovered") {
                return error(
                    .keyUnusable,
                    "the key \(key.key) is being \(isEnding ? "deleted" : "recovered") just now (\(place))",
                    "try again in a minute\(isEnding ? ", or use another name" : "")")
            }
            return error(
                .keyUnusable, "\(key.serviceName) does something else with the key \(name) just now (\(place))",
                "try again; \(command) show and \(command) show-deleted, \(key.place) --name \(key.key), say what is there"
            )
        case 429:
            return error(
                .keyServiceFailed, "too many requests for the vault's limits, after all attempts (\(place))",
                "try again later, sign fewer at once, or use another vault",
                .throttled(after: answer.retryAfter(now: surroundings.now())))
        case 408, 500...599:
            let wait = answer.status == 503 ? answer.retryAfter(now: surroundings.now()) : nil
            let failed = error(
                .keyServiceFailed, "\(key.serviceName) failed (\(place))", "try again later",
                wait.map { .throttled(after: $0) } ?? .passing)
            guard operation == .create else { return failed }
            return FailedRequest(Self.mayHaveMade(key, failed.error))
        default:
            return error(
                operation == .sign ? .keyUnusable : .keyServiceFailed,
                "\(key.serviceName) refuses \(operation.rawValue) for \(name) (\(place), \(who))",
                "what it says names the cause")
        }
    }

    private func lowered(_ answer: HTTPResponse) -> String { Self.code(answer).words.lowercased() }

    /// Whom a refusal is about: `appid=…;oid=…;iss=…`, of which the ids of application and object are shown.
    private static func caller(in words: String) -> String? {
        guard let start = words.firstRange(of: "appid=")?.lowerBound else { return nil }
        let fields = words[start...].prefix { !$0.isWhitespace && $0 != "'" }.split(separator: ";")
        let shown = fields.filter { $0.hasPrefix("appid=") || $0.hasPrefix("oid=") }.joined(separator: ";")
        guard shown.utf8.count <= 256, shown.utf8.allSatisfy({ (0x21...0x7e).contains($0) }) else { return nil }
        return shown
    }
}

/// What a vault says that a token must be for (Azure Key Vault Developer's Guide, "Authentication, requests and responses").
struct AzureChallenge: Sendable, Hashable {
    /// The service that the token is for, such as `https://vault.azure.net`.
    let resource: String
    /// The tenant that the vault belongs to, if it says so.
    let tenant: String?

    /// Reads `Bearer authorization="https://ENTRA-HOST/TENANT", resource="https://vault.azure.net"`.
    /// - Parameters:
    ///   - headers: The values of `WWW-Authenticate`.
    ///   - origin: Who sent them: the service must be a domain that it is in, or a forged vault could have a token for another one
    ///     sent to it.
    init(_ headers: [String], of origin: HTTPURL.Origin) throws(SigstoreError) {
        func fault(_ what: String) -> SigstoreError {
            SigstoreError(
                .keyServiceAnswer, "\(origin.authority) does not answer as Azure Key Vault does: \(what)",
                advice: "check the name of the vault; no token was sent")
        }
        guard
            let header = headers.first(where: {
                $0.utf8.count <= 4096 && $0.lowercased().utf8.starts(with: "bearer ".utf8)
            })
        else { throw fault("it does not say for whom a token must be") }
        let values = Self.parameters(Substring(header.dropFirst(7)))
        var resource = values["resource"] ?? values["scope"] ?? ""
        let end = "/.default"
        if resource.utf8.reversed().starts(with: end.utf8.reversed()) {
            resource = String(resource.dropLast(end.count))
        }
        while resource.utf8.last == 0x2f { resource.removeLast() }
        guard let url = try? HTTPURL(parsing: resource), url.origin.scheme == .https, url.path == "/", url.query == nil
        else { throw fault("it does not say for which service a token must be") }
        let suffix = ".\(url.origin.authority)"
        guard url.origin.host.utf8.contains(0x2e), origin.authority.utf8.reversed().starts(with: suffix.utf8.reversed())
        else {
            throw fault("it wants a token for \(url.origin.authority), and is not below that")
        }
        self.resource = url.origin.description
        let authority = values["authorization"] ?? values["authorization_uri"] ?? ""
        let segment = (try? HTTPURL(parsing: authority))?.path.split(separator: "/").first.map(String.init)
        tenant = segment.flatMap { AzureCredentialChain.isTenant($0) ? $0 : nil }
    }

    /// The parameters of a challenge (RFC 9110, section 11.2): names in lower case, values with or without quotes.
    private static func parameters(_ text: Substring) -> [String: String] {
        var values: [String: String] = [:]
        var rest = text.utf8[...]
        while !rest.isEmpty, values.count < 32 {
            rest = rest.drop { $0 == 0x20 || $0 == 0x2c || $0 == 0x09 }
            let name = rest.prefix { $0 != 0x3d && $0 != 0x2c && $0 != 0x20 }
            rest = rest.dropFirst(name.count)
            guard rest.first == 0x3d else { continue }
            rest = rest.dropFirst()
            let isQuoted = rest.first == 0x22
            if isQuoted { rest = rest.dropFirst() }
            let value = rest.prefix { isQuoted ? $0 != 0x22 : $0 != 0x2c && $0 != 0x20 }
            rest = rest.dropFirst(value.count + (isQuoted ? 1 : 0))
            // What is said twice is meant neither way.
            let key = String(decoding: name, as: UTF8.self).lowercased()
            values[key] = values[key] == nil ? String(decoding: value, as: UTF8.self) : ""
        }
        return values
    }
}
