public import HTTPTransport
internal import LocalSystem
internal import SigstoreCrypto
public import StrictJSON

// Blobs in a registry: fetched and stored under their digest.
extension RegistryClient {
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

    public var mountableRepository: Repository? { repository }

    public func copyBlob(_ descriptor: Descriptor, from source: any ImageStore) async throws(SigstoreError) {
        if try await hasBlob(descriptor) { return }
        if let origin = source.mountableRepository, try await mountBlob(descriptor.digest, from: origin) { return }
        try await source.withBlob(descriptor) { (blob) throws(SigstoreError) in try await putBlob(blob) }
    }

    public func withBlob(
        _ descriptor: Descriptor, _ body: (Blob) async throws(SigstoreError) -> Void
    ) async throws(SigstoreError) {
        let sink = FileSink(try TemporaryFile(in: ProcessEnvironment.value("TMPDIR") ?? "/tmp"))
        try await fetchBlob(descriptor, limit: descriptor.size, into: sink)
        try await body(Blob(file: sink.file.reading, digest: descriptor.digest, size: descriptor.size))
    }

    /// Takes a blob over from another repository of the same registry (OCI distribution specification, "Mounting a
    /// blob from another repository").
    /// - Returns: False if the registry does not do that.
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
        let session = await sessions.session(repository.registry)
        if await session.hasStored(blob.digest, in: repository) { return }
        var attempt = 1
        while true {
            do throws(SigstoreError) {
                try await putOnce(blob, isNew: blob.isNew && attempt == 1)
                return await session.noteStored(blob.digest, in: repository)
            } catch {
                // An upload that broke off cannot be resumed at will: it is begun anew.
                guard Self.isTransient(error), attempt < RetryPolicy().maxAttempts else { throw error }
                try await Self.pause(RetryPolicy().delay(after: attempt))
                attempt += 1
            }
        }
    }

    static func isTransient(_ error: SigstoreError) -> Bool {
        if error.code == .unreachable { return true }
        guard let response = (error.cause as? HTTPStatusError)?.response else { return false }
        return RetryPolicy.transientStatuses.contains(response.status) || isPassing(response)
    }

    static func pause(_ duration: Duration) async throws(SigstoreError) {
        do { try await Task.sleep(for: duration) } catch {
            throw SigstoreError(.cancelled, "the request was cancelled")
        }
    }

    /// - Parameter isNew: Whether the registry cannot have it.
    func putOnce(_ blob: Blob, isNew: Bool) async throws(SigstoreError) {
        if !isNew {
            let head = try await send(HTTPRequest("HEAD", try await url("blobs/\(blob.digest)")))
            if head.status == 200 { return }
            guard head.status == 404 || head.status == 405 else {
                // HEAD has no words to say why.
                throw Self.failure(head, "HEAD")
            }
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
            // At another origin the URL itself is the permission, and our credential is not shown.
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
}
