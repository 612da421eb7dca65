import Foundation
import StrictJSON
import Testing

@testable import Provenance

/// Commits and tags as git writes them, and as nobody should.
struct GitObjectTests {
    private static let tree = "tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n"
    private static let people = "author A <a@b> 1 +0000\ncommitter B <b@c> 2 +0000\n"
    private static let block = "-----BEGIN SSH SIGNATURE-----\n AAAA\n -----END SSH SIGNATURE-----\n"

    private static func code(_ text: String, _ kind: GitObject.Kind = .commit) -> String? {
        GitWorkshop.code { _ = try GitObject(Array(text.utf8), kind) }
    }

    @Test("What git makes is read, and has the name that git gives it", arguments: ["sha1", "sha256"])
    func real(format: String) throws {
        let folder = try GitWorkshop()
        try folder.shell(
            """
            ssh-keygen -q -t ed25519 -N '' -f key
            git init -q --object-format=\(format) .
            git config gpg.format ssh; git config user.signingkey key
            git commit -q --allow-empty -m one
            git commit -q -S --allow-empty -m 'two
            three'
            git tag -s -m 'release
            -----BEGIN NOTHING-----' v1
            git tag -a -m plain v2
            """)
        func object(_ name: String, _ kind: GitObject.Kind) throws -> (object: GitObject, content: [UInt8]) {
            let content = try folder.shell("git cat-file \(kind.rawValue) \(name)")
            let id = try folder.shell("git rev-parse \(name)").dropLast()
            let object = try GitObject(content, kind)
            #expect(object.id.utf8.elementsEqual(id) && object.isSHA256 == (format == "sha256"))
            return (object, content)
        }
        let plain = try object("HEAD^", .commit)
        #expect(plain.object.signature == nil && plain.object.payload == plain.content)
        #expect(plain.object.references.isEmpty)
        #expect(plain.object.author?.name == "Ann" && plain.object.author?.email == "ann@example.org")
        #expect(plain.object.author?.seconds == 1_700_000_000)
        #expect(plain.object.maker?.name == "Bob" && plain.object.maker?.seconds == 1_700_000_001)
        for (name, kind) in [("HEAD", GitObject.Kind.commit), ("v1", .tag)] {
            let signed = try object(name, kind).object
            guard case .ssh(let block)? = signed.signature else {
                Issue.record("no SSH signature in \(name)")
                continue
            }
            // What ssh-keygen takes for the signature of these bytes is what git had it sign.
            try folder.write("payload", signed.payload)
            try folder.write("signature", block)
            try folder.shell("ssh-keygen -Y check-novalidate -n git -s signature < payload")
            try folder.write("payload", signed.payload + [0x0a])
            try folder.shell("ssh-keygen -Y check-novalidate -n git -s signature < payload", fails: true)
        }
        #expect(try object("v2", .tag).object.signature == nil)
        #expect(try object("v1", .tag).object.maker?.email == "bob@example.org")
    }

    @Test("A signature is over the lines without it, wherever it stands among the headers")
    func payload() throws {
        let head = Self.tree + Self.people
        let signed = try GitObject(
            Array((Self.tree + "gpgsig " + Self.block + Self.people + "encoding x\n\nmessage\n").utf8), .commit)
        #expect(signed.payload.elementsEqual((head + "encoding x\n\nmessage\n").utf8))
        // The signature over the other form of the object is part of neither.
        let both = try GitObject(
            Array((head + "gpgsig " + Self.block + "gpgsig-sha256 " + Self.block + "\nm").utf8), .commit)
        #expect(both.signature != nil && both.payload.elementsEqual((head + "\nm").utf8))
        let other = try GitObject(Array((head + "gpgsig-sha256 " + Self.block + "\nm").utf8), .commit)
        #expect(other.signature == nil)
        // A signed tag that was merged stands in the commit, and is not the commit's.
        let merged = head + "mergetag object x\n -----BEGIN PGP SIGNATURE-----\n -----END PGP SIGNATURE-----\n\nm"
        let merge = try GitObject(Array(merged.utf8), .commit)
        #expect(merge.signature == nil && merge.payload.elementsEqual(merged.utf8))
        // Nor is one in a message.
        let quoted = try GitObject(Array((head + "\n" + Self.block.replacing("\n ", with: "\n")).utf8), .commit)
        #expect(quoted.signature == nil)
    }

