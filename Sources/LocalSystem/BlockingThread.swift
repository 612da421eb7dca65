internal import Glibc
package import StrictJSON

/// Threads of their own for work that blocks, so that Swift's cooperative pool never waits for a disk or a program.
package enum BlockingThread {
    private final class Job: Sendable {
        let run: @Sendable () -> Void
        init(_ run: @escaping @Sendable () -> Void) { self.run = run }
    }

    /// Starts work on a new thread.
    /// - Returns: Whether the system gave a thread; otherwise the work is not done.
    package static func start(_ work: @escaping @Sendable () -> Void) -> Bool {
        var thread = pthread_t()
        let retained = unsafe Unmanaged.passRetained(Job(work))
        let failed = unsafe pthread_create(
            &thread, nil,
            { pointer in
                if let pointer = unsafe pointer { unsafe Unmanaged<Job>.fromOpaque(pointer).takeRetainedValue().run() }
                return nil
            }, retained.toOpaque())
        guard failed == 0 else {
            unsafe retained.release()
            return false
        }
        pthread_detach(thread)
        return true
    }

    /// Leaves signals to the program's other threads. A peer that hangs up is an error for this one, not SIGPIPE.
    package static func blockSignals() {
        var signals = sigset_t()
        unsafe sigfillset(&signals)
        unsafe pthread_sigmask(SIG_BLOCK, &signals, nil)
    }

    /// Runs work with every signal that can be held back held back until it is done.
    /// - Throws: What the work throws; ``SigstoreError`` if signals cannot be held back.
    package static func withoutSignals<Result>(_ work: () throws(SigstoreError) -> Result) throws(SigstoreError)
        -> Result
    {
        var (all, before) = (sigset_t(), sigset_t())
        guard unsafe sigfillset(&all) == 0, unsafe pthread_sigmask(SIG_BLOCK, &all, &before) == 0 else {
            throw SigstoreError(.fileUnwritable, "signals cannot be held back while files are written")
        }
        defer { unsafe pthread_sigmask(SIG_SETMASK, &before, nil) }
        return try work()
    }
}

/// Runs work that blocks on a thread of its own.
/// - Parameter work: Reading files, waiting for a program, a call into a token.
package func onBlockingThread<Value: Sendable>(
    _ work: @escaping @Sendable () throws(SigstoreError) -> Value
) async throws(SigstoreError) -> Value {
    let result: Result<Value, SigstoreError> = await withCheckedContinuation { continuation in
        let job: @Sendable () -> Void = {
            do throws(SigstoreError) { continuation.resume(returning: .success(try work())) } catch {
                continuation.resume(returning: .failure(error))
            }
        }
        // If the system gives no thread, the work is done on this one.
        if !BlockingThread.start(job) { job() }
    }
    return try result.get()
}
