import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import Testing

@testable import SigstoreClients

/// The code of the error that a piece of work ends with; `nil` where it succeeds.
private func code(_ work: () throws -> Void) -> SigstoreError.Code? {
    do {
        try work()
        return nil
    } catch {
        return (error as? SigstoreError)?.code
    }
}

@Suite("The TUF update workflow, file by file")
struct TUFUpdateTests {
    @Test func aWholeUpdate() throws {
        let repository = try TUFTestRepository()
        var update = try repository.update(upTo: "targets")
        let targets = try update.takeTargets(repository.file("1.targets.json"))
        var search = try TUFTargetSearch(for: "trusted_root.json")
        let next = try search.next()
        let step = try #require(next)
        let found = search.look(into: targets, role: step.role)
        let info = try #require(found)
        #expect(info.length == 2)
        #expect(info.digests == [try Digest.sha256(Array("{}".utf8))])
    }

    @Test(arguments: ["production", "staging"])
    func theRootsThatComeWithTheProgram(_ name: String) throws {
        let mirror = name == "production" ? TUFMirror.production : TUFMirror.staging
        let update = try TUFUpdate(trusting: mirror.root, at: TUFTestRepository.start)
        #expect(update.root.version >= 14)
        #expect(mirror.embeddedTargets.keys.sorted() == [TUFMirror.signingConfigTarget, TUFMirror.trustedRootTarget])
        for (_, bytes) in mirror.embeddedTargets { _ = try JSONValue(parsing: bytes) }
    }

    @Test("A key that anyone can sign for verifies nothing")
    func weakKeys() throws {
        func key(_ type: String, _ scheme: String, _ value: String) throws -> TUFKey {
            try TUFKey(
                JSONCursor(
                    .object([
                        "keytype": .string(type), "scheme": .string(scheme),
                        "keyval": .object(["public": .string(value)]),
                    ])))
        }
        let honest = Hexadecimal.encode(try PrivateKey.generate(.ed25519).publicKey.spki.suffix(32))
        #expect(try key("ed25519", "ed25519", honest).usable() != nil)
        for first in ["00", "01", "ec"] {
            let rest = first == "ec" ? String(repeating: "ff", count: 30) + "7f" : String(repeating: "00", count: 31)
            #expect(try key("ed25519", "ed25519", first + rest).usable() == nil)
        }
        let infinity = Hexadecimal.decode("3019301306072a8648ce3d020106082a8648ce3d03010703020000") ?? []
        let pem = PEM.encode(label: "PUBLIC KEY", infinity)
        #expect(try key("ecdsa", "ecdsa-sha2-nistp256", pem).usable() == nil)
    }

    // MARK: Attacks that worked on others

    @Test("go-tuf CVE-2022-29173: a rollback of every role is refused")
    func rollback() throws {
        var repository = try TUFTestRepository()
        try repository.renew("targets", "snapshot", "timestamp")
        let old = repository.files
        try repository.renew("targets", "snapshot", "timestamp")

        // Timestamp.
        var update = try TUFUpdate(trusting: repository.root, at: TUFTestRepository.start)
        try update.finishRoot()
        try update.takeStoredTimestamp(repository.file("timestamp.json"))
        #expect(code { _ = try update.takeTimestamp(old["timestamp.json"] ?? []) } == .tufRollback)

        // A new timestamp that names an older snapshot.
        var wicked = repository
        wicked.versions["timestamp"] = 9
        wicked.versions["snapshot"] = 2
        try wicked.publish("timestamp")
        #expect(code { _ = try update.takeTimestamp(wicked.file("timestamp.json")) } == .tufRollback)

        // A new snapshot that names older targets.
        wicked = repository
        wicked.versions["targets"] = 2
        wicked.versions["snapshot"] = 4
        wicked.versions["timestamp"] = 4
        try wicked.publish("snapshot", "timestamp")
        update = try repository.update(upTo: "timestamp")
        _ = try update.takeTimestamp(wicked.file("timestamp.json"))
        #expect(try update.takeStoredSnapshot(repository.file("3.snapshot.json")) == false)
        #expect(code { try update.takeSnapshot(wicked.file("4.snapshot.json")) } == .tufRollback)

        // Targets of another version than the snapshot names.
        update = try repository.update(upTo: "targets")
        #expect(code { try update.takeTargets(old["2.targets.json"] ?? []) } == .tufMismatch)

        // Root.
        update = try TUFUpdate(trusting: repository.root, at: TUFTestRepository.start)
        #expect(code { try update.takeRoot(repository.root) } == .tufRollback)
    }

