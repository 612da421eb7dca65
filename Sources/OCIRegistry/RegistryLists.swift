internal import HTTPTransport
internal import SigstoreCrypto
public import StrictJSON

/// A list that a registry gives in pages.
struct PagedList {
    /// What is listed, and of what, for messages.
    let what, name: String
    /// How many pages are read.
    let limit: Int
    /// The media types that are asked for.
    var accept = "application/json"
    /// The most bytes that one page may have.
    var byteLimit: Int64 = 4 << 20

    /// Reads the pages one after the other.
    /// - Parameters:
    ///   - first: The first page.
    ///   - send: Asks for a page.
    ///   - page: Takes an answer; `false` if it is no such list and reading ends.
    func forEachPage(
        _ first: HTTPURL, _ send: (HTTPRequest) async throws(SigstoreError) -> HTTPResponse,
        _ page: (HTTPResponse, Int) throws(SigstoreError) -> Bool
    ) async throws(SigstoreError) {
        var next = first
        var seen: Set<HTTPURL> = [first]
        for number in 0..<limit {
            let response = try await send(
                HTTPRequest("GET", next, headers: [("Accept", accept)], bodyLimit: byteLimit))
            guard try page(response, number), let link = RegistryClient.nextPage(response.allHeaders("link")) else {
                return
            }
            next = try response.url.resolving(link)
            guard next.origin == first.origin else {
                throw SigstoreError(
                    .redirectRefused,
                    "\(first.origin.authority) says that the \(what) go on at \(next.redacted), another origin")
            }
            guard seen.insert(next).inserted else {
                throw SigstoreError(.tooLarge, "the pages of the \(what) of \(name) go in a circle")
            }
        }
        throw SigstoreError(.tooLarge, "the \(what) of \(name) have more than the \(limit) pages accepted")
    }
}

// Lists that a registry gives in pages: its repositories.
extension Registries {
    /// Hands out the names of the repositories that a registry lists, page by page. Hosted registries have no such list, or
    /// do not show it.
    /// - Parameters:
    ///   - registry: The registry.
    ///   - body: Takes the repositories of a page.
    /// - Throws: `SigstoreError` if there is no such list, it may not be read, or a page names nothing new: what was handed out
    ///   before is not all. So too, after the last page, if something in it is not the name of a repository.
    public func forEachRepository(
        of registry: Registry, _ body: ([Repository]) throws(SigstoreError) -> Void
    ) async throws(SigstoreError) {
        let session = await session(for: registry)
        var first = try HTTPURL(try await session.origin(), path: "/v2/_catalog")
        first = first.adding("n", "1000")
        let list = PagedList(
            what: "repositories", name: registry.name, limit: options.maxPages, byteLimit: RegistryClient.listByteLimit)
        var seen: Set<String> = []
        var fault: SigstoreError?
        do throws(SigstoreError) {
            try await list.forEachPage(first) { request throws(SigstoreError) in
                try await session.send(request, nil, .pull)
            } _: { response, _ throws(SigstoreError) in
                guard response.status == 200 else {
                    var error = RegistryClient.failure(response, "GET")
                    if response.status == 404 || response.status == 405 {
                        error.code = .unsupported
                        error.message = "\(registry) does not list its repositories: \(error.message)"
                    }
                    throw error
                }
                let json = JSONCursor(try JSONValue(parsing: response.body))
                var found: [Repository] = []
                let before = seen.count
                let elements = try json.optional("repositories")?.elements() ?? []
                for element in elements {
                    let name = try element.string()
                    guard seen.insert(name).inserted else { continue }
                    if let repository = try? Repository(parsing: "\(registry)/\(name)") {
                        found.append(repository)
                    } else {
                        fault = fault ?? element.fault("is not the name of a repository")
                    }
                }
                try list.expectNew(seen.count - before, of: elements.count)
                if !found.isEmpty { try body(found) }
                return true
            }
            if let fault { throw fault }
        } catch {
            var error = error
            if [.unauthorized, .denied, .unsupported].contains(error.code) {
                error.advice = SigstoreError.Advice.remedy(.nameRepositories).after(error.advice)
            }
            throw error
        }
    }
}

