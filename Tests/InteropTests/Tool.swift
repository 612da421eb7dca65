import Foundation
import Testing

/// A program with cosign's command line.
enum Tool: String, CaseIterable, Sendable {
    case swsign, cosign2, cosign3

    /// Where the program is: ours beside this test bundle, or where `SWSIGN` says; the others as they were unpacked.
    var program: String {
        get async throws {
            switch self {
            case .swsign:
                ProcessInfo.processInfo.environment["SWSIGN"]
                    ?? URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent()
                    .appendingPathComponent("swsign").path
            case .cosign2, .cosign3: "\(try await Self.peers.value.path)/\(rawValue)"
            }
        }
    }

    private static let peers = Task {
        let place = try Workplace()
        try await place.must("\(Shared.path)/peers/unpack", [place.path])
        return place
    }

    /// Makes a signature in one of the forms; what is written is named like the tool and the form.
    /// - Returns: What the program said, and the file that it wrote.
    func sign(
        _ form: Form, _ file: String, key: String, type: String = "custom", predicate: String = "", in place: Workplace
    )
        async throws -> (outcome: Workplace.Outcome, file: String)
    {
        let output = "\(file).\(rawValue).\(form.rawValue)"
        var arguments = [form.isAttestation ? "attest-blob" : "sign-blob", "--yes", "--key", key + ".key"]
        if form.isAttestation { arguments += ["--type", type, "--predicate", predicate] }
        switch (self, form.isNewBundle) {
        case (.swsign, true), (.cosign2, false): arguments += ["--tlog-upload=false"]
        case (.swsign, false): arguments += ["--tlog-upload=false", "--new-bundle-format=false"]
        case (.cosign2, true): arguments += ["--tlog-upload=false", "--new-bundle-format"]
        case (.cosign3, true):
            try await place.must(program, ["signing-config", "create", "--out", output + ".config"])
            arguments += ["--signing-config", output + ".config"]
        case (.cosign3, false):
            arguments += ["--use-signing-config=false", "--new-bundle-format=false", "--tlog-upload=false"]
        }
        arguments += [form.isDetached ? "--output-signature" : "--bundle", output, file]
        return (try await place.run(program, arguments), output)
    }

    /// Verifies a signature in one of the forms.
    func verify(
        _ form: Form, _ signature: String, of file: String, key: String, type: String = "custom", in place: Workplace
    )
        async throws -> Workplace.Outcome
    {
        var arguments = [form.isAttestation ? "verify-blob-attestation" : "verify-blob", "--insecure-ignore-tlog"]
        arguments += ["--key", key + ".pub", form.isDetached ? "--signature" : "--bundle", signature]
        if form.isAttestation { arguments += ["--type", type] }
        switch (self, form.isNewBundle) {
        case (.swsign, _): break
        case (.cosign2, true): arguments += ["--new-bundle-format", "--trusted-root", Shared.trustedRoot]
        case (.cosign2, false): break
        case (.cosign3, true): arguments += ["--trusted-root", Shared.trustedRoot]
        case (.cosign3, false): arguments += ["--new-bundle-format=false"]
        }
        return try await place.run(program, arguments + [file])
    }
}

/// How a signature is kept.
enum Form: String, CaseIterable, Sendable {
    /// The bare signature in base64.
    case signature
    /// Bundle v0.3.
    case bundle
    /// cosign 2's bundle.
    case olderBundle
    /// The bare envelope of an attestation.
    case envelope
    /// An attestation in a bundle v0.3.
    case attestation
    /// An attestation in cosign 2's bundle.
    case olderAttestation

    var isAttestation: Bool { [.envelope, .attestation, .olderAttestation].contains(self) }
    var isNewBundle: Bool { [.bundle, .attestation].contains(self) }
    var isDetached: Bool { [.signature, .envelope].contains(self) }
}
