internal import HTTPTransport
internal import LocalSystem
internal import SigstoreCrypto
public import StrictJSON

// Writing to a tag together with others; see ``TagMerge``.
extension RegistryClient {
    public func merge(_ change: TagMerge) async throws(SigstoreError) {
        var state = MergeState()
        do throws(SigstoreError) {
            if options.announcesWriters {
                // A registry that lists by itself what it is sent needs no list of ours, and no announcement.
                if !change.isStored, try await storeOwn(change).get() { return }
                state.isOwnStored = true
                try await announce(change, &state)
            }
            let list = try await written(change, &state)
            await finish(change, list, state)
        } catch { try await giveUp(change, state, error) }
    }

    /// What one writer has seen and done so far.
    struct MergeState {
        /// What stood at the tag, and what this writer wrote there: what is overwritten is put back.
        var seen: [Manifest] = []
        /// What this writer wrote last, if the registry said so.
        var written: Manifest?
        /// When the last write ended that may have changed the list, whatever the registry said.
        var touched: ContinuousClock.Instant?
        /// What the last look showed, and since when looks have shown it.
        var shown: (digest: Digest, since: ContinuousClock.Instant)?
        /// Whether a look has shown something else than what was written.
        var isContended = false
        /// Whether a write took longer than others wait for it.
        var wasSlow = false
        /// The name at which this writer announces itself.
        var announcement: String?
        /// What other writers have announced, by name.
        var announced: [String: Manifest] = [:]
        /// The announcements that were done with when this writer first looked; `nil` before that.
        var done: [String: Digest]?
        /// Whether this writer's own manifest is stored by its digest.
        var isOwnStored = false
        /// The blobs that were stored for what is written.
        var stored: Set<Digest> = []
        /// The entries that this change takes away.
        var removed: Set<String> = []
        /// How often the credentials were refused in the middle.
        var refusals = 0

        /// Whether other writers are looked for.
        var looksForOthers: Bool { announcement != nil || isContended || wasSlow }

        /// Keeps what stands at the tag, or was written there.
        mutating func keep(_ manifest: Manifest, _ change: TagMerge) throws(SigstoreError) {
            let entries = try change.entries(manifest)
            var kept: [Manifest] = []
            for old in seen where !(try change.entries(old).isSubset(of: entries)) { kept.append(old) }
            seen = kept + [manifest]
            if seen.count > 16 { seen = [try change.merged(seen)] }
        }
    }

    /// Writes, and looks until everything is there and has stayed.
    /// - Returns: What stands at the tag.
    private func written(_ change: TagMerge, _ state: inout MergeState) async throws(SigstoreError) -> Manifest {
        let limit = ContinuousClock.now + options.mergeTimeout
        var (attempt, failures): (Int64, Int) = (0, 0)
        while true {
            attempt += 1
            do throws(SigstoreError) {
                if let list = try await step(change, &state) { return list }
                failures = 0
            } catch  where error.code == .outOfDate {
                // It was not sent in time: it is read again.
            } catch {
                failures += 1
                guard failures < RetryPolicy().maxAttempts, let pause = Self.pause(after: error, failures, &state)
                else { throw error }
                try await Self.pause(pause)
            }
            guard ContinuousClock.now < limit else { throw .contended(change, "others keep changing it") }
            if state.looksForOthers {
                try await Self.pause(.milliseconds(Int64.random(in: 5...(20 + 10 * min(attempt, 20)))))
            }
        }
    }

    /// How long to wait before the tag is read again after a failure; `nil` if it will not pass.
    private static func pause(after error: SigstoreError, _ failures: Int, _ state: inout MergeState) -> Duration? {
        let response = (error.cause as? HTTPStatusError)?.response
        if response?.status == 401 {
            state.refusals += 1
            return state.refusals == 1 ? .zero : nil
        }
        // A registry that keeps tags in files fails to read one while another writer writes it, and calls a manifest
        // wrong that two writers send at once.
        guard isTransient(error) || response.map({ $0.status == 400 && !isImmutable($0) }) ?? false else { return nil }
        let delay = RetryPolicy().delay(after: failures)
        guard let header = response?.header("retry-after"),
            let asked = RetryPolicy.retryAfter(header, now: SystemClock.now())
        else { return delay }
        return asked <= RetryPolicy().maxRetryAfter ? max(asked, delay) : nil
    }

