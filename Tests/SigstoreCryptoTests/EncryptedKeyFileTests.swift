import Foundation
import StrictJSON
import Testing

@testable import SigstoreCrypto

/// cosign's encrypted private key.
struct EncryptedKeyFileTests {
    static func password(_ text: String) -> SecretBytes { SecretBytes(Array(text.utf8)) }

    /// The JSON inside a key file, with members exchanged.
    static func json(
        kdf: String = "scrypt", n: String = "65536", r: String = "8", p: String = "1", salt: Int = 32,
        cipher: String = "nacl/secretbox", nonce: Int = 24, ciphertext: Int = 154
    ) -> String {
        func base64(_ count: Int) -> String { Base64.encode([UInt8](repeating: 7, count: count)) }
        return #"{"kdf":{"name":"\#(kdf)","params":{"N":\#(n),"r":\#(r),"p":\#(p)},"salt":"\#(base64(salt))"},"#
            + #""cipher":{"name":"\#(cipher)","nonce":"\#(base64(nonce))"},"ciphertext":"\#(base64(ciphertext))"}"#
    }

    static func parse(_ json: String) throws(SigstoreError) -> EncryptedKeyFile {
        try EncryptedKeyFile(parsing: Array(json.utf8))
    }

    @Test("What is encrypted with a password opens with it", arguments: ["secret", "", "pässwörd \u{1F511}"])
    func roundTrip(text: String) throws {
        let key = try PrivateKey.generate(.ecdsaP256)
        let file = Array(try EncryptedKeyFile(encrypting: key, password: Self.password(text)).pem().utf8)
        #expect(String(decoding: file, as: UTF8.self).hasPrefix("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n"))
        let opened = try PrivateKey.read(file: file) { Self.password(text) }
        #expect(opened.publicKey.isSame(as: key.publicKey))
    }

    @Test("Any other password is refused, and a changed byte as well")
    func wrongPassword() throws {
        let key = try PrivateKey.generate(.ecdsaP256)
        let file = try EncryptedKeyFile(encrypting: key, password: Self.password("right")).pem()
        let block = try #require(try PEM.blocks(in: Array(file.utf8)).first)
        for word in ["wrong", "", "right\n"] {
            let error = #expect(throws: SigstoreError.self) {
                try EncryptedKeyFile(parsing: block.bytes).decrypt(password: Self.password(word))
            }
            #expect(error?.code == .wrongPassword)
        }
        // Another first letter of the ciphertext in base64.
        var json = String(decoding: block.bytes, as: UTF8.self)
        let place = try #require(json.range(of: "\"ciphertext\":\""))
        let letter = json[place.upperBound]
        json.replaceSubrange(place.upperBound...place.upperBound, with: letter == "A" ? "B" : "A")
        let error = #expect(throws: SigstoreError.self) {
            try Self.parse(json).decrypt(password: Self.password("right"))
        }
        #expect(error?.code == .wrongPassword)
    }

    @Test("The older label is read as well")
    func olderLabel() throws {
        let key = try PrivateKey.generate(.ecdsaP256)
        let file = try EncryptedKeyFile(encrypting: key, password: Self.password("x")).pem()
            .replacingOccurrences(of: "SIGSTORE", with: "COSIGN")
        #expect(try PrivateKey.read(file: Array(file.utf8)) { Self.password("x") }.publicKey.isSame(as: key.publicKey))
    }

    @Test("The parameters that cosign has written are accepted", arguments: ["32768", "65536", "131072"])
    func acceptedCosts(n: String) throws { _ = try Self.parse(Self.json(n: n)) }

    @Test(
        "Any other parameters are refused",
        arguments: [
            json(n: "1073741824"), json(n: "16384"), json(n: "65537"), json(n: "262144"), json(n: "0"),
            json(n: "-65536"), json(r: "16"),
            json(r: "1"), json(p: "2"), json(p: "0"), json(kdf: "argon2id"), json(cipher: "aes-256-gcm"),
            json(kdf: "Scrypt"),
        ])
    func refusedParameters(json: String) {
        let error = #expect(throws: SigstoreError.self) { try Self.parse(json) }
        #expect(error?.code == .refusedKeyParameters)
        #expect(error?.message.contains("only scrypt with N=32768, 65536 or 131072") == true)
    }

    @Test(
        "A damaged file is refused as damaged",
        arguments: [
            "", "{", "{}", "[]", "null", json() + "x", json(n: "9223372036854775808"), json(n: "6.5e4"),
            json(n: "null"), json(salt: 0),
            json(salt: 7), json(salt: 257), json(nonce: 23), json(nonce: 25), json(ciphertext: 16), json(ciphertext: 0),
            json().replacingOccurrences(of: "\"salt\":\"", with: "\"salt\":\"*"),
            json().replacingOccurrences(of: "\"ciphertext\"", with: "\"cipherText\""),
            json().replacingOccurrences(of: "{\"kdf\"", with: "{\"more\":1,\"kdf\""),
            json().replacingOccurrences(of: "\"r\":8", with: "\"r\":8,\"r\":8"),
        ])
    func damaged(json: String) {
        let error = #expect(throws: SigstoreError.self) { try Self.parse(json) }
        #expect(error?.code == .malformedKey)
    }

    @Test("The password is not asked for where the parameters are refused")
    func refusedBeforeThePassword() {
        let file = PEM.encode(label: EncryptedKeyFile.label, Array(Self.json(n: "1073741824").utf8))
        var asked = false
        let error = #expect(throws: SigstoreError.self) {
            try PrivateKey.read(file: Array(file.utf8)) { () throws(SigstoreError) in
                asked = true
                return Self.password("")
            }
        }
        #expect(error?.code == .refusedKeyParameters)
        #expect(!asked)
    }

    private static let samples = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent().appendingPathComponent("shared/samples/keys")

    @Test(
        "Keys made by cosign 2 and cosign 3 open",
        .enabled(if: FileManager.default.fileExists(atPath: samples.path), "left out: ../shared is not there"),
        arguments: [
            ("c2", "swsign"), ("c3", "swsign"), ("c3-emptypass", ""), ("other", "swsign"), ("imported-p384", "swsign"),
            ("imported-p521", "swsign"), ("imported-rsa2048", "swsign"), ("imported-rsa3072", "swsign"),
            ("imported-ed25519", "swsign"), ("imported-sec1", "swsign"), ("imported-pkcs1", "swsign"),
        ])
    func cosignsKeys(name: String, password: String) throws {
        let file = Array(try Data(contentsOf: Self.samples.appendingPathComponent("\(name).key")))
        let pub = Array(try Data(contentsOf: Self.samples.appendingPathComponent("\(name).pub")))
        let key = try PrivateKey.read(file: file) { Self.password(password) }
        #expect(key.publicKey.isSame(as: try PublicKey(file: pub)))
    }
}
