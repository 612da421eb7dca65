internal import Dispatch
package import StrictJSON
internal import Synchronization

/// Work that another processor does meanwhile. Letting go of it waits for it, so that it leaves nothing behind.
package final class WorkAside<Value: Sendable>: Sendable {
    /// What comes of it.
    private final class Outcome: Sendable {
        let result = Mutex<Result<Value, SigstoreError>?>(nil)
        let isThere = DispatchSemaphore(value: 0)
    }

    private let work: @Sendable () throws(SigstoreError) -> Value
    private let outcome = Outcome()
    private let hasThread: Bool

    /// Begins.
    /// - Parameters:
    ///   - work: What is done. If the system gives no thread, it is done when it is asked for.
    ///   - more: What that processor does with what has come of it, for which nobody waits.
    package init(
        _ work: @escaping @Sendable () throws(SigstoreError) -> Value,
        more: @escaping @Sendable (Value) -> Void = { _ in }
    ) {
        self.work = work
        let watcher = OutputPlaces.watcher
        hasThread = BlockingThread.start(isAside: true) { [outcome] in
            let result: Result<Value, SigstoreError>
            do throws(SigstoreError) { result = .success(try OutputPlaces.watched(by: watcher, work)) } catch {
                result = .failure(error)
            }
            outcome.result.withLock { $0 = result }
            outcome.isThere.signal()
            if case .success(let value) = result { more(value) }
        }
    }

    deinit { wait() }

    private func wait() {
        guard hasThread else { return }
        outcome.isThere.wait()
        outcome.isThere.signal()
    }

    /// Waits for what comes of it.
    package func value() throws(SigstoreError) -> Value {
        wait()
        guard let result = outcome.result.withLock({ $0 }) else { return try work() }
        return try result.get()
    }
}
