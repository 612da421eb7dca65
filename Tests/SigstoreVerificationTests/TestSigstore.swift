import InToto
import SigstoreCrypto
import SigstoreVerification
import StrictJSON

/// Certificates of a small authority of its own: the root is valid for ten years from 2030, the intermediate from 12:30
/// to 13:30 on 2030-01-01, and the leaf from 13:00 to 15:00.
enum TestAuthority {
    /// The root.
    static let rootPEM = """
        -----BEGIN CERTIFICATE-----
        MIIBczCCARmgAwIBAgIBATAKBggqhkjOPQQDAjAhMQ0wCwYDVQQDDARyb290MRAw
        DgYDVQQKDAdleGFtcGxlMB4XDTMwMDEwMTAwMDAwMFoXDTQwMDEwMTAwMDAwMFow
        ITENMAsGA1UEAwwEcm9vdDEQMA4GA1UECgwHZXhhbXBsZTBZMBMGByqGSM49AgEG
        CCqGSM49AwEHA0IABOv4hyPZ6th7iZNRAC1M0bw/G5HZRX+xB2g99A2EDAfASFVA
        +szSNN4XC+/AVUdRgEKOHMERhloDdSNm1uiry/2jQjBAMA8GA1UdEwEB/wQFMAMB
        Af8wDgYDVR0PAQH/BAQDAgEGMB0GA1UdDgQWBBQZkQCROpe4h2n89pQI4XvLMmQg
        7jAKBggqhkjOPQQDAgNIADBFAiAG2sUMsUKggT7VIXnJnRJtvht66+X4cCJ/cT2U
        xc6ILQIhAMR+TksiPUA9ZTx1ZWqzJc6aLTKRnri9XqsUn1UTzOZa
        -----END CERTIFICATE-----
        """
    /// The intermediate.
    static let intermediatePEM = """
        -----BEGIN CERTIFICATE-----
        MIIBtDCCAVqgAwIBAgIBAjAKBggqhkjOPQQDAjAhMQ0wCwYDVQQDDARyb290MRAw
        DgYDVQQKDAdleGFtcGxlMB4XDTMwMDEwMTEyMzAwMFoXDTMwMDEwMTEzMzAwMFow
        KTEVMBMGA1UEAwwMaW50ZXJtZWRpYXRlMRAwDgYDVQQKDAdleGFtcGxlMFkwEwYH
        KoZIzj0CAQYIKoZIzj0DAQcDQgAEcvS7Umn/A14KOpR5Ht8Wevx8ZVesIMQ8zD5E
        AA90UY4TZdcRlnibGmiPqmYP3zjWn/4ar4gvpcuFoFz0qXc+zKN7MHkwEgYDVR0T
        AQH/BAgwBgEB/wIBADAOBgNVHQ8BAf8EBAMCAgQwEwYDVR0lBAwwCgYIKwYBBQUH
        AwMwHQYDVR0OBBYEFC89ckYrBwyEG6Sh75auzjp9K14vMB8GA1UdIwQYMBaAFBmR
        AJE6l7iHafz2lAjhe8syZCDuMAoGCCqGSM49BAMCA0gAMEUCIGujBhDrctPyg4qd
        8fFM2M1fPRnYypssrRYuPw7SfCb6AiEA3SfaacfW/OPlH8NDtjBeENwUpF6HPhHY
        jchyroJpzG4=
        -----END CERTIFICATE-----
        """
    /// A leaf with a GitHub workflow as its one name.
    static let leafPEM = """
        -----BEGIN CERTIFICATE-----
        MIICrDCCAlKgAwIBAgIBAzAKBggqhkjOPQQDAjApMRUwEwYDVQQDDAxpbnRlcm1l
        ZGlhdGUxEDAOBgNVBAoMB2V4YW1wbGUwHhcNMzAwMTAxMTMwMDAwWhcNMzAwMTAx
        MTUwMDAwWjAMMQowCAYDVQQDDAF4MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE
        3YlwLJ8oRSLwx8EHocbBRDas+ViWQWIgJRMLFn1qFMawoEFAV6BLCHE/x/TDvYnW
        c+cYX62o2xR+up0tNTkGH6OCAYYwggGCMA4GA1UdDwEB/wQEAwIHgDATBgNVHSUE
        DDAKBggrBgEFBQcDAzAfBgNVHSMEGDAWgBQvPXJGKwcMhBukoe+Wrs46fSteLzBX
        BgNVHREBAf8ETTBLhklodHRwczovL2dpdGh1Yi5jb20vZXhhbXBsZS9hcHAvLmdp
        dGh1Yi93b3JrZmxvd3MvcmVsZWFzZS55bWxAcmVmcy90YWdzL3YxMCQGCisGAQQB
        g78wAQEEFmh0dHBzOi8vaXNzdWVyLmV4YW1wbGUwEgYKKwYBBAGDvzABAgQEcHVz
        aDASBgorBgEEAYO/MAEDBARhYWFhMBUGCisGAQQBg78wAQQEB3JlbGVhc2UwGQYK
        KwYBBAGDvzABBQQLZXhhbXBsZS9hcHAwGgYKKwYBBAGDvzABBgQMcmVmcy90YWdz
        L3YxMCYGCisGAQQBg78wAQgEGAwWaHR0cHM6Ly9pc3N1ZXIuZXhhbXBsZTAdBgNV
        HQ4EFgQUkfWDafcx8MjKv7e5WhJfurTOGMQwCgYIKoZIzj0EAwIDSAAwRQIgWfam
        P5CfDNZQiW26yuMWAEHEqvXZ+SbRwhKgD225mHcCIQC+9AODYQ46/JlioKnvFdmN
        BDF0NA5mBmctUHVrvbZ9jA==
        -----END CERTIFICATE-----
        """
    /// A leaf with two names, of the same key.
    static let twoNamesPEM = """
        -----BEGIN CERTIFICATE-----
        MIIB4TCCAYegAwIBAgIBBDAKBggqhkjOPQQDAjApMRUwEwYDVQQDDAxpbnRlcm1l
        ZGlhdGUxEDAOBgNVBAoMB2V4YW1wbGUwHhcNMzAwMTAxMTMwMDAwWhcNMzAwMTAx
        MTUwMDAwWjAMMQowCAYDVQQDDAF4MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE
        3YlwLJ8oRSLwx8EHocbBRDas+ViWQWIgJRMLFn1qFMawoEFAV6BLCHE/x/TDvYnW
        c+cYX62o2xR+up0tNTkGH6OBvDCBuTAOBgNVHQ8BAf8EBAMCB4AwEwYDVR0lBAww
        CgYIKwYBBQUHAwMwHwYDVR0jBBgwFoAULz1yRisHDIQbpKHvlq7OOn0rXi8wKgYD
        VR0RAQH/BCAwHoENYUBleGFtcGxlLmNvbYENYkBleGFtcGxlLmNvbTAmBgorBgEE
        AYO/MAEIBBgMFmh0dHBzOi8vaXNzdWVyLmV4YW1wbGUwHQYDVR0OBBYEFJH1g2n3
        MfDIyr+3uVoSX7q0zhjEMAoGCCqGSM49BAMCA0gAMEUCICH10G7Yrw9ntzf9tyrc
        p5ww+b9xZMQc8zQYLxo/zyWjAiEAj99aTUpB5FZfw/3Z9ra7GqpDEZjeFAxgQkV7
        eds6g1k=
        -----END CERTIFICATE-----
        """
    /// The key of both leaves, used nowhere else.
    static let leafKeyPEM = """
        -----BEGIN PRIVATE KEY-----
        MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg21iKNawUBHc2kqqm
        F7WZ91z+DoctJgyEMLFHJwi2BFahRANCAATdiXAsnyhFIvDHwQehxsFENqz5WJZB
        YiAlEwsWfWoUxrCgQUBXoEsIcT/H9MO9idZz5xhfrajbFH66nS01OQYf
        -----END PRIVATE KEY-----
        """

