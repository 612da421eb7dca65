import FaultServer
import StrictJSON
import Testing

@testable import HTTPTransport

@Suite("Proxies: which one is used, for which hosts, and what is said if it fails", .timeLimit(.minutes(10)))
struct ProxyTests {
    private func proxy(_ url: String, _ environment: [String: String]) throws -> Proxy? {
        try Proxy.of(try HTTPURL(parsing: url).origin) { environment[$0].flatMap { $0.isEmpty ? nil : $0 } }
    }

    @Test("NO_PROXY is read as Go reads it")
    func listed() throws {
        // A list, hosts that it has, and hosts that it has not.
        let cases: [(list: String, inside: [String], outside: [String])] = [
            (
                "example.com", ["https://example.com", "https://a.b.example.com:8443", "https://EXAMPLE.com"],
                ["https://badexample.com", "https://example.com.bad", "https://example.org"]
            ),
            (".example.com", ["https://a.example.com"], ["https://example.com", "https://badexample.com"]),
            ("*.example.com", ["https://a.example.com", "https://a.b.example.com"], ["https://example.com"]),
            ("example.com:8443", ["https://example.com:8443", "https://a.example.com:8443"], ["https://example.com"]),
            ("example.com:443", ["https://example.com"], ["https://example.com:8443"]),
            ("*", ["https://example.com", "https://[2001:db8::1]"], []),
            ("*ple.com", [], ["https://example.com"]),
            (
                " one.example , ,two.example,", ["https://one.example", "https://two.example"],
                ["https://three.example"]
            ),
            ("10.0.0.0/8", ["https://10.200.1.1", "https://10.0.0.0"], ["https://11.0.0.1", "https://10.example"]),
            ("10.1.2.3/33", [], ["https://10.1.2.3"]), ("10.1.2.3/", [], ["https://10.1.2.3"]),
            ("192.0.2.128/25", ["https://192.0.2.255"], ["https://192.0.2.127"]),
            ("2001:db8::/33", ["https://[2001:db8:7fff::1]"], ["https://[2001:db8:8000::1]", "https://32.1.13.184"]),
            ("::/0", ["https://[2001:db8::1]"], ["https://192.0.2.1"]),
            ("::ffff:192.0.2.0/120", ["https://192.0.2.9"], ["https://192.0.3.9"]),
            (
                "192.0.2.1", ["https://192.0.2.1", "https://192.0.2.1:5000"],
                ["https://192.0.2.11", "https://1.192.0.2.1"]
            ),
            ("192.0.2.1:5000", ["https://192.0.2.1:5000"], ["https://192.0.2.1"]),
            ("2001:db8::1", ["https://[2001:0db8:0::1]:7"], ["https://[2001:db8::2]"]),
            ("[2001:db8::1]:7", ["https://[2001:db8::1]:7"], ["https://[2001:db8::1]"]),
            ("[2001:db8::1]", ["https://[2001:db8::1]"], []),
            (".2.1", [], ["https://192.0.2.1"]), (".", [], ["https://example.com"]),
            (":443", [], ["https://example.com"]),
        ]
        for (list, inside, outside) in cases {
            for name in ["NO_PROXY", "no_proxy"] {
                let environment = ["HTTPS_PROXY": "proxy.corp:3128", name: list]
                for url in inside { #expect(try proxy(url, environment) == nil, "\(list): \(url)") }
                for url in outside {
                    #expect(try proxy(url, environment)?.authority == "proxy.corp:3128", "\(list): \(url)")
                }
            }
        }
    }

    @Test("The scheme chooses the variable; nothing on this machine is asked for through a proxy")
    func chosen() throws {
        let all = [
            "HTTP_PROXY": "http://one.corp", "HTTPS_PROXY": "https://ann:s3cret@two.corp",
            "ALL_PROXY": "socks5://three.corp",
        ]
        #expect(try proxy("http://example.com", all)?.url == "http://one.corp:80")
        let two = try #require(try proxy("https://example.com", all))
        #expect(two.url == "https://ann:s3cret@two.corp:443" && two.authority == "two.corp:443")
        #expect(two.name == "the proxy two.corp:443 (HTTPS_PROXY)")
        #expect(
            try proxy("https://example.com", ["ALL_PROXY": "socks5://three.corp"])?.url == "socks5h://three.corp:1080")
        #expect(try proxy("https://example.com", ["https_proxy": "[2001:db8::1]:80"])?.url == "http://[2001:db8::1]:80")
        #expect(
            try proxy("https://example.com", ["HTTPS_PROXY": "a.corp", "https_proxy": "b.corp"])?.authority
                == "a.corp:80")
        #expect(try proxy("https://example.com", ["HTTP_PROXY": "a.corp", "HTTPS_PROXY": ""]) == nil)
        // In a CGI, the caller sets HTTP_PROXY by a header field.
        let cgi = ["HTTP_PROXY": "bad.corp", "REQUEST_METHOD": "GET"]
        #expect(try proxy("http://example.com", cgi) == nil)
        #expect(try proxy("http://example.com", cgi.merging(["http_proxy": "a.corp"]) { $1 })?.authority == "a.corp:80")
        for url in ["http://localhost:1", "https://127.0.0.1", "https://127.9.9.9:5", "http://[::1]:5000"] {
            #expect(try proxy(url, all) == nil, "\(url)")
        }
    }

    @Test(
        "What names no proxy is an error that names the variable and shows no password",
        arguments: [
            "ftp://ann:s3cret@proxy.corp", "http://", "http://ann:s3cret@", "proxy.corp:99999", "/proxy", "a b",
            "http://pro xy:1",
        ])
    func malformed(value: String) {
        let error = #expect(throws: SigstoreError.self) { try proxy("https://example.com", ["HTTPS_PROXY": value]) }
        #expect(error?.code == .malformedURL && error?.message.contains("HTTPS_PROXY") == true)
        #expect(error.map { "\($0.message)\($0.advice?.description ?? "")".contains("s3cret") } == false)
    }
}
