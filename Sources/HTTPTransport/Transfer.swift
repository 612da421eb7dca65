import CCurl
import LocalSystem
import StrictJSON

/// How one attempt at one request ended.
enum TransferOutcome: Sendable {
    case response(HTTPResponse)
    /// The error, and whether another attempt may do better.
    case failure(SigstoreError, isTransient: Bool)
}

/// What one attempt is made of, after redirects and time limits were worked out.
struct TransferPlan: Sendable {
    var method: String
    var url: HTTPURL
    var headers: [(name: String, value: String)]
    /// Header fields that are secrets.
    var secrets: [Authorization]
    var body: HTTPRequest.Body
    var bodyLimit: Int64
    var timeout: Duration
    /// After this moment it is not begun any more.
    var deadline: ContinuousClock.Instant?
    /// After this moment it is not begun any more, and its body is sent once at most.
    var latestStart: ContinuousClock.Instant?
    /// Whether it goes before others that wait.
    var goesFirst: Bool
    /// Whether no proxy is asked.
    var isDirect: Bool
    /// The proxy in place of the environment's.
    var proxy: Proxy?
    var tls: TLSOptions
    /// Told of the bytes of bodies as they come and go.
    var transferred: (@Sendable (_ received: Int, _ sent: Int) -> Void)?

    /// Whether the deadline is not over after this time.
    func hasTime(for delay: Duration) -> Bool {
        deadline.map { ContinuousClock.now.advanced(by: delay) < $0 } ?? true
    }
}

/// One attempt at one request: owns libcurl's handle and everything that its callbacks touch.
///
/// Made by the task that sends the request, then used by the loop's thread only; its state is unchecked for that
/// reason. It ends by calling `completion` exactly once.
@safe
final class Transfer: @unchecked Sendable {
    static let headerLimit = 64 << 10
    static let failureBodyLimit = 64 << 10

    /// The loop's number for this transfer.
    let id: UInt64
    let plan: TransferPlan
    private let sink: (any BodySink)?
    private var completion: (@Sendable (TransferOutcome) -> Void)?

    /// libcurl's handle, freed in `deinit`.
    private(set) var easy: UnsafeMutableRawPointer?
    private var headerList: UnsafeMutablePointer<curl_slist>?
    /// What stands before that list: links of our own, the first one last, whose texts are the plan's secrets.
    private var secretLinks: [UnsafeMutablePointer<curl_slist>] = unsafe []
    /// libcurl writes its own words about a failure here.
    private let errorBuffer: UnsafeMutablePointer<CChar>

    private var headers: [(name: String, value: String)] = []
    private var headerBytes = 0
    private var body: [UInt8] = []
    private var received: Int64 = 0
    private var hasBegun = false
    private var sent: Int64 = 0
    /// Whether libcurl has taken anything of the body, to send it.
    private var hasSent = false
    /// Why a callback ended the transfer.
    private var refusal: SigstoreError?
    /// The proxy that it goes through; set when the handle is made.
    private var proxy: Proxy?
    /// The body of an error answer was cut off at its limit, on purpose.
    private var isCutOff = false

    init(
        _ id: UInt64, _ plan: TransferPlan, into sink: (any BodySink)?,
        completion: @escaping @Sendable (TransferOutcome) -> Void
    ) {
        self.id = id
        self.plan = plan
        self.sink = sink
        self.completion = completion
        unsafe errorBuffer = .allocate(capacity: Int(CURL_ERROR_SIZE))
        unsafe errorBuffer.initialize(repeating: 0, count: Int(CURL_ERROR_SIZE))
    }

    deinit {
        if let easy = unsafe easy { unsafe ccurl_easy_cleanup(easy) }
        unsafe secretLinks.forEach { unsafe $0.deallocate() }
        if let list = unsafe headerList { unsafe ccurl_list_free(list) }
        unsafe errorBuffer.deallocate()
    }

    func complete(_ outcome: TransferOutcome) {
        let completion = self.completion
        self.completion = nil
        guard case .failure(var error, let isTransient) = outcome, !hasSent, headers.isEmpty else {
            completion?(outcome)
            return
        }
        error.cause = error.cause ?? RequestNotSent()
        completion?(.failure(error, isTransient: isTransient))
    }

    // MARK: Setting up

