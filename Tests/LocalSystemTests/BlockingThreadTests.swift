import Glibc
import Spawning
import StrictJSON
import Synchronization
import Testing

@testable import LocalSystem

@Suite struct BlockingThreadTests {
    /// What two threads tell each other.
    private final class Signs: Sendable {
        let begun = Mutex(false)
        let ended = Mutex(false)
    }

    /// Where the calling thread may run, as the system says.
    private static func processors() throws(SigstoreError) -> String {
        let status = String(
            decoding: try LocalFile.read("/proc/thread-self/status", limit: 1 << 16) ?? [], as: UTF8.self)
        return status.split(separator: "\n").first { $0.hasPrefix("Cpus_allowed:") }.map(String.init) ?? ""
    }

    @Test("Work aside is done while this thread computes, and goes on wherever the process may run")
    func meanwhile() throws {
        let signs = Signs()
        let work = WorkAside { () throws(SigstoreError) in
            signs.begun.withLock { $0 = true }
            return try Self.processors()
        }
        // Without a pause: this processor is never given away.
        let end = ContinuousClock.now + .seconds(60)
        while !signs.begun.withLock({ $0 }), ContinuousClock.now < end {}
        #expect(signs.begun.withLock { $0 })
        let found = try work.value()
        let here = try Self.processors()
        #expect(found == here && !here.isEmpty)
        #expect(try work.value() == found)
    }

    @Test("What work aside throws is thrown when its value is asked for")
    func failure() throws {
        let work = WorkAside { () throws(SigstoreError) -> Int in throw SigstoreError(.fileUnreadable, "not so") }
        for _ in 0..<2 {
            let error = #expect(throws: SigstoreError.self) { try work.value() }
            #expect(error?.code == .fileUnreadable)
        }
    }

    @Test("What follows has the value and is not waited for, and nothing follows a failure")
    func more() async throws {
        let signs = Signs()
        let work = WorkAside(
            { () throws(SigstoreError) in 42 },
            more: { value in
                signs.begun.withLock { $0 = value == 42 }
                while !signs.ended.withLock({ $0 }) { usleep(1000) }
                signs.begun.withLock { $0 = false }
            })
        #expect(try work.value() == 42)
        #expect(await Spawning.wait { signs.begun.withLock { $0 } })
        signs.ended.withLock { $0 = true }
        #expect(await Spawning.wait { !signs.begun.withLock { $0 } })

        let failed = Signs()
        let none = WorkAside(
            { () throws(SigstoreError) -> Int in throw SigstoreError(.fileUnreadable, "not so") },
            more: { _ in failed.begun.withLock { $0 = true } })
        #expect(throws: SigstoreError.self) { try none.value() }
        usleep(50_000)
        #expect(!failed.begun.withLock { $0 })
    }

    @Test("Work aside that is let go is waited for")
    func letGo() {
        let signs = Signs()
        do {
            _ = WorkAside {
                usleep(200_000)
                signs.ended.withLock { $0 = true }
            }
        }
        #expect(signs.ended.withLock { $0 })
    }
}
