import HTTPTransport
import LocalSystem
import SigstoreCrypto
import StrictJSON

/// Workload identity federation: a token of another issuer, which Google's security token service exchanges (AIP-4117; Google's
/// "Configure Workload Identity Federation").
struct GoogleFederation: Sendable {
    /// Where the other issuer's token is.
    enum Source: Sendable {
        case file(String, field: String?)
        case url(HTTPURL, headers: [Authorization], field: String?)
        case executable([String], timeout: Duration, output: String?)
        /// A request of AWS's that proves who sends it; the URL has `{region}` in place of the region.
        case aws(String)
    }

    let source: Source
    let audience: String
    let tokenType: String
    /// Where the token is exchanged.
    let url: HTTPURL
    /// The client that asks, if it must be a known one.
    let client: (id: String, secret: SecretBytes)?
    /// The project whose quota counts for people of a workforce.
    let userProject: String?
    /// The service account that will be acted as, if one will be.
    let impersonated: String?

    private static let allowance = "GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES"

    /// Reads what a credentials file of the type `external_account` says.
    /// - Throws: `SigstoreError` that says which member is wrong.
    init(_ json: JSONCursor, impersonating email: String?) throws(SigstoreError) {
        audience = try GoogleCredentials.word(json.member("audience"))
        tokenType = try GoogleCredentials.word(json.member("subject_token_type"))
        url = try GoogleCredentials.tokenURL(json.member("token_url"))
        if let id = try json.optional("client_id")?.string(), !id.isEmpty {
            client = (id, SecretBytes(try json.optional("client_secret")?.string().utf8 ?? "".utf8))
        } else {
            client = nil
        }
        userProject = try json.optional("workforce_pool_user_project")?.string()
        impersonated = email
        let from = try json.member("credential_source")
        if let environment = try from.optional("environment_id") {
            guard try environment.string().utf8.elementsEqual("aws1".utf8) else {
                throw environment.fault("is not \"aws1\", the one version that is known here")
            }
            let member = try from.member("regional_cred_verification_url")
            let text = try member.string()
            let url = try? HTTPURL(parsing: text.replacing("{region}", with: "us-east-1"))
            guard url?.origin.scheme == .https, text.utf8.count <= 1024 else { throw member.fault("is no https URL") }
            source = .aws(text)
        } else if let executable = try from.optional("executable") {
            let command = try executable.member("command").string().split(separator: " ").map(String.init)
            guard !command.isEmpty else { throw executable.fault("has an empty command") }
            let limit = try executable.optional("timeout_millis")?.integer() ?? 30_000
            guard (5000...120_000).contains(limit) else {
                throw executable.fault("has a timeout_millis that is not from 5000 to 120000")
            }
            source = .executable(
                command, timeout: .milliseconds(limit), output: try executable.optional("output_file")?.string())
        } else if let file = try from.optional("file") {
            source = .file(try file.string(), field: try Self.field(from))
        } else if let place = try from.optional("url") {
            let url: HTTPURL
            do throws(SigstoreError) { url = try HTTPURL(parsing: try place.string()) } catch {
                throw place.fault("is no URL: \(error.message)")
            }
            guard url.origin.scheme == .https || url.origin.isLoopback || Self.isLinkLocal(url) else {
                throw place.fault(
                    "is \(url.redacted): tokens are asked for over http on this machine and its link only")
            }
            var headers: [Authorization] = []
            if let fields = try from.optional("headers") {
                for name in try fields.names() {
                    headers.append(Authorization(field: name, try fields.member(name).string().utf8))
                }
            }
            source = .url(url, headers: headers, field: try Self.field(from))
        } else if try from.optional("certificate") != nil {
            throw from.fault("is a certificate, which is not supported here; use a file, a url or an executable")
        } else {
            throw from.fault("names no file, url, executable or environment_id")
        }
    }

    /// The member that holds the token, if the source is JSON.
    private static func field(_ json: JSONCursor) throws(SigstoreError) -> String? {
        guard let format = try json.optional("format") else { return nil }
        switch try format.optional("type")?.string() ?? "text" {
        case "text": return nil
        case "json": return try format.member("subject_token_field_name").string()
        default: throw format.fault("is neither \"text\" nor \"json\"")
        }
    }

