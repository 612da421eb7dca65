internal import HTTPTransport
public import SigstoreCrypto
public import StrictJSON

/// Key pairs in the secrets of GitHub Actions: `github://OWNER/REPOSITORY`, or `github://OWNER` for an organisation.
///
/// They can be written only: GitHub gives secrets to workflows, and to nothing else.
public final class GitHubKeys: KeyPairKeeper {
    private static let scheme = ReferenceScheme("github", form: "github://OWNER/REPOSITORY, or github://ORGANISATION")
    private static let (privateName, passwordName, publicName) = (
        "COSIGN_PRIVATE_KEY", "COSIGN_PASSWORD", "COSIGN_PUBLIC_KEY"
    )
    private let around: KeySurroundings

    /// Nothing is asked yet.
    public init(_ around: KeySurroundings) { self.around = around }

    public func knows(_ reference: String) -> Bool { Self.scheme.isMeant(by: reference) }

    public func check(_ reference: String) throws(SigstoreError) { _ = try Self.parts(reference) }

    /// The owner, and the repository if one is named.
    private static func parts(_ reference: String) throws(SigstoreError) -> [String] {
        let parts = try scheme.rest(of: reference).split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count <= 2,
            parts.allSatisfy({ part in
                (1...100).contains(part.utf8.count) && part != "." && part != ".."
                    && part.utf8.allSatisfy {
                        (0x30...0x39).contains($0) || (0x41...0x5a).contains($0) || (0x61...0x7a).contains($0)
                            || [0x2d, 0x2e, 0x5f].contains($0)
                    }
            })
        else { throw scheme.malformed(reference, "it names neither a repository nor an organisation") }
        return parts.map(String.init)
    }

    public func publicKey(_ reference: String) async throws(SigstoreError) -> PublicKey {
        throw Self.unreadable(reference, Self.publicName)
    }

    public func signer(_ reference: String, password: @escaping PasswordSource) async throws(SigstoreError)
        -> any Signer
    {
        throw Self.unreadable(reference, Self.privateName)
    }

    public func facts(_ reference: String) async throws(SigstoreError) -> [KeyFact] {
        throw Self.unreadable(reference, Self.publicName)
    }

    private static func unreadable(_ reference: String, _ name: String) -> SigstoreError {
        SigstoreError(
            .unsupportedKey,
            "\(reference): GitHub gives secrets to workflows only, so that no key can be read from there",
            advice: .sentence("in a workflow, set \(name) from secrets.\(name) under env, and use env://\(name)"))
    }

    // MARK: - Keeping a pair

    public func existing(_ reference: String) async throws(SigstoreError) -> [String] {
        let secrets = try GitHubSecrets(around, Self.parts(reference))
        // Also of a repository that the token may not see GitHub says that no secret is there; not so of its key.
        _ = try await secrets.publicKey()
        var found: [String] = []
        for name in [Self.privateName, Self.passwordName, Self.publicName] where try await secrets.there(name) != nil {
            found.append("the secret \(name) of \(secrets.owner)")
        }
        return found
    }

    public func keep(_ pair: EncryptedKeyPair, _ reference: String, replacing: Bool) async throws(SigstoreError) -> (
        privateKey: String, publicKey: String
    ) {
        let secrets = try GitHubSecrets(around, Self.parts(reference))
        let values = [
            (name: Self.passwordName, value: pair.password),
            (name: Self.privateName, value: SecretBytes(pair.privateKey.utf8)),
            (name: Self.publicName, value: SecretBytes(pair.publicKey.utf8)),
        ]
        let key = try await secrets.publicKey()
        var old: [(name: String, there: GitHubSecrets.Secret?)] = []
        for (name, _) in values {
            let there = try await secrets.there(name)
            guard there == nil || replacing else {
                throw SigstoreError(
                    .keyExists, "\(secrets.name): the secret \(name) is there already, and nothing was changed",
                    advice: "name another repository, or delete the secret")
            }
            if there?.visibility == "selected" {
                throw SigstoreError(
                    .keyUnusable,
                    "\(secrets.name): the secret \(name) is for selected repositories, which would be forgotten; nothing was changed",
                    advice: "delete it first, and select the repositories again afterwards")
            }
            old.append((name, there))
        }
        // All are sealed before the first is written.
        var sealed: [(name: String, box: [UInt8])] = []
        for (name, value) in values {
            do throws(SigstoreError) { sealed.append((name, try SealedBox.seal(value, for: key.bytes))) } catch {
                throw SigstoreError(
                    .keyServiceAnswer, "\(secrets.name): GitHub's key for secrets cannot be used: \(error.message)",
                    advice: "check GITHUB_HOST", cause: error)
            }
        }
        var done: [(name: String, wasThere: Bool)] = []
        for (one, before) in zip(sealed, old) {
            let change = (before.name, before.there != nil)
            do throws(SigstoreError) {
                try await secrets.write(one.name, one.box, key.identifier, visibility: before.there?.visibility)
                done.append(change)
            } catch {
                if !error.wroteNothing { done.append(change) }
                throw await takeBack(done, secrets, after: error)
            }
        }
        return (
            "the secrets \(Self.privateName) and \(Self.passwordName) of \(secrets.owner)",
            "the secret \(Self.publicName) of \(secrets.owner)"
        )
    }

