import ArgumentParser
import InToto
import OCIRegistry
import SigstoreCrypto
import SigstoreVerification
import SwSignCore

/// The flags that both commands verifying images have.
struct ImageVerificationOptions: ParsableArguments {
    @Flag(
        name: .customLong("check-claims"), inversion: .prefixedNo,
        help: "Check that what was signed names this image's digest.")
    var checkClaims = true
    @Flag(name: .customLong("local-image"), help: "The names are folders that swsign save or cosign save wrote.")
    var localImage = false
    @Flag(name: .shortAndLong, help: "Verify every image of an index as well.")
    var recursive = false
    @Option(help: "With an index, verify the image for this platform, such as linux/arm64, in place of the index.")
    var platform: String?
    @Option(
        name: .customLong("attachment-tag-prefix"),
        help: "What stands before the tags of signatures of the older scheme.")
    var tagPrefix = ""

    func warn() {
        guard !checkClaims else { return }
        Output.warn(
            "what was signed is not compared with the image: it may be a signature for another one (--check-claims=false)"
        )
    }

    /// The images that a name stands for.
    func images(_ name: String, _ flags: RegistryFlags, _ registries: Registries) async throws(SigstoreError) -> [Image]
    {
        let image = try await flags.image(name, registries, isFolder: localImage)
        if let platform { return try await image.picking(platform) }
        return recursive ? try await image.withPlatforms().map(\.image) : [image]
    }
}

/// What came of one name on the command line: each image with what holds for it.
private struct VerifiedImages: Sendable {
    var images: [(image: Image, signatures: [VerifiedImageSignature])] = []
    /// What could not be read beside what holds.
    var passedOver: [SigstoreError] = []

    mutating func add(_ image: Image, _ held: [VerifiedImageSignature], _ found: StoredSignatures) {
        images.append((image, held))
        passedOver += found.unread + found.unreadable
    }

    /// Says what could not be read: what holds is enough, but there may be more.
    func warn() {
        for error in passedOver.prefix(5) { Output.warn("passed over: \(error.message)") }
        if passedOver.count > 5 { Output.warn("passed over: \(passedOver.count - 5) more") }
    }
}

struct Verify: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify", _superCommandName: "swsign", abstract: "Verifies the signatures of container images.")

    @Argument(help: "The images: references, or oci-layout:PATH[:TAG|@DIGEST].")
    var images: [String]
    @Option(
        name: [.customLong("annotations"), .customShort("a")],
        help: "An annotation that the signer must have made, as key=value.")
    var annotations: [String] = []
    @Option(help: "Verify what is attached to the image, such as sbom, in place of the image.")
    var attachment: String?
    @Option(help: "A file with the payload that was signed, for --signature.")
    var payload: String?
    @Option(help: "The signature: a file, or the base64 itself; with --payload.")
    var signature: String?
    @Option(
        name: .customLong("signature-digest-algorithm"),
        help: "Accepted as in cosign; the algorithm follows from the key.")
    var signatureDigestAlgorithm: String?
    @Option(name: .shortAndLong, help: "How results are printed on standard output: json or text.")
    var output: OutputFormat = .json
    @OptionGroup(title: "Images") var options: ImageVerificationOptions
    @OptionGroup(title: "Verification") var verification: VerificationOptions
    @OptionGroup(title: "Identity") var identity: IdentityOptions
    @OptionGroup(title: "Trust") var trust: TrustOptions
    @OptionGroup(title: "Registry") var registry: RegistryFlags
    @OptionGroup(title: "Global options") var global: GlobalOptions

    mutating func run() throws {
        try global.apply()
        guard attachment == nil || attachment == "sbom" else {
            throw SigstoreError(.usage, "--attachment knows sbom, not \(attachment ?? "")")
        }
        guard (payload == nil) == (signature == nil) else {
            throw SigstoreError(.usage, "--payload and --signature belong together")
        }
        let given = try givenSignature()
        let policy = try verification.policy(identity, standardInputIsTaken: [payload, signature].contains("-"))
        options.warn()
        let verifier = ImageVerifier(
            verifier: try verification.verifier(trust), policy: policy, annotations: try Self.pairs(annotations),
            checksClaims: options.checkClaims, report: VerificationHeader.report)
        let registries = try registry.registries(global)
        let (options, flags, attachment) = (options, registry, attachment)
        try ImageBatch(verb: "verified").forEach(images) { name throws(SigstoreError) in
            var verified = VerifiedImages()
            for var image in try await options.images(name, flags, registries) {
                if attachment != nil { image = try await image.attachment(.sbom, tagPrefix: options.tagPrefix) }
                let found =
                    if let given { StoredSignatures([given]) } else {
                        try await flags.signatures(of: image, tagPrefix: options.tagPrefix).find(.signature)
                    }
                verified.add(image, try verifier.verify(image, found, .signature), found)
            }
            return verified
        } print: { name, verified throws(SigstoreError) in
            verified.warn()
            let held = verified.images.flatMap(\.signatures)
            VerificationHeader.print(
                name, held, checksClaims: options.checkClaims, comparesAnnotations: !annotations.isEmpty)
            if output == .json {
                try Output.json(.array(held.map(\.payload)))
            } else {
                for (image, signatures) in verified.images {
                    for signature in signatures {
                        try Output.result("\(image.digest) \(VerifiedDescription(signature.verified).signer)")
                    }
                }
            }
        }
    }

    private func givenSignature() throws(SigstoreError) -> StoredSignature? {
        guard let payload, let signature else { return nil }
        return StoredSignature(
            bundle: try SignatureFile.Parts(signature: signature, bundle: nil, certificate: nil, timestamp: nil)
                .joined(attestation: false), payload: try InputFile(payload).contents(limit: 1 << 20))
    }

    /// Annotations as `key=value`.
    static func pairs(_ texts: [String]) throws(SigstoreError) -> [(name: String, value: String)] {
        var pairs: [(name: String, value: String)] = []
        for text in texts {
            guard let equals = text.utf8.firstIndex(of: 0x3d), equals != text.startIndex else {
                throw SigstoreError(.usage, "the annotation \"\(text)\" is not of the form key=value")
            }
            pairs.append((name: String(text[..<equals]), value: String(text[text.utf8.index(after: equals)...])))
        }
        return pairs
    }
}

