import ArgumentParser
import SigstoreCrypto
import StrictJSON
import SwSignCore

/// The flags that say what belongs to a model.
struct ModelOptions: ParsableArguments {
    @Option(
        name: .customLong("ignore-paths"),
        help: "A file or folder in a model's folder that is left out. May be repeated.", completion: .file())
    var ignorePaths: [String] = []
    @Flag(
        name: .customLong("ignore-git-paths"), inversion: .prefixedNo,
        help: "Of a model, leave out .git, .gitattributes, .github and .gitignore.")
    var ignoreGitPaths = true

    /// The model's folder.
    /// - Parameter signature: Where its signature is, if it is not `model.sig` in it.
    func folder(_ path: String, signature: String?, _ context: Context) throws(SigstoreError) -> ModelFolder {
        var folder = try ModelFolder(
            path, signature: signature, ignoredPaths: ignorePaths, ignoresGit: ignoreGitPaths)
        folder.onBegin = { context.progress.begin($0, of: .bytes) }
        folder.onRead = context.progress.advance
        return folder
    }
}

/// The flags that say who must have signed a model, and what belongs to it.
struct ModelSignerOptions: ParsableArguments {
    @Option(
        name: .customLong("key"),
        help: "model, or a verification summary: the public key: a file, or env://NAME. May be repeated: any of these.",
        completion: .file())
    var keys: [String] = []
    @Option(
        name: .customLong("certificate-chain"),
        help: "model: the authority whose certificate signed, the root last, in PEM.", completion: .file())
    var certificateChain: String?
    @OptionGroup var contents: ModelOptions

    /// Whether a folder is plainly one of a model: its signature is in it.
    static func isModel(_ path: String) -> Bool {
        path != "-" && InputFile(path).isFolder(holding: ModelFolder.signatureName)
    }

    /// Refuses these flags for what is no model.
    func expectUnused() throws(SigstoreError) {
        guard keys.isEmpty, certificateChain == nil, contents.ignorePaths.isEmpty, contents.ignoreGitPaths else {
            throw SigstoreError(
                .usage, "--key, --certificate-chain, --ignore-paths and --ignore-git-paths are about models",
                advice:
                    "give --from model if the folder is one, --verifier-id with --key if it is a verification summary, or leave them out"
            )
        }
    }
}

/// The hash functions by the names that `model_signing` has for them, and by ours.
enum ModelHash: String, ExpressibleByArgument, CaseIterable {
    case sha256, blake2b, blake2

    var hash: ContentHash {
        switch self {
        case .sha256: .sha256
        case .blake2b, .blake2: .blake2b
        }
    }
}
