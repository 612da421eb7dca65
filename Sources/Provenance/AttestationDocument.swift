internal import InToto
internal import SigstoreCrypto
public import SigstoreVerification
public import StrictJSON
internal import Synchronization

/// How pieces of work that do not depend on each other are done: in their order, or several at the same time.
public struct Workers: Sendable {
    /// Does one piece after the other.
    public static let one = Workers { count, work in for index in 0..<count { work(index) } }

    private let run: @Sendable (Int, @escaping @Sendable (Int) -> Void) -> Void

    /// Takes a function that does the work.
    /// - Parameter run: Takes how many pieces there are and the work, calls that once for each number from 0 up to the count, in
    ///   any order and on any threads, and returns after all of it.
    public init(_ run: @escaping @Sendable (Int, @escaping @Sendable (Int) -> Void) -> Void) { self.run = run }

    /// Does the same with each of several things.
    /// - Returns: What came of each, in their order.
    package func outcomes<Thing: Sendable, Value: Sendable>(
        _ things: [Thing], _ work: @escaping @Sendable (Thing) throws(SigstoreError) -> Value
    ) -> [Result<Value, SigstoreError>] {
        let results = Results<Value>(count: things.count)
        run(things.count) { index in
            do throws(SigstoreError) { results.set(index, .success(try work(things[index]))) } catch {
                results.set(index, .failure(error))
            }
        }
        return results.all
    }

    /// What came of each piece; what was not done has failed.
    private final class Results<Value: Sendable>: Sendable {
        private let state: Mutex<[Result<Value, SigstoreError>]>
        init(count: Int) {
            let undone = SigstoreError(.noProvenance, "it was not looked at")
            state = Mutex(Array(repeating: .failure(undone), count: count))
        }
        func set(_ index: Int, _ result: Result<Value, SigstoreError>) { state.withLock { $0[index] = result } }
        var all: [Result<Value, SigstoreError>] { state.withLock { $0 } }
    }
}

/// One signature or attestation as it was published: brought into the one form that is verified.
public struct PublishedAttestation: Sendable {
    /// The bundle, of which nothing is believed yet. Its `place` says where it stood.
    public var bundle: SigstoreBundle
    /// The predicate type that npm's answer names beside the bundle; `nil` in every other form.
    public var statedPredicateType: String?
    /// Who published, as PyPI's provenance object states it, without a proof; `nil` in every other form.
    public var publisher: PyPIPublisher?

    init(_ bundle: SigstoreBundle, _ place: String, statedPredicateType: String? = nil, publisher: PyPIPublisher? = nil)
    {
        self.bundle = bundle
        if !place.isEmpty { self.bundle.place = place }
        // It is read once, unless many of that size would take much memory. What is no statement is the verifier's to refuse.
        if case .dsse(let envelope) = bundle.content, envelope.payload.count <= 1 << 14 {
            _ = try? self.bundle.readStatement()
        }
        self.statedPredicateType = statedPredicateType
        self.publisher = publisher
    }
}

/// What is known of the attestations of one document, by one policy and one verifier, for many files: each attestation is verified
/// once, however many files it is about. For another file, only what it is about is looked at again.
public final class KnownAttestations: Sendable {
    private typealias Outcome = Result<VerifiedBundle, RejectedBundle>
    private let outcomes = Mutex<[Int: Outcome]>([:])
    /// How many attestations were verified.
    private let verifications = Mutex(0)
    var count: Int { verifications.withLock { $0 } }

    /// Nothing is known yet.
    package init() {}

    /// What came of an attestation.
    /// - Parameters:
    ///   - index: Its place in the document.
    ///   - verify: Verifies it, whatever it is about.
    func verified(_ index: Int, _ verify: () throws(RejectedBundle) -> VerifiedBundle) throws(RejectedBundle)
        -> VerifiedBundle
    {
        if let outcome = outcomes.withLock({ $0[index] }) { return try outcome.get() }
        // Two files at the same moment may both do it.
        verifications.withLock { $0 += 1 }
        let outcome = Outcome { () throws(RejectedBundle) in try verify() }
        outcomes.withLock { $0[index] = outcome }
        return try outcome.get()
    }
}

