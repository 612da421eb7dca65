import Foundation
import OCIRegistry
import SigstoreCrypto
import StrictJSON
import TestServices
import Testing

@testable import LocalSigstore

/// What the trusted root has ended or dropped does not come back with a signature, in any form.
@Suite(.localSigstore)
struct RetiredAuthorityTests {
    private let place: SigningFixture

    init() throws { place = try SigningFixture() }

    @Test("A certificate below an intermediate that was ended or dropped is refused, although the signature brings it")
    func retiredIntermediate() async throws {
        try place.directory.write("file", "the release")
        let signing = ["--yes"] + place.services(.v1) + (try place.token())
        let signed = await place.run(["sign-blob", "--bundle", "bundle.json"] + signing + ["file"])
        try #require(signed.succeeded, "\(signed.messages)")
        let image = try place.push()
        let pushed = await place.run(["sign", "--new-bundle-format=false"] + signing + [image])
        try #require(pushed.succeeded, "\(pushed.messages)")

        let folder = try StateFolder(path: place.services.files.folder)
        func kept(_ name: String) throws -> X509 {
            try folder.certificate(name) { () throws(SigstoreError) in
                throw SigstoreError(.localServiceFailed, "there is no \(name)")
            }
        }
        let (root, old) = (try kept("fulcio-root"), try kept("fulcio-intermediate"))
        let key = try #require(try folder.existingKey("fulcio-root"))
        let now = Int64(Date().timeIntervalSince1970)
        let new = try CertificateIssuer(key: key, certificate: root).intermediate(
            DistinguishedName(organization: "local-sigstore", commonName: "local fulcio new"),
            key: .generate(.ecdsaP256), purpose: CertificateExtension.codeSigning, notBefore: now - 86_400,
            notAfter: now + 86_400)
        try Self.writeOlderForms(of: try place.directory.read("bundle.json"), bringing: old, place.directory)
        try Self.bringChain([old, root], to: image, place)

        func window(_ start: Int64, _ end: Int64?) -> JSONValue {
            func moment(_ seconds: Int64) -> JSONValue { .string(Instant(seconds: seconds).description) }
            return .object(end.map { ["start": moment(start), "end": moment($0)] } ?? ["start": moment(start)])
        }
        func authority(_ chain: [X509], _ validFor: JSONValue) -> JSONValue {
            .object([
                "uri": .string("https://fulcio.test"),
                "certChain": .object([
                    "certificates": .array(chain.map { .object(["rawBytes": .bytes($0.der)]) })
                ]), "validFor": validFor,
            ])
        }
        let always = window(0, nil)
        let successor = authority([new.certificate, root], always)
        let day: Int64 = 86_400
        for (name, authorities, code) in [
            ("ended", [authority([old, root], window(0, now - day)), successor], "authority-not-valid"),
            ("dropped", [successor], "certificate-path"),
            ("ended later", [authority([old, root], window(0, now + day)), successor], nil),
            ("none listed", [authority([root], always)], nil),
        ] as [(String, [JSONValue], String?)] {
            guard
                case .object(var trusted) = try JSONValue(
                    parsing: try Array(Data(contentsOf: URL(filePath: place.services.files.trustedRoot))))
            else { return #expect(Bool(false)) }
            trusted["certificateAuthorities"] = .array(authorities)
            try place.directory.write("root.json", JSONValue.object(trusted).serialized())
            let believing = ["--trusted-root", "root.json"] + place.expecting(SigningFixture.alice)
            for bundle in ["v0.1.json", "v0.2.json", "cosign2.json"] {
                let outcome = await place.run(["verify-blob", "--bundle", bundle] + believing + ["file"])
                #expect(outcome.code == code, "\(name), \(bundle): \(outcome.messages)")
                #expect(outcome.succeeded == (code == nil))
            }
            let outcome = await place.run(["verify"] + believing + [image])
            #expect(outcome.ending == .exit(code == nil ? 0 : 12), "\(name): \(outcome.messages)")
            let words = name == "ended" ? "counts from" : "local fulcio intermediate, which came with the signature"
            #expect(outcome.messages.contains(words) == (code != nil), "\(name): \(outcome.messages)")
        }
    }

    /// The same signature in the forms that can bring an intermediate: `v0.1.json`, `v0.2.json`, `cosign2.json`.
    private static func writeOlderForms(
        of bundle: [UInt8], bringing intermediate: X509, _ directory: TemporaryDirectory
    ) throws {
        guard case .object(var top) = try JSONValue(parsing: bundle),
            case .object(var material)? = top["verificationMaterial"]
        else { return #expect(Bool(false)) }
        let leaf = try JSONCursor(.object(material)).member("certificate").member("rawBytes").bytes()
        material["certificate"] = nil
        material["x509CertificateChain"] = .object([
            "certificates": .array([leaf, intermediate.der].map { .object(["rawBytes": .bytes($0)]) })
        ])
        top["verificationMaterial"] = .object(material)
        for version in ["0.1", "0.2"] {
            top["mediaType"] = .string("application/vnd.dev.sigstore.bundle+json;version=\(version)")
            try directory.write("v\(version).json", JSONValue.object(top).serialized())
        }
        let entry = try #require(try JSONCursor(.object(material)).member("tlogEntries").elements().first)
        let older = JSONValue.object([
            "base64Signature": try JSONCursor(.object(top)).member("messageSignature").member("signature").value,
            "cert": .bytes(Array((PEM.encode(label: "CERTIFICATE", leaf) + intermediate.pem).utf8)),
            "rekorBundle": .object([
                "SignedEntryTimestamp": try entry.member("inclusionPromise").member("signedEntryTimestamp").value,
                "Payload": .object([
                    "body": try entry.member("canonicalizedBody").value,
                    "integratedTime": .integer(try entry.member("integratedTime").integer()),
                    "logIndex": .integer(try entry.member("logIndex").integer()),
                    "logID": .string(Hexadecimal.encode(try entry.member("logId").member("keyId").bytes())),
                ]),
            ]),
        ])
        try directory.write("cosign2.json", older.serialized())
    }

    /// Has the older signature of an image bring a chain, as cosign 2 writes it.
    private static func bringChain(_ chain: [X509], to image: String, _ place: SigningFixture) throws {
        let tag = "sha256-\(try #require(image.split(separator: ":").last)).sig"
        let registry = place.services.registry
        let manifest = try #require(registry.manifest(tag, in: ImageFixture.path))
        guard case .object(var top) = try JSONValue(parsing: manifest.bytes), case .array(let layers)? = top["layers"],
            case .object(var layer)? = layers.first, case .object(var annotations)? = layer["annotations"]
        else { return #expect(Bool(false)) }
        annotations["dev.sigstore.cosign/chain"] = .string(chain.map(\.pem).joined())
        layer["annotations"] = .object(annotations)
        top["layers"] = .array([.object(layer)])
        try registry.placeManifest(
            JSONValue.object(top).serialized(), mediaType: manifest.mediaType, tag: tag, in: ImageFixture.path)
    }
}