    /// The address at which clouds have their metadata services.
    private static func isLinkLocal(_ url: HTTPURL) -> Bool {
        ["169.254.169.254", "[fd00:ec2::254]"].contains { $0.utf8.elementsEqual(url.origin.host.utf8) }
    }

    /// What the source is, in one word, for messages.
    var words: String {
        switch source {
        case .file(let path, _): "the file \(path)"
        case .url(let url, _, _): url.redacted
        case .executable(let command, _, _): "the program \(command.first ?? "")"
        case .aws: "AWS's credentials"
        }
    }

    // MARK: - The other issuer's token

    /// The token that is exchanged.
    /// - Throws: `SigstoreError` that names the source, and nothing of what it holds.
    func subjectToken(_ surroundings: KeySurroundings, _ http: any HTTPClient) async throws(SigstoreError)
        -> SecretBytes
    {
        switch source {
        case .file(let path, let field):
            var bytes = try await onBlockingThread { () throws(SigstoreError) in
                do throws(SigstoreError) { return try LocalFile.contents(path, limit: 1 << 16) } catch {
                    throw self.failed("cannot be read: \(error.message)", error)
                }
            }
            defer { SecretBytes.cleanse(&bytes) }
            return try token(in: bytes, field)
        case .url(let url, let headers, let field):
            var request = HTTPRequest("GET", url)
            request.secrets = headers
            request.isDirect = url.origin.scheme == .http
            var answer = try await http.askForCredentials(request, attempts: 3)
            defer { SecretBytes.cleanse(&answer.body) }
            // What it says may be a secret, or repeat one.
            guard answer.status == 200 else { throw failed("answers HTTP \(answer.status)") }
            return try token(in: answer.body, field)
        case .executable(let command, let timeout, let output):
            return try await onBlockingThread { () throws(SigstoreError) in
                try self.run(command, timeout, output, surroundings)
            }
        case .aws(let url): return try await proof(url, surroundings, http)
        }
    }

    private func failed(_ what: String, _ cause: SigstoreError? = nil) -> SigstoreError {
        SigstoreError(
            .keyServiceSettings, "the token to be exchanged for one of Google's: \(words) \(what)",
            advice: "check credential_source in the credentials file, and that the token is there", cause: cause)
    }

    private func token(in bytes: [UInt8], _ field: String?) throws(SigstoreError) -> SecretBytes {
        var bytes = bytes
        if let field {
            do throws(SigstoreError) {
                let json = JSONCursor(try JSONValue(parsing: bytes, depth: 16, values: 4096))
                bytes = Array(try json.member(field).string().utf8)
            } catch { throw failed("holds no token: \(error.message)", error) }
        }
        defer { if field != nil { SecretBytes.cleanse(&bytes) } }
        let isSpace = { (byte: UInt8) in [0x20, 0x09, 0x0a, 0x0d].contains(byte) }
        let end = bytes.lastIndex { !isSpace($0) }.map { $0 + 1 } ?? 0
        let token = bytes[..<end].drop(while: isSpace)
        guard (1...(1 << 16)).contains(token.count) else { throw failed("holds no token: it is empty or too long") }
        return SecretBytes(token)
    }

    // MARK: - A program

    private func run(
        _ command: [String], _ timeout: Duration, _ output: String?, _ surroundings: KeySurroundings
    ) throws(SigstoreError) -> SecretBytes {
        guard surroundings.variable(Self.allowance) == "1" else {
            throw SigstoreError(
                .keyServiceSettings,
                "the credentials file has \(words) run for a token, and \(Self.allowance) is not 1",
                advice: .sentence("if you trust that file, set \(Self.allowance)=1"))
        }
        let now = surroundings.now()
        // A token that an earlier run has left.
        if let output, var bytes = (try? LocalFile.read(output, limit: 1 << 16)) ?? nil {
            defer { SecretBytes.cleanse(&bytes) }
            if let token = try? answer(bytes, now: now, needsEnd: true) { return token }
        }
        var variables = [
            "GOOGLE_EXTERNAL_ACCOUNT_AUDIENCE": audience, "GOOGLE_EXTERNAL_ACCOUNT_TOKEN_TYPE": tokenType,
            "GOOGLE_EXTERNAL_ACCOUNT_INTERACTIVE": "0",
        ]
        variables["GOOGLE_EXTERNAL_ACCOUNT_IMPERSONATED_EMAIL"] = impersonated
        variables["GOOGLE_EXTERNAL_ACCOUNT_OUTPUT_FILE"] = output
        let answer: ChildProcess.Answer
        do throws(ChildProcess.Failure) {
            answer = try ChildProcess.run(command, more: variables, timeout: timeout)
        } catch {
            switch error {
            case .notStarted: throw failed("cannot be started")
            case .tookTooLong: throw failed("did not end within \(timeout.components.seconds) s")
            case .saidTooMuch: throw failed("printed more than \(ChildProcess.outputLimit) bytes")
            }
        }
        var printed = answer.output
        defer { SecretBytes.cleanse(&printed) }
        guard answer.status == 0 else { throw failed("failed with status \(answer.status)") }
        return try self.answer(printed, now: now, needsEnd: output != nil)
    }

