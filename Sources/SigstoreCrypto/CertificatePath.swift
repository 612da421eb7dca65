internal import COpenSSL
public import StrictJSON

extension SigstoreError.Code {
    /// A certificate of the path was not valid at the time in question: too late.
    public static let certificateExpired = Self("certificate-expired")
    /// A certificate of the path was not valid at the time in question: too early.
    public static let certificateNotYetValid = Self("certificate-not-yet-valid")
    /// No path leads from the certificate to one that is trusted.
    public static let certificatePath = Self("certificate-path")
    /// The signature on a certificate of the path does not hold.
    public static let certificateSignature = Self("certificate-signature")
    /// A certificate of the path may not be used for this purpose.
    public static let certificateKeyUsage = Self("certificate-key-usage")
    /// A certificate of the path breaks a constraint of one above it: path length, names, or not being an authority.
    public static let certificateConstraint = Self("certificate-constraint")
    /// A certificate of the path has a critical extension that is not understood here.
    public static let certificateCriticalExtension = Self("certificate-critical-extension")
    /// A key or a signature algorithm in the path is too weak.
    public static let certificateWeak = Self("certificate-weak")
}

/// Certification path validation (RFC 5280, section 6) for the purposes that Sigstore has.
public enum CertificatePath {
    /// What the first certificate of a path is to be used for.
    public enum Purpose: Sendable {
        /// Signing artifacts: Fulcio's certificates.
        case codeSigning
        /// Signing timestamps (RFC 3161, section 2.3).
        case timestamping
        /// Signing models with a certificate of one's own authority: as for code, but the usage may be stated by one of its
        /// two extensions alone, and the signer's certificate may be an authority's, as in `model_signing`'s own examples.
        case modelSigning

        var extendedKeyUsage: String {
            switch self {
            case .codeSigning, .modelSigning: "1.3.6.1.5.5.7.3.3"
            case .timestamping: "1.3.6.1.5.5.7.3.8"
            }
        }
        var description: String {
            switch self {
            case .codeSigning, .modelSigning: "code signing"
            case .timestamping: "timestamping"
            }
        }
    }

    /// How many certificates a path may have, and how many intermediates are looked at.
    static let lengthLimit = 10
    static let intermediateLimit = 32
    private static let anyExtendedKeyUsage = "2.5.29.37.0"

    /// Finds and validates the path from a certificate to an anchor.
    ///
    /// OpenSSL builds the path and checks signatures, names, path lengths and name constraints. It does not know our
    /// purposes and treats the last second of a certificate as too late, so validity, key usage, extended key usage
    /// and critical extensions are checked here, for every certificate of the path, the anchor included.
    /// - Parameters:
    ///   - leaf: The certificate in question.
    ///   - intermediates: Certificates that the path may go through; they need not be trusted.
    ///   - anchors: Certificates that are trusted. One that is not self-issued is an anchor like any other.
    ///   - time: The time at which the path must hold, in seconds since 1970 in UTC.
    ///   - purpose: What the leaf is to be used for.
    /// - Returns: The path: the leaf, any intermediates, the anchor.
    /// - Throws: `SigstoreError` with the code of the first rule that is broken, such as `certificate-expired` or
    ///   `certificate-path`.
    public static func build(
        leaf: Certificate, intermediates: [Certificate], anchors: [Certificate], at time: Int64, purpose: Purpose
    ) throws(SigstoreError) -> [Certificate] {
        guard intermediates.count <= intermediateLimit else {
            throw SigstoreError(
                .certificatePath,
                "there are \(intermediates.count) intermediate certificates, more than \(intermediateLimit)")
        }
        try checkValidity(of: leaf, at: time)
        // Authorities renew certificates under the same name and key: those that are not valid then must not stand
        // in the way of those that are.
        let validIntermediates = intermediates.filter { $0.isValid(at: time) }
        let validAnchors = anchors.filter { $0.isValid(at: time) }
        let path: [Certificate]
        do throws(SigstoreError) {
            path = try build(leaf, validIntermediates, validAnchors)
        } catch {
            // If only the time is wrong, say so.
            if let untimely = try? build(leaf, intermediates, anchors) {
                for certificate in untimely { try checkValidity(of: certificate, at: time) }
            }
            throw error
        }
        for certificate in path {
            try checkValidity(of: certificate, at: time)
            try checkCriticalExtensions(of: certificate)
        }
        try checkUsage(of: leaf, purpose: purpose)
        for authority in path.dropFirst() { try checkUsage(ofAuthority: authority, purpose: purpose) }
        return path
    }

