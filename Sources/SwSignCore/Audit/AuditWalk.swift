internal import OCIRegistry
internal import SigstoreCrypto
internal import SigstoreVerification
internal import StrictJSON

extension Audit {
    /// The way through one repository or layout: its tags, what they point at, and what else can be reached from there.
    struct Walk {
        let audit: Audit
        let place: AuditPlace
        private(set) var tally = Tally()
        /// What is looked at, in the order in which it was met.
        private var digests: [Digest] = []
        private var names: [Digest: [String]] = [:]
        /// What may be an index, as far as that is known.
        private var mayBeIndex: Set<Digest> = []
        /// The tags that are named as carriers are, and the digests that these names are about.
        private var known: Set<Digest> = []
        private var carriers: [CarrierTag] = []
        /// Whether all tags are known: what none of them names as a carrier has none.
        private var isListWhole = false
        /// What the names of tags say belongs to a digest.
        private var attached: [Digest: CarrierKinds] = [:]

        init(_ audit: Audit, _ place: AuditPlace) { (self.audit, self.place) = (audit, place) }

        // MARK: - Tags

        /// Reads the tags of a repository, and what they point at.
        mutating func list(_ store: RegistryClient, _ take: (AuditRow) throws(SigstoreError) -> Void)
            async throws(SigstoreError)
        {
            var tags: [String] = []
            do throws(SigstoreError) {
                let isThere = try await store.forEachTags(refusingRepeats: true) { page throws(SigstoreError) in
                    tags += page
                }
                if !isThere {
                    throw SigstoreError(
                        .notFound, "there is no repository \(place.name), or it lists no tags",
                        advice: "check the name; some registries hide repositories from those who are not logged in")
                }
                isListWhole = audit.signatureRepository == nil
            } catch { try audit.finish(Audit.unread(place, [], nil, error), take) }
            tags.removeAll { takeCarrier($0) }
            tags.sort { $0.utf8.lexicographicallyPrecedes($1.utf8) }
            let place = place
            var found: [(tag: String, target: Descriptor)] = []
            try await inOrder(tags, width: audit.options.width) { tag throws(SigstoreError) -> Descriptor? in
                try await store.target(ofTag: tag)
            } take: { tag, result throws(SigstoreError) in
                switch result {
                case .success(let target?): found.append((tag, target))
                case .success(nil):
                    let error = SigstoreError(
                        .imageNotFound, "the tag \(tag) was listed, and is not there any more", advice: "try again")
                    try audit.finish(Audit.unread(place, [tag], nil, error), take)
                case .failure(let error): try audit.finish(Audit.unread(place, [tag], nil, error), take)
                }
            }
            for (tag, target) in found { add(target, tag) }
        }

        /// Reads what a layout lists.
        mutating func list(_ layout: ImageLayout) throws(SigstoreError) {
            for entry in try layout.entries() {
                if let kind = entry.annotations[ImageLayout.kindAnnotation].flatMap(
                    ImageLayout.SavedKind.init(rawValue:))
                {
                    guard kind == .image || kind == .imageIndex else {
                        tally.carriers += 1
                        continue
                    }
                }
                let tag = entry.annotations[ImageLayout.tagAnnotation]
                if let tag, takeCarrier(tag) { continue }
                add(entry, tag)
            }
        }

        private mutating func add(_ target: Descriptor, _ name: String?) {
            if names[target.digest] == nil { digests.append(target.digest) }
            names[target.digest, default: []] += name.map { [$0] } ?? []
            let types = [MediaType.imageManifest, MediaType.dockerManifest]
            if !types.contains(where: { $0.utf8.elementsEqual(target.mediaType.utf8) }) {
                mayBeIndex.insert(target.digest)
            }
        }

        /// Takes a tag that is named as a carrier is: `sha256-<hex>` with something behind it or not.
        private mutating func takeCarrier(_ tag: String) -> Bool {
            guard let carrier = CarrierTag(tag, prefix: audit.judge.tagPrefix) else { return false }
            carriers.append(carrier)
            return true
        }

