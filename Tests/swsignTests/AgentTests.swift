import Foundation
import LocalSigstore
import SigstoreCrypto
import Spawning
import StrictJSON
import SwSignCore
import TestServices
import Testing

/// `agent`: one sign-in for many commits.
@Suite("agent", .localSigstore(.own))
struct AgentTests {
    private let place: SigningFixture

    init() throws { place = try SigningFixture() }

    private var socket: String { place.directory[".sigstore/swsign/agent/agent.sock"] }

    private static func commit(_ message: String) -> [UInt8] {
        let id = String(repeating: "1", count: 40)
        let person = "Ann \u{1b}[2K <ann@example.org> 1700000000 +0000"
        return Array("tree \(id)\nauthor \(person)\ncommitter \(person)\n\n\(message)\n".utf8)
    }

    private func sign(_ message: String, at path: String? = nil) async throws -> [UInt8] {
        try await GitAgentClient(at: GitAgentPlace(path: path ?? socket)).sign(Self.commit(message)).pem
    }

    private func expectSigned(_ message: String, at path: String? = nil) async throws {
        let pem = try await sign(message, at: path)
        #expect(pem.starts(with: "-----BEGIN SIGNED MESSAGE-----".utf8))
    }

    /// Runs the agent while something is done.
    private func agent(
        _ flags: [String] = [], environment: [String: String] = [:], input: Program.Input = .nothing,
        terminal: [Program.Turn]? = nil, meanwhile body: () async throws -> Void
    ) async throws -> Program.Outcome {
        let arguments = ["agent", "--yes"] + place.services(.v1) + (try place.token()) + flags
        async let outcome = place.run(
            arguments, environment: environment, input: input, terminal: terminal, takesTurns: false)
        let path = environment["SWSIGN_AGENT_SOCK"] ?? socket
        // There is a socket before the sign-in too, for a moment; that one gives no answer.
        #expect(await Spawning.wait { (try? await GitAgentClient(at: GitAgentPlace(path: path)).status()) != nil })
        do { try await body() } catch {
            _ = await place.run(["agent", "--stop"], environment: environment)
            throw error
        }
        _ = await place.run(["agent", "--stop"], environment: environment, takesTurns: false)
        return await outcome
    }

    @Test("It signs in once, says for whom it signs, and ends when it is told to")
    func lifetime() async throws {
        let (none, no) = (
            await place.run(["agent", "--status"]), await place.run(["agent", "--stop"])
        )
        #expect(none.code == "no-agent" && no.code == "no-agent" && none.messages.contains("swsign agent"))
        let both = await place.run(["agent", "--status", "--stop"])
        #expect(both.code == "usage")
        let outcome = try await agent {
            for number in 1...5 { try await expectSigned("commit \(number)") }
            let status = await place.run(["agent", "--status"])
            #expect(status.succeeded && status.output.contains("Identity: alice@local.test\n"), "\(status.messages)")
            #expect(status.output.contains("Signatures: 5\n") && status.output.contains(socket), "\(status.output)")
            // Another one takes nothing away, and asks nobody to sign in.
            let other = await place.run(["agent", "--yes"] + place.services(.v1) + (try place.token()))
            #expect(other.code == "agent-there" && other.messages.contains("--stop"), "\(other.messages)")
        }
        #expect(outcome.succeeded, "\(outcome.messages)")
        #expect(outcome.messages.contains("signs commits and tags as alice@local.test until"), "\(outcome.messages)")
        #expect(outcome.messages.contains("It has signed 5 objects"), "\(outcome.messages)")
        #expect(place.certificates == 1 && place.recorded == 5)
        #expect(!FileManager.default.fileExists(atPath: socket))
        #expect(try place.directory.mode(".sigstore/swsign/agent") == 0o700)
    }

