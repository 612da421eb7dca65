import Provenance
import SigstoreVerification
import StrictJSON
import Testing

/// The forms in which attestations are published.
struct AttestationDocumentTests {
    private static func refusal(_ text: String, limit: Int = AttestationDocument.limit) -> SigstoreError? {
        do throws(SigstoreError) {
            _ = try AttestationDocument(parsing: Array(text.utf8), limit: limit)
            return nil
        } catch { return error }
    }

    @Test(
        "What is no attestation says what it looks like",
        arguments: [
            ("-----BEGIN PUBLIC KEY-----\n", "a public key in PEM"),
            ("\n-----BEGIN CERTIFICATE-----", "a certificate in PEM"), ("PK\u{3}\u{4}more", "a ZIP archive"),
            ("<!DOCTYPE html>", "a web page"), (#"{"lockfileVersion":3}"#, "npm's package-lock.json"),
            (#"{"name":"a","dist":{}}"#, "npm's description of a package"), (#"{"keys":[]}"#, "a list of keys"),
            (#"{"_type":"x","predicateType":"y"}"#, "an in-toto statement, which nobody signed"),
            (#"{"payload":"","payloadType":"","signatures":[]}"#, "a DSSE envelope alone"),
            (#"{"spdxVersion":"SPDX-2.3"}"#, "an SBOM (SPDX)"), (#"{"bomFormat":"CycloneDX"}"#, "an SBOM (CycloneDX)"),
            ("{}", "JSON, but has no \"mediaType\""), ("[[]]", "JSON that is no object"),
            (#"{"schemaVersion":2}"#, "an image's manifest"),
        ])
    func looks(text: String, looks: String) throws {
        let error = try #require(Self.refusal(text))
        // An array's elements are bundles, or fail as such.
        if text.hasPrefix("[") { return #expect(error.code == .unexpectedJSON) }
        #expect(error.code == .notABundle && error.message.contains("it looks like \(looks)"), "\(error)")
        #expect(error.message.contains("expected a bundle, several of them"))
    }

    @Test("Archives are known by their first bytes, whatever follows")
    func binary() {
        for (bytes, looks) in [
            ([0x1f, 0x8b, 8], "a gzip archive"), (Array("PK\u{3}\u{4}".utf8) + [0xff], "a ZIP archive"),
        ]
            as [([UInt8], String)]
        {
            do throws(SigstoreError) {
                _ = try AttestationDocument(parsing: bytes)
                Issue.record("\(looks) was read")
            } catch { #expect(error.code == .notABundle && error.message.contains(looks), "\(error)") }
        }
    }

    @Test("Empty lists say that nothing was signed", arguments: ["[]", #"{"attestations":[]}"#])
    func empty(text: String) throws {
        let error = try #require(Self.refusal(text))
        #expect(error.code == .noBundle && error.message.contains("nothing was signed"), "\(error)")
    }

    @Test("A provenance object without attestations says that nothing was signed")
    func emptyProvenance() throws {
        let error = try #require(Self.refusal(#"{"version":1,"attestation_bundles":[]}"#))
        #expect(error.code == .noBundle, "\(error)")
    }

    @Test("More attestations than are read are refused before any is looked at, in every form")
    func bounded() throws {
        let array = "[" + Array(repeating: "{}", count: 11).joined(separator: ",") + "]"
        for text in [array, #"{"attestations":\#(array)}"#] {
            let error = try #require(Self.refusal(text, limit: 10))
            #expect(error.code == .tooManyEntries && error.message.contains("11"), "\(error)")
        }
        let group = #"{"publisher":{"kind":"X"},"attestations":\#(array)}"#
        let object = #"{"version":1,"attestation_bundles":[\#(group)]}"#
        #expect(Self.refusal(object, limit: 10)?.code == .tooManyEntries)
    }

    @Test("What is not known in a wrapping is refused, and so is what stands twice or too deep")
    func strict() {
        for (text, code) in [
            (#"{"attestations":[],"more":1}"#, .unexpectedJSON),
            (#"{"attestations":[{"predicateType":"x","bundle":{},"more":1}]}"#, .unexpectedJSON),
            (#"{"attestations":[],"attestations":[]}"#, .malformedJSON),
            (#"{"version":2,"attestation_bundles":[]}"#, .unexpectedJSON),
            (#"{"version":"1","attestation_bundles":[]}"#, .unexpectedJSON),
            (#"{"version":1,"verification_material":{},"envelope":{},"more":1}"#, .unexpectedJSON),
            (String(repeating: "[", count: 100), .malformedJSON),
            (
                #"{"version":1,"verification_material":{"certificate":"","transparency_entries":[]},"envelope":{}}"#,
                .malformedBundle
            ),
        ] as [(String, SigstoreError.Code)] {
            let error = Self.refusal(text)
            #expect(error?.code == code, "\(text): \(String(describing: error))")
        }
    }

    @Test("Of several lines, the one that is wrong is named")
    func lines() throws {
        let error = try #require(Self.refusal("{\"attestations\":[]}\n\n{}\n"))
        #expect(error.message.hasPrefix("line 1: "), "\(error)")
    }
}

/// What is compressed with Snappy is unpacked within bounds, and damaged blocks are errors.
struct SnappyTests {
    @Test("Literal pieces and all three kinds of repetition")
    func unpacks() throws {
        // "ab", then "abab" from 2 back, of which half overlaps with what is written.
        #expect(try Snappy.unpack([6, 1 << 2, 0x61, 0x62, 0 << 2 | 1, 2], limit: 6) == Array("ababab".utf8))
        #expect(try Snappy.unpack([5, 1 << 2, 0x61, 0x62, 2 << 2 | 2, 2, 0], limit: 9) == Array("ababa".utf8))
        #expect(try Snappy.unpack([3, 1 << 2, 0x61, 0x62, 0 << 2 | 3, 1, 0, 0, 0], limit: 9) == Array("abb".utf8))
        let long = [UInt8](repeating: 0x78, count: 300)
        #expect(try Snappy.unpack([0xac, 2, 61 << 2, 0x2b, 1] + long, limit: 300) == long)
        #expect(try Snappy.unpack([0], limit: 0) == [])
    }

    @Test("Damaged and boundless blocks")
    func refuses() {
        for (block, code) in [
            ([], "malformed-compression"), ([0x80], "malformed-compression"),
            ([0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "malformed-compression"),
            ([0xff, 0xff, 0xff, 0xff, 0x0f], "too-many-entries"), ([101], "too-many-entries"),
            ([6, 1 << 2, 0x61, 0x62], "malformed-compression"), ([1, 1 << 2, 0x61, 0x62], "malformed-compression"),
            ([9, 1 << 2, 0x61], "malformed-compression"),
            ([9, 63 << 2, 0xff, 0xff, 0xff, 0xff], "malformed-compression"),
            ([6, 1 << 2, 0x61, 0x62, 1, 3], "malformed-compression"),
            ([6, 1 << 2, 0x61, 0x62, 1, 0], "malformed-compression"),
            ([9, 1 << 2, 0x61, 0x62, 3, 1, 0, 0], "malformed-compression"), ([4, 1, 1], "malformed-compression"),
            ([4, 3, 0xff, 0xff, 0xff, 0xff], "malformed-compression"),
        ] as [([UInt8], String)] {
            let error = #expect(throws: SigstoreError.self) { try Snappy.unpack(block, limit: 100) }
            #expect(error?.code.rawValue == code, "\(block): \(error?.message ?? "")")
        }
    }
}
