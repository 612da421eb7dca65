#!/usr/bin/env python3
"""Runs a TUF client through the client workflow of the specification, and through the attack on each of its steps.

usage: scenarios.py CLIENT [NAME...]

CLIENT speaks the protocol of the public TUF conformance suite. Repositories are made with python-tuf while this runs.
One line a scenario; the exit code is 0 when all of them pass.
"""
import copy
import hashlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

from cryptography.hazmat.primitives.asymmetric import ec
from securesystemslib.formats import encode_canonical
from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.metadata import MetaFile, TargetFile

from repository import Repository, Server, endless, failing, in_days, in_seconds

SERVER = Server()
SCENARIOS = []


def scenario(function):
    SCENARIOS.append((function.__name__, function))
    return function


def cases(**variants):
    def wrap(function):
        for name, arguments in variants.items():
            SCENARIOS.append((f"{function.__name__}[{name}]", lambda r, c, a=arguments: function(r, c, *a)))
        return function

    return wrap


class Client:
    command = None

    def __init__(self, repository, folder=None):
        self.url = SERVER.add(repository)
        self.folder = pathlib.Path(folder or tempfile.mkdtemp(prefix="tuf-"))
        self.metadata = self.folder / "metadata"
        self.targets = self.folder / "targets"
        self.metadata.mkdir()
        self.targets.mkdir()
        self.initialize(repository.files["metadata/1.root.json"])

    def run(self, *arguments):
        done = subprocess.run(
            [self.command, "--metadata-dir", self.metadata, *arguments], capture_output=True, text=True, timeout=600
        )
        assert done.returncode in (0, 1), f"exit {done.returncode}: {done.stderr}"
        self.said = done.stderr
        return done.returncode == 0

    def initialize(self, root):
        path = self.folder / "initial"
        path.write_bytes(root)
        return self.run("init", path)

    def refresh(self):
        return self.run("--metadata-url", f"{self.url}/metadata/", "refresh")

    def refused(self, code):
        """Whether a refresh fails, and for that reason."""
        assert not self.refresh(), "the client accepted it"
        assert self.said.splitlines()[-1].startswith(code), self.said
        return True

    def download(self, name):
        return self.run(
            "--metadata-url", f"{self.url}/metadata/", "--target-name", name, "--target-dir", self.targets,
            "--target-base-url", f"{self.url}/targets/", "download",
        )

    def downloaded(self):
        return [p.read_bytes() for p in sorted(self.targets.rglob("*"), key=os.path.getmtime) if p.is_file()]

    def bytes(self, role):
        path = self.metadata / f"{role}.json"
        return path.read_bytes() if path.exists() else None

    def versions(self):
        return {
            p.name.removesuffix(".json"): json.loads(p.read_bytes())["signed"]["version"]
            for p in self.metadata.glob("*.json")
        }

    def has(self, **versions):
        found = self.versions()
        assert found == versions, f"{found} where {versions} were expected"
        return True


def asked(repository, *paths):
    found = [p.removeprefix("metadata/").removesuffix(".json") for p in repository.requests]
    assert found == list(paths), f"asked for {found}, not {list(paths)}"


def expire(r, names, published, use):
    """Publishes with times that run out soon, waits until the client has used that before, and until they have run out.
    On a busy machine it may be too late at first."""
    for seconds in 2, 20, 200:
        end = in_seconds(seconds)
        for name in names:
            r.role(name).expires = end
        r.publish(*published)
        if use():
            break
    else:
        raise AssertionError("the client does not use what has not expired")
    while in_seconds(0) <= end:
        time.sleep(0.1)


# Section 5.3: root


@scenario
def first_update(r, c):
    assert c.refresh()
    asked(r, "2.root", "timestamp", "1.snapshot", "1.targets")
    assert c.has(root=1, timestamp=1, snapshot=1, targets=1)
    for role, file in [("timestamp", "timestamp"), ("snapshot", "1.snapshot"), ("targets", "1.targets")]:
        assert c.bytes(role) == r.files[f"metadata/{file}.json"]


@scenario
def second_update_fetches_only_what_is_new(r, c):
    assert c.refresh()
    r.requests.clear()
    assert c.refresh()
    asked(r, "2.root", "timestamp")


@scenario
def initial_root_without_a_version(r, c):
    root = json.loads(r.files["metadata/1.root.json"])
    del root["signed"]["version"]
    c.initialize(json.dumps(root).encode())
    assert c.refused("tuf-malformed")
    assert r.requests == []


@scenario
def initial_root_with_a_wrong_signature(r, c):
    root = json.loads(r.files["metadata/1.root.json"])
    root["signatures"][0]["sig"] = "3045022100" + "ee" * 66
    c.initialize(json.dumps(root).encode())
    assert c.refused("tuf-threshold")
    assert r.requests == []


@scenario
def root_rotated_ten_times(r, c):
    for _ in range(10):
        old = r.signers["root"]
        r.rotate("root")
        new = r.signers["root"]
        r.signers["root"] = old + new
        r.publish("root")
        r.signers["root"] = new
    assert c.refresh()
    assert c.has(root=11, timestamp=1, snapshot=1, targets=1)
    asked(r, *[f"{n}.root" for n in range(2, 13)], "timestamp", "1.snapshot", "1.targets")