    static func certificate(_ pem: String) throws -> Certificate { try Certificate.chain(pem: Array(pem.utf8))[0] }
    static func leafKey() throws -> PrivateKey {
        try PrivateKey.read(file: Array(leafKeyPEM.utf8)) { () throws(SigstoreError) in SecretBytes([]) }
    }
    static func authority(_ validFor: ValidityWindow = .always) throws -> TrustedRoot.Authority {
        TrustedRoot.Authority(
            uri: "https://ca.example", anchors: [try certificate(rootPEM)],
            intermediates: [try certificate(intermediatePEM)],
            validFor: validFor)
    }

    static let subject = "https://github.com/example/app/.github/workflows/release.yml@refs/tags/v1"
    static let issuer = "https://issuer.example"
    /// 13:15, when all certificates are valid, and 14:30, when the intermediate is not any more.
    static let signedInTime: Int64 = 1_893_503_700
    static let signedTooLate: Int64 = 1_893_508_200
}

/// A transparency log in memory, of Rekor v1 or v2, that takes whatever it is given.
struct TestLog {
    let key: PrivateKey
    let isV2: Bool
    let name: String
    var logID: [UInt8]
    /// What follows the name in the origin: with Rekor v1 the number of a tree.
    var tree: String
    var leaves: [[UInt8]] = [[1], [2], [3]]

