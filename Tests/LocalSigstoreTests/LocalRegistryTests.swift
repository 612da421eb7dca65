import Foundation
import LocalSigstore
import SigstoreCrypto
import Spawning
import StrictJSON
import Testing

private let manifestType = "application/vnd.oci.image.manifest.v1+json"
private let bundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"

/// A registry that is stopped when the test is over.
private func withRegistry<Result>(
    _ configuration: LocalRegistry.Configuration = .init(),
    _ body: (LocalRegistry, RawClient) async throws -> Result
) async throws -> Result {
    let registry = try await LocalRegistry.start(configuration)
    do {
        let result = try await body(registry, RawClient(port: registry.server.port))
        await registry.stop()
        return result
    } catch {
        await registry.stop()
        throw error
    }
}

private func digest(_ bytes: [UInt8]) throws -> String { try Digest.sha256(bytes).description }

/// Pushes a blob and a manifest that holds it.
private func push(
    _ text: String, to name: String, reference: String? = nil, subject: String? = nil, type: String? = nil,
    _ client: RawClient
) async throws -> (digest: String, answer: RawAnswer) {
    let blob = Array(text.utf8)
    let started = try await client.send("POST", "/v2/\(name)/blobs/uploads/?digest=\(try digest(blob))", body: blob)
    #expect(started.status == 201)
    var object: JSONObject = [
        "schemaVersion": .integer(2), "mediaType": .string(manifestType),
        "config": .object([
            "mediaType": .string("application/vnd.oci.empty.v1+json"), "digest": .string(try digest(blob)),
            "size": .integer(blob.count),
        ]),
        "layers": .array([]),
    ]
    object["artifactType"] = type.map { .string($0) }
    object["subject"] = subject.map {
        .object(["mediaType": .string(manifestType), "digest": .string($0), "size": .integer(2)])
    }
    let manifest = JSONValue.object(object).serialized()
    let own = try digest(manifest)
    let answer = try await client.send(
        "PUT", "/v2/\(name)/manifests/\(reference ?? own)", headers: ["Content-Type": manifestType], body: manifest)
    return (own, answer)
}

@Suite struct LocalRegistryTests {
    @Test func pushesAndPulls() async throws {
        try await withRegistry { (registry, client) async throws in
            #expect(try await client.get("/v2/").status == 200)
            let pushed = try await push("one", to: "demo/app", reference: "v1", client)
            #expect(pushed.answer.status == 201)
            #expect(pushed.answer.headers["docker-content-digest"] == pushed.digest)
            let byTag = try await client.get("/v2/demo/app/manifests/v1")
            #expect(byTag.status == 200)
            #expect(try digest(byTag.body) == pushed.digest)
            let head = try await client.send("HEAD", "/v2/demo/app/manifests/v1")
            #expect(head.headers["content-length"] == String(byTag.body.count))
            #expect(head.body.isEmpty)
            #expect(try await client.get("/v2/demo/app/manifests/\(pushed.digest)").body == byTag.body)
            #expect(try await client.get("/v2/demo/app/manifests/v2").status == 404)
            #expect(try await client.get("/v2/demo/app/blobs/\(try digest(Array("one".utf8)))").text == "one")
            #expect(registry.tags(in: "demo/app") == ["v1"])
        }
    }

