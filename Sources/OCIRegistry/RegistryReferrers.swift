internal import HTTPTransport
public import SigstoreCrypto
public import StrictJSON

// What refers to a manifest (OCI distribution specification, "Listing referrers").
extension RegistryClient {
    /// What the registry's own list says.
    enum Listing {
        case list([Descriptor], unread: [SigstoreError])
        /// The registry says that it has no such lists.
        case none
        /// It answers, but not with a list.
        case somethingElse
    }

    /// A list of more referrers is not read to its end. Ten times as many as are ever copied, so that what is not
    /// cosign's does not count against its signatures.
    static let referrerLimit = 10_000
    /// The most bytes that the pages of such a list may have: 10,000 entries with annotations are some 10 MB.
    static let referrerByteLimit = 32 << 20

    /// Asks for the registry's own list (OCI distribution specification, "Listing referrers").
    func listed(_ digest: Digest, _ artifactType: String?) async throws(SigstoreError) -> Listing {
        var found: [Descriptor] = []
        var unread: [SigstoreError] = []
        var bytes = 0
        var instead: Listing?
        var first = try await url("referrers/\(digest)")
        if let artifactType { first = first.adding("artifactType", artifactType) }
        try await forEachPage(first, accept: MediaType.imageIndex, "referrers") {
            (response, number) throws(SigstoreError) in
            let isList = response.mediaType.utf8.elementsEqual(MediaType.imageIndex.utf8)
            if number == 0, [400, 404, 405, 406].contains(response.status) || response.status == 200 && !isList {
                instead = response.status == 200 ? .somethingElse : Listing.none
                return false
            }
            guard response.status == 200, isList else { throw Self.failure(response, "GET") }
            let what = "the list of referrers of \(digest) in \(name)"
            let page: (manifests: [Descriptor], unread: [SigstoreError])?
            do throws(SigstoreError) {
                page = try Manifest.listed(response.body, contentType: response.mediaType)
            } catch { throw error.concerning(what) }
            guard let page else { throw SigstoreError(.malformedManifest, "\(what) is no index") }
            found.append(contentsOf: page.manifests)
            unread.append(contentsOf: page.unread.map { $0.concerning(what) })
            bytes += response.body.count
            guard found.count + unread.count <= Self.referrerLimit, bytes <= Self.referrerByteLimit else {
                throw SigstoreError(
                    .tooLarge,
                    "the referrers of \(digest) in \(name) are more than is read: after \(number + 1) pages \(found.count) of at most \(Self.referrerLimit), in \(bytes) of at most \(Self.referrerByteLimit) bytes",
                    advice: "remove those that nobody needs")
            }
            return true
        }
        let session = await sessions.session(repository.registry)
        switch instead {
        case nil: await session.note(referrerLists: .kept, of: repository)
        case .some(.none): await session.note(referrerLists: .lacking, of: repository)
        default: break
        }
        return instead ?? .list(found, unread: unread)
    }

    public func referrers(
        of digest: Digest, artifactType: String?
    ) async throws(SigstoreError) -> Referrers {
        var found = try await read(digest, artifactType).whole()
        found.descriptors = Self.mayBe(artifactType, found.descriptors)
        return found
    }

    public func readableReferrers(of digest: Digest) async -> Referrers {
        await readable(digest, await listing(digest))
    }

    public func likelyReferrers(of digest: Digest) async -> Referrers {
        let session = await sessions.session(repository.registry)
        if let listing = await session.listing(of: repository, { await listing(digest) }) {
            return await readable(digest, listing)
        }
        var found = await readableAtFallbackTag(digest)
        found.leavesOutList = true
        return found
    }

    public func listedReferrers(of digest: Digest) async -> Referrers {
        switch await listing(digest) {
        case .success(.list(let listed, let unread)): Referrers(listed, source: .list, unread: unread)
        case .success(.none): Referrers([], source: .nothing)
        case .success(.somethingElse): Referrers([], source: .notAnIndex)
        case .failure(let error): Referrers([], source: .nothing, unread: [error])
        }
    }

    private func listing(_ digest: Digest) async -> Result<Listing, SigstoreError> {
        do throws(SigstoreError) { return .success(try await listed(digest, nil)) } catch { return .failure(error) }
    }

    /// What refers to a manifest, by what the registry's own list says.
    private func readable(_ digest: Digest, _ listing: Result<Listing, SigstoreError>) async -> Referrers {
        if case .success(.list(let listed, let unread)) = listing {
            return Referrers(listed, source: .list, unread: unread)
        }
        // Whatever the list would say, what stands at the fallback tag refers to the manifest as well.
        var found = await readableAtFallbackTag(digest)
        switch listing {
        case .success(.somethingElse) where found.source == .nothing && found.unread.isEmpty:
            found.source = .notAnIndex
        case .success: break
        case .failure(let error): found.unread.insert(error, at: 0)
        }
        return found
    }

