import Foundation
import Glibc
import LocalSigstore
import SigstoreCrypto
import StrictJSON
import TestServices
import Testing

/// `initialize`, and what commands do with the trust root that comes over TUF, against local services.
@Suite(.localSigstore(.own), .serialized)
struct InitializeTests {
    private let services: LocalServices
    private let directory = TemporaryDirectory()
    private static let create = ["trusted-root", "create", "--with-default-services"]

    init() throws { services = try LocalServices.current }

    private func run(_ arguments: [String], _ environment: [String: String] = [:]) async -> Program.Outcome {
        await Program(directory: directory.path, environment: environment).run(arguments)
    }

    private func mustRun(
        _ arguments: [String], _ environment: [String: String] = [:], sourceLocation: SourceLocation = #_sourceLocation
    ) async throws -> Program.Outcome {
        let outcome = await run(arguments, environment)
        try #require(outcome.succeeded, "\(arguments): \(outcome.messages)", sourceLocation: sourceLocation)
        return outcome
    }

    /// The identities of the logs that a trusted root names.
    private func logs(_ trustedRoot: [UInt8]) throws -> [String] {
        try JSONCursor(JSONValue(parsing: trustedRoot)).member("tlogs").elements().map {
            try $0.member("logId").member("keyId").string()
        }
    }

    private func published(_ services: LocalServices) throws -> [String] {
        try logs([UInt8](Data(contentsOf: URL(filePath: services.files.trustedRoot))))
    }

    private func cache(_ services: LocalServices, in root: String = ".sigstore/root") -> String {
        "\(root)/127.0.0.1-\(services.tufMirror.port)"
    }

    // MARK: Which mirror, and which root

    @Test("What initialize was given is used from then on, and can be brought up to date")
    func isRemembered() async throws {
        let mirror = services.tufMirror.url
        let said = try await mustRun(["initialize", "--mirror", mirror, "--root", services.files.tufRoot])
        #expect(said.messages.contains("version 1 of the root metadata") && said.stdout.isEmpty)
        for file in ["root.json", "timestamp.json", "snapshot.json", "targets.json", "targets/trusted_root.json"] {
            #expect(directory.exists("\(cache(services))/\(file)"), "\(file)")
        }
        services.tufMirror.forgetRequests()
        #expect(try await logs(mustRun(Self.create).stdout) == published(services))
        #expect(services.tufMirror.requests.isEmpty)

        try services.rotate(.root)
        try services.rotate(.keys)
        // It was asked today; initialize asks in any case, and keeps the root that it was given.
        let before = try await logs(mustRun(Self.create).stdout)
        #expect(try before == Array(published(services).prefix(2)))
        let again = try await mustRun(["initialize", "--mirror", mirror])
        #expect(again.messages.contains("version 2 of the root metadata"))
        #expect(directory.exists("\(cache(services))/root_history/2.root.json"))
        #expect(try await logs(mustRun(Self.create).stdout) == published(services))
    }

    @Test("A root over the network needs its checksum, and a checksum is held to")
    func checksums() async throws {
        let mirror = services.tufMirror.url
        let root = [UInt8](try Data(contentsOf: URL(filePath: services.files.tufRoot)))
        let digests = try (Digest.sha256(root).hex, Digest.hash(root, .sha512).description)
        let zeros = String(repeating: "0", count: 64)
        let initialize = ["initialize", "--mirror", mirror, "--root"]
        try await directory.expectRefusal(
            "tuf-no-root", "comes over a network", "--root-checksum", of: initialize + ["\(mirror)/1.root.json"])
        for (file, checksum, code) in [
            (services.files.tufRoot, zeros, "tuf-mismatch"), ("\(mirror)/1.root.json", zeros, "tuf-mismatch"),
            ("\(mirror)/1.root.json", "sha512:\(digests.0)", "malformed-digest"),
            (services.files.tufRoot, "00", "malformed-digest"), ("none.json", zeros, "tuf-no-root"),
            ("\(mirror)/9.root.json", zeros, "tuf-no-root"),
        ] {
            try await directory.expectRefusal(code, of: initialize + [file, "--root-checksum", checksum])
        }
        #expect(!directory.exists(".sigstore/root/remote.json"))
        for checksum in [digests.0, digests.1, "sha256:\(digests.0)"] {
            _ = try await mustRun(initialize + ["\(mirror)/1.root.json", "--root-checksum", checksum])
        }
        _ = try await mustRun(initialize + ["file://\(services.files.tufRoot)"])
        #expect(try await logs(mustRun(Self.create).stdout) == published(services))
    }

