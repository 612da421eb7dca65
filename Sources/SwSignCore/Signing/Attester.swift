public import InToto
public import LocalSystem
public import SigstoreCrypto
internal import SigstoreVerification
public import StrictJSON

/// Makes the statements of attestations the way cosign does.
public enum Attester {
    /// The largest predicate or statement that is read: 128 MiB, cosign's limit for an attachment.
    public static let predicateLimit = 128 << 20

    /// Makes a statement about one subject.
    /// - Parameters:
    ///   - subject: The file or image.
    ///   - typeName: The predicate's type: one of cosign's short names or a URI.
    ///   - predicate: The predicate's file. JSON for every type but `custom` and `spdx`, whose predicates hold it as text.
    ///   - layout: The version of the statement. cosign's older form has v0.1; v1 is what sigstore-python reads.
    ///   - now: The time that `custom` predicates carry, in seconds since 1970.
    /// - Returns: The statement as JSON, to be signed as it is.
    /// - Throws: `SigstoreError` if the type is unknown or the predicate is not JSON, or not UTF-8.
    public static func statement(
        about subject: ResourceDescriptor, type typeName: String, predicate: [UInt8],
        layout: Statement.Layout = .v1, now: Int64 = SystemClock.now()
    ) throws(SigstoreError) -> [UInt8] {
        let type = try PredicateType(named: typeName)
        let value: JSONValue
        if typeName == "custom" || typeName == "spdx" {
            guard let text = String(validating: predicate, as: UTF8.self) else {
                throw SigstoreError(.malformedPredicate, "a \(typeName) predicate must be text in UTF-8")
            }
            value =
                typeName == "spdx"
                ? .string(text)
                : .object([
                    "Data": .string(text), "Timestamp": .string(Instant(seconds: now).description),
                ])
        } else {
            do throws(SigstoreError) { value = try JSONValue(parsing: predicate, depth: 256) } catch {
                throw SigstoreError(
                    .malformedPredicate, "the predicate is \(error.message)",
                    advice: .remedy(.giveJSONPredicate, of: typeName),
                    cause: error)
            }
            guard case .object = value else {
                throw SigstoreError(.malformedPredicate, "the predicate is not a JSON object")
            }
        }
        return Statement(layout: layout, subjects: [subject], predicateType: type, predicate: value).json().serialized()
    }

    /// Checks a statement that a person wrote.
    /// - Parameters:
    ///   - statement: The statement's file.
    ///   - digest: The digest of the file that it is signed for; none if no file was named.
    /// - Throws: `SigstoreError` with `wrong-subject` if no subject has the digest.
    public static func check(statement: [UInt8], isAbout digest: Digest?) throws(SigstoreError) {
        let parsed = try Statement(parsing: statement)
        if let digest, !parsed.hasSubject(algorithm: digest.algorithm.rawValue, hex: digest.hex) {
            throw SigstoreError(
                .wrongSubject, "none of the statement's subjects has the digest \(digest)",
                advice: "give the file that the statement is about, or correct the statement")
        }
    }
}

extension SigstoreError.Code {
    /// A predicate that is not what its type needs.
    public static let malformedPredicate = Self("malformed-predicate")
}

extension SigstoreError.Remedy {
    /// A predicate of the type that is named must be JSON.
    public static let giveJSONPredicate = Self("give-json-or-the-type-custom")
}
