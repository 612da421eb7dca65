internal import LocalSystem
public import SigstoreCrypto
public import StrictJSON

/// Keys that another program has: `NAME://…` is asked of the program `sigstore-kms-NAME` in `PATH`, as cosign does.
///
/// One program is run for each question. It is asked for the public key once a run, and verifies nothing.
public final class PluginKeyPlace: KeyMaker {
    private let surroundings: KeySurroundings
    private let known = Once<[UInt8], PublicKey>()

    /// Makes the place. Nothing is looked for yet.
    public init(_ surroundings: KeySurroundings) { self.surroundings = surroundings }

    /// How long a program may take. A person may have to touch a token.
    private static let timeout = Duration.seconds(300)

    // MARK: - References

    private struct Subject: Sendable {
        /// The reference as it may be shown.
        let reference: String
        /// The program's name.
        let program: String
        /// Where it is.
        let path: String
        let resource: String

        /// What the program is asked for, as it may be shown.
        var shownResource: String { PluginKeyPlace.parts(reference)?.resource ?? reference }
    }

    public func knows(_ reference: String) -> Bool { Self.parts(reference) != nil }

    public func check(_ reference: String) throws(SigstoreError) { _ = try subject(reference) }

    /// Where the program is found says who answers.
    public func trustVariables(_ reference: String) -> [String] { surroundings.variable("PATH") == nil ? [] : ["PATH"] }

    /// What stands before the first `://`, and behind it.
    private static func parts(_ reference: String) -> (name: String, resource: String)? {
        let bytes = Array(reference.utf8)
        guard let colon = bytes.indices.first(where: { bytes[$0...].starts(with: "://".utf8) }) else { return nil }
        return (
            String(decoding: bytes[..<colon], as: UTF8.self), String(decoding: bytes[(colon + 3)...], as: UTF8.self)
        )
    }

    private func subject(_ reference: String) throws(SigstoreError) -> Subject {
        let shown = shown(reference)
        guard let (name, resource) = Self.parts(reference), !name.isEmpty,
            name.utf8.allSatisfy({ byte in
                switch byte {
                case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x2d, 0x2e, 0x5f, 0x2b: true
                default: false
                }
            })
        else {
            throw SigstoreError(
                .unknownKeyReference, "\"\(shown)\" is not a kind of key reference that is known",
                advice: "use a path, env://NAME, - or a key service's reference")
        }
        let program = PluginCall.programPrefix + name
        guard
            let path = ChildProcess.find(
                program, environment: surroundings.variable("PATH").map { ["PATH": $0] } ?? [:])
        else {
            throw SigstoreError(
                .unknownKeyReference,
                "\"\(shown)\" is not a kind of key reference that is known, and there is no program \(program) in PATH that knows it",
                advice: .sentence("use a path, env://NAME, - or a key service's reference, or install \(program)"))
        }
        return Subject(reference: shown, program: program, path: path, resource: resource)
    }

    // MARK: - Keys

    public func publicKey(_ reference: String) async throws(SigstoreError) -> PublicKey {
        let subject = try subject(reference)
        return try await known.value(Array(reference.utf8)) { () async throws(SigstoreError) in
            try await self.key(subject, PluginCall(.publicKey, of: subject.resource))
        }
    }

    public func signer(_ reference: String, password: @escaping PasswordSource) async throws(SigstoreError)
        -> any Signer
    {
        PluginSigner(place: self, reference: reference, publicKey: try await publicKey(reference))
    }

