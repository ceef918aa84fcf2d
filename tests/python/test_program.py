from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pensee
import pytest
from conftest import QUESTION

README = Path(__file__).parents[2] / "README.md"


def run(*command: str) -> tuple[int, bytes, bytes]:
    done = subprocess.run(command, capture_output=True, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["ask", "--greedy", QUESTION],
        ["ask", "--greedy", "--show", "answer", QUESTION],
        ["tokenize", str(pensee.bundled_model()), "12 + 30"],
        ["info", str(pensee.bundled_model())],
        ["info", "nowhere"],
        ["--version"],
        ["nonsense"],
    ],
)
def test_python_m_pensee_is_the_program(arguments: list[str]) -> None:
    module = run(sys.executable, "-m", "pensee", *arguments)
    program = os.environ.get("PENSEE_PROGRAM")
    if program is None:
        pytest.skip("PENSEE_PROGRAM names no program to compare with")
    assert module == run(program, *arguments)


def test_the_program_answers_as_the_package(model: pensee.Model) -> None:
    status, out, err = run(sys.executable, "-m", "pensee", "ask", "--greedy", QUESTION)
    reply = model.ask(QUESTION, temperature=0)
    assert status == 0
    assert out.decode().strip() == reply.answer
    assert reply.thought in err.decode()


def test_the_sample_in_the_readme_runs() -> None:
    sample = re.search(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert sample is not None
    done = subprocess.run(
        [sys.executable, "-c", sample[1]],
        capture_output=True, text=True, check=True, cwd=README.parent,
    )  # fmt: skip
    assert "\\boxed{42}" in done.stdout
