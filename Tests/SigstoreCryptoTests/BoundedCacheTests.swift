import Dispatch
import Glibc
import StrictJSON
import Synchronization
import Testing

@testable import SigstoreCrypto

@Suite struct BoundedCacheTests {
    /// How often it was looked for an answer.
    private final class Count: Sendable {
        let value = Mutex(0)
        func next() -> Int {
            value.withLock { value in
                value += 1
                return value
            }
        }
    }

    @Test("Threads that ask for the same get what one of them finds out")
    func oneFinder() throws {
        let cache = BoundedCache<Int>(limit: 4)
        let (count, name) = (Count(), try Digest.sha256([1]))
        let answers = Mutex<[Int]>([])
        DispatchQueue.concurrentPerform(iterations: 8) { _ in
            let answer = try? cache.answer(for: name) {
                usleep(50_000)
                return count.next()
            }
            answers.withLock { $0.append(answer ?? 0) }
        }
        #expect(answers.withLock { $0 } == Array(repeating: 1, count: 8))
    }

    @Test("What is needed for one answer may be asked for as well")
    func nested() throws {
        let cache = BoundedCache<Int>(limit: 4)
        let (first, second) = (try Digest.sha256([1]), try Digest.sha256([2]))
        let answer = try cache.answer(for: first) { () throws(SigstoreError) in
            1 + (try cache.answer(for: second) { 41 })
        }
        #expect(answer == 42)
    }

    @Test("A failure is not kept, and a full cache starts anew")
    func limits() throws {
        let cache = BoundedCache<Int>(limit: 2)
        let count = Count()
        func ask(_ byte: UInt8) throws -> Int { try cache.answer(for: Digest.sha256([byte])) { count.next() } }
        #expect(throws: SigstoreError.self) {
            try cache.answer(for: Digest.sha256([0])) { () throws(SigstoreError) in
                throw SigstoreError(.malformedKey, "none")
            }
        }
        #expect(try ask(0) == 1 && ask(0) == 1)
        #expect(try ask(1) == 2 && ask(0) == 1)
        // The third takes the place of all others.
        #expect(try ask(2) == 3 && ask(2) == 3)
        #expect(try ask(0) == 4)
    }
}
