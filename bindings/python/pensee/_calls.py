"""What tasks of asyncio and the threads that work for them have to agree on."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

from ._errors import WrongStateError

_T = TypeVar("_T")


class _Call:
    """A call in a thread, of which nothing is wanted once the task that awaits it is cancelled: that
    may be before it has begun, meanwhile, or after it has ended but before the task knows."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._has_begun = False
        self._has_ended = False
        self._is_given_up = False
        self._undo: Callable[[], None] | None = None

    def run(self, function: Callable[[_Call], _T]) -> _T:
        """In the thread: the call."""
        with self._lock:
            if self._is_given_up:
                raise asyncio.CancelledError
            self._has_begun = True
        try:
            return function(self)
        finally:
            with self._lock:
                self._has_ended = True

    @property
    def is_given_up(self) -> bool:
        return self._is_given_up

    def end(self, undo: Callable[[], None]) -> None:
        """In the thread: the call has changed something, which `undo` takes back if it is given up,
        be it already or before the task goes on."""
        with self._lock:
            if self._is_given_up:
                undo()
            else:
                self._undo = undo

    def give_up(self, cancel: Callable[[], None]) -> bool:
        """In the task: nothing is left of the call once its thread, if it has begun, has ended, which
        `cancel` hastens. Returns whether it has begun; if not, it never does."""
        with self._lock:
            self._is_given_up = True
            if self._undo is not None:
                self._undo()
            elif self._has_begun and not self._has_ended:
                with contextlib.suppress(WrongStateError):  # closed meanwhile: then it ends by that
                    cancel()
            return self._has_begun
