internal import InToto
internal import SigstoreCrypto
public import SigstoreVerification
public import StrictJSON

/// What must hold of the provenance of a builder on GitHub, by the rules of SLSA's own verifier: who built, from which source, and at
/// which branch, tag or version, and with which inputs.
public struct SLSAPolicy: Sendable {
    /// A text that was typed in to start a build by hand.
    public struct WorkflowInput: Sendable {
        /// The input's name, and what it must be.
        public let name, value: String

        /// Names an input.
        public init(name: String, value: String) { (self.name, self.value) = (name, value) }
    }

    private static let gitHub = "https://github.com/"
    private static let issuer = "https://token.actions.githubusercontent.com"
    private static let generator = "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/"
    private static let fileBuilders = [
        "generator_generic_slsa3.yml", "builder_go_slsa3.yml", "builder_container-based_slsa3.yml",
    ].map { generator + $0 }
    private static let imageBuilders = [generator + "generator_container_slsa3.yml"]
    private static let delegators = ["delegator_generic_slsa3.yml", "delegator_lowperms-generic_slsa3.yml"]
        .map { generator + $0 }

    /// The source, as predicates write it: `git+https://github.com/OWNER/NAME`.
    private let source: String
    private let builder: BuilderID?
    /// The branch that must have been built, without `refs/heads/`; `nil` for any.
    public var branch: String?
    /// The tag that must have been built, without `refs/tags/`; `nil` for any.
    public var tag: String?
    private let versionedTag: (text: String, version: VersionTag)?
    /// What must have been typed in to start the build by hand; empty for anything, and for builds that nobody started so.
    public var workflowInputs: [WorkflowInput] = []

    /// Makes a policy.
    /// - Parameters:
    ///   - source: The repository that must have been built: `github.com/OWNER/NAME`, with `https://` or `git+https://` before it or
    ///     not. It is compared byte for byte.
    ///   - builder: The workflow that must have built, `https://github.com/OWNER/NAME/PATH`, with `@v1.2.3` if it must be that
    ///     version; `nil` for any of the trusted workflows of `slsa-framework/slsa-github-generator`.
    ///   - versionedTag: The version of the tag that must have been built: `v1` is met by `v1.2.3`; `nil` for any.
    /// - Throws: `SigstoreError` with `wrong-source`, `wrong-builder` or `wrong-versioned-tag` if one of them is not in that form.
    public init(source: String, builder: String? = nil, versionedTag: String? = nil) throws(SigstoreError) {
        let text = source.utf8.starts(with: "git+".utf8) ? String(Substring(source.utf8.dropFirst(4))) : source
        let address = text.utf8.starts(with: "github.com/".utf8) ? "https://\(text)" : text
        let path =
            address.utf8.starts(with: Self.gitHub.utf8) ? address.utf8.dropFirst(Self.gitHub.utf8.count) : ""[...].utf8
        guard path.split(separator: 0x2f, omittingEmptySubsequences: false).count == 2,
            path.split(separator: 0x2f).count == 2, path.allSatisfy({ $0 > 0x20 && $0 < 0x7f && $0 != 0x40 })
        else {
            throw SigstoreError(
                .wrongSource, "\"\(source)\" is no repository at GitHub", advice: "write it as github.com/OWNER/NAME")
        }
        self.source = "git+\(address)"
        if let builder {
            guard let id = BuilderID(builder), id.name.utf8.starts(with: Self.gitHub.utf8) else {
                throw SigstoreError(
                    .wrongBuilder, "\"\(builder)\" is no builder at GitHub",
                    advice:
                        "write it as https://github.com/OWNER/NAME/.github/workflows/FILE, with @vX.Y.Z if it must be that version"
                )
            }
            self.builder = id
        } else {
            self.builder = nil
        }
        if let versionedTag {
            guard let version = VersionTag(versionedTag) else {
                throw SigstoreError(
                    .wrongVersionedTag, "\"\(versionedTag)\" is no version", advice: "write it as v1, v1.2 or v1.2.3")
            }
            self.versionedTag = (versionedTag, version)
        } else {
            self.versionedTag = nil
        }
    }

