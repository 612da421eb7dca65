import HTTPTransport
import SigstoreClients
import SigstoreCrypto
import SigstoreVerification
import StrictJSON

extension LogOptions {
    /// Prints an entry.
    func show(_ found: VerifiedLogEntry, _ reader: Reader, _ output: Output) throws(SigstoreError) {
        let entry = found.entry
        let url = reader.client.url.description
        if self.output == .json {
            var object: JSONObject = [
                "version": .integer(1), "log": .string(url), "logIndex": .integer(entry.logIndex),
                "leafHash": .string(Hexadecimal.encode(found.leafHash)), "body": try JSONValue(parsing: entry.body),
                "entry": entry.json,
            ]
            if entry.promise != nil {
                object["integratedTime"] = .string(Instant(seconds: entry.integratedTime).description)
            }
            let member = TrustVariables.member(reader.trustVariables)
            object[member.name] = member.value
            return try output.json(.object(object))
        }
        try output.result("entry: \(entry.logIndex) of \(url)")
        try output.result("  kind: \(entry.kind) \(entry.kindVersion)")
        if entry.promise != nil { try output.result("  recorded: \(Instant(seconds: entry.integratedTime))") }
        switch found.body.subject {
        case .message(let digest): try output.result("  about: \(digest)")
        case .payload(let digest): try output.result("  about: an attestation, \(digest)")
        case .envelope(let digest, let payload):
            try output.result("  about: an attestation, \(payload), in an envelope, \(digest)")
        }
        for signature in found.body.signatures {
            try output.result("  signer: \(try signer(signature, found, reader.root))")
        }
        try output.result("  leaf: \(Hexadecimal.encode(found.leafHash))")
        if let proof = entry.proof {
            try output.result(
                "  proof: in a tree of \(proof.treeSize) with the root \(Hexadecimal.encode(proof.rootHash))")
        }
    }

    /// Who verifies a signature. A log takes any certificate, so it is said whether a trusted authority issued it.
    private func signer(_ signature: LogEntryBody.Signature, _ found: VerifiedLogEntry, _ root: TrustedRoot)
        throws(SigstoreError) -> String
    {
        switch signature.verifier {
        case .publicKey(let spki): return "the key \(Base64.encode(try Digest.sha256(spki).bytes))"
        case .certificate(let der):
            let certificate = try Certificate(der: der)
            let name = certificate.subjectAlternativeNames.first?.text ?? certificate.displayName
            let issuer = try CertificateClaims(certificate).issuer()
            let time = found.entry.promise == nil ? certificate.notBefore : found.entry.integratedTime
            for authority in root.certificateAuthorities where authority.validFor.contains(Instant(seconds: time)) {
                do throws(SigstoreError) {
                    _ = try CertificatePath.build(
                        leaf: certificate, intermediates: authority.intermediates, anchors: authority.anchors, at: time,
                        purpose: .codeSigning)
                } catch { continue }
                return "\(name)\(issuer.map { " (issuer \($0))" } ?? "")"
            }
            return "a certificate that no trusted authority issued, which says \(name)"
        }
    }
}
