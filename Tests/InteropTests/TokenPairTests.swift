import Foundation
import TestServices
import Testing

/// Keys on a token. The cosigns at hand are built without PKCS#11, so each uses the token through this program as its plugin, and
/// verifies what this program signs by the exported key.
@Suite(
    .needsPeers, .serialized,
    .enabled(if: SoftToken.module != nil, "left out: softhsm2 or opensc is not installed"))
struct TokenPairTests {
    private let environment: [String: String]
    private let place: Workplace
    /// Of its own: SoftHSM fails at times if several programs log in to one token at once.
    private let token: SoftToken

    init() async throws {
        place = try Workplace()
        try FileManager.default.createDirectory(atPath: "\(place.path)/bin", withIntermediateDirectories: true)
        try FileManager.default.createSymbolicLink(
            atPath: "\(place.path)/bin/sigstore-kms-swsign", withDestinationPath: try await Tool.swsign.program)
        token = try SoftToken()
        environment = token.environment.merging([
            "PATH": "\(place.path)/bin:/usr/bin:/bin", "COSIGN_PKCS11_PIN": SoftToken.pin,
        ]) { $1 }
        try place.write("the release", to: "file")
        try await place.must(Tool.cosign3.program, ["signing-config", "create", "--out", "none.json"])
    }

    private func must(_ tool: Tool, _ arguments: [String]) async throws {
        let outcome = try await place.run(try await tool.program, arguments, environment)
        #expect(outcome.status == 0, "\(tool) \(arguments.joined(separator: " ")): \(outcome.messages)")
    }

    @Test("Each signs, and the others verify, by reference and by the exported key", arguments: ["p256", "rsa"])
    func files(_ name: String) async throws {
        let key = "pkcs11:token=release%20token;object=\(name)"
        try await must(.swsign, ["public-key", "--key", key, "--outfile", "key.pub"])
        for signer in [Tool.swsign, .cosign2, .cosign3] {
            let bundle = signer != .cosign2
            let output = bundle ? ["--bundle", "\(signer)"] : ["--output-signature", "\(signer)"]
            let log = signer == .cosign3 ? ["--signing-config", "none.json"] : ["--tlog-upload=false"]
            try await must(
                signer,
                ["sign-blob", "--yes", "--key", signer == .swsign ? key : "swsign://\(key)"] + log + output + ["file"])
            for verifier in [Tool.swsign, .cosign2, .cosign3] where bundle || verifier != .cosign3 {
                if verifier == .cosign2, bundle, signer == .cosign3 { continue }
                let input = bundle ? ["--bundle", "\(signer)"] : ["--signature", "\(signer)"]
                let more =
                    switch verifier {
                    case .swsign: [] as [String]
                    case .cosign2: bundle ? ["--new-bundle-format", "--trusted-root", Shared.trustedRoot] : []
                    case .cosign3: ["--trusted-root", Shared.trustedRoot]
                    }
                for key in ["key.pub", verifier == .swsign ? key : "swsign://\(key)"] {
                    try await must(
                        verifier, ["verify-blob", "--key", key, "--insecure-ignore-tlog"] + more + input + ["file"])
                }
            }
        }
    }
}
