import StrictJSON
import SwSignCore

/// Several images in one call, worked on side by side: one bad image does not stop the others, results come in the order
/// in which the images were named, and the summary says which failed.
struct ImageBatch {
    /// What is done to the images, as in "3 images signed".
    let verb: String
    let context: Context

    /// - Throws: The error itself for a single image; with several, after all of them, an error whose exit code is that
    ///   of the first that failed.
    func forEach<Value: Sendable>(
        _ names: [String], _ body: @escaping @Sendable (String) async throws(SigstoreError) -> Value,
        print: (String, Value) throws(SigstoreError) -> Void
    ) throws(SigstoreError) {
        if let only = names.first, names.count == 1 {
            return try print(only, try waiting { () throws(SigstoreError) in try await body(only) })
        }
        context.progress.begin(Int64(names.count), of: .images)
        let results = try waiting { () throws(SigstoreError) in
            await withTaskGroup(of: (Int, Result<Value, SigstoreError>).self) { group in
                var results = [Result<Value, SigstoreError>?](repeating: nil, count: names.count)
                for (index, name) in names.enumerated() {
                    group.addTask {
                        do throws(SigstoreError) { return (index, .success(try await body(name))) } catch {
                            return (index, .failure(error))
                        }
                    }
                }
                for await (index, result) in group {
                    results[index] = result
                    context.progress.advance(1)
                }
                return results
            }
        }
        var failed: [(name: String, error: SigstoreError)] = []
        for (name, result) in zip(names, results) {
            switch result {
            case .success(let value)?: try print(name, value)
            case .failure(let error)?:
                failed.append((name, error))
                context.output.error((error.message.contains(name) ? error : error.concerning(name)).advised)
            case nil: break
            }
        }
        context.output.note("\(names.count - failed.count) of \(names.count) images \(verb)")
        guard let first = failed.first else { return }
        for failure in failed { context.output.note("  not \(verb): \(failure.name)") }
        throw SigstoreError(
            .alreadyReported, "\(failed.count) of \(names.count) images were not \(verb)", cause: first.error)
    }
}
