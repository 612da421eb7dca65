import HTTPTransport
import LocalSystem
import SigstoreCrypto
import StrictJSON
import Synchronization

/// The API of a cluster, and who asks it.
struct KubernetesServer: Sendable {
    let url: HTTPURL
    /// Which context of which files, or the pod, for a person.
    let setting: String
    /// Header fields that say for whom the user acts.
    let impersonation: [(name: String, value: String)]
    private let access: KubernetesAccess
    private let proxy: Proxy?

    /// What proves to the cluster who asks.
    var credentials: KubernetesCredentials {
        get async throws(SigstoreError) { try await access.pass().credentials }
    }

    /// What says which cluster is asked, and so whom to believe.
    static let trustVariables = ["KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"]

    /// Looks for the cluster: in the kubeconfig files, and if there are none, in what a pod finds.
    /// - Parameter serviceAccount: The folder with a pod's token.
    static func find(_ around: KeySurroundings, serviceAccount: String) async throws(SigstoreError) -> KubernetesServer
    {
        let list: [String]
        if let named = around.variable("KUBECONFIG") {
            list = named.split(separator: ":").map(String.init)
        } else {
            list = around.variable("HOME").map { ["\($0)/.kube/config"] } ?? []
        }
        let configuration = try await onBlockingThread { () throws(SigstoreError) in
            var configuration = Kubeconfig()
            for path in list {
                do throws(SigstoreError) {
                    var bytes = try LocalFile.contents(path, limit: 1 << 20)
                    defer { SecretBytes.cleanse(&bytes) }
                    try configuration.add(bytes, path: path)
                } catch {
                    // kubectl passes over those that are not there too.
                    guard error.code == .fileNotFound else { throw error }
                }
            }
            return configuration
        }
        guard configuration.isEmpty else { return try await KubernetesServer(around, configuration.current()) }
        guard let host = around.variable("KUBERNETES_SERVICE_HOST"),
            let port = around.variable("KUBERNETES_SERVICE_PORT")
        else {
            throw SigstoreError(
                .keyServiceSettings,
                "there is no cluster: no kubeconfig is at \(list.isEmpty ? "~/.kube/config" : list.joined(separator: ", ")), and this is no pod (KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set)",
                advice: "name the kubeconfig with KUBECONFIG, or make one with the cluster's own tool")
        }
        let bracketed = host.utf8.contains(0x3a) && host.utf8.first != 0x5b ? "[\(host)]" : host
        return try KubernetesServer(around, pod: "\(bracketed):\(port)", serviceAccount)
    }

    /// The cluster that a pod is in.
    private init(_ around: KeySurroundings, pod address: String, _ serviceAccount: String) throws(SigstoreError) {
        do throws(SigstoreError) { url = try HTTPURL(parsing: "https://\(address)") } catch {
            throw SigstoreError(
                .keyServiceSettings,
                "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT name no server: \(error.message)")
        }
        setting = "of this pod (KUBERNETES_SERVICE_HOST)"
        (impersonation, proxy) = ([], nil)
        access = KubernetesAccess(around.now) { () throws(SigstoreError) in
            var tls = TLSOptions()
            tls.authorityFile = "\(serviceAccount)/ca.crt"
            return KubernetesPass(
                credentials: KubernetesCredentials(tokenFile: "\(serviceAccount)/token"),
                http: try around.client(tls))
        }
    }

