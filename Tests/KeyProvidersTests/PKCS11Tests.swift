import Foundation
import LocalSystem
import SigstoreCrypto
import Spawning
import StrictJSON
import Testing

@testable import KeyProviders

/// PKCS#11 URIs, and modules that answer what no module may.
struct PKCS11Tests {
    @Test("All attributes of RFC 7512 are read, with strict percent-encoding")
    func attributes() throws {
        let uri = try PKCS11URI(
            "pkcs11:token=a%20b;manufacturer=m;serial=s;model=o;slot-id=7;slot-manufacturer=t;slot-description=d;"
                + "object=%C3%A4;id=%00%ff;type=private;library-manufacturer=l;library-description=k;library-version=2.3"
                + "?module-path=/a/b.so&module-name=n;pin-value=1%3b2")
        #expect(
            uri.tokenAttributes.map(\.name).sorted() == [
                "library-description", "library-manufacturer", "manufacturer", "model", "serial", "slot-description",
                "slot-manufacturer", "token",
            ])
        #expect(uri.slotID == 7 && uri.id == [0, 0xff] && uri.object?.readings == [Array("ä".utf8)])
        #expect(uri.libraryVersion?.0 == 2 && uri.libraryVersion?.1 == 3)
        #expect(uri.modulePath == ["/a/b.so"] && uri.moduleName == "n" && uri.pinValue == Array("1;2".utf8))
        #expect(try PKCS11URI("pkcs11:").tokenAttributes.isEmpty)
        // One number is the major one, and the minor one is 0 then.
        let major = try PKCS11URI("pkcs11:library-version=2").libraryVersion
        #expect(major?.0 == 2 && major?.1 == 0)
    }

    @Test("What names a token and a key may be any bytes, or none")
    func bytes() throws {
        let uri = try PKCS11URI("pkcs11:token=;object=%ff%00%3b;id=;serial=%0a")
        #expect(uri.object?.readings == [[0xff, 0, 0x3b]] && uri.id == [])
        #expect(uri.tokenAttributes.map(\.value.plain) == [[], [0x0a]])
    }

    @Test(
        "A reference that is written is one that is read, whatever the names are",
        arguments: [
            ([], [1], "k", true), ([0xff, 0x3b, 0x20], [0, 0xff], "a;b?c&d=e+f%g#h/i:j@k", true),
            ([0x41], [], "only", true),
            ([0x41], [], "", true), ([0x41], [], "pin-value=1", false),
            (Array("pin-source".utf8), [1], "pin-value=1", true),
        ] as [([UInt8], [UInt8], String, Bool)])
    func written(token: [UInt8], id: [UInt8], label: String, isNamed: Bool) throws {
        let text = PKCS11Text(bytes: Array("t".utf8))
        let place = PKCS11Token(
            slot: 7, label: PKCS11Text(bytes: token), manufacturer: text, model: text, serial: text, flags: 0)
        for (module, query) in [("/a+b/m.so", "module-path=/a%2bb/m.so"), ("libykcs11.so.2", "module-name=ykcs11")] {
            let reference = PKCS11URI.reference(
                token: place, id: id, label: PKCS11Text(bytes: Array(label.utf8)), module: module)
            #expect((reference != nil) == isNamed)
            guard let reference else { continue }
            #expect(reference.hasSuffix("?\(query)"))
            let uri = try PKCS11URI(reference)
            #expect(uri.slotID == 7 && uri.id ?? [] == id)
            #expect(uri.object == nil || uri.object?.readings == [Array(label.utf8)])
            #expect(uri.tokenAttributes.allSatisfy { $0.name == "token" && $0.value.readings == [token] })
        }
        // A name that is longer than any reference is left out.
        let long = [UInt8](repeating: 0xff, count: 1 << 14)
        #expect(PKCS11URI.reference(token: place, id: long, label: PKCS11Text(bytes: long), module: "/m.so") == nil)
    }

    @Test(
        "A module is named without what systems put around the name",
        arguments: [
            ("/usr/lib/libsofthsm2.so", "SoftHSM2", true), ("/a/ykcs11.so.2.1", "ykcs11", true), ("/a/b", "b", true),
            ("/a/libsofthsm2.so", "softhsm", false), ("/a/libsofthsm2.so", "libSoftHSM2.so", true), ("", "a", false),
        ])
    func moduleNames(path: String, name: String, isMeant: Bool) {
        #expect(PKCS11URI.isModule(path, named: name) == isMeant)
    }

    @Test("A + is a space, and else a plus; in an identifier it is a plus")
    func plus() throws {
        let uri = try PKCS11URI("pkcs11:object=a+b;id=+?module-path=/usr/c++/x.so")
        #expect(uri.object?.readings == [Array("a b".utf8), Array("a+b".utf8)])
        #expect(uri.id == [0x2b])
        #expect(uri.modulePath == ["/usr/c  /x.so", "/usr/c++/x.so"])
    }

    @Test(
        "pin-source is a path, or a file's URL",
        arguments: [
            ("file:/a/b", "/a/b"), ("file:///a/b", "/a/b"), ("file://localhost/a", "/a"), ("/a%20b", "/a b"),
            ("relative", "relative"),
        ])
    func pinSource(source: String, path: String) throws {
        #expect(try PKCS11URI("pkcs11:?pin-source=\(source)").pinFile() == path)
    }

    @Test(
        "What cannot be meant is refused with the right form, and no PIN is shown",
        arguments: [
            "PKCS11:object=a", "pkcs11", "pkcs11://object=a", "pkcs11:/object=a", "pkcs11:Object=a", "pkcs11:object",
            "pkcs11:object=a\nb", "pkcs11:object=a;object=b", "pkcs11:object=%", "pkcs11:object=%4",
            "pkcs11:object=%zz",
            "pkcs11:?module-path=/%00", "pkcs11:?module-name=%ff", "pkcs11:slot-id=", "pkcs11:slot-id=a",
            "pkcs11:slot-id=-1",
            "pkcs11:slot-id=99999999999999999999", "pkcs11:library-version=a", "pkcs11:library-version=1.2.3",
            "pkcs11:library-version=", "pkcs11:library-version=256", "pkcs11:library-version=1.", "pkcs11:type=",
            "pkcs11:type=cert", "pkcs11:pin-value=1", "pkcs11:module-path=/a", "pkcs11:?object=a",
            "pkcs11:?module-path=a", "pkcs11:?module-name=a/b", "pkcs11:?module-name=..",
            "pkcs11:?pin-source=%7Ca", "pkcs11:?pin-source=|a", "pkcs11:?pin-source=file:a",
            "pkcs11:?pin-source=file://host/a", "pkcs11:?pin-value=1&pin-source=a", "pkcs11:?pin-value=",
            "pkcs11:?pin-value=1+1", "pkcs11:?vendor=1", "pkcs11:token=L%3Fpin-value=98765",
            "pkcs11:object=k%20PIN-value=98765",
            "pkcs11:object=k1?module-path=/x.so?pin-value=98765", "pkcs11:?pin-value=1&98765=1",
        ])
    func refused(reference: String) {
        for text in [reference, reference + (reference.contains("?") ? "&" : "?") + "pin-value=98765"] {
            do {
                _ = try PKCS11URI(text)
                Issue.record("\(text) was read")
            } catch {
                #expect(error.code == .unknownKeyReference, "\(error)")
                #expect(
                    "\(error.message) \(error.advice.map(String.init(describing:)) ?? "")".contains(
                        "pkcs11:token=TOKEN"))
                #expect(!"\(error)".contains("98765"), "\(error)")
            }
        }
    }

    @Test(
        "Whatever can be a PIN is left out of what is shown",
        arguments: [
            (
                "pkcs11:token=a;object=b?module-path=/x.so&pin-value=secret",
                "pkcs11:token=a;object=b?module-path=/x.so&pin-value=…"
            ),
            ("pkcs11:token=a?pin-value=secret&module-name=n", "pkcs11:token=a?pin-value=…&module-name=n"),
            ("pkcs11:token=a?PIN-VALUE=secret", "pkcs11:token=a?PIN-VALUE=…"),
            ("pkcs11:pin-value=secret", "pkcs11:pin-value=…"),
            ("pkcs11:token=a?pin%2Dvalue=secret", "pkcs11:token=a?…"), ("pkcs11:token=a?secret", "pkcs11:token=a?…"),
            ("pkcs11:token=a?pin-value=se;cret", "pkcs11:token=a?pin-value=…;…"),
            ("pkcs11:token=a?pin-source=/a", "pkcs11:token=a?pin-source=/a"),
            ("pkcs11:token=a?pin-source=|echo secret", "pkcs11:token=a?pin-source=…"),
            ("pkcs11:token=a:b;object=c", "pkcs11:token=a:b;object=c"),
        ])
    func shown(reference: String, shown: String) { #expect(PKCS11URI.withoutPIN(reference) == shown) }

    @Test("References to one key in other orders have one owner, whatever the module and the PIN are")
    func owner() {
        let place = PKCS11Keys(Self.surroundings([:]))
        let owner = place.owner(of: "pkcs11:token=a;id=%01?pin-value=1")
        #expect(owner == place.owner(of: "pkcs11:id=%01;token=a?module-path=/x.so") && !owner.contains("pin"))
        #expect(owner != place.owner(of: "pkcs11:id=%02;token=a"))
    }

    @Test("Points and curves are taken in the forms that modules give them, and nothing else is")
    func points() throws {
        let (p256, ed25519) = (
            [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07] as [UInt8],
            [0x06, 0x03, 0x2b, 0x65, 0x70] as [UInt8]
        )
        let key = try PrivateKey.generate(.ecdsaP256).publicKey
        let point = Array(key.spki.suffix(65))
        #expect(TokenSession.publicKey(curve: p256, point: point)?.spki == key.spki)
        #expect(TokenSession.publicKey(curve: p256, point: [0x04, 65] + point)?.spki == key.spki)
        // Compressed (SEC 1, section 2.3.3), it is the same key.
        let compressed = [2 + point[64] % 2] + point[1...32]
        for form in [compressed, [4, 33] + compressed] {
            #expect(TokenSession.publicKey(curve: p256, point: form)?.spki == key.spki)
        }
        let largest = try PrivateKey.generate(.ecdsaP521).publicKey
        let whole = Array(largest.spki.suffix(133))
        #expect(
            TokenSession.publicKey(
                curve: [0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23], point: [4, 67, 2 + whole[132] % 2] + whole[1...66])?
                .spki == largest.spki)
        let edwards = try PrivateKey.generate(.ed25519).publicKey
        let bytes = Array(edwards.spki.suffix(32))
        #expect(TokenSession.publicKey(curve: ed25519, point: bytes)?.spki == edwards.spki)
        #expect(
            TokenSession.publicKey(curve: [0x13, 0x0c] + Array("edwards25519".utf8), point: [4, 32] + bytes)?.spki
                == edwards.spki)
        let wrongs: [[UInt8]] = [
            [5] + Array(compressed.dropFirst()), [2] + [UInt8](repeating: 0xff, count: 32),
            Array(compressed.dropLast()),
            [], [4], [4, 64] + point, [4, 0x81], [4, 0x81, 65] + point, [4, 65] + point + [0], [4, 0xff, 0xff], bytes,
        ]
        for wrong in wrongs {
            #expect(TokenSession.publicKey(curve: p256, point: wrong) == nil)
        }
        #expect(TokenSession.publicKey(curve: [], point: point) == nil)
        #expect(TokenSession.publicKey(curve: ed25519, point: point) == nil)
    }

    private static func surroundings(_ variables: [String: String]) -> KeySurroundings {
        KeySurroundings(
            variable: { variables[$0] }, now: { 0 },
            client: { _ throws(SigstoreError) in throw SigstoreError(.keyServiceFailed, "no network") })
    }

    /// A module that lies in one manner, compiled from C.
    private static let source = """
        #include <string.h>
        #include <p11-kit-1/p11-kit/pkcs11.h>
        static const unsigned char oid[] = {6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7};
        static CK_RV ok1(void *a) { return CKR_OK; }
        static CK_RV slots(CK_BBOOL t, CK_SLOT_ID *l, CK_ULONG *n) {
          if (l) { l[0] = 1; l[1] = 2; }
          *n = MANNER == 1 ? (CK_ULONG)-1 : MANNER == 27 || MANNER == 28 ? 2 : 1;
          return MANNER == 2 ? CKR_GENERAL_ERROR : CKR_OK;
        }
        static int tries, logins;
        static CK_RV token(CK_SLOT_ID s, CK_TOKEN_INFO *i) {
          if (s == 2) return CKR_DEVICE_ERROR;
          memset(i, MANNER == 3 ? 0xff : ' ', sizeof *i);
          i->flags = CKF_TOKEN_INITIALIZED;
          if (MANNER == 4) i->flags |= CKF_LOGIN_REQUIRED | CKF_USER_PIN_FINAL_TRY;
          if (MANNER == 5) i->flags |= CKF_LOGIN_REQUIRED | CKF_USER_PIN_LOCKED;
          if (MANNER == 23) i->flags |= CKF_LOGIN_REQUIRED | (tries ? CKF_USER_PIN_LOCKED : CKF_USER_PIN_FINAL_TRY);
          if (MANNER == 24) i->flags |= CKF_LOGIN_REQUIRED;
          if (MANNER == 28) memcpy(i->label, "known", 5);
          return CKR_OK;
        }
        static CK_RV mechanism(CK_SLOT_ID s, CK_MECHANISM_TYPE t, CK_MECHANISM_INFO *i) {
          i->flags = CKF_SIGN;
          return MANNER == 26 ? CKR_DEVICE_ERROR : CKR_OK;
        }
        static CK_RV session(CK_SLOT_ID s, CK_FLAGS f, void *a, CK_NOTIFY n, CK_SESSION_HANDLE *h) {
          *h = 1;
          return f & CKF_RW_SESSION ? CKR_TOKEN_WRITE_PROTECTED : CKR_OK;
        }
        static CK_RV end(CK_SESSION_HANDLE h) { return CKR_OK; }
        static CK_RV login(CK_SESSION_HANDLE h, CK_USER_TYPE u, unsigned char *p, CK_ULONG n) {
          tries++;
          if (MANNER != 24 && MANNER != 25 && MANNER != 31) return CKR_PIN_INCORRECT;
          if (u == CKU_CONTEXT_SPECIFIC && !logins) return CKR_USER_NOT_LOGGED_IN;
          logins++;
          return CKR_OK;
        }
        static int done;
        static CK_RV begin(CK_SESSION_HANDLE h, CK_ATTRIBUTE *a, CK_ULONG n) {
          done = 0;
          return MANNER == 24 && !logins ? CKR_USER_NOT_LOGGED_IN : CKR_OK;
        }
        static CK_RV next(CK_SESSION_HANDLE h, CK_OBJECT_HANDLE *o, CK_ULONG max, CK_ULONG *n) {
          // Without end, if it is asked to.
          *n = MANNER == 6 ? (CK_ULONG)-1 : MANNER == 20 ? max : MANNER == 31 && !logins ? 0 : !done++;
          for (CK_ULONG i = 0; i < max; i++) o[i] = 1;
          return CKR_OK;
        }
        static CK_RV get(CK_SESSION_HANDLE h, CK_OBJECT_HANDLE o, CK_ATTRIBUTE *a, CK_ULONG n) {
          unsigned char *bytes = a->pValue;
          CK_ULONG number = CKK_EC;
          if (MANNER == 21 && a->type == CKA_ID || MANNER == 29 && a->type == CKA_ALWAYS_AUTHENTICATE) return CKR_DEVICE_ERROR;
          if (MANNER == 22 && a->type == CKA_ID) return CKR_ATTRIBUTE_SENSITIVE;
          switch (a->type) {
          case CKA_ALWAYS_AUTHENTICATE: bytes[0] = MANNER == 25; a->ulValueLen = 1; break;
          case CKA_SIGN: bytes[0] = MANNER != 30; a->ulValueLen = 1; break;
          case CKA_KEY_TYPE: memcpy(bytes, &number, sizeof number); a->ulValueLen = MANNER == 7 ? 1 : sizeof number; break;
          case CKA_EC_PARAMS: memcpy(bytes, oid, sizeof oid); a->ulValueLen = sizeof oid; break;
          case CKA_EC_POINT:
            memcpy(bytes, POINT, 65);
            if (MANNER == 32) { bytes[0] = 2 + POINT[64] % 2; a->ulValueLen = 33; break; }
            a->ulValueLen = MANNER == 8 || MANNER == 34 ? 64 : 65;
            break;
          case CKA_CERTIFICATE_TYPE: number = CKC_X_509; memcpy(bytes, &number, sizeof number); a->ulValueLen = sizeof number; break;
          case CKA_VALUE:
            a->ulValueLen = MANNER == 33 || MANNER == 34 ? 5 : (CK_ULONG)-1;
            if (a->ulValueLen != 5) return CKR_ATTRIBUTE_TYPE_INVALID;
            memcpy(bytes, "bytes", 5);
            break;
          case CKA_ID: bytes[0] = 1; a->ulValueLen = MANNER == 9 ? (CK_ULONG)-1 : MANNER == 10 ? 1UL << 40 : 1; break;
          default: a->ulValueLen = (CK_ULONG)-1; return CKR_ATTRIBUTE_TYPE_INVALID;
          }
          return CKR_OK;
        }
        static CK_RV sign_begin(CK_SESSION_HANDLE h, CK_MECHANISM *m, CK_OBJECT_HANDLE k) { return CKR_OK; }
        static CK_RV sign(CK_SESSION_HANDLE h, unsigned char *d, CK_ULONG dn, unsigned char *s, CK_ULONG *n) {
          *n = MANNER == 11 ? (CK_ULONG)-1 : MANNER == 12 ? 63 : MANNER == 13 ? 0 : 64;
          if (MANNER == 25 && logins != 2) return CKR_USER_NOT_LOGGED_IN;
          return MANNER == 14 ? CKR_DEVICE_REMOVED : MANNER == 15 ? CKR_KEY_FUNCTION_NOT_PERMITTED : MANNER == 16 ? 0x80000123UL : CKR_OK;
        }
        static CK_FUNCTION_LIST list;
        CK_RV C_GetFunctionList(CK_FUNCTION_LIST **out) {
          if (MANNER == 17) return CKR_OK;
          *out = &list;
          if (MANNER == 18) return CKR_OK;
          list.C_Initialize = ok1; list.C_Finalize = ok1; list.C_GetSlotList = slots; list.C_GetTokenInfo = token;
          list.C_GetMechanismInfo = mechanism; list.C_OpenSession = session; list.C_CloseSession = end; list.C_Login = login;
          list.C_FindObjectsInit = begin; list.C_FindObjects = next; list.C_FindObjectsFinal = end;
          list.C_GetAttributeValue = get; list.C_SignInit = sign_begin; list.C_Sign = sign;
          if (MANNER == 19) list.C_OpenSession = 0;
          return CKR_OK;
        }
        """

    @Test(
        "No answer of a module is believed: what cannot be is refused, and nothing traps",
        arguments: [
            (0, nil), (1, "key-service-answer"), (2, "key-service-failed"), (3, nil), (4, "pin-refused"),
            (5, "pin-refused"),
            (6, "key-service-answer"), (7, "key-unusable"), (8, "key-unusable"), (9, nil),
            (10, "key-service-answer"),
            (11, "key-service-answer"),
            (12, "key-service-answer"), (13, "key-service-answer"), (14, "key-service-failed"), (15, "key-unusable"),
            (16, "key-service-answer"), (17, "key-service-settings"), (18, "key-service-settings"),
            (19, "key-unusable"), (20, "ambiguous-key"), (21, "key-service-failed"), (22, nil), (23, "pin-refused"),
            (24, nil), (25, nil), (26, "key-service-failed"), (27, "key-service-failed"), (28, nil),
            (29, "key-service-failed"), (30, "key-unusable"), (31, nil), (32, nil), (33, "malformed-certificate"),
            (34, "key-unusable"),
        ] as [(Int, String?)])
    func hostile(manner: Int, code: String?) async throws {
        let folder = NSTemporaryDirectory() + "swsign-module-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let point = try PrivateKey.generate(.ecdsaP256).publicKey.spki.suffix(65).map { String($0) }
        try "static const unsigned char POINT[] = {\(point.joined(separator: ","))};\n\(Self.source)"
            .write(toFile: folder + "/module.c", atomically: true, encoding: .utf8)
        let compiler = Process()
        compiler.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        compiler.arguments = [
            "cc", "-w", "-shared", "-fPIC", "-DMANNER=\(manner)", "-o", folder + "/m.so", folder + "/module.c",
        ]
        try Spawning.exclusively { try compiler.run() }
        compiler.waitUntilExit()
        try #require(compiler.terminationStatus == 0)
        let place = PKCS11Keys(
            Self.surroundings(["COSIGN_PKCS11_MODULE_PATH": folder + "/m.so", "COSIGN_PKCS11_PIN": "1"]))
        // It does not say that it needs a login.
        if manner == 31 {
            #expect(try await place.keys(of: nil, slot: nil, pin: nil).keys.isEmpty)
            let other = PKCS11Keys(Self.surroundings(["COSIGN_PKCS11_MODULE_PATH": folder + "/m.so"]))
            #expect(try await other.keys(of: nil, slot: nil, pin: SecretBytes([0x31])).keys.map(\.id) == [[1]])
            return
        }
        // Of two tokens, one cannot be read.
        let reference = manner == 28 ? "pkcs11:token=known" : "pkcs11:"
        do {
            let signer = try await place.signer(reference) { SecretBytes([]) }
            _ = try await place.certificate(reference)
            _ = try await place.facts(reference)
            let message = try HashedMessage.of([1, 2, 3], schemes: [.ecdsa(.sha256)])
            let signature = try await signer.sign(message, scheme: .ecdsa(.sha256))
            #expect(try !signer.publicKey.verifies(signature, of: message, scheme: .ecdsa(.sha256)))
            #expect(code == nil, "\(manner) was believed")
        } catch {
            #expect(error.code.rawValue == code, "\(manner): \(error)")
            let words = error.message
            if manner == 4 { #expect(words.contains("one try is left"), "\(words)") }
            if manner == 5 { #expect(words.contains("none was tried"), "\(words)") }
            if manner == 20 { #expect(words.contains("more than 4096 objects"), "\(words)") }
            if manner == 21 { #expect(words.contains("(C_GetAttributeValue: CKR_DEVICE_ERROR)"), "\(words)") }
            if manner == 23 { #expect(words.contains("is locked now"), "\(words)") }
            if manner == 33 { #expect(words.contains("the certificate \"\" (id 01) on the token"), "\(words)") }
            if manner == 34 { #expect(words.contains("the public key"), "\(words)") }
            if manner == 27 { #expect(words.contains("C_GetTokenInfo: CKR_DEVICE_ERROR"), "\(words)") }
        }
        place.close()
    }
}
