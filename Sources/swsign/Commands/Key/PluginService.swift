import KeyProviders
import LocalSystem
import SigstoreCrypto
import StrictJSON
import SwSignCore

/// This program under the name `sigstore-kms-NAME`: it answers what cosign asks of such a plugin, so that cosign signs and
/// verifies with every key that this program can use.
///
/// `sigstore-kms-swsign` takes any reference behind `swsign://`; under another name, such as `sigstore-kms-gcpkms`, it takes
/// those that begin with that name.
struct PluginService {
    let name: String
    let context: Context

    /// Answers one call.
    /// - Parameter arguments: What follows the program's name.
    /// - Throws: `SigstoreError`; what went wrong with the key has then been said to cosign.
    func run(_ arguments: [String]) throws(SigstoreError) {
        guard arguments.count == 2 else {
            throw SigstoreError(
                .usage, "as \(PluginCall.programPrefix)\(name), this program answers cosign, and nothing else",
                advice: .sentence(
                    "call cosign with --key \(name)://…, or this program by the name swsign for everything else"))
        }
        let answer: JSONValue
        do throws(SigstoreError) {
            guard arguments[0].utf8.elementsEqual(PluginCall.version.utf8) else {
                throw SigstoreError(
                    .usage,
                    "version \(arguments[0]) of the plugin protocol is asked for, expected \(PluginCall.version)")
            }
            answer = try respond(to: try PluginCall(parsing: Array(arguments[1].utf8)))
        } catch {
            let words = error.advised.advice.map { "\(error.message) (\($0))" } ?? error.message
            try context.output.json(PluginCall.failure("\(Output.escaped(words)) [\(error.code)]"))
            throw SigstoreError(.alreadyReported, error.message, cause: error)
        }
        try context.output.json(answer)
    }

    private func respond(to call: PluginCall) throws(SigstoreError) -> JSONValue {
        switch call.method {
        case .defaultAlgorithm:
            return call.answer("defaultAlgorithm", .string(SigningAlgorithm.ecdsaP256.rawValue))
        case .supportedAlgorithms:
            return call.answer(
                "supportedAlgorithms", .array(SigningAlgorithm.allCases.map { .string($0.rawValue) }))
        case .createKey(let algorithm):
            let (reference, kind) = (try reference(call), try SigningAlgorithm(named: algorithm))
            let made = try waiting { () throws(SigstoreError) in try await reference.makeKey(kind) }
            return Self.publicKey(made.publicKey, call)
        case .publicKey:
            let reference = try reference(call)
            guard let key = try publicKeys(reference).first else {
                throw SigstoreError(.keyNotFound, "\(reference.text) has no public key")
            }
            return Self.publicKey(key, call)
        case .signMessage(let digest): return call.answer("signature", .bytes(try sign(call, digest)))
        case .verifySignature(let signature, let digest):
            try verify(signature, call, digest)
            return call.answer(nil)
        }
    }

    private static func publicKey(_ key: PublicKey, _ call: PluginCall) -> JSONValue {
        call.answer("publicKeyPEM", .bytes(Array(key.pem.utf8)))
    }

    /// The key that a call is about. No plugin is asked in turn: it could be this one.
    private func reference(_ call: PluginCall) throws(SigstoreError) -> KeyReference {
        let text = name.utf8.elementsEqual("swsign".utf8) ? call.resource : "\(name)://\(call.resource)"
        let reference = try context.key(text, usingPlugins: false)
        guard !reference.takesStandardInput else {
            throw SigstoreError(.usage, "the message is on standard input, so the key cannot be", advice: "name a file")
        }
        return reference
    }

    /// The public keys that may verify. Of a file it is not said whether it holds the public key or the private one.
    private func publicKeys(_ reference: KeyReference) throws(SigstoreError) -> [PublicKey] {
        do throws(SigstoreError) { return try reference.readPublicKeys() } catch {
            guard error.code == .malformedKey else { throw error }
            return [try reference.readPublicKeyOfPair(context.terminal, standardInputIsTaken: true)]
        }
    }

