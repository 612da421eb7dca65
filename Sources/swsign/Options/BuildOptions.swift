import ArgumentParser
import Provenance
import StrictJSON
import SwSignCore

/// The flags that say at which branch, tag or version something must have been built, and with which inputs.
struct BuildOptions: ParsableArguments {
    @Option(name: .customLong("source-branch"), help: "The branch that must have been built.")
    var branch: String?
    @Option(name: .customLong("source-tag"), help: "The tag that must have been built.")
    var tag: String?
    @Option(
        name: .customLong("source-versioned-tag"),
        help: "The version of the tag that must have been built: v1 is met by v1.2.3.")
    var versionedTag: String?
    @Option(
        name: .customLong("build-workflow-input"),
        help: "What must have been typed in to start the build, as NAME=VALUE. May be repeated: all of these.")
    var inputs: [String] = []

    /// The flags that are given.
    var given: [DemandFlag] {
        [
            DemandFlag("source-branch", branch, .slsa), DemandFlag("source-tag", tag, .slsa),
            DemandFlag("source-versioned-tag", versionedTag, .slsa),
            DemandFlag("build-workflow-input", inputs.first, .slsa),
        ].compactMap { $0 }
    }

    /// What is demanded by SLSA's rules; `nil` if nothing is.
    /// - Parameters:
    ///   - source: The repository that must have been built.
    ///   - builder: The workflow that must have built it.
    func slsa(source: String?, builder: String?) throws(SigstoreError) -> SLSAPolicy? {
        guard let source else {
            guard builder == nil, given.isEmpty else {
                throw SigstoreError(
                    .usage,
                    "a builder, branch, tag or input says little without the repository that must have been built",
                    advice: "give --source-uri github.com/OWNER/NAME")
            }
            return nil
        }
        guard tag == nil || versionedTag == nil else {
            throw SigstoreError(.usage, "--source-tag and --source-versioned-tag cannot be given together")
        }
        var policy = try SLSAPolicy(source: source, builder: builder, versionedTag: versionedTag)
        (policy.branch, policy.tag) = (branch, tag)
        for input in inputs {
            let parts = input.utf8.split(separator: 0x3d, maxSplits: 1, omittingEmptySubsequences: false)
            guard parts.count == 2, let name = parts.first, let value = parts.last, !name.isEmpty else {
                throw SigstoreError(
                    .usage, "--build-workflow-input \"\(input)\" is not NAME=VALUE", advice: "write it as NAME=VALUE")
            }
            policy.workflowInputs.append(.init(name: String(Substring(name)), value: String(Substring(value))))
        }
        return policy
    }
}