        // MARK: - Digests

        /// One digest to look at.
        fileprivate struct Item: Sendable {
            let digest: Digest
            var names: [String] = []
            var platform: String?
            var index: Digest?
            /// Whether it is looked at because something is attached to it: it need not be there.
            var isSubject = false
            /// Whether only what is in it is looked for.
            var isForOthers = false
            /// What the names of tags say belongs to it.
            var attached = CarrierKinds()
            /// Whether these names are all.
            var isListWhole = false

            /// Whether nothing of a kind need be asked for if it is accepted without: no tag has the name.
            fileprivate func isUnlisted(_ kind: CarrierKinds) -> Bool { isListWhole && !attached.contains(kind) }
        }

        /// What came of one digest.
        fileprivate struct Outcome: Sendable {
            var row: AuditRow?
            var isKept = false
            /// What it is attached to, if it is a carrier.
            var isCarrier = false
            var subject: Digest?
            var platforms: [Descriptor] = []
        }

        /// Looks at every digest, and hands out its row.
        mutating func judge(_ take: (AuditRow) throws(SigstoreError) -> Void) async throws(SigstoreError) {
            let shard = audit.options.shard
            func isOurs(_ digest: Digest) -> Bool { shard?.contains(digest) ?? true }
            known = Set(digests)
            for carrier in carriers {
                guard let subject = carrier.subject else { continue }
                attached[subject, default: []].formUnion(carrier.kinds)
            }
            var items = digests.compactMap { digest -> Item? in
                let isForOthers = !isOurs(digest)
                guard !isForOthers || audit.options.includesPlatforms && mayBeIndex.contains(digest) else { return nil }
                return item(digest, names: names[digest] ?? [], isForOthers: isForOthers)
            }
            tally.carriers += carriers.count
            (digests, names, mayBeIndex) = ([], [:], [])
            var absent: Set<Digest> = []
            var isWithSubjects = false
            while !items.isEmpty || !isWithSubjects {
                if items.isEmpty {
                    // What something is attached to comes last: it may be a platform.
                    isWithSubjects = true
                    for subject in carriers.lazy.compactMap(\.subject)
                    where known.insert(subject).inserted && isOurs(subject) {
                        items.append(item(subject, isSubject: true))
                    }
                    continue
                }
                audit.progress(items.count { !$0.isForOthers }, 0)
                var next: [Item] = []
                let (audit, place) = (audit, place)
                var (tally, known) = (tally, known)
                try await inOrder(items, width: audit.options.width) { item throws(SigstoreError) -> Outcome in
                    try await audit.look(at: item, place)
                } take: { item, result throws(SigstoreError) in
                    let outcome = try result.get()
                    if let row = outcome.row {
                        if outcome.isKept { tally.resumed += 1 }
                        try audit.finish(row, isKept: outcome.isKept, take)
                    } else if !item.isForOthers {
                        audit.progress(0, 1)
                        if item.isSubject, !outcome.isCarrier { absent.insert(item.digest) }
                    }
                    if outcome.isCarrier {
                        tally.carriers += max(1, item.names.count)
                        // What it is attached to may have no tag.
                        if let subject = outcome.subject, known.insert(subject).inserted {
                            if isOurs(subject) {
                                next.append(self.item(subject, isSubject: true))
                            } else {
                                try audit.finish(Self.elsewhere(subject, item, place), take)
                            }
                        }
                    }
                    for platform in outcome.platforms where known.insert(platform.digest).inserted {
                        let text = platform.platform?.description
                        // Builders keep attestations in indexes as images of no platform.
                        if platform.platform?.os.utf8.elementsEqual("unknown".utf8) == true {
                            if isOurs(platform.digest) { tally.carriers += 1 }
                            continue
                        }
                        let isForOthers = !isOurs(platform.digest)
                        let isIndex =
                            platform.mediaType.utf8.elementsEqual(MediaType.imageIndex.utf8)
                            || platform.mediaType.utf8.elementsEqual(MediaType.dockerManifestList.utf8)
                        guard !isForOthers || isIndex else { continue }
                        var one = self.item(platform.digest, isForOthers: isForOthers)
                        (one.platform, one.index) = (text, item.digest)
                        next.append(one)
                    }
                }
                (self.tally, self.known) = (tally, known)
                items = next
            }
            try await judgeDisguised(absent, take)
        }

