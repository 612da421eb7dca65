internal import HTTPTransport
public import SigstoreCrypto
public import StrictJSON

/// A place where keys are kept, and whose references have one form: files, variables, a key service, tokens.
///
/// A place is made once a run and keeps what it has learned: the public key of a reference is looked up once, and one
/// connection and one token serve all signatures.
public protocol KeyPlace: Sendable {
    /// Whether a reference has the form of this place's, or is meant to have it: a reference that is nearly right must not be
    /// taken for a file.
    func knows(_ reference: String) -> Bool
    /// Refuses a reference that has the form and cannot be meant. Nothing is opened or asked. By default none is refused.
    func check(_ reference: String) throws(SigstoreError)
    /// The reference as it may be shown, without a secret that stands in it. By default without what stands before an `@`, as a
    /// password does in a URL.
    func shown(_ reference: String) -> String
    /// Whether reading the key takes standard input; by default not.
    func takesStandardInput(_ reference: String) -> Bool
    /// The public key.
    /// - Throws: `SigstoreError` that names the reference, with `file-not-found` if there is no such key.
    func publicKey(_ reference: String) async throws(SigstoreError) -> PublicKey
    /// The public keys that may verify what the key has signed, the one that signs now first: older versions of a key that was
    /// rotated count too. By default only that one.
    func publicKeys(_ reference: String) async throws(SigstoreError) -> [PublicKey]
    /// A name that two references to one key have in common, whatever version of it each names: what its versions sign is by one
    /// signer. By default the reference itself.
    func owner(of reference: String) -> String
    /// The variables of the environment that are set and say where the key is, and so who is believed. By default none.
    func trustVariables(_ reference: String) -> [String]
    /// What signs with the key; a `PrivateKey` if the key itself can leave the place. It says the ways in which the place can
    /// sign (`schemes`), the best first; which of these is used is decided once, by the front door.
    /// - Parameters:
    ///   - reference: Which key.
    ///   - password: Asked for only if the key is encrypted.
    /// - Throws: `SigstoreError` that names the reference.
    func signer(_ reference: String, password: @escaping PasswordSource) async throws(SigstoreError) -> any Signer
    /// A certificate for the key that is kept with it; by default none.
    /// - Throws: `SigstoreError` that names the reference.
    func certificate(_ reference: String) async throws(SigstoreError) -> Certificate?
    /// Whether certificates that are kept with keys are left aside, whatever is asked for; by default not.
    var ignoresCertificates: Bool { get }
    /// Ends what the place has open, when the run ends. By default nothing.
    func close()
    /// Overwrites the private key where it was read from, if that is this process's own memory. By default nothing.
    func forget(_ reference: String)
    /// What a person wants to know of a key: service, key, version, algorithm, hash, and which credentials of whom were used.
    /// No secret. By default what the public key says.
    func facts(_ reference: String) async throws(SigstoreError) -> [KeyFact]
}

/// A place that makes keys itself, which then never leave it.
public protocol KeyMaker: KeyPlace {
    /// Makes a key, if there is none; one that is there stays as it is.
    /// - Parameters:
    ///   - reference: Which key.
    ///   - algorithm: The kind of key; `nil` for the place's usual one.
    /// - Returns: The public key, and whether it was made now.
    /// - Throws: `SigstoreError` that names the reference; `key-unusable` if a key of another kind is there, or the place has none of
    ///   this kind.
    func makeKey(_ reference: String, algorithm: SigningAlgorithm?) async throws(SigstoreError) -> (
        publicKey: PublicKey, isNew: Bool
    )
}

/// One thing that a person wants to know of a key.
public struct KeyFact: Sendable, Hashable {
    /// What it is, such as `version` or `signs as`; the same for every place that has it.
    public let name: String
    /// What it says. It may hold bytes from outside.
    public let value: String

    /// Says one thing of a key.
    public init(_ name: String, _ value: String) { (self.name, self.value) = (name, value) }
}

/// Gives the password of an encrypted key when it is needed.
public typealias PasswordSource = @Sendable () throws(SigstoreError) -> SecretBytes

/// How the references of a place begin, such as `awskms`.
public struct ReferenceScheme: Sendable {
    /// The scheme, in small letters.
    public let name: String
    /// What a whole reference looks like, such as `awskms:///alias/NAME`.
    public let form: String

    /// Names a scheme.
    /// - Parameters:
    ///   - name: The scheme, in small letters.
    ///   - form: What a whole reference looks like, for messages.
    public init(_ name: String, form: String) { (self.name, self.form) = (name, form) }

    /// Whether a reference has this scheme, or is meant to have it: in capitals too, and with fewer slashes behind the colon.
    public func isMeant(by reference: String) -> Bool {
        let head = reference.utf8.prefix { $0 != 0x3a }
        return head.count < reference.utf8.count
            && head.lazy.map { (0x41...0x5a).contains($0) ? $0 | 0x20 : $0 }.elementsEqual(name.utf8)
    }

    /// What follows `NAME://` in a reference.
    /// - Throws: `SigstoreError` with `unknown-key-reference` if the reference does not begin so, byte for byte.
    public func rest(of reference: String) throws(SigstoreError) -> String {
        let prefix = name + "://"
        guard reference.utf8.starts(with: prefix.utf8) else {
            throw malformed(reference, "it does not begin with \(prefix)")
        }
        return String(Substring(reference.utf8.dropFirst(prefix.utf8.count)))
    }

    /// The error for a reference that has another form than this.
    /// - Parameters:
    ///   - reference: The reference.
    ///   - why: What is wrong with it, as in "it names no key".
    public func malformed(_ reference: String, _ why: String) -> SigstoreError {
        let shown = HTTPURL.withoutUser(reference)
        return SigstoreError(
            .unknownKeyReference, "\"\(shown)\" is no reference to a key: \(why)",
            advice: .sentence("write it as \(form); a file of that name is ./\(shown)"))
    }
}

extension KeyPlace {
    public func check(_ reference: String) throws(SigstoreError) {}
    public func takesStandardInput(_ reference: String) -> Bool { false }
    public func forget(_ reference: String) {}
    public func owner(of reference: String) -> String { reference }
    public func shown(_ reference: String) -> String { HTTPURL.withoutUser(reference) }
    public func certificate(_ reference: String) async throws(SigstoreError) -> Certificate? { nil }
    public var ignoresCertificates: Bool { false }
    public func close() {}
    public func trustVariables(_ reference: String) -> [String] { [] }
    public func publicKeys(_ reference: String) async throws(SigstoreError) -> [PublicKey] {
        [try await publicKey(reference)]
    }
    public func facts(_ reference: String) async throws(SigstoreError) -> [KeyFact] {
        [KeyFact("algorithm", "\(try await publicKey(reference).kind)")]
    }
}

extension SigstoreError.Code {
    /// A key reference of no known kind, or not in the form of its kind.
    public static let unknownKeyReference = Self("unknown-key-reference")
}
