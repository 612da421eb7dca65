public import HTTPTransport
public import InToto
public import SigstoreCrypto

/// One repository of a registry (OCI distribution specification 1.1).
public struct RegistryClient: ImageStore {
    /// The repository.
    public let repository: Repository
    let sessions: Sessions
    let options: RegistryOptions

    public var name: String { repository.name }

    private static let acceptedManifests = (name: "Accept", value: MediaType.manifests.joined(separator: ", "))

    // MARK: Asking

    private func url(_ rest: String) async throws(SigstoreError) -> HTTPURL {
        let origin = try await sessions.session(repository.registry).origin()
        return try HTTPURL(origin, path: "/v2/\(repository.path)/\(rest)")
    }

    private func send(
        _ request: HTTPRequest, _ access: RegistrySession.Access = .pull, extraScopes: [String] = [],
        into sink: (any BodySink)? = nil
    ) async throws(SigstoreError) -> HTTPResponse {
        try await sessions.session(repository.registry).send(
            request, repository, access, extraScopes: extraScopes, into: sink)
    }

    /// What a registry says about a failure, as one line of at most 256 bytes.
    static func words(_ response: HTTPResponse) -> String {
        guard let json = try? JSONCursor(JSONValue(parsing: response.body)),
            let error = try? json.optional("errors")?.elements().first
        else { return response.words }
        let parts = ["code", "message"].compactMap { name in try? error.optional(name)?.string() }
        return String(decoding: parts.joined(separator: ": ").utf8.prefix(256), as: UTF8.self)
    }

    /// The error that an answer is.
    static func failure(_ response: HTTPResponse, _ what: String) -> SigstoreError {
        var error = response.failure(what)
        if response.status == 403 { error.code = .denied }
        if response.status == 401 { error.code = .unauthorized }
        let said = words(response)
        error.message =
            "\(response.url.origin.authority) answered \(response.status) to \(what) \(response.url.redacted)"
            + (said.isEmpty ? "" : ": \(said)")
        return error
    }

    // MARK: Manifests

    public func resolve(_ selector: ManifestSelector) async throws(SigstoreError) -> Descriptor? {
        // What a tag stands for is computed from what came, and not believed.
        if case .tag = selector { return try await manifest(selector)?.descriptor }
        let url = try await url("manifests/\(selector)")
        let response = try await send(HTTPRequest("HEAD", url, headers: [Self.acceptedManifests]))
        switch response.status {
        case 404: return nil
        case 200:
            // Not every registry gives all three with HEAD; then the manifest itself is asked for.
            guard let text = response.header("docker-content-digest"), let digest = try? ImageReference.digest(text),
                let size = response.header("content-length").flatMap({ Int64($0) }), size > 0,
                !response.mediaType.isEmpty
            else { return try await manifest(selector)?.descriptor }
            if case .digest(let asked) = selector, asked != digest {
                throw Self.substituted(asked, "the registry answers with \(digest)")
            }
            return Descriptor(mediaType: response.mediaType, digest: digest, size: size)
        // HEAD is the newer way to ask, and its answer has no words.
        case 405: return try await manifest(selector)?.descriptor
        case 401, 403:
            if let manifest = try await manifest(selector) { return manifest.descriptor }
            return nil
        default: throw Self.failure(response, "HEAD")
        }
    }

    private static func substituted(_ digest: Digest, _ what: String) -> SigstoreError {
        SigstoreError(
            .digestMismatch, "the manifest \(digest) is not what was asked for: \(what)",
            advice: "the registry or something on the way to it is broken or lies; do not use what came")
    }

    public func manifest(_ selector: ManifestSelector) async throws(SigstoreError) -> Manifest? {
        guard let (bytes, type, algorithm) = try await manifestBytes(selector) else { return nil }
        return try Manifest(bytes, contentType: type, algorithm: algorithm)
    }

