internal import LocalSystem
internal import Provenance
internal import SigstoreCrypto
public import SigstoreVerification
public import StrictJSON

/// Signatures kept in files. Every form, old or new, becomes a `SigstoreBundle` here, at the door.
public enum SignatureFile {
    /// What a bundle's name ends with, behind the name of the file that it is for.
    public static let bundleSuffix = ".sigstore.json"
    /// Several bundles, one a line.
    private static let linesSuffix = ".sigstore.jsonl"
    private static let suffixes = [bundleSuffix, ".sigstore", linesSuffix]
    /// How many bundles one file of lines may hold.
    private static let lineLimit = 100

    /// Tells the files of a directory apart. What has the name of another file that is there and `.sig`, `.crt`, `.pem`
    /// or a bundle's ending belongs to that file; everything else must have been signed, keys and stray signatures too.
    /// - Returns: The files that must have been signed, and those beside them that nobody will look at: all that belong
    ///   to another file but the bundle that is read.
    public static func sorted(_ files: [InputFile]) -> (signed: [InputFile], unread: [InputFile]) {
        let paths = Set(files.map { Array($0.path.utf8) })
        var (signed, unread): ([InputFile], [InputFile]) = ([], [])
        for file in files {
            let path = Array(file.path.utf8)
            let base = (suffixes + [".sig", ".crt", ".pem"]).first { suffix in
                path.suffix(suffix.utf8.count).elementsEqual(suffix.utf8)
                    && paths.contains(Array(path.dropLast(suffix.utf8.count)))
            }.map { Array(path.dropLast($0.utf8.count)) }
            guard let base else {
                signed.append(file)
                continue
            }
            let isRead = suffixes.first { paths.contains(base + Array($0.utf8)) }.map { base + Array($0.utf8) == path }
            if isRead != true { unread.append(file) }
        }
        return (signed, unread)
    }

    /// Whether a file has the name of a bundle that belongs to one of these files.
    /// - Parameters:
    ///   - file: The file that may be a bundle.
    ///   - paths: The paths of the files that it may belong to, as bytes.
    public static func isBundle(_ file: InputFile, of paths: Set<[UInt8]>) -> Bool {
        let path = Array(file.path.utf8)
        return suffixes.contains { suffix in
            path.suffix(suffix.utf8.count).elementsEqual(suffix.utf8)
                && paths.contains(Array(path.dropLast(suffix.utf8.count)))
        }
    }

    /// The bundles that stand beside a file: `FILE.sigstore.json`, else `FILE.sigstore`, else `FILE.sigstore.jsonl`.
    /// - Throws: `SigstoreError` with `file-not-found` if none is there.
    public static func bundles(beside artifact: InputFile, attestation: Bool) throws(SigstoreError) -> [SigstoreBundle]
    {
        guard !artifact.isStandardInput else {
            throw SigstoreError(
                .usage, "there is no bundle beside standard input", advice: .remedy(.giveBundleOrSignature))
        }
        for suffix in suffixes where LocalFile.exists(artifact.path + suffix) {
            var file = InputFile(artifact.path + suffix)
            // What came with the file could be a pipe that nobody writes to.
            file.isFound = true
            try file.expectFile()
            return try bundles(file, attestation: attestation)
        }
        // A person who named a file that is not there should be told that.
        try LocalFile.expectThere(artifact.path)
        throw SigstoreError(
            .fileNotFound,
            "no signature was given for \(artifact.path), and no \(suffixes.map { artifact.path + $0 }.joined(separator: ", ")) is there",
            advice: .remedy(.giveBundleOrSignature))
    }

    /// Reads a file of bundles: one, of any form, or several, one a line.
    /// - Returns: The bundles, at least one, of which nothing is believed yet.
    /// - Throws: `SigstoreError` that names the file, and the line; with `too-many-entries` if there are more than 100 lines.
    public static func bundles(_ file: InputFile, attestation: Bool = false) throws(SigstoreError) -> [SigstoreBundle] {
        try Parts(signature: nil, bundle: file, certificate: nil, timestamp: nil).signatures(attestation: attestation)
    }

    /// Reads a file of one bundle: a Sigstore bundle, or the form that cosign 2 wrote.
    /// - Throws: `SigstoreError` that names the file, also if it holds several bundles.
    public static func bundle(_ file: InputFile, attestation: Bool = false) throws(SigstoreError) -> SigstoreBundle {
        try Parts(signature: nil, bundle: file, certificate: nil, timestamp: nil).joined(attestation: attestation)
    }

