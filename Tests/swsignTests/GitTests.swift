import Foundation
import StrictJSON
import Testing

/// `git verify`, over repositories that git makes.
struct GitTests {
    private let directory = TemporaryDirectory()

    private static let environment = [
        "PATH": "/usr/local/bin:/usr/bin:/bin", "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C", "TZ": "UTC",
        "GIT_AUTHOR_NAME": "Ann", "GIT_AUTHOR_EMAIL": "ann@example.org", "GIT_COMMITTER_NAME": "Bob",
        "GIT_COMMITTER_EMAIL": "bob@example.org",
    ]

    @discardableResult
    private func shell(_ script: String) async throws -> String {
        let environment = Self.environment.merging(["HOME": directory.path]) { $1 }
        let outcome = await Program(executable: "/bin/sh", directory: directory.path, environment: environment)
            .run(["-ec", script])
        try #require(outcome.succeeded, "\(script): \(outcome.messages)")
        return outcome.line
    }

    private func verify(_ arguments: String..., in folder: String? = nil) async -> Program.Outcome {
        await Program(directory: folder ?? directory.path, environment: Self.environment)
            .run(["git", "verify"] + arguments)
    }

    /// The rows, each as the values of these members.
    private func rows(_ outcome: Program.Outcome, _ members: String...) throws -> [[String]] {
        try outcome.output.split(separator: "\n").map { line in
            let row = try JSONCursor(JSONValue(parsing: Array(line.utf8)))
            return try members.map { member in
                var place = row
                for name in member.split(separator: ".") {
                    guard let next = try place.optional(String(name)) else { return "-" }
                    place = next
                }
                return try place.string()
            }
        }
    }

    /// A repository whose commits are signed by the first of two SSH keys, and a file that allows that one.
    private func makeRepository() async throws {
        try await shell(
            """
            ssh-keygen -q -t ed25519 -N '' -f one; ssh-keygen -q -t ed25519 -N '' -f two
            (printf 'ann@example.org namespaces="git" '; cat one.pub) > allowed
            git init -q -b main .; git config gpg.format ssh; git config user.signingkey one
            git commit -q --allow-empty -m base; git commit -q -S --allow-empty -m first
            """)
    }

