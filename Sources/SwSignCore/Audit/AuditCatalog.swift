public import OCIRegistry
internal import StrictJSON

extension Audit {
    /// The repositories that a registry lists. If the list cannot be read whole, that is a row, beside those that were found.
    public static func places(of registry: Registry, _ registries: Registries) async -> (
        places: [AuditPlace], unread: AuditRow?
    ) {
        var places: [AuditPlace] = []
        do throws(SigstoreError) {
            try await registries.forEachRepository(of: registry) { page throws(SigstoreError) in
                places += page.map { .repository($0) }
            }
        } catch {
            var row = AuditRow(
                place: registry.name, names: [], digest: nil, signed: .couldNotLook, verdict: .couldNotLook)
            row.failures = [AuditFailure(error)]
            return (places, row)
        }
        return (places, nil)
    }
}
