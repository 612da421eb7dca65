import StrictJSON
import StrictYAML
import Testing

struct YAMLDocumentTests {
    private func json(_ text: String) throws -> String {
        String(decoding: try YAMLDocument(parsing: Array(text.utf8)).value.serialized(), as: UTF8.self)
    }

    @Test(
        "A document says what kubectl takes it for",
        arguments: [
            ("", "null"), ("---\n...\n", "null"), ("a: 1", #"{"a":1}"#), (#"{"a": [1, "x"]}"#, #"{"a":[1,"x"]}"#),
            ("- true\n- False\n- NULL\n- ~\n-\n", "[true,false,null,null,null]"),
            ("- 'true'\n- \"1\"\n- !!str 1\n- ! 2\n- 'yes'\n- only\n", #"["true","1","1","2","yes","only"]"#),
            ("- 1.5e3\n- -12\n- 0\n- 1.0\n", "[1.5e3,-12,0,1.0]"),
            (
                "- 1:20\n- 2001-01-01\n- 1.2.3\n- v1\n- 1/2\n- +\n- ..\n- --x\n- 12ab\n- 0xg\n- -\n",
                #"["1:20","2001-01-01","1.2.3","v1","1/2","+","..","--x","12ab","0xg",[null]]"#
            ),
            ("a: |\n  x\n  y\nb: >-\n  x\n  y\n", #"{"a":"x\ny\n","b":"x y"}"#),
            ("a: &x {b: [1]}\nc: *x\n", #"{"a":{"b":[1]},"c":{"b":[1]}}"#),
            ("1: a\ntrue: b\n", #"{"1":"a","true":"b"}"#),
            (
                "%YAML 1.2\n---\n!!map {a: !!int 1, b: !!seq [], c: !!null ~, d: !!bool true, e: !!float 1.5}",
                #"{"a":1,"b":[],"c":null,"d":true,"e":1.5}"#
            ),
            ("\u{feff}a: é", #"{"a":"é"}"#),
        ])
    func values(_ text: String, _ expected: String) throws {
        #expect(try json(text) == expected)
    }

    @Test(
        "What readers take for different things, or has no end, is refused with its line",
        arguments: [
            ("a: 1\nb: 2\na: 3\n", 3), ("a: 1\n---\nb: 1\n", 2), ("a: !x 1\n", 1), ("a:\n  !!binary aGk=\n", 2),
            ("x: 1\na: *none\n", 2), ("a: &x [*x]\n", 1), ("a: &x {b: 1}\nc:\n  <<: *x\n", 3), ("[a]: 1\n", 1),
            ("{a: 1}: 2\n", 1), ("&x a: 1\nb: 1\n", 1), ("~: 1\n", 1), ("a: &x 1\n? *x\n: 1\n", 2), ("a: 0x1f\n", 1),
            ("a: 017\n", 1), ("a: 1_000\n", 1), ("a: +1\n", 1), ("a: .5\n", 1), ("a: 1.\n", 1), ("a: -.inf\n", 1),
            ("a: .NaN\n", 1), ("a: 0o17\n", 1), ("a: 0b11\n", 1), ("a: 1.5e+03_0\n", 1), ("a: !!int x\n", 1),
            ("a: !!int 1.5\n", 1), ("a: !!map []\n", 1), ("a: [1\n", 2), ("a: \"x\n", 2), ("a: b: c\n", 1),
            ("a:\n\t- 1\n", 2), ("a: \u{1}\n", 1), ("@\n", 1), ("%FOO\na\n", 1), ("a: 1\nb: yes\n", 2),
            ("a: Off\n", 1), ("a: y\n", 1), ("a: x\u{2028}b: 1\n", 1), ("a: 'x\u{85}'\n", 1),
            ("a: 1\nb: 'x\u{2029}'\n", 2), ("%TAG ! tag:yaml.org,2002:\n---\na: !int 1\n", 1),
        ])
    func refusals(_ text: String, _ line: Int) {
        let error = #expect(throws: SigstoreError.self) { try json(text) }
        #expect(error?.code == .malformedYAML)
        #expect(error?.message.hasPrefix("line \(line): ") == true, "\(error?.message ?? "")")
    }

    @Test(
        "What is refused may be a secret, and is not repeated", arguments: ["a: 0123456", "a: !secret x", "a: *secret"])
    func secrets(_ text: String) {
        let error = #expect(throws: SigstoreError.self) { try json(text) }
        #expect(error?.description.contains("0123456") == false && error?.description.contains("secret") == false)
    }

    @Test("Messages hold nothing of the values, which may be secrets; what takes libyaml long is not begun")
    func secrets() {
        for text in [
            "a: 0hidden", "a: 0x1f", "a: *hidden", "a: !hidden x", "a: yes", "a: [hidden", "a: 'x\u{85}hidden'",
            "a: \u{2028}hidden",
            "%TAG !h! hidden\n---\na: 1\n",
        ] {
            do {
                let document = try YAMLDocument(parsing: Array(text.utf8))
                #expect(text == "a: 0hidden", "\(document)")
            } catch {
                #expect(error.code == .malformedYAML && error.message.contains("line "), "\(error)")
                for word in ["hidden", "0x1f", "yes"] { #expect(!"\(error)".contains(word), "\(error)") }
            }
        }
    }

    @Test("Bytes that are not UTF-8 are refused")
    func encoding() {
        for bytes: [UInt8] in [
            [0x61, 0x3a, 0x20, 0xff], [0xc0, 0x80], [0xff, 0xfe, 0x61, 0x00], [0xed, 0xa0, 0x80],
        ] {
            let error = #expect(throws: SigstoreError.self) { try YAMLDocument(parsing: bytes) }
            #expect(error?.code == .malformedYAML)
        }
    }

    @Test("Size, depth, the number of values, and what aliases repeat are bounded")
    func bounds() throws {
        func fails(_ text: String, limit: Int = 1 << 20, depth: Int = 8, values: Int = 100) -> String {
            let error = #expect(throws: SigstoreError.self) {
                try YAMLDocument(parsing: Array(text.utf8), limit: limit, depth: depth, values: values)
            }
            return error?.message ?? ""
        }
        #expect(fails("a: 1234", limit: 6).contains("expected at most 6"))
        #expect(fails(String(repeating: "[", count: 9) + String(repeating: "]", count: 9)).contains("nested"))
        _ = try YAMLDocument(parsing: Array("[[[[[[[[]]]]]]]]".utf8), depth: 8)
        #expect(fails(String(repeating: "- a\n", count: 100)).contains("too many values"))
        _ = try YAMLDocument(parsing: Array(String(repeating: "- a\n", count: 99).utf8), values: 100)
        // Ten times ten times ten.
        var laughs = "a: &a [1,1,1,1,1,1,1,1,1,1]\n"
        for (name, of) in [("b", "a"), ("c", "b"), ("d", "c"), ("e", "d"), ("f", "e"), ("g", "f")] {
            laughs += "\(name): &\(name) [\(Array(repeating: "*\(of)", count: 10).joined(separator: ","))]\n"
        }
        #expect(fails(laughs, values: 1 << 16).contains("too many values"))
        let long = "a: &a \"\(String(repeating: "x", count: 1000))\"\nb: [*a, *a, *a]\n"
        #expect(fails(long, limit: 2000).contains("repeat too much"))
        // An alias brings its depth with it.
        #expect(fails("a: &a [[[[]]]]\nb: [[[[*a]]]]\n").contains("nested"))
        let deep = String(repeating: "[", count: 500_000)
        #expect(fails(deep, depth: 64, values: 1 << 16).contains("nested"))
    }

    @Test("The line of a value is found by where it stands")
    func lines() throws {
        let document = try YAMLDocument(
            parsing: Array("users:\n- name: a\n- name: b\n  user:\n    exec.x:\n      apiVersion: v\nlast: 1\n".utf8))
        for (path, line) in [
            ("", 1), ("users", 2), ("users[1].name", 3), ("users[1].user.exec.x.apiVersion", 6), ("last", 7),
            ("users[9].name", 2), ("none", 1), ("users[1].user.none", 5),
        ] {
            #expect(document.line(of: path) == line, "\(path)")
        }
    }
}
