import OCIRegistry
import SigstoreCrypto
import StrictJSON
import Testing

@Suite("Images: everything in a layout, without any registry")
struct ImageLayoutTests {
    @Test("sign, attest, verify, with wrong keys, annotations and types refused", arguments: [true, false])
    func scheme(older: Bool) async throws {
        let directory = TemporaryDirectory()
        for name in ["key", "other"] { try directory.makeKey(name) }
        let digests = try await directory.makeImages()
        let image = "oci-layout:img:one"
        let verify = ["verify", "--key", "key.pub", "--insecure-ignore-tlog"]
        func ending(_ arguments: [String]) async -> Program.Ending {
            await Program(directory: directory.path).run(arguments).ending
        }

        #expect(await ending(verify + [image]) == .exit(10))
        #expect(await ending(verify + ["oci-layout:img:none"]) == .exit(11))
        try await directory.must(
            "sign", "--key", "key.pem", "--tlog-upload=false", "--new-bundle-format=\(!older)", "-a",
            "author=Ann,version=1.0.0",
            "oci-layout:img@\(digests.one)")
        #expect(await ending(verify + ["-a", "author=Ann", image]) == .exit(0))
        #expect(await ending(verify + ["-a", "author=Bob", image]) == .exit(12))
        #expect(await ending(["verify", "--key", "other.pub", "--insecure-ignore-tlog", image]) == .exit(12))
        #expect(await ending(verify + ["oci-layout:img:multi"]) == .exit(10))
        try directory.write("root.json", #"{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}"#)
        let identity = ["--trusted-root", "root.json", "--certificate-identity=a", "--certificate-oidc-issuer=b"]
        #expect(await ending(["verify", "--insecure-ignore-tlog"] + identity + [image]) == .exit(13))

        try await directory.attest(image, type: "slsaprovenance", older: older)
        #expect(try await directory.attestations(image, type: "slsaprovenance") == 1)
        #expect(try await directory.attestations(image, type: "vuln") == 0)
        #expect(try await directory.signatures(image) == 1, "an attestation is no signature")
        try await directory.must(
            "sign", "--recursive", "--key", "key.pem", "--tlog-upload=false", "--new-bundle-format=\(!older)",
            "oci-layout:img:multi")
        #expect(try await directory.signatures("oci-layout:img:multi", "--recursive") >= 3)
        // The only image of a layout needs no tag.
        try await directory.must("copy", image, "oci-layout:alone")
        #expect(try await directory.signatures("oci-layout:alone") == directory.signatures(image))
        #expect(await ending(verify + ["oci-layout:img"]) == .exit(1), "there are several images, and none was picked")
    }

    @Test("A layout that is damaged or tampered with is refused, not called unsigned")
    func damaged() async throws {
        let directory = TemporaryDirectory()
        try directory.makeKey()
        let digests = try await directory.makeImages()
        try await directory.sign("oci-layout:img:one", older: false)
        let manifest = "img/blobs/sha256/\(digests.one.hex)"
        let content = try directory.read(manifest)
        try directory.write(manifest, content + [0x20])
        for command in [
            ["verify", "--key", "key.pub", "--insecure-ignore-tlog"], ["tree"], ["save", "--dir", "saved"],
        ] {
            let outcome = await Program(directory: directory.path).run(command + ["oci-layout:img:one"])
            #expect(outcome.ending == .exit(1) && outcome.code == "digest-mismatch", "\(command): \(outcome.messages)")
        }
        try directory.write(manifest, content)
        let index = try directory.text("img/index.json")
        for text in ["", "[]", index + "}", index.replacing("sha256:", with: "sha256:../")] {
            try directory.write("img/index.json", text)
            let outcome = await directory.swsign(
                "verify", "--key", "key.pub", "--insecure-ignore-tlog", "oci-layout:img:one")
            #expect(outcome.ending == .exit(1) && outcome.code == "malformed-layout", "\(outcome.messages)")
        }
    }
}
