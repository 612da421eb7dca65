import Foundation
import LocalSigstore
import SigstoreCrypto
import StrictJSON
import TestServices
import Testing

@testable import swsign

/// bundle inspect, version, env, completion and help.
struct InformationTests {
    let directory = TemporaryDirectory()

    @Test("bundle inspect shows a person what a signature's bundle holds")
    func inspectSignature() async throws {
        let key = try directory.makeKey()
        try directory.write("file", "content")
        #expect(
            await directory.swsign("sign-blob", "--key", "key.pem", "--tlog-upload=false", "--bundle", "b.json", "file")
                .succeeded)
        let digest = try Digest.sha256(Array("content".utf8))
        let outcome = await directory.swsign("bundle", "inspect", "b.json")
        #expect(outcome.succeeded, "\(outcome.messages)")
        for words in [
            "bundle.v0.3+json", digest.description, try key.publicKey.hint(), "Log entry: none",
            "signature over a file",
        ] {
            #expect(outcome.output.contains(words), "\(outcome.output)")
        }
        #expect(outcome.messages.contains("Nothing of this was verified"))
        let json = await directory.swsign("bundle", "inspect", "--output", "json", "b.json")
        let object = try #require(try json.objects().first)
        #expect(try object.member("version").integer() == 1)
        #expect(try object.member("digest").string() == digest.description)
        #expect(try object.member("keyHint").string() == key.publicKey.hint())
        #expect(try object.member("logEntries").elements().isEmpty)
        let input = await directory.swsign("bundle", "inspect", "-", input: .bytes(try directory.read("b.json")))
        #expect(input.output == outcome.output)
    }

    @Test("bundle inspect shows what an attestation is about")
    func inspectAttestation() async throws {
        try directory.makeKey()
        try directory.write("file", "content")
        try directory.write("predicate", "{}")
        #expect(
            await directory.swsign(
                "attest-blob", "--key", "key.pem", "--tlog-upload=false", "--type", "spdxjson", "--predicate",
                "predicate", "--bundle",
                "b.json", "file"
            ).succeeded)
        let outcome = await directory.swsign("bundle", "inspect", "b.json")
        #expect(outcome.succeeded)
        for words in [
            "attestation", "https://spdx.dev/Document", "name file", try Digest.sha256(Array("content".utf8)).hex,
        ] {
            #expect(outcome.output.contains(words), "\(outcome.output)")
        }
        let json = await directory.swsign("bundle", "inspect", "-o", "json", "b.json")
        #expect(try json.objects().first?.member("predicateType").string() == "https://spdx.dev/Document")
    }

    @Test("bundle inspect shows log entries and their times, and a certificate's identity", .needsShared)
    func inspectKeyless() async throws {
        let samples = sharedDirectory + "/samples/sigs"
        let names = try FileManager.default.contentsOfDirectory(atPath: samples).filter {
            $0.hasSuffix(".sigstore.json")
        }.sorted()
        try #require(names.count > 20)
        var (identities, times) = (0, 0)
        for name in names.enumerated().filter({ $0.offset % 20 == 0 }).map(\.element) {
            let outcome = await directory.swsign("bundle", "inspect", "--output", "json", "\(samples)/\(name)")
            #expect(outcome.succeeded, "\(name): \(outcome.messages)")
            if outcome.output.contains("@") { identities += 1 }
            if outcome.output.contains("\"time\":\"20") { times += 1 }
        }
        #expect(identities > 0, "no certificate's identity was shown")
        #expect(times > 0, "no log entry's time was shown")
    }

    @Test("bundle inspect refuses what is no bundle")
    func inspectRefuses() async throws {
        try directory.write("text", "hello")
        try directory.write("object", "{}")
        try await directory.expectRefusal("malformed-json", "text", of: ["bundle", "inspect", "text"])
        try await directory.expectRefusal("not-a-bundle", "object", of: ["bundle", "inspect", "object"])
        try await directory.expectRefusal("file-not-found", "none", of: ["bundle", "inspect", "none"])
    }

    @Test("version prints the version, and JSON on demand")
    func version() async throws {
        let text = await directory.swsign("version")
        #expect(text.succeeded)
        #expect(text.output.contains("GitVersion:    v\(Version.number)"))
        let json = await directory.swsign("version", "--json")
        #expect(try json.objects().first?.member("gitVersion").string() == "v\(Version.number)")
        #expect(await directory.swsign("version", environment: ["COSIGN_JSON": "true"]).output == json.output)
    }

    @Test("Every error code has a cause and a cure that are said, and none that is not there")
    func errorCodes() async throws {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        var codes: Set<String> = []
        for module in [
            "StrictJSON", "StrictYAML", "InToto", "SigstoreCrypto", "HTTPTransport", "LocalSystem", "OCIRegistry",
            "SigstoreVerification", "SigstoreClients", "KeyProviders", "Provenance", "SwSignCore", "swsign",
        ] {
            let folder = root.appendingPathComponent("Sources/\(module)")
            for path in try FileManager.default.subpathsOfDirectory(atPath: folder.path) where path.hasSuffix(".swift")
            {
                let source = try String(contentsOf: folder.appendingPathComponent(path), encoding: .utf8)
                // Remedies are written in the same way, and may change.
                let remedies = /extension SigstoreError\.Remedy \{[^}]*\}/
                codes.formUnion(
                    source.replacing(remedies, with: "")
                        .matches(of: /static let \w+ = Self\("([a-z0-9-]+)"\)/).map { String($0.1) })
            }
        }
        #expect(codes.count > 100)
        let all = await directory.swsign("errors")
        let entries = all.output.matches(of: /(?m)^([a-z0-9-]+)\n  Cause: [A-Z\p{L}].+\.\n(  Cure: .+\n)?/)
        #expect(entries.map { String($0.1) } == codes.sorted())
        #expect(entries.map { String($0.0) }.joined() == all.output)
        // There is something to do about all but a few.
        #expect(
            Set(entries.filter { $0.2 == nil }.map { String($0.1) })
                == ["already-reported", "cancelled", "interrupted", "reader-ended"])
        let one = await directory.swsign("errors", "[wrong-key]", "no-time")
        #expect(one.output.components(separatedBy: "\n").filter { !$0.hasPrefix(" ") } == ["no-time", "wrong-key", ""])
        let unknown = await directory.swsign("errors", "worng-key")
        #expect(
            unknown.ending == .exit(1) && unknown.messages.contains("did you mean wrong-key?"), "\(unknown.messages)")
    }

    @Test("Who verifies is told which variables said whom to believe, and programs are too", .localSigstore)
    func trustVariables() async throws {
        let place = try SigningFixture()
        defer { withExtendedLifetime(place) {} }
        let words = "The environment says whom to believe: "
        try place.directory.write("file", "content")
        let image = try place.push()
        let signing = place.services(.v1)
        for arguments in [
            ["sign-blob", "--yes", "--bundle", "bundle.json"] + signing + (try place.token()) + ["file"],
            ["sign", "--yes", "--new-bundle-format=false"] + signing + (try place.token()) + [image],
        ] {
            let signed = await place.run(arguments)
            try #require(signed.succeeded, "\(signed.messages)")
        }
        func expect(
            _ names: [String], _ arguments: [String], _ environment: [String: String], isJSON: Bool = true,
            sourceLocation: SourceLocation = #_sourceLocation
        ) async throws {
            let outcome = await place.run(arguments, environment: environment)
            #expect(outcome.succeeded, "\(outcome.messages)", sourceLocation: sourceLocation)
            let said = outcome.messages.components(separatedBy: "\n").filter { $0.hasPrefix(words) }
            #expect(
                said == (names.isEmpty ? [] : [words + names.joined(separator: ", ")]), "\(outcome.messages)",
                sourceLocation: sourceLocation)
            if isJSON {
                let object = try #require(try outcome.objects().first, sourceLocation: sourceLocation)
                #expect(
                    try object.member("trustVariables").elements().map { try $0.string() } == names,
                    sourceLocation: sourceLocation)
            } else {
                #expect(!outcome.output.contains("trustVariables"), sourceLocation: sourceLocation)
            }
        }
        let who = place.expecting(SigningFixture.alice)
        let verify = ["verify-blob", "--output", "json", "--bundle", "bundle.json", "file"]
        let root = ["COSIGN_TRUSTED_ROOT": place.services.files.trustedRoot]
        let identity = ["COSIGN_CERTIFICATE_IDENTITY": who[1], "COSIGN_CERTIFICATE_OIDC_ISSUER": who[3]]
        let instance = [
            "TUF_MIRROR": place.services.tufMirror.url, "TUF_ROOT_JSON": place.services.files.tufRoot,
            "TUF_ROOT": place.directory["caches"],
        ]
        let folder = URL(fileURLWithPath: place.services.files.trustedRoot).deletingLastPathComponent().path
        let parts = [
            "SIGSTORE_ROOT_FILE": "\(folder)/fulcio_root.pem",
            "SIGSTORE_CT_LOG_PUBLIC_KEY_FILE": "\(folder)/ct_log.pub",
            "SIGSTORE_REKOR_PUBLIC_KEY": "\(folder)/rekor.pub",
            "SIGSTORE_TSA_CERTIFICATE_FILE": "\(folder)/tsa_chain.pem",
        ]
        let all = root.merging(identity) { $1 }.merging(instance) { $1 }.merging(parts) { $1 }
        // Flags count before all of it.
        try await expect([], verify + place.trust + who, all)
        try await expect(
            ["COSIGN_TRUSTED_ROOT", "COSIGN_CERTIFICATE_IDENTITY", "COSIGN_CERTIFICATE_OIDC_ISSUER"], verify, all)
        try await expect(["TUF_MIRROR", "TUF_ROOT_JSON", "TUF_ROOT"], verify + who, instance)
        // With all parts given one by one, no instance is asked.
        let names = [
            "SIGSTORE_ROOT_FILE", "SIGSTORE_CT_LOG_PUBLIC_KEY_FILE", "SIGSTORE_REKOR_PUBLIC_KEY",
            "SIGSTORE_TSA_CERTIFICATE_FILE",
        ]
        try await expect(names, verify + who, parts.merging(instance) { $1 })
        try await expect(
            Array(names.dropFirst().dropLast()),
            verify + who + [
                "--certificate-chain", parts["SIGSTORE_ROOT_FILE"] ?? "", "--timestamp-certificate-chain",
                parts["SIGSTORE_TSA_CERTIFICATE_FILE"] ?? "",
            ], parts)
        // Other commands; what verify prints for programs is what was signed, and has no place for it.
        try await expect(["COSIGN_TRUSTED_ROOT"], ["verify"] + who + [image], root, isJSON: false)
        try await expect(
            ["COSIGN_TRUSTED_ROOT"],
            ["tlog", "get", "--output", "json", "--log-index", "0", "--rekor-url", place.services.rekorV1.url], root
        )
        try await expect(
            ["COSIGN_TRUSTED_ROOT"],
            ["tlog", "info", "--output", "json", "--rekor-url", place.services.rekorV1.url], root)

        // What is believed from now on.
        let mirror = [
            "COSIGN_MIRROR": place.services.tufMirror.url, "COSIGN_ROOT": place.services.files.tufRoot,
            "TUF_ROOT": place.directory["caches"],
        ]
        try await expect(["TUF_MIRROR", "TUF_ROOT_JSON", "TUF_ROOT"], ["initialize"], instance, isJSON: false)
        try await expect(
            ["COSIGN_MIRROR", "COSIGN_ROOT", "TUF_ROOT"], ["initialize"], instance.merging(mirror) { $1 },
            isJSON: false)
        try await expect(
            ["TUF_MIRROR", "TUF_ROOT_JSON", "TUF_ROOT"], ["trusted-root", "create", "--with-default-services"],
            instance, isJSON: false)

        // A key without a log needs nobody's root.
        try place.directory.makeKey()
        try place.directory.write("predicate", "{}")
        let attested = await place.run([
            "attest-blob", "--key", "key.pem", "--tlog-upload=false", "--predicate", "predicate", "--bundle",
            "att.json", "file",
        ])
        try #require(attested.succeeded, "\(attested.messages)")
        let attestation = [
            "verify-blob-attestation", "--output", "json", "--insecure-ignore-tlog", "--bundle", "att.json", "file",
        ]
        try await expect([], attestation + ["--key", "key.pub"], instance)
        try await expect(["COSIGN_KEY"], attestation, instance.merging(["COSIGN_KEY": "key.pub"]) { $1 })
        try await expect(
            [], attestation + ["--key", "key.pub"], ["COSIGN_KEY": "none", "COSIGN_STAGING": "false"])
    }

    @Test("env shows the variables, and secrets only on demand")
    func environment() async throws {
        let environment = ["COSIGN_PASSWORD": "s3cr3t"]
        let hidden = await directory.swsign("env", environment: environment)
        #expect(hidden.succeeded)
        #expect(hidden.output.contains("COSIGN_PASSWORD=******") && !hidden.output.contains("s3cr3t"))
        #expect(hidden.output.contains("# COSIGN_PASSWORD (set): the password of the private key"))
        let shown = await directory.swsign(
            "env", "--show-sensitive-values", "--show-descriptions=false", environment: environment)
        #expect(shown.output.contains("COSIGN_PASSWORD=s3cr3t"))
        let token = await directory.swsign("env", environment: ["SIGSTORE_ID_TOKEN": "s3cr3t", "TUF_ROOT": "/root"])
        #expect(token.output.contains("SIGSTORE_ID_TOKEN=******") && token.output.contains("TUF_ROOT=/root"))
        #expect(!shown.output.contains("#"))
        for sentence in [
            "# COSIGN_DOCKER_MEDIA_TYPES (not set): true to write", "# SIGSTORE_ID_TOKEN (not set): ",
            "# BROWSER (not set): the browser to sign in with; without it, the desktop's. It counts in: signing without",
            "# COSIGN_MIRROR (not set): --mirror of initialize\nCOSIGN_MIRROR=\n",
            "# COSIGN_TIMEOUT (not set): --timeout of every command\n",
            "# COSIGN_REGISTRY_USERNAME (not set): --registry-username of verify-provenance, sign, attest,",
            "# SSL_CERT_FILE (not set): ",
        ] { #expect(hidden.output.contains(sentence), "\(sentence): \(hidden.output)") }
        let secrets = [
            "COSIGN_REGISTRY_PASSWORD", "COSIGN_REGISTRY_TOKEN", "COSIGN_IDENTITY_TOKEN", "DOCKER_AUTH_CONFIG",
            "GOOGLE_OAUTH_ACCESS_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_TOKEN", "BUILDKITE_AGENT_ACCESS_TOKEN",
        ]
        var values = Dictionary(uniqueKeysWithValues: secrets.map { ($0, "s3cr3t") })
        values["HTTPS_PROXY"] = "http://ann:s3cr3t@proxy.example:3128"
        values["all_proxy"] = "ann:s3cr3t@proxy.example:3128"
        let all = await directory.swsign("env", environment: values)
        #expect(all.succeeded && !all.output.contains("s3cr3t"), "\(all.output)")
        for name in secrets + ["HTTPS_PROXY", "ALL_PROXY"] {
            #expect(all.output.contains("# \(name) (set): ") && all.output.contains("\n\(name)=******\n"), "\(name)")
        }
    }

    @Test("env knows every flag's variable, and every other one that the sources read, once")
    func environmentIsWhole() async throws {
        let outcome = await directory.swsign("env", "--show-descriptions=false")
        let listed = outcome.output.split(separator: "\n").map { String($0.prefix { $0 != "=" }) }
        #expect(listed.count == Set(listed).count, "\(listed)")
        for command in FlagTable.commands {
            for flag in FlagTable.flags(of: command) ?? [] where flag.awaits == nil {
                #expect(listed.contains(flag.variable), "\(flag.variable)")
            }
        }
        let sources = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appendingPathComponent("Sources")
        var read: Set<String> = []
        for path in try FileManager.default.subpathsOfDirectory(atPath: sources.path)
        where path.hasSuffix(".swift") && !path.lowercased().contains("local-sigstore")
            && !path.contains("LocalSigstore")
        {
            let text = try String(contentsOf: sources.appendingPathComponent(path), encoding: .utf8)
            // A variable is named where the environment is asked, and in lists of such names.
            for match in text.matches(of: /(?:environment|value|text|takeSecret|variable)\(?\[?\(?"([A-Z][A-Z0-9_]+)"/)
            {
                read.insert(String(match.1))
            }
        }
        #expect(read.count > 15)
        #expect(read.subtracting(listed).isEmpty, "\(read.subtracting(listed).sorted())")
    }

    @Test(
        "completion prints a script for each shell",
        arguments: [("bash", "complete"), ("zsh", "#compdef swsign"), ("fish", "complete -c")])
    func completion(shell: String, words: String) async throws {
        let outcome = await directory.swsign("completion", shell)
        #expect(outcome.succeeded)
        #expect(outcome.output.contains(words) && outcome.output.contains("verify-blob"))
        #expect(outcome.stderr.isEmpty)
    }

    @Test(
        "The shell takes the completion: commands, flags, values and files, for a link of the name cosign too",
        arguments: [
            (
                "bash",
                """
                source ./script
                try() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
                    _swsign swsign "${@: -1}" "${@: -2:1}"; echo "${COMPREPLY[@]}"; }
                try swsign verify-blob-; try swsign sign-blob --tlog-u; try cosign attest --type slsaprovenance0
                complete -p swsign cosign
                """
            ),
            (
                "fish",
                """
                source ./script; complete -C 'swsign verify-blob-'; complete -C 'swsign sign-blob --tlog-u'
                complete -C 'cosign attest --type slsaprovenance0'
                complete -C 'cosign verify-blob scr'; complete -C 'swsign verify --key scr'
                """
            ),
            (
                "zsh",
                """
                mkdir functions && cp script functions/_swsign && fpath=($PWD/functions $fpath)
                autoload -Uz compinit && compinit -u -d $PWD/dump && echo $_comps[swsign] $_comps[cosign]
                autoload +X _swsign && functions _swsign | grep -o -e verify-blob-attestation -e --tlog-upload \
                    -e slsaprovenance02 -e predicate:_files -e images:_files | sort -u
                """
            ),
        ])
    func completionWorks(shell: String, words: String) async throws {
        try directory.write("script", await directory.swsign("completion", shell).stdout)
        try directory.makeDirectory("bin")
        try FileManager.default.createSymbolicLink(atPath: directory["bin/swsign"], withDestinationPath: Program.path)
        try FileManager.default.createSymbolicLink(atPath: directory["bin/cosign"], withDestinationPath: "swsign")
        let path = "\(directory["bin"]):/usr/bin:/bin"
        func complete() async -> Program.Outcome {
            await Program(executable: shell, directory: directory.path, environment: ["PATH": path]).run(["-c", words])
        }
        let outcome = await complete()
        let files = [
            "bash": ["complete -o default -o filenames -F _swsign swsign\n", "-F _swsign cosign\n"],
            "fish": ["script\nscript\n"], "zsh": ["_swsign _swsign\n", "predicate:_files", "images:_files"],
        ]
        for word in ["verify-blob-attestation", "--tlog-upload", "slsaprovenance02"] + (files[shell] ?? []) {
            #expect(outcome.output.contains(word), "\(word): \(outcome.output)")
        }
        #expect(outcome.stderr.isEmpty, "\(outcome.messages)")
        // Another program of that name has its own.
        guard shell == "bash" else { return }
        try FileManager.default.removeItem(atPath: directory["bin/cosign"])
        try directory.write("bin/cosign", "#!/bin/sh\n", mode: 0o755)
        let other = await complete()
        #expect(!other.output.contains("-F _swsign cosign"), "\(other.output)")
    }

    @Test(
        "The Tab key completes in an interactive zsh, for a link of the name cosign too, and for no other program of it"
    )
    func tabInZsh() async throws {
        try directory.makeDirectory("functions")
        try directory.write("functions/_swsign", await directory.swsign("completion", "zsh").stdout)
        try directory.makeDirectory("bin")
        try FileManager.default.createSymbolicLink(atPath: directory["bin/swsign"], withDestinationPath: Program.path)
        try FileManager.default.createSymbolicLink(atPath: directory["bin/cosign"], withDestinationPath: "swsign")
        try directory.write("key-file", Array("key".utf8))
        let zsh = Program(
            executable: "zsh", directory: directory.path,
            environment: ["PATH": "\(directory["bin"]):/usr/bin:/bin", "TERM": "dumb"])
        /// Types each line and Tab; prints what the lines have become.
        func tab(_ lines: [String]) async -> Program.Outcome {
            await zsh.run(
                [
                    "-fc",
                    """
                    zmodload zsh/zpty && zpty -b shell 'zsh -fi' || exit
                    expect() {
                        local piece; REPLY=
                        while [[ $REPLY != *$~1* ]]; do
                            (( SECONDS < 100 )) || { print -r -- "no $1: $REPLY"; exit 1 }
                            if zpty -rt shell piece; then REPLY+=$piece; else sleep 0.05; fi
                        done
                    }
                    zpty -wn shell $'fpath=($PWD/functions $fpath); autoload -Uz compinit; compinit -uD; print be""gin\r'
                    expect begin
                    zpty -wn shell $'told() { print -r -- "<$BUFFER"">"; BUFFER= }; zle -N told; bindkey "^T" told; print bo""und\r'
                    expect bound
                    for line; do
                        zpty -wn shell "$line"$'\t\u{14}'
                        expect '<*>'
                        print -r -- "${${REPLY#*<}%%>*}"
                    done
                    """, "zsh",
                ] + lines)
        }
        let all = await tab([
            "swsign verify-b", "cosign verify-blob-", "cosign sign-blob --tlog-u",
            "swsign attest --type slsaprovenance0", "cosign verify --key key-f",
        ])
        #expect(
            all.output == """
                swsign verify-blob
                cosign verify-blob-attestation\u{20}
                cosign sign-blob --tlog-upload\u{20}
                swsign attest --type slsaprovenance02\u{20}
                cosign verify --key key-file\u{20}

                """, "\(all.output)\(all.messages)")
        try FileManager.default.removeItem(atPath: directory["bin/cosign"])
        try directory.write("bin/cosign", "#!/bin/sh\n", mode: 0o755)
        let other = await tab(["cosign verify-blob-"])
        #expect(other.output == "cosign verify-blob-\n", "\(other.output)\(other.messages)")
    }

    @Test("Help is on standard output, grouped, and every command has it")
    func help() async throws {
        for arguments in [["--help"], ["-h"], [], ["help"]] {
            let outcome = await Program(directory: directory.path).run(arguments)
            #expect(outcome.succeeded, "\(arguments): \(outcome.messages)")
            for words in [
                "USAGE:", "KEYS SUBCOMMANDS:", "FILES SUBCOMMANDS:", "BUNDLES", "sign-blob", "verify-blob-attestation",
            ] {
                #expect(outcome.output.uppercased().contains(words.uppercased()), "\(arguments): \(words)")
            }
        }
        for command in FlagTable.commands {
            let words = command.split(separator: " ").map(String.init)
            let outcome = await Program(directory: directory.path).run(words + ["--help"])
            #expect(outcome.succeeded)
            #expect(outcome.output.contains("USAGE: swsign \(command)"), "\(outcome.output)")
            let other = await Program(directory: directory.path).run(["help"] + words)
            #expect(other.output == outcome.output, "help \(command): \(other.messages)")
        }
        for (arguments, name) in [
            (["help", "foo"], "foo"), (["help", "verify-blbo"], "verify-blbo"),
            (["help", "bundle", "foo"], "bundle foo"),
            (["bundle", "help", "foo"], "bundle foo"),
        ] { try await directory.expectRefusal("usage", "there is no command \"\(name)\"", of: arguments) }
    }
}