    // MARK: - OpenSSL's part

    /// The paths that OpenSSL found, by what it was given, each as positions among leaf, anchors and intermediates. What
    /// it does depends on nothing else, time least of all; and the authorities' signatures, which are the slow part,
    /// are the same for all that one certificate signed and for all the timestamps of one authority.
    private static let found = BoundedCache<[Int]>(limit: 256)

    private static func build(_ leaf: Certificate, _ intermediates: [Certificate], _ anchors: [Certificate])
        throws(SigstoreError) -> [Certificate]
    {
        let given = [leaf] + anchors + intermediates
        var key: [UInt8] = []
        for group in [[leaf], anchors, intermediates] {
            key += Array("\(group.count) ".utf8)
            for certificate in group { key += certificate.fingerprint.bytes }
        }
        let positions = try found.answer(for: try Digest.sha256(key)) { () throws(SigstoreError) in
            try search(leaf, intermediates, anchors, among: given)
        }
        return positions.map { given[$0] }
    }

    private static func search(
        _ leaf: Certificate, _ intermediates: [Certificate], _ anchors: [Certificate], among given: [Certificate]
    ) throws(SigstoreError) -> [Int] {
        guard !anchors.isEmpty else {
            throw SigstoreError(
                .certificatePath,
                "no trusted certificate authority was valid when the certificate of \(leaf.displayName) was used",
                advice: "check that the trusted root is the one that the signer used")
        }
        // Positions of certificates that are given twice mean the first of them, whose object is the same.
        var objects: [Certificate.X509Reference] = []
        for certificate in given { objects.append(try certificate.x509()) }
        defer { withExtendedLifetime(objects) {} }
        let (trusted, others) = (1..<1 + anchors.count, 1 + anchors.count..<given.count)
        guard let store = unsafe X509_STORE_new() else { throw opensslFailure("preparing a certificate path") }
        defer { unsafe X509_STORE_free(store) }
        for anchor in objects[trusted] {
            guard unsafe X509_STORE_add_cert(store, anchor.pointer) == 1 else {
                throw opensslFailure("preparing a certificate path")
            }
        }
        // The stack borrows the certificates; only the stack itself is freed.
        guard let untrusted = unsafe OPENSSL_sk_new_null() else { throw opensslFailure("preparing a certificate path") }
        defer { unsafe OPENSSL_sk_free(untrusted) }
        for intermediate in objects[others] {
            guard unsafe OPENSSL_sk_push(untrusted, UnsafeRawPointer(intermediate.pointer)) > 0 else {
                throw opensslFailure("preparing a certificate path")
            }
        }
        guard let context = unsafe X509_STORE_CTX_new() else { throw opensslFailure("preparing a certificate path") }
        defer { unsafe X509_STORE_CTX_free(context) }
        guard unsafe X509_STORE_CTX_init(context, store, objects[0].pointer, untrusted) == 1,
            let parameters = unsafe X509_STORE_CTX_get0_param(context)
        else { throw opensslFailure("preparing a certificate path") }
        var flags = UInt(X509_V_FLAG_NO_CHECK_TIME) | UInt(X509_V_FLAG_TRUSTED_FIRST)
        if anchors.contains(where: { !$0.isSelfIssued }) { flags |= UInt(X509_V_FLAG_PARTIAL_CHAIN) }
        guard unsafe X509_VERIFY_PARAM_set_flags(parameters, flags) == 1 else {
            throw opensslFailure("preparing a certificate path")
        }
        unsafe X509_VERIFY_PARAM_set_depth(parameters, Int32(lengthLimit - 2))
        // 112 bits: RSA from 2048 bits, curves from 224, no SHA-1.
        unsafe X509_VERIFY_PARAM_set_auth_level(parameters, 2)

        let verified = unsafe X509_verify_cert(context)
        defer { ERR_clear_error() }
        guard verified == 1 else { throw unsafe failure(context, given, objects) }
        guard let chain = unsafe X509_STORE_CTX_get0_chain(context) else {
            throw opensslFailure("reading a certificate path")
        }
        var path: [Int] = []
        for index in 0..<max(0, unsafe OPENSSL_sk_num(chain)) {
            let link = unsafe OPENSSL_sk_value(chain, index).map { OpaquePointer($0) }
            guard let position = objects.firstIndex(where: { unsafe $0.pointer == link }) else {
                throw SigstoreError(.certificatePath, "the path holds an unknown certificate")
            }
            path.append(position)
        }
        guard path.count >= 2, path.count <= lengthLimit, let first = path.first, let last = path.last,
            given[first].equals(leaf), anchors.contains(where: { $0.equals(given[last]) })
        else {
            throw SigstoreError(
                .certificatePath, "\(leaf.displayName) is not a certificate that a trusted authority issued")
        }
        return path
    }

