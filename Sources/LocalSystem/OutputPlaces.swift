public import StrictJSON
internal import Synchronization

/// The files that the results of some work will replace, so that no result replaces what the work has read: what it was
/// asked about would be lost.
///
/// The work's readings are seen wherever it does them, in its tasks and on its blocking threads, without each reader being
/// handed this object: the task carries it. Detached tasks are another work.
public final class OutputPlaces: Sendable {
    /// What the current task, or thread, is watched by.
    private static let current = TaskLocal<OutputPlaces?>(wrappedValue: nil)

    /// Which files will be replaced, and whether they were read since that is known.
    private let places = Mutex<[(file: FileStatus.Identity, wasRead: Bool)]>([])

    /// Knows of no place yet.
    public init() {}

    /// Does work, and watches what it reads.
    /// - Throws: What the work throws.
    public func watching<Value>(_ work: () throws(SigstoreError) -> Value) throws(SigstoreError) -> Value {
        try Self.watched(by: self, work)
    }

    /// Does work that is part of other work, on another thread.
    /// - Parameter places: ``watcher``, as that other work sees it.
    static func watched<Value>(
        by places: OutputPlaces?, _ work: () throws(SigstoreError) -> Value
    ) throws(SigstoreError) -> Value {
        let result: Result<Value, SigstoreError> = current.withValue(places) {
            do throws(SigstoreError) { return .success(try work()) } catch { return .failure(error) }
        }
        return try result.get()
    }

    /// What watches the work that asks; `nil` if nothing does.
    static var watcher: OutputPlaces? { current.get() }

    /// Makes known that a result will be written to a file, before anything is read that it could replace.
    public func reserve(_ file: OutputFile) {
        guard let status = FileStatus(file.path), status.kind == .file else { return }
        places.withLock { $0.append((file: status.identity, wasRead: false)) }
    }

    /// Remembers that a file is read, if a result would replace it.
    static func noteReading(_ descriptor: CInt) {
        guard let watcher else { return }
        watcher.places.withLock { places in
            guard !places.isEmpty, let file = FileStatus(descriptor)?.identity else { return }
            for index in places.indices where places[index].file == file { places[index].wasRead = true }
        }
    }

    /// Refuses a file that the work has read since ``reserve(_:)``.
    /// - Throws: `SigstoreError` with `file-exists`.
    public func expectNotRead(_ file: OutputFile) throws(SigstoreError) {
        guard let identity = FileStatus(file.path)?.identity else { return }
        let wasRead = places.withLock { places in places.contains { $0.file == identity && $0.wasRead } }
        guard !wasRead else {
            throw SigstoreError(
                .fileExists, "\(file.path) was read, and would be replaced by the result; it was left as it is",
                advice: "name another file for the result")
        }
    }
}
