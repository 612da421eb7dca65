import Foundation
import TestServices
import Testing

/// Keys in AWS KMS that one tool signs with, and the others verify: both cosigns have the provider.
@Suite(
    .needsPeers,
    .enabled(if: KeyManagementServer.isThere, "left out: moto's AWS KMS, by make test-deps and ../shared/keys/fakes"))
struct AWSKeyPairTests {
    private let environment: [String: String]
    private let place: Workplace

    init() throws {
        (environment, place) = (try KeyManagementServer.running().environment, try Workplace())
        try place.write("the release", to: "file")
        try place.write(#"{"builder":{"id":"tests"},"buildType":"tested"}"#, to: "predicate")
    }

    private func must(_ tool: Tool, _ arguments: [String], _ what: String) async throws {
        let outcome = try await place.run(tool.program, arguments, password: nil, environment)
        #expect(outcome.status == 0, "\(tool) \(what): \(outcome.messages)")
    }

    private func key(_ algorithm: String, for what: String) async throws -> String {
        let key = "awskms:///alias/pair-\(what)-\(algorithm)"
        try await must(
            .swsign, ["generate-key-pair", "--kms", key, "--signing-algorithm", algorithm], "makes a key")
        try await place.must(Tool.cosign3.program, ["signing-config", "create", "--out", "none.json"])
        return key
    }

    /// What makes a tool sign into a bundle without a log.
    private func signing(_ tool: Tool) -> [String] {
        switch tool {
        case .swsign: ["--yes", "--tlog-upload=false"]
        case .cosign2: ["--yes", "--tlog-upload=false", "--new-bundle-format"]
        case .cosign3: ["--yes", "--signing-config", "none.json"]
        }
    }

    /// What makes a tool verify such a bundle.
    private func verifying(_ tool: Tool) -> [String] {
        switch tool {
        case .swsign: ["--insecure-ignore-tlog"]
        case .cosign2: ["--insecure-ignore-tlog", "--new-bundle-format", "--trusted-root", Shared.trustedRoot]
        case .cosign3: ["--insecure-ignore-tlog", "--trusted-root", Shared.trustedRoot]
        }
    }

    @Test(
        "Files and attestations, by reference and by the exported key",
        arguments: [
            "ecdsa-sha2-256-nistp256", "ecdsa-sha2-384-nistp384", "ecdsa-sha2-512-nistp521",
            "rsa-sign-pkcs1-2048-sha256", "rsa-sign-pkcs1-4096-sha256",
        ])
    func files(_ algorithm: String) async throws {
        let key = try await key(algorithm, for: "files")
        // Both cosigns check by an exported key over SHA-256 alone.
        let isLongCurve = algorithm.contains("p384") || algorithm.contains("p521")
        let predicate = ["--type", "slsaprovenance", "--predicate", "predicate"]
        for signer in Tool.allCases {
            let (bundle, envelope) = ("\(signer).json", "\(signer).att.json")
            // cosign 2's newer bundle says SHA-256 of these curves too, whose keys sign over their own hash in AWS: cosign refuses it.
            let isDetached = signer == .cosign2 && isLongCurve
            if isDetached {
                try await must(
                    signer, ["sign-blob", "--key", key] + signing(signer) + ["--bundle", "named.json", "file"], "signs")
                for given in [key, "cosign.pub"] {
                    try await must(
                        .swsign,
                        ["verify-blob", "--key", given, "--insecure-ignore-tlog", "--bundle", "named.json", "file"],
                        "verifies a bundle by \(signer) that names another hash, by \(given)")
                }
            }
            let form =
                isDetached ? ["--tlog-upload=false", "--yes", "--output-signature"] : signing(signer) + ["--bundle"]
            try await must(signer, ["sign-blob", "--key", key] + form + [bundle, "file"], "signs")
            try await must(
                signer, ["attest-blob", "--key", key, "--bundle", envelope] + predicate + signing(signer) + ["file"],
                "attests")
            for verifier in Tool.allCases where signer == .swsign || verifier == .swsign {
                for given in [key, "cosign.pub"] where verifier == .swsign || given == key || !isLongCurve {
                    let flags = ["--key", given] + verifying(verifier)
                    try await must(
                        verifier, ["verify-blob", isDetached ? "--signature" : "--bundle", bundle] + flags + ["file"],
                        "verifies what \(signer) signed, by \(given)")
                    try await must(
                        verifier,
                        ["verify-blob-attestation", "--type", "slsaprovenance", "--bundle", envelope] + flags
                            + ["file"], "verifies what \(signer) attested, by \(given)")
                }
            }
        }
    }

    @Test("Images, by reference")
    func images() async throws {
        let key = try await key("ecdsa-sha2-256-nistp256", for: "images")
        let images = try await ImagePairTests.Images(.referrersAPI)
        for signer in Tool.allCases {
            let image = images.name(try await images.push("by \(signer)"))
            // cosign 2.5 writes bundles for attestations only.
            let flags = signer == .cosign2 ? ["--yes", "--tlog-upload=false"] : signing(signer)
            try await must(signer, ["sign", "--key", key] + flags + [image], "signs")
            try await must(
                signer,
                ["attest", "--key", key, "--type", "slsaprovenance", "--predicate", "predicate"] + signing(signer)
                    + [image], "attests")
            for verifier in Tool.allCases where signer == .swsign || verifier == .swsign {
                if verifier != .cosign2 {
                    try await must(
                        verifier, ["verify", "--key", key] + verifying(verifier) + [image],
                        "verifies what \(signer) signed")
                }
                try await must(
                    verifier,
                    ["verify-attestation", "--type", "slsaprovenance", "--key", key] + verifying(verifier)
                        + [image], "verifies what \(signer) attested")
            }
        }
    }
}
