internal import StrictJSON

/// The annotations that a signer must have given, compared byte for byte.
struct AnnotationMatch {
    private let expected: [(name: String, value: String)]

    init(_ expected: [(name: String, value: String)]) { self.expected = expected }

    /// All of them must stand with one subject: what is said of another is not said of this one.
    /// - Parameter candidates: What the signer says of each subject that is the image.
    /// - Returns: What is said of the first subject with all of them.
    /// - Throws: `SigstoreError` with `wrong-annotation`, which names the first that no subject has.
    func check(_ candidates: [JSONObject]) throws(SigstoreError) -> JSONObject {
        if let said = candidates.first(where: { said in expected.allSatisfy { Self.holds($0, in: said) } }) {
            return said
        }
        let lacking = expected.first { annotation in !candidates.contains { Self.holds(annotation, in: $0) } }
        if let lacking {
            let value = candidates.lazy.compactMap { $0[lacking.name] }.first
            let found = value.map { String(decoding: $0.serialized(), as: UTF8.self) } ?? "none"
            throw SigstoreError(
                .wrongAnnotation, "the annotation \(lacking.name): expected \"\(lacking.value)\", found \(found)")
        }
        guard expected.isEmpty else {
            throw SigstoreError(
                .wrongAnnotation,
                "the annotations \(expected.map(\.name).joined(separator: ", ")): expected all of them with one subject, "
                    + "found them with different ones only")
        }
        return [:]
    }

    private static func holds(_ expected: (name: String, value: String), in said: JSONObject) -> Bool {
        guard case .string(let text)? = said[expected.name] else { return false }
        return text.utf8.elementsEqual(expected.value.utf8)
    }
}
