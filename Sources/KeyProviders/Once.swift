import StrictJSON

/// Looks something up once for all who ask for it; what failed is looked up again when it is asked for again.
actor Once<Key: Hashable & Sendable, Value: Sendable> {
    private var found: [Key: Task<Result<Value, SigstoreError>, Never>] = [:]

    /// What was found, or is found now.
    /// - Parameters:
    ///   - key: What is looked up.
    ///   - holds: Whether what was found still counts.
    ///   - look: Looks it up.
    func value(
        _ key: Key, while holds: @Sendable (Value) -> Bool = { _ in true },
        _ look: @escaping @Sendable () async throws(SigstoreError) -> Value
    ) async throws(SigstoreError) -> Value {
        if let task = found[key] {
            let result = await task.value
            guard case .success(let value) = result, !holds(value) else { return try result.get() }
            // Another one may have begun to look meanwhile.
            if found[key] == task { found[key] = nil }
            return try await self.value(key, look)
        }
        let task = Task<Result<Value, SigstoreError>, Never> {
            do throws(SigstoreError) { return .success(try await look()) } catch { return .failure(error) }
        }
        found[key] = task
        let result = await task.value
        if case .failure = result, found[key] == task { found[key] = nil }
        return try result.get()
    }
}
