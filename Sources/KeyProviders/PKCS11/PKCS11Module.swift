internal import CPKCS11
internal import SigstoreCrypto
internal import StrictJSON
internal import Synchronization

/// What a call into a module ended with, if that is not success (PKCS #11 2.40, section 5.1).
struct PKCS11Failure: Error {
    /// The function, such as `C_Login`.
    let call: String
    let code: CK_RV
    /// How many objects are taken, if the call gave more.
    var limit: Int?

    /// The name that the standard has for it.
    var name: String {
        Self.names.first { $0.code == code }?.name ?? "0x" + String(code, radix: 16)
    }

    private static let names: [(code: CK_RV, name: String)] = [
        (CKR_HOST_MEMORY, "CKR_HOST_MEMORY"), (CKR_SLOT_ID_INVALID, "CKR_SLOT_ID_INVALID"),
        (CKR_GENERAL_ERROR, "CKR_GENERAL_ERROR"), (CKR_FUNCTION_FAILED, "CKR_FUNCTION_FAILED"),
        (CKR_ARGUMENTS_BAD, "CKR_ARGUMENTS_BAD"), (CKR_CANT_LOCK, "CKR_CANT_LOCK"),
        (CKR_ATTRIBUTE_SENSITIVE, "CKR_ATTRIBUTE_SENSITIVE"),
        (CKR_ATTRIBUTE_TYPE_INVALID, "CKR_ATTRIBUTE_TYPE_INVALID"),
        (CKR_ATTRIBUTE_VALUE_INVALID, "CKR_ATTRIBUTE_VALUE_INVALID"), (CKR_DATA_INVALID, "CKR_DATA_INVALID"),
        (CKR_DATA_LEN_RANGE, "CKR_DATA_LEN_RANGE"), (CKR_DEVICE_ERROR, "CKR_DEVICE_ERROR"),
        (CKR_DEVICE_MEMORY, "CKR_DEVICE_MEMORY"), (CKR_DEVICE_REMOVED, "CKR_DEVICE_REMOVED"),
        (CKR_FUNCTION_CANCELED, "CKR_FUNCTION_CANCELED"),
        (CKR_FUNCTION_NOT_SUPPORTED, "CKR_FUNCTION_NOT_SUPPORTED"),
        (CKR_KEY_HANDLE_INVALID, "CKR_KEY_HANDLE_INVALID"),
        (CKR_KEY_TYPE_INCONSISTENT, "CKR_KEY_TYPE_INCONSISTENT"), (CKR_KEY_SIZE_RANGE, "CKR_KEY_SIZE_RANGE"),
        (CKR_KEY_FUNCTION_NOT_PERMITTED, "CKR_KEY_FUNCTION_NOT_PERMITTED"),
        (CKR_MECHANISM_INVALID, "CKR_MECHANISM_INVALID"),
        (CKR_MECHANISM_PARAM_INVALID, "CKR_MECHANISM_PARAM_INVALID"),
        (CKR_OBJECT_HANDLE_INVALID, "CKR_OBJECT_HANDLE_INVALID"),
        (CKR_OPERATION_ACTIVE, "CKR_OPERATION_ACTIVE"),
        (CKR_OPERATION_NOT_INITIALIZED, "CKR_OPERATION_NOT_INITIALIZED"),
        (CKR_PIN_INCORRECT, "CKR_PIN_INCORRECT"), (CKR_PIN_INVALID, "CKR_PIN_INVALID"),
        (CKR_PIN_LEN_RANGE, "CKR_PIN_LEN_RANGE"), (CKR_PIN_EXPIRED, "CKR_PIN_EXPIRED"),
        (CKR_PIN_LOCKED, "CKR_PIN_LOCKED"), (CKR_SESSION_CLOSED, "CKR_SESSION_CLOSED"),
        (CKR_SESSION_COUNT, "CKR_SESSION_COUNT"), (CKR_SESSION_HANDLE_INVALID, "CKR_SESSION_HANDLE_INVALID"),
        (CKR_SESSION_PARALLEL_NOT_SUPPORTED, "CKR_SESSION_PARALLEL_NOT_SUPPORTED"),
        (CKR_TEMPLATE_INCONSISTENT, "CKR_TEMPLATE_INCONSISTENT"), (CKR_TOKEN_NOT_PRESENT, "CKR_TOKEN_NOT_PRESENT"),
        (CKR_TOKEN_NOT_RECOGNIZED, "CKR_TOKEN_NOT_RECOGNIZED"),
        (CKR_USER_NOT_LOGGED_IN, "CKR_USER_NOT_LOGGED_IN"),
        (CKR_USER_PIN_NOT_INITIALIZED, "CKR_USER_PIN_NOT_INITIALIZED"),
        (CKR_USER_TYPE_INVALID, "CKR_USER_TYPE_INVALID"),
        (CKR_USER_ANOTHER_ALREADY_LOGGED_IN, "CKR_USER_ANOTHER_ALREADY_LOGGED_IN"),
        (CKR_USER_TOO_MANY_TYPES, "CKR_USER_TOO_MANY_TYPES"), (CKR_BUFFER_TOO_SMALL, "CKR_BUFFER_TOO_SMALL"),
        (CKR_CRYPTOKI_NOT_INITIALIZED, "CKR_CRYPTOKI_NOT_INITIALIZED"),
        (CKR_CRYPTOKI_ALREADY_INITIALIZED, "CKR_CRYPTOKI_ALREADY_INITIALIZED"),
    ]

