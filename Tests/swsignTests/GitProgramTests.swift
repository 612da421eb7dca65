import Foundation
import LocalSigstore
import SigstoreCrypto
import StrictJSON
import TestServices
import Testing

/// The program that git calls: `git commit -S`, `verify-commit`, `log` and their like, by git itself.
@Suite("Called by git", .localSigstore, .serialized)
struct GitProgramTests: GitFixture {
    let fixture: SigningFixture

    init() throws { fixture = try SigningFixture() }

    @Test("Commits and tags are signed, and hold without the network", arguments: ["v1", "v2", "timestamp"])
    func signing(_ name: String) async throws {
        let kind = try #require(LocalServices.SigningConfigKind(rawValue: name))
        try await setUp(kind)
        if kind == .timestamp { try await shell("git config --global swsign.insecureIgnoreTlog yes") }
        try await shell("git commit -q --allow-empty -m first; git tag -m one v1", try token())
        let recorded = fixture.recorded
        // Nobody is expected: it is good, and of unknown worth.
        let unknown = try await shell("git verify-commit HEAD 2>&1; git verify-tag v1 2>&1")
        #expect(unknown.output.contains("Good signature by alice@local.test"), "\(unknown.output)")
        #expect(unknown.output.contains("nobody was expected"), "\(unknown.output)")
        let parts = try await log().split(separator: "|").map(String.init)
        #expect(parts.prefix(3) == ["U", "alice@local.test", "undefined"])
        #expect(parts.count == 6 && parts[3].count == 40 && parts[3] == parts[4] && parts[4] == parts[5])
        try await shell("git -c gpg.minTrustLevel=marginal verify-commit HEAD", fails: true)
        try await expect(Self.alice)
        #expect(try await log().hasPrefix("G|alice@local.test|fully|"))
        try await shell("git -c gpg.minTrustLevel=fully verify-commit HEAD; git verify-tag v1")
        let shown = try await shell("git log --show-signature -1")
        #expect(shown.output.contains("Good signature by alice@local.test") && !shown.output.contains("expected"))
        // Another signer is expected.
        try await expect(.email("bob@local.test"))
        #expect(try await log().hasPrefix("E||"))
        let refused = try await shell("git verify-commit HEAD", fails: true)
        #expect(refused.messages.contains("[wrong-identity]"), "\(refused.messages)")
        // What the program of this name says is what `git verify` says.
        let ours = await Program(directory: directory.path, environment: environment()).run(
            ["git", "verify", "HEAD", "v1", "--offline"] + fixture.trust + fixture.expecting(Self.alice)
                + (kind == .timestamp ? ["--insecure-ignore-tlog"] : []))
        #expect(ours.succeeded, "\(ours.messages)\(ours.output)")
        #expect(fixture.recorded == recorded && fixture.unfinished.isEmpty)
    }

    @Test("Merges ask for signatures that are good, and by who is expected")
    func merging() async throws {
        try await setUp()
        try await shell(
            """
            git commit -q --allow-empty -m first; git checkout -q -b side
            git commit -q --allow-empty -m second; git checkout -q main
            """, try token())
        let merge = "git -c commit.gpgsign=false merge -q --verify-signatures --no-ff -m merge side"
        let untrusted = try await shell(merge, fails: true)
        #expect(untrusted.messages.contains("untrusted"), "\(untrusted.messages)")
        try await expect(Self.alice)
        try await shell(merge)
        #expect(try await log().hasPrefix("N|"))
    }

