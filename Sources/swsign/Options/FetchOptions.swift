import ArgumentParser
import HTTPTransport
import Provenance
import StrictJSON
import SwSignCore

/// The flags that say what may be asked over the network.
struct FetchOptions: ParsableArguments {
    @Flag(
        help:
            "Ask npm's registry, PyPI or GitHub for attestations, and registries for images; without this flag no connection is opened."
    )
    var fetch = false
    @Option(help: "With --fetch, the address of npm's registry, of PyPI or of GitHub's API, if it is another one.")
    var registry: String?
    @Option(
        name: [.long, .customShort("L")],
        help: "With --fetch, how many attestations GitHub is asked for at most, 1 to 1000.")
    var limit = 30
    @Flag(
        name: .customLong("bundle-from-oci"),
        help: "Read an image's attestations from its registry, or from its layout.")
    var bundleFromOCI = false

    /// Refuses flags that have no effect.
    /// - Parameter images: The images that are verified.
    func expectSound(images: [InputFile]) throws(SigstoreError) {
        guard (1...1000).contains(limit) else {
            throw SigstoreError(.usage, "--limit is \(limit), expected 1 to 1000")
        }
        guard fetch || registry == nil else {
            throw SigstoreError(.usage, "--registry needs --fetch: no connection is opened without it")
        }
        guard !bundleFromOCI || !images.isEmpty else {
            throw SigstoreError(
                .usage, "--bundle-from-oci is about images, and none is named", advice: "write it as oci://IMAGE")
        }
        guard !bundleFromOCI || fetch || images.allSatisfy(\.isLayout) else {
            throw SigstoreError(.usage, "--bundle-from-oci needs --fetch: no connection is opened without it")
        }
    }

    /// Refuses all of them, for what is never fetched.
    func expectUnused() throws(SigstoreError) {
        guard !fetch, registry == nil, !bundleFromOCI else {
            throw SigstoreError(
                .usage, "models and verification summaries are read from files, never fetched",
                advice: "leave --fetch, --registry and --bundle-from-oci out")
        }
    }

    /// The server that has the attestations of an ecosystem.
    /// - Parameter host: GitHub's host.
    func server(
        _ source: ProvenanceSource?, host: String = GitHubPolicy.publicHost, _ context: Context
    ) throws(SigstoreError) -> AttestationServer {
        let address: String
        switch source {
        case .github: address = "https://api.\(host)"
        case .npm: address = "https://registry.npmjs.org"
        case .pypi: address = "https://pypi.org"
        default:
            throw SigstoreError(
                .usage,
                source.map { "--fetch knows no server with attestations of \($0.rawValue)" }
                    ?? "nothing says plainly where --fetch is to get the attestations",
                advice: source == nil
                    ? "say it with --from: github, npm or pypi" : "give them with --attestations")
        }
        // Nobody but GitHub sees the token.
        let token = source == .github && registry == nil ? Self.token(context) : nil
        return try AttestationServer(registry ?? address, token: token, try context.http(attempts: 3))
    }

    /// The variables that hold a token for GitHub, the first one first.
    private static let tokens = ["GH_TOKEN", "GITHUB_TOKEN"]

    private static func token(_ context: Context) -> Authorization? {
        for name in tokens {
            guard let secret = context.environment.secret(name), secret.count > 0 else { continue }
            return unsafe secret.withBytes { unsafe Authorization(scheme: "Bearer", $0) }
        }
        return nil
    }

    /// The error, with what helps if GitHub did not answer for want of a token.
    static func advising(_ error: SigstoreError, _ source: ProvenanceSource?) -> SigstoreError {
        guard source == .github else { return error }
        var error = error
        switch error.httpStatus {
        case 401?: error.advice = "GitHub does not accept the token in GH_TOKEN or GITHUB_TOKEN: make a new one"
        case 403?, 429?:
            error.advice =
                "set GH_TOKEN to a token that may read attestations: without one GitHub answers 60 requests an hour"
        default: break
        }
        return error
    }
}