    /// What it means for a person.
    /// - Parameter place: Which token, or which key.
    func error(_ place: String) -> SigstoreError {
        if let limit {
            return SigstoreError(
                .ambiguousKey,
                "\(place): more than \(limit) objects on it fit, and none is chosen from a part of them (\(call))",
                advice: "name the key by object and id, so that the token itself finds it")
        }
        return switch code {
        case CKR_DEVICE_REMOVED, CKR_TOKEN_NOT_PRESENT, CKR_TOKEN_NOT_RECOGNIZED, CKR_SESSION_HANDLE_INVALID,
            CKR_SESSION_CLOSED:
            SigstoreError(
                .keyServiceFailed, "\(place): the token was taken out, or is not recognised (\(call): \(name))",
                advice: "put it in again, and try again")
        case CKR_DEVICE_ERROR, CKR_DEVICE_MEMORY, CKR_HOST_MEMORY, CKR_SESSION_COUNT, CKR_GENERAL_ERROR,
            CKR_FUNCTION_FAILED:
            SigstoreError(
                .keyServiceFailed, "\(place): the token or its module failed (\(call): \(name))",
                advice: "try again, and look into the log of the module; other programs may hold the token")
        case CKR_KEY_FUNCTION_NOT_PERMITTED, CKR_KEY_TYPE_INCONSISTENT, CKR_KEY_SIZE_RANGE, CKR_MECHANISM_INVALID,
            CKR_MECHANISM_PARAM_INVALID, CKR_FUNCTION_NOT_SUPPORTED:
            SigstoreError(
                .keyUnusable, "\(place): the key may not sign, or not in this way (\(call): \(name))",
                advice: "use a key that was made for signing (CKA_SIGN)")
        case CKR_USER_NOT_LOGGED_IN:
            SigstoreError(
                .keyDenied, "\(place): the token demands a login that did not happen (\(call): \(name))",
                advice: "give the PIN, and check that no other program logs out from the token")
        case CKR_FUNCTION_CANCELED:
            SigstoreError(
                .keyServiceFailed, "\(place): it was stopped, or the token was not touched in time (\(call): \(name))",
                advice: "try again, and touch the token when it blinks")
        default:
            SigstoreError(
                .keyServiceAnswer, "\(place): the module does not do what it is asked for (\(call): \(name))",
                advice: "check that it is the module for this token")
        }
    }
}

/// What a token or a module says as text, which need not be text: it is compared and named byte for byte.
struct PKCS11Text: Sendable, Hashable, CustomStringConvertible {
    let bytes: [UInt8]

    /// For people, with a mark in place of what is no text.
    var description: String { String(decoding: bytes, as: UTF8.self) }
}

/// What a token says of itself.
struct PKCS11Token: Sendable {
    let slot: UInt
    let label, manufacturer, model, serial: PKCS11Text
    let flags: CK_FLAGS

