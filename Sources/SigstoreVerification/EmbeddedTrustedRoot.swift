public import StrictJSON

extension TrustedRoot {
    /// An instance of Sigstore whose trusted root is built in.
    public enum Instance: Sendable {
        /// The public instance, sigstore.dev.
        case production
        /// The public instance's rehearsal, sigstage.dev, which is not to be trusted with anything real.
        case staging
    }

    /// The trusted root of a public instance, as it was when this library was written.
    /// - Throws: `SigstoreError` with `malformed-trusted-root`.
    public static func embedded(_ instance: Instance) throws(SigstoreError) -> TrustedRoot {
        switch instance {
        case .production: try production.get()
        case .staging: try staging.get()
        }
    }

    // Read once, when first needed.
    private static let production = Result { () throws(SigstoreError) in
        try TrustedRoot(parsing: EmbeddedTrust.productionTrustedRoot)
    }
    private static let staging = Result { () throws(SigstoreError) in
        try TrustedRoot(parsing: EmbeddedTrust.stagingTrustedRoot)
    }
}
