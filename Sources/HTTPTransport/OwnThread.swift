internal import Glibc
package import InToto

private final class ThreadJob: Sendable {
    let run: @Sendable () -> Void
    init(_ run: @escaping @Sendable () -> Void) { self.run = run }
}

/// Runs work that blocks on a thread of its own, so that Swift's cooperative pool never waits for a disk or a program.
/// - Parameter work: Reading files, waiting for a program, a call into a token.
package func onOwnThread<Value: Sendable>(
    _ work: @escaping @Sendable () throws(SigstoreError) -> Value
) async throws(SigstoreError) -> Value {
    let result: Result<Value, SigstoreError> = await withCheckedContinuation { continuation in
        let job = ThreadJob {
            do throws(SigstoreError) {
                continuation.resume(returning: .success(try work()))
            } catch {
                continuation.resume(returning: .failure(error))
            }
        }
        var thread = pthread_t()
        let retained = unsafe Unmanaged.passRetained(job)
        let failed = unsafe pthread_create(
            &thread, nil,
            { pointer in
                if let pointer = unsafe pointer {
                    unsafe Unmanaged<ThreadJob>.fromOpaque(pointer).takeRetainedValue().run()
                }
                return nil
            }, retained.toOpaque())
        // Where the system gives no thread, the work is done on this one.
        if failed == 0 { pthread_detach(thread) } else { unsafe retained.takeRetainedValue().run() }
    }
    return try result.get()
}
