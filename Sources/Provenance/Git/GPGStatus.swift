public import StrictJSON

/// What GnuPG says of one detached signature, read from its status lines (GnuPG's `doc/DETAILS`).
///
/// The lines are those of the descriptor that was named to it, on which it writes nothing else. Names and messages stand in them
/// with their line breaks escaped. One signature has one verdict: a second one is refused, whatever it says.
public struct GPGStatus: Sendable {
    /// More than this many bytes of status lines are refused.
    public static let sizeLimit = 1 << 16

    /// The fingerprint of the key that signed, in capital hexadecimal digits.
    public let fingerprint: String
    /// The fingerprint of the primary key that it belongs to.
    public let primaryFingerprint: String
    /// What the key calls its owner, which only its own list of people vouches for. It may hold any text.
    public let userID: String

    /// Reads status lines.
    /// - Parameters:
    ///   - output: What GnuPG wrote.
    ///   - exitStatus: Its exit status.
    /// - Throws: `SigstoreError` with `gpg-signature-invalid`, `gpg-key-missing`, `gpg-key-not-valid`, `gpg-signature-weak`,
    ///   `gpg-failed` or `gpg-unclear`.
    public init(parsing output: [UInt8], exitStatus: Int32) throws(SigstoreError) {
        guard output.count <= Self.sizeLimit else { throw Self.unclear("it says more than \(Self.sizeLimit) bytes") }
        let prefix = Array("[GNUPG:] ".utf8)
        var verdict: (word: String, rest: ArraySlice<UInt8>)?
        var valid: [ArraySlice<UInt8>]?
        for line in output.split(separator: 0x0a) {
            guard line.starts(with: prefix) else { continue }
            let text = line.dropFirst(prefix.count)
            let word = text.prefix { $0 != 0x20 }
            let rest = text.dropFirst(word.count + 1)
            switch String(decoding: word, as: UTF8.self) {
            case let name where Self.verdicts.contains(name):
                guard verdict == nil else { throw Self.unclear("it gives two verdicts, as of two signatures") }
                verdict = (name, rest)
            case "VALIDSIG":
                guard valid == nil else { throw Self.unclear("it gives two verdicts, as of two signatures") }
                valid = rest.split(separator: 0x20)
            case "PLAINTEXT", "DECRYPTION_INFO", "BEGIN_DECRYPTION":
                throw Self.unclear("it is no detached signature")
            default: break
            }
        }
        guard let verdict else { throw Self.unclear("it says nothing of a signature") }
        switch verdict.word {
        case "GOODSIG": break
        case "BADSIG":
            throw SigstoreError(.gpgSignatureInvalid, "gpg says that the signature does not hold")
        case "ERRSIG":
            let fields = verdict.rest.split(separator: 0x20)
            let key = fields.first.flatMap(Self.hexadecimal) ?? "an unknown key"
            // The reason: 9 is a key that is not there.
            guard fields.count >= 6, fields[5].elementsEqual("9".utf8) else {
                throw SigstoreError(.gpgFailed, "gpg cannot check the signature by \(key)")
            }
            throw SigstoreError(.gpgKeyMissing, "gpg does not have the key \(key), and cannot check the signature")
        default:
            throw SigstoreError(
                .gpgKeyNotValid,
                "gpg says that the signature or its key \(verdict.word == "REVKEYSIG" ? "was revoked" : "has expired")")
        }
        guard let valid, valid.count >= 10, let fingerprint = Self.fingerprint(valid[0]),
            let primary = Self.fingerprint(valid[9])
        else { throw Self.unclear("it does not say by which key") }
        guard let signer = verdict.rest.split(separator: 0x20).first.flatMap(Self.hexadecimal),
            fingerprint.utf8.suffix(signer.utf8.count).elementsEqual(signer.utf8)
                // Keys of version 5 and later are named by the beginning.
                || fingerprint.utf8.starts(with: signer.utf8)
        else { throw Self.unclear("its lines are about different keys") }
        // MD5, SHA-1 and RIPEMD-160: for these, another object with the same signature can be made.
        guard !["1", "2", "3"].contains(where: { valid[7].elementsEqual($0.utf8) }) else {
            throw SigstoreError(
                .gpgSignatureWeak, "the GPG signature is over MD5, SHA-1 or RIPEMD-160, which prove nothing")
        }
        // Of a text, line breaks may be changed without the signature noticing.
        guard valid[8].elementsEqual("00".utf8) else {
            throw SigstoreError(.gpgSignatureWeak, "the GPG signature is not one over bytes as they stand")
        }
        guard exitStatus == 0 else { throw Self.unclear("it ends with the status \(exitStatus)") }
        (self.fingerprint, primaryFingerprint) = (fingerprint, primary)
        let name = verdict.rest.drop { $0 != 0x20 }.dropFirst()
        userID = String(decoding: name.prefix(256), as: UTF8.self)
    }

    private static let verdicts = ["GOODSIG", "BADSIG", "ERRSIG", "EXPSIG", "EXPKEYSIG", "REVKEYSIG"]

    private static func unclear(_ why: String) -> SigstoreError {
        SigstoreError(.gpgUnclear, "what gpg says is not clear: \(why)")
    }

    private static func hexadecimal(_ text: some Collection<UInt8>) -> String? {
        guard (8...64).contains(text.count) else { return nil }
        var digits: [UInt8] = []
        for byte in text {
            switch byte {
            case 0x30...0x39, 0x41...0x46: digits.append(byte)
            case 0x61...0x66: digits.append(byte - 0x20)
            default: return nil
            }
        }
        return String(decoding: digits, as: UTF8.self)
    }

    private static func fingerprint(_ text: some Collection<UInt8>) -> String? {
        text.count == 40 || text.count == 64 ? hexadecimal(text) : nil
    }

    /// A whole fingerprint as people write it, with blanks in it or not.
    /// - Returns: Its digits in capitals; `nil` if it is none. The short names of keys are none: others can have them too.
    public static func fingerprint(_ text: String) -> String? {
        fingerprint(text.utf8.filter { $0 != 0x20 })
    }
}

extension SigstoreError.Code {
    /// GnuPG is not there, or cannot check a signature.
    public static let gpgFailed = Self("gpg-failed")
    /// GnuPG says that a signature does not hold.
    public static let gpgSignatureInvalid = Self("gpg-signature-invalid")
    /// GnuPG does not have the key that a signature is by.
    public static let gpgKeyMissing = Self("gpg-key-missing")
    /// A GPG signature or its key has expired, or was revoked.
    public static let gpgKeyNotValid = Self("gpg-key-not-valid")
    /// A GPG signature is of a kind that proves too little.
    public static let gpgSignatureWeak = Self("gpg-signature-weak")
    /// What GnuPG says of a signature is not clear.
    public static let gpgUnclear = Self("gpg-unclear")
}
