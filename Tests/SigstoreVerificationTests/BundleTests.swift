import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import Testing

/// Bundles, trusted roots and times as they are written and read.
struct BundleTests {
    static func bundle(
        mediaType: String = "application/vnd.dev.sigstore.bundle.v0.3+json",
        material: String = #""publicKey":{"hint":"x"}"#,
        content: String = #""messageSignature":{"messageDigest":{},"signature":"AAAA"}"#
    ) -> [UInt8] {
        Array(#"{"mediaType":"\#(mediaType)","verificationMaterial":{\#(material)},\#(content)}"#.utf8)
    }

    func code(_ json: [UInt8]) -> SigstoreError.Code? {
        do throws(SigstoreError) {
            _ = try SigstoreBundle(parsing: json)
            return nil
        } catch { return error.code }
    }

    @Test("Each version is read in its spellings, and nothing that looks like one")
    func mediaTypes() {
        for (mediaType, known) in [
            ("application/vnd.dev.sigstore.bundle+json;version=0.1", true),
            ("application/vnd.dev.sigstore.bundle+json;version=0.2", true),
            ("application/vnd.dev.sigstore.bundle+json;version=0.3", true),
            ("application/vnd.dev.sigstore.bundle.v0.3+json", true),
            ("application/vnd.dev.sigstore.bundle.v0.4+json", false),
            ("application/vnd.dev.sigstore.bundle.v0.2+json", false),
            ("application/vnd.dev.sigstore.bundle+json;version=0.30", false),
            ("application/vnd.dev.sigstore.bundle+json; version=0.3", false),
            // U+037E is canonically equivalent to a semicolon.
            ("application/vnd.dev.sigstore.bundle+json\u{37e}version=0.3", false), ("", false),
        ] {
            #expect(code(Self.bundle(mediaType: mediaType)) == (known ? nil : .unknownBundleVersion))
        }
        #expect(code(Array("{}".utf8)) == .notABundle)
        #expect(code(Array("[]".utf8)) == .unexpectedJSON)
        #expect(code([]) == .malformedJSON)
    }

    @Test("A bundle holds one kind of key material and one content, and nothing unknown")
    func parts() {
        let certificate = #""certificate":{"rawBytes":"AAAA"}"#
        let chain = #""x509CertificateChain":{"certificates":[{"rawBytes":"AAAA"}]}"#
        let dsse = #""dsseEnvelope":{"payloadType":"t","payload":"","signatures":[{"sig":"AAAA"}]}"#
        let message = #""messageSignature":{"messageDigest":{},"signature":"AAAA"}"#
        let v01 = "application/vnd.dev.sigstore.bundle+json;version=0.1"
        #expect(code(Self.bundle(material: certificate)) == nil)
        #expect(code(Self.bundle(mediaType: v01, material: chain)) == nil)
        #expect(code(Self.bundle(content: dsse)) == nil)
        #expect(code(Self.bundle(material: chain)) == .unexpectedJSON)
        #expect(
            code(Self.bundle(mediaType: v01, material: #""x509CertificateChain":{"certificates":[]}"#))
                == .unexpectedJSON)
        #expect(code(Self.bundle(material: "")) == .malformedBundle)
        #expect(code(Self.bundle(material: certificate + "," + #""publicKey":{}"#)) == .malformedBundle)
        #expect(code(Self.bundle(content: message + "," + dsse)) == .malformedBundle)
        #expect(code(Self.bundle(content: #""messageSignature":null"#)) == .malformedBundle)
        #expect(code(Self.bundle(content: message + "," + message)) == .malformedJSON)
        #expect(code(Self.bundle(content: message + #","unknown":1"#)) == .unexpectedJSON)
        #expect(
            code(Self.bundle(content: #""messageSignature":{"messageDigest":{},"signature":""}"#)) == .malformedBundle)
        #expect(
            code(Self.bundle(content: #""messageSignature":{"messageDigest":{},"signature":"A A="}"#))
                == .malformedBase64)
        for digest in [
            #"{"algorithm":"SHA2_256"}"#, #"{"digest":"AAAA"}"#, #"{"algorithm":"SHA2_256","digest":"AAAA"}"#,
            #"{"algorithm":"MD5","digest":"AAAA"}"#, #"{"algorithm":1,"digest":"AAAA"}"#, "7",
        ] {
            #expect(
                code(Self.bundle(content: #""messageSignature":{"messageDigest":\#(digest),"signature":"AAAA"}"#))
                    != nil)
        }
    }

    @Test("Numbers are read as strings or numbers of 64 bits, and nothing larger or smaller")
    func numbers() {
        func entry(_ index: String) -> [UInt8] {
            Self.bundle(
                material: """
                    "publicKey":{},"tlogEntries":[{"logIndex":\(index),"logId":{"keyId":"AAAA"},"kindVersion":{"kind":"k",\
                    "version":"v"},"inclusionProof":{"rootHash":"AAAA","treeSize":"1","checkpoint":{"envelope":"x"}},\
                    "canonicalizedBody":"AAAA"}]
                    """)
        }
        for index in ["0", "\"0\"", "7", "\"9223372036854775807\"", "null"] { #expect(code(entry(index)) == nil) }
        for index in ["-1", "\"9223372036854775808\"", "1.0", "1e3", "\"0x1\"", "\"\"", "\" 1\"", "true", "[]"] {
            #expect(code(entry(index)) == .unexpectedJSON)
        }
    }

    @Test("Depth, size and numbers without end are refused before anything comes of them")
    func bounds() {
        let deep = String(repeating: "[", count: 65_536)
        #expect(code(Array(deep.utf8)) == .malformedJSON)
        #expect(code(Self.bundle(content: "\"x\":" + String(repeating: "1", count: 100))) == .malformedJSON)
    }

    @Test("A bundle in memory is written in the form of its version and read back as it was")
    func roundTrip() throws {
        var signer = try TestSigner(certificate: TestAuthority.leafPEM)
        var bundle = try signer.sign([1, 2, 3])
        bundle.timestamps = [[0x30, 0x00]]
        for version in [SigstoreBundle.Version.v01, .v02, .v03] {
            bundle.version = version
            let json = bundle.serialized()
            let read = try SigstoreBundle(parsing: json)
            #expect(read.version == version)
            #expect(read.serialized() == json)
        }
        #expect(
            String(decoding: bundle.serialized(), as: UTF8.self).hasPrefix(
                #"{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"certificate":{"rawBytes":""#
            ))
    }

    @Test(
        "Bundles of cosign 3 are written back as they were",
        .enabled(if: SharedMaterial.exists("samples/sigs"), "../shared/samples is not here"))
    func asCosignWrites() throws {
        let names = try SharedMaterial.list("samples/sigs").filter {
            $0.hasPrefix("c3-") && $0.hasSuffix(".sigstore.json")
        }
        #expect(names.count > 80)
        for name in names {
            let file = try SharedMaterial.read("samples/sigs/\(name)")
            #expect(
                try SigstoreBundle(parsing: file).serialized() == JSONValue(parsing: file).serialized(), "\(name)")
        }
    }

    @Test("Times of RFC 3339 are read to the millisecond, with offsets, and written back")
    func instants() throws {
        for (text, milliseconds) in [
            ("1970-01-01T00:00:00Z", 0), ("2022-12-31T23:59:59.999Z", 1_672_531_199_999),
            ("2024-02-29T12:00:00Z", 1_709_208_000_000), ("2021-03-07T03:20:29Z", 1_615_087_229_000),
            ("0001-01-01T00:00:00Z", -62_135_596_800_000), ("9999-12-31T23:59:59Z", 253_402_300_799_000),
        ] as [(String, Int64)] {
            let instant = try #require(Instant(rfc3339: text))
            #expect(instant.milliseconds == milliseconds)
            #expect(instant.description == text)
        }
        #expect(Instant(rfc3339: "2022-12-31T23:59:59.9999999Z")?.milliseconds == 1_672_531_199_999)
        #expect(Instant(rfc3339: "2023-01-01T01:00:00+01:00")?.milliseconds == 1_672_531_200_000)
        #expect(Instant(rfc3339: "2022-12-31T22:30:00-01:30")?.milliseconds == 1_672_531_200_000)
        for text in [
            "", "2022", "2022-12-31", "2022-12-31T23:59:59", "2022-12-31 23:59:59Z", "2022-13-01T00:00:00Z",
            "2023-02-29T00:00:00Z", "2022-04-31T00:00:00Z", "2022-12-31T24:00:00Z", "2022-12-31T23:60:00Z",
            "2022-12-31T23:59:60Z", "2022-12-31T23:59:59.Z", "2022-12-31T23:59:59Zx", "2022-12-31T23:59:59+1:00",
            "-022-12-31T23:59:59Z", "2022-12-31T23:59:59.9999999999999999999999999999Z",
        ] {
            #expect(Instant(rfc3339: text) == nil, "\(text)")
        }
    }

    @Test("The trusted roots that are built in can be read, and know what they should")
    func embedded() throws {
        let production = try TrustedRoot.embedded(.production)
        #expect(
            production.transparencyLogs.map(\.baseURL) == [
                "https://rekor.sigstore.dev", "https://log2025-1.rekor.sigstore.dev",
            ])
        #expect(production.certificateAuthorities.count == 2)
        #expect(production.certificateTransparencyLogs.count == 2)
        #expect(production.timestampAuthorities.count == 1)
        #expect(try TrustedRoot.embedded(.staging).transparencyLogs.allSatisfy { $0.baseURL.contains("sigstage.dev") })
    }

    @Test("A trusted root without a media type, a start, or a readable key is refused")
    func trustedRoots() throws {
        func root(_ log: String, mediaType: String = "application/vnd.dev.sigstore.trustedroot+json;version=0.1") throws
            -> TrustedRoot
        {
            try TrustedRoot(parsing: Array(#"{"mediaType":"\#(mediaType)","tlogs":[\#(log)]}"#.utf8))
        }
        let key = Base64.encode(try PrivateKey.generate(.ecdsaP256).publicKey.spki)
        func log(_ key: String, _ window: String) -> String {
            #"{"baseUrl":"https://x","publicKey":{"rawBytes":"\#(key)","validFor":\#(window)},"logId":{"keyId":"AAAA"},"later":1}"#
        }
        #expect(try root(log(key, #"{"start":"2020-01-01T00:00:00Z"}"#)).transparencyLogs.count == 1)
        for (key, window) in [
            (key, "{}"), (key, #"{"end":"2020-01-01T00:00:00Z"}"#), (key, #"{"start":"2020"}"#), (key, #"{"start":7}"#),
            ("AAAA", #"{"start":"2020-01-01T00:00:00Z"}"#),
        ] {
            let error = #expect(throws: SigstoreError.self) { try root(log(key, window)) }
            #expect(error?.code == .malformedTrustedRoot)
        }
        #expect(throws: SigstoreError.self) { try root("", mediaType: "application/json") }
        // A key of a kind that is not known here (Ed448): the log is not trusted, the others are.
        let ed448 = "MEMwBQYDK2VxAzoADJ8zcKY9XnUxf/ayhDHdZnC7usX06hQnxdsTBBj/M0SYrNNSR1rYSTDdY5N23UE3AF6aIb0FBkSA"
        #expect(try root(log(ed448, #"{"start":"2020-01-01T00:00:00Z"}"#)).transparencyLogs.isEmpty)
    }
}