    init(v2: Bool, name: String = "log.example") throws {
        isV2 = v2
        self.name = name
        tree = v2 ? "" : " - 1234"
        key = try PrivateKey.generate(v2 ? .ed25519 : .ecdsaP256)
        logID =
            v2
            ? try Digest.sha256(Array("\(name)\n".utf8) + [1] + key.publicKey.spki.suffix(32)).bytes
            : try Digest.sha256(key.publicKey.spki).bytes
    }

    func trusted(_ validFor: ValidityWindow = .always) -> TrustedRoot.Log {
        TrustedRoot.Log(baseURL: "https://\(name)", publicKey: key.publicKey, logID: logID, validFor: validFor)
    }

    /// Takes an entry, and gives it back with all that the log says about it.
    mutating func add(_ body: JSONValue, at time: Int64 = 0) throws -> TransparencyLogEntry {
        let bytes = body.canonicalized()
        leaves.append(bytes)
        let index = leaves.count - 1
        let root = try Self.root(leaves[...])
        let text = "\(name)\(tree)\n\(leaves.count)\n\(Base64.encode(root))\n"
        let scheme: SignatureScheme = isV2 ? .ed25519 : .ecdsa(.sha256)
        let signed = logID.prefix(4) + (try key.sign(Array(text.utf8), scheme: scheme))
        let json = JSONCursor(body)
        var entry = TransparencyLogEntry(
            logIndex: Int64(index), logID: logID, kind: try json.member("kind").string(),
            kindVersion: try json.member("apiVersion").string(), integratedTime: isV2 ? 0 : time,
            proof: .init(
                logIndex: Int64(index), rootHash: root, treeSize: Int64(leaves.count),
                hashes: try Self.path(index, leaves[...]), checkpoint: "\(text)\n— \(name) \(Base64.encode(signed))\n"),
            body: bytes)
        if !isV2 {
            entry.promise = try key.sign(
                JSONValue.object([
                    "body": .bytes(bytes), "integratedTime": .integer(time),
                    "logID": .string(Hexadecimal.encode(logID)),
                    "logIndex": .integer(index),
                ]).canonicalized(), scheme: scheme)
        }
        return entry
    }

    /// The definitions of RFC 6962, sections 2.1 and 2.1.1, word for word.
    static func root(_ leaves: ArraySlice<[UInt8]>) throws -> [UInt8] {
        if leaves.count == 1 { return try MerkleTree.leafHash(leaves[leaves.startIndex]) }
        let split = leaves.startIndex + half(leaves.count)
        return try MerkleTree.nodeHash(root(leaves[..<split]), root(leaves[split...]))
    }
    static func path(_ index: Int, _ leaves: ArraySlice<[UInt8]>) throws -> [[UInt8]] {
        if leaves.count == 1 { return [] }
        let split = half(leaves.count)
        let at = leaves.startIndex + split
        return index < split
            ? try path(index, leaves[..<at]) + [root(leaves[at...])]
            : try path(index - split, leaves[at...]) + [root(leaves[..<at])]
    }
    /// The largest power of two smaller than a count.
    static func half(_ count: Int) -> Int {
        var half = 1
        while half * 2 < count { half *= 2 }
        return half
    }
}

/// Bodies of log entries as the logs write them.
enum TestEntry {
    static func hashedrekord(v2: Bool, _ digest: Digest, _ signature: [UInt8], _ signer: Signer) throws -> JSONValue {
        let spec: JSONValue =
            v2
            ? .object([
                "hashedRekordV002": .object([
                    "data": .object([
                        "algorithm": .string(digest.algorithm.rawValue.replacing("sha", with: "SHA2_")),
                        "digest": .bytes(digest.bytes),
                    ]),
                    "signature": .object(["content": .bytes(signature), "verifier": signer.v2]),
                ])
            ])
            : .object([
                "data": .object([
                    "hash": .object(["algorithm": .string(digest.algorithm.rawValue), "value": .string(digest.hex)])
                ]),
                "signature": .object([
                    "content": .bytes(signature), "publicKey": .object(["content": .bytes(Array(signer.pem.utf8))]),
                ]),
            ])
        return .object(["apiVersion": .string(v2 ? "0.0.2" : "0.0.1"), "kind": .string("hashedrekord"), "spec": spec])
    }

