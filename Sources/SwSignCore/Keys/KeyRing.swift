public import KeyProviders
internal import Synchronization

/// The places where keys may be, kept for a run, so that each key is looked up once and each token is opened once. What may be
/// asked in one way only, such as without a network, is not had from what was learned in another.
public final class KeyRing: Sendable {
    /// How keys may be asked for.
    public struct Access: Hashable, Sendable {
        /// Whether no service may be asked.
        public var isOffline: Bool
        /// Whether a public key may come over plain HTTP from another machine, where it can be replaced on its way.
        public var allowsHTTPKeys: Bool

        /// By default services are asked, and plain HTTP does not count.
        public init(isOffline: Bool = false, allowsHTTPKeys: Bool = false) {
            (self.isOffline, self.allowsHTTPKeys) = (isOffline, allowsHTTPKeys)
        }
    }

    private struct Kept {
        var places: [Access: [any KeyPlace]] = [:]
        /// A module is opened once for all, and asks nothing over a network.
        var tokens: PKCS11Keys?
    }
    private let kept = Mutex(Kept())

    /// Nothing is made or opened yet.
    public init() {}

    /// The places for one way of asking.
    /// - Parameters:
    ///   - access: How keys may be asked for.
    ///   - surroundings: What the places have of the world around them, for that way. It is asked for when they are made.
    public func places(_ access: Access, _ surroundings: @autoclosure () -> KeySurroundings) -> [any KeyPlace] {
        kept.withLock { kept in
            if let places = kept.places[access] { return places }
            let surroundings = surroundings()
            let tokens = kept.tokens ?? PKCS11Keys(surroundings)
            let places = KeyReference.places(surroundings, tokens: tokens)
            kept.tokens = tokens
            kept.places[access] = places
            return places
        }
    }

    /// Ends what the places have open, and forgets them.
    public func close() {
        let kept = kept.withLock { kept in
            defer { kept = Kept() }
            return kept
        }
        kept.tokens?.close()
        for place in kept.places.values.joined() where !(place is PKCS11Keys) { place.close() }
    }
}
