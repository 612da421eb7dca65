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

/// What a test demands of a bundle: a policy, what is claimed, and the time at which it is verified.
@dynamicMemberLookup
struct Demand {
    var policy: VerificationPolicy
    var claim: BundleClaim
    var currentTime = Int64(Date().timeIntervalSince1970)

    init(
        signedBy: VerificationPolicy.SignedBy, claim: BundleClaim,
        transparencyLog: VerificationPolicy.TransparencyLogRule = .required(threshold: 1)
    ) {
        policy = VerificationPolicy(signedBy: signedBy, transparencyLog: transparencyLog)
        self.claim = claim
    }

    subscript<Value>(dynamicMember path: WritableKeyPath<VerificationPolicy, Value>) -> Value {
        get { policy[keyPath: path] }
        set { policy[keyPath: path] = newValue }
    }

    @discardableResult
    func verify(_ bundle: SigstoreBundle, _ root: TrustedRoot?) throws(RejectedBundle) -> VerifiedBundle {
        try Verifier(trustedRoot: root) { [currentTime] in currentTime }.verify(bundle, claim, policy)
    }
}