    /// A manifest's bytes, checked against its digest, with the media type that came with them.
    private func manifestBytes(
        _ selector: ManifestSelector
    ) async throws(SigstoreError) -> (bytes: [UInt8], type: String, algorithm: HashAlgorithm)? {
        let url = try await url("manifests/\(selector)")
        let response = try await send(
            HTTPRequest(
                "GET", url, headers: [Self.acceptedManifests], bodyLimit: Int64(Manifest.byteLimit)))
        switch response.status {
        case 404: return nil
        case 200: break
        default: throw Self.failure(response, "GET")
        }
        var claimed: Digest?
        var algorithm = HashAlgorithm.sha256
        if let text = response.header("docker-content-digest") { claimed = try? ImageReference.digest(text) }
        if case .digest(let asked) = selector {
            algorithm = asked.algorithm
            let actual = try Digest.hash(response.body, algorithm)
            guard actual == asked else { throw Self.substituted(asked, "what came has the digest \(actual)") }
        } else if let claimed {
            algorithm = claimed.algorithm
            let actual = try Digest.hash(response.body, algorithm)
            guard actual == claimed else {
                throw Self.substituted(claimed, "what came with this digest has the digest \(actual)")
            }
        }
        return (response.body, response.mediaType, algorithm)
    }

    public func putManifest(_ manifest: Manifest, tag: String?) async throws(SigstoreError) {
        _ = try await put(manifest, tag)
    }

    /// - Returns: Whether the registry says that it now lists the manifest as a referrer of its subject.
    private func put(_ manifest: Manifest, _ tag: String?) async throws(SigstoreError) -> Bool {
        let selector: ManifestSelector =
            if let tag { try ManifestSelector(tag: tag) } else { .digest(manifest.digest) }
        let response = try await send(
            HTTPRequest(
                "PUT", try await url("manifests/\(selector)"), headers: [("Content-Type", manifest.mediaType)],
                body: .bytes(manifest.bytes), timeout: .seconds(120)), .push)
        guard (200...299).contains(response.status) else { throw Self.failure(response, "PUT") }
        if let text = response.header("docker-content-digest"), let digest = try? ImageReference.digest(text),
            digest.algorithm == manifest.digest.algorithm, digest != manifest.digest
        {
            throw Self.substituted(manifest.digest, "the registry stored \(digest)")
        }
        guard let subject = manifest.subject, let honoured = response.header("oci-subject") else { return false }
        return honoured.utf8.elementsEqual(subject.digest.description.utf8)
    }

    public func delete(_ selector: ManifestSelector) async throws(SigstoreError) -> Bool {
        let response = try await send(HTTPRequest("DELETE", try await url("manifests/\(selector)")), .delete)
        switch response.status {
        case 200...299: return true
        case 404: return false
        case 400, 405:
            throw SigstoreError(
                .unsupported, "\(repository.registry) cannot delete \(repository):\(selector): \(Self.words(response))",
                advice: "allow deletion in the registry, or delete it there",
                cause: HTTPStatusError(response: response))
        default: throw Self.failure(response, "DELETE")
        }
    }

    public func deleteReferrers(_ referrers: Set<Digest>, of subject: Digest) async throws(SigstoreError) {
        var gone: Set<Digest> = []
        var failure: SigstoreError?
        for digest in referrers {
            do throws(SigstoreError) {
                _ = try await delete(.digest(digest))
                gone.insert(digest)
            } catch { failure = failure ?? error }
        }
        if !gone.isEmpty { try await unlist(gone, subject) }
        if let failure { throw failure }
    }

    /// Takes manifests out of the list at the fallback tag. The list itself is never deleted by its digest: others may
    /// have tags that point at it.
    private func unlist(_ referrers: Set<Digest>, _ subject: Digest) async throws(SigstoreError) {
        if case .list = try await listed(subject, nil) { return }
        let tag = TagMerge.fallbackTag(subject)
        // Other writers look at the list again after they have written, and so do we.
        for _ in 1...16 {
            guard let current = try await manifest(.tag(tag)), current.digest != subject, let index = current.index,
                index.manifests.contains(where: { referrers.contains($0.digest) })
            else { return }
            let rest = try TagMerge.index(current, without: referrers)
            if rest.index?.manifests.isEmpty ?? true {
                do throws(SigstoreError) { _ = try await delete(.tag(tag)) } catch {
                    guard error.code == .unsupported else { throw error }
                    try await putManifest(rest, tag: tag)
                }
            } else {
                try await putManifest(rest, tag: tag)
            }
            try await Self.pause(.milliseconds(Int64.random(in: 5...30)))
        }
        throw SigstoreError(
            .contended,
            "the list of referrers of \(subject) in \(name) still names what was removed: others keep changing it",
            advice: "run the command again when less is going on")
    }

