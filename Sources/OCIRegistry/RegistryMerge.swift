internal import HTTPTransport
internal import SigstoreCrypto
public import StrictJSON

// Writing to a tag together with others; see ``TagMerge``.
extension RegistryClient {
    public func merge(_ change: TagMerge) async throws(SigstoreError) {
        let announcement = change.announcement(change.id)
        try await putManifest(change.own, tag: announcement)
        var state = MergeState(announced: [change.id: change.own])
        let limit = ContinuousClock.now + options.mergeTimeout
        var attempt: Int64 = 0
        var refusals = 0
        var failure: SigstoreError?
        while ContinuousClock.now < limit {
            attempt += 1
            do throws(SigstoreError) {
                if try await step(change, &state) {
                    for id in state.removed { try await withdraw(id, change) }
                    if state.isAlone { try await withdraw(change.id, change) }
                    return
                }
                failure = nil
            } catch {
                // A registry that keeps tags in files fails to read one while another writer writes it, and calls a
                // manifest wrong that two writers send at once.
                refusals += error.httpStatus == 400 ? 1 : 0
                guard Self.isTransient(error) || (1...8).contains(refusals) && error.httpStatus == 400 else {
                    // What was made known is not at the tag, and will not be.
                    if !state.mayHaveWritten { try? await withdraw(change.id, change) }
                    throw error
                }
                failure = error
            }
            try await Self.pause(.milliseconds(Int64.random(in: 5...(20 + 10 * min(attempt, 20)))))
        }
        throw SigstoreError(
            .contended,
            "it cannot be made sure that \(change.own.digest) is in \(name):\(change.tag): others keep changing it",
            advice: "it is stored as \(name):\(announcement); run the command again when less is going on",
            cause: failure)
    }

    /// What one writer has seen so far.
    struct MergeState {
        /// The entries that were made known.
        var announced: [String: Manifest]
        /// Everything that ever stood at the tag: what another tool overwrites is put back.
        var seen: [Manifest] = []
        /// Whether our own entry may stand at the tag.
        var mayHaveWritten = false
        /// How often in a row everything was there.
        var wholeReads = 0
        /// The entries that this change takes away and that another writer made known.
        var removed: Set<String> = []
        /// Whether no other writer had made an entry known when we last looked.
        var isAlone = false
    }

    /// Looks once, and writes if something is missing, or is there that is taken away.
    /// - Returns: Whether everything is as it should be and stayed so.
    func step(_ change: TagMerge, _ state: inout MergeState) async throws(SigstoreError) -> Bool {
        // The order matters: first who is there, then what stands at the tag (see TagMerge).
        let ids = try await announcements(change)
        let current = try await manifest(.tag(change.tag))
        let present = try current.map { (manifest) throws(SigstoreError) in try change.entries(manifest) } ?? []
        if let current, !state.seen.contains(where: { $0.digest == current.digest }) { state.seen.append(current) }
        for id in ids where state.announced[id] == nil && !present.contains(id) {
            // It may be gone: the writer that made it known has seen it at the tag, and then so will we.
            state.announced[id] = try await manifest(.tag(change.announcement(id)))
        }
        let announced = state.announced.filter { $0.key == change.id || ids.contains($0.key) }.sorted {
            $0.key < $1.key
        }
        .map(\.value)
        var removed: Set<String> = []
        var wanted = try change.ownEntries()
        for manifest in state.seen + announced {
            removed.formUnion(try change.removed(manifest))
            wanted.formUnion(try change.entries(manifest))
        }
        removed.subtract(try change.ownEntries())
        wanted.subtract(removed)
        state.removed = removed.intersection(ids)
        state.isAlone = ids.subtracting([change.id]).isSubset(of: removed)
        if wanted.isSubset(of: present), present.isDisjoint(with: removed) {
            // Another look after a pause is for tools that do not announce themselves.
            state.wholeReads += 1
            return state.wholeReads >= 2
        }
        state.wholeReads = 0
        var missing: [Manifest] = []
        for manifest in announced where !(try change.entries(manifest).subtracting(removed).isSubset(of: present)) {
            missing.append(manifest)
        }
        let others = state.seen.filter { $0.digest != current?.digest }
        let merged = try change.merged((current.map { [$0] } ?? []) + others + missing)
        for blob in try change.blobs(merged) { try await putBlob(blob) }
        let hasTried = state.mayHaveWritten
        state.mayHaveWritten = true
        do throws(SigstoreError) { try await putManifest(merged, tag: change.tag) } catch {
            // A registry that refuses a manifest has not stored it.
            if let status = error.httpStatus, (400...499).contains(status) { state.mayHaveWritten = hasTried }
            throw error
        }
        return false
    }

    /// Who makes an entry for this tag known at the moment.
    func announcements(_ change: TagMerge) async throws(SigstoreError) -> Set<String> {
        let length = change.announcement("").utf8.count
        return Set(
            (try await tags() ?? []).filter { TagMerge.isAnnouncement($0, for: change.tag) }
                .map { String($0.utf8.dropFirst(length)) ?? "" })
    }

    /// Takes an announcement back: our own, if no other writer is at work, or that of an entry which this change takes
    /// away.
    func withdraw(_ id: String, _ change: TagMerge) async throws(SigstoreError) {
        let announcement = change.announcement(id)
        do throws(SigstoreError) {
            guard try await delete(.tag(announcement)) else { return }
        } catch {
            // Many registries or credentials do not allow deleting. That our own tag stays does no harm; that of an
            // entry which is gone would bring it back, and so is given another meaning.
            guard [.unsupported, .denied, .unauthorized, .httpStatus].contains(error.code) else { throw error }
            if id != change.id { try await putManifest(change.own, tag: announcement) }
            return
        }
        // Some registries remove a manifest with its last tag, even one that an index lists.
        guard id == change.id, try await resolve(.digest(change.own.digest)) == nil else { return }
        try await putManifest(change.own, tag: announcement)
    }
}