    @Test("The kind is what the first line says")
    func kinds() throws {
        func kind(_ label: String) throws -> String? {
            let text = Self.tree + Self.people + "gpgsig -----BEGIN \(label)-----\n A\n -----END \(label)-----\n\n"
            switch try GitObject(Array(text.utf8), .commit).signature {
            case .x509?: return "x509"
            case .ssh?: return "ssh"
            case .openPGP?: return "pgp"
            case nil: return nil
            }
        }
        #expect(try kind("SIGNED MESSAGE") == "x509")
        #expect(try kind("SSH SIGNATURE") == "ssh")
        #expect(try kind("PGP SIGNATURE") == "pgp" && kind("PGP MESSAGE") == "pgp")
        #expect(GitWorkshop.code { _ = try kind("SOMETHING ELSE") } == "unknown-git-signature")
    }

    @Test("What is no clear object is refused")
    func hostile() {
        let head = Self.tree + Self.people
        let signed = "gpgsig " + Self.block
        let bad = "malformed-git-object"
        for (text, code) in [
            ("", bad), (head, bad), ("\n", bad), (Self.people + "\nm", bad), (Self.tree + "\nm", bad),
            (head + Self.tree + "\nm", bad), (head + "author C <c@d> 3 +0000\n\nm", bad),
            (head + "\nm\0n", bad), (head + "x a\0b\n\nm", bad), (head.replacing("\n", with: "\r\n") + "\r\nm", bad),
            (" x\n" + head + "\nm", bad), (head + "noValue\n\nm", bad), ("tree 12\n" + Self.people + "\nm", bad),
            (Self.tree + "parent x\n" + Self.people + "\nm", bad),
            (Self.tree + "author A a@b 1 +0000\ncommitter B <b@c> 2 +0000\n\nm", bad),
            (Self.tree + "author A <a> <a@b> 1 +0000\ncommitter B <b@c> 2 +0000\n\nm", bad),
            (head + signed + signed + "\nm", "several-git-signatures"),
            (head + "gpgsigx " + Self.block + "\nm", "unknown-git-signature"),
            (head + "gpgsig " + Self.block + " after\n\nm", bad),
            (head + "gpgsig " + Self.block + " " + Self.block + "\nm", bad),
            (head + "gpgsig -----BEGIN SSH SIGNATURE-----\n AAAA\n\nm", bad),
            (head + "gpgsig -----BEGIN SSH SIGNATURE-----\n A\n -----END PGP SIGNATURE-----\n\nm", bad),
        ] {
            #expect(Self.code(text) == code, "\(text)")
        }
        let tag = "object 4b825dc642cb6eb9a060e54bf8d69288fbee4904\ntype commit\ntag v\ntagger A <a@b> 1 +0000\n"
        let plain = Self.block.replacing("\n ", with: "\n")
        #expect(Self.code(tag + "\nm\n" + plain, .tag) == nil)
        #expect(Self.code(tag + "\nm\n" + plain + plain, .tag) == "several-git-signatures")
        #expect(Self.code(tag + "\nm\n" + plain + "after\n", .tag) == bad)
        #expect(Self.code(tag + signed + "\nm\n" + plain, .tag) == "several-git-signatures")
        #expect(Self.code(tag, .tag) == bad)
        let large = head + "\n" + String(repeating: "a", count: GitObject.sizeLimit)
        #expect(Self.code(large) == "git-object-too-large")
        #expect(Self.code(head + "gpgsig " + String(repeating: "A\n ", count: 20_000) + "\n\nm") == bad)
        let long =
            "gpgsig -----BEGIN SSH SIGNATURE-----\n \(String(repeating: "A", count: 1 << 17))\n -----END SSH SIGNATURE-----\n"
        #expect(Self.code(head + long + "\nm") == "git-object-too-large")
    }
}
