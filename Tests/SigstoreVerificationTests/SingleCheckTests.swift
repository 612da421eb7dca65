import InToto
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import Testing

/// Each check by itself: everything but the one thing that it is about is right, and signed by whoever should have.
struct SingleCheckTests {
    let file = Array("the release".utf8)

    /// A checkpoint that the log really signed, over any size and root.
    private func checkpoint(_ log: TestLog, size: Int64, root: [UInt8]) throws -> String {
        let text = "\(log.name)\(log.isV2 ? "" : " - 1234")\n\(size)\n\(Base64.encode(root))\n"
        let scheme: SignatureScheme = log.isV2 ? .ed25519 : .ecdsa(.sha256)
        let signed = log.logID.prefix(4) + (try log.key.sign(Array(text.utf8), scheme: scheme))
        return "\(text)\n— \(log.name) \(Base64.encode(signed))\n"
    }

    @Test(
        "A checkpoint of the right root and another size, or of the right size and another root",
        arguments: [false, true])
    func checkpointOfAnotherTree(v2: Bool) throws {
        var signer = try TestSigner(v2: v2)
        let bundle = try signer.sign(file)
        let policy = signer.policy(.message(ArtifactBytes(file)))
        let proof = try #require(bundle.logEntries[0].proof)
        let otherRoot = try MerkleTree.leafHash([9])
        for (size, root, code) in [
            (proof.treeSize, proof.rootHash, nil), (proof.treeSize + 1, proof.rootHash, .invalidCheckpoint),
            (proof.treeSize, otherRoot, .invalidCheckpoint),
        ] as [(Int64, [UInt8], SigstoreError.Code?)] {
            var changed = bundle
            changed.logEntries[0].proof?.checkpoint = try checkpoint(signer.log, size: size, root: root)
            #expect(refusal(changed, try signer.root(), policy) == code)
        }
        // Nor does it help where the proof names that other root too.
        var changed = bundle
        changed.logEntries[0].proof?.rootHash = otherRoot
        changed.logEntries[0].proof?.checkpoint = try checkpoint(signer.log, size: proof.treeSize, root: otherRoot)
        #expect(refusal(changed, try signer.root(), policy) == .invalidInclusionProof)
    }

    @Test("An entry with another certificate for the same key")
    func entryWithAnotherCertificate() throws {
        var signer = try TestSigner(certificate: TestAuthority.leafPEM)
        var bundle = try signer.sign(file)
        let policy = AttackTests.policy(AttackTests.identity, file)
        #expect(refusal(bundle, try signer.root(), policy) == nil)
        let other = try TestAuthority.certificate(TestAuthority.twoNamesPEM)
        for verifier in [TestEntry.Signer.certificate(other), .key(signer.key.publicKey)] {
            let body = try TestEntry.hashedrekord(v2: false, try Digest.sha256(file), try bundle.signature(), verifier)
            bundle.logEntries = [try signer.log.add(body, at: TestAuthority.signedInTime)]
            #expect(refusal(bundle, try signer.root(), policy) == .logEntryMismatch)
        }
    }