extension PagedList {
    /// Refuses a page that has only names of earlier ones: such a list might have no end.
    fileprivate func expectNew(_ count: Int, of total: Int) throws(SigstoreError) {
        guard count > 0 || total == 0 else {
            throw SigstoreError(.tooLarge, "the pages of the \(what) of \(name) repeat themselves")
        }
    }
}

// Lists that a registry gives in pages: its tags.
extension RegistryClient {
    /// The most bytes that a page of names may have. Some registries give all tags in one: 100,000 signatures take 8 MB.
    static let listByteLimit: Int64 = 16 << 20

    /// Reads the pages of a list one after the other.
    /// - Parameters:
    ///   - first: The first page.
    ///   - what: What is listed, for messages.
    ///   - page: Takes an answer; `false` if it is no such list and reading ends.
    func forEachPage(
        _ first: HTTPURL, accept: String, _ what: String,
        _ page: (HTTPResponse, Int) throws(SigstoreError) -> Bool
    ) async throws(SigstoreError) {
        let list = PagedList(what: what, name: name, limit: options.maxPages, accept: accept)
        try await list.forEachPage(first, { request throws(SigstoreError) in try await send(request) }, page)
    }

    /// The target of `Link: <…>; rel="next"` (RFC 8288).
    package static func nextPage(_ headers: [String]) -> String? {
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

    public func tags() async throws(SigstoreError) -> [String]? {
        var tags: [String] = []
        let isThere = try await forEachTags { page throws(SigstoreError) in tags += page }
        return isThere ? tags : nil
    }

    /// Hands out all tags, page by page.
    /// - Parameters:
    ///   - isRepeatRefused: Whether a page that names nothing new is an error.
    ///   - body: Takes the tags of a page; if repeated pages are refused, those that no page before had.
    /// - Returns: False if the registry answers that it has no such list. Many say so of a repository without any tag.
    /// - Throws: `SigstoreError` also after some pages: what was handed out before is not all. So too, after the last page, if
    ///   something in it is not a tag.
    public func forEachTags(
        refusingRepeats isRepeatRefused: Bool = false, _ body: ([String]) throws(SigstoreError) -> Void
    ) async throws(SigstoreError) -> Bool {
        var isThere = true
        var seen: Set<String> = []
        var fault: SigstoreError?
        let first = try await url("tags/list").adding("n", "1000")
        let list = PagedList(
            what: "tags", name: name, limit: options.maxPages, byteLimit: Self.listByteLimit)
        try await list.forEachPage(first) { request throws(SigstoreError) in
            try await send(request)
        } _: { response, number throws(SigstoreError) in
            if number == 0, response.status == 404 {
                isThere = false
                return false
            }
            guard response.status == 200 else { throw Self.failure(response, "GET") }
            let json = JSONCursor(try JSONValue(parsing: response.body))
            var found: [String] = []
            let before = seen.count
            let elements = try json.optional("tags")?.elements() ?? []
            for element in elements {
                let tag = try element.string()
                guard !isRepeatRefused || seen.insert(tag).inserted else { continue }
                if ManifestSelector.isTag(tag) {
                    found.append(tag)
                } else {
                    fault = fault ?? element.fault("is not a tag")
                }
            }
            if isRepeatRefused { try list.expectNew(seen.count - before, of: elements.count) }
            if !found.isEmpty { try body(found) }
            return true
        }
        if let fault { throw fault }
        return isThere
    }

    /// What a tag points at now, as the registry says: many tags are asked for without their content. What is asked for by that
    /// digest is checked against it.
    /// - Returns: `nil` if there is no such tag.
    public func target(ofTag tag: String) async throws(SigstoreError) -> Descriptor? {
        try await head(try ManifestSelector(tag: tag))
    }
}

extension SigstoreError.Remedy {
    /// The registry has no list of its repositories, or does not show it.
    public static let nameRepositories = Self("name-the-repositories-in-a-file")
}
