import Foundation
import Testing

@testable import swsign

/// The README and the guides: what they tell a person to type can be typed, and what they show is what is printed.
struct DocumentationTests {
    private static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()
    private static let guides = "Sources/swsign/Documentation.docc"

    private static func text(_ path: String) throws -> String {
        try String(contentsOf: root.appendingPathComponent(path), encoding: .utf8)
    }

    /// The guides by their names, such as `Keys`.
    private static func guideNames() throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: root.appendingPathComponent(guides).path)
            .filter { $0.hasSuffix(".md") && $0 != "swsign.md" }.map { String($0.dropLast(3)) }.sorted()
    }

    /// The rows of README's task table.
    private static func tasks() throws -> [String] {
        let section = try #require(try text("README.md").components(separatedBy: "## What do you want to do?\n").last)
        return section.components(separatedBy: "\n## ")[0].components(separatedBy: "\n")
            .filter { $0.hasPrefix("| ") && !$0.hasPrefix("| Task ") }
    }

    @Test("README has at most 200 lines, and a row and a guide for everything that is built")
    func readme() throws {
        let readme = try Self.text("README.md")
        #expect(readme.split(separator: "\n", omittingEmptySubsequences: false).count <= 201)
        #expect(readme.contains("\nmake test ") && readme.contains("\nmake demo "))
        let tasks = try Self.tasks()
        let shown = tasks.flatMap { $0.matches(of: /`swsign ([^`]+)`/).map { String($0.1) + " " } }
        for command in FlagTable.commands {
            #expect(shown.contains { $0.hasPrefix(command + " ") }, "no task has the command \(command)")
        }
        let links = Dictionary(
            readme.matches(of: /(?m)^\[([^\]]+)\]: (\S+)$/).map { (String($0.1), String($0.2)) },
            uniquingKeysWith: { $1 })
        var linked: Set<String> = []
        for task in tasks {
            let guide = try #require(task.firstMatch(of: /\| \[([^\]]+)\] \|$/), "no guide: \(task)").1
            linked.insert(try #require(links[String(guide)], "\(guide) leads nowhere"))
        }
        #expect(linked == Set(try Self.guideNames().map { "\(Self.guides)/\($0).md" }))
        for link in readme.matches(of: /\]\(([^):]+)\)/) + readme.matches(of: /(?m)^\[[^\]]+\]: (\S+)$/) {
            let path = Self.root.appendingPathComponent(String(link.1)).path
            #expect(FileManager.default.fileExists(atPath: path), "\(link.1)")
        }
    }

    @Test("Each guide is one of the overview's pages, with a title and a sentence about it")
    func overview() throws {
        let overview = try Self.text("\(Self.guides)/swsign.md")
        let listed = overview.matches(of: /(?m)^- <doc:(\w+)>$/).map { String($0.1) }
        #expect(listed.sorted() == (try Self.guideNames()))
        for guide in listed {
            let lines = try Self.text("\(Self.guides)/\(guide).md").components(separatedBy: "\n")
            #expect(
                lines[0].hasPrefix("# ") && lines[1].isEmpty && lines[2].hasSuffix(".") && lines[3].isEmpty, "\(guide)")
        }
    }

    /// The calls of the program in shell lines: each its words after the name.
    private static func calls(_ shell: String) -> [[String]] {
        let lines = shell.replacing("\\\n", with: " ").components(separatedBy: "\n")
        return lines.flatMap { line -> [[String]] in
            let code = line.replacing(/(^|\s)#.*/, with: "")
            return code.matches(of: /(?:^|[\s(`])swsign((?:\s+(?:'[^']*'|"[^"]*"|[^\s|;&)<>`'"]+)+)+)/).map { call in
                call.1.matches(of: /(?:'[^']*'|"[^"]*"|[^\s'"]+)+/).map { String($0.0) }
            }
        }
    }

    @Test("Commands and flags that the README and the guides show are there")
    func flags() throws {
        var count = 0
        for page in ["README.md"] + (try Self.guideNames().map { "\(Self.guides)/\($0).md" }) {
            let parts = try Self.text(page).components(separatedBy: "```")
            // Every second part is a block of code; in the others, code stands between single marks.
            var shell = parts.enumerated().filter { part in
                part.offset % 2 == 1
                    && ["sh", "console", "yaml", "groovy"].contains { part.element.hasPrefix("\($0)\n") }
            }.map(\.element)
            shell += parts.enumerated().filter { $0.offset % 2 == 0 }
                .flatMap { $0.element.matches(of: /`(swsign [^`]+)`/).map { String($0.1) } }
            for call in shell.flatMap(Self.calls) {
                guard let first = call.first, first.first?.isLetter == true, first != "COMMAND", first != "help" else {
                    continue
                }
                let known = (1...3).reversed().lazy.map { call.prefix($0).joined(separator: " ") }
                    .first { FlagTable.flags(of: $0) != nil }
                guard let command = known else {
                    let isGroup = FlagTable.commands.contains { $0.hasPrefix(first + " ") }
                    #expect(isGroup && call.count == 1, "\(page): no command: swsign \(call.joined(separator: " "))")
                    continue
                }
                count += 1
                let flags = (FlagTable.flags(of: command) ?? []) + FlagTable.global
                for word in call where word.hasPrefix("-") && word != "-" {
                    let name = String(word.drop { $0 == "-" }.prefix { $0 != "=" })
                    let flag = flags.first { flag in
                        word.hasPrefix("--")
                            ? flag.name == name || flag.aliases.contains(name)
                            : flag.short.map(String.init) == name
                    }
                    #expect(flag != nil && flag?.awaits == nil, "\(page): swsign \(command) has no \(word)")
                }
            }
        }
        #expect(count > 80)
        // So do the cures of errors.
        for entry in ErrorTable.entries {
            for words in entry.cure.matches(of: /swsign ([a-z-]+(?: [a-z-]+)?)/).map({ String($0.1) }) {
                let one = String(words.prefix { $0 != " " })
                let isThere = FlagTable.commands.contains { $0 == one || $0 == words }
                #expect(isThere, "\(entry.code): there is no command swsign \(words)")
            }
        }
    }

    @Test("The README's first minute prints what the README shows")
    func minute() async throws {
        let readme = try Self.text("README.md")
        let block = try #require(readme.components(separatedBy: "```console\n").dropFirst().first)
            .components(separatedBy: "```")[0]
        let directory = TemporaryDirectory()
        try FileManager.default.createSymbolicLink(
            atPath: directory["swsign"], withDestinationPath: Program.path)
        let commands = block.split(separator: "\n").filter { $0.hasPrefix("$ ") }.map { $0.dropFirst(2) }
        #expect(commands.count > 4)
        // Each command is shown before it runs, as in the README.
        let script = commands.map { "echo '$ \($0)'\n\($0)" }.joined(separator: "\n")
        let shell = Program(
            executable: "/bin/sh", directory: directory.path, environment: ["PATH": "\(directory.path):/usr/bin:/bin"])
        let outcome = await shell.run(["-c", "exec 2>&1\n\(script)"])
        let printed = outcome.output.split(separator: "\n").map(String.init)
        let shown = block.split(separator: "\n").map(String.init)
        #expect(printed.count == shown.count, "\(outcome.output)")
        for (line, wanted) in zip(printed, shown) {
            let parts = wanted.components(separatedBy: "…")
            var rest = Substring(line)
            var fits = line.hasPrefix(parts[0]) && (parts.count > 1 || line == wanted)
            for part in parts where fits {
                guard let range = part.isEmpty ? rest.startIndex..<rest.startIndex : rest.range(of: part) else {
                    fits = false
                    break
                }
                rest = rest[range.upperBound...]
            }
            #expect(fits, "printed \(line), shown \(wanted)")
        }
    }
}
