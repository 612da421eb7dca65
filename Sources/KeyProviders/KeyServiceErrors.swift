public import StrictJSON

extension SigstoreError.Code {
    /// What says where a key service is, or who asks, is missing or cannot be used.
    public static let keyServiceSettings = Self("key-service-settings")
    /// A key service does not let these credentials do that with the key.
    public static let keyDenied = Self("key-denied")
    /// A key service or token has no such key.
    public static let keyNotFound = Self("key-not-found")
    /// A key is there and cannot sign: it is disabled, ended, of another kind, or made for something else.
    public static let keyUnusable = Self("key-unusable")
    /// A key service cannot answer now, or fails.
    public static let keyServiceFailed = Self("key-service-failed")
    /// A key service's answer is not what its interface says.
    public static let keyServiceAnswer = Self("key-service-answer")
    /// What a key service gave as a signature does not hold for the key.
    public static let keyMismatch = Self("key-mismatch")
}
