"""`python -m pensee` is the program `pensee`."""

import os
import sys
from pathlib import Path
from typing import NoReturn


def main() -> NoReturn:
    program = Path(__file__).parent / "bin" / "pensee"
    os.execv(program, ["pensee", *sys.argv[1:]])


if __name__ == "__main__":
    main()
