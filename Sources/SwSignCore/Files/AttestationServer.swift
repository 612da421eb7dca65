public import HTTPTransport
internal import OCIRegistry
public import Provenance
public import SigstoreCrypto
internal import SigstoreVerification
public import StrictJSON

/// A server that hands out attestations: npm's registry, PyPI, or GitHub's API. Nothing that it answers is believed, and whatever
/// it fails to answer is an error of its own: that there are no attestations is known from its word alone.
public struct AttestationServer: Sendable {
    private let http: any HTTPClient
    private let base: HTTPURL
    private let token: Authorization?

    /// The most bytes that one answer may have, and one bundle as it is compressed.
    private static let answerLimit: Int64 = 32 << 20

    /// Names a server.
    /// - Parameters:
    ///   - address: Its address: `https`, or `http` on this machine.
    ///   - token: What proves to GitHub's API who asks. It is sent to this address alone.
    ///   - http: Carries requests.
    /// - Throws: `SigstoreError` with `malformed-url` if that is no such address.
    public init(_ address: String, token: Authorization? = nil, _ http: any HTTPClient) throws(SigstoreError) {
        base = try HTTPURL(parsing: address)
        guard base.query == nil, base.origin.scheme == .https || base.origin.isLoopback else {
            throw SigstoreError(
                .malformedURL, "\(base.redacted) is no address to get attestations from: expected https, and no query",
                advice: "plain http is spoken with this machine only")
        }
        (self.token, self.http) = (token, http)
    }

    /// The server as messages name it.
    private var name: String { base.origin.authority }

    /// npm's attestations of a package.
    /// - Parameters:
    ///   - package: Its name with its scope.
    ///   - version: Its version.
    /// - Throws: `SigstoreError` with `no-provenance` if the registry says that there are none.
    public func npm(package: String, version: String) async throws(SigstoreError) -> AttestationDocument {
        let scoped = package.utf8.first == 0x40
        let name = HTTPURL.percentEncoded(scoped ? String(Substring(package.utf8.dropFirst())) : package)
        // The registry names itself with the slash of a scope in small letters.
        let written = (scoped ? "@" : "") + name.replacing("%2F", with: "%2f")
        let path = "-/npm/v1/attestations/\(written)@\(HTTPURL.percentEncoded(version))"
        return try await document(path, accept: "application/json", about: "\(package)@\(version)")
    }

    /// PyPI's provenance object of a file (PyPI's documentation, "Integrity API").
    /// - Parameter file: The file's name, without its folder.
    /// - Throws: `SigstoreError` with `no-provenance` if PyPI says that there is none, and with `wrong-package` if that is no name
    ///   of a file of PyPI.
    public func pypi(file: String) async throws(SigstoreError) -> AttestationDocument {
        let release = try PyPIPolicy.release(of: file)
        let parts = [release.project, release.version, file].map(HTTPURL.percentEncoded)
        return try await document(
            "integrity/\(parts.joined(separator: "/"))/provenance",
            accept: "application/vnd.pypi.integrity.v1+json", about: file)
    }

    /// GitHub's attestations about a digest (GitHub's REST API, "List attestations"), page by page.
    /// - Parameters:
    ///   - digest: The digest.
    ///   - policy: Of which repository, or of whose.
    ///   - limit: How many at most.
    /// - Returns: The attestations, and whether there are more.
    /// - Throws: `SigstoreError` with `no-provenance` if GitHub says that there are none.
    public func gitHub(_ digest: Digest, _ policy: GitHubPolicy, limit: Int) async throws(SigstoreError)
        -> (document: AttestationDocument, hasMore: Bool)
    {
        for place in policy.places {
            let (found, hasMore) = try await list("\(place)\(digest)", about: "\(digest)", limit: limit)
            guard !found.isEmpty else { continue }
            var bundles: [SigstoreBundle] = []
            var size = 0
            for start in stride(from: 0, to: found.count, by: 8) {
                let part = Array(found[start..<min(start + 8, found.count)].enumerated())
                for (bundle, count) in try await concurrently(
                    part,
                    { index, each throws(SigstoreError) in try await bundle(each, start + index + 1, "\(digest)") })
                {
                    size = size.addingReportingOverflow(count).partialValue
                    bundles.append(bundle)
                }
                guard size <= SigstoreBundle.sizeLimit else {
                    throw SigstoreError(
                        .tooManyEntries, "the attestations of \(digest) are larger than 128 MiB together",
                        advice: "ask for fewer of them")
                }
            }
            return (try AttestationDocument(bundles, form: .gitHubAnswer), hasMore)
        }
        throw nothing(about: "\(digest)", "a private repository shows its attestations only to who may see it")
    }

    // MARK: - Asking

    private func url(_ path: String) throws(SigstoreError) -> HTTPURL {
        let start = base.path.utf8.last == 0x2f ? base.path : base.path + "/"
        return try HTTPURL(base.origin, path: start + path)
    }