    @Test("A rebase of thirty commits signs in once, for git asks the agent")
    func rebase() async throws {
        let outcome = try await agent {
            var git = Program(
                executable: "/bin/sh", directory: place.directory.path,
                environment: ["GIT_CONFIG_NOSYSTEM": "1", "HOME": place.directory.path, "PROGRAM": Program.path])
            git.takesTurns = false
            let run = await git.run([
                "-ec",
                """
                git init -q -b main repository; cd repository; git config user.name Ann
                git config user.email alice@local.test; git config gpg.format x509; git config gpg.x509.program "$PROGRAM"
                git config gitsign.matchCommitter true
                git commit -q --allow-empty -m base
                for i in $(seq 30); do git commit -q --allow-empty -m "commit $i"; done
                git rebase -q --force-rebase --gpg-sign HEAD~30
                git log --format=%b%B HEAD~30.. | grep -c commit
                git cat-file commit HEAD | grep -c 'BEGIN SIGNED MESSAGE'
                git config user.email other@example.org
                ! git commit -q -S --allow-empty -m other
                """,
            ])
            #expect(run.succeeded && run.output == "30\n1\n", "\(run.output)\(run.messages)")
            let verified = await place.run(
                ["git", "verify", "-C", "repository"] + place.trust + place.expecting(SigningFixture.alice)
                    + ["HEAD~30..HEAD"], takesTurns: false)
            #expect(verified.succeeded, "\(verified.output)\(verified.messages)")
        }
        #expect(outcome.succeeded, "\(outcome.messages)")
        #expect(place.certificates == 1 && place.recorded == 31)
    }

    @Test(
        "Over a socket that ssh forwards, it signs for another machine, which gets no key",
        .enabled(
            if: FileManager.default.fileExists(atPath: "/usr/sbin/sshd"), "left out: openssh-server is not installed"))
    func forwarded() async throws {
        let far = TemporaryDirectory()
        // sshd runs for one connection, and for this user. As root, it wants a folder of its own, which systemd makes elsewhere.
        if geteuid() == 0 {
            try FileManager.default.createDirectory(atPath: "/run/sshd", withIntermediateDirectories: true)
        }
        try far.write(
            "sshd.conf",
            """
            HostKey \(far["host"])
            AuthorizedKeysFile \(far["user.pub"])
            PidFile none
            StrictModes no
            UsePAM no

            """)
        try far.write(
            "script",
            """
            cd '\(far.path)'; export HOME="$PWD" PATH=/usr/local/bin:/usr/bin:/bin GIT_CONFIG_NOSYSTEM=1 SWSIGN_AGENT_SOCK="$PWD/folder/far.sock"
            git init -q -b main repository; cd repository; git config user.name Ann
            git config user.email alice@local.test; git config gpg.format x509; git config gpg.x509.program '\(Program.path)'
            git commit -q -S --allow-empty -m 'far away'; git tag -s -m one v1
            '\(Program.path)' agent --status
            stat -c %a ../folder "$SWSIGN_AGENT_SOCK"
            knock() {
              "$@" python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])' "$SWSIGN_AGENT_SOCK" 2>&1
            }
            # Another user of that machine does not reach it, if its folder is open too.
            knock
            chmod 755 .. ../folder
            if [ $(id -u) = 0 ]; then knock setpriv --reuid=65534 --clear-groups | tail -n 1; else echo not root; fi

            """)
        let shell = Program(executable: "/bin/sh", directory: far.path, environment: ["HOME": far.path])
        let keys = await shell.run([
            "-ec", "for key in host user; do ssh-keygen -q -t ed25519 -N '' -f $key; done; mkdir -m 700 folder",
        ])
        try #require(keys.succeeded, "\(keys.messages)")
        let outcome = try await agent {
            var ssh = Program(
                executable: "/usr/bin/ssh", directory: far.path,
                environment: ["HOME": far.path, "PATH": "/usr/local/bin:/usr/bin:/bin"])
            ssh.takesTurns = false
            let run = await ssh.run(
                [
                    "ProxyCommand=/usr/sbin/sshd -i -f sshd.conf", "BatchMode=yes", "ExitOnForwardFailure=yes",
                    "StrictHostKeyChecking=no", "UserKnownHostsFile=\(far["known"])", "GlobalKnownHostsFile=none",
                    "IdentityFile=\(far["user"])", "IdentitiesOnly=yes",
                ].flatMap { ["-o", $0] }
                    + ["-F", "none", "-R", "\(far["folder/far.sock"]):\(socket)", "far", "sh -e '\(far["script"])'"])
            #expect(run.succeeded, "\(run.output)\(run.messages)")
            #expect(run.output.contains("Identity: alice@local.test\n"), "\(run.output)")
            #expect(run.output.contains("Signatures: 2\n") && run.output.contains("\n700\n600\n"), "\(run.output)")
            let last = run.line.split(separator: "\n").last ?? ""
            #expect(geteuid() == 0 ? last.hasPrefix("PermissionError") : last == "not root", "\(run.output)")
            let verified = await place.run(
                ["git", "verify", "-C", far["repository"], "HEAD", "v1"] + place.trust
                    + place.expecting(SigningFixture.alice), takesTurns: false)
            #expect(verified.succeeded, "\(verified.output)\(verified.messages)")
            // With the connection, it is over there.
            let after = await place.run(
                ["agent", "--status"], environment: ["SWSIGN_AGENT_SOCK": far["folder/far.sock"]], takesTurns: false)
            #expect(after.code == "no-agent", "\(after.messages)")
        }
        #expect(outcome.succeeded, "\(outcome.messages)")
        #expect(place.certificates == 1 && place.recorded == 2)
    }

