import Foundation
import Spawning
import StrictJSON
import Testing

/// cosign 3 and swsign get what they need to know of the services from `local-sigstore`'s TUF repository.
@Suite(.needsPeers, .serialized)
struct TUFMirrorTests {
    /// `local-sigstore`, as somebody runs it.
    private final class Services: Sendable {
        let place: Workplace
        let program: String
        /// The variables of `env.sh`.
        let variables: [String: String]
        private let process: Process

        init() async throws {
            place = try Workplace()
            program = try await URL(fileURLWithPath: Tool.swsign.program).deletingLastPathComponent()
                .appendingPathComponent("local-sigstore").path
            let process = Process()
            process.executableURL = URL(fileURLWithPath: program)
            process.arguments = ["--folder", "state", "--registry-in-memory"]
            process.currentDirectoryURL = URL(fileURLWithPath: place.path)
            process.standardInput = FileHandle.nullDevice
            process.standardOutput = FileHandle.nullDevice
            process.standardError = FileHandle.nullDevice
            try Spawning.exclusively { try process.run() }
            self.process = process
            let file = "\(place.path)/state/env.sh"
            _ = await Spawning.wait { FileManager.default.fileExists(atPath: file) || !process.isRunning }
            var variables: [String: String] = [:]
            for line in try String(contentsOfFile: file, encoding: .utf8).split(separator: "\n") {
                let sides = line.dropFirst("export ".count).split(separator: "=", maxSplits: 1)
                variables[String(sides[0])] = String(sides[1].dropFirst().dropLast())
            }
            self.variables = variables
        }

        deinit { if process.isRunning { process.terminate() } }

        func local(_ arguments: String...) async throws -> Workplace.Outcome {
            try await place.must(program, arguments + ["--folder", "state"])
        }

        func token() async throws -> String {
            String(decoding: try await local("token", "--email", "ann@local.test").output, as: UTF8.self)
                .trimmingCharacters(in: .whitespacesAndNewlines)
        }

        /// Each tool has a cache of its own, where it looks for one without being told.
        private func home(_ tool: Tool) throws -> [String: String] {
            let path = "\(place.path)/home-\(tool)"
            try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
            return ["HOME": path]
        }

        func run(_ tool: Tool, _ arguments: [String], _ more: [String: String] = [:]) async throws -> Workplace.Outcome
        {
            try await place.run(tool.program, arguments, home(tool).merging(more) { $1 })
        }

        func must(
            _ tool: Tool, _ arguments: [String], _ more: [String: String] = [:],
            sourceLocation: SourceLocation = #_sourceLocation
        ) async throws {
            let outcome = try await run(tool, arguments, more)
            try #require(
                outcome.status == 0, "\(tool) \(arguments.joined(separator: " ")): \(outcome.messages)",
                sourceLocation: sourceLocation)
        }

        func sign(_ tool: Tool, _ bundle: String, _ more: [String: String] = [:]) async throws {
            try await must(tool, ["sign-blob", "--yes", "--identity-token", token(), "--bundle", bundle, "blob"], more)
        }

