import ArgumentParser
import FaultServer
import Foundation
import HTTPTransport
import LocalSigstore
import LocalSystem
import SigstoreCrypto
import StrictJSON
import Synchronization
import TestServices
import Testing

@testable import swsign

/// Attestations that are fetched from npm's registry, PyPI and GitHub, and those of images. The servers are on loopback.
@Suite("Fetched provenance", .needsShared)
struct FetchTests {
    private static let published = "\(sharedDirectory)/provenance"
    private static let root = "\(sharedDirectory)/trust/production/trusted_root.json"
    private let directory = TemporaryDirectory()

    private func verify(_ arguments: [String], _ environment: [String: String] = [:]) async -> Program.Outcome {
        await Program(directory: directory.path, environment: environment).run(
            ["verify-provenance", "--trusted-root", Self.root] + arguments)
    }

    private static func bytes(_ path: String) throws -> [UInt8] {
        try Array(Data(contentsOf: URL(fileURLWithPath: "\(published)/\(path)")))
    }

    // MARK: - npm

    private static let npmKey = ["--npm-keys", "\(published)/npm/npm-attestations-2022.pub"]

    /// The digest of the package that the registry's real answer is about, `sha512-…` in base64.
    private static func integrity() throws -> String {
        let answer = JSONCursor(try JSONValue(parsing: try bytes("npm/valid-attestations.json")))
        let envelope = try #require(try answer.member("attestations").elements().first).member("bundle").member(
            "dsseEnvelope")
        let statement = JSONCursor(try JSONValue(parsing: try envelope.member("payload").bytes()))
        let subject = try #require(try statement.member("subject").elements().first)
        let hex = try subject.member("digest").member("sha512").string()
        return "sha512-" + Base64.encode(try #require(Hexadecimal.decode(hex)))
    }

    @Test(
        "npm: a package by its name, and a whole lock file over a few connections; 404 alone says that there is nothing"
    )
    func npm() async throws {
        let answer = try Self.bytes("npm/valid-attestations.json")
        let server = FaultServer { request, connection in
            guard request.path == "/base/-/npm/v1/attestations/sigstore@0.4.0" else {
                return connection.respond(404, [], #"{"error":"not found"}"#)
            }
            connection.respond(200, ["Content-Type: application/json"], answer)
        }
        let integrity = try Self.integrity()
        let fetching = ["--from", "npm", "--fetch", "--registry", server.url + "/base/"] + Self.npmKey
        let one =
            fetching + [
                "--package", "sigstore", "--package-version", "0.4.0", "--source-uri",
                "github.com/sigstore/sigstore-js",
            ]
        let outcome = await verify(one + [integrity], ["GH_TOKEN": "secret-of-github"])
        #expect(outcome.succeeded, "\(outcome.messages)")
        #expect(server.requests.count == 1 && server.requests[0].header("authorization") == nil)
        #expect(outcome.messages.contains("\n  package: sigstore\n"), "\(outcome.messages)")
        let others = (1...60).map {
            #","node_modules/@x/p\#($0)":{"version":"1.0.\#($0)","integrity":"\#(integrity)"}"#
        }.joined()
        try directory.write(
            "package-lock.json",
            #"{"lockfileVersion":3,"packages":{"":{},"node_modules/sigstore":{"version":"0.4.0","integrity":"\#(integrity)"}"#
                + others + "}}")
        let before = server.connectionCount
        let lock = await verify(fetching + ["package-lock.json"])
        #expect(lock.ending == .exit(1) && lock.messages.contains("1 of 61 packages verified"), "\(lock.messages)")
        #expect(lock.messages.contains("has no attestations of @x/p") && lock.messages.contains("[no-provenance]"))
        #expect(server.requests.count == 62)
        #expect(server.requests.contains { $0.target == "/base/-/npm/v1/attestations/@x%2fp7@1.0.7" })
        // Connections are used again.
        #expect((1...10).contains(server.connectionCount - before), "\(server.connectionCount - before) connections")
        // An answer about another package.
        let wrong = await verify(one.map { $0 == "0.4.0" ? "0.4.1" : $0 } + [integrity])
        #expect(wrong.code == "no-provenance")
        let other = FaultServer { _, connection in connection.respond(200, [], answer) }
        let misled = await verify(
            ["--from", "npm", "--fetch", "--registry", other.url, "--package", "sigstor", "--package-version", "0.4.0"]
                + ["--source-uri", "github.com/sigstore/sigstore-js"] + Self.npmKey + [integrity])
        #expect(misled.ending == .exit(1) && misled.code == "wrong-package", "\(misled.messages)")
    }

    // MARK: - PyPI

    private static let package = "pypi_attestations-0.0.19.tar.gz"

    @Test("PyPI: a folder of packages; an answer about another package is refused")
    func pypi() async throws {
        let provenance = try Self.bytes("pypi/\(Self.package).provenance")
        let server = FaultServer { request, connection in
            guard request.header("accept") == "application/vnd.pypi.integrity.v1+json" else {
                return connection.respond(406)
            }
            let isThere = request.path.hasPrefix("/integrity/pypi-attestations/")
            connection.respond(isThere ? 200 : 404, [], isThere ? provenance : [])
        }
        let demanding = [
            "--repository", "https://github.com/trailofbits/pypi-attestations", "--fetch", "--registry", server.url,
        ]
        try directory.makeDirectory("dist")
        let content = try Self.bytes("pypi/\(Self.package)")
        try directory.write("dist/\(Self.package)", content)
        let outcome = await verify(demanding + ["dist"])
        #expect(outcome.succeeded, "\(outcome.messages)")
        #expect(
            server.requests.map(\.target) == ["/integrity/pypi-attestations/0.0.19/\(Self.package)/provenance"])
        try directory.write("dist/pypi_attestations-0.0.20.tar.gz", content)
        try directory.write("dist/other_package-1.0.tar.gz", content)
        let refused = await verify(demanding + ["dist"])
        #expect(refused.messages.contains("1 of 3 files verified"), "\(refused.messages)")
        #expect(refused.messages.contains("[wrong-version]") && refused.messages.contains("[no-provenance]"))
    }

