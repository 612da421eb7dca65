import Foundation
import SigstoreCrypto
import StrictJSON
import Synchronization

/// The folder that holds the local services' keys and logs, so that what they signed yesterday verifies today.
struct StateFolder: Sendable {
    let path: String

    /// Opens the folder, and makes it if there is none.
    init(path: String) throws(SigstoreError) {
        self.path = path
        for folder in ["keys", "logs"] { try makeFolder(folder) }
    }

    /// Makes a folder in it, if there is none.
    func makeFolder(_ name: String) throws(SigstoreError) {
        do {
            try FileManager.default.createDirectory(
                atPath: "\(path)/\(name)", withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        } catch {
            throw SigstoreError(
                .localServiceFailed, "the folder \(path) cannot be made",
                advice: "name a folder that can be written to with --folder", cause: error)
        }
    }

    func read(_ name: String) -> [UInt8]? { FileManager.default.contents(atPath: "\(path)/\(name)").map { Array($0) } }

    func write(_ bytes: [UInt8], to name: String, secret: Bool = false) throws(SigstoreError) {
        do {
            let file = "\(path)/\(name)"
            let new = file + ".new"
            guard
                FileManager.default.createFile(
                    atPath: new, contents: Data(bytes), attributes: [.posixPermissions: secret ? 0o600 : 0o644])
            else { throw CocoaError(.fileWriteUnknown) }
            // In one step, so that a client never finds the file missing.
            guard unsafe rename(new, file) == 0 else { throw CocoaError(.fileWriteUnknown) }
        } catch {
            throw SigstoreError(.localServiceFailed, "\(name) in \(path) cannot be written", cause: error)
        }
    }

    func write(_ text: String, to name: String) throws(SigstoreError) { try write(Array(text.utf8), to: name) }

    /// The key of that name, made when it is asked for the first time.
    func key(_ name: String, _ algorithm: SigningAlgorithm) throws(SigstoreError) -> PrivateKey {
        if let key = try existingKey(name) { return key }
        let key = try PrivateKey.generate(algorithm)
        try keep(key, as: name)
        return key
    }

    /// The key of that name, if there is one.
    func existingKey(_ name: String) throws(SigstoreError) -> PrivateKey? {
        let file = "keys/\(name).pem"
        guard let pem = read(file) else { return nil }
        return try PrivateKey.read(file: pem) { () throws(SigstoreError) in
            throw SigstoreError(.localServiceFailed, "the key \(file) is encrypted, which no local service makes")
        }
    }

    /// Keeps a key under a name.
    func keep(_ key: PrivateKey, as name: String) throws(SigstoreError) {
        let der = try unsafe key.pkcs8().withBytes { bytes in unsafe Array(bytes) }
        try write(Array(PEM.encode(label: "PRIVATE KEY", der).utf8), to: "keys/\(name).pem", secret: true)
    }

    /// The certificate of that name, made when it is asked for the first time.
    func certificate(_ name: String, make: () throws(SigstoreError) -> X509) throws(SigstoreError) -> X509 {
        let file = "keys/\(name).crt"
        if let pem = read(file), let block = try PEM.blocks(in: pem).first { return try X509(der: block.bytes) }
        let certificate = try make()
        try write(certificate.pem, to: file)
        return certificate
    }

    /// What a log held, one line an entry.
    func entries(of log: String) throws(SigstoreError) -> [JSONValue] {
        guard let text = read("logs/\(log).jsonl") else { return [] }
        var entries: [JSONValue] = []
        for line in text.split(separator: 0x0a) { entries.append(try JSONValue(parsing: Array(line))) }
        return entries
    }

    /// Adds a line to a log's file.
    func append(_ entry: JSONValue, to log: String) throws(SigstoreError) {
        let file = "\(path)/logs/\(log).jsonl"
        if !FileManager.default.fileExists(atPath: file) { try write([], to: "logs/\(log).jsonl") }
        do {
            guard let handle = FileHandle(forWritingAtPath: file) else { throw CocoaError(.fileWriteUnknown) }
            defer { try? handle.close() }
            try handle.seekToEnd()
            try handle.write(contentsOf: Data(entry.serialized() + [0x0a]))
        } catch {
            throw SigstoreError(.localServiceFailed, "the log \(log) in \(path) cannot be written", cause: error)
        }
    }
}
