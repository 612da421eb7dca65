internal import HTTPTransport
internal import LocalSystem
internal import SigstoreCrypto
internal import StrictJSON

/// A server of HashiCorp Vault or OpenBao, as the variables of the environment name it.
struct VaultServer: Sendable {
    /// Where the server is.
    let address: HTTPURL
    /// The path of the transit engine, without slashes at its ends.
    let mount: String
    private let http: any HTTPClient
    private let token: Authorization
    /// Where the token came from, in words.
    let tokenSource: String
    private let headers: [(name: String, value: String)]

    /// Finds the server and the token.
    /// - Throws: `SigstoreError` with `key-service-settings` if something is missing or malformed.
    init(_ around: KeySurroundings) async throws(SigstoreError) {
        guard let (name, text) = Self.first(["VAULT_ADDR", "BAO_ADDR"], around) else {
            throw SigstoreError(
                .keyServiceSettings, "no address of a Vault or OpenBao server is set",
                advice: "set VAULT_ADDR (or BAO_ADDR), such as https://vault.example:8200")
        }
        do throws(SigstoreError) { address = try HTTPURL(parsing: text) } catch { throw error.concerning(name) }
        guard address.origin.scheme == .https || address.origin.isLoopback else {
            throw SigstoreError(
                .keyServiceSettings,
                "\(name) is \(address.redacted): over plain HTTP the token could be read, and the key replaced, on their way",
                advice: "give the server's address with https://")
        }
        // What Vault's own client reads besides; passed over, it would mean another server or another authority.
        for (name, instead) in Self.unread where around.variable(name) != nil {
            throw SigstoreError(
                .keyServiceSettings, "\(name) is set, and is not read by this program",
                advice: "use \(instead), and unset \(name)")
        }
        mount = around.variable("TRANSIT_SECRET_ENGINE_PATH").map(Self.withoutSlashes) ?? "transit"
        guard mount.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f && ![0x3f, 0x23, 0x25, 0x5c].contains($0) }),
            !mount.split(separator: "/", omittingEmptySubsequences: false).contains(where: {
                ["", ".", ".."].contains($0)
            })
        else {
            throw SigstoreError(
                .keyServiceSettings, "TRANSIT_SECRET_ENGINE_PATH is no path: \"\(mount)\"",
                advice: "name the path at which the transit engine is mounted, such as transit")
        }
        var tls = TLSOptions()
        // The first of the three counts, as Vault's own client has it.
        tls.authorityFile = Self.first(["VAULT_CACERT", "BAO_CACERT"], around)?.value
        if tls.authorityFile == nil {
            if let (name, text) = Self.first(["VAULT_CACERT_BYTES", "BAO_CACERT_BYTES"], around) {
                tls.authority = try Self.authority([Array(text.utf8)], name)
            } else if let (name, folder) = Self.first(["VAULT_CAPATH", "BAO_CAPATH"], around) {
                tls.authority = try await onBlockingThread { () throws(SigstoreError) in
                    try Self.authority(Self.files(in: folder, name), "\(name), the folder \(folder),")
                }
            }
        }
        tls.clientCertificateFile = Self.first(["VAULT_CLIENT_CERT", "BAO_CLIENT_CERT"], around)?.value
        tls.clientKeyFile = Self.first(["VAULT_CLIENT_KEY", "BAO_CLIENT_KEY"], around)?.value
        tls.serverName = Self.first(["VAULT_TLS_SERVER_NAME", "BAO_TLS_SERVER_NAME"], around)?.value
        if let (name, word) = Self.first(["VAULT_SKIP_VERIFY", "BAO_SKIP_VERIFY"], around) {
            guard let skips = Self.words[word] else {
                throw SigstoreError(.keyServiceSettings, "\(name) is neither true nor false: \"\(word)\"")
            }
            tls.insecureSkipsVerification = skips
            if skips { around.warning("the certificate of \(address.origin.authority) is not verified (\(name))") }
        }
        http = try around.client(tls)
        var headers: [(name: String, value: String)] = [("X-Vault-Request", "true")]
        if let (_, namespace) = Self.first(["VAULT_NAMESPACE", "BAO_NAMESPACE"], around) {
            headers.append(("X-Vault-Namespace", namespace))
        }
        if let (name, text) = Self.first(["VAULT_HEADERS", "BAO_HEADERS"], around) {
            headers += try Self.moreHeaders(text, name)
        }
        self.headers = headers
        (token, tokenSource) = try await Self.token(around)
    }

    /// Those of Vault's variables that are not read, and what is in place of them.
    private static let unread = [
        ("VAULT_PROXY_ADDR", "HTTPS_PROXY"), ("VAULT_HTTP_PROXY", "HTTPS_PROXY"),
    ]

    /// What says where a key is, and so whom to believe.
    static let trustVariables = [
        "VAULT_ADDR", "BAO_ADDR", "VAULT_NAMESPACE", "BAO_NAMESPACE", "TRANSIT_SECRET_ENGINE_PATH", "VAULT_CACERT",
        "BAO_CACERT", "VAULT_CACERT_BYTES", "BAO_CACERT_BYTES", "VAULT_CAPATH", "BAO_CAPATH", "VAULT_TLS_SERVER_NAME",
        "BAO_TLS_SERVER_NAME", "VAULT_SKIP_VERIFY", "BAO_SKIP_VERIFY",
        "VAULT_HEADERS", "BAO_HEADERS",
    ]

    /// The words for yes and no, as Go's programs read them.
    private static let words = [
        "1": true, "t": true, "T": true, "true": true, "TRUE": true, "True": true,
        "0": false, "f": false, "F": false, "false": false, "FALSE": false, "False": false,
    ]

    /// The first of these variables that is set.
    private static func first(_ names: [String], _ around: KeySurroundings) -> (name: String, value: String)? {
        for name in names {
            if let value = around.variable(name) { return (name, value) }
        }
        return nil
    }

    /// The certificates of files, of which one must have some.
    private static func authority(_ files: [[UInt8]], _ place: String) throws(SigstoreError) -> TLSMaterial {
        var pem = ""
        for file in files {
            do throws(SigstoreError) {
                for block in try PEM.blocks(in: file, limit: 1024)
                where block.label.utf8.elementsEqual("CERTIFICATE".utf8) {
                    pem += PEM.encode(label: block.label, block.bytes)
                }
            } catch { throw error.concerning(place) }
        }
        guard !pem.isEmpty else {
            throw SigstoreError(
                .keyServiceSettings, "\(place) holds no certificate in PEM",
                advice: "give the certificates of the authorities that are to be believed")
        }
        return TLSMaterial(pem.utf8)
    }

    /// The files of a folder. What is below other folders does not count.
    private static func files(in folder: String, _ variable: String) throws(SigstoreError) -> [[UInt8]] {
        do throws(SigstoreError) {
            var files: [[UInt8]] = []
            for name in try LocalFile.names(folder, limit: 1024) {
                do throws(SigstoreError) {
                    files.append(try LocalFile.contents("\(folder)/\(name)", limit: 1 << 20))
                } catch {
                    guard error.code == .isDirectory else { throw error }
                }
            }
            return files
        } catch {
            throw SigstoreError(
                .keyServiceSettings, "\(variable): \(error.message)", advice: error.advice, cause: error)
        }
    }

    private static func withoutSlashes(_ path: String) -> String {
        let bytes = path.utf8.drop { $0 == 0x2f }
        let end = bytes.lastIndex { $0 != 0x2f }.map { bytes.index(after: $0) } ?? bytes.startIndex
        return String(Substring(bytes[..<end]))
    }

    private static func moreHeaders(_ text: String, _ variable: String) throws(SigstoreError) -> [(
        name: String, value: String
    )] {
        do throws(SigstoreError) {
            let json = JSONCursor(try JSONValue(parsing: Array(text.utf8), depth: 4, values: 1000))
            var headers: [(name: String, value: String)] = []
            for name in try json.names() {
                // Go's client takes one value or several for each name; those of Vault itself are not to be set here.
                guard !name.lowercased().hasPrefix("x-vault-") else {
                    throw SigstoreError(
                        .keyServiceSettings, "a header field of Vault's own, \(name), cannot be set by it")
                }
                let value = try json.member(name)
                if case .array = value.value {
                    for one in try value.elements() { headers.append((name, try one.string())) }
                } else {
                    headers.append((name, try value.string()))
                }
            }
            return headers
        } catch { throw error.concerning(variable) }
    }

    // MARK: The token

    /// The token: from a variable, from the helper that `~/.vault` names, or from `~/.vault-token`.
    private static func token(_ around: KeySurroundings) async throws(SigstoreError) -> (Authorization, String) {
        for name in ["VAULT_TOKEN", "BAO_TOKEN"] {
            guard let secret = around.secret(name) else { continue }
            var bytes = unsafe secret.withBytes { unsafe Array($0) }
            defer { SecretBytes.cleanse(&bytes) }
            return (try authorization(bytes, "the variable \(name)"), "the variable \(name)")
        }
        let home = around.variable("HOME")
        let configuration = around.variable("VAULT_CONFIG_PATH") ?? home.map { "\($0)/.vault" }
        if let configuration, let text = try contents(configuration), let helper = try helper(in: text, configuration) {
            let answer: ChildProcess.Answer = try await onBlockingThread { () throws(SigstoreError) in
                do throws(ChildProcess.Failure) {
                    return try ChildProcess.run([helper, "get"], input: [], timeout: .seconds(30))
                } catch {
                    throw SigstoreError(
                        .keyServiceSettings, "Vault's token helper \(helper) cannot be run, or does not end",
                        advice: "run it by hand: \(helper) get; it is named in \(configuration)")
                }
            }
            guard answer.status == 0 else {
                throw SigstoreError(
                    .keyServiceSettings, "Vault's token helper \(helper) failed with status \(answer.status)",
                    advice: "run it by hand: \(helper) get; it is named in \(configuration)")
            }
            var output = answer.output
            defer { SecretBytes.cleanse(&output) }
            return (try authorization(output, "the token helper \(helper)"), "the token helper \(helper)")
        }
        if let path = home.map({ "\($0)/.vault-token" }), var bytes = try contents(path) {
            defer { SecretBytes.cleanse(&bytes) }
            return (try authorization(bytes, path), path)
        }
        throw SigstoreError(
            .keyServiceSettings,
            "there is no token for Vault: looked at VAULT_TOKEN, BAO_TOKEN, the token helper of "
                + "\(configuration ?? "~/.vault") and ~/.vault-token",
            advice: "log in with vault login or bao login, or set VAULT_TOKEN")
    }

    /// A token without the line break that editors and programs end it with.
    private static func authorization(_ bytes: [UInt8], _ source: String) throws(SigstoreError) -> Authorization {
        let isSpace = { (byte: UInt8) in [0x20, 0x09, 0x0a, 0x0d].contains(byte) }
        let end = bytes.lastIndex { !isSpace($0) }.map { $0 + 1 } ?? 0
        let token = bytes[..<end].drop(while: isSpace)
        guard !token.isEmpty, token.allSatisfy({ (0x21...0x7e).contains($0) }) else {
            throw SigstoreError(
                .keyServiceSettings,
                "\(source) holds no token for Vault: \(token.isEmpty ? "it is empty" : "it is not one word of visible ASCII")",
                advice: "log in again, with vault login or bao login")
        }
        return Authorization(field: "X-Vault-Token", token)
    }

    /// A file of at most 64 KiB; `nil` if there is none.
    private static func contents(_ path: String) throws(SigstoreError) -> [UInt8]? {
        do throws(SigstoreError) { return try LocalFile.contents(path, limit: 1 << 16) } catch {
            if error.code == .fileNotFound { return nil }
            throw error
        }
    }

    /// The helper that a configuration names by a line `token_helper = "PATH"`, which is all that such a file can say.
    private static func helper(in text: [UInt8], _ path: String) throws(SigstoreError) -> String? {
        for line in String(decoding: text, as: UTF8.self).split(whereSeparator: \.isNewline) {
            let words = line.drop { $0 == " " || $0 == "\t" }
            guard words.hasPrefix("token_helper") else { continue }
            let parts = words.split(separator: "\"", omittingEmptySubsequences: false)
            let name = (parts.first ?? "").filter { $0 != " " && $0 != "\t" }
            guard name == "token_helper=", parts.count == 3 else {
                throw SigstoreError(
                    .keyServiceSettings, "\(path): the line of token_helper cannot be read",
                    advice: "write it as token_helper = \"/path/of/the/helper\"")
            }
            return parts[1].isEmpty ? nil : String(parts[1])
        }
        return nil
    }

    // MARK: Calls

    /// Asks the server for something.
    /// - Parameters:
    ///   - method: `GET`, or `PUT` to write, as Vault's own client does.
    ///   - path: What stands after the engine's path, such as `keys/release`.
    ///   - body: What to send.
    /// - Returns: The member `data` of the answer; `nil` if the answer has none.
    func call(
        _ method: String, _ path: String, _ body: JSONValue? = nil, key: String
    ) async throws(SigstoreError) -> JSONCursor? {
        let base = Self.withoutSlashes(address.path)
        let url = try HTTPURL(address.origin, path: "\(base.isEmpty ? "" : "/\(base)")/v1/\(mount)/\(path)")
        var request = HTTPRequest(
            method, url, headers: headers + (body == nil ? [] : [("Content-Type", "application/json")]),
            authorization: token, body: body.map { .bytes($0.serialized()) } ?? .none, bodyLimit: 1 << 20,
            timeout: .seconds(30), handledStatuses: [400, 403, 404, 412, 503], isIdempotent: true)
        // More than the token may be a secret: the namespace, and what VAULT_HEADERS holds.
        request.refusesRedirects = true
        let response: HTTPResponse
        do throws(SigstoreError) { response = try await http.send(request) } catch {
            var error = error
            if error.code == .redirectRefused {
                error.advice = "if that is the leader of this Vault, name it in VAULT_ADDR"
            }
            throw error
        }
        guard (200...299).contains(response.status) else { throw refusal(response, method, path, key) }
        if response.body.isEmpty { return nil }
        do throws(SigstoreError) {
            return try JSONCursor(JSONValue(parsing: response.body, depth: 16, values: 1 << 16)).optional("data")
        } catch {
            throw SigstoreError(
                .keyServiceAnswer, "\(address.origin.authority) does not answer as Vault does: \(error.message)",
                advice: "check VAULT_ADDR", cause: error)
        }
    }

    /// What an error of the server means.
    private func refusal(_ response: HTTPResponse, _ method: String, _ path: String, _ key: String) -> SigstoreError {
        let errors =
            (try? JSONCursor(JSONValue(parsing: response.body, depth: 16, values: 1 << 12)).optional("errors")?
                .elements())
            ?? []
        let said = errors.compactMap { try? $0.string() }.joined(separator: "; ")
        let words = said.isEmpty ? "" : ": \(said.prefix(512))"
        let place = "\(address.origin.authority), \(mount)"
        let capability = method == "GET" ? "read" : "update"
        let wholePath = "\(mount)/\(path)"
        switch response.status {
        case 403:
            return SigstoreError(
                .keyDenied, "\(place): the token (\(tokenSource)) may not use the key \(key)\(words)",
                advice:
                    "if the token has not ended, its policy needs the capability \(capability) on the path \(wholePath)",
                cause: HTTPStatusError(response: response))
        case 404 where said.isEmpty:
            return SigstoreError(
                .keyNotFound, "\(place): there is no key \(key)",
                advice: "check the name; vault list \(mount)/keys (or bao list) shows them",
                cause: HTTPStatusError(response: response))
        case 404:
            return SigstoreError(
                .keyServiceSettings, "\(place): nothing answers at \(wholePath)\(words)",
                advice: "check TRANSIT_SECRET_ENGINE_PATH and VAULT_NAMESPACE",
                cause: HTTPStatusError(response: response))
        case 503:
            return SigstoreError(
                .keyServiceFailed, "\(place): the server is sealed or at work on itself\(words)",
                advice: "try again once it is unsealed", cause: HTTPStatusError(response: response))
        case 412:
            return SigstoreError(
                .keyServiceFailed, "\(place): this replica has not caught up yet\(words)", advice: "try again",
                cause: HTTPStatusError(response: response))
        default:
            return SigstoreError(
                .keyUnusable, "\(place): the key \(key) cannot be used for this\(words)",
                cause: HTTPStatusError(response: response))
        }
    }
}
