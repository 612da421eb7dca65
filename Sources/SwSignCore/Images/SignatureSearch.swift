internal import OCIRegistry
internal import SigstoreCrypto
internal import StrictJSON

/// Looks for what is with one image in one place after the other, so that no more is asked for than is needed.
struct SignatureSearch: Sendable {
    /// Where signatures and attestations are looked for.
    enum Place: Sendable {
        /// All bundles.
        case bundles
        /// Bundles, without the registry's own list if the repository is known to have no such lists.
        case likelyBundles
        /// Bundles of the registry's own list, if that was left out.
        case omittedBundles
        /// The older scheme's tag.
        case tag
    }

    /// What was found so far.
    private(set) var found = StoredSignatures()
    private let store: SignatureStore
    private let kind: SignatureStore.Kind
    private let blobs: ImageBlobs
    /// What the last look at bundles was told.
    private(set) var referrers = Referrers([], source: .nothing)

    /// - Parameters:
    ///   - store: Where the image's signatures are.
    ///   - kind: `signature` or `attestation`: which tag of the older scheme is read.
    init(_ store: SignatureStore, _ kind: SignatureStore.Kind) {
        self.store = store
        self.kind = kind
        blobs = ImageBlobs(store.image, attachmentLimit: store.attachmentLimit)
    }

    /// Looks in some places at once.
    /// - Returns: What is there and was not found before.
    /// - Throws: `SigstoreError` if more than ``SignatureStore/limit`` are there, in these places and those before, or they
    ///   are too large together.
    mutating func look(_ places: Place...) async throws(SigstoreError) -> StoredSignatures {
        let search = self
        let results: [(found: StoredSignatures, referrers: Referrers?)]
        do throws(SigstoreError) {
            results = try await concurrently(places) { place throws(SigstoreError) in try await search.found(in: place)
            }
        } catch {
            throw blobs.budget.refusal ?? error
        }
        // What was too much for one would count as unreadable, and which one that is, chance would decide.
        if let refusal = blobs.budget.refusal { throw refusal }
        var part = StoredSignatures()
        for result in results {
            part.add(result.found)
            referrers = result.referrers ?? referrers
        }
        found.add(part)
        try SignatureStore.expect(found.readable.count + found.unreadable.count, of: store.image)
        return part
    }

    private func found(in place: Place) async throws(SigstoreError) -> (
        found: StoredSignatures, referrers: Referrers?
    ) {
        let (registry, digest) = (store.image.signatureStore, store.image.digest)
        let asked: Referrers
        switch place {
        case .tag: return (try await store.layers(kind, blobs), nil)
        case .bundles: asked = await registry.readableReferrers(of: digest)
        case .likelyBundles: asked = await registry.likelyReferrers(of: digest)
        case .omittedBundles:
            guard referrers.leavesOutList else { return (StoredSignatures(), nil) }
            var listed = await registry.listedReferrers(of: digest)
            // A registry that answers with something else has what stands at the fallback tag.
            if listed.source == .notAnIndex, referrers.source != .nothing { listed.source = .nothing }
            let known = Set(referrers.descriptors.map(\.digest))
            listed.descriptors.removeAll { known.contains($0.digest) }
            asked = listed
        }
        return (try await store.bundles(asked, kind, blobs), asked)
    }
}
