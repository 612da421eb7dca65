internal import SigstoreCrypto
public import StrictJSON

extension Verification {
    /// 2. The times at which the signature existed (client specification, section 4.2).
    ///
    /// Signed timestamps by known authorities must hold if they are there, and so must promises; nothing else gives a
    /// time.
    mutating func establishTimes() throws(SigstoreError) {
        try verifyTimestamps()
        if case .required = policy.transparencyLog { try verifyPromises() }
        guard case .identities = policy.signedBy, times.isEmpty else { return }
        // A certificate holds for minutes: without a time it says nothing.
        switch policy.transparencyLog {
        case .required:
            if let uncountedTimestamp { throw uncountedTimestamp }
            throw SigstoreError(
                .noTime,
                "nothing proves when the signature was made: no signed timestamp, and no time that a log promised",
                advice: "sign with a timestamp authority, or with a log that promises a time")
        case .insecurelyIgnored:
            times = [VerifiedTime(source: .currentTime, seconds: currentTime)]
        }
    }

    /// 2.1 Signed timestamps over the signature's bytes, by authorities that counted at that time (section 4.2.1).
    private mutating func verifyTimestamps() throws(SigstoreError) {
        let authorities = trustedRoot?.timestampAuthorities ?? []
        for (index, timestamp) in bundle.timestamps.enumerated() where bundle.timestamps[..<index].contains(timestamp) {
            throw SigstoreError(.tooManyEntries, "a timestamp stands twice in the bundle")
        }
        if authorities.isEmpty, trustedRoot != nil, !bundle.timestamps.isEmpty {
            warnings.append(
                SigstoreError(
                    .timestampAuthority, "timestamps are not counted: the trusted root knows no timestamp authority",
                    advice: "give a trusted root that knows the timestamp authority that was used"))
        }
        var counted: [[UInt8]] = []
        // If no authority is known, nothing can be said about timestamps: they are as good as absent.
        for timestamp in authorities.isEmpty ? [] : bundle.timestamps {
            let token = try TimestampToken(response: timestamp)
            var valid: TrustedRoot.Authority?
            var untimely: TrustedRoot.Authority?
            var failure: SigstoreError?
            for authority in authorities {
                do throws(SigstoreError) {
                    guard try verify(token, by: authority, of: authorities) else { continue }
                    if authority.validFor.contains(Instant(seconds: token.time)) {
                        valid = valid ?? authority
                    } else {
                        untimely = untimely ?? authority
                    }
                } catch {
                    // The failure nearest to success says most: a token that is over other bytes belongs to no
                    // authority.
                    if failure == nil || failure?.code == .timestampAuthority { failure = error }
                }
            }
            if let valid {
                let name = valid.uri.isEmpty ? valid.anchors.flatMap(\.der) : Array(valid.uri.utf8)
                if !counted.contains(name) { counted.append(name) }
                times.append(VerifiedTime(source: .timestampAuthority(valid.name), seconds: token.time))
                held("timestamp", "\(valid.name) saw the signature at \(Instant(seconds: token.time))")
            } else if let untimely {
                // It is genuine, but the trusted root does not vouch for the authority at that time: no time comes of it.
                uncountedTimestamp = SigstoreError(
                    .timestampAuthorityNotValid,
                    "the timestamp authority \(untimely.name) counts from \(untimely.validFor.description), "
                        + "not at \(Instant(seconds: token.time))")
            } else {
                let failure =
                    failure ?? SigstoreError(.noTimestamp, "no authority of the trusted root made the timestamp")
                guard !authorities.contains(where: { token.mayBe(by: $0.intermediates + $0.anchors) }) else {
                    throw failure
                }
                // Of one that the trusted root does not know nothing can be said: it is as good as absent.
                uncountedTimestamp = failure
                warnings.append(
                    SigstoreError(
                        .timestampAuthority,
                        "a timestamp is not counted: the trusted root does not know its authority, whose certificate is by "
                            + token.issuerName,
                        advice: "check that the trusted root knows the timestamp authority that was used"))
            }
        }
        var demanded = isPrivateInstance ? 1 : 0
        if case .required(let threshold) = policy.signedTimestamps { demanded = max(1, threshold) }
        if counted.count < demanded {
            if let uncountedTimestamp { throw uncountedTimestamp }
            throw SigstoreError(
                .noTimestamp,
                "expected verified timestamps of \(demanded) authorities, found \(counted.count)"
                    + (authorities.isEmpty && !bundle.timestamps.isEmpty
                        ? ": the trusted root knows no authority" : ""),
                advice: "sign with a timestamp authority, and give a trusted root that knows it")
        }
    }

    /// Whether an authority made a token: `false` if it has no certificates at all.
    private func verify(
        _ token: TimestampToken, by authority: TrustedRoot.Authority, of authorities: [TrustedRoot.Authority]
    ) throws(SigstoreError) -> Bool {
        var failure: SigstoreError?
        let unlisted = authorities.unlisted(token.certificates.filter(\.isCA))
        var subjects = [signature]
        if let envelope = bundle.timestampedEnvelope { subjects.append(envelope) }
        for anchor in authority.anchors {
            // As with the signer's certificate: what is brought is used only below an anchor for which nothing is listed.
            let isOpen = !unlisted.isEmpty && !authorities.listIntermediate(below: anchor)
            for subject in subjects {
                do throws(SigstoreError) {
                    try token.verify(
                        over: subject, authority: authority.intermediates + [anchor],
                        intermediates: isOpen ? unlisted : [])
                    return true
                } catch { failure = failure ?? error }
            }
        }
        if let failure { throw failure }
        return false
    }

    /// 2.2 What logs promised, over the same entry that is verified later (section 4.2.2).
    private mutating func verifyPromises() throws(SigstoreError) {
        for entry in bundle.logEntries {
            if let promise = entry.promise {
                let time = try verifyPromise(of: entry, promise)
                if entry.integratedTime > 0 { times.append(time) }
                held("log-time", "entry \(entry.logIndex) was taken at \(Instant(seconds: time.seconds))")
            } else if entry.integratedTime != 0, case .identities = policy.signedBy {
                // With a certificate every time that is stated must hold, and for this one no authority vouches.
                throw SigstoreError(
                    .unprovenTime,
                    "log entry \(entry.logIndex) states a time, \(Instant(seconds: entry.integratedTime)), without the "
                        + "promise that proves it")
            }
        }
    }
}

extension SigstoreError.Code {
    /// Nothing proves when a signature with a certificate was made.
    public static let noTime = Self("no-time")
    /// A log entry states a time that nothing proves.
    public static let unprovenTime = Self("unproven-time")
    /// Fewer signed timestamps than are demanded.
    public static let noTimestamp = Self("no-timestamp")
    /// A timestamp of an authority that does not count at that time.
    public static let timestampAuthorityNotValid = Self("timestamp-authority-not-valid")
}
