import StrictJSON
import Testing

/// The strict JSON reader, and the two ways of writing.
struct JSONTests {
    static func parse(_ text: String, depth: Int = 64) throws(SigstoreError) -> JSONValue {
        try JSONValue(parsing: Array(text.utf8), depth: depth)
    }

    static func rewritten(_ text: String) throws -> String {
        String(decoding: try parse(text).serialized(), as: UTF8.self)
    }

    static func expectMalformed(_ bytes: [UInt8], depth: Int = 64, sourceLocation: SourceLocation = #_sourceLocation) {
        let error = #expect(throws: SigstoreError.self, sourceLocation: sourceLocation) {
            try JSONValue(parsing: bytes, depth: depth)
        }
        #expect(error?.code == .malformedJSON, sourceLocation: sourceLocation)
    }

    @Test(
        "What RFC 8259 allows is read, and written again without loss",
        arguments: [
            ("null", "null"), (" true ", "true"), ("\tfalse\r\n", "false"), ("0", "0"), ("-0", "-0"),
            ("-12.5e+3", "-12.5e+3"),
            ("1E400", "1E400"), ("18446744073709551616", "18446744073709551616"), ("\"\"", "\"\""), ("[]", "[]"),
            ("[ 1 , 2 ]", "[1,2]"), ("{}", "{}"), ("{ \"b\" : 1 , \"a\" : [ { } ] }", "{\"b\":1,\"a\":[{}]}"),
            ("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\\"\\\\/\\b\\f\\n\\r\\t\""), ("\"\\u0041\\u00e9\"", "\"Aé\""),
            ("\"\\ud83d\\ude00\"", "\"😀\""), ("\"é😀\"", "\"é😀\""),
        ])
    func accepted(text: String, again: String) throws {
        #expect(try Self.rewritten(text).utf8.elementsEqual(again.utf8))
    }

    @Test(
        "What is not JSON is refused",
        arguments: [
            "", " ", "nul", "nulll", "True", "'a'", "\"", "\"\\", "\"\\u12", "\"\\x\"", "\"a\nb\"", "\"\u{0}\"", "[",
            "[1", "[1,", "[1,]",
            "[,1]", "[1 2]", "]", "{", "{\"a\"", "{\"a\":", "{\"a\":1", "{\"a\":1,}", "{,}", "{a:1}", "{1:1}",
            "{\"a\" 1}", "{\"a\":1 \"b\":2}",
            "// c\n1", "1 /* c */", "NaN", "Infinity", "-", "+1", "01", "-01", "1.", ".5", "1e", "1e+", "0x10", "1_000",
            "\u{feff}1",
        ])
    func refused(text: String) { Self.expectMalformed(Array(text.utf8)) }

    @Test("Something behind the value is refused", arguments: ["{} {}", "1 2", "null,", "[]]", "\"a\"b", "{}\u{0}"])
    func trailingBytes(text: String) { Self.expectMalformed(Array(text.utf8)) }

    @Test(
        "A member that stands twice is refused, however it is spelled",
        arguments: [
            "{\"a\":1,\"a\":1}", "{\"a\":1,\"\\u0061\":2}", "{\"x\":{\"é\":1,\"\\u00e9\":2}}", "{\"\":1,\"\":2}",
        ])
    func duplicateMembers(text: String) { Self.expectMalformed(Array(text.utf8)) }

    @Test("Names that Unicode calls equivalent are different names")
    func equivalentNames() throws {
        // é as one scalar, and as e with a combining accent.
        let value = try Self.parse("{\"\u{e9}\":1,\"e\u{301}\":2}")
        guard case .object(let object) = value else { return #expect(Bool(false), "not an object") }
        #expect(object.members.count == 2)
        let (one, two) = (try #require(object["\u{e9}"]), try #require(object["e\u{301}"]))
        #expect(String(decoding: one.serialized(), as: UTF8.self) == "1")
        #expect(String(decoding: two.serialized(), as: UTF8.self) == "2")
        // A cursor asks by bytes too.
        #expect(try JSONCursor(value).member("e\u{301}").integer() == 2)
        #expect(throws: SigstoreError.self) { try JSONCursor(value).expectOnly(["\u{e9}"]) }
    }

    @Test(
        "Half of a surrogate pair is refused",
        arguments: [
            "\"\\ud800\"", "\"\\udc00\"", "\"\\ud800\\ud800\"", "\"\\ud800a\"", "\"\\ud800\\n\"", "\"\\udc00\\ud800\"",
            "\"\\ud800\\u0041\"",
            "\"\\ud83d\\",
        ])
    func loneSurrogates(text: String) { Self.expectMalformed(Array(text.utf8)) }

    @Test(
        "Text that is not UTF-8 is refused",
        arguments: [
            [0x22, 0xff, 0x22], [0x22, 0xc3, 0x22], [0x22, 0xc0, 0xaf, 0x22], [0x22, 0xed, 0xa0, 0x80, 0x22],
            [0x22, 0x80, 0x22],
            [0x22, 0x5c, 0x6e, 0xff, 0x22], [0x22, 0xf4, 0x90, 0x80, 0x80, 0x22], [0xff, 0xfe, 0x31, 0x00],
        ] as [[UInt8]])
    func invalidUTF8(bytes: [UInt8]) { Self.expectMalformed(bytes) }

    @Test("Nesting ends at the depth that was allowed")
    func depth() throws {
        func nested(_ depth: Int) -> String {
            String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
        }
        _ = try Self.parse(nested(64))
        Self.expectMalformed(Array(nested(65).utf8))
        _ = try Self.parse(nested(3), depth: 3)
        Self.expectMalformed(Array(nested(4).utf8), depth: 3)
        Self.expectMalformed(Array(("{\"a\":" + nested(3) + "}").utf8), depth: 3)
        _ = try Self.parse("1", depth: 0)
    }

    @Test("64 KB of nesting is refused, and quickly", arguments: ["[", "{\"a\":", "[{\"a\":"])
    func deepNesting(unit: String) {
        let text = String(repeating: unit, count: 65536 / unit.utf8.count)
        let clock = ContinuousClock()
        let time = clock.measure { Self.expectMalformed(Array(text.utf8)) }
        #expect(time < .seconds(10))
    }

    @Test("A number is as long as 64 characters and no longer")
    func longNumbers() throws {
        _ = try Self.parse(String(repeating: "9", count: 64))
        Self.expectMalformed(Array(String(repeating: "9", count: 65).utf8))
        Self.expectMalformed(Array(String(repeating: "9", count: 1 << 20).utf8))
    }

    @Test("Whole numbers are read as 64 bits, bare or as strings, and nothing larger")
    func integers() throws {
        func integer(_ text: String) throws -> Int64 { try JSONCursor(try Self.parse(text)).integer() }
        #expect(try integer("9223372036854775807") == .max)
        #expect(try integer("\"-9223372036854775808\"") == .min)
        #expect(try integer("\"42\"") == 42)
        for text in [
            "9223372036854775808", "1e3", "1.0", "\"+1\"", "\"\"", "\" 1\"", "\"0x1\"", "true", "\"1-\"", "\"٣\"",
        ] {
            let error = #expect(throws: SigstoreError.self, "\(text)") { try integer(text) }
            #expect(error?.code == .unexpectedJSON)
        }
    }

    @Test("An error names the member that is wrong")
    func paths() throws {
        let cursor = JSONCursor(try Self.parse("{\"a\":[{\"b\":1},{\"b\":true,\"c\":null}]}"))
        let second = try cursor.member("a").elements()[1]
        #expect(
            #expect(throws: SigstoreError.self) { try second.member("b").string() }?.message == "a[1].b is not a string"
        )
        #expect(#expect(throws: SigstoreError.self) { try second.member("d") }?.message == "a[1] has no \"d\"")
        #expect(
            #expect(throws: SigstoreError.self) { try cursor.string() }?.message == "the JSON value is not a string")
        #expect(try second.optional("c") == nil, "null counts as absent")
        #expect(#expect(throws: SigstoreError.self) { try second.expectOnly(["b"]) }?.message.contains("\"c\"") == true)
    }

    @Test("Bytes are strict base64")
    func bytes() throws {
        #expect(try JSONCursor(try Self.parse("\"AQI=\"")).bytes() == [1, 2])
        let error = #expect(throws: SigstoreError.self) { try JSONCursor(try Self.parse("\"AQI\"")).bytes() }
        #expect(error?.code == .malformedBase64)
    }

    @Test("What could change a terminal's display is written as escapes")
    func serializedIsPrintable() throws {
        let value = JSONValue.object([
            "\u{202e}\u{1b}": .string("\u{7f}\r\n\u{2028}\u{200b}\u{e000}\u{9b}\u{e0001}é\u{feff}")
        ])
        let text = String(decoding: value.serialized(), as: UTF8.self)
        #expect(text == #"{"\u202e\u001b":"\u007f\r\n\u2028\u200b\ue000\u009b\udb40\udc01é\ufeff"}"#)
        // It says the same.
        guard case .object(let object) = try JSONValue(parsing: Array(text.utf8)),
            case .string(let read)? = object["\u{202e}\u{1b}"]
        else { return #expect(Bool(false), "\(text)") }
        #expect(read.utf8.elementsEqual("\u{7f}\r\n\u{2028}\u{200b}\u{e000}\u{9b}\u{e0001}é\u{feff}".utf8))
    }

    @Test("Canonical JSON is that of RFC 8785")
    func canonical() throws {
        // Section 3.2.3's order by UTF-16 code units, and section 3.2.2.2's escapes.
        let text =
            #"{"\u20ac":"Euro Sign","\r":"Carriage Return","\ufb33":"Hebrew","1":"One","\ud83d\ude00":"Emoji","\u0080":"Control","ö":"O"}"#
        let canonical = String(decoding: try Self.parse(text).canonicalized(), as: UTF8.self)
        let expected =
            "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u{80}\":\"Control\",\"ö\":\"O\",\"€\":\"Euro Sign\",\"😀\":\"Emoji\",\"\u{fb33}\":\"Hebrew\"}"
        #expect(canonical.utf8.elementsEqual(expected.utf8), "\(canonical)")
        let escapes = try Self.parse(
            #"["\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/", {"b":{"d":1,"c":2},"a":[]}, true, null]"#)
        #expect(
            String(decoding: escapes.canonicalized(), as: UTF8.self)
                == #"["€$\u000f\nA'B\"\\\\\"/",{"a":[],"b":{"c":2,"d":1}},true,null]"#)
    }

    @Test("Members are set, replaced and removed in place")
    func objectMembers() {
        var object: JSONObject = ["a": .integer(1), "b": .integer(2)]
        object["a"] = .null
        object["c"] = .bool(true)
        object["b"] = nil
        object["never"] = nil
        #expect(String(decoding: JSONValue.object(object).serialized(), as: UTF8.self) == #"{"a":null,"c":true}"#)
    }
}
