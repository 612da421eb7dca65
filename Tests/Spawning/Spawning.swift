public import Foundation

/// One program is started at a time in a test process. Whoever starts one has pipes and sockets open that the next one
/// must not inherit: a program that lives long would keep them open, and whoever waits for their end would wait for it.
public enum Spawning {
    private static let lock = NSLock()

    /// Starts a program while nobody else does.
    public static func exclusively<Result>(_ start: () throws -> Result) rethrows -> Result {
        try lock.withLock(start)
    }

    /// Starts a program and waits for its end without holding one of Swift's own threads.
    /// - Returns: Its exit status; 128 and the signal where it was ended by one.
    public static func finish(_ process: Process) async throws -> Int32 {
        try await withCheckedThrowingContinuation { (done: CheckedContinuation<Int32, any Error>) in
            process.terminationHandler = {
                done.resume(
                    returning: $0.terminationReason == .exit ? $0.terminationStatus : 128 + $0.terminationStatus)
            }
            do { try exclusively { try process.run() } } catch { done.resume(throwing: error) }
        }
    }
}
