import StrictJSON

/// Every error code with its cause and its cure: the one table from which `errors` and the manual page swsign-errors(7) are
/// made, and the advice of each error that says none of its own.
enum ErrorTable {
    /// The entries, sorted by code.
    static var entries: [(code: String, cause: String, cure: String)] {
        table.split(separator: "\n").compactMap { line in
            let parts = line.split(separator: "|", maxSplits: 2, omittingEmptySubsequences: false).map(String.init)
            return parts.count == 3 ? (parts[0], parts[1], named(parts[2])) : nil
        }
    }

    /// What to do about an error, in words that are true wherever its code occurs; `nil` if there is nothing to do.
    static func cure(of code: SigstoreError.Code) -> String? {
        entries.first { $0.code == code.rawValue }.flatMap { $0.cure.isEmpty ? nil : $0.cure }
    }

    private static func named(_ text: String) -> String {
        SwSign.name == "swsign" ? text : text.replacing("swsign ", with: SwSign.name + " ")
    }

    /// For each code a line: code, cause, cure.
    private static let table = """
        agent-refused|The agent does not sign.|its reason is in the message; an agent signs whole commits and tags, and nothing else
        agent-there|An agent is there already, or something that answers in its place.|end it with swsign agent --stop, or name another place with --socket
        already-reported|The command failed, and what failed has been printed above.|
        already-there|Something else stands at the place to which an image is to be copied.|give another place, or --force if it is to be replaced
        ambiguous-key|The reference means more than one token, or more than one key on it.|name one of those in the message: by token, serial or slot-id, and by object or id
        ambiguous-trusted-root|Several trusted roots in one file know the authority that issued the certificate.|leave one of the lines out that the message names
        artifact-mismatch|The signature is over another file than the one that was given.|check that this is the file that was signed, unchanged, and that the bundle belongs to it
        attestation-not-signature|An attestation was found, but a signature over a file was expected.|verify it with verify-blob-attestation (verify-attestation for images)
        attestations-disagree|Attestations about one thing contradict each other, or themselves.|get them again from where they were published; if they stay so, do not use the file
        audit-findings|The audit found images or files that are not signed by those who may.|see the report; what each verdict means stands in the guide on audits
        audit-incomplete|Not everything could be looked at: what was not seen may be signed or not.|see what went wrong in the report, mend it, and run the audit again
        authority-not-valid|The trusted root knows the certificate authority, but not for the time of the signature.|get a newer trusted root with swsign initialize; if it stays so, have it signed anew
        cancelled|The command was stopped while it waited.|
        certificate-constraint|A certificate in the path breaks a rule of one above it: path length, names, or not being an authority.|have the authority issue a certificate within its own limits
        certificate-critical-extension|A certificate in the path has a critical extension that swsign does not know.|have the authority issue a certificate without it
        certificate-expired|A certificate in the path had ended at the time of the signature.|check the time of the signature with swsign bundle inspect; sign anew, with a timestamp if the certificate lives for minutes
        certificate-key-usage|A certificate in the path may not be used for signing code, or not as an authority.|use a certificate that is meant for signing code
        certificate-log-not-valid|The trusted root knows the certificate transparency log, but not for the time of the certificate.|get a newer trusted root with swsign initialize
        certificate-not-key|A key was given, but the signature was made with a certificate.|give --certificate-identity and --certificate-oidc-issuer in place of --key
        certificate-not-yet-valid|A certificate in the path had not begun at the time of the signature.|check the clock of the machine that signed
        certificate-path|No path leads from the certificate to an authority that is trusted.|name the right trust root: --trusted-root, --ca-roots, or swsign initialize
        certificate-refused|Fulcio issued no certificate.|what Fulcio says is in the message; check the identity token and the URL of Fulcio
        certificate-signature|The signature on a certificate in the path does not hold.|do not use it: the certificate was altered, or another authority has the same name
        certificate-weak|A key or a signature algorithm in the path is too weak.|have the authority issue a certificate with ECDSA, Ed25519, or RSA of 2048 bits or more, and SHA-256 or better
        contended|Others write to the same tag so often that no signature can be kept there.|try again, with --concurrent-signers in each job that signs this image
        credentials-unreadable|A file with credentials for registries is damaged, or a credential helper failed.|repair the file, or give --registry-username and --registry-password
        cryptography-failed|A call of the cryptographic library failed although its input was sound.|check that the machine has memory left and a sound OpenSSL (swsign doctor), and try again
        declined|A question was answered with no, or nobody was there to answer.|answer y, or give --yes
        denied|The registry does not let these credentials do that.|use credentials that may do it, or name another repository for signatures with COSIGN_REPOSITORY
        digest-mismatch|What came is not what its digest or size says.|try again; if it stays so, what the server keeps is damaged
        file-exists|A file that must not be replaced stands where one would be written.|name another place, or move that file away
        file-not-found|A file that was named does not exist.|check the name that was given
        file-too-large|A file is larger than what it is read for allows.|check that this is the right file
        file-unreadable|A file is there and cannot be read.|check who may read it, and that the disk is sound
        file-unwritable|A file cannot be written.|check that the directory is there and may be written to, or name another place
        folder-not-private|A folder that must be closed to others is open to them, or they could put another in its place.|name a place in a folder that is yours alone, with mode 700
        git-failed|git is not there, or does not do what it is asked for.|run git by hand in the repository; git fsck checks it
        git-object-too-large|A commit or tag, or the signature in it, is larger than what is read.|look at it with git cat-file: no commit that people make is that large
        git-signer-not-then|The rules know the signer of a commit or tag, but not for the time of its signature.|check the times of that signer in the file of rules
        gpg-failed|gpg is not there, or cannot check a signature.|install gpg, or run gpg --verify by hand to see why
        gpg-key-missing|gpg does not have the key that a commit or tag is signed with.|give gpg the key with gpg --import, after making sure whose it is
        gpg-key-not-valid|A GPG signature or its key has expired, or was revoked.|have the commit or tag signed anew, or get the renewed key
        gpg-signature-invalid|gpg says that a signature does not hold.|do not use the commit or tag: it or its signature was altered
        gpg-signature-weak|A GPG signature is over SHA-1 or MD5, or over text and not bytes, which proves too little.|have the commit or tag signed anew with gpg's defaults
        gpg-unclear|What gpg says of a signature is not one clear verdict.|run gpg --verify by hand; do not use the commit or tag if it stays so
        http-status|A server answered with an error.|the message has the server's status and words; if the status is 429 or 5xx, try again later
        http-unavailable|libcurl is missing, too old, or refuses what it is told.|install libcurl (libcurl4 on Debian and Ubuntu, libcurl on Fedora and RHEL); swsign doctor shows what is found
        identity-token-audience|The identity token is meant for another service.|request the token with the audience that the message names, or name its audience with --oidc-client-id
        identity-token-email-not-ascii|The identity token's email address cannot stand in a certificate.|sign in with an account whose address is in ASCII, or sign with --key
        identity-token-email-unverified|The issuer of the identity token has not verified its email address.|verify the address with the issuer, then sign in again
        identity-token-expired|The identity token has expired.|request a new one, just before signing
        identity-token-not-yet-valid|The identity token does not count yet.|check the clocks of this machine and of the issuer
        identity-token-refused|Fulcio does not accept the identity token.|check that this Fulcio knows the token's issuer, and that the token is for it
        image-not-found|There is no such image or tag.|check the name, the tag and the registry; a registry may also say so of what these credentials may not see
        inconsistent-log|The transparency log does not begin any more with what it had signed before: it has two histories, or lost one.|keep the state file as it is; tell those who run the log and those who use it
        interrupted|The command was stopped by a person or a signal.|
        invalid-checkpoint|The log did not sign the checkpoint, or it is another log's.|do not use it; get the bundle again from where it was published
        invalid-inclusion-promise|The log's promise to include the entry does not hold.|do not use it; get the bundle again from where it was published
        invalid-inclusion-proof|The inclusion proof does not lead from the entry to what the log signed.|do not use it; get the bundle again from where it was published
        invalid-policy|What is demanded could be met by nothing, or by anything.|check the signers and the threshold that were given
        invalid-signature|The signature does not hold.|check that file, signature and key belong together and were not altered
        is-directory|A directory stands at a place that needs a file.|name a file instead, such as one in that directory
        key-denied|The key service does not accept the credentials, or does not let them do that with the key.|the message says which: give the account the permission that it names, renew or correct the credentials, or set the clock
        key-exists|A key pair is there already, where a new one would be kept.|name another place, or have it replaced by an answer on a terminal
        key-mismatch|What the key service gave as a signature does not hold for the key, or another version signed than was asked for.|try again; if it stays so, the service or what stands before it is broken
        key-not-certificate|An identity was given, but the signature was made with a key.|give the signer's public key with --key
        key-not-found|The key service or token has no such key.|check the reference, and that it names the right account, region or server
        key-service-answer|The key service's answer is not what its interface says.|check the address of the service, and what stands before it
        key-service-failed|The key service, or the program that was asked, refuses or cannot answer now.|the message has its words; if they name no cause, try again later
        key-service-settings|What says where the key service is, or who asks, is missing or cannot be used.|set the variables that the message names; the guide of that service lists them all
        key-unusable|The key is there and cannot be used for this: it is disabled, ended, of another kind, or made for something else.|the message has what the service says; use another key, or have this one changed
        link-leads-out|A symbolic link leads out of the folder that is read, or may not be followed.|put the file itself in the place of the link
        log-entry-exists|The transparency log has such an entry already, and does not give it out.|look for it with swsign tlog search
        log-entry-mismatch|The log entry is about another signature, key, certificate, file or kind than the bundle.|do not use it; get the bundle again from where it was published
        log-entry-refused|The transparency log does not record this signature.|the log's reason is in the message; another kind of key, or a log of the other Rekor version, may do
        log-key-not-valid|The trusted root knows the log's key, but not for the time of the entry.|get a newer trusted root with swsign initialize
        malformed-allowed-signers|A file of allowed signers cannot be read.|repair the line that the message names; ssh-keygen(1) describes the form
        malformed-base64|Text that should be base64 is not.|what was read may be cut short or altered: get it again
        malformed-bundle|The parts of a bundle do not fit together, or not with its version.|get the bundle again from where it was published; swsign bundle inspect shows what can be read
        malformed-certificate|Bytes that should be a certificate are not one.|give a certificate in PEM or DER
        malformed-checkpoint|A checkpoint is not a signed note about a tree.|get the bundle again from where it was published
        malformed-compression|Something that is compressed with Snappy is damaged, or is something else.|try again later; if it stays so, get the attestations in another way
        malformed-digest|A digest has a wrong length, a wrong letter, or an unknown algorithm.|write it as sha256: and 64, or sha512: and 128, hexadecimal digits in small letters
        malformed-git-object|What should be a commit or a tag is none, or is not clear.|look at it with git cat-file and git fsck; do not use it if another person made it
        malformed-git-rules|A file that says who may sign which commits cannot be read.|repair what the message names; the guide on git describes the form
        malformed-git-signature|A signature of git is not of the form that gitsign writes.|have the commit or tag signed anew
        malformed-hook-input|A hook of git's was given something else than git gives it.|let git run the hook
        malformed-identity-token|What should be an identity token is not one.|give the token itself, or the name of a file that holds nothing else
        malformed-json|Bytes that should be JSON are not, have a member twice, or are nested too deeply.|what was read may be cut short, altered or of another kind: get it again
        malformed-key|Bytes that should be a key are not one; or others could sign for it; or its halves do not belong together.|give the key as it was written; make a new one with swsign generate-key-pair if it is lost
        malformed-layout|A folder is no image layout, or a damaged one.|check the path after oci-layout:, and copy the image into it again
        malformed-lock-file|A lock file of npm cannot be read, or names no packages.|have a current npm write it: npm install --package-lock-only
        malformed-log-entry|The log entry in a signature of git cannot be read.|have the commit or tag signed anew
        malformed-manifest|A manifest is not JSON, is two things at once, or lacks what its kind needs.|push the image again
        malformed-model-signature|The signature of a model is damaged, or what it says of the files does not fit together.|get the signature again from who made it; if it stays so, have the model signed again
        malformed-pattern|A regular expression cannot be read.|write it in RE2's syntax, as Go has it; there are no look-arounds and no back references
        malformed-pem|PEM text is cut short, mixed up or not base64.|give the file as it was written, with its line breaks
        malformed-predicate|A predicate is not what its type needs.|check the predicate against its type (--type); --type custom takes any text
        malformed-provenance|An attestation holds, and says what its ecosystem does not allow.|do not use the file, and tell its publisher
        malformed-reference|The name of an image, repository, registry, tag or digest breaks a rule.|write it as registry.example/team/app:tag or registry.example/team/app@sha256:…
        malformed-report|The file is not a whole report of an audit, or was changed.|give a report that was written with --output json or jsonl, whole
        malformed-request|A method or a header field cannot be sent as it is.|check what was given for headers, tokens and names: line breaks and control characters cannot be sent
        malformed-sct|Bytes that should be a signed certificate timestamp are not one.|give the file that the certificate transparency log's answer was written to
        malformed-service-specification|The description of a service cannot be understood.|write it as the help of that command shows
        malformed-shard|What should name a part of an audit does not.|write it as NUMBER/COUNT, such as 3/16
        malformed-signature|Bytes that should be a signature are not one.|what was read may be cut short, altered or another signature: get it again
        malformed-signed-data|Bytes that should be CMS signed data are not.|what was read may be cut short or altered: get it again
        malformed-ssh-data|A key, certificate or signature of SSH is malformed.|have the commit or tag signed anew
        malformed-timestamp|Bytes that should be a timestamp are not one.|what was read may be cut short or altered: get it again
        malformed-trusted-root|A trusted root cannot be read, or lacks what it needs.|get it again, or make one with swsign trusted-root create
        malformed-url|A URL is malformed, has another scheme than http and https, or holds a user name.|write it as https://host/path
        malformed-uuid|Text that should be the UUID of a log entry is not one.|write its 64 or 80 hexadecimal digits, as swsign tlog search prints them
        malformed-yaml|Bytes that should be YAML are not, have a member twice, or are written in a way that programs read differently.|correct the line that the message names; put values that are meant as text in quotation marks
        message-not-read|The signature needs the file itself, or another digest of it, than what was given or kept.|give the file itself in place of its digest
        message-too-large|Ed25519 signs the whole file at once, and this one is too large to be kept in memory.|use Ed25519ph (--signing-algorithm ed25519-ph) or an ECDSA key
        model-file-changed|A file of the model is not the one that was signed.|get the model again, or the signature that belongs to it
        model-file-extra|Something in the model's folder was not signed.|remove it, or leave it out with --ignore-paths if it does not belong to the model
        model-file-link|A symbolic link stands in the model's folder that was not signed, or that leads out of the folder or to another folder.|put the file itself in the place of the link
        model-file-missing|A file that was signed is not in the model's folder.|get the model again, whole
        model-file-name|A model has a file whose name a signature may not hold, or two that some systems take for the same.|rename the file, and have the model signed again
        model-signature-form|The signature of a model is by a key, by an identity, or by a certificate of one's own authority, and another of these was demanded.|demand what signed it, if you trust it: --key, --certificate-identity with --certificate-oidc-issuer, or --certificate-chain
        no-agent|There is no agent at the socket.|start one with swsign agent
        no-bundle|One of several bundles must hold, and there are none.|give a file with at least one bundle
        no-certificate|An identity is demanded, and the image is signed with keys only (exit code 13).|give the signer's public key with --key
        no-certificate-timestamp|The certificate has no signed certificate timestamp that counts.|give one with --sct, or do not look for one with --insecure-ignore-sct
        no-commits|The range has no commit in it.|check the range: A..B is what B has and A has not
        no-git-object|A commit or tag is not in the repository.|fetch the whole history, and try again
        no-git-rule|No rule says who may sign a commit or tag.|add a rule for that branch, tag or path, or a last rule for everything
        no-identity-token|There is no identity token, and nobody to sign in.|set SIGSTORE_ID_TOKEN, give one with --identity-token, or sign with --key
        no-log-entry|A log entry is demanded, and the signature has none that counts.|if it was made without a log on purpose, verify it with --insecure-ignore-tlog
        no-matching-signature|The image is signed, but no signature holds, or not by the signer who is demanded (exit code 12).|check what is demanded of the signature (key, identity, annotations, type), or have the image signed anew
        no-password|A password is needed, and there is none.|for a key, set COSIGN_PASSWORD; for a registry, give --password-stdin; other questions need a terminal
        no-pin|The token needs its PIN, and there is none.|set COSIGN_PKCS11_PIN, write pin-source=file:/PATH into the reference, or run it at a terminal
        no-provenance|An attestation that the ecosystem's rules demand is not there, or the server says that there is none.|get all attestations from where the file was published; if there are no more, do not use it
        no-signature|The image has no signature, or no attestation (exit code 10).|check that this is the image that was signed, or sign it with swsign sign or swsign attest
        no-signer-demanded|A commit or tag is signed in a way for which nothing says who may sign.|say who may sign: --certificate-identity, --key or --allowed-signers
        no-such-log-entry|The log has no such entry.|check the index or the UUID, and that this is the log (--rekor-url)
        no-time|Nothing proves when the signature was made, and its certificate has ended since.|sign with a transparency log or a timestamp authority, so that the time is proven
        no-timestamp|The signature has fewer signed timestamps than are demanded.|sign with a timestamp authority (--timestamp-server-url, or a signing config that names one)
        no-trusted-root|Something has to be verified against a trusted root, and there is none.|give a trusted root with --trusted-root
        no-usable-service|The signing config names no service that can be used now, or fewer than it demands.|give another --signing-config, or the service's URL
        not-a-bundle|The file is JSON, but not a bundle.|give the file that was written with --bundle
        not-a-model-signature|An attestation was given that is not about a model.|give the model's own signature, most often model.sig
        not-all-signed|Something that a former signer has signed was not signed anew, or nothing at all verifies by it.|look at the rows that say so; check the former key or identity
        not-an-agent|What answers at the agent's socket is another user's, or no agent.|see what listens there; name the right socket with SWSIGN_AGENT_SOCK
        not-an-index|The registry answers the question for an image's signatures with something that is no list.|check that the registry is sound; name another repository for signatures with COSIGN_REPOSITORY
        not-built-yet|cosign can do this, and this version cannot yet.|use cosign for it; the list of changes says when it comes
        not-confirmed|The person at the agent was asked, and did not agree to sign.|agree when the agent asks, or start it without --confirm
        not-found|The registry or layout has no such manifest or blob.|check the name and the digest; what belongs to the image may have been deleted
        not-in-rekor-v2|Only logs of Rekor v1 have this.|name a log of Rekor v1 with --rekor-url
        not-utf8|A name or a value is not text in UTF-8.|rename the file, or write the value in UTF-8
        other-digest-needed|A digest was given, but the signature is over another kind of digest, or over the file itself.|give the file, or its digest of the kind that the message names
        other-report-version|The report is of a version that swsign does not know.|use the version of the program that the report names
        out-of-date|What was read was too old for a write that rests on it, so the write was not made.|try again
        output-failed|Standard output cannot be written to.|check what reads it, and that the disk is not full
        own-git-rules|A file that says who may sign is among the files that are signed, so that a commit can change it.|keep it outside of the repository
        pin-refused|The token does not take the PIN: it is wrong, or locked.|check the PIN before the next try; a locked one is unlocked with the program of the token's maker
        program-failed|Another program that was asked for something failed.|run it by hand, as the message names it
        reader-ended|Nothing reads the output any more.|
        redirect-refused|A server sends us on to a place that must not be trusted with this request.|give the server's real address
        refused-key-parameters|The encrypted key file asks for another key derivation than cosign's.|make the key file again with swsign import-key-pair
        registry-key-expired|The registry's key did not count when it signed.|get the registry's keys again; if they are current, do not use the package
        reports-disagree|The reports are not parts of one audit, or one part was given twice.|give each part once, all made with the same version, places, signers and trusted root
        root-in-bundle|A bundle brings a root certificate, which only the verifier may choose.|have it signed by a current program; the root belongs into --trusted-root or --ca-roots
        sct-log-mismatch|The signed certificate timestamp is another log's than the one at hand.|get a newer trusted root with swsign initialize, or give the log's key
        sct-signature|The signed certificate timestamp does not hold for this certificate.|do not use it: the certificate was altered, or the timestamp belongs to another one
        sct-too-late|The certificate transparency log promised the certificate only after the signature was made.|check the clocks of the machine that signed and of the log
        several-git-signatures|A commit or tag has more than one signature, and programs differ in which one counts.|have it made and signed anew
        shallow-history|The history is cut off, so that commits were not looked at.|fetch the whole history with git fetch --unshallow
        sign-in-failed|The issuer did not sign the person in.|try again, or sign in on another device with --fulcio-auth-flow device
        sign-in-refused|What came back from the browser is not the answer to this sign-in.|try again, and close older sign-in pages
        signature-in-p1363|The signature is two bare numbers (IEEE P1363), and has to be ASN.1 DER.|convert it, or have the program that signs write DER
        signature-not-attestation|A signature over a file was found, but an attestation was expected.|verify it with verify-blob (verify for images)
        signed-data-mismatch|Signed data was made over other content.|check that file and signature belong together
        signed-data-signature|The signature of signed data does not hold.|do not use it; get it again from where it was published
        ssh-signer-not-valid|The SSH key is among the allowed signers, but not for git, for that time or for that name.|check the line of that key in the file of allowed signers
        time-to-come|A signature is dated ahead of this machine's clock.|set the clock of this machine if it is behind; if it is right, do not trust who gave the signature its time
        timed-out|A server, or the whole command, took longer than allowed.|try again, or allow more time with --timeout
        timestamp-authority|The timestamp is not by the authority that is trusted.|name the authority's certificates with --timestamp-certificate-chain, or a trusted root that has them
        timestamp-authority-not-valid|The trusted root knows the timestamp authority, but not for that time.|get a newer trusted root with swsign initialize
        timestamp-mismatch|The timestamp is over other bytes than this signature.|do not use it; get the bundle again from where it was published
        timestamp-refused|The timestamp authority made no timestamp.|its reason is in the message; try again later, or name another authority
        timestamp-signature|The signature on the timestamp does not hold.|do not use it; get the bundle again from where it was published
        tls-failed|There is no trustworthy TLS connection to the server.|check the server's certificate and this machine's clock; SSL_CERT_FILE names an authority of your own for every server
        too-few-signers|Fewer signers than --threshold demands have signed.|the message names who has signed; have the others sign, or lower the threshold if fewer are enough
        too-large|What came is larger than what is accepted.|check that this is the right place; if it is, the limit's name is in the message
        too-many-entries|A bundle has more log entries or timestamps than are looked at.|get the bundle again from where it was published
        too-many-redirects|A server sends us from one place to the next without end.|give the server's real address
        too-many-signatures|The image has more signatures than are looked at.|name another repository with COSIGN_REPOSITORY for new ones; swsign clean removes all of them, so save the image first
        tuf-cache|The folder that keeps the trust root cannot be read or written.|check who may write to it, or name another with TUF_ROOT
        tuf-delegations|A TUF repository delegates without end.|report it to the repository's keeper
        tuf-expired|The TUF repository's metadata has ended.|check this machine's clock; if it is right, the repository's keeper has to sign anew
        tuf-malformed|The TUF repository's metadata cannot be read.|check the URL of the mirror
        tuf-mismatch|A file of the TUF repository has another length, hash or version than is signed for.|try again later; if it stays so, the mirror is damaged
        tuf-missing|The TUF mirror, or the folder that keeps the trust root, lacks a file that it should have.|run swsign initialize again, and check the URL of the mirror
        tuf-no-root|The TUF mirror has no root to begin with.|name the TUF root with TUF_ROOT_JSON, or once with swsign initialize --root
        tuf-no-target|The TUF repository has no file of that name.|check that this mirror is a Sigstore instance's
        tuf-offline|Offline, and nothing that was verified before is at hand.|run swsign initialize once with a network, or give --trusted-root
        tuf-order|TUF metadata was given in another order than the specification's.|load root, timestamp, snapshot and targets in this order
        tuf-rollback|The TUF repository goes back to something older than was seen before.|do not trust it until its keeper says why; another mirror may be current
        tuf-target-name|A name that no file or role of a TUF repository may have.|check the name that was given
        tuf-threshold|Too few of the right keys have signed the TUF repository's metadata.|do not trust it until its keeper says why; check that TUF_ROOT_JSON is this mirror's
        tuf-unreachable|The TUF mirror could not be asked.|check the network and the proxy, or go on with what is here: --offline
        unaccepted-commits|Commits or tags are not signed by a signer who may.|each is named with its reason
        unauthorized|The registry wants credentials, or does not accept these.|log in with swsign login, or give --registry-username and --registry-password
        unclear-provenance|It is not plain which ecosystem an attestation is from, or it is from another one than was asked for.|say which with --from
        unexpected-answer|A service's answer is not what its interface says.|check that the URL is that service's
        unexpected-json|A part of JSON is missing, unknown, of the wrong type, or out of range.|what was read may be of another kind or a newer version: check what was given
        unexpected-log-entry|The transparency log has an entry by a key or identity that is watched, and which was not expected.|find out who signed; if it was right, add the entry to the file of --expect
        unknown-algorithm|There is no signing algorithm of that name.|the command's --help lists the algorithms
        unknown-bundle-version|The bundle's version is not known.|use a newer swsign, or check that this is a bundle
        unknown-entry-kind|The log entry's kind or version is not known.|use a newer swsign, or check that this is the right bundle
        unknown-git-key|A commit or tag names a key as its signer's that is not among those that may sign.|give its public key with --key, or as swsign.publicKey in git's configuration, if its owner may sign
        unknown-git-signature|A commit or tag has a signature of a form that is not known.|have it signed with gitsign, SSH or GPG
        unknown-gpg-signer|The GPG key is not among those that may sign.|give its fingerprint with --gpg-key if that signer may sign
        unknown-key-reference|The key's name is of no known kind, or not written as names of its kind are.|write it as the message says; --key takes a file, env://NAME, - or a key service's reference
        unknown-log|The log entry names a log that the trusted root does not know.|get a newer trusted root with swsign initialize, or name the one that knows this log with --trusted-root
        unknown-predicate-type|The predicate type is neither a known short name nor a URI.|the command's --help lists the short names; others are written as a URI
        unknown-registry-key|The registry's attestation is by a key that is not known, or does not say by which.|get the registry's keys and the attestations again; if both are current, do not use the package
        unknown-revision|The repository has no revision of that name.|check the name with git rev-parse
        unknown-ssh-signer|The SSH key that signed is not among the allowed signers.|if its owner may sign, add the key to the file of allowed signers
        unknown-token-provider|There is no identity token provider of that name.|the command's --help lists the providers
        unproven-time|The log entry states a time that nothing proves.|have it signed anew with a timestamp authority
        unreachable|There is no connection to the server, or it broke off.|check the name, the network and the proxy; swsign doctor shows what is used
        unreadable-signature|A signature was found that cannot be read.|look at it with swsign tree and swsign download signature; sign anew if it is damaged
        unreadable-token-file|A file that should hold a token cannot be read.|check the path and who may read it
        unreleased-builder|The builder was called at a branch or commit, and not at a release's full tag.|have the project call its builder by a tag like v1.2.3
        unsigned-git-object|A commit or tag is not signed.|have it signed, with gitsign, SSH or GPG
        unsupported|The registry or layout cannot do what is asked of it.|what it cannot do is in the message; another registry or repository may do it
        unsupported-key|The key is of a kind, curve or size that is not used here.|keys that can be used are ECDSA P-256, P-384 and P-521, Ed25519, and RSA of 2048 to 4096 bits
        unsupported-model-signature|The signature of a model names its files in a way that swsign does not know, such as BLAKE3 or parts of files.|verify it with model_signing, or have the model signed by files with SHA-256
        unusable-name|The certificate does not have exactly one name of a kind that is used here.|have the authority issue a certificate with one email address or one URI
        unusable-redirect-url|The redirect URL does not lead to this machine, or its port cannot be listened on.|give another port with --oidc-redirect-url, or sign in with --fulcio-auth-flow device
        unusable-state|The state file of an audit is damaged, of another version, or of an audit that asked something else.|name another file with --state, or ask exactly what was asked then
        usage|What was asked for contradicts itself, or cannot be understood.|see the command's --help
        verification-not-passed|The verifier says that what it looked at does not hold.|do not use what the summary is about
        workload-api-failed|SPIFFE's workload API gave no token.|check SPIFFE_ENDPOINT_SOCKET, and that this workload is registered
        wrong-annotation|What the signer says of the image is not what -a demands.|check the annotations with swsign download signature
        wrong-branch|Another branch was built than was asked for.|check the branch that was given; if it is right, do not use the file
        wrong-builder|Another builder made it than was asked for or is trusted, or than the provenance names.|if this builder is trusted, name it with --builder-id; else do not use the file
        wrong-channel|The package was published for another channel of conda than was asked for.|do not use the file, unless it is from another channel than you think
        wrong-claim|The certificate makes another claim than was asked for, or does not make it.|swsign bundle inspect shows the claims; demand the right one, or do not use the signature
        wrong-commit|Another commit was built, or signed, than was asked for.|check the commit that was given; if it is right, do not use the file
        wrong-committer|A commit or tag is not by the identity that would sign it, and gitsign.matchCommitter asks for that.|commit with the signer's address (git config user.email), or sign in as the committer
        wrong-identity|The certificate shows another name than was asked for.|if this is who should have signed, give it with --certificate-identity
        wrong-issuer|The certificate shows another issuer than was asked for, or none.|if this is who vouches for the signer, give it with --certificate-oidc-issuer
        wrong-key|The bundle names another key than the one that was given.|give the public key of the signer, or do not use the signature
        wrong-key-type|The signature is of another kind than the key.|give the public key of the signer
        wrong-level|The verifier did not find a level that was asked for, or what was given is no level.|check the level that was given; if it is right, do not use what the summary is about
        wrong-package|The attestation is about a package or file of another name.|get the attestation that belongs to the file; give the file by the name that it was published under
        wrong-password|The password does not open the private key.|check COSIGN_PASSWORD, or unset it to be asked
        wrong-payload-type|The envelope holds something else than an in-toto statement.|check that this is an attestation
        wrong-predicate-type|The attestation's predicate is of another type than was asked for.|give the attestation's type with --type
        wrong-publisher|Another publisher signed than was asked for, or than the provenance states.|do not use the file, unless its project is at another place than you think
        wrong-resource|The verification summary is about another resource than was asked for.|check the resource that was given; if it is right, get the summary that belongs to it
        wrong-runner|Another kind of machine built it than was asked for.|do not use the file, or allow machines of the repository's owner by leaving out --deny-self-hosted-runners
        wrong-source|Another repository was built than was asked for, or what was given is no repository.|check the repository that was given; if it is right, do not use the file
        wrong-ssh-namespace|An SSH signature was made for another purpose than git.|have the commit or tag signed anew
        wrong-subject|The attestation is about something else.|check that the attestation belongs to this file or image, unchanged
        wrong-tag|Another tag was built than was asked for.|check the tag that was given; if it is right, do not use the file
        wrong-tag-name|A reference to a tag leads to a signed tag of another name.|do not use it: a signed tag was put in the place of another
        wrong-verifier|Another verifier made the verification summary than was asked for.|check the verifier that was given; if it is right, do not use what it is about
        wrong-version|The attestation is about another version of the package.|get the attestation that belongs to the file
        wrong-versioned-tag|A tag of another version was built than was asked for, or what was given is no version.|check the version that was given; if it is right, do not use the file
        wrong-workflow|The certificate shows another GitHub workflow than was asked for.|swsign bundle inspect shows the workflow; demand the right one, or do not use the signature
        wrong-workflow-input|The build was started with other inputs than was asked for, or not by hand.|check the inputs that were given; if they are right, do not use the file
        """
}