    @Test("--confirm asks by the program that asks for ssh, or on the terminal, and signs nothing else")
    func confirmed() async throws {
        let nobody = await place.run(["agent", "--yes", "--confirm"] + place.services(.v1) + (try place.token()))
        #expect(nobody.code == "usage" && nobody.messages.contains("SSH_ASKPASS"), "\(nobody.messages)")
        try place.directory.write(
            "ask",
            """
            #!/bin/sh
            echo "$SSH_ASKPASS_PROMPT $1" >> asked
            case "$1" in *refused*) exit 1;; *no*) echo no;; *) echo yes;; esac

            """, mode: 0o755)
        let outcome = try await agent(["--confirm"], environment: ["SSH_ASKPASS": place.directory["ask"]]) {
            try await expectSigned("agreed")
            for message in ["refused", "no"] {
                let refused = await #expect(throws: SigstoreError.self) { try await sign(message) }
                #expect(refused?.message.contains("[not-confirmed]") == true, "\(refused as Any)")
            }
        }
        #expect(outcome.messages.contains("It has signed 1 object."), "\(outcome.messages)")
        let asked = try place.directory.text("asked")
        #expect(asked.hasPrefix("confirm Sign as alice@local.test the commit by Ann "), "\(asked)")
        #expect(asked.contains(": agreed?\n") && !asked.utf8.contains(0x1b), "\(asked)")
    }

    @Test("On a terminal, --confirm asks there")
    func terminal() async throws {
        let outcome = try await agent(
            ["--confirm"], input: .terminal,
            terminal: [Program.Turn("one? [y/N] ", "y\r"), Program.Turn("two? [y/N] ", "n\r")]
        ) {
            try await expectSigned("one")
            await #expect(throws: SigstoreError.self) { try await sign("two") }
        }
        #expect(outcome.messages.contains("It has signed 1 object."), "\(outcome.messages)\(outcome.screen)")
        #expect(!outcome.screen.contains("\u{1b}[2K"), "\(outcome.screen)")
    }

    @Test("A signal or --timeout ends it, and leaves no socket")
    func ended() async throws {
        let socket = socket
        let place = place
        let stopped = await place.run(
            ["agent", "--yes"] + place.services(.v1) + (try place.token()),
            input: .stopped(
                by: SIGTERM, when: { place.certificates > 0 && FileManager.default.fileExists(atPath: socket) }),
            takesTurns: false)
        #expect(stopped.ending == .signal(SIGTERM), "\(stopped.messages)")
        #expect(!FileManager.default.fileExists(atPath: socket))
        let timed = await place.run(
            ["agent", "--yes", "--timeout", "3s"] + place.services(.v1) + (try place.token()), takesTurns: false)
        #expect(timed.succeeded && timed.messages.contains("It has signed 0 objects."), "\(timed.messages)")
        #expect(!FileManager.default.fileExists(atPath: socket))
    }

    @Test("A folder that is open to others is refused before a person signs in")
    func openFolder() async throws {
        try place.directory.makeDirectory("open")
        unsafe chmod(place.directory["open"], 0o755)
        let outcome = await place.run(
            ["agent", "--yes", "--socket", place.directory["open/a.sock"]] + place.services(.v1) + (try place.token()))
        #expect(outcome.code == "folder-not-private", "\(outcome.messages)")
        #expect(place.certificates == 0)
    }
}

/// `git attest` and `git show`.
@Suite("git attest and git show", .localSigstore)
struct GitAttestTests {
    private let place: SigningFixture

