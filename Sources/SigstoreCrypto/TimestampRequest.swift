public import StrictJSON

/// A question to a timestamp authority (TimeStampReq, RFC 3161, section 2.4.1): when did it see this digest?
public struct TimestampRequest: Sendable {
    /// The digest that is to be timestamped.
    public let digest: Digest
    /// The number that binds the answer to this question: the content octets of a positive INTEGER.
    public let nonce: [UInt8]
    /// The question in DER.
    public let der: [UInt8]

    /// Makes a question with a random nonce of 63 bits, which asks for the authority's certificate in the answer.
    /// - Parameter digest: The digest of the bytes that are to be timestamped.
    /// - Throws: `SigstoreError` if there is no randomness.
    public init(_ digest: Digest) throws(SigstoreError) {
        typealias Tag = DERReader.Tag
        var nonce = try randomBytes(8)
        // Positive, and in the shortest form: the first bit is 0, and the first byte is not.
        nonce[0] = nonce[0] & 0x7f | 0x40
        self.digest = digest
        self.nonce = nonce
        let identifier = DERWriter.element(Tag.objectIdentifier, digest.algorithm.identifier.content)
        let algorithm = DERWriter.element(Tag.sequence, identifier + [5, 0])
        let imprint = DERWriter.element(Tag.sequence, algorithm + DERWriter.element(Tag.octetString, digest.bytes))
        der = DERWriter.element(
            Tag.sequence,
            DERWriter.element(Tag.integer, [1]) + imprint + DERWriter.element(Tag.integer, nonce)
                + DERWriter.element(Tag.boolean, [0xff]))
    }

    /// Reads the answer to this question.
    /// - Parameter response: A TimeStampResp in DER.
    /// - Throws: `SigstoreError` with `malformed-timestamp`, `timestamp-refused`, or `timestamp-mismatch` if it answers
    ///   another question.
    public func token(in response: [UInt8]) throws(SigstoreError) -> TimestampToken {
        let token = try TimestampToken(response: response)
        guard token.imprint == digest else {
            throw SigstoreError(
                .timestampMismatch,
                "the timestamp is over other bytes than those that were sent: expected \(digest), found \(token.imprint)"
            )
        }
        guard let found = token.nonce, found == nonce else {
            throw SigstoreError(
                .timestampMismatch, "the timestamp answers another request: its nonce is not the one that was sent",
                advice: "the answer may be an older one that was replayed")
        }
        return token
    }
}
