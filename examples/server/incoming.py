"""Requests for replies, checked as far as the package does not."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, cast

import pensee
from refusal import RequestError

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
OPTIONS = pensee.ReplyOptions.__optional_keys__ - {"prefill_progress"}
BOOLEANS = {"thinking", "stop_in_thought", "answer_json_schema"}  # options that may be True or False
OTHER_NAMES = {"max_completion_tokens": "max_tokens"}
# Read elsewhere, or of no consequence here.
NO_OPTIONS = {"model", "messages", "stream", "stream_options", "user", "metadata", "store",
              "service_tier", "safety_identifier", "prompt_cache_key"}  # fmt: skip
# What is not supported may still be said to be unwanted.
UNWANTED: dict[str, object] = {"n": 1, "logprobs": False, "tools": [], "functions": [],
                               "tool_choice": "none", "logit_bias": {}}  # fmt: skip


@dataclass(frozen=True)
class Request:
    """A request for a reply."""

    messages: list[pensee.Message]
    options: dict[str, Any]
    stream: bool
    include_usage: bool


def read_request(body: bytes, model_name: str) -> Request:
    try:
        given: Any = json.loads(body, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        raise RequestError(400, f"the body is no JSON: {error}") from None
    request = expect_object(given, None)
    model = request.get("model")
    if model is not None and model != model_name:
        raise RequestError(
            404, f"model: there is only {model_name!r} here, no {model!r}", "model", "model_not_found"
        )
    stream_options = request.get("stream_options")
    if stream_options is None:
        stream_options = {}
    include_usage = expect_object(stream_options, "stream_options").get("include_usage")
    return Request(
        read_messages(request.get("messages")),
        read_options(request),
        expect_bool(request.get("stream"), "stream"),
        expect_bool(include_usage, "stream_options.include_usage"),
    )


def refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def expect_object(value: Any, where: str | None) -> dict[str, Any]:
    if isinstance(value, dict):
        return cast("dict[str, Any]", value)
    raise RequestError(400, f"{where or 'the body'}: expected an object", where)


def expect_list(value: Any, where: str) -> list[Any]:
    if isinstance(value, list):
        return list(cast("Sequence[Any]", value))
    raise RequestError(400, f"{where}: expected an array", where)


def expect_bool(value: Any, where: str) -> bool:
    if value is None or isinstance(value, bool):
        return value is True
    raise RequestError(400, f"{where}: expected true or false", where)


def read_messages(given: Any) -> list[pensee.Message]:
    messages = [
        read_message(expect_object(message, f"messages[{i}]"), f"messages[{i}]")
        for i, message in enumerate(expect_list(given, "messages"))
    ]
    if not messages or messages[-1].role != "user":
        raise RequestError(400, "messages: expected the last to be the user's", "messages")
    return messages


def read_message(given: Mapping[str, Any], where: str) -> pensee.Message:
    role = given.get("role")
    if not isinstance(role, str) or role not in ROLES:
        raise RequestError(
            400, f"{where}.role: expected one of {', '.join(ROLES)}, found {role!r}", f"{where}.role"
        )
    for key in ("tool_calls", "function_call"):
        if given.get(key):
            raise RequestError(400, f"{where}.{key}: not supported", f"{where}.{key}", "unsupported_value")
    content = read_content(given.get("content"), f"{where}.content")
    return pensee.Message(ROLES[role], content, read_thought(given, where) if role == "assistant" else "")


def read_thought(given: Mapping[str, Any], where: str) -> str:
    """By either of the names that servers have for it."""
    for key in ("reasoning_content", "reasoning"):
        if isinstance(thought := given.get(key), str):
            return thought
        if thought is not None:
            raise RequestError(400, f"{where}.{key}: expected a text", f"{where}.{key}")
    return ""


def read_content(given: Any, where: str) -> str:
    """A text, or an array of such."""
    if isinstance(given, str):
        return given
    if not isinstance(given, list):
        raise RequestError(400, f"{where}: expected a text", where)
    texts: list[str] = []
    for part in expect_list(given, where):
        text = expect_object(part, where).get("text")
        if part.get("type") != "text" or not isinstance(text, str):
            raise RequestError(400, f"{where}: expected parts of type text alone", where)
        texts.append(text)
    return "\n".join(texts)


def read_options(request: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the reply by the package's names; it checks the values itself."""
    options: dict[str, Any] = {}
    for key, value in request.items():
        name = OTHER_NAMES.get(key, key)
        if value is None or key in NO_OPTIONS or (key in UNWANTED and value == UNWANTED[key]):
            continue
        if name not in OPTIONS:
            raise RequestError(400, f"{key}: not supported", key, "unsupported_parameter")
        if isinstance(value, bool) and name not in BOOLEANS:  # to Python a number
            raise RequestError(400, f"{key}: expected neither true nor false", key)
        options[name] = value
    if "stop" in options:
        stop = options["stop"]
        options["stop"] = [stop] if isinstance(stop, str) else expect_list(stop, "stop")
    # The library's own is the same each time.
    options.setdefault("seed", secrets.randbits(63))
    return options
