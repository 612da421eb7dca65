import Foundation
import Glibc
import InToto
import LocalSigstore
import OCIRegistry
import SigstoreCrypto
import StrictJSON
import TestServices
import Testing

/// sign and attest.
struct ImageSignTests {
    // MARK: What is written

    @Test("The newer scheme, to the member", arguments: RegistryKind.main)
    func newerScheme(kind: RegistryKind) async throws {
        let place = try await ImageFixture(kind)
        let image = try await place.push()
        await place.sign(image.name, flags: ["-a", "a=b"]).expectSuccess()
        let list = try await place.store.referrers(of: image.digest, artifactType: nil)
        let referrer = try #require(list.descriptors.first)
        #expect(list.descriptors.count == 1)
        #expect(referrer.artifactType == ImageFixture.bundleType)
        let stored = try #require(try await place.store.manifest(.digest(referrer.digest)))
        let manifest = try #require(stored.image)
        #expect(manifest.artifactType == ImageFixture.bundleType)
        #expect(manifest.subject?.digest == image.digest)
        #expect(manifest.config.mediaType == MediaType.empty && manifest.config.size == 2)
        #expect(manifest.layers.map(\.mediaType) == [ImageFixture.bundleType])
        #expect(manifest.annotations["dev.sigstore.bundle.content"] == "dsse-envelope")
        #expect(manifest.annotations["dev.sigstore.bundle.predicateType"] == "https://sigstore.dev/cosign/sign/v1")
        #expect(manifest.annotations["org.opencontainers.image.created"]?.hasSuffix("Z") == true)
        let bundle = try await place.store.blob(try #require(manifest.layers.first), limit: 1 << 20)
        let envelope = try JSONCursor(try JSONValue(parsing: bundle)).member("dsseEnvelope")
        let payload = String(decoding: try envelope.member("payload").bytes(), as: UTF8.self)
        #expect(
            payload
                == #"{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"\#(image.digest.hex)"},"#
                + #""annotations":{"a":"b"}}],"predicateType":"https://sigstore.dev/cosign/sign/v1","predicate":{}}"#)
    }

    @Test("The older scheme, to the member", arguments: RegistryKind.main)
    func olderScheme(kind: RegistryKind) async throws {
        let place = try await ImageFixture(kind)
        let image = try await place.push()
        await place.sign(image.name, scheme: .older, flags: ["-a", "a=b"]).expectSuccess()
        let tag = try ManifestSelector(tag: image.tag("sig"))
        let manifest = try #require(try await place.store.manifest(tag)?.image)
        #expect(manifest.config.mediaType == "application/vnd.oci.image.config.v1+json")
        let layer = try #require(manifest.layers.first)
        #expect(manifest.layers.count == 1 && layer.mediaType == ImageFixture.payloadType)
        let payload = String(decoding: try await place.store.blob(layer, limit: 1 << 20), as: UTF8.self)
        let name = kind == .layout ? "layout" : place.repository
        #expect(
            payload == #"{"critical":{"identity":{"docker-reference":"\#(name)"},"image":{"docker-manifest-digest":"#
                + #""\#(image.digest)"},"type":"cosign container image signature"},"optional":{"a":"b"}}"#)
        // OpenSSL finds the signature over it good.
        try place.directory.write("payload", payload)
        let signature = try #require(layer.annotations["dev.cosignproject.cosign/signature"])
        try place.directory.write("signature", try #require(Base64.decode(signature)))
        try await place.directory.tool(
            "openssl", "dgst", "-sha256", "-verify", "key.pub", "-signature", "signature", "payload")
    }

    @Test("COSIGN_DOCKER_MEDIA_TYPES writes the older scheme with Docker's media types")
    func dockerMediaTypes() async throws {
        let place = try await ImageFixture(.dockerRegistry)
        let image = try await place.push()
        for annotation in ["a=1", "a=2"] {
            await place.sign(
                image.name, scheme: .older, flags: ["-a", annotation],
                environment: ["COSIGN_DOCKER_MEDIA_TYPES": "true"]
            ).expectSuccess()
        }
        let manifest = try #require(try await place.store.manifest(try ManifestSelector(tag: image.tag("sig"))))
        #expect(manifest.mediaType == "application/vnd.docker.distribution.manifest.v2+json")
        #expect(manifest.image?.config.mediaType == "application/vnd.docker.container.image.v1+json")
        #expect(manifest.image?.layers.count == 2)
        await place.verify(image.name).expectSuccess()
    }

    @Test(
        "attest writes its bundle and its envelope into files as well, where that is asked for")
    func attestIntoFiles() async throws {
        let place = try await ImageFixture()
        let image = try await place.push()
        let flags = ["--bundle", "bundle.json", "--output-signature", "envelope.json"]
        try await place.attest(image.name, type: "vuln", scheme: .newer, flags: flags).expectSuccess()
        let bundle = JSONCursor(try JSONValue(parsing: place.directory.read("bundle.json")))
        let envelope = JSONCursor(try JSONValue(parsing: place.directory.read("envelope.json")))
        #expect(try bundle.member("dsseEnvelope").member("payload").string() == envelope.member("payload").string())
        #expect(try await place.attest(image.name, image.name, type: "vuln", flags: flags).code == "usage")
    }

    @Test("An attestation names the repository as its subject", arguments: Scheme.allCases)
    func attestation(scheme: Scheme) async throws {
        let place = try await ImageFixture(.dockerRegistry)
        let image = try await place.push()
        try await place.attest(image.name, type: "vuln", scheme: scheme).expectSuccess()
        let statement = try #require(try await place.verifyAttestation(image.name, type: "vuln").statements().first)
        #expect(statement.layout == (scheme == .older ? .v01 : .v1))
        #expect(statement.subjects.first?.name == place.repository)
        guard scheme == .older else { return }
        let manifest = try await place.store.manifest(try ManifestSelector(tag: image.tag("att")))
        let layer = try #require(manifest?.image?.layers.first)
        #expect(layer.mediaType == "application/vnd.dsse.envelope.v1+json")
        #expect(layer.annotations["dev.cosignproject.cosign/signature"] == "")
        #expect(layer.annotations["predicateType"] == "https://cosign.sigstore.dev/attestation/vuln/v1")
    }

    @Test("Signing by tag warns, by digest does not", arguments: ["sign", "attest"])
    func tagWarning(command: String) async throws {
        let place = try await ImageFixture()
        let image = try await place.push(tag: "v1")
        func run(_ name: String) async throws -> Program.Outcome {
            command == "sign" ? await place.sign(name) : try await place.attest(name, type: "link")
        }
        let byTag = try await run("\(place.repository):v1")
        byTag.expectSuccess()
        #expect(byTag.messages.contains("WARNING: \(place.repository):v1 is named by a tag"))
        #expect(byTag.messages.contains("\(image.digest) is what is"))
        let byDigest = try await run(image.name)
        byDigest.expectSuccess()
        #expect(!byDigest.messages.contains("WARNING"))
    }

    @Test("One image that fails stops no other", arguments: Scheme.allCases)
    func severalImages(scheme: Scheme) async throws {
        let place = try await ImageFixture()
        let (one, two) = (try await place.push("one"), try await place.push("two"))
        let outcome = await place.sign(one.name, "\(place.repository):nowhere", two.name, scheme: scheme)
        outcome.expectRefusal(11, "image-not-found", "2 of 3 images signed", "not signed: \(place.repository):nowhere")
        await place.verify(one.name, two.name).expectSuccess()
        try await place.attest(one.name, two.name, type: "link", scheme: scheme).expectSuccess()
        await place.verifyAttestation(one.name, two.name, type: "link").expectSuccess()
    }

    @Test("attest --recursive", arguments: Scheme.allCases)
    func recursiveAttestation(scheme: Scheme) async throws {
        let place = try await ImageFixture()
        let (index, images) = try await place.pushIndex(["amd64", "arm64"])
        try await place.attest(index.name, type: "link", scheme: scheme, flags: ["--recursive"]).expectSuccess()
        let all = await place.verifyAttestation(index.name, type: "link", flags: ["--recursive"])
        let digests = try Set(all.statements().flatMap { $0.subjects.flatMap { $0.digests.map(\.hex) } })
        #expect(digests == Set(([index] + images).map(\.digest.hex)))
    }

    // MARK: Files

    @Test("--upload=false: the signature goes into files, and the registry stays as it was", arguments: Scheme.allCases)
    func withoutUpload(scheme: Scheme) async throws {
        let place = try await ImageFixture()
        let image = try await place.push()
        let registry = try place.registry
        registry.server.forgetRequests()
        let outputs =
            scheme == .newer ? ["--bundle", "bundle.json"] : ["--output-signature", "signature"]
        let signed = await place.sign(
            image.name, scheme: scheme, flags: ["--upload=false", "--output-payload", "payload"] + outputs)
        signed.expectSuccess()
        #expect(signed.stdout.isEmpty)
        #expect(registry.server.requests.allSatisfy { ["GET", "HEAD"].contains($0.method) })
        await place.verify(image.name).expectRefusal(10, "no-signature")
        let payload = try place.directory.text("payload")
        #expect(payload.contains(image.digest.hex))
        switch scheme {
        case .older:
            try place.directory.write("raw", try #require(Base64.decode(try place.directory.text("signature"))))
            try await place.directory.tool(
                "openssl", "dgst", "-sha256", "-verify", "key.pub", "-signature", "raw", "payload")
            let files = ["--payload", "payload", "--signature", "signature"]
            #expect(try await place.verify(image.name, flags: files).payloads().count == 1)
            await place.verify(image.name, key: "other", flags: files).expectRefusal(12, "no-matching-signature")
            let other = try await place.push("another")
            await place.verify(other.name, flags: files).expectRefusal(12, "no-matching-signature", "another image")
            await place.verify(image.name, flags: ["--payload", "payload"]).expectRefusal(1, "usage", "--signature")
        case .newer:
            let written = try place.directory.read("bundle.json")
            #expect(try place.directory.mode("bundle.json") == 0o600)
            try await place.putBundle(written, for: image)
            await place.verify(image.name).expectSuccess()
        }
        // Where no file is named, the signature is the result.
        let printed = await place.sign(image.name, scheme: scheme, flags: ["--upload=false"])
        #expect(Base64.decode(printed.line) != nil && !printed.line.isEmpty)
        let attested = try await place.attest(image.name, type: "link", scheme: scheme, flags: ["--upload=false"])
        #expect(try attested.statements().map(\.predicateType.uri) == ["https://in-toto.io/Link/v1"])
        await place.verifyAttestation(image.name, type: "link").expectRefusal(10, "no-signature")
    }

    @Test func payloadMadeElsewhere() async throws {
        let place = try await ImageFixture()
        let image = try await place.push()
        let made = await place.sign(
            image.name, scheme: .older, flags: ["--upload=false", "--output-payload", "payload", "-a", "a=1"])
        made.expectSuccess()
        await place.sign(image.name, scheme: .older, flags: ["--payload", "payload"]).expectSuccess()
        #expect(try await place.verify(image.name, flags: ["-a", "a=1"]).payloads().count == 1)
        await place.sign(image.name, flags: ["--payload", "payload"]).expectRefusal(1, "usage", "older scheme")
    }

    @Test func outputsNameOneFile() async throws {
        let place = try await ImageFixture()
        let (one, two) = (try await place.push("one"), try await place.push("two"))
        for flag in ["--bundle", "--output-signature", "--output-payload"] {
            await place.sign(one.name, two.name, flags: [flag, "file"]).expectRefusal(1, "usage", "names one file")
            await place.sign(one.name, flags: ["--recursive", flag, "file"]).expectRefusal(1, "usage", "names one file")
        }
        await place.sign(one.name, scheme: .older, flags: ["--bundle", "file"]).expectRefusal(
            1, "usage", "newer scheme")
        #expect(!place.directory.exists("file"))
        await place.verify(one.name).expectRefusal(10, "no-signature")
    }

    // MARK: What stands there already

    @Test("Signatures are added to those that are there", arguments: RegistryKind.main, Scheme.allCases)
    func added(kind: RegistryKind, scheme: Scheme) async throws {
        let place = try await ImageFixture(kind)
        let image = try await place.push()
        for key in ["key", "other", "key"] { await place.sign(image.name, scheme: scheme, key: key).expectSuccess() }
        #expect(try await place.verify(image.name).payloads().count == 2)
        #expect(try await place.verify(image.name, key: "other").payloads().count == 1)
    }

    @Test("--replace removes attestations of the same type only", arguments: RegistryKind.main, Scheme.allCases)
    func replace(kind: RegistryKind, scheme: Scheme) async throws {
        let place = try await ImageFixture(kind)
        let image = try await place.push()
        for type in ["link", "link", "vuln"] {
            try await place.attest(image.name, type: type, scheme: scheme).expectSuccess()
        }
        await place.sign(image.name, scheme: scheme).expectSuccess()
        #expect(try await place.verifyAttestation(image.name, type: "link").objects().count == 2)
        try await place.attest(image.name, type: "link", scheme: scheme, flags: ["--replace"]).expectSuccess()
        #expect(try await place.verifyAttestation(image.name, type: "link").objects().count == 1)
        #expect(try await place.verifyAttestation(image.name, type: "vuln").objects().count == 1)
        #expect(try await place.verify(image.name).payloads().count == 1)
        // Nothing is listed that is not there.
        for referrer in try await place.store.referrers(of: image.digest, artifactType: nil).descriptors {
            #expect(try await place.store.manifest(.digest(referrer.digest)) != nil)
        }
    }

    @Test("--statement signs what it is given, about this image only", arguments: Scheme.allCases)
    func wholeStatement(scheme: Scheme) async throws {
        let place = try await ImageFixture()
        let (image, other) = (try await place.push("one"), try await place.push("two"))
        try place.directory.write(
            "statement.json",
            #"{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"x","digest":{"sha256":"\#(image.digest.hex)"}}],"#
                + #""predicateType":"https://example.com/t","predicate":{"n":1}}"#)
        let flags =
            ["attest", "--key", "key.pem", "--statement", "statement.json"] + ImageFixture.signing + scheme.flags
        await place.swsign(flags + [image.name]).expectSuccess()
        let verified = await place.verifyAttestation(image.name, type: "https://example.com/t")
        #expect(try verified.statements().first?.subjects.first?.name == "x")
        await place.swsign(flags + [other.name]).expectRefusal(1, "wrong-subject", other.digest.description)
        await place.swsign(flags + ["--recursive", image.name]).expectRefusal(1, "usage", "takes one image")
    }

    // MARK: Nothing lost

    @Test(
        "One signature, and five one after the other, leave the tags that cosign leaves",
        arguments: [RegistryKind.fallbackTag, .dockerRegistry], Scheme.allCases)
    func tagsAsCosign(kind: RegistryKind, scheme: Scheme) async throws {
        let place = try await ImageFixture(kind)
        let image = try await place.push(tag: "v1")
        for number in 1...5 {
            await place.sign(image.name, scheme: scheme, flags: ["-a", "number=\(number)"]).expectSuccess()
            #expect(try await place.store.tags()?.count == 2)
        }
        #expect(try await place.verify(image.name).payloads().count == 5)
    }

    @Test("sign needs no list of tags and no deletion, announced or not", arguments: [false, true], Scheme.allCases)
    func rights(announced: Bool, scheme: Scheme) async throws {
        let place = try await ImageFixture(.fallbackTag)
        let image = try await place.push(tag: "v1")
        let registry = try place.registry
        registry.faults.add(Fault(.status(403, retryAfter: nil), path: "/tags/list"))
        registry.faults.add(Fault(.status(403, retryAfter: nil), method: "DELETE"))
        registry.server.forgetRequests()
        for number in 1...2 {
            await place.sign(
                image.name, scheme: scheme,
                flags: ["-a", "number=\(number)"] + (announced ? ["--concurrent-signers"] : [])
            ).expectSuccess()
        }
        if !announced { #expect(registry.faults.met == 0) }
        #expect(try await place.verify(image.name).payloads().count == 2)
        #expect(registry.tags(in: ImageFixture.path).count <= (announced ? 4 : 2))
    }

    @Test("A write that takes longer than others wait is warned of, unless it is announced", arguments: [false, true])
    func slowWrite(announced: Bool) async throws {
        let place = try await ImageFixture(.fallbackTag)
        let image = try await place.push()
        try place.registry.faults.add(
            Fault(.delay(seconds: 1.3), method: "PUT", path: "/manifests/sha256-\(image.digest.hex)", count: 1))
        let flags = announced ? ["--concurrent-signers"] : []
        // Announced, the first that is put there is the announcement.
        if announced {
            try place.registry.faults.add(
                Fault(.delay(seconds: 1.3), method: "PUT", path: "/manifests/sha256-\(image.digest.hex)", skip: 1))
        }
        let outcome = await place.sign(image.name, flags: flags)
        outcome.expectSuccess()
        #expect(outcome.messages.contains("may have been replaced") == !announced, "\(outcome.messages)")
        #expect(outcome.messages.contains("--concurrent-signers prevents that") == !announced)
        await place.verify(image.name).expectSuccess()
    }

    @Test("What cannot be known is not said to have failed, nor to be there")
    func unknownEnd() async throws {
        let place = try await ImageFixture(.fallbackTag)
        let image = try await place.push()
        // The list is written, its answer is lost, and then the registry is gone.
        let path = "/manifests/sha256-\(image.digest.hex)"
        try place.registry.faults.add(Fault(.reset, method: "PUT", path: path))
        try place.registry.faults.add(Fault(.status(403, retryAfter: nil), method: "GET", path: path, skip: 1))
        await place.sign(image.name).expectRefusal(1, "denied", "could not be looked at")
    }

    @Test("32 signers at once leave 32 signatures", arguments: RegistryKind.main, Scheme.allCases)
    func concurrentSigners(kind: RegistryKind, scheme: Scheme) async throws {
        try await manySigners(kind, scheme, flags: [])
    }

    @Test(
        "Announced signers at once leave all signatures, also if nobody may list or delete tags",
        arguments: Scheme.allCases)
    func announcedSigners(scheme: Scheme) async throws {
        try await manySigners(.fallbackTag, scheme, count: 12, flags: ["--concurrent-signers"]) { registry in
            registry.faults.add(Fault(.status(403, retryAfter: nil), path: "/tags/list"))
            registry.faults.add(Fault(.status(403, retryAfter: nil), method: "DELETE"))
        }
    }

    private func manySigners(
        _ kind: RegistryKind, _ scheme: Scheme, count: Int = 32, flags: [String],
        _ prepare: (LocalRegistry) -> Void = { _ in }
    ) async throws {
        let place = try await ImageFixture(kind)
        let image = try await place.push()
        if kind == .fallbackTag { prepare(try place.registry) }
        await place.sign(image.name, scheme: scheme, flags: ["-a", "signer=before"]).expectSuccess()
        // However busy the machine is, nobody gives up.
        let flags = (ImageFixture.signing + scheme.flags + flags + ["--timeout", "20m"]).joined(separator: " ")
        // Each has a home and a temporary directory of its own: no lock on this machine can help.
        let script = """
            for number in $(seq \(count)); do
                mkdir -p job$number/home job$number/tmp
                (
                    HOME=$PWD/job$number/home TMPDIR=$PWD/job$number/tmp \\
                        "$0" sign --key key.pem \(flags) -a signer=$number \(image.name) 2>job$number/messages
                    echo $? >job$number/status
                ) &
            done
            wait
            """
        var shell = Program(executable: "/bin/sh", directory: place.directory.path)
        shell.timeLimit = 1200
        let outcome = await shell.run(["-c", script, Program.path])
        try #require(outcome.succeeded, "\(outcome.messages)")
        for number in 1...count {
            let words = try place.directory.text("job\(number)/messages")
            #expect(try place.directory.text("job\(number)/status") == "0\n", "signer \(number): \(words)")
        }
        let payloads = try await place.verify(image.name).payloads()
        let signers = try payloads.map { try $0.member("optional").member("signer").string() }
        #expect(Set(signers) == Set((1...count).map(String.init) + ["before"]))
        #expect(signers.count == count + 1)
        if kind == .fallbackTag { try place.registry.faults.removeAll() }
        // The list, and one tag for each signer.
        if kind != .layout { #expect(try await place.store.tags()?.count ?? 0 <= count + 1) }
    }

    @Test("SIGKILL between the blobs and the manifest leaves a registry as it was", arguments: Scheme.allCases)
    func killedAtTheRegistry(scheme: Scheme) async throws {
        let place = try await ImageFixture()
        let image = try await place.push(tag: "v1")
        let registry = try place.registry
        // With an annotation, so that its payload is another one and the blobs of the next signature have to be sent.
        await place.sign(image.name, scheme: scheme, key: "other", flags: ["-a", "by=another"]).expectSuccess()
        let (tags, before) = (
            registry.tags(in: ImageFixture.path), registry.manifest(image.tag("sig"), in: ImageFixture.path)?.bytes
        )
        registry.server.forgetRequests()
        registry.faults.add(Fault(.hang, method: "PUT", path: "/manifests/"))
        await kill(place, ["sign", "--key", "key.pem"] + ImageFixture.signing + scheme.flags + [image.name]) {
            registry.faults.met > 0
        }
        registry.faults.removeAll()
        #expect(
            registry.server.requests.contains {
                $0.method == "PUT" && $0.target.contains("/blobs/uploads/") && $0.status == 201
            })
        #expect(registry.tags(in: ImageFixture.path) == tags)
        #expect(registry.manifest(image.tag("sig"), in: ImageFixture.path)?.bytes == before)
        await place.verify(image.name).expectRefusal(12, "no-matching-signature")
        #expect(try await place.verify(image.name, key: "other").payloads().count == 1)
        await place.sign(image.name, scheme: scheme).expectSuccess()
        #expect(try await place.verify(image.name).payloads().count == 1)
    }

    @Test("SIGKILL between the blobs and the index leaves a layout as it was", arguments: Scheme.allCases)
    func killedAtTheLayout(scheme: Scheme) async throws {
        let place = try await ImageFixture(.layout)
        let image = try await place.push(tag: "v1")
        let index = try place.directory.read("layout/index.json")
        // Whoever wants to change the index waits for this lock.
        let lock = unsafe open(place.directory["layout/oci-layout"], O_RDWR | O_CLOEXEC)
        try #require(lock >= 0 && flock(lock, LOCK_EX) == 0)
        let blobs = try place.directory.snapshot().keys.filter { $0.hasPrefix("layout/blobs/") }.count
        await kill(place, ["sign", "--key", "key.pem"] + ImageFixture.signing + scheme.flags + [image.name]) {
            Self.isOpenElsewhere(place.directory["layout/oci-layout"])
                && ((try? place.directory.snapshot()) ?? [:]).keys.filter { $0.hasPrefix("layout/blobs/") }.count
                    > blobs
        }
        close(lock)
        #expect(try place.directory.read("layout/index.json") == index)
        await place.verify("\(place.repository):v1").expectRefusal(10, "no-signature")
        await place.sign(image.name, scheme: scheme).expectSuccess()
        #expect(try await place.verify("\(place.repository):v1").payloads().count == 1)
        #expect(place.directory.names.filter { $0.hasPrefix(".") }.isEmpty)
    }

    /// Runs the program, and kills it once that is so.
    private func kill(_ place: ImageFixture, _ arguments: [String], once isReady: @escaping @Sendable () -> Bool) async
    {
        let ended = await Program(directory: place.directory.path).run(
            arguments, input: .stopped(by: SIGKILL, when: isReady))
        #expect(ended.ending == .signal(SIGKILL), "the program was not killed: \(ended.messages)")
    }

    /// Whether another process of this machine has the file open.
    private static func isOpenElsewhere(_ path: String) -> Bool {
        let numbers = ((try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []).compactMap { Int32($0) }
        return numbers.contains { number in
            guard number != getpid() else { return false }
            let files = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/\(number)/fd")) ?? []
            return files.contains {
                (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\(number)/fd/\($0)")) == path
            }
        }
    }
}
