import ArgumentParser
import Foundation
import HTTPTransport
import LocalSystem
import StrictJSON
import SwSignCore
import Synchronization
import Testing

@testable import swsign

/// Commands use what they are handed, and nothing else of the process.
struct ContextTests {
    /// What a command writes.
    private final class Written: Sendable {
        private let text = Mutex((output: "", messages: ""))
        var output: String { text.withLock { $0.output } }
        var messages: String { text.withLock { $0.messages } }

        var streams: Streams {
            Streams(
                write: { bytes, stream in
                    let words = String(decoding: bytes, as: UTF8.self)
                    self.text.withLock { if case .output = stream { $0.output += words } else { $0.messages += words } }
                }, isTerminal: { _ in false })
        }
    }

    /// A network in which no server is reached.
    private final class Unplugged: HTTPClient {
        private let asked = Mutex<[String]>([])
        var urls: [String] { asked.withLock { $0 } }

        func send(_ request: HTTPRequest, into sink: (any BodySink)?) async throws(SigstoreError) -> HTTPResponse {
            asked.withLock { $0.append(request.url.description) }
            throw SigstoreError(.unreachable, "unplugged")
        }
    }

    private let written = Written()

    @Test("A command sees the variables that it is handed, and prints where it is told to")
    func environment() throws {
        let context = Context(environment: .values(["TUF_ROOT": "/handed/in"]), streams: written.streams)
        try EnvironmentCommand.parse(["--no-show-descriptions"]).run(context)
        #expect(written.output.contains("\nTUF_ROOT=/handed/in\n"))
        // Of this process.
        #expect(written.output.contains("\nDOCKER_CONFIG=\n"))
        #expect(written.messages == "")
    }

    @Test("A command asks over the network that it is handed")
    func network() throws {
        let directory = TemporaryDirectory()
        try directory.write("root.json", #"{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}"#)
        let network = Unplugged()
        let context = Context(environment: .values([:]), client: { _ in network }, streams: written.streams)
        let info = try TlogInfo.parse(["--rekor-url", "https://log.example", "--trusted-root", directory["root.json"]])
        let error = #expect(throws: SigstoreError.self) { try info.run(context) }
        #expect(error?.code == .unreachable)
        #expect(network.urls.allSatisfy { $0.hasPrefix("https://log.example/") } && !network.urls.isEmpty)
        #expect(written.output == "")
    }

    @Test("--timeout is the time of each attempt too, if it is longer than the service's own")
    func allTime() throws {
        let network = Unplugged()
        // It is an alarm of this process, so that of all tests: longer than they take on the busiest machine.
        for (flags, takesAllTime) in [(["--timeout", "100h"], true), ([], false)] {
            let seen = Mutex<[CurlClient.Configuration]>([])
            var context = Context(
                environment: .values([:]),
                client: { configuration in
                    seen.withLock { $0.append(configuration) }
                    return network
                }, streams: written.streams)
            try GlobalOptions.parse(flags).apply(to: &context)
            _ = try context.http()
            _ = try RegistryConnectionFlags.parse([]).registries(context)
            #expect(seen.withLock { $0.count == 2 })
            #expect(seen.withLock { $0.allSatisfy { ($0.deadline != nil && $0.attemptsTakeAllTime) == takesAllTime } })
        }
    }

    @Test("The time is the clock's that is handed in, unless SOURCE_DATE_EPOCH says it")
    func time() throws {
        func time(_ variables: [String: String]) throws(SigstoreError) -> Int64 {
            try Context(environment: .values(variables), now: { 1_234_567_890 }, streams: written.streams).signingTime()
        }
        #expect(try time([:]) == 1_234_567_890)
        #expect(try time(["SOURCE_DATE_EPOCH": ""]) == 1_234_567_890)
        #expect(try time(["SOURCE_DATE_EPOCH": "86400"]) == 86_400)
        for wrong in ["-1", "253402300800", "yesterday"] {
            let error = #expect(throws: SigstoreError.self) { try time(["SOURCE_DATE_EPOCH": wrong]) }
            #expect(error?.code == .usage && error?.message.contains("\"\(wrong)\"") == true)
        }
    }

    @Test("Which variables say whom to believe is said once a run, and not once a process")
    func trustVariables() {
        for _ in 0..<2 {
            var context = Context(environment: .values([:]), streams: written.streams)
            context.trustVariables = TrustVariables(
                [(flag: "trusted-root", variable: "COSIGN_TRUSTED_ROOT"), (flag: "output", variable: "COSIGN_OUTPUT")],
                context.output)
            #expect(context.trustVariables.named(["TUF_ROOT"]) == ["COSIGN_TRUSTED_ROOT", "TUF_ROOT"])
            #expect(context.trustVariables.named([]) == ["COSIGN_TRUSTED_ROOT"])
        }
        let line = "The environment says whom to believe: COSIGN_TRUSTED_ROOT, TUF_ROOT\n"
        #expect(written.messages == line + line)
    }
}
