import HTTPTransport
import SigstoreCrypto

/// libcurl, opened on another thread while the command line and the trust root are read.
enum Preparation {
    /// Begins, if a command will surely ask a registry or a service.
    /// - Parameter arguments: The command line in its one form.
    static func begin(for arguments: [String]) {
        let makesRequests: Bool
        switch arguments.first {
        case "sign-blob", "attest-blob", "sign-model":
            makesRequests = !arguments.contains { $0 == "--sk" || $0.utf8.starts(with: "--key=".utf8) }
        case "sign", "attest", "resign", "verify", "verify-attestation":
            let images = arguments.drop { $0 != "--" }.dropFirst()
            makesRequests =
                !arguments.contains("--local-image")
                && images.contains { !$0.utf8.starts(with: "oci-layout:".utf8) }
        default: makesRequests = false
        }
        // OpenSSL first, which libcurl would set up by a configuration file. What fails is told where it is needed.
        if makesRequests { CurlClient.openAside(after: { try? Cryptography.prepare() }) }
    }
}
