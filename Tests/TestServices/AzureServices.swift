import Foundation

/// The servers of Azure from the material beside this checkout, under their real names: a proxy that answers for each host itself,
/// with certificates of an authority of its own. One process for all tests, which ends with this one.
public final class AzureServices: Sendable {
    /// The servers.
    public static func running() throws -> AzureServices { try shared.get() }
    private static let shared = Result { try AzureServices() }

    /// `http://127.0.0.1:PORT`: the proxy, and a metadata service.
    public let url: String
    /// The authority's certificate, in PEM.
    public let authority: String
    private let server: PythonServer

    /// The variables that lead a program to the servers, with credentials.
    /// - Parameter authorityFile: A file with ``authority``.
    public func environment(authorityFile: String) -> [String: String] {
        [
            "HTTPS_PROXY": url, "SSL_CERT_FILE": authorityFile,
            "AZURE_TENANT_ID": "11111111-2222-3333-4444-555555555555",
            "AZURE_CLIENT_ID": "aaaaaaaa-0000-0000-0000-000000000000", "AZURE_CLIENT_SECRET": "s3cr3t",
        ]
    }

    private init() throws {
        // The port on one line, and the certificate up to its end.
        server = try PythonServer(onFakes: Self.script) { $0.contains("-----END CERTIFICATE-----\n") }
        let parts = server.said.split(separator: "\n", maxSplits: 1)
        guard parts.count == 2, let port = Int(parts[0]) else { throw CocoaError(.executableLoad) }
        (url, authority) = ("http://127.0.0.1:\(port)", String(parts[1]))
    }

    /// A key whose name begins with `fault-` does what the rest of its name says.
    private static let script = #"""
        import datetime, socketserver, ssl, tempfile
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization as ser
        from cryptography.hazmat.primitives.asymmetric import ec

        def name(text): return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])
        def certificate(subject, issuer, key, signer, extensions):
            now = datetime.datetime.now(datetime.timezone.utc)
            builder = x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name(issuer)) \
                .public_key(key.public_key()).serial_number(x509.random_serial_number()) \
                .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=2))
            for extension, critical in extensions: builder = builder.add_extension(extension, critical)
            return builder.sign(signer, hashes.SHA256())
        root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        root = certificate("root", "root", root_key, root_key, [(x509.BasicConstraints(True, None), True)])
        hosts = ["*.vault.azure.net", "*.managedhsm.azure.net", "login.microsoftonline.com"]
        leaf = certificate("leaf", "root", key, root_key, [(x509.SubjectAlternativeName([x509.DNSName(h) for h in hosts]), False)])
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        pem = ser.Encoding.PEM
        with tempfile.NamedTemporaryFile() as file:
            file.write(key.private_bytes(pem, ser.PrivateFormat.PKCS8, ser.NoEncryption()) + leaf.public_bytes(pem))
            file.flush()
            context.load_cert_chain(file.name)

        mine, other = (fakes.mk("ecdsa-p256") for _ in range(2))
        def error(code, message, inner): return {"error": {"code": code, "message": message, "innererror": {"code": inner}}}
        faults = {
            "rbac": (403, error("Forbidden", "Caller is not authorized\r\nCaller: appid=app-1;oid=obj-1\x1b[31m", "ForbiddenByRbac")),
            "firewall": (403, error("Forbidden", "Client address is not authorized.", "ForbiddenByFirewall")),
            "disabled": (403, error("Forbidden", "Operation sign is not allowed on a disabled key.", "KeyDisabled")),
            "deleted": (409, error("Conflict", "Key is in a deleted but recoverable state.", "ObjectIsDeletedButRecoverable")),
            "throttled": (429, error("Throttled", "Too many", ""), {"Retry-After": "99"}),
            "redirect": (302, {}, {"Location": "https://elsewhere.vault.azure.net/"}),
            "large": (200, b"[" + b" " * 100000 + b"]"), "type": (200, b"<html>"), "wrong": (200, {"key": 7}),
        }
        class Handler(fakes.H):
            def do_CONNECT(self):
                self.send_response_only(200)
                self.end_headers()
                self.wfile.flush()
                self.connection = context.wrap_socket(self.connection, server_side=True)
                self.rfile = self.connection.makefile("rb", -1)
                self.wfile = socketserver._SocketWriter(self.connection)
                self.close_connection = False
            def out(self, code, obj=None, hd=None, ct="application/json"):
                host = self.headers.get("Host", "")
                if hd and "managedhsm" in host: hd = {k: v.replace("vault.azure", "managedhsm.azure") for k, v in hd.items()}
                super().out(code, obj, hd, ct)
            def azure(self, m, p, q, j, raw, host):
                parts = p.split("/")
                fault = parts[2][6:] if len(parts) > 2 and parts[2].startswith("fault-") else None
                if fault in ("lost", "deleted") and m == "POST":
                    if fault == "lost": fault = "truncated"
                elif fault in ("lost", "deleted"): fault = None
                if fault and self.headers.get("Authorization") == "Bearer az-token":
                    if fault in faults:
                        self.out(*faults[fault])
                        return True
                    if fault == "truncated":
                        self.send_response(200)
                        self.send_header("Content-Length", "500")
                        self.end_headers()
                        self.wfile.write(b'{"key":')
                        self.close_connection = True
                        return True
                    if fault == "other-key":
                        # The public key is one, and another one signs.
                        fakes.AK[parts[2]] = [("0" * 32, mine if m == "GET" else other, "EC")]
                return super().azure(m, p, q, j, raw, host)
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        # A client that does not believe the authority breaks off.
        server.handle_error = lambda request, address: None
        print(server.server_port)
        print(root.public_bytes(pem).decode(), flush=True)
        server.serve_forever()
        """#
}
