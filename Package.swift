// swift-tools-version: 6.2
import PackageDescription

/// Every Swift target is held to the same rules.
let settings: [SwiftSetting] =
    [
        .swiftLanguageMode(.v6),
        .enableUpcomingFeature("ExistentialAny"),
        .enableUpcomingFeature("MemberImportVisibility"),
        .enableUpcomingFeature("InternalImportsByDefault"),
        .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
        .strictMemorySafety(),
    ] + (Context.environment["CI"] == "true" ? [.treatAllWarnings(as: .error)] : [])

let package = Package(
    name: "swsign",
    products: [
        .executable(name: "swsign", targets: ["swsign"]),
        .executable(name: "local-sigstore", targets: ["local-sigstore"]),
        .library(name: "InToto", targets: ["InToto"]),
        .library(name: "OCIRegistry", targets: ["OCIRegistry"]),
        .library(name: "SigstoreCrypto", targets: ["SigstoreCrypto"]),
        .library(name: "SigstoreClients", targets: ["SigstoreClients"]),
        .library(name: "SigstoreVerification", targets: ["SigstoreVerification"]),
        .library(name: "SwSignCore", targets: ["SwSignCore"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        // The loopback servers of LocalSigstore; never linked into swsign.
        .package(url: "https://github.com/swhitty/FlyingFox", exact: "0.27.1"),
    ],
    targets: [
        // System libraries, each with the shims that its macros and variadics need.
        .systemLibrary(name: "COpenSSL", pkgConfig: "libcrypto", providers: [.apt(["libssl-dev"])]),
        .systemLibrary(name: "CSodium", pkgConfig: "libsodium", providers: [.apt(["libsodium-dev"])]),

        // RE2 behind C functions, for identities given as regular expressions.
        .target(name: "CRE2", linkerSettings: [.linkedLibrary(":libre2.a")]),

        // L0
        .target(name: "InToto", swiftSettings: settings),
        .target(
            name: "SigstoreCrypto", dependencies: ["InToto", "COpenSSL", "CSodium"], swiftSettings: settings),

        // A C target rather than a system library: it opens libcurl on first use, so that starting costs nothing.
        .target(name: "CCurl"),
        .target(name: "CProcess"),
        .target(name: "HTTPTransport", dependencies: ["InToto", "CCurl", "CProcess"], swiftSettings: settings),

        // L1
        .target(
            name: "OCIRegistry", dependencies: ["InToto", "SigstoreCrypto", "HTTPTransport"],
            swiftSettings: settings),
        .target(
            name: "SigstoreVerification", dependencies: ["InToto", "SigstoreCrypto", "CRE2"], swiftSettings: settings),

        // L2
        .target(
            name: "SigstoreClients",
            dependencies: ["InToto", "HTTPTransport", "SigstoreCrypto", "SigstoreVerification"], swiftSettings: settings
        ),

        // L3
        .target(
            name: "SwSignCore",
            dependencies: [
                "InToto", "HTTPTransport", "OCIRegistry", "SigstoreClients", "SigstoreCrypto", "SigstoreVerification",
            ],
            swiftSettings: settings),

        .target(
            name: "LocalSigstore",
            dependencies: [
                "InToto", "SigstoreCrypto",
                .product(name: "FlyingFox", package: "FlyingFox"),
                .product(name: "FlyingSocks", package: "FlyingFox"),
            ], swiftSettings: settings),

        // L4. The memory of the program alone: a library leaves that to the program that it is part of.
        .target(name: "CMemory"),
        .executableTarget(
            name: "swsign",
            dependencies: [
                "CMemory", "InToto", "HTTPTransport", "OCIRegistry", "SigstoreClients", "SigstoreCrypto",
                "SigstoreVerification",
                "SwSignCore", .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ], swiftSettings: settings),

        .executableTarget(
            name: "local-sigstore",
            dependencies: [
                "InToto", "HTTPTransport", "LocalSigstore",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ], swiftSettings: settings),

        // Starts the programs that tests run.
        .target(name: "Spawning", path: "Tests/Spawning", swiftSettings: settings),
        .testTarget(name: "InTotoTests", dependencies: ["InToto"], swiftSettings: settings),
        .testTarget(
            name: "SigstoreCryptoTests", dependencies: ["Spawning", "SigstoreCrypto", "InToto"], swiftSettings: settings
        ),
        .testTarget(
            name: "SigstoreVerificationTests",
            dependencies: ["SigstoreVerification", "SigstoreCrypto", "InToto", "LocalSigstore"],
            swiftSettings: settings),
        .target(name: "FaultServer", path: "Tests/FaultServer", swiftSettings: settings),
        .target(
            name: "DebianRegistry", dependencies: ["Spawning", "HTTPTransport"],
            path: "Tests/DebianRegistry",
            swiftSettings: settings),
        .testTarget(
            name: "HTTPTransportTests", dependencies: ["Spawning", "HTTPTransport", "InToto", "FaultServer"],
            swiftSettings: settings),
        .testTarget(
            name: "OCIRegistryTests",
            dependencies: [
                "Spawning", "OCIRegistry", "DebianRegistry", "FaultServer", "HTTPTransport", "SigstoreCrypto", "InToto",
            ], swiftSettings: settings),
        .testTarget(
            name: "LocalSigstoreTests",
            dependencies: [
                "Spawning", "swsign", "LocalSigstore", "InToto", "SigstoreClients", "SigstoreCrypto",
                "SigstoreVerification",
            ], swiftSettings: settings),
        .testTarget(
            name: "SigstoreClientsTests",
            dependencies: [
                "SigstoreClients", "SwSignCore", "SigstoreCrypto", "SigstoreVerification", "HTTPTransport", "InToto",
                "LocalSigstore", "FaultServer", "Spawning", "tuf-conformance-client",
            ], swiftSettings: settings),
        // The client under test for the public TUF conformance suite.
        .executableTarget(
            name: "tuf-conformance-client", dependencies: ["SigstoreClients", "HTTPTransport", "InToto"],
            path: "Tests/Conformance/TUFClient", swiftSettings: settings),
        .testTarget(
            name: "InteropTests",
            dependencies: [
                "Spawning", "swsign", "local-sigstore", "InToto", "SigstoreCrypto", "HTTPTransport", "OCIRegistry",
                "LocalSigstore", "DebianRegistry",
            ], swiftSettings: settings),
        .testTarget(
            name: "swsignTests",
            dependencies: [
                "Spawning", "swsign", "SwSignCore", "InToto", "SigstoreCrypto", "HTTPTransport", "OCIRegistry",
                "LocalSigstore", "DebianRegistry", "FaultServer",
            ],
            swiftSettings: settings),
    ]
)
