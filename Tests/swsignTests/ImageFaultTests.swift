import FaultServer
import Foundation
import LocalSigstore
import OCIRegistry
import SigstoreCrypto
import StrictJSON
import TestServices
import Testing

/// Registries that are slow, broken or overloaded. Whatever they do, an image that is signed is never called unsigned,
/// and one that was not signed is never called signed.
struct ImageFaultTests {
    /// A fault at a step of looking for signatures.
    struct Case: Sendable, CustomTestStringConvertible {
        let name: String
        let action: Fault.Action
        /// The reason codes that are right.
        let codes: [String]
        var flags: [String] = []
        /// Whether it happens to lists and to blobs, each on its own; otherwise to lists only.
        var hitsBlobs = true
        var testDescription: String { name }
    }

    static let cases = [
        Case(name: "401", action: .status(401, retryAfter: nil), codes: ["unauthorized"], hitsBlobs: false),
        Case(name: "403", action: .status(403, retryAfter: nil), codes: ["denied"]),
        Case(name: "429 for an hour", action: .status(429, retryAfter: 3600), codes: ["http-status"]),
        Case(name: "500 for ever", action: .status(500, retryAfter: nil), codes: ["http-status"], hitsBlobs: false),
        Case(name: "reset", action: .reset, codes: ["unreachable"], hitsBlobs: false),
        Case(name: "reset in the middle of the body", action: .resetMidBody, codes: ["unreachable"], hitsBlobs: false),
        Case(name: "half of the body", action: .truncate, codes: ["unreachable", "digest-mismatch"], hitsBlobs: false),
        Case(name: "a body that never ends", action: .endlessBody, codes: ["too-large", "digest-mismatch"]),
        Case(name: "a slow drip", action: .drip(seconds: 0.4), codes: ["timed-out"], flags: ["--timeout", "2s"]),
        Case(name: "no answer", action: .hang, codes: ["timed-out"], flags: ["--timeout", "2s"], hitsBlobs: false),
        Case(
            name: "a login page", action: .answer(200, contentType: "text/html", body: Array("<html>".utf8)),
            codes: ["malformed-manifest", "not-an-index", "digest-mismatch"]),
        Case(name: "wrong content type", action: .contentType("text/plain"), codes: ["not-an-index"], hitsBlobs: false),
    ]

