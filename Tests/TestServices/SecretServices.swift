import Foundation

/// Servers that keep secrets for others, from the material beside this checkout: Kubernetes over TLS with credentials, and GitLab
/// and GitHub over plain HTTP on loopback. One process for all tests, which ends with this one.
///
/// What the servers of `KeyServices` lack is added: Kubernetes asks for credentials, GitLab replaces and deletes variables, GitHub's
/// secrets are opened with libsodium. In projects and repositories with `broken` in their names, the third of the three
/// values is refused.
public final class SecretServices: Sendable {
    /// Whether the servers can be started.
    public static let areThere = KeyServices.folder != nil

    /// The servers.
    public static func running() throws -> SecretServices { try shared.get() }
    private static let shared = Result { try SecretServices() }

    /// The port on 127.0.0.1 for plain HTTP.
    public let port: Int
    /// The port on 127.0.0.1 for TLS, with the certificate in `server.pem`.
    public let tlsPort: Int
    /// The folder with `server.pem`, and `client.pem` with `client.key`, a certificate that Kubernetes knows.
    public let folder: String
    private let server: PythonServer

    private static let script = #"""
        import base64, ctypes, json, re, shutil, ssl, subprocess, tempfile, urllib.parse

        folder = tempfile.mkdtemp(prefix="secret-services-")
        for name in ("server", "client"):
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                            "-days", "1", "-subj", "/CN=" + name, "-addext", "subjectAltName=IP:127.0.0.1,DNS:cluster.test",
                            "-keyout", name + ".key", "-out", name + ".pem"], cwd=folder, check=True,
                           stderr=subprocess.DEVNULL)
        sodium = ctypes.CDLL("libsodium.so.23")
        sodium.sodium_init()
        public, private = ctypes.create_string_buffer(32), ctypes.create_string_buffer(32)
        sodium.crypto_box_keypair(public, private)
        secrets = {}
        basic = "Basic " + base64.b64encode(b"bob:pw").decode()

        class Handler(fakes.H):
            def k8s(self, m, p, q, j, raw, host):
                if isinstance(self.connection, ssl.SSLSocket) and p.startswith("/api/v1/"):
                    known = ("Bearer sa-token", "Bearer exec-token", "Bearer file-token", basic, "Bearer forbidden")
                    if self.headers.get("Authorization") not in known and not self.connection.getpeercert():
                        self.out(401, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                                       "message": "Unauthorized", "reason": "Unauthorized", "code": 401})
                        return True
                return super().k8s(m, p, q, j, raw, host)

            def gitlab(self, m, p, q, j, raw, host):
                found = re.match(r"^/api/v4/(projects|groups)/([^/]+)/variables(?:/([^/]+))?$", p)
                if found and self.headers.get("PRIVATE-TOKEN") == "glpat-test":
                    kind, owner, name = found[1], urllib.parse.unquote(found[2]), found[3]
                    key = (kind, owner, name or j.get("key"))
                    if m in ("POST", "PUT") and "broken" in owner and key[2] == "COSIGN_PUBLIC_KEY":
                        self.out(403, {"message": "403 Forbidden"})
                        return True
                    if m == "PUT" and key in fakes.GV:
                        fakes.GV[key].update(j)
                        self.out(200, fakes.GV[key])
                        return True
                    if m == "DELETE":
                        self.out(204 if fakes.GV.pop(key, None) else 404)
                        return True
                return super().gitlab(m, p, q, j, raw, host)

            def vault(self, m, p, q, j, raw, host):
                return self.github(m, p, j) or super().vault(m, p, q, j, raw, host)

            def github(self, m, p, j):
                found = re.match(r"^/opened/(.+)$", p)
                if found:
                    self.out(200 if found[1] in secrets else 404, secrets.get(found[1], b""))
                    return True
                found = re.match(r"^/api/v3/(?:repos/([^/]+/[^/]+)|orgs/([^/]+))/actions/secrets/([^/]+)$", p)
                if not found:
                    return
                owner, name = found[1] or found[2], found[3]
                if self.headers.get("Authorization") != "Bearer ghp-test":
                    self.out(401, {"message": "Bad credentials"})
                elif owner.startswith("none"):
                    self.out(404, {"message": "Not Found"})
                elif name == "public-key":
                    self.out(200, {"key_id": "17", "key": base64.b64encode(public.raw).decode()})
                elif m == "GET":
                    there = owner + "/" + name in secrets
                    self.out(200 if there else 404, {"name": name} if there else {"message": "Not Found"})
                elif m == "DELETE":
                    self.out(204 if secrets.pop(owner + "/" + name, None) else 404)
                elif "broken" in owner and name == "COSIGN_PUBLIC_KEY":
                    self.out(403, {"message": "Resource not accessible by personal access token"})
                elif j.get("key_id") != "17" or (found[2] and j.get("visibility") != "private"):
                    self.out(422, {"message": "Invalid request."})
                else:
                    box = base64.b64decode(j["encrypted_value"])
                    plain = ctypes.create_string_buffer(len(box))
                    if sodium.crypto_box_seal_open(plain, box, ctypes.c_ulonglong(len(box)), public, private) != 0:
                        self.out(422, {"message": "Bad request"})
                    else:
                        secrets[owner + "/" + name] = plain.raw[:len(box) - 48]
                        self.out(201, {})
                return True

        def ends(): shutil.rmtree(folder, ignore_errors=True)

        class Secure(http.server.ThreadingHTTPServer):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(folder + "/server.pem", folder + "/server.key")
            context.load_verify_locations(folder + "/client.pem")
            context.verify_mode = ssl.CERT_OPTIONAL
            def finish_request(self, request, address):
                # Here and not in the loop that accepts, which a client that says nothing would hold up.
                try:
                    request = self.context.wrap_socket(request, server_side=True)
                except (ssl.SSLError, OSError):
                    return
                self.RequestHandlerClass(request, address, self)

        plain = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        secure = Secure(("127.0.0.1", 0), Handler)
        threading.Thread(target=plain.serve_forever, daemon=True).start()
        print(plain.server_port, secure.server_port, folder, flush=True)
        secure.serve_forever()
        """#

    private init() throws {
        server = try PythonServer(onFakes: Self.script)
        let words = server.said.trimmingCharacters(in: .whitespacesAndNewlines).split(separator: " ")
        guard words.count == 3, let port = Int(words[0]), let tlsPort = Int(words[1]) else {
            throw CocoaError(.executableLoad)
        }
        (self.port, self.tlsPort, folder) = (port, tlsPort, String(words[2]))
    }

    /// A kubeconfig for the cluster.
    /// - Parameters:
    ///   - user: The lines of its user, such as `token: sa-token`.
    ///   - cluster: The lines of the cluster, its address and authority unless told.
    public func kubeconfig(_ user: String, cluster: String? = nil) -> String {
        let lines = cluster ?? "server: https://127.0.0.1:\(tlsPort)\ncertificate-authority: \(folder)/server.pem"
        func indented(_ text: String) -> String {
            text.split(separator: "\n").map { "    \($0)\n" }.joined()
        }
        return
            "apiVersion: v1\nkind: Config\ncurrent-context: test\ncontexts:\n- name: test\n  context:\n    cluster: c\n    user: u\n"
            + "clusters:\n- name: c\n  cluster:\n\(indented(lines))users:\n- name: u\n  user:\n\(indented(user))"
    }
}
