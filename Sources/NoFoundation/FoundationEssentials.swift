// Stands in for FoundationEssentials in the program for use (see the Makefile): swift-argument-parser alone needs it, for the
// help that it prints as JSON and to ask of an error whether it describes itself in Foundation's way, which none here does. The
// real one made the program a quarter larger. It has what the linker asks for, by the same names; if a next version of
// swift-argument-parser needs more, linking fails.

public protocol LocalizedError: Error {
    var errorDescription: String? { get }
}

public struct Data {}

public class JSONEncoder {
    public struct OutputFormatting {
        public let rawValue: UInt
        public static let prettyPrinted = OutputFormatting(rawValue: 1)
        public static let sortedKeys = OutputFormatting(rawValue: 2)
    }

    /// Ends the program: nothing may follow, since the real class has other members in other places.
    public init() { fatalError("this program does not print its help as JSON; build it with `swift build`") }
}

extension String {
    public struct Encoding {
        public let rawValue: UInt
        public static let utf8 = Encoding(rawValue: 4)
    }

    public init?(data: __shared Data, encoding: Encoding) { nil }
}