    // MARK: Blobs

    public func fetchBlob(
        _ descriptor: Descriptor, limit: Int64, into sink: any BodySink
    ) async throws(SigstoreError) {
        guard descriptor.size <= limit else { throw .blobTooLarge(descriptor, name, limit) }
        let verifying = VerifyingSink(descriptor, sink)
        let response: HTTPResponse
        do throws(SigstoreError) {
            response = try await send(
                HTTPRequest(
                    "GET", try await url("blobs/\(descriptor.digest)"), bodyLimit: descriptor.size,
                    timeout: .seconds(600)),
                into: verifying)
        } catch {
            throw error.code == .tooLarge ? verifying.mismatch("more than \(descriptor.size) bytes came") : error
        }
        switch response.status {
        case 200: try verifying.finish()
        case 404:
            throw SigstoreError(
                .notFound, "\(name) has no blob \(descriptor.digest), although a manifest there names it",
                cause: HTTPStatusError(response: response))
        default: throw Self.failure(response, "GET")
        }
    }

    public func hasBlob(_ descriptor: Descriptor) async throws(SigstoreError) -> Bool {
        let response = try await send(HTTPRequest("HEAD", try await url("blobs/\(descriptor.digest)")))
        switch response.status {
        case 200: return response.header("content-length").flatMap { Int64($0) }.map { $0 == descriptor.size } ?? true
        case 404, 405: return false
        default: throw Self.failure(response, "HEAD")
        }
    }

    /// Takes a blob over from another repository of the same registry (OCI distribution specification, "Mounting a
    /// blob from another repository").
    /// - Returns: False where the registry does not do that.
    func mountBlob(_ digest: Digest, from source: Repository) async throws(SigstoreError) -> Bool {
        guard source.registry == repository.registry, source != repository else { return false }
        let start = try await url("blobs/uploads/").adding("mount", digest.description).adding("from", source.path)
        let response = try await send(
            HTTPRequest("POST", start, isIdempotent: true), .push,
            extraScopes: [RegistrySession.Access.pull.scope(source)])
        switch response.status {
        case 201: return true
        // Another upload was begun in place of it: that one is left to the registry to forget.
        case 200...299, 400, 403, 404, 405: return false
        default: throw Self.failure(response, "POST")
        }
    }

    public func putBlob(_ blob: Blob) async throws(SigstoreError) {
        var attempt = 1
        while true {
            do throws(SigstoreError) {
                return try await putOnce(blob)
            } catch {
                // An upload that broke off cannot be resumed at will: it is begun anew.
                guard Self.isTransient(error), attempt < 4 else { throw error }
                try await Self.pause(RetryPolicy().delay(after: attempt))
                attempt += 1
            }
        }
    }

    private static func isTransient(_ error: SigstoreError) -> Bool {
        error.code == .unreachable || error.httpStatus.map { RetryPolicy.transientStatuses.contains($0) } ?? false
    }

    private static func pause(_ duration: Duration) async throws(SigstoreError) {
        do { try await Task.sleep(for: duration) } catch {
            throw SigstoreError(.cancelled, "the request was cancelled")
        }
    }

