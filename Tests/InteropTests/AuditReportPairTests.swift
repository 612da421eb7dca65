import Foundation
import Testing

/// The attestation of an audit's report, which the cosigns verify too.
@Suite(.needsPeers)
struct AuditReportPairTests {
    private static let report = """
        {"version":1,"head":{"started":"2026-11-27T01:02:03Z","finished":"2026-11-27T01:05:03Z","tool":"swsign",\
        "ranBy":"ann@example","places":["registry.example/app"],"signers":["the key abc="]},"sums":{"rows":1,"findings":0,\
        "incomplete":0,"verdicts":{"could-not-look":0,"invalid":0,"unsigned":0,"other-signer":0,"former-signer":0,\
        "not-judged":0,"accepted":1},"signed":{"yes":1,"no":0,"could-not-look":0},"months":{"":1},"slsaLevels":{}},"rows":[\
        {"place":"registry.example/app","names":["1.0"],"signed":"yes","verdict":"accepted"}]}
        """

    @Test("cosign verifies it of the report alone", arguments: Tool.allCases)
    func verified(verifier: Tool) async throws {
        let place = try Workplace()
        try place.write(Self.report, to: "part.json")
        try await place.must(Tool.swsign.program, ["generate-key-pair", "--output-key-prefix", "key"])
        try await place.must(
            Tool.swsign.program,
            [
                "audit", "merge", "part.json", "--output", "json", "--output-file", "report.json", "--attest",
                "--attest-key",
                "key.key", "--tlog-upload=false",
            ])
        let type = "urn:swsign:audit:v1"
        let bundle = "report.json.sigstore.json"
        let right = try await verifier.verify(
            .attestation, bundle, of: "report.json", key: "key", type: type, in: place)
        #expect(right.status == 0, "\(right.messages)")
        let otherFile = try await verifier.verify(
            .attestation, bundle, of: "part.json", key: "key", type: type, in: place)
        #expect(otherFile.status != 0)
        let otherType = try await verifier.verify(
            .attestation, bundle, of: "report.json", key: "key", type: "urn:swsign:audit:v2", in: place)
        // cosign 2 does not look at the type in a bundle of this version.
        #expect(otherType.status != 0 || verifier == .cosign2)
    }
}