    /// What errors call the parts of a signature, such as the names under which a person gave them.
    public struct Names: Sendable {
        /// A signature that is no file.
        public var signature: String
        /// The signer's certificate.
        public var certificate: String
        /// A timestamp over the signature.
        public var timestamp: String

        /// Makes names.
        public init(
            signature: String = "the signature", certificate: String = "a certificate",
            timestamp: String = "a timestamp"
        ) {
            self.signature = signature
            self.certificate = certificate
            self.timestamp = timestamp
        }

        fileprivate func name(_ reference: String) -> String {
            reference.utf8.count > 80 ? signature : InputFile(reference).name
        }
    }

    /// The parts of a signature that cosign keeps in files of their own.
    public struct Parts: Sendable {
        /// A file, or the base64 itself; of an attestation, the envelope.
        public var signature: String?
        /// A bundle of any form.
        public var bundle: InputFile?
        /// The signer's certificate.
        public var certificate: InputFile?
        /// A timestamp over the signature.
        public var timestamp: InputFile?
        /// What errors call the parts.
        public var names: Names

        /// Puts the parts together, of which each may be missing.
        public init(
            signature: String?, bundle: InputFile?, certificate: InputFile?, timestamp: InputFile?,
            names: Names = Names()
        ) {
            self.signature = signature
            self.bundle = bundle
            self.certificate = certificate
            self.timestamp = timestamp
            self.names = names
        }

        /// Whether nothing was given.
        public var isEmpty: Bool { signature == nil && bundle == nil && certificate == nil && timestamp == nil }

        /// Joins the parts into one signature.
        /// - Throws: `SigstoreError` that names the file which cannot be read, and if two parts contradict, or a file holds
        ///   several bundles.
        public func joined(attestation: Bool) throws(SigstoreError) -> SigstoreBundle {
            let found = try signatures(attestation: attestation)
            guard let only = found.first, found.count == 1 else {
                throw SigstoreError(
                    .tooManyEntries,
                    "\(bundle?.name ?? names.signature) holds \(found.count) bundles, one a line, and one is needed here",
                    advice: "write the line that is meant into a file of its own")
            }
            return only
        }

        /// Joins the parts. A file of several bundles, one a line, makes as many signatures.
        /// - Returns: The signatures, at least one, each as a bundle.
        /// - Throws: `SigstoreError` that names the file which cannot be read, and if two parts contradict.
        public func signatures(attestation: Bool) throws(SigstoreError) -> [SigstoreBundle] {
            if let bundle {
                let content = try bundle.contents(limit: SigstoreBundle.sizeLimit)
                let forms = try SignatureFile.forms(content, bundle.name)
                if forms.count == 1, case .older(let older)? = forms.first?.form {
                    return [try joined(older, signature: nil, attestation: attestation)]
                }
                try expectBundleAlone(bundle.name)
                return try SignatureFile.bundles(forms, bundle.name, attestation: attestation)
            }
            guard let signature else { return [try joined(nil, signature: nil, attestation: attestation)] }
            let content = try SignatureFile.contents(signature, names)
            // A bundle in the place of a signature is a bundle; only an attestation's envelope has parts beside it.
            guard SignatureFile.looksLikeObject(content) else {
                return [try joined(nil, signature: content, attestation: attestation)]
            }
            let name = names.name(signature)
            let forms = try SignatureFile.forms(content, name)
            if forms.count == 1, let form = forms.first?.form {
                switch form {
                case .envelope where attestation:
                    return [try joined(nil, signature: content, attestation: attestation)]
                case .older(let older): return [try joined(older, signature: nil, attestation: attestation)]
                default: break
                }
            }
            guard certificate == nil, timestamp == nil else { throw isComplete(name) }
            return try SignatureFile.bundles(forms, name, attestation: attestation)
        }