    private func putOnce(_ blob: Blob) async throws(SigstoreError) {
        let head = try await send(HTTPRequest("HEAD", try await url("blobs/\(blob.digest)")))
        if head.status == 200 { return }
        guard head.status == 404 || head.status == 405 else {
            // HEAD has no words to say why.
            throw Self.failure(head, "HEAD")
        }
        var start = try await url("blobs/uploads/")
        var scopes: [String] = []
        if let source = blob.source, source.registry == repository.registry, source != repository {
            start = start.adding("mount", blob.digest.description).adding("from", source.path)
            scopes = [RegistrySession.Access.pull.scope(source)]
        }
        let begun = try await send(
            HTTPRequest("POST", start, isIdempotent: true), .push, extraScopes: scopes)
        if begun.status == 201 { return }
        guard (200...299).contains(begun.status), let location = begun.header("location") else {
            throw Self.failure(begun, "POST")
        }
        let target = try start.resolving(location).adding("digest", blob.digest.description)
        guard start.origin.scheme == .http || target.origin.scheme == .https else {
            throw SigstoreError(
                .redirectRefused,
                "\(repository.registry) wants a blob sent to \(target.redacted), which would leave https")
        }
        // Sent twice to the same place it would fail the second time; `putBlob` begins anew instead.
        let request = HTTPRequest(
            "PUT", target, headers: [("Content-Type", "application/octet-stream")], body: blob.body,
            timeout: .seconds(600), handledStatuses: RegistrySession.failures, isIdempotent: false)
        let session = await sessions.session(repository.registry)
        let response: HTTPResponse
        if target.origin == start.origin {
            response = try await session.send(request, repository, .push, extraScopes: scopes)
        } else {
            // Somewhere else the URL itself is the permission, and what we are is nobody's business.
            response = try await session.sendElsewhere(request)
        }
        guard (200...299).contains(response.status) else { throw Self.failure(response, "PUT") }
        if let text = response.header("docker-content-digest"), let digest = try? ImageReference.digest(text),
            digest.algorithm == blob.digest.algorithm, digest != blob.digest
        {
            throw SigstoreError(
                .digestMismatch, "\(repository.registry) stored \(digest) where \(blob.digest) was sent")
        }
    }

    // MARK: Lists

    /// Reads the pages of a list one after the other.
    /// - Parameters:
    ///   - first: The first page.
    ///   - what: What is listed, for messages.
    ///   - page: Takes an answer; `false` where it is no such list and reading ends.
    private func forEachPage(
        _ first: HTTPURL, accept: String, _ what: String,
        _ page: (HTTPResponse, Int) throws(SigstoreError) -> Bool
    ) async throws(SigstoreError) {
        var next = first
        var seen: Set<HTTPURL> = [first]
        for number in 0..<options.maxPages {
            let response = try await send(HTTPRequest("GET", next, headers: [("Accept", accept)]))
            guard try page(response, number), let link = Self.nextPage(response.allHeaders("link")) else { return }
            next = try response.url.resolving(link)
            guard next.origin == first.origin else {
                throw SigstoreError(
                    .redirectRefused,
                    "\(repository.registry) says that the \(what) go on at \(next.redacted), another origin")
            }
            guard seen.insert(next).inserted else {
                throw SigstoreError(.tooLarge, "the pages of the \(what) of \(name) go in a circle")
            }
        }
        throw SigstoreError(.tooLarge, "the \(what) of \(name) have more than the \(options.maxPages) pages accepted")
    }

    /// The target of `Link: <…>; rel="next"` (RFC 8288).
    static func nextPage(_ headers: [String]) -> String? {
        for header in headers.prefix(4) {
            var rest = header.utf8[...]
            // Commas part the links, but may also stand in their targets.
            while let open = rest.firstIndex(of: 0x3c), let close = rest[open...].firstIndex(of: 0x3e) {
                let end = rest[close...].firstIndex(of: 0x2c) ?? rest.endIndex
                let parameters = rest[close..<end].split(separator: 0x3b).dropFirst().map { parameter in
                    String(decoding: parameter.filter { $0 != 0x20 && $0 != 0x22 && $0 != 0x09 }, as: UTF8.self)
                }
                let isNext = parameters.contains { $0.lowercased() == "rel=next" }
                if isNext { return String(Substring(rest[rest.index(after: open)..<close])) }
                rest = rest[end...]
            }
        }
        return nil
    }

