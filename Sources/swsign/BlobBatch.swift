import Dispatch
import InToto
import Synchronization
import SwSignCore

/// Several files in one call: one bad file does not stop the others, and the summary says which failed.
struct BlobBatch {
    /// What is done to the files, as in "3 files signed".
    let verb: String
    /// How many files are worked on at the same time.
    var workers = 10

    static func expectOneStandardInput(_ files: [String]) throws(SigstoreError) {
        if files.filter({ $0 == "-" }).count > 1 {
            throw SigstoreError(.usage, "standard input (-) is named twice", advice: "name a file for one of the two")
        }
    }

    /// Works on all of the files, side by side, on threads of their own.
    /// - Throws: The error itself for a single file; with several, after all of them, an error that has been reported.
    func forEach(_ files: [InputFile], _ body: @Sendable (InputFile) throws(SigstoreError) -> Void) throws(SigstoreError) {
        if let only = files.first, files.count == 1 { return try body(only) }
        let failures = Mutex<[Int: SigstoreError]>([:])
        let next = Mutex(0)
        DispatchQueue.concurrentPerform(iterations: max(1, min(workers, files.count))) { _ in
            while true {
                let index = next.withLock { at in
                    defer { at += 1 }
                    return at
                }
                guard index < files.count else { return }
                do throws(SigstoreError) { try body(files[index]) } catch {
                    failures.withLock { $0[index] = error }
                    Output.error(error.concerning(files[index].name))
                }
            }
        }
        let failed = failures.withLock { $0 }.keys.sorted().map { files[$0].name }
        Output.note("\(files.count - failed.count) of \(files.count) files \(verb)")
        guard failed.isEmpty else {
            for name in failed { Output.note("  not \(verb): \(name)") }
            throw SigstoreError(.alreadyReported, "\(failed.count) of \(files.count) files were not \(verb)")
        }
    }
}
