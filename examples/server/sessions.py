"""Who may use which session, and what begins a reply in it."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import cast

import pensee
from incoming import Request
from refusal import RequestError, stopping

MAX_WAITING = 64  # requests in line, each of which keeps a thread and its body
LINE_SECONDS = 0.2  # between two looks whether a client in line is still there


class Pool:
    """Sessions, each lent to one request at a time; the requests beyond that wait in line. `is_gone`
    tells of a request that nobody waits for its reply."""

    def __init__(self, sessions: Iterable[pensee.Session]) -> None:
        self._idle = list(sessions)  # longest idle first
        self._n_sessions = len(self._idle)
        self._line: list[object] = []
        self._changed = threading.Condition()

    def counts(self) -> dict[str, int]:
        with self._changed:
            busy = self._n_sessions - len(self._idle)
            return {"sessions": self._n_sessions, "busy": busy, "waiting": len(self._line)}

    @contextlib.contextmanager
    def lend(
        self, messages: Sequence[pensee.Message], is_gone: Callable[[], bool]
    ) -> Generator[pensee.Session, None, None]:
        session = self._take(messages, is_gone)
        try:
            yield session
        finally:
            with self._changed:
                self._idle.append(session)
                self._changed.notify_all()

    def _take(
        self, messages: Sequence[pensee.Message], is_gone: Callable[[], bool]
    ) -> pensee.Session:
        turn = object()
        with self._changed:
            if len(self._line) >= MAX_WAITING:
                raise RequestError(503, "too many requests are waiting", code="overloaded")
            self._line.append(turn)
            try:
                while self._line[0] is not turn or not self._idle:
                    if is_gone():
                        raise stopping()
                    self._changed.wait(LINE_SECONDS)
                # Of those that are equal, the one that has been idle longest.
                best = max(self._idle, key=lambda session: n_shared(session, messages))
                self._idle.remove(best)
                return best
            finally:
                self._line.remove(turn)
                self._changed.notify_all()


def n_shared(session: pensee.Session, messages: Sequence[pensee.Message]) -> int:
    """How many messages both begin with."""
    n = 0
    for old, new in zip(session.messages, messages, strict=False):
        if (old.role, old.content) != (new.role, new.content):
            break
        n += 1
    return n


def begin(session: pensee.Session, request: Request, progress: Callable[[int, int], object]) -> None:
    session.reset()  # the cache stays, and what the prompt shares with it is not read again
    try:
        for message in request.messages:
            session.add_message(message.role, message.content, message.reasoning_content)
        options = {**request.options, "prefill_progress": progress}
        session.start(**cast("pensee.ReplyOptions", options))
    except pensee.ContextFullError as error:
        raise RequestError(400, str(error), "messages", "context_length_exceeded") from None
    except (pensee.InvalidArgumentError, pensee.UnsupportedError, TypeError, OverflowError) as error:
        name = re.match(r"\w*", str(error))  # with which messages about options begin
        param = name[0] if name is not None and name[0] in request.options else None
        raise RequestError(400, str(error), param) from None
