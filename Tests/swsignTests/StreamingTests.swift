import Foundation
import SigstoreCrypto
import Testing

/// The memory of signing and verifying does not grow with the file.
struct StreamingTests {
    let directory = TemporaryDirectory()
    private static let mebibyte = 1 << 20

    private func run(_ arguments: String...) async -> Program.Outcome {
        var program = Program(directory: directory.path)
        program.measuresMemory = true
        return await program.run(arguments)
    }

    @Test(
        "Signing and verifying take the same memory for 64 MiB and 512 MiB",
        arguments: [SigningAlgorithm.ecdsaP256, .ed25519ph])
    func constantMemory(algorithm: SigningAlgorithm) async throws {
        try directory.makeKey("key", algorithm)
        var signing: [Int] = []
        var verifying: [Int] = []
        for size in [64, 512] {
            try directory.writeSparse("file", size: size * Self.mebibyte)
            let signed = await run(
                "sign-blob", "--key", "key.pem", "--tlog-upload=false", "--signing-algorithm", algorithm.rawValue,
                "--bundle", "b.json", "file")
            try #require(signed.succeeded, "\(signed.messages)")
            signing.append(signed.peakMemory)
            let verified = await run(
                "verify-blob", "--key", "key.pub", "--insecure-ignore-tlog", "--bundle", "b.json", "file")
            try #require(verified.succeeded, "\(verified.messages)")
            verifying.append(verified.peakMemory)
        }
        for peaks in [signing, verifying] {
            #expect(peaks[0] > 1000, "nothing was measured")
            #expect(peaks[1] < peaks[0] + 8 * 1024, "\(peaks) KiB")
        }
    }

    @Test("An attestation streams its file too")
    func attestation() async throws {
        try directory.makeKey()
        try directory.write("predicate", "{}")
        try directory.writeSparse("file", size: 256 * Self.mebibyte)
        let signed = await run(
            "attest-blob", "--key", "key.pem", "--tlog-upload=false", "--predicate", "predicate", "--bundle", "b.json",
            "file")
        try #require(signed.succeeded, "\(signed.messages)")
        let verified = await run(
            "verify-blob-attestation", "--key", "key.pub", "--insecure-ignore-tlog", "--bundle", "b.json", "file")
        try #require(verified.succeeded, "\(verified.messages)")
        for outcome in [signed, verified] {
            #expect((1000..<64 * 1024).contains(outcome.peakMemory), "\(outcome.peakMemory) KiB")
        }
    }

    @Test("Pure Ed25519 is refused above 128 MiB with a pointer to Ed25519ph, which does")
    func pureEd25519Limit() async throws {
        try directory.makeKey("key", .ed25519)
        try directory.writeSparse("file", size: 128 * Self.mebibyte + 1)
        try await directory.expectRefusal(
            "message-too-large", "file", "128 MiB", "ed25519-ph",
            of: ["sign-blob", "--key", "key.pem", "--tlog-upload=false", "--bundle", "b.json", "file"])
        let signed = await run(
            "sign-blob", "--key", "key.pem", "--tlog-upload=false", "--signing-algorithm", "ed25519-ph", "--bundle",
            "b.json", "file")
        #expect(signed.succeeded, "\(signed.messages)")
        let verified = await run(
            "verify-blob", "--key", "key.pub", "--insecure-ignore-tlog", "--bundle", "b.json", "file")
        #expect(verified.succeeded, "\(verified.messages)")
    }
}
