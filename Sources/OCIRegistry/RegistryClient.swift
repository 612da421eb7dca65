internal import HTTPTransport
public import SigstoreCrypto
public import StrictJSON

/// One repository of a registry (OCI distribution specification 1.1).
public struct RegistryClient: ImageStore {
    /// The repository.
    public let repository: Repository
    let sessions: Sessions
    let options: RegistryOptions

    public var name: String { repository.name }

    static let acceptedManifests = (name: "Accept", value: MediaType.manifests.joined(separator: ", "))

    // MARK: Asking

    func url(_ rest: String) async throws(SigstoreError) -> HTTPURL {
        let origin = try await sessions.session(repository.registry).origin()
        return try HTTPURL(origin, path: "/v2/\(repository.path)/\(rest)")
    }

    func send(
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
        return try await head(selector)
    }

    /// What the registry says of a manifest in answer to HEAD.
    func head(_ selector: ManifestSelector) async throws(SigstoreError) -> Descriptor? {
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
        // Some registries know no HEAD, and its answers have no words that say what is not allowed.
        case 401, 403, 405: return try await manifest(selector)?.descriptor
        default: throw Self.failure(response, "HEAD")
        }
    }

    static func substituted(_ digest: Digest, _ what: String) -> SigstoreError {
        SigstoreError(
            .digestMismatch, "the manifest \(digest) is not what was asked for: \(what)",
            advice: "the registry or something on the way to it is broken or lies; do not use what came")
    }

    public func manifest(_ selector: ManifestSelector) async throws(SigstoreError) -> Manifest? {
        try await manifest(selector, goesFirst: false)
    }

    /// - Parameter goesFirst: Whether the request goes before others that wait.
    func manifest(_ selector: ManifestSelector, goesFirst: Bool) async throws(SigstoreError) -> Manifest? {
        guard let (bytes, type, algorithm) = try await manifestBytes(selector, goesFirst: goesFirst) else { return nil }
        return try Manifest(bytes, contentType: type, algorithm: algorithm)
    }

    /// A manifest's bytes, checked against its digest, with the media type that came with them.
    func manifestBytes(
        _ selector: ManifestSelector, goesFirst: Bool = false
    ) async throws(SigstoreError) -> (bytes: [UInt8], type: String, algorithm: HashAlgorithm)? {
        var request = HTTPRequest(
            "GET", try await url("manifests/\(selector)"), headers: [Self.acceptedManifests],
            bodyLimit: Int64(Manifest.byteLimit))
        request.goesFirst = goesFirst
        let response = try await send(request)
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

    /// - Parameter latestStart: Until when it may be sent, once: what is written rests on what stood at the tag before.
    /// - Returns: Whether the registry says that it now lists the manifest as a referrer of its subject.
    func put(
        _ manifest: Manifest, _ tag: String?, latestStart: ContinuousClock.Instant? = nil
    ) async throws(SigstoreError) -> Bool {
        let selector: ManifestSelector =
            if let tag { try ManifestSelector(tag: tag) } else { .digest(manifest.digest) }
        var request = HTTPRequest(
            "PUT", try await url("manifests/\(selector)"), headers: [("Content-Type", manifest.mediaType)],
            body: .bytes(manifest.bytes), timeout: .seconds(120))
        request.latestStart = latestStart
        request.goesFirst = latestStart != nil
        var response = try await send(request, .push)
        for attempt in 1..<RetryPolicy().maxAttempts where latestStart == nil && Self.isPassing(response) {
            try await Self.pause(RetryPolicy().delay(after: attempt))
            response = try await send(request, .push)
        }
        guard (200...299).contains(response.status) else {
            var error = Self.failure(response, "PUT")
            if let tag, Self.isImmutable(response) {
                error.advice = .remedy(.storeInAnotherRepository, of: "\(repository):\(tag)")
            } else if [400, 415, 422].contains(response.status) {
                error.advice = .remedy(.writeAnotherKindOfManifest, of: manifest.mediaType)
            }
            throw error
        }
        if let text = response.header("docker-content-digest"), let digest = try? ImageReference.digest(text),
            digest.algorithm == manifest.digest.algorithm, digest != manifest.digest
        {
            throw Self.substituted(manifest.digest, "the registry stored \(digest)")
        }
        guard let subject = manifest.subject, let honoured = response.header("oci-subject") else { return false }
        return honoured.utf8.elementsEqual(subject.digest.description.utf8)
    }

    /// Whether the registry calls wrong what another writer is just storing. docker-registry does so of blobs, and of
    /// manifests that name them.
    static func isPassing(_ response: HTTPResponse) -> Bool {
        response.status == 400 && words(response).utf8.starts(with: "DIGEST_INVALID".utf8)
    }

    /// Whether the registry says that a tag which is there may not be pointed elsewhere. There is no code for that.
    static func isImmutable(_ response: HTTPResponse) -> Bool {
        guard [400, 403, 405, 409, 412].contains(response.status) else { return false }
        let words = words(response).lowercased()
        return ["immutable", "already exist", "alreadyexist", "cannot be overwritten"].contains { words.contains($0) }
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
    func unlist(_ referrers: Set<Digest>, _ subject: Digest) async throws(SigstoreError) {
        if case .list = try await listed(subject, nil) { return }
        let tag = FallbackTag.name(of: subject)
        // Other writers look at the list again after they have written, and so do we.
        for _ in 1...16 {
            let current = try await manifest(.tag(tag))
            let latest = ContinuousClock.now + options.longestLookAge
            guard let current, current.digest != subject, let index = current.index,
                index.manifests.contains(where: { referrers.contains($0.digest) })
            else { return }
            let rest = try FallbackTag.index(current, without: referrers)
            do throws(SigstoreError) {
                if rest.index?.manifests.isEmpty ?? true {
                    do throws(SigstoreError) { _ = try await delete(.tag(tag)) } catch {
                        guard error.code == .unsupported else { throw error }
                        _ = try await put(rest, tag, latestStart: latest)
                    }
                } else {
                    _ = try await put(rest, tag, latestStart: latest)
                }
            } catch { guard error.code == .outOfDate || Self.isTransient(error) else { throw error } }
            try await Self.pause(.milliseconds(Int64.random(in: 5...30)))
        }
        throw SigstoreError(
            .contended,
            "the list of referrers of \(subject) in \(name) still names what was removed: others keep changing it",
            advice: "run the command again when less is going on")
    }
}

extension SigstoreError.Remedy {
    /// A tag may not be pointed elsewhere: signatures need a repository of their own.
    public static let storeInAnotherRepository = Self("store-in-another-repository")
    /// The registry refuses manifests of this kind; the subject is their media type.
    public static let writeAnotherKindOfManifest = Self("write-another-kind-of-manifest")
}
