import Foundation
import SigstoreCrypto
import Spawning
import StrictJSON
import TestServices
import Testing

/// Plugins for keys, both ways: cosign and this program use the same plugin, and cosign uses this program as one.
@Suite(.needsPeers)
struct PluginTests {
    /// A folder with both plugins in `bin`, keys in `keys`, and images in a registry.
    private final class Fixture: Sendable {
        let images: ImagePairTests.Images
        var place: Workplace { images.place }
        let environment: [String: String]

        init() async throws {
            images = try await ImagePairTests.Images(.dockerRegistry)
            let path = images.place.path
            for name in ["bin", "keys"] {
                try FileManager.default.createDirectory(atPath: "\(path)/\(name)", withIntermediateDirectories: true)
            }
            try Spawning.writeProgram("\(path)/bin/sigstore-kms-test", KeyPlugin.program)
            try FileManager.default.createSymbolicLink(
                atPath: "\(path)/bin/sigstore-kms-swsign", withDestinationPath: try await Tool.swsign.program)
            for (name, algorithm) in [("p256", SigningAlgorithm.ecdsaP256), ("p384", .ecdsaP384), ("rsa", .rsa2048)] {
                let key = try PrivateKey.generate(algorithm)
                let pem = try unsafe key.pkcs8().withBytes { unsafe PEM.encode(label: "PRIVATE KEY", Array($0)) }
                try images.place.write(pem, to: "keys/\(name).pem")
                try images.place.write(key.publicKey.pem, to: "keys/\(name).pub")
            }
            try images.place.write("hello kms\n", to: "file")
            environment = [
                "PATH": "\(path)/bin:/usr/local/bin:/usr/bin:/bin", "PLUGIN_KEYS": "\(path)/keys",
                "MY_KEY": String(decoding: try images.place.read("keys/p256.pem"), as: UTF8.self),
            ]
        }

        func run(_ tool: Tool, _ arguments: [String]) async throws -> Workplace.Outcome {
            try await place.run(try await tool.program, arguments, environment)
        }
    }

    /// The flags by which each tool signs without a log, and verifies that.
    private static func signing(_ tool: Tool) -> [String] {
        tool == .cosign3 ? ["--signing-config", "none.json"] : ["--tlog-upload=false"]
    }

    private static func verifying(_ tool: Tool) -> [String] {
        ["--insecure-ignore-tlog"] + (tool == .cosign3 ? ["--trusted-root", Shared.trustedRoot] : [])
    }

    /// References to one key by which cosign asks a plugin: that of others, this program by a file, and by a variable.
    private static let references = [
        "test://p256", "swsign://keys/p256.pem", "swsign://env://MY_KEY", "swsign://keys/rsa.pem",
        "swsign://keys/p384.pem",
    ]

    @Test(
        "Files: what each signs through a plugin, the others verify through it, and by the exported key",
        arguments: references)
    func files(reference: String) async throws {
        let fixture = try await Fixture()
        let place = fixture.place
        let name = ["rsa", "p384"].first { reference.contains($0) } ?? "p256"
        let key = "keys/\(name).pub"
        for signer in Tool.allCases {
            // No program that this one starts gets a private key that is in a variable.
            let isHidden = signer == .swsign && reference.hasPrefix("swsign://env")
            let own = isHidden ? "env://MY_KEY" : reference
            let name = "\(signer).\(signer == .cosign2 ? "sig" : "json")"
            let output = signer == .cosign2 ? ["--output-signature", name] : ["--bundle", name]
            let signed = try await fixture.run(
                signer, ["sign-blob", "--yes", "--key", own] + Self.signing(signer) + output + ["file"])
            try #require(signed.status == 0, "\(signer): \(signed.messages)")
            let input = signer == .cosign2 ? ["--signature", name] : ["--bundle", name]
            let exported = try await fixture.run(signer, ["public-key", "--key", own])
            #expect(exported.output == (try place.read(key)), "\(signer): \(exported.messages)")
            for verifier in Tool.allCases {
                if verifier == .cosign2, signer != .cosign2 { continue }
                if verifier == .cosign3, signer == .cosign2 { continue }
                for key in [reference, key] {
                    if verifier == .swsign, key.hasPrefix("swsign://env") { continue }
                    // cosign 3 takes whatever an exported key has signed for SHA-256.
                    if verifier == .cosign3, key == "keys/p384.pub" { continue }
                    let verified = try await fixture.run(
                        verifier, ["verify-blob", "--key", key] + Self.verifying(verifier) + input + ["file"])
                    #expect(verified.status == 0, "\(verifier) of \(signer) by \(key): \(verified.messages)")
                }
            }
        }
    }