@scenario
def root_with_a_gap(r, c):
    r.publish("root")
    r.publish("root")
    del r.files["metadata/2.root.json"]
    assert c.refresh()
    assert c.versions()["root"] == 1


@scenario
def root_version_is_not_the_next(r, c):
    r.role("root").version = 4
    r.files["metadata/2.root.json"] = r.signed("root")
    assert c.refused("tuf-rollback")
    assert c.has(root=1)


@scenario
def root_rolled_back(r, c):
    r.publish("root")
    assert c.refresh()
    r.files["metadata/3.root.json"] = r.files["metadata/1.root.json"]
    assert c.refused("tuf-rollback")
    assert c.versions()["root"] == 2


@scenario
def root_not_signed_by_the_old_key(r, c):
    r.rotate("root")
    r.publish("root")
    assert c.refused("tuf-threshold")
    assert c.has(root=1)


@scenario
def root_not_signed_by_the_new_key(r, c):
    old = r.signers["root"]
    r.rotate("root")
    r.signers["root"] = old
    r.publish("root")
    assert c.refused("tuf-threshold")
    assert c.has(root=1)


ROTATIONS = {
    "one_key_replaced": ([([1], 1, [1]), ([2], 1, [2, 1]), ([2], 1, [2])], True),
    "foreign_signatures": ([([1], 1, [3, 1, 4]), ([2], 1, [3, 2, 1, 4]), ([2], 1, [3, 2, 4])], True),
    "three_of_five": ([([0, 1, 2, 3, 4], 3, [0, 2, 4]), ([0, 1, 2, 3, 4], 3, [0, 4, 1])], True),
    "lost_key_replaced": ([([0, 1, 2, 3, 4], 3, [0, 2, 4]), ([0, 1, 3, 4, 5], 3, [0, 4, 1])], True),
    "all_keys_replaced": (
        [([0, 1, 2, 3, 4], 3, [0, 2, 4]), ([5, 6, 7, 8, 9], 3, [0, 2, 4, 5, 6, 7]), ([5, 6, 7, 8, 9], 3, [5, 6, 7])], True),
    "threshold_raised": ([([1, 2, 3], 1, [1]), ([1, 2, 3], 2, [1, 2])], True),
    "threshold_lowered": ([([1, 2, 3], 2, [1, 2]), ([1, 2, 3], 1, [1, 2]), ([1, 2, 3], 1, [1])], True),
    "too_few_new": ([([0, 1, 2, 3, 4], 3, [0, 2, 4]), ([0, 1, 3, 4, 5], 3, [0, 2, 4])], False),
    "too_few_old": ([([0, 1, 2, 3, 4], 3, [0, 2, 4]), ([0, 1, 3, 4, 5], 3, [0, 4, 5])], False),
    "raised_and_not_met": ([([1, 2, 3], 1, [1]), ([1, 2, 3], 2, [2])], False),
    "lowered_too_soon": ([([1, 2, 3], 2, [1, 2]), ([1, 2, 3], 1, [1])], False),
}


@cases(**ROTATIONS)
def root_keys(r, c, steps, accepted):
    signers = [CryptoSigner.generate_ed25519() for _ in range(10)]
    r.role("root").version = 0
    for keys, threshold, signatures in steps:
        role = r.role("root").roles["root"]
        for keyid in list(role.keyids):
            r.role("root").revoke_key(keyid, "root")
        role.threshold = threshold
        for key in keys:
            r.role("root").add_key(signers[key].public_key, "root")
        r.signers["root"] = [signers[s] for s in signatures]
        r.publish("root")
    c.initialize(r.files["metadata/1.root.json"])
    assert c.refresh() == accepted
    last = len(steps) if accepted else len(steps) - 1
    assert c.bytes("root") == r.files[f"metadata/{last}.root.json"]


@cases(root=("root",), timestamp=("timestamp",), snapshot=("snapshot",), targets=("targets",))
def unsigned(r, c, name):
    r.signers[name] = []
    r.publish("root", "targets", "snapshot", "timestamp")
    assert c.refused("tuf-threshold")
    order = ["root", "timestamp", "snapshot", "targets"]
    kept = order[: order.index(name)]
    assert c.has(**({n: 2 for n in kept} or {"root": 1}))


@cases(
    pss=(lambda: CryptoSigner.generate_rsa(scheme="rsassa-pss-sha256"),),
    pkcs1=(lambda: CryptoSigner.generate_rsa(scheme="rsa-pkcs1v15-sha256"),),
    p256=(CryptoSigner.generate_ecdsa,),
    ed25519=(CryptoSigner.generate_ed25519,),
)
def key_type(r, c, make):
    signer = make()
    r.add_key("root", signer)
    r.role("root").roles["root"].threshold = 2
    r.publish("root")
    assert c.refresh()
    assert c.versions()["root"] == 2
    r.publish("root")

    def spoil(file):
        for signature in file["signatures"]:
            if signature["keyid"] == signer.public_key.keyid:
                digit = "0" if signature["sig"][-1] != "0" else "1"
                signature["sig"] = signature["sig"][:-1] + digit

    r.edit("root", spoil)
    assert c.refused("tuf-threshold")
    assert c.versions()["root"] == 2


