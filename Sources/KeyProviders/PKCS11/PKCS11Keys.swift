internal import CPKCS11
internal import LocalSystem
public import SigstoreCrypto
public import StrictJSON
internal import Synchronization

/// Keys on tokens, in smart cards and hardware security modules, through the PKCS#11 modules of their makers: references are
/// PKCS#11 URIs (RFC 7512).
///
/// Nothing is opened before a key is asked for. Public keys are read without a login; a session can only read. A wrong PIN is
/// never tried again.
public final class PKCS11Keys: KeyPlace {
    private let around: KeySurroundings
    private let state = Mutex(State())

    /// What was opened in this run. It is used by one thread at a time, since a token does one thing at a time.
    private struct State: Sendable {
        var modules: [PKCS11Module] = []
        var sessions: [TokenSession] = []
        var keys: [(reference: String, key: Found)] = []
        /// The PIN that the environment had, which is taken out of it.
        var environmentPIN: SecretBytes?
    }

    /// A key that was found.
    private struct Found: Sendable {
        let session: TokenSession
        let key: TokenKey
    }

    /// Nothing is opened yet.
    public init(_ around: KeySurroundings) { self.around = around }

    /// The variable that says where the module is.
    private static let moduleVariable = "COSIGN_PKCS11_MODULE_PATH"
    /// The variable that holds the PIN.
    private static let pinVariable = "COSIGN_PKCS11_PIN"
    /// The variable that has certificates on tokens left aside if it is 1.
    private static let ignoreVariable = "COSIGN_PKCS11_IGNORE_CERTIFICATE"

    public func knows(_ reference: String) -> Bool { PKCS11URI.scheme.isMeant(by: reference) }

    public func check(_ reference: String) throws(SigstoreError) { _ = try PKCS11URI(reference) }

    public func shown(_ reference: String) -> String { PKCS11URI.withoutPIN(reference) }

    public func owner(of reference: String) -> String {
        (try? PKCS11URI(reference)).map(\.owner) ?? shown(reference)
    }

    public func trustVariables(_ reference: String) -> [String] {
        // The module says what the public key is.
        guard let uri = try? PKCS11URI(reference), uri.modulePath == nil,
            let path = around.variable(Self.moduleVariable),
            uri.moduleName.map({ Self.isMeant(path, $0) }) ?? true
        else { return [] }
        return [Self.moduleVariable]
    }

    /// Whether the variable's path counts for a module's name: it is the module of this name, or a folder of modules.
    private static func isMeant(_ path: String, _ name: String) -> Bool {
        FileStatus(path)?.kind == .folder || PKCS11URI.isModule(path, named: name)
    }

    public func publicKey(_ reference: String) async throws(SigstoreError) -> PublicKey {
        try await use(reference) { _, found in found.key.publicKey }
    }

    public func signer(_ reference: String, password: @escaping PasswordSource) async throws(SigstoreError)
        -> any Signer
    {
        try await use(reference) { [self] (state, found) throws(SigstoreError) in
            PKCS11Signer(
                place: self, reference: reference, publicKey: found.key.publicKey,
                schemes: try open(found, PKCS11URI(reference), &state),
                displayName: found.key.name)
        }
    }

    public func certificate(_ reference: String) async throws(SigstoreError) -> Certificate? {
        let (around, shown) = (around, shown(reference))
        return try await use(reference) { (_, found) throws(SigstoreError) in
            // By now the token may be logged in to, and show more than it did.
            let all = try found.session.certificates(for: found.key)
            let now = around.now()
            let valid = all.filter { $0.notBefore <= now && now <= $0.notAfter }
            guard valid.count <= 1 else {
                throw SigstoreError(
                    .ambiguousKey,
                    "\(shown): \(valid.count) certificates for \(found.key.name) are on the token and valid: \(valid.prefix(20).map { "\($0.displayName), until \(Instant(seconds: $0.notAfter))" }.joined(separator: "; "))",
                    advice: "take those away that are not needed, or give the right one as a file")
            }
            // One that has ended is refused by what signs, with its dates.
            return valid.first ?? all.first
        }
    }