        private func item(
            _ digest: Digest, names: [String] = [], isSubject: Bool = false, isForOthers: Bool = false
        ) -> Item {
            Item(
                digest: digest, names: names, isSubject: isSubject, isForOthers: isForOthers,
                attached: attached[digest] ?? [], isListWhole: isListWhole)
        }

        /// The row of an image without a tag that only another part could look at, and cannot know of.
        private static func elsewhere(_ subject: Digest, _ carrier: Item, _ place: AuditPlace) -> AuditRow {
            let error = SigstoreError(
                .unsupported,
                "\(subject), which \(carrier.digest) is attached to, has no tag, and is of another part of the audit",
                advice: "audit this place in one part, or give the image a tag")
            return Audit.unread(place, carrier.names, nil, error)
        }

        /// Looks at tags that are named as carriers are and belong to nothing that is there: a name alone could hide an image
        /// behind such a name.
        private mutating func judgeDisguised(
            _ absent: Set<Digest>, _ take: (AuditRow) throws(SigstoreError) -> Void
        ) async throws(SigstoreError) {
            let own = ["", ".sig", ".att", ".sbom"]
            let shard = audit.options.shard
            let strays = carriers.filter { carrier in
                // A name that does not say whose it is, is looked at by the first part.
                guard let subject = carrier.subject else { return shard.map { $0.number == 1 } ?? true }
                guard shard?.contains(subject) ?? true else { return false }
                return absent.contains(subject) || !own.contains { $0.utf8.elementsEqual(carrier.suffix.utf8) }
            }
            let (audit, place) = (audit, place)
            var hidden: [Item] = []
            try await inOrder(strays.map(\.name), width: audit.options.width) {
                tag throws(SigstoreError) -> Manifest? in
                try await audit.store(of: place).manifest(try ManifestSelector(tag: tag))
            } take: { tag, result throws(SigstoreError) in
                switch result {
                case .success(let manifest?):
                    guard !manifest.isCarrier, !manifest.isReferrerList else { return }
                    if let index = hidden.firstIndex(where: { $0.digest == manifest.digest }) {
                        hidden[index].names.append(tag)
                    } else {
                        hidden.append(self.item(manifest.digest, names: [tag]))
                    }
                case .success(nil): break
                case .failure(let error): try audit.finish(Audit.unread(place, [tag], nil, error), take)
                }
            }
            tally.carriers -= hidden.reduce(0) { $0 + $1.names.count }
            hidden.removeAll { known.contains($0.digest) }
            audit.progress(hidden.count, 0)
            try await inOrder(hidden, width: audit.options.width) { item throws(SigstoreError) -> Outcome in
                try await audit.look(at: item, place)
            } take: { _, result throws(SigstoreError) in
                let outcome = try result.get()
                if let row = outcome.row { try audit.finish(row, isKept: outcome.isKept, take) }
            }
        }
    }

    fileprivate func store(of place: AuditPlace) throws(SigstoreError) -> any ImageStore {
        switch place {
        case .repository(let repository): registries.client(for: repository)
        case .layout(let path), .folder(let path): try ImageLayout(opening: path)
        }
    }

    // MARK: - One digest

