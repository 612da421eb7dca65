import DebianRegistry
public import LocalSigstore

/// Where images and their signatures are kept.
public enum RegistryKind: String, CaseIterable, Sendable {
    /// A registry of this process, which has the referrers API and removes single tags.
    case referrersAPI
    /// The same without the referrers API: what refers to an image stands at the fallback tag.
    case fallbackTag
    /// Debian's `docker-registry`, which has no referrers API either, and cannot remove a tag alone.
    case dockerRegistry
    /// An OCI image layout in a folder: no registry at all.
    case layout

    /// The two registries that differ most.
    public static let registries = [dockerRegistry, referrersAPI]
    /// The kinds that most things are tried on.
    public static let main = [referrersAPI, dockerRegistry, layout]

    /// Runs a test with an empty registry of this kind.
    /// - Parameters:
    ///   - configuration: How a registry of this process behaves.
    ///   - body: Gets host and port, which are empty for a layout, and the registry if it is one of this process.
    public func run(
        _ configuration: LocalRegistry.Configuration = .init(), _ body: (String, LocalRegistry?) async throws -> Void
    ) async throws {
        let registry = try await RegistryFixture(self, configuration)
        try await body(registry.address ?? "", registry.local)
        withExtendedLifetime(registry) {}
    }
}

/// An empty registry of one kind, which ends with this object.
public final class RegistryFixture: Sendable {
    /// The registry of this process, if it is one, for what clients may not do.
    public let local: LocalRegistry?
    private let docker: DockerRegistry?

    /// Starts one.
    /// - Parameters:
    ///   - kind: What it is.
    ///   - configuration: How a registry of this process behaves.
    public init(_ kind: RegistryKind, _ configuration: LocalRegistry.Configuration = .init()) async throws {
        var configuration = configuration
        if kind == .fallbackTag { configuration.referrersAPI = false }
        switch kind {
        case .referrersAPI, .fallbackTag:
            await Turns.registries.take()
            do { (local, docker) = (try await LocalRegistry.start(configuration), nil) } catch {
                Turns.registries.giveBack()
                throw error
            }
        case .dockerRegistry: (local, docker) = (nil, try await DockerRegistry())
        case .layout: (local, docker) = (nil, nil)
        }
    }

    /// Host and port; none for a layout.
    public var address: String? { local?.address ?? docker?.address }

    deinit {
        guard let local else { return }
        Task {
            await local.stop()
            Turns.registries.giveBack()
        }
    }
}
