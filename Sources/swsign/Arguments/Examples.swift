/// What to type for the usual tasks: the one table from which help opens each command, in the order of the program's help.
/// A test runs all of it.
enum Examples {
    /// The examples of a command: of one that only has others below it, the first of each; of the program, the first steps.
    /// - Parameter command: The command's words with spaces between them; empty for the program.
    static func of(_ command: String) -> [String] {
        if let own = lines(command) { return own }
        if command.isEmpty {
            return ["generate-key-pair", "sign-blob", "verify-blob", "sign", "verify"].compactMap { lines($0)?.first }
        }
        let below = FlagTable.commands.filter { $0.hasPrefix(command + " ") }
        let first = below.compactMap { lines($0)?.first }
        return first.count > 1 ? Array(first.prefix(5)) : below.first.flatMap(lines) ?? []
    }

    private static func lines(_ command: String) -> [String]? {
        let block = table.split(separator: "\n\n").first { $0.prefix { $0 != "\n" } == command }
        return block?.split(separator: "\n").dropFirst().map { line in
            SwSign.name == "swsign" ? String(line) : String(line).replacing("swsign ", with: SwSign.name + " ")
        }
    }

    /// For each command its words, and then a line for each example.
    private static let table = """
        generate-key-pair
        swsign generate-key-pair
        swsign generate-key-pair --signing-algorithm ed25519 --output-key-prefix release

        import-key-pair
        swsign import-key-pair --key openssl.pem
        swsign import-key-pair --key openssl.pem --output-key-prefix mine

        public-key
        swsign public-key --key cosign.key
        swsign public-key --key cosign.key --outfile new.pub

        key info
        swsign key info cosign.pub
        swsign key info --output json cosign.key

        pkcs11-tool list-tokens
        swsign pkcs11-tool list-tokens
        swsign pkcs11-tool list-tokens --module-path /usr/lib/softhsm/libsofthsm2.so

        pkcs11-tool list-keys-uris
        swsign pkcs11-tool list-keys-uris
        swsign pkcs11-tool list-keys-uris --slot-id 1234 --module-path /usr/lib/softhsm/libsofthsm2.so

        sign
        swsign sign registry.example/app:1.0
        swsign sign --key cosign.key --tlog-upload=false registry.example/app:1.0
        swsign sign --key cosign.key --tlog-upload=false -a stage=release registry.example/app:1.0
        swsign sign --key cosign.key --tlog-upload=false --recursive oci-layout:layout:1.0

        resign
        swsign resign --former-key cosign.pub --insecure-ignore-tlog --dry-run --plan plan.json --key new.key --tlog-upload=false registry.example/app
        swsign resign --former-key cosign.pub --insecure-ignore-tlog --plan plan.json --key new.key --tlog-upload=false
        swsign resign --former-key cosign.pub --insecure-ignore-tlog --key new.key --tlog-upload=false registry.example/app

        verify
        swsign verify --certificate-identity ann@example.com --certificate-oidc-issuer https://accounts.example registry.example/app:1.0
        swsign verify --key cosign.pub --insecure-ignore-tlog registry.example/app:1.0
        swsign verify --key cosign.pub --insecure-ignore-tlog --output text oci-layout:layout:1.0

        attest
        swsign attest --type spdxjson --predicate sbom.json registry.example/app:1.0
        swsign attest --key cosign.key --tlog-upload=false --type slsaprovenance1 --predicate provenance.json registry.example/app:1.0

        verify-attestation
        swsign verify-attestation --type spdxjson --certificate-identity ann@example.com --certificate-oidc-issuer https://accounts.example registry.example/app:1.0
        swsign verify-attestation --type slsaprovenance1 --key cosign.pub --insecure-ignore-tlog registry.example/app:1.0

        tree
        swsign tree registry.example/app:1.0
        swsign tree oci-layout:layout:1.0

        triangulate
        swsign triangulate registry.example/app:1.0
        swsign triangulate --type digest registry.example/app:1.0

        download signature
        swsign download signature registry.example/app:1.0
        swsign download signature oci-layout:layout:1.0

        download attestation
        swsign download attestation registry.example/app:1.0
        swsign download attestation --predicate-type slsaprovenance1 registry.example/app:1.0

        download sbom
        swsign download sbom registry.example/app:1.0 > new.json
        swsign download sbom oci-layout:layout:1.0

        attach signature
        swsign attach signature --payload payload.json --signature payload.sig registry.example/app:1.0
        swsign attach signature --bundle image.sigstore.json registry.example/app:1.0

        attach attestation
        swsign attach attestation --attestation envelope.json registry.example/app:1.0
        swsign attach attestation --attestation envelope.json oci-layout:layout:1.0

        attach sbom
        swsign attach sbom --sbom sbom.json --type spdx --input-format json registry.example/other:1.0
        swsign attach sbom --sbom sbom.json --type cyclonedx --input-format json oci-layout:layout:2.0

        copy
        swsign copy registry.example/app:1.0 registry.example/copy:1.0
        swsign copy --only=sig,att registry.example/app:1.0 oci-layout:copied:1.0

        save
        swsign save --dir saved registry.example/app:1.0
        swsign save --dir saved2 oci-layout:layout:1.0

        load
        swsign load --dir folder registry.example/loaded:1.0
        swsign load --dir folder oci-layout:loaded:1.0

        clean
        swsign clean --type signature registry.example/old:1.0
        swsign clean --yes registry.example/old:1.0

        login
        swsign login registry.example --username ann --password-stdin < password.txt
        swsign login registry.example --username ann --password "$(cat password.txt)"

        logout
        swsign logout registry.example
        swsign logout docker.io

        sign-blob
        swsign sign-blob --bundle file.sigstore.json file
        swsign sign-blob --key cosign.key --tlog-upload=false --bundle file.sigstore.json file
        swsign sign-blob --key cosign.key --tlog-upload=false file > file.sig
        swsign sign-blob --key cosign.key --tlog-upload=false dist/

        verify-blob
        swsign verify-blob --bundle file.sigstore.json --certificate-identity ann@example.com --certificate-oidc-issuer https://accounts.example file
        swsign verify-blob --key cosign.pub --insecure-ignore-tlog --bundle bykey.sigstore.json file
        swsign verify-blob --key cosign.pub --insecure-ignore-tlog --signature file.sig file

        attest-blob
        swsign attest-blob --type spdxjson --predicate sbom.json --bundle file.att.json file
        swsign attest-blob --key cosign.key --tlog-upload=false --type slsaprovenance1 --predicate provenance.json --bundle file.att.json file

        verify-blob-attestation
        swsign verify-blob-attestation --type spdxjson --bundle file.att.json --certificate-identity ann@example.com --certificate-oidc-issuer https://accounts.example file
        swsign verify-blob-attestation --type slsaprovenance1 --key cosign.pub --insecure-ignore-tlog --bundle bykey.att.json file

        verify-provenance
        swsign verify-provenance --from pypi --repository https://github.com/trailofbits/pypi-attestations pypi_attestations-0.0.19.tar.gz
        swsign verify-provenance --repository https://github.com/trailofbits/pypi-attestations --attestations pypi_attestations-0.0.19.tar.gz.provenance pypi_attestations-0.0.19.tar.gz
        swsign verify-provenance --from slsa --source-uri github.com/example/demo --source-tag v1.2.3 app
        swsign verify-provenance --from model --key cosign.pub model
        swsign verify-provenance --from model --certificate-identity ann@example.com --certificate-oidc-issuer https://accounts.example --signature keyless.model.sig model

        sign-model
        swsign sign-model dist
        swsign sign-model --key cosign.key dist
        swsign sign-model --key cosign.key --ignore-paths dist/README.md --signature bykey.model.sig dist

        bundle inspect
        swsign bundle inspect file.sigstore.json
        swsign bundle inspect --output json file.sigstore.json

        bundle create
        swsign bundle create --artifact file --signature file.sig --key cosign.pub --ignore-tlog --out new.sigstore.json
        swsign bundle create --artifact file --bundle cosign2.bundle --key cosign.pub --ignore-tlog --out new2.sigstore.json

        trusted-root create
        swsign trusted-root create --with-default-services --out root.json
        swsign trusted-root create --fulcio url=https://fulcio.example,certificate-chain=chain.pem --out root.json

        signing-config create
        swsign signing-config create --out none.json
        swsign signing-config create --with-default-services --out services.json

        tlog get
        swsign tlog get --log-index 0
        swsign tlog get --log-index 0 --output json

        tlog search
        swsign tlog search --artifact file
        swsign tlog search --email ann@example.com

        tlog verify
        swsign tlog verify --bundle file.sigstore.json --artifact file
        swsign tlog verify --log-index 0

        git setup
        swsign git setup --local -C source
        swsign git setup --local --undo -C source

        git verify
        swsign git verify -C source --allowed-signers allowed_signers HEAD
        swsign git verify -C source --allowed-signers allowed_signers main~1..main
        swsign git verify -C source --rules rules.json --ref refs/heads/main --all

        git hook pre-receive
        swsign git hook pre-receive --rules rules.json
        swsign git hook pre-receive --allowed-signers allowed_signers --offline

        git hook update
        swsign git hook update --rules rules.json refs/heads/gone 0000000000000000000000000000000000000000 0000000000000000000000000000000000000000
        swsign git hook update --allowed-signers allowed_signers refs/tags/gone 0000000000000000000000000000000000000000 0000000000000000000000000000000000000000

        git hook pre-push
        swsign git hook pre-push --rules rules.json origin https://git.example/app
        swsign git hook pre-push --allowed-signers allowed_signers origin https://git.example/app

        git hook install
        swsign git hook install -C source pre-receive --rules rules.json
        swsign git hook install -C source pre-push --allowed-signers allowed_signers

        git attest
        swsign git attest -C source --filepath sbom.json --type spdxjson
        swsign git attest -C source --key cosign.key --tlog-upload=false --filepath sbom.json --type spdxjson main~1

        git show
        swsign git show -C source
        swsign git show -C source --remote upstream main~1

        agent
        swsign agent
        swsign agent --confirm
        swsign agent --status
        swsign agent --stop

        tlog info
        swsign tlog info
        swsign tlog info --output json

        tlog monitor
        swsign tlog monitor --state monitor.json --certificate-identity ann@example.com --certificate-oidc-issuer https://accounts.example
        swsign tlog monitor --state monitor.json --certificate-identity releases@example.com --certificate-oidc-issuer https://accounts.example --expect releases.txt --output json

        initialize
        swsign initialize
        swsign initialize --mirror https://tuf.example --root tuf-root.json

        audit
        swsign audit --key cosign.pub --insecure-ignore-tlog registry.example/app
        swsign audit --certificate-identity ann@example.com --certificate-oidc-issuer https://accounts.example --output json --output-file audit.json registry.example/app
        swsign audit --git source --allowed-signers allowed_signers main~1..main

        audit merge
        swsign audit merge part1.json part2.json
        swsign audit merge part1.json part2.json --output html --output-file audit.html
        swsign audit merge part1.json part2.json --output json --output-file audit.json --attest --attest-key cosign.key --tlog-upload=false
        swsign audit merge audit.json --compare old.json

        version
        swsign version
        swsign version --json

        doctor
        swsign doctor
        swsign doctor registry.example/app:1.0
        swsign doctor --offline oci-layout:layout:1.0
        swsign doctor --output json > doctor.json

        env
        swsign env
        swsign env --show-descriptions=false

        errors
        swsign errors
        swsign errors no-log-entry

        completion
        swsign completion bash > completion.bash
        swsign completion fish > completion.fish
        """
}
