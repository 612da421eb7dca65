import HTTPTransport
import LocalSystem
import SigstoreClients
import SigstoreCrypto
import StrictJSON
import SwSignCore

extension SigstoreError {
    /// The same error with what to do next, where whoever threw it did not say.
    var advised: SigstoreError {
        var error = self
        error.advice = advice ?? Self.usualAdvice[code]
        return error
    }

    /// What to do next by code: only what is true wherever the code occurs.
    private static let usualAdvice: [Code: String] = [
        .usage: "see the command's --help",
        .fileUnwritable: "check that the directory is there and may be written to, or name another place",
        .isDirectory: "name a file instead, such as one in that directory",
        .fileNotFound: "check the name that was given",
        .noPassword:
            "for a key, set COSIGN_PASSWORD; for a registry, give --password-stdin; other questions need a terminal",
        .noSignature: "check that this is the image that was signed, or sign it with swsign sign or swsign attest",
        .noMatchingSignature:
            "check what is demanded of the signature (key, identity, annotations, type), or have the image signed anew",
        .unsupportedKey:
            "keys that can be used are ECDSA P-256, P-384 and P-521, Ed25519, and RSA of 2048 to 4096 bits",
        .timedOut: "try again, or allow more time with --timeout",
        .malformedJSON: "what was read may be cut short, altered or of another kind: get it again",
        .malformedSignature: "what was read may be cut short, altered or another signature: get it again",
        .malformedBase64: "what was read may be cut short or altered: get it again",
        .tufNoRoot: "name the TUF root with TUF_ROOT_JSON, or once with swsign initialize --root",
    ]
}