    /// Makes libcurl's handle. Called on the loop's thread.
    func prepare() throws(SigstoreError) -> UnsafeMutableRawPointer {
        guard let easy = unsafe ccurl_easy_init() else {
            throw SigstoreError(.httpUnavailable, "libcurl gives no handle: memory is short")
        }
        unsafe self.easy = unsafe easy
        func check(_ code: CURLcode, _ what: String) throws(SigstoreError) {
            guard code == CURLE_OK else {
                let words = unsafe String(cString: ccurl_easy_strerror(code))
                throw SigstoreError(.httpUnavailable, "libcurl refuses \(what): \(words)")
            }
        }
        func set(_ option: CURLoption, _ value: Int) throws(SigstoreError) {
            try check(unsafe ccurl_set_long(easy, option, value), "option \(option.rawValue)")
        }
        func set(_ option: CURLoption, _ value: String) throws(SigstoreError) {
            try check(unsafe ccurl_set_string(easy, option, value), "option \(option.rawValue)")
        }
        let this = unsafe Unmanaged.passUnretained(self).toOpaque()

        try check(unsafe ccurl_allow_only_http(easy), "a list of protocols")
        try check(unsafe ccurl_set_pointer(easy, CURLOPT_ERRORBUFFER, errorBuffer), "a buffer")
        try set(CURLOPT_NOSIGNAL, 1)
        try set(CURLOPT_NETRC, 0)
        try set(CURLOPT_FOLLOWLOCATION, 0)
        try set(CURLOPT_TCP_KEEPALIVE, 1)
        try set(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1)
        try set(CURLOPT_PATH_AS_IS, 1)
        let milliseconds = max(1, Int(clamping: plan.timeout.milliseconds))
        try set(CURLOPT_TIMEOUT_MS, milliseconds)
        try set(CURLOPT_CONNECTTIMEOUT_MS, min(milliseconds, 20_000))
        let origin = plan.url.origin
        if origin.scheme == .https {
            // A libcurl without HTTP/2 refuses to ask for it; HTTP/1.1 serves as well.
            let version = Int(CURL_HTTP_VERSION_2TLS)
            if unsafe ccurl_set_long(easy, CURLOPT_HTTP_VERSION, version) == CURLE_OK { try set(CURLOPT_PIPEWAIT, 1) }
        }
        proxy = plan.isDirect ? nil : plan.proxy
        if !plan.isDirect, proxy == nil { proxy = try Proxy.of(origin) }
        try set(CURLOPT_PROXY, proxy?.url ?? "")
        // libcurl's own reading of the variable does not count.
        try set(CURLOPT_NOPROXY, "")
        unsafe try setTLS(easy, set, check)

        switch plan.method {
        case "GET": try set(CURLOPT_HTTPGET, 1)
        case "HEAD": try set(CURLOPT_NOBODY, 1)
        default:
            let size = bodySize
            if size > 0 || plan.method == "POST" || plan.method == "PUT" || plan.method == "PATCH" {
                try set(CURLOPT_UPLOAD, 1)
                try check(unsafe ccurl_set_offset(easy, CURLOPT_INFILESIZE_LARGE, curl_off_t(size)), "a size")
                try check(
                    unsafe ccurl_set_read(easy) { buffer, size, count, transfer in
                        unsafe Transfer.from(transfer)?.read(buffer, size &* count) ?? Int(CURL_READFUNC_ABORT)
                    }, "a callback")
                try check(unsafe ccurl_set_pointer(easy, CURLOPT_READDATA, this), "a pointer")
                try check(
                    unsafe ccurl_set_seek(easy) { transfer, offset, origin in
                        unsafe Transfer.from(transfer)?.seek(Int64(offset), origin) ?? CInt(CURL_SEEKFUNC_FAIL)
                    }, "a callback")
                try check(unsafe ccurl_set_pointer(easy, CURLOPT_SEEKDATA, this), "a pointer")
            }
            try set(CURLOPT_CUSTOMREQUEST, plan.method)
        }

        // The space after the colon stays out if there is no value: libcurl reads that as "do not send this".
        var lines = plan.headers.map { $0.value.isEmpty ? "\($0.name);" : "\($0.name): \($0.value)" }
        lines.append("Expect:")
        for line in lines {
            guard let list = unsafe ccurl_list_append(headerList, line) else {
                throw SigstoreError(.httpUnavailable, "libcurl takes no header: memory is short")
            }
            unsafe headerList = unsafe list
        }
        for secret in plan.secrets {
            // libcurl reads its lists where they stand, so the secret need not be copied into this one. Of its own it has
            // (7.88) the head of the request, which is freed once it is sent; but over TLS with HTTP/1.1 it is sent from a
            // buffer that is freed with the transfer, and with HTTP/2 its compressed form stays in the connection's buffer
            // until the next one is sent.
            let link = UnsafeMutablePointer<curl_slist>.allocate(capacity: 1)
            unsafe link.initialize(to: curl_slist(data: secret.field, next: secretLinks.last ?? headerList))
            unsafe secretLinks.append(link)
        }
        try check(unsafe ccurl_set_list(easy, CURLOPT_HTTPHEADER, secretLinks.last ?? headerList), "headers")

        try check(
            unsafe ccurl_set_write(easy, CURLOPT_HEADERFUNCTION) { bytes, size, count, transfer in
                unsafe Transfer.from(transfer)?.header(UnsafeRawBufferPointer(start: bytes, count: size &* count)) ?? 0
            }, "a callback")
        try check(unsafe ccurl_set_pointer(easy, CURLOPT_HEADERDATA, this), "a pointer")
        try check(
            unsafe ccurl_set_write(easy, CURLOPT_WRITEFUNCTION) { bytes, size, count, transfer in
                unsafe Transfer.from(transfer)?.write(UnsafeRawBufferPointer(start: bytes, count: size &* count)) ?? 0
            }, "a callback")
        try check(unsafe ccurl_set_pointer(easy, CURLOPT_WRITEDATA, this), "a pointer")
        return unsafe easy
    }