    public func facts(_ reference: String) async throws(SigstoreError) -> [KeyFact] {
        try await use(reference) { [self] (state, found) throws(SigstoreError) in
            let (token, key) = (found.session.token, found.key)
            let pin = try pinSource(PKCS11URI(reference), token, state)
            let certificates: String
            do throws(SigstoreError) {
                certificates = try found.session.certificates(for: key).map(\.displayName).joined(separator: "; ")
            } catch {
                guard error.code == .malformedCertificate else { throw error }
                certificates = "one that cannot be read"
            }
            let facts = [
                KeyFact("service", "PKCS#11 module \(found.session.module.path)"),
                KeyFact(
                    "token",
                    "\(token.label) (\(token.manufacturer), \(token.model), serial \(token.serial)), slot \(token.slot)"
                ),
                KeyFact("key", key.label.description), KeyFact("id", key.id.map(PKCS11URI.hexadecimal).joined()),
                KeyFact("algorithm", "\(key.publicKey.kind)"),
                KeyFact("signs as", key.schemes.map(\.description).joined(separator: ", ")),
                KeyFact("credentials", token.needsLogin ? "the PIN, from \(pin)" : "none: the token needs no login"),
                KeyFact("certificate", certificates),
                KeyFact(
                    "reference",
                    // It means this key alone, also if others have the same id or label.
                    PKCS11URI.reference(
                        token: token, id: key.id, label: key.label, namesEmpty: true, module: found.session.module.path)
                        ?? ""),
            ]
            return facts.filter { !$0.value.isEmpty }
        }
    }

    public func close() {
        // If a token is still at work, it ends with the process.
        _ = state.withLockIfAvailable { state in
            for module in state.modules { module.finalize() }
            state = State()
        }
    }

    // MARK: - Lists

    /// The tokens that a module has, as they are listed for a person.
    /// - Parameter module: The module's path; `nil` for the variable's.
    /// - Returns: The module's path, and each token's slot, label, manufacturer, model and serial number.
    /// - Throws: `SigstoreError` with `key-service-settings` if the module cannot be used.
    public func tokens(of module: String?) async throws(SigstoreError) -> (module: String, tokens: [TokenDescription]) {
        try await locked { [self] (state) throws(SigstoreError) in
            let module = try self.module(listed: module, &state)
            return (
                module.path,
                try tokens(module).tokens.map { token in
                    TokenDescription(
                        slot: token.slot, label: token.label.description, manufacturer: token.manufacturer.description,
                        model: token.model.description, serial: token.serial.description)
                }
            )
        }
    }

    /// The private keys on a token, as references without a PIN. The token is logged in to.
    /// - Parameters:
    ///   - module: The module's path; `nil` for the variable's.
    ///   - slot: The slot's number; `nil` if there is one token.
    ///   - pin: The PIN; `nil` for the variable's, or to ask for it.
    /// - Returns: The module's path, the slot, and each key's label, identifier and reference.
    /// - Throws: `SigstoreError` with `key-service-settings`, `key-not-found`, `ambiguous-key`, `no-pin` or `pin-refused`.
    public func keys(of module: String?, slot: UInt?, pin: SecretBytes?) async throws(SigstoreError) -> (
        module: String, slot: UInt, keys: [TokenKeyDescription]
    ) {
        try await locked { [self] (state) throws(SigstoreError) in
            let module = try self.module(listed: module, &state)
            let token = try self.token(module, PKCS11URI(slot.map { "pkcs11:slot-id=\($0)" } ?? "pkcs11:"))
            let session = try self.session(module, token, &state)
            // Some tokens do not say that they need a login, and show no private keys without one.
            if token.needsLogin || pin != nil { try logIn(session, nil, pin, &state) }
            return (module.path, token.slot, try session.privateKeys())
        }
    }

    private func module(listed path: String?, _ state: inout State) throws(SigstoreError) -> PKCS11Module {
        guard let path = path ?? around.variable(Self.moduleVariable) else { throw noModule(nil) }
        return try open([path], name: nil, from: Self.moduleVariable, &state)
    }

    // MARK: - Finding

