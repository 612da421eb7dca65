import FoundationEssentials
import SigstoreCrypto
import SigstoreVerification
import StrictJSON

/// Real signatures that are kept beside the repository, in `../shared`.
enum SharedMaterial {
    static let root: String = {
        var parts = #filePath.split(separator: "/").dropLast(3).map(String.init)
        parts.removeLast()
        return "/" + (parts + ["shared"]).joined(separator: "/")
    }()

    static func exists(_ path: String) -> Bool { FileManager.default.fileExists(atPath: "\(root)/\(path)") }
    static func read(_ path: String) throws -> [UInt8] {
        [UInt8](try Data(contentsOf: URL(filePath: "\(root)/\(path)")))
    }
    static func list(_ path: String) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: "\(root)/\(path)").sorted()
    }
}

/// Trusted roots and files, each read once.
actor MaterialCache {
    static let shared = MaterialCache()
    private var roots: [String: TrustedRoot] = [:]

    func trustedRoot(_ path: String) throws -> TrustedRoot {
        if let known = roots[path] { return known }
        let root = try TrustedRoot(parsing: try SharedMaterial.read(path))
        roots[path] = root
        return root
    }
}

extension VerificationPolicy {
    /// A policy that holds now.
    init(
        signedBy: SignedBy, claim: Claim, transparencyLog: TransparencyLogRule = .required(threshold: 1),
        signedTimestamps: TimestampRule = .whenPresent,
        certificateTransparency: CertificateTransparencyRule = .required
    ) {
        self.init(
            signedBy: signedBy, claim: claim, transparencyLog: transparencyLog, signedTimestamps: signedTimestamps,
            certificateTransparency: certificateTransparency, currentTime: Int64(Date().timeIntervalSince1970))
    }
}