    private func setTLS(
        _ easy: UnsafeMutableRawPointer, _ set: (CURLoption, String) throws(SigstoreError) -> Void,
        _ check: (CURLcode, String) throws(SigstoreError) -> Void
    ) throws(SigstoreError) {
        let origin = plan.url.origin
        var url = plan.url
        if origin.scheme == .https {
            let tls = plan.tls
            try check(unsafe ccurl_set_long(easy, CURLOPT_SSLVERSION, Int(CURL_SSLVERSION_TLSv1_2)), "TLS 1.2")
            func give(
                _ material: TLSMaterial, _ option: CURLoption, file: CURLoption
            ) throws(SigstoreError) {
                if !tls.passesMemoryAsFiles,
                    unsafe ccurl_set_bytes(easy, option, material.bytes.baseAddress, material.bytes.count) == CURLE_OK
                {
                    return
                }
                // libcurl takes all of them from memory from 7.77 on, and over OpenSSL.
                guard let path = material.path() else {
                    throw SigstoreError(
                        .httpUnavailable,
                        "this libcurl takes no certificates from memory, and the system makes no files in memory",
                        advice: "install libcurl 7.77 or newer, over OpenSSL, or give the certificates in files")
                }
                try set(file, path)
            }
            if let authority = tls.authority {
                try give(authority, CURLOPT_CAINFO_BLOB, file: CURLOPT_CAINFO)
                try check(unsafe ccurl_set_string(easy, CURLOPT_CAPATH, nil), "no folder of authorities")
            } else if let file = tls.authorityFile {
                try set(CURLOPT_CAINFO, file)
                // Or the system's folder of authorities would count as well.
                try check(unsafe ccurl_set_string(easy, CURLOPT_CAPATH, nil), "no folder of authorities")
            } else {
                if let file = ProcessEnvironment.value("SSL_CERT_FILE") { try set(CURLOPT_CAINFO, file) }
                if let folder = ProcessEnvironment.value("SSL_CERT_DIR") { try set(CURLOPT_CAPATH, folder) }
            }
            if tls.insecureSkipsVerification {
                try check(unsafe ccurl_set_long(easy, CURLOPT_SSL_VERIFYPEER, 0), "no verification")
                try check(unsafe ccurl_set_long(easy, CURLOPT_SSL_VERIFYHOST, 0), "no verification")
            }
            if let certificate = tls.clientCertificateFile { try set(CURLOPT_SSLCERT, certificate) }
            if let key = tls.clientKeyFile { try set(CURLOPT_SSLKEY, key) }
            if let certificate = tls.clientCertificate {
                try give(certificate, CURLOPT_SSLCERT_BLOB, file: CURLOPT_SSLCERT)
            }
            if let key = tls.clientKey { try give(key, CURLOPT_SSLKEY_BLOB, file: CURLOPT_SSLKEY) }
            if let name = tls.serverName {
                // libcurl takes the name for SNI and verification from the URL: the URL names it, the connection
                // goes to the real host, and so does the Host field.
                let named = try HTTPURL.origin("\(name):\(origin.port)", .https)
                url = try HTTPURL(named, path: url.path, query: url.query)
                let connection = "\(named.host):\(origin.port):\(origin.host):\(origin.port)"
                guard let list = unsafe ccurl_list_append(nil, connection) else {
                    throw SigstoreError(.httpUnavailable, "libcurl takes no host: memory is short")
                }
                connectionList = unsafe ListOwner(list)
                try check(unsafe ccurl_set_list(easy, CURLOPT_CONNECT_TO, list), "a host")
            }
        }
        try set(CURLOPT_URL, url.description)
    }

