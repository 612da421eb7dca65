import InToto
import Provenance
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import SwSignCore

/// Provenance that holds, in words and for programs.
struct ProvenanceDescription {
    private let name: String
    private let verified: VerifiedProvenance
    private let attestations: [VerifiedDescription]

    init(_ name: String, _ verified: VerifiedProvenance) {
        (self.name, self.verified) = (name, verified)
        attestations = verified.attestations.map { VerifiedDescription($0) }
    }

    /// What came of it, for a person: a line for each fact, and for each attestation.
    var lines: [String] {
        verified.facts.map { "\($0.fact.words): \($0.value)" }
            + zip(verified.attestations, attestations).flatMap { attestation, description in
                [
                    "attested: \(attestation.statement?.predicateType.uri ?? "the file itself"), \(description.line)",
                    "checked: \(description.checks)", description.unproven,
                ].compactMap { $0 }
            }
    }

    /// The same in a few words.
    var summary: String {
        func fact(_ name: VerifiedProvenance.Fact) -> String? { verified.facts.first { $0.fact == name }?.value }
        let what = [fact(.package), fact(.version)].compactMap { $0 }.joined(separator: " ")
        let by = fact(.sourceRepository) ?? attestations.first?.signer
        return [what, by].compactMap { $0 }.filter { !$0.isEmpty }.joined(separator: ", ")
    }

    /// The value that `--output json` prints: an object, and of GitHub what `gh attestation verify --format json` prints.
    func json() throws(SigstoreError) -> JSONValue {
        if verified.source == .github {
            var list: [JSONValue] = []
            for attestation in verified.attestations { list.append(try Self.gitHub(attestation)) }
            return .array(list)
        }
        var object: JSONObject = [
            "version": .integer(1), "file": .string(name), "verified": .bool(true),
            "from": .string(verified.source.rawValue),
        ]
        object["facts"] = .object(
            JSONObject(verified.facts.map { (name: $0.fact.rawValue, value: .string($0.value)) }))
        object["attestations"] = .array(attestations.map { .object(JSONObject($0.members)) })
        return .object(object)
    }

    /// An attestation that holds, in the shape that users of `gh` read: a result of Sigstore's library for Go.
    private static func gitHub(_ verified: VerifiedBundle) throws(SigstoreError) -> JSONValue {
        var certificate: JSONObject = [:]
        if case .certificates(let chain) = verified.bundle.keyMaterial, let leaf = chain.first {
            certificate["certificateIssuer"] = .string(try Certificate(der: leaf).issuerName)
        }
        if case .certificate(let name, let issuer) = verified.signer {
            certificate["subjectAlternativeName"] = .string(name)
            certificate["issuer"] = .string(issuer)
        }
        for (name, value) in (verified.claims?.deprecatedValues ?? []) + (verified.claims?.values ?? []) {
            certificate[name.text] = .string(value)
        }
        let times = verified.times.compactMap { time -> JSONValue? in
            let (type, uri): (String, String)
            switch time.source {
            case .timestampAuthority(let name): (type, uri) = ("TimestampAuthority", name)
            case .transparencyLog(let name): (type, uri) = ("Tlog", name)
            case .currentTime: return nil
            }
            return .object([
                "type": .string(type), "uri": .string(uri),
                "timestamp": .string(Instant(seconds: time.seconds).description),
            ])
        }
        var result: JSONObject = [
            "mediaType": .string("application/vnd.dev.sigstore.verificationresult+json;version=0.1")
        ]
        if let statement = verified.statement { result["statement"] = statement.json() }
        result["signature"] = .object(["certificate": .object(certificate)])
        result["verifiedTimestamps"] = .array(times)
        if !verified.unproven.isEmpty { result["notProven"] = .array(verified.unproven.map { .string($0.rawValue) }) }
        return .object([
            "attestation": .object(["bundle": verified.bundle.json]), "verificationResult": .object(result),
        ])
    }

    /// The object for a file whose provenance does not hold.
    static func json(_ name: String, _ error: SigstoreError) -> JSONValue {
        var object: JSONObject = ["version": .integer(1), "file": .string(name), "verified": .bool(false)]
        if case .object(let members) = Output.report(error.advised), let words = members["error"] {
            object["error"] = words
        }
        return .object(object)
    }
}