        /// Joins a signature, or cosign 2's bundle of one, with the parts beside it.
        /// - Parameter given: The content of the signature's file, if it was read already.
        private func joined(_ older: LegacyBlobBundle?, signature given: [UInt8]?, attestation: Bool)
            throws(SigstoreError) -> SigstoreBundle
        {
            let signature = try signatureBytes(older, given, attestation: attestation)
            var keyMaterial = older?.keyMaterial ?? .publicKey(hint: "")
            if let certificate {
                let content = try certificate.contents(limit: 1 << 20)
                do throws(SigstoreError) { keyMaterial = try LegacyBlobBundle.keyMaterial(content) } catch {
                    throw error.concerning(certificate.name)
                }
            }
            var timestamps: [[UInt8]] = []
            if let timestamp {
                let content = try timestamp.contents(limit: 1 << 20)
                do throws(SigstoreError) { timestamps = try SigstoreBundle.timestamp(content).map { [$0] } ?? [] } catch
                {
                    throw error.concerning(timestamp.name)
                }
            }
            do throws(SigstoreError) {
                return try SigstoreBundle(
                    signature: signature, isAttestation: attestation, keyMaterial: keyMaterial,
                    logEntry: older?.logEntry, timestamps: timestamps)
            } catch {
                throw error.concerning(self.signature.map(names.name) ?? bundle?.name ?? "the signature")
            }
        }

        private func expectBundleAlone(_ name: String) throws(SigstoreError) {
            guard signature == nil, certificate == nil, timestamp == nil else { throw isComplete(name) }
        }

        private func isComplete(_ name: String) -> SigstoreError {
            SigstoreError(
                .usage,
                "the bundle is complete, and \(names.signature), \(names.certificate) or \(names.timestamp) would change it",
                advice: "give the bundle alone"
            ).concerning(name)
        }

        /// - Parameter given: The content of the signature's file, if it was read already and is no bundle.
        private func signatureBytes(_ older: LegacyBlobBundle?, _ given: [UInt8]?, attestation: Bool)
            throws(SigstoreError) -> [UInt8]
        {
            let content: [UInt8]
            if let given {
                content = given
            } else if bundle != nil, let signature {
                content = try SignatureFile.contents(signature, names)
            } else {
                guard let older else {
                    throw SigstoreError(.usage, "no signature was given", advice: .remedy(.giveBundleOrSignature))
                }
                return older.signature
            }
            let name = signature.map(names.name) ?? names.signature
            let bytes: [UInt8]
            if attestation {
                bytes = content.first == 0x7b ? content : Base64.decode(content) ?? content
            } else {
                bytes = try SignatureFile.signature(content, name)
            }
            if let older, older.signature != bytes {
                throw SigstoreError(
                    .malformedSignature, "\(name) is another signature than the one in the bundle")
            }
            return bytes
        }
    }

    /// The signatures in the bundles of one file.
    private static func bundles(_ forms: [(form: Form, place: String)], _ name: String, attestation: Bool)
        throws(SigstoreError) -> [SigstoreBundle]
    {
        var bundles: [SigstoreBundle] = []
        for (form, place) in forms {
            do throws(SigstoreError) {
                switch form {
                case .published(let document): bundles += document.attestations.map(\.bundle)
                case .older(let older):
                    bundles.append(
                        try SigstoreBundle(
                            signature: older.signature, isAttestation: attestation,
                            keyMaterial: older.keyMaterial ?? .publicKey(hint: ""), logEntry: older.logEntry))
                case .envelope(let envelope, let written):
                    bundles.append(try SigstoreBundle(envelope: JSONCursor(envelope), written: written))
                }
            } catch { throw error.concerning(place) }
        }
        guard bundles.count <= lineLimit else {
            throw SigstoreError(.tooManyEntries, "\(name) holds \(bundles.count) bundles, more than \(lineLimit)")
        }
        return bundles
    }

    /// What a file of bundles holds: one, or several, one a line. Each is parsed once.
    private static func forms(_ content: [UInt8], _ name: String) throws(SigstoreError) -> [(form: Form, place: String)]
    {
        guard let lines = JSONValue.lines(of: content, limit: lineLimit) else {
            do throws(SigstoreError) { return [(try Form(content), name)] } catch { throw error.concerning(name) }
        }
        guard lines.count <= lineLimit else {
            throw SigstoreError(.tooManyEntries, "\(name) holds more than \(lineLimit) bundles, one a line")
        }
        var forms: [(form: Form, place: String)] = []
        for line in lines {
            let place = "\(name), line \(line.number)"
            do throws(SigstoreError) { forms.append((try Form(line.text, "line \(line.number)"), place)) } catch {
                throw error.concerning(place)
            }
        }
        return forms
    }