    public func makeKey(_ reference: String, algorithm: SigningAlgorithm?) async throws(SigstoreError) -> (
        publicKey: PublicKey, isNew: Bool
    ) {
        let subject = try subject(reference)
        // The protocol does not say what making a key does to one that is there, and has no word for a key that is missing.
        switch try await answer(subject, PluginCall(.publicKey, of: subject.resource)) {
        case .found(let answer): return (try publicKey(subject, answer), false)
        case .refused(let words):
            surroundings.notice(
                "\(subject.reference): \(subject.program) gives no public key (it says: \(words)), and is asked to make a key"
            )
        }
        let name: String
        if let algorithm {
            let answer = try await ask(subject, PluginCall(.supportedAlgorithms, of: subject.resource))
            let names = try read(subject) { () throws(SigstoreError) in
                var names: [String] = []
                for element in try answer.member("supportedAlgorithms").elements() {
                    names.append(try element.string())
                }
                return names
            }
            guard
                let found = names.first(where: { name in
                    Self.names(algorithm).contains { $0.utf8.elementsEqual(name.utf8) }
                })
            else {
                throw SigstoreError(
                    .keyUnusable,
                    "\(subject.reference): \(subject.program) makes no keys for \(algorithm.rawValue), but \(Self.shortened(names.joined(separator: ", ")))",
                    advice: "leave the algorithm out, or name one of these")
            }
            name = found
        } else {
            let answer = try await ask(subject, PluginCall(.defaultAlgorithm, of: subject.resource))
            name = try read(subject) { () throws(SigstoreError) in try answer.member("defaultAlgorithm").string() }
        }
        let key = try await key(subject, PluginCall(.createKey(algorithm: name), of: subject.resource))
        return (key, true)
    }

    /// What plugins call an algorithm: the protocol leaves the names to them.
    private static func names(_ algorithm: SigningAlgorithm) -> [String] {
        let short: [String] =
            switch algorithm {
            case .ecdsaP256: ["ecdsa-p256", "ecdsa-p256-sha256"]
            case .ecdsaP384: ["ecdsa-p384", "ecdsa-p384-sha384"]
            case .ecdsaP521: ["ecdsa-p521", "ecdsa-p521-sha512"]
            case .ed25519, .ed25519ph: ["ed25519"]
            case .rsa2048: ["rsa-2048", "rsa-pkcs1v15-2048-sha256"]
            case .rsa3072: ["rsa-3072", "rsa-pkcs1v15-3072-sha256"]
            case .rsa4096: ["rsa-4096", "rsa-pkcs1v15-4096-sha256"]
            }
        return [algorithm.rawValue] + short
    }

    public func facts(_ reference: String) async throws(SigstoreError) -> [KeyFact] {
        let subject = try subject(reference)
        let key = try await publicKey(reference)
        return [
            KeyFact("service", "plugin \(subject.program)"), KeyFact("program", subject.path),
            KeyFact("key", subject.shownResource), KeyFact("algorithm", "\(key.kind)"),
            KeyFact("signs as", PluginSigner.schemes(of: key).map(\.description).joined(separator: ", ")),
            KeyFact("credentials", "those that the program finds"),
        ]
    }

    // MARK: - Calls

    private func key(_ subject: Subject, _ call: PluginCall) async throws(SigstoreError) -> PublicKey {
        try publicKey(subject, try await ask(subject, call))
    }

    private func publicKey(_ subject: Subject, _ answer: JSONCursor) throws(SigstoreError) -> PublicKey {
        try read(subject) { () throws(SigstoreError) in
            try PublicKey(file: try answer.member("publicKeyPEM").bytes())
        }
    }

    fileprivate func sign(_ reference: String, _ message: HashedMessage, _ scheme: SignatureScheme)
        async throws(SigstoreError) -> [UInt8]
    {
        let subject = try subject(reference)
        guard let bytes = message.bytes else {
            throw SigstoreError(
                .messageNotRead, "\(subject.program) hashes messages itself, and only a digest of this one is known",
                advice: "give the file in place of its digest")
        }
        let digest = scheme.hash.flatMap { message.digest($0) }
        let call = PluginCall(
            .signMessage(digest: digest?.bytes), of: subject.resource, hash: scheme.hash ?? .sha256)
        let answer = try await ask(subject, call, input: bytes)
        return try read(subject) { () throws(SigstoreError) in try answer.member("signature").bytes() }
    }

    /// What a program answers.
    private enum Answer {
        /// The object under the method's name.
        case found(JSONCursor)
        /// Its words for why not.
        case refused(String)
    }