/// What ecosystems publish attestations in, told by what it is and never by a file's name. Each form becomes bundles here, at the
/// door; whether one of them holds is the verifier's to say.
public struct AttestationDocument: Sendable {
    /// The forms of a document.
    public enum Form: String, Sendable, Hashable, CaseIterable {
        /// A Sigstore bundle.
        case bundle = "a Sigstore bundle"
        /// What npm's registry answers for a version of a package: `{"attestations":[{"predicateType","bundle"},…]}`.
        case npmAnswer = "npm's answer for a package"
        /// An attestation object of PyPI (PEP 740).
        case pypiAttestation = "an attestation of PyPI (PEP 740)"
        /// A provenance object of PyPI (PEP 740): attestations with who published.
        case pypiProvenance = "a provenance object of PyPI (PEP 740)"
        /// What GitHub's API answers for a digest: `{"attestations":[{"bundle","bundle_url"},…]}`.
        case gitHubAnswer = "GitHub's answer for a digest"
        /// An array of bundles, as conda's channels and RubyGems have it.
        case array = "an array of bundles"
    }

    /// How many attestations one document may hold.
    public static let limit = 1000
    /// How many JSON values one document, or one line of it, may consist of.
    private static let valueLimit = 1 << 18

    /// The attestations in their order, at least one.
    public let attestations: [PublishedAttestation]
    /// The forms that were found: one, or as many as lines differ.
    public let forms: Set<Form>
    /// Which of several attestations name a digest, by `<algorithm>:<hexadecimal>`, and the algorithms of these digests.
    private let subjects: (places: [[UInt8]: [Int]], algorithms: Set<HashAlgorithm>)

    /// Reads a document: one JSON value of any form, or several, one a line (JSON Lines).
    /// - Parameters:
    ///   - content: The whole file: JSON in UTF-8, at most 128 MiB.
    ///   - limit: How many attestations it may hold.
    ///   - workers: How lines are read.
    /// - Throws: `SigstoreError` that names the line and the member that is wrong; with `not-a-bundle` what the file looks like
    ///   instead, with `too-many-entries`, and with `no-bundle` for an empty list.
    public init(parsing content: [UInt8], limit: Int = Self.limit, by workers: Workers = .one) throws(SigstoreError) {
        guard content.count <= SigstoreBundle.sizeLimit else {
            throw SigstoreError(.tooManyEntries, "the file is larger than 128 MiB")
        }
        guard let lines = JSONValue.lines(of: content, limit: limit) else {
            let json: JSONValue
            do throws(SigstoreError) { json = try JSONValue(parsing: content, values: Self.valueLimit) } catch {
                throw Self.unreadable(content) ?? error
            }
            try self.init(JSONCursor(json), limit: limit)
            return
        }
        var (found, forms): ([PublishedAttestation], Set<Form>) = ([], [])
        let documents = workers.outcomes(lines) { line throws(SigstoreError) in
            do throws(SigstoreError) {
                let json = JSONCursor(try JSONValue(parsing: line.text, values: Self.valueLimit))
                return try AttestationDocument(json, place: "line \(line.number)", limit: limit)
            } catch { throw error.concerning("line \(line.number)") }
        }
        for outcome in documents {
            let document = try outcome.get()
            found += document.attestations
            forms.formUnion(document.forms)
            try Self.bound(found.count, limit)
        }
        self.init(found, forms)
    }

    private init(_ attestations: [PublishedAttestation], _ forms: Set<Form>) {
        (self.attestations, self.forms) = (attestations, forms)
        var (places, algorithms): ([[UInt8]: [Int]], Set<HashAlgorithm>) = ([:], [])
        for (index, attestation) in attestations.enumerated() where attestations.count > 1 {
            for digest in ((try? attestation.bundle.statement()) ?? nil)?.subjects.flatMap(\.digests) ?? [] {
                guard let algorithm = HashAlgorithm(rawValue: digest.algorithm),
                    digest.hex.utf8.count == 2 * algorithm.byteCount
                else { continue }
                algorithms.insert(algorithm)
                let key = Array("\(algorithm.rawValue):\(digest.hex)".utf8)
                if places[key]?.last != index { places[key, default: []].append(index) }
            }
        }
        subjects = (places, algorithms)
    }

