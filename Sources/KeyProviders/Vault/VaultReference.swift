internal import StrictJSON

/// Which key of a transit engine, such as `hashivault://release` or `openbao://release?version=2`.
struct VaultReference: Hashable, Sendable {
    /// The name of the key.
    let key: String
    /// The only version to sign and to verify with; `nil` to sign with the newest and to verify with all.
    let version: Int?

    static let schemes = [
        ReferenceScheme("hashivault", form: "hashivault://KEY, with ?version=N for one version"),
        ReferenceScheme("openbao", form: "openbao://KEY, with ?version=N for one version"),
    ]

    /// Reads a reference: a letter, digit or underscore at both ends of the name, and `-` and `.` between them.
    /// - Throws: `SigstoreError` with `unknown-key-reference`, which says the right form.
    init(_ text: String) throws(SigstoreError) {
        guard let scheme = Self.schemes.first(where: { $0.isMeant(by: text) }) else {
            throw Self.schemes[0].malformed(text, "it does not begin with hashivault:// or openbao://")
        }
        func fault(_ why: String) -> SigstoreError { scheme.malformed(text, why) }
        let rest = try scheme.rest(of: text).split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        let name = rest.first ?? ""
        func isWord(_ byte: UInt8) -> Bool {
            (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte) || byte == 0x5f
        }
        guard let first = name.utf8.first, let last = name.utf8.last, isWord(first), isWord(last),
            name.utf8.allSatisfy({ isWord($0) || $0 == 0x2d || $0 == 0x2e }), name.utf8.count <= 256
        else {
            throw fault(
                name.utf8.contains(0x2f)
                    ? "the name of a key has no slash; the engine's path is named by TRANSIT_SECRET_ENGINE_PATH"
                    : "it names no key")
        }
        key = String(name)
        guard rest.count == 2 else {
            version = nil
            return
        }
        let digits = rest[1].utf8.dropFirst("version=".utf8.count)
        guard rest[1].utf8.starts(with: "version=".utf8), digits.allSatisfy({ (0x30...0x39).contains($0) }),
            let number = Int(String(Substring(digits))), number > 0
        else { throw fault("after the name of the key only ?version=N can stand, with N from 1 on") }
        version = number
    }
}
