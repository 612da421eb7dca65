import Foundation
public import LocalSigstore
import Synchronization
public import Testing

/// Gives tests a whole Sigstore on loopback: ``LocalSigstore/LocalServices/current``.
///
/// On a suite it is one for all of its tests, unless each is to have its own; on a test it is one for each of its cases.
/// If a test says something else than its suite, the test counts.
public struct LocalSigstoreTrait: SuiteTrait, TestTrait, TestScoping {
    /// What tests may ask for.
    public enum Option: Sendable {
        /// Each test of the suite has services of its own: it counts requests, switches faults on or replaces keys.
        case own
        /// There is another Sigstore, with other keys: ``LocalSigstore/LocalServices/another``.
        case another
    }

    let options: Set<Option>

    /// Whether each test is given services; otherwise the suite is.
    public var isRecursive: Bool { options.contains(.own) }

    @TaskLocal fileprivate static var running: [LocalServices] = []

    /// Starts the services, runs the test or the suite, and stops them.
    @concurrent public func provideScope(
        for test: Test, testCase: Test.Case?, performing function: @concurrent @Sendable () async throws -> Void
    ) async throws {
        let nearest = test.traits.compactMap { $0 as? Self }.last
        if let nearest, nearest.options != options { return try await function() }
        // A suite's services serve many tests; each of the others waits for its turn.
        if !test.isSuite { await Turns.sigstores.take() }
        defer { if !test.isSuite { Turns.sigstores.giveBack() } }
        let folder = FileManager.default.temporaryDirectory.appending(path: "sigstore-\(UUID().uuidString)").path
        defer { try? FileManager.default.removeItem(atPath: folder) }
        var services: [LocalServices] = []
        do {
            services.append(try await Self.start(in: "\(folder)/services"))
            if options.contains(.another) {
                services.append(try await LocalServices.start(LocalServices.Configuration(folder: "\(folder)/another")))
            }
            try await Self.$running.withValue(services) { try await function() }
        } catch {
            for one in services { await one.stop() }
            throw error
        }
        for one in services { await one.stop() }
    }

    /// Starts services in a new folder with keys that other tests have too: to make them takes longer than most tests.
    private static func start(in folder: String) async throws -> LocalServices {
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        try await FileManager.default.copyItem(atPath: keys.value, toPath: "\(folder)/keys")
        return try await LocalServices.start(LocalServices.Configuration(folder: folder))
    }

    private static let keys = Task {
        let folder = FileManager.default.temporaryDirectory.appending(path: "sigstore-\(UUID().uuidString)").path
        await (try LocalServices.start(LocalServices.Configuration(folder: folder))).stop()
        return "\(folder)/keys"
    }
}

extension Trait where Self == LocalSigstoreTrait {
    /// A whole Sigstore on loopback, shared by the tests of the suite.
    public static var localSigstore: Self { Self(options: []) }

    /// A whole Sigstore on loopback.
    /// - Parameter options: Whether each test has its own, and whether there is another one.
    public static func localSigstore(_ options: LocalSigstoreTrait.Option...) -> Self { Self(options: Set(options)) }
}

extension LocalServices {
    /// The services of the test that runs, if it or its suite says `.localSigstore`.
    public static var current: LocalServices { get throws { try running(0) } }
    /// The services with other keys, if the test or its suite says `.localSigstore(.another)`.
    public static var another: LocalServices { get throws { try running(1) } }

    private static func running(_ index: Int) throws -> LocalServices {
        let all = LocalSigstoreTrait.running
        guard all.indices.contains(index) else { throw NotDeclared() }
        return all[index]
    }

    private struct NotDeclared: Error, CustomStringConvertible {
        var description: String { "neither the test nor its suite has the trait .localSigstore that this needs" }
    }
}

/// Lets only some tests have services at a time. Each server waits for connections on a thread of its own, of which a process
/// has some 250; without one, a server never answers.
package final class Turns: Sendable {
    /// Those of tests that have a whole Sigstore, of some eight servers, for themselves.
    static let sigstores = Turns(6)
    /// Those of registries. A test may have two of them, so there are more turns than such tests.
    static let registries = Turns(32)
    /// Those of servers that a test scripts, with a thread for each connection.
    package static let scripts = Turns(4)
    private let state: Mutex<(free: Int, waiting: [CheckedContinuation<Void, Never>])>

    private init(_ count: Int) { state = Mutex((free: count, waiting: [])) }

    package func take() async {
        await withCheckedContinuation { continuation in
            let isFree = state.withLock { state in
                guard state.free > 0 else {
                    state.waiting.append(continuation)
                    return false
                }
                state.free -= 1
                return true
            }
            if isFree { continuation.resume() }
        }
    }

    package func giveBack() {
        let next = state.withLock { state -> CheckedContinuation<Void, Never>? in
            if state.waiting.isEmpty {
                state.free += 1
                return nil
            }
            return state.waiting.removeFirst()
        }
        next?.resume()
    }
}
