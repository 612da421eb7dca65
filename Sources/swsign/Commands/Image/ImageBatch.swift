import LocalSystem
import StrictJSON
import SwSignCore

/// Several images in one call, worked on side by side: one bad image does not stop the others, results come in the order
/// in which the images were named, and the summary says which failed. On a terminal it is a table.
struct ImageBatch {
    /// What is done to the images, as in "3 images signed".
    let verb: String
    let context: Context

    /// Prints what came of one image.
    /// - Parameters:
    ///   - isTabled: Whether a table says it on standard error, and not this.
    /// - Returns: What the table says, in one or more lines, of which the first begins with a word of ours.
    typealias Printing<Value> = (_ name: String, _ value: Value, _ isTabled: Bool) throws(SigstoreError) -> [String]

    /// Works on all of the images.
    /// - Throws: The error itself for a single image; with several, after all of them, an error whose exit code is that
    ///   of the first that failed.
    func forEach<Value: Sendable>(
        _ names: [String], _ body: @escaping @Sendable (String) async throws(SigstoreError) -> Value,
        print: Printing<Value>
    ) throws(SigstoreError) {
        let results = try run(names.map { .success($0) }, verb, body)
        try report(names, results, print)
    }

    /// Looks at all of the images before anything is done to one of them.
    /// - Parameters:
    ///   - prepare: Finds an image, and everything of it that can be looked at.
    ///   - begin: Is called once, when all images were looked at, unless none is left.
    ///   - body: Does the work for an image that was found.
    /// - Throws: As ``forEach(_:_:print:)`` does.
    func forEach<Prepared: Sendable, Session: Sendable, Value: Sendable>(
        _ names: [String], prepare: @escaping @Sendable (String) async throws(SigstoreError) -> Prepared,
        begin: () throws(SigstoreError) -> Session,
        _ body: @escaping @Sendable (Session, Prepared) async throws(SigstoreError) -> Value,
        print: Printing<Value>
    ) throws(SigstoreError) {
        let prepared = try run(names.map { .success($0) }, "looked at", prepare)
        if names.count == 1, case .failure(let error)? = prepared.first { throw error }
        guard prepared.contains(where: { if case .success = $0 { true } else { false } }) else {
            return try report(
                names, prepared.map { $0.flatMap { _ in Result<Value, SigstoreError>.failure(.notDone) } }, print)
        }
        let session = try begin()
        let results = try run(prepared, verb) { one throws(SigstoreError) in try await body(session, one) }
        try report(names, results, print)
    }

    /// Runs the work for each that is there, side by side; what failed before stays as it is.
    /// - Parameter verb: What is done to them, for the progress bar.
    private func run<Input: Sendable, Value: Sendable>(
        _ inputs: [Result<Input, SigstoreError>], _ verb: String,
        _ body: @escaping @Sendable (Input) async throws(SigstoreError) -> Value
    ) throws(SigstoreError) -> [Result<Value, SigstoreError>] {
        if inputs.count > 1 { context.progress.begin(Int64(inputs.count), of: .images(verb)) }
        return try waiting { () throws(SigstoreError) in
            await withTaskGroup(of: (Int, Result<Value, SigstoreError>).self) { group in
                var results = [Result<Value, SigstoreError>](repeating: .failure(.notDone), count: inputs.count)
                for (index, input) in inputs.enumerated() {
                    group.addTask {
                        do throws(SigstoreError) { return (index, .success(try await body(try input.get()))) } catch {
                            return (index, .failure(error))
                        }
                    }
                }
                for await (index, result) in group {
                    results[index] = result
                    if inputs.count > 1 { context.progress.advance(1) }
                }
                return results
            }
        }
    }

    /// Shows how far the work is within the only name that was given, such as an index with `--recursive`.
    /// - Parameter count: How many images there are.
    /// - Returns: To be called for each image that is done.
    func counting(_ count: Int, within names: [String]) -> @Sendable () -> Void {
        guard names.count == 1, count > 1 else { return {} }
        context.progress.begin(Int64(count), of: .images(verb))
        return { [progress = context.progress] in progress.advance(1) }
    }

    private func report<Value>(
        _ names: [String], _ results: [Result<Value, SigstoreError>],
        _ print: Printing<Value>
    ) throws(SigstoreError) {
        if names.count == 1, let only = names.first, let result = results.first {
            _ = try print(only, result.get(), false)
            return
        }
        let isTerminal = context.output.streams.isTerminal(.errors)
        var failures = FailureReport()
        var first: SigstoreError?
        var rows: [(name: String, outcome: Result<[String], SigstoreError>?)] = []
        for (name, result) in zip(names, results) {
            switch result {
            case .success(let value): rows.append((name, .success(try print(name, value, isTerminal))))
            case .failure(let error):
                first = first ?? error
                failures.add(name, error)
                rows.append((name, .failure(error)))
            }
        }
        if isTerminal { ResultTable(title: "IMAGE", rows: rows).print(context.output) }
        failures.print(of: "images", isNamedOnce: true, context.output)
        failures.printCount(of: names.count, "images", verb, context.output)
        guard let first else { return }
        throw SigstoreError(
            .alreadyReported, "\(failures.count) of \(names.count) images were not \(verb)", cause: first)
    }
}

extension SigstoreError {
    fileprivate static var notDone: SigstoreError { SigstoreError(.interrupted, "the work was not done") }
}
