internal import HTTPTransport
public import SigstoreCrypto
public import StrictJSON

/// Key pairs in the CI/CD variables of a GitLab project or group: `gitlab://GROUP/PROJECT`, `gitlab://NUMBER` or `gitlab://GROUP`.
///
/// The variables are `COSIGN_PRIVATE_KEY`, `COSIGN_PASSWORD` and `COSIGN_PUBLIC_KEY`, as cosign has them. Signing is done here.
public final class GitLabKeys: KeyPairKeeper {
    private static let scheme = ReferenceScheme(
        "gitlab", form: "gitlab://GROUP/PROJECT, gitlab://GROUP or gitlab://NUMBER")
    private static let (privateName, passwordName, publicName) = (
        "COSIGN_PRIVATE_KEY", "COSIGN_PASSWORD", "COSIGN_PUBLIC_KEY"
    )

    private let around: KeySurroundings
    private let owners = Once<String, GitLabOwner>()
    private let publicKeys = Once<String, PublicKey>()
    private let keys = Once<String, PrivateKey>()

    /// Nothing is asked yet.
    public init(_ around: KeySurroundings) { self.around = around }

    public func knows(_ reference: String) -> Bool { Self.scheme.isMeant(by: reference) }

    public func check(_ reference: String) throws(SigstoreError) { _ = try Self.path(reference) }

    public func trustVariables(_ reference: String) -> [String] {
        around.variable("GITLAB_HOST") == nil ? [] : ["GITLAB_HOST"]
    }

    /// The path or number of a project or group.
    private static func path(_ reference: String) throws(SigstoreError) -> String {
        let path = try scheme.rest(of: reference)
        let parts = path.split(separator: "/", omittingEmptySubsequences: false)
        guard !path.contains("://") else {
            throw scheme.malformed(reference, "an address stands in it: GITLAB_HOST names the server")
        }
        guard path.utf8.count <= 1024, parts.count <= 32,
            parts.allSatisfy({ part in
                !part.isEmpty && part != "." && part != ".." && part.utf8.first != 0x2d
                    && part.utf8.allSatisfy {
                        (0x30...0x39).contains($0) || (0x41...0x5a).contains($0) || (0x61...0x7a).contains($0)
                            || [0x2d, 0x2e, 0x5f].contains($0)
                    }
            })
        else {
            throw scheme.malformed(
                reference, path.isEmpty ? "it names no project or group" : "that is no path of a project or group")
        }
        return path
    }

    public func publicKey(_ reference: String) async throws(SigstoreError) -> PublicKey {
        let owner = try await owner(reference)
        return try await publicKeys.value(reference) { () async throws(SigstoreError) in
            guard let value = try await owner.variable(Self.publicName) else {
                throw owner.missing(Self.publicName)
            }
            do throws(SigstoreError) { return try PublicKey(file: Array(value.utf8)) } catch {
                throw error.concerning("\(owner.name), \(Self.publicName)")
            }
        }
    }

    public func signer(_ reference: String, password: @escaping PasswordSource) async throws(SigstoreError)
        -> any Signer
    {
        let owner = try await owner(reference)
        return try await keys.value(reference) { () async throws(SigstoreError) in
            guard let key = try await owner.variable(Self.privateName) else { throw owner.missing(Self.privateName) }
            let word = try await owner.variable(Self.passwordName)
            let publicKey = try await owner.variable(Self.publicName)
            return try await KeptKey(
                privateKey: SecretBytes(key.utf8), password: word.map { SecretBytes($0.utf8) },
                publicKey: publicKey.map { Array($0.utf8) }
            ).open("\(owner.name), \(Self.privateName)", asking: password)
        }
    }

    public func facts(_ reference: String) async throws(SigstoreError) -> [KeyFact] {
        let owner = try await owner(reference)
        var facts = [
            KeyFact("service", "GitLab, \(owner.origin)"),
            KeyFact("key", "variables of the \(owner.kind) \(owner.path)"),
        ]
        let key: PublicKey?
        do throws(SigstoreError) { key = try await publicKey(reference) } catch {
            guard error.code == .keyNotFound else { throw error }
            key = nil
        }
        if let key { facts += [KeyFact("algorithm", "\(key.kind)"), KeyFact("signs as", "\(key.defaultScheme)")] }
        facts.append(KeyFact("credentials", "the token in GITLAB_TOKEN"))
        if let account = owner.account { facts.append(KeyFact("account", account)) }
        return facts
    }

    // MARK: - Keeping a pair