@scenario
def key_p384(r, c):
    private = ec.generate_private_key(ec.SECP384R1())
    public = SSlibKey.from_crypto(private.public_key(), scheme="ecdsa-sha2-nistp384")
    r.add_key("root", CryptoSigner(private, public))
    r.role("root").roles["root"].threshold = 2
    r.publish("root")
    assert c.refresh(), c.said
    assert c.versions()["root"] == 2


@scenario
def unknown_members(r, c):
    signer = CryptoSigner.generate_ecdsa()
    signer.public_key.unrecognized_fields["extra"] = {"a": 1, "b": ["\\ \" \u00e9 \n"]}
    signer.public_key.unrecognized_fields["keyid_hash_algorithms"] = "md5"
    r.role("root").unrecognized_fields["custom"] = "value"
    r.role("root").roles["root"].unrecognized_fields["another"] = None
    r.add_key("root", signer)
    r.role("root").roles["root"].threshold = 2
    r.publish("root")
    assert c.refresh(), c.said
    assert c.versions()["root"] == 2


@scenario
def root_expired(r, c):
    assert c.refresh()
    r.role("root").expires = in_days(-1)
    r.publish("root")
    r.publish_all()
    assert c.refused("tuf-expired")
    assert c.has(root=2, timestamp=1, snapshot=1, targets=1)


@scenario
def root_expired_on_the_way(r, c):
    r.role("root").expires = in_days(-1)
    r.publish("root")
    r.role("root").expires = in_days(1)
    r.publish("root")
    assert c.refresh()
    assert c.versions()["root"] == 3


# Section 5.4: timestamp


@scenario
def timestamp_expired(r, c):
    assert c.refresh()
    r.role("timestamp").expires = in_days(-5)
    r.publish("timestamp")
    assert c.refused("tuf-expired")
    assert c.versions()["timestamp"] == 1


@scenario
def timestamp_rolled_back(r, c):
    old = r.files["metadata/timestamp.json"]
    r.publish("timestamp")
    assert c.refresh()
    r.files["metadata/timestamp.json"] = old
    r.requests.clear()
    assert c.refused("tuf-rollback")
    asked(r, "2.root", "timestamp")
    assert c.versions()["timestamp"] == 2


@scenario
def timestamp_of_the_same_version_says_something_else(r, c):
    assert c.refresh()
    r.role("timestamp").snapshot_meta.version = 100
    r.publish("timestamp", bump=False)
    r.requests.clear()
    assert c.refresh()
    asked(r, "2.root", "timestamp")
    assert json.loads(c.bytes("timestamp"))["signed"]["meta"]["snapshot.json"]["version"] == 1


@scenario
def timestamp_bytes_are_kept_as_they_came(r, c):
    r.files["metadata/timestamp.json"] += b" \n "
    assert c.refresh()
    assert c.bytes("timestamp") == r.files["metadata/timestamp.json"]


@scenario
def timestamp_missing(r, c):
    assert c.refresh()
    del r.files["metadata/timestamp.json"]
    assert c.refused("tuf-missing")


@scenario
def timestamp_is_a_snapshot(r, c):
    r.add_key("snapshot", r.signers["timestamp"][0])
    r.role("snapshot").meta = {"snapshot.json": MetaFile(1)}
    r.publish("root")
    r.role("snapshot").version = 2
    r.files["metadata/timestamp.json"] = r.signed("snapshot")
    assert c.refused("tuf-malformed")
    assert c.has(root=2)


@scenario
def frozen_at_an_old_timestamp(r, c):
    expire(r, ["timestamp"], ["timestamp"], c.refresh)
    assert c.refused("tuf-expired")


@scenario
def expired_metadata_of_ours_is_replaced(r, c):
    names = ["targets", "snapshot", "timestamp"]
    expire(r, names, names, c.refresh)
    for name in names:
        r.role(name).expires = in_days(1)
    r.publish_all()
    assert c.refresh(), c.said
    assert c.has(root=1, **{name: r.role(name).version for name in names})
    assert r.role("timestamp").version >= 3


# Section 5.5: snapshot


@cases(plain=(False,), hashes=(True,))
def snapshot_rolled_back(r, c, hashes):
    r.hashes = hashes
    r.publish("snapshot", "timestamp")
    assert c.refresh()
    r.role("snapshot").version = 0
    r.publish("snapshot", "timestamp")
    assert c.refused("tuf-rollback")
    assert c.has(root=1, timestamp=2, snapshot=2, targets=1)


@scenario
def snapshot_of_another_version(r, c):
    r.role("snapshot").version = 2
    r.files["metadata/1.snapshot.json"] = r.signed("snapshot")
    assert c.refused("tuf-mismatch")
    assert c.has(root=1, timestamp=1)


@scenario
def snapshot_missing(r, c):
    assert c.refresh()
    r.role("timestamp").snapshot_meta.version = 2
    r.publish("timestamp")
    assert c.refused("tuf-missing")
    assert c.has(root=1, timestamp=2, snapshot=1, targets=1)


