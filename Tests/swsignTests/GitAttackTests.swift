import Foundation
import LocalSigstore
import StrictJSON
import TestServices
import Testing

/// Signatures in CMS that are bent in one thing each, as git and `git verify` see them: each has its code, and none is good.
@Suite("git's signatures, bent")
struct GitAttackTests {
    private let directory = TemporaryDirectory()

    /// Writes certificates, and commits with signatures in CMS, each bent in one thing; prints a line for each commit: its name in
    /// git, what `%G?` is to be (`-` if git itself cannot read it), the code, and what is bent.
    private static let script = #"""
        import datetime, hashlib, os, subprocess
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        def tlv(tag, *parts):
            body = b"".join(parts); n = len(body)
            length = bytes([n]) if n < 128 else (lambda b: bytes([0x80 | len(b)]) + b)(n.to_bytes((n.bit_length() + 7) // 8, "big"))
            return bytes([tag]) + length + body
        def seq(*parts): return tlv(0x30, *parts)
        def setof(*parts): return tlv(0x31, *sorted(parts))
        def octets(b): return tlv(4, b)
        def oid(text):
            arcs = [int(a) for a in text.split(".")]; out = [arcs[0] * 40 + arcs[1]]
            for arc in arcs[2:]:
                part = [arc & 127]
                while arc := arc >> 7: part.insert(0, arc & 127 | 128)
                out += part
            return tlv(6, bytes(out))
        def integer(n): return tlv(2, n.to_bytes(n.bit_length() // 8 + 1, "big"))
        DATA, CONTENT, DIGEST = "1.2.840.113549.1.7.1", "1.2.840.113549.1.9.3", "1.2.840.113549.1.9.4"
        LOG, STAMP = "1.3.6.1.4.1.57264.3.1", "1.2.840.113549.1.9.16.2.14"
        SHA256 = seq(oid("2.16.840.1.101.3.4.2.1"))
        def attribute(kind, *values): return seq(oid(kind), tlv(0x31, *values))

        now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None, microsecond=0)
        day = datetime.timedelta(days=1)
        def key(): return ec.generate_private_key(ec.SECP256R1())
        def certificate(name, public, issuer, signer, begin=-1, end=1, ca=False, serial=None):
            made = (x509.CertificateBuilder().subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]) if ca else x509.Name([]))
                .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)])).public_key(public)
                .serial_number(serial or x509.random_serial_number()).not_valid_before(now + begin * day).not_valid_after(now + end * day)
                .add_extension(x509.BasicConstraints(ca, None), True)
                .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), False)
                .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False)
                .add_extension(x509.KeyUsage(not ca, False, False, False, False, ca, ca, False, False), True))
            if not ca:
                made = (made.add_extension(x509.ExtendedKeyUsage([x509.OID_CODE_SIGNING]), False)
                    .add_extension(x509.SubjectAlternativeName([x509.RFC822Name(name)]), True)
                    .add_extension(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1"), b"https://issuer.example"), False))
            return made.sign(signer, hashes.SHA256())
        root, stranger = key(), key()
        open("ca.pem", "wb").write(certificate("authority", root.public_key(), "authority", root, -900, 900, True).public_bytes(serialization.Encoding.PEM))
        alice, bob = key(), key()
        def leaf(name, who, begin=-1, end=1, authority=root, serial=None):
            return certificate(name, who.public_key(), "authority", authority, begin, end, False, serial)
        good = leaf("alice@example.org", alice)

        def info(payload, who=alice, cert=good, attributes=None, damage=False, signed=None, unsigned=(), digest=None):
            if attributes is None:
                attributes = [attribute(CONTENT, oid(DATA)), attribute(DIGEST, octets(digest or hashlib.sha256(payload).digest()))]
            whole = setof(*attributes)
            signature = who.sign(signed or whole, ec.ECDSA(hashes.SHA256()))
            if damage: signature = who.sign(b"something else", ec.ECDSA(hashes.SHA256()))
            return seq(integer(1), seq(cert.issuer.public_bytes(), integer(cert.serial_number)), SHA256,
                b"\xa0" + whole[1:], seq(oid("1.2.840.10045.4.3.2")), octets(signature),
                *([b"\xa1" + setof(*unsigned)[1:]] if unsigned else []))
        def cms(infos, certs=(good,), kind=DATA, content=b"", after=b""):
            signed = seq(integer(1), tlv(0x31, SHA256), seq(oid(kind), *([tlv(0xa0, octets(content))] if content else [])),
                tlv(0xa0, *[c.public_bytes(serialization.Encoding.DER) for c in certs]), tlv(0x31, *infos))
            return seq(oid("1.2.840.113549.1.7.2"), tlv(0xa0, signed)) + after

        head = b"tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\nauthor Ann <ann@example.org> 1700000000 +0000\ncommitter Ann <ann@example.org> 1700000000 +0000\n"
        import base64
        def armored(der):
            text = base64.b64encode(der).decode()
            lines = ["-----BEGIN SIGNED MESSAGE-----"] + [text[i:i + 64] for i in range(0, len(text), 64)] + ["-----END SIGNED MESSAGE-----"]
            return "\n ".join(lines).encode() + b"\n"
        def commit(payload, der, header=b"gpgsig"):
            top, message = payload.split(b"\n\n", 1)
            return top + b"\n" + header + b" " + armored(der) + b"\n" + message
        def wrote(content):
            return subprocess.run(["git", "hash-object", "-w", "--literally", "-t", "commit", "--stdin"], input=content, capture_output=True, check=True).stdout.decode().strip()

        body = head + b"\nmessage\n"
        other = hashlib.sha256(b"other").digest()
        both = [attribute(CONTENT, oid(DATA)), attribute(DIGEST, octets(hashlib.sha256(body).digest()))]
        hers = leaf("bob@example.org", bob)
        expired, future = leaf("alice@example.org", alice, -3, -2), leaf("alice@example.org", alice, 2, 3)
        unknown = leaf("alice@example.org", alice, authority=stranger)
        twin = leaf("alice@example.org", bob, serial=good.serial_number)
        M, B, E = "malformed-signed-data", "B", "E"
        for name, result, code, der in [
            ("good", "G", "-", cms([info(body)])),
            ("two signers", E, M, cms([info(body), info(body)])),
            ("no signer", E, M, cms([])),
            ("attribute of another content type", E, M, cms([info(body, attributes=[attribute(CONTENT, oid("1.2.3.4")), both[1]])])),
            ("another content type", E, M, cms([info(body)], kind="1.2.3.4")),
            ("no content type", E, M, cms([info(body, attributes=both[1:])])),
            ("no digest", E, M, cms([info(body, attributes=both[:1])])),
            ("no attributes", E, M, cms([info(body, attributes=[])])),
            ("a digest twice", E, M, cms([info(body, attributes=both + both[1:])])),
            ("two digests", E, M, cms([info(body, attributes=both + [attribute(DIGEST, octets(other))])])),
            ("a digest with two values", E, M, cms([info(body, attributes=both[:1] + [attribute(DIGEST, octets(hashlib.sha256(body).digest()), octets(other))])])),
            ("a content type twice", E, M, cms([info(body, attributes=both + both[:1])])),
            ("another digest", B, "signed-data-mismatch", cms([info(body, digest=other)])),
            ("over other attributes", B, "signed-data-signature", cms([info(body, signed=setof(both[0]))])),
            ("a damaged signature", B, "signed-data-signature", cms([info(body, damage=True)])),
            ("the content inside", E, "malformed-git-signature", cms([info(body)], content=body)),
            ("bytes behind it", E, M, cms([info(body)], after=b"\0")),
            ("no certificate", E, "malformed-git-signature", cms([info(body)], certs=())),
            ("only another certificate", E, "malformed-git-signature", cms([info(body)], certs=(hers,))),
            ("the certificate of another key", B, "signed-data-signature", cms([info(body, cert=twin)], certs=(twin,))),
            ("two certificates by the same name", E, "malformed-git-signature", cms([info(body)], certs=(good, twin))),
            ("another signer", E, "wrong-identity", cms([info(body, bob, hers)], certs=(hers,))),
            ("another signer, damaged", B, "signed-data-signature", cms([info(body, bob, hers, damage=True)], certs=(hers,))),
            ("an authority that nobody knows", E, "certificate-path", cms([info(body, cert=unknown)], certs=(unknown,))),
            ("a certificate that has ended", "X", "certificate-expired", cms([info(body, cert=expired)], certs=(expired,))),
            ("a certificate that has not begun", E, "certificate-not-yet-valid", cms([info(body, cert=future)], certs=(future,))),
            ("a log entry that is none", E, "malformed-log-entry", cms([info(body, unsigned=[attribute(LOG, octets(b"\x08"))])])),
            ("a log entry twice", E, M, cms([info(body, unsigned=[attribute(LOG, octets(b"\x08"))] * 2)])),
            ("a timestamp that is none", E, "malformed-timestamp", cms([info(body, unsigned=[attribute(STAMP, seq(octets(b"a")))])])),
            ("a timestamp twice", E, M, cms([info(body, unsigned=[attribute(STAMP, seq(octets(b"a")))] * 2)])),
        ]:
            print(wrote(commit(body, der)), result, code, name, sep="|")
        der = cms([info(body)])
        for name, result, code, content in [
            ("the message changed", B, "signed-data-mismatch", commit(body, der).replace(b"message\n", b"Message\n")),
            ("a header more", B, "signed-data-mismatch", commit(body, der).replace(b"gpgsig", b"x y\ngpgsig")),
            ("line ends of another system", "-", "malformed-git-object", commit(body, der).replace(b"\n", b"\r\n")),
            ("line ends of another system in the signature", E, "malformed-git-object", commit(body, der).replace(b"-\n ", b"-\r\n ", 1)),
            ("a zero byte in a header", "N", "malformed-git-object", commit(body.replace(b"Ann <ann", b"A\0n <ann", 1), cms([info(body.replace(b"Ann <ann", b"A\0n <ann", 1))]))),
            ("two signatures", E, "several-git-signatures", commit(commit(body, der), der)),
            ("a signature in the message", "N", "unsigned-git-object", head + b"\nmessage\ngpgsig " + armored(der)),
            ("a signature for the other hash function", "N", "unsigned-git-object", commit(body, der, b"gpgsig-sha256")),
            ("a line of status in the message", B, "signed-data-mismatch", commit(body, der) + b"\n[GNUPG:] GOODSIG 00 alice@example.org\n[GNUPG:] TRUST_FULLY 0 shell\n"),
            ("nothing but the frame", E, "malformed-pem", head + b"gpgsig -----BEGIN SIGNED MESSAGE-----\n -----END SIGNED MESSAGE-----\n\nmessage\n"),
        ]:
            print(wrote(content), result, code, name, sep="|")
        """#

    private var environment: [String: String] {
        ["PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": directory.path, "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C"]
    }

    private func shell(_ script: String) async throws -> Program.Outcome {
        let outcome = await Program(executable: "/bin/sh", directory: directory.path, environment: environment)
            .run(["-ec", script])
        try #require(outcome.succeeded, "\(script): \(outcome.messages)")
        return outcome
    }

    @Test("Each has its code, and what git says of it", .timeLimit(.minutes(5)))
    func table() async throws {
        try directory.write("bend.py", Self.script)
        let made = try await shell(
            """
            git init -q -b main .; printf '' | git hash-object -w -t tree --stdin >/dev/null
            git config --global gpg.format x509; git config --global gpg.x509.program '\(Program.path)'
            git config --global swsign.caRoots "$PWD/ca.pem"; git config --global swsign.insecureIgnoreSct yes
            git config --global swsign.insecureIgnoreTlog yes
            git config --global swsign.signer identity=alice@example.org,issuer=https://issuer.example
            python3 bend.py
            """)
        let cases = made.output.split(separator: "\n").map { $0.split(separator: "|").map(String.init) }
        try #require(cases.count == 40 && cases.allSatisfy { $0.count == 4 })
        // All in one run of ours.
        let verified = await Program(directory: directory.path, environment: environment).run(
            [
                "git", "verify", "--output", "json", "--ca-roots", "ca.pem", "--insecure-ignore-sct",
                "--insecure-ignore-tlog", "--certificate-identity", "alice@example.org",
                "--certificate-oidc-issuer", "https://issuer.example",
            ] + cases.map { $0[0] })
        #expect(verified.code == "unaccepted-commits", "\(verified.messages)")
        let rows = try verified.output.split(separator: "\n").map { try JSONCursor(JSONValue(parsing: Array($0.utf8))) }
        try #require(rows.count == cases.count, "\(verified.output)\(verified.messages)")
        // And as git sees each.
        let seen = try await shell(
            "for id in \(cases.map { $0[0] }.joined(separator: " ")); do git log -1 --format='%H %G?' $id || echo $id -; done"
        )
        let results = seen.output.split(separator: "\n").map(String.init)
        try #require(results.count == cases.count, "\(seen.output)")
        for (index, each) in cases.enumerated() {
            let (id, result, code, name) = (each[0], each[1], each[2], each[3])
            let row = rows[index]
            let found = try row.optional("error")?.member("code").string() ?? "-"
            #expect(found == code, "\(name): \(found)")
            #expect(try (row.member("verdict").string() == "accepted") == (code == "-"), "\(name)")
            #expect(results[index] == "\(id) \(result)", "\(name)")
        }
    }
}

/// What stands beside a signature in CMS, and is not signed itself: the log entry and the timestamp, put beside another signature;
/// and services whose clocks are wrong.
@Suite("git's signatures, with what belongs to others", .localSigstore, .serialized)
struct GitBorrowedTests: GitFixture {
    let fixture: SigningFixture

    init() throws {
        fixture = try SigningFixture()
        let services = fixture.services
        for faults in [services.fulcio.faults, services.rekorV1.faults, services.timestampAuthority.faults] {
            faults.removeAll()
        }
    }

    /// Writes the first commit anew with unsigned attributes of the second one; prints a line for each: what was taken, and its
    /// name in git.
    private static let script = #"""
        import base64, subprocess, sys
        def git(*words, **more): return subprocess.run(["git", *words], capture_output=True, check=True, **more).stdout
        def tlv(tag, body):
            n = len(body)
            length = bytes([n]) if n < 128 else (lambda b: bytes([0x80 | len(b)]) + b)(n.to_bytes((n.bit_length() + 7) // 8, "big"))
            return bytes([tag]) + length + body
        def parts(body):
            found, at = [], 0
            while at < len(body):
                n, start = body[at + 1], at + 2
                if n & 0x80: n, start = int.from_bytes(body[start:start + (n & 0x7f)], "big"), start + (n & 0x7f)
                found.append((body[at], body[start:start + n])); at = start + n
            return found
        def whole(items): return b"".join(tlv(*item) for item in items)
        def signature(commit):
            lines = commit.split(b"\n")
            first = next(i for i, line in enumerate(lines) if line.startswith(b"gpgsig "))
            last = next(i for i, line in enumerate(lines) if line.startswith(b" -----END"))
            return lines[:first], b"".join(line.strip() for line in lines[first + 1:last]), lines[last + 1:]
        def opened(der):
            outer = parts(parts(der)[0][1]); signed = parts(parts(outer[1][1])[0][1]); info = parts(parts(signed[-1][1])[0][1])
            return outer, signed, info
        LOG = bytes.fromhex("060a2b0601040183bf300301")
        def attributes(info): return {("entry" if LOG in whole([item]) else "timestamp"): item for item in parts(info[-1][1])}
        head, text, tail = signature(git("cat-file", "commit", sys.argv[1]))
        outer, signed, info = opened(base64.b64decode(text))
        own, others = attributes(info), attributes(opened(base64.b64decode(signature(git("cat-file", "commit", sys.argv[2]))[1]))[2])
        assert set(own) == set(others) == {"entry", "timestamp"}
        for taken in (["none"], ["entry"], ["timestamp"], ["entry", "timestamp"]):
            mixed = [others[name] if name in taken else own[name] for name in ("entry", "timestamp")]
            bent = info[:-1] + [(0xa1, whole(mixed))]
            body = signed[:-1] + [(0x31, tlv(0x30, whole(bent)))]
            der = tlv(0x30, whole([outer[0], (0xa0, tlv(0x30, whole(body)))]))
            encoded = base64.b64encode(der)
            lines = [b"gpgsig -----BEGIN SIGNED MESSAGE-----"] + [b" " + encoded[i:i + 64] for i in range(0, len(encoded), 64)] + [b" -----END SIGNED MESSAGE-----"]
            made = git("hash-object", "-w", "-t", "commit", "--stdin", input=b"\n".join(head + lines + tail))
            print("+".join(taken), made.decode().strip(), sep="|")
        """#

    /// The verdict and the code of each commit.
    private func judged(_ ids: [String]) async throws -> [String] {
        let outcome = await Program(directory: directory.path, environment: environment()).run(
            ["git", "verify", "--output", "json", "--offline"] + ids + fixture.trust + fixture.expecting(Self.alice))
        return try outcome.output.split(separator: "\n").map { line in
            let row = try JSONCursor(JSONValue(parsing: Array(line.utf8)))
            let code = try row.optional("error")?.member("code").string() ?? "-"
            return "\(try row.member("verdict").string()) \(code)"
        }
    }

    @Test("The log entry and the timestamp of another commit by the same signer are no proof")
    func borrowed() async throws {
        try await setUp(expecting: Self.alice)
        try directory.write("borrow.py", Self.script)
        let made = try await shell(
            """
            git commit -q --allow-empty -m first; git commit -q --allow-empty -m second
            python3 borrow.py HEAD~1 HEAD
            """, try token())
        let cases = made.output.split(separator: "\n").map { $0.split(separator: "|").map(String.init) }
        try #require(cases.map(\.first) == ["none", "entry", "timestamp", "entry+timestamp"], "\(made.output)")
        let rows = try await judged(cases.map { $0[1] })
        #expect(
            rows == [
                "accepted -", "refused invalid-inclusion-promise", "refused timestamp-mismatch",
                "refused timestamp-mismatch",
            ], "\(rows)")
        for (each, result) in zip(cases, ["G", "E", "B", "B"]) {
            #expect(try await log(each[1]).prefix(1) == result, "\(each[0])")
        }
    }

    /// Services whose clocks are wrong by so many seconds, and what comes of it.
    struct Clocks: Sendable, CustomTestStringConvertible {
        let testDescription: String
        var (fulcio, rekor): (Int64, Int64)
        /// `nil` makes no timestamp.
        var timestampAuthority: Int64?
        /// What git shows, and the row of `git verify`.
        let (git, row): (String, String)

        static let day: Int64 = 86_400
        static let all = [
            Self(testDescription: "right", fulcio: -5, rekor: 0, git: "G", row: "accepted -"),
            // Certificates are for ten minutes.
            Self(
                testDescription: "ended by now, and held then", fulcio: -900, rekor: -900, git: "G", row: "accepted -"),
            Self(testDescription: "ended then", fulcio: -900, rekor: 0, git: "X", row: "refused certificate-expired"),
            Self(
                testDescription: "not begun", fulcio: day, rekor: 0, git: "E", row: "refused certificate-not-yet-valid"),
            Self(testDescription: "all to come", fulcio: day, rekor: day, git: "E", row: "refused time-to-come"),
            Self(
                testDescription: "timestamp to come", fulcio: day, rekor: 0, timestampAuthority: day, git: "E",
                row: "refused certificate-not-yet-valid"),
            Self(
                testDescription: "timestamp after the end", fulcio: -5, rekor: 0, timestampAuthority: day, git: "X",
                row: "refused certificate-expired"),
        ]
    }

    @Test(
        "A certificate counts at the times that are proven, and what is still to come proves nothing",
        .enabled(if: NewestGit.isHere, NewestGit.absence), arguments: Clocks.all)
    func times(_ clocks: Clocks) async throws {
        // We sign nothing by such services; gitsign does.
        try await setUp(expecting: Self.alice)
        let services = fixture.services
        services.fulcio.faults.add(Fault(.wrongTime(seconds: clocks.fulcio)))
        services.rekorV1.faults.add(Fault(.wrongTime(seconds: clocks.rekor)))
        var stamped: [String: String] = [:]
        if let seconds = clocks.timestampAuthority {
            services.timestampAuthority.faults.add(Fault(.wrongTime(seconds: seconds)))
            stamped["GITSIGN_TIMESTAMP_SERVER_URL"] = "\(services.timestampAuthority.url)/api/v1/timestamp"
        }
        try await setUpGitsign()
        try await shell(
            "git -c gpg.x509.program=\"$PWD/gitsign\" commit -q --allow-empty -m first",
            try token().merging(["GITSIGN_REKOR_MODE": "offline"]) { $1 }.merging(stamped) { $1 })
        let result = try await log()
        #expect(result.hasPrefix("\(clocks.git)|"), "\(result)")
        #expect(try await judged(["HEAD"]) == [clocks.row])
    }
}
