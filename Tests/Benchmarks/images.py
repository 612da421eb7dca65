"""Comparisons with cosign 3 over images on loopback: in Debian's docker-registry, and in the registry of local-sigstore,
which has the referrers API. docker-registry takes more of the processors for each answer than either client does for all
of its work, so that each request that is saved counts most there."""
import hashlib
import http.client
import http.server
import json
import multiprocessing
import pathlib
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request

COUNT = 100
DELAY = 0.02


def free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


class Registry:
    """A registry with images in its repository `bench`."""

    def __init__(self, at):
        self.at = at

    def send(self, method, url, body=b"", media_type="application/octet-stream"):
        request = urllib.request.Request(url, data=body, method=method, headers={"Content-Type": media_type})
        with urllib.request.urlopen(request) as answer:
            return answer.headers

    def put_blob(self, content):
        """Stores a blob and gives its descriptor without media type."""
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        start = f"http://{self.at}/v2/bench/blobs/uploads/"
        location = urllib.parse.urljoin(start, self.send("POST", start)["Location"])
        self.send("PUT", location + ("&" if "?" in location else "?") + "digest=" + digest, content)
        return {"digest": digest, "size": len(content)}

    def put_image(self, number, tags=()):
        """Stores an image under its digest and under tags, and gives its digest."""
        config = {"mediaType": "application/vnd.oci.image.config.v1+json"} | self.put_blob(b"{}")
        layer = {"mediaType": "application/vnd.oci.image.layer.v1.tar"} | self.put_blob(b"image %d" % number)
        media_type = "application/vnd.oci.image.manifest.v1+json"
        manifest = json.dumps(
            {"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": [layer]}).encode()
        digest = "sha256:" + hashlib.sha256(manifest).hexdigest()
        for name in [digest, *tags]:
            self.send("PUT", f"http://{self.at}/v2/bench/manifests/{name}", manifest, media_type)
        return digest


class DockerRegistry(Registry):
    """A docker-registry with an empty store in the current directory."""

    def __init__(self):
        self.store = pathlib.Path("store").resolve()
        super().__init__(f"127.0.0.1:{free_port()}")
        pathlib.Path("registry.yml").write_text(
            "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
            f"storage: {{filesystem: {{rootdirectory: {self.store}}}}}\nhttp: {{addr: '{self.at}'}}\n")
        self.process = subprocess.Popen(
            [shutil.which("docker-registry") or sys.exit("bench: docker-registry is not installed"), "serve", "registry.yml"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(400):
            try:
                urllib.request.urlopen(f"http://{self.at}/v2/").close()
                return
            except OSError:
                time.sleep(0.05)
        sys.exit("bench: docker-registry does not start")

    def stop(self):
        self.process.terminate()
        self.process.wait()


def delaying_proxy(port, upstream):
    """Passes requests on to a registry, each after a delay, until it is ended."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Head and body are two writes: without this, the second waits for the first to be acknowledged.
        disable_nagle_algorithm = True

        def setup(self):
            super().setup()
            self.upstream = http.client.HTTPConnection(upstream)

        def pass_on(self):
            time.sleep(DELAY)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
            self.upstream.request(self.command, self.path, body or None, headers)
            answer = self.upstream.getresponse()
            content = answer.read()
            self.send_response_only(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            length = answer.getheader("Content-Length", "0") if self.command == "HEAD" else len(content)
            self.send_header("Content-Length", length)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = pass_on

        def log_message(self, *_):
            pass

    http.server.ThreadingHTTPServer.request_queue_size = 128
    http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


def comparisons(compare, compare_signing, run, swsign, cosign, trusted_root, pairs, local_registry):
    """Runs all comparisons in the current directory, where the key pair `cosign` and the signing config `none.json` are.

    `local_registry` is the address of local-sigstore's registry.
    """
    registry = DockerRegistry()
    port = free_port()
    proxy = multiprocessing.Process(target=delaying_proxy, args=(port, registry.at), daemon=True)
    proxy.start()
    try:
        digests = [registry.put_image(number) for number in range(COUNT)]

        def images(at):
            return [f"{at}/bench@{digest}" for digest in digests]

        unsigned = pathlib.Path("unsigned")
        shutil.copytree(registry.store, unsigned)

        def clear():
            shutil.rmtree(registry.store)
            shutil.copytree(unsigned, registry.store)

        sign = [swsign, "sign", "--key", "cosign.key", "--tlog-upload=false"]
        theirs = [cosign, "sign", "--key", "cosign.key", "--yes", "--signing-config", "none.json", "--trusted-root", trusted_root]
        compare_signing(
            f"sign, {COUNT} images in one call, encrypted key, beside {COUNT} calls of cosign 3", sign + images(registry.at),
            theirs + images(registry.at)[:1], 0.1, pairs=pairs, before=clear,
            their_calls=[theirs + [image] for image in images(registry.at)])
        clear()
        run(sign + images(registry.at))
        local = Registry(local_registry)
        for number in range(COUNT):
            local.put_image(number)
        run(sign + images(local.at))
        verify = ["verify", "--key", "cosign.pub", "--insecure-ignore-tlog", "--trusted-root", trusted_root]
        for at, what, bound in (
            (local.at, "on loopback", 0.5),
            (registry.at, "on loopback, docker-registry", 0.6),
            (f"127.0.0.1:{port}", f"{DELAY * 1000:.0f} ms of delay added to each request", 0.12),
        ):
            compare(
                f"verify, {COUNT} images in one call, {what}, beside cosign 3", [swsign] + verify + images(at),
                [cosign] + verify + images(at), bound, pairs=pairs)
    finally:
        proxy.terminate()
        registry.stop()
