import FoundationEssentials
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import Testing

@testable import Provenance

private let folder: String = {
    let checkout = "/" + #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
    return "\(checkout)/../shared/provenance/pypi"
}()

/// Whether a certificate is the publisher's, by certificates that signed files on PyPI.
@Suite(
    "PyPI's publishers",
    .enabled(if: FileManager.default.fileExists(atPath: folder), "left out: ../shared is not there"))
struct PyPIPublisherTests {
    /// The code that a certificate is refused with for a publisher; `nil` if it is not.
    private func refusal(
        _ file: String, _ signer: String, issuer: String, _ publisher: String, repository: String? = nil
    ) throws -> SigstoreError? {
        let pem = try Data(contentsOf: URL(filePath: "\(folder)/\(file).pem"))
        let certificate = try #require(try Certificate.chain(pem: Array(pem)).first)
        let stated = try PyPIPublisher(JSONCursor(try JSONValue(parsing: Array(publisher.utf8))))
        let identity = CertificateIdentity(subject: .exactly(signer), issuer: .exactly(issuer))
        let policy = try PyPIPolicy(repository.map { .repository($0) } ?? .identity(identity))
        do throws(SigstoreError) {
            try policy.checkSigner(signer, issuer: issuer, CertificateClaims(certificate), stated)
            return nil
        } catch { return error }
    }

    @Test("A workflow that its certificate names by the commit alone, without a branch or tag, is the publisher's")
    func commit() throws {
        let source = "https://github.com/SWIFTSIM/swiftgalaxy"
        func refused(_ repository: String, _ workflow: String, issuer: String? = nil) throws -> String? {
            try refusal(
                "no-source-repository-ref-extension",
                "\(source)/.github/workflows/python-publish.yml@a26eb006d04dd0c41a6e38dc15ddaf7b46143505",
                issuer: issuer ?? "https://token.actions.githubusercontent.com",
                #"{"kind":"GitHub","repository":"\#(repository)","workflow":"\#(workflow)"}"#,
                repository: "https://github.com/\(repository)")?.code.rawValue
        }
        #expect(try refused("SWIFTSIM/swiftgalaxy", "python-publish.yml") == nil)
        #expect(try refused("SWIFTSIM/swiftgalaxy", "python-publish.yaml") == "wrong-publisher")
        #expect(try refused("SWIFTSIM/swiftgalaxy", "publish.yml") == "wrong-publisher")
        #expect(try refused("swiftsim/swiftgalaxy", "python-publish.yml") == "wrong-publisher")
        #expect(
            try refused("SWIFTSIM/swiftgalaxy", "python-publish.yml", issuer: "https://gitlab.com") == "wrong-publisher"
        )
    }

    @Test("An account of Google Cloud is the publisher's by its email address")
    func email() throws {
        let account = "919436158236-compute@developer.gserviceaccount.com"
        let google = "https://accounts.google.com"
        func refused(_ email: String, issuer: String) throws -> String? {
            try refusal("200170367", account, issuer: issuer, #"{"kind":"Google","email":"\#(email)"}"#)?.code.rawValue
        }
        #expect(try refused(account, issuer: google) == nil)
        #expect(try refused("other@developer.gserviceaccount.com", issuer: google) == "wrong-publisher")
        #expect(try refused(account, issuer: "https://token.actions.githubusercontent.com") == "wrong-publisher")
    }
}