    @Test("go-tuf CVE-2022-29173: a snapshot may not drop a role either")
    func rollbackByOmission() throws {
        var repository = try TUFTestRepository()
        repository.listed = [(name: "role.json", version: 7)]
        try repository.publish("snapshot")
        let old = repository
        repository.listed = []
        try repository.renew("snapshot", "timestamp")
        var update = try repository.update(upTo: "snapshot")
        #expect(try update.takeStoredSnapshot(old.file("1.snapshot.json")) == false)
        #expect(code { try update.takeSnapshot(repository.file("2.snapshot.json")) } == .tufRollback)
    }

    @Test("go-tuf GHSA-3633-5h82-39pq: a key counts once, under however many identifiers")
    func duplicateKeys() throws {
        var repository = try TUFTestRepository()
        let key = try TUFTestRepository.Key.make()
        let alias = TUFTestRepository.Key(id: "another", signer: key.signer, json: key.json)
        repository.keys["timestamp"] = [key, alias]
        repository.thresholds["timestamp"] = 2
        try repository.publish("root", "timestamp")
        var update = try repository.update(upTo: "timestamp")
        #expect(code { _ = try update.takeTimestamp(repository.file("timestamp.json")) } == .tufThreshold)

        // Two different keys do.
        repository.keys["timestamp"] = [key, try TUFTestRepository.Key.make()]
        try repository.publish("root", "timestamp")
        update = try repository.update(upTo: "timestamp")
        #expect(try update.takeTimestamp(repository.file("timestamp.json")))
    }