    init() throws { place = try SigningFixture() }

    @discardableResult
    private func shell(_ script: String) async throws -> String {
        let outcome = await Program(
            executable: "/bin/sh", directory: place.directory.path,
            environment: ["GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C", "TZ": "UTC", "HOME": place.directory.path]
        ).run(["-ec", script])
        try #require(outcome.succeeded, "\(script): \(outcome.messages)")
        return outcome.line
    }

    private func makeRepository() async throws {
        try place.directory.makeKey()
        try place.directory.write("sbom.json", #"{"spdxVersion":"SPDX-2.3"}"#)
        try await shell(
            """
            git init -q -b main .; git config user.name Ann; git config user.email ann@example.org
            git remote add origin https://ann:secret@git.example.org/demo.git
            GIT_COMMITTER_DATE='1700000000 +0100' git commit -q --allow-empty --date '1700000000 -0500' -m one -m 'two ü'
            """)
    }

    @Test("An attestation stands in the repository as gitsign has it, with a bundle that verifies, beside those before")
    func attest() async throws {
        try await makeRepository()
        // Nothing of the repository is run.
        try await shell(
            """
            mkdir -p hooks; printf '#!/bin/sh\\ntouch ran\\n' > hooks/reference-transaction; chmod +x hooks/*
            git config core.hooksPath hooks; git config commit.gpgsign true; git config gpg.program /bin/false
            """)
        let first = await place.run(
            ["git", "attest", "--yes", "-f", "sbom.json", "--type", "spdxjson"] + place.services(.v1)
                + (try place.token()))
        try #require(first.succeeded, "\(first.messages)")
        #expect(try await shell("git rev-parse refs/attestations/commits") == first.line)
        let byKey = await place.run([
            "git", "attest", "--key", "key.pem", "--tlog-upload=false", "--filepath", "key.pub", "HEAD",
        ])
        #expect(byKey.code == "malformed-predicate", "\(byKey.messages)")
        try place.directory.write("other.json", "{}")
        let second = await place.run([
            "git", "attest", "--key", "key.pem", "--tlog-upload=false", "--filepath", "other.json", "--type",
            "https://example.org/t", "HEAD",
        ])
        try #require(second.succeeded, "\(second.messages)")
        let tree = await place.run([
            "git", "attest", "--key", "key.pem", "--tlog-upload=false", "--filepath", "other.json", "--objtype", "tree",
        ])
        try #require(tree.succeeded, "\(tree.messages)")
        #expect(!place.directory.exists("ran"))
        let id = try await shell("git rev-parse HEAD")
        #expect(
            try await shell("git ls-tree -r --name-only refs/attestations/commits")
                == [
                    "other.json", "other.json.sig", "other.json.sigstore.json", "sbom.json", "sbom.json.sig",
                    "sbom.json.sigstore.json",
                ]
                .map { "\(id)/\($0)" }.joined(separator: "\n"))
        #expect(try await shell("git rev-list --count refs/attestations/commits") == "2")
        let root = try await shell("git rev-parse HEAD^{tree}")
        #expect(try await shell("git ls-tree --name-only refs/attestations/trees") == root)
        try await shell(
            """
            git fsck --strict; f=refs/attestations/commits:\(id)/sbom.json
            git cat-file blob $f | cmp - sbom.json
            git cat-file blob $f.sig > envelope; git cat-file blob $f.sigstore.json > bundle
            """)
        let envelope = JSONCursor(try JSONValue(parsing: try place.directory.read("envelope")))
        let statement = JSONCursor(try JSONValue(parsing: try envelope.member("payload").bytes()))
        #expect(try statement.member("_type").string() == "https://in-toto.io/Statement/v1")
        #expect(try statement.member("predicateType").string() == "https://spdx.dev/Document")
        let subject = try #require(try statement.member("subject").elements().first)
        #expect(try subject.member("digest").member("gitCommit").string() == id)
        let verified = await place.run(
            ["verify-blob-attestation", "--bundle", "bundle", "--check-claims=false", "--type", "spdxjson"]
                + place.trust
                + place.expecting(SigningFixture.alice))
        #expect(verified.succeeded, "\(verified.messages)")
        // The branch is as it was if it cannot be added to.
        for (flags, code) in [
            (["nope"], "unknown-revision"), (["--", "--all"], "unknown-revision"),
            (["-C", "hooks/..", "HEAD^"], "unknown-revision"),
            (["-C", "nowhere"], "git-failed"), (["--type", "nope"], "unknown-predicate-type"),
        ] {
            let outcome = await place.run(
                ["git", "attest", "--key", "key.pem", "--tlog-upload=false", "--filepath", "other.json"] + flags)
            #expect(outcome.ending == .exit(1) && outcome.code == code, "\(flags): \(outcome.messages)")
        }
        #expect(try await shell("git rev-parse refs/attestations/commits") == second.line)
    }

