import Foundation
import SigstoreCrypto
import StrictJSON
import Testing

@testable import Provenance

/// SSH's signatures and allowed signers, with `ssh-keygen` as the judge.
struct SSHSignatureTests {
    private typealias Folder = GitWorkshop

    private static let message = Array("what is signed\n".utf8)

    /// What comes of `signature` in the folder: the names, or the code.
    private static func judge(_ folder: GitWorkshop, at time: Int64? = 1_700_000_000) -> (names: String?, code: String?)
    {
        var names: String?
        let code = Folder.code {
            let signature = try SSHSignature(armored: try folder.read("message.sig"))
            try signature.verify(try folder.read("message"), namespace: "git")
            names = try AllowedSigners(parsing: try folder.read("allowed")) { $0 }.names(for: signature, at: time)
        }
        return (names, code)
    }

    /// Whether `ssh-keygen` takes the signature for that name.
    private static func keygenAccepts(_ folder: GitWorkshop, _ name: String, at time: String = "20231114221320Z") throws
        -> Bool
    {
        let answer = try folder.shell(
            "ssh-keygen -Y verify -f allowed -I \(name) -n git -s message.sig -Overify-time=\(time) < message >/dev/null 2>&1 && echo yes || echo no"
        )
        return answer.starts(with: "yes".utf8)
    }

    private static func sign(_ folder: GitWorkshop, _ key: String, namespace: String = "git", _ more: String = "")
        throws
    {
        try folder.write("message", message)
        try folder.shell("rm -f message.sig; ssh-keygen -q -Y sign -n \(namespace) -f \(key) \(more) message")
    }

    @Test(
        "Each kind of key, by both hashes",
        arguments: ["ed25519", "ecdsa -b 256", "ecdsa -b 384", "ecdsa -b 521", "rsa -b 2048", "rsa -b 3072"])
    func keys(type: String) throws {
        let folder = try GitWorkshop()
        try folder.shell(
            "ssh-keygen -q -t \(type) -N '' -f key; (printf 'ann@example.org '; cat key.pub) > allowed")
        for hash in ["sha512", "sha256"] {
            try Self.sign(folder, "key", "-Ohashalg=\(hash)")
            let signature = try SSHSignature(armored: try folder.read("message.sig"))
            let named = try folder.shell("ssh-keygen -l -f key | cut -d' ' -f2").dropLast()
            #expect(try signature.fingerprint().utf8.elementsEqual(named))
            #expect(Self.judge(folder).names == "ann@example.org")
            #expect(try Self.keygenAccepts(folder, "ann@example.org"))
            try folder.write("message", Self.message + [0x21])
            #expect(Self.judge(folder).code == "invalid-signature")
            #expect(try !Self.keygenAccepts(folder, "ann@example.org"))
        }
        try Self.sign(folder, "key", namespace: "file")
        #expect(Self.judge(folder).code == "wrong-ssh-namespace")
        try Self.sign(folder, "key")
        try folder.shell("ssh-keygen -q -t ed25519 -N '' -f two; (printf 'ann@example.org '; cat two.pub) > allowed")
        #expect(Self.judge(folder).code == "unknown-ssh-signer")
    }

