public import StrictJSON

extension AuditSums {
    /// Says whether all is well.
    /// - Parameters:
    ///   - missingParts: How many parts of the audit are not in these sums.
    ///   - isPart: Whether they are those of one part, which may have no digest.
    /// - Throws: `SigstoreError` with `audit-incomplete` if something could not be looked at, whatever else was found, or
    ///   nothing was there; else with `audit-findings` if something was found that a person should see.
    public func expectNothingFound(missingParts: Int = 0, isPart: Bool = false) throws(SigstoreError) {
        guard rows > 0 || missingParts > 0 || isPart else {
            throw SigstoreError(
                .auditIncomplete, "there is nothing in these places: nothing was audited",
                advice: "check their names, and that these credentials may see what is there")
        }
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
