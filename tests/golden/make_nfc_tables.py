"""Makes include/pensee/text/nfc_tables.hpp and golden/text/nfc.txt.

Hugging Face's `tokenizers` carries its own Unicode tables for normalisation, older than those of any
distribution's library: marks and compositions that Unicode added since then are left as they are.
So the tables are asked of `tokenizers` itself; Python's unicodedata only proposes what to ask. The
text file has, for each 4096 code points, a hash of what `tokenizers` makes of them.

    python make_nfc_tables.py
"""

import unicodedata
from pathlib import Path

from tokenizers import normalizers

HERE = Path(__file__).resolve().parent
CODES = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
NFC = normalizers.NFC().normalize_str
NFD = normalizers.NFD().normalize_str

HEADER = """\
// Canonical decompositions and combining classes as Hugging Face's tokenizers know them.
// Made by tests/golden/make_nfc_tables.py.
#pragma once

#include <array>
#include <cstdint>

namespace pensee {

// Code point, decomposition. Two code points follow here, and one in kNfcSingles.
struct NfcPair {
  char32_t composed;
  char32_t first;
  char32_t second;
};
struct NfcSingle {
  char32_t composed;
  char32_t first;
};
// Code points [first, last] have the combining class `ccc`; all others have 0.
struct NfcClass {
  char32_t first;
  char32_t last;
  uint8_t ccc;
};

// clang-format off
// Pairs that are composed again, by code point. Hangul syllables follow a rule and are not here.
inline constexpr std::array<NfcPair, %d> kNfcPairs = {{
%s
}};

// Pairs that are not composed again.
inline constexpr std::array<NfcPair, %d> kNfcExcluded = {{
%s
}};

inline constexpr std::array<NfcSingle, %d> kNfcSingles = {{
%s
}};

inline constexpr std::array<NfcClass, %d> kNfcClasses = {{
%s
}};
// clang-format on

}  // namespace pensee
"""


def combining_class(code: int) -> int:
    """unicodedata's, or 0 for marks that `tokenizers` does not know: it never moves them."""
    ccc, c = unicodedata.combining(chr(code)), chr(code)
    if ccc == 0:
        return 0
    for mark in "\u0334\u0345":  # classes 1 and 240: one of them is another one
        for text in ("a" + c + mark, "a" + mark + c):
            if unicodedata.normalize("NFD", text) != text and NFD(text) != text:
                return ccc
    return 0


def rows(items: list, columns: int) -> str:
    texts = ["{" + ", ".join(f"0x{v:04X}" for v in item) + "}," for item in items]
    return "\n".join("    " + " ".join(texts[i:i + columns])
                     for i in range(0, len(texts), columns))


def main() -> None:
    pairs, excluded, singles, classes = [], [], [], []
    for code in CODES:
        c = chr(code)
        if NFD(c) != c and not 0xAC00 <= code < 0xD7A4:
            parts = [int(x, 16) for x in unicodedata.decomposition(c).split()]
            assert NFD(c) == NFD("".join(map(chr, parts))) and len(parts) <= 2
            if len(parts) == 1:
                singles.append([code, *parts])
            elif NFC(chr(parts[0]) + chr(parts[1])) == c:
                pairs.append([code, *parts])
            else:
                excluded.append([code, *parts])
        ccc = combining_class(code)
        if ccc and classes and classes[-1][1:] == [code - 1, ccc]:
            classes[-1][1] = code
        elif ccc:
            classes.append([code, code, ccc])
    header = HERE.parent.parent / "include/pensee/text/nfc_tables.hpp"
    header.write_text(HEADER % (len(pairs), rows(pairs, 4), len(excluded), rows(excluded, 4),
                                len(singles), rows(singles, 6), len(classes), rows(classes, 5)),
                      encoding="ascii")

    out = ["# FNV-1a of what NFC makes of every code point, alone and among marks of two classes, for",
           "# each 4096 code points from 0, without surrogates, by `tokenizers`"]
    for block in range(0, 0x110000, 4096):
        value = 0xCBF29CE484222325
        for code in range(block, block + 4096):
            if not 0xD800 <= code < 0xE000:
                c = chr(code)
                for byte in NFC(f"{c}a\u0345{c}\u0334\u0301{c}").encode():
                    value = ((value ^ byte) * 0x100000001B3) % 2**64
        out.append(f"{value:016x}")
    (HERE / "text/nfc.txt").write_text("\n".join(out) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
