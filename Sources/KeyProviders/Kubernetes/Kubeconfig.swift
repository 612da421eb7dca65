internal import HTTPTransport
public import StrictJSON
internal import StrictYAML

/// What kubeconfig files say, as kubectl puts several of them together: of things with one name, the first one counts.
///
/// Files that they name are not read here.
public struct Kubeconfig: Sendable {
    /// One file.
    private struct File: Sendable {
        let path: String
        let document: YAMLDocument

        /// The line of what an error of a `JSONCursor` begins with.
        func located(_ error: SigstoreError) -> SigstoreError {
            let line = document.line(of: String(error.message.prefix { $0 != " " }))
            return SigstoreError(
                .keyServiceSettings, "\(path), line \(line): \(error.message)", advice: error.advice, cause: error)
        }
    }

    /// One thing that has a name, and where it stands.
    private struct Entry: Sendable {
        let file: File
        let cursor: JSONCursor

        var place: String { "\(file.path), line \(file.document.line(of: cursor.path))" }

        /// Reads something of it, so that an error names the file and the line.
        func read<Value>(_ body: (JSONCursor) throws(SigstoreError) -> Value) throws(SigstoreError) -> Value {
            do throws(SigstoreError) { return try body(cursor) } catch { throw file.located(error) }
        }

        /// A path in the file: it begins at the file's folder.
        func path(_ text: String) -> String {
            guard text.utf8.first != 0x2f, let slash = file.path.utf8.lastIndex(of: 0x2f) else { return text }
            return "\(file.path[...slash])\(text)"
        }
    }

    private var files: [File] = []

    /// No file.
    public init() {}

    /// The names of the files.
    public var paths: [String] { files.map(\.path) }
    /// Whether nothing is said: there is no file, or none names a cluster, a user or a context.
    public var isEmpty: Bool {
        files.allSatisfy { file in
            guard case .object(let said) = file.document.value else { return false }
            for name: String in ["current-context", "clusters", "users", "contexts"] {
                switch said[name] {
                case nil, .null?: continue
                case .string(let text)? where text.isEmpty: continue
                case .array(let elements)? where elements.isEmpty: continue
                default: return false
                }
            }
            return true
        }
    }

    /// Reads one more file, which counts after those before it.
    /// - Parameters:
    ///   - bytes: The content: YAML in UTF-8, of at most 1 MiB.
    ///   - path: The file's name. Paths in it begin at its folder.
    /// - Throws: `SigstoreError` with `key-service-settings`, which names the line.
    public mutating func add(_ bytes: [UInt8], path: String) throws(SigstoreError) {
        let document: YAMLDocument
        do throws(SigstoreError) { document = try YAMLDocument(parsing: bytes, depth: 32) } catch {
            throw SigstoreError(
                .keyServiceSettings, "\(path), \(error.message)",
                advice: "correct it: kubectl config view shows what kubectl reads",
                cause: error)
        }
        let file = File(path: path, document: document)
        if case .null = document.value { return }
        do throws(SigstoreError) {
            let cursor = JSONCursor(document.value)
            let (kind, version) = (try cursor.optional("kind"), try cursor.optional("apiVersion"))
            if let kind, try !kind.string().utf8.elementsEqual("Config".utf8) {
                throw kind.fault("is \"\(try kind.string())\", expected Config")
            }
            if let version, try !version.string().utf8.elementsEqual("v1".utf8) {
                throw version.fault("is \"\(try version.string())\", expected v1")
            }
        } catch { throw file.located(error) }
        files.append(file)
    }

    // MARK: - What it comes to

    /// Certificates or a key: in the file itself, or in another one.
    enum Material: Sendable, Equatable {
        case bytes([UInt8])
        case file(String)
    }

    /// Whether a program for credentials gets the terminal (`interactiveMode`).
    enum Interaction: String, Sendable {
        case never = "Never"
        case ifAvailable = "IfAvailable"
        case always = "Always"
    }

    /// A program that gives credentials (client-go's credential plugins, KEP 541).
    struct Program: Sendable {
        let version: String
        let command: String
        let arguments: [String]
        let environment: [(name: String, value: String)]
        let interaction: Interaction
        let providesClusterInfo: Bool
        let hint: String?
        /// The user that it belongs to, and where that stands.
        let place: String
    }

    /// What a user proves who it is with.
    struct User: Sendable {
        var token: String?
        var tokenFile: String?
        var name: String?
        var password: String?
        var certificate: Material?
        var key: Material?
        var program: Program?
        /// Header fields that say for whom it acts.
        var impersonation: [(name: String, value: String)] = []

        var hasCredentials: Bool {
            token != nil || tokenFile != nil || name != nil || certificate != nil || program != nil
        }
    }

    /// The cluster and the user of the current context.
    struct Current: Sendable {
        let context: String
        let clusterName: String
        let userName: String
        let server: HTTPURL
        let authority: Material?
        let isInsecure: Bool
        let serverName: String?
        let proxy: String?
        /// What the cluster tells programs that give credentials.
        let programConfiguration: JSONValue
        let user: User
        /// Where the cluster and the user stand.
        let place: String
    }

