internal import HTTPTransport
internal import SigstoreCrypto
public import StrictJSON

// Lists that a registry gives in pages: its tags.
extension RegistryClient {
    /// Reads the pages of a list one after the other.
    /// - Parameters:
    ///   - first: The first page.
    ///   - what: What is listed, for messages.
    ///   - page: Takes an answer; `false` if it is no such list and reading ends.
    func forEachPage(
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
        var tags: [String]? = []
        let first = try await url("tags/list").adding("n", "1000")
        try await forEachPage(first, accept: "application/json", "tags") { (response, number) throws(SigstoreError) in
            if number == 0, response.status == 404 {
                tags = nil
                return false
            }
            guard response.status == 200 else { throw Self.failure(response, "GET") }
            let json = JSONCursor(try JSONValue(parsing: response.body))
            for element in try json.optional("tags")?.elements() ?? [] {
                let tag = try element.string()
                guard ManifestSelector.isTag(tag) else { throw element.fault("is not a tag") }
                tags?.append(tag)
            }
            return true
        }
        return tags
    }
}
