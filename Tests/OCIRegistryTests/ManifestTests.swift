import HTTPTransport
import OCIRegistry
import SigstoreCrypto
import StrictJSON
import Testing

@Suite struct ManifestTests {
    static let descriptor =
        #"{"mediaType":"a/b","digest":"sha256:\#(Sample.emptyHex)","size":2}"#

    @Test func readsAndKeepsTheBytes() throws {
        let text = #"""
            { "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "new": [1],
              "config": \#(Self.descriptor), "layers": [{"urls":["file:///etc/passwd"],
              "mediaType":"x/y","size":7,"annotations":{"k":"v","é":"1","e\u0301":"2"},
              "digest":"sha256:\#(Sample.emptyHex)"}] }
            """#
        let bytes = Array(text.utf8)
        let manifest = try Manifest(bytes, contentType: MediaType.imageManifest)
        #expect(manifest.bytes == bytes)
        #expect(try manifest.digest == Digest.sha256(bytes))
        let layer = try #require(manifest.image?.layers.first)
        #expect(layer.size == 7)
        // Two names that are the same text to Unicode are two names.
        #expect(layer.annotations["\u{e9}"] == "1")
        #expect(layer.annotations["e\u{301}"] == "2")
    }

    @Test(arguments: [
        "", "{}", "[]", "null", "{", #"{"manifests":[],"layers":[]}"#, #"{"manifests":[],"config":{}}"#,
        #"{"schemaVersion":2,"config":1,"layers":[]}"#, #"{"schemaVersion":2,"layers":[]}"#,
        #"{"mediaType":"application/vnd.oci.image.index.v1+json","layers":[]}"#,
        #"{"mediaType":"application/vnd.oci.image.index.v1+json"}"#,
        #"{"manifests":[{"mediaType":"a","digest":"sha256:00","size":1}]}"#,
        #"{"manifests":[{"mediaType":"a","size":1}]}"#,
        #"{"manifests":[{"mediaType":"a","digest":"../../x","size":1}]}"#,
        #"{"manifests":[{"mediaType":"a","digest":"sha256:\#(Sample.emptyHex)","size":-1}]}"#,
        #"{"manifests":[{"mediaType":"a","digest":"sha256:\#(Sample.emptyHex)","size":"1"}]}"#,
        #"{"manifests":[{"mediaType":"a","digest":"sha256:\#(Sample.emptyHex)","size":99999999999999999999}]}"#,
        #"{"manifests":[],"manifests":[]}"#, #"{"manifests":[],"annotations":{"a":1}}"#,
    ])
    func refuses(_ text: String) {
        #expect(throws: SigstoreError.self) { try Manifest(Array(text.utf8)) }
    }

    @Test func refusesAKindThatContradictsItself() throws {
        let index = Array(#"{"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#.utf8)
        #expect(try Manifest(index, contentType: MediaType.imageIndex).index != nil)
        #expect(try Manifest(index, contentType: "text/plain").index != nil)
        #expect(throws: SigstoreError.self) { try Manifest(index, contentType: MediaType.imageManifest) }
    }

    @Test func boundsLayersAndSize() throws {
        func manifest(_ layers: Int) -> [UInt8] {
            let list = Array(repeating: Self.descriptor, count: layers).joined(separator: ",")
            return Array(#"{"schemaVersion":2,"config":\#(Self.descriptor),"layers":[\#(list)]}"#.utf8)
        }
        #expect(try Manifest(manifest(1000)).image?.layers.count == 1000)
        #expect(throws: SigstoreError.self) { try Manifest(manifest(1001)) }
        let large = [UInt8](repeating: 0x20, count: Manifest.byteLimit - 16) + Array(#"{"manifests":[]}"#.utf8)
        #expect(try Manifest(large).index != nil)
        #expect(throws: SigstoreError.self) { try Manifest([0x20] + large) }
    }

    @Test func readsManyAnnotationsInTheTimeOfFew() throws {
        func manifest(_ more: String) -> [UInt8] {
            let list = (0..<100_000).map { #""a\#($0)":"v""# }.joined(separator: ",")
            return Array(#"{"manifests":[],"annotations":{\#(list)\#(more)}}"#.utf8)
        }
        let time = try ContinuousClock().measure {
            let annotations = try Manifest(manifest(#","none":null"#)).index?.annotations
            #expect(annotations?.entries.count == 100_000)
            #expect(annotations?["a99999"] == "v")
            #expect(throws: SigstoreError.self) { try Manifest(manifest(#","a7":"again""#)) }
            #expect(throws: SigstoreError.self) { try Manifest(manifest(#","number":1"#)) }
        }
        // One lookup for each took minutes on an idle machine; this takes a second or two there.
        #expect(time < .seconds(60), "\(time)")
    }

    @Test func writesWhatItReads() throws {
        let manifest = try ImageManifest(
            artifactType: "a/t", config: try Sample.emptyConfig, layers: [try Sample.emptyConfig],
            subject: try Sample.emptyConfig, annotations: ["n": "v"]
        ).encoded()
        #expect(manifest.image?.artifactType == "a/t")
        #expect(manifest.image?.annotations["n"] == "v")
        #expect(try manifest.subject?.digest == Sample.emptyConfig.digest)
        #expect(manifest.referrerDescriptor.artifactType == "a/t")
        #expect(try Manifest(manifest.bytes).digest == manifest.digest)
        var platform = manifest.descriptor
        platform.platform = Platform(os: "linux", architecture: "arm64", variant: "v8")
        let index = try ImageIndex(manifests: [platform]).encoded()
        #expect(index.index?.manifests.first?.platform?.description == "linux/arm64/v8")
    }
}
