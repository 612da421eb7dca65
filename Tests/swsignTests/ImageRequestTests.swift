import LocalSigstore
import OCIRegistry
import SigstoreCrypto
import TestServices
import Testing

/// What `verify` asks a registry for: what it needs, and nothing twice.
struct ImageRequestTests {
    /// The requests that came, sorted, with names in place of digests.
    private func requests(_ place: ImageFixture, _ images: [TestImage]) async throws -> [String] {
        let registry = try place.registry
        let (requests, faults) = (registry.server.requests, registry.faults)
        faults.removeAll()
        var names: [(text: String, name: String)] = []
        for (number, image) in images.enumerated() {
            names.append((text: image.digest.description, name: "image\(number)"))
            names.append((text: "sha256-\(image.digest.hex)", name: "tag\(number)"))
            for descriptor in try await place.store.referrers(of: image.digest, artifactType: nil).descriptors {
                names.append((text: descriptor.digest.description, name: "referrer\(number)"))
                for layer in try await place.store.manifest(.digest(descriptor.digest))?.image?.layers ?? [] {
                    names.append((text: layer.digest.description, name: "bundle\(number)"))
                }
            }
            let tagged = try await place.store.manifest(try ManifestSelector(tag: image.tag("sig")))?.image
            for layer in tagged?.layers ?? [] {
                names.append((text: layer.digest.description, name: "payload\(number)"))
            }
        }
        return requests.map { request in
            let line = "\(request.method) \(request.target.replacing("/v2/\(ImageFixture.path)/", with: ""))"
            return names.reduce(line) { $0.replacing($1.text, with: $1.name) }
        }.sorted()
    }

    private func push(_ place: ImageFixture, _ count: Int) async throws -> [TestImage] {
        var images: [TestImage] = []
        for number in 0..<count { images.append(try await place.push("image \(number)", tag: "v\(number)")) }
        return images
    }

    private func verify(_ place: ImageFixture, _ images: [String], flags: [String] = []) async throws -> Program.Outcome
    {
        try place.registry.server.forgetRequests()
        return await place.swsign(["verify", "--key", "key.pub"] + ImageFixture.verifying + flags + images)
    }

    @Test("Images by digest, on a registry without the referrers API: that it has none is asked once")
    func withoutReferrersAPI() async throws {
        let place = try await ImageFixture(.fallbackTag)
        let images = try await push(place, 3)
        await place.swsign(["sign", "--key", "key.pem"] + ImageFixture.signing + images.map(\.name)).expectSuccess()
        try await verify(place, images.map(\.name)).expectSuccess()
        let asked = try await requests(place, images)
        #expect(asked.filter { $0.hasPrefix("GET referrers/") }.count == 1, "\(asked)")
        let each = (0..<3).flatMap {
            ["GET manifests/tag\($0)", "GET manifests/referrer\($0)", "GET blobs/bundle\($0)"]
        }
        #expect(asked.filter { !$0.hasPrefix("GET referrers/") } == (["GET /v2/"] + each).sorted())

        // The older scheme's are found without one more question for the other's list, and without the image.
        let older = try await push(place, 5).suffix(2)
        for image in older { await place.sign(image.name, scheme: .older).expectSuccess() }
        try await verify(place, older.map(\.name)).expectSuccess()
        let askedThen = try await requests(place, Array(older))
        #expect(askedThen.filter { $0.hasPrefix("GET referrers/") }.count == 1, "\(askedThen)")
        let eachThen = (0..<2).flatMap {
            ["GET manifests/tag\($0)", "GET manifests/tag\($0).sig", "GET blobs/payload\($0)"]
        }
        #expect(askedThen.filter { !$0.hasPrefix("GET referrers/") } == (["GET /v2/"] + eachThen).sorted())
    }

