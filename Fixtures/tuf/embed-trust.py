#!/usr/bin/env python3
"""Writes Sources/SigstoreVerification/EmbeddedTrust.swift.

usage: embed-trust.py DIRECTORY

DIRECTORY holds production/ and staging/, each with root.json, trusted_root.json and signing_config.v0.2.json as the
public TUF repositories serve them. The files go into the program byte for byte.
"""
import pathlib
import sys

files = [("root", "root.json"), ("trustedRoot", "trusted_root.json"), ("signingConfig", "signing_config.v0.2.json")]
source = pathlib.Path(sys.argv[1])
out = [
    "// Written by Fixtures/tuf/embed-trust.py from the files of the public Sigstore instances. Do not edit.",
    "// swift-format-ignore-file",
    "",
    "/// What is known of Sigstore's public instances before any of them is asked.",
    "package enum EmbeddedTrust {",
]
for instance in ["production", "staging"]:
    for name, file in files:
        text = (source / instance / file).read_bytes().decode()
        assert '"""#' not in text and "\\#" not in text and "\r" not in text
        title = name[0].upper() + name[1:]
        out.append(f"    /// `{file}` of the {instance} instance.")
        out.append(f'    package static var {instance}{title}: [UInt8] {{')
        out.append(f'        Array({instance}{title}Text.utf8)')
        out.append("    }")
        out.append(f'    private static let {instance}{title}Text = #"""')
        out.extend(("        " + line) if line else "" for line in text.split("\n"))
        out.append('        """#')
        out.append("")
out[-1] = "}"
target = pathlib.Path(__file__).resolve().parents[2] / "Sources/SigstoreVerification/EmbeddedTrust.swift"
target.write_text("\n".join(out) + "\n")
