internal import HTTPTransport
public import SigstoreVerification
public import StrictJSON

/// An OpenID Connect identity token, read without trusting it (RFC 7519; OpenID Connect Core 1.0, section 2).
///
/// Its signature is Fulcio's to verify. It is read here so that what is wrong with it can be named: Fulcio has one
/// answer for every fault.
public struct IdentityToken: Sendable {
    /// Longer tokens are refused, in bytes: no server would take them in a header.
    public static let sizeLimit = 32_768
    /// How far the issuer's clock may be ahead of ours, in seconds.
    static let clockLeeway: Int64 = 300

    /// The token as Fulcio is shown it, which is the one copy that is kept.
    let authorization: Authorization
    /// Who issued it (`iss`).
    public let issuer: String
    /// Whom it is about (`sub`).
    public let subject: String
    /// Whom it is meant for (`aud`).
    public let audiences: [String]
    /// When it expires (`exp`), in seconds since 1970.
    public let expiry: Int64
    /// From when on it counts (`nbf`), in seconds since 1970, if it says so.
    public let notBefore: Int64?
    /// The email address (`email`), if it has one.
    public let email: String?
    /// Whether the issuer has verified the address (`email_verified`).
    public let isEmailVerified: Bool
    /// Who vouched for the owner to the issuer (Dex's `federated_claims.connector_id`), if it says so.
    public let federatedIssuer: String?
    /// The value that binds it to one sign-in (`nonce`), if it has one.
    public let nonce: String?
    /// Names that Fulcio is known to make of such a token's claims.
    private let workflowNames: [String]
    private let workflowReference: String?

    /// Reads a token.
    /// - Parameter text: The token in JWS compact serialization; white space around it is passed over.
    /// - Throws: `SigstoreError` with `malformed-identity-token`. The message never holds the token.
    public init(parsing text: String) throws(SigstoreError) {
        let isSpace = { (byte: UInt8) in byte == 0x20 || byte == 0x0a || byte == 0x0d || byte == 0x09 }
        let trimmed = text.utf8.drop(while: isSpace)
        guard trimmed.count <= Self.sizeLimit else { throw Self.fault("it is longer than \(Self.sizeLimit) bytes") }
        var bytes = Array(trimmed)
        while let last = bytes.last, isSpace(last) { bytes.removeLast() }
        let parts = bytes.split(separator: 0x2e, omittingEmptySubsequences: false)
        guard parts.count == 3, parts.allSatisfy({ !$0.isEmpty }) else {
            throw Self.fault(bytes.isEmpty ? "it is empty" : "it does not have three parts with points between them")
        }
        authorization = Authorization(scheme: "Bearer", bytes)
        do throws(SigstoreError) {
            _ = try Self.object(parts[0], "its header").names()
            let claims = try Self.object(parts[1], "its payload")
            guard Base64.decodeURLSafe(String(decoding: parts[2], as: UTF8.self)) != nil else {
                throw Self.fault("its signature is not base64")
            }
            issuer = try claims.member("iss").string()
            subject = try claims.member("sub").string()
            audiences = try Self.audiences(try claims.member("aud"))
            expiry = try Self.seconds(try claims.member("exp"))
            notBefore = try claims.optional("nbf").map { json throws(SigstoreError) in try Self.seconds(json) }
            let email = try claims.optional("email")?.string() ?? ""
            self.email = email.isEmpty ? nil : email
            isEmailVerified = Self.isTrue(try claims.optional("email_verified"))
            let connector = try claims.optional("federated_claims")?.optional("connector_id")?.string() ?? ""
            federatedIssuer = connector.isEmpty ? nil : connector
            nonce = try claims.optional("nonce")?.string()
            (workflowNames, workflowReference) = Self.workflow(claims)
        } catch  where error.code != .malformedToken {
            throw Self.fault(error.message)
        }
        guard !issuer.isEmpty, !subject.isEmpty else { throw Self.fault("its issuer or its subject is empty") }
    }