    public func tags() async throws(SigstoreError) -> [String] {
        var tags: [String] = []
        let first = try await url("tags/list").adding("n", "1000")
        try await forEachPage(first, accept: "application/json", "tags") { (response, _) throws(SigstoreError) in
            // A repository without any tag is not there for many registries.
            if response.status == 404 { return false }
            guard response.status == 200 else { throw Self.failure(response, "GET") }
            let json = JSONCursor(try JSONValue(parsing: response.body))
            for element in try json.optional("tags")?.elements() ?? [] {
                let tag = try element.string()
                guard ManifestSelector.isTag(tag) else { throw element.fault("is not a tag") }
                tags.append(tag)
            }
            return true
        }
        return tags
    }

    // MARK: Referrers

    /// What the registry's own list says.
    private enum Listing {
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
    private func listed(_ digest: Digest, _ artifactType: String?) async throws(SigstoreError) -> Listing {
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
        do throws(SigstoreError) { return try await read(digest, nil) } catch {
            // Whatever the list would say, what stands at the fallback tag refers to the manifest as well.
            var found: Referrers
            do throws(SigstoreError) { found = try await readFallbackTag(digest) } catch {
                found = Referrers([], source: .nothing, unread: [error])
            }
            found.unread.insert(error, at: 0)
            return found
        }
    }

    private func read(_ digest: Digest, _ artifactType: String?) async throws(SigstoreError) -> Referrers {
        let listing = try await listed(digest, artifactType)
        if case .list(let listed, let unread) = listing { return Referrers(listed, source: .list, unread: unread) }
        let found = try await readFallbackTag(digest)
        if found.source == .nothing, case .somethingElse = listing { return Referrers([], source: .notAnIndex) }
        return found
    }

