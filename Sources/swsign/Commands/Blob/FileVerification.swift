import InToto
import LocalSystem
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import SwSignCore

/// Verifies files and prints what came of each.
struct FileVerification {
    let format: OutputFormat
    let workers: Int
    let verifier: Verifier
    let signers: DemandedSigners
    /// The variables of the environment that say whom to believe.
    let trustVariables: [String]
    /// Whether the signature stands alone (`--signature`) and so can bring no log entry.
    let isDetached: Bool
    /// What looks up the log entry of a signature that stands alone; `nil` if that may not or need not be.
    let lookup: LogLookup?
    /// Whether nobody may be asked.
    let isOffline: Bool
    let context: Context

    /// The files that the person named; a directory stands for everything in it but the signatures beside its files. A
    /// warning names those that are not looked at, since they could be taken for verified.
    static func files(_ names: [String], expandingDirectories: Bool, _ context: Context) throws(SigstoreError)
        -> [InputFile]
    {
        var files: [InputFile] = []
        for name in names {
            if expandingDirectories, let inside = try InputFile(name).filesInDirectory() {
                let (signed, unread) = SignatureFile.sorted(inside)
                guard !signed.isEmpty else {
                    throw SigstoreError(.fileNotFound, "there is no file to verify in the directory \(name)")
                }
                files += signed
                for file in unread {
                    context.output.warn(
                        "not verified, since it has the name of a signature or certificate: \(file.name)")
                }
            } else {
                files.append(InputFile(name))
            }
        }
        return files
    }

    /// Verifies all of the files, side by side.
    /// - Parameters:
    ///   - files: The files as the person named them.
    ///   - bundles: Reads the signatures of one file, of which one must hold.
    ///   - claim: What is claimed of the signatures of one file.
    func run(
        _ files: [InputFile], bundles: @escaping @Sendable (InputFile) throws(SigstoreError) -> [SigstoreBundle],
        claim: @escaping @Sendable (InputFile) throws(SigstoreError) -> BundleClaim
    ) throws(SigstoreError) {
        let verify: @Sendable (InputFile) throws(SigstoreError) -> String = { (file) throws(SigstoreError) in
            var failedStep: RejectedBundle?
            var missing: SigstoreError?
            do throws(SigstoreError) {
                try file.expectFile()
                var claim = try claim(file)
                var bundles = try bundles(file)
                let lookup = isDetached && bundles.contains { $0.logEntries.isEmpty } ? self.lookup : nil
                claim = claim.readOnce(for: bundles, signers, isLookedUp: lookup != nil)
                var (refused, unknown): (RejectedBundle?, SigstoreError?) = (nil, nil)
                if let lookup { (bundles, refused, missing, unknown) = try lookedUp(bundles, claim, lookup) }
                let verified: [VerifiedBundle]
                do throws(RejectedBundle) {
                    if bundles.isEmpty, let refused { throw refused }
                    verified = try verifier.verify(bundles, claim, signers) { check in
                        context.output.detail("  \(file.name): \(check.step.rawValue): \(check.detail)")
                    }
                } catch {
                    // Another signature holds perhaps: that is not known.
                    if let unknown { throw unknown }
                    failedStep = error
                    warn(file, error.warnings)
                    throw advised(error.explained, missing)
                }
                for signature in verified { warn(file, signature.warnings) }
                return try report(file, verified, isOneOfMany: files.count > 1)
            } catch {
                if format == .json, error.code != .outputFailed, error.code != .readerEnded {
                    try context.output.json(
                        Self.json(file, failedStep.map { advised($0.error, missing) } ?? error, failedStep))
                }
                throw error
            }
        }
        try BlobBatch(verb: "verified", workers: workers, context: context).forEachOnThreads(files, verify)
    }

    /// Looks up the log entries of signatures that stand alone.
    /// - Returns: The signatures with what was found; why one does not hold by itself, why one has no entry, and why it is not
    ///   known whether one has.
    private func lookedUp(_ bundles: [SigstoreBundle], _ claim: BundleClaim, _ lookup: LogLookup) throws(SigstoreError)
        -> (bundles: [SigstoreBundle], refused: RejectedBundle?, missing: SigstoreError?, unknown: SigstoreError?)
    {
        var (found, refused): ([SigstoreBundle], RejectedBundle?) = ([], nil)
        var (missing, unknown): (SigstoreError?, SigstoreError?) = (nil, nil)
        for bundle in bundles {
            guard bundle.logEntries.isEmpty else {
                found.append(bundle)
                continue
            }
            let outcome: Result<[SigstoreBundle], LogLookup.Failure> = try waiting { () throws(SigstoreError) in
                do throws(LogLookup.Failure) { return .success(try await lookup.bundles(bundle, claim)) } catch {
                    return .failure(error)
                }
            }
            switch outcome {
            case .success(let complete): found += complete
            case .failure(.couldNotLook(let error)): unknown = unknown ?? error
            case .failure(.refused(let error)): refused = refused ?? error
            case .failure(.notFound(let error)):
                missing = missing ?? error
                found.append(bundle)
            }
        }
        return (found, refused, missing, unknown)
    }

    /// Of a signature alone it is said where its log entry was looked for, or why it was not.
    private func advised(_ error: SigstoreError, _ missing: SigstoreError?) -> SigstoreError {
        guard isDetached, error.code == .noLogEntry || error.code == .noTime else { return error }
        var advised = error
        guard missing != nil || isOffline else { return error }
        if let missing {
            advised.message += ": \(missing.message)"
            advised.advice = missing.advice
        } else {
            advised.advice = .sentence(
                "none is looked up with --offline: give the --bundle that keeps it; --insecure-ignore-tlog is for a signature "
                    + "that was made without a log")
        }
        return advised
    }

