import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import Testing

/// Trees, checkpoints and entries of transparency logs.
struct LogTests {
    @Test("Every leaf of every small tree has a proof, and no other proof will do")
    func inclusionProofs() throws {
        let leaves = (0..<20).map { [UInt8($0)] }
        for size in 1...leaves.count {
            let root = try TestLog.root(leaves[..<size])
            for index in 0..<size {
                let path = try TestLog.path(index, leaves[..<size])
                func leads(_ leaf: [UInt8], _ index: Int, _ size: Int, _ path: [[UInt8]]) -> Bool {
                    (try? MerkleTree.root(
                        leafHash: MerkleTree.leafHash(leaf), index: Int64(index), size: Int64(size), path: path))
                        == root
                }
                #expect(leads(leaves[index], index, size, path))
                #expect(!leads([0xff], index, size, path))
                #expect(!leads(leaves[index], index, size, path + [root]))
                if !path.isEmpty {
                    #expect(!leads(leaves[index], index, size, path.dropLast()))
                    #expect(!leads(leaves[index], index, size, [path[0].dropLast()] + path.dropFirst()))
                }
                if path.count > 1 { #expect(!leads(leaves[index], index, size, path.reversed())) }
                for wrong in [-1, size, index ^ 1, Int.max]
                where wrong != index && (wrong < 0 || wrong >= size || size > 1) {
                    #expect(!leads(leaves[index], wrong, size, path))
                }
            }
        }
    }

    @Test("An inclusion proof is not stretched to another size: the longest path is 63 hashes")
    func hugeTrees() throws {
        let leaf = try MerkleTree.leafHash([1])
        let path = Array(repeating: leaf, count: 63)
        _ = try MerkleTree.root(leafHash: leaf, index: 0, size: .max, path: path)
        #expect(throws: SigstoreError.self) { try MerkleTree.root(leafHash: leaf, index: .max, size: .max, path: path) }
        #expect(throws: SigstoreError.self) { try MerkleTree.root(leafHash: leaf, index: 0, size: 0, path: []) }
    }

    static let root = String(repeating: "A", count: 43) + "="
    static let signature = "— log.example \(Base64.encode(Array(repeating: 7, count: 68)))\n"

    @Test("A checkpoint is read with its extensions and all of its signatures")
    func checkpoint() throws {
        let note = "log.example\n12\n\(Self.root)\nTimestamp: 1\n\n\(Self.signature)— witness.example AAAAAQI=\n"
        let checkpoint = try Checkpoint(note)
        #expect(checkpoint.origin == "log.example")
        #expect(checkpoint.treeSize == 12)
        #expect(checkpoint.rootHash == [UInt8](repeating: 0, count: 32))
        #expect(checkpoint.signatures.map(\.name) == ["log.example", "witness.example"])
        #expect(checkpoint.signatures[1].keyHash == [0, 0, 0, 1])
        #expect(checkpoint.text == Array("log.example\n12\n\(Self.root)\nTimestamp: 1\n".utf8))
    }

    @Test(
        "What is not a checkpoint is refused",
        arguments: [
            "", "\n", "\n\n", "x", "log.example\n12\n\(root)\n", "log.example\n12\n\(root)\n\n",
            "12\n\(root)\n\n\(signature)",
            "\n12\n\(root)\n\n\(signature)", "log.example\n012\n\(root)\n\n\(signature)",
            "log.example\n-1\n\(root)\n\n\(signature)",
            "log.example\n+1\n\(root)\n\n\(signature)", "log.example\n99999999999999999999\n\(root)\n\n\(signature)",
            "log.example\n9223372036854775808\n\(root)\n\n\(signature)", "log.example\n12\nAAAA\n\n\(signature)",
            "log.example\n12\n\(root)\n\n\(signature)\n", "log.example\r\n12\n\(root)\n\n\(signature)",
            "log.example\n12\n\(root)\n\n- log.example AAAAAQI=\n", "log.example\n12\n\(root)\n\n— log.example AAAA\n",
            "log.example\n12\n\(root)\n\n— log.example AAAAAQI= x\n", "log.example\n12\n\(root)\n\n—  AAAAAQI=\n",
            "log.example\n12\n\(root)\n\n" + String(repeating: signature, count: 101),
        ])
    func malformedCheckpoint(_ note: String) {
        let error = #expect(throws: SigstoreError.self) { try Checkpoint(note) }
        #expect(error?.code == .malformedCheckpoint)
    }

    @Test("Rekor v2's origin is the host name of the log's URL; another log's checkpoint does not do")
    func origin() throws {
        let file: [UInt8] = [1, 2, 3]
        for url in ["https://log.example", "http://log.example:3003/", "https://user@log.example/path?query#x"] {
            var signer = try TestSigner(v2: true)
            let bundle = try signer.sign(file)
            var root = try signer.root()
            root.transparencyLogs[0].baseURL = url
            #expect(refusal(bundle, root, signer.policy(.message(ArtifactBytes(file)))) == nil)
        }
        for url in [
            "", "log.example", "https://log.example.evil", "https://evil/log.example", "https://log.example@evil",
        ] {
            var signer = try TestSigner(v2: true)
            let bundle = try signer.sign(file)
            var root = try signer.root()
            root.transparencyLogs[0].baseURL = url
            #expect(refusal(bundle, root, signer.policy(.message(ArtifactBytes(file)))) == .invalidCheckpoint)
        }
    }

    @Test("Rekor v1's origin is its name and a tree's number; the name is the URL's host, or one of its own network")
    func originOfRekorV1() throws {
        let file: [UInt8] = [1, 2, 3]
        func code(_ name: String, _ tree: String, _ url: String) throws -> SigstoreError.Code? {
            var signer = try TestSigner()
            signer.log = try TestLog(v2: false, name: name)
            signer.log.tree = tree
            let bundle = try signer.sign(file)
            var root = try signer.root()
            root.transparencyLogs[0].baseURL = url
            return refusal(bundle, root, signer.policy(.message(ArtifactBytes(file))))
        }
        for (name, url) in [
            ("rekor.sigstore.dev", "https://rekor.sigstore.dev"), ("log.example", "https://log.example:3000/path"),
            ("localhost:8000", "http://localhost:8000"), ("log.example", ""), ("rekor.local", "http://127.0.0.1:3000"),
            ("rekor-server-7d4b-x2x1", "https://log.example"), ("ip-10-0-0-1.ec2.internal", "https://log.example"),
            ("rekor.rekor-system.svc", "https://log.example"), ("[::1]:3000", "http://[::1]:3000"),
        ] {
            #expect(try code(name, " - 1193050959916656506", url) == nil, "\(name) at \(url)")
        }
        for (name, tree, url) in [
            ("evil.example", " - 1234", "https://log.example"), ("evil.example", " - 1234", "http://127.0.0.1:3000"),
            ("rekor.sigstore.dev", " - 1234", "https://log.example"),
            ("log.example.evil", " - 1234", "https://log.example"),
            ("log.example", " - 1234", "https://log.example@evil.example"),
            ("log.example", "", "https://log.example"), ("log.example", " - ", "https://log.example"),
            ("log.example", " - x", "https://log.example"), ("log.example", " - 1 - 2", "https://log.example"),
            ("log.example", "-1", "https://log.example"), ("log.example", " - 12345678901234567890", ""),
        ] {
            #expect(try code(name, tree, url) == .invalidCheckpoint, "\(name)\(tree) at \(url)")
        }
    }

    @Test("An entry of one version of Rekor is refused in a log that the trusted root knows as the other")
    func otherVersion() throws {
        let file: [UInt8] = [1, 2, 3]
        /// How an entry of a version is refused that this log took.
        func code(_ log: TestLog, entryV2: Bool, _ change: (inout TransparencyLogEntry) -> Void = { _ in }) throws
            -> SigstoreError.Code?
        {
            var signer = try TestSigner()
            signer.log = log
            var bundle = try signer.sign(file)
            bundle.logEntries = [
                try signer.log.add(
                    TestEntry.hashedrekord(
                        v2: entryV2, try Digest.sha256(file), try bundle.signature(), signer.signer),
                    at: TestAuthority.signedInTime)
            ]
            change(&bundle.logEntries[0])
            return refusal(bundle, try signer.root(), signer.policy(.message(ArtifactBytes(file))))
        }
        let (v1, v2) = (try TestLog(v2: false), try TestLog(v2: true))
        #expect(try code(v1, entryV2: false) == nil)
        #expect(try code(v2, entryV2: true) == nil)
        // A v1 entry in a log of Rekor v2, even if it signs as Rekor v1 does.
        #expect(try code(v2, entryV2: false) == .logEntryMismatch)
        var disguised = v2
        disguised.tree = " - 1234"
        #expect(try code(disguised, entryV2: false) == .logEntryMismatch)
        // A v2 entry in a log of Rekor v1: with its promise, without it, and by an Ed25519 key with v1's id.
        #expect(try code(v1, entryV2: true) == .logEntryMismatch)
        #expect(
            try code(v1, entryV2: true) {
                $0.promise = nil
                $0.integratedTime = 0
            } == .invalidCheckpoint)
        var ed25519 = v2
        ed25519.logID = try Digest.sha256(v2.key.publicKey.spki).bytes
        #expect(try code(ed25519, entryV2: true) == .logEntryMismatch)
        ed25519.tree = " - 1234"
        #expect(try code(ed25519, entryV2: false) == nil)
        // With an ECDSA key both versions have one id, and the origin decides.
        var curve = v1
        curve.tree = ""
        #expect(try code(curve, entryV2: false) == .invalidCheckpoint)
        #expect(
            try code(curve, entryV2: true) {
                $0.promise = nil
                $0.integratedTime = 0
            } == nil)
    }

    @Test("The log's signature is found among others; of several with its name and key hash the first must hold")
    func severalSignatures() throws {
        let file: [UInt8] = [1, 2, 3]
        var signer = try TestSigner(v2: true)
        var bundle = try signer.sign(file)
        let note = try #require(bundle.logEntries[0].proof?.checkpoint)
        let parts = note.split(separator: "\n\n").map(String.init)
        let text = parts[0] + "\n\n"
        let mine = parts[1]
        let clash = "— log.example \(Base64.encode(signer.log.logID.prefix(4) + Array(repeating: 1, count: 64)))\n"
        let witness = "— witness.example \(Base64.encode(Array(repeating: 1, count: 76)))\n"
        let policy = signer.policy(.message(ArtifactBytes(file)))
        for (lines, holds) in [
            (witness + mine, true), (clash + mine, false), (witness + clash + mine, false),
            (mine + clash + witness, true), (witness, false),
            (clash, false),
            (mine.replacing("log.example", with: "other.example"), false),
        ] {
            bundle.logEntries[0].proof?.checkpoint = text + lines
            #expect(refusal(bundle, try signer.root(), policy) == (holds ? nil : .invalidCheckpoint))
        }
    }

    @Test("An entry that is in no tree, or in another than the log signed, is refused")
    func proofAndCheckpoint() throws {
        let file: [UInt8] = [1, 2, 3]
        var signer = try TestSigner(v2: true)
        let bundle = try signer.sign(file)
        let policy = signer.policy(.message(ArtifactBytes(file)))
        let later = try #require(try signer.sign([9]).logEntries[0].proof)
        var changed = bundle
        changed.logEntries[0].proof?.checkpoint = later.checkpoint
        #expect(refusal(changed, try signer.root(), policy) == .invalidCheckpoint)
        changed = bundle
        changed.logEntries[0].proof = later
        #expect(refusal(changed, try signer.root(), policy) == .invalidInclusionProof)
        changed = bundle
        changed.logEntries[0].proof = nil
        #expect(refusal(changed, try signer.root(), policy) == .malformedBundle)
        changed.version = .v01
        #expect(refusal(changed, try signer.root(), policy) == .malformedBundle)
    }

    @Test("Entries of unknown kinds and with malformed bodies are refused")
    func malformedBodies() throws {
        let good = try TestEntry.hashedrekord(
            v2: false, try Digest.sha256([1]), [1, 2, 3], .key(try PrivateKey.generate(.ecdsaP256).publicKey))
        let text = String(decoding: good.serialized(), as: UTF8.self)
        _ = try LogEntryBody(parsing: Array(text.utf8))
        for (part, other) in [
            ("hashedrekord", "rekord"), ("0.0.1", "0.0.9"), ("sha256", "md5"), ("sha256", "sha512"),
            ("\"content\"", "\"url\""),
            ("\"kind\"", "\"Kind\""), ("\"spec\"", "\"surplus\":1,\"spec\""),
        ] {
            #expect(throws: SigstoreError.self) {
                try LogEntryBody(parsing: Array(text.replacing(part, with: other).utf8))
            }
        }
    }
}