    /// Reads a document that was parsed already.
    /// - Parameters:
    ///   - json: The document, or one line of it.
    ///   - place: Where it stands in its file, such as `line 3`; empty if it is the whole file.
    ///   - limit: How many attestations it may hold.
    /// - Throws: As ``init(parsing:limit:by:)`` does.
    public init(_ json: JSONCursor, place: String = "", limit: Int = Self.limit) throws(SigstoreError) {
        func at(_ inside: String) -> String { place.isEmpty ? inside : "\(place), \(inside)" }
        var found: [PublishedAttestation] = []
        let forms: Set<Form>
        if case .array(let list) = json.value {
            try Self.bound(list.count, limit)
            for (index, each) in try json.elements().enumerated() {
                found.append(PublishedAttestation(try SigstoreBundle(each), at("bundle \(index + 1)")))
            }
            forms = [.array]
        } else if try json.optional("mediaType") != nil {
            found = [PublishedAttestation(try SigstoreBundle(json), place)]
            forms = [.bundle]
        } else if try json.optional("attestation_bundles") != nil {
            for (publisher, attestation, inside) in try Self.provenance(json, limit) {
                found.append(PublishedAttestation(attestation, at(inside), publisher: publisher))
            }
            forms = [.pypiProvenance]
        } else if try json.optional("verification_material") != nil, try json.optional("envelope") != nil {
            found = [PublishedAttestation(try Self.attestation(json), place)]
            forms = [.pypiAttestation]
        } else if let answer = try GitHubAnswer(json, limit: limit) {
            for (index, each) in answer.attestations.enumerated() {
                guard case .bundle(let bundle) = each else {
                    throw SigstoreError(
                        .noBundle,
                        "attestation \(index + 1) is not in GitHub's answer, which only says where it is to be had",
                        advice: .remedy(.fetchAttestations))
                }
                found.append(PublishedAttestation(bundle, at("attestation \(index + 1)")))
            }
            forms = [.gitHubAnswer]
        } else if let list = try json.optional("attestations")?.elements() {
            try json.expectOnly(["attestations"])
            try Self.bound(list.count, limit)
            for (index, each) in list.enumerated() {
                try each.expectOnly(["predicateType", "bundle"])
                found.append(
                    PublishedAttestation(
                        try SigstoreBundle(try each.member("bundle")), at("attestation \(index + 1)"),
                        statedPredicateType: try each.member("predicateType").string()))
            }
            forms = [.npmAnswer]
        } else {
            throw Self.notABundle(Self.kind(of: json) ?? "JSON, but has no \"mediaType\"")
        }
        guard !found.isEmpty else {
            throw SigstoreError(
                .noBundle, "the file is \(forms.first?.rawValue ?? "a list"), and an empty one: nothing was signed",
                advice: "get the attestations from where the file was published, or do not use it")
        }
        self.init(found, forms)
    }

    /// Takes bundles that are known as such, each by its `place`.
    /// - Parameters:
    ///   - bundles: The bundles, of which nothing is believed yet.
    ///   - form: What they were in.
    /// - Throws: `SigstoreError` with `too-many-entries`.
    public init(_ bundles: [SigstoreBundle], form: Form) throws(SigstoreError) {
        try Self.bound(bundles.count, Self.limit)
        self.init(bundles.map { PublishedAttestation($0, "") }, [form])
    }

    /// Joins what several files hold about one thing.
    /// - Parameter documents: The documents, each with the name of its file.
    /// - Throws: `SigstoreError` with `too-many-entries`.
    public init(joining documents: [(name: String, document: AttestationDocument)]) throws(SigstoreError) {
        let found = documents.flatMap { name, document in
            document.attestations.map { attestation in
                var named = attestation
                named.bundle.place = attestation.bundle.place.map { "\(name), \($0)" } ?? name
                return named
            }
        }
        try Self.bound(found.count, Self.limit)
        self.init(found, documents.reduce(into: []) { $0.formUnion($1.document.forms) })
    }

    fileprivate static func bound(_ count: Int, _ limit: Int) throws(SigstoreError) {
        guard count <= limit else {
            throw SigstoreError(
                .tooManyEntries, "it holds \(count) attestations or more, and at most \(limit) are read")
        }
    }

