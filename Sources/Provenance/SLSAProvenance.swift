public import InToto
internal import SigstoreVerification
public import StrictJSON

/// A git repository with a ref, as SLSA's predicates write it: `git+https://github.com/OWNER/NAME@refs/tags/v1`.
struct GitReference {
    /// The repository, `git+https://…`.
    let repository: String
    /// The ref; `nil` if there is none.
    let ref: String?

    /// Reads a reference.
    /// - Returns: `nil` if it does not begin with `git+`, or a part of it is empty.
    init?(_ text: String) {
        let parts = text.utf8.split(separator: 0x40, maxSplits: 1, omittingEmptySubsequences: false)
        guard text.utf8.starts(with: "git+".utf8), let name = parts.first, !name.isEmpty,
            parts.count == 1 || parts.last?.isEmpty == false
        else { return nil }
        repository = String(Substring(name))
        ref = parts.count == 2 ? parts.last.map { String(Substring($0)) } : nil
    }

    /// The name of a branch or tag.
    /// - Parameter kind: `heads` or `tags`.
    /// - Returns: `nil` if the ref is of another kind.
    static func name(of ref: String, _ kind: String) -> String? {
        let beginning = "refs/\(kind)/".utf8
        guard ref.utf8.starts(with: beginning), ref.utf8.count > beginning.count else { return nil }
        return String(Substring(ref.utf8.dropFirst(beginning.count)))
    }
}

/// What SLSA's provenance says of a build, as far as rules look at it: the predicates `https://slsa.dev/provenance/v0.2` and
/// `/v1` as GitHub's builders fill them in.
public struct SLSAProvenance {
    static let types = ["https://slsa.dev/provenance/v0.2", "https://slsa.dev/provenance/v1"]
        .map { PredicateType(uri: $0) }

    /// How a build's parameters are written down.
    private enum Style {
        /// Version 0.2: `invocation.environment` with names in lower case, or in upper case as npm writes them.
        case environment
        /// Version 1: `internalParameters` with the names of GitHub's variables. A delegator writes version 0.2 so, too.
        case variables
        /// Version 1: `externalParameters.workflow`, as GitHub's own action and npm write it.
        case workflow
    }

    /// The builder (`builder.id`).
    public let builder: String
    /// The kind of build (`buildType`).
    public let buildType: String
    /// What the build began with, and its ref.
    public let trigger: String
    /// What was built, the first material or resolved dependency.
    public let source: String
    private let style: Style
    private let parameters: JSONCursor?

    /// Kinds of builds whose source may be without a ref: npm's first ones, and a builder that committed to the source it builds.
    static let kindsWithoutRef = [
        "https://github.com/npm/cli/gha@v0", "https://github.com/npm/cli/gha@v1", delegated,
    ]
    private static let delegated = "https://github.com/slsa-framework/slsa-github-generator/delegator-generic@v0"
    private static let workflowKinds = [
        "https://slsa-framework.github.io/github-actions-buildtypes/workflow/v1",
        "https://actions.github.io/buildtypes/workflow/v1",
    ]

    /// Reads the predicate. Nothing is proven by it.
    /// - Parameter statement: The statement of an attestation.
    /// - Throws: `SigstoreError` with `wrong-predicate-type` if it is another one, and with `malformed-provenance` if it lacks what
    ///   the rules look at.
    public init(_ statement: Statement) throws(SigstoreError) {
        guard let version = Self.types.firstIndex(where: { $0.matches(statement.predicateType) }) else {
            throw SigstoreError(
                .wrongPredicateType,
                "expected \(Self.types.map(\.uri).joined(separator: " or ")), the attestation is of the type "
                    + statement.predicateType.uri,
                advice: "give the attestation with the provenance")
        }
        let predicate = JSONCursor(statement.predicate)
        do throws(SigstoreError) {
            if version == 0 {
                builder = try predicate.member("builder").member("id").string()
                let kind = try predicate.member("buildType").string()
                buildType = kind
                style = kind.utf8.elementsEqual(Self.delegated.utf8) ? .variables : .environment
                let invocation = try predicate.member("invocation")
                trigger = try invocation.member("configSource").member("uri").string()
                source = try Self.first(try predicate.member("materials")).member("uri").string()
                parameters = try invocation.optional("environment")
                return
            }
            builder = try predicate.member("runDetails").member("builder").member("id").string()
            let definition = try predicate.member("buildDefinition")
            let kind = try definition.member("buildType").string()
            buildType = kind
            source = try Self.first(try definition.member("resolvedDependencies")).member("uri").string()
            if Self.workflowKinds.contains(where: { $0.utf8.elementsEqual(kind.utf8) }) {
                style = .workflow
                let workflow = try definition.member("externalParameters").member("workflow")
                trigger =
                    "git+\(try workflow.member("repository").string())@\(try workflow.member("ref").string())"
                parameters = nil
                return
            }
            style = .variables
            let variables = try definition.member("internalParameters")
            parameters = variables
            // OWNER/NAME/PATH@REF
            let caller = try variables.member("GITHUB_WORKFLOW_REF")
            let parts = try caller.string().utf8.split(separator: 0x40, omittingEmptySubsequences: false)
            guard parts.count == 2, let path = parts.first?.split(separator: 0x2f, omittingEmptySubsequences: false),
                path.count > 2, let ref = parts.last
            else { throw caller.fault("is not OWNER/NAME/PATH@REF") }
            let owner = String(Substring(path[0])), name = String(Substring(path[1]))
            trigger = "git+https://github.com/\(owner)/\(name)@\(Substring(ref))"
        } catch {
            throw SigstoreError(
                .malformedProvenance, "the provenance is incomplete: \(error.message)",
                advice: "tell the publisher: the builder did not write what this kind of provenance needs", cause: error
            )
        }
    }

