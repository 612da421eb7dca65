import Foundation
import LocalSigstore
import TestServices
import Testing

/// A repository of git's, set up so that git calls the program, with local services.
protocol GitFixture {
    var fixture: SigningFixture { get }
    /// Where git is looked for.
    var path: String { get }
}

extension GitFixture {
    var path: String { "/usr/local/bin:/usr/bin:/bin" }
    var directory: TemporaryDirectory { fixture.directory }
    static var alice: LocalIdentity { SigningFixture.alice }

    func environment(_ more: [String: String] = [:]) -> [String: String] {
        [
            "PATH": path, "HOME": directory.path, "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C",
            "TZ": "UTC", "GIT_AUTHOR_NAME": "Ann", "GIT_AUTHOR_EMAIL": "ann@example.org", "GIT_COMMITTER_NAME": "Alice",
            "GIT_COMMITTER_EMAIL": "alice@local.test", "SWSIGN": Program.path,
        ].merging(more) { $1 }
    }

    /// Runs a script of the shell.
    @discardableResult
    func shell(
        _ script: String, _ more: [String: String] = [:], fails: Bool = false,
        sourceLocation: SourceLocation = #_sourceLocation
    ) async throws -> Program.Outcome {
        let outcome = await Program(
            executable: "/bin/sh", directory: directory.path, environment: environment(more)
        ).run(["-ec", script])
        try #require(outcome.succeeded != fails, "\(script): \(outcome.messages)", sourceLocation: sourceLocation)
        return outcome
    }

    /// The token of an identity, as a variable.
    func token(_ identity: LocalIdentity = SigningFixture.alice) throws -> [String: String] {
        ["COSIGN_IDENTITY_TOKEN": try fixture.services.issuer.token(for: identity, options: TokenOptions())]
    }

    /// Sets git up, with local services and a repository.
    func setUp(
        _ kind: LocalServices.SigningConfigKind = .v1, expecting: LocalIdentity? = nil, format: String = "sha1"
    ) async throws {
        try await shell(
            """
            "$SWSIGN" git setup
            git config --global swsign.trustedRoot '\(fixture.services.files.trustedRoot)'
            git config --global swsign.signingConfig '\(fixture.services.files.signingConfig(kind))'
            git init -q -b main --object-format=\(format) .
            """)
        if let expecting { try await expect(expecting) }
    }

    func expect(_ identity: LocalIdentity) async throws {
        let issuer = fixture.services.issuer
        try directory.write(
            "signers", "identity=\(issuer.subject(of: identity)),issuer=\(issuer.issuer(of: identity))\n")
        try await shell("git config --global swsign.signers \"$PWD/signers\"")
    }

    func log(_ revision: String = "HEAD") async throws -> String {
        try await shell("git log -1 --format='%G?|%GS|%GT|%GK|%GF|%GP' \(revision)").line
    }
}
