import Foundation
import SigstoreCrypto
import StrictJSON
import Synchronization

/// The keys, certificates and logs of all services from one rotation to the next.
struct ServiceKeys: Sendable {
    /// From when on they count, in seconds since 1970.
    let start: Int64
    /// Until when they count; `nil` for those in use.
    var end: Int64?
    let fulcio: Fulcio
    let rekorV1: RekorV1
    let rekorV2: RekorV2
    let timestamps: TimestampAuthority
    /// The log that Fulcio adds what it issues to.
    var log: CertificateLog { fulcio.log }

    /// Opens them, and makes those that there are none of.
    /// - Parameter number: 1 for the first, and one more with each rotation; all but the first have it in their names.
    init(number: Int, start: Int64, end: Int64?, issuer: IdentityIssuer, folder: StateFolder) throws(SigstoreError) {
        func named(_ name: String) -> String { number == 1 ? name : "\(name).\(number)" }
        self.start = start
        self.end = end
        let years: Int64 = 10 * 365 * 86_400
        func fulcioName(_ what: String) -> DistinguishedName {
            DistinguishedName(organization: "local-sigstore", commonName: "local fulcio \(what)")
        }
        let rootKey = try folder.key(named("fulcio-root"), .ecdsaP384)
        let intermediateKey = try folder.key(named("fulcio-intermediate"), .ecdsaP256)
        let root = try folder.certificate(named("fulcio-root")) { () throws(SigstoreError) in
            try CertificateIssuer.root(
                fulcioName("root"), key: rootKey, notBefore: start, notAfter: start + years
            ).certificate
        }
        let intermediate = try folder.certificate(named("fulcio-intermediate")) { () throws(SigstoreError) in
            try CertificateIssuer(key: rootKey, certificate: root).intermediate(
                fulcioName("intermediate"), key: intermediateKey, purpose: CertificateExtension.codeSigning,
                notBefore: start, notAfter: start + years - 1
            ).certificate
        }
        fulcio = Fulcio(
            issuer: issuer, intermediate: CertificateIssuer(key: intermediateKey, certificate: intermediate),
            root: root,
            log: try CertificateLog(
                name: named("ct"), key: folder.key(named("ct-log"), .ecdsaP256), roots: [root], folder: folder))
        rekorV1 = try RekorV1(
            name: named("rekor-v1"), key: folder.key(named("rekor-v1"), .ecdsaP256), folder: folder)
        rekorV2 = try RekorV2(
            name: named("rekor-v2"), key: folder.key(named("rekor-v2"), .ed25519), origin: "127.0.0.1", folder: folder)
        timestamps = try TimestampAuthority.make(
            rootKey: folder.key(named("tsa-root"), .ecdsaP384),
            intermediateKey: folder.key(named("tsa-intermediate"), .ecdsaP384),
            key: folder.key(named("tsa"), .ecdsaP256), notBefore: start,
            keep: { (name, make) throws(SigstoreError) in try folder.certificate(named(name), make: make) })
    }

    /// The trusted root's entries for them, by the trusted root's members.
    fileprivate func trusted(at addresses: LocalTrust.Addresses) -> [(member: String, entry: JSONValue)] {
        var window: JSONObject = ["start": LocalTrust.moment(start)]
        if let end { window["end"] = LocalTrust.moment(end) }
        func log(_ url: String, _ key: PublicKey, _ details: String, id: [UInt8]) -> JSONValue {
            .object([
                "baseUrl": .string(url), "hashAlgorithm": .string("SHA2_256"),
                "publicKey": .object([
                    "rawBytes": .bytes(key.spki), "keyDetails": .string(details), "validFor": .object(window),
                ]),
                "logId": .object(["keyId": .bytes(id)]),
            ])
        }
        func chain(_ url: String, _ name: String, _ certificates: [X509]) -> JSONValue {
            .object([
                "subject": .object(["organization": .string("local-sigstore"), "commonName": .string(name)]),
                "uri": .string(url),
                "certChain": .object([
                    "certificates": .array(certificates.map { .object(["rawBytes": .bytes($0.der)]) })
                ]), "validFor": .object(window),
            ])
        }
        let ecdsa = "PKIX_ECDSA_P256_SHA_256"
        let signer = rekorV2.log.signer
        return [
            ("tlogs", log(addresses.rekorV1, rekorV1.log.signer.key.publicKey, ecdsa, id: rekorV1.logID)),
            ("tlogs", log(addresses.rekorV2, signer.key.publicKey, "PKIX_ED25519", id: signer.keyID)),
            (
                "certificateAuthorities",
                chain(addresses.fulcio, "local fulcio", [fulcio.intermediate.certificate, fulcio.root])
            ),
            ("ctlogs", log("\(addresses.certificateLog)/sigstore", self.log.key.publicKey, ecdsa, id: self.log.id)),
            (
                "timestampAuthorities",
                chain(
                    addresses.timestamps, "local timestamp authority", [timestamps.certificate] + timestamps.issuers)
            ),
        ]
    }
}

