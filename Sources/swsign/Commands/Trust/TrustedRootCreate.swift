import ArgumentParser
import LocalSystem
import SigstoreClients
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import SwSignCore

struct TrustedRootCreate: SwSignCommand {
    static let configuration = CommandConfiguration(
        commandName: "create", abstract: "Makes a trusted root of certificates and keys in PEM.",
        discussion: """
            A service is written as key=value pairs: url, certificate-chain or public-key (a file), start-time and \
            end-time (RFC 3339), origin.
            """)

    @Option(help: "A certificate authority: url=…,certificate-chain=FILE[,start-time=…][,end-time=…].")
    var fulcio: [String] = []
    @Option(help: "A log of certificates: url=…,public-key=FILE,start-time=…[,end-time=…].")
    var ctfe: [String] = []
    @Option(help: "A log of signatures: url=…,public-key=FILE,start-time=…[,end-time=…][,origin=…].")
    var rekor: [String] = []
    @Option(help: "A timestamp authority: url=…,certificate-chain=FILE[,start-time=…][,end-time=…].")
    var tsa: [String] = []
    @Option(
        name: .customLong("certificate-chain"), help: "A certificate authority's chain, its root last (cosign 2).")
    var certificateChains: [String] = []
    @Option(
        name: .customLong("timestamp-certificate-chain"),
        help: "A timestamp authority's chain, its root last (cosign 2).")
    var timestampChains: [String] = []
    @Option(name: .customLong("ctfe-key"), help: "The key of a log of certificates (cosign 2).")
    var ctfeKeys: [String] = []
    @Option(name: .customLong("ctfe-start-time"), help: "From when on the --ctfe-key of the same place counts.")
    var ctfeStarts: [String] = []
    @Option(name: .customLong("rekor-key"), help: "The key of a log of signatures (cosign 2).")
    var rekorKeys: [String] = []
    @Option(name: .customLong("rekor-start-time"), help: "From when on the --rekor-key of the same place counts.")
    var rekorStarts: [String] = []
    @Flag(name: .customLong("with-default-services"), help: "Begin with the trusted root of the instance in use.")
    var withDefaultServices = false
    @Flag(name: .customLong("no-default-fulcio"), help: "Leave out the default certificate authorities.")
    var noFulcio = false
    @Flag(name: .customLong("no-default-ctfe"), help: "Leave out the default logs of certificates.")
    var noCTFE = false
    @Flag(name: .customLong("no-default-rekor"), help: "Leave out the default logs of signatures.")
    var noRekor = false
    @Flag(name: .customLong("no-default-tsa"), help: "Leave out the default timestamp authorities.")
    var noTSA = false
    @Option(help: "The file to write; without it, standard output.")
    var out: String?
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run(_ context: Context) throws(SigstoreError) {
        var root = TrustedRoot()
        if withDefaultServices {
            root = try TrustedRoot(
                parsing: try TUFAccess(staging: false, context).target(TUFMirror.trustedRootTarget))
            if noFulcio { root.certificateAuthorities = [] }
            if noCTFE { root.certificateTransparencyLogs = [] }
            if noRekor { root.transparencyLogs = [] }
            if noTSA { root.timestampAuthorities = [] }
        }
        for text in fulcio { root.certificateAuthorities.append(try Service(text, "--fulcio").authority()) }
        for file in certificateChains { root.certificateAuthorities.append(try Service(chain: file).authority()) }
        for text in tsa { root.timestampAuthorities.append(try Service(text, "--tsa").authority()) }
        for file in timestampChains { root.timestampAuthorities.append(try Service(chain: file).authority()) }
        for text in ctfe { root.certificateTransparencyLogs.append(try Service(text, "--ctfe").log()) }
        for (place, file) in ctfeKeys.enumerated() {
            let start = ctfeStarts.count > place ? ctfeStarts[place] : nil
            root.certificateTransparencyLogs.append(try Service(key: file, start: start).log())
        }
        for text in rekor { root.transparencyLogs.append(try Service(text, "--rekor").log()) }
        for (place, file) in rekorKeys.enumerated() {
            let start = rekorStarts.count > place ? rekorStarts[place] : nil
            root.transparencyLogs.append(try Service(key: file, start: start).log())
        }
        let content = root.serialized()
        // What is written can be read again, or nothing is written.
        _ = try TrustedRoot(parsing: content)
        context.trustVariables.named(withDefaultServices ? TUFAccess(staging: false, context).variables : [])
        guard let out, out != "-" else { return try context.output.json(content) }
        try OutputFile(out, mode: 0o644).write(content)
        context.output.note("Wrote trusted root to file \(out)", .success)
    }
}

