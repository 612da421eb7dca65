import InToto
import LocalSystem
import OCIRegistry
import Provenance
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import SwSignCore

extension InputFile {
    /// Whether an image in a registry is meant, as `gh` writes it.
    private var isInRegistry: Bool { path.utf8.starts(with: "oci://".utf8) }
    /// Whether an image in a layout is meant.
    var isLayout: Bool { path.utf8.starts(with: "oci-layout:".utf8) }
    /// Whether an image is meant.
    var isImage: Bool { isInRegistry || isLayout }

    /// The digest that an image's name has; `nil` if it has none.
    /// - Throws: `SigstoreError` with `malformed-reference`.
    func imageDigest() throws(SigstoreError) -> Digest? {
        switch try ImageLocation(parsing: path) {
        case .registry(let reference): return reference.digest
        case .layout(_, .digest(let digest)?): return digest
        case .layout: return nil
        }
    }
}

/// Where files, images and their attestations are had: from files and layouts, and with `--fetch` from servers.
struct ProvenanceAccess: Sendable {
    let options: FetchOptions
    /// The file or folder with attestations that was named.
    let place: InputFile?
    /// Images, reached as the flags say.
    let images: ImageAccess
    let rules: ProvenanceRules
    /// Has attestations of what is not beside the files; `nil` without `--fetch`, and if nothing is to be had from it.
    let server: AttestationServer?

    /// Whether anything has to be waited for: a server, or the files of a layout.
    func waits(for files: [InputFile]) -> Bool { server != nil || files.contains { $0.isImage } }

    /// Finds a file or an image with its attestations, and verifies it.
    func verify(_ file: InputFile, with verifier: Verifier) async throws(SigstoreError) -> VerifiedProvenance {
        guard file.isImage else {
            guard let server else {
                return try await onBlockingThread { () throws(SigstoreError) in
                    try rules.verify(
                        file, try file.artifact(), try AttestationFiles.document(for: file, at: place), with: verifier)
                }
            }
            return try await verify(file, try file.artifact(), server, with: verifier)
        }
        let image = try await image(file)
        let artifact = ArtifactDigest(image.digest)
        if options.bundleFromOCI { return try await verify(file, artifact, attachedTo: image, with: verifier) }
        if let server, place == nil { return try await verify(file, artifact, server, with: verifier) }
        guard let place else {
            throw SigstoreError(
                .usage, "nothing says where the attestations of \(file.path) are",
                advice: "name their file with --attestations, or give --bundle-from-oci or --fetch")
        }
        return try await onBlockingThread { () throws(SigstoreError) in
            try rules.verify(file, artifact, try AttestationFiles.document(for: file, at: place), with: verifier)
        }
    }

    /// The image of that name. Only with `--fetch` may its registry be asked what a tag stands for.
    private func image(_ file: InputFile) async throws(SigstoreError) -> Image {
        let isNamedByDigest = try file.imageDigest() != nil
        guard options.fetch || file.isLayout || isNamedByDigest else {
            throw SigstoreError(
                .usage, "\(file.path) is named by a tag, and what a tag stands for only its registry knows",
                advice: "name it by its digest, as oci://IMAGE@sha256:…, or give --fetch")
        }
        return try await images.image(file.path, isAskedFor: file.isLayout)
    }

    /// Verifies by attestations that a server has.
    private func verify(
        _ file: InputFile, _ artifact: any ArtifactSource, _ server: AttestationServer, with verifier: Verifier
    ) async throws(SigstoreError) -> VerifiedProvenance {
        var (artifact, document, hasMore) = (artifact, AttestationDocument?.none, false)
        do throws(SigstoreError) {
            switch rules.serverSource {
            case .npm:
                if let npm = rules.npm {
                    document = try await server.npm(package: npm.package, version: npm.version)
                }
            case .pypi: document = try await server.pypi(file: file.baseName)
            default:
                if let policy = rules.github {
                    // The file is read once, for what is asked and for what is verified.
                    let message = try await onBlockingThread { [artifact] () throws(SigstoreError) in
                        try artifact.read(digests: Set(HashAlgorithm.allCases), schemes: [])
                    }
                    artifact = ReadArtifact(message: message)
                    let algorithms = policy.algorithm.map { [$0] } ?? [.sha256, .sha512]
                    guard let digest = algorithms.lazy.compactMap({ message.digest($0) }).first else {
                        throw SigstoreError(
                            .otherDigestNeeded,
                            "GitHub knows files by their SHA-256 or SHA-512, and that is not at hand",
                            advice: "give the file itself, or sha256:<hex>")
                    }
                    (document, hasMore) = try await server.gitHub(digest, policy, limit: options.limit)
                }
            }
        } catch { throw FetchOptions.advising(error, rules.serverSource) }
        guard let document else { throw rules.nothingDemanded }
        do throws(SigstoreError) {
            return try await onBlockingThread { [artifact] () throws(SigstoreError) in
                try rules.verify(file, artifact, document, with: verifier)
            }
        } catch {
            guard hasMore else { throw error }
            var error = error
            error.advice = .sentence(
                "GitHub has more attestations than the \(options.limit) that were looked at: give a higher --limit")
            throw error
        }
    }

    /// Verifies by the attestations that are with an image.
    private func verify(
        _ file: InputFile, _ artifact: any ArtifactSource, attachedTo image: Image, with verifier: Verifier
    ) async throws(SigstoreError) -> VerifiedProvenance {
        let found = try await images.attachments(of: image).find(.attestation)
        let unknown = found.unread.first
        let bundles = found.readable.filter { $0.predicateType != nil }.map { stored in
            var bundle = stored.bundle
            bundle.place = stored.place
            return bundle
        }
        guard !bundles.isEmpty else {
            throw unknown ?? found.unreadable.first
                ?? SigstoreError(
                    .noProvenance, "there are no attestations with \(file.path) (\(image.digest))",
                    advice: "leave --bundle-from-oci out to ask GitHub for them")
        }
        let document = try AttestationDocument(bundles, form: .bundle)
        do throws(SigstoreError) {
            return try await onBlockingThread { () throws(SigstoreError) in
                try rules.verify(file, artifact, document, with: verifier)
            }
        } catch {
            // One that could not be looked at may be the one that holds.
            throw unknown ?? error
        }
    }
}
