import SwSignCore

let (name, identity, issuer) = (CommandLine.arguments[1], CommandLine.arguments[2], CommandLine.arguments[3])
let policy = VerificationPolicy(identity: identity, issuer: issuer)
let verifier = ImageVerifier(verifier: try await SigstoreInstance().verifier(), policy: policy)
let image = try await Image(named: name)
for signature in try await verifier.verify(image) { print("\(image.digest) \(signature.verified.signer)") }