        func verify(_ tool: Tool, _ bundle: String, _ more: [String: String] = [:]) async throws {
            let identity = try [
                "--certificate-identity", "ann@local.test", "--certificate-oidc-issuer",
                #require(variables["LOCAL_SIGSTORE_ISSUER"]),
            ]
            try await must(tool, ["verify-blob", "--bundle", bundle] + identity + ["blob"], more)
            let other = try await run(tool, ["verify-blob", "--bundle", bundle] + identity + ["other"], more)
            #expect(other.status != 0)
        }
    }

    private static let tools: [Tool] = [.cosign3, .swsign]

    @Test func signAndVerifyBeforeAndAfterEachRotation() async throws {
        let services = try await Services()
        try services.place.write("hello\n", to: "blob")
        try services.place.write("other\n", to: "other")
        let mirror = try #require(services.variables["TUF_MIRROR"])
        let root = try #require(services.variables["TUF_ROOT_JSON"])
        for tool in Self.tools {
            try await services.must(tool, ["initialize", "--mirror", mirror, "--root", root])
        }
        var bundles: [String] = []
        for (number, rotation) in [nil, "root", "keys", "root keys"].enumerated() {
            if let rotation {
                let said = try await services.place.must(
                    services.program, ["rotate", "--folder", "state"] + rotation.split(separator: " ").map(String.init))
                let versions = [(2, 1), (2, 2), (3, 3)][number - 1]
                #expect(
                    String(decoding: said.output, as: UTF8.self)
                        == "TUF root: version \(versions.0)\nkeys of the services: number \(versions.1)\n")
                // cosign asks each time; swsign has asked today.
                try await services.must(.swsign, ["initialize", "--mirror", mirror])
            }
            for tool in Self.tools {
                bundles.append("\(tool)-\(number).json")
                try await services.sign(tool, "\(tool)-\(number).json")
            }
            // All that was signed until now, by both, with the keys of its time.
            for tool in Self.tools {
                for bundle in bundles { try await services.verify(tool, bundle) }
            }
        }
        // A cache from before all rotations is brought up to date from the first root.
        for tool in Self.tools {
            let fresh = ["TUF_ROOT": "\(services.place.path)/fresh-\(tool)"]
            try await services.must(tool, ["initialize", "--mirror", mirror, "--root", root], fresh)
            for bundle in bundles.suffix(2) + bundles.prefix(2) { try await services.verify(tool, bundle, fresh) }
        }
    }

    @Test func theVariablesAloneAreEnough() async throws {
        let services = try await Services()
        try services.place.write("hello\n", to: "blob")
        try services.place.write("other\n", to: "other")
        let names = ["TUF_MIRROR", "TUF_ROOT_JSON", "TUF_ROOT"]
        for tool in Self.tools {
            let variables = services.variables.filter { names.contains($0.key) }
                .merging(["TUF_ROOT": "\(services.place.path)/cache-\(tool)"]) { $1 }
            try await services.sign(tool, "\(tool).json", variables)
            for bundle in Self.tools.map({ "\($0).json" })
            where FileManager.default.fileExists(atPath: "\(services.place.path)/\(bundle)") {
                try await services.verify(tool, bundle, variables)
            }
        }
        // swsign learns of new keys by initialize with the same variables.
        _ = try await services.local("rotate", "root", "keys")
        let variables = services.variables.filter { names.contains($0.key) }
        try await services.must(.swsign, ["initialize"], variables)
        try await services.sign(.swsign, "again.json", variables)
        try await services.verify(.swsign, "again.json", variables)
    }

    @Test func rotationOfServicesThatDoNotRunIsRefused() async throws {
        let place = try Workplace()
        let program = try await URL(fileURLWithPath: Tool.swsign.program).deletingLastPathComponent()
            .appendingPathComponent("local-sigstore").path
        let never = try await place.run(program, ["rotate", "--folder", "none", "root"])
        #expect(never.status == 1 && never.messages.contains("no local services were started in none"))
        try FileManager.default.createDirectory(atPath: "\(place.path)/state", withIntermediateDirectories: true)
        try place.write(#"{"tuf":"http://127.0.0.1:9"}"#, to: "state/endpoints.json")
        let stopped = try await place.run(program, ["rotate", "--folder", "state", "root"])
        #expect(stopped.status == 1 && stopped.messages.contains("the services of state do not run"))
        let unknown = try await place.run(program, ["rotate", "--folder", "state", "all"])
        #expect(unknown.status != 0 && unknown.messages.contains("neither root nor keys"))
    }

    private static let accepted = [
        ["trusted-root", "create", "--with-default-services"],
        ["trusted-root", "create", "--with-default-services", "--no-default-rekor", "--no-default-tsa"],
        ["trusted-root", "create", "--with-default-services", "--no-default-ctfe", "--no-default-fulcio"],
        [
            "trusted-root", "create", "--with-default-services", "--rekor",
            "url=https://r.test,public-key=rekor.pub,start-time=2024-01-01T00:00:00Z",
            "--ctfe",
            "url=https://c.test,public-key=ctlog.pub,start-time=2024-01-01T00:00:00Z,end-time=2025-01-01T00:00:00Z",
            "--tsa", "url=https://t.test,certificate-chain=state/tsa_chain.pem,start-time=2024-01-01T00:00:00Z",
        ],
        ["signing-config", "create", "--with-default-services"],
        ["signing-config", "create", "--with-default-rekor-v2"],
        ["signing-config", "create", "--with-default-services", "--no-default-rekor", "--no-default-oidc"],
        ["signing-config", "create", "--with-default-services", "--no-default-fulcio", "--no-default-tsa"],
        [
            "signing-config", "create", "--with-default-services", "--rekor",
            "url=https://r.test,api-version=1,start-time=2024-01-01T00:00:00Z,operator=x", "--rekor-config", "EXACT:2",
        ],
        ["signing-config", "create", "--with-default-services", "--tsa-config", "ALL"],
        [
            "signing-config", "create", "--with-default-services", "--fulcio",
            "url=https://f.test,api-version=1,start-time=2024-01-01T00:00:00Z,end-time=2025-01-01T00:00:00Z,operator=x",
            "--oidc-provider", "url=https://o.test,api-version=1,start-time=2024-01-01T00:00:00Z,operator=x",
        ],
    ]
    private static let refused = [
        [
            "signing-config", "create", "--with-default-services", "--rekor",
            "url=https://r.test,api-version=1,start-time=2024-01-01T00:00:00Z,operator=x",
        ],
        [
            "signing-config", "create", "--with-default-services", "--tsa",
            "url=https://r.test,api-version=1,start-time=2024-01-01T00:00:00Z,operator=x",
        ],
        ["signing-config", "create", "--with-default-services", "--rekor-config", "SOME"],
        ["signing-config", "create", "--fulcio", "url=https://f.test"],
        ["trusted-root", "create", "--with-default-services", "--rekor", "url=https://r.test"],
        ["trusted-root", "create", "--fulcio", "url=https://f.test,certificate-chain=none.pem"],
    ]

    @Test func createsWhatCosignCreatesAndRefusesWhatItRefuses() async throws {
        let services = try await Services()
        func run(_ tool: Tool, _ arguments: [String]) async throws -> Workplace.Outcome {
            try await services.run(
                tool, arguments,
                services.variables.filter { ["TUF_MIRROR", "TUF_ROOT_JSON"].contains($0.key) }
                    .merging(["TUF_ROOT": "\(services.place.path)/cache-\(tool)"]) { $1 })
        }
        func made(_ tool: Tool, _ arguments: [String]) async throws -> [String] {
            let outcome = try await run(tool, arguments)
            try #require(outcome.status == 0, "\(tool) \(arguments): \(outcome.messages)")
            let file = JSONCursor(try JSONValue(parsing: outcome.output))
            // cosign puts what is added before or among the rest, by chance.
            return try file.names().sorted().flatMap { (name) throws in
                let value = try file.member(name)
                let entries = (try? value.elements().map(\.value)) ?? [value.value]
                return entries.map { "\(name): \(String(decoding: $0.canonicalized(), as: UTF8.self))" }.sorted()
            }
        }
        for key in ["rekor", "ctlog"] {
            try await services.must(.swsign, ["generate-key-pair", "--output-key-prefix", key])
        }
        for arguments in Self.accepted {
            #expect(try await made(.swsign, arguments) == made(.cosign3, arguments), "\(arguments)")
        }
        for arguments in Self.refused {
            for tool in Self.tools {
                let outcome = try await run(tool, arguments)
                #expect(outcome.status == 1 && outcome.output.isEmpty, "\(tool) \(arguments)")
            }
        }
    }
}