    private static func fault(_ what: String) -> SigstoreError {
        SigstoreError(
            .malformedToken, "not a usable identity token: \(what)",
            advice: "give a token as its issuer made it, or the path of a file that holds one")
    }

    private static func object(_ part: ArraySlice<UInt8>, _ what: String) throws(SigstoreError) -> JSONCursor {
        guard let json = Base64.decodeURLSafe(String(decoding: part, as: UTF8.self)) else {
            throw fault("\(what) is not base64")
        }
        return JSONCursor(try JSONValue(parsing: json, depth: 16))
    }

    /// One audience, or several.
    private static func audiences(_ json: JSONCursor) throws(SigstoreError) -> [String] {
        guard case .array = json.value else { return [try json.string()] }
        var audiences: [String] = []
        for element in try json.elements() { audiences.append(try element.string()) }
        return audiences
    }

    /// A NumericDate, whose fraction is cut off.
    private static func seconds(_ json: JSONCursor) throws(SigstoreError) -> Int64 {
        guard case .number(let literal) = json.value,
            let seconds = Int64(literal.prefix { $0 != "." }), !literal.utf8.contains(0x65),
            !literal.utf8.contains(0x45)
        else { throw json.fault("is not a number of seconds") }
        return seconds
    }

    /// Some issuers write the truth as a string.
    private static func isTrue(_ json: JSONCursor?) -> Bool {
        switch json?.value {
        case .bool(let value): value
        case .string(let text): text.utf8.elementsEqual("true".utf8)
        default: false
        }
    }

    /// What Fulcio writes into certificates for the CI systems that it knows (Fulcio's `oidc.md`).
    private static func workflow(_ claims: JSONCursor) -> ([String], String?) {
        // A claim of another type is some other issuer's, and says nothing here.
        func text(_ name: String, in object: JSONCursor? = nil) -> String? {
            guard case .string(let text)? = (try? (object ?? claims).optional(name))??.value, !text.isEmpty else {
                return nil
            }
            return text
        }
        var names: [String] = []
        if let reference = text("ci_config_ref_uri") { names.append("https://\(reference)") }
        if let organization = text("organization_slug"), let pipeline = text("pipeline_slug") {
            names.append("https://buildkite.com/\(organization)/\(pipeline)")
        }
        if let cluster = (try? claims.optional("kubernetes.io")) ?? nil, let namespace = text("namespace", in: cluster),
            let account = (try? cluster.optional("serviceaccount")) ?? nil, let name = text("name", in: account)
        {
            names.append("https://kubernetes.io/namespaces/\(namespace)/serviceaccounts/\(name)")
        }
        let reference = text("job_workflow_ref")
        if let reference { names.append("https://github.com/\(reference)") }
        return (names, reference)
    }
}

// MARK: - What it is good for

extension IdentityToken {
    /// The token as it was issued, copied anew each time. It is a secret: who has it can sign in its owner's name until it
    /// expires.
    public var encoded: String {
        unsafe authorization.withValue {
            unsafe String(decoding: $0.dropFirst("Bearer ".utf8.count), as: UTF8.self)
        }
    }

    /// What the proof of possession is made over: the email address if there is one, else the subject.
    public var challenge: String { email ?? subject }

    /// The owner in words, as the certificate will show it if that is known.
    public var identity: String { email ?? workflowNames.first ?? subject }

    /// Who the certificate will say vouches for the owner.
    public var certificateIssuer: String { federatedIssuer ?? issuer }