    /// The cluster of a kubeconfig.
    private init(_ around: KeySurroundings, _ current: Kubeconfig.Current) async throws(SigstoreError) {
        let cluster = "the cluster \"\(current.clusterName)\" in \(current.place)"
        url = current.server
        setting = "context \"\(current.context)\" (\(current.place))"
        guard url.origin.scheme == .https || url.origin.isLoopback else {
            throw SigstoreError(
                .keyServiceSettings,
                "\(cluster) is at \(url.redacted): over plain HTTP the key could be read and replaced on its way",
                advice: "give the server with https://")
        }
        let origin = url.origin
        if origin.scheme == .https {
            impersonation = current.user.impersonation
            access = KubernetesAccess(around.now, isRenewed: current.user.program != nil) {
                () async throws(SigstoreError) in
                let credentials = try await KubernetesCredentials(current, hasTerminal: around.hasTerminal())
                var tls = TLSOptions()
                if let authority = current.authority {
                    tls.authority = try await KubernetesCredentials.material(authority, cluster)
                }
                tls.insecureSkipsVerification = current.isInsecure
                tls.serverName = current.serverName
                (tls.clientCertificate, tls.clientKey) = (credentials.certificate, credentials.key)
                return KubernetesPass(credentials: credentials, http: try around.client(tls))
            }
            if current.isInsecure {
                around.warning(
                    "the certificate of \(url.origin.authority) is not verified (insecure-skip-tls-verify of \(cluster))"
                )
            }
        } else {
            guard current.proxy == nil else {
                throw SigstoreError(
                    .keyServiceSettings,
                    "\(cluster) is at \(url.origin), and has a proxy-url: over plain HTTP the proxy could read the key",
                    advice: "leave proxy-url out for a server on this machine")
            }
            // kubectl sends none either; what listens here, such as kubectl proxy, has its own.
            access = KubernetesAccess(around.now) { () throws(SigstoreError) in
                KubernetesPass(
                    credentials: KubernetesCredentials(anonymous: "none: nothing is sent to \(origin)"),
                    http: try around.client(TLSOptions()))
            }
            impersonation = []
        }
        if let text = current.proxy {
            do throws(SigstoreError) { proxy = try Proxy(text, "proxy-url of \(cluster)") } catch {
                throw SigstoreError(.keyServiceSettings, error.message, advice: "correct it", cause: error)
            }
        } else {
            proxy = nil
        }
    }

    // MARK: - Calls

    /// What a call is for, for messages.
    struct Purpose: Sendable {
        let secret: KubernetesReference
        /// What RBAC calls it: get, create or update.
        let verb: String
    }

    /// Asks for a secret.
    /// - Returns: The object; `nil` if there is none.
    func secret(_ reference: KubernetesReference) async throws(SigstoreError) -> JSONCursor? {
        do throws(SigstoreError) {
            return try await call(
                "GET", "/api/v1/namespaces/\(reference.namespace)/secrets/\(reference.name)", nil,
                Purpose(secret: reference, verb: "get"))
        } catch {
            if error.code == .keyNotFound { return nil }
            throw error
        }
    }

    /// Makes a secret, or writes one that is there.
    func write(_ object: JSONValue, _ reference: KubernetesReference, isNew: Bool) async throws(SigstoreError)
        -> JSONCursor
    {
        let path = "/api/v1/namespaces/\(reference.namespace)/secrets"
        return try await call(
            isNew ? "POST" : "PUT", isNew ? path : "\(path)/\(reference.name)", object,
            Purpose(secret: reference, verb: isNew ? "create" : "update"))
    }

    private func call(_ method: String, _ path: String, _ body: JSONValue?, _ purpose: Purpose)
        async throws(SigstoreError)
        -> JSONCursor
    {
        var base = url.path
        while base.utf8.last == 0x2f { base.removeLast() }
        var request = HTTPRequest(
            method, try HTTPURL(url.origin, path: base + path),
            headers: [("Accept", "application/json")] + (body == nil ? [] : [("Content-Type", "application/json")])
                + impersonation,
            body: body.map { .json(secret: $0) } ?? .none, timeout: .seconds(30), handledStatuses: Set(400...599),
            isIdempotent: body == nil)
        request.refusesRedirects = true
        request.proxy = proxy
        var pass = try await access.pass()
        request.authorization = try await pass.credentials.field()
        var response = try await pass.http.send(request)
        if response.status == 401, let renewed = try await access.renewed(after: pass) {
            pass = renewed
            request.authorization = try await pass.credentials.field()
            response = try await pass.http.send(request)
        }
        guard (200...299).contains(response.status) else {
            throw refusal(response, method, purpose, pass.credentials.source)
        }
        do throws(SigstoreError) {
            let answer = JSONCursor(try JSONValue(parsing: response.body, depth: 32, values: 1 << 16))
            let metadata = try answer.member("metadata")
            let (name, namespace) = (try metadata.member("name").string(), try metadata.member("namespace").string())
            guard name.utf8.elementsEqual(purpose.secret.name.utf8),
                namespace.utf8.elementsEqual(purpose.secret.namespace.utf8)
            else { throw metadata.fault("is of \(namespace)/\(name)") }
            return answer
        } catch {
            throw SigstoreError(
                .keyServiceAnswer,
                "\(url.origin.authority) does not answer as Kubernetes does about the secret \(purpose.secret.description): \(error.message)",
                advice: .sentence("check the server of the \(setting)"), cause: error)
        }
    }