    @Test func uploadsInChunksAndMounts() async throws {
        try await withRegistry { (_, client) async throws in
            let whole = Array("chunked content".utf8)
            let own = try digest(whole)
            let started = try await client.send("POST", "/v2/a/b/blobs/uploads/")
            let location = try #require(started.headers["location"])
            let first = try await client.send(
                "PATCH", location, headers: ["Content-Range": "0-6"], body: Array(whole[..<7]))
            #expect(first.status == 202)
            #expect(first.headers["range"] == "0-6")
            let gap = try await client.send(
                "PATCH", location, headers: ["Content-Range": "9-10"], body: Array(whole[9..<11]))
            #expect(gap.status == 416)
            let second = try await client.send("PATCH", location, body: Array(whole[7...]))
            #expect(second.status == 202)
            let wrong = try await client.send("POST", "/v2/a/b/blobs/uploads/?digest=\(own)", body: [1])
            #expect(wrong.status == 400)
            #expect(try await client.send("PUT", "\(location)?digest=\(own)").status == 201)
            #expect(try await client.get("/v2/a/b/blobs/\(own)").body == whole)
            #expect(try await client.get("/v2/other/blobs/\(own)").status == 404)
            #expect(try await client.send("POST", "/v2/other/blobs/uploads/?mount=\(own)&from=a/b").status == 201)
            #expect(try await client.get("/v2/other/blobs/\(own)").body == whole)
        }
    }

