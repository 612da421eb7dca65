"""commits.py FOLDER COUNT [SERVICES PROGRAM]: makes a repository of signed commits, quickly, for `bench` and for trying things out.

Without SERVICES the commits are a line of history, signed by one SSH key; FOLDER/allowed allows it. With SERVICES, the folder of a
local-sigstore, they are signed as gitsign does offline, by one certificate that PROGRAM (swsign) gets there; since one run signs all
of them at once, none is the parent of another, and a branch leads to each.
"""
import base64
import hashlib
import json
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import textwrap
import urllib.request
import zlib

TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
TIME = 1_700_000_000


def commit(number, time, parent=None):
    """The lines before the message, and the message."""
    person = f"Ann <ann@example.org> {time} +0000"
    head = f"tree {TREE}\n" + (f"parent {parent}\n" if parent else "") + f"author {person}\ncommitter {person}\n"
    return head.encode(), f"\ncommit {number}\n".encode()


def signed(head, message, label, signature):
    block = f"-----BEGIN {label}-----\n" + textwrap.fill(base64.b64encode(signature).decode(), 70) + f"\n-----END {label}-----"
    return head + b"gpgsig " + block.replace("\n", "\n ").encode() + b"\n" + message


def name(content):
    return hashlib.sha1(b"commit %d\0" % len(content) + content).hexdigest()


def write(folder, commits, references):
    """Puts commits and the empty tree into a repository, as one pack."""
    subprocess.run(["git", "init", "-q", "-b", "main", folder], check=True)
    pack = bytearray(b"PACK" + struct.pack(">II", 2, len(commits) + 1))
    for kind, content in [(2, b"")] + [(1, each) for each in commits]:
        size = len(content)
        byte, size = kind << 4 | size & 15, size >> 4
        while size:
            pack.append(byte | 0x80)
            byte, size = size & 0x7F, size >> 7
        pack.append(byte)
        pack += zlib.compress(content, 1)
    pack += hashlib.sha1(pack).digest()
    subprocess.run(["git", "-C", folder, "index-pack", "--stdin"], input=pack, check=True, stdout=subprocess.DEVNULL)
    lines = "".join(f"create {reference} {target}\n" for reference, target in references)
    subprocess.run(["git", "-C", folder, "update-ref", "--stdin"], input=lines.encode(), check=True)
    subprocess.run(["git", "-C", folder, "pack-refs", "--all"], check=True)


def ssh(folder, count):
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    def text(*values):
        return b"".join(struct.pack(">I", len(value)) + value for value in values)

    key = Ed25519PrivateKey.generate()
    public = text(b"ssh-ed25519", key.public_key().public_bytes_raw())
    commits, parent = [], None
    for number in range(count):
        head, message = commit(number, TIME + number, parent)
        digest = hashlib.sha512(head + message).digest()
        signature = key.sign(b"SSHSIG" + text(b"git", b"", b"sha512", digest))
        blob = b"SSHSIG" + struct.pack(">I", 1) + text(public, b"git", b"", b"sha512", text(b"ssh-ed25519", signature))
        commits.append(signed(head, message, "SSH SIGNATURE", blob))
        parent = name(commits[-1])
    write(folder, commits, [("refs/heads/main", parent)])
    allowed = f'ann@example.org namespaces="git" ssh-ed25519 {base64.b64encode(public).decode()}\n'
    (folder / "allowed").write_text(allowed)