    // MARK: - PyPI

    /// A provenance object (PEP 740, "Provenance objects"): each attestation with who published it and where it stands.
    private static func provenance(_ json: JSONCursor, _ limit: Int) throws(SigstoreError)
        -> [(publisher: PyPIPublisher, bundle: SigstoreBundle, place: String)]
    {
        try json.expectOnly(["version", "attestation_bundles"])
        try expectVersion1(json)
        var found: [(publisher: PyPIPublisher, bundle: SigstoreBundle, place: String)] = []
        for (index, group) in try json.member("attestation_bundles").elements().enumerated() {
            try group.expectOnly(["publisher", "attestations"])
            let publisher = try PyPIPublisher(try group.member("publisher"))
            let list = try group.member("attestations").elements()
            try bound(found.count + list.count, limit)
            for (inside, each) in list.enumerated() {
                let place = "publisher \(index + 1), attestation \(inside + 1)"
                found.append((publisher, try attestation(each), place))
            }
        }
        return found
    }

    /// An attestation object (PEP 740, "Attestation objects") as a bundle of version 0.3.
    private static func attestation(_ json: JSONCursor) throws(SigstoreError) -> SigstoreBundle {
        try json.expectOnly(["version", "verification_material", "envelope"])
        try expectVersion1(json)
        let material = try json.member("verification_material")
        try material.expectOnly(["certificate", "transparency_entries"])
        let entries = try material.member("transparency_entries").elements()
        guard (1...SigstoreBundle.limit).contains(entries.count) else {
            throw SigstoreError(
                entries.isEmpty ? .malformedBundle : .tooManyEntries,
                "the attestation has \(entries.count) log entries, expected 1 to \(SigstoreBundle.limit)")
        }
        var logEntries: [TransparencyLogEntry] = []
        for entry in entries { logEntries.append(try TransparencyLogEntry(entry)) }
        let envelope = try json.member("envelope")
        try envelope.expectOnly(["statement", "signature"])
        let bundle = SigstoreBundle(
            keyMaterial: .certificates([try wrappedBytes(try material.member("certificate"))]),
            content: .dsse(
                DSSEEnvelope(
                    payloadType: Statement.payloadType, payload: try wrappedBytes(try envelope.member("statement")),
                    signatures: [.init(signature: try wrappedBytes(try envelope.member("signature")))])),
            logEntries: logEntries)
        try bundle.validate()
        return bundle
    }

    private static func expectVersion1(_ json: JSONCursor) throws(SigstoreError) {
        let version = try json.member("version")
        guard try version.integer() == 1, case .number = version.value else { throw version.fault("is not 1") }
    }

    /// Bytes in base64 that may be broken into lines, as Python's `encodebytes` writes it.
    private static func wrappedBytes(_ json: JSONCursor) throws(SigstoreError) -> [UInt8] {
        guard let bytes = Base64.decode(try json.string().utf8.filter { $0 != 0x0a && $0 != 0x0d }) else {
            throw SigstoreError(.malformedBase64, "\(json.path) is not base64")
        }
        return bytes
    }

    // MARK: - Verifying

    /// How many attestations are named in an error, and tried if none is about the artifact.
    private static let detailLimit = 10

