import StrictJSON
import Testing

struct Base64Tests {
    @Test(
        "The vectors of RFC 4648",
        arguments: [
            ("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ])
    func vectors(plain: String, encoded: String) {
        #expect(Base64.encode(Array(plain.utf8)) == encoded)
        #expect(Base64.decode(encoded) == Array(plain.utf8))
    }

    @Test("Every byte comes back, at every length")
    func roundTrip() {
        let bytes = (0..<256).map { UInt8($0) }
        for count in 0...256 {
            let part = Array(bytes.suffix(count))
            #expect(Base64.decode(Base64.encode(part)) == part)
        }
        #expect(Base64.encode([0xfb, 0xff, 0xbf]) == "+/+/")
    }

    @Test(
        "Anything that is not exactly an encoding is refused",
        arguments: [
            "Z", "Zg", "Zg=", "Zg===", "Zm8", "Zm9vZg", "=", "==", "===", "====", "Z===", "Zg==Zg==", "Z=g=", "Zm9v\n",
            " Zm9v", "Zm 9v",
            "Zm9v====", "-_-_", "Zm9é", "Zh==", "Zm9=", "Zm\u{0}v", "Zg==\n",
        ])
    func strictness(text: String) { #expect(Base64.decode(text) == nil) }

    @Test("The URL-safe alphabet has no padding, and is no other alphabet")
    func urlSafe() {
        #expect(Base64.decodeURLSafe("-_-_") == [0xfb, 0xff, 0xbf])
        #expect(Base64.decodeURLSafe("Zg") == [0x66])
        #expect(Base64.encodeURLSafe([0xfb, 0xff, 0xbf]) == "-_-_" && Base64.encodeURLSafe([0x66]) == "Zg")
        for text in ["Zg==", "+/+/", "Z", "Zh", "Z g"] { #expect(Base64.decodeURLSafe(text) == nil, "\(text)") }
    }
}