    /// Verifies provenance: those of several attestations that do not hold are passed over, and one must hold.
    /// - Parameters:
    ///   - file: What was built, which is read for the digests that the provenance names.
    ///   - document: The attestations.
    ///   - isImage: Whether it is a container image, whose trusted builder is the container generator alone.
    ///   - verifier: The verifier.
    ///   - workers: How attestations are verified.
    ///   - known: What is known of this document's attestations already, if several files are about it.
    /// - Returns: What is known, with every attestation that holds.
    /// - Throws: `SigstoreError` of the attestation that came furthest, with why each of the others does not hold.
    public func verify(
        _ file: any ArtifactSource, _ document: AttestationDocument, isImage: Bool = false, with verifier: Verifier,
        by workers: Workers = .one, knowing known: KnownAttestations? = nil
    ) throws(SigstoreError) -> VerifiedProvenance {
        // Which workflow it was is looked at below.
        let identity = CertificateIdentity(
            subject: .matching(try IdentityPattern("^https://github\\.com/")), issuer: .exactly(Self.issuer))
        let held = try document.held(
            about: file, as: nil, VerificationPolicy(signedBy: .identities([identity])), with: verifier, by: workers,
            knowing: known
        ) { verified throws(SigstoreError) in _ = try check(verified, isImage: isImage) }
        let provenance = try held.first.map { first throws(SigstoreError) in try check(first, isImage: isImage) }
        return VerifiedProvenance(
            .slsa, held, [(.builder, provenance?.builder), (.sourceRef, provenance?.ref)])
    }

    /// Expects that what a verified attestation and its certificate say is what was demanded.
    func check(_ verified: VerifiedBundle, isImage: Bool = false) throws(SigstoreError) -> SLSAProvenance {
        guard case .certificate(let signer, let issuer) = verified.signer, issuer.utf8.elementsEqual(Self.issuer.utf8),
            let claims = verified.claims, let statement = verified.statement
        else { throw SigstoreError(.wrongBuilder, "no workflow of GitHub has signed") }
        let isDelegated = try checkBuilder(signer, isImage: isImage)
        let provenance = try SLSAProvenance(statement)
        try checkBuilder(of: provenance, signer, isDelegated: isDelegated)
        try checkSource(provenance, claims)
        try checkRef(provenance)
        try checkInputs(provenance, claims)
        return provenance
    }

    // MARK: - Who built

    /// The workflow that the certificate names is trusted, and was a release.
    /// - Returns: Whether it is a delegator, and signs for a builder that the provenance names.
    private func checkBuilder(_ signer: String, isImage: Bool) throws(SigstoreError) -> Bool {
        guard let found = BuilderID(signer), let ref = found.version else {
            throw SigstoreError(.wrongBuilder, "the certificate is of \(signer), and that is no workflow with a ref")
        }
        func isAmong(_ builders: [String]) -> Bool { builders.contains { $0.utf8.elementsEqual(found.name.utf8) } }
        let isDelegator = !isImage && isAmong(Self.delegators)
        if let builder {
            if !isDelegator { try Self.expect(builder, signer) }
        } else if !isDelegator {
            guard isAmong(isImage ? Self.imageBuilders : Self.fileBuilders) else {
                throw SigstoreError(
                    .wrongBuilder,
                    "expected a trusted builder of slsa-framework/slsa-github-generator, the certificate is of \(signer)",
                    advice: .remedy(.giveBuilder))
            }
        }
        try Self.expectRelease(ref, of: signer)
        return isDelegator
    }

    /// The builder that the provenance names is the one of the certificate, or the trusted one that it built for.
    private func checkBuilder(of provenance: SLSAProvenance, _ signer: String, isDelegated: Bool) throws(SigstoreError)
    {
        let named = provenance.builder
        guard isDelegated else {
            guard named.utf8.elementsEqual(signer.utf8) else {
                throw SigstoreError(
                    .wrongBuilder, "the certificate is of \(signer), the provenance names the builder \(named)",
                    advice: "do not use the file: its provenance is not by the builder that it names")
            }
            return
        }
        guard let id = BuilderID(named), let ref = id.version else {
            throw SigstoreError(
                .wrongBuilder, "the provenance names the builder \(named), and that is no workflow with a ref")
        }
        try Self.expectRelease(ref, of: named)
        if let builder {
            try Self.expect(builder, named)
        } else {
            guard id.name.utf8.starts(with: Self.generator.utf8) else {
                throw SigstoreError(
                    .wrongBuilder,
                    "expected a trusted builder of slsa-framework/slsa-github-generator, the provenance names \(named)",
                    advice: .remedy(.giveBuilder))
            }
        }
    }