    /// What went wrong in `X509_verify_cert`.
    private static func failure(
        _ context: OpaquePointer, _ given: [Certificate], _ objects: [Certificate.X509Reference]
    ) -> SigstoreError {
        let leaf = given[0]
        let reason = unsafe X509_STORE_CTX_get_error(context)
        let current = unsafe X509_STORE_CTX_get_current_cert(context)
        let name = (objects.firstIndex { unsafe $0.pointer == current }.map { given[$0] } ?? leaf).displayName
        let known = unsafe X509_verify_cert_error_string(Int(reason)).map { unsafe String(cString: $0) }
        let text = known ?? "error \(reason)"
        switch reason {
        case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY,
            X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN,
            X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, X509_V_ERR_CERT_UNTRUSTED, X509_V_ERR_CERT_CHAIN_TOO_LONG:
            return SigstoreError(
                .certificatePath,
                "no path leads from the certificate of \(leaf.displayName) to a trusted authority: \(text) (\(name))",
                advice: "check that the trusted root is the one that the signer used")
        case X509_V_ERR_CERT_SIGNATURE_FAILURE, X509_V_ERR_UNABLE_TO_DECRYPT_CERT_SIGNATURE,
            X509_V_ERR_UNABLE_TO_DECODE_ISSUER_PUBLIC_KEY, X509_V_ERR_SIGNATURE_ALGORITHM_MISMATCH,
            X509_V_ERR_UNSUPPORTED_SIGNATURE_ALGORITHM:
            return SigstoreError(
                .certificateSignature, "the signature on the certificate of \(name) does not hold: \(text)")
        case X509_V_ERR_UNHANDLED_CRITICAL_EXTENSION:
            return SigstoreError(
                .certificateCriticalExtension,
                "the certificate of \(name) has a critical extension that is not understood")
        case X509_V_ERR_EE_KEY_TOO_SMALL, X509_V_ERR_CA_KEY_TOO_SMALL, X509_V_ERR_CA_MD_TOO_WEAK:
            return SigstoreError(.certificateWeak, "the certificate of \(name) is too weak: \(text)")
        case X509_V_ERR_KEYUSAGE_NO_CERTSIGN:
            return SigstoreError(.certificateKeyUsage, "the certificate of \(name) may not sign certificates")
        default:
            return SigstoreError(.certificateConstraint, "the certificate of \(name) is refused: \(text)")
        }
    }

    // MARK: - Our part

