/// Whom to believe.
public struct TrustedRoot: Sendable {
    public init() {}
}
