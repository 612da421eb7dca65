import HTTPTransport
import LocalSystem
import SigstoreCrypto
import StrictJSON

/// What proves to a cluster who asks.
struct KubernetesCredentials: Sendable {
    /// A header field, unless it stands in a file.
    var authorization: Authorization?
    /// A file with a token, which is read for each request: others renew it.
    var tokenFile: String?
    var certificate: TLSMaterial?
    var key: TLSMaterial?
    /// When they end, if that is known.
    var expiration: Instant?
    /// Where they come from, for a person.
    let source: String

    /// The header field for one request.
    func field() async throws(SigstoreError) -> Authorization? {
        guard let tokenFile else { return authorization }
        let source = source
        let other = authorization
        return try await onBlockingThread { () throws(SigstoreError) in
            var bytes: [UInt8]
            do throws(SigstoreError) { bytes = try LocalFile.contents(tokenFile, limit: 1 << 16) } catch {
                if let other { return other }
                throw SigstoreError(
                    .keyServiceSettings, "\(source): the token cannot be read: \(error.message)",
                    advice: "check that the file is there", cause: error)
            }
            defer { SecretBytes.cleanse(&bytes) }
            let token = bytes.drop { $0 <= 0x20 }
            let end = token.lastIndex { $0 > 0x20 }.map { $0 + 1 } ?? token.startIndex
            guard token.startIndex < end else {
                throw SigstoreError(.keyServiceSettings, "\(source): \(tokenFile) holds no token")
            }
            return Authorization(scheme: "Bearer", token[..<end])
        }
    }

