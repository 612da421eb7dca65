import Foundation
import Testing

/// Attestations of every type that cosign names, and of one that it does not.
@Suite(.needsPeers, .serialized)
struct PredicateTypeTests {
    /// What stands after `--type`, the predicate's file in the corpus, and the URI that is meant.
    static let types: [(name: String, predicate: String, uri: String)] = [
        ("custom", "custom.json", "https://cosign.sigstore.dev/attestation/v1"),
        ("slsaprovenance", "slsaprovenance.json", "https://slsa.dev/provenance/v0.2"),
        ("slsaprovenance02", "slsaprovenance.json", "https://slsa.dev/provenance/v0.2"),
        ("slsaprovenance1", "slsaprovenance1.json", "https://slsa.dev/provenance/v1"),
        ("link", "link", "https://in-toto.io/Link/v1"),
        ("spdx", "custom.txt", "https://spdx.dev/Document"),
        ("spdxjson", "spdxjson.json", "https://spdx.dev/Document"),
        ("cyclonedx", "cyclonedx.json", "https://cyclonedx.org/bom"),
        ("vuln", "vuln.json", "https://cosign.sigstore.dev/attestation/vuln/v1"),
        ("openvex", "openvex.json", "https://openvex.dev/ns"),
        ("https://example.com/made-up/v1", "custom.json", "https://example.com/made-up/v1"),
    ]

    /// What a cosign says that cannot verify predicates which are text, as `--type spdx` makes them, its own included.
    static func fault(_ type: String, _ form: Form, _ verifier: Tool) -> String? {
        switch (type, form, verifier) {
        case ("spdx", .attestation, .cosign2):
            "failed to verify signature: could not verify artifact: unable to extract statement from envelope: "
                + "validation error: invalid attestation: decoding json"
        case ("spdx", .attestation, .cosign3):
            "failed to fetch envelope statement: validation error: invalid attestation: decoding json"
        case ("spdx", .envelope, .cosign3): "invalid predicate type, expected spdx got "
        default: nil
        }
    }

    @Test(arguments: types.indices, [Form.envelope, .attestation])
    func eachVerifiesWhatTheOthersAttested(type index: Int, form: Form) async throws {
        let type = Self.types[index]
        let place = try Workplace()
        try place.write("attested by one, verified by another\n", to: "file")
        try place.write(
            #"{"_type":"link","name":"build","command":["make"],"materials":{},"products":{},"byproducts":{},"environment":{}}"#,
            to: "link")
        let predicate = type.predicate == "link" ? "link" : "\(Shared.predicates)/\(type.predicate)"
        try await place.must(Tool.swsign.program, ["generate-key-pair", "--output-key-prefix", "key"])
        var statements: [Tool: [String: Any]] = [:]
        for signer in Tool.allCases {
            let signed = try await signer.sign(
                form, "file", key: "key", type: type.name, predicate: predicate, in: place)
            try #require(signed.outcome.status == 0, "\(signer): \(signed.outcome.messages)")
            let statement = try Self.statement(try place.read(signed.file))
            #expect(statement["predicateType"] as? String == type.uri, "\(signer)")
            // In bundles ours is of version 1, which sigstore-python demands; the cosigns write 0.1 and verify both.
            let version = signer == .swsign && form == .attestation ? "v1" : "v0.1"
            #expect(statement["_type"] as? String == "https://in-toto.io/Statement/\(version)", "\(signer)")
            statements[signer] = statement.filter { $0.key != "_type" }
            for verifier in Tool.allCases {
                let cell = Comment("\(verifier) of what \(signer) signed")
                let outcome = try await verifier.verify(
                    form, signed.file, of: "file", key: "key", type: type.name, in: place)
                if let fault = Self.fault(type.name, form, verifier) {
                    #expect(outcome.status != 0, cell)
                    #expect(outcome.lastWords == fault, cell)
                    continue
                }
                #expect(outcome.status == 0, "\(cell): \(outcome.messages)")
                let other = type.name == "openvex" ? "vuln" : "openvex"
                let otherType = try await verifier.verify(
                    form, signed.file, of: "file", key: "key", type: other, in: place)
                // cosign 2 does not look at the type of an attestation in a bundle v0.3.
                #expect(
                    (otherType.status == 0) == (verifier == .cosign2 && form == .attestation), "\(cell), as \(other)")
            }
        }
        // Ours holds the predicate as it was given; cosign 2 and 3 lose what their own types of SLSA provenance lack.
        if !["custom", "spdx"].contains(type.name) {
            let given = try JSONSerialization.jsonObject(with: Data(try place.read(predicate))) as? NSDictionary
            #expect(statements[.swsign]?["predicate"] as? NSDictionary == given)
            for tool in Tool.allCases { statements[tool]?["predicate"] = nil }
        }
        #expect(statements[.swsign] as NSDictionary? == statements[.cosign2] as NSDictionary?)
        #expect(statements[.swsign] as NSDictionary? == statements[.cosign3] as NSDictionary?)
    }

    /// The statement that an attestation of any form holds, without the time at which it was made.
    private static func statement(_ content: [UInt8]) throws -> [String: Any] {
        func object(_ bytes: Data) throws -> [String: Any] {
            try #require(try JSONSerialization.jsonObject(with: bytes) as? [String: Any])
        }
        func decoded(_ base64: Any?) throws -> Data {
            let text = try #require(base64 as? String)
            return try #require(Data(base64Encoded: text))
        }
        var json = try object(Data(content))
        if let older = json["base64Signature"] { json = try object(try decoded(older)) }
        if let envelope = json["dsseEnvelope"] as? [String: Any] { json = envelope }
        var statement = try object(try decoded(json["payload"]))
        if var predicate = statement["predicate"] as? [String: Any], predicate["Timestamp"] != nil {
            predicate["Timestamp"] = nil
            statement["predicate"] = predicate
        }
        return statement
    }
}
