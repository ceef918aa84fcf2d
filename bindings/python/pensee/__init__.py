"""Reasoning models on CPUs: thoughts and answers apart.

    import pensee
    model = pensee.load("DeepSeek-R1")          # or pensee.load(bundled=True)
    reply = model.ask("What is 17 * 23?", thinking_token_budget=512)
    print(reply.thought, reply.answer, sep="\\n")

Errors are subclasses of `PenseeError` with the messages of the C interface. Functions name theirs;
beside these, any may raise `OutOfMemoryError` or `InternalError`, and `WrongStateError` once its
object is closed. Values of a wrong type raise TypeError, integers too large for the library that or
OverflowError. Linux's fork() copies a model without its threads: load models after it.
"""

from ._core import has_feature, version
from ._errors import (
    CancelledError,
    ContextFullError,
    CorruptFileError,
    FileIOError,
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    OutOfMemoryError,
    PenseeError,
    UnsupportedError,
    WrongStateError,
)
from ._model import (
    Model,
    Tokenizer,
    bundled_model,
    estimate_memory,
    load,
    load_buffers,
    step_many,
)
from ._session import Session
from ._types import (
    AnswerEnd,
    Ballot,
    CacheType,
    Event,
    EventKind,
    MemoryEstimate,
    Message,
    ModelInfo,
    Phase,
    Prompt,
    Reply,
    ReplyOptions,
    SamplerOptions,
    ThoughtEnd,
    Usage,
    Vote,
)

__version__ = version()

__all__ = [
    "AnswerEnd",
    "Ballot",
    "CacheType",
    "CancelledError",
    "ContextFullError",
    "CorruptFileError",
    "Event",
    "EventKind",
    "FileIOError",
    "InternalError",
    "InvalidArgumentError",
    "MemoryEstimate",
    "Message",
    "Model",
    "ModelInfo",
    "NotFoundError",
    "OutOfMemoryError",
    "PenseeError",
    "Phase",
    "Prompt",
    "Reply",
    "ReplyOptions",
    "SamplerOptions",
    "Session",
    "ThoughtEnd",
    "Tokenizer",
    "UnsupportedError",
    "Usage",
    "Vote",
    "WrongStateError",
    "bundled_model",
    "estimate_memory",
    "has_feature",
    "load",
    "load_buffers",
    "step_many",
    "version",
]
