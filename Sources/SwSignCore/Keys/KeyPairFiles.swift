public import LocalSystem
public import SigstoreCrypto
internal import SigstoreVerification
public import StrictJSON

/// Where a new key pair is put: two files, or a place that keeps secrets.
public protocol KeyPairStore: Sendable {
    /// What stands there already, by names for people; empty if nothing is in the way.
    func existing() async throws(SigstoreError) -> [String]
    /// Keeps a key pair. No private key is ever replaced: what is in the way is kept under another name.
    /// - Parameters:
    ///   - key: The key to keep.
    ///   - password: Encrypts the private key; may be empty.
    ///   - keepingExisting: Whether what is in the way may be renamed; otherwise this throws.
    /// - Returns: Where everything is now.
    /// - Throws: `SigstoreError` with `file-exists` if something is in the way and may not be renamed, or the place's
    ///   own failure. Nothing has changed then.
    func store(_ key: PrivateKey, password: SecretBytes, keepingExisting: Bool) async throws(SigstoreError)
        -> StoredKeyPair
}

/// Where a key pair was put.
public struct StoredKeyPair: Sendable {
    /// Where the private key is, in words.
    public let privateKey: String
    /// Where the public key is, in words.
    public let publicKey: String
    /// The new names of what was in the way.
    public let kept: [String]

    /// Says where a key pair is.
    public init(privateKey: String, publicKey: String, kept: [String]) {
        (self.privateKey, self.publicKey, self.kept) = (privateKey, publicKey, kept)
    }
}

/// The two files of a key pair: `PREFIX.key`, encrypted, and `PREFIX.pub`.
public struct KeyPairFiles: KeyPairStore {
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

    public func existing() async throws(SigstoreError) -> [String] { standing }

    /// The files that stand there already.
    private var standing: [String] { [privateKey, publicKey].filter(\.exists).map(\.path) }

    /// Writes a key pair. Files that stand there already are kept under another name first, and put back if the writing
    /// fails.
    /// - Throws: `SigstoreError` with `file-exists` or `file-unwritable`.
    public func store(_ key: PrivateKey, password: SecretBytes, keepingExisting: Bool) async throws(SigstoreError)
        -> StoredKeyPair
    {
        let sealed = try EncryptedKeyFile(encrypting: key, password: password).pem()
        // What was written is opened again before it takes the place of another file.
        _ = try PrivateKey.read(file: Array(sealed.utf8)) { password }
        // Nothing may come between the two files. A program's first thread gets its signals, and only on their own thread can
        // they be held back: this is the one place that writes files on the thread of the caller.
        let kept = try BlockingThread.withoutSignals { () throws(SigstoreError) in
            try put(
                [(privateKey, Array(sealed.utf8)), (publicKey, Array(key.publicKey.pem.utf8))],
                keepingExisting: keepingExisting)
        }
        return StoredKeyPair(privateKey: privateKey.path, publicKey: publicKey.path, kept: kept)
    }

    /// Writes both files whole, without names, gives the old ones a second name, and only then lets the new ones take their
    /// places.
    private func put(_ contents: [(place: OutputFile, content: [UInt8])], keepingExisting: Bool) throws(SigstoreError)
        -> [String]
    {
        var (kept, placed): ([(path: String, backup: String)], [String]) = ([], [])
        do throws(SigstoreError) {
            let existing = standing
            if let first = existing.first, !keepingExisting { throw SigstoreError.exists(first) }
            var files: [(place: String, file: TemporaryFile)] = []
            for (place, content) in contents {
                let file = try TemporaryFile(beside: place.path, mode: place.mode, exactly: true)
                try file.write(content)
                try file.sync()
                files.append((place: place.path, file: file))
            }
            let stamp = Instant(seconds: SystemClock.now()).description.filter { $0 != "-" && $0 != ":" }
            for path in existing {
                let backup = "\(path).bak-\(stamp)"
                try LocalFile.link(path, as: backup)
                kept.append((path: path, backup: backup))
            }
            for (place, file) in files {
                try file.commit(as: place, existing: existing.contains(place) ? .replaced : .refused)
                placed.append(place)
            }
        } catch {
            for path in placed where !kept.contains(where: { $0.path == path }) { LocalFile.remove(path) }
            for old in kept {
                if placed.contains(old.path) {
                    try? LocalFile.rename(old.backup, to: old.path)
                } else {
                    LocalFile.remove(old.backup)
                }
            }
            throw error
        }
        return kept.map(\.backup)
    }
}