/// One authority or log as the command line describes it.
private struct Service {
    private let flag: String
    private let values: [(name: String, value: String)]

    init(_ text: String, _ flag: String) throws(SigstoreError) {
        self.flag = flag
        values = try AnnotationFlag.pairs(text.split(separator: ",").map(String.init))
        let known = ["url", "certificate-chain", "public-key", "start-time", "end-time", "origin"]
        if let unknown = values.first(where: { !known.contains($0.name) }) {
            throw SigstoreError(
                .usage, "\(flag) has \"\(unknown.name)\", which is not known",
                advice: "use \(known.joined(separator: ", "))")
        }
    }

    init(chain: String) {
        flag = "--certificate-chain"
        values = [("certificate-chain", chain)]
    }

    init(key: String, start: String?) {
        flag = "--rekor-key or --ctfe-key"
        values = [("public-key", key), ("start-time", start ?? "1970-01-01T00:00:00Z")]
    }

    private func value(_ name: String) -> String? { values.last { $0.name == name }?.value }

    private func required(_ name: String) throws(SigstoreError) -> String {
        guard let value = value(name), !value.isEmpty else {
            throw SigstoreError(.usage, "\(flag) has no \(name)", advice: "add \(name)=…")
        }
        return value
    }

    private func moment(_ name: String) throws(SigstoreError) -> Instant? {
        guard let text = value(name) else { return nil }
        guard let moment = Instant(rfc3339: text) else {
            throw SigstoreError(
                .usage, "\(flag) has the \(name) \"\(text)\", which is not a time of RFC 3339",
                advice: "write it as 2026-01-31T00:00:00Z")
        }
        return moment
    }

    func authority() throws(SigstoreError) -> TrustedRoot.Authority {
        let file = InputFile(try required("certificate-chain"))
        let content = try file.contents(limit: 1 << 20)
        do throws(SigstoreError) {
            let chain = try Certificate.chain(pem: content)
            guard let anchor = chain.last, anchor.isSelfIssued else {
                throw SigstoreError(
                    .malformedTrustedRoot, "the chain does not end with a root certificate",
                    advice: "put the self-signed root last")
            }
            let start = try moment("start-time") ?? Instant(seconds: chain.map(\.notBefore).max() ?? 0)
            return TrustedRoot.Authority(
                uri: value("url") ?? "", anchors: [anchor], intermediates: Array(chain.dropLast()),
                validFor: ValidityWindow(start: start, end: try moment("end-time")))
        } catch { throw error.concerning(file.name) }
    }

    func log() throws(SigstoreError) -> TrustedRoot.Log {
        let file = InputFile(try required("public-key"))
        let content = try file.contents(limit: 1 << 20)
        guard let start = try moment("start-time") else { throw SigstoreError(.usage, "\(flag) has no start-time") }
        do throws(SigstoreError) {
            let key = try PublicKey(file: content)
            var log = try TrustedRoot.Log(publicKey: key)
            log.baseURL = value("url") ?? ""
            log.validFor = ValidityWindow(start: start, end: try moment("end-time"))
            if let origin = value("origin") {
                log.logID = try TrustedRoot.Log.noteKeyHash(origin: origin, publicKey: key)
            }
            return log
        } catch { throw error.concerning(file.name) }
    }
}