    @Test("What a commit or tag says of itself, as gitsign has it, without the credentials of its address")
    func show() async throws {
        try await makeRepository()
        try await shell(
            """
            ssh-keygen -q -t ed25519 -N '' -f one; git config gpg.format ssh; git config user.signingkey one
            git tag -s -m release v1; git commit -q -S --allow-empty -m second
            """)
        func shown(_ arguments: String...) async throws -> JSONCursor {
            let outcome = await place.run(["git", "show"] + arguments)
            try #require(outcome.succeeded, "\(outcome.messages)")
            return try #require(try outcome.objects().first)
        }
        let first = try await shown("HEAD^")
        let id = try await shell("git rev-parse HEAD^")
        let subject = try #require(try first.member("subject").elements().first)
        #expect(try subject.member("name").string() == "https://git.example.org/demo.git")
        #expect(
            try subject.member("digest").names() == ["sha1"] && subject.member("digest").member("sha1").string() == id)
        #expect(try first.member("predicateType").string() == "https://gitsign.sigstore.dev/predicate/git/v0.1")
        let source = try first.member("predicate").member("source")
        #expect(try source.member("message").string() == "one\n\ntwo ü\n")
        #expect(try source.member("author").member("date").string() == "2023-11-14T22:13:20Z")
        #expect(try source.member("tree").string() == "4b825dc642cb6eb9a060e54bf8d69288fbee4904")
        #expect(try source.optional("parents") == nil && first.member("predicate").optional("signature") == nil)
        let second = try await shown("--remote", "nowhere")
        let parents = try second.member("predicate").member("source").member("parents").elements()
        #expect(try parents.map { try $0.string() } == [id])
        #expect(
            try second.member("predicate").member("signature").string().hasPrefix("-----BEGIN SSH SIGNATURE-----\n"))
        let unnamed = try #require(try second.member("subject").elements().first)
        #expect(try unnamed.optional("name") == nil)
        let tag = try await shown("v1")
        #expect(try tag.member("predicateType").string() == "https://gitsign.sigstore.dev/predicate/tag/v0.1")
        let tagged = try #require(try tag.member("subject").elements().first)
        let digest = try tagged.member("digest")
        let name = try await shell("git rev-parse v1")
        #expect(try digest.member("gitTag").string() == name)
        let said = try tag.member("predicate").member("source")
        #expect(try said.member("tag").string() == "v1" && said.member("object").string() == id)
        #expect(try said.member("object_type").string() == "commit" && said.member("message").string() == "release\n")
        for (revision, code) in [
            ("HEAD^{tree}", "malformed-git-object"), ("nope", "unknown-revision"), ("HEAD^..HEAD", "usage"),
        ] {
            let outcome = await place.run(["git", "show", revision])
            #expect(outcome.ending == .exit(1) && outcome.code == code, "\(revision): \(outcome.messages)")
        }
    }

    @Test("The certificate and the signed attributes of a real signature of gitsign's", .needsShared)
    func shownCertificate() async throws {
        try await makeRepository()
        let id = try await shell(
            "git hash-object -w -t commit --stdin < '\(sharedDirectory)/provenance/git/offline.commit'")
        let outcome = await place.run(["git", "show", id])
        let statement = try #require(try outcome.objects().first)
        let predicate = try statement.member("predicate")
        let signer = try #require(try predicate.member("signer_info").elements().first)
        let attributes = try signer.member("attributes").bytes()
        #expect(attributes.first == 0x31)
        let certificate = try signer.member("certificate").string()
        let chain = try Certificate.chain(pem: Array(certificate.utf8))
        #expect(chain.map(\.displayName) == ["billy@chainguard.dev"])
    }
}