@scenario
def snapshot_expired(r, c):
    assert c.refresh()
    r.role("snapshot").expires = in_days(-5)
    r.publish("snapshot", "timestamp")
    assert c.refused("tuf-expired")
    assert c.has(root=1, timestamp=2, snapshot=1, targets=1)


@scenario
def snapshot_drops_a_file(r, c):
    r.role("snapshot").meta["extra.json"] = MetaFile(1)
    r.publish("snapshot", "timestamp")
    assert c.refresh()
    del r.role("snapshot").meta["extra.json"]
    r.publish("snapshot", "timestamp")
    assert c.refused("tuf-rollback")
    assert c.versions()["snapshot"] == 2


@scenario
def snapshot_with_a_wrong_hash(r, c):
    r.hashes = True
    r.publish("snapshot")
    r.role("timestamp").snapshot_meta.hashes["sha256"] = "46" * 32
    r.publish("timestamp")
    assert c.refused("tuf-mismatch")
    assert c.has(root=1, timestamp=2)


@scenario
def snapshot_with_a_wrong_length(r, c):
    r.hashes = True
    r.publish("snapshot")
    r.role("timestamp").snapshot_meta.length += 1
    r.publish("timestamp")
    assert c.refused("tuf-mismatch")


@scenario
def snapshot_longer_than_it_may_be(r, c):
    r.hashes = True
    r.publish("snapshot")
    r.role("timestamp").snapshot_meta.length -= 1
    r.publish("timestamp")
    assert c.refused("too-large")


@scenario
def mix_and_match(r, c):
    # Targets of one time with the snapshot of another.
    r.publish_all()
    r.publish_all()
    assert c.refresh()
    r.files["metadata/4.targets.json"] = r.files["metadata/2.targets.json"]
    r.role("targets").version = 4
    r.role("snapshot").meta["targets.json"] = MetaFile(4)
    r.publish("snapshot", "timestamp")
    assert c.refused("tuf-mismatch")
    assert c.versions()["targets"] == 3


@scenario
def snapshot_below_its_threshold(r, c):
    r.role("root").roles["snapshot"].threshold = 3
    r.add_key("snapshot")
    r.add_key("snapshot")
    r.publish("root", "targets", "snapshot", "timestamp")
    assert c.refresh()
    r.signers["snapshot"].pop()
    r.publish("snapshot", "timestamp")
    assert c.refused("tuf-threshold")
    assert c.versions()["snapshot"] == 2


@scenario
def snapshot_threshold_that_cannot_be_met(r, c):
    r.add_key("snapshot")
    r.role("root").roles["snapshot"].threshold = 6
    r.publish("root", "snapshot", "timestamp")
    assert c.refused("tuf-threshold")
    assert c.versions()["root"] == 2


@scenario
def threshold_of_zero(r, c):
    # The new root is otherwise in order, so only its threshold can be what is refused.
    signer = r.signers["root"][0]
    draft = r.drafts["root"]
    draft.signed.version += 1
    value = json.loads(draft.to_bytes())
    value["signed"]["roles"]["timestamp"]["threshold"] = 0
    signature = signer.sign(encode_canonical(value["signed"]).encode())
    value["signatures"] = [{"keyid": signature.keyid, "sig": signature.signature}]
    r.files["metadata/2.root.json"] = json.dumps(value).encode()
    assert c.refused("tuf-malformed")
    assert c.has(root=1)


@scenario
def signature_repeated(r, c):
    r.edit("snapshot", lambda file: file["signatures"].append(file["signatures"][0]))
    assert c.refused("tuf-malformed")
    assert c.has(root=1, timestamp=1)


@scenario
def key_under_several_identifiers(r, c):
    # One key, listed six times, where six keys are needed.
    signer = CryptoSigner.generate_ecdsa()
    r.signers["snapshot"] = [signer]
    role = r.role("root").roles["snapshot"]
    role.keyids.clear()
    for number in range(6):
        key = copy.deepcopy(signer.public_key)
        key.keyid = f"{number:064x}"
        r.role("root").add_key(key, "snapshot")
    role.threshold = 6
    r.publish("root", "snapshot", "timestamp")

    def repeat(file):
        signature = file["signatures"][0]["sig"]
        file["signatures"] = [{"keyid": f"{n:064x}", "sig": signature} for n in range(6)]

    r.edit("snapshot", repeat)
    assert c.refused("tuf-threshold")
    assert c.has(root=2, timestamp=2)


@scenario
def wrong_signature_beside_a_right_one(r, c):
    r.add_key("timestamp")
    r.publish("root", "timestamp")

    def spoil(file):
        file["signatures"][0]["sig"] = ""

    r.edit("timestamp", spoil)
    assert c.refresh(), c.said
    assert c.versions()["timestamp"] == 2


# Section 5.3.11: recovery from fast-forward


@scenario
def recovery_of_the_timestamp(r, c):
    r.role("timestamp").version = 99998
    r.publish("timestamp")
    assert c.refresh()
    assert c.versions()["timestamp"] == 99999
    r.rotate("timestamp")
    r.role("timestamp").version = 0
    r.publish("root", "timestamp")
    assert c.refresh(), c.said
    assert c.versions()["timestamp"] == 1