    /// Removes what was made. What was replaced cannot be put back: GitHub does not give it.
    private func takeBack(
        _ done: [(name: String, wasThere: Bool)], _ secrets: GitHubSecrets, after error: SigstoreError
    ) async -> SigstoreError {
        var left = done.filter(\.wasThere).map(\.name)
        for (name, wasThere) in done.reversed() where !wasThere {
            do throws(SigstoreError) { try await secrets.delete(name) } catch { left.append(name) }
        }
        var error = error
        if left.isEmpty {
            error.message += "; all secrets are as they were"
        } else {
            error.message += "; and the secrets \(left.joined(separator: ", ")) may be of another pair now"
            error.advice = .both(
                "make a pair anew, or set these secrets again, before a workflow signs",
                error.advice ?? "then try again")
        }
        return error
    }
}

/// The secrets of a repository or an organisation (GitHub's REST API, `actions/secrets`).
private struct GitHubSecrets: Sendable {
    /// `OWNER/REPOSITORY`, or the organisation.
    let owner: String
    private let isOrganisation: Bool
    private let base: HTTPURL
    private let path: String
    private let token: Authorization
    private let http: any HTTPClient

    /// What messages call it.
    var name: String { "\(base.origin.authority), \(owner)" }

    init(_ around: KeySurroundings, _ parts: [String]) throws(SigstoreError) {
        let base = try around.address("GITHUB_HOST", else: "https://api.github.com")
        token = try around.token(
            "GITHUB_TOKEN", field: "Authorization", scheme: "Bearer",
            "set it to a token that may write secrets: a fine-grained one with the permission Secrets (read and write), or a classic one with repo (admin:org for an organisation)"
        )
        var start = base.path
        while start.utf8.last == 0x2f { start.removeLast() }
        // As cosign does: a server of one's own has its interface below /api/v3.
        let isAPI =
            base.origin.host.hasPrefix("api.") || base.origin.host.contains(".api.") || start.hasSuffix("/api/v3")
        owner = parts.joined(separator: "/")
        isOrganisation = parts.count == 1
        path = "\(start)\(isAPI ? "" : "/api/v3")/\(isOrganisation ? "orgs" : "repos")/\(owner)/actions/secrets"
        self.base = base
        http = try around.client(TLSOptions())
    }

    private func call(
        _ method: String, _ rest: String, _ body: JSONValue? = nil, isUndoing: Bool = false
    ) async throws(SigstoreError) -> HTTPResponse {
        var request = HTTPRequest(
            method, try HTTPURL(base.origin, path: "\(path)/\(rest)"),
            headers: [("Accept", "application/vnd.github+json"), ("X-GitHub-Api-Version", "2022-11-28")]
                + (body == nil ? [] : [("Content-Type", "application/json")]),
            authorization: token, body: body.map { .bytes($0.serialized()) } ?? .none, bodyLimit: 1 << 16,
            timeout: .seconds(30), handledStatuses: Set(400...599))
        request.refusesRedirects = true
        request.outlastsDeadline = isUndoing
        let response: HTTPResponse
        do throws(SigstoreError) { response = try await http.send(request) } catch {
            var error = error
            if error.code == .redirectRefused { error.advice = "if it was renamed, use its name of today" }
            throw error
        }
        return response
    }

