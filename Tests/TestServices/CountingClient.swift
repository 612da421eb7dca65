public import HTTPTransport
public import StrictJSON
import Synchronization

/// Carries requests, and counts them.
public final class CountingClient: HTTPClient {
    private let client: CurlClient
    private let seen = Mutex<[String]>([])

    /// - Parameter attempts: How often a request is tried.
    public init(attempts: Int = 3) {
        var configuration = CurlClient.Configuration()
        configuration.retryPolicy = RetryPolicy(maxAttempts: attempts, baseDelay: .milliseconds(5))
        client = CurlClient(configuration)
    }

    /// Method and path of each request.
    public var requests: [String] { seen.withLock { $0 } }

    /// Carries a request.
    public func send(_ request: HTTPRequest, into sink: (any BodySink)?) async throws(SigstoreError) -> HTTPResponse {
        seen.withLock { $0.append("\(request.method) \(request.url.path)") }
        return try await client.send(request, into: sink)
    }
}