    @Test("An entry of another kind or version than the bundle says, of two signatures, or with two keys")
    func entryOfAnotherForm() throws {
        var signer = try TestSigner()
        let bundle = try signer.attest(try TestSigner.statement(about: file, type: "x:y"))
        let policy = signer.policy(.attestation(subject: .artifact(ArtifactBytes(file)), predicateType: nil))
        #expect(refusal(bundle, try signer.root(), policy) == nil)
        var changed = bundle
        changed.logEntries[0].kind = "intoto"
        #expect(refusal(changed, try signer.root(), policy) == .logEntryMismatch)
        changed = bundle
        changed.logEntries[0].kindVersion = "0.0.2"
        #expect(refusal(changed, try signer.root(), policy) == .logEntryMismatch)

        guard case .dsse(var envelope) = bundle.content else { return #expect(Bool(false)) }
        envelope.signatures.append(.init(signature: [1, 2, 3]))
        changed = bundle
        changed.logEntries = [
            try signer.log.add(try TestEntry.dsse(envelope, signer.signer), at: TestAuthority.signedInTime)
        ]
        #expect(refusal(changed, try signer.root(), policy) == .logEntryMismatch)

        let twice = Base64.encode(Array((signer.key.publicKey.pem + signer.key.publicKey.pem).utf8))
        let once = Base64.encode(Array(signer.key.publicKey.pem.utf8))
        let body = String(decoding: bundle.logEntries[0].body, as: UTF8.self)
        #expect(throws: SigstoreError.self) { try LogEntryBody(parsing: Array(body.replacing(once, with: twice).utf8)) }
    }

    @Test("An entry intoto 0.0.1 is bound to the envelope that was sent to the log, its payload, and its key")
    func intotoEntry() throws {
        var signer = try TestSigner()
        var bundle = try signer.attest(try TestSigner.statement(about: file, type: "x:y"))
        let policy = signer.policy(.attestation(subject: .artifact(ArtifactBytes(file)), predicateType: nil))
        guard case .dsse(let envelope) = bundle.content else { return #expect(Bool(false)) }
        let written = envelope.json(includingEmptyKeyID: true).serialized()
        let (mine, stranger) = (signer.key.publicKey, try PrivateKey.generate(.ecdsaP256).publicKey)
        for (hash, payload, key, code) in [
            (written, envelope.payload, mine, nil), ([1], envelope.payload, mine, .logEntryMismatch),
            (written, [1], mine, .logEntryMismatch), (written, envelope.payload, stranger, .logEntryMismatch),
        ] as [([UInt8], [UInt8], PublicKey, SigstoreError.Code?)] {
            func digest(_ bytes: [UInt8]) throws -> JSONValue {
                .object(["algorithm": .string("sha256"), "value": .string(try Digest.sha256(bytes).hex)])
            }
            let body = JSONValue.object([
                "apiVersion": .string("0.0.1"), "kind": .string("intoto"),
                "spec": .object([
                    "content": .object(["hash": try digest(hash), "payloadHash": try digest(payload)]),
                    "publicKey": .bytes(Array(key.pem.utf8)),
                ]),
            ])
            bundle.logEntries = [try signer.log.add(body, at: TestAuthority.signedInTime)]
            #expect(refusal(bundle, try signer.root(), policy) == code)
        }
    }

    @Test("A promise alone counts within the window of the log's key only")
    func promiseOutsideTheWindow() throws {
        var signer = try TestSigner()
        let time = TestAuthority.signedInTime
        var bundle = try signer.sign(file, at: time)
        bundle.version = .v01
        bundle.logEntries[0].proof = nil
        let policy = signer.policy(.message(ArtifactBytes(file)))
        for (start, end, code) in [
            (time, time, nil), (time + 1, nil, .logKeyNotValid), (0, time - 1, .logKeyNotValid),
        ] as [(Int64, Int64?, SigstoreError.Code?)] {
            let window = ValidityWindow(start: Instant(seconds: start), end: end.map { Instant(seconds: $0) })
            #expect(refusal(bundle, try signer.root(window), policy) == code)
        }
    }

    @Test("The names that a certificate may be of: exactly one, and of a kind that says who signed")
    func names() throws {
        let authority = TrustedRoot.Authority(
            uri: "", anchors: [try Self.certificate(Self.root)], intermediates: [], validFor: .always)
        for (what, leaf, code) in Self.leaves {
            var signer = try TestSigner(certificate: try Self.certificate(leaf).pem)
            let bundle = try signer.sign(file)
            let root = TrustedRoot(certificateAuthorities: [authority], transparencyLogs: [signer.log.trusted()])
            let identity = CertificateIdentity(
                subject: .matching(try IdentityPattern(".*")), issuer: .exactly("https://issuer.example"))
            #expect(refusal(bundle, root, AttackTests.policy(identity, file)) == code, "\(what)")
        }
    }

    @Test(
        "A timestamp of a certificate log that is known must hold, although another one does",
        .enabled(if: SharedMaterial.exists("samples/cases.json"), "../shared/samples is not here"))
    func oneOfTwoCertificateTimestamps() async throws {
        let bundle = try TimestampTests.sample("c3-keyless-v1-email")
        let root = try await TimestampTests.root()
        var policy = try TimestampTests.policy("c3-keyless-v1-email")
        let log = try #require(root.certificateTransparencyLogs.first)
        func timestamp(_ logID: [UInt8]) throws -> SignedCertificateTimestamp {
            try SignedCertificateTimestamp(
                detached: JSONValue.object([
                    "sct_version": .integer(0), "id": .bytes(logID), "timestamp": .integer(1_795_246_000_000),
                    "extensions": .string(""), "signature": .bytes([4, 3, 0, 3, 1, 2, 3]),
                ]).serialized())
        }
        policy.detachedCertificateTimestamps = [try timestamp(log.logID)]
        #expect(refusal(bundle, root, policy) == .sctSignature)
        // One of a log that nobody knows says nothing.
        policy.detachedCertificateTimestamps = [try timestamp([UInt8](repeating: 7, count: 32))]
        #expect(refusal(bundle, root, policy) == nil)
    }

    @Test("A certificate is logged before it signs: five minutes may lie between the clocks, and ours is not asked")
    func lateCertificateTimestamp() throws {
        var signer = try TestSigner(certificate: TestAuthority.leafPEM)
        let bundle = try signer.sign(file)
        let logKey = try PrivateKey.generate(.ecdsaP256)
        var root = try signer.root()
        root.certificateTransparencyLogs = [try TrustedRoot.Log(publicKey: logKey.publicKey)]
        var policy = AttackTests.policy(AttackTests.identity, file)
        policy.certificateTransparency = .required
        let leaf = try TestAuthority.certificate(TestAuthority.leafPEM).der
        func bytes(_ value: Int, _ count: Int) -> [UInt8] {
            (0..<count).reversed().map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
        }
        /// RFC 6962, section 3.2, at a time after the signature.
        func timestamp(milliseconds: Int) throws -> SignedCertificateTimestamp {
            let time = Int(TestAuthority.signedInTime) * 1000 + milliseconds
            let signature = try logKey.sign(
                [0, 0] + bytes(time, 8) + [0, 0] + bytes(leaf.count, 3) + leaf + [0, 0], scheme: .ecdsa(.sha256))
            return try SignedCertificateTimestamp(
                detached: JSONValue.object([
                    "sct_version": .integer(0), "id": .bytes(root.certificateTransparencyLogs[0].logID),
                    "timestamp": .integer(time), "extensions": .string(""),
                    "signature": .bytes([4, 3] + bytes(signature.count, 2) + signature),
                ]).serialized())
        }
        policy.currentTime = 0
        for (milliseconds, code) in [
            (-86_400_000, nil), (0, nil), (300_000, nil), (300_001, .certificateTimestampTooLate),
            (86_400_000, .certificateTimestampTooLate),
        ] as [(Int, SigstoreError.Code?)] {
            policy.detachedCertificateTimestamps = [try timestamp(milliseconds: milliseconds)]
            #expect(refusal(bundle, root, policy) == code, "\(milliseconds)")
        }
        // One that is too late is not made good by another.
        policy.detachedCertificateTimestamps = [try timestamp(milliseconds: 0), try timestamp(milliseconds: 300_001)]
        #expect(refusal(bundle, root, policy) == .certificateTimestampTooLate)
        // If nothing proves a time, there is none to compare with.
        policy.transparencyLog = .insecurelyIgnored
        policy.currentTime = TestAuthority.signedInTime
        #expect(refusal(bundle, root, policy) == nil)
    }

    @Test("Bounds of a bundle that was not read from JSON")
    func bounds() throws {
        var signer = try TestSigner(certificate: TestAuthority.leafPEM)
        var bundle = try signer.sign(file)
        let policy = AttackTests.policy(AttackTests.identity, file)
        bundle.timestamps = Array(repeating: [0x30, 0], count: 33)
        #expect(refusal(bundle, try signer.root(), policy) == .tooManyEntries)
        bundle.timestamps = []
        guard case .certificates(let chain) = bundle.keyMaterial else { return #expect(Bool(false)) }
        for (version, count) in [(SigstoreBundle.Version.v03, 2), (.v03, 0), (.v02, 11)] {
            bundle.version = version
            bundle.keyMaterial = .certificates(Array(repeating: chain[0], count: count))
            #expect(refusal(bundle, try signer.root(), policy) == .malformedBundle)
        }
    }

    @Test("An authority without a root, and a text with something else than a certificate, are refused")
    func authorities() throws {
        let intermediate = try TestAuthority.certificate(TestAuthority.intermediatePEM)
        #expect(throws: SigstoreError.self) { try TrustedRoot.Authority(certificates: [intermediate]) }
        let key = try TestAuthority.leafKey().publicKey.pem
        for text in ["", "hello", TestAuthority.leafPEM + "\n" + key] {
            #expect(throws: SigstoreError.self) { try LegacyBlobBundle.keyMaterial(Array(text.utf8)) }
        }
    }

    // An authority of its own, and leaves for TestAuthority's key, valid on 2030-01-01 from 13:00 to 15:00.

    private static func certificate(_ base64: String) throws -> Certificate {
        try Certificate(der: try #require(Base64.decode(base64.filter { $0 != "\n" })))
    }
    private static let root = """
        MIIBUTCB96ADAgECAgEBMAoGCCqGSM49BAMCMBAxDjAMBgNVBAMMBW5hbWVzMB4XDTMwMDEwMTAwMDAwMFoXDTQwMDEwMTAwMDAw
        MFowEDEOMAwGA1UEAwwFbmFtZXMwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAT0b1SjiUXwMs0M7cOBSvfs+K+TPRx9Qtt/W98A
        Y6klG9w06qCCEMg2BIGPPrLvYb2amWqGDTrdbmnB6RjV2F9co0IwQDAPBgNVHRMBAf8EBTADAQH/MA4GA1UdDwEB/wQEAwIBBjAd
        BgNVHQ4EFgQUCPNSog+Ux3OqFwwxuhiiObxLkY0wCgYIKoZIzj0EAwIDSQAwRgIhAJOBr3fvecQHngVWi+XjCnHlcs2y1KatEWOm
        pLZjTgPqAiEA5hyigVT4fq5NB/+C8DYjFGRBAGugYnx0apbA7JNMM2g=
        """
    private static let leaves: [(String, String, SigstoreError.Code?)] = [
        (
            "a user name",
            """
            MIIBcDCCARegAwIBAgIBAjAKBggqhkjOPQQDAjAQMQ4wDAYDVQQDDAVuYW1lczAeFw0zMDAxMDExMzAwMDBaFw0zMDAxMDExNTAw
            MDBaMAAwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAATdiXAsnyhFIvDHwQehxsFENqz5WJZBYiAlEwsWfWoUxrCgQUBXoEsIcT/H
            9MO9idZz5xhfrajbFH66nS01OQYfo3IwcDAOBgNVHQ8BAf8EBAMCB4AwEwYDVR0lBAwwCgYIKwYBBQUHAwMwJgYKKwYBBAGDvzAB
            CAQYDBZodHRwczovL2lzc3Vlci5leGFtcGxlMCEGA1UdEQEB/wQXMBWgEwYKKwYBBAGDvzABB6AFDANhbm4wCgYIKoZIzj0EAwID
            RwAwRAIgH4BJtZJVPJNO7JzBT5Lbs4S5oJjEkAlJoU94PQu0V1YCIBr29e2YzSyI17KUBL9fLU76O/JJ/REt+GZcJirExMTY
            """, nil
        ),
        (
            "an other name of another type",
            """
            MIIBcjCCARegAwIBAgIBAzAKBggqhkjOPQQDAjAQMQ4wDAYDVQQDDAVuYW1lczAeFw0zMDAxMDExMzAwMDBaFw0zMDAxMDExNTAw
            MDBaMAAwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAATdiXAsnyhFIvDHwQehxsFENqz5WJZBYiAlEwsWfWoUxrCgQUBXoEsIcT/H
            9MO9idZz5xhfrajbFH66nS01OQYfo3IwcDAOBgNVHQ8BAf8EBAMCB4AwEwYDVR0lBAwwCgYIKwYBBQUHAwMwJgYKKwYBBAGDvzAB
            CAQYDBZodHRwczovL2lzc3Vlci5leGFtcGxlMCEGA1UdEQEB/wQXMBWgEwYKKwYBBAGDvzABCaAFDANhbm4wCgYIKoZIzj0EAwID
            SQAwRgIhAMJm9/VH6AY7/f03MOZIkDXqs3ETny6O+GPPFzFM7g3PAiEAiJJdrRHEBnkJfq7oYx1PcrCwyuo2oNS8daO23Dnx04E=
            """, .unusableName
        ),
        (
            "an empty user name",
            """
            MIIBbTCCARSgAwIBAgIBBDAKBggqhkjOPQQDAjAQMQ4wDAYDVQQDDAVuYW1lczAeFw0zMDAxMDExMzAwMDBaFw0zMDAxMDExNTAw
            MDBaMAAwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAATdiXAsnyhFIvDHwQehxsFENqz5WJZBYiAlEwsWfWoUxrCgQUBXoEsIcT/H
            9MO9idZz5xhfrajbFH66nS01OQYfo28wbTAOBgNVHQ8BAf8EBAMCB4AwEwYDVR0lBAwwCgYIKwYBBQUHAwMwJgYKKwYBBAGDvzAB
            CAQYDBZodHRwczovL2lzc3Vlci5leGFtcGxlMB4GA1UdEQEB/wQUMBKgEAYKKwYBBAGDvzABB6ACDAAwCgYIKoZIzj0EAwIDRwAw
            RAIgBNZrowQdk0f7PUR2a8+xEXAFI0k0J9BKzsd9XB8vjPkCICLn1ojXbYeh7kxitQj1h/cQem40hAp8G9NHWadaKVCm
            """, .unusableName
        ),
        (
            "an empty email address",
            """
            MIIBXjCCAQSgAwIBAgIBBTAKBggqhkjOPQQDAjAQMQ4wDAYDVQQDDAVuYW1lczAeFw0zMDAxMDExMzAwMDBaFw0zMDAxMDExNTAw
            MDBaMAAwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAATdiXAsnyhFIvDHwQehxsFENqz5WJZBYiAlEwsWfWoUxrCgQUBXoEsIcT/H
            9MO9idZz5xhfrajbFH66nS01OQYfo18wXTAOBgNVHQ8BAf8EBAMCB4AwEwYDVR0lBAwwCgYIKwYBBQUHAwMwJgYKKwYBBAGDvzAB
            CAQYDBZodHRwczovL2lzc3Vlci5leGFtcGxlMA4GA1UdEQEB/wQEMAKBADAKBggqhkjOPQQDAgNIADBFAiBkkoDjPHReCUGpQoN7
            2ieQdDROTMW7/N3otLu7a+rJfQIhAKxeKUthvzHICv2nou873P7OSkJWR8IUtkhFh0955a/b
            """, .unusableName
        ),
        (
            "a DNS name",
            """
            MIIBaDCCAQ+gAwIBAgIBBjAKBggqhkjOPQQDAjAQMQ4wDAYDVQQDDAVuYW1lczAeFw0zMDAxMDExMzAwMDBaFw0zMDAxMDExNTAw
            MDBaMAAwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAATdiXAsnyhFIvDHwQehxsFENqz5WJZBYiAlEwsWfWoUxrCgQUBXoEsIcT/H
            9MO9idZz5xhfrajbFH66nS01OQYfo2owaDAOBgNVHQ8BAf8EBAMCB4AwEwYDVR0lBAwwCgYIKwYBBQUHAwMwJgYKKwYBBAGDvzAB
            CAQYDBZodHRwczovL2lzc3Vlci5leGFtcGxlMBkGA1UdEQEB/wQPMA2CC2Fubi5leGFtcGxlMAoGCCqGSM49BAMCA0cAMEQCIBkx
            U7i0nBDh1RqpyVHkonIIQ7wrcgw8+b+eSFyeiYe5AiANGToLGWZ89f4Uo7s4xm82+VO7mx5HYHR3hMlft0rM6w==
            """, .unusableName
        ),
        (
            "an IP address",
            """
            MIIBYTCCAQigAwIBAgIBBzAKBggqhkjOPQQDAjAQMQ4wDAYDVQQDDAVuYW1lczAeFw0zMDAxMDExMzAwMDBaFw0zMDAxMDExNTAw
            MDBaMAAwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAATdiXAsnyhFIvDHwQehxsFENqz5WJZBYiAlEwsWfWoUxrCgQUBXoEsIcT/H
            9MO9idZz5xhfrajbFH66nS01OQYfo2MwYTAOBgNVHQ8BAf8EBAMCB4AwEwYDVR0lBAwwCgYIKwYBBQUHAwMwJgYKKwYBBAGDvzAB
            CAQYDBZodHRwczovL2lzc3Vlci5leGFtcGxlMBIGA1UdEQEB/wQIMAaHBH8AAAEwCgYIKoZIzj0EAwIDRwAwRAIgfBV9y8XrjC3n
            5fPJNZjNN18gYfHp+ppgqOZZUp3oG0QCIHYsBw/0ZVmYCBsy/hAuWbjDiL4ockSVbGnLNBJ9TXyj
            """, .unusableName
        ),
        (
            "none",
            """
            MIIBTTCB9KADAgECAgEIMAoGCCqGSM49BAMCMBAxDjAMBgNVBAMMBW5hbWVzMB4XDTMwMDEwMTEzMDAwMFoXDTMwMDEwMTE1MDAw
            MFowADBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABN2JcCyfKEUi8MfBB6HGwUQ2rPlYlkFiICUTCxZ9ahTGsKBBQFegSwhxP8f0
            w72J1nPnGF+tqNsUfrqdLTU5Bh+jTzBNMA4GA1UdDwEB/wQEAwIHgDATBgNVHSUEDDAKBggrBgEFBQcDAzAmBgorBgEEAYO/MAEI
            BBgMFmh0dHBzOi8vaXNzdWVyLmV4YW1wbGUwCgYIKoZIzj0EAwIDSAAwRQIhANeYazXjaJlZSXd70CCSL7P8djIv+FiPCLU5Pb1W
            o+cxAiB5IW1UZdhVcme/W8ZlXr+S1gBwOGU+5AZfjpBgt0UFLA==
            """, .unusableName
        ),
    ]
}
