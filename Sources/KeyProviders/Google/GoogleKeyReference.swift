import StrictJSON

/// A key of Google Cloud KMS, or one version of it: `gcpkms://projects/P/locations/L/keyRings/R/cryptoKeys/K`, perhaps with
/// `/cryptoKeyVersions/N` or `/versions/N`.
struct GoogleKeyReference: Sendable {
    static let scheme = ReferenceScheme(
        "gcpkms",
        form: "gcpkms://projects/PROJECT/locations/LOCATION/keyRings/RING/cryptoKeys/KEY, perhaps with /versions/N")

    /// The reference as the person wrote it.
    let text: String
    /// The project, by its id or number.
    let project: String
    /// The location, such as `global` or `europe-west3`.
    let location: String
    /// The key ring's id.
    let ringID: String
    /// The key's id.
    let keyID: String
    /// The version; `nil` for the newest one that is enabled.
    let version: Int?

    /// The name of the location, as Google has it.
    var locationName: String { "projects/\(project)/locations/\(location)" }
    /// The name of the key ring.
    var ringName: String { "\(locationName)/keyRings/\(ringID)" }
    /// The name of the key.
    var keyName: String { "\(ringName)/cryptoKeys/\(keyID)" }

    /// Whether the service means by a name what is asked for: a project that the reference names by its number may come back by
    /// its id.
    func isName(_ found: String, of asked: String) -> Bool {
        if found.utf8.elementsEqual(asked.utf8) { return true }
        let prefix = "projects/".utf8
        guard project.utf8.allSatisfy({ (0x30...0x39).contains($0) }), found.utf8.starts(with: prefix) else {
            return false
        }
        func rest(_ name: String) -> Substring.UTF8View { name.utf8.dropFirst(prefix.count).drop { $0 != 0x2f } }
        // Another number is another project.
        let isNumber = found.utf8.dropFirst(prefix.count).prefix { $0 != 0x2f }.allSatisfy {
            (0x30...0x39).contains($0)
        }
        return !isNumber && rest(found).elementsEqual(rest(asked))
    }

    /// Whether a text is meant to be such a reference: by its scheme, or because it is the bare name of a key.
    static func isMeant(_ text: String) -> Bool {
        if scheme.isMeant(by: text) { return true }
        let isName =
            text.utf8.starts(with: "projects/".utf8) || text.utf8.starts(with: "//cloudkms.googleapis.com/".utf8)
        return isName && text.utf8.split(separator: 0x2f).contains { $0.elementsEqual("keyRings".utf8) }
    }

    /// Reads a reference.
    /// - Throws: `SigstoreError` with `unknown-key-reference`, which says the right form.
    init(_ text: String) throws(SigstoreError) {
        let prefix = "\(Self.scheme.name)://"
        do throws(SigstoreError) {
            guard text.utf8.starts(with: prefix.utf8) else {
                throw Self.scheme.malformed(Self.shown(text), "it does not begin with \(prefix)")
            }
            try self.init(text, path: Array(text.utf8.dropFirst(prefix.utf8.count)))
        } catch {
            guard let right = Self.mended(text) else { throw error }
            throw SigstoreError(error.code, error.message, advice: .sentence("write it as \(right)"))
        }
    }

    /// Reads what stands behind the scheme.
    private init(_ text: String, path: [UInt8]) throws(SigstoreError) {
        func malformed(_ why: String) -> SigstoreError { Self.scheme.malformed(Self.shown(text), why) }
        guard path.count <= 1024 else { throw malformed("it is longer than 1024 bytes") }
        let parts = path.split(separator: 0x2f, omittingEmptySubsequences: false)
        var values: [String] = []
        for (place, (collection, what)) in Self.collections.enumerated() {
            guard parts.count > 2 * place, parts[2 * place].elementsEqual(collection.utf8) else {
                throw malformed(
                    "where it should go on with \(collection)/, it \(parts.count > 2 * place ? "says \"\(Self.shown(String(decoding: parts[2 * place], as: UTF8.self)))\"" : "ends")"
                )
            }
            let value = parts.count > 2 * place + 1 ? parts[2 * place + 1] : []
            guard (1...100).contains(value.count),
                value.allSatisfy({ Self.isWordByte($0) || place == 0 && ($0 == 0x2e || $0 == 0x3a) }),
                value.contains(where: { $0 != 0x2e })
            else {
                throw malformed(
                    "\(value.isEmpty ? "it names no \(what)" : "the name of the \(what) has other characters than letters, digits, - and _, or is too long")"
                )
            }
            values.append(String(decoding: value, as: UTF8.self))
        }
        (self.text, project, location, ringID, keyID) = (text, values[0], values[1], values[2], values[3])
        guard parts.count > 8 else {
            version = nil
            return
        }
        let isVersion = parts[8].elementsEqual("cryptoKeyVersions".utf8) || parts[8].elementsEqual("versions".utf8)
        guard isVersion, parts.count == 10, let first = parts[9].first, (0x31...0x39).contains(first),
            parts[9].allSatisfy({ (0x30...0x39).contains($0) }),
            let number = Int(String(decoding: parts[9], as: UTF8.self))
        else { throw malformed("behind the key only /versions/N or /cryptoKeyVersions/N can stand, with N from 1 on") }
        version = number
    }

    private static let collections = [
        ("projects", "project"), ("locations", "location"), ("keyRings", "key ring"), ("cryptoKeys", "key"),
    ]

    private static func isWordByte(_ byte: UInt8) -> Bool {
        (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte) || byte == 0x5f
            || byte == 0x2d
    }

    private static func shown(_ text: String) -> String { String(decoding: text.utf8.prefix(256), as: UTF8.self) }

    /// The reference that seems to be meant; `nil` if none does.
    private static func mended(_ text: String) -> String? {
        guard text.utf8.count <= 1024 else { return nil }
        var rest = Array(text.utf8)[...]
        if scheme.isMeant(by: text) { rest = rest.dropFirst(scheme.name.utf8.count + 1) }
        rest = rest.drop { $0 == 0x2f }
        for host in ["cloudkms.googleapis.com/", "v1/"] where rest.starts(with: host.utf8) {
            rest = rest.dropFirst(host.utf8.count).drop { $0 == 0x2f }
        }
        while rest.last == 0x2f { rest.removeLast() }
        var parts = rest.split(separator: 0x2f, omittingEmptySubsequences: false).map {
            String(decoding: $0, as: UTF8.self)
        }
        let names = collections.map(\.0) + ["cryptoKeyVersions"]
        for place in stride(from: 0, to: min(parts.count, 10), by: 2) {
            let isName = parts[place].lowercased().utf8.elementsEqual(names[place / 2].lowercased().utf8)
            if isName { parts[place] = names[place / 2] }
        }
        let path = parts.joined(separator: "/")
        let right = "\(scheme.name)://\(path)"
        guard (try? GoogleKeyReference(right, path: Array(path.utf8))) != nil else { return nil }
        return right
    }
}
