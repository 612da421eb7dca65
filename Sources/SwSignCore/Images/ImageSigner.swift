public import InToto
public import LocalSystem
internal import OCIRegistry
internal import SigstoreCrypto
public import SigstoreVerification
public import StrictJSON

/// Signs and attests images, and puts what was made beside them.
public struct ImageSigner: Sendable {
    /// Which of cosign's schemes is written.
    public enum Scheme: Sendable {
        /// A bundle that refers to the image (cosign 3).
        case bundle
        /// A layer under a tag (cosign 1 and 2).
        case layer
    }

    private let signer: BlobSigner
    private let scheme: Scheme
    private let now: Int64

    /// - Parameters:
    ///   - signer: Makes the signatures.
    ///   - scheme: Which scheme is written.
    ///   - now: The time in annotations and predicates, in seconds since 1970.
    public init(signer: BlobSigner, scheme: Scheme, now: Int64 = SystemClock.now()) {
        self.signer = signer
        self.scheme = scheme
        self.now = now
    }

    /// A signature that was made and not stored yet.
    public struct Signed: Sendable {
        /// The payload: the bytes that were signed.
        public let payload: [UInt8]
        /// The bundle.
        public let bundle: SigstoreBundle
        /// The detached signature, in the older scheme.
        public let signature: [UInt8]?
    }

    /// Signs an image.
    /// - Parameters:
    ///   - image: The image; its digest is what is signed.
    ///   - annotations: What the signer says of it.
    ///   - identity: What the payload of the older scheme names as the image's repository, if not its own.
    ///   - payload: A payload that was made elsewhere, for the older scheme.
    public func sign(_ image: Image, annotations: JSONObject, identity: String? = nil, payload: [UInt8]? = nil)
        async throws(SigstoreError) -> Signed
    {
        switch scheme {
        case .bundle:
            let subject = ResourceDescriptor(
                name: nil, digests: [(algorithm: image.digest.algorithm.rawValue, hex: image.digest.hex)],
                annotations: annotations)
            let statement = Statement(
                layout: .v1, subjects: [subject], predicateType: .cosignSign, predicate: .object([:])
            ).json().serialized()
            return Signed(payload: statement, bundle: try await signer.attest(statement), signature: nil)
        case .layer:
            let made = SimpleSigningPayload(
                dockerReference: identity ?? image.repositoryName, digest: image.digest, annotations: annotations)
            let content = payload ?? made.json().serialized()
            let signed = try await signer.sign(ArtifactBytes(content), forms: [.detached])
            return Signed(payload: content, bundle: signed.bundle, signature: signed.detached)
        }
    }

    /// Puts a signature beside its image.
    public func store(_ signed: Signed, in store: SignatureStore) async throws(SigstoreError) {
        try await signer.session.deliver(signed.bundle) { bundle throws(SigstoreError) in
            guard let signature = signed.signature else {
                try await store.add(bundle, created: Instant(seconds: now).description)
                return
            }
            try await store.add(
                .signature, signed.payload,
                annotations: Annotations(
                    [(name: SignatureStore.signatureAnnotation, value: Base64.encode(signature))]
                        + legacy(bundle).annotations()), by: bundle.keyMaterial)
        }
    }

    private func legacy(_ bundle: SigstoreBundle) -> LegacySignature {
        LegacySignature(bundle, chain: Array(signer.session.certificates.dropFirst()))
    }

    /// Makes an attestation about an image and puts it beside it.
    /// - Parameters:
    ///   - store: Where the image's attestations are.
    ///   - statement: The statement, as JSON.
    ///   - upload: Whether the attestation is put beside the image, and not only made.
    ///   - replacing: Whether attestations whose predicate has the same type are removed.
    /// - Returns: The envelope, as cosign prints it, in its bundle.
    public func attest(_ statement: [UInt8], in store: SignatureStore, upload: Bool, replacing: Bool)
        async throws(SigstoreError) -> (bundle: SigstoreBundle, envelope: DSSEEnvelope)
    {
        let type = try Statement(parsing: statement).predicateType
        async let prepared: Void = upload && scheme == .bundle ? store.prepare() : ()
        let bundle = try await signer.attest(statement, form: scheme == .layer ? .detached : .bundle)
        await prepared
        guard case .dsse(let envelope) = bundle.content else { throw .signedWrongly }
        guard upload else { return (bundle, envelope) }
        try await signer.session.deliver(bundle) { bundle throws(SigstoreError) in
            switch scheme {
            case .bundle:
                let before = replacing ? try await store.find(.attestation) : StoredSignatures()
                // All of that type are to be replaced: that cannot be done if not all could be looked at.
                if let error = before.unread.first { throw error }
                let added = try await store.add(bundle, created: Instant(seconds: now).description)
                var replaced: Set<Digest> = []
                for old in before.readable where old.manifest != added && old.predicateType?.matches(type) ?? false {
                    if case .bundle = old.form, let manifest = old.manifest { replaced.insert(manifest) }
                }
                if var left = await store.removeReferrers(replaced).left.first {
                    left.advice = "the new attestation is stored; remove the old one in the registry"
                    throw left
                }
            case .layer:
                try await store.add(
                    .attestation, envelope.json(includingEmptyKeyID: true).serialized(),
                    annotations: Annotations(
                        [
                            (name: SignatureStore.signatureAnnotation, value: ""),
                            (name: "predicateType", value: type.uri),
                        ] + legacy(bundle).annotations()), by: bundle.keyMaterial
                ) { replacing && ($0["predicateType"]?.utf8.elementsEqual(type.uri.utf8) ?? false) }
            }
        }
        return (bundle, envelope)
    }
}
