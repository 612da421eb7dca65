public import HTTPTransport
public import SigstoreCrypto
public import StrictJSON

// What a registry can do, for a person who wants to know why something does not work. Nothing is changed by asking.
extension RegistryClient {
    /// How a registry answers who asks without a credential.
    public struct Greeting: Sendable {
        /// What it wants to see.
        public enum LogIn: Sendable, Equatable {
            /// Nothing, so far.
            case nothing
            /// A user name and a password (Basic).
            case password
            /// A token, which this host and port gives.
            case token(from: String)
            /// Something that is not known here.
            case unknown
        }

        /// Where it was asked.
        public let url: HTTPURL
        /// The status of its answer.
        public let status: Int
        /// What it wants to see.
        public let logIn: LogIn
        /// When it answered by its own clock; `nil` if it does not say it.
        public let date: Instant?
    }

    /// Asks the registry's first page without a credential (OCI distribution specification, "Determining support").
    /// - Throws: `SigstoreError` if there is no answer.
    public func greeting() async throws(SigstoreError) -> Greeting {
        let (response, challenge) = try await sessions.session(repository.registry).greeting()
        let logIn: Greeting.LogIn =
            switch challenge {
            case .basic: .password
            case .bearer(let realm, _, _):
                .token(from: (try? HTTPURL(parsing: realm))?.origin.authority ?? "an address that cannot be used")
            case nil: response.status == 401 ? .unknown : .nothing
            }
        return Greeting(url: response.url, status: response.status, logIn: logIn, date: response.date)
    }

    /// What a registry says of something that not every registry has.
    public enum Feature: Sendable, Equatable {
        /// It has it.
        case present
        /// It has it not, and this is what it answered.
        case absent(String)
        /// It answers, but not so that one could tell.
        case unclear(String)
    }

    /// Whether the registry lists what refers to a manifest (OCI distribution specification, "Listing referrers").
    /// - Parameter digest: Any manifest; it need not exist.
    /// - Throws: `SigstoreError` if the registry does not answer, or wants other credentials.
    public func referrersAPI(of digest: Digest) async throws(SigstoreError) -> Feature {
        switch try await listed(digest, nil) {
        case .list: .present
        case .none: .absent("it answers that it has no such list")
        case .somethingElse: .unclear("it answers with something that is no list")
        }
    }

    /// Whether the registry lists tags (OCI distribution specification, "Listing Tags"). One tag at most is asked for.
    /// - Throws: `SigstoreError` if the registry does not answer, or wants other credentials.
    public func tagList() async throws(SigstoreError) -> Feature {
        let url = try await url("tags/list").adding("n", "1")
        let response = try await send(HTTPRequest("GET", url, headers: [("Accept", "application/json")]))
        let words = Self.answer(response)
        switch response.status {
        case 200:
            let json = try? JSONCursor(JSONValue(parsing: response.body))
            return (try? json?.optional("tags")) != nil
                ? .present : .unclear("it answers with something that is no list")
        // Many registries say so of a repository that has no tag, or does not exist.
        case 404 where Self.words(response).utf8.starts(with: "NAME_UNKNOWN".utf8):
            return .unclear("it knows no such repository")
        case 400, 404, 405: return .absent(words)
        default: throw Self.failure(response, "GET")
        }
    }

    /// Whether the registry lets these credentials delete manifests.
    ///
    /// It is asked to delete one that cannot exist: its digest is 256 random bits, and nobody can make content for a digest.
    /// A registry that deletes says that it knows no such manifest; one that does not says that.
    /// - Throws: `SigstoreError` if the registry does not answer; with `unauthorized` or `denied` if these credentials may
    ///   not delete.
    public func deletion() async throws(SigstoreError) -> Feature {
        var generator = SystemRandomNumberGenerator()
        let hex = (0..<32).map { _ in Hexadecimal.encode([UInt8.random(in: 0...255, using: &generator)]) }.joined()
        let url = try await url("manifests/\(try Digest(hex: hex, .sha256))")
        let response = try await send(HTTPRequest("DELETE", url), .delete)
        let words = Self.answer(response)
        switch response.status {
        case 200...299: return .unclear("it answers \(response.status) for what is not there")
        case 404 where Self.words(response).utf8.starts(with: "MANIFEST_UNKNOWN".utf8): return .present
        case 404 where Self.words(response).utf8.starts(with: "NAME_UNKNOWN".utf8):
            return .unclear("it knows no such repository")
        case 405: return .absent(words)
        case 400 where Self.words(response).utf8.starts(with: "UNSUPPORTED".utf8): return .absent(words)
        case 400, 404: return .unclear(words)
        default: throw Self.failure(response, "DELETE")
        }
    }

    /// An answer in a few words.
    private static func answer(_ response: HTTPResponse) -> String {
        let words = words(response)
        return "it answers \(response.status)" + (words.isEmpty ? "" : ": \(words)")
    }
}
