public import SigstoreCrypto
public import SigstoreVerification
public import StrictJSON

/// A model's signature as `model_signing` writes it: a Sigstore bundle, of which one form is its own.
///
/// Its certificate form has the whole chain of an authority of one's own in a bundle of version 0.3, which the bundle's
/// specification does not allow, and no log entry. It is read here and at no other door.
public struct ModelSignature: Sendable {
    /// The signature, of which nothing is believed yet. In the certificate form it holds the signer's certificate alone.
    public let bundle: SigstoreBundle
    /// The certificates above the signer's, in the certificate form; `nil` in every other form.
    public let chain: [Certificate]?

    /// How many certificates the certificate form may hold.
    private static let chainLimit = 10

    /// Reads a signature.
    /// - Parameter json: The bundle as JSON in UTF-8.
    /// - Throws: `SigstoreError` that names what is wrong, as `SigstoreBundle.init(parsing:)` does.
    public init(parsing json: [UInt8]) throws(SigstoreError) {
        guard json.count <= SigstoreBundle.sizeLimit else {
            throw SigstoreError(.malformedBundle, "the bundle is larger than 128 MiB")
        }
        let value = try JSONValue(parsing: json, values: SigstoreBundle.valueLimit)
        guard case .object(var top) = value, case .string(let type)? = top["mediaType"],
            SigstoreBundle.Version(mediaType: type) == .v03,
            case .object(var material)? = top["verificationMaterial"],
            material["x509CertificateChain"] != nil
        else {
            bundle = try SigstoreBundle(JSONCursor(value))
            chain = nil
            return
        }
        let list = try JSONCursor(value).member("verificationMaterial").member("x509CertificateChain")
        try list.expectOnly(["certificates"])
        let certificates = try list.member("certificates").elements()
        guard (1...Self.chainLimit).contains(certificates.count), let first = certificates.first else {
            throw list.fault("holds \(certificates.count) certificates, not 1 to \(Self.chainLimit)")
        }
        var chain: [Certificate] = []
        for certificate in certificates.dropFirst() {
            try certificate.expectOnly(["rawBytes"])
            chain.append(try Certificate(der: try certificate.member("rawBytes").bytes()))
        }
        // A log or a timestamp would go with Fulcio's certificates, which have a form of their own.
        material["x509CertificateChain"] = nil
        guard material["certificate"] == nil else {
            throw list.fault("stands beside a certificate")
        }
        material["certificate"] = first.value
        top["verificationMaterial"] = .object(material)
        let bundle = try SigstoreBundle(JSONCursor(.object(top)))
        guard bundle.logEntries.isEmpty, bundle.timestamps.isEmpty else {
            throw SigstoreError(
                .malformedBundle,
                "a chain of certificates in a bundle of version 0.3 has neither log entries nor timestamps beside it")
        }
        self.bundle = bundle
        self.chain = chain
    }

    /// The signer's certificate in the certificate form, if it leads to an authority that is trusted.
    /// - Parameters:
    ///   - intermediates: Further certificates that the path may go through; they need not be trusted.
    ///   - anchors: The authorities that are trusted.
    ///   - time: The time at which the certificates must be valid, in seconds since 1970. Nothing proves when such a signature
    ///     was made, so that is now.
    /// - Throws: `SigstoreError` with `model-signature-form` if it is of another form; else with the code of the rule that is
    ///   broken, such as `certificate-path` or `certificate-expired`.
    public func signer(intermediates: [Certificate] = [], anchors: [Certificate], at time: Int64)
        throws(SigstoreError) -> Certificate
    {
        guard case .certificates(let encoded) = bundle.keyMaterial, let leaf = encoded.first else {
            throw SigstoreError(
                .modelSignatureForm, "the signature was made with a key, expected one with a certificate and its chain",
                advice: .remedy(.giveKeyOfModel))
        }
        guard let chain else {
            throw SigstoreError(
                .modelSignatureForm,
                "the signature was made by an identity, expected one with a certificate and its chain",
                advice: .remedy(.giveIdentityOfModel))
        }
        let certificate = try Certificate(der: leaf)
        _ = try CertificatePath.build(
            leaf: certificate, intermediates: chain + intermediates, anchors: anchors, at: time,
            purpose: .modelSigning)
        return certificate
    }