    /// A secret that is there. Its value is never given.
    struct Secret: Sendable {
        /// Of an organisation's: which of its repositories have it, `all`, `private` or `selected`.
        let visibility: String?
    }

    /// Whether there is a secret of this name.
    func there(_ secret: String) async throws(SigstoreError) -> Secret? {
        let response = try await call("GET", secret)
        guard response.status != 404 else { return nil }
        guard (200...299).contains(response.status) else { throw refusal(response, "see") }
        do throws(SigstoreError) {
            let answer = JSONCursor(try JSONValue(parsing: response.body, depth: 8, values: 1 << 10))
            return Secret(visibility: try answer.optional("visibility")?.string())
        } catch { throw strange(error) }
    }

    private func strange(_ error: SigstoreError) -> SigstoreError {
        SigstoreError(
            .keyServiceAnswer, "\(name): the server does not answer as GitHub does: \(error.message)",
            advice: "check GITHUB_HOST", cause: error)
    }

    /// The key that secrets are sealed for.
    func publicKey() async throws(SigstoreError) -> (bytes: [UInt8], identifier: String) {
        let response = try await call("GET", "public-key")
        guard (200...299).contains(response.status) else { throw refusal(response, "see") }
        do throws(SigstoreError) {
            let answer = JSONCursor(try JSONValue(parsing: response.body, depth: 4, values: 64))
            let key = try answer.member("key")
            let bytes = try key.bytes()
            guard bytes.count == 32 else { throw key.fault("has \(bytes.count) bytes, expected 32") }
            return (bytes, try answer.member("key_id").string())
        } catch { throw strange(error) }
    }

    /// - Parameter visibility: Which of an organisation's repositories have it already.
    func write(_ secret: String, _ box: [UInt8], _ identifier: String, visibility: String?) async throws(SigstoreError)
    {
        var body: JSONObject = ["encrypted_value": .bytes(box), "key_id": .string(identifier)]
        // Without it GitHub refuses; private repositories are the fewest that it has a word for.
        if isOrganisation { body["visibility"] = .string(visibility ?? "private") }
        let response = try await call("PUT", secret, .object(body))
        guard (200...299).contains(response.status) else { throw refusal(response, "write") }
    }

    /// Deletes a secret that was made a moment ago, also after the time that all may take.
    func delete(_ secret: String) async throws(SigstoreError) {
        let response = try await call("DELETE", secret, isUndoing: true)
        guard (200...299).contains(response.status) || response.status == 404 else {
            throw refusal(response, "delete")
        }
    }

    /// What an error of the server means.
    private func refusal(_ response: HTTPResponse, _ verb: String) -> SigstoreError {
        let answer = try? JSONCursor(JSONValue(parsing: response.body, depth: 8, values: 256))
        let said = (try? answer?.optional("message")?.string()) ?? ""
        let words = said.isEmpty ? "" : ": \(SigstoreError.shortened(said))"
        let needed =
            isOrganisation
            ? "it needs the permission Organization secrets (read and write), or admin:org"
            : "it needs the permission Secrets (read and write) for this repository, or repo"
        func error(_ code: SigstoreError.Code, _ what: String, _ advice: String?) -> SigstoreError {
            SigstoreError(
                code, "\(name): \(what)\(words)", advice: advice.map { .sentence($0) },
                cause: HTTPStatusError(response: response))
        }
        switch response.status {
        case 401:
            return error(.keyDenied, "GitHub does not accept the token in GITHUB_TOKEN", "make a new one; \(needed)")
        case 403 where response.header("x-ratelimit-remaining") == "0", 429:
            return error(.keyServiceFailed, "GitHub has been asked too much with this token", "try again later")
        case 403: return error(.keyDenied, "the token in GITHUB_TOKEN may not \(verb) secrets", needed)
        case 404:
            return error(
                .keyNotFound,
                "there is no such \(isOrganisation ? "organisation" : "repository"), or the token may not see it",
                "check the name; \(needed)")
        case 400, 422: return error(.keyUnusable, "GitHub refuses it", nil)
        case 408, 500...599:
            return error(.keyServiceFailed, "GitHub cannot answer now (\(response.status))", "try again later")
        default: return response.failure("the request").concerning(name)
        }
    }
}
