"""Makes the expected values of the chat-template tests with jinja2 and the settings of transformers.

    python make_template_golden.py [NAME=FILE.jinja ...]

Writes text/chat_templates.json and text/jinja_cases.json from text/templates and the bundled model.
Of the templates given as NAME=FILE only hashes are kept: see README.md.
"""

import argparse
import datetime
import functools
import itertools
import json
from pathlib import Path

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from jinja_cases import CASES

HERE = Path(__file__).resolve().parent
OUT = HERE / "text"
TINY_R1 = HERE.parents[1] / "examples" / "tiny_r1" / "model"
TOKENS = {"bos_token": "<BOS>", "eos_token": "<EOS>"}
NOW = datetime.datetime(2026, 7, 5, 9, 8, 7)
# add_generation_prompt and thinking, in the order of the hashes.
SETTINGS = list(itertools.product((False, True), (None, True, False)))
IN_FULL = 6  # conversations whose prompts are kept as texts


def fnv1a(text: str) -> int:
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = (value ^ byte) * 0x100000001B3 & (1 << 64) - 1
    return value


def environment() -> ImmutableSandboxedEnvironment:
    def raise_exception(message: str) -> None:
        raise jinja2.exceptions.TemplateError(message)

    made = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    made.globals["raise_exception"] = raise_exception
    made.globals["strftime_now"] = NOW.strftime
    return made


@functools.cache
def compiled(jinja: str) -> jinja2.Template:
    return environment().from_string(jinja)


def conversations() -> list[list[dict]]:
    """Conversations of all shapes: no system message or some, one turn or many, thoughts apart."""
    user, assistant, system = (
        lambda text, role=role: {"role": role, "content": text}
        for role in ("user", "assistant", "system"))
    systems = [[], [system("You are brief.")], [system("")], [system(" /no_think\tSpaced. \n")]]
    turns = [
        [user("What is 17 × 23?")],
        [user("Hi"), assistant("<think>\nA greeting.\n</think>\n\nHello."), user("Again")],
        [],
        [user("")],
        [user(" Leading and trailing \n\n")],
        [user("\u3000\u00a0Spaces of Unicode\u2003")],
        [user("Hi"), assistant("Hello."), user("Again")],
        [user("Hi"), assistant("A greeting.\n</think>\n\n  Hello. \n"), user("Again")],
        [user("Hi"), assistant("a</think>b</think>\nc</think>"), user("Again")],
        [user("Hi"), assistant("<think>unclosed"), user("Again")],
        [user("Hi"), assistant(""), user("</think><｜User｜>{{ bos_token }}{% if %}<|im_end|>")],
        [user("a"), user("b"), assistant("c"), assistant("<think>d</think>e")],
        [assistant("I begin."), user("Go on")],
        [user("你好"), system("Late system."), assistant("您好"), user("😀")],
        [system("One."), user("x"), system("Two.\n"), system("")],
        [user("<tool_response>x</tool_response>"), assistant("<think>t</think>y"), user("z")],
    ]
    plain = [a + b for b, a in itertools.product(turns, systems)]
    apart = []
    for thought in ("\nA thought.\n", ""):
        for messages in plain[::2]:
            if any(message["role"] == "assistant" for message in messages):
                apart.append([message | ({"reasoning_content": thought}
                                         if message["role"] == "assistant" else {})
                              for message in messages])
    return plain + apart


def render(jinja: str, messages: list[dict], generation: bool, thinking: bool | None) -> str | None:
    """What transformers would give; None for an error. Where it was asked to think or not to, and
    the template has it otherwise, the thought is opened, or an empty one is written."""
    switch = {} if thinking is None else {"thinking": thinking, "enable_thinking": thinking}
    try:
        text = compiled(jinja).render(
            messages=messages, tools=None, documents=None, add_generation_prompt=generation,
            **TOKENS, **switch)
    except jinja2.exceptions.TemplateError:
        return None
    if not generation or thinking is None:
        return text
    is_open = text.rstrip().endswith("<think>")
    if thinking:
        return text if is_open else text + "<think>\n"
    if text.rstrip().endswith("</think>"):
        return text
    if not is_open:
        text += "<think>"
    return text + ("" if text.endswith("\n") else "\n") + "\n</think>\n\n"


def expected(jinja: str, talks: list[list[dict]]) -> dict:
    prompts = [[render(jinja, talk, *setting) for setting in SETTINGS] for talk in talks]
    hashes = "".join("--------" if text is None else f"{fnv1a(text) & 0xFFFFFFFF:08x}"
                     for talk in prompts for text in talk)
    return {"hashes": hashes, "prompts": prompts[:IN_FULL]}


def make_templates(others: list[str]) -> None:
    texts = {path.stem: path.read_text(encoding="utf-8")
             for path in sorted((OUT / "templates").glob("*.jinja"))}
    config = json.loads((TINY_R1 / "tokenizer_config.json").read_text(encoding="utf-8"))
    texts["tiny_r1"] = config["chat_template"]
    talks = conversations()
    path = OUT / "chat_templates.json"
    kept = json.loads(path.read_text(encoding="utf-8")).get("others", {}) if path.exists() else {}
    for entry in others:
        name, file = entry.split("=", 1)
        text = Path(file).read_text(encoding="utf-8")
        kept[name] = {"fnv1a": f"{fnv1a(text):016x}", "hashes": expected(text, talks)["hashes"]}
    write_json(path, {
        "tokens": TOKENS, "conversations": talks,
        "settings": [{"add_generation_prompt": a, "thinking": b} for a, b in SETTINGS],
        "templates": {name: expected(text, talks) for name, text in texts.items()},
        "others": kept})


def make_cases() -> None:
    """Small templates, one for each rule of the language; an error is null."""
    messages = [{"role": "system", "content": " S\n"}, {"role": "user", "content": "Ü u"},
                {"role": "assistant", "content": "a</think>b", "reasoning_content": "r"}]
    cases = []
    for text in CASES:
        try:
            out = environment().from_string(text).render(messages=messages, tools=None, n=7,
                                                         **TOKENS)
        except (jinja2.exceptions.TemplateError, TypeError, ValueError, ZeroDivisionError,
                AttributeError):
            out = None
        cases.append([text, out])
    write_json(OUT / "jinja_cases.json", {"messages": messages, "cases": cases})


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=None, separators=(",", ":"))
                    .replace("],[\"", "],\n[\"") + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*")
    make_templates(parser.parse_args().files)
    make_cases()


if __name__ == "__main__":
    main()
