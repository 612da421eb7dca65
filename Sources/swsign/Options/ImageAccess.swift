import LocalSystem
import OCIRegistry
import StrictJSON
import SwSignCore

/// Images and what is attached to them, reached as a command's flags and variables say.
struct ImageAccess: Sendable {
    let registries: Registries
    /// What stands before tags of the older scheme.
    let tagPrefix: String
    let context: Context

    /// The image of that name, with its signatures where `COSIGN_REPOSITORY` says.
    /// - Parameters:
    ///   - platform: If the name is an index's, the image for this platform is meant.
    ///   - isFolder: Whether the name is the path of a layout that holds one image.
    ///   - isAskedFor: Whether the image is asked for even if it is named by its digest.
    func image(_ name: String, platform: String? = nil, isFolder: Bool = false, isAskedFor: Bool = true)
        async throws(SigstoreError) -> Image
    {
        let image: Image
        let repository = context.environment.value("COSIGN_REPOSITORY")
        do throws(SigstoreError) {
            image =
                isAskedFor
                ? try await Image(finding: name, registries, signatureRepository: repository, isFolder: isFolder)
                : try await Image(named: name, registries, signatureRepository: repository, isFolder: isFolder)
        } catch {
            guard !isFolder, FileStatus(name)?.kind == .file else { throw error }
            var error = error
            error.advice = "\(name) is a file here: files are verified with verify-blob and verify-blob-attestation"
            throw error
        }
        guard let platform else { return image }
        let picked = try await image.picking(platform)
        guard let only = picked.first, picked.count == 1 else {
            throw SigstoreError(
                .usage, "\(name) has \(picked.count) images for the platform \(platform)",
                advice: "name one by its digest")
        }
        return only
    }

    /// The image of that name, which is about to be signed. A tag may point elsewhere later: of that it is warned.
    /// - Parameter done: What is done to it, such as "signed".
    func image(_ name: String, toBe done: String) async throws(SigstoreError) -> Image {
        if FileStatus(name)?.kind == .file {
            throw SigstoreError(
                .usage, "\(name) is a file here, and an image is expected",
                advice: .sentence(
                    "files are for sign-blob and attest-blob; an image of this name is meant by docker.io/library/NAME")
            )
        }
        let image = try await image(name)
        if image.isNamedByTag {
            context.output.warn(
                "\(name) is named by a tag, which may point elsewhere by the time it is used: \(image.digest) is what is \(done)"
            )
        }
        return image
    }

    /// Says who does not see a signature of the newer scheme.
    /// - Parameter what: What is made, such as "signature".
    func noteScheme(_ what: String, isLegacyForm: Bool, isQuiet: Bool) {
        guard !isLegacyForm, !isQuiet else { return }
        context.output.note(
            "cosign 2, and admission controllers of its age, do not see this \(what); "
                + "--new-bundle-format=false makes one that they see")
    }

    /// The error with the advice to name a platform, if nothing is with an index itself and something is with an image in
    /// it.
    func pointingWithin(_ image: Image, _ kind: SignatureStore.Kind, _ error: SigstoreError) async -> SigstoreError {
        guard error.code == .noSignature, let all = try? await image.withPlatforms() else { return error }
        for (image, platform) in all.dropFirst().prefix(8) {
            guard let platform, platform.os != "unknown",
                let found = try? await attachments(of: image).find(kind), !found.readable.isEmpty
            else { continue }
            var error = error
            let what = kind == .signature ? "a signature" : "an attestation"
            error.advice = "\(what) stands at its image for \(platform): give --platform \(platform)"
            return error
        }
        return error
    }

    /// Where an image is to be put, with its signatures where `COSIGN_REPOSITORY` says.
    func destination(_ name: String) throws(SigstoreError) -> ImageDestination {
        try ImageDestination(name, registries, signatureRepository: context.environment.value("COSIGN_REPOSITORY"))
    }

    /// What is attached to an image, within `COSIGN_MAX_ATTACHMENT_SIZE`.
    func attachments(of image: Image) throws(SigstoreError) -> SignatureStore {
        var store = SignatureStore(image, tagPrefix: tagPrefix)
        let docker = context.environment.value("COSIGN_DOCKER_MEDIA_TYPES") ?? ""
        store.usesDockerMediaTypes = ["1", "t", "T", "true", "TRUE", "True"].contains(docker)
        guard let text = context.environment.value("COSIGN_MAX_ATTACHMENT_SIZE") else { return store }
        guard let limit = ByteCount(text) else {
            throw SigstoreError(
                .usage, "COSIGN_MAX_ATTACHMENT_SIZE is \"\(text)\", which is not a size",
                advice: "write it as 128MiB or 134217728")
        }
        store.attachmentLimit = limit.bytes
        return store
    }
}

/// The images that are signed or attested, found before anything is.
struct ImageTargets: Sendable {
    let access: ImageAccess
    /// Whether every image of an index is meant too.
    let isRecursive: Bool
    /// Whether something is put beside the images.
    let upload: Bool
    let kind: SignatureStore.Kind
    let isLegacyForm: Bool
    /// What manifests of the older scheme say of the time.
    let creationTime: String?

    /// Each image that is meant, and where its signatures are.
    /// - Throws: `SigstoreError` if one cannot be found, or what is put beside it would have no name.
    func find(_ image: Image) async throws(SigstoreError) -> [(image: Image, store: SignatureStore)] {
        var found: [(image: Image, store: SignatureStore)] = []
        for each in isRecursive ? try await image.withPlatforms().map(\.image) : [image] {
            var store = try access.attachments(of: each)
            store.creationTime = creationTime
            if upload, isLegacyForm { _ = try ManifestSelector(tag: store.tag(kind)) }
            found.append((image: each, store: store))
        }
        return found
    }
}
