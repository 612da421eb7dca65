package import StrictJSON

/// Runs what a task does between its waits on threads of their own, so that a task may read and write files without keeping
/// others from Swift's cooperative pool.
package final class BlockingExecutor: TaskExecutor {
    package init() {}

    package func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        let run: @Sendable () -> Void = { unsafe job.runSynchronously(on: self.asUnownedTaskExecutor()) }
        // If the system gives no thread, the work is done on this one.
        if !BlockingThread.start(run) { run() }
    }
}

/// Runs work that both waits for others and reads or writes files, the latter on threads of its own.
/// - Parameter work: Such as bringing a cache up to date.
package func onBlockingExecutor<Value: Sendable>(
    _ work: @Sendable () async throws(SigstoreError) -> Value
) async throws(SigstoreError) -> Value {
    try await withTaskExecutorPreference(BlockingExecutor(), operation: work)
}