    @Test("A range holds if each of its commits is by a signer who may, and each that is not is named")
    func range() async throws {
        try await makeRepository()
        try await shell("git commit -q -S --allow-empty -m second; git tag -s -m one v1")
        for revision in ["HEAD", "v1", "HEAD^..HEAD", "main~2..main", "HEAD^!"] where revision != "HEAD^!" {
            let outcome = await verify("--allowed-signers", "allowed", revision)
            #expect(outcome.succeeded, "\(revision): \(outcome.messages)\(outcome.output)")
            #expect(outcome.output.contains("  accepted        ssh          ann@example.org"), "\(outcome.output)")
        }
        // Whom the environment has say who may sign is said.
        let environment = Self.environment.merging(["COSIGN_ALLOWED_SIGNERS": "allowed"]) { $1 }
        let told = await Program(directory: directory.path, environment: environment).run(["git", "verify", "HEAD"])
        #expect(told.succeeded && told.messages.contains("COSIGN_ALLOWED_SIGNERS"), "\(told.messages)")
        let both = await verify("--allowed-signers", "allowed", "--output", "json", "v1", "HEAD~1")
        #expect(
            try rows(both, "type", "kind", "verdict", "signer")
                == [["tag", "ssh", "accepted", "ann@example.org"], ["commit", "ssh", "accepted", "ann@example.org"]])
        // Another key, no signature, and GPG's.
        try await shell(
            """
            git commit -q -S --allow-empty -m third --author 'Eve <eve@example.org>'
            git -c user.signingkey=two commit -q -S --allow-empty -m fourth
            git commit -q --allow-empty -m fifth
            printf 'tree %s\\nparent %s\\nauthor A <a@b> 1 +0000\\ncommitter A <a@b> 1 +0000\\ngpgsig -----BEGIN PGP SIGNATURE-----\\n \\n AAAA\\n -----END PGP SIGNATURE-----\\n\\nm\\n' \
              $(git rev-parse HEAD^{tree}) $(git rev-parse HEAD) | git hash-object -w -t commit --stdin > id
            git update-ref refs/heads/main $(cat id)
            git checkout -q -b side v1; git commit -q -S --allow-empty -m aside; git checkout -q main
            git merge -q -S -m merge side
            """)
        let mixed = await verify("--allowed-signers", "allowed", "--output", "json", "v1..main")
        #expect(mixed.ending == .exit(1) && mixed.code == "unaccepted-commits", "\(mixed.messages)")
        #expect(mixed.messages.contains("3 of 6 commits and tags"), "\(mixed.messages)")
        #expect(
            Set(try rows(mixed, "kind", "verdict", "author.name", "error.code"))
                == [
                    ["ssh", "accepted", "Ann", "-"], ["ssh", "accepted", "Eve", "-"],
                    ["ssh", "refused", "Ann", "unknown-ssh-signer"],
                    ["unsigned", "unsigned", "Ann", "unsigned-git-object"],
                    ["gpg", "refused", "A", "no-signer-demanded"],
                ])
        let text = await verify("--allowed-signers", "allowed", "v1..main")
        #expect(text.output.split(separator: "\n").count == 6)
        #expect(text.output.contains("[unknown-ssh-signer]") && text.output.contains("[unsigned-git-object]"))
        let all = await verify("--allowed-signers", "allowed", "--all")
        #expect(all.ending == .exit(1) && all.messages.contains("of 9 commits"), "\(all.messages)")
    }

    @Test("What was signed is what stands there: a changed commit, another's signature, a replaced object")
    func attacks() async throws {
        try await makeRepository()
        try await shell(
            """
            git cat-file commit HEAD > good
            sed 's/^first$/First/' good | git hash-object -w -t commit --stdin > changed
            sed 's/Ann/Eve/' good | git hash-object -w -t commit --stdin > other
            git commit -q --allow-empty -m unsigned; git rev-parse HEAD > unsigned
            git replace $(cat unsigned) HEAD^
            """)
        for name in ["changed", "other"] {
            let outcome = await verify(
                "--allowed-signers", "allowed", try directory.text(name).trimmed, "--output", "json")
            #expect(outcome.ending == .exit(1))
            #expect(try rows(outcome, "verdict", "error.code") == [["refused", "invalid-signature"]])
        }
        // A signed tag that stands in the place of another.
        try await shell("git tag -s -m one v1; git update-ref refs/tags/v2 $(git rev-parse v1)")
        #expect(await verify("--allowed-signers", "allowed", "v1").succeeded)
        let renamed = await verify("--allowed-signers", "allowed", "--output", "json", "v2")
        #expect(try rows(renamed, "verdict", "error.code") == [["refused", "wrong-tag-name"]], "\(renamed.messages)")
        let replaced = await verify("--allowed-signers", "allowed", try directory.text("unsigned").trimmed)
        #expect(replaced.ending == .exit(1) && replaced.output.contains("unsigned-git-object"), "\(replaced.output)")
        // History that is grafted away is looked at.
        try await shell(
            "git replace -d $(cat unsigned) >/dev/null; git commit -q -S --allow-empty -m last; git rev-parse HEAD > .git/info/grafts"
        )
        let grafted = await verify("--allowed-signers", "allowed", "main~3..main")
        #expect(grafted.code == "unaccepted-commits" && grafted.messages.contains("2 of 3"), "\(grafted.messages)")
    }

    @Test("Nothing of the repository is run, and what is named like a flag is none")
    func nothingRuns() async throws {
        try await makeRepository()
        try await shell(
            """
            printf '#!/bin/sh\\ntouch %s/ran\\n' '\(directory.path)' > program; chmod +x program
            git config core.fsmonitor ./program; git config core.pager ./program; git config gpg.ssh.program ./program
            git config log.showSignature true
            mkdir -p hooks; for h in post-index-change reference-transaction; do cp program hooks/$h; done
            git config core.hooksPath hooks
            """)
        #expect(await verify("--allowed-signers", "allowed", "main~1..main").succeeded)
        #expect(!directory.exists("ran"))
        for (revisions, code) in [
            (["--", "--all"], "unknown-revision"), (["--", "-n1"], "unknown-revision"), (["nope"], "unknown-revision"),
            (["a..b"], "unknown-revision"), (["main..main"], "no-commits"), ([], "usage"),
            (["--all", "main"], "usage"),
            (["HEAD^{tree}"], "unaccepted-commits"),
        ] {
            let outcome = await Program(directory: directory.path, environment: Self.environment)
                .run(["git", "verify", "--allowed-signers", "allowed"] + revisions)
            #expect(outcome.ending == .exit(1) && outcome.code == code, "\(revisions): \(outcome.messages)")
        }
        let nobody = await verify("HEAD")
        #expect(nobody.code == "usage" && nobody.messages.contains("who may sign"), "\(nobody.messages)")
        let identity = await verify(
            "--certificate-identity", "a", "--certificate-oidc-issuer", "b", "HEAD", "--offline")
        #expect(identity.output.contains("no-signer-demanded"), "\(identity.output)\(identity.messages)")
        let empty = TemporaryDirectory()
        try empty.write("allowed", "")
        let outside = await verify("--allowed-signers", "allowed", "--all", in: empty.path)
        #expect(outside.ending == .exit(1) && outside.output.isEmpty, "\(outside.messages)")
    }

    @Test("A history that is cut off is said, and is not whole")
    func shallow() async throws {
        try await makeRepository()
        try await shell("git commit -q -S --allow-empty -m second; git clone -q --depth 2 file://$PWD shallow")
        let walked = await verify("--allowed-signers", "allowed", "-C", "shallow", "--all")
        #expect(walked.ending == .exit(1) && walked.code == "shallow-history", "\(walked.messages)")
        #expect(walked.messages.contains("2 of 2"))
        let part = await verify("--allowed-signers", "allowed", "-C", "shallow", "HEAD~1..HEAD")
        #expect(part.succeeded, "\(part.messages)")
        let one = await verify("--allowed-signers", "allowed", "-C", "shallow", "HEAD~1")
        #expect(one.succeeded, "\(one.messages)")
    }

    @Test("What a committer dates ahead counts for no key that may sign at some times only")
    func datedAhead() async throws {
        try await makeRepository()
        try await shell(
            """
            (printf 'ann@example.org namespaces="git",valid-after="20900101Z" '; cat one.pub) > later
            GIT_COMMITTER_DATE='2095-01-01T00:00:00Z' git commit -q -S --allow-empty -m ahead
            """)
        let later = await verify("--allowed-signers", "later", "--output", "json", "HEAD")
        #expect(try rows(later, "verdict", "error.code") == [["refused", "ssh-signer-not-valid"]], "\(later.output)")
        // A key that may sign at any time needs no date.
        #expect(await verify("--allowed-signers", "allowed", "HEAD").succeeded)
    }

    @Test("Names from outside forge no line")
    func names() async throws {
        try await makeRepository()
        try await shell(
            """
            printf 'tree %s\\nauthor \\033[2KX\\302\\205accepted <a@b> 1 +0000\\ncommitter A <a@b> 1 +0000\\n\\nm\\n' \
              $(git rev-parse HEAD^{tree}) | git hash-object -w -t commit --stdin > id
            """)
        let outcome = await verify("--allowed-signers", "allowed", try directory.text("id").trimmed)
        #expect(outcome.ending == .exit(1))
        #expect(!outcome.stdout.contains(0x1b) && outcome.output.split(separator: "\n").count == 1, "\(outcome.output)")
        #expect(outcome.output.unicodeScalars.allSatisfy { $0 != "\u{85}" })
    }

    @Test("A signature in CMS by a bare key")
    func key() async throws {
        try await makeRepository()
        try await shell(
            """
            openssl ecparam -name prime256v1 -genkey -noout -out key.pem; openssl pkey -in key.pem -pubout -out key.pub
            openssl ecparam -name prime256v1 -genkey -noout -out other.pem
            openssl pkey -in other.pem -pubout -out other.pub
            openssl req -x509 -new -key key.pem -subj /CN=a -days 2 -out cert.pem
            git commit -q --allow-empty -m plain; git cat-file commit HEAD > payload
            openssl cms -sign -binary -in payload -outform PEM -out sig -signer cert.pem -inkey key.pem -md sha256 -keyid -nocerts
            (sed -n '/^tree/,/^committer/p' payload; printf 'gpgsig '; sed 's/ CMS-/ SIGNED MESSAGE-/;2,$s/^/ /' sig
             sed -n '/^$/,$p' payload) | git hash-object -w -t commit --stdin > id
            """)
        let id = try directory.text("id").trimmed
        let good = await verify("--key", "key.pub", "--insecure-ignore-tlog", "--output", "json", id)
        #expect(good.succeeded, "\(good.messages)\(good.output)")
        #expect(try rows(good, "kind", "verdict") == [["key", "accepted"]])
        let logged = await verify("--key", "key.pub", "--offline", "--output", "json", id)
        #expect(try rows(logged, "verdict") == [["refused"]], "\(logged.messages)")
        let other = await verify("--key", "other.pub", "--insecure-ignore-tlog", "--output", "json", id)
        #expect(
            try other.ending == .exit(1) && rows(other, "verdict", "error.code") == [["refused", "unknown-git-key"]])
    }

    @Test(
        "gitsign's own commits and tags",
        .enabled(
            if: FileManager.default.fileExists(atPath: "\(sharedDirectory)/provenance/git"),
            "left out: ../shared is not there"))
    func gitsign() async throws {
        try await makeRepository()
        let given = "\(sharedDirectory)/provenance/git"
        try await shell(
            """
            for f in local-offline.commit local-online.commit local-tag-offline.tag; do
              git hash-object -w -t ${f##*.} --stdin < '\(given)'/$f || git hash-object -w -t ${f##*.} --literally --stdin < '\(given)'/$f
            done > ids
            # The services' ports of that time may be those of other tests today. Nobody listens at this one.
            sed -E 's/127\\.0\\.0\\.1:[0-9]+/127.0.0.1:1/g' '\(given)/trusted_root.json' > then.json
            """)
        let ids = try directory.text("ids").split(separator: "\n").map(String.init)
        try #require(ids.count == 3)
        func judged(_ identity: String, _ more: String...) async throws -> [[String]] {
            let outcome = await Program(directory: directory.path, environment: Self.environment).run(
                ["git", "verify", "--output", "json", "--trusted-root", "then.json"] + more + [
                    "--certificate-identity", identity, "--certificate-oidc-issuer", "http://127.0.0.1:43475",
                ] + ids)
            #expect(outcome.code == "unaccepted-commits", "\(outcome.messages)")
            return try rows(outcome, "verdict", "signer", "error.code")
        }
        let accepted = ["accepted", "ann@example.org", "-"]
        // The log of that time is not there any more: nothing is known then.
        #expect(try await judged("ann@example.org") == [accepted, ["could-not-look", "-", "unreachable"], accepted])
        #expect(
            try await judged("ann@example.org", "--offline") == [accepted, ["refused", "-", "no-log-entry"], accepted])
        // A timestamp stands in for the entry if none is demanded.
        let timed = try await shell("git hash-object -w -t commit --stdin < '\(given)'/local-timestamp-online.commit")
        for (identity, succeeds) in [("ann@example.org", true), ("bob@example.org", false)] {
            let outcome = await verify(
                "--trusted-root", "then.json", "--insecure-ignore-tlog", "--use-signed-timestamps",
                "--certificate-identity", identity, "--certificate-oidc-issuer", "http://127.0.0.1:43475", timed)
            #expect(outcome.succeeded == succeeds, "\(outcome.output)\(outcome.messages)")
        }
        #expect(
            try await judged("bob@example.org").map { $0[2] } == ["wrong-identity", "wrong-identity", "wrong-identity"])
    }
}

extension String {
    fileprivate var trimmed: String { trimmingCharacters(in: .whitespacesAndNewlines) }
}