    /// Names what is wrong with the token, before Fulcio is asked.
    /// - Parameters:
    ///   - audience: Whom it must be meant for.
    ///   - now: The time in seconds since 1970.
    /// - Throws: `SigstoreError` with `identity-token-expired`, `identity-token-not-yet-valid`,
    ///   `identity-token-audience`, `identity-token-email-unverified` or `identity-token-email-not-ascii`.
    public func check(audience: String, now: Int64) throws(SigstoreError) {
        guard audiences.contains(where: { $0.utf8.elementsEqual(audience.utf8) }) else {
            throw SigstoreError(
                .tokenAudience,
                "the identity token is meant for \(audiences.joined(separator: ", ")), expected \(audience)",
                advice: .remedy(.requestTokenFor, of: audience))
        }
        guard now < expiry else {
            throw SigstoreError(
                .tokenExpired,
                "the identity token of \(issuer) expired at \(Instant(seconds: expiry)); it is "
                    + "\(Instant(seconds: now)) now",
                advice: "get a new token right before signing, and check this machine's clock")
        }
        if let notBefore, now &+ Self.clockLeeway < notBefore {
            throw SigstoreError(
                .tokenNotYetValid,
                "the identity token of \(issuer) counts from \(Instant(seconds: notBefore)) on; it is "
                    + "\(Instant(seconds: now)) now",
                advice: "check this machine's clock")
        }
        if let email, !isEmailVerified {
            throw SigstoreError(
                .tokenEmailUnverified, "the issuer \(issuer) has not verified the email address \(email)",
                advice: "verify the address with the issuer, or sign in with another account")
        }
        // RFC 5280, section 4.2.1.6: the name is an IA5String. No Fulcio issues anything else.
        if let email, !email.utf8.allSatisfy({ $0 < 0x80 }) {
            throw SigstoreError(
                .tokenEmailNotASCII,
                "the email address \(email) has letters that no certificate can hold: only ASCII can",
                advice: .remedy(.useAccountInASCII))
        }
    }

    /// Whom a certificate for this token may name, and who it may say vouches for them.
    ///
    /// The name of an email address is known, and so are those of the CI systems and of subjects that are URIs. Of
    /// other subjects only the Fulcio instance knows what it makes of them; then only the issuer is demanded.
    public func certificateIdentities() throws(SigstoreError) -> [CertificateIdentity] {
        var names: [CertificateIdentity.Pattern] = []
        if let email {
            names = [.exactly(email)]
        } else {
            names = workflowNames.map { .exactly($0) }
            if subject.utf8.contains(0x3a), subject.contains("://") { names.append(.exactly(subject)) }
            // A private GitHub has a host of its own.
            if let workflowReference {
                names.append(.matching(try IdentityPattern("^https?://[^/]+/\(Self.quoted(workflowReference))$")))
            }
            if names.isEmpty { names = [.matching(try IdentityPattern(".+"))] }
        }
        var identities: [CertificateIdentity] = []
        let issuers = certificateIssuer.utf8.elementsEqual(issuer.utf8) ? [issuer] : [certificateIssuer, issuer]
        for issuer in issuers {
            for name in names { identities.append(CertificateIdentity(subject: name, issuer: .exactly(issuer))) }
        }
        return identities
    }

    /// A regular expression for exactly this text.
    private static func quoted(_ text: String) -> String {
        var out: [UInt8] = []
        for byte in text.utf8 {
            switch byte {
            case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x80...0xff: out.append(byte)
            default: out += [0x5c, byte]
            }
        }
        return String(decoding: out, as: UTF8.self)
    }
}

extension SigstoreError.Code {
    /// Bytes that should be an identity token are not one.
    public static let malformedToken = Self("malformed-identity-token")
    /// An identity token that has expired.
    public static let tokenExpired = Self("identity-token-expired")
    /// An identity token that does not count yet.
    public static let tokenNotYetValid = Self("identity-token-not-yet-valid")
    /// An identity token that is meant for another service.
    public static let tokenAudience = Self("identity-token-audience")
    /// An identity token whose email address its issuer has not verified.
    public static let tokenEmailUnverified = Self("identity-token-email-unverified")
    /// An identity token whose email address cannot stand in a certificate.
    public static let tokenEmailNotASCII = Self("identity-token-email-not-ascii")
}

extension SigstoreError.Remedy {
    /// The token is not meant for the audience that is named.
    public static let requestTokenFor = Self("request-the-token-with-the-right-audience-or-name-its-audience")
    /// The email address cannot stand in a certificate.
    public static let useAccountInASCII = Self("use-an-account-in-ascii-or-a-key")
}
