internal import Glibc

extension UnsafeMutableRawBufferPointer {
    /// Overwrites a secret, which the compiler does not leave out although nobody reads the memory afterwards.
    package func cleanse() {
        if let start = baseAddress { unsafe explicit_bzero(start, count) }
    }
}