    /// The keys of hardware tokens, whose part openssl plays: what they sign holds the application, flags and a counter.
    @Test("Keys of hardware tokens", arguments: ["ed25519", "ecdsa"])
    func tokens(type: String) throws {
        let folder = try GitWorkshop()
        func field(_ bytes: some Collection<UInt8>) -> [UInt8] {
            [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: bytes.count >> $0) } + bytes
        }
        let isEdwards = type == "ed25519"
        let name = isEdwards ? "sk-ssh-ed25519@openssh.com" : "sk-ecdsa-sha2-nistp256@openssh.com"
        try folder.shell(
            "openssl genpkey -algorithm \(isEdwards ? "ed25519" : "EC -pkeyopt ec_paramgen_curve:P-256") -out key.pem")
        let spki = try folder.shell("openssl pkey -in key.pem -pubout -outform DER")
        let point = spki.suffix(isEdwards ? 32 : 65)
        let application = Array("ssh:".utf8)
        let key =
            field(name.utf8) + (isEdwards ? [] : field("nistp256".utf8)) + field(point) + field(application)
        try folder.write("allowed", "ann@example.org \(name) \(Base64.encode(key))\n".utf8)
        /// Signs the message with these flags, and puts others into the signature.
        func sign(_ flags: UInt8, stated: UInt8? = nil, application signed: [UInt8]? = nil) throws {
            let digest = try folder.shell("openssl dgst -sha512 -binary message")
            let blob = Array("SSHSIG".utf8) + field("git".utf8) + field([]) + field("sha512".utf8) + field(digest)
            try folder.write("blob", blob)
            try folder.write("application", signed ?? application)
            let hashed = try folder.shell("openssl dgst -sha256 -binary application")
            let counter: [UInt8] = [0, 0, 1, 2]
            try folder.write(
                "signed", hashed + [flags] + counter + (try folder.shell("openssl dgst -sha256 -binary blob")))
            var bytes = try folder.shell(
                "openssl \(isEdwards ? "pkeyutl -sign -rawin -inkey key.pem -in" : "dgst -sha256 -sign key.pem") signed"
            )
            if !isEdwards {
                // Two numbers, each with its length before it, in DER and for SSH.
                let first = Array(bytes.dropFirst(4).prefix(Int(bytes[3])))
                bytes = field(first) + field(bytes.dropFirst(6 + first.count))
            }
            let signature = field(name.utf8) + field(bytes) + [stated ?? flags] + counter
            let whole =
                Array("SSHSIG".utf8) + [0, 0, 0, 1] + field(key) + field("git".utf8) + field([]) + field("sha512".utf8)
                + field(signature)
            try folder.write("message.sig", PEM.encode(label: "SSH SIGNATURE", whole).utf8)
        }
        try folder.write("message", Self.message)
        try sign(1)
        #expect(Self.judge(folder).names == "ann@example.org")
        #expect(try Self.keygenAccepts(folder, "ann@example.org"))
        try sign(5)
        #expect(Self.judge(folder).names == "ann@example.org")
        for (flags, stated, signed) in [(1, 5, nil), (1, nil, "ssh:other"), (0, 1, nil)] as [(UInt8, UInt8?, String?)] {
            try sign(flags, stated: stated, application: signed.map { Array($0.utf8) })
            #expect(Self.judge(folder).code == "invalid-signature")
            #expect(try !Self.keygenAccepts(folder, "ann@example.org"))
        }
        // Nobody touched it.
        try sign(0)
        #expect(Self.judge(folder).code == "invalid-signature")
        try sign(1)
        try folder.write("message", Self.message + [0x21])
        #expect(Self.judge(folder).code == "invalid-signature")
    }

    @Test("What a line allows, as ssh-keygen has it")
    func lines() throws {
        let folder = try GitWorkshop()
        try folder.shell("ssh-keygen -q -t ed25519 -N '' -f key")
        try Self.sign(folder, "key")
        for (options, code) in [
            ("", nil), ("namespaces=\"git\"", nil), ("namespaces=\"file,git\"", nil), ("NAMESPACES=\"g*\"", nil),
            ("namespaces=\"file\"", "ssh-signer-not-valid"), ("namespaces=\"*,!git\"", "ssh-signer-not-valid"),
            ("valid-after=\"20231114Z\"", nil), ("valid-after=\"20231114221321Z\"", "ssh-signer-not-valid"),
            ("valid-after=\"20231114221320Z\"", nil), ("valid-before=\"20231114221320Z\"", nil),
            ("valid-before=\"20231114221319Z\"", "ssh-signer-not-valid"),
            ("valid-before=\"202311142214\",valid-after=\"20231101\"", nil),
            ("cert-authority", "unknown-ssh-signer"),
        ] as [(String, String?)] {
            try folder.shell("(printf '# a comment\n\nann@example.org %s ' '\(options)'; cat key.pub) > allowed")
            let judged = Self.judge(folder)
            #expect(judged.code == code, "\(options)")
            #expect(try Self.keygenAccepts(folder, "ann@example.org") == (code == nil), "\(options)")
        }
        // Without a time, what has a validity does not hold.
        try folder.shell("(printf 'ann@example.org valid-after=\"20000101Z\" '; cat key.pub) > allowed")
        #expect(Self.judge(folder, at: nil).code == "ssh-signer-not-valid")
        // A line that does not hold does not keep the next from it.
        try folder.shell("(printf 'a namespaces=\"x\" '; cat key.pub; printf '\"b c\" '; cat key.pub) > allowed")
        #expect(Self.judge(folder).names == "b c")
    }

    @Test("What a certificate's authority allows, as ssh-keygen has it")
    func certificates() throws {
        let folder = try GitWorkshop()
        try folder.shell("for k in ca other key; do ssh-keygen -q -t ecdsa -N '' -f $k; done")
        for (names, validity, authority, patterns, code) in [
            ("ann,ops", "20231101:20231201", "ca", "*", nil),
            ("ann,ops", "20231101:20231201", "ca", "ann", nil),
            ("ann", "20231101:20231201", "ca", "*,!ann", "ssh-signer-not-valid"),
            ("ann", "20231101:20231201", "ca", "bob", "ssh-signer-not-valid"),
            ("ann", "20231101:20231102", "ca", "*", "ssh-signer-not-valid"),
            ("ann", "20231201:20231202", "ca", "*", "ssh-signer-not-valid"),
            ("ann", "20231101:20231201", "other", "*", "unknown-ssh-signer"),
        ] as [(String, String, String, String, String?)] {
            try folder.shell(
                """
                rm -f key-cert.pub; ssh-keygen -q -s \(authority) -I id -n \(names) -V \(validity) key.pub
                (printf '%s cert-authority ' '\(patterns)'; cat ca.pub) > allowed
                """)
            try Self.sign(folder, "key-cert.pub")
            let judged = Self.judge(folder)
            #expect(judged.code == code, "\(names) \(validity) \(authority) \(patterns)")
            if code == nil { #expect(judged.names == (patterns == "*" ? names : patterns)) }
            #expect(try Self.keygenAccepts(folder, "ann") == (code == nil))
        }
        // A certificate without names, one for a host, and one whose authority did not sign it.
        try folder.shell("rm key-cert.pub; ssh-keygen -q -s ca -I id -V 20231101:20231201 key.pub")
        try folder.shell("(printf '* cert-authority '; cat ca.pub) > allowed")
        try Self.sign(folder, "key-cert.pub")
        #expect(Self.judge(folder).code == "ssh-signer-not-valid")
        try folder.shell("rm key-cert.pub; ssh-keygen -q -s ca -h -I id -n ann -V 20231101:20231201 key.pub")
        try Self.sign(folder, "key-cert.pub")
        #expect(Self.judge(folder).code == "malformed-ssh-data")
    }

    @Test("A file that cannot be read is refused with its line")
    func malformedFiles() throws {
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJeRAVB6j+KYSXn3YctSK/B+tbOViH0V1AWtVbiOhwU4"
        func code(_ text: String) -> String? {
            Folder.code { _ = try AllowedSigners(parsing: Array(text.utf8)) { $0 } }
        }
        for text in ["", "# nothing\n", "a \(key)", "a \(key) a comment\r\n", "\ta,b cert-authority \(key)\n"] {
            #expect(code(text) == nil, "\(text)")
        }
        for text in [
            "a", "a ssh-ed25519", "a ssh-ed25519 x", "a ssh-rsa \(key.dropFirst(12))", "a nonsense \(key)",
            "a namespaces=git \(key)", "a namespaces=\"git \(key)", "a namespaces=\"\" \(key)",
            "a cert-authority, \(key)",
            "a valid-after=\"2023\" \(key)", "a valid-after=\"20231301\" \(key)", "a valid-after \(key)",
            "a valid-after=\"20230102\",valid-before=\"20230101\" \(key)", "a cert-authority,cert-authority \(key)",
            "a\0b \(key)", String(repeating: "#", count: 1 << 20 + 1), String(repeating: "\n", count: 30_000),
        ] {
            #expect(code(text) == "malformed-allowed-signers", "\(text.prefix(80))")
        }
        // Keys that are not used here may stand in the file.
        let token = Base64.encode([0, 0, 0, 26] + Array("sk-ssh-ed25519@openssh.com".utf8))
        #expect(code("a sk-ssh-ed25519@openssh.com \(token)") == nil)
    }

    @Test("A signature that is cut short or altered is refused")
    func malformedSignatures() throws {
        let folder = try GitWorkshop()
        try folder.shell("ssh-keygen -q -t ed25519 -N '' -f key; (printf 'ann '; cat key.pub) > allowed")
        try Self.sign(folder, "key")
        let armored = try folder.read("message.sig")
        let der = try #require(
            Base64.decode(
                String(decoding: armored, as: UTF8.self).split(separator: "\n").filter { !$0.hasPrefix("-") }.joined()))
        func code(_ bytes: [UInt8]) throws -> String? {
            let text =
                "-----BEGIN SSH SIGNATURE-----\n\(Base64.encode(bytes))\n-----END SSH SIGNATURE-----\n"
            try folder.write("message.sig", text.utf8)
            return Self.judge(folder).code
        }
        #expect(try code(der) == nil)
        for length in 1..<der.count { #expect(try code(Array(der[..<length])) == "malformed-ssh-data") }
        #expect(try code(der + [0]) == "malformed-ssh-data")
        for index in der.indices {
            var other = der
            other[index] ^= 0x40
            #expect(try code(other) != nil, "byte \(index)")
        }
    }

    @Test(
        "A real commit", .enabled(if: Folder.isThere("provenance/git"), "left out: ../shared is not there"))
    func real() throws {
        let object = try GitObject(try Folder.sharedFile("provenance/git/ssh.commit"), .commit)
        guard case .ssh(let armored)? = object.signature else {
            Issue.record("no SSH signature")
            return
        }
        let signature = try SSHSignature(armored: armored)
        try signature.verify(object.payload, namespace: "git")
        let allowed = try AllowedSigners(parsing: try Folder.sharedFile("provenance/git/allowed_signers")) { $0 }
        #expect(try allowed.names(for: signature, at: object.maker?.seconds) == "ann@example.org")
    }

    @Test("Patterns of names")
    func patterns() {
        for (name, patterns, matches) in [
            ("ann@a.org", "*@a.org", true), ("ann@a.org", "?nn@a.org", true), ("ann@a.org", "ann@a.or", false),
            ("ann@a.org", "bob@a.org,ann@*", true), ("ann@a.org", "*,!ann@*", false), ("ann@a.org", "!bob,*", true),
            ("ann@a.org", "!bob", false), ("ann", "**n", true), ("", "*", true), ("a", "", false),
            ("ANN", "ann", false),
            ("aaaaaaaaaaaaaaaaaaaaaaaaaaab", "*a*a*a*a*a*a*a*c", false),
        ] {
            #expect(AllowedSigners.matches(Array(name.utf8), Array(patterns.utf8)) == matches, "\(name) \(patterns)")
        }
    }
}