    @Test("Whatever a server fails to answer is an error of its own, and never that there are no attestations")
    func failures() async throws {
        let package = "\(Self.published)/pypi/\(Self.package)"
        let whole = try Self.bytes("pypi/\(Self.package).provenance")
        let demanding = ["--repository", "https://github.com/trailofbits/pypi-attestations", "--fetch"]
        func expect(_ code: String, _ handler: @escaping FaultServer.Handler) async {
            let server = FaultServer(handler)
            let outcome = await verify(demanding + ["--registry", server.url, package])
            #expect(outcome.ending == .exit(1) && outcome.code == code, "\(code) expected: \(outcome.messages)")
            #expect(
                outcome.messages.contains("has no attestations") == (code == "no-provenance"), "\(outcome.messages)")
            if ["http-status", "too-large", "redirect-refused", "unreachable"].contains(code) {
                #expect(
                    outcome.messages.contains("could not look for the attestations of \(Self.package)"),
                    "\(outcome.messages)")
            }
            server.stop()
        }
        await expect("no-provenance") { $1.respond(404, [], "{}") }
        await expect("no-provenance") { $1.respond(200, [], #"{"version":1,"attestation_bundles":[]}"#) }
        for status in [429, 500, 403, 410] { await expect("http-status") { $1.respond(status, [], "busy") } }
        await expect("malformed-json") { $1.respond(200, [], Array(whole.dropLast(100))) }
        await expect("malformed-json") { $1.respond(200) }
        await expect("not-a-bundle") { $1.respond(200, [], "<html>Sign in</html>") }
        await expect("unexpected-json") { $1.respond(200, [], #"{"version":2,"attestation_bundles":[]}"#) }
        await expect("too-large") {
            $1.send("HTTP/1.1 200 X\r\nContent-Length: 50000000\r\n\r\n")
            $1.send([UInt8](repeating: 0x20, count: 40_000_000))
        }
        await expect("unreachable") { $1.reset() }
        await expect("too-many-redirects") { $1.respond(302, ["Location: /again"]) }
        for address in ["http://registry.example", "ftp://127.0.0.1", "https://u:p@registry.example"] {
            let outcome = await verify(demanding + ["--registry", address, package])
            #expect(outcome.code == "malformed-url" && !outcome.messages.contains("u:p"), "\(outcome.messages)")
        }
        for flags in [["--registry", "https://pypi.org"], ["--limit", "0"], ["--bundle-from-oci"]] {
            let outcome = await verify(demanding.dropLast() + flags + [package])
            #expect(outcome.code == "usage", "\(flags): \(outcome.messages)")
        }
        let unclear = await verify(["--fetch", package])
        #expect(unclear.code == "usage" && unclear.messages.contains("--from"), "\(unclear.messages)")
        let model = await verify(["--fetch", "--from", "github", package])
        #expect(model.code == "usage" && model.messages.contains("--repo"), "\(model.messages)")
    }

    @Test("Without --fetch no socket is opened")
    func opensNoSocket() async throws {
        let traced = Program(executable: "strace", directory: directory.path)
        func calls(_ arguments: [String]) async throws -> (outcome: Program.Outcome, calls: String) {
            let outcome = await traced.run(
                ["-f", "-e", "trace=socket,connect", "-o", directory["calls"], Program.path, "verify-provenance"]
                    + ["--trusted-root", Self.root] + arguments)
            return (outcome, try directory.text("calls"))
        }
        let package = "\(Self.published)/pypi/\(Self.package)"
        let pypi = ["--repository", "https://github.com/trailofbits/pypi-attestations", package]
        let image = "oci://127.0.0.1:9/app@\(Self.artifact)"
        for arguments in [pypi, Self.reusable + ["-b", Self.bundle, image]] {
            let (outcome, calls) = try await calls(arguments)
            #expect(outcome.succeeded, "\(outcome.messages)")
            #expect(!calls.contains("socket(") && !calls.contains("connect("), "\(calls)")
        }
        let (tag, silent) = try await calls(Self.reusable + ["-b", Self.bundle, "oci://127.0.0.1:9/app:1.0"])
        #expect(tag.code == "usage" && !silent.contains("socket("), "\(tag.messages)")
        // The same watch sees the socket of a command that may use the network.
        let (asking, seen) = try await calls(pypi + ["--fetch", "--registry", "http://127.0.0.1:9"])
        #expect(asking.code == "unreachable" && seen.contains("socket("), "\(asking.messages)")
    }

    // MARK: - GitHub

    private static let bundle = "\(published)/github/reusable-workflow-attestation.sigstore.json"
    private static let artifact = "sha256:49a3aa6075e0f49f82843e74b5baa614ad2a588e6675612bf108a0a008c5ac25"
    private static let reusable = [
        "--repo", "malancas/attest-demo", "--signer-repo", "github/artifact-attestations-workflows",
    ]
    private static let file = "\(published)/github/reusable-workflow-artifact"

    /// Snappy's block format: what is to come is as it is, in pieces of 60,000 bytes.
    private static func packed(_ content: [UInt8]) -> [UInt8] {
        var size = content.count
        var out: [UInt8] = []
        while size >= 0x80 {
            out.append(UInt8(size & 0x7f | 0x80))
            size >>= 7
        }
        out.append(UInt8(size))
        for start in stride(from: 0, to: content.count, by: 60_000) {
            let piece = content[start..<min(start + 60_000, content.count)]
            out += [61 << 2, UInt8((piece.count - 1) & 0xff), UInt8((piece.count - 1) >> 8)] + piece
        }
        return out
    }

    @Test("GitHub: pages, bundles that are elsewhere, owners; the limit is said if none holds")
    func gitHub() async throws {
        let bundle = try Self.bytes("github/reusable-workflow-attestation.sigstore.json")
        let other = String(decoding: try Self.bytes("github/sigstore-js-2.1.0-bundle.json"), as: UTF8.self)
        let store = FaultServer { request, connection in
            connection.respond(request.path == "/there" ? 200 : 404, [], Self.packed(bundle))
        }
        let far = FaultServer { $1.respond(200, [], #"{"attestations":[]}"#) }
        let server = FaultServer { request, connection in
            let digest = "attestations/\(Self.artifact)"
            func answer(_ entries: String, _ link: String? = nil) {
                connection.respond(
                    200, link.map { [#"Link: <\#($0)>; rel="next""#] } ?? [], #"{"attestations":[\#(entries)]}"#)
            }
            let first = #"{"bundle":\#(other),"bundle_url":"https://store.example/x?sig=secret","repository_id":1}"#
            switch request.path {
            case "/repos/malancas/attest-demo/\(digest)":
                request.target.contains("page=2")
                    ? answer(#"{"bundle":null,"bundle_url":"\#(store.url)/there?sig=secret","initiator":"user"}"#)
                    : answer(first, "/repos/malancas/attest-demo/\(digest)?page=2")
            case "/users/malancas/\(digest)": answer(#"{"bundle":\#(String(decoding: bundle, as: UTF8.self))}"#)
            case "/gone/repos/malancas/attest-demo/\(digest)":
                answer(#"{"bundle":null,"bundle_url":"\#(store.url)/gone?sig=secret"}"#)
            case "/far/repos/malancas/attest-demo/\(digest)": answer(first, far.url + "/next")
            case "/none/repos/malancas/attest-demo/\(digest)": answer(#"{"bundle":null,"bundle_url":""}"#)
            case "/empty/repos/malancas/attest-demo/\(digest)": answer("")
            default: connection.respond(404, [], #"{"message":"Not Found"}"#)
            }
        }
        let variables = ["GH_TOKEN": "secret-of-github", "GITHUB_TOKEN": "secret-too"]
        func fetch(_ place: String = "", _ arguments: [String] = Self.reusable) async -> Program.Outcome {
            await verify(arguments + ["--fetch", "--registry", server.url + place, Self.file], variables)
        }
        let outcome = await fetch()
        #expect(outcome.succeeded, "\(outcome.messages)")
        #expect(server.requests.first?.target.hasSuffix("?per_page=30") == true)
        #expect(server.requests.count == 2 && store.requests.count == 1)
        // An owner that is no organisation.
        let owner = await fetch("", ["--owner", "malancas"] + Self.reusable.suffix(2))
        #expect(owner.succeeded, "\(owner.messages)")
        #expect(server.requests.suffix(2).map { $0.path.prefix(6) } == ["/orgs/", "/users"])
        // More than was looked at.
        let limited = await fetch("", Self.reusable + ["--limit", "1"])
        #expect(limited.code == "wrong-subject" && limited.messages.contains("--limit"), "\(limited.messages)")
        for (place, code, words) in [
            ("/gone", "http-status", "could not look"), ("/far", "redirect-refused", "could not look"),
            ("/none", "unexpected-json", "neither a bundle nor its address"),
            ("/empty", "no-provenance", "has no attestations"), ("/other", "no-provenance", "has no attestations"),
        ] {
            let refused = await fetch(place)
            #expect(refused.ending == .exit(1) && refused.code == code, "\(place): \(refused.messages)")
            #expect(refused.messages.contains(words) && !refused.messages.contains("sig=secret"), "\(refused.messages)")
        }
        #expect(far.requests.isEmpty)
        // What is given an address by hand gets no token.
        let seen = server.requests + store.requests
        #expect(seen.allSatisfy { $0.header("authorization") == nil })
        // GitHub's answer as a file: what is elsewhere is said.
        try directory.write("answer.json", #"{"attestations":[{"bundle":\#(other),"repository_id":1}]}"#)
        let given = await verify(
            ["-R", "sigstore/sigstore-js", "-b", "answer.json", "\(Self.published)/github/sigstore-js-2.1.0.tgz"])
        #expect(given.succeeded, "\(given.messages)")
        try directory.write("answer.json", #"{"attestations":[{"bundle":null,"bundle_url":"https://x.example/"}]}"#)
        let elsewhere = await verify(Self.reusable + ["-b", "answer.json", Self.file])
        #expect(elsewhere.code == "no-bundle" && elsewhere.messages.contains("--fetch"), "\(elsewhere.messages)")
    }

    /// A network that answers every request in one way, and notes who asked with what.
    private final class Answering: HTTPClient {
        private let answer: String
        private let seen = Mutex<[(url: String, token: String?)]>([])
        var requests: [(url: String, token: String?)] { seen.withLock { $0 } }

        init(_ answer: String) { self.answer = answer }

        func send(_ request: HTTPRequest, into sink: (any BodySink)?) async throws(SigstoreError) -> HTTPResponse {
            let token = request.authorization.map {
                unsafe $0.withValue { unsafe String(decoding: $0, as: UTF8.self) }
            }
            seen.withLock { $0.append((request.url.description, token)) }
            return HTTPResponse(status: 200, headers: [], body: Array(answer.utf8), url: request.url)
        }
    }

    @Test("GitHub's token goes to GitHub's API, and nowhere else")
    func token() throws {
        let elsewhere = #"{"attestations":[{"bundle":null,"bundle_url":"https://store.example/x"}]}"#
        for (flags, variables, expected) in [
            (
                Self.reusable, ["GH_TOKEN": "one", "GITHUB_TOKEN": "two"],
                [
                    ("https://api.github.com/repos/malancas/attest-demo/attestations/", "Bearer one"),
                    ("https://store.", nil),
                ]
            ),
            (
                ["--owner", "malancas"], ["GITHUB_TOKEN": "two"],
                [("https://api.github.com/orgs/malancas/attestations/", "Bearer two"), ("https://store.", nil)]
            ),
            (
                ["--repository", "https://github.com/a/b"], ["GH_TOKEN": "one"],
                [("https://pypi.org/integrity/a/1/a-1.tar.gz/provenance", nil)]
            ),
        ] as [([String], [String: String], [(String, String?)])] {
            try directory.write("a-1.tar.gz", "content")
            let network = Answering(elsewhere)
            let context = Context(environment: .values(variables), client: { _ in network })
            let command = try VerifyProvenance.parse(
                ["--fetch", "--trusted-root", Self.root, "--output", "text"] + flags + [directory["a-1.tar.gz"]])
            #expect(throws: SigstoreError.self) { try command.run(context) }
            #expect(network.requests.count == expected.count, "\(network.requests)")
            for (found, (url, token)) in zip(network.requests, expected) {
                #expect(found.url.hasPrefix(url) && found.token == token, "\(found)")
            }
        }
    }

    @Test("Another instance comes over TUF, once chosen and else by TUF_MIRROR, from the cache", .localSigstore)
    func overTUF() async throws {
        let place = try SigningFixture()
        try place.directory.write("predicate.json", "{}")
        let signing = try place.services(.v1) + place.token(.gitHubWorkflow())
        let attest = ["attest-blob", "--yes", "--type", "slsaprovenance1", "--predicate", "predicate.json"]
        let attested = await place.run(attest + ["--bundle", "own.json"] + signing + ["predicate.json"])
        try #require(attested.succeeded, "\(attested.messages)")
        let own = [
            "verify-provenance", "--repo", "example/demo", "--cert-oidc-issuer",
            place.services.issuer.issuer(of: .gitHubWorkflow()), "-b", "own.json", "predicate.json",
        ]
        #expect(await place.run(own).ending == .exit(1))
        let mirror = place.services.tufMirror.url
        let initialized = await place.run(["initialize", "--mirror", mirror, "--root", place.services.files.tufRoot])
        try #require(initialized.succeeded, "\(initialized.messages)")
        let chosen = await place.run(own)
        #expect(chosen.succeeded, "\(chosen.messages)")
        // The public instance is chosen again: the other one is believed only if it is named.
        try place.directory.write(".sigstore/root/remote.json", #"{"mirror":"https://tuf-repo-cdn.sigstore.dev"}"#)
        #expect(await place.run(own).ending == .exit(1))
        let named = await place.run(own, environment: ["TUF_MIRROR": mirror])
        #expect(named.succeeded && named.messages.contains("TUF_MIRROR"), "\(named.messages)")
        // As the instance that GitHub has for private repositories it is believed beside the public one, and for what it issued alone.
        let caches = place.directory[".sigstore/root"]
        let cache = try #require(
            try FileManager.default.contentsOfDirectory(atPath: caches).first { $0.hasPrefix("127.0.0.1") })
        try FileManager.default.moveItem(atPath: "\(caches)/\(cache)", toPath: "\(caches)/tuf-repo.github.com")
        let beside = await place.run(own)
        #expect(beside.succeeded, "\(beside.messages)")
        let staged = await place.run(own + ["--staging"])
        #expect(staged.ending == .exit(1), "\(staged.messages)")
        let known = await place.run([
            "verify-provenance", "--repo", "sigstore/sigstore-js", "-b",
            "\(Self.published)/github/sigstore-js-2.1.0-bundle.json",
            "\(Self.published)/github/sigstore-js-2.1.0.tgz",
        ])
        #expect(known.succeeded, "\(known.messages)")
        // Its metadata damaged, it is not believed, and that is said.
        try place.directory.write(".sigstore/root/tuf-repo.github.com/timestamp.json", "{")
        try place.directory.write(".sigstore/root/tuf-repo.github.com/targets/trusted_root.json", "{")
        let damaged = await place.run(own)
        #expect(damaged.ending == .exit(1) && damaged.messages.contains("GitHub's own instance"), "\(damaged.messages)")
    }

    // MARK: - Images

    @Test(
        "Images: by digest with a bundle; by tag, from GitHub or from the image's own registry, with --fetch",
        .localSigstore)
    func images() async throws {
        let place = try SigningFixture()
        let image = try place.push("an image that a workflow built")
        try place.directory.write("predicate.json", "{}")
        let signing = try place.services(.v1) + place.token(.gitHubWorkflow())
        let attest = ["--yes", "--type", "slsaprovenance1", "--predicate", "predicate.json"]
        let attested = await place.run(["attest"] + signing + attest + [image])
        try #require(attested.succeeded, "\(attested.messages)")
        let downloaded = await place.run(["download", "attestation", image])
        try place.directory.write("bundle.json", downloaded.stdout)
        let digest = try #require(image.split(separator: "@").last)
        let api = FaultServer { request, connection in
            let isKnown = request.path == "/repos/example/demo/attestations/\(digest)"
            connection.respond(
                isKnown ? 200 : 404, [], #"{"attestations":[{"bundle":\#(downloaded.line)}]}"#)
        }
        let name = "oci://\(place.services.registry.address)/\(ImageFixture.path)"
        let (byDigest, byTag) = ("\(name)@\(digest)", "\(name):1.0")
        for to in [String(byTag.dropFirst(6)), "oci-layout:layout:1.0"] {
            let copied = await place.run(["copy", image, to])
            try #require(copied.succeeded, "\(copied.messages)")
        }
        let issuer = place.services.issuer.issuer(of: .gitHubWorkflow())
        let demanding = ["verify-provenance", "--repo", "example/demo", "--cert-oidc-issuer", issuer] + place.trust
        for arguments in [
            ["-b", "bundle.json", byDigest], ["-b", "bundle.json", byTag, "--fetch"],
            ["--fetch", "--registry", api.url, byTag], ["--fetch", "--bundle-from-oci", byTag],
            ["--fetch", "--bundle-from-oci", byDigest], ["--bundle-from-oci", "oci-layout:layout:1.0"],
            ["-b", "bundle.json", "oci-layout:layout:1.0"],
        ] {
            let outcome = await place.run(demanding + arguments)
            #expect(outcome.succeeded, "\(arguments): \(outcome.messages)")
            #expect(outcome.messages.contains("source: https://github.com/example/demo"), "\(outcome.messages)")
        }
        let other = "\(name)@sha256:" + String(repeating: "a", count: 64)
        for (arguments, code) in [
            (["-b", "bundle.json", other], "wrong-subject"), (["-b", "bundle.json", byTag], "usage"),
            ([byDigest], "usage"), (["--bundle-from-oci", byDigest], "usage"),
            (["--fetch", "--bundle-from-oci", other], "no-provenance"),
            (["--fetch", "--registry", api.url, other], "no-provenance"),
            (["--fetch", "-b", "bundle.json", "\(name):2.0"], "image-not-found"),
            (["--from", "pypi", "--repository", "https://github.com/a/b", "-b", "bundle.json", byDigest], "usage"),
            (["-b", "bundle.json", "oci://UPPER@\(digest)"], "malformed-reference"),
        ] {
            let refused = await place.run(demanding + arguments)
            #expect(refused.ending != .exit(0) && refused.code == code, "\(arguments): \(refused.messages)")
        }
        // What the registry does not answer is not nothing.
        let failing = FaultServer { $1.respond($0.path.contains("referrers") ? 500 : 404) }
        let unknown = await place.run(
            demanding + ["--fetch", "--bundle-from-oci", "oci://\(failing.authority)/app@\(digest)"])
        #expect(unknown.ending != .exit(0) && unknown.code == "http-status", "\(unknown.messages)")
    }
}
