public import InToto
internal import SigstoreCrypto
public import StrictJSON

extension GitObject {
    /// The types of the predicates about commits and tags, as gitsign has them.
    private static let predicateTypes: [Kind: String] = [
        .commit: "https://gitsign.sigstore.dev/predicate/git/v0.1",
        .tag: "https://gitsign.sigstore.dev/predicate/tag/v0.1",
    ]

    /// What the object says of itself, as an in-toto statement. It has no envelope: the signature is in the predicate, with the
    /// certificate and the signed attributes if it is of CMS. Nothing about it is verified.
    /// - Parameter repository: The address of the repository, which names the subject; `nil` names none.
    /// - Throws: `SigstoreError` if a signature in CMS cannot be read.
    public func statement(repository: String?) throws(SigstoreError) -> Statement {
        var predicate: JSONObject = ["source": .object(source)]
        if let signature {
            let block =
                switch signature {
                case .x509(let block), .ssh(let block), .openPGP(let block): block
                }
            predicate["signature"] = .string(String(decoding: block, as: UTF8.self))
            if case .x509 = signature { predicate["signer_info"] = .array(try Self.signers(block)) }
        }
        var digests = [(algorithm: isSHA256 ? "sha256" : "sha1", hex: id)]
        if kind == .tag { digests.append((algorithm: "gitTag", hex: id)) }
        return Statement(
            layout: .v1, subjects: [ResourceDescriptor(name: repository, digests: digests)],
            predicateType: PredicateType(uri: Self.predicateTypes[kind] ?? ""), predicate: .object(predicate))
    }

    private var source: JSONObject {
        var source: JSONObject = [:]
        switch kind {
        case .commit:
            source["tree"] = .string(header("tree"))
            if !references.isEmpty { source["parents"] = .array(references.map { .string($0) }) }
            if let author { source["author"] = Self.person(author) }
            if let maker { source["committer"] = Self.person(maker) }
        case .tag:
            source["object"] = .string(header("object"))
            source["object_type"] = .string(header("type"))
            source["tag"] = .string(tagName ?? "")
            if let maker { source["tagger"] = Self.person(maker) }
        }
        let message = payload[min(endOfHeaders + 1, payload.endIndex)...]
        if !message.isEmpty { source["message"] = .string(String(decoding: message, as: UTF8.self)) }
        return source
    }

    /// The first line of the message, for a person to recognize the object by.
    public var subject: String {
        let message = payload[min(endOfHeaders + 1, payload.endIndex)...]
        return String(decoding: message.prefix { $0 != 0x0a }, as: UTF8.self)
    }

    /// Where the empty line before the message is.
    private var endOfHeaders: Int {
        payload.indices.first { payload[$0] == 0x0a && $0 > 0 && payload[$0 - 1] == 0x0a } ?? payload.endIndex
    }

    /// The value of the first header of a name, in the form that was read already.
    private func header(_ name: String) -> String {
        let start = Array("\(name) ".utf8)
        let line = payload[..<endOfHeaders].split(separator: 0x0a).first { $0.starts(with: start) }
        return String(decoding: (line ?? []).dropFirst(start.count), as: UTF8.self)
    }

    private static func person(_ person: Person) -> JSONValue {
        var members: JSONObject = ["name": .string(person.name), "email": .string(person.email)]
        if let seconds = person.seconds { members["date"] = .string(Instant(seconds: seconds).description) }
        return .object(members)
    }

    private static func signers(_ block: [UInt8]) throws(SigstoreError) -> [JSONValue] {
        guard let der = try PEM.blocks(in: block, limit: 1).first?.bytes else { return [] }
        let signed = try SignedData(der, contentType: SignedData.plainContent)
        return signed.certificates.filter(signed.names).map { certificate in
            .object([
                "attributes": .bytes(signed.signedAttributes), "certificate": .string(certificate.pem),
            ])
        }
    }
}
