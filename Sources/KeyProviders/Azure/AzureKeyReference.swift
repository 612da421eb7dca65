import HTTPTransport
import StrictJSON

/// A key in Azure Key Vault or in a Managed HSM: `azurekms://HOST/KEY[/VERSION]`.
struct AzureKeyReference: Sendable {
    static let scheme = ReferenceScheme(
        "azurekms", form: "azurekms://VAULT.vault.azure.net/KEY, with /VERSION for one version")

    /// The reference as the person wrote it.
    let text: String
    /// The vault or HSM.
    let origin: HTTPURL.Origin
    /// The name of the key.
    let key: String
    /// The only version to sign and to verify with; `nil` for the newest.
    let version: String?

    /// Whether the host is that of a Managed HSM, which makes keys in hardware alone.
    var isManagedHSM: Bool {
        origin.host.split(separator: ".").dropFirst().first?.utf8.elementsEqual("managedhsm".utf8) == true
    }

    /// The flag by which Azure's CLI takes the vault or HSM.
    var place: String { "\(isManagedHSM ? "--hsm-name" : "--vault-name") \(origin.host.prefix { $0 != "." })" }

    /// What the service is called.
    var serviceName: String { isManagedHSM ? "Azure Managed HSM" : "Azure Key Vault" }

    /// Reads a reference.
    /// - Throws: `SigstoreError` with `unknown-key-reference`, which says the right form.
    init(_ text: String) throws(SigstoreError) {
        self.text = text
        func malformed(_ why: String, _ right: String? = nil) -> SigstoreError {
            let shown = String(decoding: text.utf8.prefix(256), as: UTF8.self)
            return SigstoreError(
                .unknownKeyReference, "\"\(shown)\" is not a reference to a key in Azure: \(why)",
                advice: .sentence("write it as \(right ?? Self.scheme.form)"))
        }
        guard text.utf8.count <= 1024, text.utf8.allSatisfy({ (0x21...0x7e).contains($0) }) else {
            throw malformed("it is too long, or has other characters than visible ASCII")
        }
        let prefix = "\(Self.scheme.name)://"
        guard text.utf8.starts(with: prefix.utf8) else {
            let isCase = text.lowercased().utf8.starts(with: prefix.utf8)
            throw malformed(
                isCase ? "its scheme is not in lower case" : "it does not begin with \(prefix)",
                isCase ? prefix + String(text.dropFirst(prefix.count)) : nil)
        }
        var parts = text.dropFirst(prefix.count).split(separator: "/", omittingEmptySubsequences: false).map(
            String.init)
        // A slash at the end means the newest version, as cosign has it.
        if parts.count == 3, parts[2].isEmpty { parts.removeLast() }
        guard let host = parts.first, !host.isEmpty, parts.count > 1, !parts[1].isEmpty else {
            throw malformed("it names no \(parts.first?.isEmpty ?? true ? "vault" : "key")")
        }
        guard let origin = try? HTTPURL.origin(host, .https) else {
            throw malformed("\"\(host)\" is not a host with or without a port")
        }
        if parts[1].utf8.elementsEqual("keys".utf8), parts.count == 4 || parts.count == 3 && !Self.isVersion(parts[2]) {
            throw malformed(
                "\"keys/\" does not stand in it", prefix + ([host] + parts.dropFirst(2)).joined(separator: "/"))
        }
        guard origin.host.utf8.last != 0x2e else {
            throw malformed(
                "the host ends with a dot",
                prefix + ([String(host.dropLast())] + parts.dropFirst()).joined(separator: "/"))
        }
        guard origin.host.utf8.contains(0x2e) else {
            throw malformed(
                "\"\(host)\" is the name of a vault, and not its host",
                prefix + (["\(origin.host).vault.azure.net"] + parts.dropFirst()).joined(separator: "/"))
        }
        guard parts.count <= 3 else { throw malformed("it has more parts than a host, a key and a version") }
        guard parts[1].utf8.count <= 127, parts[1].utf8.allSatisfy(Self.isNameByte) else {
            throw malformed("the name of a key has letters, digits and hyphens alone, 127 at the most")
        }
        (self.origin, key) = (origin, parts[1])
        guard parts.count == 3 else {
            version = nil
            return
        }
        guard Self.isVersion(parts[2]) else {
            let lower = parts[2].lowercased()
            throw malformed(
                "\"\(parts[2])\" is no version, which is 32 hexadecimal digits in lower case",
                Self.isVersion(lower) ? prefix + [host, parts[1], lower].joined(separator: "/") : nil)
        }
        version = parts[2]
    }

    private static func isVersion(_ text: String) -> Bool {
        text.utf8.count == 32 && text.utf8.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
    }

    private static func isNameByte(_ byte: UInt8) -> Bool {
        (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte) || byte == 0x2d
    }

    /// The version that an identifier names: `https://HOST/keys/KEY/VERSION` (Key Vault REST API, "Objects, identifiers,
    /// and versioning").
    /// - Returns: `nil` if it is no identifier, or one of another vault or key than this reference's.
    func version(in identifier: String) -> String? {
        guard let url = try? HTTPURL(parsing: identifier), url.origin.host.utf8.elementsEqual(origin.host.utf8) else {
            return nil
        }
        let parts = url.path.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        // A vault knows names in any letter case, and answers with the one that it has.
        guard parts.count == 4, parts[1].utf8.elementsEqual("keys".utf8),
            parts[2].lowercased().utf8.elementsEqual(key.lowercased().utf8), parts[3].utf8.count <= 64,
            !parts[3].isEmpty, parts[3].utf8.allSatisfy(Self.isNameByte)
        else { return nil }
        return parts[3]
    }
}
