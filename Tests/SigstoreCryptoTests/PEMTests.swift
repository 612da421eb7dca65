import SigstoreCrypto
import StrictJSON
import Testing

struct PEMTests {
    static func blocks(_ text: String) throws(SigstoreError) -> [PEM.Block] { try PEM.blocks(in: Array(text.utf8)) }

    @Test("A block is written 64 characters a line and read back, whatever its length")
    func roundTrip() throws {
        for count in [1, 47, 48, 49, 96, 1000] {
            let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0) }
            let text = PEM.encode(label: "X Y", bytes)
            #expect(text.split(separator: "\n").allSatisfy { $0.utf8.count <= 64 })
            let read = try Self.blocks(text)
            #expect(read.map(\.label) == ["X Y"])
            #expect(read.first?.bytes == bytes)
        }
    }

    @Test("Text around blocks, Windows line ends, and spaces at the ends of lines are passed over")
    func surroundings() throws {
        let text =
            "subject=/CN=x\r\n-----BEGIN A-----\r\n  AQID \t\r\n-----END A-----  \r\nmore\n\n-----BEGIN B-----\nBA==\n-----END B-----"
        let read = try Self.blocks(text)
        #expect(read.map(\.label) == ["A", "B"])
        #expect(read.map(\.bytes) == [[1, 2, 3], [4]])
    }

    @Test(
        "A text without blocks has none",
        arguments: ["", "hello", "-----BEGIN-----", "-----BEGIN -----\nAQ==\n-----END -----", "BEGIN A"])
    func none(text: String) throws { #expect(try Self.blocks(text).isEmpty) }

    @Test(
        "A damaged block is refused",
        arguments: [
            "-----BEGIN A-----", "-----BEGIN A-----\nAQID", "-----BEGIN A-----\nAQID\n-----END A---",
            "-----BEGIN A-----\nAQID\n-----END B-----",
            "-----BEGIN A-----\nAQI\n-----END A-----", "-----BEGIN A-----\nAQ*D\n-----END A-----",
            "-----BEGIN A-----\n-----END A-----",
            "-----BEGIN A-----\nAQ\u{a0}ID\n-----END A-----",
            "-----BEGIN A-----\n-----BEGIN B-----\nAQID\n-----END B-----\n-----END A-----",
        ])
    func damaged(text: String) {
        let error = #expect(throws: SigstoreError.self) { try Self.blocks(text) }
        #expect(error?.code == .malformedPEM)
    }

    @Test("OpenSSL's old encryption is refused with the way to convert it")
    func headers() {
        let text =
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAQID\n-----END RSA PRIVATE KEY-----\n"
        let error = #expect(throws: SigstoreError.self) { try Self.blocks(text) }
        #expect(error?.code == .malformedPEM)
        #expect(error?.advice?.description.contains("openssl pkcs8 -topk8") == true)
    }

    @Test("More blocks than allowed are refused")
    func limit() throws {
        let block = "-----BEGIN A-----\nAQID\n-----END A-----\n"
        #expect(try PEM.blocks(in: Array(String(repeating: block, count: 3).utf8), limit: 3).count == 3)
        #expect(throws: SigstoreError.self) {
            try PEM.blocks(in: Array(String(repeating: block, count: 4).utf8), limit: 3)
        }
    }
}
