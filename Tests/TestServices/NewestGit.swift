import Foundation
public import Testing

/// The newest git that Debian has, and its gitsign, as `Tests/newest` unpacks them.
public enum NewestGit {
    /// The folder with both programs.
    public static let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appending(path: ".build/newest/bin").path
    /// Whether they are there.
    public static var isHere: Bool { FileManager.default.isExecutableFile(atPath: "\(folder)/gitsign") }
    /// What is said if they are not.
    public static let absence: Comment = "the newest git and gitsign are not here: Tests/newest .build/newest"
}
