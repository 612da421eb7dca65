"""Manual pages: of a program's own help one for it and one for each command (section 1), and of the guides one each (section 7)."""

import re, subprocess


def printed(program, *words):
    return subprocess.run([program, *words], check=True, text=True, stdout=subprocess.PIPE,
                          env={"COLUMNS": "80", "PATH": "/usr/bin:/bin"}).stdout


def manual_pages(program, version, date, guides):
    """The pages by their names, such as "swsign-verify.1". The guides are Markdown by its name, such as "MovingImages"."""
    pages, waiting = {}, [[]]
    names = [f"swsign-{hyphened(guide)}" for guide in sorted(guides)]
    while waiting:
        words = waiting.pop()
        text = printed(program, "help", *words)
        name = "-".join(["swsign", *words])
        see = [f"{guide} (7)" for guide in (names if not words else ["swsign-errors"])]
        pages[name + ".1"] = page(name, text, version, date, ["swsign (1)" if words else "swsign-sign (1)", *see])
        for section, lines in sections(text):
            if section.endswith("SUBCOMMANDS"):
                waiting += [words + [found[1]] for found in (re.match(r"  ([a-z0-9-]+)(?:  |$| \()", line) for line in lines) if found]
    for guide, text in guides.items():
        name = f"swsign-{hyphened(guide)}"
        more = error_codes(printed(program, "errors")) if guide == "Errors" else []
        pages[name + ".7"] = "\n".join([header(name, 7, version, date), *guide_lines(name, text), *more,
                                        *see_also(["swsign (1)", *(f"{other} (7)" for other in names if other != name)])])
    return pages


def hyphened(guide):
    """The name of a guide in small letters: MovingImages is moving-images."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", guide).lower()


def sections(text):
    """The parts of a help text: their titles, in capitals before a colon at a line's start, and their lines."""
    found = []
    for line in text.splitlines():
        title = re.match(r"([A-Z][A-Z0-9 ,'-]*):(?: (.*))?$", line)
        if title:
            found.append((title[1], [title[2]] if title[2] else []))
        elif found and (line or found[-1][1]):
            found[-1][1].append(line)
    return found


def escaped(line):
    line = line.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + line if line[:1] in (".", "'") else line


def header(name, section, version, date):
    return f'.TH "{name.upper()}" "{section}" "{date}" "swsign {version}" "swsign"'


def see_also(names):
    lines = [".BR " + escaped(name) + ("," if place + 1 < len(names) else "") for place, name in enumerate(names)]
    return [".SH SEE ALSO", *lines, ""]


def page(name, text, version, date, see):
    parts = dict(reversed(sections(text)))
    overview = " ".join(" ".join(parts.pop("OVERVIEW", [])).split())
    first, _, rest = overview.partition(". ")
    out = [header(name, 1, version, date), ".SH NAME", f"{escaped(name)} \\- {escaped(first.rstrip('.'))}"]
    if "USAGE" in parts:
        out += [".SH SYNOPSIS", escaped(" ".join(" ".join(parts.pop("USAGE")).split()))]
    if rest:
        out += [".SH DESCRIPTION", escaped(rest)]
    for title, _ in sections(text):
        if title in parts:
            out += [f".SH {title}", ".nf", *(escaped(line) for line in parts.pop(title)), ".fi"]
    return "\n".join(out + see_also(see))


def words_of(text):
    """A line of Markdown's text: code in bold, links without their addresses, other guides as manual pages."""
    text = re.sub(r"<doc:(\w+)>", lambda found: f"swsign-{hyphened(found[1])}(7)", text)
    text = re.sub(r"\[([^]]+)\]\([^)]*\)", r"\1", text)
    parts = re.split(r"`([^`]*)`", text)
    shown = "".join(escaped(part).removeprefix("\\&") if place % 2 == 0 else f"\\fB{escaped(part)}\\fR".replace("\\fB\\&", "\\fB")
                    for place, part in enumerate(parts))
    return "\\&" + shown if shown[:1] in (".", "'") else shown


def guide_lines(name, text):
    """A guide's Markdown (titles, paragraphs, lists, tables, code) for man."""
    out, code, paragraph = [], False, []

    def end():
        if paragraph:
            out.extend([".PP", words_of(" ".join(paragraph))])
            paragraph.clear()

    lines = text.splitlines()
    title, abstract = lines[0].removeprefix("# "), lines[2]
    out += [".SH NAME", f"{escaped(name)} \\- {escaped(title[:1].lower() + title[1:])}", ".SH DESCRIPTION", words_of(abstract)]
    rows = []
    for line in lines[3:]:
        if not line.startswith("|"):
            rows = []
        if line.startswith("```"):
            end()
            code = not code
            out += [".PP", ".RS 4", ".nf"] if code else [".fi", ".RE"]
        elif code:
            out.append(escaped(line))
        elif line.startswith("## "):
            end()
            out.append(f'.SH "{line[3:].upper()}"')
        elif line.startswith("### "):
            end()
            out.append(f'.SS "{line[4:]}"')
        elif line.startswith("|"):
            end()
            rows.append([cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
            # The first row holds the columns' titles, the second one a line.
            if len(rows) > 2:
                out += [".TP", words_of(rows[-1][0]), words_of("; ".join(rows[-1][1:]))]
        elif line.startswith("- "):
            end()
            out += [".IP \\(bu 2", words_of(line[2:])]
        elif line.startswith("  ") and out and not paragraph:
            out.append(words_of(line.strip()))
        elif line:
            paragraph.append(line)
        else:
            end()
    end()
    return out


def error_codes(text):
    """What `errors` prints, as a list."""
    out = ['.SH "ALL ERROR CODES"']
    for line in text.splitlines():
        if not line.startswith(" "):
            out += [".TP", f"\\fB{escaped(line)}\\fR"]
        elif line.startswith("  Cause: "):
            out.append(escaped(line.removeprefix("  Cause: ")))
        else:
            out += [".br", f"\\fICure:\\fR {escaped(line.removeprefix('  Cure: '))}."]
    return out
