import Foundation
import LocalSigstore
import OCIRegistry
import SigstoreCrypto
import Spawning
import StrictJSON
import SwSignCore
import TestServices
import Testing

@testable import swsign

/// The help of each command, and the examples that it opens with.
struct HelpTests {
    /// What has others below it, and the program itself.
    static let groups = [
        "", "key", "pkcs11-tool", "bundle", "download", "attach", "tlog", "trusted-root", "signing-config", "audit",
    ]

    @Test("Every command's help opens with two to five examples; its own flags come first, shared ones last")
    func arrangement() async throws {
        let directory = TemporaryDirectory()
        for command in FlagTable.commands + Self.groups {
            let words = command.split(separator: " ").map(String.init)
            let help = await Program(directory: directory.path).run(words + ["--help"])
            let sections = help.output.components(separatedBy: "\n\n")
            #expect(sections[0].hasPrefix("OVERVIEW: "), "\(command)")
            let examples = sections[1].components(separatedBy: "\n")
            #expect(examples[0] == "EXAMPLES:" && (2...5).contains(examples.count - 1), "\(command): \(examples)")
            #expect(examples.dropFirst().allSatisfy { $0.hasPrefix("  swsign \(command)") }, "\(command): \(examples)")
            let usage = try #require(sections.firstIndex { $0.hasPrefix("USAGE: swsign") }, "\(command)")
            #expect((2...4).contains(usage), "\(command)")
            func place(_ title: String) -> Int? { sections.firstIndex { $0.hasPrefix("\(title):\n") } }
            if let arguments = place("ARGUMENTS") { #expect(arguments == usage + 1, "\(command)") }
            let last = sections.suffix(2).map { $0.prefix { $0 != ":" } }
            guard !words.isEmpty, !Self.groups.contains(command) else {
                #expect(words.isEmpty ? last == ["GLOBAL OPTIONS", "OPTIONS"] : true, "\(command): \(last)")
                continue
            }
            if place("REGISTRY") != nil, sections.last?.hasPrefix("GLOBAL") == true {
                #expect(last == ["REGISTRY", "GLOBAL OPTIONS"], "\(command)")
            }
            // A request for help alone is no flag of the command's own.
            let lone = "OPTIONS:\n  -h, --help              Show help information."
            if help.output.hasSuffix(lone + "\n") {
                #expect(last.first == "GLOBAL OPTIONS", "\(command): \(last)")
            } else {
                #expect(last.last == "GLOBAL OPTIONS", "\(command): \(last)")
                #expect(place("OPTIONS").map { $0 <= usage + 2 } != false, "\(command)")
            }
        }
    }

    @Test("Every example's command and flags are in the table, and every command has examples")
    func flags() throws {
        for command in FlagTable.commands {
            let examples = Examples.of(command)
            #expect((2...5).contains(examples.count), "\(command)")
            for example in examples {
                // Up to where the shell reads on.
                let words = example.components(separatedBy: " <")[0].components(separatedBy: " >")[0]
                    .split(separator: " ").map(String.init)
                #expect(words.first == "swsign")
                let read = try NormalizedArguments(Array(words.dropFirst())) { _ in nil }
                #expect(read.arguments.starts(with: command.split(separator: " ").map(String.init)), "\(example)")
                #expect(read.warnings.isEmpty && !read.arguments.contains("--help"), "\(example)")
            }
        }
    }

    @Test(
        "Every example runs as it stands, with this test's registry, signer, issuer and TUF mirror for those of example.com",
        .localSigstore)
    func examplesRun() async throws {
        let place = try SigningFixture()
        defer { withExtendedLifetime(place) {} }
        let services = place.services
        let template = place.directory
        let names = [
            ("registry.example/", "\(services.registry.address)/"),
            ("registry.example ", "\(services.registry.address) "),
            ("ann@example.com", services.issuer.subject(of: SigningFixture.alice)),
            ("https://accounts.example", services.issuer.issuer(of: SigningFixture.alice)),
            ("https://tuf.example", services.tufMirror.url),
            ("--slot-id 1234 ", ""), ("/usr/lib/softhsm/libsofthsm2.so", SoftToken.module ?? ""),
        ]
        var environment = [
            "COSIGN_PASSWORD": "secret", "COSIGN_YES": "true",
            "SIGSTORE_ID_TOKEN": try services.issuer.token(for: SigningFixture.alice),
            "COSIGN_SIGNING_CONFIG": services.files.signingConfig(.v1),
            "COSIGN_TRUSTED_ROOT": services.files.trustedRoot, "COSIGN_REKOR_URL": services.rekorV1.url,
            "TUF_MIRROR": services.tufMirror.url, "TUF_ROOT_JSON": services.files.tufRoot,
        ]
        // A token, if there can be one.
        let token = SoftToken.module == nil ? nil : try SoftToken()
        defer { withExtendedLifetime(token) {} }
        environment.merge(token?.environment ?? [:]) { $1 }
        environment["COSIGN_SLOT_ID"] = token?.slot
        environment["COSIGN_PKCS11_PIN"] = SoftToken.pin
        // The program by its name, as a person has it.
        try FileManager.default.createSymbolicLink(atPath: template["swsign"], withDestinationPath: Program.path)
        environment["PATH"] = "\(template.path):/usr/local/bin:/usr/bin:/bin"
        @Sendable func shell(_ line: String, in folder: String, _ environment: [String: String]) async
            -> Program.Outcome
        {
            var environment = environment
            // A log is named by a flag or by a signing config, and without one by neither.
            if line.contains("--tlog-upload=false") || line.contains("signing-config create") {
                environment["COSIGN_SIGNING_CONFIG"] = nil
            }
            if !line.contains("swsign tlog") { environment["COSIGN_REKOR_URL"] = nil }
            // What was published is of the public instance.
            if line.contains("verify-provenance --from pypi") || line.contains("verify-provenance --repository") {
                for name in ["COSIGN_TRUSTED_ROOT", "TUF_MIRROR", "TUF_ROOT_JSON"] { environment[name] = nil }
            }
            if !line.contains("swsign tlog"), line.contains("--key ") { environment["COSIGN_TRUSTED_ROOT"] = nil }
            var line = line
            for (name, real) in names { line = line.replacingOccurrences(of: name, with: real) }
            return await Program(executable: "/bin/sh", directory: folder, environment: environment).run(["-ec", line])
        }
        // What a person has who types the examples.
        for (name, text) in [
            ("file", "content"), ("sbom.json", #"{"spdxVersion":"SPDX-2.3"}"#), ("provenance.json", "{}"),
            ("password.txt", "secret"),
        ] { try template.write(name, text) }
        try FileManager.default.copyItem(atPath: services.files.tufRoot, toPath: template["tuf-root.json"])
        let published = "\(sharedDirectory)/provenance"
        let hasPublished = FileManager.default.fileExists(atPath: published)
        for name in hasPublished
            ? ["pypi_attestations-0.0.19.tar.gz", "pypi_attestations-0.0.19.tar.gz.provenance"] : []
        {
            try FileManager.default.copyItem(atPath: "\(published)/pypi/\(name)", toPath: template[name])
        }
        // The reports of two parts of an audit, in which all is well.
        for part in 1...2 {
            var report: [UInt8] = []
            let row = AuditRow(
                place: "registry.example/app", names: ["\(part)"], digest: try Digest.sha256([UInt8(part)]),
                signed: .yes,
                verdict: .accepted)
            var sums = AuditSums()
            sums.add(row)
            try AuditFormat.json.write(
                AuditHead(
                    started: Instant(seconds: 0), finished: Instant(seconds: 9), tool: "swsign", ranBy: "ann@example",
                    places: ["registry.example/app"], signers: ["the key …"], shard: "\(part)/2"), sums
            ) { take throws(SigstoreError) in
                try take(row)
            } to: {
                report += $0
            }
            try template.write("part\(part).json", report)
            try template.write("old.json", report)
        }
        // A build by SLSA's generator.
        try template.write("app", SLSATests.content)
        var build = SLSATests.Build()
        build.ref = "refs/tags/v1.2.3"
        try await SLSATests.sign("app.intoto.jsonl", build, in: place)
        // A chain as OpenSSL writes it, its root last.
        let folder = URL(fileURLWithPath: services.files.trustedRoot).deletingLastPathComponent()
        let end = "-----END CERTIFICATE-----\n"
        let chain = try String(contentsOf: folder.appendingPathComponent("fulcio_root.pem"), encoding: .utf8)
            .components(separatedBy: end).dropLast().map { $0 + end }
        try template.write("chain.pem", chain.reversed().joined())
        for tag in ["app:1.0", "old:1.0", "other:1.0"] {
            try await template.makeImages("layout", layer: Array(tag.utf8))
            try await template.must("copy", "oci-layout:layout:one", "\(services.registry.address)/\(tag)")
        }
        try await template.must("copy", "oci-layout:layout:one", "oci-layout:layout:1.0")
        try await template.must("copy", "oci-layout:layout:multi", "oci-layout:layout:2.0")
        let signing = "--key cosign.key --tlog-upload=false"
        try template.write("releases.txt", "sha256:\(String(repeating: "0", count: 64))\n")
        try template.makeDirectory("model")
        try template.write("model/weights", "content")
        for line in [
            "swsign generate-key-pair", "swsign generate-key-pair --output-key-prefix new",
            "openssl ecparam -name prime256v1 -genkey -noout -out openssl.pem",
            "mkdir dist source", "cp file dist/file",
            "ssh-keygen -q -t ed25519 -N '' -f ssh && (printf 'ann@example.org '; cat ssh.pub) > allowed_signers",
            "cd source && git init -q -b main . && git config user.name Ann && git config user.email ann@example.org",
            "cd source && git config gpg.format ssh && git config user.signingkey ../ssh",
            #"printf '{"version":1,"signers":{"ann":{"sshKeys":["%s"]}},"rules":[{"signers":["ann"]}]}' "$(cut -d' ' -f1,2 ssh.pub)" > rules.json"#,
            "cd source && git commit -q -S --allow-empty -m one && git commit -q -S --allow-empty -m two",
            "swsign sign-model --key cosign.key model",
            "swsign sign-model --signature keyless.model.sig model",
            "swsign sign-blob --bundle file.sigstore.json file",
            "swsign sign-blob \(signing) --bundle bykey.sigstore.json file",
            "swsign sign-blob \(signing) file > file.sig",
            "swsign sign-blob \(signing) --new-bundle-format=false --bundle cosign2.bundle file",
            "swsign attest-blob --type spdxjson --predicate sbom.json --bundle file.att.json file",
            "swsign attest-blob \(signing) --type slsaprovenance1 --predicate provenance.json --bundle bykey.att.json file",
            "swsign sign registry.example/app:1.0", "swsign sign \(signing) registry.example/app:1.0",
            "swsign sign \(signing) oci-layout:layout:1.0", "swsign sign \(signing) registry.example/old:1.0",
            "swsign attest --type spdxjson --predicate sbom.json registry.example/app:1.0",
            "swsign attest \(signing) --type slsaprovenance1 --predicate provenance.json registry.example/app:1.0",
            "swsign attach sbom --sbom sbom.json --type spdx --input-format json registry.example/app:1.0",
            "swsign attach sbom --sbom sbom.json --type spdx --input-format json oci-layout:layout:1.0",
            "swsign sign \(signing) --upload=false --new-bundle-format=false --output-signature payload.sig --output-payload payload.json registry.example/app:1.0",
            "swsign sign \(signing) --upload=false --bundle image.sigstore.json registry.example/app:1.0",
            "swsign attest \(signing) --no-upload --type custom --predicate sbom.json registry.example/app:1.0 > envelope.json",
            "swsign save --dir folder registry.example/app:1.0",
        ] {
            let made = await shell(line, in: template.path, environment)
            try #require(made.succeeded, "\(line): \(made.messages)")
        }
        await withTaskGroup(of: Void.self) { group in
            for command in FlagTable.commands where token != nil || !command.hasPrefix("pkcs11-tool ") {
                if command == "verify-provenance", !hasPublished { continue }
                // It runs until it is stopped: `AgentTests` has it.
                if command == "agent" { continue }
                group.addTask { [environment] in
                    // A folder of its own for each command, in which one example follows another.
                    let folder = TemporaryDirectory()
                    do {
                        for name in template.names where !["swsign", ".sigstore"].contains(name) {
                            if command == "generate-key-pair", name.hasPrefix("cosign.") { continue }
                            try FileManager.default.copyItem(atPath: template[name], toPath: folder[name])
                        }
                    } catch { Issue.record(error) }
                    for example in Examples.of(command) {
                        let outcome = await shell(example, in: folder.path, environment)
                        #expect(outcome.succeeded, "\(example): \(outcome.messages)")
                        #expect(
                            !outcome.messages.contains("is taken as") && !outcome.messages.contains("Error: "),
                            "\(example): \(outcome.messages)")
                    }
                }
            }
        }
    }

    // MARK: - Called as cosign

    /// The program by the name `cosign`.
    private func cosign(_ directory: TemporaryDirectory) throws -> Program {
        try FileManager.default.createSymbolicLink(atPath: directory["cosign"], withDestinationPath: Program.path)
        return Program(executable: directory["cosign"], directory: directory.path)
    }

    @Test("Called as cosign, the program says cosign in help, examples, advice and completions")
    func calledAsCosign() async throws {
        let directory = TemporaryDirectory()
        let program = try cosign(directory)
        for command in ["sign", "bundle inspect", "bundle", "verify-blob", ""] {
            let help = await program.run(command.split(separator: " ").map(String.init) + ["--help"])
            #expect(help.output.contains("USAGE: cosign \(command)"), "\(help.output)")
            #expect(help.output.contains("EXAMPLES:\n  cosign \(command)"), "\(help.output)")
            #expect(!help.output.contains("  swsign "), "\(help.output)")
        }
        for (arguments, words) in [
            (["sing"], "did you mean sign? see cosign --help"), (["sign"], "see cosign sign --help"),
            (["sign", "--nope"], "see cosign sign --help"),
            (["version", "--timeout", "x"], "see cosign version --help"),
            (["verify", "--key", "none.pub", "--insecure-ignore-tlog", "oci-layout:none:1"], "Error: "),
        ] {
            let outcome = await program.run(arguments)
            #expect(outcome.messages.contains(words) && !outcome.messages.contains("swsign"), "\(outcome.messages)")
        }
        let completion = await program.run(["completion", "bash"])
        #expect(
            completion.output.contains("complete -o filenames -o default -F _cosign cosign"),
            "\(completion.output.suffix(300))")
        // Which program it is stays to be seen.
        let version = await program.run(["version"])
        #expect(version.output.hasPrefix("swsign: "))
        // Only the whole name counts.
        try FileManager.default.createSymbolicLink(atPath: directory["cosign2"], withDestinationPath: Program.path)
        let other = await Program(executable: directory["cosign2"], directory: directory.path).run(["sign"])
        #expect(other.messages.contains("see swsign sign --help"), "\(other.messages)")
    }

