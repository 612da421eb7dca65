import HTTPTransport
import LocalSystem
import Synchronization

/// What is said if a person, or a CI system that cancels a job, stops the program. It ends by the signal all the same, as
/// shells and CI systems expect.
///
/// A signal handler gets nothing but the number, so what it needs is state of the process: it is kept here, in the program,
/// and in no library.
enum Interruption {
    /// Whether errors are printed as JSON.
    nonisolated(unsafe) static var isJSON = false
    /// Whether the first word of an error has a colour.
    nonisolated(unsafe) static var isColored = false
    /// Whether the last line of the terminal may be a progress bar.
    nonisolated(unsafe) private static var isTerminal = false
    /// How the terminal was before a question changed it, and whether one has.
    nonisolated(unsafe) private static var terminal: TerminalDevice.Settings?
    nonisolated(unsafe) private static var isTerminalChanged = false

    /// How many images were signed anew.
    private static let signed = Atomic<Int>(0)

    /// Notes that an image was signed anew.
    static func noteSigned() { signed.add(1, ordering: .relaxed) }

    /// Begins to listen.
    static func prepare() {
        // It must be there before a handler looks at it.
        _ = signed.load(ordering: .relaxed)
        unsafe isTerminal = StandardStream.errors.isTerminal
        ProcessSignals.onInterruption(Self.interrupted)
    }

    /// Notes that a question is about to change the terminal, or `nil` when it is as it was.
    static func noteTerminal(_ settings: TerminalDevice.Settings?) {
        // The handler may come between any two of these.
        unsafe isTerminalChanged = false
        unsafe terminal = settings
        unsafe isTerminalChanged = settings != nil
    }

    // Nothing from here on takes memory or a lock: what was interrupted may hold either.

    private static let interrupted: @convention(c) (CInt) -> Void = { number in
        clean()
        let count = signed.load(ordering: .relaxed)
        if unsafe isJSON {
            say(#"{"error":{"code":"interrupted","message":"interrupted before it was done"#)
            if count > 0 {
                say("; images that were signed before that: ")
                ProcessSignals.say(count)
            }
            say(#"","advice":"run the command again: "#)
            sayHowToGoOn(count)
            say(#""}}"#)
            say("\n")
        } else {
            sayError()
            say(" interrupted before it was done")
            if count > 0 {
                say("; images that were signed before that: ")
                ProcessSignals.say(count)
            }
            say(" [interrupted]\n")
            say("       run the command again: ")
            sayHowToGoOn(count)
            say("\n")
        }
        ProcessSignals.end(by: number)
    }

    /// The signal that came while something was finished first; 0 if none did.
    nonisolated(unsafe) private static var heldBack: CInt = 0

    /// Does something of which no half may be left. A person who stops the program meanwhile is told so, and by a second time ends
    /// it at once.
    static func finishing<Value, Failure: Error>(_ body: () throws(Failure) -> Value) throws(Failure) -> Value {
        try ProcessSignals.withoutInterruption(Self.finishing, body)
    }

    /// Serves others until it is enough. A person who stops the program meanwhile has it end by itself, soon; a second time
    /// ends it at once.
    static func serving<Value, Failure: Error>(_ body: () throws(Failure) -> Value) throws(Failure) -> Value {
        try ProcessSignals.withoutInterruption(Self.held, body)
    }

    /// Whether a signal came that has ended nothing yet.
    static var isHeldBack: Bool { unsafe heldBack != 0 }

    /// Puts the terminal back as it was before a question, if one is still open.
    static func putTerminalBack() {
        guard unsafe isTerminalChanged else { return }
        unsafe terminal?.putBack()
        say("\n")
    }

    private static let held: @convention(c) (CInt) -> Void = { number in
        guard unsafe heldBack != 0 else { return unsafe heldBack = number }
        clean()
        ProcessSignals.end(by: number)
    }

    /// Ends the program by the signal that came while something was finished, if one did.
    static func endIfHeldBack() {
        if unsafe heldBack != 0 { ProcessSignals.end(by: unsafe heldBack) }
    }

    private static let finishing: @convention(c) (CInt) -> Void = { number in
        if unsafe heldBack == 0 {
            unsafe heldBack = number
            if unsafe isTerminal { say("\r\u{1b}[K") }
            say("Finishing first, so that no half of a key pair is left; interrupt again to end at once\n")
            return
        }
        clean()
        if unsafe isJSON {
            say(
                #"{"error":{"code":"interrupted","message":"interrupted while a key pair was written, of which a half may be left","advice":"look at what is there before it is used"}}"#
            )
            say("\n")
        } else {
            sayError()
            say(" interrupted while a key pair was written, of which a half may be left [interrupted]\n")
            say("       look at what is there before it is used\n")
        }
        ProcessSignals.end(by: number)
    }

    /// What is done if `--timeout` is over.
    static let timedOut: @convention(c) (CInt) -> Void = { _ in
        clean()
        if unsafe isJSON {
            say(
                #"{"error":{"code":"timed-out","message":"the command took longer than --timeout allows and was stopped","advice":"run it again, or give it more time"}}"#
            )
            say("\n")
        } else {
            sayError()
            say(" the command took longer than --timeout allows and was stopped [timed-out]\n")
            say("       run it again, or give it more time\n")
        }
        ProcessSignals.end(status: 1)
    }

    /// Ends the programs that were asked something, puts the terminal back, and takes the progress bar away.
    private static func clean() {
        ChildProcess.killAll()
        putTerminalBack()
        if unsafe isTerminal { say("\r\u{1b}[K") }
    }

    private static func sayHowToGoOn(_ count: Int) {
        if count > 0 { say("it goes on with those that are not signed yet, and signs none twice; ") }
        say("what a log has recorded already is not recorded twice")
    }

    private static func sayError() {
        if unsafe isColored { say("\u{1b}[31mError:\u{1b}[0m") } else { say("Error:") }
    }

    private static func say(_ text: StaticString) { ProcessSignals.say(text) }
}
