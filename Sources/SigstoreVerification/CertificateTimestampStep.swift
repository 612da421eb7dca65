internal import SigstoreCrypto
internal import StrictJSON

extension Verification {
    /// 3.4 A certificate transparency log promised to include the certificate (RFC 6962, section 3.2), with a key that
    /// counted when it did. Promises of logs that are not known say nothing; one of a known log must hold.
    mutating func verifyCertificateTimestamps(_ leaf: Certificate, _ path: [Certificate]) throws(SigstoreError) {
        guard case .required = policy.certificateTransparency else { return }
        if isPrivateInstance { return unproven.append(.certificateTimestamp) }
        guard let issuer = path.dropFirst().first else {
            throw SigstoreError(.noCertificateTimestamp, "the certificate's issuer is not known")
        }
        let promised = try SignedCertificateTimestamp.embedded(in: leaf) + policy.detachedCertificateTimestamps
        guard !promised.isEmpty else {
            throw SigstoreError(
                .noCertificateTimestamp, "the certificate carries no signed certificate timestamp",
                advice: .remedy(.giveCertificateTimestamp))
        }
        var held = false
        var untimely: SigstoreError?
        for timestamp in promised {
            let logs = (trustedRoot?.certificateTransparencyLogs ?? []).filter { $0.logID == timestamp.logID }
            var failure: SigstoreError?
            var verified = false
            for log in logs {
                do throws(SigstoreError) {
                    try timestamp.verify(certificate: leaf, issuer: issuer, logKey: log.publicKey)
                    let moment = Instant(milliseconds: Int64(clamping: timestamp.timestamp))
                    if let signed = earliestProvenTime, moment > signed.latest {
                        throw SigstoreError(
                            .certificateTimestampTooLate,
                            "\(log.name) logged the certificate at \(moment), after it had signed: expected at most five "
                                + "minutes after \(signed.time)",
                            advice: "the certificate or the time of the signature is not what it seems: do not trust it"
                        )
                    }
                    verified = true
                    if log.validFor.contains(moment) {
                        if !held {
                            self.held("certificate-timestamp", "\(log.name) logged the certificate at \(moment)")
                        }
                        held = true
                    } else {
                        untimely = SigstoreError(
                            .certificateLogNotValid,
                            "the key of the certificate log \(log.name) is valid from \(log.validFor.description), not at \(moment)"
                        )
                    }
                } catch { failure = failure ?? error }
            }
            if !verified, let failure { throw failure }
        }
        guard held else {
            if let untimely { throw untimely }
            throw SigstoreError(
                .noCertificateTimestamp,
                "no certificate log that the trusted root knows has signed a timestamp for the certificate: expected one of "
                    + "\(TrustedRoot.names(trustedRoot?.certificateTransparencyLogs ?? [])), found "
                    + promised.map { Hexadecimal.encode($0.logID) }.joined(separator: ", "),
                advice: "check that the trusted root is the one that the signer used")
        }
    }

    /// The earliest time at which the signature is proven to have existed, and the latest at which its certificate may
    /// have been logged; `nil` if nothing but this machine's clock gives a time. Clocks differ, by five minutes at most.
    private var earliestProvenTime: (time: Instant, latest: Instant)? {
        let proven = times.filter { if case .currentTime = $0.source { false } else { true } }
        guard let earliest = proven.map(\.seconds).min() else { return nil }
        let (latest, overflow) = earliest.addingReportingOverflow(300)
        return (Instant(seconds: earliest), Instant(seconds: overflow ? .max : latest))
    }
}