    /// Looks at one digest.
    /// - Throws: Because the state cannot be read; what the registry does is in the row.
    private func look(at item: Walk.Item, _ place: AuditPlace) async throws(SigstoreError) -> Walk.Outcome {
        var outcome = Walk.Outcome()
        if !item.isForOthers, var row = try state?.row(place.name, item.digest) {
            row.names = item.names
            (row.platform, row.index) = (item.platform, item.index)
            (outcome.row, outcome.isKept) = (row, true)
            guard options.includesPlatforms else { return outcome }
        }
        var row = AuditRow(
            place: place.name, names: item.names, digest: item.digest, signed: .couldNotLook, verdict: .couldNotLook)
        (row.platform, row.index) = (item.platform, item.index)
        do throws(SigstoreError) {
            let image = try await Image(
                named: "\(place.name)@\(item.digest)", registries, signatureRepository: signatureRepository)
            var manifest: Manifest?
            var isBroken = false
            do throws(SigstoreError) {
                manifest = try await image.store.manifest(.digest(item.digest))
                if manifest == nil {
                    if item.isSubject { return outcome }
                    throw SigstoreError(.imageNotFound, "\(image.name) is not there any more", advice: "try again")
                }
            } catch {
                guard error.code == .malformedManifest else { throw error }
                isBroken = true
                row.failures = [AuditFailure(error)]
            }
            if let manifest, manifest.isCarrier {
                (outcome.isCarrier, outcome.subject) = (!item.isForOthers, manifest.subject?.digest)
                return outcome
            }
            if let index = manifest?.index, options.includesPlatforms {
                outcome.platforms = Array(index.manifests.prefix(Manifest.layerLimit))
                if index.manifests.count > Manifest.layerLimit {
                    row.isPartlyUnread = true
                    row.failures.append(
                        AuditFailure(
                            SigstoreError(
                                .tooLarge, "the index lists \(index.manifests.count) images, more than are looked at")))
                }
            }
            guard !item.isForOthers, !outcome.isKept else { return outcome }
            if let manifest { await describe(manifest, image, &row) }
            let findings = await findings(image, item, &row)
            judge.conclude(&row, findings, isOpen: isBroken)
        } catch {
            guard !item.isForOthers, !outcome.isKept else {
                // Its platforms are not known, of which some may be of this part.
                let error = error.concerning("the platforms of \(item.digest)")
                var row = outcome.row ?? Audit.unread(place, item.names, nil, error)
                row.isPartlyUnread = true
                if outcome.isKept { row.failures.append(AuditFailure(error)) }
                outcome.row = row
                return outcome
            }
            row.failures.append(AuditFailure(error))
        }
        outcome.row = row
        return outcome
    }

    /// Looks for signatures, attestations and SBOMs, in both schemes.
    private func findings(_ image: Image, _ item: Walk.Item, _ row: inout AuditRow) async -> AuditJudge.Findings {
        var store = SignatureStore(image, tagPrefix: judge.tagPrefix)
        store.attachmentLimit = Self.attachmentLimit
        let all = store
        async let bundles = Self.search(all, .signature, .likelyBundles)
        async let layers = item.isUnlisted(.signatures) ? nil : Self.search(all, .signature, .tag).signatures
        async let envelopes = item.isUnlisted(.attestations) ? nil : Self.search(all, .attestation, .tag).signatures
        async let sbom = item.attached.contains(.sbom) ? Self.sbom(image, all) : .success([])
        var findings = AuditJudge.Findings(judge)
        var found = await bundles
        judge.judge(found.signatures, "bundle", of: image, &findings)
        // A list of tags may be older than what it lists: before something is called unsigned, tags that are not listed and the
        // registry's own list have been asked for.
        var older = await layers
        if older == nil, !judge.isSettled(findings) { older = await Self.search(all, .signature, .tag).signatures }
        if let older {
            let completed = await judge.completed(older, of: image, areAttestations: false)
            judge.judge(completed, "tag", of: image, &findings)
        }
        let isSettled = judge.isSettled(findings)
        if !isSettled, found.referrers.leavesOutList {
            let rest = await found.lookAtOmitted()
            judge.judge(rest, "bundle", of: image, &findings)
        }
        var attested = await envelopes
        if attested == nil, !isSettled { attested = await Self.search(all, .attestation, .tag).signatures }
        if let attested {
            let completed = await judge.completed(attested, of: image, areAttestations: true)
            judge.judge(completed, "tag", of: image, &findings, areAttestations: true)
        }
        for referrer in found.referrers.descriptors {
            guard let type = referrer.artifactType, Self.isSBOM(type) else { continue }
            row.sboms.append(type)
        }
        switch await sbom {
        case .success(let types): row.sboms += types
        case .failure(let error): findings.add(unread: [error], "tag", areAttestations: true)
        }
        return findings
    }