    @Test("A proxy that fails is named with the variable that names it; its password is not shown")
    func proxyFails() async throws {
        let directory = TemporaryDirectory()
        try directory.makeKey()
        let refusing = FaultServer { request, connection in
            connection.respond(request.method == "CONNECT" ? 502 : 407, [], "")
        }
        let address = String(refusing.url.dropFirst("http://".count))
        let verify = ["verify", "--key", "key.pub", "--insecure-ignore-tlog", "registry.example.invalid/app:1"]
        let cases = [
            (
                arguments: verify, environment: ["HTTPS_PROXY": "http://ann:s3cret@\(address)"],
                words: "\(address) (HTTPS_PROXY)"
            ),
            (
                arguments: verify, environment: ["https_proxy": "127.0.0.1:1"],
                words: "127.0.0.1:1 (https_proxy)"
            ),
            (
                arguments: [
                    "initialize", "--mirror", "http://tuf.example.invalid", "--root",
                    "http://tuf.example.invalid/root.json", "--root-checksum", String(repeating: "a", count: 64),
                ],
                environment: ["HTTP_PROXY": "ann:s3cret@\(address)"],
                words: "\(address) (HTTP_PROXY) demands a user name and a password"
            ),
        ]
        for (arguments, environment, words) in cases {
            let none = Dictionary(
                ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"].map { ($0, "") }, uniquingKeysWith: { $1 })
            let outcome = await Program(directory: directory.path, environment: none.merging(environment) { $1 })
                .run(arguments)
            #expect(outcome.ending == .exit(1) && outcome.messages.contains(words), "\(outcome.messages)")
            #expect(!outcome.messages.contains("s3cret"))
        }
    }

    @Test("What could not be looked at is not unsigned", arguments: cases, Scheme.allCases)
    func lookingFails(fault: Case, scheme: Scheme) async throws {
        let place = try await ImageFixture(takesTurns: false)
        let image = try await place.push()
        await place.sign(image.name, scheme: scheme).expectSuccess()
        let registry = try place.registry
        // The content of a manifest of the older scheme says what it is: its header changes nothing.
        let holds = scheme == .older && fault.action == .contentType("text/plain")
        for path in [scheme.path] + (fault.hitsBlobs ? ["/blobs/"] : []) {
            registry.faults.removeAll()
            registry.faults.add(Fault(fault.action, method: "GET", path: path))
            let outcome = await place.verify(image.name, flags: fault.flags)
            if holds {
                outcome.expectSuccess()
                continue
            }
            #expect(outcome.ending == .exit(1), "\(path): \(outcome.messages)")
            #expect(fault.codes.contains(outcome.code ?? ""), "\(path): \(outcome.messages)")
            #expect(outcome.stdout.isEmpty)
            #expect(!outcome.messages.contains("there is no signature"))
            // On an idle machine it takes three at most, and without any limit 180.
            #expect(outcome.seconds < 120, "\(path): it took \(outcome.seconds) seconds")
        }
        registry.faults.removeAll()
        await place.verify(image.name).expectSuccess("afterwards")
    }

    @Test("404 is an answer: what is listed and not there is not unsigned", arguments: Scheme.allCases)
    func notFound(scheme: Scheme) async throws {
        let place = try await ImageFixture()
        let image = try await place.push()
        await place.sign(image.name, scheme: scheme).expectSuccess()
        let registry = try place.registry
        func verify(missing path: String) async -> Program.Outcome {
            registry.faults.removeAll()
            registry.faults.add(Fault(.status(404, retryAfter: nil), path: path))
            return await place.verify(image.name)
        }
        // An image that is not there is not unsigned either; and to verify what holds, it need not be there.
        await verify(missing: "/manifests/\(image.digest)").expectSuccess()
        let unsigned = try await place.push("not signed")
        registry.faults.add(Fault(.status(404, retryAfter: nil), path: "/manifests/\(unsigned.digest)"))
        await place.verify(unsigned.name).expectRefusal(11, "image-not-found", "there is no image \(unsigned.name)")
        await place.verify(unsigned.name, flags: ["--recursive"]).expectRefusal(
            11, "image-not-found", "there is no image")
        await verify(missing: "/blobs/").expectRefusal(1, "not-found", "although a manifest there names it")
        guard scheme == .newer else { return }
        let referrer = try #require(
            try await place.store.referrers(of: image.digest, artifactType: nil).descriptors.first)
        await verify(missing: "/manifests/\(referrer.digest)").expectRefusal(
            12, "no-matching-signature", "is not there")
    }

    @Test(
        "What passes by itself is waited for: 500 three times, 429 and 503 with Retry-After", arguments: Scheme.allCases
    )
    func passingFaults(scheme: Scheme) async throws {
        let place = try await ImageFixture(takesTurns: false)
        let image = try await place.push(tag: "v1")
        let registry = try place.registry
        func with(_ faults: Fault...) {
            registry.faults.removeAll()
            for fault in faults { registry.faults.add(fault) }
        }
        with(
            Fault(.status(500, retryAfter: nil), method: "PUT", count: 3),
            Fault(.status(503, retryAfter: nil), method: "POST", count: 1))
        await place.sign(image.name, scheme: scheme).expectSuccess("sign")
        for path in ["/manifests/v1", scheme.path, "/blobs/"] {
            with(Fault(.status(500, retryAfter: nil), path: path, count: 3))
            #expect(try await place.verify("\(image.repository):v1").payloads().count == 1, "500 at \(path)")
        }
        for (status, path) in [(429, scheme.path), (503, "/blobs/")] {
            with(Fault(.status(status, retryAfter: 1), path: path, count: 1))
            let outcome = await place.verify(image.name)
            #expect(try outcome.payloads().count == 1, "\(status) at \(path)")
            #expect(outcome.seconds >= 1, "\(status): Retry-After was not obeyed")
        }
        with(Fault(.reset, path: "/blobs/", count: 1), Fault(.resetMidBody, path: scheme.path, count: 1))
        #expect(try await place.verify(image.name).payloads().count == 1, "resets")
        #expect(try await place.verify(image.name).payloads().count == 1)
    }

