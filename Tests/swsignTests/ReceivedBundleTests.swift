import Foundation
import InToto
import LocalSigstore
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import TestServices
import Testing

/// Bundles that other tools wrote, or that were made for another Sigstore.
@Suite("Bundles of others", .localSigstore)
struct ReceivedBundleTests {
    private static func bundle(_ place: SigningFixture) throws -> SigstoreBundle {
        try SigstoreBundle(parsing: try place.directory.read("bundle.json"))
    }

    private static func sign(_ place: SigningFixture, _ services: LocalServices.SigningConfigKind) async throws {
        try place.directory.write("file", "the release")
        let outcome = await place.run(
            ["sign-blob", "--yes", "--bundle", "bundle.json"] + place.services(services) + (try place.token()) + [
                "file"
            ])
        try #require(outcome.succeeded, "\(outcome.messages)")
    }

    @Test("A bundle of version 0.1 or 0.2 may end with its root; in any other place a root is refused")
    func rootAtTheEnd() async throws {
        let place = try SigningFixture()
        try await Self.sign(place, .v1)
        var bundle = try Self.bundle(place)
        guard case .certificates(let leaf) = bundle.keyMaterial else { return #expect(Bool(false)) }
        let authority = try #require(
            TrustedRoot(parsing: Array(try Data(contentsOf: URL(fileURLWithPath: place.services.files.trustedRoot))))
                .certificateAuthorities.first)
        let between = authority.intermediates.map(\.der)
        let root = try #require(authority.anchors.first).der
        for (version, chain, code) in [
            (.v01, leaf + between + [root], nil), (.v02, leaf + between + [root], nil), (.v02, leaf + [root], nil),
            (.v01, leaf + between + [root, root], "root-in-bundle"), (.v02, leaf + [root] + between, "root-in-bundle"),
        ] as [(SigstoreBundle.Version, [[UInt8]], String?)] {
            bundle.version = version
            bundle.keyMaterial = .certificates(chain)
            try place.directory.write("bundle.json", bundle.serialized())
            let outcome = await place.verify("file")
            #expect(outcome.code == code && outcome.succeeded == (code == nil), "\(version): \(outcome.messages)")
        }
        // It anchors nothing: who is believed is the verifier's to know.
        bundle.keyMaterial = .certificates(leaf + between + [root])
        try place.directory.write("bundle.json", bundle.serialized())
        let stranger = try #require(try TrustedRoot.embedded(.production).certificateAuthorities.first)
        try place.directory.write("roots.pem", stranger.anchors.map(\.pem).joined())
        let refused = await place.verify("file", flags: ["--ca-roots", "roots.pem"])
        #expect(refused.code == "certificate-path", "\(refused.messages)")
    }

    @Test("What npm published in 2023 is read", .needsShared)
    func npm() async throws {
        let directory = TemporaryDirectory()
        let path = "\(sharedDirectory)/provenance/npm/valid-attestations.json"
        let file = JSONCursor(try JSONValue(parsing: Array(try Data(contentsOf: URL(fileURLWithPath: path)))))
        let bundle = try file.member("attestations").elements()[0].member("bundle")
        try directory.write("bundle.json", bundle.value.serialized())
        let statement = try #require(try SigstoreBundle(parsing: bundle.value.serialized()).statement())
        let digest = try #require(statement.subjects.first?.digests.first)
        let outcome = await directory.swsign(
            "verify-blob-attestation", "--offline", "--bundle", "bundle.json", "--digest", digest.hex, "--digestAlg",
            digest.algorithm, "--type", statement.predicateType.uri, "--certificate-identity-regexp",
            "^https://github.com/sigstore/sigstore-js/", "--certificate-oidc-issuer",
            "https://token.actions.githubusercontent.com")
        #expect(outcome.succeeded, "\(outcome.messages)")
    }

    @Test("A timestamp by an authority that the root does not know is not counted, with a warning")
    func unknownTimestampAuthority() async throws {
        let place = try SigningFixture()
        try await Self.sign(place, .v1)
        var root = try TrustedRoot(
            parsing: Array(try Data(contentsOf: URL(fileURLWithPath: place.services.files.trustedRoot))))
        root.timestampAuthorities = try TrustedRoot.embedded(.production).timestampAuthorities
        try place.directory.write("root.json", root.serialized())
        func verify(_ flags: [String]) async -> Program.Outcome {
            await place.run(
                ["verify-blob", "--bundle", "bundle.json", "--trusted-root", "root.json"]
                    + place.expecting(SigningFixture.alice) + flags + ["file"])
        }
        let words = "WARNING: file: a timestamp is not counted: the trusted root does not know its authority"
        let verified = await verify(["--output", "json"])
        #expect(verified.succeeded && verified.messages.contains(words), "\(verified.messages)")
        let object = try #require(try verified.objects().first)
        #expect(
            try object.member("warnings").elements().map { try $0.member("code").string() } == ["timestamp-authority"])
        #expect(!verified.messages.contains("says the timestamp authority"))
        let demanded = await verify(["--use-signed-timestamps", "--output", "json"])
        #expect(demanded.code == "timestamp-authority" && demanded.messages.contains(words), "\(demanded.messages)")
        #expect(try demanded.objects().first?.member("warnings").elements().count == 1)
        // The log of version 2 states no time, so that nothing else says when the certificate was used.
        try await Self.sign(place, .v2)
        let alone = await verify([])
        #expect(alone.code == "timestamp-authority", "\(alone.messages)")
        // Known ones are counted, without a word.
        let known = await place.verify("file")
        #expect(known.succeeded && !known.messages.contains("WARNING"), "\(known.messages)")
    }
}