    var isInitialized: Bool { flags & CKF_TOKEN_INITIALIZED != 0 }
    var needsLogin: Bool { flags & CKF_LOGIN_REQUIRED != 0 }
    var hasPINPad: Bool { flags & CKF_PROTECTED_AUTHENTICATION_PATH != 0 }
    var isLocked: Bool { flags & CKF_USER_PIN_LOCKED != 0 }
    var hasOneTry: Bool { flags & CKF_USER_PIN_FINAL_TRY != 0 }
    var hadWrongPIN: Bool { flags & CKF_USER_PIN_COUNT_LOW != 0 }
}

/// A PKCS#11 module that was opened and initialised.
///
/// No answer is believed: every size, count and length is held against the memory that was given. The calls are made one at a
/// time, which the caller sees to.
@safe final class PKCS11Module: @unchecked Sendable {
    /// Where it is.
    let path: String
    private let functions: UnsafePointer<CK_FUNCTION_LIST>
    /// Whether it was initialised here, and so is finalised here.
    private let isOurs: Bool
    private let isOpen = Mutex(true)

    /// Opens and initialises a module.
    /// - Throws: `SigstoreError` with `key-service-settings`.
    init(_ path: String) throws(SigstoreError) {
        self.path = path
        var reason: UnsafePointer<CChar>?
        guard let functions = unsafe cpkcs11_open(path, &reason) else {
            let words = unsafe reason.map { unsafe String(cString: $0) } ?? "it cannot be opened"
            throw SigstoreError(
                .keyServiceSettings, "the PKCS#11 module \(path) cannot be used: \(words)",
                advice: "check the path, and that the module is for this machine and all that it needs is installed")
        }
        unsafe self.functions = UnsafePointer(functions)
        do throws(PKCS11Failure) {
            guard let initialize = unsafe functions.pointee.C_Initialize else { throw Self.missing("C_Initialize") }
            var arguments = unsafe CK_C_INITIALIZE_ARGS()
            unsafe arguments.flags = CK_FLAGS(CKF_OS_LOCKING_OK)
            var code = unsafe initialize(&arguments)
            // It is called by one thread at a time, so it need not lock.
            if code == CKR_CANT_LOCK { code = initialize(nil) }
            if code != CKR_CRYPTOKI_ALREADY_INITIALIZED { try Self.expect(code, "C_Initialize") }
            isOurs = code == CKR_OK
        } catch {
            throw SigstoreError(
                .keyServiceSettings,
                "the PKCS#11 module \(path) cannot be initialised (\(error.call): \(error.name))",
                advice: "check the configuration of the module, and that its service or reader is there")
        }
    }

    deinit { finalize() }

    /// Ends what the module does, with all its sessions. It is not called any more then.
    func finalize() {
        let wasOpen = isOpen.withLock { isOpen in
            defer { isOpen = false }
            return isOpen
        }
        if wasOpen, isOurs { _ = unsafe functions.pointee.C_Finalize?(nil) }
    }

    private static func missing(_ call: String) -> PKCS11Failure {
        PKCS11Failure(call: call, code: CKR_FUNCTION_NOT_SUPPORTED)
    }

    /// A module says that it wrote more than there was room for.
    private static func tooMany(_ call: String) -> PKCS11Failure {
        PKCS11Failure(call: call, code: CKR_BUFFER_TOO_SMALL)
    }

    private static func expect(_ code: CK_RV, _ call: String) throws(PKCS11Failure) {
        guard code == CKR_OK else { throw PKCS11Failure(call: call, code: code) }
    }

    // MARK: - Slots and tokens

    /// How many slots, objects and bytes of an attribute are taken from a module.
    private static let (slotLimit, objectLimit, attributeLimit) = (1024, 4096, 1 << 16)

    /// The slots that hold a token.
    func slots() throws(PKCS11Failure) -> [UInt] {
        guard let list = unsafe functions.pointee.C_GetSlotList else { throw Self.missing("C_GetSlotList") }
        // The first call has some modules look for tokens, and the number may change until the second.
        var count: CK_ULONG = 0
        try Self.expect(unsafe list(CK_BBOOL(CK_TRUE), nil, &count), "C_GetSlotList")
        var slots = [CK_SLOT_ID](repeating: 0, count: Self.slotLimit)
        count = CK_ULONG(Self.slotLimit)
        try Self.expect(
            unsafe slots.withUnsafeMutableBufferPointer { unsafe list(CK_BBOOL(CK_TRUE), $0.baseAddress, &count) },
            "C_GetSlotList")
        guard count <= CK_ULONG(Self.slotLimit) else { throw Self.tooMany("C_GetSlotList") }
        return Array(slots.prefix(Int(count)))
    }