    /// Verifies attestations of which one must hold: those that do not are passed over.
    ///
    /// An attestation that does not name the artifact cannot hold, by any signer, so that of many only those which do are verified.
    /// - Parameters:
    ///   - file: The artifact.
    ///   - algorithm: The algorithm by which the statement must name it; `nil` if any will do.
    ///   - predicateType: The type that the predicate must have; `nil` if any will do.
    ///   - policy: Who must have signed, and what must hold.
    ///   - known: What is known already of the attestations of this document, by this policy and verifier.
    ///   - check: What must hold of an attestation beside its signature.
    /// - Returns: Every attestation that holds, at least one.
    /// - Throws: `SigstoreError` of the attestation that came furthest, with why each of the others does not hold.
    func held(
        about file: any ArtifactSource, namedBy algorithm: HashAlgorithm? = nil, as predicateType: PredicateType?,
        _ policy: VerificationPolicy, with verifier: Verifier, by workers: Workers, knowing known: KnownAttestations?,
        _ check: @escaping @Sendable (VerifiedBundle) throws(SigstoreError) -> Void
    ) throws(SigstoreError) -> [VerifiedBundle] {
        let claim = BundleClaim.attestation(
            subject: .artifact(file, namedBy: algorithm), predicateType: predicateType
        ).readOnce(digests: subjects.algorithms)
        var candidates = Array(attestations.indices)
        var isAboutFile = false
        if case .attestation(.artifact(let artifact, _)?, _) = claim, let about = try about(artifact) {
            isAboutFile = !about.isEmpty
            candidates = isAboutFile ? about : Array(candidates.prefix(Self.detailLimit))
        }
        let known = isAboutFile ? known : nil
        let outcomes = workers.outcomes(candidates) { index throws(SigstoreError) in
            do throws(RejectedBundle) {
                let bundle = attestations[index].bundle
                let verified: VerifiedBundle
                if let known {
                    verified = try known.verified(index) { () throws(RejectedBundle) in
                        try verifier.verify(bundle, .attestation(subject: nil, predicateType: nil), policy)
                    }.attesting(claim)
                } else {
                    verified = try verifier.verify(bundle, claim, policy)
                }
                do throws(SigstoreError) { try check(verified) } catch {
                    return Held.failed(error, checks: Int.max)
                }
                return Held.verified(verified)
            } catch { return Held.failed(error.explained, checks: error.checks.count) }
        }
        var held: [VerifiedBundle] = []
        var failures: [(checks: Int, place: String?, error: SigstoreError)] = []
        for (index, outcome) in zip(candidates, outcomes) {
            switch try outcome.get() {
            case .verified(let bundle): held.append(bundle)
            case .failed(let error, let checks): failures.append((checks, attestations[index].bundle.place, error))
            }
        }
        guard held.isEmpty else { return held }
        guard let nearest = failures.max(by: { $0.checks < $1.checks }) else {
            throw SigstoreError(
                .noBundle, "there is no attestation", advice: "get them from where the file was published")
        }
        var error = nearest.error
        if attestations.count > 1 {
            error.details = SigstoreError.listed(
                failures.map { "\($0.place ?? "one"): \($0.error.message) [\($0.error.code)]" }, limit: Self.detailLimit
            )
            let others = attestations.count - failures.count
            if others > 0 {
                error.details.append("\(others) \(others == 1 ? "other is" : "others are") about something else")
            }
        }
        throw error
    }

    /// What came of one attestation.
    private enum Held: Sendable {
        case verified(VerifiedBundle)
        case failed(SigstoreError, checks: Int)
    }

    /// Which of several attestations name an artifact by a digest of theirs; `nil` if its digests are not at hand.
    private func about(_ artifact: any ArtifactSource) throws(SigstoreError) -> [Int]? {
        guard !subjects.algorithms.isEmpty else { return nil }
        let message: HashedMessage
        do throws(SigstoreError) { message = try artifact.read(digests: subjects.algorithms, schemes: []) } catch {
            guard error.code == .otherDigestNeeded else { throw error }
            return nil
        }
        let digests = subjects.algorithms.compactMap { message.digest($0) }
        let places = digests.reduce(into: Set<Int>()) { places, digest in
            places.formUnion(subjects.places[Array("\(digest.algorithm.rawValue):\(digest.hex)".utf8)] ?? [])
        }
        return places.sorted()
    }

    // MARK: - What is no attestation

    /// What is said of a file that holds no attestation in any form.
    /// - Parameter looks: What it looks like.
    public static func notABundle(_ looks: String) -> SigstoreError {
        SigstoreError(
            .notABundle,
            "not a Sigstore bundle: it looks like \(looks); expected a bundle, several of them (one a line or in an array), npm's "
                + "answer with \"attestations\", or an attestation or provenance object of PyPI",
            advice: .remedy(.giveBundle))
    }

