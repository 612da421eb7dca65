public import StrictJSON

/// Gets an identity token for the person or the job that signs.
public protocol IdentityTokenProvider: Sendable {
    /// What messages call the provider, such as `GitHub Actions`.
    var name: String { get }
    /// Gets a token.
    /// - Parameter audience: Whom it must be meant for; for Fulcio, the client id, `sigstore`.
    /// - Returns: A token that was read but not examined; see ``IdentityToken/check(audience:now:)``.
    /// - Throws: `SigstoreError` with `no-identity-token` and what to do, or what the provider's own way of asking
    ///   throws.
    func token(audience: String) async throws(SigstoreError) -> IdentityToken
}

/// A token that the caller has already.
public struct GivenIdentityToken: IdentityTokenProvider {
    public let name: String
    private let token: IdentityToken

    /// Takes a token.
    /// - Parameters:
    ///   - token: The token.
    ///   - name: Where it came from.
    public init(_ token: IdentityToken, name: String = "the given identity token") {
        self.token = token
        self.name = name
    }

    public func token(audience: String) -> IdentityToken { token }
}

extension SigstoreError.Code {
    /// There is no identity token to be had.
    public static let noIdentityToken = Self("no-identity-token")
}