    @Test("A stale token is renewed once; tokens that are always stale are an error", arguments: Scheme.allCases)
    func staleToken(scheme: Scheme) async throws {
        let place = try await ImageFixture { $0.authentication = .token(username: "me", password: "secret") }
        let image = try await place.push()
        let registry = try place.registry
        let login = ["--registry-username", "me", "--registry-password", "secret"]
        registry.faults.add(Fault(.staleToken, path: "/token", count: 1))
        await place.sign(image.name, scheme: scheme, flags: login).expectSuccess("sign")
        registry.faults.removeAll()
        registry.faults.add(Fault(.staleToken, path: "/token", count: 1))
        registry.server.forgetRequests()
        #expect(try await place.verify(image.name, flags: login).payloads().count == 1)
        #expect(
            registry.server.requests.contains {
                $0.status == 401 && $0.headers["authorization"]?.hasPrefix("Bearer ") == true
            })
        registry.faults.removeAll()
        registry.faults.add(Fault(.staleToken, path: "/token"))
        await place.verify(image.name, flags: login).expectRefusal(1, "unauthorized")
        registry.faults.removeAll()
        await place.verify(image.name).expectRefusal(1, "unauthorized", "swsign login")
        await place.verify(image.name, flags: ["--registry-username", "me", "--registry-password", "wrong"])
            .expectRefusal(1, "unauthorized")
    }

    @Test("A fallback tag that answers with the image itself hides no signature and is no list")
    func subjectAtFallbackTag() async throws {
        let place = try await ImageFixture(.fallbackTag)
        let image = try await place.push()
        await place.sign(image.name).expectSuccess()
        let registry = try place.registry
        registry.faults.add(Fault(.subjectAtFallbackTag))
        await place.verify(image.name).expectRefusal(1, "not-an-index", "sha256-\(image.digest.hex)")
        // A signature of the older scheme is seen all the same, and is enough.
        await place.sign(image.name, scheme: .older).expectSuccess()
        #expect(try await place.verify(image.name).payloads().count == 1)
        registry.faults.removeAll()
        #expect(try await place.verify(image.name, flags: ["--all-signatures"]).payloads().count == 2)
    }

    @Test("A fallback tag that answers with a multi-arch image lists none of its platforms")
    func indexAtFallbackTag() async throws {
        let place = try await ImageFixture(.fallbackTag)
        let (image, platforms) = try await place.pushIndex(["amd64", "arm64"])
        await place.sign(image.name).expectSuccess()
        let registry = try place.registry
        registry.faults.add(Fault(.subjectAtFallbackTag))
        await place.verify(image.name).expectRefusal(1, "not-an-index", "sha256-\(image.digest.hex)")
        registry.faults.removeAll()
        // Some tools leave it there for good: then nothing is listed, nothing of the image is removed, and a signature finds
        // its place.
        let manifest = try #require(try await place.store.manifest(.digest(image.digest)))
        try await place.store.putManifest(manifest, tag: "sha256-\(image.digest.hex)")
        let clean = ["clean", "--yes", "--type", "referrer", image.name]
        let nothing = await place.swsign(clean)
        #expect(nothing.succeeded && nothing.messages.contains("nothing was removed"), "\(nothing.messages)")
        await place.sign(image.name).expectSuccess()
        #expect(try await place.verify(image.name).payloads().count == 1)
        #expect(try await place.store.referrers(of: image.digest, artifactType: nil).descriptors.count == 1)
        let one = await place.swsign(clean)
        #expect(one.succeeded && one.messages.contains("Removed "), "\(one.messages)")
        for platform in platforms { #expect(try await place.store.resolve(.digest(platform.digest)) != nil) }
    }

    @Test("Of two values for one annotation the last is signed, as by cosign", arguments: Scheme.allCases)
    func annotationTwice(scheme: Scheme) async throws {
        let place = try await ImageFixture()
        let image = try await place.push()
        await place.sign(image.name, scheme: scheme, flags: ["-a", "k=1", "-a", "k=2,other=3"]).expectSuccess()
        #expect(try await place.verify(image.name, flags: ["-a", "k=2", "-a", "other=3"]).payloads().count == 1)
        await place.verify(image.name, flags: ["-a", "k=1"]).expectRefusal(12, "no-matching-signature")
    }

    @Test("What a tag stands for is computed, and not believed")
    func lyingDigestOfTag() async throws {
        let place = try await ImageFixture()
        let image = try await place.push(tag: "v1")
        let name = "\(image.repository):v1"
        await place.sign(name).expectSuccess()
        try place.registry.faults.add(Fault(.wrongDigestHeader, path: "/manifests/v1"))
        await place.verify(name).expectRefusal(1, "digest-mismatch")
        await place.sign(name).expectRefusal(1, "digest-mismatch")
    }

    @Test("A registry that answers the question for referrers with a page is one without them: the fallback tag counts")
    func pageInPlaceOfReferrers() async throws {
        let place = try await ImageFixture(.fallbackTag)
        let image = try await place.push()
        try place.registry.faults.add(
            Fault(.answer(200, contentType: "text/html", body: Array("<html>".utf8)), path: "/referrers/"))
        await place.sign(image.name).expectSuccess()
        #expect(try await place.verify(image.name).payloads().count == 1)
    }

    // MARK: One bad thing

    /// Something beside a signature that cannot be read.
    struct BadThing: Sendable, CustomTestStringConvertible {
        let name: String
        let put: @Sendable (ImageFixture, TestImage) async throws -> Void
        /// Whether it is there in place of the newer scheme's signatures, or of the older one's.
        var replaces: Scheme?
        var testDescription: String { name }

        static func fault(_ name: String, _ fault: Fault, replaces: Scheme?) -> BadThing {
            BadThing(name: name, put: { place, _ in try place.registry.faults.add(fault) }, replaces: replaces)
        }

        /// A referrer whose layer is not what it says.
        static func referrer(_ name: String, size: Int64, isThere: Bool) -> BadThing {
            BadThing(name: name) { place, image in
                let content = Array("a bundle".utf8)
                let config = Descriptor(
                    mediaType: MediaType.empty, digest: try Digest.sha256(Array("{}".utf8)), size: 2)
                let layer = Descriptor(
                    mediaType: ImageFixture.bundleType, digest: try Digest.sha256(content), size: size)
                let manifest = try ImageManifest(
                    artifactType: ImageFixture.bundleType, config: config, layers: [layer], subject: image.descriptor
                ).encoded()
                try await place.put([Array("{}".utf8)] + (isThere ? [content] : []), manifest)
            }
        }
    }

    static let badThings: [BadThing] = [
        .referrer("a referrer with a size that is too small", size: 3, isThere: true),
        .referrer("a referrer with a size that is too large", size: 300, isThere: true),
        .referrer("a referrer without its blob", size: 8, isThere: false),
        BadThing(name: "a referrer with an annotation that is no text") { place, image in
            let (content, digest) = (Array("a bundle".utf8), try Digest.sha256(Array("{}".utf8)))
            let good = try ImageFixture.manifest(
                [(content, ImageFixture.bundleType, [:])], subject: image.descriptor,
                artifactType: ImageFixture.bundleType)
            var text = String(decoding: good.bytes, as: UTF8.self)
            text.removeLast()
            text += #","annotations":{"x":1}}"#
            try place.registry.placeManifest(
                Array(text.utf8), mediaType: MediaType.imageManifest, in: ImageFixture.path)
            try place.registry.placeBlob(Array("{}".utf8), digest: "\(digest)", in: ImageFixture.path)
        },
        .fault(
            "\"manifests\": null",
            Fault(
                .answer(
                    200, contentType: MediaType.imageIndex,
                    body: Array(
                        #"{"schemaVersion":2,"mediaType":"\#(MediaType.imageIndex)","manifests":null}"#.utf8)),
                path: "/referrers/"), replaces: .newer),
        .fault("401 for /referrers/", Fault(.status(401, retryAfter: nil), path: "/referrers/"), replaces: .newer),
        .fault("403 for /referrers/", Fault(.status(403, retryAfter: nil), path: "/referrers/"), replaces: .newer),
        .fault("501 for /referrers/", Fault(.status(501, retryAfter: nil), path: "/referrers/"), replaces: .newer),
        .fault("403 for tags", Fault(.status(403, retryAfter: nil), path: "/manifests/sha256-"), replaces: .older),
        .fault("400 for tags", Fault(.status(400, retryAfter: nil), path: "/manifests/sha256-"), replaces: .older),
        BadThing(
            name: "a layer of the older scheme without its blob",
            put: { place, image in
                let (text, type) = (Array("{}".utf8), ImageFixture.payloadType)
                let manifest = try ImageFixture.manifest([
                    (Array("gone".utf8), type, ["dev.cosignproject.cosign/signature": "c2ln"])
                ])
                try place.registry.placeBlob(text, in: ImageFixture.path)
                try place.registry.placeManifest(
                    manifest.bytes, mediaType: manifest.mediaType, tag: image.tag("sig"), in: ImageFixture.path)
            }, replaces: .older),
        BadThing(
            name: "a manifest of the older scheme that is none",
            put: { place, image in
                let text = #"{"schemaVersion":2,"mediaType":"\#(MediaType.imageManifest)","layers":null}"#
                try place.registry.placeManifest(
                    Array(text.utf8), mediaType: MediaType.imageManifest, tag: image.tag("sig"), in: ImageFixture.path)
            }, replaces: .older),
    ]

    @Test(
        "One thing that cannot be read hides no signature that holds, and is no answer by itself", arguments: badThings)
    func oneBadThing(bad: BadThing) async throws {
        let place = try await ImageFixture()
        let registry = try place.registry
        for scheme in Scheme.allCases where scheme != bad.replaces {
            let image = try await place.push("signed \(scheme)")
            await place.sign(image.name, scheme: scheme).expectSuccess()
            try await bad.put(place, image)
            let outcome = await place.verify(image.name, flags: ["--all-signatures"])
            #expect(try outcome.payloads().count == 1, "\(scheme): \(outcome.messages)")
            #expect(outcome.messages.contains("WARNING: passed over: "), "\(outcome.messages)")
            // What was not looked at is nothing to warn of.
            let brief = await place.verify(image.name)
            #expect(try brief.payloads().count == 1, "\(scheme): \(brief.messages)")
            #expect(brief.messages.contains("passed over") == (bad.replaces != .older), "\(brief.messages)")
            let wrong = await place.verify(image.name, key: "other")
            #expect(wrong.ending == .exit(1) && wrong.code != "no-matching-signature", "\(wrong.messages)")
            #expect(wrong.messages.contains("none holds"), "\(wrong.messages)")
            registry.faults.removeAll()
        }
        // Alone it is neither unsigned nor signed by somebody else: nobody could look.
        let image = try await place.push("not signed")
        try await bad.put(place, image)
        let outcome = await place.verify(image.name)
        #expect(outcome.ending == .exit(1) && outcome.stdout.isEmpty, "\(outcome.messages)")
        #expect(!["no-signature", "no-matching-signature"].contains(outcome.code), "\(outcome.messages)")
        #expect(outcome.messages.contains("could not all be looked at"), "\(outcome.messages)")
    }

    @Test("A layer that cannot be read hides no signature in the layers beside it")
    func oneBadLayer() async throws {
        let place = try await ImageFixture()
        let image = try await place.push()
        await place.sign(image.name, scheme: .older).expectSuccess()
        var manifest = try #require(try await place.store.manifest(try ManifestSelector(tag: image.tag("sig")))?.image)
        manifest.layers.insert(
            Descriptor(
                mediaType: ImageFixture.payloadType, digest: try Digest.sha256(Array("gone".utf8)), size: 4,
                annotations: ["dev.cosignproject.cosign/signature": "c2ln"]), at: 0)
        let encoded = try manifest.encoded()
        try place.registry.placeManifest(
            encoded.bytes, mediaType: encoded.mediaType, tag: image.tag("sig"), in: ImageFixture.path)
        let outcome = await place.verify(image.name)
        #expect(try outcome.payloads().count == 1, "\(outcome.messages)")
        #expect(outcome.messages.contains("WARNING: passed over: "), "\(outcome.messages)")
        await place.verify(image.name, key: "other").expectRefusal(1, "not-found", "none holds")
    }

    @Test(
        "A registry that refuses the question for referrers: what stands at the fallback tag counts",
        arguments: [401, 403, 501])
    func refusedReferrers(status: Int) async throws {
        let place = try await ImageFixture(.fallbackTag)
        let image = try await place.push()
        await place.sign(image.name).expectSuccess()
        try place.registry.faults.add(Fault(.status(status, retryAfter: nil), path: "/referrers/"))
        let outcome = await place.verify(image.name)
        #expect(try outcome.payloads().count == 1, "\(outcome.messages)")
        #expect(outcome.messages.contains("WARNING: passed over: "), "\(outcome.messages)")
    }

    @Test("401 with a challenge is answered with a token, and is nothing to warn of")
    func challenge() async throws {
        let place = try await ImageFixture { $0.authentication = .token(username: "me", password: "secret") }
        let image = try await place.push()
        let login = ["--registry-username", "me", "--registry-password", "secret"]
        for scheme in Scheme.allCases {
            await place.sign(image.name, scheme: scheme, flags: login).expectSuccess("sign")
        }
        let outcome = await place.verify(image.name, flags: login + ["--all-signatures"])
        #expect(try outcome.payloads().count == 2)
        #expect(!outcome.messages.contains("passed over"), "\(outcome.messages)")
    }

    @Test("Of signatures that could not all be read nothing is said that is about all of them")
    func aboutAll() async throws {
        let place = try await ImageFixture()
        let image = try await place.push()
        try place.directory.write(
            "root.json", #"{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}"#)
        func verifyIdentity() async -> Program.Outcome {
            await place.swsign(
                ["verify", "--trusted-root", "root.json", "--certificate-identity=a", "--certificate-oidc-issuer=b"]
                    + ImageFixture.verifying + [image.name])
        }
        await place.sign(image.name).expectSuccess()
        await verifyIdentity().expectRefusal(13, "no-certificate")
        // What cannot be read may be signed with a certificate.
        try await place.putBundle(Array("{}".utf8), for: image)
        await verifyIdentity().expectRefusal(12, "no-matching-signature")
        // All attestations of a type are replaced, or none.
        try await place.attest(image.name, type: "custom").expectSuccess()
        let registry = try place.registry
        let before = try await place.store.referrers(of: image.digest, artifactType: nil).descriptors.count
        registry.faults.add(Fault(.status(403, retryAfter: nil), path: ".att"))
        let replaced = try await place.attest(image.name, type: "custom", flags: ["--replace"])
        #expect(replaced.ending == .exit(1) && replaced.code == "denied", "\(replaced.messages)")
        #expect(try await place.store.referrers(of: image.digest, artifactType: nil).descriptors.count == before)
        // Nothing is added to a list that cannot be read: it would be lost.
        registry.faults.removeAll()
        await place.sign(image.name, scheme: .older, key: "other").expectSuccess()
        let list = try #require(registry.manifest(image.tag("sig"), in: ImageFixture.path))
        registry.faults.add(Fault(.status(403, retryAfter: nil), method: "GET", path: ".sig"))
        await place.sign(image.name, scheme: .older).expectRefusal(1, "denied")
        #expect(registry.manifest(image.tag("sig"), in: ImageFixture.path)?.bytes == list.bytes)
    }

    // MARK: Signing

    @Test(
        "A signature that could not be stored is an error, and nothing half of it is found", arguments: Scheme.allCases)
    func storingFails(scheme: Scheme) async throws {
        let place = try await ImageFixture(takesTurns: false)
        let image = try await place.push(tag: "v1")
        let registry = try place.registry
        let tags = registry.tags(in: ImageFixture.path)
        for (fault, code) in [
            (Fault(.status(403, retryAfter: nil), method: "POST", path: "/blobs/uploads/"), "denied"),
            // Before the blobs are there: the older scheme's payload is the same each time, and is not sent twice.
            (
                Fault(
                    .header("Docker-Content-Digest", "sha256:\(String(repeating: "0", count: 64))"), method: "PUT",
                    path: "/blobs/"), "digest-mismatch"
            ),
            (Fault(.status(403, retryAfter: nil), method: "PUT", path: "/manifests/"), "denied"),
            (Fault(.status(429, retryAfter: 3600), method: "PUT", path: "/manifests/"), "http-status"),
        ] {
            registry.faults.removeAll()
            registry.faults.add(fault)
            let outcome = await place.sign(image.name, scheme: scheme)
            outcome.expectRefusal(1, code)
            #expect(!outcome.messages.contains("Signed "))
            #expect(registry.tags(in: ImageFixture.path) == tags)
            registry.faults.removeAll()
            await place.verify(image.name).expectRefusal(10, "no-signature")
        }
        await place.sign(image.name, scheme: scheme).expectSuccess()
        await place.verify(image.name).expectSuccess()
    }

    @Test("What another tool overwrites after we wrote is put back, or the job fails", arguments: Scheme.allCases)
    func overwritten(scheme: Scheme) async throws {
        let place = try await ImageFixture(.fallbackTag)
        let image = try await place.push()
        await place.sign(image.name, scheme: scheme, key: "other").expectSuccess()
        let registry = try place.registry
        let tag = scheme == .older ? image.tag("sig") : "sha256-\(image.digest.hex)"
        // A tool that read before us writes what it read, right after we wrote.
        registry.faults.add(Fault(.overwritten, method: "PUT", path: "/manifests/\(tag)", count: 1))
        registry.server.forgetRequests()
        await place.sign(image.name, scheme: scheme).expectSuccess()
        let writes = registry.server.requests.filter { $0.method == "PUT" && $0.target.hasSuffix("/manifests/\(tag)") }
        #expect(writes.count == 2 && writes.allSatisfy { $0.status == 201 })
        #expect(try await place.verify(image.name).payloads().count == 1)
        #expect(try await place.verify(image.name, key: "other").payloads().count == 1)
    }

    // MARK: Memory

    @Test("A hundred layers that name one blob take the memory of one")
    func oneBlobManyTimes() async throws {
        let place = try await ImageFixture()
        let image = try await place.push()
        let registry = try place.registry
        let content = [UInt8](repeating: 0x20, count: 8 << 20)
        let manifest = try ImageFixture.manifest(
            (0..<100).map { number in
                (
                    content, ImageFixture.payloadType,
                    ["dev.cosignproject.cosign/signature": Base64.encode(Array("\(number)".utf8))]
                )
            })
        try await place.put([Array("{}".utf8), content], manifest, tag: image.tag("sig"))
        registry.server.forgetRequests()
        var program = Program(directory: place.directory.path)
        program.measuresMemory = true
        let outcome = await program.run(["verify", "--key", "key.pub"] + ImageFixture.verifying + [image.name])
        outcome.expectRefusal(12, "no-matching-signature")
        #expect(outcome.peakMemory < 128 << 10, "\(outcome.peakMemory) KiB")
        #expect(registry.server.requests.filter { $0.target.contains("/blobs/") }.count == 1)
    }

    @Test("Signatures that together are too large are refused, whichever is read first", arguments: Scheme.allCases)
    func tooMuchInAll(scheme: Scheme) async throws {
        let place = try await ImageFixture()
        let image = try await place.push()
        try await place.put([Array("{}".utf8)], try ImageFixture.manifest([]))
        func layer(_ number: Int) throws -> Descriptor {
            Descriptor(
                mediaType: scheme == .older ? ImageFixture.payloadType : ImageFixture.bundleType,
                digest: try Digest.sha256(Array("\(number)".utf8)), size: 100 << 20,
                annotations: ["dev.cosignproject.cosign/signature": "c2lnbmF0dXJl"])
        }
        let config = Descriptor(mediaType: MediaType.empty, digest: try Digest.sha256(Array("{}".utf8)), size: 2)
        switch scheme {
        case .older:
            let manifest = try ImageManifest(config: config, layers: try (0..<3).map(layer)).encoded()
            try await place.put([], manifest, tag: image.tag("sig"))
        case .newer:
            for number in 0..<3 {
                let manifest = try ImageManifest(
                    artifactType: ImageFixture.bundleType, config: config, layers: [try layer(number)],
                    subject: image.descriptor
                ).encoded()
                try await place.put([], manifest)
            }
        }
        // Their blobs are not even there: what the manifests say is enough.
        await place.verify(image.name).expectRefusal(1, "too-large", "268435456", "104857600")
    }
}
