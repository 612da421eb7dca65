import ArgumentParser
import LocalSystem
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import SwSignCore

struct SignBlob: SwSignCommand {
    static let configuration = CommandConfiguration(
        commandName: "sign-blob", _superCommandName: SwSign.name,
        abstract: "Signs files. Prints the base64 signature, or writes bundles.")

    @Argument(help: "The files to sign; - is standard input.")
    var files: [String]
    @OptionGroup(title: "Signing") var signing: SigningOptions
    @OptionGroup(title: "Signing") var place: BundlePlaceOptions
    @OptionGroup(title: "Services and identity") var services: ServiceOptions
    @Option(
        name: .customLong("signing-algorithm"), help: "The algorithm, where the key allows more than one: ed25519-ph.",
        completion: .signingAlgorithms)
    var signingAlgorithm: String?
    @Flag(inversion: .prefixedNo, help: "Write the signature in base64; otherwise its bare bytes.")
    var b64 = true
    @Option(help: "The same as --output-signature.")
    var output: String?
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run(_ context: Context) throws(SigstoreError) {
        var signing = signing
        if let output, signing.outputSignature == nil { signing.outputSignature = output }
        try BlobBatch.expectOneStandardInput(files + services.inputs)
        let algorithm = try signingAlgorithm.map { name throws(SigstoreError) in try SigningAlgorithm(named: name) }
        let (inputs, areMany) = try inputs(signing, context)
        try place.expectSound(with: signing, files: inputs.count, areMany: areMany)
        let beside = areMany || place.outputDirectory != nil
        let printing =
            !beside && signing.outputSignature == nil
            && (signing.bundle == nil || !signing.newBundleFormat && signing.bundle != "-")
        try signing.expectOwnPlaces(
            inputs: inputs.map(\.path) + services.inputs, files: files, printing: printing)
        if beside { try place.expectDistinctBundles(inputs) }
        let hasBundle = beside || signing.bundle != nil
        var forms: Set<BlobSigner.Form> = []
        if hasBundle { forms.insert(signing.newBundleFormat ? .bundle : .detached) }
        if printing || signing.outputSignature != nil { forms.insert(.detached) }
        if algorithm == .ed25519ph, forms.contains(.detached) {
            throw SigstoreError(
                .usage, "a bare signature does not say that it is Ed25519ph, and everybody would check it as Ed25519",
                advice: "write a bundle with --bundle FILE, which says so")
        }
        let batch = BlobBatch(verb: "signed", context: context)
        var settled = try settled(inputs, beside: beside)
        let session =
            try settled.contains { $0 == nil }
            ? services.session(
                signing, algorithm: algorithm,
                standardInputIsTaken: (files + services.inputs).contains("-"),
                entryPlace: !hasBundle ? .nowhere : signing.newBundleFormat ? .bundle : .legacyForm, context) : nil
        if let session {
            try BlobSigner(session).expectRecordable(filesAs: forms)
            if beside { try settle(inputs, &settled, session, signing, forms, context) }
            if settled.contains(where: { $0 == nil }) {
                try services.confirm(
                    session, signing, attestations: false, unkept: hasBundle ? nil : "give --bundle FILE", context)
            }
        }
        try batch.forEach(inputs, settled: settled) { [self, signing, forms] file throws(SigstoreError) in
            // Without a session nothing is left to be signed.
            guard let session else { return "" }
            let signed = try await BlobSigner(session).sign(file, forms: forms)
            let delivered = signed.detached ?? []
            if let scheme = signed.unusualScheme {
                context.output.warn(
                    "\(file): the signature that stands by itself is \(scheme), the only way in which this key signs; programs that take SHA-256 for granted, as cosign does with the exported key, refuse it: hand on a bundle (--bundle)"
                )
            }
            try await session.deliver(signed.bundle) { bundle throws(SigstoreError) in
                let content =
                    signing.newBundleFormat
                    ? bundle.serialized() : try LegacySignature(bundle).blobBundle(signature: delivered)
                // The bundle comes last: a file whose bundle stands there counts as signed.
                try writeParts(of: bundle, detached: delivered, signing, context)
                if beside {
                    try place.write(content, for: file, replacing: signing.yes, context)
                } else if let path = signing.bundle {
                    try context.output.write(content, .json, to: path, "bundle")
                }
            }
            if printing {
                if b64 {
                    try context.output.result(Base64.encode(delivered))
                } else {
                    try context.output.bytes(delivered)
                }
            }
            return "signed"
        }
    }

