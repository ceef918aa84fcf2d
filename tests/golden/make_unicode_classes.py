"""Makes include/pensee/text/unicode_classes.hpp and golden/text/unicode_classes.txt.

Hugging Face's `tokenizers` carries its own regex engine and Unicode tables; PCRE2 10.42 has
Unicode 14. The header lists the code points whose general category differs between the two. The
text file has, for each 4096 code points, a hash of the classes that the engine of `tokenizers`
gives them, so that the test covers every code point with any version of PCRE2.

    python make_unicode_classes.py       (a Python whose unicodedata has Unicode 14: 3.11)
"""

import unicodedata
from pathlib import Path

from tokenizers import Regex, normalizers

HERE = Path(__file__).resolve().parent
CATEGORIES = ("Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp "
              "Cc Cf Co Cn").split()
# One code point of each category that has had it for many years, of 3 and 4 bytes in UTF-8.
SAMPLES = {"Lu": (0x1E00, 0x10400), "Ll": (0x1E01, 0x10428), "Lm": (0xA015, 0x16B40),
           "Lo": (0xA000, 0x10000), "Mn": (0x093C, 0x101FD), "Mc": (0x0903, 0x11000),
           "Nd": (0x0966, 0x104A0), "No": (0x0B72, 0x10107), "Po": (0x0964, 0x10100),
           "Pd": (0x2E3A, 0x10EAD), "Sm": (0x2200, 0x1D6C1), "So": (0x2400, 0x10137),
           "Cf": (0x200B, 0x110BD)}

HEADER = """\
// Code points that PCRE2's Unicode tables class otherwise than Hugging Face's tokenizers do.
// Made by tests/golden/make_unicode_classes.py.
#pragma once

#include <array>

namespace pensee {

// Before a regex sees a text, each code point of [first, last] is replaced by `stand_in`: one of
// the same length in UTF-8 and of the class that the tokenizers' engine (Unicode 16) gives the
// range, on which all versions of PCRE2 agree.
struct UnicodeStandIn {
  char32_t first;
  char32_t last;
  char32_t stand_in;
};

inline constexpr std::array<UnicodeStandIn, %d> kUnicodeStandIns = {{
    // clang-format off
%s
    // clang-format on
}};

}  // namespace pensee
"""


def matching(pattern: str, text: str) -> str:
    """The characters of `text` that the engine of `tokenizers` matches."""
    return normalizers.Replace(Regex(f"[^{pattern}]"), "").normalize_str(text)


def main() -> None:
    every = "".join(chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000)
    category = {c: k for k in CATEGORIES for c in matching(rf"\p{{{k}}}", every)}
    space = set(matching(r"\s", every))
    assert len(category) == len(every) and unicodedata.unidata_version == "14.0.0"

    ranges = []
    for c in every:
        code, kind = ord(c), category[c]
        if kind == unicodedata.category(c):
            continue
        assert code >= 0x800 and c not in space
        stand_in = SAMPLES[kind][code > 0xFFFF]
        assert unicodedata.category(chr(stand_in)) == category[chr(stand_in)] == kind
        if ranges and ranges[-1][1:] == [code - 1, stand_in]:
            ranges[-1][1] = code
        else:
            ranges.append([code, code, stand_in])
    rows = [f"    {{0x{a:04X}, 0x{b:04X}, 0x{s:04X}}}," for a, b, s in ranges]
    lines = [" ".join([rows[i]] + [r.strip() for r in rows[i + 1:i + 3]])
             for i in range(0, len(rows), 3)]
    header = HERE.parent.parent / "include/pensee/text/unicode_classes.hpp"
    header.write_text(HEADER % (len(rows), "\n".join(lines)), encoding="ascii")

    out = ["# FNV-1a of the classes (first letter of the category, or _ for white space) of each",
           "# 4096 code points from 0, without surrogates, in the engine of `tokenizers`"]
    for block in range(0, 0x110000, 4096):
        value = 0xCBF29CE484222325
        for code in range(block, block + 4096):
            if not 0xD800 <= code < 0xE000:
                letter = "_" if chr(code) in space else category[chr(code)][0]
                value = ((value ^ ord(letter)) * 0x100000001B3) % 2**64
        out.append(f"{value:016x}")
    (HERE / "text/unicode_classes.txt").write_text("\n".join(out) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
