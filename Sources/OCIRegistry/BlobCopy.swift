import Glibc
import HTTPTransport
public import InToto
import SigstoreCrypto

extension ImageStore {
    /// Copies a blob from another store, unless it is there. It goes through a file, never through memory as a whole;
    /// within one registry it does not travel at all.
    /// - Parameters:
    ///   - descriptor: The blob. What comes is checked against it.
    ///   - source: Where the blob is.
    /// - Throws: ``SigstoreError`` where it cannot be fetched or stored, or is not what its digest says.
    public func copyBlob(_ descriptor: Descriptor, from source: any ImageStore) async throws(SigstoreError) {
        if try await hasBlob(descriptor) { return }
        if let layout = self as? ImageLayout { return try await layout.receiveBlob(descriptor, from: source) }
        if let layout = source as? ImageLayout {
            return try await layout.withBlobFile(descriptor) { (blob) throws(SigstoreError) in try await putBlob(blob) }
        }
        if let target = self as? RegistryClient, let origin = source as? RegistryClient,
            try await target.mountBlob(descriptor.digest, from: origin.repository)
        {
            return
        }
        let file = try PassingFile()
        try await source.fetchBlob(descriptor, limit: descriptor.size, into: file)
        try await putBlob(Blob(file: file.descriptor, digest: descriptor.digest, size: descriptor.size))
        withExtendedLifetime(file) {}
    }
}

/// A file without a name that holds a blob on its way from one registry to another.
private final class PassingFile: BodySink {
    let descriptor: CInt

    init() throws(SigstoreError) {
        let folder = CredentialStore.processEnvironment("TMPDIR") ?? "/tmp"
        let path = "\(folder)/.swsign-\(String(UInt64.random(in: .min ... .max), radix: 36))"
        descriptor = unsafe open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { throw LocalFile.unwritable("a temporary file in \(folder)", errno) }
        // The space is given back whatever happens to this process.
        unsafe unlink(path)
    }

    deinit { if descriptor >= 0 { close(descriptor) } }

    func begin() throws(SigstoreError) {
        guard ftruncate(descriptor, 0) == 0, lseek(descriptor, 0, SEEK_SET) == 0 else {
            throw LocalFile.unwritable("a temporary file", errno)
        }
    }

    func receive(_ bytes: UnsafeRawBufferPointer) throws(SigstoreError) {
        var rest = unsafe bytes[...]
        while unsafe !rest.isEmpty {
            let piece = unsafe UnsafeRawBufferPointer(rebasing: rest)
            let count = unsafe write(descriptor, piece.baseAddress, piece.count)
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { throw LocalFile.unwritable("a temporary file", errno) }
            unsafe rest = unsafe rest.dropFirst(count)
        }
    }
}
