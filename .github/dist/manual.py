"""Manual pages of a program's own help: one for it, and one for each of its commands."""

import re, subprocess


def help_text(program, words):
    return subprocess.run([program, "help", *words], check=True, text=True, stdout=subprocess.PIPE,
                          env={"COLUMNS": "80", "PATH": "/usr/bin:/bin"}).stdout


def manual_pages(program, version, date):
    """The pages by their names, such as "swsign-verify.1"."""
    pages, waiting = {}, [[]]
    while waiting:
        words = waiting.pop()
        text = help_text(program, words)
        name = "-".join(["swsign", *words])
        pages[name + ".1"] = page(name, text, version, date)
        for section, lines in sections(text):
            if section.endswith("SUBCOMMANDS"):
                waiting += [words + [found[1]] for found in (re.match(r"  ([a-z0-9-]+)(?:  |$| \()", line) for line in lines) if found]
    return pages


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


def page(name, text, version, date):
    parts = dict(reversed(sections(text)))
    overview = " ".join(" ".join(parts.pop("OVERVIEW", [])).split())
    first, _, rest = overview.partition(". ")
    out = [f'.TH "{name.upper()}" "1" "{date}" "swsign {version}" "swsign"', ".SH NAME",
           f"{escaped(name)} \\- {escaped(first.rstrip('.'))}"]
    if "USAGE" in parts:
        out += [".SH SYNOPSIS", escaped(" ".join(" ".join(parts.pop("USAGE")).split()))]
    if rest:
        out += [".SH DESCRIPTION", escaped(rest)]
    for title, _ in sections(text):
        if title in parts:
            out += [f".SH {title}", ".nf", *(escaped(line) for line in parts.pop(title)), ".fi"]
    see = "swsign" if name != "swsign" else "swsign\\-sign"
    return "\n".join(out + [".SH SEE ALSO", f".BR {see} (1)"]) + "\n"