    private func locked<Value: Sendable>(
        _ body: @escaping @Sendable (inout State) throws(SigstoreError) -> Value
    ) async throws(SigstoreError) -> Value {
        // PINs are cleansed by OpenSSL, which modules may use too: it is set up before any of them is opened.
        try Cryptography.prepare()
        return try await onBlockingThread { [self] () throws(SigstoreError) in
            try state.withLock { (state) throws(SigstoreError) in try body(&state) }
        }
    }

    /// Looks a key up, once a run, and uses it.
    private func use<Value: Sendable>(
        _ reference: String, _ body: @escaping @Sendable (inout State, Found) throws(SigstoreError) -> Value
    ) async throws(SigstoreError) -> Value {
        try await locked { [self] (state) throws(SigstoreError) in
            if let known = state.keys.first(where: { $0.reference.utf8.elementsEqual(reference.utf8) }) {
                return try body(&state, known.key)
            }
            let found = try find(PKCS11URI(reference), &state)
            state.keys.append((reference, found))
            return try body(&state, found)
        }
    }

    private func find(_ uri: PKCS11URI, _ state: inout State) throws(SigstoreError) -> Found {
        if !uri.unknown.isEmpty {
            around.notice(
                "\(uri.shown): the attributes \(uri.unknown.joined(separator: ", ")) are not known here, and left aside"
            )
        }
        let module = try self.module(uri, &state)
        let token = try self.token(module, uri)
        let session = try self.session(module, token, &state)
        if let key = try session.key(uri) { return Found(session: session, key: key) }
        // Public keys can be private to the owner of the PIN too.
        var isHidden = false
        if !session.isLoggedIn, token.needsLogin {
            do throws(SigstoreError) {
                try logIn(session, uri, nil, &state)
                if let key = try session.key(uri) { return Found(session: session, key: key) }
            } catch {
                guard error.code == .noPIN else { throw error }
                isHidden = true
            }
        }
        let others = try session.publicKeyNames()
        let seen =
            others.isEmpty
            ? "the token shows no keys; check that it is the right one"
            : "check the label and id; those on it are \(others.prefix(20).joined(separator: ", "))"
        throw SigstoreError(
            .keyNotFound,
            "\(uri.shown): there is no such key on \(session.name)\(isHidden ? ", as far as it shows them without a login" : "")",
            advice: .sentence(isHidden ? "\(seen); to look behind the login too, set COSIGN_PKCS11_PIN" : seen))
    }

    /// The module that a reference names, or the variable.
    private func module(_ uri: PKCS11URI, _ state: inout State) throws(SigstoreError) -> PKCS11Module {
        let variable = around.variable(Self.moduleVariable)
        if let paths = uri.modulePath {
            return try open(paths, name: uri.moduleName, from: "module-path", &state)
        }
        if let name = uri.moduleName {
            // The variable names the module itself, or a folder in which it is looked for by name.
            if let variable, Self.isMeant(variable, name) {
                return try open([variable], name: name, from: Self.moduleVariable, &state)
            }
            return try open(named: name, &state)
        }
        guard let variable else { throw noModule(uri.shown) }
        return try open([variable], name: nil, from: Self.moduleVariable, &state)
    }

    private func noModule(_ reference: String?) -> SigstoreError {
        SigstoreError(
            .keyServiceSettings, "\(reference.map { "\($0): " } ?? "")no PKCS#11 module is named",
            advice:
                "set COSIGN_PKCS11_MODULE_PATH to the module of the token's maker, or write module-path behind the ? of the reference"
        )
    }

    /// Opens the module at a path, once a run; in a folder, the one with a name.
    private func open(_ paths: [String], name: String?, from source: String, _ state: inout State)
        throws(SigstoreError) -> PKCS11Module
    {
        var path = paths.first { FileStatus($0) != nil } ?? paths[0]
        guard path.utf8.first == 0x2f else {
            throw SigstoreError(
                .keyServiceSettings, "the PKCS#11 module \"\(path)\" (\(source)) is not named by an absolute path",
                advice: "write the whole path, from / on")
        }
        guard var status = FileStatus(path) else {
            throw SigstoreError(
                .keyServiceSettings, "the PKCS#11 module \(path) (\(source)) is not there",
                advice: "install the software of the token's maker, and check the path")
        }
        if status.kind == .folder, let name {
            for file in Self.files(name) {
                guard let found = FileStatus("\(path)/\(file)") else { continue }
                (path, status) = ("\(path)/\(file)", found)
                break
            }
        }
        guard status.kind == .file else {
            throw SigstoreError(
                .keyServiceSettings, "the PKCS#11 module \(path) (\(source)) is no file",
                advice: name == nil ? "name the module itself" : "check the name: lib\(name ?? "").so is not in there")
        }
        if let name, !PKCS11URI.isModule(path, named: name) {
            throw SigstoreError(
                .keyServiceSettings, "the PKCS#11 module \(path) (\(source)) is not \(name), which module-name demands",
                advice: "leave module-name out, or give the path of that module")
        }
        return try opened(path, &state)
    }

