import Foundation
import Testing

/// The rules of the house that no compiler checks.
struct HouseTests {
    private static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    /// The sources that import a module, by their paths below `Sources`.
    private func importers(of module: String) throws -> [String] {
        let sources = Self.root.appendingPathComponent("Sources")
        return try FileManager.default.subpathsOfDirectory(atPath: sources.path).filter { path in
            guard path.hasSuffix(".swift") else { return false }
            let text = try String(contentsOf: sources.appendingPathComponent(path), encoding: .utf8)
            return text.split(separator: "\n").contains { line in
                line.hasSuffix("import \(module)") && !line.hasPrefix("//")
            }
        }
    }

    @Test(
        "Each library of the system has one importer",
        arguments: [
            ("Glibc", "LocalSystem"), ("Musl", "LocalSystem"), ("Darwin", "LocalSystem"),
            ("COpenSSL", "SigstoreCrypto"), ("CSodium", "SigstoreCrypto"), ("CYAML", "StrictYAML"),
            ("CCurl", "HTTPTransport"), ("CPKCS11", "KeyProviders"), ("CProcess", "LocalSystem"),
            ("CRE2", "SigstoreVerification"),
        ])
    func importers(library: String, module: String) throws {
        let found = try importers(of: library)
        #expect(!found.isEmpty)
        for path in found { #expect(path.hasPrefix("\(module)/"), "\(path) imports \(library)") }
    }

    @Test("Nothing that is in the program imports Foundation, which brings 45 MB with it, or its essentials, 4 MB")
    func foundation() throws {
        for path in try ["Foundation", "FoundationEssentials"].flatMap(importers(of:)) {
            #expect(["LocalSigstore/", "local-sigstore/"].contains { path.hasPrefix($0) }, "\(path)")
        }
    }

    @Test("No source is for one processor alone")
    func processors() throws {
        let sources = Self.root.appendingPathComponent("Sources")
        // A processor's or a folder's name; and a C char taken for a signed one, which it is on x86-64 and not on ARM.
        let assumption =
            /x86.64|\bamd64\b|aarch64|arm64|\bi386\b|lib64|linux-gnu|\bInt8\b|Char\(bitPattern|UInt8(\.init)?\(bitPattern/
        // It prints which one it is built for.
        let version = "swsign/Commands/Program/Version.swift"
        var seen = 0
        for path in try FileManager.default.subpathsOfDirectory(atPath: sources.path) {
            guard [".swift", ".c", ".h", ".cpp", ".modulemap"].contains(where: path.hasSuffix) else { continue }
            let text = try String(contentsOf: sources.appendingPathComponent(path), encoding: .utf8)
            for line in text.split(separator: "\n") {
                // A comment may name one, and so may the platform of an image.
                let code = line.replacing("such as linux/arm64", with: "")
                guard !line.contains(/^ *\/\//), code.firstMatch(of: assumption) != nil else { continue }
                seen += 1
                #expect(path == version, "\(path): \(line)")
            }
        }
        #expect(seen > 0, "the search finds not even \(version)")
    }

    @Test("No library holds state of the process: what is shared is an instance that the caller holds")
    func processState() throws {
        let sources = Self.root.appendingPathComponent("Sources")
        let programs = ["swsign/", "local-sigstore/", "LocalSigstore/"]
        // A stored variable, one behind a lock, or one that no compiler watches. (Answers that are remembered and would be
        // found again as they are, such as `BoundedCache`, are no state.)
        let state = /static (let|var) \w+[^{]*\b(Mutex|Atomic)\b|static var \w+[^{]*=|nonisolated\(unsafe\).*static/
        var seen = 0
        for path in try FileManager.default.subpathsOfDirectory(atPath: sources.path) where path.hasSuffix(".swift") {
            let text = try String(contentsOf: sources.appendingPathComponent(path), encoding: .utf8)
            for line in text.split(separator: "\n") where line.firstMatch(of: state) != nil {
                seen += 1
                #expect(programs.contains { path.hasPrefix($0) }, "\(path): \(line)")
            }
        }
        #expect(seen > 3)
    }
}