@scenario
def recovery_of_the_snapshot(r, c):
    r.role("snapshot").version = 99998
    r.publish("snapshot", "timestamp")
    assert c.refresh()
    r.rotate("snapshot")
    r.rotate("timestamp")
    r.role("snapshot").version = 0
    r.publish("root", "snapshot", "timestamp")
    assert c.refresh(), c.said
    assert c.versions()["snapshot"] == 1


@scenario
def recovery_of_the_targets(r, c):
    r.role("targets").version = 99998
    r.publish_all()
    assert c.refresh()
    r.rotate("snapshot")
    r.role("targets").version = 0
    r.publish("root", "targets", "snapshot", "timestamp")
    assert c.refresh(), c.said
    assert c.versions()["targets"] == 1


@scenario
def no_recovery_without_rotation(r, c):
    r.role("timestamp").version = 99998
    r.publish("timestamp")
    assert c.refresh()
    r.role("timestamp").version = 0
    r.publish("root", "timestamp")
    assert c.refused("tuf-rollback")


@scenario
def recovery_where_one_of_two_keys_goes(r, c):
    # The old timestamp is still signed by a key that stays, so only the specification's rule lets it go.
    lost = r.add_key("timestamp")
    r.publish("root")
    r.role("timestamp").version = 99998
    r.publish("timestamp")
    assert c.refresh()
    r.role("root").revoke_key(lost.public_key.keyid, "timestamp")
    r.signers["timestamp"].remove(lost)
    r.role("timestamp").version = 0
    r.publish("root", "timestamp")
    assert c.refresh(), c.said
    assert c.versions()["timestamp"] == 1


# Section 5.6: targets


@cases(plain=(False,), hashes=(True,))
def targets_rolled_back(r, c, hashes):
    r.hashes = hashes
    r.publish_all()
    assert c.refresh()
    r.role("targets").version = 0
    r.publish_all()
    assert c.refused("tuf-rollback")
    assert c.has(root=1, timestamp=3, snapshot=2, targets=2)


@scenario
def targets_of_another_version(r, c):
    r.role("targets").version = 2
    r.files["metadata/1.targets.json"] = r.signed("targets")
    assert c.refused("tuf-mismatch")
    assert c.has(root=1, timestamp=1, snapshot=1)


@scenario
def targets_newer_than_the_snapshot_says(r, c):
    assert c.refresh()
    r.role("targets").version = 2
    r.files["metadata/2.targets.json"] = r.signed("targets")
    assert c.refresh()
    assert c.versions()["targets"] == 1


@scenario
def targets_missing(r, c):
    assert c.refresh()
    r.role("snapshot").meta["targets.json"].version = 2
    r.publish("snapshot", "timestamp")
    assert c.refused("tuf-missing")
    assert c.has(root=1, timestamp=2, snapshot=2, targets=1)


@scenario
def targets_expired(r, c):
    assert c.refresh()
    r.role("targets").expires = in_days(-5)
    r.publish_all()
    assert c.refused("tuf-expired")
    assert c.versions()["targets"] == 1


@scenario
def targets_with_a_wrong_hash(r, c):
    r.hashes = True
    r.publish_all()
    assert c.refresh()
    r.publish("targets")
    r.role("snapshot").meta["targets.json"].hashes["sha256"] = "46" * 32
    r.publish("snapshot", "timestamp")
    assert c.refused("tuf-mismatch")
    assert c.has(root=1, timestamp=3, snapshot=3, targets=2)


# Bounds


@cases(root=("2.root",), timestamp=("timestamp",), snapshot=("1.snapshot",), targets=("1.targets",))
def endless_data(r, c, name):
    r.answers[f"metadata/{name}.json"] = endless
    began = time.time()
    assert c.refused("too-large")
    assert time.time() - began < 20


@scenario
def endless_target(r, c):
    r.add_artifact("file", b"content")
    r.publish_all()
    digest = hashlib.sha256(b"content").hexdigest()
    r.answers[f"targets/{digest}.file"] = endless
    assert not c.download("file")
    assert "too-large" in c.said
    assert c.downloaded() == []


@cases(root=("2.root",), timestamp=("timestamp",), snapshot=("1.snapshot",), targets=("1.targets",))
def server_errors_are_not_absence(r, c, name):
    r.answers[f"metadata/{name}.json"] = failing(500)
    assert c.refused("tuf-unreachable")


@scenario
def forbidden_means_absent_for_the_next_root(r, c):
    r.answers["metadata/2.root.json"] = failing(403)
    assert c.refresh()


@scenario
def more_roots_than_one_update_takes(r, c):
    # One update takes 256 of them, and the next one goes on from there.
    for _ in range(260):
        r.publish("root")
    assert c.refresh()
    assert c.versions()["root"] == 257
    assert c.refresh()
    assert c.versions()["root"] == 261


# Targets and delegations


@scenario
def download(r, c):
    r.add_artifact("file.txt", b"content")
    r.publish_all()
    assert c.download("file.txt"), c.said
    assert c.downloaded() == [b"content"]


@cases(sha256=(["sha256"],), sha512=(["sha512"],), both=(["sha512", "sha256"],))
def download_with_hashes(r, c, hashes):
    r.add_artifact("file.txt", b"content", hashes=hashes)
    r.publish_all()
    assert c.download("file.txt"), c.said
    assert c.downloaded() == [b"content"]


