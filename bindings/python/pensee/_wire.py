"""Words for what the library has numbers for, and those that requests to servers have."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from ._errors import InvalidArgumentError

_THINKINGS = {"auto": None, "on": True, "off": False}
_TYPES = {"enabled": True, "disabled": False}
_SPECULATIONS = {"off": 0, "prompt_lookup": 1, "mtp": 2, "auto": 3}  # at the numbers of the C interface
_CACHE_TYPES = {"bf16": 0, "f32": 1, "q8": 2}  # likewise
_HISTORIES = {"strip": 0, "keep": 1}  # likewise
_FORMATS: dict[str, Any] = {"text": None, "json_object": {"type": "object"}, "json_schema": "schema"}
# Thought tokens, as Google's servers take these words; "none" is no thought.
_EFFORTS = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24576}


def in_our_words(options: Mapping[str, Any]) -> dict[str, Any]:
    """`options` with words for `thinking`, `chat_template_kwargs` and `reasoning_effort` replaced by
    True, False or None for `thinking` and by `thinking_token_budget`, `response_format` by
    `answer_json_schema`, and `history` by its number. Where they contradict each other, the first of
    them counts, and a budget or schema that is given."""
    out = dict(options)
    thinking: Any = out.get("thinking")
    if isinstance(thinking, str):
        thinking = _choice("thinking", thinking, _THINKINGS)
    elif isinstance(thinking, Mapping):
        thinking = _choice("thinking.type", _entry("thinking", out["thinking"], "type"), _TYPES)
    template = out.pop("chat_template_kwargs", None)
    if template is not None:
        enabled = _entry("chat_template_kwargs", template, "enable_thinking")
        if not isinstance(enabled, bool):
            raise InvalidArgumentError(f"enable_thinking: expected True or False, found {enabled!r}")
        thinking = enabled if thinking is None else thinking
    effort = out.pop("reasoning_effort", None)
    if effort is not None:
        budget = _choice("reasoning_effort", effort, _EFFORTS)
        thinking = budget != 0 if thinking is None else thinking
        if budget != 0 and out.get("thinking_token_budget") is None:
            out["thinking_token_budget"] = budget
    out["thinking"] = thinking
    if out.get("history") is not None:
        out["history"] = _choice("history", out["history"], _HISTORIES)
    form = out.pop("response_format", None)
    if form is not None and out.get("answer_json_schema") is None:
        out["answer_json_schema"] = _schema_of(form)
    schema: Any = out.get("answer_json_schema")
    if isinstance(schema, Mapping | bool):
        try:
            out["answer_json_schema"] = json.dumps(schema, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise InvalidArgumentError(f"answer_json_schema: expected JSON: {error}") from None
    return out


def _schema_of(form: Any) -> Any:
    """The schema of a `response_format`; None for any text."""
    entries: Mapping[object, object] = {}
    if isinstance(form, Mapping):
        entries = cast("Mapping[object, object]", form)
    kind = _choice("response_format.type", entries.get("type"), _FORMATS)
    if kind != "schema":
        return kind
    wrapped = entries.get("json_schema")
    if isinstance(wrapped, Mapping):
        schema = cast("Mapping[object, object]", wrapped).get("schema")
        if isinstance(schema, Mapping | bool):
            return cast("Any", schema)
    raise InvalidArgumentError('response_format.json_schema: expected a mapping with "schema"')


def speculation_code(speculation: str) -> int:
    """The number that the C interface has for it."""
    code: int = _choice("speculation", speculation, _SPECULATIONS)
    return code


def cache_type_code(cache_type: str) -> int:
    """The number that the C interface has for it."""
    code: int = _choice("cache_type", cache_type, _CACHE_TYPES)
    return code


def _entry(name: str, given: Any, key: str) -> object:
    if isinstance(given, Mapping):
        entries = cast("Mapping[object, object]", given)
        if list(entries) == [key]:
            return entries[key]
    raise InvalidArgumentError(f"{name}: expected a mapping with {key!r} alone, found {given!r}")


def _choice(name: str, value: object, choices: Mapping[str, Any]) -> Any:
    if not isinstance(value, str) or value not in choices:
        raise InvalidArgumentError(f"{name}: expected one of {list(choices)}, found {value!r}")
    return choices[value]
