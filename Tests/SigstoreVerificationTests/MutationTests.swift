import InToto
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import Testing

/// Changes every member of a bundle's JSON in turn, and tells which changes a verifier accepts.
struct BundleMutator {
    let valid: JSONValue
    let other: JSONValue
    /// Whether a bundle in this form is accepted.
    let accepts: ([UInt8]) -> Bool
    private(set) var tried = 0
    private(set) var accepted: [String] = []

    init(valid: [UInt8], other: [UInt8], accepts: @escaping ([UInt8]) -> Bool) throws {
        self.valid = try JSONValue(parsing: valid)
        self.other = try JSONValue(parsing: other)
        self.accepts = accepts
    }

    mutating func run() { mutate(valid, other, "") { $0 } }

    private mutating func attempt(_ what: String, _ whole: JSONValue) {
        tried += 1
        if accepts(whole.serialized()) { accepted.append(what) }
    }

    /// - Parameter put: Puts a changed value back into its place in the whole.
    private mutating func mutate(
        _ value: JSONValue, _ other: JSONValue?, _ path: String, _ put: (JSONValue?) -> JSONValue?
    ) {
        func whole(_ changed: JSONValue?) -> JSONValue { put(changed) ?? .null }
        if !path.isEmpty { attempt("\(path) dropped", whole(nil)) }
        if !path.isEmpty, let other, other.serialized() != value.serialized() {
            attempt("\(path) swapped", whole(other))
        }
        let types: [JSONValue] = [.null, .bool(true), .number("7"), .string("x"), .array([]), .object([:])]
        for (name, type) in zip(["null", "true", "7", "x", "[]", "{}"], types)
        where type.serialized() != value.serialized() {
            attempt("\(path) = \(name)", whole(type))
        }
        switch value {
        case .string(let text): flip(text, path) { whole(.string($0)) }
        case .array(let values):
            for (index, element) in values.enumerated() {
                var counterpart: JSONValue?
                if case .array(let others)? = other, index < others.count { counterpart = others[index] }
                mutate(element, counterpart, "\(path)[]") { changed in
                    var values = values
                    if let changed { values[index] = changed } else { values.remove(at: index) }
                    return put(.array(values))
                }
            }
        case .object(let object):
            for member in object.members {
                var counterpart: JSONValue?
                if case .object(let others)? = other { counterpart = others[member.name] }
                mutate(member.value, counterpart, path.isEmpty ? member.name : "\(path).\(member.name)") { changed in
                    var object = object
                    object[member.name] = changed
                    return put(.object(object))
                }
            }
            var object = object
            object["surplus"] = .bool(true)
            attempt("\(path).surplus added", whole(.object(object)))
        case .null, .bool, .number: break
        }
    }

    /// Flips bits in the bytes that base64 stands for, and in the text itself.
    private mutating func flip(_ text: String, _ path: String, _ put: (String) -> JSONValue) {
        func places(_ count: Int) -> [Int] {
            Array(Set((0..<min(count, 24)).map { $0 * count / min(count, 24) } + [count - 1])).sorted()
        }
        if let bytes = Base64.decode(text), bytes.count > 8 {
            for place in places(bytes.count) {
                var changed = bytes
                changed[place] ^= 1 << UInt8(place % 8)
                attempt("\(path) bit flipped in byte \(place)", put(Base64.encode(changed)))
            }
            attempt("\(path) cut short", put(Base64.encode(bytes.dropLast())))
            attempt("\(path) with a byte more", put(Base64.encode(bytes + [0])))
            attempt("\(path) empty", put(""))
        } else if !text.isEmpty {
            let letters = Array(text.utf8)
            for place in places(letters.count) {
                var changed = letters
                changed[place] ^= 1
                attempt("\(path) letter changed", put(String(decoding: changed, as: UTF8.self)))
            }
            attempt("\(path) with a letter more", put(text + "0"))
        }
    }
}

/// Nothing in a bundle can be changed without its being refused, but for what says nothing.
@Suite(.enabled(if: SharedMaterial.exists("samples/cases.json"), "../shared/samples is not here"))
struct MutationTests {
    struct Kind: Sendable, CustomTestStringConvertible {
        let name: String
        let other: String
        var key: String?
        var needsLog = true
        /// Changes that are accepted, each because the member that is changed says nothing here.
        var harmless: [String] = []
        var testDescription: String { name }
    }