    @Test(
        "verify prints what scripts look for in cosign's output: the lines, Subject and Issuer, the bare reference",
        .localSigstore, arguments: Scheme.allCases)
    func linesOfCosign(scheme: Scheme) async throws {
        let place = try SigningFixture()
        defer { withExtendedLifetime(place) {} }
        try place.directory.makeKey()
        let (checked, claims, log, key, certificate) = (
            "The following checks were performed on each of these signatures:\n",
            "  - The cosign claims were validated\n",
            "  - Existence of the claims in the transparency log was verified offline\n",
            "  - The signatures were verified against the specified public key\n",
            "  - The code-signing certificate was verified using trusted certificate authority certificates\n"
        )
        let image = try place.push("by a key, \(scheme)")
        let signed = await place.run(
            ["sign", "--key", "key.pem", "--tlog-upload=false", "-a", "Subject=eve", "oci://" + image] + scheme.flags)
        try #require(signed.succeeded, "\(signed.messages)")
        let byKey = await place.run([
            "verify", "--key", "key.pub", "--insecure-ignore-tlog", "-a", "Subject=eve", "oci://" + image,
        ])
        #expect(byKey.messages.contains(checked + "  - The specified annotations were verified.\n" + claims + key))
        #expect(!byKey.messages.contains(log) && !byKey.messages.contains(certificate), "\(byKey.messages)")
        let payload = try #require(try byKey.objects().first?.elements().first)
        let reference = try payload.member("critical").member("identity").member("docker-reference").string()
        #expect(reference.hasPrefix(place.services.registry.address), "\(reference)")
        #expect(try payload.member("optional").names() == ["Subject"])

        let other = try place.push("without a key, \(scheme)")
        let keyless = await place.run(
            ["sign", "--yes", "-a", "Subject=eve", "-a", "a=b"] + scheme.flags + place.services(.v1)
                + (try place.token())
                + [other])
        try #require(keyless.succeeded, "\(keyless.messages)")
        let verified = await place.run(
            ["verify"] + place.trust + place.expecting(SigningFixture.alice) + ["oci://" + other])
        #expect(verified.messages.contains(checked + claims + log + certificate), "\(verified.messages)")
        #expect(!verified.messages.contains(key))
        let first = try #require(try verified.objects().first?.elements().first)
        #expect(
            try first.member("critical").member("identity").member("docker-reference").string()
                .hasPrefix(place.services.registry.address))
        let optional = try first.member("optional")
        #expect(try optional.member("Subject").string() == place.services.issuer.subject(of: SigningFixture.alice))
        #expect(try optional.member("Issuer").string() == place.services.issuer.issuer(of: SigningFixture.alice))
        #expect(try optional.member("a").string() == "b" && optional.names().count == 3)
    }
}