    static func checkValidity(of certificate: Certificate, at time: Int64) throws(SigstoreError) {
        guard !certificate.isValid(at: time) else { return }
        let from = Instant(seconds: certificate.notBefore).description
        let to = Instant(seconds: certificate.notAfter).description
        throw SigstoreError(
            time < certificate.notBefore ? .certificateNotYetValid : .certificateExpired,
            "the certificate of \(certificate.displayName) is valid from \(from) to \(to), "
                + "not at \(Instant(seconds: time))"
        )
    }

    /// The extensions that OpenSSL or this file acts on. OpenSSL also passes over others, such as policyConstraints.
    private static let understood = [
        Certificate.Identifiers.keyUsage, Certificate.Identifiers.subjectAlternativeName,
        Certificate.Identifiers.basicConstraints, Certificate.Identifiers.nameConstraints,
        Certificate.Identifiers.certificatePolicies, Certificate.Identifiers.extendedKeyUsage,
        Certificate.Identifiers.subjectKeyIdentifier, Certificate.Identifiers.authorityKeyIdentifier,
    ]

    private static func checkCriticalExtensions(of certificate: Certificate) throws(SigstoreError) {
        for found in certificate.extensions where found.isCritical && !understood.contains(found.identifier) {
            throw SigstoreError(
                .certificateCriticalExtension,
                "the certificate of \(certificate.displayName) has the critical extension \(found.identifier), "
                    + "which is not understood")
        }
    }

    private static func checkUsage(of leaf: Certificate, purpose: Purpose) throws(SigstoreError) {
        func refusal(_ what: String) -> SigstoreError {
            SigstoreError(.certificateKeyUsage, "the certificate of \(leaf.displayName) \(what)")
        }
        if case .modelSigning = purpose {
            // What the certificate says of its use must fit, and it must say something.
            let usage = leaf.keyUsage.map { $0.contains(.digitalSignature) }
            let extended = leaf.extendedKeyUsage.map {
                $0.contains(purpose.extendedKeyUsage) || $0.contains(anyExtendedKeyUsage)
            }
            guard usage != nil || extended != nil, usage != false, extended != false else {
                throw refusal("is not meant for signing: its key usage, or extended key usage, lacks that")
            }
            return
        }
        guard !leaf.isCA else { throw refusal("is an authority's, and may not be used for \(purpose.description)") }
        guard let usages = leaf.extendedKeyUsage, usages.contains(purpose.extendedKeyUsage) else {
            throw refusal("is not meant for \(purpose.description): it lacks that extended key usage")
        }
        switch purpose {
        case .codeSigning:
            guard let usage = leaf.keyUsage, usage.contains(.digitalSignature) else {
                throw refusal("may not make digital signatures: its key usage lacks digitalSignature")
            }
        case .timestamping:
            let isCritical = leaf.extensions.contains {
                $0.identifier == Certificate.Identifiers.extendedKeyUsage && $0.isCritical
            }
            guard usages.count == 1, isCritical else {
                throw refusal("must have timestamping as its only extended key usage, and that critical")
            }
            if let usage = leaf.keyUsage, usage.isDisjoint(with: [.digitalSignature, .nonRepudiation]) {
                throw refusal("may not make digital signatures: its key usage lacks digitalSignature")
            }
        case .modelSigning: break
        }
    }

    private static func checkUsage(ofAuthority authority: Certificate, purpose: Purpose) throws(SigstoreError) {
        guard authority.isCA else {
            throw SigstoreError(
                .certificateConstraint, "the certificate of \(authority.displayName) is not an authority's")
        }
        if let usage = authority.keyUsage, !usage.contains(.certificateSigning) {
            throw SigstoreError(
                .certificateKeyUsage, "the certificate of \(authority.displayName) may not sign certificates")
        }
        if let usages = authority.extendedKeyUsage, !usages.contains(purpose.extendedKeyUsage),
            !usages.contains(anyExtendedKeyUsage)
        {
            throw SigstoreError(
                .certificateKeyUsage,
                "the authority \(authority.displayName) may not issue certificates for \(purpose.description)")
        }
    }
}