    /// Writes what is wanted in files beside the bundle.
    private func writeParts(
        of bundle: SigstoreBundle, detached: [UInt8], _ signing: SigningOptions, _ context: Context
    ) throws(SigstoreError) {
        if let path = signing.outputSignature {
            try context.output.write(
                b64 ? Array(Base64.encode(detached).utf8) : detached, b64 ? .line : .bytes, to: path, "signature")
        }
        try signing.writeParts(of: bundle, context)
    }

    // MARK: - What is signed

    /// The files to sign. A directory stands for everything in it but the signatures beside its files, as when verifying. Of
    /// many files, those are left out that this command writes itself: the same command again does not sign them.
    /// - Returns: The files, and whether each has its bundle beside it.
    private func inputs(_ signing: SigningOptions, _ context: Context) throws(SigstoreError) -> (
        files: [InputFile], areMany: Bool
    ) {
        var (found, left): ([InputFile], [InputFile]) = ([], [])
        var areMany = files.count > 1
        for name in files {
            guard let inside = try InputFile(name).filesInDirectory() else {
                found.append(InputFile(name))
                continue
            }
            areMany = true
            let signed = SignatureFile.sorted(inside).signed
            let paths = Set(signed.map { Array($0.path.utf8) })
            left += inside.filter { !paths.contains(Array($0.path.utf8)) }
            found += signed
        }
        guard areMany else { return (found, false) }
        let paths = Set(found.map { Array($0.path.utf8) })
        var written: Set<FileStatus.Identity> = []
        for path in found.compactMap({ try? place.bundleFile(for: $0).path })
            + [signing.outputCertificate].compactMap({ $0 })
        {
            if let status = FileStatus(path), status.kind == .file { written.insert(status.identity) }
        }
        let signed = found.filter { file in
            !SignatureFile.isBundle(file, of: paths)
                && !(FileStatus(file.path).map { written.contains($0.identity) } ?? false)
        }
        let kept = Set(signed.map { Array($0.path.utf8) })
        left += found.filter { !kept.contains(Array($0.path.utf8)) }
        if !left.isEmpty {
            context.output.warn(
                "not signed, since they have the names of signatures, certificates or bundles of other files: "
                    + left.prefix(3).map(\.path).joined(separator: ", ")
                    + (left.count > 3 ? " and \(left.count - 3) more" : ""))
        }
        guard !signed.isEmpty else {
            throw SigstoreError(.fileNotFound, "there is no file to sign in \(files.joined(separator: ", "))")
        }
        return (signed, true)
    }

    /// What is known of the files before anything is signed: those that cannot be read, or whose bundle has no place.
    /// - Throws: The error itself for a single file.
    private func settled(_ inputs: [InputFile], beside: Bool) throws(SigstoreError) -> [Result<String, SigstoreError>?]
    {
        var settled: [Result<String, SigstoreError>?] = []
        for file in inputs {
            do throws(SigstoreError) {
                try file.expectReadable()
                if beside { try place.expectPlace(for: file) }
                settled.append(nil)
            } catch {
                guard inputs.count > 1 else { throw error }
                settled.append(.failure(error))
            }
        }
        return settled
    }

    /// A file whose bundle stands there already and is what this command would make is signed; what else is wanted is written
    /// from that bundle. Another bundle is only replaced if that was asked for.
    private func settle(
        _ inputs: [InputFile], _ settled: inout [Result<String, SigstoreError>?], _ session: SigningSession,
        _ signing: SigningOptions, _ forms: Set<BlobSigner.Form>, _ context: Context
    ) throws(SigstoreError) {
        for (index, file) in inputs.enumerated() where settled[index] == nil {
            guard let standing = try place.standingBundle(of: file) else { continue }
            let isNewer = signing.newBundleFormat
            let made = try waiting { () throws(SigstoreError) -> SigstoreBundle? in
                guard let bundle = try? SignatureFile.bundle(standing), (bundle.version == .v03) == isNewer else {
                    return nil
                }
                return try await BlobSigner(session).hasMade(bundle, of: file, forms: forms) ? bundle : nil
            }
            do throws(SigstoreError) {
                if let made {
                    try writeParts(of: made, detached: try made.signature(), signing, context)
                    settled[index] = .success("is signed already, by \(standing.path)")
                } else if !signing.yes {
                    throw place.refusal(toReplace: standing)
                }
            } catch {
                guard inputs.count > 1 else { throw error }
                settled[index] = .failure(error)
            }
        }
    }
}

extension SignBlob: FlagReader {
    mutating func take(_ given: inout GivenFlags) {
        files = given.names(atLeast: 1)
        signing = SigningOptions(&given)
        place = BundlePlaceOptions(&given)
        services = ServiceOptions(&given)
        signingAlgorithm = given.value("signing-algorithm")
        b64 = !given.isOn("no-b64")
        output = given.value("output")
        global = GlobalOptions(&given)
    }
}
