import Glibc
import HTTPTransport
import InToto
import KeyProviders
import OCIRegistry
import Provenance
import SigstoreClients
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import StrictYAML
import SwSignCore

// Feeds hostile bytes to one reader, chosen by FUZZ_TARGET. Whatever the bytes are, a reader gives a value or throws;
// anything else (a trap, an overflow, a leak of memory) ends the run, and libFuzzer keeps the input.

/// Reads what ecosystems publish, whatever wraps it.
let readAttestations: @Sendable ([UInt8]) throws -> Void = { bytes in
    let document = try AttestationDocument(parsing: bytes)
    _ = document.source
    for attestation in document.attestations { _ = try attestation.bundle.statement() }
}

/// A file with these bytes, for readers that read from files.
func file(_ bytes: [UInt8]) -> String {
    let path = "/tmp/swsign-fuzz-\(getpid())"
    guard let file = fopen(path, "w") else { fatalError("\(path) cannot be written") }
    fwrite(bytes, 1, bytes.count, file)
    fclose(file)
    return path
}

/// The readers, each of what comes from outside.
let targets: [String: @Sendable ([UInt8]) throws -> Void] = [
    "bundle": { bytes in
        let bundle = try SigstoreBundle(parsing: bytes)
        // What was read is written and read again as the same.
        if bundle.version == .v03 { _ = try SigstoreBundle(parsing: bundle.serialized()) }
    },
    // One reader, and real inputs of one wrapping for each.
    "json-lines": readAttestations, "npm-answer": readAttestations, "pypi-attestation": readAttestations,
    "pypi-provenance": readAttestations, "bundle-array": readAttestations,
    "model-signature": { bytes in
        let signature = try ModelSignature(parsing: bytes)
        if let statement = try signature.bundle.statement() { _ = try ModelManifest(statement) }
    },
    "model-manifest": { bytes in
        let manifest = try ModelManifest(try Statement(parsing: bytes))
        // A name that may be written leads into the folder and nowhere else.
        for file in manifest.files {
            precondition(
                file.name.utf8.first != 0x2f
                    && !file.name.utf8.split(separator: 0x2f).contains { $0.elementsEqual("..".utf8) })
        }
    },
    "package-lock": { bytes in
        for package in try NPMLockFile(parsing: bytes).packages {
            // It is the name of a file.
            precondition(!package.reference.utf8.split(separator: 0x2f).contains { $0.elementsEqual("..".utf8) })
        }
    },
    "slsa-provenance": { bytes in
        let provenance = try SLSAProvenance(try Statement(parsing: bytes))
        _ = (provenance.branch, provenance.event, provenance.input("a"))
        // A tag is of the branch or tag that was built.
        let (ref, tag) = (provenance.ref, provenance.tag)
        precondition(tag.map { $0.utf8.count < (ref?.utf8.count ?? 0) } ?? true)
        _ = try? SLSAPolicy(source: provenance.source, builder: provenance.builder)
        _ = try? SLSAPolicy(source: "github.com/o/n", versionedTag: tag)
    },
    "snappy": { bytes in
        let limit = 1 << 20
        let size = try Snappy.unpack(bytes, limit: limit).count
        precondition(size <= limit)
    },
    "npm-keys": { bytes in _ = try NPMKey.keys(file: bytes) },
    "trusted-roots": { bytes in _ = try TrustedRoot(file: bytes) },
    "older-bundle": { bytes in _ = try LegacyBlobBundle(parsing: bytes) },
    "trusted-root": { bytes in
        let root = try TrustedRoot(parsing: bytes)
        _ = root.serialized()
    },
    "dsse": { bytes in _ = try DSSEEnvelope(JSONCursor(try JSONValue(parsing: bytes))) },
    "statement": { bytes in
        let statement = try Statement(parsing: bytes)
        _ = statement.json().serialized()
    },
    "json": { bytes in
        let value = try JSONValue(parsing: bytes)
        _ = try JSONValue(parsing: value.serialized())
        _ = value.canonicalized()
    },
    "checkpoint": { bytes in _ = try Checkpoint(String(decoding: bytes, as: UTF8.self)) },
    "timestamp": { bytes in _ = try TimestampToken(response: bytes) },
    "certificate": { bytes in
        let certificate = try Certificate(der: bytes)
        let claims = CertificateClaims(certificate)
        _ = (claims.values, claims.deprecatedValues, try? claims.issuer())
        _ = (certificate.displayName, certificate.subjectKeyIdentifier, certificate.pem)
        _ = try SignedCertificateTimestamp.embedded(in: certificate)
    },
    "sct": { bytes in _ = try SignedCertificateTimestamp(detached: bytes) },
    "public-key": { bytes in _ = try PublicKey(file: bytes) },
    "key-file": { bytes in
        _ = try EncryptedKeyFile(parsing: bytes)
    },
    "private-key": { bytes in
        _ = try PrivateKey.read(file: bytes) { () throws(SigstoreError) in
            throw SigstoreError(.init("no-password"), "fuzzing gives no password")
        }
    },
    "reference": { bytes in
        let location = try ImageLocation(parsing: String(decoding: bytes, as: UTF8.self))
        // What is printed can be read again.
        _ = try ImageLocation(parsing: location.description)
    },
    "manifest": { bytes in
        let manifest = try Manifest(bytes)
        _ = (manifest.referrerDescriptor, manifest.subject)
    },
    "tuf-root": { bytes in _ = try TUFMetadata<TUFRoot>(parsing: bytes) },
    "tuf-timestamp": { bytes in _ = try TUFMetadata<TUFTimestamp>(parsing: bytes) },
    "tuf-snapshot": { bytes in _ = try TUFMetadata<TUFSnapshot>(parsing: bytes) },
    "tuf-targets": { bytes in _ = try TUFMetadata<TUFTargets>(parsing: bytes) },
    "identity-token": { bytes in
        let token = try IdentityToken(parsing: String(decoding: bytes, as: UTF8.self))
        _ = (token.identity, token.challenge, token.certificateIssuer)
    },
    "yaml": { bytes in
        let document = try YAMLDocument(parsing: bytes)
        _ = (document.value.serialized(), document.line(of: String(decoding: bytes.prefix(64), as: UTF8.self)))
    },
    "kubeconfig": { bytes in
        var configuration = Kubeconfig()
        try configuration.add(bytes, path: "config")
        try configuration.check()
    },
    "aws-configuration": { bytes in
        for isConfig in [true, false] {
            _ = try? AWSConfigurationFile(parsing: bytes, path: "config", isConfig: isConfig)
        }
    },
    "pkcs11-uri": { bytes in
        let text = String(decoding: bytes, as: UTF8.self)
        _ = PKCS11URI.withoutPIN(text)
        _ = try PKCS11URI(text)
    },
    "aws-signature": { bytes in
        // An address, and a header field behind a line break.
        let parts = bytes.split(separator: 0x0a, maxSplits: 1, omittingEmptySubsequences: false)
        let url = try HTTPURL(parsing: String(decoding: parts[0], as: UTF8.self))
        let value = String(decoding: parts.dropFirst().first ?? [], as: UTF8.self)
        let signature = try RequestSignature(
            method: "POST", url: url, headers: [(name: value, value: value)], body: bytes, accessKeyID: "A",
            secret: SecretBytes(bytes), region: "r", service: "s", date: value)
        precondition(signature.signature.utf8.count == 64)
    },
    "web-key": { bytes in
        let key = try JSONWebKey(JSONCursor(try JSONValue(parsing: bytes)))
        // What was read is a sound key, of which there is one encoding.
        let again = try PublicKey(der: key.publicKey.spki)
        precondition(again.isSame(as: key.publicKey))
    },
    "ec-point": { bytes in
        // Which curve, then a point or a signature of fixed width.
        let kinds: [PublicKey.Kind] = [.ecP256, .ecP384, .ecP521]
        let (kind, rest) = (kinds[Int(bytes.first ?? 0) % 3], Array(bytes.dropFirst()))
        if let signature = try? kind.signature(fromFixedWidth: rest) { precondition(signature.first == 0x30) }
        let key = try PublicKey(point: rest, on: kind)
        precondition(key.kind == kind)
    },
    "signing-config": { bytes in _ = try SigningConfig(parsing: bytes) },
    "git-object": { bytes in
        for kind in [GitObject.Kind.commit, .tag] {
            guard let object = try? GitObject(bytes, kind) else { continue }
            // What was signed is the object, or less.
            precondition(
                object.signature == nil ? object.payload.count <= bytes.count : object.payload.count < bytes.count)
        }
    },
    "git-signed-data": { bytes in
        let signed = try SignedData(bytes, contentType: SignedData.plainContent)
        _ = try signed.unsignedBytes("1.3.6.1.4.1.57264.3.1")
        _ = try signed.unsignedAttribute("1.2.840.113549.1.9.16.2.14")
        _ = signed.certificates.filter(signed.names)
    },
    "git-log-entry": { bytes in _ = try TransparencyLogEntry(protobuf: bytes) },
    "ssh-signature": { bytes in
        let signature = try SSHSignature(armored: Array(PEM.encode(label: "SSH SIGNATURE", bytes).utf8))
        try signature.verify([], namespace: "git")
    },
    "allowed-signers": { bytes in _ = try AllowedSigners(parsing: bytes) { $0 } },
    "git-rules": { bytes in
        let rules = try GitRules(parsing: bytes)
        // Whatever the rules are, those who may sign are named among the signers.
        for reference in ["refs/heads/main", "refs/tags/v1", "refs/heads/release/2"] {
            let numbers = rules.rules(for: GitRules.Reference(reference))
            for path in [nil, Array("a/b.lock".utf8)] {
                let found = rules.signers(among: numbers, path: path) ?? []
                precondition(found.allSatisfy(rules.signers.indices.contains))
            }
        }
    },
    "gpg-status": { bytes in
        _ = try GPGStatus(parsing: bytes, exitStatus: 0)
        // What is good says so at the beginning of a line.
        let lines = bytes.split(separator: 0x0a)
        precondition(lines.contains { $0.starts(with: Array("[GNUPG:] GOODSIG ".utf8)) })
        precondition(lines.contains { $0.starts(with: Array("[GNUPG:] VALIDSIG ".utf8)) })
    },
    "audit-report": { bytes in
        let report = try AuditReportFile(file(bytes))
        var rows: [AuditRow] = []
        let sums = try report.read { rows.append($0) }
        precondition(sums.rows == rows.count)
        // What was read can be written in every form, and read again as the same.
        for format in AuditFormat.allCases {
            var text: [UInt8] = []
            try format.write(
                report.head, sums, rows: { [rows] each throws(SigstoreError) in for row in rows { try each(row) } }
            ) { text += $0 }
            guard format == .json || format == .jsonl else { continue }
            let again = try AuditReportFile(file(text)).read { _ in }
            precondition(again.json().serialized() == sums.json().serialized())
        }
    },
    "audit-row": { bytes in
        let row = try AuditRow(JSONCursor(try JSONValue(parsing: bytes, depth: 16)))
        let json = row.json().serialized()
        guard let again = try? AuditRow(JSONCursor(try JSONValue(parsing: json))) else {
            fatalError("what was written cannot be read")
        }
        precondition(again.json().serialized() == json)
    },
    "audit-state": { bytes in _ = try AuditState(file(bytes), question: []) },
    "resigning-plan": { bytes in
        let plan = try ResigningPlan(parsing: bytes)
        _ = try ResigningPlan(parsing: plan.json().serialized())
    },
    "log-monitor-state": { bytes in
        let state = try LogMonitorState(parsing: bytes)
        _ = try LogMonitorState(parsing: state.json().serialized())
    },
    "simple-signing": { bytes in
        let payload = try SimpleSigningPayload(parsing: bytes)
        _ = payload.json().serialized()
    },
]

@_silgen_name("LLVMFuzzerRunDriver")
func runDriver(
    _ argc: UnsafeMutablePointer<CInt>,
    _ argv: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>>,
    _ body: @convention(c) (UnsafePointer<UInt8>?, Int) -> CInt
) -> CInt

let chosen = getenv("FUZZ_TARGET").map { String(cString: $0) } ?? ""
guard let target = targets[chosen] else {
    print(targets.keys.sorted().joined(separator: "\n"))
    exit(chosen.isEmpty ? 0 : 2)
}
let run = target
var count = CommandLine.argc
var arguments = CommandLine.unsafeArgv
exit(
    runDriver(&count, &arguments) { start, size in
        try? run(Array(UnsafeBufferPointer(start: start, count: size)))
        return 0
    })
