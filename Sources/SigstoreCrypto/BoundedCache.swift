internal import StrictJSON
internal import Synchronization

/// What was found out lately about some bytes, by their digest, so that it is not found out twice in a run: who asks while
/// another thread is finding it out waits for that. It holds a bounded number of answers, and starts anew when it is full: one
/// run asks about few things, many times.
final class BoundedCache<Answer: Sendable>: Sendable {
    /// Where an answer is found; locked meanwhile.
    private final class Place: Sendable {
        let answer = Mutex<Answer?>(nil)
    }

    /// An answer that is known is here too, so that those who ask for it do not wait for each other.
    private let entries = Mutex<[(name: Digest, place: Place, answer: Answer?)]>([])
    private let limit: Int

    /// - Parameter limit: How many answers are kept.
    init(limit: Int) { self.limit = limit }

    /// The answer for these bytes.
    /// - Parameters:
    ///   - name: The digest of everything that the answer depends on.
    ///   - find: Finds the answer if it is not known; what it throws is not kept.
    func answer(for name: Digest, _ find: () throws(SigstoreError) -> Answer) throws(SigstoreError) -> Answer {
        let (known, place) = entries.withLock { entries -> (Answer?, Place) in
            if let entry = entries.first(where: { $0.name == name }) { return (entry.answer, entry.place) }
            if entries.count >= limit { entries.removeAll() }
            let place = Place()
            entries.append((name: name, place: place, answer: nil))
            return (nil, place)
        }
        if let known { return known }
        let answer = try place.answer.withLock { (answer) throws(SigstoreError) in
            if let answer { return answer }
            let found = try find()
            answer = found
            return found
        }
        entries.withLock { entries in
            guard let index = entries.firstIndex(where: { $0.place === place }) else { return }
            entries[index].answer = answer
        }
        return answer
    }
}
