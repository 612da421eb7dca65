internal import StrictJSON

/// Which secret of a cluster: `k8s://NAMESPACE/NAME`.
struct KubernetesReference: Hashable, Sendable {
    let namespace: String
    let name: String

    static let scheme = ReferenceScheme("k8s", form: "k8s://NAMESPACE/NAME")

    var description: String { "\(namespace)/\(name)" }

    /// Reads a reference: a namespace is a label of RFC 1123, and a name some of them with dots between.
    /// - Throws: `SigstoreError` with `unknown-key-reference`, which says the right form.
    init(_ text: String) throws(SigstoreError) {
        let parts = try Self.scheme.rest(of: text).split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 2 else {
            throw Self.scheme.malformed(
                text, parts.count < 2 ? "it names no secret in a namespace" : "it has more than one slash behind k8s://"
            )
        }
        guard Self.isLabel(parts[0]), parts[0].utf8.count <= 63 else {
            throw Self.scheme.malformed(
                text, "a namespace has small letters, digits and - between them, and is at most 63 long")
        }
        guard parts[1].utf8.count <= 253,
            parts[1].split(separator: ".", omittingEmptySubsequences: false).allSatisfy(Self.isLabel)
        else {
            throw Self.scheme.malformed(
                text,
                "the name of a secret has small letters, digits, and - and . between them, and is at most 253 long")
        }
        (namespace, name) = (String(parts[0]), String(parts[1]))
    }

    private static func isLabel(_ text: Substring) -> Bool {
        func isEnd(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) || (0x61...0x7a).contains(byte) }
        guard let first = text.utf8.first, let last = text.utf8.last else { return false }
        return isEnd(first) && isEnd(last) && text.utf8.allSatisfy { isEnd($0) || $0 == 0x2d }
    }
}
