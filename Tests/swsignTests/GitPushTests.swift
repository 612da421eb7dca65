import Foundation
import StrictJSON
import Testing

/// Who may sign what: rules, GPG keys, and hooks on a real push.
@Suite("Git: rules, GPG and hooks")
struct GitPushTests {
    private let directory = TemporaryDirectory()

    private var environment: [String: String] {
        [
            "PATH": "/usr/local/bin:/usr/bin:/bin", "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C", "TZ": "UTC",
            "GIT_AUTHOR_NAME": "Ann", "GIT_AUTHOR_EMAIL": "ann@example.org", "GIT_COMMITTER_NAME": "Bob",
            "GIT_COMMITTER_EMAIL": "bob@example.org", "HOME": directory.path, "GNUPGHOME": directory["gnupg"],
            "GIT_COMMITTER_DATE": "1700000001 +0000",
        ]
    }

    /// Runs a script of the shell, and gives what it wrote to both streams.
    @discardableResult
    private func shell(_ script: String, fails: Bool = false) async throws -> String {
        let outcome = await Program(executable: "/bin/sh", directory: directory.path, environment: environment)
            .run(["-ec", "exec 2>&1; " + script])
        try #require(outcome.succeeded != fails, "\(script): \(outcome.output)")
        return outcome.output
    }

    private func git(_ arguments: String..., environment more: [String: String] = [:]) async -> Program.Outcome {
        await Program(directory: directory.path, environment: environment.merging(more) { $1 }).run(["git"] + arguments)
    }

    private func rows(_ outcome: Program.Outcome) throws -> [[String]] {
        try outcome.objects().map { row in
            let error = try row.optional("error").map { try $0.member("code").string() } ?? "-"
            return [try row.member("kind").string(), try row.member("verdict").string(), error]
        }
    }

    /// SSH keys, a repository signed by the first of them, and a bare one that it is pushed to.
    private func makeRepositories() async throws {
        try await shell(
            """
            for k in ann bob eve; do ssh-keygen -q -t ed25519 -N '' -f $k; done
            git init -q -b main .; git config gpg.format ssh; git config user.signingkey ann
            git init -q --bare -b main there.git; git remote add origin there.git
            git commit -q -S --allow-empty -m base
            """)
    }

    private func key(_ name: String) throws -> String {
        try directory.text("\(name).pub").split(separator: " ").prefix(2).joined(separator: " ")
    }

    private func writeRules(_ rules: String, ann: String = "", _ more: String = "") throws {
        try directory.write(
            "rules.json",
            """
            {"version":1,\(more)"signers":{"ann":{"sshKeys":["\(try key("ann"))"]\(ann)},"bob":{"sshKeys":["\(try key("bob"))"]}},
            "rules":[\(rules)]}
            """)
    }

    private static let byBranch = """
        {"branches":["main"],"paths":["infra/**"],"signers":["ann"]},
        {"branches":["main","topic/*"],"signers":["ann","bob"]}, {"tags":["v*"],"signers":["ann"]}
        """

    // MARK: - Rules

