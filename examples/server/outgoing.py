"""Replies as objects of OpenAI's interface, around those that the package makes."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Mapping
from typing import Any

import pensee
from pensee import AnswerEnd, ThoughtEnd


def finish_reason(reply: pensee.Reply) -> str:
    """OpenAI's servers have but two for what ends a reply without tools."""
    cut = reply.answer_end in (AnswerEnd.LENGTH, AnswerEnd.CONTEXT_FULL)
    return "length" if cut or reply.thought_end is ThoughtEnd.TRUNCATED else "stop"


class Completion:
    """The objects of one reply, which share their head."""

    def __init__(self, kind: str, model_name: str, *, tells_usage: bool = False) -> None:
        self._head = {
            "id": f"chatcmpl-{secrets.token_hex(12)}",
            "object": kind,
            "created": int(time.time()),
            "model": model_name,
        }
        self._tells_usage = tells_usage

    def whole(self, reply: pensee.Reply) -> dict[str, Any]:
        choice = {"index": 0, "message": reply.to_message(), "finish_reason": finish_reason(reply)}
        return {**self._head, "choices": [choice], "usage": reply.usage.to_dict()}

    def chunk(self, delta: Mapping[str, str], reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        usage = {"usage": None} if self._tells_usage else {}  # null in all chunks but the last
        return {**self._head, "choices": [choice], **usage}

    def last_chunks(self, reply: pensee.Reply) -> Iterable[dict[str, Any]]:
        yield self.chunk({}, finish_reason(reply))
        if self._tells_usage:
            yield {**self._head, "choices": [], "usage": reply.usage.to_dict()}


class Trimmer:
    """Takes the white space off the ends of a streamed text, as whole replies have it."""

    WHITE_SPACE = " \t\r\n"

    def __init__(self) -> None:
        self._held: dict[str, str] = {}  # white space of which it is not known whether it is the end

    def trim(self, delta: Mapping[str, str]) -> dict[str, str]:
        out: dict[str, str] = {}
        for key, text in delta.items():
            text = self._held[key] + text if key in self._held else text.lstrip(self.WHITE_SPACE)
            known = text.rstrip(self.WHITE_SPACE)
            if known:
                out[key] = known
            if text:
                self._held[key] = text[len(known) :]
        return out
