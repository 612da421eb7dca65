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
        .library(name: "StrictJSON", targets: ["StrictJSON"]),
        .library(name: "StrictYAML", targets: ["StrictYAML"]),
        .library(name: "InToto", targets: ["InToto"]),
        .library(name: "HTTPTransport", targets: ["HTTPTransport"]),
        .library(name: "OCIRegistry", targets: ["OCIRegistry"]),
        .library(name: "SigstoreCrypto", targets: ["SigstoreCrypto"]),
        .library(name: "SigstoreClients", targets: ["SigstoreClients"]),
        .library(name: "SigstoreVerification", targets: ["SigstoreVerification"]),
        .library(name: "KeyProviders", targets: ["KeyProviders"]),
        .library(name: "Provenance", targets: ["Provenance"]),
        .library(name: "SwSignCore", targets: ["SwSignCore"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", exact: "1.8.2"),
        // The loopback servers of LocalSigstore; never linked into swsign.
        .package(url: "https://github.com/swhitty/FlyingFox", exact: "0.27.1"),
    ],
    targets: [
        // System libraries, each with the shims that its macros and variadics need.
        .systemLibrary(name: "COpenSSL", pkgConfig: "libcrypto", providers: [.apt(["libssl-dev"])]),
        // Linked in (see its module map), as RE2 is; pkg-config would name the shared library.
        .systemLibrary(name: "CSodium", providers: [.apt(["libsodium-dev"])]),
        // Linked in too.
        .systemLibrary(name: "CYAML", providers: [.apt(["libyaml-dev"])]),
        // The header alone: the module of a token is opened when a key needs it.
        .systemLibrary(name: "CPKCS11", providers: [.apt(["libp11-kit-dev"])]),

        // RE2 behind C functions, for identities given as regular expressions.
        .target(name: "CRE2", linkerSettings: [.linkedLibrary(":libre2.a")]),

        // L0
        .target(name: "StrictJSON", swiftSettings: settings),
        .target(name: "StrictYAML", dependencies: ["StrictJSON", "CYAML"], swiftSettings: settings),
        .target(name: "InToto", dependencies: ["StrictJSON"], swiftSettings: settings),
        .target(
            name: "SigstoreCrypto", dependencies: ["StrictJSON", "COpenSSL", "CSodium"], swiftSettings: settings),
        .target(name: "CProcess"),
        // Files, other programs, threads: what the operating system gives.
        .target(name: "LocalSystem", dependencies: ["StrictJSON", "CProcess"], swiftSettings: settings),

        // A C target rather than a system library: it opens libcurl on first use, so that starting costs nothing.
        .target(name: "CCurl"),
        .target(
            name: "HTTPTransport", dependencies: ["StrictJSON", "LocalSystem", "CCurl"], swiftSettings: settings),

        // L1
        .target(
            name: "OCIRegistry",
            dependencies: ["InToto", "StrictJSON", "SigstoreCrypto", "HTTPTransport", "LocalSystem"],
            swiftSettings: settings),
        .target(
            name: "SigstoreVerification", dependencies: ["InToto", "StrictJSON", "SigstoreCrypto", "CRE2"],
            swiftSettings: settings),

        // L2
        .target(
            name: "SigstoreClients",
            dependencies: [
                "InToto", "StrictJSON", "HTTPTransport", "LocalSystem", "SigstoreCrypto", "SigstoreVerification",
            ], swiftSettings: settings
        ),
        .target(
            name: "KeyProviders",
            dependencies: ["StrictJSON", "StrictYAML", "HTTPTransport", "LocalSystem", "SigstoreCrypto", "CPKCS11"],
            swiftSettings: settings),
        // Values only: it sees neither the network nor files.
        .target(
            name: "Provenance", dependencies: ["InToto", "StrictJSON", "SigstoreCrypto", "SigstoreVerification"],
            swiftSettings: settings),

        // L3
        .target(
            name: "SwSignCore",
            dependencies: [
                "InToto", "StrictJSON", "HTTPTransport", "KeyProviders", "LocalSystem", "OCIRegistry", "Provenance",
                "SigstoreClients",
                "SigstoreCrypto", "SigstoreVerification",
            ],
            swiftSettings: settings),

        .target(
            name: "LocalSigstore",
            dependencies: [
                "InToto", "StrictJSON", "SigstoreCrypto",
                .product(name: "FlyingFox", package: "FlyingFox"),
                .product(name: "FlyingSocks", package: "FlyingFox"),
            ], swiftSettings: settings),

        // L4. The memory of the program alone: a library leaves that to the program that it is part of.
        .target(name: "CMemory"),
        .executableTarget(
            name: "swsign",
            dependencies: [
                "CMemory", "InToto", "StrictJSON", "StrictYAML", "HTTPTransport", "KeyProviders", "LocalSystem",
                "OCIRegistry", "Provenance",
                "SigstoreClients",
                "SigstoreCrypto",
                "SigstoreVerification",
                "SwSignCore", .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ], swiftSettings: settings),

        .executableTarget(
            name: "local-sigstore",
            dependencies: [
                "InToto", "StrictJSON", "HTTPTransport", "LocalSystem", "LocalSigstore",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ], swiftSettings: settings),

        // The README's examples for programmers; tests run them.
        .executableTarget(
            name: "VerifyFile", dependencies: ["SwSignCore"], path: "Tests/Examples/VerifyFile",
            swiftSettings: settings),
        .executableTarget(
            name: "SignFile", dependencies: ["SwSignCore"], path: "Tests/Examples/SignFile", swiftSettings: settings),
        .executableTarget(
            name: "VerifyImage", dependencies: ["SwSignCore"], path: "Tests/Examples/VerifyImage",
            swiftSettings: settings),

        // Starts the programs that tests run.
        .target(name: "Spawning", path: "Tests/Spawning", swiftSettings: settings),
        .testTarget(name: "StrictJSONTests", dependencies: ["StrictJSON"], swiftSettings: settings),
        .testTarget(
            name: "StrictYAMLTests", dependencies: ["StrictYAML", "StrictJSON"], swiftSettings: settings),
        .testTarget(name: "InTotoTests", dependencies: ["InToto", "StrictJSON"], swiftSettings: settings),
        .testTarget(
            name: "LocalSystemTests", dependencies: ["Spawning", "LocalSystem", "StrictJSON"], swiftSettings: settings),
        .testTarget(
            name: "SigstoreCryptoTests", dependencies: ["Spawning", "SigstoreCrypto", "InToto", "StrictJSON"],
            swiftSettings: settings
        ),
        .testTarget(
            name: "SigstoreVerificationTests",
            dependencies: ["SigstoreVerification", "SigstoreCrypto", "InToto", "StrictJSON", "LocalSigstore"],
            swiftSettings: settings),
        .target(name: "FaultServer", path: "Tests/FaultServer", swiftSettings: settings),
        .target(
            name: "DebianRegistry", dependencies: ["Spawning", "HTTPTransport", "LocalSystem"],
            path: "Tests/DebianRegistry",
            swiftSettings: settings),
        // What a test declares that it needs: a Sigstore on loopback, a registry.
        .target(
            name: "TestServices", dependencies: ["DebianRegistry", "LocalSigstore", "HTTPTransport", "StrictJSON"],
            path: "Tests/TestServices", swiftSettings: settings),
        .testTarget(
            name: "HTTPTransportTests",
            dependencies: ["Spawning", "HTTPTransport", "LocalSystem", "InToto", "StrictJSON", "FaultServer"],
            swiftSettings: settings),
        .testTarget(
            name: "OCIRegistryTests",
            dependencies: [
                "Spawning", "OCIRegistry", "DebianRegistry", "FaultServer", "HTTPTransport", "LocalSystem",
                "SigstoreCrypto", "InToto", "StrictJSON", "TestServices",
            ], swiftSettings: settings),
        .testTarget(
            name: "LocalSigstoreTests",
            dependencies: [
                "Spawning", "swsign", "LocalSigstore", "InToto", "StrictJSON", "SigstoreClients", "SigstoreCrypto",
                "SigstoreVerification", "TestServices",
            ], swiftSettings: settings),
        .testTarget(
            name: "SigstoreClientsTests",
            dependencies: [
                "SigstoreClients", "SigstoreCrypto", "SigstoreVerification", "HTTPTransport", "LocalSystem", "InToto",
                "StrictJSON", "LocalSigstore", "FaultServer", "Spawning", "TestServices", "tuf-conformance-client",
            ], swiftSettings: settings),
        .testTarget(
            name: "KeyProvidersTests",
            dependencies: [
                "KeyProviders", "SigstoreCrypto", "HTTPTransport", "LocalSystem", "StrictJSON", "FaultServer",
                "Spawning",
                "TestServices",
            ], swiftSettings: settings),
        .testTarget(
            name: "ProvenanceTests",
            dependencies: [
                "Spawning", "Provenance", "SigstoreVerification", "SigstoreCrypto", "InToto", "StrictJSON",
            ],
            swiftSettings: settings),
        .testTarget(
            name: "SwSignCoreTests",
            dependencies: [
                "SwSignCore", "KeyProviders", "Provenance", "SigstoreClients", "SigstoreCrypto", "SigstoreVerification",
                "OCIRegistry",
                "HTTPTransport", "LocalSystem", "InToto", "StrictJSON", "LocalSigstore", "Spawning", "TestServices",
                "VerifyFile", "SignFile", "VerifyImage",
            ], swiftSettings: settings),
        // The client under test for the public TUF conformance suite.
        .executableTarget(
            name: "tuf-conformance-client",
            dependencies: ["SigstoreClients", "HTTPTransport", "LocalSystem", "InToto", "StrictJSON"],
            path: "Tests/Conformance/TUFClient", swiftSettings: settings),
        // What is built in two folders to see whether the folder makes a difference.
        .executableTarget(
            name: "smaller", dependencies: ["SigstoreVerification"], path: "Tests/Release/Smaller",
            swiftSettings: settings),
        .testTarget(
            name: "InteropTests",
            dependencies: [
                "Spawning", "swsign", "local-sigstore", "InToto", "StrictJSON", "SigstoreCrypto", "HTTPTransport",
                "LocalSystem", "OCIRegistry",
                "LocalSigstore", "TestServices",
            ], swiftSettings: settings),
        .testTarget(
            name: "swsignTests",
            dependencies: [
                "Spawning", "swsign", "SwSignCore", "InToto", "StrictJSON", "SigstoreCrypto", "HTTPTransport",
                "LocalSystem", "OCIRegistry",
                "LocalSigstore", "TestServices", "FaultServer",
            ],
            swiftSettings: settings),
    ]
)