    /// The list behind CURLOPT_CONNECT_TO, which must live as long as the handle.
    private var connectionList: ListOwner?

    @safe
    private final class ListOwner {
        private let list: UnsafeMutablePointer<curl_slist>
        init(_ list: UnsafeMutablePointer<curl_slist>) { unsafe self.list = unsafe list }
        deinit { unsafe ccurl_list_free(list) }
    }

    private static func from(_ pointer: UnsafeMutableRawPointer?) -> Transfer? {
        guard let pointer = unsafe pointer else { return nil }
        return unsafe Unmanaged<Transfer>.fromOpaque(pointer).takeUnretainedValue()
    }

    // MARK: What libcurl calls

    private var bodySize: Int64 {
        switch plan.body {
        case .none: 0
        case .bytes(let bytes): Int64(bytes.count)
        case .secret(let secret): unsafe Int64(secret.bytes.count)
        case .file(_, _, let count): count
        }
    }

    private func read(_ buffer: UnsafeMutablePointer<CChar>?, _ space: Int) -> Int {
        guard let buffer = unsafe buffer else { return Int(CURL_READFUNC_ABORT) }
        let count = Int(clamping: min(Int64(space), bodySize - sent))
        guard count > 0 else { return 0 }
        hasSent = true
        switch plan.body {
        case .none: return 0
        case .bytes(let bytes):
            let start = Int(clamping: sent)
            let space = unsafe UnsafeMutableRawBufferPointer(start: buffer, count: count)
            unsafe space.copyBytes(from: bytes[start..<start + count])
            sent += Int64(count)
            plan.transferred?(0, count)
            return count
        case .secret(let secret):
            let start = Int(clamping: sent)
            let space = unsafe UnsafeMutableRawBufferPointer(start: buffer, count: count)
            unsafe space.copyBytes(from: UnsafeRawBufferPointer(rebasing: secret.bytes[start..<start + count]))
            sent += Int64(count)
            plan.transferred?(0, count)
            return count
        case .file(let file, let offset, _):
            let space = unsafe UnsafeMutableRawBufferPointer(start: buffer, count: count)
            guard let got = unsafe try? file.read(into: space, at: offset + sent), got > 0 else {
                refusal = SigstoreError(.httpUnavailable, "the file that is being sent cannot be read to its end")
                return Int(CURL_READFUNC_ABORT)
            }
            sent += Int64(got)
            plan.transferred?(0, got)
            return got
        }
    }

    private func seek(_ offset: Int64, _ origin: CInt) -> CInt {
        // libcurl itself sends a request again if a connection that it kept turns out to be closed.
        guard plan.latestStart == nil || !hasSent else { return CInt(CURL_SEEKFUNC_FAIL) }
        guard origin == SEEK_SET, (0...bodySize).contains(offset) else { return CInt(CURL_SEEKFUNC_FAIL) }
        sent = offset
        return CInt(CURL_SEEKFUNC_OK)
    }

    private func header(_ line: UnsafeRawBufferPointer) -> Int {
        headerBytes += line.count
        guard headerBytes <= Self.headerLimit else {
            refusal = SigstoreError(
                .tooLarge,
                "\(plan.url.origin.authority) sends a header of more than \(Self.headerLimit >> 10) KiB")
            return 0
        }
        if unsafe line.starts(with: "HTTP/".utf8) {
            // Interim answers have headers of their own.
            headers = []
        } else if let colon = unsafe line.firstIndex(of: 0x3a), colon > 0 {
            let name = unsafe String(decoding: line[..<colon], as: UTF8.self)
            let isSpace = { (byte: UInt8) in byte == 0x20 || byte == 0x09 || byte == 0x0d || byte == 0x0a }
            var value = unsafe Array(line[(colon + 1)...].drop(while: isSpace))
            while let last = value.last, isSpace(last) { value.removeLast() }
            headers.append((name: name.lowercased(), value: String(decoding: value, as: UTF8.self)))
        }
        return line.count
    }

    private var status: Int {
        guard let easy = unsafe easy else { return 0 }
        var status = 0
        return unsafe ccurl_get_long(easy, CURLINFO_RESPONSE_CODE, &status) == CURLE_OK ? status : 0
    }

