/// A plugin for keys as others write them: it has keys in files, and asks OpenSSL.
public enum KeyPlugin {
    /// The program, to be written to a file `sigstore-kms-NAME` in `PATH`. Its keys are in the folder that `PLUGIN_KEYS` names,
    /// and each of its calls is a line there in the file `calls`. `PLUGIN_MANNER` makes it misbehave.
    public static let program = """
        #!/usr/bin/env python3
        import base64, json, os, subprocess, sys, tempfile
        folder, manner = os.environ["PLUGIN_KEYS"], os.environ.get("PLUGIN_MANNER", "")
        call, message = json.loads(sys.argv[2]), sys.stdin.buffer.read()
        method, key = call["methodName"], os.path.join(folder, call["initOptions"]["keyResourceID"] + ".pem")
        arguments = call[method]
        with open(os.path.join(folder, "calls"), "a") as calls: calls.write(method + " " + sys.argv[2] + "\\n")
        def openssl(*words, data=b""):
            done = subprocess.run(("openssl",) + words, input=data, capture_output=True)
            if done.returncode != 0: answer({"errorMessage": "openssl: " + done.stderr.decode()})
            return done.stdout
        def answer(what):
            print(json.dumps(what))
            # As if a signal had ended it, which says nothing by the protocol.
            sys.exit(130)
        def public(): return {"publicKeyPEM": base64.b64encode(openssl("pkey", "-in", key, "-pubout")).decode()}
        hashes = {32: "-sha256", 48: "-sha384", 64: "-sha512"}
        if manner == "refuses": answer({"errorMessage": "token is locked"})
        if manner == "says nothing": sys.exit(7)
        if manner == "says too much": print("x" * 100000)
        if manner == "is cut short": sys.stdout.write('{"publicKey": {'); sys.exit(0)
        if manner == "says another thing": answer({"somethingElse": {}})
        if manner == "dies": os.kill(os.getpid(), 9)
        if method == "defaultAlgorithm": answer({method: {method: "ecdsa-p256"}})
        if method == "supportedAlgorithms": answer({method: {method: ["ecdsa-p256", "ecdsa-p384"]}})
        if method == "createKey":
            curve = {"ecdsa-p256": "P-256", "ecdsa-p384": "P-384"}[arguments["algorithm"]]
            openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:" + curve, "-out", key)
            answer({method: public()})
        if method == "publicKey":
            if not os.path.exists(key): answer({"errorMessage": "there is no such key"})
            answer({method: public()})
        if method == "signMessage":
            digest = arguments["signOptions"]["messageOptions"].get("digest")
            digest = base64.b64decode(digest) if digest else None
            hash = hashes[len(digest)] if digest else "-sha256"
            if manner == "signs another message": message = b"another"
            answer({method: {"signature": base64.b64encode(openssl("dgst", hash, "-sign", key, data=message)).decode()}})
        if method == "verifySignature":
            # cosign verifies several signatures at once, each with a call of its own.
            with tempfile.NamedTemporaryFile() as file:
                file.write(base64.b64decode(arguments["signature"]))
                file.flush()
                openssl("dgst", "-sha256", "-prverify", key, "-signature", file.name, data=message)
            answer({method: {}})
        """
}