    /// Refuses files whose current context cannot be used as it stands there.
    /// - Throws: `SigstoreError` with `key-service-settings`, which names the file, the line and what is wrong.
    public func check() throws(SigstoreError) { _ = try current() }

    /// Reads what the current context names.
    /// - Throws: `SigstoreError` with `key-service-settings`, which names the file, the line and what is wrong.
    func current() throws(SigstoreError) -> Current {
        let list = paths.joined(separator: ", ")
        var name = ""
        for file in files where name.isEmpty {
            do throws(SigstoreError) {
                name = try JSONCursor(file.document.value).optional("current-context").map(Self.text) ?? ""
            } catch { throw file.located(error) }
        }
        guard !name.isEmpty else {
            throw SigstoreError(
                .keyServiceSettings, "there is no current-context in \(list)",
                advice: "choose one: kubectl config use-context NAME")
        }
        let context = try entry("contexts", name, named: "current-context", "context")
        let (clusterName, userName) = try context.read { (cursor) throws(SigstoreError) in
            (try Self.text(cursor.member("cluster")), try cursor.optional("user").map(Self.text) ?? "")
        }
        let cluster = try entry("clusters", clusterName, named: "the context \"\(name)\"", "cluster")
        var user = User()
        var place = cluster.place
        if !userName.isEmpty {
            let entry = try entry("users", userName, named: "the context \"\(name)\"", "user")
            user = try Self.user(entry, userName)
            place = entry.place
        }
        return try cluster.read { (cursor) throws(SigstoreError) in
            let server = try cursor.member("server")
            let url: HTTPURL
            do throws(SigstoreError) { url = try HTTPURL(parsing: Self.text(server)) } catch {
                throw server.fault("is no address: \(error.message)")
            }
            guard url.query == nil else { throw server.fault("is no address: it has a query") }
            let authority = try Self.material(cursor, "certificate-authority", cluster)
            let isInsecure = try cursor.optional("insecure-skip-tls-verify")?.bool() ?? false
            guard !isInsecure || authority == nil else {
                throw cursor.fault("has a certificate authority, and insecure-skip-tls-verify too")
            }
            var configuration = JSONValue.null
            for extra in try cursor.optional("extensions")?.elements() ?? [] {
                if try Self.text(extra.member("name")).utf8.elementsEqual("client.authentication.k8s.io/exec".utf8) {
                    configuration = try extra.optional("extension")?.value ?? .null
                }
            }
            return Current(
                context: name, clusterName: clusterName, userName: userName, server: url, authority: authority,
                isInsecure: isInsecure, serverName: try Self.optionalText(cursor, "tls-server-name"),
                proxy: try Self.optionalText(cursor, "proxy-url"), programConfiguration: configuration, user: user,
                place: place)
        }
    }

    /// What has a name in a list of the files.
    /// - Parameters:
    ///   - list: The list, such as `users`.
    ///   - name: The name.
    ///   - reason: What names it, for a message.
    ///   - member: The member that has what is said of it.
    private func entry(_ list: String, _ name: String, named reason: String, _ member: String) throws(SigstoreError)
        -> Entry
    {
        for file in files {
            do throws(SigstoreError) {
                let all = try JSONCursor(file.document.value).optional(list)?.elements() ?? []
                var found: [JSONCursor] = []
                for one in all where try Self.text(one.member("name")).utf8.elementsEqual(name.utf8) {
                    found.append(one)
                }
                guard found.count < 2 else { throw found[1].fault("has the name \"\(name)\", as another one has") }
                guard let one = found.first else { continue }
                // An entry without anything is one.
                guard let cursor = try one.optional(member) else {
                    return Entry(file: file, cursor: JSONCursor(.object([:])))
                }
                _ = try cursor.names()
                return Entry(file: file, cursor: cursor)
            } catch { throw file.located(error) }
        }
        throw SigstoreError(
            .keyServiceSettings,
            "\(reason) names the \(member) \"\(name)\", and there is none in \(paths.joined(separator: ", "))",
            advice: "see kubectl config get-contexts")
    }

    private static func user(_ entry: Entry, _ name: String) throws(SigstoreError) -> User {
        try entry.read { (cursor) throws(SigstoreError) in
            var user = User()
            if let provider = try cursor.optional("auth-provider") {
                let kind = try optionalText(provider, "name") ?? ""
                throw SigstoreError(
                    .keyServiceSettings,
                    "\(provider.path) is \"\(kind)\", which this program does not have",
                    advice:
                        "write this user anew with a program that gives credentials (exec): the cluster's own tool does so, and kubelogin for oidc"
                )
            }
            user.token = try optionalText(cursor, "token")
            user.tokenFile = try optionalText(cursor, "tokenFile").map { entry.path($0) }
            user.name = try optionalText(cursor, "username")
            user.password = try optionalText(cursor, "password")
            user.certificate = try material(cursor, "client-certificate", entry)
            user.key = try material(cursor, "client-key", entry)
            guard (user.certificate == nil) == (user.key == nil) else {
                throw cursor.fault(
                    "has \(user.key == nil ? "client-certificate and no client-key" : "client-key and no client-certificate")"
                )
            }
            guard user.name == nil || user.token == nil && user.tokenFile == nil else {
                throw cursor.fault("has a token, and a username too: which of them is meant is not known")
            }
            // As in kubectl, what stands there itself counts before a program.
            if user.token == nil, user.tokenFile == nil, user.name == nil, let exec = try cursor.optional("exec") {
                user.program = try program(exec, entry, name)
            }
            user.impersonation = try impersonation(cursor)
            return user
        }
    }