    @Test("An initialize that fails leaves what was there", .localSigstore(.own, .another))
    func failureChangesNothing() async throws {
        let mirror = services.tufMirror.url
        let initialize = ["initialize", "--mirror", mirror, "--root"]
        _ = try await mustRun(initialize + [services.files.tufRoot])
        try directory.write("text", "hello")
        try await directory.expectRefusal("tuf-malformed", "text", of: initialize + ["text"])
        // The root of somebody else's repository.
        let other = try LocalServices.another.files.tufRoot
        try await directory.expectRefusal("tuf-threshold", of: initialize + [other])
        services.tufMirror.faults.add(Fault(.status(503, retryAfter: nil), path: "timestamp.json"))
        let broken = await run(["initialize", "--mirror", mirror])
        #expect(broken.ending == .exit(1) && broken.code == "tuf-unreachable")
        #expect(try await logs(mustRun(Self.create).stdout) == published(services))
        #expect(try directory.text(".sigstore/root/remote.json").contains(mirror))
        services.tufMirror.faults.removeAll()
        _ = try await mustRun(["initialize", "--mirror", mirror])
    }

    @Test("TUF_MIRROR and TUF_ROOT_JSON name the instance, for initialize too")
    func variables() async throws {
        let mirror = ["TUF_MIRROR": services.tufMirror.url]
        try await directory.expectRefusal("tuf-no-root", "swsign initialize", of: Self.create, environment: mirror)
        let both = mirror.merging(["TUF_ROOT_JSON": services.files.tufRoot, "TUF_ROOT": directory["caches"]]) { $1 }
        #expect(try await logs(mustRun(Self.create, both).stdout) == published(services))
        #expect(directory.exists("\(cache(services, in: "caches"))/targets/trusted_root.json"))
        #expect(!directory.exists(".sigstore"))
        try services.rotate(.keys)
        _ = try await mustRun(["initialize"], both)
        #expect(try await logs(mustRun(Self.create, both).stdout) == published(services))
        let missing = mirror.merging(["TUF_ROOT_JSON": "none.json"]) { $1 }
        try await directory.expectRefusal(
            "tuf-no-root", "TUF_ROOT_JSON", "none.json", of: Self.create, environment: missing)
    }

    @Test("Staging and the public instance that cannot be reached are named", arguments: [["--staging"], []])
    func unreachable(_ flags: [String]) async throws {
        let host = flags.isEmpty ? "tuf-repo-cdn.sigstore.dev" : "tuf-repo-cdn.sigstage.dev"
        let outcome = await run(["initialize"] + flags)
        #expect(outcome.ending == .exit(1) && outcome.code == "tuf-unreachable" && outcome.messages.contains(host))
        try await directory.expectRefusal(
            "tuf-no-root", "http://127.0.0.1:9", "--root", of: ["initialize", "--mirror", "http://127.0.0.1:9"])
        #expect(!directory.exists(".sigstore/root/remote.json"))
    }

    // MARK: Without a mirror

