import Foundation
import Testing

/// The corpus of real signatures: cosign's verdict where it is right, the right one where it is not.
@Suite(.needsPeers, .serialized)
struct CorpusTests {
    /// All but the cases with policies in Rego or CUE.
    @Test(arguments: [("blob", 467), ("blob-attestation", 181), ("image", 189), ("image-attestation", 99)])
    func verdictsAreRight(kind: String, count: Int) async throws {
        try await check(count) {
            $0["kind"] as? String == kind && ($0["verify"] as? [String])?.contains("--policy") == false
        }
    }

    /// Runs a part of the corpus through its own script.
    private func check(_ count: Int, _ isWanted: ([String: Any]) -> Bool) async throws {
        let place = try Workplace()
        let samples = Shared.path + "/samples"
        for name in try FileManager.default.contentsOfDirectory(atPath: samples) where name != "cases.json" {
            try FileManager.default.createSymbolicLink(
                atPath: "\(place.path)/\(name)", withDestinationPath: "\(samples)/\(name)")
        }
        let all = try #require(
            try JSONSerialization.jsonObject(with: Data(try place.read(samples + "/cases.json"))) as? [[String: Any]])
        let wanted = all.filter(isWanted)
        #expect(wanted.count == count)
        try JSONSerialization.data(withJSONObject: wanted)
            .write(to: URL(fileURLWithPath: place.path + "/cases.json"))
        let outcome = try await place.run(
            "/usr/bin/env", ["python3", samples + "/check", Tool.swsign.program, "--corpus", place.path])
        let output = String(decoding: outcome.output, as: UTF8.self)
        #expect(outcome.status == 0, "\(output)\(outcome.messages)")
        #expect(output.hasSuffix("\(wanted.count) of \(wanted.count) right\n"))
    }
}