    private func sign(_ call: PluginCall, _ digest: [UInt8]?) throws(SigstoreError) -> [UInt8] {
        let signer = try reference(call).openSigner(context.terminal, standardInputIsTaken: true)
        let scheme = try Self.scheme(of: signer, digest, call.hash)
        let message = try message(
            digest, scheme.hash, schemes: signer.takesWholeMessages ? [scheme, .ed25519] : [scheme])
        let signature = try waiting { () throws(SigstoreError) in try await signer.sign(message, scheme: scheme) }
        guard try signer.publicKey.verifies(signature, of: message, scheme: scheme) else {
            throw SigstoreError(
                .keyMismatch,
                "the signature that \(signer.displayName) gave does not hold: expected one with \(scheme) by the \(signer.publicKey.kind) key \(try signer.publicKey.hint())"
            )
        }
        return signature
    }

    /// How a call is signed: over the digest that it has; else by the hash function that it names, if the key can sign so.
    private static func scheme(of signer: any Signer, _ digest: [UInt8]?, _ hash: HashAlgorithm)
        throws(SigstoreError) -> SignatureScheme
    {
        let ways = signer.schemes
        if ways.contains(.ed25519) { return .ed25519 }
        let given = try digest.map { bytes throws(SigstoreError) in try Self.hash(of: bytes) }
        if let way = ways.first(where: { $0.hash == given ?? hash }) ?? (given == nil ? ways.first : nil) { return way }
        throw SigstoreError(
            .keyUnusable,
            "a \((given ?? hash).rawValue) digest is to be signed, and the key signs with \(ways.map(\.description).joined(separator: ", "))",
            advice: "use another key, or sign with swsign, which asks the key for its own hash")
    }

    private static func hash(of digest: [UInt8]) throws(SigstoreError) -> HashAlgorithm {
        guard let hash = HashAlgorithm.allCases.first(where: { $0.byteCount == digest.count }) else {
            throw SigstoreError(.usage, "the digest has \(digest.count) bytes, expected 32, 48 or 64")
        }
        return hash
    }

    /// What is signed: what is on standard input, or only its digest.
    private func message(_ digest: [UInt8]?, _ hash: HashAlgorithm?, schemes: Set<SignatureScheme>)
        throws(SigstoreError) -> HashedMessage
    {
        let message = try InputFile("-").read(digests: hash.map { [$0] } ?? [], schemes: schemes)
        guard let digest, let hash, let found = message.digest(hash) else { return message }
        let given = try Digest(hash, bytes: digest)
        if found == given { return message }
        guard found == (try Digest.hash([], hash)) else {
            throw SigstoreError(
                .usage,
                "the message on standard input is another one than the digest's: expected \(given), found \(found)")
        }
        return HashedMessage(digest: given)
    }

    private func verify(_ signature: [UInt8], _ call: PluginCall, _ digest: [UInt8]?) throws(SigstoreError) {
        let reference = try reference(call)
        let keys = try publicKeys(reference)
        let hash = try digest.map { bytes throws(SigstoreError) in try Self.hash(of: bytes) }
        let schemes = Set(keys.flatMap(\.schemes).filter { hash == nil || $0.hash == hash || $0.hash == nil })
        let message = try message(digest, hash, schemes: schemes)
        for key in keys {
            for scheme in key.schemes where schemes.contains(scheme) {
                // Of a message of which only the digest is known, Ed25519 says nothing.
                if scheme.hash == nil, message.bytes == nil { continue }
                if try key.verifies(signature, of: message, scheme: scheme) { return }
            }
        }
        throw SigstoreError(
            .invalidSignature, "the signature does not hold for the key \(reference.text)",
            advice: "what was signed or the signature was changed, or another key signed it")
    }
}