    private func readableAtFallbackTag(_ digest: Digest) async -> Referrers {
        do throws(SigstoreError) { return try await readFallbackTag(digest) } catch {
            return Referrers([], source: .nothing, unread: [error])
        }
    }

    func read(_ digest: Digest, _ artifactType: String?) async throws(SigstoreError) -> Referrers {
        let listing = try await listed(digest, artifactType)
        if case .list(let listed, let unread) = listing { return Referrers(listed, source: .list, unread: unread) }
        let found = try await readFallbackTag(digest)
        if found.source == .nothing, case .somethingElse = listing { return Referrers([], source: .notAnIndex) }
        return found
    }

    func readFallbackTag(_ digest: Digest) async throws(SigstoreError) -> Referrers {
        let tag = FallbackTag.name(of: digest)
        guard let (bytes, type, _) = try await manifestBytes(.tag(tag)) else {
            return Referrers([], source: .nothing)
        }
        // A multi-arch image is an index too, and no list of what refers to it: its platforms do not.
        guard try Digest.hash(bytes, digest.algorithm) != digest,
            let list = try Manifest.listed(bytes, contentType: type)
        else { return Referrers([], source: .notAnIndex) }
        return Referrers(
            list.manifests, source: .fallbackTag, unread: list.unread.map { $0.concerning("the list at \(tag)") })
    }

    /// Leaves out what is of another type, but keeps what does not say: cosign lists its bundles under the type of
    /// their empty config.
    static func mayBe(_ artifactType: String?, _ list: [Descriptor]) -> [Descriptor] {
        guard let artifactType else { return list }
        return list.filter {
            guard let type = $0.artifactType, !type.isEmpty else { return true }
            return type.utf8.elementsEqual(artifactType.utf8) || type.utf8.elementsEqual(MediaType.empty.utf8)
        }
    }

    public func putReferrers(_ manifests: [Manifest]) async throws(SigstoreError) {
        guard let first = manifests.first, let subject = first.subject?.digest else { return }
        guard manifests.count > 1, manifests.allSatisfy({ $0.subject?.digest == subject }) else {
            for manifest in manifests { try await putReferrer(manifest) }
            return
        }
        await prepareReferrer(of: subject)
        guard await sessions.session(repository.registry).lacksReferrerLists(of: repository) else {
            for manifest in manifests { try await putReferrer(manifest) }
            return
        }
        let isListed = try await concurrently(manifests) { manifest throws(SigstoreError) in
            try await put(manifest, nil)
        }
        let rest = zip(manifests, isListed).filter { !$0.1 }.map(\.0)
        guard !rest.isEmpty else { return }
        let list = try ImageIndex(manifests: rest.map(\.referrerDescriptor)).encoded()
        try await merge(.referrer(list, of: subject, announcedAs: String(list.digest.hex.prefix(32))))
    }

    public func prepareReferrer(of digest: Digest) async {
        let session = await sessions.session(repository.registry)
        guard await !session.knowsReferrerLists(of: repository) else { return }
        _ = await session.listing(of: repository) { await self.listing(digest) }
    }

    public func putReferrer(_ manifest: Manifest, announcedAs name: String) async throws(SigstoreError) {
        guard let subject = manifest.subject?.digest else { throw .noSubject(manifest) }
        let session = await sessions.session(repository.registry)
        if await session.lacksReferrerLists(of: repository) {
            var change = TagMerge.referrer(manifest, of: subject, announcedAs: name)
            change.isStored = false
            return try await merge(change)
        }
        do throws(SigstoreError) { if try await put(manifest, nil) { return } } catch {
            // A registry may have stored what it then failed to answer.
            guard Self.isTransient(error), case .list(let list, _)? = try? await listed(subject, nil),
                list.contains(where: { $0.digest == manifest.digest })
            else { throw error }
            return
        }
        // Some registries have the list and do not say so when something is stored.
        for attempt in 1...4 {
            guard case .list(let listed, _) = try await listed(subject, nil) else {
                return try await merge(.referrer(manifest, of: subject, announcedAs: name))
            }
            if listed.contains(where: { $0.digest == manifest.digest }) { return }
            try await Self.pause(RetryPolicy().delay(after: attempt))
        }
        throw SigstoreError(
            .contended, "\(name) stored \(manifest.digest), but does not list it as a referrer of \(subject)",
            advice: "run the command again; if that does not help, the registry's list of referrers is broken")
    }
}