    private func write(_ bytes: UnsafeRawBufferPointer) -> Int {
        do throws(SigstoreError) {
            guard (200...299).contains(status) else {
                let space = Self.failureBodyLimit - body.count
                unsafe body.append(contentsOf: bytes.prefix(space))
                isCutOff = bytes.count > space
                return isCutOff ? 0 : bytes.count
            }
            if !hasBegun { try beginBody() }
            received += Int64(bytes.count)
            guard received <= plan.bodyLimit else { throw tooLarge() }
            plan.transferred?(bytes.count, 0)
            if let sink {
                unsafe try sink.receive(bytes)
            } else {
                unsafe body.append(contentsOf: bytes)
            }
            return bytes.count
        } catch {
            refusal = error
            return 0
        }
    }

    private func beginBody() throws(SigstoreError) {
        hasBegun = true
        if let length = headers.last(where: { $0.name == "content-length" }).flatMap({ Int64($0.value) }),
            length > plan.bodyLimit
        {
            throw tooLarge()
        }
        try sink?.begin()
    }

    private func tooLarge() -> SigstoreError {
        SigstoreError(
            .tooLarge,
            "\(plan.url.origin.authority) sends more than the \(plan.bodyLimit) bytes that are accepted for "
                + "\(plan.url.redacted)")
    }

    // MARK: The end

    /// What the transfer came to. Called on the loop's thread when libcurl is done with it.
    func outcome(_ code: CURLcode) -> TransferOutcome {
        if let refusal { return .failure(refusal, isTransient: false) }
        if code == CURLE_OK || isCutOff {
            let status = self.status
            if (200...299).contains(status), !hasBegun, plan.method != "HEAD" {
                // An empty body is a body too.
                do throws(SigstoreError) { try beginBody() } catch { return .failure(error, isTransient: false) }
            }
            // Over plain HTTP the proxy itself answers so.
            if status == 407, plan.url.origin.scheme == .http, let proxy {
                return .failure(
                    SigstoreError(
                        .unreachable, "\(proxy.name) demands a user name and a password (HTTP 407)",
                        advice: .sentence(proxy.advice)), isTransient: false)
            }
            return .response(HTTPResponse(status: status, headers: headers, body: body, url: plan.url))
        }
        let host = plan.url.origin.authority
        let through = proxy.map { " through \($0.name)" } ?? ""
        let buffer = unsafe String(cString: errorBuffer)
        let words = buffer.isEmpty ? unsafe String(cString: ccurl_easy_strerror(code)) : buffer
        // Proxies' and servers' words can stand in libcurl's, so they are bounded as well.
        let reason = String(decoding: words.utf8.prefix(256), as: UTF8.self)
        switch code {
        case CURLE_OPERATION_TIMEDOUT:
            let seconds = Double(plan.timeout.milliseconds) / 1000
            return .failure(
                SigstoreError(
                    .timedOut,
                    "\(host) did not finish \(plan.method) \(plan.url.redacted) within \(seconds) s\(through)",
                    advice: .remedy(.allowMoreTime)), isTransient: false)
        case CURLE_SSL_CONNECT_ERROR, CURLE_PEER_FAILED_VERIFICATION, CURLE_SSL_CERTPROBLEM, CURLE_SSL_CIPHER,
            CURLE_SSL_CACERT_BADFILE, CURLE_SSL_ISSUER_ERROR, CURLE_SSL_ENGINE_NOTFOUND, CURLE_SSL_INVALIDCERTSTATUS,
            CURLE_SSL_PINNEDPUBKEYNOTMATCH, CURLE_SSL_CLIENTCERT:
            return .failure(
                SigstoreError(
                    .tlsFailed, "no trustworthy TLS connection to \(host)\(through): \(reason)",
                    advice: "check the host's name and port, and name the authority that issued its certificate"),
                isTransient: false)
        default:
            return .failure(
                SigstoreError(
                    .unreachable, "\(host) cannot be reached\(through): \(reason)",
                    advice: .sentence(proxy?.advice ?? "check the host's name and port, and the network")),
                isTransient: true)
        }
    }
}

extension Duration {
    /// Whole milliseconds, rounded down.
    var milliseconds: Int64 {
        let (seconds, attoseconds) = components
        let (product, overflow) = seconds.multipliedReportingOverflow(by: 1000)
        return overflow ? (seconds < 0 ? .min : .max) : product &+ attoseconds / 1_000_000_000_000_000
    }
}
