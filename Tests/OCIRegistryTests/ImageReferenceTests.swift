import OCIRegistry
import SigstoreCrypto
import StrictJSON
import Testing

private let hex = String(repeating: "ab", count: 32)

@Suite struct ImageReferenceTests {
    @Test(arguments: [
        ("alpine", "index.docker.io/library/alpine:latest"),
        ("alpine:3.20", "index.docker.io/library/alpine:3.20"),
        ("user/app", "index.docker.io/user/app:latest"),
        ("docker.io/alpine", "index.docker.io/library/alpine:latest"),
        ("index.docker.io/user/app", "index.docker.io/user/app:latest"),
        ("registry-1.docker.io/library/x", "index.docker.io/library/x:latest"),
        ("ghcr.io/o/r:v1", "ghcr.io/o/r:v1"),
        ("localhost/x1", "localhost/x1:latest"),
        ("localhost:5000/x1", "localhost:5000/x1:latest"),
        ("localhost:5000/x1:t", "localhost:5000/x1:t"),
        ("GHCR.io/o/r", "ghcr.io/o/r:latest"),
        ("[::1]:5000/a/b:c", "[::1]:5000/a/b:c"),
        ("oci://host.example/charts/c:1.0.0", "host.example/charts/c:1.0.0"),
        ("host:443/a/b", "host:443/a/b:latest"),
        ("a/b@sha256:\(hex)", "index.docker.io/a/b@sha256:\(hex)"),
        ("a/b:tag@sha256:\(hex)", "index.docker.io/a/b@sha256:\(hex)"),
        ("a.b/cc:sha256-\(hex).sig", "a.b/cc:sha256-\(hex).sig"),
        ("h.io/a__b/c--d/e.f:_x", "h.io/a__b/c--d/e.f:_x"),
    ])
    func reads(_ text: String, _ expected: String) throws {
        #expect(try ImageReference(parsing: text).description == expected)
    }

    @Test(arguments: [
        "", ":", "a.b/c", "@", "a:", "alpine:", "alpine@", "UPPER/case", "a//b", "h.io/", "h.io/a/", "h.io//a",
        "h.io/../b", "h.io/a/../b", "h.io/./b", "h.io/a/.b", "h.io/-a", "h.io/a-", "h.io/ä", "h.io/a b", "h.io/a%2fb",
        "h.io/a?b", "h.io/a#b", "a b/c", "user@h.io/a", "h.io:0/a/b", "h.io:99999/a/b", "h.io/a/b:-t", "h.io/a/b:.t",
        "h.io/a/b:t/u",
        "h.io/a/b:\(String(repeating: "t", count: 129))", "h.io/\(String(repeating: "a", count: 256))",
        "h.io/a/b@sha256:\(hex)0", "h.io/a/b@sha256:\(hex.uppercased())", "h.io/a/b@md5:00", "h.io/a/b@sha256:zz",
        "h.io/a/b@sha256:\(hex)@sha256:\(hex)", "https://h.io/a/b",
    ])
    func refuses(_ text: String) {
        #expect(throws: SigstoreError.self) { try ImageReference(parsing: text) }
    }

    @Test func refusesControlCharacters() {
        for text in ["h.io/a/b:t\n", "h.io/a/b\0c", "h.io/a\u{1b}[2K/b"] {
            #expect(throws: SigstoreError.self) { try ImageReference(parsing: text) }
        }
    }

    @Test func knowsWhereDockerHubIs() throws {
        let reference = try ImageReference(parsing: "alpine")
        #expect(reference.repository.registry.authority == "registry-1.docker.io")
        #expect(reference.repository.name == "index.docker.io/library/alpine")
    }

    @Test func readsLayouts() throws {
        let digest = try Digest(parsing: "sha256:\(hex)")
        #expect(try ImageLocation(parsing: "oci-layout:dir") == .layout(path: "dir", nil))
        #expect(try ImageLocation(parsing: "oci-layout:/a/b:v1") == .layout(path: "/a/b", .tag("v1")))
        #expect(try ImageLocation(parsing: "oci-layout:./a:b/c") == .layout(path: "./a:b/c", nil))
        #expect(try ImageLocation(parsing: "oci-layout:../x@sha256:\(hex)") == .layout(path: "../x", .digest(digest)))
        for text in ["oci-layout:", "oci-layout::v1", "oci-layout:a:", "oci-layout:a:b c", "oci-layout:a@sha256:0"] {
            #expect(throws: SigstoreError.self, "\(text)") { try ImageLocation(parsing: text) }
        }
        guard case .registry = try ImageLocation(parsing: "oci-layout/x") else {
            Issue.record("a repository of that name is no layout")
            return
        }
    }
}
