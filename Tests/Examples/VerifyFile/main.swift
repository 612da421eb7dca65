import SwSignCore

let (file, identity, issuer) = (CommandLine.arguments[1], CommandLine.arguments[2], CommandLine.arguments[3])
let verifier = try await SigstoreInstance().verifier()
let policy = VerificationPolicy(identity: identity, issuer: issuer)
print(try await verifier.verify(InputFile(file), policy).signer)
