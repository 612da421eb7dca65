import LocalSystem
import Provenance
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
    /// What they are called, many of them and as the title of a column.
    var names = (many: "files", title: "FILE")

    static func expectOneStandardInput(_ files: [String]) throws(SigstoreError) {
        if files.filter({ $0 == "-" }).count > 1 {
            throw SigstoreError(.usage, "standard input (-) is named twice", advice: "name a file for one of the two")
        }
    }

    /// Works on all of the files, side by side. What came of each is printed in the order in which the files were named:
    /// a table on a terminal, a line for each elsewhere.
    /// - Parameters:
    ///   - settled: What is known already of each file, which is not worked on then; `nil` for the others.
    ///   - body: Does the work for one file, and says in a few words what came of it.
    /// - Throws: The error itself for a single file; with several, after all of them, an error that has been reported.
    func forEach(
        _ files: [InputFile], settled: [Result<String, SigstoreError>?] = [],
        _ body: @escaping @Sendable (InputFile) async throws(SigstoreError) -> String
    ) throws(SigstoreError) {
        let settled = settled.isEmpty ? Array(repeating: nil, count: files.count) : settled
        if let only = files.first, files.count == 1 {
            if let known = settled.first ?? nil {
                context.output.note(try known.get(), .success, after: "\(only.name): ")
            } else {
                let only = begun([only])[0]
                _ = try waiting { () throws(SigstoreError) in try await body(only) }
            }
            return
        }
        let counted = Set(begun(zip(files, settled).filter { $1 == nil }.map(\.0)).map(\.path))
        let files = files.map { counted.contains($0.path) ? $0.counting(context.progress.advance) : $0 }
        try run(files, workers, settled) { queue in
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
        let settled = [Result<String, SigstoreError>?](repeating: nil, count: files.count)
        try run(files, min(workers, BlockingThread.processors), settled) { queue in
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
        _ files: [InputFile], _ workers: Int, _ settled: [Result<String, SigstoreError>?],
        _ work: @escaping @concurrent @Sendable (Queue) async -> Void
    ) throws(SigstoreError) {
        let queue = Queue(files, settled)
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

        /// - Parameter settled: What is known already of each file; `nil` for those that are to be worked on.
        init(_ files: [InputFile], _ settled: [Result<String, SigstoreError>?]) {
            self.files = files
            state = Mutex((next: 0, outcomes: settled))
        }

        func next() -> (index: Int, file: InputFile)? {
            let index = state.withLock { state in
                while state.next < files.count, state.outcomes[state.next] != nil { state.next += 1 }
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
        let isTerminal = context.output.streams.isTerminal(.errors)
        if isTerminal {
            ResultTable(title: names.title, rows: zip(files, outcomes).map { ($0.name, $1.map { $0.map { [$0] } }) })
                .print(context.output)
        }
        var failures = FailureReport()
        for (file, outcome) in zip(files, outcomes) {
            switch outcome {
            case .success(let words)?: if !isTerminal { context.output.note(words, .success, after: "\(file.name): ") }
            case .failure(let error)?:
                if error.code == .readerEnded { throw error }
                failures.add(file.name, error)
            case nil: failures.add(file.name, nil)
            }
        }
        failures.print(of: names.many, context.output)
        failures.printCount(of: files.count, names.many, verb, context.output)
        guard failures.count > 0 else { return }
        throw SigstoreError(.alreadyReported, "\(failures.count) of \(files.count) \(names.many) were not \(verb)")
    }
}

extension BlobBatch {
    /// Does pieces of work on a thread for each processor.
    static let threads = Workers { count, work in
        let threads = min(BlockingThread.processors, count)
        guard threads > 1 else { return (0..<count).forEach(work) }
        // What was not done has failed.
        try? waiting { () throws(SigstoreError) in
            await withTaskGroup(of: Void.self) { group in
                for first in 0..<threads {
                    group.addTask {
                        try? await onBlockingThread { () throws(SigstoreError) in
                            for index in stride(from: first, to: count, by: threads) { work(index) }
                        }
                    }
                }
            }
        }
    }
}

/// What came of several files or images, for a terminal: a row for each. What went wrong is said below the table.
struct ResultTable {
    /// What stands above the names, such as "FILE".
    let title: String
    /// Each name with what came of it, in one or more lines of which the first begins with a word of ours; `nil` if the work
    /// did not end.
    let rows: [(name: String, outcome: Result<[String], SigstoreError>?)]

    func print(_ output: Output) {
        let names = rows.map { Output.escaped($0.name) }
        let width = min(names.map(\.count).max() ?? 0, 110)
        func put(_ name: String, _ result: String, _ mark: Output.Mark?) {
            output.note(result, mark, after: "\(name)\(String(repeating: " ", count: max(0, width - name.count)))  ")
        }
        put(title, "RESULT", nil)
        for (name, row) in zip(names, rows) {
            switch row.outcome {
            case .success(let lines)?:
                for (index, line) in lines.enumerated() {
                    put(index == 0 ? name : "", line, index == 0 ? .success : nil)
                }
            case .failure(let error)?: put(name, "FAILED, \(error.code)", .failure)
            case nil: put(name, "FAILED", .failure)
            }
        }
    }
}

/// What failed of several files or images. What failed of one cause is one message, with a count and the first names.
struct FailureReport {
    private var names: [String] = []
    private var causes: [(names: [String], error: SigstoreError)] = []
    /// Where each cause is, by what it says.
    private var places: [[UInt8]: Int] = [:]

    /// How many failed.
    var count: Int { names.count }

    /// Adds something that failed.
    /// - Parameter error: Why; `nil` if its work did not end.
    mutating func add(_ name: String, _ error: SigstoreError?) {
        names.append(name)
        guard let error else { return }
        let key = Array(Self.key(error.advised, name).utf8)
        if let index = places[key] {
            causes[index].names.append(name)
        } else {
            places[key] = causes.count
            causes.append((names: [name], error: error))
        }
    }

    /// What an error says whatever it is about: without the name, and without digests and the like.
    private static func key(_ error: SigstoreError, _ name: String) -> String {
        var key = "\(error.code) "
        var digits = ""
        func end(_ digits: String) -> String { digits.utf8.count < 16 ? digits : "#" }
        let sentences = [error.message] + error.details + (error.advice.map { ["\($0)"] } ?? [])
        var words = sentences.joined(separator: " ").replacing(name, with: "#")
        // A layout's messages name its path.
        let layout = "oci-layout:"
        if name.utf8.starts(with: layout.utf8) { words.replace(name.dropFirst(layout.utf8.count), with: "#") }
        for scalar in words.unicodeScalars {
            if scalar.properties.numericType != nil || ("a"..."f").contains(scalar) {
                digits.unicodeScalars.append(scalar)
            } else {
                key += end(digits)
                digits = ""
                key.unicodeScalars.append(scalar)
            }
        }
        return key + end(digits)
    }

    /// Prints a message for each cause.
    /// - Parameters:
    ///   - what: What failed, such as "files".
    ///   - isNamedOnce: Whether a message that has the name of what failed already is left as it is.
    func print(of what: String, isNamedOnce: Bool = false, _ output: Output) {
        for cause in causes {
            let first = cause.names[0]
            var error = cause.error
            if cause.names.count == 1 {
                if !isNamedOnce || !error.message.contains(first) { error = error.concerning(first) }
            } else {
                let more = cause.names.count > 3 ? ", …" : ""
                error = error.concerning(
                    "\(cause.names.count) \(what) (\(cause.names.prefix(3).joined(separator: ", "))\(more))")
            }
            output.error(error.advised)
        }
    }

    /// Prints how many did not fail, and the names of what failed, the first of them if there are many.
    /// - Parameters:
    ///   - total: How many there are of both.
    ///   - what: What they are, such as "files".
    ///   - verb: What was done to them, such as "verified".
    func printCount(of total: Int, _ what: String, _ verb: String, _ output: Output) {
        output.note("\(total - count) of \(total) \(what) \(verb)", count == 0 ? .success : .failure)
        for name in names.prefix(10) { output.note("  not \(verb): \(name)") }
        if names.count > 10 { output.note("  not \(verb): \(names.count - 10) more") }
    }
}