    public func existing(_ reference: String) async throws(SigstoreError) -> [String] {
        let owner = try await owner(reference)
        var found: [String] = []
        for name in [Self.privateName, Self.passwordName, Self.publicName]
        where try await owner.variable(name) != nil {
            found.append("the variable \(name) of the \(owner.kind) \(owner.path)")
        }
        return found
    }

    public func keep(_ pair: EncryptedKeyPair, _ reference: String, replacing: Bool) async throws(SigstoreError) -> (
        privateKey: String, publicKey: String
    ) {
        let owner = try await owner(reference)
        let password = unsafe pair.password.withBytes { unsafe String(validating: $0, as: UTF8.self) }
        guard let password, !password.utf8.contains(0) else {
            throw SigstoreError(
                .keyUnusable, "\(owner.name): the password is not text, and a variable can hold nothing else",
                advice: "choose another password; nothing was changed")
        }
        let isMasked = Self.canBeMasked(password)
        if !isMasked {
            around.warning(
                "the password will not be masked in the logs of jobs: GitLab masks values of 8 or more letters, digits and _ + / = @ : . ~ - alone"
            )
        }
        // In cosign's order. All three are looked at before the first is written.
        let values = [
            (name: Self.passwordName, value: password, isMasked: isMasked),
            (name: Self.privateName, value: pair.privateKey, isMasked: false),
            (name: Self.publicName, value: pair.publicKey, isMasked: false),
        ]
        var old: [(name: String, value: JSONValue?)] = []
        for (name, _, _) in values {
            let there = try await owner.object(name)
            guard there == nil || replacing else {
                throw SigstoreError(
                    .keyExists, "\(owner.name): the variable \(name) is there already, and nothing was changed",
                    advice: "name another project or group, or delete the variable")
            }
            old.append((name, there?.value))
        }
        var done: [(name: String, value: JSONValue?)] = []
        for (one, before) in zip(values, old) {
            var body: JSONObject = ["key": .string(one.name), "value": .string(one.value)]
            if before.value == nil {
                if one.name == Self.passwordName {
                    body["environment_scope"] = .string("*")
                    // Else GitLab puts values of other variables where a $ stands.
                    body["raw"] = .bool(true)
                }
                body["masked"] = .bool(one.isMasked)
                body["protected"] = .bool(false)
                body["variable_type"] = .string("env_var")
            } else if one.name == Self.passwordName {
                // For which jobs and environments a variable is, stays as its owner has set it.
                body["masked"] = .bool(one.isMasked)
                body["raw"] = .bool(true)
            }
            do throws(SigstoreError) {
                try await owner.write(one.name, body, isNew: before.value == nil)
                done.append(before)
            } catch {
                if !error.wroteNothing { done.append(before) }
                throw await putBack(done, owner, after: error)
            }
        }
        let place = "of the \(owner.kind) \(owner.path)"
        return (
            "the variables \(Self.privateName) and \(Self.passwordName) \(place)",
            "the variable \(Self.publicName) \(place)"
        )
    }

    /// Undoes what was written, so that no half of a pair is left.
    /// - Returns: The error that ended the writing, with what could not be undone.
    private func putBack(
        _ done: [(name: String, value: JSONValue?)], _ owner: GitLabOwner, after error: SigstoreError
    ) async -> SigstoreError {
        var left: [String] = []
        for (name, value) in done.reversed() {
            do throws(SigstoreError) {
                guard let value else {
                    try await owner.delete(name)
                    continue
                }
                var body = JSONObject()
                for member in ["key", "value", "masked", "protected", "variable_type", "raw", "environment_scope"] {
                    if case .object(let there) = value, let was = there[member] { body[member] = was }
                }
                try await owner.write(name, .init(body.members), isNew: false, isUndoing: true)
            } catch { left.append(name) }
        }
        var error = error
        if left.isEmpty {
            error.message += "; all variables are as they were"
        } else {
            error.message += "; and the variables \(left.joined(separator: ", ")) could not be put back"
            error.advice = .both(
                "look at the variables in GitLab before anything is signed", error.advice ?? "then try again")
        }
        return error
    }

    /// Whether GitLab hides a value in the logs of jobs: one word of 8 or more of certain letters.
    private static func canBeMasked(_ value: String) -> Bool {
        value.utf8.count >= 8
            && value.utf8.allSatisfy {
                (0x30...0x39).contains($0) || (0x41...0x5a).contains($0) || (0x61...0x7a).contains($0)
                    || Array("_+/=@:.~-".utf8).contains($0)
            }
    }

