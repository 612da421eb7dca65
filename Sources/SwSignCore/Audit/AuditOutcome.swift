public import StrictJSON

extension AuditSums {
    /// Says whether all is well.
    /// - Parameter missingParts: How many parts of the audit are not in these sums.
    /// - Throws: `SigstoreError` with `audit-incomplete` if something could not be looked at, whatever else was found; else
    ///   with `audit-findings` if something was found that a person should see.
    public func expectNothingFound(missingParts: Int = 0) throws(SigstoreError) {
        let found = "\(findings) of \(AuditText.count(rows, "digest", "digests")) should be looked at by a person"
        if incomplete > 0 || missingParts > 0 {
            var unseen: [String] = []
            if incomplete > 0 {
                unseen.append("\(AuditText.count(incomplete, "digest", "digests")) could not be looked at whole")
            }
            if missingParts > 0 {
                unseen.append(
                    "\(AuditText.count(missingParts, "part", "parts")) of the audit \(missingParts == 1 ? "is" : "are") missing"
                )
            }
            throw SigstoreError(.auditIncomplete, "\(unseen.joined(separator: ", and ")); \(found)")
        }
        if hasFindings { throw SigstoreError(.auditFindings, found) }
    }
}

extension SigstoreError.Code {
    /// An audit found something that a person should see.
    public static let auditFindings = Self("audit-findings")
    /// An audit could not look at everything.
    public static let auditIncomplete = Self("audit-incomplete")
}