    @Test func refusesWhatDoesNotHoldTogether() async throws {
        try await withRegistry { (_, client) async throws in
            let headers = ["Content-Type": manifestType]
            let missing = Array(
                "{\"schemaVersion\":2,\"layers\":[{\"digest\":\"sha256:\(String(repeating: "a", count: 64))\"}]}".utf8)
            #expect(try await client.send("PUT", "/v2/a/manifests/v1", headers: headers, body: missing).status == 400)
            let empty = Array("{\"schemaVersion\":2}".utf8)
            let other = "sha256:" + String(repeating: "0", count: 64)
            #expect(
                try await client.send("PUT", "/v2/a/manifests/\(other)", headers: headers, body: empty).status == 400)
            #expect(try await client.send("PUT", "/v2/a/manifests/v1", headers: headers, body: [0x7b]).status == 400)
            #expect(try await client.send("PUT", "/v2/A/manifests/v1", headers: headers, body: empty).status == 400)
            #expect(try await client.send("PUT", "/v2/a/manifests/v1", headers: headers, body: empty).status == 201)
        }
    }

    @Test func listsTagsInPages() async throws {
        try await withRegistry { (_, client) async throws in
            for tag in ["a", "b", "c", "d", "e"] { _ = try await push("x", to: "many", reference: tag, client) }
            let first = try await client.get("/v2/many/tags/list?n=2")
            #expect(try first.json().member("tags").elements().map { try $0.string() } == ["a", "b"])
            let link = try #require(first.headers["link"])
            #expect(link == "</v2/many/tags/list?n=2&last=b>; rel=\"next\"")
            let last = try await client.get("/v2/many/tags/list?n=2&last=d")
            #expect(try last.json().member("tags").elements().map { try $0.string() } == ["e"])
            #expect(last.headers["link"] == nil)
            #expect(try await client.get("/v2/none/tags/list").status == 404)
        }
    }

    @Test func listsReferrersByTypeAndInPages() async throws {
        var configuration = LocalRegistry.Configuration()
        configuration.referrersPage = 2
        try await withRegistry(configuration) { (_, client) async throws in
            let image = try await push("image", to: "app", reference: "v1", client).digest
            for number in 0..<3 {
                let pushed = try await push("s\(number)", to: "app", subject: image, type: bundleType, client)
                #expect(pushed.answer.headers["oci-subject"] == image)
            }
            _ = try await push("sbom", to: "app", subject: image, type: "text/spdx", client)
            var target =
                "/v2/app/referrers/\(image)?artifactType=\(bundleType.replacingOccurrences(of: "+", with: "%2B"))"
            var found: Set<String> = []
            var pages = 0
            while true {
                let page = try await client.get(target)
                #expect(page.status == 200)
                #expect(page.headers["content-type"] == "application/vnd.oci.image.index.v1+json")
                #expect(page.headers["oci-filters-applied"] == "artifactType")
                for one in try page.json().member("manifests").elements() {
                    #expect(try one.member("artifactType").string() == bundleType)
                    found.insert(try one.member("digest").string())
                }
                pages += 1
                guard let link = page.headers["link"], pages < 10 else { break }
                target = String(link.dropFirst().prefix { $0 != ">" })
            }
            #expect(found.count == 3)
            #expect(pages == 2)
            let nobody = try await client.get("/v2/app/referrers/sha256:\(String(repeating: "0", count: 64))")
            #expect(try nobody.json().member("manifests").elements().isEmpty)
        }
    }

    @Test func deletes() async throws {
        try await withRegistry { (registry, client) async throws in
            let one = try await push("one", to: "app", reference: "v1", client).digest
            #expect(try await client.send("DELETE", "/v2/app/manifests/v1").status == 202)
            #expect(try await client.get("/v2/app/manifests/\(one)").status == 200)
            #expect(try await client.send("DELETE", "/v2/app/manifests/\(one)").status == 202)
            #expect(try await client.get("/v2/app/manifests/\(one)").status == 404)
            #expect(registry.tags(in: "app").isEmpty)
        }
    }

    @Test func keepsAFolder() async throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("registry-\(UUID().uuidString)").path
        defer { try? FileManager.default.removeItem(atPath: folder) }
        var configuration = LocalRegistry.Configuration()
        configuration.folder = folder
        let image = try await withRegistry(configuration) { (_, client) async throws in
            try await push("kept", to: "demo/app", reference: "v1", client).digest
        }
        try await withRegistry(configuration) { (_, client) async throws in
            let again = try await client.get("/v2/demo/app/manifests/v1")
            #expect(try digest(again.body) == image)
            #expect(again.headers["content-type"] == manifestType)
            #expect(try await client.get("/v2/demo/app/blobs/\(try digest(Array("kept".utf8)))").text == "kept")
        }
    }

    // MARK: Credentials

    @Test func asksForTokens() async throws {
        var configuration = LocalRegistry.Configuration()
        configuration.authentication = .token(username: "ann", password: "pw")
        try await withRegistry(configuration) { (registry, client) async throws in
            let refused = try await client.get("/v2/app/tags/list")
            #expect(refused.status == 401)
            #expect(
                refused.headers["www-authenticate"]
                    == "Bearer realm=\"\(registry.server.url)/token\",service=\"local-registry\",scope=\"repository:app:pull\""
            )
            let scope = "/token?service=local-registry&scope=repository:app:pull"
            #expect(try await client.get(scope).status == 401)
            let basic = ["Authorization": "Basic " + Base64.encode(Array("ann:pw".utf8))]
            let wrong = ["Authorization": "Basic " + Base64.encode(Array("ann:no".utf8))]
            #expect(try await client.get(scope, headers: wrong).status == 401)
            let token = try await client.get(scope, headers: basic).json().member("token").string()
            let bearer = ["Authorization": "Bearer \(token)"]
            #expect(try await client.get("/v2/app/tags/list", headers: bearer).status == 404)
            let push = try await client.send("POST", "/v2/app/blobs/uploads/", headers: bearer)
            #expect(push.status == 401)
            #expect(push.headers["www-authenticate"]?.contains("insufficient_scope") == true)
            registry.faults.add(Fault(.staleToken))
            let stale = try await client.get(scope, headers: basic).json().member("token").string()
            #expect(
                try await client.get("/v2/app/tags/list", headers: ["Authorization": "Bearer \(stale)"]).status == 401)
        }
    }

    @Test func tokensExpire() async throws {
        var configuration = LocalRegistry.Configuration()
        configuration.authentication = .token(
            username: "ann", password: "pw", lifetime: 0.1, realm: nil, anonymousPull: true)
        try await withRegistry(configuration) { (_, client) async throws in
            let anonymous = try await client.get("/token?service=local-registry&scope=repository:app:pull,push")
            let bearer = ["Authorization": "Bearer \(try anonymous.json().member("token").string())"]
            try await Task.sleep(for: .milliseconds(200))
            let expired = try await client.get("/v2/app/tags/list", headers: bearer)
            #expect(expired.status == 401)
            #expect(expired.headers["www-authenticate"]?.contains("invalid_token") == true)
        }
    }

    @Test func asksForAPassword() async throws {
        var configuration = LocalRegistry.Configuration()
        configuration.authentication = .basic(username: "ann", password: "pw")
        try await withRegistry(configuration) { (_, client) async throws in
            #expect(try await client.get("/v2/").headers["www-authenticate"] == "Basic realm=\"local registry\"")
            let basic = ["Authorization": "Basic " + Base64.encode(Array("ann:pw".utf8))]
            #expect(try await client.get("/v2/", headers: basic).status == 200)
        }
    }

    // MARK: Faults

    @Test func faultsHappenToTheRequestsTheyAreFor() async throws {
        try await withRegistry { (registry, client) async throws in
            let image = try await push("image", to: "app", reference: "v1", client).digest
            registry.faults.add(
                Fault(.status(429, retryAfter: 7), method: "GET", path: "/manifests/", skip: 1, count: 2))
            #expect(try await client.get("/v2/app/manifests/v1").status == 200)
            #expect(try await client.send("HEAD", "/v2/app/manifests/v1").status == 200)
            let limited = try await client.get("/v2/app/manifests/v1")
            #expect(limited.status == 429)
            #expect(limited.headers["retry-after"] == "7")
            #expect(try await client.get("/v2/app/tags/list").status == 200)
            #expect(try await client.get("/v2/app/manifests/\(image)").status == 429)
            #expect(try await client.get("/v2/app/manifests/v1").status == 200)
            #expect(registry.server.requests.suffix(2).map(\.status) == [429, 200])
        }
    }

    @Test(arguments: [
        Fault.Action.delay(seconds: 0.3), .hang, .reset, .resetMidBody, .truncate, .endlessBody, .drip(seconds: 0.01),
        .contentType("text/html"), .corruptBody, .redirect("http://127.0.0.1:1/"), .wrongDigestHeader,
    ])
    func breaksAnAnswer(_ action: Fault.Action) async throws {
        try await withRegistry { (registry, client) async throws in
            let image = try await push("image", to: "app", reference: "v1", client).digest
            let target = "/v2/app/manifests/v1"
            let good = try await client.get(target)
            registry.faults.add(Fault(action))
            let started = ContinuousClock.now
            let bad = try await client.get(target, seconds: action == .hang ? 0.3 : 120, limit: 1 << 20)
            let took = ContinuousClock.now - started
            switch action {
            case .delay: #expect(took >= .seconds(0.3) && bad.body == good.body)
            case .hang: #expect(bad.status == 0 && bad.end == .timedOut)
            case .reset: #expect(bad.status == 0 && bad.end == .reset)
            case .resetMidBody: #expect(bad.status == 200 && bad.end == .reset && bad.body.count < good.body.count)
            case .truncate: #expect(bad.status == 200 && bad.end == .closed && bad.body.count == good.body.count / 2)
            case .endlessBody: #expect(bad.end == .enough && bad.headers["transfer-encoding"] == "chunked")
            case .drip: #expect(took > .seconds(0.01) * (good.body.count / 2) && bad.body == good.body)
            case .contentType: #expect(bad.headers["content-type"] == "text/html" && bad.body == good.body)
            case .corruptBody: #expect(bad.body != good.body && bad.headers["docker-content-digest"] == image)
            case .redirect: #expect(bad.status == 307 && bad.headers["location"] == "http://127.0.0.1:1/")
            case .wrongDigestHeader: #expect(bad.headers["docker-content-digest"] != image && bad.body == good.body)
            default: Issue.record("no expectation for \(action)")
            }
            registry.faults.removeAll()
            #expect(try await client.get(target).body == good.body)
        }
    }

    @Test func delaysUntilFaultsAreSwitchedOff() async throws {
        try await withRegistry { (registry, client) async throws in
            registry.faults.add(Fault(.delay(seconds: 10_000)))
            async let answer = client.get("/v2/", seconds: 600)
            #expect(await Spawning.wait { registry.faults.met == 1 })
            #expect(registry.server.requests.isEmpty)
            registry.faults.removeAll()
            #expect(try await answer.status == 200)
            #expect(try await client.get("/v2/").status == 200 && registry.faults.met == 1)
        }
    }

    @Test func undoesAWriteAsAnotherToolWould() async throws {
        try await withRegistry { (registry, client) async throws in
            let first = try await push("first", to: "app", reference: "v1", client).digest
            registry.faults.add(Fault(.overwritten, method: "PUT", path: "/manifests/v1", count: 1))
            let second = try await push("second", to: "app", reference: "v1", client)
            #expect(second.answer.status == 201)
            #expect(try digest(await client.get("/v2/app/manifests/v1").body) == first)
            #expect(try await client.get("/v2/app/manifests/\(second.digest)").status == 200)
            _ = try await push("second", to: "app", reference: "v1", client)
            #expect(try digest(await client.get("/v2/app/manifests/v1").body) == second.digest)
        }
    }

    @Test func doesWhatOddRegistriesDo() async throws {
        try await withRegistry { (registry, client) async throws in
            let image = try await push("image", to: "app", reference: "v1", client).digest
            _ = try await push("sig", to: "app", subject: image, type: bundleType, client)
            registry.faults.add(Fault(.subjectAtFallbackTag))
            let fallback = try await client.get("/v2/app/manifests/\(image.replacingOccurrences(of: ":", with: "-"))")
            #expect(try digest(fallback.body) == image)
            registry.faults.removeAll()

            registry.faults.add(Fault(.endlessPages))
            let page = try await client.get("/v2/app/referrers/\(image)")
            let next = try #require(page.headers["link"]).dropFirst().prefix { $0 != ">" }
            let again = try await client.get(String(next))
            #expect(try again.json().member("manifests").elements().count == 1)
            #expect(again.headers["link"] != nil && again.headers["link"] != page.headers["link"])
            registry.faults.removeAll()

            registry.faults.add(Fault(.noReferrersAPI))
            #expect(try await client.get("/v2/app/referrers/\(image)").status == 404)
            let pushed = try await push("other", to: "app", subject: image, type: bundleType, client)
            #expect(pushed.answer.status == 201 && pushed.answer.headers["oci-subject"] == nil)
        }
    }

    @Test func servesWhatNoRegistryWouldAccept() async throws {
        try await withRegistry { (registry, client) async throws in
            let lie = "sha256:" + String(repeating: "1", count: 64)
            try registry.placeManifest(
                Array("not json".utf8), mediaType: manifestType, digest: lie, tag: "v1", in: "app")
            try registry.placeBlob([1, 2, 3], digest: lie, in: "app")
            let manifest = try await client.get("/v2/app/manifests/v1")
            #expect(manifest.text == "not json" && manifest.headers["docker-content-digest"] == lie)
            #expect(try await client.get("/v2/app/blobs/\(lie)").body == [1, 2, 3])
        }
    }

    @Test func faultsAreSwitchedOverHTTP() async throws {
        try await withRegistry { (registry, client) async throws in
            let fault: JSONValue = .object([
                "action": .string("status"), "status": .integer(503), "retryAfter": .integer(1), "count": .integer(1),
            ])
            #expect(try await client.post("/_faults", json: fault).status == 204)
            #expect(registry.faults.all == [Fault(.status(503, retryAfter: 1), count: 1)])
            #expect(try await client.get("/v2/").status == 503)
            #expect(try await client.get("/v2/").status == 200)
            #expect(try await client.post("/_faults", json: .object(["action": .string("?")])).status == 400)
            #expect(try await client.send("DELETE", "/_faults").status == 204)
            #expect(registry.faults.all.isEmpty)
            #expect(registry.server.requests.count == 2)
        }
    }
}
