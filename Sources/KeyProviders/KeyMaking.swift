import SigstoreCrypto
import StrictJSON

/// What all services look at before they make a key.
extension KeyMaker {
    /// What a service calls a kind of key.
    /// - Parameters:
    ///   - algorithm: The kind of key.
    ///   - reference: Where it is to be made.
    ///   - service: Who makes it, for messages.
    ///   - known: What the service calls each kind; `nil` if it has none of it.
    /// - Throws: `SigstoreError` with `key-unusable` that names the kinds that the service has.
    func name<Name>(
        of algorithm: SigningAlgorithm, _ reference: String, _ service: String, _ known: (SigningAlgorithm) -> Name?
    ) throws(SigstoreError) -> Name {
        if let name = known(algorithm) { return name }
        let others = SigningAlgorithm.allCases.filter { known($0) != nil }.map(\.rawValue)
        throw SigstoreError(
            .keyUnusable, "\(reference): \(service) makes no keys for \(algorithm.rawValue)",
            advice: .sentence("use one of \(others.joined(separator: ", "))"))
    }

    /// The key that is there already, which stays as it is.
    /// - Parameters:
    ///   - reference: Where it is.
    ///   - look: Looks it up.
    ///   - difference: In what it is not the key that is wanted, as in "is RSA 2048, not ECDSA P-256"; `nil` if it is.
    /// - Returns: `nil` if there is none.
    /// - Throws: `SigstoreError` with `key-unusable` if another one is there.
    func keyThere<Key>(
        _ reference: String, _ look: () async throws(SigstoreError) -> Key, difference: (Key) -> String?
    ) async throws(SigstoreError) -> Key? {
        let key: Key
        do throws(SigstoreError) { key = try await look() } catch {
            guard error.code == .keyNotFound else { throw error }
            return nil
        }
        if let difference = difference(key) {
            throw SigstoreError(
                .keyUnusable, "\(reference): there is a key already, and it \(difference); nothing was made",
                advice: "use another name, or leave the algorithm out to use the key that is there")
        }
        return key
    }
}

extension SigstoreError {
    /// This error of a request that makes a key, which may have been made all the same.
    /// - Parameter advice: How to look whether it is there.
    func mayHaveMadeKey(_ advice: String) -> SigstoreError {
        var error = self
        error.message += "; the key may have been made"
        error.advice = Advice.sentence(advice).after(self.advice)
        return error
    }
}