    /// The token in what a program answers (AIP-4117, "Executable sourced credentials").
    private func answer(_ bytes: [UInt8], now: Int64, needsEnd: Bool) throws(SigstoreError) -> SecretBytes {
        let token: String
        do throws(SigstoreError) {
            let json = JSONCursor(try JSONValue(parsing: bytes, depth: 8, values: 1024))
            guard try json.member("version").integer() == 1 else {
                throw try json.member("version").fault("is not 1")
            }
            guard try json.member("success").bool() else {
                let code = try json.optional("code")?.string() ?? ""
                let words = try json.optional("message")?.string() ?? ""
                throw json.fault("says that it failed: \(SigstoreError.shortened("\(code) \(words)"))")
            }
            let end = try needsEnd ? json.member("expiration_time") : json.optional("expiration_time")
            if let end, try end.integer() <= now { throw end.fault("is over") }
            let isSAML = try json.member("token_type").string().utf8.elementsEqual(
                "urn:ietf:params:oauth:token-type:saml2".utf8)
            token = try json.member(isSAML ? "saml_response" : "id_token").string()
        } catch { throw failed("answers something else than a token: \(error.message)", error) }
        return try self.token(in: Array(token.utf8), nil)
    }

    // MARK: - AWS

    /// A signed request for who asks AWS, which Google sends there (AIP-4117, "Determining the subject token in AWS").
    private func proof(_ url: String, _ surroundings: KeySurroundings, _ http: any HTTPClient)
        async throws(SigstoreError) -> SecretBytes
    {
        let profiles = try await onBlockingThread { () throws(SigstoreError) in try AWSProfiles(surroundings.variable) }
        var region = profiles.region
        if region == nil {
            let metadata = try await AWSInstanceMetadata(surroundings, http)
            region = try await metadata.get("/latest/meta-data/placement/region").map {
                String(decoding: $0, as: UTF8.self)
            }
        }
        guard let region, AWSProfiles.isRegion(region) else {
            throw failed("have no region of AWS with them: set AWS_REGION")
        }
        let credentials = try await AWSCredentialChain(surroundings, profiles, http, region: region).credentials()
        let text = url.replacing("{region}", with: region)
        let (target, date) = (try HTTPURL(parsing: text), RequestSignature.date(surroundings.now()))
        var headers = [(name: "x-amz-date", value: date), (name: "x-goog-cloud-target-resource", value: audience)]
        if let token = credentials.sessionToken {
            let value = unsafe token.withBytes { unsafe String(decoding: $0, as: UTF8.self) }
            headers.insert((name: "x-amz-security-token", value: value), at: 1)
        }
        let signature = try RequestSignature(
            method: "POST", url: target, headers: headers, body: [], accessKeyID: credentials.accessKeyID,
            secret: credentials.secret, region: region, service: "sts", date: date)
        let fields =
            [
                (name: "Authorization", value: "\(RequestSignature.algorithm) \(signature.credentials)"),
                (name: "host", value: target.origin.authority),
            ] + headers
        let request = JSONValue.object([
            "headers": .array(
                fields.map { .object(["key": .string($0.name), "value": .string($0.value)]) }),
            "method": .string("POST"), "url": .string(text),
        ])
        return SecretBytes(HTTPURL.percentEncoded(String(decoding: request.serialized(), as: UTF8.self)).utf8)
    }
}
