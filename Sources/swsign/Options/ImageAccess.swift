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
    func image(_ name: String, platform: String? = nil, isFolder: Bool = false) async throws(SigstoreError) -> Image {
        let image = try await Image(
            finding: name, registries, signatureRepository: context.environment.value("COSIGN_REPOSITORY"),
            isFolder: isFolder)
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
        let image = try await image(name)
        if image.isNamedByTag {
            context.output.warn(
                "\(name) is named by a tag, which may point elsewhere by the time it is used: \(image.digest) is what is \(done)"
            )
        }
        return image
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