    private func warn(_ file: InputFile, _ warnings: [SigstoreError]) {
        for warning in warnings { context.output.warn("\(file.name): \(warning.message)") }
    }

    /// - Parameter verified: The signature that holds; if signers are counted, one of each that was.
    /// - Returns: What came of the file, in a few words.
    private func report(_ file: InputFile, _ verified: [VerifiedBundle], isOneOfMany: Bool) throws(SigstoreError)
        -> String
    {
        if format == .json { try context.output.json(json(file, verified)) }
        let descriptions = verified.map { VerifiedDescription($0) }
        if !isOneOfMany {
            context.output.note("Verified OK", .success)
            for description in descriptions {
                context.output.note("  \(description.line)")
                context.output.note("  checked: \(description.checks)")
                if let unproven = description.unproven { context.output.note("  \(unproven)") }
            }
        }
        return "Verified OK, \(descriptions.map(\.signer).joined(separator: ", and "))"
    }

    /// The layout of the objects that `--output json` prints.
    private static let version = JSONValue.integer(1)

    private func json(_ file: InputFile, _ verified: [VerifiedBundle]) -> JSONValue {
        var object: JSONObject = ["version": Self.version, "file": .string(file.name), "verified": .bool(true)]
        let signatures = verified.map { JSONObject(VerifiedDescription($0).members) }
        // One signature is described by the object itself; those of signers that were counted, each by its own.
        if signers.threshold == nil {
            for member in signatures.flatMap(\.members) { object[member.name] = member.value }
        } else {
            object["signatures"] = .array(signatures.map { .object($0) })
        }
        let trust = TrustVariables.member(trustVariables)
        object[trust.name] = trust.value
        return .object(object)
    }

    private static func json(_ file: InputFile, _ error: SigstoreError, _ rejected: RejectedBundle?) -> JSONValue {
        var object: JSONObject = [
            "version": version, "file": .string(file.name), "verified": .bool(false),
            "checks": VerifiedDescription.json(rejected?.checks ?? []),
        ]
        if let rejected { object["failedStep"] = .string(rejected.step.rawValue) }
        if let warnings = rejected?.warnings, !warnings.isEmpty {
            object["warnings"] = VerifiedDescription.json(warnings)
        }
        if case .object(let members) = Output.report(error.advised), let words = members["error"] {
            object["error"] = words
        }
        return .object(object)
    }
}

/// A verified bundle in words, and for programs.
struct VerifiedDescription {
    /// Who signed, such as `signed by a@b.example (issuer https://…)`.
    let signer: String
    /// Who signed, and when, with who vouches for each time.
    let line: String
    /// The checks that were made.
    let checks: String
    /// What was not proven, in a line; `nil` if all was.
    let unproven: String?
    /// Who signed, as JSON.
    let who: JSONValue
    /// The same as JSON members.
    let members: [(name: String, value: JSONValue)]

    init(_ verified: VerifiedBundle) {
        switch verified.signer {
        case .key(let fingerprint):
            signer = "signed with the key \(fingerprint)"
            who = .object(["key": .string(fingerprint)])
        case .certificate(let identity, let issuer):
            signer = "signed by \(identity) (issuer \(issuer))"
            who = .object(["identity": .string(identity), "issuer": .string(issuer)])
        }
        let times = verified.times.map { time in
            switch time.source {
            case .timestampAuthority(let name):
                "at \(Instant(seconds: time.seconds)), says the timestamp authority \(name)"
            case .transparencyLog(let name):
                "at \(Instant(seconds: time.seconds)), says \(name.utf8.starts(with: "log ".utf8) ? "the" : "the log") \(name)"
            case .currentTime: "the certificate is valid now (\(Instant(seconds: time.seconds)))"
            }
        }
        line = ([signer] + times).joined(separator: ", ")
        checks = verified.checks.map(\.name).joined(separator: ", ")
        let missing = verified.unproven.map { $0 == .logEntry ? "no log has the signature" : "no SCT" }
        unproven =
            missing.isEmpty
            ? nil : "not proven: \(missing.joined(separator: ", ")): the trusted root is of an instance without logs"
        var members: [(name: String, value: JSONValue)] = [
            ("checks", Self.json(verified.checks)), ("signer", who),
            ("signatureScheme", .string(verified.scheme.description)),
            ("times", .array(verified.times.map { .string(Instant(seconds: $0.seconds).description) })),
        ]
        if let statement = verified.statement {
            members.append(("predicateType", .string(statement.predicateType.uri)))
        }
        if !verified.unproven.isEmpty {
            members.append(("notProven", .array(verified.unproven.map { .string($0.rawValue) })))
        }
        for (name, values) in [
            ("claims", verified.claims?.values), ("deprecatedClaims", verified.claims?.deprecatedValues),
        ] {
            guard let values, !values.isEmpty else { continue }
            members.append(
                (name, .object(JSONObject(values.map { (name: $0.name.text, value: .string($0.value)) }))))
        }
        if !verified.warnings.isEmpty { members.append(("warnings", Self.json(verified.warnings))) }
        self.members = members
    }

    static func json(_ warnings: [SigstoreError]) -> JSONValue {
        .array(warnings.map { .object(["code": .string($0.code.rawValue), "message": .string($0.message)]) })
    }

    static func json(_ checks: [VerificationCheck]) -> JSONValue {
        .array(
            checks.map {
                .object([
                    "step": .string($0.step.rawValue), "name": .string($0.name), "detail": .string($0.detail),
                ])
            })
    }
}