def der(tag, *values):
    content = b"".join(values)
    size = len(content)
    length = bytes([size]) if size < 128 else bytes([0x80 | (size.bit_length() + 7) // 8]) + size.to_bytes((size.bit_length() + 7) // 8)
    return bytes([tag]) + length + content


def identifier(dotted):
    first, second, *rest = map(int, dotted.split("."))
    encoded = bytes([first * 40 + second])
    for arc in rest:
        digits = [arc & 0x7F]
        while arc := arc >> 7:
            digits.append(arc & 0x7F | 0x80)
        encoded += bytes(reversed(digits))
    return der(6, encoded)


def field(number, value):
    """A field of a protobuf message; nothing if it is empty or zero."""
    def varint(value):
        digits = []
        while True:
            digits.append(value & 0x7F | (0x80 if value > 0x7F else 0))
            value >>= 7
            if not value:
                return bytes(digits)

    if isinstance(value, int):
        return varint(number << 3) + varint(value) if value else b""
    return varint(number << 3 | 2) + varint(len(value)) + value


def logged(entry):
    """A log entry of a bundle in protobuf's binary form, without its body, as gitsign keeps it."""
    proof = entry["inclusionProof"]
    decoded = base64.b64decode
    return b"".join([
        field(1, int(entry["logIndex"])), field(2, field(1, decoded(entry["logId"]["keyId"]))),
        field(3, field(1, entry["kindVersion"]["kind"].encode()) + field(2, entry["kindVersion"]["version"].encode())),
        field(4, int(entry["integratedTime"])),
        field(5, field(1, decoded(entry["inclusionPromise"]["signedEntryTimestamp"]))),
        field(6, field(1, int(proof["logIndex"])) + field(2, decoded(proof["rootHash"])) + field(3, int(proof["treeSize"]))
              + b"".join(field(4, decoded(each)) for each in proof["hashes"])
              + field(5, field(1, proof["checkpoint"]["envelope"].encode()))),
    ])


def children(encoded):
    """The elements of a constructed element."""
    def header(at):
        size, at = encoded[at + 1], at + 2
        if size & 0x80:
            size, at = int.from_bytes(encoded[at:at + (size & 0x7F)]), at + (size & 0x7F)
        return at, at + size

    at, end = header(0)
    found = []
    while at < end:
        stop = header(at)[1]
        found.append(encoded[at:stop])
        at = stop
    return found


def keyless(folder, count, services, program):
    plain, sha256 = identifier("1.2.840.113549.1.7.1"), der(0x30, identifier("2.16.840.1.101.3.4.2.1"))
    work = folder.parent / (folder.name + "-attributes")
    work.mkdir()
    made = []
    for number in range(count):
        head, message = commit(number, TIME + number)
        made.append((head, message, [
            der(0x30, identifier("1.2.840.113549.1.9.3"), der(0x31, plain)),
            der(0x30, identifier("1.2.840.113549.1.9.5"), der(0x31, der(0x17, b"231114221320Z"))),
            der(0x30, identifier("1.2.840.113549.1.9.4"), der(0x31, der(4, hashlib.sha256(head + message).digest()))),
        ]))
        (work / str(number)).write_bytes(der(0x31, *made[-1][2]))
    token = subprocess.run(
        [program.parent / "local-sigstore", "token", "--folder", services, "--email", "ann@example.org", "--lifetime", "86400"],
        check=True, capture_output=True, text=True).stdout
    (work / "token").write_text(token.strip())
    # gitsign takes no timestamp of the very second in which the certificate begins.
    authority = json.loads((services / "signing_config.v1.json").read_text())["caUrls"][0]["url"]
    earlier = {"action": "wrong-time", "seconds": -5}
    urllib.request.urlopen(urllib.request.Request(f"{authority}/_faults", json.dumps(earlier).encode(), method="POST")).close()
    for first in range(0, count, 1000):
        subprocess.run(
            [program, "sign-blob", "--yes", "--identity-token", "token", "--trusted-root", services / "trusted_root.json",
             "--signing-config", services / "signing_config.v1.json", *map(str, range(first, min(first + 1000, count)))],
            cwd=work, check=True, capture_output=True)
    urllib.request.urlopen(urllib.request.Request(f"{authority}/_faults", method="DELETE")).close()
    commits = []
    for number, (head, message, attributes) in enumerate(made):
        bundle = json.loads((work / f"{number}.sigstore.json").read_text())
        material = bundle["verificationMaterial"]
        certificate = base64.b64decode(material["certificate"]["rawBytes"])
        fields = children(children(certificate)[0])
        unsigned = [der(0x30, identifier("1.3.6.1.4.1.57264.3.1"), der(0x31, der(4, logged(material["tlogEntries"][0]))))]
        stamps = material.get("timestampVerificationData", {}).get("rfc3161Timestamps", [])
        for stamp in stamps:
            token = children(base64.b64decode(stamp["signedTimestamp"]))[1]
            unsigned.append(der(0x30, identifier("1.2.840.113549.1.9.16.2.14"), der(0x31, token)))
        signature = base64.b64decode(bundle["messageSignature"]["signature"])
        signer = der(0x30, der(2, b"\1"), der(0x30, fields[3], fields[1]), sha256, der(0xA0, *attributes),
                     der(0x30, identifier("1.2.840.10045.4.3.2")), der(4, signature), der(0xA1, *unsigned))
        data = der(0x30, der(2, b"\1"), der(0x31, sha256), der(0x30, plain), der(0xA0, certificate), der(0x31, signer))
        wrapped = der(0x30, identifier("1.2.840.113549.1.7.2"), der(0xA0, data))
        commits.append(signed(head, message, "SIGNED MESSAGE", wrapped))
    write(folder, commits, [(f"refs/heads/{number}", name(each)) for number, each in enumerate(commits)])
    shutil.rmtree(work)


if __name__ == "__main__":
    os.umask(0o077)
    folder, count = pathlib.Path(sys.argv[1]).resolve(), int(sys.argv[2])
    if len(sys.argv) > 3:
        keyless(folder, count, pathlib.Path(sys.argv[3]).resolve(), pathlib.Path(sys.argv[4]).resolve())
    else:
        ssh(folder, count)
