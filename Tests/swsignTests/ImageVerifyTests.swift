import Foundation
import InToto
import LocalSigstore
import OCIRegistry
import SigstoreCrypto
import StrictJSON
import TestServices
import Testing

/// verify and verify-attestation.
struct ImageVerifyTests {
    // MARK: What is found

    @Test(
        "Signed, unsigned, not there, signed by another key, not to be checked, and no certificate: each has its words and exit code",
        arguments: RegistryKind.main, Scheme.allCases)
    func statesOfAnImage(kind: RegistryKind, scheme: Scheme) async throws {
        let place = try await ImageFixture(kind)
        let image = try await place.push("signed", tag: "v1")
        let signed = await place.sign(image.name, scheme: scheme)
        signed.expectSuccess("sign")
        #expect(!signed.messages.contains("named by a tag"))

        let verified = await place.verify(image.name)
        verified.expectSuccess("verify")
        let payloads = try verified.payloads()
        #expect(payloads.count == 1)
        #expect(try payloads.map { try $0.imageDigest() } == [image.digest.description])
        #expect(verified.messages.contains("Verification for \(image.name) --"))
        #expect(verified.messages.contains("The cosign claims were validated"))
        #expect(try await place.verify("\(place.repository):v1").payloads().count == 1)

        await place.verify(image.name, key: "other").expectRefusal(
            12, "no-matching-signature", "no signature of", image.digest.description,
            scheme == .newer ? "another key signed this" : "the signature does not hold")
        let unsigned = try await place.push("not signed")
        await place.verify(unsigned.name).expectRefusal(
            10, "no-signature", "there is no signature of", unsigned.digest.description)
        await place.verify("\(place.repository):nowhere").expectRefusal(11, "image-not-found", "there is no image")
        let identity = await place.swsign(
            [
                "verify", "--offline", "--certificate-identity", "a@example.com", "--certificate-oidc-issuer",
                "https://example.com",
            ]
                + ImageFixture.verifying + [image.name])
        identity.expectRefusal(13, "no-certificate", "the signature was made with a key")

        let garbled = try await place.push("signed by something else")
        switch scheme {
        case .newer: try await place.putBundle(Array(#"{"mediaType":"application/x-new"}"#.utf8), for: garbled)
        case .older: try await place.putLayer(Array("{}".utf8), for: garbled, mediaType: "application/x-new")
        }
        await place.verify(garbled.name).expectRefusal(
            12, "no-matching-signature", "is signed in a way that cannot be checked", garbled.digest.description)
        // What cannot be read hides nothing.
        await place.sign(garbled.name, scheme: scheme == .newer ? .older : .newer).expectSuccess("sign beside")
        #expect(try await place.verify(garbled.name).payloads().count == 1)
    }

    @Test(
        "A registry that cannot be asked is no unsigned image", arguments: [RegistryKind.referrersAPI, .fallbackTag],
        Scheme.allCases)
    func couldNotLook(kind: RegistryKind, scheme: Scheme) async throws {
        let place = try await ImageFixture(kind)
        let image = try await place.push()
        let path =
            scheme == .older ? ".sig" : kind == .referrersAPI ? "/referrers/" : "/manifests/sha256-\(image.digest.hex)"
        try place.registry.faults.add(Fault(.status(403, retryAfter: nil), path: path))
        await place.verify(image.name).expectRefusal(1, "denied", "403")
    }

    @Test func aLayoutThatCannotBeReadIsNoUnsignedImage() async throws {
        let place = try await ImageFixture(.layout)
        let image = try await place.push()
        try place.directory.write("layout/index.json", "{")
        await place.verify(image.name).expectRefusal(1, "malformed-layout", "index.json")
        await place.verify("oci-layout:\(place.directory["nowhere"])").expectRefusal(
            1, "not-found", "there is no image layout")
    }

    @Test("--all-signatures reads both schemes; otherwise a bundle that holds is enough", arguments: RegistryKind.main)
    func bothSchemes(kind: RegistryKind) async throws {
        let place = try await ImageFixture(kind)
        let image = try await place.push()
        for scheme in Scheme.allCases { await place.sign(image.name, scheme: scheme).expectSuccess("sign \(scheme)") }
        let (older, newer) = ("cosign container image signature", "https://sigstore.dev/cosign/sign/v1")
        for (flags, types) in [([], [newer]), (["--all-signatures"], [newer, older])] {
            let payloads = try await place.verify(image.name, flags: flags).payloads()
            #expect(try payloads.map { try $0.member("critical").member("type").string() } == types)
        }
        for scheme in Scheme.allCases {
            try await place.attest(image.name, type: "link", scheme: scheme).expectSuccess("attest \(scheme)")
        }
        for (flags, count) in [([], 1), (["--all-signatures"], 2)] {
            let attested = await place.verifyAttestation(image.name, type: "link", flags: flags)
            #expect(try attested.objects().count == count, "\(attested.messages)")
        }
    }

    @Test func outputIsJSONOrText() async throws {
        let place = try await ImageFixture()
        let image = try await place.push()
        await place.sign(image.name, scheme: .older, flags: ["-a", "author=me"]).expectSuccess()
        let json = await place.verify(image.name, flags: ["--output", "json"])
        // The form that cosign prints, to the last byte.
        #expect(
            json.line == #"[{"critical":{"identity":{"docker-reference":"\#(place.repository)"},"#
                + #""image":{"docker-manifest-digest":"\#(image.digest)"},"type":"cosign container image signature"},"#
                + #""optional":{"author":"me"}}]"#)
        let text = await place.verify(image.name, flags: ["-o", "text"])
        text.expectSuccess()
        #expect(text.line.hasPrefix("\(image.digest) "))
        #expect(!text.output.contains("{"))
        let file = await place.verify(image.name, flags: ["--output-file", "result"])
        #expect(file.stdout.isEmpty)
        #expect(try place.directory.read("result") == json.stdout)
    }

    @Test func severalImagesInOneCall() async throws {
        let place = try await ImageFixture()
        var images: [TestImage] = []
        for text in ["one", "two", "three"] { images.append(try await place.push(text)) }
        let signed = await place.sign(images[0].name, images[2].name)
        signed.expectSuccess()
        #expect(signed.messages.contains("2 of 2 images signed"))
        let all = await place.verify(images[0].name, images[1].name, images[2].name, "\(place.repository):nowhere")
        // The first failure decides the exit code; whatever was verified is printed, in order.
        #expect(all.ending == .exit(10), "\(all.messages)")
        #expect(try all.payloads().map { try $0.imageDigest() } == [images[0], images[2]].map(\.digest.description))
        #expect(all.messages.contains("2 of 4 images verified"))
        #expect(all.messages.contains("not verified: \(images[1].name)"))
        #expect(all.messages.contains("[no-signature]") && all.messages.contains("[image-not-found]"))
    }

    // MARK: Claims

    @Test("Annotations are compared by value, byte for byte", arguments: Scheme.allCases)
    func annotations(scheme: Scheme) async throws {
        let place = try await ImageFixture()
        let image = try await place.push()
        let composed = "r\u{e9}gis"
        await place.sign(
            image.name, scheme: scheme, flags: ["-a", "author=\(composed)", "-a", "version=1.0.0", "-a", "empty="]
        ).expectSuccess()
        for flags in [["version=1.0.0"], ["author=\(composed)", "version=1.0.0"], ["empty="]] {
            let outcome = await place.verify(image.name, flags: flags.flatMap { ["-a", $0] })
            outcome.expectSuccess("\(flags)")
            let optional = try #require(try outcome.payloads().first).member("optional")
            #expect(try optional.member("version").string() == "1.0.0")
        }
        let wrong = [
            "version=1.0", "version=1.0.00", "version=", "Version=1.0.0", "other=1.0.0", "author=re\u{301}gis",
            "empty=x",
        ]
        for pair in wrong {
            await place.verify(image.name, flags: ["-a", "version=1.0.0", "-a", pair])
                .expectRefusal(12, "no-matching-signature", "the annotation")
        }
        await place.verify(image.name, flags: ["-a", "version"]).expectRefusal(1, "usage", "key=value")
    }

    @Test("One of several signatures has the annotations that are asked for")
    func annotationsOfOneSignature() async throws {
        let place = try await ImageFixture()
        let image = try await place.push()
        for (scheme, stage) in zip(Scheme.allCases, ["test", "release"]) {
            await place.sign(image.name, scheme: scheme, flags: ["-a", "stage=\(stage)"]).expectSuccess()
        }
        let found = try await place.verify(image.name, flags: ["-a", "stage=release"]).payloads()
        #expect(found.count == 1)
        #expect(try found.first?.member("optional").member("stage").string() == "release")
    }

    @Test("Annotations that are asked for stand with one subject, not one here and one there")
    func annotationsOfOneSubject() async throws {
        let place = try await ImageFixture()
        let key = try place.directory.makeKey("two")
        /// Puts a signature beside an image whose subjects have these annotations.
        func push(_ name: String, _ subjects: [JSONObject]) async throws -> TestImage {
            let image = try await place.push(name)
            let statement = JSONValue.object([
                "_type": .string("https://in-toto.io/Statement/v1"),
                "subject": .array(
                    subjects.map {
                        .object([
                            "digest": .object(["sha256": .string(image.digest.hex)]), "annotations": .object($0),
                        ])
                    }), "predicateType": .string("https://sigstore.dev/cosign/sign/v1"), "predicate": .object([:]),
            ]).serialized()
            let envelope = DSSEEnvelope(
                payloadType: "application/vnd.in-toto+json", payload: statement, signatures: [])
            let signature = try key.sign(envelope.preAuthenticationEncoding, scheme: .ecdsa(.sha256))
            let bundle = JSONValue.object([
                "mediaType": .string(ImageFixture.bundleType),
                "verificationMaterial": .object(["publicKey": .object([:])]),
                "dsseEnvelope": .object([
                    "payload": .bytes(statement), "payloadType": .string(envelope.payloadType),
                    "signatures": .array([.object(["sig": .bytes(signature)])]),
                ]),
            ])
            try await place.putBundle(bundle.serialized(), for: image)
            return image
        }
        let (x, y): (JSONObject, JSONObject) = (["x": .string("1")], ["y": .string("2")])
        let both: JSONObject = ["x": .string("1"), "y": .string("2")]
        let flags = ["-a", "x=1", "-a", "y=2"]
        let split = try await push("split", [x, y])
        await place.verify(split.name, key: "two", flags: flags)
            .expectRefusal(12, "no-matching-signature", "all of them with one subject")
        await place.verify(split.name, key: "two", flags: ["-a", "y=2"]).expectSuccess()
        // What is printed is said of the subject that has them.
        let whole = try await push("whole", [x, both])
        let found = try await place.verify(whole.name, key: "two", flags: flags).payloads()
        #expect(try found.map { try $0.member("optional").names() } == [["x", "y"]])
        // Nor do two signatures make up for one another.
        let apart = try await place.push("apart")
        for (scheme, flags) in [(Scheme.newer, "x=1"), (.newer, "y=2"), (.older, "x=1"), (.older, "y=2")] {
            await place.sign(apart.name, scheme: scheme, flags: ["-a", flags]).expectSuccess()
        }
        await place.verify(apart.name, flags: flags).expectRefusal(12, "no-matching-signature", "the annotation")
    }

    @Test("A signature that was moved to another image is refused", arguments: RegistryKind.main, Scheme.allCases)
    func movedSignature(kind: RegistryKind, scheme: Scheme) async throws {
        let place = try await ImageFixture(kind)
        let (image, other) = (try await place.push("signed"), try await place.push("not signed"))
        await place.sign(image.name, scheme: scheme).expectSuccess()
        try await place.copySignatures(from: image, to: other)
        await place.verify(other.name).expectRefusal(12, "no-matching-signature", other.digest.description)
        let unchecked = await place.verify(other.name, flags: ["--check-claims=false"])
        unchecked.expectSuccess()
        #expect(unchecked.messages.contains("WARNING: what was signed is not compared with the image"))
        #expect(!unchecked.messages.contains("The cosign claims were validated"))
    }

    // MARK: Which image

    @Test(
        "--recursive checks every platform's image, --platform one of them",
        arguments: [RegistryKind.referrersAPI, .layout], Scheme.allCases)
    func platforms(kind: RegistryKind, scheme: Scheme) async throws {
        let place = try await ImageFixture(kind)
        let (index, images) = try await place.pushIndex(["amd64", "arm64", "riscv64"], tag: "multi")
        await place.sign(index.name, scheme: scheme).expectSuccess()
        #expect(try await place.verify(index.name).payloads().count == 1)
        await place.verify(index.name, flags: ["--recursive"]).expectRefusal(
            10, "no-signature", images[0].digest.description)
        await place.verify(index.name, flags: ["--platform", "linux/arm64"])
            .expectRefusal(10, "no-signature", images[1].digest.description)
        await place.sign(images[1].name, scheme: scheme).expectSuccess()
        let one = try await place.verify(index.name, flags: ["--platform", "linux/arm64"]).payloads()
        #expect(try one.map { try $0.imageDigest() } == [images[1].digest.description])
        await place.verify(index.name, flags: ["-r"]).expectRefusal(10, "no-signature")

        await place.sign(index.name, scheme: scheme, flags: ["--recursive"]).expectSuccess()
        let all = try await place.verify(index.name, flags: ["--recursive"]).payloads()
        let expected = Set(([index] + images).map(\.digest.description))
        #expect(try Set(all.map { try $0.imageDigest() }) == expected)
        await place.verify(index.name, flags: ["--platform", "linux/s390x"])
            .expectRefusal(11, "image-not-found", "linux/s390x", "linux/riscv64")
        await place.verify(images[0].name, flags: ["--platform", "linux/amd64"]).expectRefusal(11, "image-not-found")
    }

    @Test("A registry that calls an index an image hides none of its platforms")
    func lyingMediaType() async throws {
        let place = try await ImageFixture()
        let (index, images) = try await place.pushIndex(["amd64", "arm64"])
        await place.sign(index.name).expectSuccess()
        let registry = try place.registry
        registry.faults.add(
            Fault(.contentType(MediaType.imageManifest), method: "HEAD", path: "/manifests/\(index.digest)"))
        registry.server.forgetRequests()
        #expect(try await place.verify(index.name).payloads().count == 1)
        // Nobody needs the manifest for that, and nobody asks for it.
        #expect(!registry.server.requests.contains { $0.target.hasSuffix("/manifests/\(index.digest)") })
        await place.verify(index.name, flags: ["--recursive"]).expectRefusal(
            10, "no-signature", images[0].digest.description)
        await place.verify(index.name, flags: ["--platform", "linux/arm64"]).expectRefusal(
            10, "no-signature", images[1].digest.description)
        for arguments in [["copy", index.name, "oci-layout:copied:v1"], ["save", "--dir", "saved", index.name]] {
            await place.swsign(arguments).expectSuccess("\(arguments)")
        }
        for image in images {
            for folder in ["copied", "saved"] {
                #expect(place.directory.exists("\(folder)/blobs/sha256/\(image.digest.hex)"), "\(folder)")
            }
        }
        // The other way round nothing is hidden, and nothing is in the way.
        await place.sign(images[0].name).expectSuccess()
        registry.faults.removeAll()
        registry.faults.add(
            Fault(.contentType(MediaType.imageIndex), method: "HEAD", path: "/manifests/\(images[0].digest)"))
        #expect(try await place.verify(images[0].name, flags: ["--recursive"]).payloads().count == 1)
    }

    @Test("A tag that moves between two reads (kyverno CVE-2022-47633): it is read once", arguments: Scheme.allCases)
    func movingTag(scheme: Scheme) async throws {
        let place = try await ImageFixture()
        let (index, _) = try await place.pushIndex(["amd64", "arm64"], tag: "v1")
        let (evil, _) = try await place.pushIndex(["mips"])
        await place.sign(index.name, scheme: scheme, flags: ["--recursive"]).expectSuccess()
        let registry = try place.registry
        let content = try #require(registry.manifest(evil.digest.description, in: ImageFixture.path))
        // The second time, and ever after, the tag points at something else.
        registry.faults.add(
            Fault(
                .answer(200, contentType: content.mediaType, body: content.bytes), path: "/manifests/v1", skip: 1))
        registry.server.forgetRequests()
        let verified = await place.verify("\(place.repository):v1", flags: ["--recursive"])
        verified.expectSuccess()
        #expect(try verified.payloads().count == 3)
        #expect(try !verified.payloads().contains { try $0.imageDigest() == evil.digest.description })
        #expect(registry.server.requests.filter { $0.target.hasSuffix("/manifests/v1") }.count == 1)

        registry.faults.removeAll()
        registry.faults.add(
            Fault(
                .answer(200, contentType: content.mediaType, body: content.bytes), path: "/manifests/v1", skip: 1))
        let signed = await place.sign("\(place.repository):v1", scheme: scheme, key: "other", flags: ["--recursive"])
        signed.expectSuccess()
        #expect(signed.messages.contains("WARNING: \(place.repository):v1 is named by a tag"))
        #expect(signed.messages.contains(index.digest.description))
        registry.faults.removeAll()
        await place.verify(evil.name, key: "other").expectRefusal(10, "no-signature")
        await place.verify(index.name, key: "other").expectSuccess()
    }

    @Test func namesThatCosignTakes() async throws {
        let place = try await ImageFixture()
        let image = try await place.push(tag: "latest")
        await place.sign("oci://\(image.name)").expectSuccess()
        for name in [
            "oci://\(place.repository):latest", place.repository, "\(place.repository):nowhere@\(image.digest)",
        ] {
            #expect(try await place.verify(name).payloads().count == 1, "\(name)")
        }
        await place.verify("\(place.repository)@sha256:1234").expectRefusal(1, "malformed-reference", "is not a digest")
        await place.verify("\(place.repository):\(String(repeating: "x", count: 129))").expectRefusal(
            1, "malformed-reference")
    }

    @Test("An image that calls itself an attachment of the signed one is not passed over by --local-image")
    func secondLocalImage() async throws {
        let place = try await ImageFixture(.layout)
        let image = try await place.push()
        let layout = try ImageLayout(opening: place.directory["layout"])
        let signed = try #require(try await layout.manifest(.digest(image.digest)))
        try await layout.replaceEntries([(signed, ["kind": ImageLayout.SavedKind.image.rawValue])])
        await place.sign(image.name).expectSuccess()
        #expect(try await place.verify("layout", flags: ["--local-image"]).payloads().count == 1)
        let malware = try ImageFixture.manifest([(Array("malware".utf8), "text/plain", [:])], subject: image.descriptor)
        try await place.put([Array("malware".utf8)], malware)
        try await layout.replaceEntries([
            (malware, ["kind": ImageLayout.SavedKind.image.rawValue]),
            (signed, ["kind": ImageLayout.SavedKind.image.rawValue]),
        ])
        await place.verify("layout", flags: ["--local-image"]).expectRefusal(
            1, "malformed-reference", "holds 2 images")
    }

    @Test("The folder of --local-image holds the image and its signatures", arguments: Scheme.allCases)
    func localImage(scheme: Scheme) async throws {
        let place = try await ImageFixture(.layout)
        let image = try await place.push(tag: "v1")
        await place.sign(image.name, scheme: scheme).expectSuccess()
        #expect(try await place.verify("layout", flags: ["--local-image"]).payloads().count == 1)
        await place.verify("layout", key: "other", flags: ["--local-image"]).expectRefusal(12, "no-matching-signature")
    }

    // MARK: Environment

    @Test(
        "COSIGN_REPOSITORY is where the signatures are", arguments: [RegistryKind.referrersAPI, .dockerRegistry],
        Scheme.allCases)
    func signatureRepository(kind: RegistryKind, scheme: Scheme) async throws {
        let place = try await ImageFixture(kind)
        let image = try await place.push()
        let elsewhere = ["COSIGN_REPOSITORY": "\(place.repository)-signatures"]
        let signed = await place.sign(image.name, scheme: scheme, environment: elsewhere)
        signed.expectSuccess()
        #expect(signed.messages.contains("the signature is in \(place.repository)-signatures"))
        await place.verify(image.name).expectRefusal(10, "no-signature")
        #expect(try await place.verify(image.name, environment: elsewhere).payloads().count == 1)
        try await place.attest(image.name, type: "link", scheme: scheme, environment: elsewhere).expectSuccess()
        #expect(
            try await place.verifyAttestation(image.name, type: "link", environment: elsewhere).objects().count == 1)
    }

    @Test("COSIGN_MAX_ATTACHMENT_SIZE bounds what is fetched", arguments: Scheme.allCases)
    func attachmentSize(scheme: Scheme) async throws {
        let place = try await ImageFixture()
        let image = try await place.push()
        await place.sign(image.name, scheme: scheme).expectSuccess()
        func verify(_ limit: String) async -> Program.Outcome {
            await place.verify(image.name, environment: ["COSIGN_MAX_ATTACHMENT_SIZE": limit])
        }
        await verify("128MiB").expectSuccess()
        await verify("100").expectRefusal(
            12, "no-matching-signature", "more than the 100 accepted", "COSIGN_MAX_ATTACHMENT_SIZE")
        await verify("large").expectRefusal(1, "usage", "which is not a size")
    }

    // MARK: Attestations

    @Test(
        "Attestations are no signatures, and their type is compared (CVE-2022-35929)", arguments: RegistryKind.main,
        Scheme.allCases)
    func attestations(kind: RegistryKind, scheme: Scheme) async throws {
        let place = try await ImageFixture(kind)
        let image = try await place.push("attested")
        try await place.attest(image.name, type: "slsaprovenance1", scheme: scheme).expectSuccess("attest")
        let verified = await place.verifyAttestation(image.name, type: "slsaprovenance1")
        verified.expectSuccess("verify-attestation")
        let statement = try #require(try verified.statements().first)
        #expect(try verified.objects().count == 1)
        #expect(statement.predicateType.uri == "https://slsa.dev/provenance/v1")
        #expect(statement.subjects.first?.digests.map(\.hex) == [image.digest.hex])
        #expect(verified.messages.contains("Verification for \(image.name) --"))
        await place.verifyAttestation(image.name, type: "https://slsa.dev/provenance/v1").expectSuccess()

        // By the same key, and yet no signature.
        await place.verify(image.name).expectRefusal(10, "no-signature", "there is no signature of")
        // There are attestations, of another type only.
        for type in ["spdxjson", "custom", "https://slsa.dev/provenance/v11"] {
            await place.verifyAttestation(image.name, type: type).expectRefusal(
                12, "no-matching-signature", "there is no attestation of type", "https://slsa.dev/provenance/v1")
        }
        await place.verifyAttestation(image.name, type: "slsaprovenance1", key: "other")
            .expectRefusal(
                12, "no-matching-signature",
                scheme == .newer ? "another key signed this" : "the signature does not hold")

        // One that was moved to another image.
        let other = try await place.push("not attested")
        try await place.copySignatures(from: image, to: other)
        await place.verifyAttestation(other.name, type: "slsaprovenance1")
            .expectRefusal(12, "no-matching-signature", other.digest.description)
        let unchecked = await place.verifyAttestation(
            other.name, type: "slsaprovenance1", flags: ["--check-claims=false"])
        unchecked.expectSuccess()
        #expect(unchecked.messages.contains("WARNING: what was signed is not compared with the image"))

        // One that is only signed has no attestation.
        let signed = try await place.push("only signed")
        await place.sign(signed.name, scheme: scheme).expectSuccess()
        await place.verifyAttestation(signed.name, type: "slsaprovenance1")
            .expectRefusal(10, "no-signature", "there is no attestation")
    }

    @Test("A bundle whose statement cannot be read is no image without a signature")
    func unreadableStatement() async throws {
        let place = try await ImageFixture()
        let (signed, image) = (try await place.push("signed"), try await place.push("not signed"))
        await place.sign(signed.name).expectSuccess()
        let referrer = try #require(
            try await place.store.referrers(of: signed.digest, artifactType: nil).descriptors.first)
        let layer = try #require(try await place.store.manifest(.digest(referrer.digest))?.image?.layers.first)
        let json = try JSONValue(parsing: try await place.store.blob(layer, limit: 1 << 20))
        guard case .object(var bundle) = json, case .object(var envelope)? = bundle["dsseEnvelope"] else {
            Issue.record("the bundle holds no envelope")
            return
        }
        envelope["payload"] = .bytes(Array("{}".utf8))
        bundle["dsseEnvelope"] = .object(envelope)
        try await place.putBundle(JSONValue.object(bundle).serialized(), for: image)
        for outcome in [
            await place.verify(image.name), await place.verifyAttestation(image.name, type: "slsaprovenance1"),
        ] {
            outcome.expectRefusal(
                12, "no-matching-signature", "is signed in a way that cannot be checked",
                "its statement cannot be read")
            #expect(!outcome.messages.contains("a signature over a file"))
        }
        // It hides nothing.
        await place.sign(image.name).expectSuccess()
        #expect(try await place.verify(image.name).payloads().count == 1)
    }

