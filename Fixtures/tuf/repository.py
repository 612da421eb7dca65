"""A TUF repository made with python-tuf, published over HTTP on loopback, that can be made to misbehave."""

import http.server
import itertools
import json
import threading
from datetime import datetime, timedelta, timezone
from urllib.parse import quote

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    SuccinctRoles,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

TOP = ("root", "timestamp", "snapshot", "targets")


def in_days(days):
    return datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=days)


def in_seconds(seconds):
    return datetime.now(timezone.utc).replace(microsecond=0) + timedelta(seconds=seconds)


class Repository:
    """Metadata in the making (`role(name)`), the keys, and the files that were published (`files`)."""

    def __init__(self, consistent=True):
        self.files = {}
        self.requests = []
        self.answers = {}
        self.hashes = False
        self.artifacts = {}
        self.signers = {}
        expires = in_days(30)
        self.drafts = {
            "root": Metadata(Root(expires=expires, consistent_snapshot=consistent)),
            "timestamp": Metadata(Timestamp(expires=expires)),
            "snapshot": Metadata(Snapshot(expires=expires)),
            "targets": Metadata(Targets(expires=expires)),
        }
        for draft in self.drafts.values():
            draft.signed.version = 0
        for name in TOP:
            self.add_key(name)
        self.publish("root", "targets", "snapshot", "timestamp")

    def role(self, name):
        return self.drafts[name].signed

    # Keys

    def add_key(self, name, signer=None, delegator=None):
        signer = signer or CryptoSigner.generate_ecdsa()
        self.role(delegator or "root").add_key(signer.public_key, name)
        self.signers.setdefault(name, []).append(signer)
        return signer

    def rotate(self, name):
        role = self.role("root").roles[name]
        for keyid in list(role.keyids):
            self.role("root").revoke_key(keyid, name)
        self.signers[name] = []
        for _ in range(role.threshold):
            self.add_key(name)

    # Files

    def name_of(self, name):
        version = self.role(name).version
        if name == "root" or (self.role("root").consistent_snapshot and name != "timestamp"):
            return f"metadata/{version}.{quote(name, '')}.json"
        return f"metadata/{quote(name, '')}.json"

    def signed(self, name):
        draft = self.drafts[name]
        draft.signatures.clear()
        for signer in self.signers[name]:
            draft.sign(signer, append=True)
        return draft.to_bytes(JSONSerializer(compact=False))

    def publish(self, *names, bump=True):
        """Signs new versions in that order; a snapshot lists what was published before it, and so on."""
        for name in names:
            if bump:
                self.role(name).version += 1
            data = self.signed(name)
            self.files[self.name_of(name)] = data
            self.note(name, data)

    def note(self, name, data):
        meta = MetaFile(self.role(name).version)
        if self.hashes:
            meta = MetaFile.from_data(meta.version, data, ["sha256"])
        if name == "snapshot":
            self.role("timestamp").snapshot_meta = meta
        elif name not in TOP or name == "targets":
            self.role("snapshot").meta[f"{name}.json"] = meta

    def publish_all(self):
        self.publish("targets", "snapshot", "timestamp")

    def edit(self, name, change):
        """Changes a published file as JSON, without signing it again."""
        path = self.name_of(name)
        value = json.loads(self.files[path])
        change(value)
        self.files[path] = json.dumps(value).encode()

    # Targets

    def add_artifact(self, path, data, role="targets", hashes=("sha256",)):
        info = TargetFile.from_data(path, data, list(hashes))
        self.role(role).targets[path] = info
        self.artifacts[path] = info
        directory, slash, base = path.rpartition("/")
        if self.role("root").consistent_snapshot:
            for digest in info.hashes.values():
                self.files[f"targets/{quote(directory)}{slash}{digest}.{quote(base)}"] = data
        else:
            self.files[f"targets/{quote(path)}"] = data

    def delegate(self, parent, name, paths=("*",), prefixes=None, terminating=False, threshold=1, expires=None):
        role = self.role(parent)
        if role.delegations is None:
            role.delegations = Delegations({}, roles={})
        role.delegations.roles[name] = DelegatedRole(
            name, [], threshold, terminating, None if prefixes else list(paths), prefixes
        )
        if name not in self.drafts:
            self.drafts[name] = Metadata(Targets(expires=expires or in_days(30)))
            self.role(name).version = 0
        signer = self.add_key(name, delegator=parent)
        return signer

    def delegate_bins(self, parent, bits, prefix):
        role = self.role(parent)
        bins = SuccinctRoles([], 1, bits, prefix)
        role.delegations = Delegations({}, None, bins)
        signer = CryptoSigner.generate_ecdsa()
        role.add_key(signer.public_key)
        for name in bins.get_roles():
            self.drafts[name] = Metadata(Targets(expires=in_days(30)))
            self.role(name).version = 0
            self.signers[name] = [signer]
        return list(bins.get_roles())


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        site, _, path = self.path.lstrip("/").partition("/")
        repository = self.server.repositories.get(site)
        if repository is None:
            return self.send_error(404)
        repository.requests.append(path)
        answer = repository.answers.get(path, repository.answers.get("*"))
        if answer is not None:
            return answer(self)
        data = repository.files.get(path)
        if data is None:
            return self.send_error(404)
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments):
        pass


def endless(handler):
    """A body without end."""
    handler.send_response(200)
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(b"{" * 65536)
    except OSError:
        pass


def failing(status):
    return lambda handler: handler.send_error(status)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories = {}
        self.numbers = itertools.count()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, address):
        """A client may hang up."""

    def add(self, repository):
        site = f"r{next(self.numbers)}"
        self.repositories[site] = repository
        return f"http://127.0.0.1:{self.server_address[1]}/{site}"
