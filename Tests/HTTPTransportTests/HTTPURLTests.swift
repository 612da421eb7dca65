import StrictJSON
import Testing

@testable import HTTPTransport

@Suite struct HTTPURLTests {
    @Test(arguments: [
        ("https://Example.COM/a/b?c=d#e", "https://example.com/a/b?c=d"),
        ("http://localhost:5000", "http://localhost:5000/"),
        ("HTTPS://a:443/", "https://a/"),
        ("http://[::1]:80/x", "http://[::1]/x"),
        ("https://a?q", "https://a/?q"),
    ])
    func reads(_ text: String, _ expected: String) throws {
        #expect(try HTTPURL(parsing: text).description == expected)
    }

    @Test(arguments: [
        "", "example.com", "ftp://a/", "file:///etc/passwd", "https://", "https:///x", "https://user@a/",
        "https://user:secret@a/", "https://a:0/", "https://a:65536/", "https://a:/", "https://a:+1/", "https://a b/",
        "https://a/\r\nX: y", "https://a/é", "https://[::1/", "https://-a/", "https://a\\@b/", "https://ä/",
        "https://a:80:80/", "gopher://a", "https//a",
    ])
    func refuses(_ text: String) {
        #expect(throws: SigstoreError.self) { try HTTPURL(parsing: text) }
    }

    @Test(
        "What may be shown of a URL, or of what is meant as one, has no user and password",
        arguments: [
            ("https://user:secret@a/key.pub", "https://***@a/key.pub"), ("https://secret@a:80/", "https://***@a:80/"),
            ("hashivault:secret@a", "hashivault:***@a"), ("https:///u:secret@a/", "https:///***@a/"),
            ("https:\\\\u:secret@a\\b@c", "https:\\\\***@a\\b@c"), ("x://u:sec/ret@a/b", "x://***@a/b"),
            ("x://u:sec?ret#s@a", "x://***@a"), ("x://secret@secret@a", "x://***@a"),
            // A password of digits and a slash looks like a port.
            ("https://user:123/x@host", "https://user:***@host"),
            ("https://a:80/@scope/key", "https://a:***@scope/key"),
            // Nothing of these is a user.
            ("https://a/@scope/key", "https://a/@scope/key"), ("https://a:80/key", "https://a:80/key"),
            ("https://[::1]/a@b", "https://[::1]/a@b"), ("a@b", "a@b"), ("", ""), ("x:", "x:"), ("x://", "x://"),
            ("awskms:///arn:aws:kms:r:1:key/x", "awskms:///arn:aws:kms:r:1:key/x"),
        ])
    func withoutUser(_ text: String, _ shown: String) { #expect(HTTPURL.withoutUser(text) == shown) }

    @Test("A password that lost its @ is taken for a port, and not repeated")
    func lostAt() throws {
        let error = #expect(throws: SigstoreError.self) { try HTTPURL(parsing: "https://user:secret/") }
        #expect(error?.message.contains("secret") == false && error?.message.contains("port") == true)
    }

    @Test func neverRepeatsAPassword() throws {
        let error = #expect(throws: SigstoreError.self) { try HTTPURL(parsing: "https://user:secret@a/") }
        #expect(try !#require(error).message.contains("secret"))
    }

    /// The examples of RFC 3986, section 5.4, as far as they stay with http.
    @Test(arguments: [
        ("g", "http://a/b/c/g"), ("./g", "http://a/b/c/g"), ("g/", "http://a/b/c/g/"), ("/g", "http://a/g"),
        ("//g", "http://g/"), ("?y", "http://a/b/c/d;p?y"), ("g?y", "http://a/b/c/g?y"), ("", "http://a/b/c/d;p?q"),
        ("#s", "http://a/b/c/d;p?q"), (".", "http://a/b/c/"), ("..", "http://a/b/"), ("../g", "http://a/b/g"),
        ("../..", "http://a/"), ("../../../g", "http://a/g"), ("/./g", "http://a/g"), ("g.", "http://a/b/c/g."),
        ("./g/.", "http://a/b/c/g/"), ("g/../h", "http://a/b/c/h"), ("https://x/y?z", "https://x/y?z"),
    ])
    func resolves(_ reference: String, _ expected: String) throws {
        #expect(try HTTPURL(parsing: "http://a/b/c/d;p?q").resolving(reference).description == expected)
    }

    @Test func knowsLoopback() throws {
        for host in ["localhost", "127.0.0.1", "127.9.9.9", "[::1]"] {
            #expect(try HTTPURL.origin(host, .http).isLoopback, "\(host)")
        }
        for host in ["127.0.0.1.example.com", "localhost.example.com", "127.1", "128.0.0.1", "127.0.0.256"] {
            #expect(try !HTTPURL.origin(host, .http).isLoopback, "\(host)")
        }
    }

    @Test func hidesTheQuery() throws {
        let url = try HTTPURL(parsing: "https://a/b").adding("token", "s e/cret&")
        #expect(url.description == "https://a/b?token=s%20e%2Fcret%26")
        #expect(url.redacted == "https://a/b?…")
    }

    @Test("When a server answered, by its own clock; out of a cache, with the time that the answer lay there")
    func date() throws {
        let url = try HTTPURL(parsing: "https://example.com/")
        func date(_ headers: [(name: String, value: String)]) -> Int64? {
            HTTPResponse(status: 200, headers: headers, body: [], url: url).date?.seconds
        }
        let sent = (name: "date", value: "Sun, 06 Nov 1994 08:49:37 GMT")
        #expect(date([sent]) == 784_111_777)
        #expect(date([sent, ("age", "60")]) == 784_111_837)
        for age in ["-1", "x", "9223372036854775807"] { #expect(date([sent, ("age", age)]) == 784_111_777, "\(age)") }
        #expect(date([]) == nil && date([("date", "1994-11-06")]) == nil)
    }

    @Test func readsRetryAfter() {
        #expect(RetryPolicy.retryAfter("120", now: 0) == .seconds(120))
        #expect(RetryPolicy.retryAfter("Sun, 06 Nov 1994 08:49:37 GMT", now: 784_111_770) == .seconds(7))
        #expect(RetryPolicy.retryAfter("Thu, 29 Feb 2024 00:00:00 GMT", now: 1_709_164_799) == .seconds(1))
        #expect(RetryPolicy.retryAfter("Sun, 06 Nov 1994 08:49:37 GMT", now: 2_000_000_000) == .seconds(0))
        for text in ["", "-1", "soon", "1.5", "99999999999", "Sun, 06 Nev 1994 08:49:37 GMT"] {
            #expect(RetryPolicy.retryAfter(text, now: 0) == nil, "\(text)")
        }
    }
}