    private static func program(_ exec: JSONCursor, _ entry: Entry, _ user: String) throws(SigstoreError) -> Program {
        let version = try exec.member("apiVersion")
        let known = ["client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"]
        guard let name = known.first(where: { (try? text(version))?.utf8.elementsEqual($0.utf8) == true }) else {
            var error = version.fault(
                "of the user \"\(user)\" is \"\(try text(version))\", expected \(known.joined(separator: " or "))")
            error.advice =
                "write the kubeconfig anew with the cluster's own tool, such as aws eks update-kubeconfig, gcloud container clusters get-credentials or az aks get-credentials"
            throw error
        }
        let mode = try optionalText(exec, "interactiveMode") ?? (name == known[1] ? "IfAvailable" : nil)
        guard let interaction = mode.flatMap(Interaction.init) else {
            throw exec.fault(
                "of the user \"\(user)\" has no interactiveMode, or one that is not known: expected Never, IfAvailable or Always"
            )
        }
        let command = try text(exec.member("command"))
        var arguments: [String] = []
        for argument in try exec.optional("args")?.elements() ?? [] { arguments.append(try text(argument)) }
        var environment: [(name: String, value: String)] = []
        for variable in try exec.optional("env")?.elements() ?? [] {
            environment.append((try text(variable.member("name")), try variable.optional("value").map(text) ?? ""))
        }
        for word in [command] + arguments + environment.flatMap({ [$0.name, $0.value] }) where word.utf8.contains(0) {
            throw exec.fault("has a zero byte in it")
        }
        for (name, _) in environment where name.isEmpty || name.utf8.contains(0x3d) {
            throw exec.fault("sets a variable that cannot be: \"\(name)\"")
        }
        return Program(
            version: name, command: command.utf8.contains(0x2f) ? entry.path(command) : command, arguments: arguments,
            environment: environment, interaction: interaction,
            providesClusterInfo: try exec.optional("provideClusterInfo")?.bool() ?? false,
            hint: try optionalText(exec, "installHint"), place: "the user \"\(user)\" in \(entry.place)")
    }

    /// The header fields for acting for another one.
    private static func impersonation(_ cursor: JSONCursor) throws(SigstoreError) -> [(name: String, value: String)] {
        var fields: [(name: String, value: String)] = []
        if let name = try optionalText(cursor, "as") { fields.append(("Impersonate-User", name)) }
        if let uid = try optionalText(cursor, "as-uid") { fields.append(("Impersonate-Uid", uid)) }
        for group in try cursor.optional("as-groups")?.elements() ?? [] {
            fields.append(("Impersonate-Group", try text(group)))
        }
        if let extra = try cursor.optional("as-user-extra") {
            for name in try extra.names() {
                for value in try extra.optional(name)?.elements() ?? [] {
                    fields.append(
                        ("Impersonate-Extra-\(HTTPURL.percentEncoded(name.lowercased()))", try text(value)))
                }
            }
        }
        guard fields.isEmpty || fields[0].name == "Impersonate-User" else {
            throw cursor.fault("says for whom to act (as-…), and has no \"as\"")
        }
        return fields
    }

    // MARK: - Values

    /// A text; what kubectl takes for something else is none.
    private static func text(_ cursor: JSONCursor) throws(SigstoreError) -> String {
        switch cursor.value {
        case .number, .bool: throw cursor.fault("is no text as it stands: put it in quotation marks")
        default: return try cursor.string()
        }
    }

    private static func optionalText(_ cursor: JSONCursor, _ name: String) throws(SigstoreError) -> String? {
        guard let value = try cursor.optional(name) else { return nil }
        let text = try text(value)
        return text.isEmpty ? nil : text
    }

    /// Certificates or a key: `NAME-data` in base64, which counts before the file of `NAME`.
    private static func material(_ cursor: JSONCursor, _ name: String, _ entry: Entry) throws(SigstoreError)
        -> Material?
    {
        if let text = try optionalText(cursor, "\(name)-data") {
            guard let bytes = Base64.decode(text.utf8.filter { $0 > 0x20 }), !bytes.isEmpty else {
                throw try cursor.member("\(name)-data").fault("is not base64")
            }
            return .bytes(bytes)
        }
        return try optionalText(cursor, name).map { .file(entry.path($0)) }
    }
}