    /// Refuses the certificate form if another is demanded: an identity, or a key that the certificate is not for.
    /// - Parameter keys: The keys that are demanded; none if identities are.
    /// - Throws: `SigstoreError` with `model-signature-form`.
    public func expectNoChain(keys: [PublicKey]) throws(SigstoreError) {
        guard chain != nil, case .certificates(let encoded) = bundle.keyMaterial, let leaf = encoded.first else {
            return
        }
        let key = try Certificate(der: leaf).publicKey
        guard keys.contains(where: { $0.spki == key.spki }) else {
            throw SigstoreError(
                .modelSignatureForm,
                "the signature was made with a certificate and its chain, expected one by \(keys.isEmpty ? "an identity" : "that key")",
                advice: .remedy(.giveAuthorityOfModel))
        }
    }

    /// Refuses a signature whose hint says that another key made it. Nothing is believed because of a hint.
    /// - Throws: `SigstoreError` with `wrong-key`.
    public func expectHint(of key: PublicKey) throws(SigstoreError) {
        guard case .publicKey(let hint) = bundle.keyMaterial, hint.utf8.count == 64 else { return }
        let expected = try Self.hint(of: key)
        guard hint.utf8.elementsEqual(expected.utf8) else {
            throw SigstoreError(
                .wrongKey, "another key signed this: expected \(expected), the signature names \(hint)",
                advice: "give the public key of the signer")
        }
    }

    /// The name that `model_signing` gives to a key: SHA-256 of its PEM, in hexadecimal.
    public static func hint(of key: PublicKey) throws(SigstoreError) -> String {
        try Digest.sha256(Array(key.pem.utf8)).hex
    }

    /// Writes a bundle as `model_signing` reads it: a key is named as there, and a certificate stands with its chain.
    /// - Parameters:
    ///   - bundle: The signature.
    ///   - key: The key that made it, if no certificate is for it.
    ///   - chain: The certificate of the key that made it and those above, if that is an authority of one's own; empty
    ///     otherwise.
    /// - Returns: JSON in UTF-8.
    public static func serialized(_ bundle: SigstoreBundle, key: PublicKey?, chain: [Certificate])
        throws(SigstoreError) -> [UInt8]
    {
        var bundle = bundle
        if let key, case .publicKey = bundle.keyMaterial { bundle.keyMaterial = .publicKey(hint: try hint(of: key)) }
        guard case .object(var top) = bundle.json, case .object(var material)? = top["verificationMaterial"] else {
            throw SigstoreError(.malformedBundle, "the bundle has no verification material")
        }
        if !chain.isEmpty {
            material["certificate"] = nil
            material["x509CertificateChain"] = .object([
                "certificates": .array(chain.map { .object(["rawBytes": .bytes($0.der)]) })
            ])
        }
        // Its reader wants the member.
        if material["tlogEntries"] == nil { material["tlogEntries"] = .array([]) }
        top["verificationMaterial"] = .object(material)
        return JSONValue.object(top).serialized()
    }
}

extension SigstoreError.Code {
    /// A model's signature is by a key, by an identity, or by a certificate of one's own authority, and another of these was
    /// demanded.
    public static let modelSignatureForm = Self("model-signature-form")
}

extension SigstoreError.Remedy {
    /// A key signed the model.
    public static let giveKeyOfModel = Self("give-the-public-key-of-the-models-signer")
    /// An identity signed the model.
    public static let giveIdentityOfModel = Self("give-the-identity-of-the-models-signer")
    /// The owner of a certificate of one's own authority signed the model.
    public static let giveAuthorityOfModel = Self("give-the-authority-of-the-models-signer")
}
