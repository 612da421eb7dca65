import InToto
import StrictJSON
import Testing

struct StatementTests {
    static func statement(_ text: String) throws(SigstoreError) -> Statement {
        try Statement(parsing: Array(text.utf8))
    }
    static let subject = #""subject":[{"name":"n","digest":{"sha256":"ab"}}]"#

    @Test("Both versions are read, and unknown members passed over", arguments: ["v0.1", "v1"])
    func versions(version: String) throws {
        let statement = try Self.statement(
            #"{"_type":"https://in-toto.io/Statement/\#(version)","more":1,\#(Self.subject),"predicateType":"t","predicate":{"a":1}}"#
        )
        #expect(statement.layout.rawValue.hasSuffix(version))
        #expect(statement.predicateType.uri == "t")
        #expect(statement.subjects.first?.name == "n")
        #expect(statement.hasSubject(algorithm: "sha256", hex: "ab"))
        #expect(!statement.hasSubject(algorithm: "sha512", hex: "ab"))
        #expect(!statement.hasSubject(algorithm: "sha256", hex: "AB"))
        #expect(!statement.hasSubject(algorithm: "sha256", hex: "a"))
    }

    @Test(
        "A statement that says too little is refused",
        arguments: [
            #"{}"#, #"[]"#, #"{"_type":"https://in-toto.io/Statement/v2",\#(subject),"predicateType":"t"}"#,
            #"{"_type":"https://in-toto.io/Statement/v1","predicateType":"t"}"#,
            #"{"_type":"https://in-toto.io/Statement/v1","subject":[],"predicateType":"t"}"#,
            #"{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"n"}],"predicateType":"t"}"#,
            #"{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{}}],"predicateType":"t"}"#,
            #"{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":1}}],"predicateType":"t"}"#,
            #"{"_type":"https://in-toto.io/Statement/v1",\#(subject)}"#,
            #"{"_type":"https://in-toto.io/Statement/v1",\#(subject),"predicateType":""}"#,
        ])
    func refused(text: String) { #expect(throws: SigstoreError.self) { try Self.statement(text) } }

    @Test("A statement is written in cosign's order")
    func written() throws {
        let statement = Statement(
            layout: .v01, subjects: [ResourceDescriptor(name: "f", digests: [(algorithm: "sha256", hex: "ab")])],
            predicateType: .cosignSign, predicate: .object([:]))
        #expect(
            String(decoding: statement.json().serialized(), as: UTF8.self)
                == #"{"_type":"https://in-toto.io/Statement/v0.1","subject":[{"name":"f","digest":{"sha256":"ab"}}],"predicateType":"https://sigstore.dev/cosign/sign/v1","predicate":{}}"#
        )
    }

    @Test(
        "cosign's short names stand for these types",
        arguments: [
            ("custom", "https://cosign.sigstore.dev/attestation/v1"),
            ("slsaprovenance", "https://slsa.dev/provenance/v0.2"),
            ("slsaprovenance02", "https://slsa.dev/provenance/v0.2"),
            ("slsaprovenance1", "https://slsa.dev/provenance/v1"),
            ("spdx", "https://spdx.dev/Document"), ("spdxjson", "https://spdx.dev/Document"),
            ("cyclonedx", "https://cyclonedx.org/bom"), ("link", "https://in-toto.io/Link/v1"),
            ("vuln", "https://cosign.sigstore.dev/attestation/vuln/v1"), ("openvex", "https://openvex.dev/ns"),
            ("https://example.com/x", "https://example.com/x"), ("urn:x", "urn:x"),
        ])
    func shortNames(name: String, uri: String) throws { #expect(try PredicateType(named: name).uri == uri) }

    @Test("Anything else is no type", arguments: ["", "slsa", "Custom", ":x", "https://a b", "a:\u{7f}", "a:\n"])
    func unknownNames(name: String) {
        let error = #expect(throws: SigstoreError.self) { try PredicateType(named: name) }
        #expect(error?.code == .unknownPredicateType)
    }

    @Test("Types are the same only byte for byte")
    func matching() {
        #expect(PredicateType(uri: "a:\u{e9}").matches(PredicateType(uri: "a:\u{e9}")))
        #expect(!PredicateType(uri: "a:\u{e9}").matches(PredicateType(uri: "a:e\u{301}")))
        #expect(!PredicateType(uri: "https://x/").matches(PredicateType(uri: "https://x")))
    }

    @Test("An error keeps its code when the file is named")
    func errors() {
        let error = SigstoreError(.malformedJSON, "it is cut short", advice: "try again").concerning("a.json")
        #expect(error.code == .malformedJSON)
        #expect(error.message == "a.json: it is cut short")
        #expect(error.description == "a.json: it is cut short (try again)")
    }
}
