import LocalSigstore
import OCIRegistry
import SigstoreCrypto
import StrictJSON
import SwSignCore
import TestServices
import Testing

@Suite("Images: attach, download, tree, triangulate")
struct ImageAttachmentTests {
    private static let payloadType = "application/vnd.in-toto+json"

    /// The payload that cosign signs, and a signature over it, as `generate` and `openssl dgst -sign` make them.
    private func makeSignature(_ directory: TemporaryDirectory, _ digest: Digest, repository: String, key: PrivateKey)
        throws
    {
        let payload = SimpleSigningPayload(dockerReference: repository, digest: digest).json().serialized()
        try directory.write("payload.json", payload)
        let message = try HashedMessage.of(payload, schemes: [key.publicKey.defaultScheme])
        try directory.write("payload.sig", Base64.encode(try key.sign(message, scheme: key.publicKey.defaultScheme)))
    }

    @Test(
        "A signature that was made elsewhere is attached, and both cosigns verify it", .needsShared,
        arguments: RegistryKind.registries)
    func signature(kind: RegistryKind) async throws {
        let directory = TemporaryDirectory()
        let key = try directory.makeKey()
        let digests = try await directory.makeImages()
        try await kind.run { address, _ in
            let image = "\(address)/team/app:v1"
            try await directory.must("copy", "oci-layout:img:one", image)
            try makeSignature(directory, digests.one, repository: "\(address)/team/app", key: key)
            let attached = try await directory.must(
                "attach", "signature", "--signature", "payload.sig", "--payload", "payload.json", image)
            #expect(!attached.messages.contains("WARNING"), "\(attached.messages)")
            #expect(try await directory.signatures(image) == 1)
            // The same again is the same; without the payload, it is made as cosign makes it.
            let implied = try await directory.must(
                "attach", "signature", "--signature", try directory.text("payload.sig"), image)
            #expect(implied.messages.contains("--payload"))
            #expect(try await directory.signatures(image) == 1)
            for cosign in Cosign.allCases {
                let verified = try await cosign.verify(["verify"], image, in: directory)
                #expect(verified.succeeded, "\(verified.messages)")
            }
            // What cosign 2 downloads, byte for byte.
            let theirs = try await Cosign.two.run("download", "signature", image, in: directory)
            #expect(try await directory.must("download", "signature", image).output == theirs.output)

            // A payload about another image is attached with a warning, and does not verify.
            let other = "\(address)/team/multi:v1"
            try await directory.must("copy", "oci-layout:img:multi", other)
            let moved = try await directory.must(
                "attach", "signature", "--signature", "payload.sig", "--payload", "payload.json", other)
            #expect(moved.messages.contains("will not verify"), "\(moved.messages)")
            let verified = await directory.swsign("verify", "--key", "key.pub", "--insecure-ignore-tlog", other)
            #expect(verified.ending == .exit(12), "\(verified.messages)")
        }
    }

