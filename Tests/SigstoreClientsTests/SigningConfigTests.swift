import Foundation
import SigstoreVerification
import StrictJSON
import Testing

@testable import SigstoreClients

@Suite("Signing configs")
struct SigningConfigTests {
    private func config(_ logs: [String], _ selector: String = "{\"selector\":\"ANY\"}") throws -> SigningConfig {
        try SigningConfig(
            parsing: Array(
                "{\"mediaType\":\"\(SigningConfig.mediaType)\",\"rekorTlogUrls\":[\(logs.joined(separator: ","))],\"rekorTlogConfig\":\(selector)}"
                    .utf8))
    }
    private func log(
        _ name: String, _ version: Int = 1, by who: String = "a", from: String = "2020-01-01T00:00:00Z",
        to: String? = nil
    ) -> String {
        let end = to.map { ",\"end\":\"\($0)\"" } ?? ""
        return
            "{\"url\":\"https://\(name)\",\"majorApiVersion\":\(version),\"validFor\":{\"start\":\"\(from)\"\(end)},\"operator\":\"\(who)\"}"
    }
    private let now = Instant(seconds: 1_767_225_600)

    private func selected(_ logs: [String], _ selector: String = "{\"selector\":\"ANY\"}") throws -> [String] {
        try config(logs, selector).transparencyLogs(at: now).map { String($0.url.dropFirst(8)) }
    }

    @Test("Windows, versions, operators and selectors")
    func selection() throws {
        #expect(try selected([]) == [])
        #expect(
            try selected([log("old", to: "2025-12-31T00:00:00Z"), log("new", from: "2025-12-31T00:00:00Z")]) == ["new"])
        // The newest version that is spoken wins; newer ones are passed over.
        #expect(try selected([log("v1"), log("v2", 2), log("v3", 3)]) == ["v2"])
        #expect(try selected([log("v1"), log("v2", 2, from: "2027-01-01T00:00:00Z")]) == ["v1"])
        // One of each operator, its newest.
        let all = "{\"selector\":\"ALL\"}"
        let many = [
            log("a1", by: "a"), log("a2", by: "a", from: "2024-01-01T00:00:00Z"), log("b1", by: "b"),
            log("c2", 2, by: "c"),
        ]
        #expect(try selected(many, all) == ["c2"])
        #expect(try selected(Array(many.dropLast()), all) == ["a2", "b1"])
        #expect(try selected(Array(many.dropLast()), "{\"selector\":\"EXACT\",\"count\":2}") == ["a2", "b1"])
        #expect(try selected(Array(many.dropLast()), "{\"selector\":\"EXACT\",\"count\":1}") == ["a2"])
        for (logs, selector) in [
            (Array(many.dropLast()), "{\"selector\":\"EXACT\",\"count\":3}"), ([log("v3", 3)], all),
            ([log("late", from: "2027-01-01T00:00:00Z")], all), ([log("gone", to: "2025-01-01T00:00:00Z")], all),
        ] {
            let error = #expect(throws: SigstoreError.self) { try selected(logs, selector) }
            #expect(error?.code == .noUsableService)
        }
        // Both ends of a window are in it.
        #expect(try selected([log("edge", from: "2026-01-01T00:00:00Z", to: "2026-01-01T00:00:00Z")]) == ["edge"])
        let none = #expect(throws: SigstoreError.self) { try config([]).certificateAuthority(at: now) }
        #expect(none?.code == .noUsableService)
    }

    @Test("The public instances")
    func embedded() throws {
        let production = try SigningConfig.embedded(.production)
        #expect(try production.certificateAuthority(at: now).url == "https://fulcio.sigstore.dev")
        #expect(try production.issuer(at: now).url == "https://oauth2.sigstore.dev/auth")
        #expect(try production.transparencyLogs(at: now).map(\.url) == ["https://rekor.sigstore.dev"])
        #expect(
            try production.timestampAuthorities(at: now).map(\.url) == [
                "https://timestamp.sigstore.dev/api/v1/timestamp"
            ])
        #expect(try SigningConfig.embedded(.staging).transparencyLogs(at: now).map(\.majorAPIVersion) == [2])
    }

    @Test(
        "What is not a signing config",
        arguments: [
            "", "{}", "{\"mediaType\":\"x\"}", "{\"mediaType\":\"\(SigningConfig.mediaType)\",\"surprise\":1}",
            "{\"mediaType\":\"\(SigningConfig.mediaType)\",\"rekorTlogConfig\":{\"selector\":\"SOME\"}}",
            "{\"mediaType\":\"\(SigningConfig.mediaType)\",\"rekorTlogConfig\":{\"selector\":\"EXACT\"}}",
            "{\"mediaType\":\"\(SigningConfig.mediaType)\",\"rekorTlogConfig\":{\"selector\":\"EXACT\",\"count\":0}}",
            "{\"mediaType\":\"\(SigningConfig.mediaType)\",\"caUrls\":[{\"url\":\"https://x\"}]}",
            "{\"mediaType\":\"\(SigningConfig.mediaType)\",\"caUrls\":[{\"url\":\"https://x\",\"validFor\":{\"start\":\"yesterday\"}}]}",
        ])
    func malformed(_ text: String) {
        #expect(throws: SigstoreError.self) { try SigningConfig(parsing: Array(text.utf8)) }
    }
}
