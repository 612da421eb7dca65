import SigstoreVerification

// Verifies an attestation by anyone: the lines of standard input are a trusted root and a bundle. It is there to be built in two
// folders (Tests/Release/same), and has the parts of the program that most depends on.
func line() -> [UInt8] { Array((readLine() ?? "").utf8) }
let verifier = Verifier(trustedRoot: try TrustedRoot(parsing: line()), now: { 0 })
let anyone = CertificateIdentity.Pattern.matching(try IdentityPattern(".*"))
let policy = VerificationPolicy(signedBy: .identities([CertificateIdentity(subject: anyone, issuer: anyone)]))
let bundle = try SigstoreBundle(parsing: line())
print(try verifier.verify(bundle, .attestation(subject: nil, predicateType: nil), policy).signer)