    /// What the token in a slot says of itself; `nil` if it was taken out or cannot be read.
    func token(in slot: UInt) throws(PKCS11Failure) -> PKCS11Token? {
        guard let ask = unsafe functions.pointee.C_GetTokenInfo else { throw Self.missing("C_GetTokenInfo") }
        var info = CK_TOKEN_INFO()
        let code = unsafe ask(slot, &info)
        if [CKR_TOKEN_NOT_PRESENT, CKR_TOKEN_NOT_RECOGNIZED, CKR_DEVICE_REMOVED].contains(code) { return nil }
        try Self.expect(code, "C_GetTokenInfo")
        return PKCS11Token(
            slot: slot, label: Self.text(info.label), manufacturer: Self.text(info.manufacturerID),
            model: Self.text(info.model), serial: Self.text(info.serialNumber), flags: info.flags)
    }

    /// What a slot says of itself: its description and its manufacturer.
    func slotInfo(_ slot: UInt) throws(PKCS11Failure) -> (description: PKCS11Text, manufacturer: PKCS11Text) {
        guard let ask = unsafe functions.pointee.C_GetSlotInfo else { throw Self.missing("C_GetSlotInfo") }
        var info = CK_SLOT_INFO()
        try Self.expect(unsafe ask(slot, &info), "C_GetSlotInfo")
        return (Self.text(info.slotDescription), Self.text(info.manufacturerID))
    }

    /// What the module says of itself.
    func libraryInfo() throws(PKCS11Failure) -> (
        manufacturer: PKCS11Text, description: PKCS11Text, version: (UInt8, UInt8)
    ) {
        guard let ask = unsafe functions.pointee.C_GetInfo else { throw Self.missing("C_GetInfo") }
        var info = CK_INFO()
        try Self.expect(unsafe ask(&info), "C_GetInfo")
        return (
            Self.text(info.manufacturerID), Self.text(info.libraryDescription),
            (info.libraryVersion.major, info.libraryVersion.minor)
        )
    }

    /// The text of a field of fixed width, without the spaces (and with some modules zeros) that fill it up.
    private static func text<Field: BitwiseCopyable>(_ field: Field) -> PKCS11Text {
        var bytes = unsafe withUnsafeBytes(of: field) { unsafe Array($0) }
        while let last = bytes.last, last == 0x20 || last == 0 { bytes.removeLast() }
        return PKCS11Text(bytes: bytes)
    }

    /// Whether the token in a slot signs by a mechanism.
    func signs(by mechanism: CK_MECHANISM_TYPE, in slot: UInt) throws(PKCS11Failure) -> Bool {
        guard let ask = unsafe functions.pointee.C_GetMechanismInfo else { throw Self.missing("C_GetMechanismInfo") }
        var info = CK_MECHANISM_INFO()
        let code = unsafe ask(slot, mechanism, &info)
        if code == CKR_MECHANISM_INVALID { return false }
        try Self.expect(code, "C_GetMechanismInfo")
        return info.flags & CK_FLAGS(CKF_SIGN) != 0
    }

    // MARK: - Sessions

    /// Opens a session that can only read.
    func openSession(in slot: UInt) throws(PKCS11Failure) -> CK_SESSION_HANDLE {
        guard let open = unsafe functions.pointee.C_OpenSession else { throw Self.missing("C_OpenSession") }
        var session: CK_SESSION_HANDLE = 0
        try Self.expect(unsafe open(slot, CK_FLAGS(CKF_SERIAL_SESSION), nil, nil, &session), "C_OpenSession")
        return session
    }

    func closeSession(_ session: CK_SESSION_HANDLE) { _ = unsafe functions.pointee.C_CloseSession?(session) }

