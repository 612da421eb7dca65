internal import HTTPTransport
internal import LocalSystem
internal import StrictJSON

/// A provider that was found.
struct AmbientProvider: IdentityTokenProvider {
    let kind: AmbientIdentity.Kind
    let place: AmbientIdentity
    let http: any HTTPClient

    var name: String { kind.words }

    func token(audience: String) async throws(SigstoreError) -> IdentityToken {
        do throws(SigstoreError) {
            switch kind {
            case .environmentVariable: return try place.givenToken()
            case .github: return try await github(audience)
            case .google: return try await google(audience)
            case .googleImpersonation: return try await impersonated(audience)
            case .buildkite: return try await buildkite(audience)
            case .spiffe: return try await spiffe(audience)
            case .file: return try IdentityToken(file: place.tokenFile)
            }
        } catch {
            throw error.concerning(
                name,
                otherwise: .both("nothing was signed", .remedy(.checkJobOrGiveToken)))
        }
    }

    private func get(
        _ url: HTTPURL, _ headers: [(name: String, value: String)], _ authorization: Authorization? = nil
    ) async throws(SigstoreError) -> [UInt8] {
        try await http.send(
            HTTPRequest(
                "GET", url, headers: headers, authorization: authorization, bodyLimit: 1 << 16, timeout: .seconds(20))
        ).body
    }

    /// GitHub's "About security hardening with OpenID Connect".
    private func github(_ audience: String) async throws(SigstoreError) -> IdentityToken {
        let url = try HTTPURL(parsing: place.environment["ACTIONS_ID_TOKEN_REQUEST_URL"] ?? "")
        let secret = place.environment["ACTIONS_ID_TOKEN_REQUEST_TOKEN"] ?? ""
        let body = try await get(
            url.adding("audience", audience), [(name: "Accept", value: "application/json")],
            Authorization(scheme: "bearer", secret.utf8))
        let json = JSONCursor(try JSONValue(parsing: body, depth: 16))
        return try IdentityToken(parsing: try json.member("value").string())
    }

    /// Google's "Verify the identity of instances".
    private func metadata(_ path: String, _ parameters: [(String, String)] = []) async throws(SigstoreError) -> [UInt8]
    {
        let host = place.environment["GCE_METADATA_HOST"] ?? "metadata.google.internal"
        var url = try HTTPURL(parsing: "http://\(host)/computeMetadata/v1/instance/service-accounts/default/\(path)")
        for (name, value) in parameters { url = url.adding(name, value) }
        return try await get(url, [(name: "Metadata-Flavor", value: "Google")])
    }

    private func google(_ audience: String) async throws(SigstoreError) -> IdentityToken {
        let body = try await metadata("identity", [("audience", audience), ("format", "full")])
        return try IdentityToken(parsing: String(decoding: body, as: UTF8.self))
    }

    /// Google's IAM Service Account Credentials API, `generateIdToken`, with an access token from the environment or
    /// the metadata server.
    private func impersonated(_ audience: String) async throws(SigstoreError) -> IdentityToken {
        let access = try await googleAccess()
        let account = HTTPURL.percentEncoded(place.environment["GOOGLE_SERVICE_ACCOUNT_NAME"] ?? "")
        let url = try HTTPURL(
            parsing: "\(place.impersonationURL)/v1/projects/-/serviceAccounts/\(account):generateIdToken")
        let body = JSONValue.object(["audience": .string(audience), "includeEmail": .bool(true)]).serialized()
        let answer = try await http.send(
            HTTPRequest(
                "POST", url,
                headers: [(name: "Content-Type", value: "application/json")], authorization: access,
                body: .bytes(body), bodyLimit: 1 << 16, timeout: .seconds(20), isIdempotent: true))
        return try IdentityToken(
            parsing: try JSONCursor(try JSONValue(parsing: answer.body, depth: 8)).member("token").string())
    }

    private func googleAccess() async throws(SigstoreError) -> Authorization {
        if let given = place.environment["GOOGLE_OAUTH_ACCESS_TOKEN"], !given.isEmpty {
            return Authorization(scheme: "Bearer", given.utf8)
        }
        let answer = JSONCursor(try JSONValue(parsing: try await metadata("token"), depth: 8))
        return Authorization(scheme: "Bearer", try answer.member("access_token").string().utf8)
    }

    /// Buildkite's "OIDC in Buildkite": the agent asks with the job's own access.
    private func buildkite(_ audience: String) async throws(SigstoreError) -> IdentityToken {
        let environment = place.environment
        guard let agent = ChildProcess.find("buildkite-agent", environment: environment) else {
            throw SigstoreError(
                .noIdentityToken, "the program buildkite-agent is not on the PATH",
                advice: "mount the agent's program into the job's container, or set SIGSTORE_ID_TOKEN")
        }
        let printed = try await onBlockingThread { () throws(SigstoreError) in
            try Self.output(of: [agent, "oidc", "request-token", "--audience", audience], environment)
        }
        return try IdentityToken(parsing: String(decoding: printed, as: UTF8.self))
    }

    /// What a program prints, which must end well.
    /// - Throws: `SigstoreError` with `program-failed`.
    static func output(
        of arguments: [String], _ environment: [String: String], timeout: Duration = .seconds(30)
    ) throws(SigstoreError) -> [UInt8] {
        let what: String
        do throws(ChildProcess.Failure) {
            let answer = try ChildProcess.run(arguments, environment: environment, timeout: timeout)
            if answer.status == 0 { return answer.output }
            what = "failed with status \(answer.status)"
        } catch {
            what =
                switch error {
                case .notStarted: "cannot be started"
                case .tookTooLong: "did not end within \(timeout.components.seconds) s"
                case .saidTooMuch: "printed more than \(ChildProcess.outputLimit) bytes"
                }
        }
        throw SigstoreError(.programFailed, "\(arguments[0]) \(what)")
    }

    private func spiffe(_ audience: String) async throws(SigstoreError) -> IdentityToken {
        let socket = place.environment["SPIFFE_ENDPOINT_SOCKET"] ?? place.workloadSocket
        let text = try await onBlockingThread { () throws(SigstoreError) in
            try WorkloadAPI(socket: socket).token(audience: audience)
        }
        return try IdentityToken(parsing: text)
    }
}
