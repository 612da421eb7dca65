import Foundation
import Glibc
import StrictJSON
import Testing

@testable import LocalSystem

/// Files that get their names when they are whole. What a person sees of them is tested through the program.
@Suite final class TemporaryFileTests {
    private let folder = FileManager.default.temporaryDirectory.appendingPathComponent("file-\(UUID().uuidString)").path

    init() throws { try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true) }
    deinit { try? FileManager.default.removeItem(atPath: folder) }

    private static let canDoWithoutNames: Bool = {
        let descriptor = systemOpenUnnamed(AT_FDCWD, NSTemporaryDirectory(), 0o600)
        defer { if descriptor >= 0 { close(descriptor) } }
        return descriptor >= 0 && systemNamesOpenFiles()
    }()

    private var names: [String] { ((try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []).sorted() }
    private func path(_ name: String) -> String { "\(folder)/\(name)" }
    private func text(_ name: String) throws -> String { try String(contentsOfFile: path(name), encoding: .utf8) }
    private func write(_ name: String, _ text: String) throws {
        try text.write(toFile: path(name), atomically: false, encoding: .utf8)
    }
    private func new(_ text: String, _ name: String, unnamed: Bool) throws -> TemporaryFile {
        let file = try TemporaryFile(beside: path(name), mode: 0o600, exactly: true, unnamed: unnamed)
        try file.write(Array(text.utf8))
        return file
    }

    @Test("A file has its name when it is committed, and is gone if it is not", arguments: [true, false])
    func commit(unnamed: Bool) throws {
        var file: TemporaryFile? = try new("first", "a", unnamed: unnamed)
        #expect(!names.contains("a"))
        try file?.rewind()
        try file?.write(Array("one".utf8))
        try file?.commit(as: path("a"))
        #expect(try text("a") == "one")
        file = try new("two", "b", unnamed: unnamed)
        file = nil
        #expect(names == ["a"])
    }

    @Test(
        "A file that is being written has no name at all",
        .enabled(if: canDoWithoutNames, "left out: the file system has no files without a name"))
    func noName() throws {
        let file = try new("half", "a", unnamed: true)
        #expect(names.isEmpty)
        withExtendedLifetime(file) {}
    }

    @Test("What has the name already gives way, stays, or is refused", arguments: [true, false])
    func existing(unnamed: Bool) throws {
        try write("a", "old")
        try new("kept", "a", unnamed: unnamed).commit(as: path("a"), existing: .kept)
        #expect(try text("a") == "old")
        let error = #expect(throws: SigstoreError.self) {
            try new("refused", "a", unnamed: unnamed).commit(as: path("a"), existing: .refused)
        }
        #expect(error?.code == .fileExists)
        #expect(try text("a") == "old")
        try new("new", "a", unnamed: unnamed).commit(as: path("a"), existing: .replaced)
        #expect(try text("a") == "new")
        for (name, existing) in [("b", .kept), ("c", .refused)] as [(String, TemporaryFile.Existing)] {
            try new("free", name, unnamed: unnamed).commit(as: path(name), existing: existing, synced: false)
            #expect(try text(name) == "free")
        }
        // A folder never gives way, and nothing of the file is left.
        try FileManager.default.createDirectory(atPath: path("d"), withIntermediateDirectories: false)
        #expect(throws: SigstoreError.self) { try new("x", "d", unnamed: unnamed).commit(as: path("d")) }
        #expect(names == ["a", "b", "c", "d"])
    }

    @Test("In an open folder, whatever happens to its path", arguments: [true, false])
    func openFolder(unnamed: Bool) throws {
        let open = try OpenFolder(folder)
        let moved = folder + "-moved"
        try FileManager.default.moveItem(atPath: folder, toPath: moved)
        defer { try? FileManager.default.moveItem(atPath: moved, toPath: folder) }
        let file = try TemporaryFile(beside: "a", in: open, mode: 0o644, unnamed: unnamed)
        try file.write([0x78])
        try file.commit(as: "a")
        #expect(try LocalFile.read("a", in: open, limit: 1) == [0x78])
        #expect(try FileManager.default.contentsOfDirectory(atPath: moved) == ["a"])
    }

    @Test("A file for what is too large for memory is read again, and has no name")
    func scratch() throws {
        let file = try TemporaryFile(in: folder)
        try file.write(Array("dropped".utf8))
        try file.rewind()
        try file.write(Array("con".utf8))
        try file.write(Array("tent".utf8))
        #expect(names.isEmpty)
        var read: [UInt8] = []
        unsafe try file.reading.forEachPiece { (piece) throws(SigstoreError) in unsafe read.append(contentsOf: piece) }
        #expect(read == Array("content".utf8))
        let error = #expect(throws: SigstoreError.self) { try TemporaryFile(in: path("none")) }
        #expect(error?.code == .fileUnwritable)
    }

    // MARK: - Results over what was read

    private func isRefused(_ file: OutputFile, by places: OutputPlaces) -> Bool {
        do throws(SigstoreError) { try places.expectNotRead(file) } catch { return error.code == .fileExists }
        return false
    }

    @Test("A reading is seen in the work itself, on its blocking threads and in its tasks, and nowhere else")
    func readings() async throws {
        for name in ["here", "thread", "task", "outside", "other"] { try write(name, name) }
        let places = OutputPlaces()
        let other = OutputPlaces()
        let files = names.map { OutputFile(path($0)) }
        for file in files {
            places.reserve(file)
            other.reserve(file)
        }
        let (here, thread, inTask) = (path("here"), path("thread"), path("task"))
        let task = try places.watching { () throws(SigstoreError) in
            _ = try LocalFile.contents(here, limit: 100)
            return Task {
                _ = try LocalFile.contents(inTask, limit: 100)
                _ = try await onBlockingThread { () throws(SigstoreError) in try LocalFile.contents(thread, limit: 100)
                }
            }
        }
        try await task.value
        _ = try LocalFile.contents(path("outside"), limit: 100)
        try other.watching { () throws(SigstoreError) in _ = try LocalFile.contents(path("other"), limit: 100) }
        #expect(files.filter { isRefused($0, by: places) }.map(\.path) == ["here", "task", "thread"].map(path))
        #expect(files.filter { isRefused($0, by: other) }.map(\.path) == [path("other")])
    }
}