    @Test("What is bad is bad, what cannot be checked is said, and nothing forges a line")
    func attacks() async throws {
        try await setUp(expecting: Self.alice)
        try await shell(
            """
            git commit -q --allow-empty -m first; git cat-file commit HEAD > good
            git commit -q --allow-empty -m second; git cat-file commit HEAD > second
            sed 's/^first$/First/' good | git hash-object -w -t commit --stdin > changed
            (sed -n '1,/^committer/p' good; sed -n '/^gpgsig/,/^ -----END/p' second; printf '\\nfirst\\n') | git hash-object -w -t commit --stdin > other
            sed 's/^ MI/ NI/' good | git hash-object -w -t commit --stdin > broken
            (sed -n '1,/^ -----END/p' good; sed -n '/^gpgsig/,/^ -----END/p' good | sed 's/^gpgsig//'; printf '\\nfirst\\n') | git hash-object -w -t commit --stdin > two
            (sed -n '1,/^ -----END/p' good; printf '\\nfirst\\n\\n[GNUPG:] GOODSIG 00 alice@local.test\\n[GNUPG:] TRUST_FULLY 0 shell\\n') | git hash-object -w -t commit --stdin > forged
            """, try token())
        #expect(try await log("HEAD").hasPrefix("G|"))
        // Nothing of it is trusted, and git asks for that of each.
        #expect(try await log("$(cat changed)").split(separator: "|").contains("never"))
        for (name, result) in [("changed", "B"), ("other", "B"), ("broken", "E"), ("two", "E"), ("forged", "B")] {
            #expect(try await log("$(cat \(name))").hasPrefix("\(result)|"), "\(name)")
            try await shell("git verify-commit $(cat \(name))", fails: true)
        }
        // The signature of a commit that is larger than any that people make.
        try await shell(
            """
            sed -n '/^gpgsig/,/^ -----END/p' good | sed 's/^gpgsig //; s/^ //' > sig
            head -c 6000000 /dev/zero | tr '\\0' a > large
            """)
        let large = await Program(directory: directory.path, environment: environment())
            .run(["--status-fd=1", "--verify", "sig", "-"], input: .bytes([UInt8](repeating: 0x61, count: 6_000_000)))
        #expect(large.ending == .exit(1) && large.code == "git-object-too-large", "\(large.messages)")
        #expect(
            large.output.split(separator: "\n").map { $0.prefix(15) } == [
                "[GNUPG:] NEWSIG", "[GNUPG:] ERRSIG", "[GNUPG:] TRUST_",
            ])
        // A name with a line break in it is one line.
        try await shell(
            """
            openssl ecparam -name prime256v1 -genkey -noout -out key.pem
            openssl req -x509 -new -key key.pem -days 2 -out cert.pem \
              -subj "$(printf '/CN=a\\n[GNUPG:] GOODSIG 00 alice\\n[GNUPG:] TRUST_FULLY 0 shell')"
            printf 'x\\n' > payload
            openssl cms -sign -binary -in payload -outform PEM -out cms -signer cert.pem -inkey key.pem -md sha256
            sed 's/ CMS-/ SIGNED MESSAGE-/' cms > sig
            """)
        for (payload, result) in [("payload", "ERRSIG"), ("good", "BADSIG")] {
            let strange = await Program(directory: directory.path, environment: environment())
                .run(["--keyid-format=long", "--status-fd=1", "--verify", "sig", payload])
            let words = strange.output.split(separator: "\n").map { $0.split(separator: " ").dropFirst().first }
            #expect(
                strange.ending == .exit(1) && words == ["NEWSIG", Substring(result), "TRUST_NEVER"], "\(strange.output)"
            )
            #expect(
                strange.output.contains("\\u{a}[GNUPG:] GOODSIG 00 alice") == (result == "BADSIG"), "\(strange.output)")
        }
    }

    @Test("Who is expected is the user's word, and never the repository's")
    func repositoryConfiguration() async throws {
        try await setUp()
        try await shell("git commit -q --allow-empty -m first", try token())
        let issuer = fixture.services.issuer.issuer(of: Self.alice)
        let flags = "identity=alice@local.test,issuer=\(issuer)"
        try directory.write("signers", flags + "\n")
        try await shell(
            "git config --local swsign.signer '\(flags)'; git config --local swsign.signers \"$PWD/signers\"")
        #expect(try await log().hasPrefix("U|"))
        // Nor a file that is looked for in it.
        try await shell("git config --global swsign.signers signers")
        #expect(try await log().hasPrefix("E|"))
        try await shell("git config --global --unset swsign.signers; git config --global swsign.signer '\(flags)'")
        #expect(try await log().hasPrefix("G|"))
        // What git itself was told, and a variable that no repository can set.
        try await shell("git config --global --unset swsign.signer")
        #expect(
            try await shell("git -c swsign.signer='\(flags)' log -1 --format='%G?'").line == "G")
        #expect(try await shell("git log -1 --format='%G?'", ["COSIGN_SIGNER": flags]).line == "G")
        let other = flags.replacing("alice", with: "bob")
        #expect(try await shell("git log -1 --format='%G?'", ["COSIGN_SIGNER": other]).line == "E")
        // A trusted root that a pipe holds can be read only once.
        let piped = try await shell(
            """
            mkfifo pipe; cat '\(fixture.services.files.trustedRoot)' > pipe &
            git -c swsign.trustedRoot="$PWD/pipe" -c swsign.signer='\(flags)' log -1 --format='%G?'
            """)
        #expect(piped.line == "G")
        // The trust root of the repository is none.
        try await shell(
            "git config --global --unset swsign.trustedRoot; git config --local swsign.trustedRoot '\(fixture.services.files.trustedRoot)'"
        )
        #expect(try await log().hasPrefix("E|"))
    }

    @Test("A key: its public one is the user's word too")
    func keys() async throws {
        try await setUp(.none)
        try directory.makeKey()
        try directory.makeKey("other")
        try await shell(
            """
            git config --local swsign.key "$PWD/key.pem"; git config --local swsign.tlogUpload no
            git commit -q --allow-empty -m first; git config --global swsign.insecureIgnoreTlog true
            """, ["COSIGN_PASSWORD": ""])
        #expect(try await log().hasPrefix("E|"))
        try await shell("git config --global swsign.publicKey \"$PWD/key.pub\"")
        let parts = try await log().split(separator: "|").map(String.init)
        #expect(parts.first == "G" && parts[1].hasPrefix("key ") && parts[3].count == 40, "\(parts)")
        try await shell("git config --global swsign.publicKey \"$PWD/other.pub\"")
        #expect(try await log().hasPrefix("E|"))
        // openssl is the judge of what was written, with a certificate of the key made for it.
        try await shell(
            """
            git cat-file commit HEAD | sed -n '/^gpgsig/,/^ -----END/p' | sed 's/^gpgsig //; s/^ //; s/SIGNED MESSAGE/CMS/' > sig
            git cat-file commit HEAD | sed '/^gpgsig/,/^ -----END/d' > body
            openssl req -x509 -new -key key.pem -subj /CN=a -days 2 -out cert.pem
            openssl cms -verify -binary -inform PEM -in sig -content body -certfile cert.pem -noverify -out /dev/null
            printf x >> body
            ! openssl cms -verify -binary -inform PEM -in sig -content body -certfile cert.pem -noverify -out /dev/null
            """)
    }

    @Test("A person is asked at the terminal, though git keeps what is written to itself")
    func terminal() async throws {
        try await setUp(.none)
        try await shell(
            """
            "$SWSIGN" generate-key-pair; git config swsign.key "$PWD/cosign.key"; git config swsign.tlogUpload no
            git config --global swsign.insecureIgnoreTlog yes; git config --global swsign.publicKey "$PWD/cosign.pub"
            """, ["COSIGN_PASSWORD": "secret"])
        var program = Program(executable: "/bin/sh", directory: directory.path, environment: environment())
        program.timeLimit = 60
        let prompt = "Enter password for private key: "
        let signed = await program.run(
            ["-ec", "git commit -q --allow-empty -m first"], terminal: [Program.Turn(prompt, "secret\n")])
        #expect(signed.succeeded, "\(signed.messages)\(signed.screen)")
        #expect(try await log().hasPrefix("G|"))
        let wrong = await program.run(
            ["-ec", "git commit -q --allow-empty -m second"], terminal: [Program.Turn(prompt, "other\n")])
        #expect(!wrong.succeeded && wrong.screen.contains("[wrong-password]"), "\(wrong.messages)\(wrong.screen)")
    }

    @Test("openssl is the judge of what is written")
    func openssl() async throws {
        try await setUp()
        try await shell("git commit -q --allow-empty -m first; git tag -m one v1", try token())
        try await shell(
            """
            git cat-file commit HEAD | sed -n '/^gpgsig/,/^ -----END/p' | sed 's/^gpgsig //; s/^ //; s/SIGNED MESSAGE/CMS/' > sig
            git cat-file commit HEAD | sed '/^gpgsig/,/^ -----END/d' > body
            openssl cms -verify -binary -inform PEM -in sig -content body -noverify -out /dev/null
            git cat-file tag v1 | sed -n '/^-----BEGIN/,$p' | sed 's/SIGNED MESSAGE/CMS/' > sig
            git cat-file tag v1 | sed '/^-----BEGIN/,$d' > body
            openssl cms -verify -binary -inform PEM -in sig -content body -noverify -out /dev/null
            """)
    }

    @Test("gitsign's configuration and variables count, and the committer is the signer if that is asked for")
    func gitsignConfiguration() async throws {
        try await setUp()
        let services = fixture.services
        try await shell(
            """
            git config --global --unset swsign.signingConfig
            git config --global gitsign.fulcio '\(services.fulcio.url)'
            git config --global gitsign.rekor 'http://127.0.0.1:9'
            git config --global gitsign.matchCommitter true
            """)
        // The variable counts before the configuration.
        let more = try token().merging(["GITSIGN_REKOR_URL": services.rekorV1.url]) { $1 }
        try await shell("git commit -q --allow-empty -m first", more)
        #expect(try await log().hasPrefix("U|alice@local.test|"))
        try await shell("git commit -q --allow-empty -m second", try token(), fails: true)
        let recorded = fixture.recorded
        let wrong = try await shell(
            "git commit -q --allow-empty -m second", more.merging(["GIT_COMMITTER_EMAIL": "bob@local.test"]) { $1 },
            fails: true)
        #expect(wrong.messages.contains("failed to sign the data") && fixture.recorded == recorded)
    }

    @Test("Lines of status are as git reads them, and what git does not say is refused")
    func protocols() async throws {
        try await setUp()
        try await shell(
            """
            git commit -q --allow-empty -m first; git cat-file commit HEAD | sed '/^gpgsig/,/^ -----END/d' > body
            ln -s "$SWSIGN" swsign-git
            """, try token())
        let payload = Array(try directory.text("body").utf8)
        func call(
            _ words: [String], link: Bool = false, input: [UInt8] = [], _ more: [String: String] = [:]
        ) async -> Program.Outcome {
            var program = Program(directory: directory.path, environment: environment(more))
            if link { program.executable = directory["swsign-git"] }
            return await program.run(words, input: .bytes(input))
        }
        for words in [
            ["--status-fd=2", "-bsau", "Ann <a@b>"], ["--status-fd", "2", "--detach-sign", "--armor", "-uX"],
        ] {
            let signed = await call(words, link: words.count > 3, input: payload, try token())
            #expect(signed.succeeded, "\(signed.messages)")
            #expect(signed.output.hasPrefix("-----BEGIN SIGNED MESSAGE-----\n"))
            let lines = signed.messages.split(separator: "\n")
            #expect(lines.first == "[GNUPG:] BEGIN_SIGNING")
            #expect(lines.last?.hasPrefix("[GNUPG:] SIG_CREATED D 19 8 00 ") == true, "\(signed.messages)")
            try directory.write("sig", signed.output)
        }
        let good = await call(["--status-fd=1", "--verify", "sig", "-"], link: true, input: payload)
        let words = good.output.split(separator: "\n").map { $0.split(separator: " ").dropFirst().map(String.init) }
        #expect(words.map(\.first) == ["NEWSIG", "GOODSIG", "VALIDSIG", "TRUST_UNDEFINED"], "\(good.output)")
        #expect(words[2].count == 11 && words[2][1] == words[2][10])
        for (words, input) in [
            (["--verify", "sig"], []), (["--status-fd=3", "-bsau", "A"], payload), (["--list-keys"], []),
            (["--status-fd=2", "-bsau"], payload), (["--status-fd=2", "-sau", "A"], payload),
            (["--status-fd=2", "-bsau", "A"], Array("certificate version 0.1\n".utf8)),
            (["--status-fd=2", "-bsau", "A", "--clearsign"], payload), ([], []),
        ] as [([String], [UInt8])] {
            let outcome = await call(words, link: true, input: input, try token())
            #expect(outcome.ending == .exit(1) && outcome.output.isEmpty, "\(words): \(outcome.messages)")
            #expect(["usage", "malformed-git-object"].contains(outcome.code), "\(words): \(outcome.messages)")
        }
        // A setting that cannot be read is not passed over.
        try await shell("git config --global swsign.threshold many")
        #expect(try await log().hasPrefix("E|"))
    }

    @Test("git setup says what it writes, and takes it back")
    func setup() async throws {
        let list = "git config --global --get-regexp '^(gpg|commit|tag|swsign)' || true"
        try await shell("git config --global gpg.format openpgp")
        let first = await Program(directory: directory.path, environment: environment()).run(["git", "setup"])
        #expect(first.succeeded && first.output.contains("gpg.format = x509 (it was openpgp)"), "\(first.messages)")
        #expect(first.output.contains("commit.gpgsign = true, in the global configuration"))
        let again = await Program(directory: directory.path, environment: environment()).run(["git", "setup"])
        #expect(again.output.contains("gpg.format is x509 already"), "\(again.output)")
        let isSaid = "Who may have signed is not said yet"
        #expect(first.messages.contains(isSaid) && again.messages.contains(isSaid), "\(again.messages)")
        try await shell("git config --global swsign.signers /etc/signers")
        let third = await Program(directory: directory.path, environment: environment()).run(["git", "setup"])
        #expect(third.succeeded && !third.messages.contains(isSaid), "\(third.messages)")
        try await shell("git config --global --unset swsign.signers")
        #expect(try await shell("git config --global gpg.x509.program").line == Program.path)
        try await shell("git config --global tag.gpgsign false")
        let undone = await Program(directory: directory.path, environment: environment())
            .run(["git", "setup", "--undo"])
        #expect(undone.succeeded && undone.output.contains("gpg.format = openpgp, as before"), "\(undone.output)")
        #expect(undone.output.contains("tag.gpgsign was changed since"), "\(undone.output)")
        #expect(try await shell(list).line == "gpg.format openpgp\ntag.gpgsign false")
        let outside = await Program(directory: directory.path, environment: environment())
            .run(["git", "setup", "--local"])
        #expect(outside.ending == .exit(1) && outside.code == "git-failed", "\(outside.messages)")
        #expect(outside.messages.contains("no repository here"), "\(outside.messages)")
        let both = await Program(directory: directory.path, environment: environment())
            .run(["git", "setup", "--local", "--global"])
        #expect(both.code == "usage")
    }
}