    @Test("Images by digest and by tag, on a registry with the referrers API")
    func withReferrersAPI() async throws {
        let place = try await ImageFixture()
        let images = try await push(place, 3)
        await place.swsign(["sign", "--key", "key.pem"] + ImageFixture.signing + images.map(\.name)).expectSuccess()
        try await verify(place, images.map(\.name)).expectSuccess()
        let each = (0..<3).flatMap {
            ["GET referrers/image\($0)", "GET manifests/referrer\($0)", "GET blobs/bundle\($0)"]
        }
        #expect(try await requests(place, images) == (["GET /v2/"] + each).sorted())

        try await verify(place, ["\(place.repository):v0"]).expectSuccess()
        let first = ["GET /v2/", "GET manifests/v0"] + each.prefix(3)
        #expect(try await requests(place, images) == first.sorted())

        // A signature that comes in a file needs no registry.
        try place.directory.write(
            "signature.json",
            try await place.store.blob(try #require(try await bundle(images[0], place)), limit: 1 << 20))
        try await verify(place, [images[0].name], flags: ["--signature", "signature.json"]).expectSuccess()
        #expect(try place.registry.server.requests.isEmpty)
        try await verify(place, [images[1].name], flags: ["--signature", "signature.json"])
            .expectRefusal(12, "no-matching-signature")
        #expect(try await requests(place, images) == ["GET /v2/", "HEAD manifests/image1"])
    }

    private func bundle(_ image: TestImage, _ place: ImageFixture) async throws -> Descriptor? {
        let referrers = try await place.store.referrers(of: image.digest, artifactType: nil).descriptors
        guard let digest = referrers.first?.digest else { return nil }
        return try await place.store.manifest(.digest(digest))?.image?.layers.first
    }

    @Test("Before an image is called unsigned, all is asked: its tag, its own referrers, and the image itself")
    func unsigned() async throws {
        let place = try await ImageFixture(.fallbackTag)
        let images = try await push(place, 2)
        let outcome = try await verify(place, images.map(\.name))
        #expect(outcome.ending == .exit(10), "\(outcome.messages)")
        let each = (0..<2).flatMap {
            [
                "GET referrers/image\($0)", "GET manifests/tag\($0)", "GET manifests/tag\($0).sig",
                "HEAD manifests/image\($0)",
                // Whether it is an index with images that are signed.
                "GET manifests/image\($0)",
            ]
        }
        #expect(try await requests(place, images) == (["GET /v2/"] + each).sorted())
    }

    @Test("Several signers are looked for in both schemes at once, and so is everything with --all-signatures")
    func everything() async throws {
        let place = try await ImageFixture()
        let images = try await push(place, 1)
        for (scheme, key) in zip(Scheme.allCases, ["key", "other"]) {
            await place.sign(images[0].name, scheme: scheme, key: key).expectSuccess()
        }
        let all = [
            "GET /v2/", "GET referrers/image0", "GET manifests/referrer0", "GET blobs/bundle0",
            "GET manifests/tag0.sig",
            "GET blobs/payload0",
        ].sorted()
        for flags in [["--threshold", "2", "--key", "other.pub"], ["--all-signatures", "--key", "other.pub"]] {
            let outcome = try await verify(place, images.map(\.name), flags: flags)
            #expect(try outcome.payloads().count == 2, "\(outcome.messages)")
            #expect(try await requests(place, images) == all, "\(flags)")
        }
        // A bundle that does not hold is no reason to leave out the older scheme.
        try place.registry.server.forgetRequests()
        #expect(try await place.verify(images[0].name, key: "other").payloads().count == 1)
        #expect(try await requests(place, images) == all)
    }

    @Test("A registry that answers 404 for the referrers of one image hides no signature of another")
    func absentForOneImage() async throws {
        let place = try await ImageFixture()
        let images = try await push(place, 2)
        await place.swsign(["sign", "--key", "key.pem"] + ImageFixture.signing + images.map(\.name)).expectSuccess()
        let faults = try place.registry.faults
        faults.add(Fault(.status(404, retryAfter: nil), path: "/referrers/", count: 1))
        let outcome = try await verify(place, images.map(\.name))
        // The one that was asked first is said to have none.
        #expect(outcome.ending == .exit(10), "\(outcome.messages)")
        #expect(outcome.messages.contains("1 of 2 images verified"), "\(outcome.messages)")
        // With all signatures demanded, each is asked for its own.
        faults.removeAll()
        faults.add(Fault(.status(404, retryAfter: nil), path: "/referrers/", count: 1))
        let all = try await verify(place, images.map(\.name), flags: ["--all-signatures"])
        #expect(all.messages.contains("1 of 2 images verified"), "\(all.messages)")
        // That the last question is not answered is not "unsigned".
        let unsigned = [try await place.push("not signed"), try await place.push("nor this")]
        faults.removeAll()
        faults.add(Fault(.status(404, retryAfter: nil), path: "/referrers/", count: 1))
        faults.add(Fault(.status(403, retryAfter: nil), path: "/referrers/", skip: 1))
        let failing = try await verify(place, unsigned.map(\.name))
        #expect(failing.messages.contains("[no-signature]"), "\(failing.messages)")
        #expect(failing.messages.contains("could not all be looked at"), "\(failing.messages)")
        #expect(failing.messages.contains("[denied]"), "\(failing.messages)")
    }
}
