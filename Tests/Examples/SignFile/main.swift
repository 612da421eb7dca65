import SwSignCore

let session = try await SigstoreInstance().session()
for line in try await session.publication(ofAttestations: false) { print("becomes public: \(line)") }
try await BlobSigner(session).sign(InputFile(CommandLine.arguments[1]))