    @Test("What belongs to a signature becomes its annotations, as cosign 2 writes them", .needsShared)
    func parts() async throws {
        let directory = TemporaryDirectory()
        let key = try directory.makeKey()
        let digests = try await directory.makeImages()
        try makeSignature(directory, digests.one, repository: "img", key: key)
        let bundle =
            #"{"SignedEntryTimestamp":"c2V0","Payload":{"body":"e30=","integratedTime":1,"logIndex":2,"logID":"00"}}"#
        try directory.write(
            "entry.json",
            #"{"abc":{"body":"e30=","integratedTime":1,"logIndex":2,"logID":"00","verification":{"signedEntryTimestamp":"c2V0"}}}"#
        )
        try directory.write("older.json", #"{"base64Signature":"","rekorBundle":\#(bundle)}"#)
        try directory.write("rekor.json", bundle)
        try directory.write("tsr.json", #"{"SignedRFC3161Timestamp":"MAA="}"#)
        try directory.write("tsr.der", [0x30, 0])
        let arguments = ["attach", "signature", "--signature", "payload.sig", "--payload", "payload.json"]
        // The kind of the entry is read from its body, and {} has none.
        for file in ["entry.json", "older.json", "rekor.json"] {
            let outcome = await Program(directory: directory.path).run(
                arguments + ["--rekor-response", file, "oci-layout:img:one"])
            #expect(
                outcome.ending == .exit(1) && outcome.code == "unexpected-json" && outcome.messages.contains("kind"),
                "\(outcome.messages)")
        }
        let body = Base64.encode(Array(#"{"kind":"hashedrekord","apiVersion":"0.0.1"}"#.utf8))
        for file in ["entry.json", "older.json", "rekor.json"] {
            try directory.write(file, try directory.text(file).replacing("e30=", with: body))
        }
        for file in ["entry.json", "older.json", "rekor.json"] {
            for timestamp in ["tsr.json", "tsr.der"] {
                try await directory.must("clean", "--yes", "oci-layout:img:one")
                let outcome = await Program(directory: directory.path).run(
                    arguments + ["--rekor-response", file, "--tsr", timestamp, "oci-layout:img:one"])
                #expect(outcome.succeeded, "\(outcome.messages)")
                let line = try #require(
                    try await directory.must("download", "signature", "oci-layout:img:one").objects().first)
                let found = String(decoding: try line.member("Bundle").value.serialized(), as: UTF8.self)
                #expect(found == bundle.replacing("e30=", with: body), "\(file)")
                #expect(try line.member("RFC3161Timestamp").member("SignedRFC3161Timestamp").string() == "MAA=")
            }
        }
        for (flag, content) in [
            ("--rekor-response", "{}"), ("--tsr", "{}"), ("--certificate", "nothing"),
            ("--certificate-chain", "nothing"),
        ] {
            try directory.write("bad", content)
            let outcome = await Program(directory: directory.path).run(arguments + [flag, "bad", "oci-layout:img:one"])
            #expect(outcome.ending == .exit(1), "\(flag): \(outcome.messages)")
        }
        try await directory.expectRefusal("usage", "--signature", of: ["attach", "signature", "oci-layout:img:one"])
        try await directory.expectRefusal("usage", "--bundle", of: arguments + ["--bundle", "b", "oci-layout:img:one"])
    }

    @Test("A certificate comes back from a download")
    func certificate() async throws {
        let directory = TemporaryDirectory()
        let key = try directory.makeKey()
        let digests = try await directory.makeImages()
        try makeSignature(directory, digests.one, repository: "img", key: key)
        try await directory.tool(
            "openssl", "req", "-x509", "-key", "key.pem", "-subj", "/CN=signer", "-days", "1", "-out", "cert.pem")
        let der = try #require(try PEM.blocks(in: try directory.read("cert.pem")).first).bytes
        try await directory.must(
            "attach", "signature", "--signature", "payload.sig", "--payload", "payload.json", "--certificate",
            "cert.pem",
            "--certificate-chain", "cert.pem", "oci-layout:img:one")
        let line = try #require(try await directory.must("download", "signature", "oci-layout:img:one").objects().first)
        #expect(try line.member("Cert").member("Raw").bytes() == der)
        #expect(try line.member("Chain").elements().map { try $0.member("Raw").bytes() } == [der])
    }

    @Test("Envelopes and bundles are attached as attestations", .needsShared, arguments: RegistryKind.registries)
    func attestations(kind: RegistryKind) async throws {
        let directory = TemporaryDirectory()
        try directory.makeKey()
        try await directory.makeImages()
        for older in [true, false] {
            try await directory.attest("oci-layout:img:one", older: older)
            try await directory.attest("oci-layout:img:one", type: "https://example.org/two", older: older)
        }
        let lines = try await directory.must("download", "attestation", "oci-layout:img:one").output.split(
            separator: "\n")
        try #require(lines.count == 4)
        // The older scheme's come first.
        try directory.write("envelopes.jsonl", "\(lines[0])\n\n\(lines[1])\n")
        for (index, line) in lines.enumerated() { try directory.write("\(index).json", "\(line)\n") }
        try await kind.run { address, _ in
            let image = "\(address)/team/app:v1"
            try await directory.must("copy", "--only=sbom", "oci-layout:img:one", image)
            let outcome = try await directory.must(
                "attach", "attestation", "--attestation", "envelopes.jsonl", "--attestation", "2.json", "--attestation",
                "3.json", image)
            #expect(!outcome.messages.contains("WARNING"), "\(outcome.messages)")
            let attached = try await directory.must("download", "attestation", image).output.split(separator: "\n")
            #expect(Set(attached) == Set(lines))
            #expect(try await directory.attestations(image) == 2)
            #expect(try await directory.attestations(image, type: "https://example.org/two") == 2)
            let picked = try await directory.must(
                "download", "attestation", "--predicate-type", "https://example.org/two", image
            ).objects()
            #expect(picked.count == 2)
            for cosign in Cosign.allCases {
                let verified = try await cosign.verify(
                    ["verify-attestation", "--type", "custom"], image, in: directory)
                #expect(verified.succeeded, "\(verified.messages)")
            }
            // Where there are no bundles, both cosigns print the envelopes as we do.
            try await directory.must("copy", "--only=sbom", "oci-layout:img:one", "\(address)/team/older:v1")
            try await directory.must(
                "attach", "attestation", "--attestation", "envelopes.jsonl", "\(address)/team/older:v1")
            for cosign in Cosign.allCases {
                let theirs = try await cosign.run("download", "attestation", "\(address)/team/older:v1", in: directory)
                let ours = try await directory.must("download", "attestation", "\(address)/team/older:v1")
                #expect(Set(ours.output.split(separator: "\n")) == Set(theirs.output.split(separator: "\n")))
            }
            let elsewhere = "\(address)/team/multi:v1"
            try await directory.must("copy", "oci-layout:img:multi", elsewhere)
            let moved = try await directory.must("attach", "attestation", "--attestation", "2.json", elsewhere)
            #expect(moved.messages.contains("not about this image"))
        }
        try directory.write("empty", "")
        try directory.write("signature.json", #"{"payloadType":"text/plain","payload":"aGk=","signatures":[]}"#)
        for file in ["empty", "signature.json", "key.pub"] {
            let outcome = await directory.swsign("attach", "attestation", "--attestation", file, "oci-layout:img:one")
            #expect(outcome.ending == .exit(1) && outcome.messages.contains(file), "\(outcome.messages)")
        }
        try await directory.expectRefusal(
            "usage", "--attestation", of: ["attach", "attestation", "oci-layout:img:one"])
    }

    @Test("A bundle is attached as a signature")
    func bundle() async throws {
        let directory = TemporaryDirectory()
        try directory.makeKey()
        try await directory.makeImages()
        try await directory.must(
            "sign", "--key", "key.pem", "--tlog-upload=false", "--upload=false", "--bundle", "b.json",
            "oci-layout:img:one")
        #expect(try await directory.signatures("oci-layout:img:one") == 0)
        try await directory.must("attach", "signature", "--bundle", "b.json", "oci-layout:img:one")
        #expect(try await directory.signatures("oci-layout:img:one") == 1)
        let line = try await directory.must("download", "signature", "oci-layout:img:one").line
        #expect(line == String(decoding: try directory.read("b.json"), as: UTF8.self))
        // cosign's sign predicate is an attestation to whoever asks for it.
        let type = "https://sigstore.dev/cosign/sign/v1"
        #expect(
            try await directory.must("download", "attestation", "--predicate-type", type, "oci-layout:img:one").line
                == line)
        #expect(await directory.swsign("download", "attestation", "oci-layout:img:one").ending == .exit(10))
    }

    @Test("An SBOM is attached, downloaded and signed like cosign's", .needsShared, arguments: Cosign.allCases)
    func sbom(cosign: Cosign) async throws {
        let directory = TemporaryDirectory()
        try directory.makeKey()
        try await directory.makeImages()
        try directory.write("a.json", #"{"spdxVersion":"SPDX-2.3"}"#)
        try directory.write("b.xml", "<bom/>")
        try directory.write("c.spdx", "SPDXVersion: SPDX-2.3\n\u{1b}[31m")
        try await RegistryKind.dockerRegistry.run { address, _ in
            let image = "\(address)/team/app:v1"
            try await directory.must("copy", "oci-layout:img:one", image)
            for (file, type, mediaType) in [
                ("a.json", "spdx", "text/spdx+json"), ("a.json", "cyclonedx", "application/vnd.cyclonedx+json"),
                ("a.json", "syft", "application/vnd.syft+json"),
                ("b.xml", "cyclonedx", "application/vnd.cyclonedx+xml"),
                ("c.spdx", "spdx", "text/spdx"),
            ] {
                let attached = try await directory.must("attach", "sbom", "--sbom", file, "--type", type, image)
                #expect(attached.messages.contains("[\(mediaType)]") && attached.messages.contains("does not sign"))
                let ours = try await directory.must("download", "sbom", image)
                let content = try directory.read(file)
                #expect(ours.stdout == content)
                #expect(ours.messages.contains("Found SBOM of media type: \(mediaType)"))
                let theirs = try await cosign.run("download", "sbom", image, in: directory)
                #expect(
                    theirs.messages.contains(mediaType) && theirs.stdout.starts(with: content), "\(theirs.messages)")
            }
            let attached = try await cosign.run(
                "attach", "sbom", "--sbom", "a.json", "--type", "spdx", image, in: directory)
            #expect(attached.succeeded, "\(attached.messages)")
            #expect(try await directory.must("download", "sbom", image).output == directory.text("a.json"))
            let tag = try await directory.must("triangulate", "--type", "sbom", image).line
            try await directory.sign(tag, older: cosign == .two)
            #expect(try await directory.signatures(tag) == 1)
            let verified = try await cosign.verify(["verify"], tag, in: directory)
            #expect(verified.succeeded, "\(verified.messages)")
            try await directory.must(
                "attach", "sbom", "--sbom", "-", "--input-format", "text", image, input: .text("{typed"))
            #expect(try await directory.must("download", "sbom", image).output == "{typed")
            for arguments in [
                ["--type", "other"], ["--type", "spdx", "--input-format", "xml"], ["--input-format", "yaml"],
            ] {
                try await directory.expectRefusal(
                    "usage", of: ["attach", "sbom", "--sbom", "a.json"] + arguments + [image])
            }
            try await directory.expectRefusal(
                "file-not-found", "none.json", of: ["attach", "sbom", "--sbom", "none.json", image])
        }
    }

    @Test("Of an index, SBOMs and attestations are found by platform")
    func platforms() async throws {
        let directory = TemporaryDirectory()
        try directory.makeKey()
        let digests = try await directory.makeImages()
        try directory.write("sbom.json", "{}")
        try await directory.must("attach", "sbom", "--sbom", "sbom.json", "oci-layout:img@\(digests.one)")
        try await directory.attest("oci-layout:img@\(digests.one)", older: false)
        let none = await directory.swsign("download", "sbom", "oci-layout:img:multi")
        #expect(none.ending == .exit(11) && none.messages.contains("linux/arm64"), "\(none.messages)")
        try await directory.must("download", "sbom", "--platform", "linux/amd64", "oci-layout:img:multi")
        #expect(
            await directory.swsign("download", "sbom", "--platform", "linux/arm64", "oci-layout:img:multi").ending
                == .exit(11))
        #expect(await directory.swsign("download", "attestation", "oci-layout:img:multi").ending == .exit(10))
        try await directory.must("download", "attestation", "--platform", "linux/amd64", "oci-layout:img:multi")
        let unknown = await directory.swsign(
            "download", "attestation", "--predicate-type", "nope", "oci-layout:img:multi")
        #expect(unknown.ending == .exit(1) && unknown.code == "unknown-predicate-type")
        #expect(await directory.swsign("download", "signature", "oci-layout:img:multi").ending == .exit(10))
    }

    @Test(
        "What cannot be read is passed over with a warning, and never hides the rest",
        arguments: RegistryKind.registries)
    func unreadable(kind: RegistryKind) async throws {
        let directory = TemporaryDirectory()
        try directory.makeKey()
        try await directory.makeImages()
        try await kind.run { address, registry in
            let image = "\(address)/team/app:v1"
            try await directory.must("copy", "oci-layout:img:one", image)
            try directory.write("sbom.json", "{}")
            try await directory.must("attach", "sbom", "--sbom", "sbom.json", image)
            // A manifest of something else at the tag of the signatures.
            let tag = try await directory.must("triangulate", image).line
            try await directory.must("copy", "oci-layout:img:multi", tag)
            let alone = await directory.swsign("download", "signature", image)
            #expect(alone.ending == .exit(10), "\(alone.messages)")
            try await directory.sign(image, older: false)
            #expect(try await directory.must("download", "signature", image).objects().count == 1)
            #expect(try await directory.must("tree", image).output.contains("Signatures for an image tag"))
            // Not being able to look is another error than there being nothing.
            guard let registry else { return }
            for path in ["/referrers/", ".att", "/manifests/v1"] {
                registry.faults.add(Fault(.status(403, retryAfter: nil), method: "GET", path: path))
                for command in [
                    ["tree"], ["download", "signature"], ["download", "attestation"], ["clean", "--yes"], ["copy"],
                    ["save", "--dir", "x"],
                ] {
                    registry.faults.add(Fault(.status(403, retryAfter: nil), method: "HEAD", path: path))
                    let target = command == ["copy"] ? ["oci-layout:never:v1"] : []
                    let outcome = await Program(directory: directory.path).run(command + [image] + target)
                    #expect(
                        outcome.ending == .exit(1) && outcome.code == "denied",
                        "\(path) \(command): \(outcome.messages)")
                }
                registry.faults.removeAll()
            }
            #expect(try await directory.must("download", "sbom", image).output == "{}")
        }
    }

