internal import InToto
internal import SigstoreCrypto
public import StrictJSON

extension Verification {
    /// 1. Limits, the version's demands, and that content and key material are of the kind that was asked for.
    /// - Returns: The bytes of the one signature.
    mutating func checkForm() throws(SigstoreError) -> [UInt8] {
        try bundle.validate()
        try checkContent()
        try checkKeyMaterial()
        held("bundle", "the bundle is well formed")
        return try bundle.signature()
    }

    private func checkContent() throws(SigstoreError) {
        switch (claim, bundle.content) {
        case (.message, .messageSignature): break
        case (.message, .dsse):
            throw SigstoreError(
                .attestationNotSignature, "the bundle holds an attestation, not a signature over a file",
                advice: .remedy(.verifyAsAttestation))
        case (.attestation, .messageSignature):
            throw SigstoreError(
                .signatureNotAttestation, "the bundle holds a signature over a file, not an attestation",
                advice: .remedy(.verifyAsSignature))
        case (.attestation, .dsse(let envelope)):
            guard envelope.payloadType.utf8.elementsEqual(Statement.payloadType.utf8) else {
                throw SigstoreError(
                    .wrongPayloadType,
                    "the envelope's payload type is \"\(envelope.payloadType)\", expected \"\(Statement.payloadType)\"")
            }
        }
    }

    private func checkKeyMaterial() throws(SigstoreError) {
        switch (policy.signedBy, bundle.keyMaterial) {
        case (.key(let key), .publicKey(let hint)):
            // A hint is whatever the signer wrote, and nothing is believed because of it. But if it is the fingerprint
            // of a key (base64 of 32 bytes), it must not be that of another key.
            let fingerprint = try key.hint()
            guard hint.utf8.count != fingerprint.utf8.count || hint.utf8.elementsEqual(fingerprint.utf8) else {
                throw SigstoreError(
                    .wrongKey, "another key signed this: expected \(fingerprint), the bundle names \(hint)",
                    advice: "give the public key of whoever signed")
            }
        case (.identities, .certificates): break
        // A certificate for that very key changes nothing: its owner signed. What else the certificate says is not believed.
        case (.key(let key), .certificates(let chain)) where try Self.isLeaf(of: chain, for: key): break
        case (.key, .certificates):
            throw SigstoreError(
                .certificateNotKey, "a key was given, but the signature was made with a certificate",
                advice: .remedy(.giveIdentity))
        case (.identities, .publicKey):
            throw SigstoreError(
                .keyNotCertificate,
                "an identity was given, but the signature was made with a key, without a certificate",
                advice: .remedy(.givePublicKey))
        }
    }

    private static func isLeaf(of chain: [[UInt8]], for key: PublicKey) throws(SigstoreError) -> Bool {
        guard let leaf = chain.first else { return false }
        return try Certificate(der: leaf).publicKey.spki == key.spki
    }
}

extension SigstoreError.Code {
    /// An attestation, but a signature over a file was expected.
    public static let attestationNotSignature = Self("attestation-not-signature")
    /// A signature over a file, but an attestation was expected.
    public static let signatureNotAttestation = Self("signature-not-attestation")
    /// An envelope whose payload is not an in-toto statement.
    public static let wrongPayloadType = Self("wrong-payload-type")
    /// The bundle names another key than the one that was given.
    public static let wrongKey = Self("wrong-key")
    /// A key was given for a signature that was made with a certificate.
    public static let certificateNotKey = Self("certificate-not-key")
    /// An identity was given for a signature that was made with a key.
    public static let keyNotCertificate = Self("key-not-certificate")
}

extension SigstoreError.Remedy {
    /// A signature was demanded, and this is an attestation.
    public static let verifyAsAttestation = Self("verify-it-as-an-attestation")
    /// An attestation was demanded, and this is a signature.
    public static let verifyAsSignature = Self("verify-it-as-a-signature")
    /// A certificate signed, so an identity and its issuer are needed.
    public static let giveIdentity = Self("give-the-identity-in-place-of-the-key")
    /// A key signed, without a certificate.
    public static let givePublicKey = Self("give-the-public-key-of-the-signer")
}