struct VerifyAttestation: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify-attestation", _superCommandName: "swsign",
        abstract: "Verifies attestations about container images.")

    @Argument(help: "The images: references, or oci-layout:PATH[:TAG|@DIGEST].")
    var images: [String]
    @Option(help: "The type that the predicate must have: \(PredicateType.nameList), or a URI.")
    var type = "custom"
    @Option(
        name: .shortAndLong, help: "How results are printed on standard output: json (one envelope a line) or text.")
    var output: OutputFormat = .json
    @OptionGroup(title: "Images") var options: ImageVerificationOptions
    @OptionGroup(title: "Verification") var verification: VerificationOptions
    @OptionGroup(title: "Identity") var identity: IdentityOptions
    @OptionGroup(title: "Trust") var trust: TrustOptions
    @OptionGroup(title: "Registry") var registry: RegistryFlags
    @OptionGroup(title: "Global options") var global: GlobalOptions

    mutating func run() throws {
        try global.apply()
        let type = try PredicateType(named: type)
        let policy = try verification.policy(identity, standardInputIsTaken: false)
        options.warn()
        let verifier = ImageVerifier(
            verifier: try verification.verifier(trust), policy: policy, checksClaims: options.checkClaims,
            report: VerificationHeader.report)
        let registries = try registry.registries(global)
        let (options, flags) = (options, registry)
        try ImageBatch(verb: "verified").forEach(images) { name throws(SigstoreError) in
            var verified = VerifiedImages()
            for image in try await options.images(name, flags, registries) {
                let found = try await flags.signatures(of: image, tagPrefix: options.tagPrefix).find(.attestation)
                verified.add(image, try verifier.verify(image, found, .attestation(type)), found)
            }
            return verified
        } print: { name, verified throws(SigstoreError) in
            verified.warn()
            let held = verified.images.flatMap(\.signatures)
            VerificationHeader.print(name, held, checksClaims: options.checkClaims)
            for signature in held {
                guard case .dsse(let envelope) = signature.signature.bundle.content else { continue }
                if output == .json {
                    try Output.json(envelope.json())
                } else {
                    try Output.result("\(type.uri) \(VerifiedDescription(signature.verified).signer)")
                }
            }
        }
    }
}

/// What cosign prints before its results: the image, and the checks that were made on each signature.
enum VerificationHeader {
    /// With `--verbose`, each check as it is made.
    @Sendable static func report(_ signature: StoredSignature, _ check: VerificationCheck) {
        Output.detail("  \(signature.place): \(check.step.rawValue): \(check.detail)")
    }

    static func print(
        _ name: String, _ held: [VerifiedImageSignature], checksClaims: Bool, comparesAnnotations: Bool = false
    ) {
        Output.note("")
        Output.note("Verification for \(name) --")
        Output.note("The following checks were performed on each of these signatures:")
        if checksClaims { Output.note("  - The cosign claims were validated") }
        // No signature holds without each annotation that was demanded.
        if comparesAnnotations, !held.isEmpty { Output.note("  - The specified annotations were verified") }
        let made = held.map { Set($0.verified.checks.map(\.name)) }
        let onAll = held.first?.verified.checks.filter { check in made.allSatisfy { $0.contains(check.name) } } ?? []
        for check in onAll { Output.note("  - \(check.step.rawValue): \(check.name)") }
        for signature in held {
            let words = VerifiedDescription(signature.verified)
            Output.note("\(signature.signature.place): \(words.signer)")
            for time in words.times { Output.note("  \(time)") }
        }
    }
}
