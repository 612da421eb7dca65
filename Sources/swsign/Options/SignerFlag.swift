import LocalSystem
import SigstoreVerification
import StrictJSON
import SwSignCore

/// A signer as `--signer` names it, and a line of the file of `--signers`: `identity=…,issuer=…[,NAME=VALUE…]`.
///
/// The names are `identity`, `identity-regexp`, `issuer`, `issuer-regexp`, and those of the claims in Fulcio's certificates. A
/// comma in a value is written `\,`; every other backslash stands for itself, so that regular expressions need no other
/// care.
struct SignerFlag {
    /// Whom the certificate must show.
    let identity: CertificateIdentity
    /// What was given, in an order of its own.
    private let fields: [(name: String, value: String)]

    /// The largest file of signers.
    private static let sizeLimit = 1 << 20

    /// Reads a signer.
    init(_ text: String) throws(SigstoreError) {
        var subject: [CertificateIdentity.Pattern] = []
        var issuer: [CertificateIdentity.Pattern] = []
        var claims: [ClaimFlag] = []
        var fields: [(name: String, value: String)] = []
        for part in Self.parts(text) {
            let (name, value) = try Self.field(part)
            guard !fields.contains(where: { $0.name.utf8.elementsEqual(name.utf8) }) else {
                throw SigstoreError(.usage, "the signer has \"\(name)\" twice", advice: Self.form)
            }
            fields.append((name, value))
            switch name {
            case "identity": subject.append(.exactly(value))
            case "identity-regexp": subject.append(.matching(try IdentityPattern(value)))
            case "issuer": issuer.append(.exactly(value))
            case "issuer-regexp": issuer.append(.matching(try IdentityPattern(value)))
            default: claims.append(try ClaimFlag(name, value))
            }
        }
        guard let who = Self.joined(subject), let voucher = Self.joined(issuer) else {
            let missing = subject.isEmpty ? "identity" : "issuer"
            throw SigstoreError(
                .usage, "the signer has neither \"\(missing)\" nor \"\(missing)-regexp\"", advice: Self.form)
        }
        var identity = CertificateIdentity(subject: who, issuer: voucher)
        identity.claims = try ClaimFlag.demanded(claims, anyOf: false)
        self.identity = identity
        self.fields = fields.sorted { Array($0.name.utf8).lexicographicallyPrecedes(Array($1.name.utf8)) }
    }

    /// Reads the signers of a file, one a line. Empty lines and those that begin with `#` are passed over.
    static func file(_ file: InputFile) throws(SigstoreError) -> [SignerFlag] {
        let content = try file.contents(limit: sizeLimit)
        guard let text = String(validating: content, as: UTF8.self) else {
            throw SigstoreError.notUTF8("the file of signers \(file.name)")
        }
        var signers: [SignerFlag] = []
        for (index, bytes) in text.utf8.split(separator: 0x0a, omittingEmptySubsequences: false).enumerated() {
            let line = bytes.last == 0x0d ? bytes.dropLast() : bytes
            let first = line.first { $0 != 0x20 && $0 != 0x09 }
            guard first != nil, first != 0x23 else { continue }
            do throws(SigstoreError) { signers.append(try SignerFlag(String(Substring(line)))) } catch {
                throw error.concerning("\(file.name), line \(index + 1)")
            }
        }
        guard !signers.isEmpty else {
            throw SigstoreError(.usage, "\(file.name) names no signer", advice: form)
        }
        return signers
    }

    /// Whether two are the same, in whatever order they were written.
    func isSame(as other: SignerFlag) -> Bool {
        fields.count == other.fields.count
            && zip(fields, other.fields).allSatisfy {
                $0.name.utf8.elementsEqual($1.name.utf8) && $0.value.utf8.elementsEqual($1.value.utf8)
            }
    }

    private static let form: SigstoreError.Advice =
        "a signer is written identity=…,issuer=…[,NAME=VALUE…], and a comma in a value \\,"

    /// The parts between commas. The text is cut at ASCII characters only, so that each part is text too.
    private static func parts(_ text: String) -> [String] {
        var (parts, part): ([String], [UInt8]) = ([], [])
        var rest = text.utf8[...]
        while let byte = rest.popFirst() {
            if byte == 0x5c, rest.first == 0x2c {
                rest.removeFirst()
                part.append(0x2c)
            } else if byte == 0x2c {
                parts.append(String(decoding: part, as: UTF8.self))
                part = []
            } else {
                part.append(byte)
            }
        }
        return parts + [String(decoding: part, as: UTF8.self)]
    }

    private static func field(_ part: String) throws(SigstoreError) -> (name: String, value: String) {
        guard let (name, value) = ClaimFlag.halves(part) else {
            throw SigstoreError(.usage, "\"\(part)\" is not of the form NAME=VALUE", advice: form)
        }
        return (name, value)
    }

    private static func joined(_ patterns: [CertificateIdentity.Pattern]) -> CertificateIdentity.Pattern? {
        patterns.count < 2 ? patterns.first : .all(patterns)
    }
}

/// What a certificate must say beside identity and issuer: a claim of Fulcio's, by its name or object identifier.
struct ClaimFlag {
    let name: CertificateClaims.Name
    let value: String

    init(_ name: String, _ value: String) throws(SigstoreError) {
        guard let known = CertificateClaims.Name(name) else {
            throw SigstoreError(
                .usage, "\"\(name)\" is not the name of a claim in certificates",
                advice:
                    "names are those of Fulcio's list, such as runnerEnvironment and sourceRepositoryURI, or 1.3.6.1.4.1.57264.1.N"
            )
        }
        (self.name, self.value) = (known, value)
    }

    /// Reads `NAME=VALUE`.
    init(_ text: String) throws(SigstoreError) {
        guard let (name, value) = Self.halves(text) else {
            throw SigstoreError(.usage, "the claim \"\(text)\" is not of the form NAME=VALUE")
        }
        try self.init(name, value)
    }

    /// What stands before the first `=`, and behind it; `nil` if one of both is empty.
    static func halves(_ text: String) -> (name: String, value: String)? {
        let bytes = text.utf8
        guard let equals = bytes.firstIndex(of: 0x3d), equals != bytes.startIndex else { return nil }
        let value = bytes[bytes.index(after: equals)...]
        return value.isEmpty ? nil : (String(Substring(bytes[..<equals])), String(Substring(value)))
    }

    /// What is demanded by several claims: all of them.
    /// - Parameter anyOf: Whether the same claim may be given several times, and any of its values will do.
    /// - Throws: `SigstoreError` if a claim is given twice and may not.
    static func demanded(_ claims: [ClaimFlag], anyOf: Bool) throws(SigstoreError)
        -> [(name: CertificateClaims.Name, pattern: CertificateIdentity.Pattern)]
    {
        var names: [CertificateClaims.Name] = []
        for claim in claims where !names.contains(claim.name) { names.append(claim.name) }
        guard anyOf || names.count == claims.count else {
            throw SigstoreError(.usage, "a claim is given twice, by its name and by its object identifier")
        }
        return names.map { name in
            let values = claims.filter { $0.name == name }.map { CertificateIdentity.Pattern.exactly($0.value) }
            return (name: name, pattern: values.count == 1 ? values[0] : .any(values))
        }
    }
}
