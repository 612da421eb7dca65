import Foundation
import Testing

/// The corpus of real signatures: cosign's verdict where it is right, the right one where it is not.
@Suite(.needsPeers)
struct CorpusTests {
    /// One case, as far as it decides on whether the case is run.
    struct Case {
        let id: String
        let kind: String
        let needsCertificate: Bool
        let log: String
        let json: [String: Any]

        init(_ json: [String: Any]) throws {
            id = try #require(json["id"] as? String)
            kind = try #require(json["kind"] as? String)
            needsCertificate = json["key"] == nil
            log = try #require(json["log"] as? String)
            self.json = json
        }
    }

    @Test(arguments: ["blob", "blob-attestation"])
    func filesSignedWithKeysAndNoLog(kind: String) throws {
        try check { $0.kind == kind && !$0.needsCertificate && $0.log == "none" }
    }

    /// Runs a part of the corpus through its own script.
    private func check(_ isWanted: (Case) -> Bool) throws {
        let place = try Workplace()
        let samples = Shared.path + "/samples"
        for name in try FileManager.default.contentsOfDirectory(atPath: samples) where name != "cases.json" {
            try FileManager.default.createSymbolicLink(
                atPath: "\(place.path)/\(name)", withDestinationPath: "\(samples)/\(name)")
        }
        let all = try #require(
            try JSONSerialization.jsonObject(with: Data(try place.read(samples + "/cases.json"))) as? [[String: Any]])
        let wanted = try all.map(Case.init).filter(isWanted)
        try JSONSerialization.data(withJSONObject: wanted.map(\.json))
            .write(to: URL(fileURLWithPath: place.path + "/cases.json"))
        let outcome = try place.run(
            "/usr/bin/env", ["python3", samples + "/check", Tool.swsign.program, "--corpus", place.path])
        let output = String(decoding: outcome.output, as: UTF8.self)
        #expect(outcome.status == 0, "\(output)\(outcome.messages)")
        #expect(output.hasSuffix("\(wanted.count) of \(wanted.count) right\n"))
    }
}
