import StrictJSON
import SwSignCore

/// What `--annotations` says.
enum AnnotationFlag {
    /// The annotations, each given as `key=value`.
    static func pairs(_ texts: [String]) throws(SigstoreError) -> [(name: String, value: String)] {
        var pairs: [(name: String, value: String)] = []
        for text in texts {
            guard let equals = text.utf8.firstIndex(of: 0x3d), equals != text.startIndex else {
                throw SigstoreError(.usage, "the annotation \"\(text)\" is not of the form key=value")
            }
            pairs.append((name: String(text[..<equals]), value: String(text[text.utf8.index(after: equals)...])))
        }
        return pairs
    }
}
