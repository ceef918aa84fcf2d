"""Prompts made by jinja2, for chat templates that the library itself does not take."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

from ._errors import CorruptFileError, InvalidArgumentError, NotFoundError

if TYPE_CHECKING:
    from jinja2.parser import Parser

_TOKENS = ("bos_token", "eos_token", "unk_token", "pad_token")


def template_of(checkpoint: Path) -> tuple[str | None, dict[str, str]]:
    """The template of a checkpoint as Hugging Face has it, and the tokens that templates name; of a
    GGUF file none, whatever lies beside it."""
    folder = checkpoint if checkpoint.is_dir() else checkpoint.parent
    if _is_gguf(checkpoint):
        return None, {}
    config = _config_of(folder / "tokenizer_config.json")
    tokens: dict[str, str] = {}
    for name in _TOKENS:
        token = config.get(name)
        if isinstance(token, Mapping):
            token = cast("Mapping[str, object]", token).get("content")
        if isinstance(token, str):
            tokens[name] = token
    own = folder / "chat_template.jinja"
    if own.exists():
        return own.read_text(encoding="utf-8"), tokens
    template = config.get("chat_template")
    if isinstance(template, list):
        named = [t for t in cast("list[Mapping[str, object]]", template) if t.get("name") == "default"]
        template = named[0].get("template") if named else None
    return template if isinstance(template, str) else None, tokens


def _is_gguf(checkpoint: Path) -> bool:
    if checkpoint.is_dir():
        files = (checkpoint / "model.safetensors", checkpoint / "model.safetensors.index.json")
        return not any(f.exists() for f in files) and any(checkpoint.glob("*.gguf"))
    if not checkpoint.is_file():
        return False
    with checkpoint.open("rb") as file:
        return file.read(4) == b"GGUF"


def _config_of(file: Path) -> Mapping[str, object]:
    try:
        config: object = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise CorruptFileError(f"{file}: not valid JSON: {error}") from None
    if not isinstance(config, dict):
        raise CorruptFileError(f"{file}: expected an object")
    return cast("dict[str, object]", config)


def render(template: str, messages: Sequence[Mapping[str, str]], variables: Mapping[str, Any]) -> str:
    """What transformers renders: its settings and functions."""
    try:
        import jinja2
        from jinja2 import nodes
        from jinja2.ext import Extension, loopcontrols
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError as error:
        raise ImportError("apply_chat_template() needs jinja2: pip install pensee[jinja]") from error

    class Generation(Extension):
        """{% generation %} marks what a model wrote, for training; here it changes nothing."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Parser) -> nodes.Node:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body, lineno=line)

    def raise_exception(message: str) -> NoReturn:
        raise jinja2.TemplateError(message)

    def tojson(value: object, indent: int | None = None) -> str:
        return json.dumps(value, ensure_ascii=False, indent=indent)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = tojson
    functions = cast("dict[str, Any]", environment.globals)
    functions["raise_exception"] = raise_exception
    functions["strftime_now"] = datetime.datetime.now().strftime
    try:
        return environment.from_string(template).render(
            messages=messages, **{"tools": None, "documents": None, **variables}
        )
    except jinja2.TemplateError as error:
        raise InvalidArgumentError(f"chat template: {error}") from error


def template_and_tokens(
    path: str | os.PathLike[str] | None, template: str | None
) -> tuple[str, dict[str, str]]:
    """The template that is given, or that of the checkpoint."""
    found, tokens = (None, {}) if path is None else template_of(Path(path))
    if template is None:
        template = found
    if template is None:
        raise NotFoundError("chat_template: expected its text: the checkpoint's files have none")
    return template, tokens
