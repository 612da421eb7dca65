// swift-tools-version: 6.2
import PackageDescription

// A package of its own, so that what fuzzing needs never enters the product. `make fuzz` builds and runs it.
let package = Package(
    name: "Fuzz",
    dependencies: [.package(name: "swsign", path: "../..")],
    targets: [
        .executableTarget(
            name: "Fuzz",
            dependencies: [
                .product(name: "InToto", package: "swsign"), .product(name: "OCIRegistry", package: "swsign"),
                .product(name: "HTTPTransport", package: "swsign"),
                .product(name: "KeyProviders", package: "swsign"),
                .product(name: "Provenance", package: "swsign"),
                .product(name: "SigstoreClients", package: "swsign"),
                .product(name: "SigstoreCrypto", package: "swsign"),
                .product(name: "SigstoreVerification", package: "swsign"),
                .product(name: "StrictJSON", package: "swsign"), .product(name: "StrictYAML", package: "swsign"),
                .product(name: "SwSignCore", package: "swsign"),
            ], swiftSettings: [.swiftLanguageMode(.v6)])
    ]
)
