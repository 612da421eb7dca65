import Foundation
import TestServices
import Testing

/// Key pairs in secrets of a cluster and in variables of GitLab, which each tool makes and the others use.
@Suite(
    .needsPeers,
    .enabled(if: SecretServices.areThere, "left out: the servers of key services, in ../shared/keys/fakes"))
struct SecretKeyPairTests {
    private let services: SecretServices
    private let place: Workplace

    init() throws {
        (services, place) = (try SecretServices.running(), try Workplace())
        try place.write("the release", to: "file")
        try place.write(services.kubeconfig("token: sa-token"), to: "config")
    }

    private var environment: [String: String] {
        [
            "KUBECONFIG": "\(place.path)/config", "GITLAB_HOST": "http://127.0.0.1:\(services.port)",
            "GITLAB_TOKEN": "glpat-test",
        ]
    }

    private func must(_ tool: Tool, _ arguments: [String], _ what: String) async throws {
        let outcome = try await place.run(tool.program, arguments, password: "a-long-password", environment)
        #expect(outcome.status == 0, "\(tool) \(what): \(outcome.messages)")
    }

    @Test(
        "Each tool signs and verifies with what each has made",
        arguments: ["k8s://team-b/pair-", "gitlab://team/pair-"])
    func pairs(_ beginning: String) async throws {
        try await place.must(Tool.cosign3.program, ["signing-config", "create", "--out", "none.json"])
        for maker in Tool.allCases {
            let key = "\(beginning)\(maker)"
            try? FileManager.default.removeItem(atPath: "\(place.path)/cosign.pub")
            try await must(maker, ["generate-key-pair", key], "makes a pair")
            for signer in Tool.allCases where maker == .swsign || signer == .swsign {
                let bundle = "\(maker)-\(signer).json"
                let form =
                    switch signer {
                    case .swsign: ["--tlog-upload=false"]
                    case .cosign2: ["--tlog-upload=false", "--new-bundle-format"]
                    case .cosign3: ["--signing-config", "none.json"]
                    }
                try await must(
                    signer, ["sign-blob", "--yes", "--key", key, "--bundle", bundle] + form + ["file"],
                    "signs with what \(maker) made")
                for verifier in Tool.allCases where signer == .swsign || verifier == .swsign {
                    let more =
                        switch verifier {
                        case .swsign: [] as [String]
                        case .cosign2: ["--new-bundle-format", "--trusted-root", Shared.trustedRoot]
                        case .cosign3: ["--trusted-root", Shared.trustedRoot]
                        }
                    for given in [key, "cosign.pub"] {
                        try await must(
                            verifier,
                            ["verify-blob", "--insecure-ignore-tlog", "--key", given, "--bundle", bundle] + more + [
                                "file"
                            ],
                            "verifies what \(signer) signed, by \(given)")
                    }
                }
            }
        }
    }
}