    /// Timestamps prove nothing that is needed where a log promised the time, or a key signed.
    static let spareTimestamps = [
        "verificationMaterial.timestampVerificationData dropped",
        "verificationMaterial.timestampVerificationData = null",
        "verificationMaterial.timestampVerificationData = {}",
        "verificationMaterial.timestampVerificationData.rfc3161Timestamps dropped",
        "verificationMaterial.timestampVerificationData.rfc3161Timestamps = null",
        "verificationMaterial.timestampVerificationData.rfc3161Timestamps = []",
        "verificationMaterial.timestampVerificationData.rfc3161Timestamps[] dropped",
    ]
    /// With a key and a proof, the promise and the time that it is about say nothing more.
    static let sparePromise = [
        "verificationMaterial.tlogEntries[].inclusionPromise dropped",
        "verificationMaterial.tlogEntries[].inclusionPromise = null",
    ]
    /// A hint may be absent, or be no fingerprint at all: then it says nothing.
    static let spareHint = [
        "verificationMaterial.publicKey = {}", "verificationMaterial.publicKey.hint dropped",
        "verificationMaterial.publicKey.hint = null", "verificationMaterial.publicKey.hint = x",
        "verificationMaterial.publicKey.hint cut short", "verificationMaterial.publicKey.hint with a byte more",
        "verificationMaterial.publicKey.hint empty",
    ]

    static let kinds = [
        Kind(name: "c3-key-v1-c3", other: "c2-newbundle-c2", key: "c3", harmless: sparePromise + spareHint),
        Kind(
            name: "c3-key-v1tsa-c3", other: "c2-newbundle-c2-tsa", key: "c3",
            harmless: sparePromise + spareTimestamps + spareHint),
        Kind(name: "c3-key-v2-c3", other: "c3-key-v2-rsa2048", key: "c3", harmless: spareTimestamps + spareHint),
        Kind(name: "c3-att-key-v1-custom", other: "c3-att-key-v1-vuln", key: "c3", harmless: sparePromise + spareHint),
        Kind(
            name: "c3-att-key-v2-custom", other: "c3-att-key-v2-vuln", key: "c3", harmless: spareTimestamps + spareHint),
        Kind(name: "c3-keyless-v1-email", other: "c3-keyless-v1-1mib"),
        Kind(name: "c3-keyless-v1tsa-email", other: "c3-keyless-v1tsa-fed", harmless: spareTimestamps),
        Kind(name: "c3-keyless-v2-email", other: "c3-keyless-v2-1mib"),
        Kind(name: "c3-att-keyless-v1-custom", other: "c3-att-keyless-v1-vuln"),
        Kind(name: "c3-att-keyless-v2-custom", other: "c3-att-keyless-v2-vuln"),
        Kind(name: "c3-key-none-c3", other: "c2-newbundle-c2", key: "c3", needsLog: false, harmless: spareHint),
        // The other bundle is by the same key, and its log entry is not looked at.
        Kind(
            name: "c3-att-key-none-c3", other: "c3-att-key-v1-vuln", key: "c3", needsLog: false,
            harmless: spareHint + ["verificationMaterial swapped"]),
    ]

    @Test("Nothing in a bundle can be changed", arguments: kinds)
    func bundle(_ kind: Kind) async throws {
        let root = try await MaterialCache.shared.trustedRoot("samples/trust/trusted_root.json")
        let artifact = ArtifactBytes(try SharedMaterial.read("samples/blobs/small.txt"))
        let signedBy: VerificationPolicy.SignedBy =
            if let key = kind.key {
                .key(try PublicKey(file: try SharedMaterial.read("samples/keys/\(key).pub")))
            } else {
                .identities([
                    CertificateIdentity(
                        subject: .exactly("release@alpha.example"), issuer: .exactly("http://127.0.0.1:8888"))
                ])
            }
        let claim: BundleClaim =
            kind.name.contains("-att-")
            ? .attestation(subject: .artifact(artifact), predicateType: .cosignCustom) : .message(artifact)
        var policy = Demand(signedBy: signedBy, claim: claim)
        if !kind.needsLog { policy.transparencyLog = .insecurelyIgnored }
        func accepts(_ json: [UInt8]) -> Bool {
            guard let bundle = try? SigstoreBundle(parsing: json) else { return false }
            // What is accepted with a warning does not go unnoticed: a timestamp that seems to be by somebody else.
            return (try? policy.verify(bundle, root))?.warnings.isEmpty == true
        }
        let valid = try SharedMaterial.read("samples/sigs/\(kind.name).sigstore.json")
        try #require(accepts(valid))
        var mutator = try BundleMutator(
            valid: valid, other: try SharedMaterial.read("samples/sigs/\(kind.other).sigstore.json"), accepts: accepts)
        mutator.run()
        #expect(mutator.tried > (kind.needsLog ? 300 : 100))
        let surprising = Set(mutator.accepted).subtracting(kind.harmless).sorted()
        #expect(surprising.isEmpty, "\(surprising)")
    }

