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
        ProgressBar.begin(files.reduce(0) { $0.addingReportingOverflow($1.size).partialValue }, of: .bytes)
        let files = files.map { $0.counting(ProgressBar.advance) }
        if let only = files.first, files.count == 1 {
            _ = try waiting { () throws(SigstoreError) in try await body(only) }
            return
        }
        let results = Mutex([Result<String, SigstoreError>?](repeating: nil, count: files.count))
        let next = Mutex(0)
        let workers = min(max(1, workers), files.count)
        let work: @concurrent @Sendable () async -> Void = {
            while true {
                let index = next.withLock { at in
                    defer { at += 1 }
                    return at
                }
                guard index < files.count else { return }
                do throws(SigstoreError) {
                    let words = try await body(files[index])
                    results.withLock { $0[index] = .success(words) }
                } catch {
                    let failure = error
                    results.withLock { $0[index] = .failure(failure) }
                }
            }
        }
        try waiting { () throws(SigstoreError) in
            await withTaskGroup(of: Void.self) { group in
                for _ in 0..<workers { group.addTask(operation: work) }
            }
        }
        let names = files.map { Output.escaped($0.name) }
        let outcomes = results.withLock { $0 }
        let isTerminal = StandardStream.errors.isTerminal
        if isTerminal { Self.table(names, outcomes) }
        var failed: [String] = []
        for (name, (file, outcome)) in zip(names, zip(files, outcomes)) {
            switch outcome {
            case .success(let words)?: if !isTerminal { Output.note("\(name): \(words)") }
            case .failure(let error)?:
                failed.append(name)
                Output.error(error.concerning(file.name).advised)
            case nil: failed.append(name)
            }
        }
        Output.note("\(files.count - failed.count) of \(files.count) files \(verb)")
        guard failed.isEmpty else {
            for name in failed { Output.note("  not \(verb): \(name)") }
            throw SigstoreError(.alreadyReported, "\(failed.count) of \(files.count) files were not \(verb)")
        }
    }

    /// A row for each file; what went wrong is said below the table.
    private static func table(_ names: [String], _ outcomes: [Result<String, SigstoreError>?]) {
        let width = min(names.map(\.count).max() ?? 0, 60)
        func row(_ name: String, _ result: String) {
            Output.note("\(name)\(String(repeating: " ", count: max(0, width - name.count)))  \(result)")
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