    @Test("go-tuf GHSA-3633-5h82-39pq: a signature that stands twice, a key that is listed twice")
    func duplicateIdentifiers() throws {
        var repository = try TUFTestRepository()
        let key = try #require(repository.keys["timestamp"]?.first)
        repository.files["timestamp.json"] = try TUFTestRepository.file(repository.signed("timestamp"), by: [key, key])
        var update = try repository.update(upTo: "timestamp")
        #expect(code { _ = try update.takeTimestamp(repository.file("timestamp.json")) } == .malformedTUFMetadata)

        repository.keys["timestamp"] = [key, key]
        repository.thresholds["timestamp"] = 2
        try repository.publish("root")
        #expect(
            code { _ = try TUFUpdate(trusting: repository.root, at: TUFTestRepository.start) } == .malformedTUFMetadata)
    }

    @Test("go-tuf CVE-2024-47534: delegations are asked in the order in which they are written")
    func delegationOrder() throws {
        // Names whose order by hash or by alphabet is another one.
        let names = ["zeta", "alpha", "mu", "beta", "omega", "aaa"]
        var repository = try TUFTestRepository()
        let key = try TUFTestRepository.Key.make()
        repository.delegations = delegations(names.map { ($0, "*", false) }, key)
        repository.listed = names.map { (name: "\($0).json", version: 1) }
        try repository.publish("targets", "snapshot", "timestamp")
        var update = try repository.update(upTo: "targets")
        let empty = try delegated([:], by: [key])
        var search = try TUFTargetSearch(for: "missing")
        var asked: [String] = []
        while let step = try search.next() {
            asked.append(step.role)
            let bytes = step.delegation == nil ? try repository.file("1.targets.json") : empty
            let metadata = try update.takeTargets(bytes, role: step.role, delegation: step.delegation)
            let found = search.look(into: metadata, role: step.role)
            #expect(found == nil)
        }
        #expect(asked == ["targets"] + names)
    }

    @Test("go-tuf CVE-2024-47534: the first role that has a target gives it, and one without trust does not")
    func delegationLookup() throws {
        var repository = try TUFTestRepository(targets: [:])
        let (right, wrong) = (try TUFTestRepository.Key.make(), try TUFTestRepository.Key.make())
        repository.delegations = delegations([("first", "*.txt", false), ("second", "*", false)], right)
        repository.listed = [(name: "first.json", version: 1), (name: "second.json", version: 1)]
        try repository.publish("targets", "snapshot", "timestamp")
        var update = try repository.update(upTo: "targets")
        let top = try update.takeTargets(repository.file("1.targets.json"))
        var search = try TUFTargetSearch(for: "file.txt")
        _ = try search.next()
        _ = search.look(into: top, role: "targets")
        let next = try search.next()
        let step = try #require(next)
        #expect(step.role == "first")
        let content = try delegated(["file.txt": Array("one".utf8)], by: [wrong])
        #expect(code { try update.takeTargets(content, role: step.role, delegation: step.delegation) } == .tufThreshold)
        let first = try update.takeTargets(
            delegated(["file.txt": Array("one".utf8)], by: [right]), role: step.role, delegation: step.delegation)
        let found = search.look(into: first, role: step.role)
        #expect(found?.length == 3)

        var other = try TUFTargetSearch(for: "file.bin")
        _ = try other.next()
        _ = other.look(into: top, role: "targets")
        let second = try other.next()
        #expect(second?.role == "second")
    }

    @Test(
        "go-tuf CVE-2026-23991: metadata of any shape is an error, never a crash",
        arguments: [
            "", "{", "null", "[]", "{}", #"{"signed":null,"signatures":null}"#, #"{"signed":{},"signatures":[]}"#,
            #"{"signed":[],"signatures":{}}"#, #"{"signatures":[{}],"signed":{"_type":"root"}}"#,
            #"{"signed":{"_type":"root","spec_version":"1.0","version":1,"expires":"2030-01-01T00:00:00Z"},"signatures":[]}"#,
            #"{"signed":{"_type":"root","spec_version":"1.0","version":1e3,"expires":"x"},"signatures":[]}"#,
            #"{"signed":{"_type":"root","spec_version":"1.0","version":9223372036854775808},"signatures":[]}"#,
            #"{"signed":{"_type":"timestamp","spec_version":"1.0","version":1,"expires":"2030-01-01T00:00:00Z","meta":{}}}"#,
        ])
    func malformedMetadata(_ text: String) throws {
        let bytes = Array(text.utf8)
        #expect(code { _ = try TUFMetadata<TUFRoot>(parsing: bytes) } == .malformedTUFMetadata)
        #expect(code { _ = try TUFMetadata<TUFTimestamp>(parsing: bytes) } == .malformedTUFMetadata)
        #expect(code { _ = try TUFMetadata<TUFSnapshot>(parsing: bytes) } == .malformedTUFMetadata)
        #expect(code { _ = try TUFMetadata<TUFTargets>(parsing: bytes) } == .malformedTUFMetadata)
    }

    @Test("go-tuf CVE-2026-23991: every prefix and every changed byte of real metadata is handled")
    func damagedMetadata() throws {
        let repository = try TUFTestRepository()
        let update = try repository.update(upTo: "timestamp")
        let bytes = try repository.file("timestamp.json")
        for length in 0..<bytes.count {
            var copy = update
            #expect(code { _ = try copy.takeTimestamp(Array(bytes.prefix(length))) } == .malformedTUFMetadata)
        }
        var accepted = 0
        for index in bytes.indices {
            var changed = bytes
            changed[index] ^= 1
            var copy = update
            if code({ _ = try copy.takeTimestamp(changed) }) == nil { accepted += 1 }
        }
        // Nothing that is signed can change; one hexadecimal letter of the signature can change its case by no bit of 1.
        #expect(accepted == 0)
    }

    @Test("go-tuf CVE-2026-23992: a threshold below one is refused, wherever it stands", arguments: [0, -1])
    func thresholdOfZero(_ threshold: Int) throws {
        for role in ["root", "timestamp", "snapshot", "targets"] {
            var repository = try TUFTestRepository()
            repository.thresholds[role] = threshold
            try repository.publish("root")
            #expect(
                code { _ = try TUFUpdate(trusting: repository.root, at: TUFTestRepository.start) }
                    == .malformedTUFMetadata)
        }
        var repository = try TUFTestRepository()
        let key = try TUFTestRepository.Key.make()
        repository.delegations = delegations([("role", "*", false)], key, threshold: threshold)
        try repository.publish("targets")
        var update = try repository.update(upTo: "targets")
        #expect(code { try update.takeTargets(repository.file("1.targets.json")) } == .malformedTUFMetadata)
    }

    // MARK: The rest of the workflow

    @Test func expiryIsJudgedByTheTimeOfTheBeginning() throws {
        var repository = try TUFTestRepository()
        for role in ["root", "timestamp", "snapshot", "targets"] {
            repository.expires[role] = TUFTestRepository.day(1)
            try repository.publish("root", "targets", "snapshot", "timestamp")
            let last = Instant(milliseconds: TUFTestRepository.day(1).milliseconds - 1)
            var update = try repository.update(upTo: "targets", at: last)
            #expect(code { try update.takeTargets(repository.file("1.targets.json")) } == nil)
            // At the moment itself it counts no more (5.3.10: "higher than the fixed update start time").
            #expect(
                code {
                    var update = try repository.update(upTo: "targets", at: TUFTestRepository.day(1))
                    try update.takeTargets(repository.file("1.targets.json"))
                } == .tufExpired)
            repository.expires[role] = TUFTestRepository.day(400)
        }
    }

    @Test func filesInAnotherOrderAreRefused() throws {
        let repository = try TUFTestRepository()
        var update = try TUFUpdate(trusting: repository.root, at: TUFTestRepository.start)
        #expect(code { _ = try update.takeTimestamp(repository.file("timestamp.json")) } == .tufOrder)
        try update.finishRoot()
        #expect(code { try update.takeSnapshot(repository.file("1.snapshot.json")) } == .tufOrder)
        #expect(code { try update.takeTargets(repository.file("1.targets.json")) } == .tufOrder)
        #expect(code { try update.takeRoot(repository.root) } == .tufOrder)
        _ = try update.takeTimestamp(repository.file("timestamp.json"))
        #expect(code { try update.takeTargets(repository.file("1.targets.json")) } == .tufOrder)
    }

    @Test func oneRoleCannotStandForAnother() throws {
        var repository = try TUFTestRepository()
        // Even where one key signs for all of them.
        let key = try TUFTestRepository.Key.make()
        for role in ["root", "timestamp", "snapshot", "targets"] { repository.keys[role] = [key] }
        try repository.publish("root", "targets", "snapshot", "timestamp")
        var update = try repository.update(upTo: "timestamp")
        for file in ["1.root.json", "1.snapshot.json", "1.targets.json"] {
            #expect(code { _ = try update.takeTimestamp(repository.file(file)) } == .malformedTUFMetadata)
        }
        update = try repository.update(upTo: "snapshot")
        #expect(code { try update.takeSnapshot(repository.file("timestamp.json")) } == .malformedTUFMetadata)
    }

    @Test(
        "delegated roles cannot take the names of the top ones",
        arguments: ["root", "timestamp", "snapshot", "targets", ""])
    func reservedNames(_ name: String) throws {
        var repository = try TUFTestRepository()
        repository.delegations = delegations([(name, "*", false)], try TUFTestRepository.Key.make())
        try repository.publish("targets")
        var update = try repository.update(upTo: "targets")
        #expect(code { try update.takeTargets(repository.file("1.targets.json")) } == .malformedTUFMetadata)
    }

    @Test(
        "path patterns",
        arguments: [
            ("*", "file", true), ("*", "a/file", false), ("*/*", "a/file", true), ("a/*", "a/b/c", false),
            ("a/*", "a/", true),
            ("foo-?.tgz", "foo-1.tgz", true), ("foo-?.tgz", "foo-12.tgz", false), ("foo?bar", "foo/bar", false),
            ("*.tgz", "x.tgz", true), ("*.tgz", "x.tgz2", false), ("a*b*c", "aXXbYYc", true),
            ("a*b*c", "aXXbYY", false),
            ("**", "x", true), ("", "", true), ("", "x", false), ("x", "X", false), ("?", "\u{e9}", true),
            ("[a]", "a", false),
            ("a*/b", "a/x/b", false), ("*a*a*a*a*b", String(repeating: "a", count: 3000), false),
        ])
    func patterns(_ pattern: String, _ path: String, _ matches: Bool) throws {
        var repository = try TUFTestRepository(targets: [:])
        repository.delegations = delegations([("role", pattern, false)], try TUFTestRepository.Key.make())
        try repository.publish("targets", "snapshot", "timestamp")
        var update = try repository.update(upTo: "targets")
        let top = try update.takeTargets(repository.file("1.targets.json"))
        var search = try TUFTargetSearch(for: path)
        _ = try search.next()
        _ = search.look(into: top, role: "targets")
        let next = try search.next()
        #expect((next != nil) == matches)
    }

    @Test func canonicalJSON() throws {
        let value = try JSONValue(parsing: Array(#"{ "b":[1,-2,true,null], "é":"\n\u0001\"\\/é", "a":{} }"#.utf8))
        let expected = Array("{\"a\":{},\"b\":[1,-2,true,null],\"é\":\"\n\u{1}\\\"\\\\/é\"}".utf8)
        #expect(try TUFCanonicalJSON.encode(value) == expected)
        for number in ["1.0", "1e3", "-0", "0.5"] {
            #expect(throws: SigstoreError.self) { try TUFCanonicalJSON.encode(.number(number)) }
        }
    }

    @Test(
        "whatever is changed in metadata, it is refused or means the same",
        arguments: [
            "root", "timestamp", "snapshot", "targets",
        ])
    func mutations(_ role: String) throws {
        var repository = try TUFTestRepository()
        repository.delegations = delegations([("role", "a/*", true)], try TUFTestRepository.Key.make())
        repository.listed = [(name: "role.json", version: 3)]
        try repository.publish("targets", "snapshot", "timestamp")
        let start = try repository.update(upTo: role == "root" ? "timestamp" : role)
        let original = try repository.file(role == "timestamp" ? "timestamp.json" : "1.\(role).json")
        let meaning = try signedPart(original)
        let fragments = ["{", "}", "[", "]", ",", ":", "\"", "\\u0000", "null", "-1", "1e9", "\u{fffd}", "\\", "0"].map
        { Array($0.utf8) }
        // The same sequence each time, so that a failure can be found again.
        var state: UInt64 = 0x5eed
        func random(_ bound: Int) -> Int {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int(state >> 33) % bound
        }
        for _ in 0..<2000 {
            var bytes = original
            for _ in 0...random(3) where !bytes.isEmpty {
                let at = random(bytes.count)
                switch random(5) {
                case 0: bytes[at] = UInt8(random(256))
                case 1: bytes.removeSubrange(at..<min(bytes.count, at + 1 + random(40)))
                case 2: bytes.insert(contentsOf: fragments[random(fragments.count)], at: at)
                case 3:
                    bytes.insert(
                        contentsOf: Array(bytes[at..<min(bytes.count, at + random(60))]), at: random(bytes.count))
                default: bytes.replaceSubrange(at..<at + 1, with: fragments[random(fragments.count)])
                }
            }
            var update = start
            let refused = code {
                switch role {
                case "root": _ = try TUFUpdate(trusting: bytes, at: TUFTestRepository.start)
                case "timestamp": _ = try update.takeTimestamp(bytes)
                case "snapshot": try update.takeSnapshot(bytes)
                default: try update.takeTargets(bytes)
                }
            }
            if refused == nil { #expect(try signedPart(bytes) == meaning) }
        }
    }

    private func signedPart(_ file: [UInt8]) throws -> [UInt8] {
        try TUFCanonicalJSON.encode(JSONCursor(JSONValue(parsing: file)).member("signed").value)
    }

    // MARK: Making delegations

    private func delegations(
        _ roles: [(name: String, pattern: String, terminating: Bool)], _ key: TUFTestRepository.Key, threshold: Int = 1
    ) -> JSONValue {
        .object([
            "keys": .object(JSONObject([(name: key.id, value: key.json)])),
            "roles": .array(
                roles.map { role in
                    .object([
                        "name": .string(role.name), "keyids": .array([.string(key.id)]),
                        "threshold": .integer(threshold),
                        "paths": .array([.string(role.pattern)]), "terminating": .bool(role.terminating),
                    ])
                }),
        ])
    }

    private func delegated(_ targets: [String: [UInt8]], by keys: [TUFTestRepository.Key]) throws -> [UInt8] {
        let infos = try targets.map { (name: $0.key, value: try TUFTestRepository.info($0.value)) }
        return try TUFTestRepository.file(
            .object([
                "_type": .string("targets"), "spec_version": .string("1.0"), "version": .integer(1),
                "expires": .string("2031-01-01T00:00:00Z"), "targets": .object(JSONObject(infos)),
            ]), by: keys)
    }
}