@scenario
def download_from_a_folder_and_with_odd_letters(r, c):
    for name in ("path/to/a/file.txt", "with space", "a?b#c%41", "\u00e9\u4e2d"):
        r.add_artifact(name, name.encode())
    r.publish_all()
    for name in ("path/to/a/file.txt", "with space", "a?b#c%41", "\u00e9\u4e2d"):
        assert c.download(name), c.said
    assert len(c.downloaded()) == 4
    assert not any(p.is_dir() for p in c.targets.iterdir())


@scenario
def download_twice_fetches_once(r, c):
    r.add_artifact("file.txt", b"content")
    r.publish_all()
    assert c.download("file.txt")
    r.requests.clear()
    assert c.download("file.txt")
    asked(r, "2.root", "timestamp")


@scenario
def download_of_nothing(r, c):
    assert not c.download("nonexistent artifact")
    assert "tuf-no-target" in c.said
    assert c.has(root=1, timestamp=1, snapshot=1, targets=1)


@scenario
def target_replaced(r, c):
    r.add_artifact("one", b"content")
    r.add_artifact("two", b"more content")
    r.publish_all()
    assert c.download("one")
    for path in list(r.files):
        if path.startswith("targets/"):
            r.files[path] = b"wicked"
    c.download("one")
    assert c.downloaded() == [b"content"]
    assert not c.download("two")
    assert "tuf-mismatch" in c.said
    assert c.downloaded() == [b"content"]


@scenario
def target_of_the_right_length_and_the_wrong_hash(r, c):
    r.add_artifact("one", b"content")
    r.publish_all()
    digest = hashlib.sha256(b"content").hexdigest()
    r.files[f"targets/{digest}.one"] = b"CONTENT"
    assert not c.download("one")
    assert "tuf-mismatch" in c.said


@scenario
def target_changes(r, c):
    for content in (b"first", b"second", b"third"):
        r.add_artifact("file", content)
        r.publish_all()
        assert c.download("file"), c.said
        assert c.downloaded() == [content]


@cases(
    up=("../../x",), up_encoded=("..%2f..%2fx",), dot=(".",), dots=("..",), absolute=("/etc/passwd",), middle=("a/../../x",),
    backslash=("..\\..\\x",), newline=("a\nb",), long=("x" * 300,),
)
def target_names_that_leave_the_cache(r, c, name):
    content = b"wicked"
    info = TargetFile.from_data(name, content, ["sha256"])
    r.role("targets").targets[name] = info
    r.publish_all()
    before = {p for p in c.folder.rglob("*")}
    outcome = c.download(name)
    new = {p for p in c.folder.rglob("*")} - before
    allowed = {c.metadata, c.targets}
    assert all(p.parent in allowed or p.parent.parent in allowed for p in new), new
    assert not outcome
    assert c.downloaded() == []


@cases(
    basic=([("targets", "A")], ["A"]),
    siblings=([("targets", "A"), ("targets", "B")], ["A", "B"]),
    reversed=([("targets", "B"), ("targets", "A")], ["B", "A"]),
    two_levels=([("targets", "A"), ("targets", "B"), ("B", "C")], ["A", "B", "C"]),
    depth_first=([("targets", "A"), ("targets", "B"), ("A", "C"), ("A", "D")], ["A", "C", "D", "B"]),
    three_levels=([("targets", "A"), ("targets", "B"), ("A", "C"), ("C", "D")], ["A", "C", "D", "B"]),
    terminating=([("targets", "A"), ("targets", "B"), ("A", "C", True), ("A", "D")], ["A", "C"]),
    terminating_parent=([("targets", "A"), ("targets", "B"), ("A", "C", True), ("C", "D")], ["A", "C", "D"]),
    other_paths=([("targets", "A", False, "*.py"), ("targets", "B"), ("A", "C")], ["B"]),
    other_paths_below=([("targets", "A"), ("targets", "B"), ("A", "C", False, "*.py"), ("C", "D")], ["A", "B"]),
    circle=([("targets", "A"), ("targets", "B"), ("B", "C"), ("C", "D"), ("D", "B")], ["A", "B", "C", "D"]),
    twice=([("targets", "A"), ("targets", "B"), ("B", "C"), ("A", "C")], ["A", "C", "B"]),
    twice_other_paths=([("targets", "A"), ("targets", "B"), ("B", "C"), ("A", "C", False, "*.py")], ["A", "B", "C"]),
)
def delegation_order(r, c, delegations, visited):
    for parent, name, *rest in delegations:
        r.delegate(parent, name, terminating=bool(rest and rest[0]), paths=[rest[1] if len(rest) > 1 else "*"])
    names = [n for n in r.drafts if n not in ("root", "timestamp", "snapshot")]
    r.publish(*names, "snapshot", "timestamp")
    assert not c.download("missingpath")
    asked(r, "2.root", "timestamp", "2.snapshot", "2.targets", *[f"1.{n}" for n in visited])