    /// The most bytes that one attestation may have here: many are looked at side by side.
    private static let attachmentLimit: Int64 = 32 << 20

    private struct Searched: Sendable {
        var search: SignatureSearch
        var signatures: StoredSignatures
        var referrers: Referrers { search.referrers }

        mutating func lookAtOmitted() async -> StoredSignatures {
            await Self.look(&search, .omittedBundles)
        }

        static func look(_ search: inout SignatureSearch, _ place: SignatureSearch.Place) async -> StoredSignatures {
            do throws(SigstoreError) { return try await search.look(place) } catch {
                var nothing = StoredSignatures()
                nothing.unread = [error]
                return nothing
            }
        }
    }

    private static func search(
        _ store: SignatureStore, _ kind: SignatureStore.Kind, _ place: SignatureSearch.Place
    ) async -> Searched {
        var search = SignatureSearch(store, kind)
        let found = await Searched.look(&search, place)
        return Searched(search: search, signatures: found)
    }

    private static func isSBOM(_ type: String) -> Bool {
        ["spdx", "cyclonedx", "syft"].contains { type.lowercased().contains($0) }
    }

    /// The media types of the SBOMs that are attached in the older way.
    private static func sbom(_ image: Image, _ store: SignatureStore) async -> Result<[String], SigstoreError> {
        do throws(SigstoreError) {
            let manifest = try await image.signatureStore.manifest(try ManifestSelector(tag: store.tag(.sbom)))
            return .success(manifest?.image?.layers.prefix(16).map(\.mediaType) ?? [])
        } catch { return .failure(error) }
    }

    /// The most bytes of a configuration that is read.
    private static let configLimit: Int64 = 1 << 20

    /// Fills in what the image says of itself. That its configuration cannot be read changes nothing of who signed it; that it
    /// could not be looked at is said all the same.
    private func describe(_ manifest: Manifest, _ image: Image, _ row: inout AuditRow) async {
        row.mediaType = manifest.mediaType
        let annotations = manifest.image?.annotations ?? manifest.index?.annotations ?? [:]
        let name = "org.opencontainers.image."
        row.created = annotations["\(name)created"]
        row.source = annotations["\(name)source"]
        row.revision = annotations["\(name)revision"]
        guard let config = manifest.image?.config,
            [MediaType.imageConfig, MediaType.dockerConfig].contains(where: {
                $0.utf8.elementsEqual(config.mediaType.utf8)
            })
        else { return }
        do throws(SigstoreError) {
            let json = JSONCursor(
                try JSONValue(parsing: try await image.store.blob(config, limit: Self.configLimit), values: 1 << 16))
            row.created = try json.optional("created")?.string() ?? row.created
            let labels = try json.optional("config")?.optional("Labels")
            row.source = try labels?.optional("\(name)source")?.string() ?? row.source
            row.revision = try labels?.optional("\(name)revision")?.string() ?? row.revision
        } catch {
            if !error.isAboutContent { row.isPartlyUnread = true }
            row.failures.append(AuditFailure(error.concerning("the configuration \(config.digest)")))
        }
    }
}

extension Manifest {
    /// Whether it is a list of what refers to something.
    fileprivate var isReferrerList: Bool { index?.manifests.allSatisfy { $0.artifactType?.isEmpty == false } ?? false }
}
