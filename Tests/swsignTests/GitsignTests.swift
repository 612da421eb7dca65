import LocalSigstore
import TestServices
import Testing

/// gitsign and git's newest version as judges, and as what is judged.
@Suite("Beside gitsign and the newest git", .localSigstore, .serialized)
struct GitsignTests: GitFixture {
    let fixture: SigningFixture
    var path = "/usr/local/bin:/usr/bin:/bin"

    init() throws {
        fixture = try SigningFixture()
        // gitsign takes no timestamp of the very second in which the certificate begins.
        fixture.services.fulcio.faults.removeAll()
        fixture.services.fulcio.faults.add(Fault(.wrongTime(seconds: -5)))
    }

    /// How often the log was asked for what it has about a digest.
    private var searches: Int {
        fixture.services.rekorV1.requests.filter { $0.target.hasSuffix("/api/v1/index/retrieve") }.count
    }

    /// What names whom gitsign is to expect.
    private func claims(_ identity: LocalIdentity = SigningFixture.alice) -> String {
        fixture.expecting(identity).joined(separator: " ")
    }

    @Test(
        "What gitsign signs is verified: with the log entry inside, and with the entry in the log alone",
        .enabled(if: NewestGit.isHere, NewestGit.absence))
    func signedByGitsign() async throws {
        try await setUp(expecting: Self.alice)
        try await setUpGitsign()
        for mode in ["offline", "online"] {
            try await shell(
                """
                git -c gpg.x509.program="$PWD/gitsign" commit -q --allow-empty -m \(mode)
                git -c gpg.x509.program="$PWD/gitsign" tag -m \(mode) \(mode)
                """, try token().merging(["GITSIGN_REKOR_MODE": mode]) { $1 })
        }
        let asked = searches
        #expect(try await log("HEAD~1").hasPrefix("G|alice@local.test|fully|"))
        try await shell("git verify-commit HEAD~1; git verify-tag offline")
        // git is answered without the network; what is in the log alone, `git verify` looks up.
        #expect(try await log("HEAD").hasPrefix("E|"))
        let alone = try await shell("git verify-tag online", fails: true)
        #expect(alone.messages.contains("[no-log-entry]"), "\(alone.messages)")
        func verify(_ arguments: String...) async -> Program.Outcome {
            await Program(directory: directory.path, environment: environment())
                .run(["git", "verify"] + arguments + fixture.trust + fixture.expecting(Self.alice))
        }
        let inside = await verify("HEAD~1", "offline", "--offline")
        #expect(inside.succeeded, "\(inside.messages)\(inside.output)")
        let unseen = await verify("HEAD", "online", "--offline")
        #expect(unseen.ending == .exit(1) && unseen.messages.contains("0 of 2"), "\(unseen.messages)")
        #expect(searches == asked)
        let found = await verify("HEAD", "online")
        #expect(found.succeeded, "\(found.messages)\(found.output)")
        #expect(searches > asked)
    }

