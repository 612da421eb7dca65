internal import HTTPTransport
internal import LocalSystem
internal import StrictJSON

/// Opens a URL in the person's browser.
public enum Browser {
    /// Opens a URL with the first program of `BROWSER` that is installed, else with `xdg-open` if there is a graphical
    /// session. No shell is involved: the URL is an argument of its own.
    /// - Parameters:
    ///   - url: The URL.
    ///   - environment: The environment's variables.
    /// - Returns: Whether a browser was started; if not, the person opens the URL themselves.
    public static func open(_ url: String, environment: [String: String]) -> Bool {
        guard let command = command(for: url, environment: environment) else { return false }
        return ChildProcess.start(command, environment: environment)
    }

    /// `BROWSER` is a list of commands with colons between them, in which `%s` stands for the URL; without it the URL
    /// comes last.
    private static func command(for url: String, environment: [String: String]) -> [String]? {
        if let browsers = environment["BROWSER"], !browsers.isEmpty {
            for browser in browsers.split(separator: ":") {
                let words = browser.split(separator: " ").map(String.init)
                guard let name = words.first, let program = ChildProcess.find(name, environment: environment) else {
                    continue
                }
                let rest = words.dropFirst()
                return [program] + rest.map { $0 == "%s" ? url : $0 } + (rest.contains("%s") ? [] : [url])
            }
            return nil
        }
        guard environment["DISPLAY"] != nil || environment["WAYLAND_DISPLAY"] != nil else { return nil }
        return ChildProcess.find("xdg-open", environment: environment).map { [$0, url] }
    }
}