    /// Whether a workflow is one of the trusted builders, at a release.
    static func isReleasedTrustedBuilder(_ workflow: String) -> Bool {
        guard let found = BuilderID(workflow), let ref = found.version else { return false }
        return (fileBuilders + imageBuilders).contains { $0.utf8.elementsEqual(found.name.utf8) }
            && (try? expectRelease(ref, of: workflow)) != nil
    }

    private static func expect(_ builder: BuilderID, _ found: String) throws(SigstoreError) {
        guard BuilderID(found).map(builder.isMet) == true else {
            throw SigstoreError(
                .wrongBuilder, "expected the builder \(builder.text), found \(found)",
                advice: "do not use the file, unless you know why another builder made it")
        }
    }

    /// A builder counts at a release only: all who can push to a branch can change it.
    private static func expectRelease(_ ref: String, of builder: String) throws(SigstoreError) {
        guard let tag = GitReference.name(of: ref, "tags"), VersionTag(tag)?.isRelease == true else {
            throw SigstoreError(
                .unreleasedBuilder, "expected a builder at a release, refs/tags/vX.Y.Z, found \(builder)",
                advice: "have the project call its builder by a release's full tag")
        }
    }

    // MARK: - What was built

    /// The certificate is for the source that was asked for, by every claim that it makes of it.
    private func checkCertificate(_ claims: CertificateClaims) throws(SigstoreError) {
        let address = String(Substring(source.utf8.dropFirst(4)))
        let expected: [(name: CertificateClaims.Name, value: String)] = [
            (.sourceRepositoryURI, address),
            (.githubWorkflowRepository, String(Substring(address.utf8.dropFirst(Self.gitHub.utf8.count)))),
        ]
        var known = 0
        for (name, value) in expected {
            guard let found = try claims.value(name) else { continue }
            known += 1
            guard found.utf8.elementsEqual(value.utf8) else { throw wrongSource(found, "the certificate says") }
        }
        guard known > 0 else { throw wrongSource("none", "the certificate says") }
    }

    /// The source that was asked for is the one of the certificate, of what triggered the build and of what was built, at one ref.
    func checkSource(_ provenance: SLSAProvenance, _ claims: CertificateClaims) throws(SigstoreError) {
        try checkCertificate(claims)
        func read(_ text: String, _ what: String) throws(SigstoreError) -> GitReference {
            guard let reference = GitReference(text) else {
                throw SigstoreError(
                    .malformedProvenance, "the provenance's \(what) is \"\(text)\", expected git+https://…@REF")
            }
            guard reference.repository.utf8.elementsEqual(source.utf8) else {
                throw wrongSource(reference.repository, "the provenance's \(what) is")
            }
            return reference
        }
        let trigger = try read(provenance.trigger, "trigger")
        guard let triggerRef = trigger.ref else {
            throw SigstoreError(
                .malformedProvenance, "the provenance's trigger \"\(provenance.trigger)\" names no branch or tag")
        }
        let built = try read(provenance.source, "source")
        if built.ref == nil {
            let isKnown = SLSAProvenance.kindsWithoutRef.contains { $0.utf8.elementsEqual(provenance.buildType.utf8) }
            guard isKnown else {
                throw SigstoreError(
                    .malformedProvenance, "the provenance's source \"\(provenance.source)\" names no branch or tag")
            }
        }
        var certified = try claims.value(.sourceRepositoryRef)
        if certified == nil { certified = try claims.value(.githubWorkflowRef) }
        guard let certified else {
            throw SigstoreError(.malformedProvenance, "the certificate does not say which branch or tag was built")
        }
        for found in [built.ref, provenance.ref, certified] {
            guard let found, !found.utf8.elementsEqual(triggerRef.utf8) else { continue }
            throw SigstoreError(
                .malformedProvenance,
                "provenance and certificate do not agree at which ref it was built: \(triggerRef), or \(found)",
                advice: "do not use the file: its provenance contradicts itself")
        }
    }

    private func wrongSource(_ found: String, _ says: String) -> SigstoreError {
        SigstoreError(
            .wrongSource, "expected the source \(source), \(says) \(found)",
            advice: "do not use the file: another repository was built")
    }