    @Test(
        "What is signed here, gitsign verifies in both of its modes",
        .enabled(if: NewestGit.isHere, NewestGit.absence))
    func readByGitsign() async throws {
        try await setUp(expecting: Self.alice)
        try await setUpGitsign()
        try await shell(
            """
            git commit -q --allow-empty -m one; git tag -m one one
            git config --global swsign.gitsignOnline true; git commit -q --allow-empty -m two; git tag -m two two
            """, try token())
        let who = claims()
        for (mode, commit, tag) in [("offline", "HEAD~1", "one"), ("online", "HEAD", "two")] {
            let judged = try await shell(
                "./gitsign verify \(who) \(commit); ./gitsign verify-tag \(who) \(tag)", ["GITSIGN_REKOR_MODE": mode])
            let good = judged.output + judged.messages
            #expect(
                good.split(separator: "\n").filter { $0.hasPrefix("Validated Certificate claims: true") }.count == 2,
                "\(good)")
            #expect(good.contains("Good signature from [alice@local.test]"), "\(good)")
        }
        try await shell("./gitsign verify \(claims(.email("bob@local.test"))) HEAD", fails: true)
        // In the log is a second entry over the name of what was made, if that was asked for.
        for (revision, count) in [("HEAD", 1), ("two", 1), ("HEAD~1", 0), ("one", 0)] {
            let answer = try await shell(
                """
                digest=$(printf %s "$(git rev-parse \(revision))" | sha256sum | cut -d' ' -f1)
                curl -sf -H 'Content-Type: application/json' -d "{\\"hash\\":\\"sha256:$digest\\"}" \
                  '\(fixture.services.rekorV1.url)/api/v1/index/retrieve'
                """)
            #expect(
                answer.output.split(separator: ",").count { $0.contains("\"") } == count,
                "\(revision): \(answer.output)")
        }
    }

    // MARK: - Other gits, other names of objects

    @Test("A repository whose names are SHA-256")
    func longNames() async throws { try await expectAll(format: "sha256") }

    @Test(
        "The newest git", .enabled(if: NewestGit.isHere, NewestGit.absence), arguments: ["sha1", "sha256"])
    func newest(_ format: String) async throws {
        var other = self
        other.path = "\(NewestGit.folder):\(path)"
        try await other.expectAll(format: format)
    }

    /// Signs and verifies in the ways that git has, and pushes to a hook.
    private func expectAll(format: String) async throws {
        try await setUp(expecting: Self.alice, format: format)
        try await shell(
            """
            git commit -q --allow-empty -m first; git tag -m one v1; git cat-file commit HEAD > good
            git checkout -q -b side; git commit -q --allow-empty -m second; git checkout -q main
            """, try token())
        #expect(try await log().hasPrefix("G|alice@local.test|fully|"))
        #expect(try await shell("git rev-parse HEAD").line.count == (format == "sha1" ? 40 : 64))
        let header = format == "sha1" ? "gpgsig" : "gpgsig-sha256"
        #expect(try directory.text("good").contains("\n\(header) -----BEGIN SIGNED MESSAGE-----\n"))
        let said = try await shell(
            """
            git -c gpg.minTrustLevel=fully verify-commit HEAD; git verify-tag v1; git log --show-signature -1
            git -c commit.gpgsign=false merge -q --verify-signatures --no-ff -m merge side
            """)
        #expect((said.output + said.messages).contains("Good signature by alice@local.test"))
        let ours = await Program(directory: directory.path, environment: environment()).run(
            ["git", "verify", "side", "v1", "--offline"] + fixture.trust + fixture.expecting(Self.alice))
        #expect(ours.succeeded, "\(ours.messages)\(ours.output)")
        // What was changed is bad, what is unsigned is not signed, and a hook takes neither.
        try directory.write(
            "hook",
            """
            #!/bin/sh
            exec '\(Program.path)' git hook pre-receive --offline \((fixture.trust + fixture.expecting(Self.alice)).joined(separator: " "))

            """, mode: 0o755)
        try await shell(
            """
            sed 's/^first$/First/' good | git hash-object -w -t commit --stdin > changed
            git init -q --bare --object-format=\(format) there.git; git remote add origin there.git
            mv hook there.git/hooks/pre-receive
            git push -q origin side v1
            """)
        #expect(try await log("$(cat changed)").hasPrefix("B|"))
        #expect(try await log("main").hasPrefix("N|"))
        for (revision, code) in [("$(cat changed)", "signed-data-mismatch"), ("main", "unsigned-git-object")] {
            let refused = try await shell("git push origin \(revision):refs/heads/other 2>&1 || exit 0; exit 1")
            #expect(refused.output.contains("[\(code)]"), "\(refused.output)")
        }
        #expect(
            try await shell("git -C there.git for-each-ref --format='%(refname)'").output
                == "refs/heads/side\nrefs/tags/v1\n")
    }
}

extension GitFixture {
    /// Writes a script that calls gitsign with the local services, and whose `git` calls it.
    func setUpGitsign() async throws {
        let (services, folder) = (fixture.services, fixture.services.files.folder)
        try directory.write(
            "gitsign",
            """
            #!/bin/sh
            export SIGSTORE_ROOT_FILE='\(folder)/fulcio_root.pem' SIGSTORE_REKOR_PUBLIC_KEY='\(folder)/rekor.pub'
            export SIGSTORE_CT_LOG_PUBLIC_KEY_FILE='\(folder)/ct_log.pub' GITSIGN_TIMESTAMP_CERT_CHAIN='\(folder)/tsa_chain.pem'
            export GITSIGN_FULCIO_URL='\(services.fulcio.url)' GITSIGN_REKOR_URL='\(services.rekorV1.url)'
            export GITSIGN_OIDC_ISSUER='\(services.issuer.issuer(of: Self.alice))' SIGSTORE_ID_TOKEN="$COSIGN_IDENTITY_TOKEN"
            exec '\(NewestGit.folder)/gitsign' "$@"
            """, mode: 0o755)
    }
}