    static func dsse(_ envelope: DSSEEnvelope, _ signer: Signer) throws -> JSONValue {
        .object([
            "apiVersion": .string("0.0.1"), "kind": .string("dsse"),
            "spec": .object([
                "envelopeHash": .object([
                    "algorithm": .string("sha256"), "value": .string(String(repeating: "0", count: 64)),
                ]),
                "payloadHash": .object([
                    "algorithm": .string("sha256"), "value": .string(try Digest.sha256(envelope.payload).hex),
                ]),
                "signatures": .array(
                    envelope.signatures.map {
                        .object(["signature": .bytes($0.signature), "verifier": .bytes(Array(signer.pem.utf8))])
                    }),
            ]),
        ])
    }

    enum Signer {
        case key(PublicKey)
        case certificate(Certificate)
        var pem: String {
            switch self {
            case .key(let key): key.pem
            case .certificate(let certificate): certificate.pem
            }
        }
        var v2: JSONValue {
            switch self {
            case .key(let key):
                .object([
                    "keyDetails": .string("PKIX_ECDSA_P256_SHA_256"),
                    "publicKey": .object(["rawBytes": .bytes(key.spki)]),
                ])
            case .certificate(let certificate):
                .object([
                    "keyDetails": .string("PKIX_ECDSA_P256_SHA_256"),
                    "x509Certificate": .object(["rawBytes": .bytes(certificate.der)]),
                ])
            }
        }
    }
}

/// A signer, a log, and the bundles that they make together.
struct TestSigner {
    let key: PrivateKey
    let certificate: Certificate?
    var log: TestLog

    /// A signer with a key of its own.
    init(v2: Bool = false) throws {
        key = try PrivateKey.generate(.ecdsaP256)
        certificate = nil
        log = try TestLog(v2: v2)
    }
    /// A signer with a certificate of ``TestAuthority``.
    init(certificate: String) throws {
        key = try TestAuthority.leafKey()
        self.certificate = try TestAuthority.certificate(certificate)
        log = try TestLog(v2: false)
    }

    var signer: TestEntry.Signer { certificate.map { .certificate($0) } ?? .key(key.publicKey) }
    func material() throws -> SigstoreBundle.KeyMaterial {
        try certificate.map { .certificates([$0.der]) } ?? .publicKey(hint: key.publicKey.hint())
    }
    func root(_ validFor: ValidityWindow = .always) throws -> TrustedRoot {
        TrustedRoot(certificateAuthorities: [try TestAuthority.authority()], transparencyLogs: [log.trusted(validFor)])
    }

    mutating func sign(_ file: [UInt8], at time: Int64 = TestAuthority.signedInTime) throws -> SigstoreBundle {
        let signature = try key.sign(file, scheme: .ecdsa(.sha256))
        let digest = try Digest.sha256(file)
        let entry = try log.add(TestEntry.hashedrekord(v2: log.isV2, digest, signature, signer), at: time)
        return SigstoreBundle(
            keyMaterial: try material(), content: .messageSignature(.init(digest: digest, signature: signature)),
            logEntries: [entry])
    }

    mutating func attest(_ payload: [UInt8], at time: Int64 = TestAuthority.signedInTime) throws -> SigstoreBundle {
        var envelope = DSSEEnvelope(payloadType: Statement.payloadType, payload: payload, signatures: [])
        envelope.signatures = [
            .init(signature: try key.sign(envelope.preAuthenticationEncoding, scheme: .ecdsa(.sha256)))
        ]
        let body =
            log.isV2
            ? try TestEntry.hashedrekord(
                v2: true, try Digest.sha256(envelope.preAuthenticationEncoding), envelope.signatures[0].signature,
                signer)
            : try TestEntry.dsse(envelope, signer)
        return SigstoreBundle(
            keyMaterial: try material(), content: .dsse(envelope), logEntries: [try log.add(body, at: time)])
    }

    static func statement(about file: [UInt8], type: String) throws -> [UInt8] {
        Statement(
            layout: .v1, subjects: [.init(name: "file", digests: [("sha256", try Digest.sha256(file).hex)])],
            predicateType: PredicateType(uri: type), predicate: .object([:])
        ).json().serialized()
    }

    func policy(_ claim: BundleClaim) -> Demand {
        Demand(signedBy: .key(key.publicKey), claim: claim)
    }
}

/// The code of the error with which a bundle is refused; `nil` if it is accepted.
func refusal(_ bundle: SigstoreBundle, _ root: TrustedRoot?, _ demand: Demand) -> SigstoreError.Code? {
    do throws(RejectedBundle) {
        try demand.verify(bundle, root)
        return nil
    } catch { return error.error.code }
}
