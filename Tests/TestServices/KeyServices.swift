import Foundation

/// Servers that stand in for key services, from the material beside this checkout: one process for all tests, which ends with this
/// one.
public final class KeyServices: Sendable {
    /// Where the script of the servers is; `nil` if it is not beside this checkout.
    public static let folder: String? = {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let folder = root.deletingLastPathComponent().appendingPathComponent("shared/keys/fakes").path
        return FileManager.default.fileExists(atPath: folder + "/fakes.py") ? folder : nil
    }()

    /// The servers of Vault, Azure, Google, Kubernetes, GitLab and the metadata services, which answer at one port.
    public static func running() throws -> KeyServices { try shared.get() }
    private static let shared = Result { try KeyServices() }

    /// The port on 127.0.0.1.
    public let port: Int
    private let server: PythonServer

    private init() throws {
        server = try PythonServer(
            onFakes: """
                \(Self.googleKeys)
                server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), fakes.H)
                print(server.server_port, flush=True)
                server.serve_forever()
                """)
        guard let port = Int(server.said.trimmingCharacters(in: .whitespacesAndNewlines)) else {
            throw CocoaError(.executableLoad)
        }
        self.port = port
    }

    /// What the script's Google Cloud KMS has not: keys on Ed25519, which sign the message itself, further versions of a key, and a
    /// key by whose name another one signs.
    private static let googleKeys = """
        import base64, re
        answer_google = fakes.H.gcp
        def google(self, method, path, query, asked, raw, host):
            place = re.match(r"^/v1/(projects/.*/cryptoKeys/[^/:]+)/cryptoKeyVersions(?:/([0-9]+):asymmetricSign)?$", path)
            if method != "POST" or not place or place[1] not in fakes.GK:
                return answer_google(self, method, path, query, asked, raw, host)
            key, is_wrong = fakes.GK[place[1]], place[1].endswith("/signs-with-another")
            if place[2] and "data" not in asked and not is_wrong:
                return answer_google(self, method, path, query, asked, raw, host)
            number = int(place[2] or len(key["v"]) + 1)
            answer = {"name": "%s/cryptoKeyVersions/%d" % (place[1], number)}
            if place[2]:
                pair = fakes.mk(fakes.gtype(key["alg"])) if is_wrong else key["v"][number]
                field = "data" if "data" in asked else "digest"
                content = base64.b64decode(asked["data"] if field == "data" else asked["digest"]["sha256"])
                signature = (pair.sign(content) if field == "data"
                    else fakes.gsign(key["alg"], pair, content, fakes.hashes.SHA256()))
                answer.update(signature=fakes.b64(signature), signatureCrc32c=str(fakes.crc32c(signature)))
                checked = int(asked[field + "Crc32c"]) == fakes.crc32c(content)
                answer["verified%sCrc32c" % field.capitalize()] = checked
            else:
                key["v"][number] = fakes.mk(fakes.gtype(key["alg"]))
            self.out(200, answer)
            return True
        fakes.H.gcp = google
        """
}
