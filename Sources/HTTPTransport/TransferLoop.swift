import CCurl
import LocalSystem
import StrictJSON
import Synchronization

/// libcurl's multi interface on a thread of its own. All transfers of a client run side by side there and share
/// its connections; nothing of libcurl but the wake-up is ever called from another thread.
@safe
final class TransferLoop: Sendable {
    private struct State {
        var submitted: [Transfer] = []
        var cancelled: [UInt64] = []
        var nextID: UInt64 = 0
        var isRunning = false
        var isStopping = false
    }

    /// libcurl's multi handle, freed in `deinit`, when the thread is gone.
    private nonisolated(unsafe) let multi: UnsafeMutableRawPointer
    private let maxActive: Int
    private let state = Mutex(State())

    /// - Parameter maxActive: How many transfers run side by side; the others wait for their turn.
    init(maxActive: Int) throws(SigstoreError) {
        try Self.openLibrary()
        guard let multi = unsafe ccurl_multi_init() else {
            throw SigstoreError(.httpUnavailable, "libcurl gives no multi handle: memory is short")
        }
        unsafe self.multi = unsafe multi
        self.maxActive = max(1, maxActive)
        // Keeps a connection for each worker to a registry and to its storage.
        _ = unsafe ccurl_multi_set_long(multi, CURLMOPT_MAXCONNECTS, max(4, maxActive &* 2))
    }

    deinit { _ = unsafe ccurl_multi_cleanup(multi) }

    /// Opens libcurl, if that has not been done.
    static func openLibrary() throws(SigstoreError) {
        guard let reason = unsafe ccurl_open() else { return }
        throw SigstoreError(
            .httpUnavailable, "no HTTP here: \(unsafe String(cString: reason))",
            advice: "install the package libcurl4 (Debian, Ubuntu) or libcurl (Fedora, RHEL)")
    }

    /// Runs one transfer to its end.
    func run(_ plan: TransferPlan, into sink: (any BodySink)?) async -> TransferOutcome {
        let id = state.withLock { state in
            state.nextID &+= 1
            return state.nextID
        }
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                submit(Transfer(id, plan, into: sink) { continuation.resume(returning: $0) })
                // The handler below may have run before there was anything to cancel.
                if Task.isCancelled { cancel(id) }
            }
        } onCancel: {
            cancel(id)
        }
    }

    private func cancel(_ id: UInt64) {
        state.withLock { $0.cancelled.append(id) }
        wake()
    }

    /// Ends the thread, and with it what still runs.
    func stop() {
        state.withLock { $0.isStopping = true }
        wake()
    }

    private func wake() { _ = unsafe ccurl_multi_wakeup(multi) }

    private func submit(_ transfer: Transfer) {
        let mustStart = state.withLock { state in
            state.submitted.append(transfer)
            defer { state.isRunning = true }
            return !state.isRunning
        }
        guard mustStart else { return wake() }
        if !BlockingThread.start({ self.work() }) {
            state.withLock { state in
                state.isRunning = false
                state.submitted.removeAll { $0.id == transfer.id }
            }
            transfer.complete(
                .failure(SigstoreError(.httpUnavailable, "the system gives no thread"), isTransient: false))
        }
    }

    /// The thread's work: until `stop()`.
    private func work() {
        BlockingThread.blockSignals()
        var waiting: [Transfer] = []
        // By the address of libcurl's handle, which is how libcurl names a transfer.
        var active: [UInt: Transfer] = [:]
        let cancelled = TransferOutcome.failure(
            SigstoreError(.cancelled, "the request was cancelled"), isTransient: false)
        let broken = TransferOutcome.failure(
            SigstoreError(.httpUnavailable, "libcurl's loop broke down"), isTransient: false)

        func remove(_ address: UInt) -> Transfer? {
            guard let transfer = active.removeValue(forKey: address), let easy = unsafe transfer.easy else {
                return nil
            }
            _ = unsafe ccurl_multi_remove(multi, easy)
            return transfer
        }

        while true {
            let (new, gone, isStopping) = state.withLock { state in
                defer {
                    state.submitted = []
                    state.cancelled = []
                }
                return (state.submitted, state.cancelled, state.isStopping)
            }
            waiting.insert(contentsOf: new.filter { $0.plan.goesFirst }, at: 0)
            waiting += new.filter { !$0.plan.goesFirst }
            for id in gone {
                if let index = waiting.firstIndex(where: { $0.id == id }) {
                    waiting.remove(at: index).complete(cancelled)
                } else if let address = active.first(where: { $0.value.id == id })?.key {
                    remove(address)?.complete(cancelled)
                }
            }
            if isStopping {
                for transfer in waiting { transfer.complete(cancelled) }
                for address in Array(active.keys) { remove(address)?.complete(cancelled) }
                return
            }
            expire(&waiting)
            while active.count < maxActive, !waiting.isEmpty {
                let transfer = waiting.removeFirst()
                do throws(SigstoreError) {
                    let easy = unsafe try transfer.prepare()
                    guard unsafe ccurl_multi_add(multi, easy) == CURLM_OK else {
                        throw SigstoreError(.httpUnavailable, "libcurl takes no further transfer")
                    }
                    active[UInt(bitPattern: easy)] = transfer
                } catch {
                    transfer.complete(.failure(error, isTransient: false))
                }
            }
            var running: CInt = 0
            let performed = unsafe ccurl_multi_perform(multi, &running)
            var result = CURLE_OK
            while let easy = unsafe ccurl_multi_finished(multi, &result) {
                guard let transfer = remove(UInt(bitPattern: easy)) else { continue }
                transfer.complete(transfer.outcome(result))
            }
            // A place became free: fill it before waiting.
            if !waiting.isEmpty && active.count < maxActive { continue }
            let waited = unsafe ccurl_multi_wait(multi, waiting.isEmpty ? 60_000 : 200)
            if performed != CURLM_OK || waited != CURLM_OK {
                for address in Array(active.keys) { remove(address)?.complete(broken) }
            }
        }
    }

    /// Ends what waited for its turn until its time was over.
    private func expire(_ waiting: inout [Transfer]) {
        let now = ContinuousClock.now
        waiting.removeAll { transfer in
            // The plan as a whole is not copied: a hundred may wait, each time that one is done.
            if let deadline = transfer.plan.deadline, deadline <= now {
                transfer.complete(.failure(.deadlineIsOver(transfer.plan.url), isTransient: false))
                return true
            }
            guard let latest = transfer.plan.latestStart, latest <= now else { return false }
            let (method, url) = (transfer.plan.method, transfer.plan.url)
            transfer.complete(
                .failure(
                    SigstoreError(.outOfDate, "\(method) \(url.redacted) came too late to be sent"),
                    isTransient: false))
            return true
        }
    }
}

extension SigstoreError {
    /// The error that the time for everything together is used up.
    static func deadlineIsOver(_ url: HTTPURL) -> SigstoreError {
        SigstoreError(
            .timedOut, "the time allowed is over before \(url.origin.authority) answered",
            advice: .remedy(.allowMoreTime))
    }
}
