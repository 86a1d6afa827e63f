"""Scripts and styles as a router gets them: without comments, and without the blanks that mean
nothing, as LuCI's own build does it with jsmin and csstidy.

Limits: no text between back ticks has one inside of it, and no text in a style has two blanks in a
row. `tests/luci` compares what a browser makes of both.
"""

import re
import sys

TOKEN = re.compile(r"""
    (?P<blank> (?: \s | /\*.*?\*/ | //[^\n]* )+ )
  | (?P<text> '(?:[^'\\]|\\.)*' | "(?:[^"\\]|\\.)*" | `(?:[^`\\]|\\.)*` )
  | (?P<word> [\w$]+ )
  | (?P<sign> . )
""", re.X | re.S)
PATTERN = re.compile(r"/(?:[^/\\\[\n]|\\.|\[(?:[^\]\\]|\\.)*\])+/\w*")
# After these a slash divides; after everything else it begins a pattern.
OPERAND = re.compile(r"[\w$)\]}'\"`]$")
WORD_BEFORE_PATTERN = {"return", "typeof", "case", "in", "of"}
# Between these a line's end may be that of a statement.
ENDS, BEGINS = re.compile(r"[\w$)\]}'\"`+/-]$"), re.compile(r"[\w$(\[{'\"`+/!~-]")
GLUED = re.compile(r"[\w$]{2}|\+\+|--|//")


def javascript(text):
    out, last, blank, at = [], "", "", 0
    while at < len(text):
        found = TOKEN.match(text, at)
        if text[at] == "/" and found.lastgroup == "sign" and (
                last in WORD_BEFORE_PATTERN or not OPERAND.search(last)):
            found = PATTERN.match(text, at)
        at = found.end()
        if found.lastgroup == "blank":
            blank = found[0]
            continue
        if "\n" in blank and ENDS.search(last) and BEGINS.match(found[0]):
            out.append("\n")
        elif blank and GLUED.match(last[-1:] + found[0][0]):
            out.append(" ")
        last, blank = found[0], ""
        out.append(last)
    return "".join(out) + "\n"


def css(text):
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    text = re.sub(r"\s+", " ", text)
    text = re.sub(r" ?([{};,>]) ?|(:) ", r"\1\2", text)
    return text.replace(";}", "}").strip() + "\n"


def minify(path, data):
    """The contents of the file `path`, smaller if it is known how."""
    smaller = {"js": javascript, "css": css}.get(path.rpartition(".")[2])
    return smaller(data.decode()).encode() if smaller else data


if __name__ == "__main__":
    for file in sys.argv[1:]:
        with open(file, "rb") as opened:
            sys.stdout.buffer.write(minify(file, opened.read()))
