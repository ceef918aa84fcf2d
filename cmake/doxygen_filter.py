"""A filter for Doxygen: prints a header with its plain comments made Doxygen's.

    the first comment of a file             the file's documentation
    a comment right above code              its documentation
    a comment after code on a line          of what stands before it
    /* --- Title --- */, // --- Title ---   a group of declarations
    a comment right below a title           the group's documentation

What is set in, or in columns, is shown as it stands. Other comments stay plain, and so unseen.
"""

import re
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from textwrap import dedent

LITERAL = re.compile(r"(`[^`]*`|\"[^\"\n]*\")")  # to Doxygen too
COLUMNS = re.compile(r".*\S  +\S")
MARK = re.compile(r"( *)(//|/\*| \*) ?")
TITLE = re.compile(r"--- (.+?) -+$")
# Not after a closing brace, which ends what could be documented.
AFTER_CODE = re.compile(r"( *[^\s}#].*?)(?:  // | /\* )(.*?)(?: \*/)?$")
# What ends the last group: of a C header, of a class.
GROUPS_END = {"": ("#ifdef __cplusplus",), "  ": (" private:", "};")}


def escaped(text: str) -> str:
    """Text in which nothing is a command, a tag or Markdown for Doxygen, but for `names`."""
    text = re.sub(r"(?<!\S)\*\w+", r"`\g<0>`", text)  # *name does not begin an emphasis
    parts = LITERAL.split(text)
    parts[::2] = [re.sub(r"[\\@<>&#%|~]", r"\\\g<0>", part) for part in parts[::2]]
    return "".join(parts)


def is_layout(paragraph: list[str], line: str) -> bool:
    """True for lines that are set in, and for all lines of a table."""
    in_columns = (COLUMNS.match(other) for other in paragraph if not other.startswith("  "))
    return line.startswith("  ") or any(in_columns)


def formatted(comment: list[str]) -> Iterator[str]:
    """The lines of a comment, without marks, as Doxygen wants them."""
    for is_text, group in groupby(comment, bool):
        paragraph = list(group) if is_text else []
        yield from [] if is_text else group
        for shown_as_is, part in groupby(paragraph, lambda line: is_layout(paragraph, line)):
            lines = list(part)
            if shown_as_is:
                kind = "code" if any(line.endswith((";", "{")) for line in lines) else "verbatim"
                yield from ["@" + kind, *dedent("\n".join(lines)).split("\n"), "@end" + kind]
            else:
                yield from escaped("\n".join(lines)).split("\n")


def group_begin(title: str, is_in_class: bool) -> str:
    """In a class, groups are parts of its page; else topics with pages of their own."""
    name = re.sub(r"\W+", "_", title).lower()
    return f"@name {title}" if is_in_class else f"@defgroup c_{name} C: {title}"


def is_in_macro(lines: list[str], i: int) -> bool:
    """True for lines of macros that have more than one."""
    return lines[i].endswith("\\") or lines[i - 1].endswith("\\")


def is_comment(lines: list[str], i: int) -> bool:
    """True if a comment begins at the beginning of this line, and not in a macro."""
    return lines[i].lstrip().startswith(("//", "/*")) and not is_in_macro(lines, i)


def read_comment(lines: list[str], begin: int) -> tuple[list[str], int]:
    """The text of the comment that begins in this line, and the line after it."""
    end = begin + 1
    if "/*" in lines[begin]:
        while not lines[end - 1].endswith("*/"):
            end += 1
    else:
        while end < len(lines) and is_comment(lines, end):
            end += 1
    text = [MARK.sub("", re.sub(r"\s*\*/$", "", line), count=1) for line in lines[begin:end]]
    return text, end


def namespace_end(lines: list[str], begin: int) -> int:
    """The line after the namespace that begins in this one."""
    if lines[begin + 2] == "}":  # clang-format names the namespace again after longer ones
        return begin + 3
    return lines.index("}  // " + lines[begin].removesuffix(" {"), begin) + 1


def with_own_macros(text: str) -> str:
    """Names each PENSEE_X for itself: Doxygen expands lists by the definition that comes last."""
    parts = text.split("#define PENSEE_X(")
    named = [re.sub(r"\bPENSEE_X\b", f"PENSEE_X{n}", part) for n, part in enumerate(parts)]
    return parts[0] + "".join(f"#define PENSEE_X{n}({named[n]}" for n in range(1, len(named)))


def filtered(lines: list[str]) -> Iterator[str]:
    """The lines of the header for Doxygen."""
    group = None  # the margin of the one that is open
    i = 0
    while i < len(lines):
        begin, i = i, i + 1
        if re.match(r"namespace \w*detail {$", lines[begin]):  # not for users
            i = namespace_end(lines, begin)
            continue
        if not is_comment(lines, begin):
            if group is not None and lines[begin].startswith(GROUPS_END[group]):
                yield "/** @} */"
                group = None
            found = None if is_in_macro(lines, begin) else AFTER_CODE.match(lines[begin])
            yield f"{found[1]}  ///< {escaped(found[2])}" if found else lines[begin]
            continue
        text, i = read_comment(lines, begin)
        margin = lines[begin][: lines[begin].index("/")]
        if title := TITLE.match(text[0]):
            if group is not None:
                yield "/** @} */"
            group = margin
            text = text[1:]
            if is_comment(lines, i):
                text, i = read_comment(lines, i)
            shown = [group_begin(title[1], margin != ""), *formatted(text), "@{"]
        elif begin == 0:
            shown = ["@file", *formatted(text)]
        elif lines[i : i + 1] != [""]:
            shown = formatted(text)
        else:
            continue
        yield from ["/**", *shown, "*/"]


def page(text: str) -> str:
    """The README as the page `readme`: its links to other files are plain text."""
    text = re.sub(r"\[([^]]*)\]\((?!https?:)[^)]*\)", r"\1", text)
    return re.sub(r"^# .*", r"\g<0> {#readme}", text)


if __name__ == "__main__":
    file = Path(sys.argv[1])
    content = file.read_text(encoding="utf-8")
    sys.stdout.reconfigure(encoding="utf-8")
    if file.name == "README.md":
        content = page(content)
    elif file.suffix != ".dox":
        content = "\n".join(filtered(with_own_macros(content).split("\n")))
    print(content)