    /// Looks once, and writes if something is missing, or is there that is taken away.
    /// - Returns: What stands at the tag, if everything is there and has stayed; `nil` to look again.
    private func step(_ change: TagMerge, _ state: inout MergeState) async throws(SigstoreError) -> Manifest? {
        // The order matters: first who is there, then what stands at the tag (see TagMerge).
        if state.looksForOthers { try await readAnnouncements(change, &state) }
        let mustStore = !change.isStored && !state.isOwnStored
        async let stored = mustStore ? storeOwn(change) : .success(false)
        let asked = ContinuousClock.now
        let current = try await manifest(.tag(change.tag), goesFirst: true)
        let answered = ContinuousClock.now
        // A registry that lists what it is sent by itself needs no list of ours.
        if try await stored.get() { return change.own }
        state.isOwnStored = true
        if let current { try state.keep(current, change) }
        if state.shown?.digest != current?.digest { state.shown = current.map { ($0.digest, asked) } }
        if let written = state.written, current?.digest != written.digest, !state.isContended {
            state.isContended = true
            if state.announcement == nil { try await announceIfPossible(change, &state) }
            return nil
        }
        let present = try current.map { (manifest) throws(SigstoreError) in try change.entries(manifest) } ?? []
        var removed: Set<String> = []
        var wanted = try change.ownEntries()
        for manifest in state.seen + state.announced.values {
            removed.formUnion(try change.removed(manifest))
            wanted.formUnion(try change.entries(manifest))
        }
        removed.subtract(try change.ownEntries())
        wanted.subtract(removed)
        state.removed.formUnion(removed)
        if let current, wanted.isSubset(of: present), present.isDisjoint(with: removed) {
            // All who had read before have written by then, and are seen.
            let since = state.shown?.since ?? asked
            let end = max(since, state.touched ?? since) + options.pauseAfterWrite
            if asked >= end { return current }
            let rest = max(.zero, ContinuousClock.now.duration(to: end))
            options.report(.waiting(rest))
            try await Self.pause(rest)
            return nil
        }
        var missing: [Manifest] = []
        for (_, manifest) in state.announced.sorted(by: { $0.key < $1.key })
        where !(try change.entries(manifest).subtracting(removed).isSubset(of: present)) { missing.append(manifest) }
        let others = state.seen.filter { $0.digest != current?.digest }
        let merged = try change.merged((current.map { [$0] } ?? []) + others + [change.own] + missing)
        for blob in try change.blobs(merged) where !state.stored.contains(blob.digest) {
            try await putBlob(blob)
            state.stored.insert(blob.digest)
        }
        try await write(merged, change, &state, asked: asked, answered: answered)
        return nil
    }

    /// Stores a writer's own manifest by its digest.
    /// - Returns: Whether the registry says that it lists it by itself.
    private func storeOwn(_ change: TagMerge) async -> Result<Bool, SigstoreError> {
        do throws(SigstoreError) { return .success(try await put(change.own, nil)) } catch { return .failure(error) }
    }

    /// Points the tag at a list, if what stands there was read a moment ago.
    private func write(
        _ list: Manifest, _ change: TagMerge, _ state: inout MergeState, asked: ContinuousClock.Instant,
        answered: ContinuousClock.Instant
    ) async throws(SigstoreError) {
        let latest = answered + options.longestLookAge
        guard ContinuousClock.now < latest else { return }
        do throws(SigstoreError) { _ = try await put(list, change.tag, latestStart: latest) } catch {
            // A registry that refuses a manifest has not stored it.
            if error.code != .outOfDate, !error.wasNotSent, !(400...499).contains(error.httpStatus ?? 0) {
                noteEnd(of: asked, change, &state)
            }
            throw error
        }
        (state.written, state.refusals) = (list, 0)
        state.shown = (list.digest, .now)
        try state.keep(list, change)
        noteEnd(of: asked, change, &state)
    }

    /// Keeps when a write ended, and says if it took longer than others wait.
    /// - Parameter asked: When the tag was read for it.
    private func noteEnd(of asked: ContinuousClock.Instant, _ change: TagMerge, _ state: inout MergeState) {
        let end = ContinuousClock.now
        state.touched = end
        guard asked.duration(to: end) > options.longestWrite else { return }
        if !state.wasSlow { options.report(.slow(tag: "\(name):\(change.tag)", asked.duration(to: end))) }
        state.wasSlow = true
    }

