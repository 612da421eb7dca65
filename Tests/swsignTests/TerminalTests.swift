import Foundation
import StrictJSON
import TestServices
import Testing

/// What a person sees on a terminal, and what a file or a pipe gets in its place.
struct TerminalTests {
    @Test("Each of many signatures has a line, those that hold and those that do not, for people and for programs")
    func manySignatures() async throws {
        let place = try await ImageFixture(.layout)
        let image = try await place.push()
        for key in ["key", "other", "key", "other", "key"] { await place.sign(image.name, key: key).expectSuccess() }
        let verified = await place.verify(image.name, flags: ["--key", "other.pub"])
        verified.expectSuccess()
        let held = verified.messages.split(separator: "\n").filter { $0.hasPrefix("referrer sha256:") }
        #expect(held.count == 5 && held.allSatisfy { $0.contains(": signed with the key ") }, "\(verified.messages)")

        try place.directory.makeKey("third")
        let refused = await place.verify(image.name, key: "third")
        refused.expectRefusal(12, "no-matching-signature")
        let lines = refused.messages.components(separatedBy: "\n")
        let first = try #require(lines.firstIndex { $0.hasPrefix("Error: ") })
        #expect(lines[first] == "Error: no signature of \(image.name) (\(image.digest)) holds [no-matching-signature]")
        let reasons = lines[(first + 1)...].prefix { $0.hasPrefix("       referrer sha256:") }
        #expect(reasons.count == 5 && Set(reasons).count == 5, "\(refused.messages)")
        #expect(reasons.allSatisfy { $0.contains(": step 1 of 8, form: another key signed this: ") })
        let error = try await place.verify(image.name, key: "third", flags: ["--errors", "json"]).jsonError()
        #expect(
            try error.member("details").elements().map { try "       " + $0.string() } == Array(reasons))
        #expect(try error.member("message").string().hasSuffix(" holds"))

        let few = await place.verify(image.name, key: "third", flags: ["--key", "key.pub", "--threshold", "2"])
        few.expectRefusal(1, "too-few-signers", "found 1; these signatures do not count [")
        #expect(few.messages.split(separator: "\n").filter { $0.hasPrefix("       referrer sha256:") }.count == 2)
    }
}
