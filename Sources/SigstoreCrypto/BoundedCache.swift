internal import StrictJSON
internal import Synchronization

/// What was found out lately about some bytes, by their digest, so that it is not found out twice in a run. It holds a
/// bounded number of answers, and starts anew when it is full: one run asks about few things, many times.
final class BoundedCache<Answer: Sendable>: Sendable {
    private let answers = Mutex<[(name: Digest, answer: Answer)]>([])
    private let limit: Int

    /// - Parameter limit: How many answers are kept.
    init(limit: Int) { self.limit = limit }

    /// The answer for these bytes.
    /// - Parameters:
    ///   - name: The digest of everything that the answer depends on.
    ///   - find: Finds the answer if it is not known; what it throws is not kept.
    func answer(for name: Digest, _ find: () throws(SigstoreError) -> Answer) throws(SigstoreError) -> Answer {
        if let known = answers.withLock({ $0.first { $0.name == name }?.answer }) { return known }
        let answer = try find()
        answers.withLock { answers in
            if answers.count >= limit { answers.removeAll() }
            answers.append((name: name, answer: answer))
        }
        return answer
    }
}