    /// What a bundle file can hold. It is parsed once, whatever it turns out to be.
    private enum Form {
        /// One or more bundles, in a form in which they are published.
        case published(AttestationDocument)
        case older(LegacyBlobBundle)
        /// An envelope alone, and the bytes that it was parsed from.
        case envelope(JSONValue, [UInt8])

        /// - Parameter place: Where it stands in its file; empty if it is the whole file.
        init(_ content: [UInt8], _ place: String = "") throws(SigstoreError) {
            let json: JSONValue
            do throws(SigstoreError) {
                json = try JSONValue(parsing: content, values: SigstoreBundle.valueLimit)
            } catch { throw AttestationDocument.unreadable(content) ?? error }
            if case .object(let object) = json, object["mediaType"] == nil {
                if object["base64Signature"] != nil {
                    self = .older(try LegacyBlobBundle(JSONCursor(json)))
                    return
                }
                if object["payloadType"] != nil {
                    self = .envelope(json, content)
                    return
                }
            }
            self = .published(try AttestationDocument(JSONCursor(json), place: place, limit: lineLimit))
        }
    }

    /// Whether a file seems to hold JSON objects. A signature's bare bytes may begin like one.
    private static func looksLikeObject(_ content: [UInt8]) -> Bool {
        content.first(where: { $0 > 0x20 }) == 0x7b && content.last(where: { $0 > 0x20 }) == 0x7d
            && content.allSatisfy { $0 >= 0x20 || $0 == 0x0a || $0 == 0x0d || $0 == 0x09 }
    }

    /// The content of the file, if it is text without the line breaks that editors add; or the reference itself.
    fileprivate static func contents(_ reference: String, _ names: Names) throws(SigstoreError) -> [UInt8] {
        var content: [UInt8]
        if reference == "-" || LocalFile.exists(reference) {
            content = try InputFile(reference).contents(limit: SigstoreBundle.sizeLimit)
        } else {
            content = Array(reference.utf8)
            guard !content.isEmpty, Base64.decode(content) != nil else {
                throw SigstoreError(
                    .fileNotFound,
                    "\(names.signature) is neither a file nor a signature in base64: \(reference.prefix(80))",
                    advice: "check the path")
            }
        }
        // A bare signature may end with the bytes of a line break: every eighth one by Ed25519 does.
        if content.allSatisfy({ $0 >= 0x20 && $0 < 0x7f || $0 == 0x0a || $0 == 0x0d || $0 == 0x09 }) {
            while let last = content.last, last == 0x0a || last == 0x0d { content.removeLast() }
        }
        guard !content.isEmpty else {
            throw SigstoreError(.malformedSignature, "\(names.name(reference)): the signature is empty")
        }
        return content
    }

    /// Base64 if it is that, else the signature's bare bytes.
    fileprivate static func signature(_ content: [UInt8], _ name: String) throws(SigstoreError) -> [UInt8] {
        if let decoded = Base64.decode(content), !decoded.isEmpty { return decoded }
        // A bare ECDSA signature is a DER sequence; bare RSA and Ed25519 signatures have fixed lengths.
        // IEEE P1363 signatures have too, and are told apart by the verifier.
        func couldBeBare(_ content: [UInt8]) -> Bool {
            content.first == 0x30 || [64, 96, 132, 256, 384, 512].contains(content.count)
        }
        // An editor may have added a line break, and the signature itself may end with the bytes of one.
        let endings: [[UInt8]] = [[], [0x0a], [0x0d, 0x0a]]
        let content =
            endings.lazy.filter { content.suffix($0.count).elementsEqual($0) }
            .map { Array(content.dropLast($0.count)) }.first(where: couldBeBare) ?? content
        guard couldBeBare(content), content.count <= 1024, !content.allSatisfy({ $0 >= 0x20 && $0 < 0x7f }) else {
            throw SigstoreError(
                .malformedSignature, "\(name) is neither base64 nor a signature's bare bytes",
                advice: "the file may be cut short or altered")
        }
        return content
    }
}

extension SigstoreError.Code {
    /// What was asked for contradicts itself, or cannot be understood.
    public static let usage = Self("usage")
}

extension SigstoreError.Remedy {
    /// No signature was given for the file.
    public static let giveBundleOrSignature = Self("give-a-bundle-or-a-signature")
}