    /// Logs in.
    /// - Parameters:
    ///   - again: Whether it is for the one signature that was begun, which some keys demand.
    ///   - pin: The PIN; `nil` if it is typed on the token's own reader.
    func login(_ session: CK_SESSION_HANDLE, again: Bool, _ pin: SecretBytes?) throws(PKCS11Failure) {
        guard let login = unsafe functions.pointee.C_Login else { throw Self.missing("C_Login") }
        let user = CK_USER_TYPE(again ? CKU_CONTEXT_SPECIFIC : CKU_USER)
        var code: CK_RV
        if let pin {
            code = unsafe pin.withBytes { bytes in
                let start = unsafe UnsafeMutablePointer(mutating: bytes.bindMemory(to: UInt8.self).baseAddress)
                return unsafe login(session, user, start, CK_ULONG(bytes.count))
            }
        } else {
            code = login(session, user, nil, 0)
        }
        if code == CKR_USER_ALREADY_LOGGED_IN, !again { code = CKR_OK }
        try Self.expect(code, "C_Login")
    }

    // MARK: - Objects

    /// The objects of a class, with an identifier and a label if these are given and not empty: what a template without a value
    /// means, modules do not agree on.
    /// - Throws: `PKCS11Failure`, also if there are more than 4096: a part of them says nothing of the rest.
    func find(_ session: CK_SESSION_HANDLE, _ kind: CK_OBJECT_CLASS, id: [UInt8]?, label: [UInt8]?)
        throws(PKCS11Failure) -> [CK_OBJECT_HANDLE]
    {
        guard let begin = unsafe functions.pointee.C_FindObjectsInit,
            let next = unsafe functions.pointee.C_FindObjects, let end = unsafe functions.pointee.C_FindObjectsFinal
        else { throw Self.missing("C_FindObjects") }
        // What is kept on the token: others, such as what a YubiKey attests of its keys, are made up by the module.
        var values = [unsafe withUnsafeBytes(of: kind) { unsafe Array($0) }, [CK_BBOOL(CK_TRUE)]]
        var types: [CK_ATTRIBUTE_TYPE] = [CK_ATTRIBUTE_TYPE(CKA_CLASS), CK_ATTRIBUTE_TYPE(CKA_TOKEN)]
        for (type, value) in [(CKA_ID, id), (CKA_LABEL, label)] {
            guard let value, !value.isEmpty else { continue }
            types.append(CK_ATTRIBUTE_TYPE(type))
            values.append(value)
        }
        // One block of memory for all values, so that each can be pointed into.
        var memory = values.flatMap(\.self)
        let code = unsafe memory.withUnsafeMutableBytes { buffer in
            var template: [CK_ATTRIBUTE] = unsafe []
            var offset = 0
            for (type, value) in zip(types, values) {
                unsafe template.append(
                    CK_ATTRIBUTE(
                        type: type, pValue: buffer.baseAddress.map { unsafe $0 + offset },
                        ulValueLen: CK_ULONG(value.count)))
                offset += value.count
            }
            return unsafe template.withUnsafeMutableBufferPointer {
                unsafe begin(session, $0.baseAddress, CK_ULONG($0.count))
            }
        }
        try Self.expect(code, "C_FindObjectsInit")
        defer { _ = end(session) }
        var found: [CK_OBJECT_HANDLE] = []
        var some = [CK_OBJECT_HANDLE](repeating: 0, count: 64)
        while true {
            var count: CK_ULONG = 0
            let code = unsafe some.withUnsafeMutableBufferPointer {
                unsafe next(session, $0.baseAddress, CK_ULONG($0.count), &count)
            }
            try Self.expect(code, "C_FindObjects")
            guard count > 0 else { break }
            guard count <= CK_ULONG(some.count) else { throw Self.tooMany("C_FindObjects") }
            found += some.prefix(Int(count))
            guard found.count <= Self.objectLimit else {
                throw PKCS11Failure(call: "C_FindObjects", code: CKR_OK, limit: Self.objectLimit)
            }
        }
        return found
    }

