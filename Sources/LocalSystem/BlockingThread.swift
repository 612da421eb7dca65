internal import CProcess
#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif
package import StrictJSON

/// Threads of their own for work that blocks, so that Swift's cooperative pool never waits for a disk or a program.
package enum BlockingThread {
    private final class Job: Sendable {
        let run: @Sendable () -> Void
        init(_ run: @escaping @Sendable () -> Void) { self.run = run }
    }

    /// Starts work on a new thread.
    /// - Parameter isAside: Whether this thread goes on computing meanwhile, so that the work is for another processor.
    /// - Returns: Whether the system gave a thread; otherwise the work is not done.
    package static func start(isAside: Bool = false, _ work: @escaping @Sendable () -> Void) -> Bool {
        let job = Job {
            if isAside { cprocess_go_on_anywhere() }
            work()
        }
        let retained = unsafe Unmanaged.passRetained(job)
        var attributes = pthread_attr_t()
        guard unsafe pthread_attr_init(&attributes) == 0 else {
            unsafe retained.release()
            return false
        }
        defer { unsafe pthread_attr_destroy(&attributes) }
        if isAside { unsafe cprocess_begin_elsewhere(&attributes) }
        #if canImport(Glibc)
            var thread = pthread_t()
        #else
            var thread: pthread_t?
        #endif
        #if canImport(Darwin)
            let failed = unsafe pthread_create(
                &thread, &attributes,
                { pointer in
                    unsafe Unmanaged<Job>.fromOpaque(pointer).takeRetainedValue().run()
                    return nil
                }, retained.toOpaque())
        #else
            let failed = unsafe pthread_create(
                &thread, &attributes,
                { pointer in
                    if let pointer = unsafe pointer {
                        unsafe Unmanaged<Job>.fromOpaque(pointer).takeRetainedValue().run()
                    }
                    return nil
                }, retained.toOpaque())
        #endif
        guard failed == 0 else {
            unsafe retained.release()
            return false
        }
        #if canImport(Glibc)
            pthread_detach(thread)
        #else
            if let thread = unsafe thread { unsafe pthread_detach(thread) }
        #endif
        return true
    }

    /// How many threads can compute at the same time: the processors that are in use, at least 1.
    package static var processors: Int { max(1, Int(sysconf(Int32(_SC_NPROCESSORS_ONLN)))) }

    /// Waits. To be called on a thread that may block.
    package static func pause(milliseconds: UInt32) { usleep(milliseconds * 1000) }

    /// Leaves signals to the process's other threads. A peer that hangs up is an error for this one, not SIGPIPE.
    package static func blockSignals() {
        var signals = sigset_t()
        unsafe sigfillset(&signals)
        unsafe pthread_sigmask(SIG_BLOCK, &signals, nil)
    }

    /// A thread that waits for a task, as a command's does, and may do the task's blocking work meanwhile.
    private struct Lent: @unchecked Sendable { let thread: pthread_t }
    private static let lent = TaskLocal<Lent?>(wrappedValue: nil)

    /// Does the work of a task for which this thread waits. What blocks is done on this thread as long as the task is on it.
    package static func lending<Value>(_ work: () async -> Value) async -> Value {
        await lent.withValue(Lent(thread: pthread_self()), operation: work)
    }

    /// Whether this thread waits for the current task, so that no other is needed.
    fileprivate static var isLent: Bool { lent.get().map { pthread_equal($0.thread, pthread_self()) != 0 } ?? false }

    /// Runs work with every signal that can be held back held back until it is done.
    /// - Throws: What the work throws; `SigstoreError` if signals cannot be held back.
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

/// Runs work that blocks on a thread of its own, or on the one that waits for the task.
/// - Parameter work: Reading files, waiting for a program, a call into a token.
package func onBlockingThread<Value: Sendable>(
    _ work: @escaping @Sendable () throws(SigstoreError) -> Value
) async throws(SigstoreError) -> Value {
    if BlockingThread.isLent { return try work() }
    // What the work reads, the task has read.
    let watcher = OutputPlaces.watcher
    let result: Result<Value, SigstoreError> = await withCheckedContinuation { continuation in
        let job: @Sendable () -> Void = {
            do throws(SigstoreError) {
                continuation.resume(returning: .success(try OutputPlaces.watched(by: watcher, work)))
            } catch {
                continuation.resume(returning: .failure(error))
            }
        }
        // If the system gives no thread, the work is done on this one.
        if !BlockingThread.start(job) { job() }
    }
    return try result.get()
}