    @Test("tree and triangulate show what cosign shows", .needsShared, arguments: RegistryKind.registries)
    func tree(kind: RegistryKind) async throws {
        let directory = TemporaryDirectory()
        try directory.makeKey()
        let digests = try await directory.makeImages()
        try directory.write("sbom.json", "{}")
        try await kind.run { address, _ in
            let image = "\(address)/team/app:v1"
            try await directory.must("copy", "oci-layout:img:one", image)
            let nothing = try await directory.must("tree", image)
            #expect(nothing.output.contains("No Supply Chain Security Related Artifacts found for image \(image)"))
            try await directory.must("attach", "sbom", "--sbom", "sbom.json", image)
            for older in [true, false] {
                try await directory.sign(image, older: older)
                try await directory.attest(image, older: older)
            }
            func lines(_ outcome: Program.Outcome) -> Set<Substring> { Set(outcome.output.split(separator: "\n")) }
            let theirs = try await Cosign.three.run("tree", image, in: directory)
            #expect(try await lines(directory.must("tree", image)) == lines(theirs))
            for cosign in Cosign.allCases {
                for type in ["signature", "attestation", "sbom", "digest"] {
                    let theirs = try await cosign.run("triangulate", "--type", type, image, in: directory)
                    #expect(try await directory.must("triangulate", "--type", type, image).output == theirs.output)
                }
            }
            let environment = ["COSIGN_REPOSITORY": "\(address)/elsewhere/signatures"]
            let tag = "sha256-\(digests.one.hex).sig"
            #expect(
                try await directory.must("triangulate", image, environment: environment).line
                    == "\(address)/elsewhere/signatures:\(tag)")
            #expect(
                try await directory.must("triangulate", "--attachment-tag-prefix", "x-", image).line
                    == "\(address)/team/app:x-\(tag)")
            #expect(await directory.swsign("triangulate", "\(address)/team/app:none").ending == .exit(11))
            #expect(await directory.swsign("tree", "\(address)/team/none").ending == .exit(11))
            #expect(try await directory.must("triangulate", "oci-layout:img:one").line == "oci-layout:img:\(tag)")
            try await directory.expectRefusal("usage", of: ["triangulate", "--type", "bundle", image])
        }
    }
}
