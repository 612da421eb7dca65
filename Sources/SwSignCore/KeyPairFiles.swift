internal import Glibc
public import InToto
public import SigstoreCrypto
internal import SigstoreVerification

/// The two files of a key pair: `PREFIX.key`, encrypted, and `PREFIX.pub`.
public struct KeyPairFiles: Sendable {
    /// The private key's file, mode 0600.
    public let privateKey: OutputFile
    /// The public key's file, mode 0644.
    public let publicKey: OutputFile

    /// Names the files.
    /// - Parameter prefix: What stands before `.key` and `.pub`, a directory included.
    public init(prefix: String) {
        privateKey = OutputFile("\(prefix).key", mode: 0o600)
        publicKey = OutputFile("\(prefix).pub", mode: 0o644)
    }

    /// The files that stand there already.
    public var existing: [String] { [privateKey, publicKey].filter(\.exists).map(\.path) }

    /// Writes a key pair. Files that stand there already are kept under another name first, and put back where the
    /// writing fails.
    /// - Parameters:
    ///   - key: The key to keep.
    ///   - password: Encrypts the private key; may be empty.
    ///   - keepingExisting: Whether existing files may be renamed out of the way; otherwise this throws.
    /// - Returns: The new names of files that were in the way.
    /// - Throws: ``SigstoreError`` with ``SigstoreError/Code/fileExists`` or ``SigstoreError/Code/cannotWrite``.
    @discardableResult
    public func write(_ key: PrivateKey, password: SecretBytes, keepingExisting: Bool) throws(SigstoreError) -> [String]
    {
        let sealed = try EncryptedKeyFile(encrypting: key, password: password).pem()
        // What was written is opened again before it takes anybody's place.
        _ = try PrivateKey.read(file: Array(sealed.utf8)) { password }
        // Nothing may come between the two files.
        return try withoutSignals { () throws(SigstoreError) in
            try put(
                [(privateKey, Array(sealed.utf8)), (publicKey, Array(key.publicKey.pem.utf8))],
                keepingExisting: keepingExisting)
        }
    }

    /// Writes both files whole under other names, gives the old ones a second name, and only then lets the new ones take
    /// their places.
    private func put(_ files: [(place: OutputFile, content: [UInt8])], keepingExisting: Bool) throws(SigstoreError)
        -> [String]
    {
        var (new, kept, placed): ([String], [(path: String, backup: String)], [String]) = ([], [], [])
        defer { for path in new { unsafe unlink(path) } }
        do throws(SigstoreError) {
            let existing = existing
            if let first = existing.first, !keepingExisting { throw SigstoreError.exists(first) }
            for (place, content) in files {
                let name = "\(place.path).new-\(getpid())"
                do throws(SigstoreError) {
                    try OutputFile(name, mode: place.mode).write(content, replacing: false)
                } catch {
                    var error = error
                    error.message.replace(name, with: place.path)
                    throw error
                }
                new.append(name)
            }
            let stamp = CalendarTime.iso8601(VerificationPolicy.systemClock()).filter { $0 != "-" && $0 != ":" }
            for path in existing {
                let backup = "\(path).bak-\(stamp)"
                guard unsafe link(path, backup) == 0 else { throw .writing(backup, errno) }
                kept.append((path: path, backup: backup))
            }
            for (place, name) in zip(files.map(\.place.path), new) {
                // Renaming replaces what stands there, linking never does.
                let result = unsafe existing.contains(place) ? rename(name, place) : link(name, place)
                guard result == 0 else { throw errno == EEXIST ? .exists(place) : .writing(place, errno) }
                placed.append(place)
            }
        } catch {
            for path in placed where !kept.contains(where: { $0.path == path }) { unsafe unlink(path) }
            for old in kept {
                _ = unsafe placed.contains(old.path) ? rename(old.backup, old.path) : unlink(old.backup)
            }
            throw error
        }
        return kept.map(\.backup)
    }

    /// Runs the body with every signal that can be held back held back until it is done.
    private func withoutSignals<Result>(_ body: () throws(SigstoreError) -> Result) throws(SigstoreError) -> Result {
        var (all, before) = (sigset_t(), sigset_t())
        guard unsafe sigfillset(&all) == 0, unsafe pthread_sigmask(SIG_BLOCK, &all, &before) == 0 else {
            throw SigstoreError(.cannotWrite, "signals cannot be held back while the key pair is written")
        }
        defer { unsafe pthread_sigmask(SIG_SETMASK, &before, nil) }
        return try body()
    }
}
