import KeyProviders
import LocalSystem
import SigstoreCrypto
import StrictJSON
import SwSignCore
import Synchronization

/// Asking a person: passwords without echo, and questions whose answer must be typed.
final class Terminal: Sendable {
    private let environment: Environment
    private let progress: ProgressBar
    private let streams: Streams

    init(_ environment: Environment, _ progress: ProgressBar, _ streams: Streams) {
        self.environment = environment
        self.progress = progress
        self.streams = streams
    }

    /// Whether a person sits at standard input.
    var isInteractive: Bool { streams.isTerminal(.input) }

    /// The password of a key file: from `COSIGN_PASSWORD` (set but empty means empty), else asked for on the terminal,
    /// else read from standard input.
    /// - Parameters:
    ///   - new: Asks twice, for a key that is made now.
    ///   - standardInputIsTaken: Whether an artifact, key or predicate is read from standard input; then the password
    ///     never is.
    func password(new: Bool = false, standardInputIsTaken: Bool = false) throws(SigstoreError) -> SecretBytes {
        if let password = environment.takeSecret("COSIGN_PASSWORD") { return password }
        if isInteractive || standardInputIsTaken {
            guard let terminal = TerminalDevice() else {
                throw SigstoreError(
                    .noPassword, "the private key needs a password, and there is no terminal to ask for it",
                    advice: "set COSIGN_PASSWORD (empty for a key without password)")
            }
            let first = try terminal.readLine(prompt: "Enter password for private key: ", echo: false, progress)
            if new {
                let second = try terminal.readLine(
                    prompt: "Enter password for private key again: ", echo: false, progress)
                guard first.equals(second) else {
                    throw SigstoreError(.noPassword, "the two passwords are not the same", advice: "try again")
                }
            }
            return first
        }
        let password = try standardInput()
        // Nothing at all is no password for a new key: a job that forgot to give one would write an open key.
        guard !new || password.isGiven else {
            throw SigstoreError(
                .noPassword, "the new private key needs a password, and none came on standard input",
                advice: "set COSIGN_PASSWORD (empty for a key without password), or pipe the password in")
        }
        return password.secret
    }

    /// Whether a person says yes, by an answer typed on a terminal; never from a pipe or the environment.
    /// - Returns: `false` if there is no terminal.
    func confirms(_ question: String) throws(SigstoreError) -> Bool {
        guard isInteractive, let terminal = TerminalDevice() else { return false }
        let answer = try terminal.readLine(prompt: Output.escaped(question) + " [y/N] ", echo: true, progress)
        return ["y", "yes"].contains { word in
            unsafe answer.withBytes { unsafe $0.elementsEqual(word.utf8) || $0.elementsEqual(word.uppercased().utf8) }
        }
    }

    /// Asks for one line on the terminal.
    /// - Returns: `nil` if there is no terminal, or what was typed is not text.
    func line(_ prompt: String) throws(SigstoreError) -> String? {
        guard isInteractive, let terminal = TerminalDevice() else { return nil }
        let answer = try terminal.readLine(prompt: prompt, echo: true, progress)
        return unsafe answer.withBytes { unsafe String(validating: $0, as: UTF8.self) }
    }

    /// Asks for something secret on the terminal, without showing it.
    /// - Returns: `nil` if there is no terminal.
    func secret(_ prompt: String) throws(SigstoreError) -> SecretBytes? {
        guard isInteractive, let terminal = TerminalDevice() else { return nil }
        return try terminal.readLine(prompt: prompt, echo: false, progress)
    }

