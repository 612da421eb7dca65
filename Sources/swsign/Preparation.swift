import Glibc
import HTTPTransport
import SigstoreCrypto

/// libcurl, opened on another thread while the command line and the trust root are read: loading its some thirty libraries
/// takes as long. The process must end by `_exit`, which closes no library while another is being opened.
enum Preparation {
    /// Begins, where a command will surely make requests. Where the system gives no thread, libcurl is opened with the first
    /// of them.
    /// - Parameter arguments: The command line in its one form.
    static func begin(for arguments: [String]) {
        guard makesRequests(arguments) else { return }
        var thread = pthread_t()
        let failed = unsafe pthread_create(
            &thread, nil,
            { _ in
                Preparation.work()
                return nil
            }, nil)
        if failed == 0 { pthread_detach(thread) }
    }

    private static func work() {
        // Signals are for the program's other threads.
        var signals = sigset_t()
        unsafe sigfillset(&signals)
        unsafe pthread_sigmask(SIG_BLOCK, &signals, nil)
        // First, so that libcurl does not configure OpenSSL. What fails here fails again, and is told, where it is needed.
        guard (try? Cryptography.prepare()) != nil else { return }
        CurlClient.prepare()
    }

    private static func makesRequests(_ arguments: [String]) -> Bool {
        switch arguments.first {
        case "sign-blob", "attest-blob": return !arguments.contains { $0.utf8.starts(with: "--key=".utf8) }
        case "sign", "attest", "verify", "verify-attestation":
            let images = arguments.drop { $0 != "--" }.dropFirst()
            return !arguments.contains("--local-image")
                && images.contains { !$0.utf8.starts(with: "oci-layout:".utf8) }
        default: return false
        }
    }
}
