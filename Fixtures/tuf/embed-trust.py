#!/usr/bin/env python3
"""What is built in of Sigstore's public instances (Sources/SigstoreVerification/EmbeddedTrust.swift): root, trusted root and
signing config, byte for byte as their TUF repositories serve them.

usage: embed-trust.py update PROGRAM [MIRROR [ROOT]]
       embed-trust.py age [DATE]

update (`make update-trust`) fetches the newest ones with PROGRAM, a swsign: its `initialize` verifies them from the root that
is built in up to the newest, as on any machine. If anything fails, nothing is changed. MIRROR takes the place of the public
instance's own, and staging is left alone then; ROOT takes the place of the root that is built in.

age (`make dist`) warns if what is built in stops to verify within 30 days of DATE (today): when the last key of a kind ends,
or when the root's own time is over. It never fails for that.
"""
import base64, datetime, json, os, pathlib, re, subprocess, sys, tempfile

source = pathlib.Path(__file__).resolve().parents[2] / "Sources/SigstoreVerification/EmbeddedTrust.swift"
files = {"Root": "root.json", "TrustedRoot": "trusted_root.json", "SigningConfig": "signing_config.v0.2.json"}
mirrors = {"production": "https://tuf-repo-cdn.sigstore.dev", "staging": "https://tuf-repo-cdn.sigstage.dev"}


def fail(message):
    sys.exit(f"embed-trust: nothing was changed: {message}")


# The Swift file


def read():
    """What is built in now: {instance: {"Date": date, "Root": text, …}}."""
    text, found = source.read_text(), {}
    for instance in mirrors:
        date = re.search(rf"{instance}Date = Instant\(seconds: (\d+)\)", text)
        found[instance] = {"Date": int(date[1])} if date else fail(f"{source} has no date of {instance}")
        for name in files:
            block = re.search(rf'{instance}{name}Text = #"""\n(.*?)\n        """#\n', text, re.DOTALL)
            found[instance][name] = (re.sub(r"(?m)^ {8}", "", block[1]) if block
                                     else fail(f"{source} has no {files[name]} of {instance}"))
    return found


def swift(trust):
    out = [
        "// Written by Fixtures/tuf/embed-trust.py from the files of the public Sigstore instances. Do not edit.",
        "// swift-format-ignore-file", "",
        "package import StrictJSON", "",
        "/// What is known of Sigstore's public instances before any of them is asked.",
        "package enum EmbeddedTrust {",
    ]
    for instance, parts in trust.items():
        out += [f"    /// When these were the newest files of the {instance} instance: {day(parts['Date'])}.",
                f"    package static let {instance}Date = Instant(seconds: {parts['Date']})", ""]
        for name, file in files.items():
            title = instance + name
            out += [f"    /// `{file}` of the {instance} instance.", f"    package static var {title}: [UInt8] {{",
                    f"        Array({title}Text.utf8)", "    }", f'    private static let {title}Text = #"""']
            out += [("        " + line) if line else "" for line in parts[name].split("\n")]
            out += ['        """#', ""]
    out[-1] = "}"
    return "\n".join(out) + "\n"


# Dates


def day(seconds):
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%d")


def moment(text):
    return datetime.datetime.fromisoformat(re.sub(r"(\.\d+)?Z$", "+00:00", text)).timestamp()


def certificate_end(encoded):
    answer = subprocess.run(["openssl", "x509", "-inform", "DER", "-noout", "-enddate", "-dateopt", "iso_8601"], check=True,
                            input=base64.b64decode(encoded), stdout=subprocess.PIPE).stdout.decode()
    return moment(answer.strip().removeprefix("notAfter=").replace(" ", "T"))


def ends(trusted_root):
    """When the last key of each kind ends: {kind: seconds}; a kind whose keys have no end is left out."""
    found = {}
    for kind in ("tlogs", "certificateAuthorities", "ctlogs", "timestampAuthorities"):
        last = []
        for entry in trusted_root.get(kind, []):
            validity = entry.get("validFor") or entry["publicKey"].get("validFor", {})
            dates = [moment(validity["end"])] if "end" in validity else []
            dates += [certificate_end(each["rawBytes"]) for each in entry.get("certChain", {}).get("certificates", [])]
            last.append(min(dates, default=float("inf")))
        if last and max(last) < float("inf"):
            found[kind] = max(last)
    return found