    /// The names of a module's file, without a version.
    private static func files(_ name: String) -> [String] {
        [name, PKCS11URI.moduleName(ofFile: name), PKCS11URI.moduleName(ofFile: name).lowercased()].flatMap {
            ["lib\($0).so", "\($0).so"]
        }
    }

    /// Opens a module that the system finds by its name, once a run.
    private func open(named name: String, _ state: inout State) throws(SigstoreError) -> PKCS11Module {
        var failure: SigstoreError?
        for file in Self.files(name) + ["lib\(name.lowercased()).so.2", "lib\(name.lowercased()).so.1"] {
            do throws(SigstoreError) { return try opened(file, &state) } catch { failure = failure ?? error }
        }
        throw SigstoreError(
            .keyServiceSettings, "there is no PKCS#11 module \(name): \(failure?.message ?? "")",
            advice: name.utf8.elementsEqual(Self.yubiKeyModule.utf8)
                ? "install the module for YubiKeys: the package ykcs11 of Debian and Ubuntu, yubico-piv-tool of others; or set COSIGN_PKCS11_MODULE_PATH to another module that serves the key"
                : "install it, or name it by its path with module-path or COSIGN_PKCS11_MODULE_PATH")
    }

    /// The name of the module for YubiKeys.
    private static let yubiKeyModule = "ykcs11"

    private func opened(_ path: String, _ state: inout State) throws(SigstoreError) -> PKCS11Module {
        if let module = state.modules.first(where: { $0.path.utf8.elementsEqual(path.utf8) }) { return module }
        let module = try PKCS11Module(path)
        state.modules.append(module)
        return module
    }

    /// The tokens of a module, and what kept from reading one of them.
    private func tokens(_ module: PKCS11Module) throws(SigstoreError) -> (
        tokens: [PKCS11Token], failure: PKCS11Failure?
    ) {
        do throws(PKCS11Failure) {
            var tokens: [PKCS11Token] = []
            var failure: PKCS11Failure?
            // One reader that fails does not keep from the others.
            for slot in try module.slots() {
                do throws(PKCS11Failure) {
                    if let token = try module.token(in: slot) { tokens.append(token) }
                } catch {
                    failure = error
                    around.notice(
                        "the PKCS#11 module \(module.path): slot \(slot) is left out, \(error.call) gave \(error.name)")
                }
            }
            if tokens.isEmpty, let failure { throw failure }
            return (tokens, failure)
        } catch { throw error.error("the PKCS#11 module \(module.path)") }
    }

