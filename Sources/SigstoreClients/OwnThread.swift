import Dispatch
package import InToto

/// Runs work that blocks on a thread of its own, never on Swift's cooperative pool.
/// - Parameter work: Reading files, waiting for a process, a call into a token.
package func onOwnThread<T: Sendable>(
    _ work: @escaping @Sendable () throws(SigstoreError) -> T
) async throws(SigstoreError) -> T {
    let result = await withCheckedContinuation { (continuation: CheckedContinuation<Result<T, SigstoreError>, Never>) in
        DispatchQueue.global().async {
            continuation.resume(returning: Result { () throws(SigstoreError) in try work() })
        }
    }
    return try result.get()
}
