import Foundation
import StrictJSON
import Testing

@testable import Provenance

/// Files of rules that say who may sign which commits and tags.
struct GitRulesTests {
    private static let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJeRAVB6j+KYSXn3YctSK/B+tbOViH0V1AWtVbiOhwU4"
    private static let print = String(repeating: "0123456789", count: 4)

    private static func rules(
        _ rules: String, signers: String = #""ann":{"sshKeys":["KEY"]},"bob":{"gpgKeys":["PRINT"]}"#,
        _ more: String = ""
    ) throws -> GitRules {
        let text = #"{"version":1,\#(more)"signers":{\#(signers)},"rules":[\#(rules)]}"#
        return try GitRules(
            parsing: Array(text.replacing("KEY", with: key).replacing("PRINT", with: print).utf8))
    }

    @Test("The first rule counts that fits the branch and the path")
    func order() throws {
        let rules = try Self.rules(
            """
            {"branches":["main"],"paths":["infra/**","*.key"],"signers":["ann"]},
            {"branches":["main","topic/*"],"signers":["ann","bob"]},
            {"tags":["v*"],"signers":["bob"]}, {"paths":["docs/**"],"signers":[]}
            """)
        #expect(rules.nameReferences && rules.namePaths)
        func signers(_ reference: String, _ path: String?) -> [String]? {
            let numbers = rules.rules(for: GitRules.Reference(reference))
            return rules.signers(among: numbers, path: path.map { Array($0.utf8) })
                .map { $0.sorted().map { rules.signers[$0].name } }
        }
        #expect(signers("refs/heads/main", "infra/a/b") == ["ann"])
        #expect(signers("refs/heads/main", "a.key") == ["ann"])
        #expect(signers("refs/heads/main", "x/a.key") == ["ann", "bob"])
        #expect(signers("refs/heads/main", nil) == ["ann", "bob"])
        #expect(signers("refs/heads/topic/a", "infra/a") == ["ann", "bob"])
        #expect(signers("refs/heads/topic/a/b", "infra/a") == nil)
        #expect(signers("refs/heads/topic/a/b", "docs/a") == [])
        #expect(signers("refs/tags/v1", nil) == ["bob"])
        #expect(signers("refs/tags/w1", nil) == nil)
        // A branch is no tag of the same name, and other references are neither.
        #expect(signers("refs/heads/v1", nil) == nil)
        #expect(signers("refs/notes/main", "docs/a") == [])
        #expect(signers("refs/notes/main", nil) == nil)
        #expect(signers("refs/heads/", nil) == nil)
        #expect(try !Self.rules(#"{"signers":["ann"]}"#).nameReferences)
    }

    @Test("Patterns of branches and paths")
    func patterns() {
        for (pattern, name, matches) in [
            ("main", "main", true), ("main", "Main", false), ("main", "mainx", false), ("main", "xmain", false),
            ("*", "a", true), ("*", "a/b", false), ("**", "a/b", true), ("**", "", true), ("*", "", true),
            ("a/*", "a/b", true), ("a/*", "a/b/c", false), ("a/**", "a/b/c", true), ("a/**", "a", false),
            ("**/x", "a/b/x", true), ("**/x", "x", false), ("v?", "v1", true), ("v?", "v", false), ("v?", "v/", false),
            ("a*b*c", "aXbYc", true), ("a*b*c", "aXb/c", false), ("[a]", "a", false), ("a.b", "axb", false),
            ("é", "e\u{301}", false),
        ] {
            #expect(Glob(pattern).matches(Array(name.utf8)) == matches, "\(pattern) \(name)")
        }
        let start = ContinuousClock.now
        let stars = Glob(String(repeating: "*a", count: 120) + "*b")
        #expect(!stars.matches([UInt8](repeating: 0x61, count: 4096)))
        #expect(ContinuousClock.now - start < .seconds(20))
    }