    /// The password as standard input gives it, without the line break at its end.
    /// - Returns: The password, and whether anything came, if only a line break.
    private func standardInput() throws(SigstoreError) -> (secret: SecretBytes, isGiven: Bool) {
        var bytes: [UInt8] = []
        defer { SecretBytes.cleanse(&bytes) }
        bytes.reserveCapacity(4096)
        while true {
            let next: UInt8?
            do throws(SigstoreError) { next = try StandardStream.input.readByte() } catch {
                throw SigstoreError(.noPassword, "the password cannot be read from standard input")
            }
            guard let byte = next else { break }
            guard bytes.count < 4096 else {
                throw SigstoreError(.noPassword, "the password on standard input is longer than 4096 bytes")
            }
            bytes.append(byte)
        }
        let whole = SecretBytes(bytes)
        if whole.count == 0 { isPasswordAbsent.withLock { $0 = true } }
        while let last = bytes.last, last == 0x0a || last == 0x0d { bytes.removeLast() }
        if bytes.count < whole.count { withLineBreak.withLock { $0 = whole } }
        return (SecretBytes(bytes), whole.count > 0)
    }

    /// The password that came from standard input, with the line break at its end, if it had one: cosign makes that
    /// part of the password of a key it generates.
    /// - Returns: It, once: then it is forgotten.
    func takePasswordWithLineBreak() -> SecretBytes? { withLineBreak.withLock { $0.take() } }
    private let withLineBreak = Mutex<SecretBytes?>(nil)

    /// Whether a password was wanted, and nothing gave one: an empty one was tried.
    fileprivate let isPasswordAbsent = Mutex(false)
}

extension TerminalDevice {
    /// Asks for one line.
    fileprivate func readLine(prompt: String, echo: Bool, _ progress: ProgressBar) throws(SigstoreError) -> SecretBytes
    {
        progress.pause()
        defer { progress.resume() }
        let answer = try withBytes(echo: echo, changing: Interruption.noteTerminal) { () throws(SigstoreError) in
            write(Array(prompt.utf8))
            return try readAnswer()
        }
        guard let answer else { throw SigstoreError(.noPassword, "the terminal cannot be asked") }
        return answer
    }

    private func readAnswer() throws(SigstoreError) -> SecretBytes {
        var bytes: [UInt8] = []
        defer { SecretBytes.cleanse(&bytes) }
        bytes.reserveCapacity(4096)
        while true {
            guard let byte = readByte() else {
                throw SigstoreError(.noPassword, "the terminal was closed before an answer came")
            }
            switch byte {
            case 0x0a, 0x0d: return SecretBytes(bytes)
            case 0x03, 0x04:
                throw SigstoreError(.interrupted, "interrupted; nothing was done")
            case 0x7f, 0x08: Self.erase(1, of: &bytes)
            case 0x15: Self.erase(bytes.count, of: &bytes)
            case 0x17:
                let spaces = bytes.reversed().prefix { $0 == 0x20 }.count
                Self.erase(spaces + bytes.dropLast(spaces).reversed().prefix { $0 != 0x20 }.count, of: &bytes)
            default:
                guard bytes.count < 4096 else {
                    throw SigstoreError(.noPassword, "the answer is longer than 4096 bytes")
                }
                bytes.append(byte)
            }
        }
    }

    /// Takes the last bytes back, and whatever is left of the character that they were part of.
    private static func erase(_ count: Int, of bytes: inout [UInt8]) {
        for _ in 0..<min(count, bytes.count) {
            while let last = bytes.last, last & 0xc0 == 0x80 {
                bytes[bytes.count - 1] = 0
                bytes.removeLast()
            }
            if bytes.isEmpty { return }
            bytes[bytes.count - 1] = 0
            bytes.removeLast()
        }
    }
}

extension KeyReference {
    /// Reads the public key.
    func readPublicKey() throws(SigstoreError) -> PublicKey {
        try waiting { () throws(SigstoreError) in try await publicKey() }
    }

    /// Reads what is to be said of the key.
    /// - Parameter terminal: Where a password is asked for.
    func readFacts(_ terminal: Terminal) throws(SigstoreError) -> [KeyFact] {
        try open(terminal, false) { password throws(SigstoreError) in try await facts(password: password) }.key
    }

