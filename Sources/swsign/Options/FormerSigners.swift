import ArgumentParser
import SigstoreVerification
import StrictJSON

/// The flags that name signers who were accepted before.
struct FormerSigners: ParsableArguments {
    @Option(
        name: .customLong("former-key"),
        help: "A public key that was accepted before: as for --key of verify. May be repeated: any of these.")
    var keys: [String] = []
    @Option(
        name: .customLong("former-signer"),
        help: "A signer who was accepted before, as identity=…,issuer=…[,NAME=VALUE…]. May be repeated: any of these.")
    var signers: [String] = []

    /// The identities that are named.
    func identities() throws(SigstoreError) -> [CertificateIdentity] {
        var identities: [CertificateIdentity] = []
        for signer in signers {
            do throws(SigstoreError) { identities.append(try SignerFlag(signer).identity) } catch {
                throw error.concerning("--former-signer \(signer)")
            }
        }
        return identities
    }
}
