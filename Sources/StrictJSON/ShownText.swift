extension String {
    /// The text with every character written as `\u{…}` that could do anything but show a glyph; and so is the first character of
    /// what CI systems take for a command: `::` at the beginning of a line, `##[` and `##vso[` anywhere.
    /// - Parameter special: Further ASCII characters that are written so.
    package func visible(without special: String = "") -> String {
        let begin = unicodeScalars.drop { $0.properties.isWhitespace }
        let isCommand = begin.starts(with: "::".unicodeScalars)
        if !isCommand, utf8.allSatisfy({ $0 >= 0x20 && $0 < 0x7f && $0 != 0x23 && !special.utf8.contains($0) }) {
            return self
        }
        var out = ""
        for index in unicodeScalars.indices {
            let scalar = unicodeScalars[index]
            let rest = unicodeScalars[index...]
            if scalar.changesDisplay || isCommand && index == begin.startIndex
                || special.unicodeScalars.contains(scalar)
                || scalar == "#" && ["##[", "##vso["].contains(where: { rest.starts(with: $0.unicodeScalars) })
            {
                out += "\\u{\(String(scalar.value, radix: 16))}"
            } else {
                out.unicodeScalars.append(scalar)
            }
        }
        return out
    }

    /// The text with U+FFFD in place of every character that could do anything but show a glyph.
    package var withoutControls: String {
        String(String.UnicodeScalarView(unicodeScalars.map { $0.changesDisplay ? "\u{fffd}" : $0 }))
    }

    /// The text as it stands in HTML, in an attribute too.
    package var escapedForHTML: String {
        guard utf8.contains(where: { [0x26, 0x3c, 0x3e, 0x22, 0x27].contains($0) }) else { return self }
        var out = ""
        for scalar in unicodeScalars {
            switch scalar {
            case "&": out += "&amp;"
            case "<": out += "&lt;"
            case ">": out += "&gt;"
            case "\"": out += "&quot;"
            case "'": out += "&#39;"
            default: out.unicodeScalars.append(scalar)
            }
        }
        return out
    }
}