    /// What an error of the server means.
    /// - Parameter source: Where the credentials are from.
    private func refusal(_ response: HTTPResponse, _ method: String, _ purpose: Purpose, _ source: String)
        -> SigstoreError
    {
        let secret = purpose.secret
        let status = try? JSONCursor(JSONValue(parsing: response.body, depth: 16, values: 1 << 12))
        let isStatus = (try? status?.member("kind").string()) == "Status"
        let said = (isStatus ? try? status?.optional("message")?.string() : nil) ?? ""
        let words = said.isEmpty ? "" : ": \(said.prefix(512))"
        let subject = "\(url.origin.authority), secret \(secret.description)"
        func error(_ code: SigstoreError.Code, _ what: String, _ advice: String?) -> SigstoreError {
            SigstoreError(
                code, "\(subject): \(what)\(words)", advice: advice.map { .sentence($0) },
                cause: HTTPStatusError(response: response))
        }
        switch response.status {
        case 401:
            return error(
                .keyDenied, "the cluster does not accept the credentials (\(source))",
                "log in again with the cluster's own tool, and try kubectl get secret \(secret.name) -n \(secret.namespace)"
            )
        case 403:
            return error(
                .keyDenied, "the credentials (\(source)) may not \(purpose.verb) it",
                "bind them to a Role in the namespace \(secret.namespace) with the verb \(purpose.verb) on the resource secrets"
                    + (purpose.verb == "create" ? "" : ", which may be for the name \(secret.name) alone"))
        case 404 where isStatus && method == "GET":
            return error(
                .keyNotFound, "there is none",
                "check namespace and name; kubectl get secrets -n \(secret.namespace) shows them")
        case 404 where isStatus:
            return error(
                .keyServiceSettings, "there is no such namespace, or the secret is gone", "check the namespace")
        case 404:
            return error(
                .keyServiceSettings, "nothing of Kubernetes answers there",
                "check the server of the \(setting)")
        case 409:
            return error(
                .keyExists, "it was made or changed by others meanwhile, and is left as they made it",
                "look at it first, and try again")
        case 422:
            return error(.keyUnusable, "the cluster refuses it", nil)
        case 408, 429, 500...599:
            return error(.keyServiceFailed, "the cluster cannot answer now (\(response.status))", "try again later")
        default:
            var error = response.failure(method)
            if isStatus { error.message = "\(subject): the answer is \(response.status)\(words)" }
            return error
        }
    }
}

/// What a cluster is asked with: credentials, and the connections that show their certificate.
struct KubernetesPass: Sendable {
    let credentials: KubernetesCredentials
    let http: any HTTPClient
    /// How many came before it.
    fileprivate var number = 0

    init(credentials: KubernetesCredentials, http: any HTTPClient) {
        (self.credentials, self.http) = (credentials, http)
    }
}

/// Gets what a cluster is asked with when it is first needed, and anew if it has ended or the cluster refuses it.
private final class KubernetesAccess: Sendable {
    private let now: @Sendable () -> Int64
    /// Whether getting it again can give something else.
    private let isRenewed: Bool
    private let get: @Sendable () async throws(SigstoreError) -> KubernetesPass
    private let passes = Once<Int, KubernetesPass>()
    /// Which of them counts.
    private let number = Mutex(0)

    init(
        _ now: @escaping @Sendable () -> Int64, isRenewed: Bool = false,
        _ get: @escaping @Sendable () async throws(SigstoreError) -> KubernetesPass
    ) { (self.now, self.isRenewed, self.get) = (now, isRenewed, get) }

    /// What counts now.
    func pass() async throws(SigstoreError) -> KubernetesPass {
        let pass = try await pass(number.withLock { $0 })
        guard let end = pass.credentials.expiration, end.seconds <= now() else { return pass }
        return try await renewed(after: pass) ?? pass
    }

    /// What counts after the cluster has refused one: it is got once, also if several requests were refused.
    /// - Returns: `nil` if there is nothing else to get.
    func renewed(after pass: KubernetesPass) async throws(SigstoreError) -> KubernetesPass? {
        guard isRenewed else { return nil }
        let next = number.withLock { number in
            number = max(number, pass.number + 1)
            return number
        }
        return try await self.pass(next)
    }

    private func pass(_ number: Int) async throws(SigstoreError) -> KubernetesPass {
        let get = get
        return try await passes.value(number) { () async throws(SigstoreError) in
            var pass = try await get()
            pass.number = number
            return pass
        }
    }
}

extension KubernetesCredentials {
    /// No credentials.
    fileprivate init(anonymous why: String) { source = why }
}