    @Test("Who may sign a commit depends on its branch and what it changes")
    func rules() async throws {
        try await makeRepositories()
        try writeRules(Self.byBranch)
        try await shell(
            """
            as_bob() { git -c user.signingkey=bob commit -q -S "$@"; }
            echo 1 > file; git add file; as_bob -m file
            mkdir infra; echo 1 > infra/file; git add infra; as_bob -m infra
            git rm -q -r infra; as_bob -m removed
            mkdir infra; echo 1 > infra/file; git add infra; git commit -q -S -m back
            git checkout -q -b side HEAD~1; echo 2 > file; git add file; git commit -q -S -m aside
            git checkout -q main; git -c user.signingkey=bob merge -q -S --no-ff -m merge side
            git -c user.signingkey=eve commit -q -S --allow-empty -m eve
            git tag -s -m one v1; git -c user.signingkey=bob tag -s -m two v2; git tag -s -m three w3
            """)
        let range = ["verify", "--rules", "rules.json", "--output", "json"]
        func judged(_ more: String...) async throws -> [[String]] {
            let outcome = await Program(directory: directory.path, environment: environment)
                .run(["git"] + range + more)
            return try rows(outcome)
        }
        let (good, other) = (["ssh", "accepted", "-"], ["ssh", "refused", "unknown-ssh-signer"])
        // What a merge brings in from one side is not what it changes itself.
        #expect(
            try await judged("--ref", "refs/heads/main", "--all").sorted { "\($0)" < "\($1)" }
                == [good, good, good, good, good, other, other, other])
        #expect(try await judged("--ref", "refs/heads/main", "HEAD^") == [good])
        #expect(try await judged("--ref", "refs/heads/main", "side~1") == [other])
        #expect(try await judged("--ref", "refs/heads/topic/a", "side~1", "HEAD") == [good, other])
        #expect(try await judged("--ref", "refs/heads/else", "HEAD^") == [["ssh", "refused", "no-git-rule"]])
        #expect(try await judged("v1", "v2", "w3") == [good, other, ["ssh", "refused", "no-git-rule"]])
        // Nobody says for which branch.
        let unknown = await git("verify", "--rules", "rules.json", "HEAD")
        #expect(unknown.code == "usage" && unknown.messages.contains("--ref"), "\(unknown.messages)")
        let both = await git("verify", "--rules", "rules.json", "--allowed-signers", "rules.json", "HEAD")
        #expect(both.code == "usage", "\(both.messages)")
        try directory.write("rules.json", "{}")
        #expect(await git("verify", "--rules", "rules.json", "HEAD").code == "malformed-git-rules")
    }

    @Test("Rules begin after a commit, and a signer may sign for a time")
    func since() async throws {
        try await makeRepositories()
        try await shell("git commit -q --allow-empty -m unsigned; git commit -q -S --allow-empty -m signed")
        let all = #"{"signers":["ann","bob"]}"#
        try writeRules(all)
        let whole = await git("verify", "--rules", "rules.json", "--all")
        #expect(whole.code == "unaccepted-commits" && whole.messages.contains("2 of 3"), "\(whole.messages)")
        let start = try await shell("git rev-parse HEAD^").trimmingCharacters(in: .whitespacesAndNewlines)
        try writeRules(all, "\"since\":\"\(start)\",")
        let part = await git("verify", "--rules", "rules.json", "--all")
        #expect(part.succeeded && part.messages.contains("1 of 1") && part.messages.contains(start), "\(part.messages)")
        try writeRules(all, "\"since\":\"\(String(repeating: "1", count: 40))\",")
        #expect(await git("verify", "--rules", "rules.json", "--all").code == "unknown-revision")
        for (time, code) in [
            (#","since":"2023-11-14T22:13:21Z""#, nil), (#","since":"2023-11-14T22:13:22Z""#, "ssh-signer-not-valid"),
            (#","until":"2023-11-14T22:13:21Z""#, nil), (#","until":"2023-11-14T22:13:20Z""#, "ssh-signer-not-valid"),
        ] {
            try writeRules(all, ann: time)
            let outcome = await git("verify", "--rules", "rules.json", "HEAD", "--output", "json")
            #expect(try rows(outcome).first?.last == code ?? "-", "\(time)")
        }
    }

    @Test("An audit has a row for each commit in its report")
    func audit() async throws {
        try await makeRepositories()
        try writeRules(#"{"signers":["ann"]}"#)
        try await shell(
            """
            git commit -q --allow-empty -m unsigned; git -c user.signingkey=eve commit -q -S --allow-empty -m '<script>'
            git cat-file commit HEAD | sed 's/^<script>$/x/' | git hash-object -w -t commit --stdin > id
            git update-ref refs/heads/main $(cat id)
            git -c user.signingkey=eve commit -q -S --allow-empty -m eve
            """)
        func audited(_ more: String...) async -> Program.Outcome {
            await Program(directory: directory.path, environment: environment).run(
                ["audit", "--git", ".", "--rules", "rules.json", "--output", "jsonl"] + more)
        }
        func rows(_ outcome: Program.Outcome) throws -> [[String]] {
            try outcome.objects().compactMap { try $0.optional("row") }.map { row in
                try ["place", "signed", "verdict"].map { try row.member($0).string() }
            }
        }
        let outcome = await audited("--all")
        #expect(outcome.ending == .exit(12) && outcome.code == "audit-findings", "\(outcome.messages)")
        #expect(
            try rows(outcome).map { $0.dropFirst().joined(separator: " ") }
                == ["yes other-signer", "yes invalid", "no unsigned", "yes accepted"])
        let good = await audited("main~3")
        #expect(try good.succeeded && rows(good) == [["git:.", "yes", "accepted"]], "\(good.messages)")
        try await shell("git clone -q --depth 1 file://$PWD cut; git -C cut update-ref refs/heads/main HEAD")
        let cut = await Program(directory: directory.path, environment: environment).run(
            ["audit", "--git", "cut", "--rules", "rules.json", "--all"])
        #expect(cut.ending == .exit(1) && cut.code == "audit-incomplete", "\(cut.messages)")
        let mixed = await Program(directory: directory.path, environment: environment).run(
            ["audit", "--rules", "rules.json", "."])
        #expect(mixed.code == "usage", "\(mixed.messages)")
    }

    // MARK: - Hooks

    @Test(
        "A hook where a push is received judges every branch and tag by its rules",
        arguments: ["pre-receive", "update"])
    func receiving(hook: String) async throws {
        try await makeRepositories()
        try writeRules(Self.byBranch)
        let installed = await git("hook", "install", hook, "-C", "there.git", "--rules", "rules.json")
        try #require(installed.succeeded, "\(installed.messages)")
        // A hook of ours may be written again; another program's stays.
        #expect(await git("hook", "install", hook, "-C", "there.git", "--rules", "rules.json").succeeded)
        let first = try await shell("git push origin main")
        #expect(first.contains("Verified OK, 1 of 1"), "\(first)")
        // By a signer who may, on a branch on which that signer may.
        try await shell("git -c user.signingkey=bob commit -q -S --allow-empty -m bob; git push -q origin main")
        try await shell(
            "mkdir infra; echo 1 > infra/a; git add infra; git -c user.signingkey=bob commit -q -S -m infra")
        let refused = try await shell("git push origin main", fails: true)
        #expect(refused.contains("unknown-ssh-signer") && refused.contains("hook declined"), "\(refused)")
        // What one branch may have, another may not: it is looked at again.
        try await shell("git push -q origin main:topic/a")
        let moved = try await shell("git push origin main:main", fails: true)
        #expect(moved.contains("0 of 1 commits"), "\(moved)")
        let nowhere = try await shell("git push origin main:else", fails: true)
        #expect(nowhere.contains("no-git-rule"), "\(nowhere)")
        // Tags: the signed tag counts; without one, the commit.
        try await shell("git tag -s -m one v1 HEAD^; git push -q origin v1")
        #expect(try await shell("git tag v2 HEAD^; git push origin v2", fails: true).contains("unknown-ssh-signer"))
        try await shell("git tag v3 HEAD~2; git push -q origin v3")
        #expect(try await shell("git tag w1 HEAD~2; git push origin w1", fails: true).contains("no-git-rule"))
        let renamed = try await shell("git update-ref refs/tags/v4 v1; git push origin v4", fails: true)
        #expect(renamed.contains("wrong-tag-name"), "\(renamed)")
        // Neither a file nor a folder is signed by anyone.
        let file = try await shell("git tag v5 $(git rev-parse HEAD:infra/a); git push origin v5", fails: true)
        #expect(file.contains("malformed-git-object"), "\(file)")
        // What is taken away, and put back.
        try await shell("git push -q origin :topic/a; git push -q origin :v1; git push -q origin v1")
        // History that is replaced, by what may not be there.
        try await shell("git checkout -q -b new HEAD~2; git -c user.signingkey=eve commit -q -S --allow-empty -m eve")
        #expect(try await shell("git push -f origin new:main", fails: true).contains("unknown-ssh-signer"))
        // What is pushed cannot say who may sign, nor show other history.
        try await shell(
            """
            git replace HEAD HEAD^; cp rules.json .swsign; git add -f .swsign; git -c user.signingkey=eve commit -q -S -m rules
            git push -q origin refs/replace/*:refs/replace/* || true
            """)
        #expect(try await shell("git push -f origin new:main", fails: true).contains("0 of 2 commits"))
        let there = try await shell("git -C there.git rev-parse --verify refs/heads/main").prefix(40)
        #expect(try await shell("git rev-parse main~1").prefix(40) == there)
    }

    @Test("A hook where a push begins judges what the remote repository does not have")
    func sending() async throws {
        try await makeRepositories()
        try writeRules(Self.byBranch)
        try await shell("mkdir -p out; cp rules.json out; mv rules.json inside.json")
        let inside = await git("hook", "install", "pre-push", "--rules", "inside.json")
        #expect(inside.code == "own-git-rules", "\(inside.messages)")
        try await shell(
            "mkdir sub; git clone -q . sub/work; cd sub/work; git config user.signingkey ../../ann; git config gpg.format ssh"
        )
        let work = Program(directory: directory["sub/work"], environment: environment)
        let rules = directory["out/rules.json"]
        let installed = await work.run(["git", "hook", "install", "pre-push", "--rules", rules])
        try #require(installed.succeeded, "\(installed.messages)")
        try await shell("cd sub/work; git remote set-url origin ../../there.git; git push -q origin main")
        try await shell(
            "cd sub/work; git -c user.signingkey=../../bob commit -q -S --allow-empty -m bob; git push -q origin main")
        try await shell("cd sub/work; git commit -q --allow-empty -m unsigned")
        let refused = try await shell("cd sub/work; git push origin main", fails: true)
        #expect(refused.contains("unsigned-git-object") && refused.contains("0 of 1 commits"), "\(refused)")
        // To an address without a name, all is looked at.
        let address = try await shell("cd sub/work; git push ../../there.git main:topic/b", fails: true)
        #expect(address.contains("2 of 3 commits"), "\(address)")
        try await shell("cd sub/work; git push -q origin main~1:refs/heads/topic/a; git push -q origin :topic/a")
        // Another's hook is not replaced.
        try directory.write("sub/work/.git/hooks/update", "#!/bin/sh\n")
        #expect(await work.run(["git", "hook", "install", "update", "--rules", rules]).code == "file-exists")
    }

    /// The commands of the guide's recipes: those of GitHub's steps, and those of GitLab's script.
    private func recipes() throws -> [String: [String]] {
        let guide = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appending(path: "Sources/swsign/Documentation.docc/Git.md")
        let text = String(decoding: try Data(contentsOf: guide), as: UTF8.self)
        let section = try #require(text.split(separator: "\n## ").first { $0.hasPrefix("CI\n") })
        let lines = section.split(separator: "\n")
        let steps = lines.filter { $0.hasPrefix("- run: ") }.map { String($0.dropFirst(7)) }
        var script: [String] = []
        for line in lines.drop(while: { $0 != "  script:" }).dropFirst().prefix(while: { $0 != "  rules:" }) {
            if line.hasPrefix("    - ") {
                script.append(String(line.dropFirst(6)))
            } else {
                script[script.count - 1] += " " + line.drop { $0 == " " }
            }
        }
        try #require(steps.count == 2 && script.count == 2, "\(steps)\(script)")
        return ["GitHub": steps, "GitLab": script]
    }

    @Test("The recipes of the guide for GitHub and GitLab", arguments: ["GitHub", "GitLab"])
    func recipe(name: String) async throws {
        let commands = try #require(try recipes()[name])
        try await makeRepositories()
        try writeRules(Self.byBranch)
        try await shell(
            """
            mkdir .github bin; cp rules.json .github/; ln -s '\(Program.path)' bin/swsign
            git add rules.json .github; git commit -q -S -m rules; git push -q origin main
            """)
        /// What a job says that is started for a branch, in a clone of its own with the whole history.
        func job(_ branch: String) async throws -> (passes: Bool, said: String) {
            try await shell(
                """
                git push -q origin \(branch); rm -rf job runner; mkdir runner; git clone -q there.git job; cd job
                git config user.name forge; git config user.email forge@example.org
                git checkout -q --detach origin/main
                \(name == "GitHub" ? "git merge -q --no-ff -m merge" : "git checkout -q --detach") origin/\(branch)
                """)
            let sha = try await shell("git rev-parse \(branch)").trimmingCharacters(in: .whitespacesAndNewlines)
            let variables = [
                "PATH": "\(directory["bin"]):/usr/bin:/bin", "RUNNER_TEMP": directory["runner"],
                "GITHUB_BASE_REF": "main",
                "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main", "CI_COMMIT_SHA": sha,
            ]
            let outcome = await Program(
                executable: "/bin/sh", directory: directory["job"], environment: environment.merging(variables) { $1 }
            ).run(["-ec", commands.joined(separator: "\n").replacing("/tmp/", with: "../runner/")])
            return (outcome.succeeded, outcome.output + outcome.messages)
        }
        try await shell("git checkout -q -b good; git -c user.signingkey=bob commit -q -S --allow-empty -m good")
        let good = try await job("good")
        #expect(good.passes && good.said.contains("1 of 1 commits and tags are signed"), "\(good.said)")
        // One by a signer who may not, one without a signature, and rules that the branch would like to have.
        try await shell(
            """
            sed 's/"bob":/"eve":{"sshKeys":["\(try key("eve").replacing("/", with: "\\/"))"]},"bob":/; s/"ann","bob"/"ann","bob","eve"/' rules.json > more
            cp more rules.json; cp more .github/rules.json; git add rules.json .github
            git -c user.signingkey=eve commit -q -S -m eve; git commit -q --allow-empty -m unsigned; git branch bad
            """)
        let bad = try await job("bad")
        #expect(!bad.passes && bad.said.contains("1 of 3 commits and tags"), "\(bad.said)")
        #expect(bad.said.contains("unknown-ssh-signer") && bad.said.contains("unsigned-git-object"), "\(bad.said)")
    }

    @Test("What git does not give a hook is refused")
    func input() async throws {
        try await makeRepositories()
        try writeRules(#"{"signers":["ann"]}"#)
        let zero = String(repeating: "0", count: 40)
        for (text, code) in [
            ("x", "malformed-hook-input"), ("\(zero) \(zero) refs/heads/a b\n", "malformed-hook-input"),
            ("\(zero) HEAD refs/heads/a\n", "malformed-hook-input"), ("\(zero) \(zero) main\n", "malformed-hook-input"),
            ("\(zero) --all refs/heads/a\n", "malformed-hook-input"),
            ("\(zero) \(String(repeating: "1", count: 40)) refs/heads/a\n", "no-git-object"),
        ] {
            let outcome = await Program(directory: directory.path, environment: environment).run(
                ["git", "hook", "pre-receive", "--rules", "rules.json"], input: .text(text))
            #expect(outcome.code == code, "\(text): \(outcome.messages)")
        }
        let gone = await Program(directory: directory.path, environment: environment).run(
            ["git", "hook", "pre-receive", "--rules", "rules.json"], input: .text("\(zero) \(zero) refs/heads/a\n"))
        #expect(gone.succeeded, "\(gone.messages)")
        #expect(await git("hook", "update", "--rules", "rules.json", "refs/heads/a").code == "usage")
        #expect(await git("hook", "pre-receive", "--rules", "-").code == "usage")
    }

    // MARK: - GPG

    /// A key of GPG's that signs.
    /// - Returns: Its fingerprint.
    private func makeGPGKey() async throws -> String {
        try await shell(
            """
            mkdir -m 700 gnupg none
            gpg --batch --quiet --passphrase '' --quick-generate-key 'Gus <gus@example.org>' ed25519 sign never
            """)
        let listed = try await shell("gpg --batch --quiet --list-keys --with-colons 2>/dev/null")
        let line = try #require(listed.split(separator: "\n").first { $0.hasPrefix("fpr:") })
        return String(line.split(separator: ":").last ?? "")
    }

    @Test(
        "GPG's signatures, by what gpg says",
        .enabled(if: FileManager.default.fileExists(atPath: "/usr/bin/gpg"), "left out: gpg is not there"))
    func gpg() async throws {
        try await makeRepositories()
        let key = try await makeGPGKey()
        try await shell(
            """
            git -c gpg.format=openpgp -c user.signingkey=\(key) commit -q -S --allow-empty -m gpg
            git cat-file commit HEAD | sed 's/^gpg$/gpx/' | git hash-object -w -t commit --stdin > changed
            gpgconf --kill all
            (printf 'ann@example.org namespaces="git" '; cat ann.pub) > allowed
            """)
        let changed = try directory.text("changed").trimmingCharacters(in: .whitespacesAndNewlines)
        func judged(_ key: String, _ revision: String = "HEAD", _ more: [String: String] = [:]) async throws -> [String]
        {
            try rows(await git("verify", "--gpg-key", key, "--output", "json", revision, environment: more))[0]
        }
        #expect(try await judged(key) == ["gpg", "accepted", "-"])
        #expect(try await judged(key.lowercased()) == ["gpg", "accepted", "-"])
        #expect(try await judged(String(key.reversed())) == ["gpg", "refused", "unknown-gpg-signer"])
        #expect(try await judged(key, changed) == ["gpg", "refused", "gpg-signature-invalid"])
        #expect(try await judged(key, "HEAD^") == ["ssh", "refused", "no-signer-demanded"])
        let unnamed = await git("verify", "--allowed-signers", "allowed", "--output", "json", "HEAD")
        #expect(try rows(unnamed) == [["gpg", "refused", "no-signer-demanded"]], "\(unnamed.messages)")
        #expect(await git("verify", "--gpg-key", String(key.suffix(16)), "HEAD").code == "usage")
        // gpg without the key, and no gpg at all: nothing is known then.
        #expect(
            try await judged(key, "HEAD", ["GNUPGHOME": directory["none"]]) == [
                "gpg", "could-not-look", "gpg-key-missing",
            ])
        try await shell("git config --global gpg.program /nowhere/gpg")
        #expect(try await judged(key) == ["gpg", "could-not-look", "gpg-failed"])
        let said = await git("verify", "--gpg-key", key, "HEAD")
        #expect(said.messages.contains("1 could not be looked at") && said.ending == .exit(1), "\(said.messages)")
        // The repository's own configuration names no program, and a program that forges lines forges none by a name.
        try directory.write("forger", "#!/bin/sh\ncat >/dev/null\necho '[GNUPG:] GOODSIG \(key) Gus'\n", mode: 0o755)
        try await shell("git config --global --unset gpg.program; git config gpg.program $PWD/forger")
        #expect(try await judged(key, changed) == ["gpg", "refused", "gpg-signature-invalid"])
        try await shell("git config --global gpg.openpgp.program $PWD/forger")
        #expect(try await judged(key, changed) == ["gpg", "refused", "gpg-unclear"])
        // By rules, the key has a name.
        try await shell("git config --global --unset gpg.openpgp.program")
        try directory.write(
            "rules.json",
            #"{"version":1,"signers":{"gus":{"gpgKeys":["\#(key)"],"until":"2023-01-01T00:00:00Z"}},"rules":[{"signers":["gus"]}]}"#
        )
        #expect(
            try rows(await git("verify", "--rules", "rules.json", "--output", "json", "HEAD"))
                == [["gpg", "refused", "git-signer-not-then"]])
    }

    @Test("A commit of a hundred million bytes")
    func large() async throws {
        try await makeRepositories()
        try await shell("(printf 'ann@example.org namespaces=\"git\" '; cat ann.pub) > allowed")
        try await shell(
            """
            (git cat-file commit main; head -c 100000000 /dev/zero | tr '\\0' a) \
              | git -c core.compression=0 hash-object -w -t commit --stdin > large
            """)
        let large = try directory.text("large").trimmingCharacters(in: .whitespacesAndNewlines)
        let big = await git("verify", "--allowed-signers", "allowed", "--output", "json", large)
        #expect(try rows(big) == [["unknown", "refused", "git-object-too-large"]], "\(big.messages)")
    }
}