    /// The one token that a reference means.
    private func token(_ module: PKCS11Module, _ uri: PKCS11URI) throws(SigstoreError) -> PKCS11Token {
        let (all, failure) = try tokens(module)
        if let failure, uri.slotID == nil,
            !uri.tokenAttributes.contains(where: { $0.name == "token" || $0.name == "serial" })
        {
            // The one that could not be read may be meant too.
            throw failure.error("\(uri.shown): a token of the PKCS#11 module \(module.path)")
        }
        var candidates: [(token: PKCS11Token, values: [String: PKCS11Text])] = []
        do throws(PKCS11Failure) {
            var library: [String: PKCS11Text] = [:]
            if uri.libraryVersion != nil
                || uri.tokenAttributes.contains(where: { $0.name.utf8.starts(with: "library-".utf8) })
            {
                let info = try module.libraryInfo()
                library = ["library-manufacturer": info.manufacturer, "library-description": info.description]
                if let version = uri.libraryVersion, version != info.version {
                    throw PKCS11Failure(call: "", code: CKR_TOKEN_NOT_PRESENT)
                }
            }
            for token in all where token.slot == uri.slotID ?? token.slot {
                var values = library.merging([
                    "token": token.label, "manufacturer": token.manufacturer, "serial": token.serial,
                    "model": token.model,
                ]) { $1 }
                if uri.tokenAttributes.contains(where: { $0.name.utf8.starts(with: "slot-".utf8) }) {
                    let slot = try module.slotInfo(token.slot)
                    values["slot-description"] = slot.description
                    values["slot-manufacturer"] = slot.manufacturer
                }
                candidates.append((token, values))
            }
        } catch {
            guard error.call.isEmpty else { throw error.error("the PKCS#11 module \(module.path)") }
            candidates = []
        }
        var found: [PKCS11Token] = []
        // A + is a space; if no token has that name, a plus.
        for reading in [\PKCS11URI.Value.spaced, \.plain] where found.isEmpty {
            found = candidates.filter { candidate in
                uri.tokenAttributes.allSatisfy { name, value in
                    candidate.values[name]?.bytes == value[keyPath: reading]
                }
            }.map(\.token)
        }
        if found.count > 1 { found = found.filter(\.isInitialized) }
        guard let token = found.first else {
            throw SigstoreError(
                .keyNotFound, "\(uri.shown): there is no such token in the module \(module.path)",
                advice: all.isEmpty
                    ? "put the token in; the module sees none"
                    : "check the attributes; the tokens are \(Self.list(all))")
        }
        guard found.count == 1 else {
            throw SigstoreError(
                .ambiguousKey, "\(uri.shown): \(found.count) tokens are meant: \(Self.list(found))",
                advice: "name one, by token, serial or slot-id")
        }
        guard token.isInitialized else {
            throw SigstoreError(
                .keyUnusable, "\(uri.shown): the token in slot \(token.slot) was never initialised, and holds no keys",
                advice: "initialise it with the program of its maker, or name another")
        }
        return token
    }

    private static func list(_ tokens: [PKCS11Token]) -> String {
        let names = tokens.prefix(20).map { token in
            token.isInitialized
                ? "\"\(token.label)\" (serial \(token.serial), slot \(token.slot))"
                : "one that was never initialised (slot \(token.slot))"
        }
        return names.joined(separator: ", ") + (tokens.count > 20 ? ", and \(tokens.count - 20) more" : "")
    }

    private func session(_ module: PKCS11Module, _ token: PKCS11Token, _ state: inout State) throws(SigstoreError)
        -> TokenSession
    {
        if let session = state.sessions.first(where: { $0.module === module && $0.token.slot == token.slot }) {
            return session
        }
        let session = try TokenSession(module, token)
        state.sessions.append(session)
        return session
    }

    // MARK: - PINs

    /// Where the PIN comes from, in words.
    private func pinSource(_ uri: PKCS11URI, _ token: PKCS11Token, _ state: State) throws(SigstoreError) -> String {
        if token.hasPINPad { return "the keys of the token's reader" }
        if uri.pinValue != nil { return "the reference (pin-value)" }
        if let file = try uri.pinFile() { return "the file \(file) (pin-source)" }
        return state.environmentPIN == nil && around.variable(Self.pinVariable) == nil
            ? "a person, who is asked" : "the variable \(Self.pinVariable)"
    }

