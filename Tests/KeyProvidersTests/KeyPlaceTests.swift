import KeyProviders
import SigstoreCrypto
import StrictJSON
import Testing

struct KeyPlaceTests {
    /// A place with one key and nothing else of its own.
    private struct OneKey: KeyPlace {
        let key: PrivateKey
        func knows(_ reference: String) -> Bool { reference == "one" }
        func publicKey(_ reference: String) -> PublicKey { key.publicKey }
        func signer(_ reference: String, password: @escaping PasswordSource) -> any Signer { key }
    }

    @Test("A place says of a key at least what kind it is")
    func facts() async throws {
        let place = OneKey(key: try PrivateKey.generate(.ecdsaP384))
        #expect(try await place.facts("one") == [KeyFact("algorithm", "\(place.key.publicKey.kind)")])
        #expect(!place.takesStandardInput("one"))
    }
}

extension KeyPlace {
    /// Expects that a reference is taken for one of this place's, and is refused with the right form.
    func expectForm(_ form: String, for reference: String) {
        #expect(knows(reference))
        let error = #expect(throws: SigstoreError.self) { try check(reference) }
        #expect(error?.code == .unknownKeyReference)
        #expect(error?.advice?.description.contains(form) == true, "\(error?.description ?? "")")
    }
}
