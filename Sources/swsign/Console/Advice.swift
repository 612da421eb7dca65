import HTTPTransport
import KeyProviders
import LocalSystem
import OCIRegistry
import Provenance
import SigstoreClients
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import SwSignCore

extension SigstoreError {
    /// The same error with what to do next in the words of this command line; by its code, if the error does not say it.
    var advised: SigstoreError {
        var error = self
        error.advice = (advice?.words(Self.words) ?? ErrorTable.cure(of: code)).map { .sentence($0) }
        return error
    }

    private static let noLogOrOtherKey =
        "or no log, with a timestamp that says when it was signed (--tlog-upload=false --timestamp-server-url URL), or another key: "
        + "ECDSA P-256 over SHA-256 is recorded everywhere"

    /// What to type for a remedy that a library names.
    private static func words(_ remedy: Remedy, _ subject: String) -> String {
        switch remedy {
        case .derivePublicKey: "get its public key with: \(SwSign.name) public-key --key FILE"
        case .givePrivateKey: "give the private key, such as cosign.key, to --key"
        case .useEd25519ph: "use Ed25519ph (--signing-algorithm ed25519-ph) or an ECDSA key"
        case .allowMoreTime: "try again, or allow more time with --timeout"
        case .repairCredentials: "repair the file, or give --registry-username and --registry-password"
        case .tryCredentialHelper: "run it by hand, or give --registry-username and --registry-password"
        case .logIn: "log in with \(SwSign.name) login \(subject), or give --registry-username and --registry-password"
        case .nameRepositories: "name the repositories themselves, or in a file with --repositories FILE"
        case .allowTokenServer: "if that host is to have them, say so with --registry-auth-realm \(subject)"
        case .allowLargerAttachments: "if that is right, set COSIGN_MAX_ATTACHMENT_SIZE"
        case .giveBundle: "give the file that was written with --bundle"
        case .verifyWithoutLog: "if it was made without a log on purpose, verify it with --insecure-ignore-tlog"
        case .giveTrustedRootOrIgnoreLog:
            "give one with --trusted-root, or do not look at the log with --insecure-ignore-tlog"
        case .verifyAsAttestation: "verify it with verify-blob-attestation (verify-attestation for images)"
        case .verifyAsSignature: "verify it with verify-blob (verify for images)"
        case .giveIdentity: "give --certificate-identity and --certificate-oidc-issuer in place of --key"
        case .giveAllowedSigners: "name them in a file with --allowed-signers"
        case .giveGPGKeys: "give their fingerprints with --gpg-key"
        case .commitAsSigner:
            "commit with the signer's address (git config user.email), or sign in as the committer; gitsign.matchCommitter asks for that"
        case .giveIdentityOrKey: "give --certificate-identity and --certificate-oidc-issuer, or --key"
        case .stopOtherAgent: "end it with \(SwSign.name) agent --stop, or name another place with --socket"
        case .startAgent: "start one with: \(SwSign.name) agent"
        case .givePublicKey: "give the signer's public key with --key"
        case .giveKeyOfModel: "give the signer's public key with --key"
        case .giveIdentityOfModel: "give --certificate-identity and --certificate-oidc-issuer"
        case .giveAuthorityOfModel: "give the authority's certificates with --certificate-chain, if you trust it"
        case .leaveOutOrAllowLinks:
            "leave it out with --ignore-paths; links to files in the folder are followed with --allow-symlinks"
        case .giveTrustedRoot: "give a trusted root with --trusted-root"
        case .giveCertificateTimestamp: "give one with --sct, or do not look for one with --insecure-ignore-sct"
        case .expectIdentity: "if this is who should have signed, give it with --certificate-identity"
        case .expectIssuer: "if this is who vouches for the signer, give it with --certificate-oidc-issuer"
        case .givePredicateType: "give the attestation's type with --type"
        case .requestTokenFor:
            "request the token with the audience \(subject), or name its audience with --oidc-client-id"
        case .useAccountInASCII: "sign in with an account whose address is in ASCII, or sign with --key"
        case .checkJobOrGiveToken: "check how this job gets identity tokens, or give one with --identity-token"
        case .giveTokenOrKey: "set SIGSTORE_ID_TOKEN, give one with --identity-token, or sign with --key"
        case .checkIssuer: "check the issuer's URL (--oidc-issuer)"
        case .signInElsewhere: "try again, or sign in on another device with --fulcio-auth-flow device"
        case .signInWithBrowser: "sign in with the browser: --fulcio-auth-flow normal"
        case .checkClient: "check --oidc-client-id and --oidc-client-secret-file"
        case .listenElsewhere: "give another port with --oidc-redirect-url, or sign in with --fulcio-auth-flow device"
        case .checkFulcio: "check the URL of Fulcio (--fulcio-url, --signing-config)"
        case .initializeMirror: "give it once: \(SwSign.name) initialize --mirror \(subject) --root FILE"
        case .initializeAgain: "run \(SwSign.name) initialize again"
        case .giveRootChecksum: "give its SHA-256 with --root-checksum"
        case .giveServiceOrConfig: "give another --signing-config, or the service's URL"
        case .useNewerOrAnotherConfig: "use a newer swsign, or another signing config"
        case .checkLog: "check the URL of the log (--rekor-url, --signing-config)"
        case .searchLog: "look for it with: \(SwSign.name) tlog search"
        case .giveLogIndex: "give the entry's index with --log-index; \(SwSign.name) bundle inspect shows it"
        case .checkTimestampAuthority:
            "check the URL of the timestamp authority (--timestamp-server-url, --signing-config)"
        case .giveFittingKey: "leave --signing-algorithm out, or give the key that belongs to it"
        case .nameTimestampAuthority:
            "a certificate holds for minutes, so a timestamp must say when it was used: name a timestamp "
                + "authority in the signing config, or with --timestamp-server-url"
        case .signWithBundle:
            "sign with --bundle, which keeps the entry, and verify with that; --insecure-ignore-tlog is for a signature that was "
                + "made without a log"
        case .giveTrustedRootOfServices: "give one with --trusted-root"
        case .makeSmallerEntry: "attest something smaller, or make it without a log (--tlog-upload=false)"
        case .useEd25519phOrNoLog: "use --signing-algorithm ed25519-ph, or no log"
        case .makeBundleOrUseNoLog:
            "make a bundle, or use a P-256 key or no log: a signature by itself is taken for one over SHA-256, which logs do not "
                + "record of this key"
        case .useRekorV2OrNoLog: "use a log of Rekor v2 (--signing-config), \(noLogOrOtherKey)"
        case .useRekorV1OrNoLog: "use a log of Rekor v1 (--rekor-url), \(noLogOrOtherKey)"
        case .useNoLogOrOtherKey: "use \(noLogOrOtherKey.dropFirst(3))"
        case .giveJSONPredicate: "a predicate of type \(subject) must be JSON; use --type custom for other text"
        case .fetchAttestations: "have them fetched with --fetch, in place of --attestations"
        case .giveAttestations: "name the file or folder that they are in with --attestations"
        case .giveBuilder: "if this is who must have built it, name it with --builder-id"
        case .giveBundleOrSignature: "give --bundle or --signature"
        case .nameServiceOnce: "name each service once, in --signing-config or by its flag"
        case .giveKeyAsWritten:
            "give the key as it was written, with its line breaks, or that in base64 once (base64 -w0 FILE)"
        case .giveLogEntry: "give Rekor's answer for the entry, or the bundle that cosign sign-blob --bundle wrote"
        case .attachAsSignature: "use \(SwSign.name) attach signature --bundle"
        case .giveSBOMFormat: "spdx is json or text, cyclonedx json or xml, syft json; see --type and --input-format"
        case .storeInAnotherRepository:
            "the tag \(subject) is immutable: name another repository for signatures with COSIGN_REPOSITORY"
        case .writeAnotherKindOfManifest:
            subject == MediaType.dockerManifest
                ? "the registry takes none of the forms that signatures have: name another one with COSIGN_REPOSITORY"
                : "try the older form, with --new-bundle-format=false; if that was refused, with "
                    + "COSIGN_DOCKER_MEDIA_TYPES=1 beside it"
        case .removeSignatures:
            "name another repository for new ones with COSIGN_REPOSITORY; \(SwSign.name) clean removes all of them, so save the "
                + "image first"
        case .removeSignaturesOrAllowMore:
            "allow more with COSIGN_MAX_ATTACHMENT_SIZE; \(SwSign.name) clean removes all of them, so save the image first"
        case .downloadAttestation: "it may have one as an attestation: see \(SwSign.name) download attestation"
        case .choosePlatform: "it is an index; with --platform, the SBOM of one of its images: \(subject)"
        case .replaceTag: "use another tag, or --force to point this one elsewhere"
        case .replaceSBOM: "use --force to replace it"
        case .copyIntoLayout: "name a new folder, or use \(SwSign.name) copy IMAGE oci-layout:\(subject):TAG"
        case .removeWithTags: "look at it, and give --force if it is to go with all its tags"
        case .useBundleOrRekorV1: "leave out --new-bundle-format=false, or sign with a Rekor v1 log (--rekor-url)"
        case .verifyAttestations: "it has attestations, which verify-attestation verifies"
        case .giveOneOfTheseTypes: "give one of these with --type"
        case .signOrCheckImage: "sign it with \(SwSign.name) sign, or check that this is the image that was signed"
        case .attestOrCheckImage: "sign it with \(SwSign.name) attest, or check that this is the image that was signed"
        case .allowHTTPKeys: "if that is right, say so with --allow-http-key"
        case .haveKeyMadeInService: "it makes keys itself: name it with --kms"
        case .givePrivateKeyElsewhere: "give the private key, such as cosign.key, or its reference, to --key"
        default: Advice.remedy(remedy, of: subject).description
        }
    }
}