    // MARK: - Asked once a run

    private func owner(_ reference: String) async throws(SigstoreError) -> GitLabOwner {
        let (around, path) = (around, try Self.path(reference))
        return try await owners.value(path) { () async throws(SigstoreError) in try await GitLabOwner(around, path) }
    }
}

/// A project or group of a GitLab server, whose variables are asked for.
private struct GitLabOwner: Sendable {
    /// `project` or `group`.
    let kind: String
    let path: String
    /// Its number and name, if the server tells them.
    let account: String?
    private let base: HTTPURL
    private let token: Authorization
    private let http: any HTTPClient

    var origin: HTTPURL.Origin { base.origin }
    /// What messages call it.
    var name: String { "\(base.origin.authority), \(kind) \(path)" }

    /// Finds out whether it is a project or a group.
    init(_ around: KeySurroundings, _ path: String) async throws(SigstoreError) {
        let advice =
            "set it to an access token with the scope api, made in GitLab's settings of the user, project or group"
        let base = try around.address("GITLAB_HOST", else: "https://gitlab.com")
        let token = try around.token("GITLAB_TOKEN", field: "Private-Token", advice)
        let http = try around.client(TLSOptions())
        self.path = path
        (self.base, self.token, self.http) = (base, token, http)
        for kind in ["project", "group"] {
            let response = try await Self.send("GET", Self.url(base, "\(kind)s", path, ""), nil, token, http)
            guard response.status != 404 else { continue }
            let name = "\(base.origin.authority), \(path)"
            guard (200...299).contains(response.status) else {
                throw Self.refusal(response, name, "may not see it", "the scope api (read_api to read) and membership")
            }
            do throws(SigstoreError) {
                let answer = JSONCursor(try JSONValue(parsing: response.body, depth: 32, values: 1 << 16))
                account = try answer.optional("id").map { id throws(SigstoreError) in "\(kind) \(try id.integer())" }
            } catch {
                throw SigstoreError(
                    .keyServiceAnswer, "\(name): the server does not answer as GitLab does: \(error.message)",
                    advice: "check GITLAB_HOST", cause: error)
            }
            self.kind = kind
            return
        }
        throw SigstoreError(
            .keyNotFound,
            "\(base.origin.authority): the token in GITLAB_TOKEN sees neither a project nor a group \(path)",
            advice: "check the path and GITLAB_HOST; what a token may not see, GitLab calls not found")
    }

    /// `/api/v4/projects/PATH…`
    private static func url(_ base: HTTPURL, _ kinds: String, _ path: String, _ rest: String) throws(SigstoreError)
        -> HTTPURL
    {
        var start = base.path
        while start.utf8.last == 0x2f { start.removeLast() }
        return try HTTPURL(base.origin, path: "\(start)/api/v4/\(kinds)/\(HTTPURL.percentEncoded(path))\(rest)")
    }

    private static func send(
        _ method: String, _ url: HTTPURL, _ body: JSONObject?, _ token: Authorization, _ http: any HTTPClient,
        isUndoing: Bool = false
    ) async throws(SigstoreError) -> HTTPResponse {
        var request = HTTPRequest(
            method, url,
            headers: [("Accept", "application/json")] + (body == nil ? [] : [("Content-Type", "application/json")]),
            authorization: token, body: body.map { .json(secret: .object($0)) } ?? .none,
            bodyLimit: 1 << 20, timeout: .seconds(30), handledStatuses: Set(400...599))
        request.refusesRedirects = true
        request.outlastsDeadline = isUndoing
        do throws(SigstoreError) { return try await http.send(request) } catch {
            var error = error
            if error.code == .redirectRefused { error.advice = "if that is this GitLab, name it in GITLAB_HOST" }
            throw error
        }
    }

    private func call(
        _ method: String, _ rest: String, _ body: JSONObject? = nil, isUndoing: Bool = false
    ) async throws(SigstoreError) -> HTTPResponse {
        try await Self.send(
            method, Self.url(base, "\(kind)s", path, "/variables\(rest)"), body, token, http, isUndoing: isUndoing)
    }

