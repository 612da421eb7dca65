internal import InToto
internal import LocalSystem
internal import SigstoreCrypto
internal import SigstoreVerification
internal import StrictJSON

extension Audit {
    /// Looks at the files of a folder, with the signatures that stand beside them.
    func runFiles(
        _ path: String, _ take: (AuditRow) throws(SigstoreError) -> Void
    ) async throws(SigstoreError) -> Tally {
        let place = AuditPlace.folder(path)
        var tally = Tally()
        let files: [InputFile]
        do throws(SigstoreError) { files = try InputFile(path).filesInDirectory() ?? [] } catch {
            try finish(Audit.unread(place, [], nil, error), take)
            return tally
        }
        let signed = SignatureFile.sorted(files).signed
        tally.carriers = files.count - signed.count
        progress(signed.count, 0)
        let audit = self
        try await inOrder(signed, width: options.width) { file throws(SigstoreError) -> AuditRow? in
            await audit.row(file, place)
        } take: { _, result throws(SigstoreError) in
            if let row = try result.get() { try finish(row, take) } else { progress(0, 1) }
        }
        return tally
    }

    /// - Returns: `nil` if the file is of another part.
    private func row(_ file: InputFile, _ place: AuditPlace) async -> AuditRow? {
        let inside = file.path.utf8.dropFirst(place.name.utf8.count).drop { $0 == 0x2f }
        let name = String(Substring(inside))
        do throws(SigstoreError) {
            return try await onBlockingExecutor { () throws(SigstoreError) in
                try file.expectFile()
                let message = try file.read(digests: Set(HashAlgorithm.allCases), schemes: [])
                guard let digest = message.digest(.sha256) else { return nil }
                guard options.shard?.contains(digest) ?? true else { return nil }
                var row = AuditRow(
                    place: place.name, names: [name], digest: digest, signed: .couldNotLook, verdict: .couldNotLook)
                judge.conclude(&row, await findings(file))
                return row
            }
        } catch { return Audit.unread(place, [name], nil, error) }
    }

    /// What stands beside a file.
    private func findings(_ file: InputFile) async -> AuditJudge.Findings {
        var findings = AuditJudge.Findings(judge)
        var bundles: [SigstoreBundle] = []
        let detached: [SigstoreBundle]
        do throws(SigstoreError) {
            bundles = try SignatureFile.bundles(beside: file, attestation: false)
            detached = try Self.detached(file)
        } catch {
            do throws(SigstoreError) {
                // That there is no bundle is an answer.
                guard error.code == .fileNotFound else { throw error }
                detached = try Self.detached(file)
            } catch {
                guard error.isAboutContent else {
                    findings.add(unread: [error], "file")
                    return findings
                }
                var one = AuditSignature(scheme: "file", verdict: .invalid)
                one.failure = AuditFailure(error)
                findings.signatures.append(one)
                return findings
            }
        }
        let artifact = BundleClaim.message(file).readOnce(digests: Set(HashAlgorithm.allCases))
        for bundle in detached {
            do throws(SigstoreError) { bundles.append(try await judge.completed(bundle, artifact)) } catch {
                findings.add(unread: [error], "file")
            }
        }
        for bundle in bundles {
            var one = judge.claimed(by: bundle, "file")
            guard case .dsse = bundle.content else {
                judge.judge(&one, nil, &findings) { policy throws(SigstoreError) in
                    try verify(bundle, artifact, policy)
                }
                continue
            }
            let type = (try? bundle.statement())?.predicateType ?? PredicateType(uri: "")
            let claim = BundleClaim.attestation(
                subject: .artifact(file), predicateType: type.uri.isEmpty ? nil : type
            ).readOnce(digests: Set(HashAlgorithm.allCases))
            judge.judge(&one, type, &findings) { policy throws(SigstoreError) in try verify(bundle, claim, policy) }
        }
        return findings
    }

    /// A bare signature beside a file: `FILE.sig`, with its certificate in `FILE.crt` or `FILE.pem` if there is one.
    private static func detached(_ file: InputFile) throws(SigstoreError) -> [SigstoreBundle] {
        guard LocalFile.exists(file.path + ".sig") else { return [] }
        let certificate = [".crt", ".pem"].map { file.path + $0 }.first(where: LocalFile.exists).map { InputFile($0) }
        return try SignatureFile.Parts(
            signature: file.path + ".sig", bundle: nil, certificate: certificate, timestamp: nil
        ).signatures(attestation: false)
    }

    private func verify(_ bundle: SigstoreBundle, _ claim: BundleClaim, _ policy: CombinedPolicy)
        throws(SigstoreError) -> VerifiedBundle
    {
        do throws(RejectedBundle) { return try judge.verifier.verify(bundle, claim, policy) } catch {
            throw error.error
        }
    }
}