    @Test("What is not clear is refused")
    func refused() throws {
        let good = #"{"signers":["ann"]}"#
        #expect(GitWorkshop.code { _ = try Self.rules(good) } == nil)
        for text in [
            "", #"{"signers":["eve"]}"#, #"{}"#, #"{"signers":["ann"],"branch":["main"]}"#,
            #"{"signers":["ann"],"branches":null}"#, #"{"signers":["ann"],"branches":[]}"#,
            #"{"signers":["ann"],"paths":[""]}"#, #"{"signers":["ann"],"paths":["/etc"]}"#,
            #"{"signers":["ann"],"tags":["v*"],"paths":["a"]}"#, #"{"signers":null}"#, #"{"signers":"ann"}"#,
            #"{"signers":["ann"],"paths":["\#(String(repeating: "a", count: 257))"]}"#,
        ] {
            #expect(GitWorkshop.code { _ = try Self.rules(text) } == "malformed-git-rules", "\(text)")
        }
        for signers in [
            #""ann":{}"#, #""ann":{"sshKeys":[]}"#, #""ann":{"sshKeys":["ssh-rsa AAAA"]}"#,
            #""ann":{"sshKeys":["KEY\n* ssh-ed25519 AAAA"]}"#, #""ann":{"gpgKeys":["01234567"]}"#,
            #""ann":{"keys":["nothing"]}"#, #""ann":{"identities":[{"identity":"a"}]}"#,
            #""ann":{"identities":[{"identity":"a","issuer":"b","claim":"c"}]}"#,
            #""ann":{"identities":[{"identity":"a","identityRegexp":"a","issuer":"b"}]}"#,
            #""ann":{"identities":[{"identity":"","issuer":"b"}]}"#, #""a n":{"sshKeys":["KEY"]}"#,
            #""*":{"sshKeys":["KEY"]}"#, #""ann":{"sshKeys":["KEY"],"since":"2026"}"#,
            #""ann":{"sshKeys":["KEY"],"since":"2026-01-02T00:00:00Z","until":"2026-01-01T00:00:00Z"}"#,
            #""ann":{"sshKeys":["KEY"]},"ann":{"sshKeys":["KEY"]}"#, #""ann":{"password":"x","sshKeys":["KEY"]}"#,
        ] {
            #expect(
                GitWorkshop.code { _ = try Self.rules(good, signers: signers) } == "malformed-git-rules", "\(signers)")
        }
        for more in [
            #""since":"abc","#, #""since":null,"#, #""since":"HEAD","#, #""mode":"warn","#,
            #""since":"\#(String(repeating: "A", count: 40))","#,
        ] {
            #expect(GitWorkshop.code { _ = try Self.rules(good, more) } == "malformed-git-rules", "\(more)")
        }
        #expect(
            GitWorkshop.code { _ = try GitRules(parsing: Array(#"{"version":2,"signers":{},"rules":[]}"#.utf8)) }
                == "malformed-git-rules")
    }

    @Test("What gpg's status lines say")
    func status() throws {
        let key = Self.print
        let valid = "[GNUPG:] VALIDSIG \(key) 2026-11-27 1795758376 0 4 0 22 10 00 \(key)\n"
        let good = "[GNUPG:] NEWSIG\n[GNUPG:] GOODSIG \(key.suffix(16)) Ann <ann@example.org>\n"
        func code(_ text: String, _ status: Int32 = 0) -> String? {
            GitWorkshop.code { _ = try GPGStatus(parsing: Array(text.utf8), exitStatus: status) }
        }
        let read = try GPGStatus(parsing: Array((good + valid).utf8), exitStatus: 0)
        #expect(read.primaryFingerprint == key && read.userID == "Ann <ann@example.org>")
        // What stands in a name is a name, and lines that are no status lines are none.
        let name = good.replacing("Ann", with: "%0A[GNUPG:] BADSIG")
        #expect(code(name + valid) == nil && code("gpg: [GNUPG:] BADSIG x\n" + good + valid) == nil)
        for (text, expected) in [
            ("", "gpg-unclear"), (good, "gpg-unclear"), (valid, "gpg-unclear"),
            (good + valid + good, "gpg-unclear"), (good + valid + valid, "gpg-unclear"),
            (good + valid + "[GNUPG:] BADSIG \(key) a\n", "gpg-unclear"),
            ("[GNUPG:] PLAINTEXT 62 0 \n" + good + valid, "gpg-unclear"),
            ("[GNUPG:] BADSIG \(key) Ann\n", "gpg-signature-invalid"),
            ("[GNUPG:] ERRSIG \(key.suffix(16)) 22 10 00 1795758376 9 \(key)\n", "gpg-key-missing"),
            ("[GNUPG:] ERRSIG \(key.suffix(16)) 99 10 00 1795758376 4 -\n", "gpg-failed"),
            (good.replacing("GOODSIG", with: "EXPKEYSIG") + valid, "gpg-key-not-valid"),
            (good.replacing("GOODSIG", with: "REVKEYSIG") + valid, "gpg-key-not-valid"),
            (good.replacing("GOODSIG", with: "EXPSIG") + valid, "gpg-key-not-valid"),
            (good + valid.replacing(" 10 00", with: " 2 00"), "gpg-signature-weak"),
            (good + valid.replacing(" 10 00", with: " 10 01"), "gpg-signature-weak"),
            (good.replacing("GOODSIG \(key.suffix(16))", with: "GOODSIG ABCDEFABCDEFABCD") + valid, "gpg-unclear"),
            (good + valid.replacing(key, with: "01234567"), "gpg-unclear"),
            (String(repeating: "x", count: 1 << 17), "gpg-unclear"),
        ] {
            #expect(code(text) == expected, "\(text)")
        }
        #expect(code(good + valid, 1) == "gpg-unclear")
        #expect(GPGStatus.fingerprint("0123 4567 89ab cdef 0123 4567 89ab cdef 0123 4567")?.utf8.count == 40)
        #expect(GPGStatus.fingerprint("0x" + key) == nil && GPGStatus.fingerprint("89ABCDEF") == nil)
    }
}
