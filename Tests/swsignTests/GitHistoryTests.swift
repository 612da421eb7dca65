import Foundation
import LocalSigstore
import SigstoreCrypto
import StrictJSON
import TestServices
import Testing

/// A history by many hands: certificates, keys, SSH keys and their authorities, GPG keys, merges, nobody; and what was bent.
@Suite("git verify: a hundred commits of mixed kinds", .localSigstore)
struct GitHistoryTests: GitFixture {
    let fixture: SigningFixture

    init() throws { fixture = try SigningFixture() }

    /// What a commit is, who has signed it if that is accepted, and how it is made.
    private struct Kind {
        /// Kind, verdict and code of its row, and the signer who is accepted: by name, or the file of a key.
        let row: [String]
        let script: String
        init(_ row: String, signer: String = "-", _ script: String) {
            self.row = row.split(separator: " ").map(String.init) + [signer]
            self.script = script
        }
    }

    private static let bob = LocalIdentity.email("bob@local.test")

    /// The kinds, each commit on top of the one before. `put` changes what was committed last.
    private static let kinds = [
        Kind("certificate accepted -", signer: "alice@local.test", "keyless \"$ALICE\" -m good"),
        Kind("certificate refused wrong-identity", "keyless \"$BOB\" -m bob"),
        Kind("certificate refused signed-data-mismatch", "keyless \"$ALICE\" -m was; put 's/^was$/is/'"),
        Kind("certificate refused signed-data-mismatch", "keyless \"$ALICE\" -m tree; put 's/^author Ann/author Eve/'"),
        Kind("key accepted -", signer: "key.pub", "by_key key -m key"),
        Kind("key refused unknown-git-key", "by_key other -m other"),
        Kind("ssh accepted -", signer: "ann@example.org", "ssh ann -m ssh"),
        Kind("ssh refused unknown-ssh-signer", "ssh eve -m eve"),
        Kind("ssh refused ssh-signer-not-valid", "ssh old -m old"),
        Kind("ssh refused ssh-signer-not-valid", "ssh file -m file"),
        Kind("ssh accepted -", signer: "dora@example.org", "ssh dora-cert.pub -m authority"),
        Kind("ssh refused unknown-ssh-signer", "ssh mallory-cert.pub -m authority"),
        Kind("ssh refused ssh-signer-not-valid", "ssh over-cert.pub -m over"),
        Kind("ssh refused ssh-signer-not-valid", "ssh host-cert.pub -m name"),
        Kind("ssh refused invalid-signature", "ssh ann -m was; put 's/^was$/is/'"),
        Kind("ssh refused wrong-ssh-namespace", "for_files ann"),
        Kind("gpg accepted -", signer: "gus", "gpg_key gus -m gpg"),
        Kind("gpg refused unknown-gpg-signer", "gpg_key gina -m gpg"),
        Kind("gpg refused gpg-signature-invalid", "gpg_key gus -m was; put 's/^was$/is/'"),
        Kind("unsigned unsigned unsigned-git-object", "git commit -q --no-gpg-sign --allow-empty -m unsigned"),
        // A merge of what came before all of them.
        Kind("ssh accepted -", signer: "ann@example.org", "merge -S"),
        Kind("unsigned unsigned unsigned-git-object", "merge --no-gpg-sign"),
        Kind(
            "unknown refused several-git-signatures",
            "ssh ann -m two; put '/^gpgsig/,/END/{H;};/^ -----END/{G;s/\\n\\n/\\n/;}'"),
        Kind("unsigned unsigned unsigned-git-object", "ssh ann -m other; put 's/^gpgsig /gpgsig-sha256 /'"),
        Kind("unknown refused unknown-git-signature", "ssh ann -m kind; put 's/SSH SIGNATURE/OTHER SIGNATURE/'"),
        Kind("unknown refused malformed-git-object", "ssh ann -m lines; put 's/^committer .*/&\\r/'"),
        Kind("gpg refused gpg-unclear", "ssh ann -m pgp; put 's/SSH SIGNATURE/PGP SIGNATURE/'"),
        Kind(
            "unsigned unsigned unsigned-git-object",
            "ssh ann -m inside; put '/^gpgsig/,/END/{s/^gpgsig //;s/^ //;H;d;};$G'"),
    ]