    /// Reads the public keys that may verify what the key has signed.
    func readPublicKeys() throws(SigstoreError) -> [PublicKey] {
        try waiting { () throws(SigstoreError) in try await publicKeys() }
    }

    /// Reads the public key of the pair that signs, with a password if its private key has to be read and needs one.
    /// - Parameters:
    ///   - terminal: Where the password is asked for.
    ///   - standardInputIsTaken: Whether something else is read from standard input.
    func readPublicKeyOfPair(_ terminal: Terminal, standardInputIsTaken: Bool = false) throws(SigstoreError)
        -> PublicKey
    {
        try open(terminal, standardInputIsTaken) { password throws(SigstoreError) in
            try await publicKey(ofPair: password)
        }.key
    }

    /// Opens what signs with the key, with a password if it needs one.
    /// - Parameters:
    ///   - terminal: Where the password is asked for.
    ///   - standardInputIsTaken: Whether something else is read from standard input.
    func openSigner(_ terminal: Terminal, standardInputIsTaken: Bool = false) throws(SigstoreError) -> any Signer {
        try open(terminal, standardInputIsTaken) { password throws(SigstoreError) in
            try await signer(password: password)
        }.key
    }

    /// Opens the private key itself, with a password if it needs one.
    /// - Parameter terminal: Where the password is asked for.
    /// - Returns: The key, and the password that opened it, if one did.
    func openPrivateKey(_ terminal: Terminal) throws(SigstoreError) -> (key: PrivateKey, password: SecretBytes?) {
        try open(terminal, false) { password throws(SigstoreError) in try await privateKey(password: password) }
    }

    private func open<Key: Sendable>(
        _ terminal: Terminal, _ standardInputIsTaken: Bool,
        _ opening: @escaping @Sendable (@escaping PasswordSource) async throws(SigstoreError) -> Key
    ) throws(SigstoreError) -> (key: Key, password: SecretBytes?) {
        let asked = Mutex<SecretBytes?>(nil)
        let isTaken = standardInputIsTaken || takesStandardInput
        defer { _ = terminal.takePasswordWithLineBreak() }
        do throws(SigstoreError) {
            let key = try waiting { () throws(SigstoreError) in
                try await opening { () throws(SigstoreError) in
                    let password = try terminal.password(standardInputIsTaken: isTaken)
                    asked.withLock { $0 = password }
                    return password
                }
            }
            forget()
            return (key, asked.withLock { $0 })
        } catch {
            guard error.code == .wrongPassword else { throw error }
            if terminal.isPasswordAbsent.withLock({ $0 }) {
                throw SigstoreError(
                    .noPassword,
                    "\(text): the private key needs a password, and none was given: COSIGN_PASSWORD is not set, there is no terminal, and standard input is empty",
                    advice: "set COSIGN_PASSWORD")
            }
            guard let whole = terminal.takePasswordWithLineBreak() else {
                throw asked.withLock({ $0 }).map { Self.named(error, $0) } ?? error
            }
            let key = try waiting { () throws(SigstoreError) in try await opening { () throws(SigstoreError) in whole }
            }
            forget()
            return (key, whole)
        }
    }

    /// A password is never changed before it is tried. Of a wrong one that ends in a line break that is said.
    private static func named(_ error: SigstoreError, _ password: SecretBytes) -> SigstoreError {
        let endsInLineBreak = unsafe password.withBytes { bytes in
            unsafe bytes.last == 0x0a || bytes.last == 0x0d
        }
        guard endsInLineBreak else { return error }
        var error = error
        error.message += "; the password that was given ends in a line break"
        error.advice =
            "if the line break does not belong to it, set COSIGN_PASSWORD without it: printf %s writes none, echo does"
        return error
    }
}

extension SigstoreError.Code {
    /// A password is needed and cannot be had.
    static let noPassword = Self("no-password")
    /// The person stopped the program.
    static let interrupted = Self("interrupted")
}
