import Foundation
import Glibc
import LocalSigstore
import OCIRegistry
import SigstoreCrypto
import StrictJSON
import SwSignCore
import Synchronization
import TestServices
import Testing

/// resign: the signatures of a former signer, made anew by another one.
struct ResignTests {
    private static let flags = ["--former-key", "key.pub", "--insecure-ignore-tlog", "--tlog-upload=false"]

    private func resign(
        _ place: ImageFixture, _ flags: String..., from: [String] = ResignTests.flags, to key: String = "new",
        input: Program.Input = .nothing
    ) async -> Program.Outcome {
        await Program(directory: place.directory.path).run(
            ["resign", "--key", "\(key).pem"] + from + flags, input: input)
    }

    /// A place with the new key too.
    private func place(
        _ kind: RegistryKind = .referrersAPI, _ change: @Sendable (inout LocalRegistry.Configuration) -> Void = { _ in }
    ) async throws -> ImageFixture {
        let place = try await ImageFixture(kind, change)
        try place.directory.makeKey("new")
        return place
    }

    private func results(_ outcome: Program.Outcome) throws -> [String: String] {
        var results: [String: String] = [:]
        for row in try #require(try outcome.objects().first).member("images").elements() {
            results[try row.optional("digest")?.string() ?? ""] = try row.member("result").string()
        }
        return results
    }

    /// How often an image is signed by a key, in both schemes.
    private func count(_ place: ImageFixture, _ image: TestImage, by key: String) async throws -> Int {
        let outcome = await place.verify(image.name, key: key, flags: ["--all-signatures"])
        // 12 if others have signed it.
        if [.exit(10), .exit(12)].contains(outcome.ending) { return 0 }
        try #require(outcome.succeeded, "\(outcome.messages)")
        return try outcome.payloads().count
    }

    // MARK: - The rotation

    @Test(
        "Twenty tags: every image once, no signature of a signature, and again without writing",
        arguments: [RegistryKind.dockerRegistry, .referrersAPI, .layout], Scheme.allCases)
    func rotation(kind: RegistryKind, scheme: Scheme) async throws {
        let place = try await place(kind)
        var images: [TestImage] = []
        for number in 1...20 { images.append(try await place.push("image \(number)", tag: "v\(number)")) }
        let made = await place.swsign(
            ["sign", "--key", "key.pem"] + ImageFixture.signing + scheme.flags + images.map(\.name))
        made.expectSuccess()
        let before = try #require(try await place.store.tags()).sorted()
        if kind != .layout, kind != .referrersAPI || scheme == .older { #expect(before.count == 40) }
        let outcome = await resign(place, "--new-bundle-format=\(scheme == .newer)", "-o", "json", place.repository)
        outcome.expectSuccess("\(kind)")
        #expect(try results(outcome).values.allSatisfy { $0 == "signed" })
        #expect(try results(outcome).count == 20)
        #expect(outcome.messages.contains("if the former key was stolen"))
        #expect(try #require(try await place.store.tags()).sorted() == before)
        for key in ["new", "key"] {
            let all = await place.swsign(
                ["verify", "--key", "\(key).pub", "--all-signatures"] + ImageFixture.verifying + images.map(\.name))
            #expect(try all.objects().map { try $0.elements().count } == Array(repeating: 1, count: 20))
        }
        // While both count, either will do.
        await place.verify(images[0].name, flags: ["--key", "new.pub"]).expectSuccess()
        if kind == .referrersAPI { try place.registry.server.forgetRequests() }
        let again = await resign(place, "-o", "json", place.repository)
        again.expectSuccess()
        #expect(try results(again).values.allSatisfy { $0 == "already-signed" })
        if kind == .referrersAPI {
            #expect(try !place.registry.server.requests.contains { ["PUT", "POST", "PATCH"].contains($0.method) })
        }
    }

    @Test("cosign verifies what was signed anew", arguments: [Scheme.newer, .older])
    func cosign(scheme: Scheme) async throws {
        let place = try await place(.dockerRegistry)
        let image = try await place.push(tag: "v1")
        await place.sign(image.name, scheme: scheme, flags: ["-a", "stage=release"]).expectSuccess()
        await resign(place, "--new-bundle-format=\(scheme == .newer)", place.repository).expectSuccess()
        for cosign in scheme == .older ? Cosign.allCases : [.three] {
            let outcome = try await cosign.run(
                [
                    "verify", "--key", "new.pub", "--insecure-ignore-tlog=true", "-a", "stage=release",
                    "--allow-http-registry", image.name,
                ], in: place.directory)
            #expect(outcome.succeeded, "\(cosign): \(outcome.messages)")
            let other = try await cosign.run(
                ["verify", "--key", "other.pub", "--insecure-ignore-tlog=true", "--allow-http-registry", image.name],
                in: place.directory)
            #expect(!other.succeeded)
        }
    }

    @Test("Only what the former key signed is signed: not the unsigned, not another's, not what carries signatures")
    func nothingElse() async throws {
        let place = try await place(.dockerRegistry)
        let (one, bare, foreign) = (
            try await place.push("one", tag: "one"), try await place.push("bare", tag: "bare"),
            try await place.push("foreign", tag: "foreign")
        )
        await place.sign(one.name, scheme: .older).expectSuccess()
        await place.sign(foreign.name, key: "other").expectSuccess()
        // What the guides' loop leaves: a signature of a signature, at its tag and at another tag.
        let tag = "\(place.repository):\(one.tag("sig"))"
        await place.sign(tag).expectSuccess()
        let carrier = try #require(try await place.store.manifest(try ManifestSelector(tag: one.tag("sig"))))
        try await place.store.putManifest(carrier, tag: "looks-like-an-image")
        // A second tag of the same image is no second image.
        let manifest = try #require(try await place.store.manifest(.digest(one.digest)))
        try await place.store.putManifest(manifest, tag: "latest")
        let outcome = await resign(place, "-o", "json", place.repository)
        outcome.expectSuccess()
        #expect(
            try results(outcome) == [
                one.digest.description: "signed", bare.digest.description: "not-former-signer",
                foreign.digest.description: "not-former-signer", carrier.digest.description: "carrier",
            ])
        let row = try #require(try outcome.objects().first?.member("images").elements().first)
        #expect(
            Set(try row.member("tags").elements().map { try $0.string() }).isSubset(of: [
                "one", "latest", "bare", "foreign",
            ]))
        #expect(try await count(place, one, by: "new") == 1)
        for image in [bare, foreign] { #expect(try await count(place, image, by: "new") == 0) }
        #expect(await place.verify("\(place.repository)@\(carrier.digest)", key: "new").ending == .exit(12))
    }

    @Test("Annotations and the name of the repository are carried over, each set once", arguments: Scheme.allCases)
    func annotations(scheme: Scheme) async throws {
        let place = try await place()
        let image = try await place.push(tag: "v1")
        for flags in [["-a", "stage=release,team=ü"], ["-a", "stage=test"], ["-a", "stage=test"], []] {
            await place.sign(
                image.name, scheme: scheme,
                flags: flags + (scheme == .older ? ["--sign-container-identity", "public.example/app"] : [])
            ).expectSuccess()
        }
        await resign(place, "--new-bundle-format=\(scheme == .newer)", place.repository).expectSuccess()
        let verified = await place.verify(image.name, key: "new", flags: ["--all-signatures"])
        let said = try verified.payloads().map { payload in
            String(decoding: try payload.optional("optional")?.value.serialized() ?? [], as: UTF8.self)
        }
        #expect(said.count == 3 && Set(said).count == 3, "\(said)")
        #expect(said.contains(#"{"stage":"release","team":"ü"}"#), "\(said)")
        if scheme == .older {
            for payload in try verified.payloads() {
                let name = try payload.member("critical").member("identity").member("docker-reference").string()
                #expect(name == "public.example/app")
            }
        }
        // One that comes later is signed by the next run, and the others are not signed again.
        await place.sign(image.name, scheme: scheme, flags: ["-a", "stage=late"]).expectSuccess()
        await resign(place, "--new-bundle-format=\(scheme == .newer)", place.repository).expectSuccess()
        #expect(try await count(place, image, by: "new") == 4)
    }

    @Test("Attestations are signed anew with --attestations, byte for byte", arguments: Scheme.allCases)
    func attestations(scheme: Scheme) async throws {
        let place = try await place(.dockerRegistry)
        let image = try await place.push(tag: "v1")
        await place.sign(image.name, scheme: scheme).expectSuccess()
        try await place.attest(image.name, type: "slsaprovenance1", scheme: scheme).expectSuccess()
        try await place.attest(image.name, type: "vuln", scheme: scheme).expectSuccess()
        try await place.attest(image.name, type: "spdx", scheme: scheme, key: "other").expectSuccess()
        let flag = "--new-bundle-format=\(scheme == .newer)"
        await resign(place, flag, place.repository).expectSuccess()
        #expect(await place.verifyAttestation(image.name, type: "vuln", key: "new").ending == .exit(12))
        await resign(place, flag, "--attestations", place.repository).expectSuccess()
        for type in ["slsaprovenance1", "vuln"] {
            let (old, new) = (
                await place.verifyAttestation(image.name, type: type),
                await place.verifyAttestation(image.name, type: type, key: "new")
            )
            new.expectSuccess(type)
            #expect(
                try old.objects().map { try $0.member("payload").string() }
                    == new.objects().map { try $0.member("payload").string() })
        }
        #expect(await place.verifyAttestation(image.name, type: "spdx", key: "new").ending == .exit(12))
        let again = await resign(place, flag, "--attestations", "-o", "json", place.repository)
        #expect(try results(again).values.allSatisfy { $0 == "already-signed" })
        #expect(try await place.directory.attestations(image.name, type: "vuln", key: "new") == 1)
        #expect(try await count(place, image, by: "new") == 1)
    }

    @Test("An index is an image, and with --recursive those in it are too")
    func index() async throws {
        let place = try await place()
        let (index, images) = try await place.pushIndex(["amd64", "arm64"], tag: "multi")
        await place.sign(index.name, flags: ["--recursive"]).expectSuccess()
        await resign(place, place.repository).expectSuccess()
        #expect(try await count(place, index, by: "new") == 1)
        for image in images { #expect(try await count(place, image, by: "new") == 0) }
        await resign(place, "--recursive", place.repository).expectSuccess()
        for image in [index] + images { #expect(try await count(place, image, by: "new") == 1) }
    }

    // MARK: - The plan

    @Test("A plan is signed exactly, and what was added to it is refused")
    func plan() async throws {
        let place = try await place()
        let (one, two, foreign) = (
            try await place.push("one", tag: "one"), try await place.push("two", tag: "two"),
            try await place.push("foreign", tag: "foreign")
        )
        for image in [one, two] { await place.sign(image.name).expectSuccess() }
        await place.sign(foreign.name, key: "other").expectSuccess()
        let dry = await resign(place, "--dry-run", "--plan", "plan.json", "-o", "json", place.repository)
        dry.expectSuccess()
        #expect(try results(dry)[one.digest.description] == "to-sign")
        for image in [one, two] { #expect(try await count(place, image, by: "new") == 0) }
        let written = try place.directory.text("plan.json")
        let top = JSONCursor(try JSONValue(parsing: Array(written.utf8)))
        #expect(
            try top.member("images").elements().map { try $0.member("digest").string() }
                == [one, two].map { "\($0.digest)" })
        // Since then: another image, and another signature of a planned one.
        let late = try await place.push("late", tag: "late")
        await place.sign(late.name).expectSuccess()
        await place.sign(one.name, flags: ["-a", "stage=thief"]).expectSuccess()
        let signed = await resign(place, "--plan", "plan.json")
        signed.expectSuccess()
        #expect(
            signed.messages.contains("not in the plan") && !signed.messages.contains("if the former key was stolen"))
        for image in [one, two] { #expect(try await count(place, image, by: "new") == 1) }
        #expect(try await count(place, late, by: "new") == 0)
        // By hand: an image that the former key never signed takes the place of one that it did.
        try place.directory.write("changed.json", written.replacing("\(two.digest)", with: "\(foreign.digest)"))
        let changed = await resign(place, "--plan", "changed.json", "-o", "json")
        #expect(changed.ending == .exit(1), "\(changed.messages)")
        #expect(try results(changed) == ["\(one.digest)": "already-signed", "\(foreign.digest)": "failed"])
        #expect(changed.code == "no-matching-signature", "\(changed.messages)")
        #expect(try await count(place, foreign, by: "new") == 0)
        // Annotations by hand.
        try place.directory.write(
            "changed.json", written.replacing(#""annotations":{}"#, with: #""annotations":{"stage":"prod"}"#))
        let annotated = await resign(place, "--plan", "changed.json")
        #expect(annotated.ending == .exit(1) && annotated.messages.contains("stage"), "\(annotated.messages)")
        // Cut short, of another version, about another repository than is named.
        try place.directory.write("changed.json", String(written.dropLast(30)))
        #expect(await resign(place, "--plan", "changed.json").ending == .exit(1))
        try place.directory.write("changed.json", written.replacing(#""version":1"#, with: #""version":2"#))
        let version = await resign(place, "--plan", "changed.json")
        #expect(version.ending == .exit(1) && version.messages.contains("version"), "\(version.messages)")
        #expect(await resign(place, "--plan", "plan.json", place.repository + "/other").code == "usage")
        await resign(place, "--plan", "plan.json", place.repository).expectSuccess()
    }

    // MARK: - What goes wrong

    @Test("A former key that signed nothing is told, and so is no former key, or the new one")
    func wrongKey() async throws {
        let place = try await place()
        let image = try await place.push(tag: "v1")
        await place.sign(image.name).expectSuccess()
        let wrong = await resign(
            place, place.repository,
            from: ["--former-key", "other.pub", "--insecure-ignore-tlog", "--tlog-upload=false"])
        #expect(wrong.ending == .exit(12) && wrong.code == "not-all-signed", "\(wrong.messages)")
        #expect(try await count(place, image, by: "new") == 0)
        #expect(await resign(place, place.repository, from: ["--tlog-upload=false"]).code == "usage")
        #expect(await resign(place, place.repository, to: "key").code == "usage")
        #expect(await resign(place).code == "usage")
        // A log entry is demanded unless it is said that there is none.
        let logged = await resign(place, place.repository, from: ["--former-key", "key.pub", "--tlog-upload=false"])
        #expect(logged.ending == .exit(12), "\(logged.messages)")
        let absent = await resign(place, place.repository + "/absent")
        #expect(absent.ending == .exit(1) && absent.code == "image-not-found", "\(absent.messages)")
    }

    @Test(
        "What could not be looked at is never nothing to sign, and the others are signed",
        arguments: ["/manifests/two", "/referrers/", ".sig", "/tags/list"])
    func failing(path: String) async throws {
        let place = try await place()
        let (one, two) = (try await place.push("one", tag: "one"), try await place.push("two", tag: "two"))
        for image in [one, two] { await place.sign(image.name).expectSuccess() }
        let named =
            path.hasPrefix("/referrers") ? path + two.digest.description : path == ".sig" ? two.tag("sig") : path
        try place.registry.faults.add(Fault(.status(403, retryAfter: nil), method: nil, path: named))
        let outcome = await resign(place, "-o", "json", place.repository)
        #expect(outcome.ending == .exit(1), "\(path): \(outcome.messages)")
        #expect(outcome.code == "denied", "\(path): \(outcome.messages)")
        try place.registry.faults.removeAll()
        #expect(try await count(place, one, by: "new") == (path == "/tags/list" ? 0 : 1))
        #expect(try await count(place, two, by: "new") == 0)
        await resign(place, place.repository).expectSuccess()
        for image in [one, two] { #expect(try await count(place, image, by: "new") == 1) }
    }

    @Test("A registry that fails on every second request is asked again, and nothing is lost")
    func flaky() async throws {
        let place = try await place()
        var images: [TestImage] = []
        for number in 1...4 { images.append(try await place.push("image \(number)", tag: "v\(number)")) }
        for image in images { await place.sign(image.name).expectSuccess() }
        for number in 0..<40 {
            try place.registry.faults.add(Fault(.status(503, retryAfter: 0), skip: number, count: 1))
        }
        let outcome = await resign(place, "-o", "json", place.repository)
        try place.registry.faults.removeAll()
        #expect(outcome.ending == .exit(0) || outcome.ending == .exit(1), "\(outcome.messages)")
        #expect(try results(outcome).values.allSatisfy { $0 == "signed" || $0 == "failed" })
        await resign(place, place.repository).expectSuccess()
        for image in images { #expect(try await count(place, image, by: "new") == 1) }
    }

    @Test("A run that is stopped goes on where it was", arguments: [SIGTERM, SIGINT])
    func stopped(number: Int32) async throws {
        let place = try await place()
        var images: [TestImage] = []
        for number in 1...40 { images.append(try await place.push("image \(number)", tag: "v\(number)")) }
        let made = await place.swsign(
            ["sign", "--key", "key.pem"] + ImageFixture.signing + images.map(\.name))
        made.expectSuccess()
        let registry = try place.registry
        registry.server.forgetRequests()
        @Sendable func stored() -> Int {
            registry.server.requests.filter { $0.method == "PUT" && $0.target.contains("/manifests/") }.count
        }
        registry.faults.add(Fault(.hang, method: "PUT", path: "/manifests/", skip: 7))
        // Once the answers have arrived, too.
        let since = Mutex<ContinuousClock.Instant?>(nil)
        let stopped = await resign(
            place, place.repository,
            input: .stopped(by: number) {
                guard stored() >= 7 else { return false }
                return since.withLock { since in
                    since = since ?? .now
                    return since.map { $0.duration(to: .now) > .milliseconds(300) } ?? false
                }
            })
        #expect(stopped.ending == .signal(number), "\(stopped.messages)")
        // It says how many were signed, as far as that was known, and how to go on.
        let said = stopped.messages.split(separator: "images that were signed before that: ").last ?? ""
        let count = Int(said.prefix { $0.isNumber }) ?? 0
        #expect((1...7).contains(count), "\(stopped.messages)")
        #expect(stopped.messages.contains("it goes on with those that are not signed yet"), "\(stopped.messages)")
        registry.faults.removeAll()
        let before = stored()
        let outcome = await resign(place, "-o", "json", place.repository)
        outcome.expectSuccess()
        let results = try results(outcome)
        #expect(results.count == 40)
        #expect(results.values.filter { $0 == "already-signed" }.count >= 7, "\(before): \(results.values)")
        #expect(results.values.allSatisfy { $0 == "already-signed" || $0 == "signed" })
        let all = await place.swsign(
            ["verify", "--key", "new.pub", "--all-signatures"] + ImageFixture.verifying + images.map(\.name))
        #expect(try all.objects().map { try $0.elements().count } == Array(repeating: 1, count: 40))
    }
}

/// resign with proven times and identities.
@Suite("Signing anew with services", .localSigstore(.own))
struct ResignServiceTests {
    private let place: SigningFixture

    init() throws {
        place = try SigningFixture()
        for key in ["old", "new"] { try place.directory.makeKey(key) }
    }

    private var repository: String { "\(place.services.registry.address)/\(ImageFixture.path)" }

    private func push(_ text: String, tag: String) async throws -> String {
        let image = try place.push(text)
        try await place.directory.must("copy", image, "\(repository):\(tag)")
        return image
    }

    private func holds(_ image: String, by key: String = "new") async -> Program.Outcome {
        await place.run(["verify", "--key", "\(key).pub", "--insecure-ignore-tlog"] + place.trust + [image])
    }

    @Test("After a theft: only what a timestamp authority saw before is signed")
    func stolenKey() async throws {
        let (good, thief, bare) = (
            try await push("good", tag: "good"), try await push("thief", tag: "thief"),
            try await push("bare", tag: "bare")
        )
        let signing = ["sign", "--yes", "--key", "old.pem"] + place.services(.timestamp)
        place.services.timestampAuthority.faults.add(Fault(.wrongTime(seconds: -600)))
        let made = await place.run(signing + ["--tlog-upload=false", good])
        #expect(made.succeeded, "\(made.messages)")
        place.services.timestampAuthority.faults.removeAll()
        #expect(await place.run(signing + ["--tlog-upload=false", thief]).succeeded)
        #expect(await place.run(["sign", "--key", "old.pem", "--tlog-upload=false", bare]).succeeded)
        let time = Instant(seconds: Int64(Date().timeIntervalSince1970) - 300).description
        let resign = [
            "resign", "--yes", "--former-key", "old.pub", "--insecure-ignore-tlog", "--key", "new.pem",
            "--tlog-upload=false", "--signed-before",
        ]
        let none = await place.run(resign + ["2020-01-01"] + place.trust + [repository])
        #expect(none.ending == .exit(12) && none.code == "not-all-signed", "\(none.messages)")
        #expect(none.output.contains("no proven time") && none.output.contains("not-proven"), "\(none.output)")
        #expect(await !holds(good).succeeded)
        let outcome = await place.run(resign + [time] + place.trust + [repository])
        #expect(outcome.ending == .exit(12), "\(outcome.messages)")
        #expect(!outcome.messages.contains("if the former key was stolen"))
        #expect(await holds(good).succeeded)
        for image in [thief, bare] { #expect(await holds(image).ending == .exit(12)) }
        #expect(await place.run(resign + ["yesterday", repository]).code == "usage")
        // Without a time, all of it is: of that it is warned.
        let all = await place.run(resign.dropLast() + place.trust + [repository])
        #expect(all.succeeded && all.messages.contains("if the former key was stolen"), "\(all.messages)")
        for image in [thief, bare] { #expect(await holds(image).succeeded) }
    }

    @Test("From an identity to a key and back, with logs", arguments: [LocalServices.SigningConfigKind.v1, .v2])
    func identities(kind: LocalServices.SigningConfigKind) async throws {
        let image = try await push("image", tag: "v1")
        let signed = await place.run(["sign", "--yes"] + place.services(kind) + (try place.token()) + [image])
        #expect(signed.succeeded, "\(signed.messages)")
        let issuer = place.services.issuer.issuer(of: SigningFixture.alice)
        let signer = "identity=\(place.services.issuer.subject(of: SigningFixture.alice)),issuer=\(issuer)"
        let toKey = ["resign", "--yes", "--former-signer", signer, "--key", "new.pem"] + place.services(kind)
        let before = place.recorded
        let outcome = await place.run(toKey + [repository])
        #expect(outcome.succeeded, "\(outcome.messages)")
        #expect(place.recorded == before + 1)
        let verified = await place.run(["verify", "--key", "new.pub"] + place.trust + [image])
        #expect(verified.succeeded, "\(verified.messages)")
        #expect(await place.run(toKey + [repository]).succeeded)
        #expect(place.recorded == before + 1)
        let wrong = await place.run(
            ["resign", "--yes", "--former-signer", "identity=bob@local.test,issuer=\(issuer)", "--key", "new.pem"]
                + place.services(kind) + [repository])
        #expect(wrong.succeeded && place.recorded == before + 1, "already signed by the new key: \(wrong.messages)")
        // To another identity.
        let bob = LocalIdentity.email("bob@local.test")
        let back = await place.run(
            ["resign", "--yes", "--former-key", "new.pub"] + place.services(kind) + (try place.token(bob)) + [
                repository
            ])
        #expect(back.succeeded, "\(back.messages)")
        let byBob = await place.run(["verify"] + place.trust + place.expecting(bob) + [image])
        #expect(byBob.succeeded, "\(byBob.messages)")
    }
}