    /// Runs the program, and reads what it answers; a refusal is an error.
    private func ask(_ subject: Subject, _ call: PluginCall, input: [UInt8] = []) async throws(SigstoreError)
        -> JSONCursor
    {
        switch try await answer(subject, call, input: input) {
        case .found(let answer): return answer
        case .refused(let words):
            throw SigstoreError(
                .keyServiceFailed,
                "\(subject.reference): \(subject.program) failed at \(call.method.name): \(words)",
                advice: .sentence("the words are those of \(subject.path)"))
        }
    }

    private func answer(_ subject: Subject, _ call: PluginCall, input: [UInt8] = []) async throws(SigstoreError)
        -> Answer
    {
        let words = [subject.path, PluginCall.version, String(decoding: call.serialized(), as: UTF8.self)]
        let answer = try await onBlockingThread { () throws(SigstoreError) in
            do throws(ChildProcess.Failure) {
                return try ChildProcess.run(words, input: input, timeout: Self.timeout)
            } catch {
                let why =
                    switch error {
                    case .notStarted: "cannot be run"
                    case .tookTooLong: "has not answered after 5 minutes"
                    case .saidTooMuch: "said more than \(ChildProcess.outputLimit) bytes"
                    }
                throw SigstoreError(
                    .keyServiceFailed, "\(subject.reference): the program \(subject.path) \(why)",
                    advice: "run it by hand")
            }
        }
        // The exit status of a program that ended by itself says nothing more than its answer.
        guard !answer.wasKilled else {
            throw SigstoreError(
                .keyServiceFailed,
                "\(subject.reference): the program \(subject.path) was ended by signal \(answer.status - 128)",
                advice: "run it by hand")
        }
        return try read(subject) { () throws(SigstoreError) in
            guard !answer.output.isEmpty else {
                throw SigstoreError(.unexpectedJSON, "it said nothing, and ended with status \(answer.status)")
            }
            let whole = JSONCursor(try JSONValue(parsing: answer.output, depth: 16))
            if let words = try whole.optional("errorMessage")?.string(), !words.isEmpty {
                // It may repeat what it was asked for.
                let (asked, shown) = (subject.resource, subject.shownResource)
                let isShown = asked.utf8.elementsEqual(shown.utf8)
                return .refused(Self.shortened(isShown ? words : words.replacing(asked, with: shown)))
            }
            return .found(try whole.member(call.method.name))
        }
    }

    /// Reads a part of an answer; what is wrong with it is said of the program.
    private func read<Value>(_ subject: Subject, _ body: () throws(SigstoreError) -> Value) throws(SigstoreError)
        -> Value
    {
        do throws(SigstoreError) { return try body() } catch {
            throw SigstoreError(
                .keyServiceAnswer,
                "\(subject.reference): what \(subject.program) answers is not as the protocol has it: \(error.message)",
                advice: .sentence(
                    "check that \(subject.path) is a plugin for version \(PluginCall.version) of the protocol"),
                cause: error)
        }
    }

    private static func shortened(_ words: String) -> String {
        words.utf8.count > 1000 ? String(decoding: words.utf8.prefix(1000), as: UTF8.self) + "…" : words
    }
}

/// A key of a plugin's.
private struct PluginSigner: Signer {
    let place: PluginKeyPlace
    let reference: String
    let publicKey: PublicKey

    /// In what way a plugin signs, the protocol does not say; what is asked for is told by the hash function.
    static func schemes(of key: PublicKey) -> [SignatureScheme] {
        switch key.kind {
        case .ecP256, .ecP384, .ecP521: key.schemes
        case .rsa: HashAlgorithm.allCases.map { .rsaPKCS1($0) }
        case .ed25519: [.ed25519]
        }
    }

    var schemes: [SignatureScheme] { Self.schemes(of: publicKey) }
    /// Many plugins look at the message only.
    var takesWholeMessages: Bool { true }
    var displayName: String { "the plugin of \(place.shown(reference))" }

    func sign(_ message: HashedMessage, scheme: SignatureScheme) async throws(SigstoreError) -> [UInt8] {
        try await place.sign(reference, message, scheme)
    }
}
