import Dispatch
import LocalSystem
import StrictJSON
import SwSignCore
import Synchronization

/// Runs work that waits for others, and waits for it.
func waiting<Value: Sendable>(_ work: @escaping @Sendable () async throws(SigstoreError) -> Value) throws(SigstoreError)
    -> Value
{
    let done = DispatchSemaphore(value: 0)
    let result = Mutex<Result<Value, SigstoreError>?>(nil)
    // Not detached: what the work reads, this run has read.
    Task.immediate {
        await BlockingThread.lending {
            do throws(SigstoreError) {
                let value = try await work()
                result.withLock { $0 = .success(value) }
            } catch { result.withLock { $0 = .failure(error) } }
        }
        done.signal()
    }
    done.wait()
    guard let outcome = result.withLock({ $0 }) else { throw SigstoreError(.interrupted, "the work was not done") }
    return try outcome.get()
}
