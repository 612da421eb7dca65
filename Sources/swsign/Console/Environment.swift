import LocalSystem
import SigstoreCrypto
import StrictJSON

/// The variables that a command sees.
enum Environment: Sendable {
    /// Those of this process, read when they are asked for.
    case process
    /// Others.
    case values([String: String])
    /// These, and for what they do not have, those of this process.
    case valuesBefore([String: String])

    /// The value of a variable.
    /// - Returns: `nil` if it is not set, or empty; bytes that are not UTF-8 are replaced.
    func value(_ name: String) -> String? {
        switch self {
        case .process: return ProcessEnvironment.value(name)
        case .values(let values): return values[name].flatMap { $0.isEmpty ? nil : $0 }
        case .valuesBefore(let values): return values[name] ?? Self.process.value(name)
        }
    }

    /// The value of a variable that must be text.
    /// - Returns: `nil` if it is not set.
    /// - Throws: `SigstoreError` if it is not UTF-8.
    func text(_ name: String) throws(SigstoreError) -> String? {
        switch self {
        case .process:
            guard let value = unsafe ProcessEnvironment.withBytes(name, { unsafe Array($0) }) else { return nil }
            guard let text = String(validating: value, as: UTF8.self) else {
                throw SigstoreError.notUTF8("the environment variable \(name)")
            }
            return text
        case .values(let values): return values[name]
        case .valuesBefore(let values):
            if let value = values[name] { return value }
            return try Self.process.text(name)
        }
    }

    /// A secret that a variable holds, which stays there.
    /// - Returns: `nil` if the variable is not set.
    func secret(_ name: String) -> SecretBytes? {
        switch self {
        case .process: return unsafe ProcessEnvironment.withBytes(name) { unsafe SecretBytes($0) }
        case .values(let values): return values[name].map { SecretBytes($0.utf8) }
        case .valuesBefore: return Self.process.secret(name)
        }
    }

    /// A secret that a variable holds, which is erased in this process's own environment.
    /// - Returns: `nil` if the variable is not set.
    func takeSecret(_ name: String) -> SecretBytes? {
        guard let secret = secret(name) else { return nil }
        switch self {
        case .process, .valuesBefore: ProcessEnvironment.erase(name)
        case .values: break
        }
        return secret
    }

    /// All of them, for what is looked up by libraries or handed to other programs.
    var all: [String: String] {
        switch self {
        case .process: return ProcessEnvironment.all()
        case .values(let values): return values
        case .valuesBefore(let values): return ProcessEnvironment.all().merging(values) { $1 }
        }
    }
}