@cases(
    top=("targetfile", True, []), star=("README.md", True, ["A"]), folder=("releases/x/x_v1", True, ["B", "C"]),
    folder_suffix=("releases/y/y_v1.zip", True, ["B", "D"]), not_by_all=("releases/z/z_v1.zip", False, ["B"]),
    slash=("releases/x/deeper/x_v1", False, []),
)
def delegation_paths(r, c, target, found, visited):
    r.delegate("targets", "A", ["*.doc", "*.md"])
    r.delegate("targets", "B", ["releases/*/*"])
    r.delegate("B", "C", ["releases/x/*"])
    r.delegate("B", "D", ["releases/y/*.zip"])
    for role, path in [
        ("targets", "targetfile"), ("A", "README.md"), ("C", "releases/x/x_v1"), ("D", "releases/y/y_v1.zip"),
        ("D", "releases/z/z_v1.zip"), ("C", "releases/x/deeper/x_v1"),
    ]:
        r.add_artifact(path, path.encode(), role)
    r.publish("A", "B", "C", "D", "targets", "snapshot", "timestamp")
    assert c.download(target) == found, c.said
    assert c.downloaded() == ([target.encode()] if found else [])
    metadata = [p for p in r.requests if p.startswith("metadata/")][4:]
    assert metadata == [f"metadata/1.{n}.json" for n in visited], metadata


@scenario
def delegation_by_hash_prefix(r, c):
    digest = hashlib.sha256(b"file").hexdigest()
    r.delegate("targets", "other", prefixes=["0" if digest[0] != "0" else "1"])
    r.delegate("targets", "right", prefixes=[digest[:2]])
    r.add_artifact("file", b"content", "right")
    r.publish("other", "right", "targets", "snapshot", "timestamp")
    assert c.download("file"), c.said
    assert "metadata/1.other.json" not in r.requests


@scenario
def delegation_to_bins(r, c):
    names = r.delegate_bins("targets", 6, "bin")
    digest = hashlib.sha256(b"file").digest()
    right = f"bin-{digest[0] >> 2:02x}"
    r.add_artifact("file", b"content", right)
    r.publish(*names, "targets", "snapshot", "timestamp")
    assert c.download("file"), c.said
    assert [p for p in r.requests if "bin-" in p] == [f"metadata/1.{right}.json"]


@scenario
def delegations_without_end(r, c):
    parent = "targets"
    for number in range(40):
        r.delegate(parent, f"n{number}")
        parent = f"n{number}"
    r.publish(*[n for n in r.drafts if n.startswith("n")], "targets", "snapshot", "timestamp")
    assert not c.download("missing")
    assert "tuf-delegations" in c.said
    assert len([p for p in r.requests if p.startswith("metadata/1.n")]) == 32


@scenario
def delegated_role_signed_by_another_key(r, c):
    r.delegate("targets", "A")
    r.add_artifact("file", b"content", "A")
    r.signers["A"] = r.signers["targets"]
    r.publish("A", "targets", "snapshot", "timestamp")
    assert not c.download("file")
    assert "tuf-threshold" in c.said
    assert "A" not in c.versions()


@scenario
def delegated_role_expired(r, c):
    r.delegate("targets", "A", expires=in_days(-1))
    r.add_artifact("file", b"content", "A")
    r.publish("A", "targets", "snapshot", "timestamp")
    assert c.refresh()
    assert not c.download("file")
    assert "tuf-expired" in c.said
    assert "A" not in c.versions()


@scenario
def delegated_role_expires_here_and_is_renewed(r, c):
    r.delegate("targets", "A")
    r.add_artifact("first", b"first", "A")
    r.add_artifact("second", b"second", "A")
    expire(r, ["A"], ["A", "targets", "snapshot", "timestamp"], lambda: c.download("first"))
    assert not c.download("second")
    r.role("A").expires = in_days(1)
    r.publish("A", "snapshot", "timestamp")
    assert c.download("second"), c.said
    assert c.downloaded() == [b"first", b"second"]


@scenario
def delegated_role_rolled_back(r, c):
    r.delegate("targets", "A")
    r.publish("A", "A", "targets", "snapshot", "timestamp")
    c.download("missing")
    assert c.versions()["A"] == 2
    r.role("A").version = 0
    r.publish("A", "snapshot", "timestamp")
    assert not c.download("missing")
    assert "tuf-rollback" in c.said
    assert c.versions()["A"] == 2


@scenario
def delegated_role_not_in_the_snapshot(r, c):
    r.delegate("targets", "A")
    r.publish("A", "targets")
    del r.role("snapshot").meta["A.json"]
    r.publish("snapshot", "timestamp")
    assert not c.download("missing")
    assert "tuf-mismatch" in c.said


@cases(question=("?",), hash=("#",), slash=("/delegatedrole",), up=("../delegatedrole",), dots=("..",), dot=(".",))
def unusual_role_names(r, c, name):
    r.delegate("targets", name)
    r.publish(name, "targets", "snapshot", "timestamp")
    assert not c.download("nonexistent target")
    assert f"metadata/1.{quote(name, '')}.json" in r.requests, r.requests
    assert len(c.versions()) == 5
    assert sorted(p.name for p in c.folder.iterdir()) == ["initial", "metadata", "targets"]


