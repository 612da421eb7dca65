"""Audits of whole repositories: beside the loop over all tags that guides show, and how much memory many tags take."""
import asyncio
import base64
import hashlib
import json
import multiprocessing
import pathlib
import shlex
import time

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

import images

BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
STATEMENT = "application/vnd.in-toto+json"


def digest(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


def described(media_type, content, **more):
    return {"mediaType": media_type, "digest": digest(content), "size": len(content)} | more


class Answers:
    """What a registry answers of a repository `bench`, in which each tag names an image of its own that one key has signed."""

    def __init__(self, count, key):
        self.tags = [f"v{number:06}" for number in range(count)]
        self.content = {}
        for number, tag in enumerate(self.tags):
            self.add(number, tag, key)

    def put(self, path, media_type, content):
        self.content[path] = (media_type, digest(content), content)

    def manifest(self, config, layer, **more):
        content = json.dumps(
            {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]} | more).encode()
        self.put("manifests/" + digest(content), MANIFEST, content)
        return content

    def blob(self, media_type, content):
        self.put("blobs/" + digest(content), "application/octet-stream", content)
        return described(media_type, content)

    def add(self, number, tag, key):
        config = json.dumps(
            {"architecture": "amd64", "os": "linux", "created": "2026-01-02T03:04:05Z",
             "config": {"Labels": {"org.opencontainers.image.source": f"https://example.com/{number}"}}}).encode()
        image = self.manifest(
            self.blob("application/vnd.oci.image.config.v1+json", config),
            described("application/vnd.oci.image.layer.v1.tar", b"layer"))
        self.put("manifests/" + tag, MANIFEST, image)
        statement = json.dumps(
            {"_type": "https://in-toto.io/Statement/v1", "subject": [{"digest": {"sha256": digest(image)[7:]}}],
             "predicateType": "https://sigstore.dev/cosign/sign/v1", "predicate": {}}).encode()
        signed = b"DSSEv1 %d %s %d %s" % (len(STATEMENT), STATEMENT.encode(), len(statement), statement)
        bundle = json.dumps(
            {"mediaType": BUNDLE, "verificationMaterial": {"publicKey": {"hint": ""}},
             "dsseEnvelope": {
                 "payload": base64.b64encode(statement).decode(), "payloadType": STATEMENT,
                 "signatures": [
                     {"sig": base64.b64encode(key.sign(signed, ec.ECDSA(hashes.SHA256()))).decode()}]}}).encode()
        carrier = self.manifest(
            described("application/vnd.oci.empty.v1+json", b"{}"), self.blob(BUNDLE, bundle),
            subject=described(MANIFEST, image), artifactType=BUNDLE)
        listed = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [described(MANIFEST, carrier, artifactType=BUNDLE)]}
        self.put("referrers/" + digest(image), INDEX, json.dumps(listed).encode())

    def answer(self, path):
        """The status, headers and body for a path below the repository."""
        path, _, query = path.partition("?")
        if path == "tags/list":
            given = dict(pair.partition("=")[::2] for pair in query.split("&"))
            size, last = int(given["n"]), given.get("last", "")
            page = [tag for tag in self.tags if tag > last][:size]
            more = f'Link: </v2/bench/tags/list?n={size}&last={page[-1]}>; rel="next"\r\n' if len(page) == size else ""
            return 200, "Content-Type: application/json\r\n" + more, json.dumps({"name": "bench", "tags": page}).encode()
        if path not in self.content:
            return 404, "Content-Type: application/json\r\n", b'{"errors":[{"code":"NOT_FOUND"}]}'
        media_type, name, content = self.content[path]
        return 200, f"Content-Type: {media_type}\r\nDocker-Content-Digest: {name}\r\n", content


class Connection(asyncio.Protocol):
    def __init__(self, answers, requests, sent):
        self.answers, self.requests, self.sent, self.rest = answers, requests, sent, b""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        *questions, self.rest = (self.rest + data).split(b"\r\n\r\n")
        for question in questions:
            method, target, _ = question.split(b"\r\n")[0].decode().split(" ")
            self.requests.value += 1
            status, headers, body = 200, "", b"{}"
            if target.startswith("/v2/bench/"):
                status, headers, body = self.answers.answer(target.removeprefix("/v2/bench/"))
            head = f"HTTP/1.1 {status} -\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode()
            answer = head if method == "HEAD" else head + body
            self.sent.value += len(answer)
            self.transport.write(answer)


def serve(port, count, key, requests, sent, is_ready):
    """Serves a repository of so many tags until the process is ended. Everything that is answered is made before."""
    answers = Answers(count, serialization.load_pem_private_key(key, None))

    async def run():
        server = await asyncio.get_running_loop().create_server(
            lambda: Connection(answers, requests, sent), "127.0.0.1", port)
        is_ready.set()
        await server.serve_forever()

    asyncio.run(run())


def comparisons(compare, hold, run, swsign, cosign, trusted_root):
    """Runs all comparisons in the current directory, where the key pair `cosign` is.

    `hold` runs a command once and holds its peak of memory; it says what the command took, or nothing if it is left out.
    """
    verifying = ["--key", "cosign.pub", "--insecure-ignore-tlog"]
    name = "audit, 2,000 tags of 500 digests in docker-registry, beside a loop of cosign 3 over 50 of the tags"
    if hold.is_wanted(name):
        registry = images.DockerRegistry()
        try:
            many = [registry.put_image(number, [f"v{number}.{tag}" for tag in range(4)]) for number in range(500)]
            sign = [swsign, "sign", "--key", "cosign.key", "--tlog-upload=false"]
            run(sign + [f"{registry.at}/bench@{one}" for one in many])
            # The loop of guides, over tags of images alone: those of signatures would make it slower still.
            verify = shlex.join([cosign, "verify", *verifying, "--trusted-root", trusted_root])
            select = '[.tags[] | select(startswith("v"))][:50][]'
            loop = (
                f"for tag in $(curl -s http://{registry.at}/v2/bench/tags/list | jq -r '{select}'); "
                f"do if {verify} {registry.at}/bench:$tag >/dev/null 2>&1; then echo OK $tag; else exit 1; fi; done")
            compare(
                name, [swsign, "audit", *verifying, f"{registry.at}/bench"], ["/bin/bash", "-c", loop], 0.1, pairs=5,
                memory=64, their_part=50 / 2000)
        finally:
            registry.stop()
    name = "audit, memory, 20,000 tags of as many digests"
    if not hold.is_wanted(name):
        return
    key = ec.generate_private_key(ec.SECP256R1())
    pathlib.Path("many.pub").write_bytes(key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    port, count = images.free_port(), 20_000
    requests, sent = (multiprocessing.Value("q", 0, lock=False) for _ in range(2))
    is_ready = multiprocessing.Event()
    server = multiprocessing.Process(target=serve, args=(port, count, private, requests, sent, is_ready), daemon=True)
    server.start()
    try:
        is_ready.wait(120)
        start = time.monotonic()
        hold(name, [swsign, "audit", "--key", "many.pub", "--insecure-ignore-tlog", "--output", "jsonl",
                    f"127.0.0.1:{port}/bench"], 64)
        clock = time.monotonic() - start
        print(f"  {requests.value} requests, {requests.value / count:.2f} and {sent.value / count:.0f} bytes of answers for each "
              f"digest, {requests.value / clock:.0f} requests a second")
    finally:
        server.terminate()
