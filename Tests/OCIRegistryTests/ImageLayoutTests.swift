import Foundation
import HTTPTransport
import LocalSystem
import OCIRegistry
import SigstoreCrypto
import StrictJSON
import Testing

@Suite(.timeLimit(.minutes(10))) final class ImageLayoutTests {
    let folder = FileManager.default.temporaryDirectory.appending(path: "layout-\(UUID().uuidString)")
    var path: String { folder.appending(path: "a/layout").path }

    deinit { try? FileManager.default.removeItem(at: folder) }

    private func read(_ name: String) throws -> String {
        try String(contentsOfFile: "\(path)/\(name)", encoding: .utf8)
    }

    @Test func storesAndFetches() async throws {
        let layout = try ImageLayout(creating: path)
        #expect(try await layout.manifest(.tag("v1")) == nil)
        let image = try await Sample.putImage("hello", in: layout, tag: "v1")
        #expect(try await layout.manifest(.tag("v1"))?.bytes == image.bytes)
        #expect(try await layout.resolve(.digest(image.digest))?.digest == image.digest)
        let layer = try #require(image.image?.layers.first)
        #expect(try await layout.blob(layer, limit: 5) == Array("hello".utf8))
        #expect(await Sample.failure { _ = try await layout.blob(layer, limit: 4) }?.code == .tooLarge)
        #expect(try await layout.tags() == ["v1"])
        // It is opened again as it was.
        let again = try ImageLayout(opening: path)
        #expect(try await again.resolve(.tag("v1"))?.digest == image.digest)
        let other = try await Sample.putImage("other", in: again, tag: "v1")
        #expect(try await again.resolve(.tag("v1"))?.digest == other.digest)
        #expect(try again.entries().count == 1)
        #expect(try await again.delete(.tag("v1")))
        #expect(try await !again.delete(.tag("v1")))
        #expect(try await again.tags() == [])
    }

    @Test func findsReferrers() async throws {
        let layout = try ImageLayout(creating: path)
        let image = try await Sample.putImage("hello", in: layout, tag: "v1")
        #expect(try layout.onlyImage() == .digest(image.digest))
        let first = try await Sample.referrer("one", of: image, in: layout)
        try await layout.putReferrer(first)
        try await layout.putReferrer(first)
        let found = try await layout.referrers(of: image.digest, artifactType: "application/x-test")
        #expect(found.descriptors.map(\.digest) == [first.digest])
        #expect(found.descriptors.first?.annotations["org.example.text"] == "one")
        #expect(try await layout.referrers(of: image.digest, artifactType: "other/type").descriptors.isEmpty)
        // An index at the fallback tag counts as well.
        let second = try await Sample.referrer("two", of: image, in: layout)
        try await layout.putManifest(second, tag: nil)
        let index = try ImageIndex(manifests: [second.referrerDescriptor, first.referrerDescriptor]).encoded()
        try await layout.putManifest(index, tag: "sha256-\(image.digest.hex)")
        let both = try await layout.referrers(of: image.digest, artifactType: nil).descriptors.map(\.digest)
        #expect(Set(both) == [first.digest, second.digest] && both.count == 2)
        #expect(try layout.onlyImage() == .digest(image.digest))
        _ = try await Sample.putImage("another", in: layout, tag: "v2")
        #expect(throws: SigstoreError.self) { try layout.onlyImage() }
    }

    /// Whatever an entry says of itself, an image that can be run counts as one.
    @Test func hidesNoSecondImage() async throws {
        let layout = try ImageLayout(creating: path)
        let image = try await Sample.putImage("signed", in: layout, tag: nil)
        let config = try Blob(Array(#"{"architecture":"amd64","os":"linux"}"#.utf8))
        let layer = try Blob(Array("malware".utf8))
        for blob in [config, layer] { try await layout.putBlob(blob) }
        func other(config type: String, layer layerType: String, subject: Descriptor?) throws -> Manifest {
            try ImageManifest(
                config: Descriptor(mediaType: type, digest: config.digest, size: config.size),
                layers: [Descriptor(mediaType: layerType, digest: layer.digest, size: layer.size)], subject: subject
            ).encoded()
        }
        func picked(_ other: Manifest, _ annotations: Annotations) async throws -> ManifestSelector? {
            try await layout.putManifest(other, tag: nil)
            try await layout.replaceEntries([
                (other, annotations), (image, ["kind": ImageLayout.SavedKind.image.rawValue]),
            ])
            return try? layout.onlyImage()
        }
        let tag = ImageLayout.tagAnnotation
        let (imageType, tar) = (
            "application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar"
        )
        let runnable = try other(config: imageType, layer: tar, subject: image.descriptor)
        let artifact = try other(config: MediaType.empty, layer: "text/plain", subject: image.descriptor)
        let hidden: [(Manifest, Annotations)] = [
            (runnable, [:]), (runnable, ["kind": "dev.cosignproject.cosign/image"]),
            (runnable, ["kind": "dev.cosignproject.cosign/sigs"]), (runnable, [tag: "latest"]),
            (artifact, ["kind": "dev.cosignproject.cosign/image"]),
            (artifact, ["kind": "dev.cosignproject.cosign/imageIndex"]), (artifact, [tag: "latest"]),
            // Tags that are no attachment's, or that of something which is not here, or its own.
            (artifact, [tag: "sha256-\(image.digest.hex)-latest"]), (artifact, [tag: "sha256-\(image.digest.hex).exe"]),
            (artifact, [tag: "sha256-\(String(repeating: "0", count: 64)).sig"]),
            (artifact, [tag: "sha256-\(artifact.digest.hex).sig"]),
            // Tags of this image's that point at something else.
            (runnable, [tag: "sha256-\(image.digest.hex).sig"]), (runnable, [tag: "sha256-\(image.digest.hex).sbom"]),
            (
                try ImageIndex(manifests: [image.descriptor]).encoded(), [tag: "sha256-\(image.digest.hex)"]
            ),
            (
                artifact,
                [tag: "sha256-\(image.digest.hex).sig", "kind": "dev.cosignproject.cosign/image"]
            ),
            (
                try other(
                    config: MediaType.empty, layer: "text/plain",
                    subject: Descriptor(
                        mediaType: MediaType.imageManifest,
                        digest: try Digest(hex: String(repeating: "0", count: 64), .sha256), size: 1)), [:]
            ), (try ImageIndex(manifests: [runnable.descriptor], subject: image.descriptor).encoded(), [:]),
        ]
        for (other, annotations) in hidden {
            #expect(try await picked(other, annotations) == nil, "\(annotations.entries)")
        }
        let signatures = try other(
            config: imageType, layer: "application/vnd.dev.cosign.simplesigning.v1+json", subject: nil)
        let attached: [(Manifest, Annotations)] = [
            (artifact, [:]), (signatures, ["kind": "dev.cosignproject.cosign/sigs"]),
            (signatures, [tag: "sha256-\(image.digest.hex).sig"]), (artifact, [tag: "sha256-\(image.digest.hex).att"]),
            (artifact, [tag: "sha256-\(image.digest.hex).sbom"]), (artifact, [tag: "sha256-\(image.digest.hex)"]),
        ]
        for (other, annotations) in attached {
            #expect(try await picked(other, annotations) == .digest(image.digest), "\(annotations.entries)")
        }
    }

    @Test func keepsWhatOthersWrote() async throws {
        let layout = try ImageLayout(creating: path)
        let image = try await Sample.putImage("hello", in: layout, tag: "v1")
        var index = try read("index.json")
        index.removeLast()
        index += #","annotations":{"theirs":"1"},"x":[1]}"#
        try index.write(toFile: "\(path)/index.json", atomically: true, encoding: .utf8)
        try await layout.putReferrer(try await Sample.referrer("one", of: image, in: layout))
        let written = try read("index.json")
        #expect(written.contains(#""annotations":{"theirs":"1"},"x":[1]"#))
    }

    @Test func losesNothingWhenManyWriteAtOnce() async throws {
        let path = path
        let image = try await Sample.putImage(
            "hello", in: try ImageLayout(creating: "\(folder.path)/other"), tag: "v1")
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 0..<32 {
                group.addTask {
                    // They make it together as well.
                    let layout = try ImageLayout(creating: path)
                    try await layout.putReferrer(try await Sample.referrer("\(number)", of: image, in: layout))
                }
            }
            try await group.waitForAll()
        }
        let layout = try ImageLayout(opening: path)
        #expect(try await layout.referrers(of: image.digest, artifactType: nil).descriptors.count == 32)
        // Nothing half-written stays.
        let names = try FileManager.default.subpathsOfDirectory(atPath: path)
        #expect(!names.contains { $0.contains("tmp") })
    }

    @Test func mergesATagThatManyWriteTo() async throws {
        let path = path
        _ = try ImageLayout(creating: path)
        let config = try Sample.emptyConfig
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 0..<16 {
                group.addTask {
                    let layout = try ImageLayout(opening: path)
                    try await layout.putBlob(try Blob(Array("{}".utf8)))
                    let layer = try Blob(Array("signature \(number)".utf8))
                    try await layout.putBlob(layer)
                    let own = try ImageManifest(
                        config: config,
                        layers: [Descriptor(mediaType: "a/b", digest: layer.digest, size: layer.size)]
                    ).encoded()
                    try await layout.merge(
                        TagMerge(tag: "x.sig", own: own, id: String(layer.digest.hex.prefix(48))) { manifest in
                            Set((manifest.image?.layers ?? []).map { String($0.digest.hex.prefix(48)) })
                        } merged: { (manifests) throws(SigstoreError) in
                            try ImageManifest(
                                config: config, layers: manifests.flatMap { $0.image?.layers ?? [] }
                            ).encoded()
                        })
                }
            }
            try await group.waitForAll()
        }
        let manifest = try await ImageLayout(opening: path).manifest(.tag("x.sig"))
        #expect(manifest?.image?.layers.count == 16)
    }

    @Test func refusesDamage() async throws {
        let layout = try ImageLayout(creating: path)
        let image = try await Sample.putImage("hello", in: layout, tag: "v1")
        let layer = try #require(image.image?.layers.first)
        try "jello".write(
            toFile: "\(path)/blobs/sha256/\(layer.digest.hex)", atomically: false, encoding: .utf8)
        #expect(await Sample.failure { _ = try await layout.blob(layer, limit: 5) }?.code == .digestMismatch)
        let manifest = "\(path)/blobs/sha256/\(image.digest.hex)"
        try (try read("blobs/sha256/\(image.digest.hex)") + " ").write(
            toFile: manifest, atomically: false, encoding: .utf8)
        #expect(await Sample.failure { _ = try await layout.manifest(.tag("v1")) }?.code == .digestMismatch)
        try FileManager.default.removeItem(atPath: manifest)
        // What is named and not there is not the same as nothing.
        let error = await Sample.failure { _ = try await layout.referrers(of: layer.digest, artifactType: nil) }
        #expect(error?.code == .malformedLayout)
        #expect(await Sample.failure { _ = try await layout.manifest(.tag("v1")) }?.code == .malformedLayout)
        for text in ["", "{", "[]", #"{"manifests":{}}"#, #"{"manifests":[{"digest":"sha256:../../x"}]}"#] {
            try text.write(toFile: "\(path)/index.json", atomically: true, encoding: .utf8)
            let error = await Sample.failure { _ = try await layout.manifest(.tag("v1")) }
            #expect(error?.code == .malformedLayout, "\(text)")
        }
    }

    @Test func refusesWhatIsNoLayout() throws {
        #expect(throws: SigstoreError.self) { try ImageLayout(opening: "\(folder.path)/nothing") }
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        #expect(throws: SigstoreError.self) { try ImageLayout(opening: path) }
        for text in ["", "1", #"{"imageLayoutVersion":"2.0.0"}"#, #"{"imageLayoutVersion":1}"#] {
            try text.write(toFile: "\(path)/oci-layout", atomically: true, encoding: .utf8)
            #expect(throws: SigstoreError.self, "\(text)") { try ImageLayout(opening: path) }
        }
    }

    @Test func doesNotWriteThroughLinksOutOfTheFolder() async throws {
        let layout = try ImageLayout(creating: path)
        let outside = folder.appending(path: "outside").path
        try FileManager.default.createDirectory(atPath: outside, withIntermediateDirectories: true)
        try FileManager.default.createSymbolicLink(atPath: "\(path)/blobs", withDestinationPath: outside)
        #expect(await Sample.failure { try await layout.putBlob(try Blob([1])) } != nil)
        #expect(try FileManager.default.contentsOfDirectory(atPath: outside).isEmpty)
    }

    @Test func leavesNothingOfABlobThatIsNotWhatItSays() async throws {
        let layout = try ImageLayout(creating: path)
        let file = folder.appending(path: "file").path
        try "content".write(toFile: file, atomically: true, encoding: .utf8)
        let open = try #require(try OpenFile(reading: file))
        let digest = try Digest.sha256(Array("other".utf8))
        let error = await Sample.failure {
            try await layout.putBlob(Blob(file: open, digest: digest, size: 7))
        }
        #expect(error?.code == .digestMismatch)
        #expect(try FileManager.default.contentsOfDirectory(atPath: "\(path)/blobs/sha256").isEmpty)
        try await layout.putBlob(
            Blob(file: open, digest: try Digest.sha256(Array("content".utf8)), size: 7))
    }
}