    /// The credentials of a kubeconfig's user.
    /// - Parameter hasTerminal: Whether a program may ask a person at standard input.
    init(_ current: Kubeconfig.Current, hasTerminal: Bool) async throws(SigstoreError) {
        let user = current.user
        let name = "the user \"\(current.userName)\" in \(current.place)"
        if let program = user.program {
            source = "the program \(program.command) of \(program.place)"
            try await ask(program, current, hasTerminal)
        } else if !user.hasCredentials {
            source =
                "none: \(current.userName.isEmpty ? "the context \"\(current.context)\" names no user" : "\(name) has none")"
        } else {
            var kinds: [String] = []
            if user.token != nil || user.tokenFile != nil { kinds.append("token") }
            if user.name != nil { kinds.append("name and password") }
            if user.certificate != nil { kinds.append("certificate") }
            source = "\(kinds.joined(separator: " and ")) of \(name)"
        }
        if let token = user.token { authorization = Authorization(scheme: "Bearer", Array(token.utf8)) }
        tokenFile = user.tokenFile
        if let name = user.name {
            authorization = Authorization(user: Array(name.utf8), password: Array((user.password ?? "").utf8))
        }
        // As in kubectl, what stands there itself counts before what a program gives.
        if let given = user.certificate, let key = user.key {
            certificate = try await Self.material(given, name)
            self.key = try await Self.material(key, name)
        }
    }

    /// The token of a pod's service account.
    init(tokenFile: String) {
        self.tokenFile = tokenFile
        source = "the service account of this pod (\(tokenFile))"
    }

    /// Certificates or a key, from where the kubeconfig has them.
    static func material(_ material: Kubeconfig.Material, _ place: String) async throws(SigstoreError) -> TLSMaterial {
        switch material {
        case .bytes(let bytes): return TLSMaterial(bytes)
        case .file(let path):
            return try await onBlockingThread { () throws(SigstoreError) in
                do throws(SigstoreError) {
                    var bytes = try LocalFile.contents(path, limit: 1 << 20)
                    defer { SecretBytes.cleanse(&bytes) }
                    return TLSMaterial(bytes)
                } catch {
                    throw SigstoreError(
                        .keyServiceSettings, "\(place): \(error.message)",
                        advice: "correct the kubeconfig: paths in it begin at its folder", cause: error)
                }
            }
        }
    }

    // MARK: - A program

    /// Runs a program for credentials (client.authentication.k8s.io, `ExecCredential`).
    private mutating func ask(
        _ program: Kubeconfig.Program, _ current: Kubeconfig.Current, _ hasTerminal: Bool
    ) async throws(SigstoreError) {
        let isInteractive = hasTerminal && program.interaction != .never
        guard isInteractive || program.interaction != .always else {
            throw SigstoreError(
                .keyServiceSettings,
                "\(source) must ask a person (interactiveMode: Always), and standard input is not a terminal",
                advice: "run this on a terminal, or use credentials that need no person")
        }
        var cluster: JSONObject = ["server": .string(current.server.description)]
        if let name = current.serverName { cluster["tls-server-name"] = .string(name) }
        if current.isInsecure { cluster["insecure-skip-tls-verify"] = .bool(true) }
        switch current.authority {
        case .bytes(let bytes)?: cluster["certificate-authority-data"] = .bytes(bytes)
        case .file(let path)? where program.providesClusterInfo:
            let bytes = try await onBlockingThread { () throws(SigstoreError) in
                try LocalFile.contents(path, limit: 1 << 20)
            }
            cluster["certificate-authority-data"] = .bytes(bytes)
        default: break
        }
        if let proxy = current.proxy { cluster["proxy-url"] = .string(proxy) }
        cluster["config"] = current.programConfiguration
        var specification: JSONObject = ["interactive": .bool(isInteractive)]
        if program.providesClusterInfo { specification["cluster"] = .object(cluster) }
        let information = JSONValue.object([
            "kind": .string("ExecCredential"), "apiVersion": .string(program.version),
            "spec": .object(specification),
        ])
        var variables: [String: String] = [:]
        for (name, value) in program.environment { variables[name] = value }
        variables["KUBERNETES_EXEC_INFO"] = String(decoding: information.serialized(), as: UTF8.self)
        let (source, set) = (source, variables)
        @Sendable func failed(_ what: String, _ advice: String?) -> SigstoreError {
            SigstoreError(
                .keyServiceSettings, "\(source) \(what)",
                advice: .sentence(advice ?? "run it by hand, or log in again with the cluster's own tool"))
        }
        var output = try await onBlockingThread { () throws(SigstoreError) in
            let answer: ChildProcess.Answer
            do throws(ChildProcess.Failure) {
                answer = try ChildProcess.run(
                    [program.command] + program.arguments, more: set, hasOurInput: isInteractive,
                    timeout: .seconds(300))
            } catch {
                switch error {
                case .notStarted:
                    throw failed(
                        "cannot be started", program.hint ?? "install it, or correct its name in the kubeconfig")
                case .tookTooLong: throw failed("did not end within 5 minutes", nil)
                case .saidTooMuch: throw failed("printed more than \(ChildProcess.outputLimit) bytes", nil)
                }
            }
            guard answer.status == 0 else {
                throw failed(
                    answer.status == 127 ? "cannot be started" : "failed with status \(answer.status)",
                    answer.status == 127 ? program.hint : nil)
            }
            return answer.output
        }
        defer { SecretBytes.cleanse(&output) }
        do throws(SigstoreError) {
            let answer = JSONCursor(try JSONValue(parsing: output, depth: 16, values: 1 << 12))
            for (name, expected) in [("kind", "ExecCredential"), ("apiVersion", program.version)] {
                let found = try answer.member(name)
                guard try found.string().utf8.elementsEqual(expected.utf8) else {
                    throw found.fault("is \"\(try found.string())\", expected \(expected)")
                }
            }
            let status = try answer.member("status")
            if let end = try status.optional("expirationTimestamp") {
                guard let time = Instant(rfc3339: try end.string()) else { throw end.fault("is not a time (RFC 3339)") }
                expiration = time
            }
            let token = try status.optional("token")?.string() ?? ""
            let certificate = try status.optional("clientCertificateData")?.string() ?? ""
            let key = try status.optional("clientKeyData")?.string() ?? ""
            guard certificate.isEmpty == key.isEmpty, !token.isEmpty || !key.isEmpty else {
                throw status.fault("has neither a token, nor a certificate with its key")
            }
            if !token.isEmpty { authorization = Authorization(scheme: "Bearer", Array(token.utf8)) }
            if !key.isEmpty {
                self.certificate = TLSMaterial(Array(certificate.utf8))
                self.key = TLSMaterial(Array(key.utf8))
            }
        } catch {
            throw failed("printed something else than credentials: \(error.message)", nil)
        }
    }
}
