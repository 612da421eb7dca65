public import StrictJSON

/// When a key or an authority counts, both ends included.
public struct ValidityWindow: Sendable {
    /// The first moment.
    public let start: Instant
    /// The last moment; `nil` if there is none yet.
    public let end: Instant?

    /// Makes a window.
    public init(start: Instant, end: Instant?) {
        self.start = start
        self.end = end
    }

    /// All of time: for keys and authorities that a user gave by themselves, without a window.
    public static let always = ValidityWindow(start: Instant(milliseconds: .min), end: nil)

    /// Whether a moment lies in the window, both ends included.
    public func contains(_ moment: Instant) -> Bool { start <= moment && end.map { moment <= $0 } ?? true }

    /// The window in words.
    public var description: String { "\(start) to \(end.map(\.description) ?? "now")" }
}