    @Test("Images: cosign signs, attests and verifies through this program", arguments: [Tool.cosign2, .cosign3])
    func images(tool: Tool) async throws {
        let fixture = try await Fixture()
        let image = fixture.images.name(try await fixture.images.push("by \(tool)"))
        for reference in ["swsign://env://MY_KEY", "test://p256"] {
            let signed = try await fixture.run(
                tool, ["sign", "--yes", "--key", reference] + Self.signing(tool) + [image])
            try #require(signed.status == 0, "\(tool): \(signed.messages)")
            let attested = try await fixture.run(
                tool,
                ["attest", "--yes", "--key", reference, "--type", "slsaprovenance", "--predicate", "predicate"]
                    + Self.signing(tool) + [image])
            try #require(attested.status == 0, "\(tool): \(attested.messages)")
        }
        for (verifier, key) in [
            (tool, "swsign://env://MY_KEY"), (tool, "test://p256"), (tool, "keys/p256.pub"), (.swsign, "test://p256"),
            (.swsign, "keys/p256.pub"),
        ] {
            for command in [["verify"], ["verify-attestation", "--type", "slsaprovenance"]] {
                let verified = try await fixture.run(
                    verifier, command + ["--key", key] + Self.verifying(verifier) + [image])
                #expect(verified.status == 0, "\(verifier) by \(key): \(verified.messages)")
            }
        }
        let wrong = try await fixture.run(
            tool, ["verify", "--key", "swsign://keys/rsa.pem"] + Self.verifying(tool) + [image])
        #expect(wrong.status != 0)
    }

    /// A key service whose code in this program cosign uses.
    enum Service: CaseIterable {
        case vault, google, aws, azure

        /// The scheme, if the cosigns at hand have no code for it, so that cosign makes a key by it too.
        var scheme: String? {
            switch self {
            case .vault: "hashivault"
            case .google: "gcpkms"
            case .azure: "azurekms"
            case .aws: nil
            }
        }

        func reference(_ name: String) -> String {
            switch self {
            case .vault: "hashivault://\(name)"
            case .google: "gcpkms://projects/proj/locations/global/keyRings/plugin/cryptoKeys/\(name)"
            case .aws: "awskms:///alias/\(name)"
            case .azure: "azurekms://testvault.vault.azure.net/\(name)"
            }
        }

        func environment(_ place: Workplace) throws -> [String: String] {
            switch self {
            case .vault:
                return ["VAULT_ADDR": "http://127.0.0.1:\(try KeyServices.running().port)", "VAULT_TOKEN": "test-root"]
            case .google:
                return [
                    "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS": "http://127.0.0.1:\(try KeyServices.running().port)",
                    "GOOGLE_OAUTH_ACCESS_TOKEN": "ya29.test",
                ]
            case .aws: return try KeyManagementServer.running().environment
            case .azure:
                let services = try AzureServices.running()
                try place.write(services.authority, to: "authority.pem")
                return services.environment(authorityFile: "\(place.path)/authority.pem")
            }
        }
    }

    @Test(
        "cosign makes a key, signs and verifies through this program's code for key services, by its own scheme and by swsign://",
        .enabled(
            if: KeyServices.folder != nil && KeyManagementServer.isThere,
            "left out: the servers of key services, by make test-deps and ../shared/keys/fakes"),
        arguments: [Tool.cosign2, .cosign3], Service.allCases)
    func services(tool: Tool, service: Service) async throws {
        let fixture = try await Fixture()
        let place = fixture.place
        let environment = try service.environment(place)
        func run(_ tool: Tool, _ arguments: [String]) async throws {
            let outcome = try await place.run(
                try await tool.program, arguments, fixture.environment.merging(environment) { $1 })
            #expect(outcome.status == 0, "\(tool) \(arguments): \(outcome.messages)")
        }
        let image = fixture.images.name(try await fixture.images.push("by \(tool)"))
        let key = service.reference("plugin-\(tool)-\(UUID().uuidString.prefix(8).lowercased())")
        var references = ["swsign://\(key)"]
        if let scheme = service.scheme {
            try FileManager.default.createSymbolicLink(
                atPath: "\(place.path)/bin/sigstore-kms-\(scheme)", withDestinationPath: try await Tool.swsign.program)
            try await run(tool, ["generate-key-pair", "--kms", key])
            references.append(key)
        } else {
            try await run(.swsign, ["generate-key-pair", "--kms", key])
        }
        for reference in references {
            let output = tool == .cosign2 ? ["--output-signature", "blob"] : ["--bundle", "blob"]
            let input = tool == .cosign2 ? ["--signature", "blob"] : ["--bundle", "blob"]
            try await run(tool, ["sign-blob", "--yes", "--key", reference] + Self.signing(tool) + output + ["file"])
            try await run(tool, ["sign", "--yes", "--key", reference] + Self.signing(tool) + [image])
            for (verifier, key) in [(tool, reference), (tool, "cosign.pub"), (.swsign, key), (.swsign, "cosign.pub")] {
                try await run(
                    verifier, ["verify-blob", "--key", key] + Self.verifying(verifier) + input + ["file"])
                try await run(verifier, ["verify", "--key", key] + Self.verifying(verifier) + [image])
            }
        }
    }
}
