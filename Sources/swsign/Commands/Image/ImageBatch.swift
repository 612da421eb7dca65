import StrictJSON
import SwSignCore

/// Several images in one call, worked on side by side: one bad image does not stop the others, results come in the order
/// in which the images were named, and the summary says which failed.
struct ImageBatch {
    /// What is done to the images, as in "3 images signed".
    let verb: String
    let context: Context

    /// Works on all of the images.
    /// - Throws: The error itself for a single image; with several, after all of them, an error whose exit code is that
    ///   of the first that failed.
    func forEach<Value: Sendable>(
        _ names: [String], _ body: @escaping @Sendable (String) async throws(SigstoreError) -> Value,
        print: (String, Value) throws(SigstoreError) -> Void
    ) throws(SigstoreError) {
        let results = try run(names.map { .success($0) }, body)
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
        print: (String, Value) throws(SigstoreError) -> Void
    ) throws(SigstoreError) {
        let prepared = try run(names.map { .success($0) }, prepare)
        if names.count == 1, case .failure(let error)? = prepared.first { throw error }
        guard prepared.contains(where: { if case .success = $0 { true } else { false } }) else {
            return try report(
                names, prepared.map { $0.flatMap { _ in Result<Value, SigstoreError>.failure(.notDone) } }, print)
        }
        let session = try begin()
        let results = try run(prepared) { one throws(SigstoreError) in try await body(session, one) }
        try report(names, results, print)
    }

    /// Runs the work for each that is there, side by side; what failed before stays as it is.
    private func run<Input: Sendable, Value: Sendable>(
        _ inputs: [Result<Input, SigstoreError>],
        _ body: @escaping @Sendable (Input) async throws(SigstoreError) -> Value
    ) throws(SigstoreError) -> [Result<Value, SigstoreError>] {
        if inputs.count > 1 { context.progress.begin(Int64(inputs.count), of: .images) }
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

    private func report<Value>(
        _ names: [String], _ results: [Result<Value, SigstoreError>],
        _ print: (String, Value) throws(SigstoreError) -> Void
    ) throws(SigstoreError) {
        if names.count == 1, let only = names.first, let result = results.first { return try print(only, result.get()) }
        var failures = FailureReport()
        var first: SigstoreError?
        for (name, result) in zip(names, results) {
            switch result {
            case .success(let value): try print(name, value)
            case .failure(let error):
                first = first ?? error
                failures.add(name, error)
            }
        }
        failures.print(of: "images", isNamedOnce: true, context.output)
        context.output.note("\(names.count - failures.count) of \(names.count) images \(verb)")
        guard let first else { return }
        failures.printNames("not \(verb)", context.output)
        throw SigstoreError(
            .alreadyReported, "\(failures.count) of \(names.count) images were not \(verb)", cause: first)
    }
}

extension SigstoreError {
    fileprivate static var notDone: SigstoreError { SigstoreError(.interrupted, "the work was not done") }
}