    // MARK: Announcements

    /// Where announcements are if nobody may list the tags: each writer takes one of these names.
    private static let places = (0..<64).map { number in
        let hex = String(number, radix: 16)
        return hex.utf8.count == 1 ? "0\(hex)" : hex
    }
    /// More announcements for one tag are not looked at.
    private static let announcementLimit = 1000
    /// The most bytes that announcements may have together.
    private static let announcementByteLimit = 32 << 20

    /// Makes this writer's entry known.
    private func announce(_ change: TagMerge, _ state: inout MergeState) async throws(SigstoreError) {
        let listed = try await listedAnnouncements(change)
        let start = (Int(change.announcedAs.prefix(2), radix: 16) ?? 0) % Self.places.count
        let names = listed == nil ? Self.places[start...] + Self.places[..<start] : [change.announcedAs, change.id]
        for name in names {
            if listed?.contains(name) ?? true, let there = try await manifest(.tag(change.announcement(name))),
                there.digest != change.own.digest, there.isEmpty || !change.isList(there)
            {
                // Another writer's, who may still be at work.
                continue
            }
            try await putManifest(change.own, tag: change.announcement(name))
            state.announcement = name
            return
        }
        throw .contended(change, "no place is left to announce another writer")
    }

    /// Makes this writer's entry known, unless the registry refuses it and it was not demanded. The looks find what was
    /// lost also without.
    private func announceIfPossible(_ change: TagMerge, _ state: inout MergeState) async throws(SigstoreError) {
        state.announcement = nil
        do throws(SigstoreError) { try await announce(change, &state) } catch {
            guard !options.announcesWriters, error.code != .cancelled, !Self.isTransient(error) else { throw error }
        }
    }

    /// The names of the announcements for a tag; `nil` if the registry does not list its tags.
    private func listedAnnouncements(_ change: TagMerge) async throws(SigstoreError) -> Set<String>? {
        let names: [String]?
        do throws(SigstoreError) { names = try await tags() } catch {
            let isRefused = (400...499).contains(error.httpStatus ?? 0) && error.httpStatus != 429
            guard isRefused || error.code == .unauthorized || error.code == .denied else { throw error }
            return nil
        }
        guard let names else { return nil }
        let found = Set(names.compactMap { TagMerge.announcement($0, for: change.tag) })
        guard found.count <= Self.announcementLimit else {
            throw SigstoreError(
                .tooLarge,
                "\(name) has \(found.count) tags beside \(change.tag), more than the \(Self.announcementLimit) that are looked at",
                advice: "remove the tags that begin with \(change.tag) and a dot")
        }
        return found
    }

    /// Looks who has announced what.
    private func readAnnouncements(_ change: TagMerge, _ state: inout MergeState) async throws(SigstoreError) {
        var names = Set(Self.places)
        do throws(SigstoreError) { names = try await listedAnnouncements(change) ?? names } catch {
            // To look for others was not demanded.
            guard !options.announcesWriters, error.code != .cancelled, !Self.isTransient(error) else { throw error }
        }
        let isFirst = state.done == nil
        let known = state.done ?? [:]
        // After a slow write all may have changed meanwhile.
        let asked = names.filter { name in
            isFirst || state.wasSlow || name == state.announcement || known[name] == nil && state.announced[name] == nil
        }
        var done = known
        var rest = asked.sorted()[...]
        while !rest.isEmpty {
            let part = Array(rest.prefix(16))
            rest = rest.dropFirst(16)
            let found = try await concurrently(part) { name throws(SigstoreError) in
                try await manifest(.tag(change.announcement(name)))
            }
            for (name, manifest) in zip(part, found) {
                guard let manifest, manifest.digest != change.own.digest, known[name] != manifest.digest else {
                    continue
                }
                // What was done with before this writer came is in the list, or was taken out of it.
                if manifest.isEmpty || isFirst && change.isList(manifest) {
                    done[name] = manifest.digest
                } else {
                    state.announced[name] = manifest
                }
            }
            guard state.announced.values.reduce(0, { $0 + $1.bytes.count }) <= Self.announcementByteLimit else {
                throw SigstoreError(
                    .tooLarge,
                    "what is announced beside \(name):\(change.tag) has more than \(Self.announcementByteLimit) bytes",
                    advice: "remove the tags that begin with \(change.tag) and a dot")
            }
        }
        state.done = done
        // Another writer may have announced the same statement by the same signer at the same moment.
        if let own = state.announcement, state.announced[own] != nil || done[own] != known[own] {
            try await announceIfPossible(change, &state)
        }
    }