    /// A variable as the server has it; `nil` if there is none.
    func object(_ variable: String) async throws(SigstoreError) -> JSONCursor? {
        let response = try await call("GET", "/\(variable)")
        guard response.status != 404 else { return nil }
        guard (200...299).contains(response.status) else { throw refusal(response, variable, "read") }
        do throws(SigstoreError) {
            let answer = JSONCursor(try JSONValue(parsing: response.body, depth: 16, values: 1 << 12))
            let found = try answer.member("key").string()
            guard found.utf8.elementsEqual(variable.utf8) else { throw answer.fault("is of the variable \(found)") }
            guard try answer.optional("value") != nil else {
                throw SigstoreError(
                    .keyUnusable,
                    "\(name): the value of the variable \(variable) is hidden, so that GitLab gives it to jobs alone",
                    advice: "make it anew without Masked and hidden, or use env://\(variable) in a job")
            }
            _ = try answer.member("value").string()
            return answer
        } catch {
            guard error.code != .keyUnusable else { throw error }
            throw SigstoreError(
                .keyServiceAnswer,
                "\(name): what the server says of the variable \(variable) is not what GitLab says: \(error.message)",
                advice: "check GITLAB_HOST", cause: error)
        }
    }

    /// The value of a variable; `nil` if there is none.
    func variable(_ variable: String) async throws(SigstoreError) -> String? {
        try await object(variable)?.member("value").string()
    }

    /// - Parameter isUndoing: Whether it is put back, also after the time that all may take.
    func write(_ variable: String, _ body: JSONObject, isNew: Bool, isUndoing: Bool = false)
        async throws(SigstoreError)
    {
        let response = try await call(
            isNew ? "POST" : "PUT", isNew ? "" : "/\(variable)", body, isUndoing: isUndoing)
        guard (200...299).contains(response.status) else { throw refusal(response, variable, "write") }
    }

    /// Deletes a variable that was made a moment ago; one that is not there is gone already.
    func delete(_ variable: String) async throws(SigstoreError) {
        let response = try await call("DELETE", "/\(variable)", isUndoing: true)
        guard (200...299).contains(response.status) || response.status == 404 else {
            throw refusal(response, variable, "delete")
        }
    }

    func missing(_ variable: String) -> SigstoreError {
        SigstoreError(
            .keyNotFound, "\(name) has no variable \(variable)",
            advice: "make a pair there with generate-key-pair, or add the variable")
    }

    private func refusal(_ response: HTTPResponse, _ variable: String, _ verb: String) -> SigstoreError {
        if response.status == 409 {
            return SigstoreError(
                .keyServiceSettings,
                "\(name) has several variables \(variable), for different environments: which of them is meant is not known",
                advice: "leave one of them", cause: HTTPStatusError(response: response))
        }
        return Self.refusal(
            response, "\(name), variable \(variable)", "may not \(verb) it",
            "the scope \(verb == "read" ? "read_api or api" : "api") and the role \(kind == "project" ? "Maintainer" : "Owner")"
        )
    }

    /// What an error of the server means.
    private static func refusal(_ response: HTTPResponse, _ subject: String, _ what: String, _ needed: String)
        -> SigstoreError
    {
        let said = words(response.body)
        let words = said.isEmpty ? "" : ": \(said)"
        func error(_ code: SigstoreError.Code, _ what: String, _ advice: String?) -> SigstoreError {
            SigstoreError(
                code, "\(subject): \(what)\(words)", advice: advice.map { .sentence($0) },
                cause: HTTPStatusError(response: response))
        }
        switch response.status {
        case 401:
            return error(
                .keyDenied, "the server does not accept the token in GITLAB_TOKEN",
                "make a new one with the scope api; a job's own token (CI_JOB_TOKEN) may not read variables")
        case 403:
            return error(.keyDenied, "the token in GITLAB_TOKEN \(what)", "it needs \(needed)")
        case 404: return error(.keyNotFound, "it is not there", "check the path")
        case 400: return error(.keyUnusable, "the server refuses it", nil)
        case 408, 429, 500...599:
            return error(
                .keyServiceFailed, "the server cannot answer now (\(response.status))",
                response.status == 429 ? "too much was asked: try again in a minute" : "try again later")
        default: return response.failure("the request").concerning(subject)
        }
    }

    /// What the server says: a text, or texts by the names of what they are about.
    private static func words(_ body: [UInt8]) -> String {
        guard let answer = try? JSONCursor(JSONValue(parsing: body, depth: 8, values: 256)) else { return "" }
        for member in ["message", "error_description", "error"] {
            guard let said = try? answer.optional(member) else { continue }
            if let text = try? said.string() { return String(text.prefix(256)) }
            return String(String(decoding: said.value.serialized(), as: UTF8.self).prefix(256))
        }
        return ""
    }
}
