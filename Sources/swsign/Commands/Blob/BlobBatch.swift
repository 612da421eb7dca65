import FoundationEssentials
import LocalSystem
import StrictJSON
import SwSignCore
import Synchronization

/// Several files in one call: one bad file does not stop the others, and the summary says which failed.
struct BlobBatch {
    /// What is done to the files, as in "3 files signed".
    let verb: String
    /// How many files are worked on at the same time.
    var workers = 10
    let context: Context

    static func expectOneStandardInput(_ files: [String]) throws(SigstoreError) {
        if files.filter({ $0 == "-" }).count > 1 {
            throw SigstoreError(.usage, "standard input (-) is named twice", advice: "name a file for one of the two")
        }
    }

    /// Works on all of the files, side by side. What came of each is printed in the order in which the files were named:
    /// a table on a terminal, a line for each elsewhere.
    /// - Parameter body: Does the work for one file, and says in a few words what came of it.
    /// - Throws: The error itself for a single file; with several, after all of them, an error that has been reported.
    func forEach(_ files: [InputFile], _ body: @escaping @Sendable (InputFile) async throws(SigstoreError) -> String)
        throws(SigstoreError)
    {
        let files = begun(files)
        if let only = files.first, files.count == 1 {
            _ = try waiting { () throws(SigstoreError) in try await body(only) }
            return
        }
        try run(files, workers) { queue in
            while let (index, file) = queue.next() {
                do throws(SigstoreError) { queue.end(index, .success(try await body(file))) } catch {
                    queue.end(index, .failure(error))
                }
            }
        }
    }

    /// The same for work that reads files and computes, and waits for no service: each worker has a thread of its own.
    func forEachOnThreads(_ files: [InputFile], _ body: @escaping @Sendable (InputFile) throws(SigstoreError) -> String)
        throws(SigstoreError)
    {
        let files = begun(files)
        // One file needs no other thread.
        if let only = files.first, files.count == 1 {
            _ = try body(only)
            return
        }
        // More than there are processors would only wait for each other.
        try run(files, min(workers, ProcessInfo.processInfo.activeProcessorCount)) { queue in
            try? await onBlockingThread { () throws(SigstoreError) in
                while let (index, file) = queue.next() {
                    do throws(SigstoreError) { queue.end(index, .success(try body(file))) } catch {
                        queue.end(index, .failure(error))
                    }
                }
            }
        }
    }

    /// The files, each of which moves the progress bar as it is read.
    private func begun(_ files: [InputFile]) -> [InputFile] {
        context.progress.begin(files.reduce(0) { $0.addingReportingOverflow($1.size).partialValue }, of: .bytes)
        return files.map { $0.counting(context.progress.advance) }
    }

    /// Has so many workers empty the queue, waits for them, and prints what came of each file.
    private func run(
        _ files: [InputFile], _ workers: Int, _ work: @escaping @concurrent @Sendable (Queue) async -> Void
    ) throws(SigstoreError) {
        let queue = Queue(files)
        let count = min(max(1, workers), files.count)
        try waiting { () throws(SigstoreError) in
            await withTaskGroup(of: Void.self) { group in
                for _ in 0..<count { group.addTask { await work(queue) } }
            }
        }
        try report(files, queue.outcomes)
    }

    /// The files that are still to be worked on, and what came of the others.
    private final class Queue: Sendable {
        private let files: [InputFile]
        private let state: Mutex<(next: Int, outcomes: [Result<String, SigstoreError>?])>

        init(_ files: [InputFile]) {
            self.files = files
            state = Mutex((next: 0, outcomes: Array(repeating: nil, count: files.count)))
        }

        func next() -> (index: Int, file: InputFile)? {
            let index = state.withLock { state in
                defer { state.next += 1 }
                return state.next
            }
            return index < files.count ? (index, files[index]) : nil
        }

        func end(_ index: Int, _ outcome: Result<String, SigstoreError>) {
            state.withLock { $0.outcomes[index] = outcome }
        }

        /// What came of each; `nil` if its work did not end.
        var outcomes: [Result<String, SigstoreError>?] { state.withLock { $0.outcomes } }
    }

    /// Prints what came of each file.
    private func report(_ files: [InputFile], _ outcomes: [Result<String, SigstoreError>?]) throws(SigstoreError) {
        let names = files.map { Output.escaped($0.name) }
        let isTerminal = context.output.streams.isTerminal(.errors)
        if isTerminal { table(names, outcomes) }
        var failed: [String] = []
        for (name, (file, outcome)) in zip(names, zip(files, outcomes)) {
            switch outcome {
            case .success(let words)?: if !isTerminal { context.output.note("\(name): \(words)") }
            case .failure(let error)?:
                failed.append(name)
                context.output.error(error.concerning(file.name).advised)
            case nil: failed.append(name)
            }
        }
        context.output.note("\(files.count - failed.count) of \(files.count) files \(verb)")
        guard failed.isEmpty else {
            for name in failed { context.output.note("  not \(verb): \(name)") }
            throw SigstoreError(.alreadyReported, "\(failed.count) of \(files.count) files were not \(verb)")
        }
    }

    /// A row for each file; what went wrong is said below the table.
    private func table(_ names: [String], _ outcomes: [Result<String, SigstoreError>?]) {
        let width = min(names.map(\.count).max() ?? 0, 60)
        func row(_ name: String, _ result: String) {
            context.output.note("\(name)\(String(repeating: " ", count: max(0, width - name.count)))  \(result)")
        }
        row("FILE", "RESULT")
        for (name, outcome) in zip(names, outcomes) {
            switch outcome {
            case .success(let words)?: row(name, words)
            case .failure(let error)?: row(name, "FAILED, \(error.code)")
            case nil: row(name, "FAILED")
            }
        }
    }
}
