import Foundation
import LocalSigstore
import SigstoreCrypto
import TestServices
import Testing

/// Attestations of PyPI that both programs judge: PyPI's `pypi-attestations` and `verify-provenance --from pypi` have to agree on
/// each, and on each with one thing changed.
@Suite(.enabled(if: PyPIAttestations.isThere, "left out: pypi-attestations, by make test-deps"))
struct PyPIPairTests {
    private let place: Workplace

    init() throws { place = try Workplace() }

    /// Who must have published.
    private enum Publisher {
        case identity(String, issuer: String)
        case repository(String)
    }

    /// A file with one attestation or provenance object, and what is demanded.
    private struct Case {
        var name: String
        var file: String
        var content: [UInt8]
        /// What the attestation's file ends with behind the file's name.
        var ending: String
        var attestation: String
        var publisher: Publisher
        var isStaging = false
        var holds = true

        /// The same with one thing changed, which makes it wrong.
        func changed(_ what: String, _ change: (inout Case) throws -> Void) rethrows -> Case {
            var other = self
            try change(&other)
            (other.name, other.holds) = ("\(name): \(what)", false)
            #expect(
                attestation != other.attestation || what.contains("other ") || what.contains("file"), "\(other.name)")
            return other
        }

        /// Replaces one letter of a member's text.
        mutating func flip(_ member: String) throws {
            let start = try #require(attestation.firstMatch(of: try Regex("\"\(member)\":\\s*\""))).range.upperBound
            let place = attestation.index(start, offsetBy: 40)
            attestation.replaceSubrange(place...place, with: attestation[place] == "A" ? "B" : "A")
        }
    }

    private static let gitHub = "https://token.actions.githubusercontent.com"

    /// The files of PyPI's own tests.
    private static func published() throws -> [Case] {
        let folder = URL(fileURLWithPath: Shared.path + "/provenance/pypi")
        func each(
            _ file: String, _ attestation: String, _ ending: String, _ publisher: Publisher, staging: Bool = false
        )
            throws -> Case
        {
            Case(
                name: attestation, file: file,
                content: [UInt8](try Data(contentsOf: folder.appendingPathComponent(file))), ending: ending,
                attestation: try String(contentsOf: folder.appendingPathComponent(attestation), encoding: .utf8),
                publisher: publisher, isStaging: staging)
        }
        let (models, package) = ("pypi_attestation_models-0.0.4a2.tar.gz", "pypi_attestations-0.0.19.tar.gz")
        let (wheel, project) = ("rfc8785-0.1.2-py3-none-any.whl", "https://github.com/trailofbits/pypi-attestation")
        func workflow(_ rest: String) -> Publisher {
            .identity("\(project)\(rest)", issuer: gitHub)
        }
        let release = workflow("s/.github/workflows/release.yml@refs/tags/v0.0.19")
        let person = Publisher.identity("william@yossarian.net", issuer: "https://github.com/login/oauth")
        return [
            try each(
                models, models + ".attestation", ".publish.attestation",
                workflow("-models/.github/workflows/release.yml@refs/tags/v0.0.4a2")),
            try each(package, package + ".publish.attestation", ".publish.attestation", release),
            try each(package, package + ".slsa.attestation", ".slsa.attestation", release),
            try each(package, package + ".provenance", ".provenance", .repository(project + "s")),
            try each(wheel, wheel + ".attestation", ".publish.attestation", person, staging: true),
            try each(wheel, wheel + ".publish.attestation", ".publish.attestation", person, staging: true),
        ]
    }

    /// A case with each thing that can be changed.
    private static func changes(of base: Case) throws -> [Case] {
        var cases = [
            base,
            base.changed("byte of the file") { $0.content[$0.content.count / 2] ^= 1 },
            base.changed("other project") { $0.file = "x" + $0.file },
            base.changed("other version") { $0.file = $0.file.replacing(/-(\d+)\./) { "-9\($0.1)." } },
            base.changed("other kind") {
                $0.file =
                    $0.file.hasSuffix(".whl")
                    ? $0.file.replacing("py3", with: "py2") : $0.file.replacing(".tar.gz", with: ".txt")
            },
            base.changed("other instance") { $0.isStaging.toggle() },
            base.changed("other publisher") {
                switch $0.publisher {
                case .identity(let name, let issuer): $0.publisher = .identity(name + "x", issuer: issuer)
                case .repository(let address): $0.publisher = .repository(address + "x")
                }
            },
            base.changed("version of the object") {
                $0.attestation = $0.attestation.replacing(/"version":\s*1/, with: "\"version\":2")
            },
        ]
        for member in ["signature", "statement", "certificate", "canonicalizedBody", "signedEntryTimestamp"] {
            cases.append(try base.changed(member) { try $0.flip(member) })
        }
        guard base.ending == ".provenance" else { return cases }
        for (old, new) in [
            ("\"repository\":\"trailofbits/pypi-attestations\"", "\"repository\":\"trailofbits/other\""),
            ("\"workflow\":\"release.yml\"", "\"workflow\":\"other.yml\""),
            ("\"kind\":\"GitHub\"", "\"kind\":\"GitLab\",\"workflow_filepath\":\"a\""),
        ] {
            cases.append(base.changed(new) { $0.attestation = $0.attestation.replacing(old, with: new) })
        }
        return cases
    }

    /// Writes each case into a folder of its own and has both programs judge it.
    private func compare(_ cases: [Case], trust: String? = nil) async throws {
        var calls: [[String]] = []
        for (number, each) in cases.enumerated() {
            let file = try write(each, to: "\(number)")
            var flags = ["--offline"]
            if each.isStaging { flags.append("--staging") }
            switch each.publisher {
            case .identity(let name, _): calls.append(["verify", "attestation", "--identity", name] + flags + [file])
            case .repository(let address):
                calls.append(
                    ["verify", "pypi", "--repository", address, "--provenance-file", file + each.ending] + flags + [
                        file
                    ])
            }
        }
        let verdicts = try await judge(calls, trust: trust)
        #expect(verdicts.count == cases.count)
        for (number, (each, verdict)) in zip(cases, verdicts).enumerated() {
            #expect(verdict == each.holds, "the judge on \(each.name)")
            let file = "\(number)/\(each.file)"
            let instance = each.isStaging ? "staging" : "production"
            let root = trust ?? "\(Shared.path)/trust/\(instance)/trusted_root.json"
            let demanded =
                switch each.publisher {
                case .identity(let name, let issuer):
                    ["--certificate-identity", name, "--certificate-oidc-issuer", issuer]
                case .repository(let address): ["--repository", address]
                }
            let outcome = try await place.run(
                try await Tool.swsign.program,
                ["verify-provenance", "--from", "pypi", "--trusted-root", root, "-b", file + each.ending] + demanded + [
                    file
                ])
            #expect((outcome.status == 0) == each.holds, "swsign on \(each.name): \(outcome.messages)")
            #expect(outcome.status == (each.holds ? 0 : 1), "\(each.name): \(outcome.messages)")
        }
    }

    private func write(_ each: Case, to folder: String) throws -> String {
        try FileManager.default.createDirectory(atPath: "\(place.path)/\(folder)", withIntermediateDirectories: true)
        let file = "\(folder)/\(each.file)"
        try Data(each.content).write(to: URL(fileURLWithPath: "\(place.path)/\(file)"))
        try place.write(each.attestation, to: file + each.ending)
        return file
    }

    /// Has the judge's command line do each call, in one process.
    /// - Parameters:
    ///   - trust: A trusted root in place of the public instance's.
    /// - Returns: Whether each ended well.
    private func judge(_ calls: [[String]], trust: String? = nil) async throws -> [Bool] {
        try Data(try JSONEncoder().encode(calls)).write(to: URL(fileURLWithPath: "\(place.path)/calls.json"))
        let script = """
            import json, sys
            from pypi_attestations._cli import main
            from sigstore.models import TrustedRoot
            from sigstore.verify import Verifier
            if len(sys.argv) > 2:
                root = TrustedRoot.from_file(sys.argv[2])
                Verifier.production = classmethod(lambda cls, *, offline=False: cls(trusted_root=root))
            verdicts = []
            for call in json.load(open(sys.argv[1])):
                sys.argv = ["pypi-attestations", *call]
                try:
                    main()
                    verdicts.append(True)
                except SystemExit as end:
                    verdicts.append(not end.code)
                except Exception as error:
                    print(call, repr(error), file=sys.stderr)
                    verdicts.append(False)
            print(json.dumps(verdicts))
            """
        let outcome = try await place.must(
            PyPIAttestations.python, ["-c", script, "calls.json"] + (trust.map { [$0] } ?? []))
        return try JSONDecoder().decode([Bool].self, from: Data(outcome.output))
    }

    @Test("What PyPI published: both hold it for right, and each of it with one thing changed for wrong", .needsPeers)
    func agreement() async throws {
        let published = try Self.published()
        // An attestation whose file is not here holds for no other.
        let other = "spt3g-1.0-cp310-cp310-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"
        let strange = try #require(published.last).changed("another file") {
            ($0.file, $0.content) = (other, Array("another file".utf8))
            $0.attestation = try String(
                contentsOfFile: "\(Shared.path)/provenance/pypi/\(other).publish.attestation", encoding: .utf8)
        }
        try await compare(try published.flatMap(Self.changes) + [strange])
    }

    @Test("What either signs, the other verifies; statements that PyPI does not take, neither does", .localSigstore)
    func signatures() async throws {
        let services = try LocalServices.current
        let alice = LocalIdentity.email("alice@local.test")
        let token = try services.issuer.token(for: alice)
        let publisher = Publisher.identity(
            services.issuer.subject(of: alice), issuer: services.issuer.issuer(of: alice))
        let file = "demo_project-1.0-py3-none-any.whl"
        let content = Array("a wheel".utf8)
        func each(_ name: String, _ attestation: String, holds: Bool) -> Case {
            Case(
                name: name, file: file, content: content, ending: ".publish.attestation", attestation: attestation,
                publisher: publisher, holds: holds)
        }
        // Theirs.
        try place.write("a wheel", to: file)
        let script = """
            import sys
            from pypi_attestations import Attestation, Distribution
            from sigstore.models import ClientTrustConfig
            from sigstore.oidc import IdentityToken
            from sigstore.sign import SigningContext
            config = ClientTrustConfig.from_json(open(sys.argv[1]).read())
            config.force_tlog_version = 1
            with SigningContext.from_trust_config(config).signer(IdentityToken(sys.argv[2])) as signer:
                print(Attestation.sign(signer, Distribution.from_file(__import__("pathlib").Path(sys.argv[3]))).model_dump_json())
            """
        let signed = try await place.must(
            PyPIAttestations.python, ["-c", script, services.files.trustConfig(.v1), token, file])
        let theirs = String(decoding: signed.output, as: UTF8.self)
        var cases = try Self.changes(of: each("signed by pypi-attestations", theirs, holds: true))
            .filter { !$0.isStaging }
        // Ours, as bundles that the judge brings into PyPI's form.
        let digest = #"{"sha256":"\#(try Digest.sha256(content).hex)"}"#
        let publish = "https://docs.pypi.org/attestations/publish/v1"
        var conversions: [[String]] = []
        let statements: [(name: String, subjects: String, type: String, holds: Bool)] = [
            ("ours", #"{"name":"\#(file)","digest":\#(digest)}"#, publish, true),
            (
                "written differently", #"{"name":"Demo.Project-1.0-py3-none-any.whl","digest":\#(digest)}"#, publish,
                true
            ),
            (
                "two files", #"{"name":"\#(file)","digest":\#(digest)},{"name":"x-1.0.zip","digest":\#(digest)}"#,
                publish, false
            ),
            ("no name", #"{"digest":\#(digest)}"#, publish, false),
            ("no name of a package", #"{"name":"demo.txt","digest":\#(digest)}"#, publish, false),
            ("another version", #"{"name":"demo_project-1.1-py3-none-any.whl","digest":\#(digest)}"#, publish, false),
            ("another type", #"{"name":"\#(file)","digest":\#(digest)}"#, "https://example.org/other/v1", false),
        ]
        for (number, statement) in statements.enumerated() {
            try place.write(
                #"{"_type":"https://in-toto.io/Statement/v1","subject":[\#(statement.subjects)],"predicateType":"#
                    + #""\#(statement.type)","predicate":{}}"#, to: "statement")
            try await place.must(
                try await Tool.swsign.program,
                [
                    "attest-blob", "--yes", "--trusted-root", services.files.trustedRoot, "--signing-config",
                    services.files.signingConfig(.v1), "--identity-token", token, "--statement", "statement",
                    "--bundle", "bundle\(number).json",
                ])
            conversions.append(["convert", "bundle\(number).json", "--output-file", "converted\(number)"])
        }
        #expect(try await judge(conversions).allSatisfy { $0 })
        for (number, statement) in statements.enumerated() {
            let attestation = String(decoding: try place.read("converted\(number)"), as: UTF8.self)
            cases.append(each(statement.name, attestation, holds: statement.holds))
        }
        try await compare(cases, trust: services.files.trustedRoot)
    }
}

/// PyPI's `pypi-attestations`, as `make test-deps` installs it.
private enum PyPIAttestations {
    static let python = ModelSigning.python
    static let isThere = ModelSigning.isInstalled("pypi_attestations")
}
