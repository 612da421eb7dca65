import Foundation
import LocalSigstore
import OCIRegistry
import SigstoreCrypto
import StrictJSON
import TestServices
import Testing

/// What people are told if a name, a flag or a registry is not what they took it for.
struct ImageAdviceTests {
    @Test(
        "A URL is not an image's name: what is to be left out is named",
        arguments: ["https://", "http://", "docker://", "oci-archive://"], ["verify", "sign", "tree"])
    func urls(scheme: String, command: String) async throws {
        let directory = TemporaryDirectory()
        try directory.makeKey()
        let arguments: [String: [String]] = [
            "verify": ["--key", "key.pub", "--insecure-ignore-tlog"],
            "sign": ["--key", "key.pem", "--tlog-upload=false"],
        ]
        try await directory.expectRefusal(
            "malformed-reference", "leave out \(scheme)",
            of: [command] + (arguments[command] ?? []) + ["\(scheme)registry.example/team/app:1"])
    }

    @Test("A file is not an image: the command for files is named, and no registry is asked")
    func files() async throws {
        let directory = TemporaryDirectory()
        try directory.makeKey()
        try directory.write("sbom.cdx.json", "{}")
        try directory.write("predicate.json", "{}")
        for arguments in [
            ["sign", "--key", "key.pem", "--tlog-upload=false"],
            ["attest", "--key", "key.pem", "--tlog-upload=false", "--predicate", "predicate.json"],
        ] {
            try await directory.expectRefusal(
                "usage", "sbom.cdx.json is a file here", "sign-blob", of: arguments + ["sbom.cdx.json"])
        }
        // An image may have the name of a file: that is pointed to only if there is no such image.
        let verified = await directory.swsign("verify", "--key", "key.pub", "--insecure-ignore-tlog", "sbom.cdx.json")
        #expect(verified.ending == .exit(1) && verified.messages.contains("with verify-blob"), "\(verified.messages)")
    }

    @Test("A flag that only another command has names that command")
    func otherCommands() async throws {
        let directory = TemporaryDirectory()
        try await directory.expectRefusal(
            "usage", "--policy", "it is a flag of verify-attestation",
            of: ["verify", "--policy", "p.rego", "a.example/b/c:1"])
        try await directory.expectRefusal(
            "usage", "see swsign sign --help", of: ["sign", "--no-such-flag", "a.example/b/c:1"])
    }

    @Test("What stands at the image for a platform is pointed to", arguments: Scheme.allCases)
    func platforms(scheme: Scheme) async throws {
        let place = try await ImageFixture()
        let (index, images) = try await place.pushIndex(["amd64", "arm64"], tag: "v1")
        let none = await place.verify(index.name)
        none.expectRefusal(10, "no-signature")
        #expect(!none.messages.contains("--platform"))
        await place.sign(images[1].name, scheme: scheme).expectSuccess()
        try await place.attest(images[1].name, type: "spdxjson", scheme: scheme).expectSuccess()
        await place.verify(index.name).expectRefusal(10, "no-signature", "--platform linux/arm64")
        await place.verifyAttestation(index.name, type: "spdxjson")
            .expectRefusal(10, "no-signature", "an attestation stands", "--platform linux/arm64")
        await place.verify(index.name, flags: ["--platform", "linux/arm64"]).expectSuccess()
        await place.verifyAttestation(index.name, type: "spdxjson", flags: ["--platform", "linux/arm64"])
            .expectSuccess()
    }

    @Test(
        "A registry that refuses what is written: the one thing that helps there",
        arguments: [
            (400, "TAG_INVALID", "the tag 'x' already exists and is immutable", Scheme.newer, "COSIGN_REPOSITORY"),
            (412, "PRECONDITION", "configured as immutable", .older, "COSIGN_REPOSITORY"),
            (400, "MANIFEST_INVALID", "unknown media type", .newer, "--new-bundle-format=false"),
            (415, "UNSUPPORTED", "OCI not enabled", .older, "COSIGN_DOCKER_MEDIA_TYPES=1"),
        ])
    func refusals(status: Int, code: String, words: String, scheme: Scheme, cure: String) async throws {
        let place = try await ImageFixture(.fallbackTag)
        let image = try await place.push()
        let body = #"{"errors":[{"code":"\#(code)","message":"\#(words)"}]}"#
        try place.registry.faults.add(
            Fault(
                .answer(status, contentType: "application/json", body: Array(body.utf8)), method: "PUT",
                path: "/manifests/sha256-\(image.digest.hex)"))
        let outcome = await place.sign(image.name, scheme: scheme)
        outcome.expectRefusal(1, "http-status", cure, words)
        let tags = try await place.store.tags() ?? []
        #expect(tags.isEmpty, "\(tags)")
    }

    @Test("Who does not see a signature of the newer scheme is said once, unless --quiet is given")
    func newerScheme() async throws {
        let place = try await ImageFixture()
        let (one, two) = (try await place.push("one"), try await place.push("two"))
        let words = "cosign 2, and admission controllers of its age, do not see this"
        let both = await place.sign(one.name, two.name)
        both.expectSuccess()
        #expect(both.messages.components(separatedBy: words).count == 2, "\(both.messages)")
        #expect(both.messages.contains("--new-bundle-format=false"))
        let attested = try await place.attest(one.name, type: "custom")
        #expect(attested.messages.contains(words), "\(attested.messages)")
        for outcome in [
            await place.sign(one.name, flags: ["--quiet"]), await place.sign(one.name, scheme: .older),
            await place.sign(one.name, flags: ["--upload=false"]),
        ] {
            outcome.expectSuccess()
            #expect(!outcome.messages.contains(words), "\(outcome.messages)")
        }
    }
}