    /// An attribute of an object, of at most 64 KiB.
    /// - Returns: `nil` only if the module says that the object has none, or that it is not shown.
    /// - Throws: `PKCS11Failure` for every other answer: what could not be read is not taken for absent.
    func attribute(_ type: UInt, of object: CK_OBJECT_HANDLE, _ session: CK_SESSION_HANDLE) throws(PKCS11Failure)
        -> [UInt8]?
    {
        guard let get = unsafe functions.pointee.C_GetAttributeValue else { throw Self.missing("C_GetAttributeValue") }
        var memory = [UInt8](repeating: 0, count: Self.attributeLimit)
        let (code, length) = unsafe memory.withUnsafeMutableBytes { buffer in
            var attribute = unsafe CK_ATTRIBUTE(
                type: CK_ATTRIBUTE_TYPE(type), pValue: buffer.baseAddress, ulValueLen: CK_ULONG(buffer.count))
            let code = unsafe get(session, object, &attribute, 1)
            return unsafe (code, attribute.ulValueLen)
        }
        if code == CKR_ATTRIBUTE_TYPE_INVALID || code == CKR_ATTRIBUTE_SENSITIVE { return nil }
        try Self.expect(code, "C_GetAttributeValue")
        // CK_UNAVAILABLE_INFORMATION.
        if length == CK_ULONG.max { return nil }
        guard length <= CK_ULONG(Self.attributeLimit) else { throw Self.tooMany("C_GetAttributeValue") }
        return Array(memory.prefix(Int(length)))
    }

    /// An attribute that is numbers, one after another; `nil` if it is none, or has another length.
    func numbers(_ type: UInt, of object: CK_OBJECT_HANDLE, _ session: CK_SESSION_HANDLE) throws(PKCS11Failure)
        -> [UInt]?
    {
        let size = MemoryLayout<CK_ULONG>.size
        guard let bytes = try attribute(type, of: object, session), bytes.count.isMultiple(of: size) else { return nil }
        return unsafe bytes.withUnsafeBytes { buffer in
            stride(from: 0, to: buffer.count, by: size).map { offset in
                unsafe buffer.loadUnaligned(fromByteOffset: offset, as: CK_ULONG.self)
            }
        }
    }

    /// An attribute that is one number.
    func number(_ type: UInt, of object: CK_OBJECT_HANDLE, _ session: CK_SESSION_HANDLE) throws(PKCS11Failure) -> UInt?
    {
        guard let numbers = try numbers(type, of: object, session), numbers.count == 1 else { return nil }
        return numbers.first
    }

    // MARK: - Signing

    /// Signs.
    /// - Parameters:
    ///   - mechanism: How.
    ///   - pss: The parameters, for RSA-PSS.
    ///   - again: Logs in for this one signature, if the key demands that.
    /// - Returns: What the token gives, of at most 4 KiB.
    func sign(
        _ data: [UInt8], with key: CK_OBJECT_HANDLE, by mechanism: CK_MECHANISM_TYPE,
        _ pss: CK_RSA_PKCS_PSS_PARAMS?, _ session: CK_SESSION_HANDLE, again: () throws(PKCS11Failure) -> Void
    ) throws(PKCS11Failure) -> [UInt8] {
        guard let begin = unsafe functions.pointee.C_SignInit, let sign = unsafe functions.pointee.C_Sign else {
            throw Self.missing("C_Sign")
        }
        var parameters = pss ?? CK_RSA_PKCS_PSS_PARAMS()
        let code = unsafe withUnsafeMutableBytes(of: &parameters) { bytes in
            var mechanism = unsafe CK_MECHANISM(
                mechanism: mechanism, pParameter: pss == nil ? nil : bytes.baseAddress,
                ulParameterLen: pss == nil ? 0 : CK_ULONG(bytes.count))
            return unsafe begin(session, &mechanism, key)
        }
        try Self.expect(code, "C_SignInit")
        try again()
        // Some modules refuse a pointer to nothing, also for an empty message.
        var (input, signature) = (data + [0], [UInt8](repeating: 0, count: 4096))
        var length = CK_ULONG(signature.count)
        let signed = unsafe input.withUnsafeMutableBufferPointer { input in
            unsafe signature.withUnsafeMutableBufferPointer { output in
                unsafe sign(session, input.baseAddress, CK_ULONG(data.count), output.baseAddress, &length)
            }
        }
        try Self.expect(signed, "C_Sign")
        guard length <= CK_ULONG(signature.count) else {
            throw Self.tooMany("C_Sign")
        }
        return Array(signature.prefix(Int(length)))
    }
}