    private func readFallbackTag(_ digest: Digest) async throws(SigstoreError) -> Referrers {
        let tag = TagMerge.fallbackTag(digest)
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

    public func putReferrer(_ manifest: Manifest) async throws(SigstoreError) {
        guard let subject = manifest.subject?.digest else { throw .noSubject(manifest) }
        if try await put(manifest, nil) { return }
        // Some registries have the list and do not say so when something is stored.
        for attempt in 1...4 {
            guard case .list(let listed, _) = try await listed(subject, nil) else {
                return try await merge(.referrer(manifest, of: subject))
            }
            if listed.contains(where: { $0.digest == manifest.digest }) { return }
            try await Self.pause(RetryPolicy().delay(after: attempt))
        }
        throw SigstoreError(
            .contended, "\(name) stored \(manifest.digest), but does not list it as a referrer of \(subject)",
            advice: "run the command again; if that does not help, the registry's list of referrers is broken")
    }

    // MARK: Writing with others

    public func merge(_ change: TagMerge) async throws(SigstoreError) {
        let announcement = change.announcement(change.id)
        try await putManifest(change.own, tag: announcement)
        var state = MergeState(announced: [change.id: change.own])
        let limit = ContinuousClock.now + options.mergeTimeout
        var attempt: Int64 = 0
        var refusals = 0
        var failure: SigstoreError?
        while ContinuousClock.now < limit {
            attempt += 1
            do throws(SigstoreError) {
                if try await step(change, &state) {
                    for id in state.removed { try await withdraw(id, change) }
                    if state.isAlone { try await withdraw(change.id, change) }
                    return
                }
                failure = nil
            } catch {
                // A registry that keeps tags in files fails to read one while another writer writes it, and calls a
                // manifest wrong that two writers send at once.
                refusals += error.httpStatus == 400 ? 1 : 0
                guard Self.isTransient(error) || (1...8).contains(refusals) && error.httpStatus == 400 else {
                    throw error
                }
                failure = error
            }
            try await Self.pause(.milliseconds(Int64.random(in: 5...(20 + 10 * min(attempt, 20)))))
        }
        throw SigstoreError(
            .contended,
            "it cannot be made sure that \(change.own.digest) is in \(name):\(change.tag): others keep changing it",
            advice: "it is stored as \(name):\(announcement); run the command again when less is going on",
            cause: failure)
    }

    /// What one writer has seen so far.
    private struct MergeState {
        /// The entries that were made known.
        var announced: [String: Manifest]
        /// Everything that ever stood at the tag: what another tool overwrites is put back.
        var seen: [Manifest] = []
        /// How often in a row everything was there.
        var wholeReads = 0
        /// The entries that this change takes away and that somebody made known.
        var removed: Set<String> = []
        /// Whether nobody else made an entry known when we last looked.
        var isAlone = false
    }

    /// Looks once, and writes where something is missing, or is there that is taken away.
    /// - Returns: Whether everything is as it should be and stayed so.
    private func step(_ change: TagMerge, _ state: inout MergeState) async throws(SigstoreError) -> Bool {
        // The order matters: first who is there, then what stands at the tag (see TagMerge).
        let ids = try await announcements(change)
        let current = try await manifest(.tag(change.tag))
        let present = try current.map { (manifest) throws(SigstoreError) in try change.entries(manifest) } ?? []
        if let current, !state.seen.contains(where: { $0.digest == current.digest }) { state.seen.append(current) }
        for id in ids where state.announced[id] == nil && !present.contains(id) {
            // It may be gone: whoever made it known has seen it at the tag, and then so will we.
            state.announced[id] = try await manifest(.tag(change.announcement(id)))
        }
        let announced = state.announced.filter { $0.key == change.id || ids.contains($0.key) }.sorted {
            $0.key < $1.key
        }
        .map(\.value)
        var removed: Set<String> = []
        var wanted = try change.ownEntries()
        for manifest in state.seen + announced {
            removed.formUnion(try change.removed(manifest))
            wanted.formUnion(try change.entries(manifest))
        }
        removed.subtract(try change.ownEntries())
        wanted.subtract(removed)
        state.removed = removed.intersection(ids)
        state.isAlone = ids.subtracting([change.id]).isSubset(of: removed)
        if wanted.isSubset(of: present), present.isDisjoint(with: removed) {
            // Another look after a pause is for tools that do not announce themselves.
            state.wholeReads += 1
            return state.wholeReads >= 2
        }
        state.wholeReads = 0
        var missing: [Manifest] = []
        for manifest in announced where !(try change.entries(manifest).subtracting(removed).isSubset(of: present)) {
            missing.append(manifest)
        }
        let others = state.seen.filter { $0.digest != current?.digest }
        let merged = try change.merged((current.map { [$0] } ?? []) + others + missing)
        for blob in try change.blobs(merged) { try await putBlob(blob) }
        try await putManifest(merged, tag: change.tag)
        return false
    }

    /// Who makes an entry for this tag known at the moment.
    private func announcements(_ change: TagMerge) async throws(SigstoreError) -> Set<String> {
        let length = change.announcement("").utf8.count
        return Set(
            try await tags().filter { TagMerge.isAnnouncement($0, for: change.tag) }
                .map { String($0.utf8.dropFirst(length)) ?? "" })
    }

    /// Takes an announcement back: our own, where nobody else is writing, or that of an entry which this change takes
    /// away.
    private func withdraw(_ id: String, _ change: TagMerge) async throws(SigstoreError) {
        let announcement = change.announcement(id)
        do throws(SigstoreError) {
            guard try await delete(.tag(announcement)) else { return }
        } catch {
            // Many registries or credentials do not allow deleting. That our own tag stays does no harm; that of an
            // entry which is gone would bring it back, and so is given another meaning.
            guard [.unsupported, .denied, .unauthorized, .httpStatus].contains(error.code) else { throw error }
            if id != change.id { try await putManifest(change.own, tag: announcement) }
            return
        }
        // Some registries remove a manifest with its last tag, even one that an index lists.
        guard id == change.id, try await resolve(.digest(change.own.digest)) == nil else { return }
        try await putManifest(change.own, tag: announcement)
    }
}