/// What clients are told to believe: the services' keys of today and of before, as files and in a TUF repository.
final class LocalTrust: Sendable {
    /// Where the services are.
    struct Addresses: Sendable {
        let issuer, fulcio, certificateLog, rekorV1, rekorV2, timestamps: String
    }

    private struct State {
        /// The newest last.
        var keys: [ServiceKeys]
        var addresses: Addresses?
    }

    private let folder: StateFolder
    private let issuer: IdentityIssuer
    private let repository: TUFRepository
    private let state: Mutex<State>
    /// The file with the times of the rotations so far.
    private static let rotations = "rotations.json"
    /// For how long keys count after their successors' first day: as long as a certificate of Fulcio's is valid, so that
    /// what is being signed during a rotation is not lost.
    private static let overlap: Int64 = 600

    /// - Parameter start: When the first keys begin to count.
    init(folder: StateFolder, issuer: IdentityIssuer, start: Int64) throws(SigstoreError) {
        self.folder = folder
        self.issuer = issuer
        repository = try TUFRepository(folder: folder)
        var times: [Int64] = []
        if let file = folder.read(Self.rotations) {
            for time in try JSONCursor(JSONValue(parsing: file)).elements() { times.append(try time.integer()) }
        }
        var keys: [ServiceKeys] = []
        for (place, start) in ([start] + times).enumerated() {
            let end = place < times.count ? times[place] + Self.overlap : nil
            keys.append(
                try ServiceKeys(number: place + 1, start: start, end: end, issuer: issuer, folder: folder))
        }
        state = Mutex(State(keys: keys))
    }

    private var keys: [ServiceKeys] { state.withLock { $0.keys } }

    /// The keys in use.
    var current: ServiceKeys {
        get throws(SigstoreError) {
            guard let keys = keys.last else { throw SigstoreError(.localServiceFailed, "there are no keys") }
            return keys
        }
    }

    /// Rekor's answer: from the log in use, or from one before it that holds the entry which is asked for.
    func answerRekorV1(_ request: LoopbackRequest) throws -> LoopbackResponse {
        let shards = keys.dropLast().map(\.rekorV1)
        let answer = try current.rekorV1.answer(request, inactive: shards)
        // An entry of another tree is Rekor's own fault to it.
        guard [404, 500].contains(answer.status), request.method == "GET",
            request.path.hasPrefix("/api/v1/log/entries/")
        else { return answer }
        for former in shards.reversed() {
            let found = try former.answer(request)
            if found.status == 200 { return found }
        }
        return answer
    }

    /// The answer of the TUF repository's mirror.
    func answer(_ request: LoopbackRequest) throws -> LoopbackResponse {
        guard request.path == "/_rotate" else { return try repository.answer(request) }
        guard request.method == "POST" else { return LoopbackResponse(405) }
        guard let names = try? JSONCursor(JSONValue(parsing: request.body)).elements().map({ try $0.string() }) else {
            return .text(400, "an array of names is needed\n")
        }
        let wanted = names.compactMap(LocalServices.Rotation.init)
        guard wanted.count == names.count else { return .text(400, "there is something else in the array\n") }
        for what in wanted { try rotate(what) }
        return .json(
            200,
            .object([
                "rootVersion": .integer(repository.rootVersion), "keysNumber": .integer(keys.count),
            ]))
    }

    /// Tells clients where the services are, and what to believe.
    func publish(_ addresses: Addresses) throws(SigstoreError) {
        try state.withLock { (state) throws(SigstoreError) in
            state.addresses = addresses
            try publish(state.keys, at: addresses)
        }
    }

