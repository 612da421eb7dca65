import Glibc
import HTTPTransport
import SigstoreClients
import StrictJSON

// The client protocol of the public TUF conformance suite:
//
//   --metadata-dir DIR init TRUSTED_ROOT
//   --metadata-dir DIR --metadata-url URL refresh
//   --metadata-dir DIR --metadata-url URL --target-name NAME --target-dir DIR --target-base-url URL download
//
// DIR/root.json is what is trusted; every command ends with 0, or with 1 and the reason on standard error.

func value(_ name: String, _ options: [String: String]) throws(SigstoreError) -> String {
    guard let value = options[name] else { throw SigstoreError(.init("usage"), "\(name) is missing") }
    return value
}

func run(_ arguments: [String]) async throws(SigstoreError) {
    var options: [String: String] = [:]
    var words: [String] = []
    var rest = arguments[...]
    while let argument = rest.popFirst() {
        if argument.hasPrefix("--") {
            guard let value = rest.popFirst() else { throw SigstoreError(.init("usage"), "\(argument) has no value") }
            options[argument] = value
        } else {
            words.append(argument)
        }
    }
    let cache = TUFCache(folder: try value("--metadata-dir", options), targetsFolder: options["--target-dir"])
    if words.first == "init", words.count == 2 {
        guard let root = try TUFCache.read(file: words[1], limit: TUFLimits().root) else {
            throw SigstoreError(.init("usage"), "there is no file \(words[1])")
        }
        return try cache.write(root, to: "root.json")
    }
    guard let root = try cache.read("root.json", limit: TUFLimits().root) else {
        throw SigstoreError(.init("usage"), "the client was not initialized")
    }
    var configuration = TUFClient.Configuration(
        mirror: try value("--metadata-url", options), root: root, cache: cache, freshness: .now)
    configuration.targetsURL = options["--target-base-url"]
    configuration.notice = { complain($0) }
    var transport = CurlClient.Configuration()
    transport.retryPolicy.maxAttempts = 1
    let client = TUFClient(configuration, fetcher: TUFMirrorFetcher(CurlClient(transport)))
    switch words {
    case ["refresh"]: try await client.refresh()
    case ["download"]: _ = try await client.target(value("--target-name", options))
    default: throw SigstoreError(.init("usage"), "the command is init, refresh or download")
    }
}

func complain(_ error: SigstoreError) {
    let line = Array("\(error.code): \(error)\n".utf8)
    _ = unsafe write(2, line, line.count)
}

/// The words of the command. Swift looks for them beside the environment and finds none where that has been moved, as
/// `faketime` does, with which the suite runs its clients.
func arguments() throws(SigstoreError) -> [String] {
    if !CommandLine.arguments.isEmpty { return Array(CommandLine.arguments.dropFirst()) }
    let bytes = try TUFCache.read(file: "/proc/self/cmdline", limit: 1 << 20) ?? []
    return bytes.split(separator: 0, omittingEmptySubsequences: false).dropFirst().dropLast().map {
        String(decoding: $0, as: UTF8.self)
    }
}

do throws(SigstoreError) {
    try await run(try arguments())
} catch {
    complain(error)
    exit(1)
}
