import SigstoreClients
import StrictJSON
import Testing

@Suite("Signing configs in the making")
struct SigningConfigDraftTests {
    private func text(_ draft: SigningConfigDraft) throws -> String {
        String(decoding: try draft.serialized(), as: UTF8.self)
    }

    // Each expected text is what cosign 3.1.1 writes for the same flags.
    @Test func likeCosign() throws {
        var draft = SigningConfigDraft()
        #expect(
            try text(draft)
                == #"{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json","rekorTlogConfig":{},"tsaConfig":{}}"#
        )
        try draft.add(
            "url=https://fulcio.x,api-version=1,start-time=2024-01-01T00:00:00Z,end-time=2025-01-01T00:00:00Z,operator=x",
            kind: .certificateAuthority)
        try draft.add(
            "url=https://rekor.x,api-version=2,start-time=2024-01-01T00:00:00Z,operator=x", kind: .transparencyLog)
        try draft.select("EXACT:2", kind: .transparencyLog)
        try draft.add("url=https://o.x,api-version=1,start-time=2024-01-01T00:00:00Z,operator=x", kind: .issuer)
        #expect(
            try text(draft) == """
                {"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json","caUrls":[{"url":"https://fulcio.x",\
                "majorApiVersion":1,"validFor":{"start":"2024-01-01T00:00:00Z","end":"2025-01-01T00:00:00Z"},\
                "operator":"x"}],"oidcUrls":[{"url":"https://o.x","majorApiVersion":1,"validFor":{"start":\
                "2024-01-01T00:00:00Z"},"operator":"x"}],"rekorTlogUrls":[{"url":"https://rekor.x","majorApiVersion":2,\
                "validFor":{"start":"2024-01-01T00:00:00Z"},"operator":"x"}],"rekorTlogConfig":{"selector":"EXACT",\
                "count":2},"tsaConfig":{}}
                """)
    }

    @Test func defaultsStayAndNewServicesFollow() throws {
        let defaults = try #require(TUFMirror.production.embeddedTargets[TUFMirror.signingConfigTarget])
        let before = try SigningConfig(parsing: defaults)
        var draft = try SigningConfigDraft(defaults: defaults, omitting: [.timestampAuthority])
        try draft.add(
            "url=https://fulcio.x,api-version=1,start-time=2024-01-01T00:00:00Z,operator=x", kind: .certificateAuthority
        )
        try draft.select("ALL", kind: .transparencyLog)
        let after = try SigningConfig(parsing: draft.serialized())
        #expect(
            after.certificateAuthorities.map(\.url) == before.certificateAuthorities.map(\.url) + ["https://fulcio.x"])
        #expect(after.transparencyLogs.map(\.url) == before.transparencyLogs.map(\.url))
        #expect(after.transparencyLogSelector == .all)
        #expect(after.timestampAuthorities.isEmpty)
    }

    @Test(
        "what is wrong is refused",
        arguments: [
            "", "url=https://x", "url=,api-version=1,start-time=2024-01-01T00:00:00Z,operator=x",
            "url=https://x,api-version=0,start-time=2024-01-01T00:00:00Z,operator=x",
            "url=https://x,api-version=1,start-time=yesterday,operator=x",
            "url=https://x,api-version=1,start-time=2024-01-01T00:00:00Z,operator=x,more=y",
            "url=https://x,api-version=1,start-time=2024-01-01T00:00:00Z,operator=x,operator=y",
        ])
    func malformed(_ specification: String) {
        #expect(throws: SigstoreError.self) {
            var draft = SigningConfigDraft()
            try draft.add(specification, kind: .issuer)
        }
    }

    @Test("selectors that are wrong", arguments: ["", "SOME", "EXACT", "EXACT:0", "EXACT:x", "ANY:1"])
    func malformedSelector(_ text: String) {
        #expect(throws: SigstoreError.self) {
            var draft = SigningConfigDraft()
            try draft.select(text, kind: .transparencyLog)
        }
    }

    @Test func logsNeedASelector() throws {
        var draft = SigningConfigDraft()
        try draft.add("url=https://x,api-version=1,start-time=2024-01-01T00:00:00Z,operator=x", kind: .transparencyLog)
        #expect(throws: SigstoreError.self) { try draft.serialized() }
    }
}