    func rotate(_ what: LocalServices.Rotation) throws(SigstoreError) {
        switch what {
        case .root: try repository.rotate()
        case .keys:
            try state.withLock { (state) throws(SigstoreError) in
                let now = Int64(Date().timeIntervalSince1970)
                var keys = state.keys
                keys.append(
                    try ServiceKeys(number: keys.count + 1, start: now, end: nil, issuer: issuer, folder: folder))
                keys[keys.count - 2].end = now + Self.overlap
                try folder.write(
                    JSONValue.array(keys.dropFirst().map { .integer($0.start) }).serialized(), to: Self.rotations)
                // Clients learn of the new keys before anything is signed with them.
                if let addresses = state.addresses { try publish(keys, at: addresses) }
                state.keys = keys
            }
        }
    }

    // MARK: - Files for clients

    fileprivate static func moment(_ seconds: Int64) -> JSONValue {
        .string(Instant(seconds: seconds).description)
    }

    private func publish(_ keys: [ServiceKeys], at addresses: Addresses) throws(SigstoreError) {
        guard let first = keys.first, let newest = keys.last else { return }
        let trusted = keys.flatMap { $0.trusted(at: addresses) }
        var root: JSONObject = ["mediaType": .string("application/vnd.dev.sigstore.trustedroot+json;version=0.1")]
        for member in ["tlogs", "certificateAuthorities", "ctlogs", "timestampAuthorities"] {
            root[member] = .array(trusted.filter { $0.member == member }.map(\.entry))
        }
        let trustedRoot = JSONValue.object(root).serialized()
        try folder.write(trustedRoot, to: "trusted_root.json")

        var targets = [(name: "trusted_root.json", content: trustedRoot)]
        for kind in LocalServices.SigningConfigKind.allCases {
            let config = Self.signingConfig(kind, addresses, since: first.start)
            try folder.write(config.serialized(), to: "signing_config.\(kind.rawValue).json")
            let both: JSONValue = .object([
                "mediaType": .string("application/vnd.dev.sigstore.clienttrustconfig.v0.1+json"),
                "trustedRoot": .object(root), "signingConfig": config,
            ])
            try folder.write(both.serialized(), to: "trust_config.\(kind.rawValue).json")
            // The names that these have in the public instance's repository.
            switch kind {
            case .both: targets.append((name: "signing_config.v0.2.json", content: config.serialized()))
            case .v2: targets.append((name: "signing_config_rekor_v2.v0.2.json", content: config.serialized()))
            case .v1, .timestamp, .none: continue
            }
        }
        try repository.publish(targets: targets)

        // The newest as separate files, as older clients take it.
        let fulcio = newest.fulcio
        try folder.write(fulcio.root.pem + fulcio.intermediate.certificate.pem, to: "fulcio_root.pem")
        try folder.write(newest.log.key.publicKey.pem, to: "ct_log.pub")
        try folder.write(newest.rekorV1.log.signer.key.publicKey.pem, to: "rekor.pub")
        try folder.write(
            ([newest.timestamps.certificate] + newest.timestamps.issuers).map(\.pem).joined(), to: "tsa_chain.pem")
    }

    private static func signingConfig(
        _ kind: LocalServices.SigningConfigKind, _ addresses: Addresses, since start: Int64
    ) -> JSONValue {
        func service(_ url: String, version: Int = 1) -> JSONValue {
            .object([
                "url": .string(url), "majorApiVersion": .integer(version),
                "validFor": .object(["start": moment(start)]), "operator": .string("local-sigstore"),
            ])
        }
        var config: JSONObject = [
            "mediaType": .string("application/vnd.dev.sigstore.signingconfig.v0.2+json")
        ]
        let any: JSONValue = .object(["selector": .string("ANY")])
        if kind != .none {
            config["caUrls"] = .array([service(addresses.fulcio)])
            config["oidcUrls"] = .array([service(addresses.issuer)])
            var logs: [JSONValue] = []
            if kind == .v2 || kind == .both { logs.append(service(addresses.rekorV2, version: 2)) }
            if kind == .v1 || kind == .both { logs.append(service(addresses.rekorV1)) }
            if !logs.isEmpty { config["rekorTlogUrls"] = .array(logs) }
            config["tsaUrls"] = .array([service(addresses.timestamps)])
        }
        config["rekorTlogConfig"] = any
        config["tsaConfig"] = any
        return .object(config)
    }
}
