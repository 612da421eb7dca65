import ArgumentParser
import InToto
import OCIRegistry
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import SwSignCore

struct Attach: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "attach", abstract: "Attaches to an image what was made elsewhere.",
        subcommands: [Signature.self, Attestation.self, SBOM.self])

    /// The largest file that is attached: cosign's limit.
    private static let limit = 128 << 20

    struct Signature: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "signature", abstract: "Attaches a signature that was made elsewhere.")

        @Argument(help: "The image: a reference, or oci-layout:PATH[:TAG|@DIGEST].")
        var image: String
        @Option(help: "The signature: a file, the base64 itself, or - for standard input.")
        var signature: String?
        @Option(help: "The file that was signed.")
        var payload: String?
        @Option(help: "The signer's certificate, in PEM.")
        var certificate: String?
        @Option(name: .customLong("certificate-chain"), help: "The certificates above the signer's, in PEM.")
        var chain: String?
        @Option(
            name: .customLong("rekor-response"), help: "The entry in the log: Rekor's answer, or cosign 2's bundle.")
        var rekorResponse: String?
        @Option(help: "A timestamp over the signature: an RFC 3161 response, or cosign's JSON of one.")
        var tsr: String?
        @Option(help: "A bundle with the signature and all that belongs to it; then nothing else.")
        var bundle: String?
        @OptionGroup(title: "Attachments") var options: AttachmentOptions
        @OptionGroup(title: "Registry") var registry: RegistryFlags
        @OptionGroup(title: "Global options") var global: GlobalOptions

        mutating func run() throws {
            try global.apply()
            let registries = try registry.registries(global)
            if let bundle { return try attach(InputFile(bundle), registries) }
            guard let signature else {
                throw SigstoreError(
                    .usage, "no signature was given", advice: "give --signature with --payload, or --bundle")
            }
            var foreign = ForeignSignature(
                signature: try SignatureFile.Parts(
                    signature: signature, bundle: nil, certificate: nil, timestamp: nil, names: .flags
                ).joined(attestation: false).signature())
            foreign.payload = try content(payload)
            foreign.certificate = try content(certificate)
            foreign.chain = try content(chain)
            foreign.logEntry = try content(rekorResponse)
            foreign.timestamp = try content(tsr)
            if payload == nil {
                Output.warn(
                    "no --payload was given: the signature must be over the payload that cosign signs for this image")
            }
            let (name, flags, options) = (image, registry, options)
            let (store, named) = try waiting { [foreign] () throws(SigstoreError) in
                let store = try options.signatures(of: try await flags.image(name, registries), flags)
                return (store, try await store.attach(foreign))
            }
            if named != store.image.digest {
                Output.warn(
                    "the payload names \(named.map { "\($0)" } ?? "no image"), and this image is \(store.image.digest): it will not verify"
                )
            }
            Output.note(
                "Attached a signature to \(name) (\(store.image.digest)) as \(store.image.signatureStore.name):\(store.tag(.signature))"
            )
        }

        private func attach(_ file: InputFile, _ registries: Registries) throws(SigstoreError) {
            guard [signature, payload, certificate, chain, rekorResponse, tsr].allSatisfy({ $0 == nil }) else {
                throw SigstoreError(.usage, "a bundle holds everything: --bundle stands alone")
            }
            let parsed = try SignatureFile.bundle(file)
            let created = CalendarTime.iso8601(try SigningTime.now())
            let (name, flags, options) = (image, registry, options)
            let image = try waiting { () throws(SigstoreError) in
                let store = try options.signatures(of: try await flags.image(name, registries), flags)
                try await store.add(parsed, created: created)
                return store.image
            }
            Output.note("Attached a bundle to \(name) (\(image.digest)) in \(image.signatureStore.name)")
        }

        private func content(_ path: String?) throws(SigstoreError) -> [UInt8]? {
            guard let path else { return nil }
            return try InputFile(path).contents(limit: Attach.limit)
        }
    }

    struct Attestation: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "attestation", abstract: "Attaches attestations that were made elsewhere.")

        @Argument(help: "The image: a reference, or oci-layout:PATH[:TAG|@DIGEST].")
        var image: String
        @Option(
            help: "A file with an envelope, envelopes one a line, or a bundle; - is standard input. May be repeated.")
        var attestation: [String] = []
        @OptionGroup(title: "Attachments") var options: AttachmentOptions
        @OptionGroup(title: "Registry") var registry: RegistryFlags
        @OptionGroup(title: "Global options") var global: GlobalOptions

        mutating func run() throws {
            try global.apply()
            guard !attestation.isEmpty else {
                throw SigstoreError(.usage, "no attestation was given", advice: "give --attestation FILE")
            }
            var attestations: [SignatureStore.ForeignAttestation] = []
            for path in attestation {
                let file = InputFile(path)
                do throws(SigstoreError) {
                    attestations += try SignatureStore.ForeignAttestation.read(try file.contents(limit: Attach.limit))
                } catch { throw error.message.contains(file.name) ? error : error.concerning(file.name) }
            }
            let created = CalendarTime.iso8601(try SigningTime.now())
            let registries = try registry.registries(global)
            let (name, flags, options) = (image, registry, options)
            let image = try waiting { [attestations] () throws(SigstoreError) in
                let store = try options.signatures(of: try await flags.image(name, registries), flags)
                for attestation in attestations { try await store.attach(attestation, created: created) }
                return store.image
            }
            for attestation in attestations {
                let type = attestation.statement?.predicateType.uri ?? ""
                let isAbout =
                    attestation.statement?.hasSubject(
                        algorithm: image.digest.algorithm.rawValue, hex: image.digest.hex) ?? false
                if !isAbout {
                    Output.warn("the attestation of type \(type) is not about this image: it will not verify")
                }
                Output.note(
                    "Attached an attestation of type \(type) to \(name) (\(image.digest)) in \(image.signatureStore.name)"
                )
            }
        }
    }

    struct SBOM: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "sbom", abstract: "Attaches an SBOM, which is not signed by that.")

        @Argument(help: "The image: a reference, or oci-layout:PATH[:TAG|@DIGEST].")
        var image: String
        @Option(help: "The SBOM; - is standard input.")
        var sbom: String
        @Option(help: "What it is: spdx, cyclonedx or syft.")
        var type = "spdx"
        @Option(
            name: .customLong("input-format"), help: "How it is written: json, xml or text; by its content unless told."
        )
        var inputFormat: Format?
        @OptionGroup(title: "Attachments") var options: AttachmentOptions
        @OptionGroup(title: "Registry") var registry: RegistryFlags
        @OptionGroup(title: "Global options") var global: GlobalOptions

        enum Format: String, ExpressibleByArgument, CaseIterable { case json, xml, text }

        mutating func run() throws {
            try global.apply()
            let content = try InputFile(sbom).contents(limit: Attach.limit)
            let mediaType = try SignatureStore.sbomMediaType(type, format: inputFormat?.rawValue, content: content)
            Output.warn(
                "this does not sign the SBOM; swsign attest --type \(type == "spdx" ? "spdxjson" : type) --predicate does"
            )
            let registries = try registry.registries(global)
            let (name, flags, options) = (image, registry, options)
            let (store, tag) = try waiting { () throws(SigstoreError) in
                let image = try await flags.image(name, registries)
                let tag = try await options.signatures(of: image, flags).attach(sbom: content, mediaType: mediaType)
                return (image.signatureStore.name, tag)
            }
            Output.note("Uploading SBOM file for [\(name)] to [\(store):\(tag)] with mediaType [\(mediaType)].")
        }
    }
}