    /// Logs in with the PIN that is given, that of the reference, the variable's, or one that a person types.
    /// - Throws: `SigstoreError` with `no-pin` if there is none, and `pin-refused` if the token does not take it.
    private func logIn(_ session: TokenSession, _ uri: PKCS11URI?, _ given: SecretBytes?, _ state: inout State)
        throws(SigstoreError)
    {
        guard !session.isLoggedIn else { return }
        let token = session.token
        guard !token.isLocked else {
            throw SigstoreError(
                .pinRefused, "\(session.name): the PIN is locked, after too many wrong ones; none was tried",
                advice: "unlock it with the program of the token's maker and its PUK or the security officer's PIN")
        }
        if token.hasPINPad {
            around.notice("Enter the PIN on the reader of \(session.name)")
            return try session.logIn(nil)
        }
        var pin = given
        if pin == nil, var bytes = uri?.pinValue {
            defer { SecretBytes.cleanse(&bytes) }
            pin = SecretBytes(bytes)
        }
        if pin == nil, let file = try uri?.pinFile() {
            var bytes = try LocalFile.contents(file, limit: 4096)
            defer { SecretBytes.cleanse(&bytes) }
            let end = bytes.lastIndex { $0 != 0x0a && $0 != 0x0d }.map { $0 + 1 } ?? 0
            guard end > 0 else {
                throw SigstoreError(
                    .noPIN, "\(file), which pin-source names, is empty", advice: "write the PIN into it")
            }
            pin = SecretBytes(bytes[..<end])
        }
        if pin == nil {
            if state.environmentPIN == nil { state.environmentPIN = around.secretVariable(Self.pinVariable) }
            if let known = state.environmentPIN, known.count > 0 { pin = known }
        }
        if token.hasOneTry {
            around.warning("\(session.name): one more wrong PIN locks it")
        } else if token.hadWrongPIN {
            around.warning("\(session.name): a wrong PIN was given before; a few more lock it")
        }
        if pin == nil { pin = try around.askSecret("Enter PIN for PKCS#11 token '\(token.label)': ") }
        guard let pin, pin.count > 0 else {
            throw SigstoreError(
                .noPIN, "\(session.name) needs its PIN, and there is none, and no terminal to ask at",
                advice: "set COSIGN_PKCS11_PIN, or write pin-source=file:/PATH behind the ? of the reference")
        }
        try session.logIn(pin)
    }

    // MARK: - Signing

    /// Opens the private key, with a login if that is needed.
    /// - Returns: How it can sign, the best first.
    private func open(_ found: Found, _ uri: PKCS11URI, _ state: inout State) throws(SigstoreError) -> [SignatureScheme]
    {
        let (session, key) = (found.session, found.key)
        if session.token.needsLogin { try logIn(session, uri, nil, &state) }
        var opened = try session.open(key, uri)
        // Some tokens do not say that they need a login, or only some of their keys do.
        if !session.isLoggedIn, opened?.demandsPIN ?? true {
            try logIn(session, uri, nil, &state)
            opened = try session.open(key, uri)
        }
        guard let opened else {
            throw SigstoreError(
                .keyUnusable, "\(uri.shown): the private key of \(key.name) is not on the token",
                advice: "check that the PIN is that of the key's owner, and that the key was made on this token")
        }
        return opened.schemes
    }

    fileprivate func sign(_ reference: String, _ message: HashedMessage, _ scheme: SignatureScheme)
        async throws(SigstoreError) -> [UInt8]
    {
        try await use(reference) { (_, found) throws(SigstoreError) in
            try found.session.sign(message, scheme, found.key)
        }
    }

    /// Whether certificates on tokens are left aside, whatever is asked for.
    public var ignoresCertificates: Bool { around.variable(Self.ignoreVariable)?.utf8.elementsEqual("1".utf8) == true }
}

/// What a token says of itself, for a list.
public struct TokenDescription: Sendable {
    /// The number of the slot that the token is in.
    public let slot: UInt
    /// What the token says, which may hold bytes from outside.
    public let label, manufacturer, model, serial: String
}

/// A key on a token, for a list.
public struct TokenKeyDescription: Sendable {
    /// The label; it may hold bytes from outside, and be empty.
    public let label: String
    /// The identifier; it may be empty.
    public let id: [UInt8]
    /// A reference to the key, without a PIN; `nil` if no reference means it alone.
    public let reference: String?
}

/// Signs with a key on a token.
private struct PKCS11Signer: Signer {
    let place: PKCS11Keys
    let reference: String
    let publicKey: PublicKey
    let schemes: [SignatureScheme]
    let displayName: String

    func sign(_ message: HashedMessage, scheme: SignatureScheme) async throws(SigstoreError) -> [UInt8] {
        try await place.sign(reference, message, scheme)
    }
}

extension SigstoreError.Code {
    /// A reference means more than one token or key.
    public static let ambiguousKey = Self("ambiguous-key")
    /// A token needs its PIN, and there is none.
    public static let noPIN = Self("no-pin")
    /// A token does not take the PIN: it is wrong, or locked.
    public static let pinRefused = Self("pin-refused")
}
