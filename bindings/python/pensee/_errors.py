"""One exception for each status of the C interface; the messages are the library's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._types import Event


class PenseeError(Exception):
    """The base of all errors of this package. `status` is the number that the C interface has;
    `events` is for `step_many()`."""

    status: int = 10
    events: Sequence[Event | None] = ()


class InvalidArgumentError(PenseeError, ValueError):
    """An argument is out of range or not UTF-8."""

    status = 1


class NotFoundError(PenseeError, FileNotFoundError):
    """No such file or tensor."""

    status = 2


class FileIOError(PenseeError, OSError):
    """The operating system could not read or write."""

    status = 3


class CorruptFileError(PenseeError, ValueError):
    """A file is not what it should be."""

    status = 4


class UnsupportedError(PenseeError, NotImplementedError):
    """Correct, but this library cannot do it."""

    status = 5


class OutOfMemoryError(PenseeError, MemoryError):
    """There is no memory for it."""

    status = 6


class CancelledError(PenseeError):
    """A callback asked for it. Not raised here: what the callback raises comes in its place."""

    status = 7


class ContextFullError(PenseeError):
    """A prompt or a saved session does not fit into the context."""

    status = 8


class WrongStateError(PenseeError, RuntimeError):
    """A call out of order."""

    status = 9


class InternalError(PenseeError):
    """A fault of the library, or of a model's numbers."""

    status = 10


_BY_STATUS: dict[int, type[PenseeError]] = {
    kind.status: kind for kind in PenseeError.__subclasses__()
}


def error_of(status: int, message: str) -> PenseeError:
    """The exception for a status of the C interface."""
    return _BY_STATUS.get(status, InternalError)(message)
