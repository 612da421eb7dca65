import Foundation
import HTTPTransport
import LocalSigstore
import LocalSystem
import OCIRegistry
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import Synchronization
import Testing

@testable import SwSignCore

/// The audit as a Swift programmer has it: parts, state, order, and the judge over an image layout.
struct AuditTests {
    private let folder = FileManager.default.temporaryDirectory.appending(path: "audit-\(UUID().uuidString)").path

    private static func row(_ number: Int, _ verdict: AuditRow.Verdict = .unsigned) throws -> AuditRow {
        AuditRow(
            place: "registry.example/app", names: ["v\(number)"], digest: try Digest.sha256(Array("\(number)".utf8)),
            signed: verdict == .couldNotLook ? .couldNotLook : .no, verdict: verdict)
    }

    @Test("Each digest is of exactly one part, and the parts are about as large")
    func shards() throws {
        let shards = try (1...7).map { try AuditShard(parsing: "\($0)/7") }
        var counts = [Int](repeating: 0, count: 7)
        for number in 0..<7000 {
            let digest = try Digest.sha256(Array("\(number)".utf8))
            let owners = shards.indices.filter { shards[$0].contains(digest) }
            #expect(owners.count == 1)
            for owner in owners { counts[owner] += 1 }
        }
        #expect(counts.allSatisfy { (850...1150).contains($0) }, "\(counts)")
    }

    @Test("Results come in the order of what was asked, however long each takes, and a bounded number at a time")
    func order() async throws {
        let running = Mutex((now: 0, most: 0, begun: 0))
        var taken: [Int] = []
        try await inOrder(Array(0..<200), width: 8) { number throws(SigstoreError) -> Int in
            running.withLock {
                $0.now += 1
                $0.begun += 1
                $0.most = max($0.most, $0.now)
            }
            try? await Task.sleep(for: .microseconds(number % 7 == 0 ? 4000 : 50))
            running.withLock { $0.now -= 1 }
            return number
        } take: { _, result throws(SigstoreError) in
            taken.append(try result.get())
            // What is done and not taken yet takes memory.
            #expect(running.withLock { $0.begun } - taken.count <= 16)
        }
        #expect(taken == Array(0..<200))
        #expect((2...8).contains(running.withLock { $0.most }))
        // An error ends it.
        await #expect(throws: SigstoreError.self) {
            try await inOrder(Array(0..<200), width: 8) { number throws(SigstoreError) -> Int in
                number
            } take: { number, _ throws(SigstoreError) in
                if number == 5 { throw SigstoreError(.unsupported, "no more") }
            }
        }
    }

    @Test("A state keeps final rows by place and digest, the last one of each, and is for one process at a time")
    func state() throws {
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let path = "\(folder)/state"
        do {
            let state = try AuditState(path, question: ["a"])
            try state.append(try Self.row(1))
            try state.append(try Self.row(2, .couldNotLook))
            try state.append(try Self.row(3))
            try state.append(try Self.row(3, .couldNotLook))
            let busy = #expect(throws: SigstoreError.self) { try AuditState(path, question: ["a"]) }
            #expect(busy?.code == .fileUnwritable && busy?.message.contains("another process") == true)
        }
        let state = try AuditState(path, question: ["a"])
        #expect(state.count == 1 && !state.wasCutShort)
        let place = "registry.example/app"
        let digest = try Digest.sha256(Array("1".utf8))
        #expect(try state.row(place, digest)?.names == ["v1"])
        #expect(try state.row("registry.example/other", digest) == nil)
        #expect(try state.row(place, try Digest.sha256(Array("2".utf8))) == nil)
        #expect(try state.row(place, try Digest.sha256(Array("3".utf8))) == nil)
    }

    @Test("Rows of a spool come back as they were, as often as they are wanted")
    func spool() throws {
        let spool = try AuditSpool(in: "/tmp")
        var long = try Self.row(0)
        long.failures = [AuditFailure(code: "x", message: String(repeating: "line\n\u{202e}", count: 100_000))]
        try spool.append(long)
        for number in 1..<100 { try spool.append(try Self.row(number)) }
        for _ in 0..<2 {
            var names: [String] = []
            try spool.forEach { row throws(SigstoreError) in names += row.names }
            #expect(names == (0..<100).map { "v\($0)" })
        }
    }

    @Test("An image layout is audited without a network; a damaged one is a row")
    func layout() async throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let layout = try ImageLayout(creating: folder)
        let config = try Blob(Array("{}".utf8))
        try await layout.putBlob(config)
        let descriptor = Descriptor(mediaType: MediaType.imageConfig, digest: config.digest, size: config.size)
        let manifest = try ImageManifest(config: descriptor, layers: []).encoded()
        try await layout.putManifest(manifest, tag: "a")
        try await layout.putManifest(manifest, tag: "b")
        let verifier = Verifier(trustedRoot: nil) { 0 }
        let judge = try AuditJudge(
            verifier: verifier, accepted: nil, rules: VerificationPolicy(signedBy: .identities([])))
        let audit = Audit(judge, Registries(CurlClient()))
        let place = try AuditPlace(parsing: "oci-layout:\(folder)")
        var rows: [AuditRow] = []
        // Named twice, it is looked at once.
        let tally = try await audit.run([place, place]) { row throws(SigstoreError) in rows.append(row) }
        #expect(rows.map(\.names) == [["a", "b"]] && rows.map(\.verdict) == [.unsigned] && tally.carriers == 0)
        try Data("{".utf8).write(to: URL(filePath: "\(folder)/index.json"))
        rows = []
        _ = try await audit.run([place]) { row throws(SigstoreError) in rows.append(row) }
        #expect(rows.map(\.verdict) == [.couldNotLook] && rows.first?.failures.map(\.code) == ["malformed-layout"])
    }
}