    private static func first(_ list: JSONCursor) throws(SigstoreError) -> JSONCursor {
        guard let first = try list.elements().first else { throw list.fault("is empty") }
        return first
    }

    /// A parameter that is text, by its name in lower case.
    private func parameter(_ name: String) -> JSONCursor? {
        let names = style == .variables ? [name.uppercased()] : [name, name.uppercased()]
        return names.lazy.compactMap { name in (try? parameters?.optional(name)) ?? nil }.first
    }

    private func text(_ name: String) -> String? { try? parameter(name)?.string() }

    /// The branch that was built, without `refs/heads/`; `nil` if the provenance names none. Of a build of a tag, version 0.2 names
    /// the branch that the tag was pushed or released from.
    public var branch: String? {
        switch style {
        case .variables: return GitReference(source)?.ref.flatMap { GitReference.name(of: $0, "heads") }
        case .workflow: return GitReference(trigger)?.ref.flatMap { GitReference.name(of: $0, "heads") }
        case .environment: break
        }
        switch text("github_ref_type") {
        case "branch": return text("github_ref").flatMap { GitReference.name(of: $0, "heads") }
        case "tag":
            if let base = text("github_base_ref"), !base.isEmpty { return GitReference.name(of: base, "heads") }
            let event = parameter("github_event_payload")
            switch text("github_event_name") {
            case "push":
                let base = try? event?.optional("base_ref")?.string()
                return base.flatMap { GitReference.name(of: $0, "heads") }
            case "release":
                let branch = try? event?.optional("release")?.optional("target_commitish")?.string()
                return branch.flatMap { $0.isEmpty ? nil : $0 }
            default: return nil
            }
        default: return nil
        }
    }

    /// The branch or tag that was built, with `refs/`; `nil` if the provenance names none.
    public var ref: String? {
        switch style {
        case .variables: GitReference(source)?.ref
        case .workflow: GitReference(trigger)?.ref
        case .environment: text("github_ref")
        }
    }

    /// The tag that was built, without `refs/tags/`; `nil` if the provenance names none.
    public var tag: String? {
        if style == .environment, text("github_ref_type") != "tag" { return nil }
        return ref.flatMap { GitReference.name(of: $0, "tags") }
    }

    /// The event that triggered the build; `nil` if the provenance does not name it.
    public var event: String? { text("github_event_name") }

    /// What a person typed in to start the build by hand.
    /// - Parameter name: The input's name.
    /// - Returns: `nil` if the provenance does not hold that text.
    public func input(_ name: String) -> String? {
        try? parameter("github_event_payload")?.optional("inputs")?.optional(name)?.string()
    }
}

/// A tag that is a version: `v1`, `v1.2`, `v1.2.3`, with `-PRERELEASE` and `+BUILD` behind all three (Semantic Versioning 2.0).
struct VersionTag {
    let major: [UInt8]
    let minor, patch: [UInt8]?
    /// What stands behind `-`; empty if there is nothing.
    let prerelease: [UInt8]
    /// Whether something stands behind `+`.
    let hasBuild: Bool

    /// Reads a tag.
    /// - Returns: `nil` if it is no version.
    init?(_ text: String) {
        guard text.utf8.first == 0x76 else { return nil }
        let parts = text.utf8.dropFirst().split(separator: 0x2b, maxSplits: 1, omittingEmptySubsequences: false)
        let (core, dash) =
            parts[0].firstIndex(of: 0x2d).map { (parts[0][..<$0], parts[0][$0...].dropFirst()) }
            .map { ($0.0, Optional($0.1)) } ?? (parts[0], nil)
        let numbers = core.split(separator: 0x2e, omittingEmptySubsequences: false).map(Array.init)
        guard (1...3).contains(numbers.count), numbers.allSatisfy(Self.isNumber) else { return nil }
        hasBuild = parts.count == 2
        guard numbers.count == 3 || dash == nil && !hasBuild else { return nil }
        if let dash {
            guard Self.isIdentifiers(dash, numbersAreStrict: true) else { return nil }
            prerelease = Array(dash)
        } else {
            prerelease = []
        }
        if hasBuild, !Self.isIdentifiers(parts[1], numbersAreStrict: false) { return nil }
        major = numbers[0]
        minor = numbers.count > 1 ? numbers[1] : nil
        patch = numbers.count > 2 ? numbers[2] : nil
    }

    /// Whether it is a release: all three numbers, and nothing else.
    var isRelease: Bool { patch != nil && prerelease.isEmpty && !hasBuild }

    /// Whether another version is this one, as far as this one says: `v13` is met by `v13.0.30`, `v13.1` is not. What is left out
    /// there counts as 0, and its build is passed over.
    func isMet(by other: VersionTag) -> Bool {
        guard major == other.major else { return false }
        if let minor, minor != other.minor ?? [0x30] { return false }
        if let patch, patch != other.patch ?? [0x30] || prerelease != other.prerelease { return false }
        return true
    }

    private static func isNumber(_ digits: [UInt8]) -> Bool {
        !digits.isEmpty && digits.allSatisfy { (0x30...0x39).contains($0) } && (digits.count == 1 || digits[0] != 0x30)
    }

    private static func isIdentifiers(_ text: Substring.UTF8View, numbersAreStrict: Bool) -> Bool {
        text.split(separator: 0x2e, omittingEmptySubsequences: false).map(Array.init).allSatisfy { part in
            let isNumeric = part.allSatisfy { (0x30...0x39).contains($0) }
            let isWord = part.allSatisfy { byte in
                byte == 0x2d || (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte)
                    || (0x61...0x7a).contains(byte)
            }
            return !part.isEmpty && isWord && (!numbersAreStrict || !isNumeric || isNumber(part))
        }
    }
}