    /// What a file looks like that is no JSON; `nil` if it seems to be JSON, of which its own error says more, or nothing known.
    public static func unreadable(_ content: [UInt8]) -> SigstoreError? {
        guard let first = content.first(where: { $0 > 0x20 || $0 == 0x1f }), first != 0x7b, first != 0x5b else {
            return nil
        }
        let text = content.drop { $0 == 0x20 || $0 == 0x0a || $0 == 0x0d || $0 == 0x09 }
        func begins(_ words: String) -> Bool { text.starts(with: words.utf8) }
        for (beginning, kind) in [
            ("-----BEGIN PUBLIC KEY", "a public key in PEM"), ("-----BEGIN CERTIFICATE", "a certificate in PEM"),
            ("-----BEGIN PGP", "a signature or key of OpenPGP"), ("-----BEGIN SSH SIGNATURE", "a signature by SSH"),
            ("-----BEGIN ", "a file in PEM"), ("PK\u{3}\u{4}", "a ZIP archive, such as a wheel"),
            ("<", "a web page or XML"), ("untrusted comment:", "a signature or key of minisign"),
        ] where begins(beginning) { return notABundle(kind) }
        if content.starts(with: [0x1f, 0x8b]) { return notABundle("a gzip archive, such as a package") }
        return nil
    }

    /// What JSON looks like that is no attestation.
    private static func kind(of json: JSONCursor) -> String? {
        guard let names = try? json.names() else { return "JSON that is no object" }
        func has(_ all: String...) -> Bool {
            all.allSatisfy { name in names.contains { $0.utf8.elementsEqual(name.utf8) } }
        }
        if has("payload", "payloadType", "signatures") { return "a DSSE envelope alone, without what verifies it" }
        if has("_type", "predicateType") { return "an in-toto statement, which nobody signed" }
        if has("lockfileVersion") { return "npm's package-lock.json" }
        if has("dist-tags") || has("dist", "name") { return "npm's description of a package" }
        if has("keys") { return "a list of keys" }
        if has("spdxVersion") { return "an SBOM (SPDX)" }
        if has("bomFormat") { return "an SBOM (CycloneDX)" }
        if has("schemaVersion") { return "an image's manifest" }
        if has("base64Signature") { return "a bundle of cosign 2" }
        if has("signed", "signatures") { return "metadata of TUF" }
        return nil
    }
}

/// What GitHub's API answers for a digest (GitHub's REST API, "List attestations"). It may have members that are not known here.
public struct GitHubAnswer: Sendable {
    /// One attestation of the list.
    public enum Attestation: Sendable {
        /// Its bundle, of which nothing is believed yet.
        case bundle(SigstoreBundle)
        /// The address of its bundle, which is compressed there with Snappy. What stands behind the `?` may be a secret.
        case address(String)
    }

    /// The attestations in their order; none if there are none.
    public let attestations: [Attestation]

    /// Reads an answer that is GitHub's.
    /// - Parameters:
    ///   - answer: The whole answer: JSON in UTF-8.
    ///   - limit: How many attestations it may hold.
    /// - Throws: `SigstoreError` that names the member which is wrong.
    public init(parsing answer: [UInt8], limit: Int = AttestationDocument.limit) throws(SigstoreError) {
        let json: JSONValue
        do throws(SigstoreError) { json = try JSONValue(parsing: answer, values: 1 << 20) } catch {
            throw AttestationDocument.unreadable(answer) ?? error
        }
        attestations = try Self.attestations(try JSONCursor(json).member("attestations").elements(), limit)
    }

    /// Reads a document if it is such an answer; `nil` for others, and for an empty list, which npm's answer could be too.
    init?(_ json: JSONCursor, limit: Int) throws(SigstoreError) {
        guard let list = try json.optional("attestations")?.elements(), let first = list.first,
            try first.optional("predicateType") == nil
        else { return nil }
        attestations = try Self.attestations(list, limit)
    }

    private static func attestations(_ list: [JSONCursor], _ limit: Int) throws(SigstoreError) -> [Attestation] {
        try AttestationDocument.bound(list.count, limit)
        var found: [Attestation] = []
        for entry in list {
            if let bundle = try entry.optional("bundle") {
                found.append(.bundle(try SigstoreBundle(bundle)))
            } else if let address = try entry.optional("bundle_url")?.string(), !address.isEmpty {
                found.append(.address(address))
            } else {
                throw entry.fault("has neither a bundle nor its address")
            }
        }
        return found
    }
}

extension SigstoreError.Remedy {
    /// Attestations are to be had over the network.
    public static let fetchAttestations = Self("have-the-attestations-fetched")
}