    /// Asks once, and says of every failure that nothing is known.
    /// - Returns: `nil` if the server says that there is nothing.
    private func get(
        _ url: HTTPURL, accept: String, about what: String, token: Authorization? = nil
    ) async throws(SigstoreError) -> HTTPResponse? {
        var request = HTTPRequest(
            "GET", url, headers: [("Accept", accept)], authorization: token, bodyLimit: Self.answerLimit,
            handledStatuses: [404])
        if accept.utf8.elementsEqual(Self.gitHubType.utf8) {
            request.headers.append(("X-GitHub-Api-Version", "2022-11-28"))
        }
        do throws(SigstoreError) {
            let response = try await http.send(request)
            return response.status == 404 ? nil : response
        } catch { throw Self.unknown(what, error) }
    }

    private static let gitHubType = "application/vnd.github+json"

    private func document(_ path: String, accept: String, about what: String) async throws(SigstoreError)
        -> AttestationDocument
    {
        guard let response = try await get(try url(path), accept: accept, about: what) else {
            throw nothing(about: what, "a package without provenance has none")
        }
        do throws(SigstoreError) { return try AttestationDocument(parsing: response.body) } catch {
            guard error.code != .noBundle else { throw nothing(about: what, "a package without provenance has none") }
            throw error.concerning("what \(name) answers about \(what)")
        }
    }

    private func list(_ path: String, about what: String, limit: Int) async throws(SigstoreError) -> (
        found: [GitHubAnswer.Attestation], hasMore: Bool
    ) {
        var found: [GitHubAnswer.Attestation] = []
        let first = try url(path).adding("per_page", "\(min(limit, 100))")
        var next: HTTPURL? = first
        var seen: Set<HTTPURL> = []
        while let page = next, found.count < limit {
            guard seen.insert(page).inserted, seen.count <= 1000 else {
                throw Self.unknown(what, SigstoreError(.tooLarge, "the pages of \(name) do not end"))
            }
            guard let response = try await get(page, accept: Self.gitHubType, about: what, token: token) else {
                guard found.isEmpty, seen.count == 1 else {
                    throw Self.unknown(
                        what, SigstoreError(.httpStatus, "\(name) has no page \(seen.count), which it named itself"))
                }
                return ([], false)
            }
            do throws(SigstoreError) { found += try GitHubAnswer(parsing: response.body).attestations } catch {
                throw error.concerning("what \(name) answers about \(what)")
            }
            next = nil
            guard let link = RegistryClient.nextPage(response.allHeaders("link")) else { break }
            let target = try response.url.resolving(link)
            // The token is for this server alone.
            guard target.origin == base.origin else {
                throw Self.unknown(
                    what,
                    SigstoreError(
                        .redirectRefused, "\(name) says that the list goes on at \(target.redacted), another origin"))
            }
            next = target
        }
        return (Array(found.prefix(limit)), next != nil || found.count > limit)
    }

    /// A bundle, fetched if it is somewhere else, and its size.
    private func bundle(_ attestation: GitHubAnswer.Attestation, _ number: Int, _ what: String)
        async throws(SigstoreError) -> (bundle: SigstoreBundle, size: Int)
    {
        let place = "attestation \(number)"
        var (bundle, size): (SigstoreBundle, Int)
        switch attestation {
        case .bundle(let given): (bundle, size) = (given, 0)
        case .address(let address):
            do throws(SigstoreError) {
                let url = try HTTPURL(parsing: address)
                guard url.origin.scheme == .https || (url.origin.isLoopback && base.origin.isLoopback) else {
                    throw SigstoreError(.malformedURL, "its address \(url.redacted) is not https")
                }
                guard let response = try await get(url, accept: "*/*", about: "\(what), \(place)") else {
                    throw SigstoreError(.httpStatus, "there is nothing at \(url.redacted), where it should be")
                }
                let content = try Snappy.unpack(response.body, limit: Int(Self.answerLimit))
                (bundle, size) = (try SigstoreBundle(parsing: content), content.count)
            } catch { throw Self.unknown("\(what), \(place)", error) }
        }
        bundle.place = place
        return (bundle, size)
    }

    // MARK: - Words

    private func nothing(about what: String, _ advice: String) -> SigstoreError {
        SigstoreError(
            .noProvenance, "\(name) has no attestations of \(what)",
            advice: .sentence("\(advice); check what was asked for"))
    }

    private static func unknown(_ what: String, _ error: SigstoreError) -> SigstoreError {
        let isGiven = error.message.utf8.starts(with: start.utf8)
        return SigstoreError(
            error.code, isGiven ? error.message : "\(start)\(what), so nothing is known of them: \(error.message)",
            advice: error.advice ?? "try again later, or give the attestations in a file", cause: error.cause)
    }

    private static let start = "could not look for the attestations of "
}
