internal import StrictJSON
internal import Synchronization

/// What was found out lately about some bytes, by their digest, so that it is not found out twice in a run: who asks while
/// another thread is finding it out waits for that. It holds a bounded number of answers, and starts anew when it is full: one
/// run asks about few things, many times.
final class BoundedCache<Answer: Sendable>: Sendable {
    /// One answer; locked while it is being found.
    private final class Place: Sendable {
        let answer = Mutex<Answer?>(nil)
    }

    private let places = Mutex<[(name: Digest, place: Place)]>([])
    private let limit: Int

    /// - Parameter limit: How many answers are kept.
    init(limit: Int) { self.limit = limit }

    /// The answer for these bytes.
    /// - Parameters:
    ///   - name: The digest of everything that the answer depends on.
    ///   - find: Finds the answer if it is not known; what it throws is not kept.
    func answer(for name: Digest, _ find: () throws(SigstoreError) -> Answer) throws(SigstoreError) -> Answer {
        let place = places.withLock { places in
            if let known = places.first(where: { $0.name == name })?.place { return known }
            if places.count >= limit { places.removeAll() }
            let place = Place()
            places.append((name: name, place: place))
            return place
        }
        return try place.answer.withLock { (answer) throws(SigstoreError) in
            if let answer { return answer }
            let found = try find()
            answer = found
            return found
        }
    }
}