    @Test("A signature over a file is not called an attestation")
    func signatureOverAFile() async throws {
        let place = try await ImageFixture()
        let image = try await place.push()
        try place.directory.write("file", "text")
        await place.swsign(
            ["sign-blob", "--key", "key.pem", "--tlog-upload=false", "--bundle", "file.json", "file"]
        ).expectSuccess()
        try await place.putBundle(try place.directory.read("file.json"), for: image)
        let outcome = await place.verify(image.name)
        outcome.expectRefusal(10, "no-signature", "only: a signature over a file")
        #expect(!outcome.messages.contains("it has attestations"))
        let attested = await place.verifyAttestation(image.name, type: "slsaprovenance1")
        attested.expectRefusal(12, "no-matching-signature", "only: a signature over a file")
        #expect(!attested.messages.contains("with --type"))
    }

    @Test("The guides' line with jq", arguments: Scheme.allCases)
    func guide(scheme: Scheme) async throws {
        let place = try await ImageFixture()
        let image = try await place.push()
        try place.directory.write("provenance.json", #"{"builder":{"id":"https://example.com/builder"}}"#)
        await place.swsign(
            ["attest", "--key", "key.pem", "--predicate", "provenance.json", "--type", "slsaprovenance"]
                + ImageFixture.signing + scheme.flags + [image.name]
        ).expectSuccess()
        let verified = await place.verifyAttestation(image.name, type: "slsaprovenance")
        let statement = try #require(try verified.statements().first)
        #expect(
            try JSONCursor(statement.predicate).member("builder").member("id").string() == "https://example.com/builder"
        )
        let text = await place.verifyAttestation(image.name, type: "slsaprovenance", flags: ["--output", "text"])
        #expect(text.line.hasPrefix("https://slsa.dev/provenance/v0.2 "))
    }
}