    @Test(
        "Nothing in cosign 2's bundle beside a file can be changed", arguments: ["c2-legacy-key", "c2-legacy-keyless"])
    func olderBundle(_ name: String) async throws {
        let root = try await MaterialCache.shared.trustedRoot("samples/trust/trusted_root.json")
        let artifact = ArtifactBytes(try SharedMaterial.read("samples/blobs/small.txt"))
        let signedBy: VerificationPolicy.SignedBy =
            name == "c2-legacy-key"
            ? .key(try PublicKey(file: try SharedMaterial.read("samples/keys/c2.pub")))
            : .identities([
                CertificateIdentity(
                    subject: .exactly("release@alpha.example"), issuer: .exactly("http://127.0.0.1:8888"))
            ])
        let policy = Demand(signedBy: signedBy, claim: .message(artifact))
        func accepts(_ json: [UInt8]) -> Bool {
            guard let older = try? LegacyBlobBundle(parsing: json),
                let bundle = try? SigstoreBundle(
                    signature: older.signature, isAttestation: false,
                    keyMaterial: older.keyMaterial ?? .publicKey(hint: ""),
                    logEntry: older.logEntry)
            else { return false }
            return refusal(bundle, root, policy) == nil
        }
        let valid = try SharedMaterial.read("samples/sigs/\(name).json")
        try #require(accepts(valid))
        var mutator = try BundleMutator(
            valid: valid, other: try SharedMaterial.read("samples/sigs/c2-tsa-legacy-\(name.dropFirst(10)).json"),
            accepts: accepts)
        mutator.run()
        #expect(mutator.tried > 150)
        // Whoever gives the key needs no word about it from the bundle; the log entry holds it besides. And what stands
        // around a block of PEM says nothing.
        let harmless =
            ["cert cut short", "cert with a byte more"]
            + (name == "c2-legacy-key" ? ["cert dropped", "cert = null", "cert empty"] : [])
        let surprising = Set(mutator.accepted).subtracting(harmless).sorted()
        #expect(surprising.isEmpty, "\(surprising)")
    }

    /// Version 0.1 needs the promise only. What is 0 or empty may be left out, a key id is nobody's business, and the
    /// entry in the log of one leaf gives the time without the timestamp.
    static let harmlessInOlderVersions: [String: [String]] = [
        "happy-path-v0.1": [
            "inclusionProof = null", "inclusionProof dropped", "inclusionProof.checkpoint = null",
            "inclusionProof.checkpoint = {}", "inclusionProof.checkpoint dropped",
            "inclusionProof.checkpoint.envelope = null", "inclusionProof.checkpoint.envelope dropped",
        ].map { "verificationMaterial.tlogEntries[].\($0)" },
        "intoto-with-custom-trust-root": [
            "mediaType swapped", "dsseEnvelope.signatures[].keyid = null", "dsseEnvelope.signatures[].keyid = x",
            "dsseEnvelope.signatures[].keyid dropped",
        ]
            + [
                "hashes = null", "hashes dropped", "logIndex = null", "logIndex dropped", "logIndex with a letter more",
            ].map { "verificationMaterial.tlogEntries[].inclusionProof.\($0)" } + spareTimestamps,
        // With promise and proof, and one certificate, it is as good in version 0.1.
        "happy-path-intoto-in-dsse-v3": ["mediaType swapped"], "rekor2-timestamp-with-embedded-cert": [],
        // The cosignatures of witnesses that nobody was told to believe say nothing.
        "rekor2-dsse-happy-path": [
            "verificationMaterial.tlogEntries[].inclusionProof.checkpoint.envelope letter changed"
        ],
    ]

    @Test(
        "Nothing in the bundles of older versions by other clients can be changed",
        arguments: harmlessInOlderVersions.keys.sorted())
    func olderVersions(_ name: String) throws {
        let folder = "conformance/bundle-verify/\(name)"
        func optional(_ file: String) throws -> [UInt8]? {
            SharedMaterial.exists("\(folder)/\(file)") ? try SharedMaterial.read("\(folder)/\(file)") : nil
        }
        let artifact = ArtifactBytes(
            try optional("artifact") ?? SharedMaterial.read("conformance/bundle-verify/a.txt"))
        let root = try optional("trusted_root.json").map { try TrustedRoot(parsing: $0) } ?? .embedded(.production)
        let identity = CertificateIdentity(
            subject: .exactly(
                String(decoding: try optional("identity") ?? Array(ConformanceTests.beacon.utf8), as: UTF8.self)),
            issuer: .exactly(
                String(decoding: try optional("issuer") ?? Array(ConformanceTests.github.utf8), as: UTF8.self)))
        func accepts(_ json: [UInt8]) -> Bool {
            (try? ConformanceTests.verify(json, artifact, root, .identities([identity])))?.warnings.isEmpty == true
        }
        let valid = try SharedMaterial.read("\(folder)/bundle.sigstore.json")
        try #require(accepts(valid))
        var mutator = try BundleMutator(
            valid: valid, other: try SharedMaterial.read("conformance/cpython/3.7.14.sigstore.json"), accepts: accepts)
        mutator.run()
        #expect(mutator.tried > 300)
        let surprising = Set(mutator.accepted).subtracting(Self.harmlessInOlderVersions[name] ?? []).sorted()
        #expect(surprising.isEmpty, "\(surprising)")
    }
}