    @Test("A mirror that breaks: what was verified is used and that is said; --offline asks nobody")
    func brokenMirror() async throws {
        try directory.write("blob", "hello")
        _ = try await mustRun(["initialize", "--mirror", services.tufMirror.url, "--root", services.files.tufRoot])
        _ = try await mustRun([
            "sign-blob", "--yes", "--identity-token", services.issuer.token(for: .email("ann@local.test")),
            "--bundle", "bundle.json", "blob",
        ])
        let verify = [
            "verify-blob", "--bundle", "bundle.json", "--certificate-identity", "ann@local.test",
            "--certificate-oidc-issuer", services.issuer.url, "blob",
        ]
        // As if the last look had been long ago.
        func forget() throws { try directory.write("\(cache(services))/last-check", "1000000000\n") }
        try forget()
        services.tufMirror.faults.add(Fault(.reset))
        let used = try await mustRun(verify)
        #expect(used.messages.contains("verified metadata from before is used"))
        services.tufMirror.forgetRequests()
        _ = try await mustRun(verify + ["--offline"])
        #expect(services.tufMirror.requests.isEmpty)
        // A mirror that answers nonsense is another matter than one that does not answer.
        for (fault, code) in [
            (Fault(.corruptBody, path: "timestamp.json"), "tuf-threshold"),
            (
                Fault(
                    .answer(200, contentType: "text/html", body: Array("<p>log in</p>".utf8)),
                    path: "timestamp.json"), "tuf-malformed"
            ),
            (Fault(.status(404, retryAfter: nil), path: "timestamp.json"), "tuf-missing"),
        ] {
            try forget()
            services.tufMirror.faults.removeAll()
            services.tufMirror.faults.add(fault)
            let refused = await run(verify)
            #expect(refused.ending == .exit(1) && refused.stdout.isEmpty)
            #expect(
                refused.code == code || fault.action == .corruptBody && refused.code == "tuf-malformed",
                "\(refused.messages)")
            #expect(!refused.messages.contains("Verified OK"))
        }
        // With a key, nobody is asked, and nothing is made.
        try directory.makeKey()
        _ = try await mustRun([
            "sign-blob", "--key", "key.pem", "--tlog-upload=false", "--bundle", "k.json", "blob",
        ])
        services.tufMirror.forgetRequests()
        _ = try await mustRun([
            "verify-blob", "--key", "key.pub", "--insecure-ignore-tlog", "--bundle", "k.json", "blob",
        ])
        #expect(services.tufMirror.requests.isEmpty)
    }

    // MARK: Many at once, and one that is killed

    /// Runs the program fifty times at once; whoever did not succeed is named on standard output.
    private func fiftyTimes(_ arguments: [String], _ environment: [String: String]) async throws -> Program.Outcome {
        var shell = Program(executable: "/bin/sh", directory: directory.path, environment: environment)
        shell.timeLimit = 1200
        return await shell.run(
            [
                "-c",
                """
                for n in $(seq 50); do
                    { "$@" >out.$n 2>err.$n || { echo "number $n"; cat err.$n; }; } &
                done; wait
                """, "sh", Program.path,
            ] + arguments)
    }

    @Test("Fifty processes refresh one empty cache at once: all succeed, the cache is whole")
    func fiftyAtOnce() async throws {
        let environment = [
            "TUF_MIRROR": services.tufMirror.url, "TUF_ROOT_JSON": services.files.tufRoot,
            "TUF_ROOT": directory["tuf"],
        ]
        // Slow enough that all of them are there while the first one asks.
        services.tufMirror.faults.add(Fault(.delay(seconds: 0.3)))
        let outcome = try await fiftyTimes(Self.create, environment)
        #expect(outcome.succeeded && outcome.output.isEmpty, "\(outcome.output)")
        let expected = try published(services)
        for number in 1...50 {
            #expect(try logs(directory.read("out.\(number)")) == expected)
            #expect(
                try directory.text("err.\(number)")
                    == "The environment says whom to believe: TUF_MIRROR, TUF_ROOT_JSON, TUF_ROOT\n")
        }
        // One of them asked, the others waited for what it found.
        #expect(services.tufMirror.requests.map(\.target).count == 5)
        services.tufMirror.forgetRequests()
        #expect(try await logs(mustRun(Self.create, environment).stdout) == expected)
        #expect(services.tufMirror.requests.isEmpty)

        // And fifty of them that each ask, while the cache is in use.
        services.tufMirror.faults.removeAll()
        try services.rotate(.root)
        try services.rotate(.keys)
        let flags = ["initialize", "--mirror", services.tufMirror.url, "--root", services.files.tufRoot]
        let initialized = try await fiftyTimes(flags, ["TUF_ROOT": directory["tuf"]])
        #expect(initialized.succeeded && initialized.output.isEmpty, "\(initialized.output)")
        #expect(try await logs(mustRun(Self.create, ["TUF_ROOT": directory["tuf"]]).stdout) == published(services))
    }

    @Test("SIGKILL at any moment of an update: the next run works")
    func killedAtAnyMoment() async throws {
        let root = ["TUF_ROOT": directory["tuf"]]
        let initialize = ["initialize", "--mirror", services.tufMirror.url]
        _ = try await mustRun(initialize + ["--root", services.files.tufRoot], root)
        let old = try published(services)
        try FileManager.default.moveItem(atPath: directory["tuf"], toPath: directory["before"])
        try services.rotate(.root)
        try services.rotate(.keys)
        let new = try published(services)
        // The last thing that it does. A file has no name while it is written: so it may have been written, or got a
        // name of its own, or be put in place of the old one, or be in its place and perhaps not on the disk.
        let files = [
            "root_history/2.root.json", "root.json", "timestamp.json", "snapshot.json", "targets.json",
            "targets/trusted_root.json", "last-check", "remote.json",
        ]
        for file in files {
            let folder = directory[file == "remote.json" ? "tuf" : cache(services, in: "tuf")]
            let place = URL(filePath: "\(folder)/\(file)")
            // A file that nothing stands in the way of gets its name by a link.
            var moments = [("renameat,linkat", place.path), ("fsync", place.deletingLastPathComponent().path)]
            if file == files.first { moments += [("write", ""), ("fsync", ""), ("linkat", "")] }
            for (call, path) in moments {
                try? FileManager.default.removeItem(atPath: directory["tuf"])
                try FileManager.default.copyItem(atPath: directory["before"], toPath: directory["tuf"])
                let killed = await Program(executable: "strace", directory: directory.path, environment: root).run(
                    ["-f", "-qq", "-o", "/dev/null"] + (path.isEmpty ? [] : ["-P", path]) + [
                        "-e", "trace=\(call)", "-e", "inject=\(call):signal=SIGKILL", Program.path,
                    ] + initialize)
                #expect(killed.ending == .signal(SIGKILL), "\(call) \(file): \(killed.messages)")
                // At once the old one or the new one, whole; and the new one as soon as the mirror is asked again.
                let next = try await logs(mustRun(Self.create, root).stdout)
                #expect(next == old || next == new, "\(call) \(file)")
                _ = try await mustRun(initialize, root)
                #expect(try await logs(mustRun(Self.create, root).stdout) == new, "\(call) \(file)")
            }
        }
    }
}