    /// Takes the announcement back, and those of entries that this change took away: the list has everything.
    private func finish(_ change: TagMerge, _ list: Manifest, _ state: MergeState) async {
        if state.removed.isEmpty, state.announcement == nil { return }
        var isAlone = true
        for (name, manifest) in state.looksForOthers ? state.announced : await announcedNow(change) {
            let entries = (try? change.entries(manifest)) ?? []
            if !entries.isEmpty, entries.isSubset(of: state.removed) {
                await withdraw(name, manifest, change, list, mayRemove: false)
            } else if isAlone, !change.isList(manifest) {
                // Who is still at work needs to find ours.
                let now = try? await self.manifest(.tag(change.announcement(name)))
                isAlone = now?.digest != manifest.digest
            }
        }
        guard let own = state.announcement else { return }
        await withdraw(own, change.own, change, list, mayRemove: isAlone)
    }

    /// What is announced, for a change that takes entries away: an announcement would bring them back.
    private func announcedNow(_ change: TagMerge) async -> [String: Manifest] {
        var state = MergeState()
        guard (try? await readAnnouncements(change, &state)) != nil else { return [:] }
        return state.announced
    }

    /// Removes an announcement, or if that cannot be or others are at work, points it at the list. One that is another by
    /// now is left.
    private func withdraw(
        _ name: String, _ manifest: Manifest, _ change: TagMerge, _ list: Manifest?, mayRemove: Bool
    ) async {
        let tag = change.announcement(name)
        guard let there = try? await self.manifest(.tag(tag)), there.digest == manifest.digest else { return }
        if mayRemove, (try? await removeAlone(tag)) ?? false { return }
        if let list { try? await putManifest(list, tag: tag) }
    }

    /// Removes a tag, and nothing else. Some registries remove a manifest with its tag: so the tag is pointed at an empty
    /// manifest of our own first.
    private func removeAlone(_ tag: String) async throws(SigstoreError) -> Bool {
        let selector = try ManifestSelector(tag: tag)
        let empty = try await putEmptyManifest(at: tag)
        do throws(SigstoreError) { _ = try await delete(selector) } catch {
            guard error.code == .unsupported else { throw error }
            _ = try await delete(.digest(empty.digest))
        }
        return try await manifest(selector) == nil
    }

    /// Ends a write that failed, unless the entry is there after all, and stays.
    private func giveUp(
        _ change: TagMerge, _ state: MergeState, _ failure: SigstoreError
    ) async throws(SigstoreError) {
        var list: Manifest?
        do throws(SigstoreError) {
            list = try await manifest(.tag(change.tag))
            if state.touched != nil, try holdsOwn(list, change) {
                try await Self.pause(options.pauseAfterWrite)
                list = try await manifest(.tag(change.tag))
            }
            if let list, try holdsOwn(list, change) {
                options.report(.unsettled(tag: "\(name):\(change.tag)", failure))
                return await finish(change, list, state)
            }
        } catch {
            if let own = state.announcement { await withdraw(own, change.own, change, list, mayRemove: true) }
            guard state.touched != nil else { throw failure }
            var failure = failure
            failure.message += "; whether it is at \(name):\(change.tag) all the same could not be looked at"
            throw failure
        }
        if let own = state.announcement { await withdraw(own, change.own, change, list, mayRemove: true) }
        throw failure
    }

    private func holdsOwn(_ list: Manifest?, _ change: TagMerge) throws(SigstoreError) -> Bool {
        guard let list else { return false }
        return try change.ownEntries().isSubset(of: try change.entries(list))
    }
}

extension SigstoreError {
    fileprivate static func contended(_ change: TagMerge, _ why: String) -> SigstoreError {
        SigstoreError(
            .contended, "it cannot be made sure that \(change.own.digest) is in the list at \(change.tag): \(why)",
            advice: "run the command again when less is going on")
    }
}
