import InToto
import StrictJSON
import Testing

struct DSSEEnvelopeTests {
    static func envelope(_ text: String) throws -> DSSEEnvelope {
        try DSSEEnvelope(JSONCursor(try JSONValue(parsing: Array(text.utf8))))
    }

    @Test(
        "The pre-authentication encoding counts bytes, not characters",
        arguments: [
            // The first is the vector of the DSSE protocol's text.
            ("http://example.com/HelloWorld", "hello world", "DSSEv1 29 http://example.com/HelloWorld 11 hello world"),
            ("", "", "DSSEv1 0  0 "), ("t", " 1 x", "DSSEv1 1 t 4  1 x"), ("é", "€", "DSSEv1 2 é 3 €"),
        ])
    func preAuthenticationEncoding(type: String, payload: String, expected: String) {
        let envelope = DSSEEnvelope(payloadType: type, payload: Array(payload.utf8), signatures: [])
        #expect(envelope.preAuthenticationEncoding == Array(expected.utf8))
        #expect(
            DSSEEnvelope.preAuthenticationEncoding(payloadType: type, payload: Array(payload.utf8))
                == Array(expected.utf8))
    }

    @Test("The payload goes in as it is, whatever its bytes")
    func binaryPayload() {
        let encoded = DSSEEnvelope.preAuthenticationEncoding(payloadType: "x", payload: [0, 0xff, 0x0a])
        #expect(encoded == Array("DSSEv1 1 x 3 ".utf8) + [0, 0xff, 0x0a])
    }

    @Test("An envelope is read, with and without a key's name, and written as cosign writes it")
    func roundTrip() throws {
        let envelope = try Self.envelope(
            #"{"payload":"e30=","payloadType":"t","signatures":[{"sig":"AQ==","keyid":"k"},{"sig":"Ag=="}]}"#)
        #expect(envelope.payload == Array("{}".utf8))
        #expect(envelope.signatures.map(\.signature) == [[1], [2]])
        #expect(envelope.signatures.map(\.keyID) == ["k", ""])
        #expect(
            String(decoding: envelope.json(includingEmptyKeyID: true).serialized(), as: UTF8.self)
                == #"{"payloadType":"t","payload":"e30=","signatures":[{"keyid":"k","sig":"AQ=="},{"keyid":"","sig":"Ag=="}]}"#
        )
        #expect(!String(decoding: envelope.json().serialized(), as: UTF8.self).contains(#""keyid":"""#))
    }

    @Test(
        "An envelope that is not one is refused",
        arguments: [
            #"[]"#, #"{}"#, #"{"payload":"e30=","payloadType":"t"}"#,
            #"{"payload":"e30=","payloadType":"t","signatures":[]}"#,
            #"{"payload":"e30=","payloadType":"t","signatures":{}}"#,
            #"{"payload":"e30","payloadType":"t","signatures":[{"sig":"AQ=="}]}"#,
            #"{"payload":"e30=","payloadType":1,"signatures":[{"sig":"AQ=="}]}"#,
            #"{"payload":"e30=","signatures":[{"sig":"AQ=="}]}"#,
            #"{"payload":"e30=","payloadType":"t","signatures":[{}]}"#,
            #"{"payload":"e30=","payloadType":"t","signatures":[{"sig":"A"}]}"#,
            #"{"payload":"e30=","payloadType":"t","signatures":[{"sig":"AQ==","more":1}]}"#,
            #"{"payload":"e30=","payloadType":"t","signatures":[{"sig":"AQ=="}],"more":1}"#,
        ])
    func refused(text: String) { #expect(throws: SigstoreError.self) { try Self.envelope(text) } }
}