def age(now):
    for instance, parts in read().items():
        dates = {f"the last of its {kind} ends": end for kind, end in ends(json.loads(parts["TrustedRoot"])).items()}
        dates["its TUF root's time is over"] = moment(json.loads(parts["Root"])["signed"]["expires"])
        for what, end in dates.items():
            if now > end - 30 * 86400:
                print(f"WARNING: of the {instance} instance, as built in on {day(parts['Date'])}, {what} on {day(end)}; "
                      "run: make update-trust", file=sys.stderr)


# The newest files


def fetch(program, folder, instance, mirror, root):
    """The newest files of an instance, which the program verified from a root on."""
    (folder / "begin.json").write_text(root)
    # Nothing of the person's own settings takes part, but for proxies and certificates.
    environment = {name: value for name, value in os.environ.items() if not re.match("TUF_|COSIGN_|SIGSTORE_", name)}
    environment |= {"TUF_ROOT": str(folder / "cache"), "HOME": str(folder)}
    done = subprocess.run([program, "initialize", "--mirror", mirror, "--root", str(folder / "begin.json")],
                          env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        fail(f"{instance}: {done.stdout.strip()}")
    cache = next((folder / "cache").glob("*/root.json"), folder / "none").parent
    found = {}
    for name, file in files.items():
        place = cache / file if name == "Root" else cache / "targets" / file
        try:
            found[name] = place.read_bytes().decode()
            json.loads(found[name])
        except (OSError, ValueError) as error:
            fail(f"{instance}: {mirror} has no {file} that can be built in: {error}")
        if '"""#' in found[name] or "\\#" in found[name] or "\r" in found[name]:
            fail(f"{instance}: {file} cannot stand in a Swift file")
    # And this program reads both of them.
    for command in ("trusted-root", "signing-config"):
        done = subprocess.run([program, command, "create", "--with-default-services"], env=environment,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            fail(f"{instance}: {done.stderr.strip()}")
    return found


def update(program, mirror=None, root=None):
    trust = read()
    now = int(datetime.datetime.now(datetime.timezone.utc).timestamp())
    lines = []
    if root and not mirror:
        fail("a root is given, and not the mirror that it is of")
    for instance in ["production"] if mirror else list(mirrors):
        old = trust[instance]
        begin = pathlib.Path(root).read_text() if root else old["Root"]
        with tempfile.TemporaryDirectory() as folder:
            new = fetch(os.path.abspath(program), pathlib.Path(folder), instance, mirror or mirrors[instance], begin)
        trust[instance] = {"Date": now} | new
        before, after = (json.loads(each["Root"])["signed"] for each in (old, new))
        lines += [f"{instance}: verified now; before, on {day(old['Date'])}",
                  f"  root.json: version {before['version']}, expires {before['expires']}"
                  + ("; the same" if old["Root"] == new["Root"]
                     else f"; now version {after['version']}, expires {after['expires']}")]
        lines += [f"  {files[name]}: {'the same' if old[name] == new[name] else 'changed'}"
                  for name in ("TrustedRoot", "SigningConfig")]
        lines += [f"  the last of its {kind} ends {day(end)}" for kind, end in ends(json.loads(new["TrustedRoot"])).items()]
    # By a temporary name, so that the file is the old one or the new one.
    temporary = source.with_suffix(".new")
    temporary.write_text(swift(trust))
    os.replace(temporary, source)
    print("\n".join(lines))
    print("Build and test with it, then commit Sources/SigstoreVerification/EmbeddedTrust.swift.")


words = sys.argv[1:]
try:
    if words[:1] == ["update"] and 2 <= len(words) <= 4:
        update(*words[1:])
    elif words[:1] == ["age"] and len(words) <= 2:
        age(moment(words[1] + "T00:00:00Z") if len(words) > 1 else datetime.datetime.now(datetime.timezone.utc).timestamp())
    else:
        sys.exit(__doc__)
except (OSError, ValueError, LookupError, subprocess.SubprocessError) as error:
    fail(f"{type(error).__name__}: {error}")