    // MARK: - At which ref, and with what

    private func checkRef(_ provenance: SLSAProvenance) throws(SigstoreError) {
        func expect(_ code: SigstoreError.Code, _ what: String, _ expected: String, _ found: String?, _ holds: Bool)
            throws(SigstoreError)
        {
            guard !holds else { return }
            throw SigstoreError(
                code, "expected the \(what) \(expected), the provenance names \(found ?? "none")",
                advice: "do not use the file, unless that is what you want")
        }
        if let branch {
            let found = provenance.branch
            try expect(.wrongBranch, "branch", branch, found, found?.utf8.elementsEqual(branch.utf8) == true)
        }
        if let tag {
            let found = provenance.tag
            try expect(.wrongTag, "tag", tag, found, found?.utf8.elementsEqual(tag.utf8) == true)
        }
        if let versionedTag {
            let found = provenance.tag
            try expect(
                .wrongVersionedTag, "version", versionedTag.text, found,
                found.flatMap(VersionTag.init).map(versionedTag.version.isMet) == true)
        }
    }

    private func checkInputs(_ provenance: SLSAProvenance, _ claims: CertificateClaims) throws(SigstoreError) {
        guard !workflowInputs.isEmpty else { return }
        let event = "workflow_dispatch"
        var certified = try claims.value(.buildTrigger)
        if certified == nil { certified = try claims.value(.githubWorkflowTrigger) }
        for found in [certified ?? event, provenance.event ?? "nothing"] where !found.utf8.elementsEqual(event.utf8) {
            throw SigstoreError(
                .wrongWorkflowInput, "expected a build that was started by hand (\(event)), found \(found)",
                advice: "demand inputs of builds only that are started with them")
        }
        for input in workflowInputs {
            let found = provenance.input(input.name)
            guard found?.utf8.elementsEqual(input.value.utf8) == true else {
                throw SigstoreError(
                    .wrongWorkflowInput,
                    "expected the input \(input.name)=\(input.value), the provenance has "
                        + (found.map { "\(input.name)=\($0)" } ?? "no text of that name"),
                    advice: "do not use the file: it was built with other inputs")
            }
        }
    }
}

/// A builder's name with its version: `NAME`, `NAME@v1.2.3` or `NAME@refs/tags/v1.2.3`.
private struct BuilderID: Sendable {
    let text, name: String
    let version: String?

    init?(_ text: String) {
        let parts = text.utf8.split(separator: 0x40, omittingEmptySubsequences: false)
        guard (1...2).contains(parts.count), parts.allSatisfy({ !$0.isEmpty }), let name = parts.first else {
            return nil
        }
        self.text = text
        self.name = String(Substring(name))
        version = parts.count == 2 ? parts.last.map { String(Substring($0)) } : nil
    }

    /// Whether another builder has this name, and this version if there is one.
    func isMet(by other: BuilderID) -> Bool {
        guard name.utf8.elementsEqual(other.name.utf8) else { return false }
        guard let version else { return true }
        guard let found = other.version else { return false }
        return [version, "refs/tags/\(version)"].contains { $0.utf8.elementsEqual(found.utf8) }
    }
}

extension AttestationDocument {
    /// Whether a workflow of SLSA's own generator has signed, as the certificates say without a proof.
    var isByGenerator: Bool {
        attestations.allSatisfy { attestation in
            guard case .certificates(let chain) = attestation.bundle.keyMaterial, let first = chain.first,
                let leaf = try? Certificate(der: first)
            else { return false }
            return leaf.subjectAlternativeNames.contains { name in
                guard case .uri(let text) = name else { return false }
                return text.utf8.starts(with: "https://github.com/slsa-framework/slsa-github-generator/".utf8)
            }
        }
    }
}

extension SigstoreError.Code {
    /// The builder is not at a release, so that what it does could change.
    public static let unreleasedBuilder = Self("unreleased-builder")
    /// A tag of another version was built than was asked for.
    public static let wrongVersionedTag = Self("wrong-versioned-tag")
    /// The build was started with other inputs than was asked for, or not by hand.
    public static let wrongWorkflowInput = Self("wrong-workflow-input")
}

extension SigstoreError.Remedy {
    /// The builder is not one that is trusted without being named.
    public static let giveBuilder = Self("name-the-builder")
}