@scenario
def delegated_role_named_like_a_top_role(r, c):
    r.delegate("targets", "A")
    r.publish("A", "targets", "snapshot", "timestamp")
    assert not c.download("missing")
    value = json.loads(r.files["metadata/2.targets.json"])
    value["signed"]["version"] = 3
    value["signed"]["delegations"]["roles"][0]["name"] = "root"
    signature = r.signers["targets"][0].sign(encode_canonical(value["signed"]).encode())
    value["signatures"] = [{"keyid": signature.keyid, "sig": signature.signature}]
    r.files["metadata/3.targets.json"] = json.dumps(value).encode()
    r.role("snapshot").meta["targets.json"] = MetaFile(3)
    r.publish("snapshot", "timestamp")
    assert c.refused("tuf-malformed")
    assert c.versions()["root"] == 1


# Repositories without consistent snapshots


@scenario
def not_consistent(_, __):
    r = Repository(consistent=False)
    c = Client(r)
    r.delegate("targets", "A")
    r.add_artifact("file", b"content", "A")
    r.publish("A", "targets", "snapshot", "timestamp")
    assert c.download("file"), c.said
    asked(r, "2.root", "timestamp", "snapshot", "targets", "A", "targets/file")
    r.publish("A", "targets", "snapshot", "timestamp")
    assert c.refresh(), c.said
    assert c.versions()["targets"] == 3


@scenario
def not_consistent_and_in_between(_, __):
    # The snapshot that is served is newer than the one the timestamp names: a repository being published.
    r = Repository(consistent=False)
    c = Client(r)
    assert c.refresh()
    r.publish("targets", "snapshot")
    assert c.refresh()
    r.publish("timestamp")
    assert c.refresh()
    assert c.has(root=1, timestamp=2, snapshot=2, targets=2)


# The cache


@cases(**{n.replace(".", "_"): (n,) for n in ("timestamp.json", "snapshot.json", "targets.json", "last-check")})
def damaged_file(r, c, name):
    r.publish_all()
    assert c.refresh()
    for content in (b"", b"{", os.urandom(100), b"{}" + b" " * (6 << 20)):
        (c.metadata / name).write_bytes(content)
        assert c.refresh(), c.said
        assert c.has(root=1, timestamp=2, snapshot=2, targets=2)


@scenario
def damaged_timestamp_does_not_allow_a_rollback(r, c):
    old = {p: r.files[p] for p in r.files}
    r.publish_all()
    assert c.refresh()
    (c.metadata / "timestamp.json").write_bytes(b"{")
    r.files.update(old)
    assert c.refused("tuf-rollback")
    assert c.versions()["snapshot"] == 2
    assert c.versions()["targets"] == 2


@scenario
def folder_in_place_of_a_file(r, c):
    assert c.refresh()
    (c.metadata / "timestamp.json").unlink()
    (c.metadata / "timestamp.json").mkdir()
    assert c.refresh(), c.said
    assert "tuf-cache" in c.said


@scenario
def pipe_in_place_of_a_file(r, c):
    assert c.refresh()
    (c.metadata / "timestamp.json").unlink()
    os.mkfifo(c.metadata / "timestamp.json")
    assert c.refresh(), c.said


@scenario
def fifty_processes_at_once(r, c):
    r.add_artifact("file", b"content")
    r.publish_all()
    command = [
        Client.command, "--metadata-dir", c.metadata, "--metadata-url", f"{c.url}/metadata/", "--target-name", "file",
        "--target-dir", c.targets, "--target-base-url", f"{c.url}/targets/", "download",
    ]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(50)]
    failures = [p.communicate()[1] for p in running if p.wait() != 0]
    assert not failures, failures
    assert c.has(root=1, timestamp=2, snapshot=2, targets=2)
    assert c.downloaded() == [b"content"]
    assert not list(c.metadata.glob(".new-*"))


@scenario
def killed_at_any_moment(r, c):
    r.add_artifact("file", b"content")
    r.publish_all()
    for step in range(60):
        r.publish("root", "targets", "snapshot", "timestamp")
        running = subprocess.Popen(
            [Client.command, "--metadata-dir", c.metadata, "--metadata-url", f"{c.url}/metadata/", "refresh"],
            stderr=subprocess.DEVNULL,
        )
        time.sleep(step * 0.0015)
        running.send_signal(signal.SIGKILL)
        running.wait()
        if step % 6 == 5:
            assert c.refresh(), c.said
            assert c.versions()["timestamp"] == r.role("timestamp").version
            assert c.versions()["root"] == r.role("root").version


def main():
    Client.command, *wanted = sys.argv[1:]
    def run(one):
        name, function = one
        repository = Repository()
        client = Client(repository)
        try:
            function(repository, client)
            return f"passed {name}"
        except Exception:
            return f"FAILED {name}\n{traceback.format_exc()}"
        finally:
            shutil.rmtree(client.folder, ignore_errors=True)

    chosen = [one for one in SCENARIOS if not wanted or any(w in one[0] for w in wanted)]
    failed = 0
    # Side by side: some only wait until something expires.
    with ThreadPoolExecutor(4) as pool:
        for said in pool.map(run, chosen):
            failed += not said.startswith("passed ")
            print(said, flush=True)
    print(f"{len(chosen)} scenarios, {failed} failed")
    sys.exit(1 if failed or not chosen else 0)


if __name__ == "__main__":
    main()
