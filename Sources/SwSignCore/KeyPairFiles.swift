internal import FoundationEssentials
internal import Glibc
public import InToto
public import SigstoreCrypto

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
    public func write(_ key: PrivateKey, password: SecretBytes, keepingExisting: Bool) throws(SigstoreError) -> [String] {
        let sealed = try EncryptedKeyFile(encrypting: key, password: password).pem()
        // What was written is opened again before it takes anybody's place.
        _ = try PrivateKey.read(file: Array(sealed.utf8)) { password }
        var moved: [(from: String, to: String)] = []
        var written: [String] = []
        do throws(SigstoreError) {
            let stamp = Date().formatted(.iso8601.timeSeparator(.omitted).dateSeparator(.omitted))
            for path in existing {
                guard keepingExisting else { throw SigstoreError.exists(path) }
                let backup = "\(path).bak-\(stamp)"
                guard unsafe link(path, backup) == 0, unsafe unlink(path) == 0 else { throw .writing(backup, errno) }
                moved.append((from: path, to: backup))
            }
            try privateKey.write(Array(sealed.utf8), replacing: false)
            written.append(privateKey.path)
            try publicKey.write(Array(key.publicKey.pem.utf8), replacing: false)
        } catch {
            for path in written { unsafe unlink(path) }
            for move in moved { unsafe rename(move.to, move.from) }
            throw error
        }
        return moved.map(\.to)
    }
}
