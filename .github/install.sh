#!/bin/sh
# Installs the program swsign: picks the release's file for this machine, verifies it, and puts it into PREFIX/bin.
#
#   SWSIGN_REPOSITORY  whose release, as OWNER/NAME on GitHub; its release workflow must have signed
#   SWSIGN_VERSION     which release, such as 0.2.0; without it, the newest
#   SWSIGN_DOWNLOAD    the folder that the release's files are in, if not on GitHub: an https:// or file:/// URL
#   SWSIGN_KEY         the public key that must have signed, in place of the release workflow
#   SWSIGN_SIGNATURE   "required" installs nothing if there is neither a swsign nor a cosign to verify the signature with
#   SWSIGN_CACHE       a folder that keeps the files of each SWSIGN_VERSION; they are verified each time
#   PREFIX             ~/.local, and /usr/local for root
#
# The checksum is always verified, and so is the signature if a swsign or cosign is on the PATH.
set -eu

repository=${SWSIGN_REPOSITORY:-} # the release workflow writes its own repository here

fail() {
    echo "install.sh: $1; nothing was installed" >&2
    [ $# -lt 2 ] || echo "            $2" >&2
    exit 1
}

# Puts the release's file $1 into the work folder.
fetch() {
    from=
    if [ "$cache" ] && [ -f "$cache/$1" ]; then
        cp "$cache/$1" "$work/$1"
        from=", in $cache; remove that folder to download it again"
    else
        curl --fail --silent --show-error --location --proto "$protocol" --retry 2 --connect-timeout 20 \
            --max-time 600 --max-filesize 268435456 --output "$work/$1" "$base/$1" ||
            fail "$base/$1 cannot be downloaded" "is there such a release, and a network?"
    fi
}

require_version() {
    case $1 in
    [!0-9]* | *[!0-9A-Za-z.+~-]*) fail "$2 holds no version such as 0.2.0" ;;
    esac
}

main() {
    version=${SWSIGN_VERSION:-}
    version=${version#v}
    require_version "$version" SWSIGN_VERSION
    case ${SWSIGN_SIGNATURE:=optional} in
    required | optional) ;;
    *) fail "SWSIGN_SIGNATURE is neither required nor optional" ;;
    esac
    case $repository in
    */*/* | *[!A-Za-z0-9._/-]*) fail "SWSIGN_REPOSITORY is not of the form OWNER/NAME" ;;
    ?*/?*) ;;
    *) [ "${SWSIGN_DOWNLOAD:-}" ] && [ "${SWSIGN_KEY:-}" ] || fail "SWSIGN_REPOSITORY (OWNER/NAME on GitHub) is not set" ;;
    esac
    base=https://github.com/$repository/releases/latest/download
    [ -z "$version" ] || base=https://github.com/$repository/releases/download/v$version
    base=${SWSIGN_DOWNLOAD:-$base}
    case $base in
    https://*) protocol='=https' ;;
    http://127.0.0.1:*) protocol='=http' ;;
    file:///*) protocol='=file' ;;
    *) fail "SWSIGN_DOWNLOAD is neither https:// nor file:///" ;;
    esac
    case $(uname -s)-$(uname -m) in
    Linux-x86_64) arch=amd64 ;;
    Linux-aarch64) arch=arm64 ;;
    *) fail "there is no release for $(uname -s) on $(uname -m)" "build it from the sources: make install" ;;
    esac
    for tool in curl tar gzip sha256sum; do
        command -v "$tool" >/dev/null || fail "$tool is missing" "install the package of this name, or the one that has it"
    done
    # The newest release is another one tomorrow, so it is not kept.
    cache=${version:+${SWSIGN_CACHE:+$SWSIGN_CACHE/$version}}
    work=$(mktemp -d)
    new=
    trap 'rm -rf "$work" ${new:+"$new"}' EXIT
    trap 'exit 130' HUP INT TERM

    # The checksum: one line, and one only, must be about this machine's file.
    fetch checksums.txt
    archive='' sum=''
    while read -r digits name; do
        case $name in
        swsign-${version:-*}-linux-$arch.tar.gz) archive=$name sum=$sum$digits ;;
        esac
    done <"$work/checksums.txt"
    [ "$archive" ] || fail "$base/checksums.txt names no swsign-${version:-VERSION}-linux-$arch.tar.gz" \
        "perhaps it is a page that says an error, or cut short"
    case $sum in *[!0-9a-f]*) sum='' ;; esac
    [ ${#sum} = 64 ] || fail "$base/checksums.txt has not one SHA-256 checksum for this machine's file"
    version=${archive#swsign-}
    version=${version%-linux-$arch.tar.gz}
    require_version "$version" checksums.txt

    # The signature of the checksums.
    if verifier=$(command -v swsign || command -v cosign); then
        fetch checksums.txt.sigstore.json
        if [ "${SWSIGN_KEY:-}" ]; then
            set -- --key "$SWSIGN_KEY" --insecure-ignore-tlog=true
        else
            set -- --certificate-oidc-issuer https://token.actions.githubusercontent.com \
                --certificate-identity "https://github.com/$repository/.github/workflows/release.yml@refs/tags/v$version"
        fi
        "$verifier" verify-blob --new-bundle-format --bundle "$work/checksums.txt.sigstore.json" "$@" \
            "$work/checksums.txt" >/dev/null || fail "$verifier did not verify the signature of checksums.txt"
        signature="signature verified by $verifier"
    else
        [ "$SWSIGN_SIGNATURE" = optional ] || fail "the signature is required, and neither swsign nor cosign is on the PATH"
        signature="signature NOT verified, since neither swsign nor cosign is on the PATH"
    fi

    fetch "$archive"
    found=$(sha256sum <"$work/$archive")
    found=${found%% *}
    [ "$found" = "$sum" ] || fail "$archive is not what was released" "expected SHA-256 $sum, found $found$from"

    # By a temporary name, and only if it runs here.
    if [ "$(id -u)" = 0 ]; then prefix=/usr/local; else prefix=$HOME/.local; fi
    bin=${PREFIX:-$prefix}/bin
    mkdir -p "$bin"
    [ ! -d "$bin/swsign" ] || fail "$bin/swsign is a folder"
    new=$(mktemp "$bin/.swsign.XXXXXX")
    tar -xzOf "$work/$archive" "${archive%.tar.gz}/swsign" >"$new" || fail "$archive holds no program"
    chmod 755 "$new"
    case $("$new" version) in
    *GitVersion:*) ;;
    *) fail "swsign $version does not run here" "it needs glibc 2.34 and OpenSSL 3.0, or later" ;;
    esac
    mv -f "$new" "$bin/swsign"
    new=
    if [ "$cache" ]; then
        mkdir -p "$cache"
        cp "$work"/* "$cache/"
    fi
    echo "swsign $version is in $bin (checksum verified; $signature)"
    case :$PATH: in
    *":$bin:"*) ;;
    *) echo "$bin is not on the PATH" ;;
    esac
}

# At the end, so that a script that was cut short does nothing.
main
