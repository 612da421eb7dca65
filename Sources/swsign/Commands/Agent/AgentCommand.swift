import ArgumentParser
import LocalSystem
import Provenance
import SigstoreVerification
import StrictJSON
import SwSignCore

struct AgentCommand: SwSignCommand {
    static let configuration = CommandConfiguration(
        commandName: "agent",
        abstract: "Signs the commits and tags of the next minutes with one sign-in, for git on this machine.",
        discussion: """
            It keeps the certified key in memory and ends with the certificate, some ten minutes later. It signs what git \
            signs and nothing else, for programs of the same user.
            """)

    @Option(
        help: "The socket at which it is asked; by default in $XDG_RUNTIME_DIR/swsign, or ~/.sigstore/swsign/agent.")
    var socket: String?
    @Flag(help: "Ask before each signature, on the terminal or by the program that SSH_ASKPASS names.")
    var confirm = false
    @Flag(help: "Say for whom the agent that is there signs, and until when.")
    var status = false
    @Flag(help: "End the agent that is there.")
    var stop = false
    @Flag(name: .shortAndLong, help: "Do not ask before something becomes public.")
    var yes = false
    @OptionGroup(title: "Services and identity") var services: ServiceOptions
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run(_ context: Context) throws(SigstoreError) {
        guard [status, stop, confirm].filter({ $0 }).count <= 1 else {
            throw SigstoreError(.usage, "of --status, --stop and --confirm only one can be given")
        }
        guard let place = context.agentPlace(socket) else {
            throw SigstoreError(
                .usage, "there is no place for the socket: neither XDG_RUNTIME_DIR nor HOME is set",
                advice: "name one with --socket")
        }
        if status { return try show(place, context) }
        if stop {
            try waiting { () throws(SigstoreError) in try await GitAgentClient(at: place).stop() }
            return context.output.note("The agent at \(place.path) ends", .success)
        }
        try serve(at: place, context)
    }

    private func show(_ place: GitAgentPlace, _ context: Context) throws(SigstoreError) {
        let status = try waiting { () throws(SigstoreError) in try await GitAgentClient(at: place).status() }
        let (count, end) = (status.signatures, Instant(seconds: status.end))
        try context.output.result("Identity: \(status.identity)")
        try context.output.result("Issuer: \(status.issuer)")
        try context.output.result("Ends: \(end)")
        try context.output.result("Signatures: \(count)")
        try context.output.result("Socket: \(place.path)")
    }

    private func serve(at place: GitAgentPlace, _ context: Context) throws(SigstoreError) {
        // What can fail by itself does so before a person signs in.
        if confirm { _ = try AgentConfirmation(context) }
        try GitAgent.expectFree(place)
        var none = GivenFlags([])
        var signing = SigningOptions(&none)
        signing.yes = yes
        let session = try services.session(
            signing, standardInputIsTaken: false, entryPlace: .bundle, keepsUnfinished: false, context)
        let git = try GitSigner(session)
        try services.confirm(session, signing, attestations: false, unkept: nil, context)
        let settled = try waiting { () throws(SigstoreError) in try await session.settleCertificate() }
        guard let settled, let identity = settled.certificate.subjectAlternativeNames.first?.text else {
            throw SigstoreError(.noIdentityToken, "there is no certificate to sign with")
        }
        let issuer = try CertificateClaims(settled.certificate).issuer() ?? ""
        let signer = GitAgentStatus(identity: identity, issuer: issuer, end: settled.end)
        var confirming: (@Sendable (GitObject) async -> Bool)?
        if confirm {
            let confirmation = try AgentConfirmation(context, identity: identity)
            confirming = { await confirmation.agrees(to: $0) }
        }
        let sign: @Sendable (GitObject) async throws(SigstoreError) -> [UInt8] = { object throws(SigstoreError) in
            Array(try await git.sign(object.payload).pem.utf8)
        }
        context.progress.finish()
        let deadline = context.deadline
        // From the moment at which the socket is there, no signal leaves it behind.
        let count = try Interruption.serving { () throws(SigstoreError) in
            let agent = try GitAgent(at: place, signer: signer, clock: context.now, confirm: confirming, sign: sign)
            context.output.note(
                "The agent signs commits and tags as \(signer.identity) until \(Instant(seconds: signer.end)), at \(place.path)",
                .success)
            return try waiting { () throws(SigstoreError) in
                try await agent.serve { Interruption.isHeldBack || deadline.map { .now >= $0 } ?? false }
            }
        }
        Interruption.putTerminalBack()
        context.output.note("The agent has ended. It has signed \(count) \(count == 1 ? "object" : "objects").")
        Interruption.endIfHeldBack()
    }
}