    @Test(
        "Each commit of a range has its kind, its verdict and its code",
        .enabled(if: FileManager.default.fileExists(atPath: "/usr/bin/gpg"), "left out: gpg is not there"))
    func hundred() async throws {
        try await setUp()
        let key = try directory.makeKey()
        try directory.makeKey("other")
        try await shell(
            """
            for k in ann eve old file dora mallory over host ca other-ca; do ssh-keygen -q -t ed25519 -N '' -f $k; done
            ssh-keygen -q -s ca -I dora -n dora@example.org dora.pub
            ssh-keygen -q -s ca -I over -n dora@example.org -V 20200101:20200102 over.pub
            ssh-keygen -q -s ca -I host -n dora@example.net host.pub
            ssh-keygen -q -s other-ca -I mallory -n dora@example.org mallory.pub
            (printf 'ann@example.org namespaces="git" '; cat ann.pub
             printf 'old@example.org valid-before="20200101Z" '; cat old.pub
             printf 'file@example.org namespaces="file" '; cat file.pub
             printf '*@example.org cert-authority,namespaces="git" '; cat ca.pub) > allowed
            mkdir -m 700 gnupg
            for k in gus gina; do
              gpg --batch --quiet --passphrase '' --quick-generate-key $k@example.org ed25519 sign never
              gpg --batch --list-keys --with-colons $k@example.org 2>/dev/null | sed -n 's/^fpr:*\\([^:]*\\):/\\1/p' > $k
            done
            git commit -q --no-gpg-sign --allow-empty -m before; git commit -q --no-gpg-sign --allow-empty -m base
            git update-ref refs/tags/base HEAD
            """, gpgHome)
        // By turns of nine, so that each kind stands upon several others.
        let order = (0..<100).map { $0 * 9 % Self.kinds.count }
        try #require(Set(order).count == Self.kinds.count)
        try await shell(
            """
            keyless() { COSIGN_IDENTITY_TOKEN=$1 git commit -q --allow-empty "$2" "$3"; }
            by_key() { COSIGN_PASSWORD= git -c swsign.key="$PWD/$1.pem" commit -q --allow-empty "$2" "$3"; }
            ssh() { git -c gpg.format=ssh -c user.signingkey="$PWD/$1" commit -q --allow-empty "$2" "$3"; }
            gpg_key() { git -c gpg.format=openpgp -c user.signingkey=$(cat $1) commit -q --allow-empty "$2" "$3"; }
            # A signature of the right key that was made for something else than git.
            for_files() {
              git commit -q --no-gpg-sign --allow-empty -m file; git cat-file commit HEAD > payload
              (sed '/^$/,$d' payload; printf 'gpgsig '
               ssh-keygen -q -Y sign -n file -f "$1" - < payload | sed '2,$s/^/ /'; sed -n '/^$/,$p' payload) > signed
              git update-ref HEAD $(git hash-object -w -t commit signed)
            }
            merge() {
              git update-ref HEAD $(git -c gpg.format=ssh -c user.signingkey="$PWD/ann" \\
                commit-tree $1 -p HEAD -p base~1 -m merge 'HEAD^{tree}')
            }
            put() {
              git cat-file commit HEAD | sed "$1" | git hash-object -w -t commit --stdin --literally > id
              git update-ref HEAD $(cat id)
            }
            """ + "\n" + order.map { Self.kinds[$0].script }.joined(separator: "\n"),
            gpgHome.merging([
                "ALICE": try fixture.services.issuer.token(for: Self.alice, options: TokenOptions()),
                "BOB": try fixture.services.issuer.token(for: Self.bob, options: TokenOptions()),
            ]) { $1 })
        let gus = try directory.text("gus").trimmingCharacters(in: .whitespacesAndNewlines)
        let outcome = await Program(directory: directory.path, environment: environment(gpgHome)).run(
            ["git", "verify", "--offline", "--allowed-signers", "allowed", "--key", "key.pub", "--gpg-key", gus]
                + fixture.trust + [
                    "--signer", "identity=alice@local.test,issuer=\(fixture.services.issuer.issuer(of: Self.alice))",
                    "--output", "json", "base..main",
                ])
        let found = try outcome.objects().map { row in
            let error = try row.optional("error").map { try $0.member("code").string() } ?? "-"
            let verdict = try row.member("verdict").string()
            let signer = verdict == "accepted" ? try row.member("signer").string() : "-"
            return [try row.member("kind").string(), verdict, error, signer]
        }
        let names = ["key.pub": try key.publicKey.hint(), "gus": gus]
        // git lists the newest first.
        let expected = order.reversed().map { Self.kinds[$0].row.map { names[$0, default: $0] } }
        for (index, (row, wanted)) in zip(found, expected).enumerated() where row != wanted {
            Issue.record("\(index): \(row), expected \(wanted)")
        }
        #expect(found.count == 100)
        let accepted = expected.count { $0[1] == "accepted" }
        #expect(outcome.messages.contains("\(accepted) of 100"), "\(outcome.messages)")
        #expect(outcome.ending == .exit(1) && outcome.code == "unaccepted-commits")
    }

    private var gpgHome: [String: String] { ["GNUPGHOME": directory["gnupg"]] }
}
