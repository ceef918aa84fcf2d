"""Models."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

from . import _core, _jinja
from ._errors import InvalidArgumentError, error_of
from ._session import Session, _event, _utf8
from ._types import Event, MemoryEstimate, ModelInfo, Prompt, Reply
from ._wire import cache_type_code, speculation_code

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray
    from typing_extensions import Buffer, Self, Unpack

    from ._types import CacheType, ReplyOptions, Speculation, Tokens

_log = logging.getLogger("pensee")
_LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING)  # at the numbers of the C interface


def bundled_model() -> Path:
    """The directory of the small R1 that comes with the package."""
    return Path(__file__).parent / "share" / "pensee" / "tiny_r1"


def load(
    path: str | os.PathLike[str] | None = None,
    *,
    bundled: bool = False,
    n_threads: int = 0,
    read_ahead: bool = False,
    repack_dir: str | os.PathLike[str] | None = None,
    progress: bool | Callable[[float], object] = False,
) -> Model:
    """Loads a checkpoint: a directory as Hugging Face has it, a .safetensors file in one, or a GGUF
    file, of several the first. With `bundled`, the small R1 of the package.

    `n_threads` 0: as many as the process may run on at once. `read_ahead`: files are read into
    memory, by all threads, before this returns; else parts of them when they are first used.
    `repack_dir`: a directory for a copy of weights of some types in an order that AVX-512 kernels
    read with less work: made by the first load of a checkpoint, as large as those weights, and used
    by later ones. `progress` True: a bar, which needs tqdm; or a function, called with the fraction
    done; what it raises ends the load. Messages of the load go to the logger "pensee".

    Raises `NotFoundError` for a file or a tensor that is missing, `FileIOError`,
    `CorruptFileError`, `UnsupportedError`, and `InvalidArgumentError` for `n_threads`, an empty
    path, a directory with several models, or another part of a GGUF file than the first.
    """
    if bundled == (path is not None):
        raise TypeError("load: give either a path or bundled=True")
    where = bundled_model() if path is None else path
    with _Progress(progress) as report:
        core = _core.Model.load(
            os.fsencode(where),
            n_threads,
            read_ahead,
            os.fsencode(repack_dir or ""),
            report,
            _forward_log,
        )
    return Model(core, where)


def load_buffers(
    files: Mapping[str, Buffer | NDArray[Any]],
    *,
    n_threads: int = 0,
    repack_dir: str | os.PathLike[str] | None = None,
    progress: bool | Callable[[float], object] = False,
) -> Model:
    """The same from memory: `files` maps the names that the files would have in the directory to
    bytes, arrays of numpy or mappings. They are used in place and kept as long as the model or a
    session of it; they must not change. Raises what `load()` does, and `InvalidArgumentError` for a
    name that is no plain file name."""
    named = {os.fsencode(name): file for name, file in files.items()}
    with _Progress(progress) as report:
        core = _core.Model.load_buffers(
            named, n_threads, os.fsencode(repack_dir or ""), report, _forward_log
        )
    return Model(core)


def estimate_memory(
    path: str | os.PathLike[str],
    *,
    context_length: int = 0,
    n_threads: int = 0,
    prefill_chunk: int = 0,
    speculation: Speculation = "off",
    cache_type: CacheType = "bf16",
) -> MemoryEstimate:
    """What a checkpoint and a session with these options would need; only headers are read. Raises
    what `load()` does, and `InvalidArgumentError` for a `context_length` that the model is not made
    for."""
    return MemoryEstimate(
        **_core.estimate_memory(
            os.fsencode(path),
            context_length,
            n_threads,
            cache_type_code(cache_type),
            prefill_chunk,
            speculation_code(speculation),
        )
    )


def step_many(sessions: Sequence[Session]) -> list[Event]:
    """One step of each of several sessions of one model, which may work on them together. If any
    fails, the first one's error is raised; its attribute `events` is then the list, with None for
    each that was not stepped, or empty if the call was refused before. Raises what `Session.step()`
    does; `WrongStateError` also for a session that is there twice, `InvalidArgumentError` for
    sessions of different models. What a session's `prefill_progress` raises ends the reply of that
    session, and is raised in the end, with `events` too; KeyboardInterrupt ends all replies."""
    found, status, message, raised = _core.Session.step_many([s._core for s in sessions])
    events = [None if event is None else _event(event) for event in found]
    if raised is not None:
        with contextlib.suppress(AttributeError):  # it need not take attributes
            raised.events = events  # type: ignore[attr-defined]
        raise raised
    if status != 0:
        error = error_of(status, message)
        error.events = events
        raise error
    return cast("list[Event]", events)


class Tokenizer:
    """The tokens of a model: `model.tokenizer`."""

    def __init__(self, core: _core.Model) -> None:
        self._core = core

    def encode(self, text: str, *, parse_special: bool = False) -> list[int]:
        """The ids of `text`, as what a user wrote: "<think>" in it is ordinary text. With
        `parse_special`, names of special tokens become these tokens. No token is added. Raises
        `InvalidArgumentError` for what is no Unicode text or too long (2 GiB), `UnsupportedError`
        if the model has no vocabulary, `InternalError` if a regex of the tokenizer gives up on
        it."""
        return self._core.tokenize(_utf8(text), parse_special)

    def decode(self, tokens: Tokens, *, skip_special: bool = False) -> str:
        """The text of tokens; malformed UTF-8 becomes U+FFFD. Raises `InvalidArgumentError` for one
        that is not from 0 to `vocab_size` - 1."""
        return self._core.detokenize(tokens, skip_special)

    def token_bytes(self, token: int) -> bytes:
        """The bytes of one token, perhaps a part of a character. Raises `InvalidArgumentError` for
        one that the vocabulary does not have."""
        found = self._core.token_bytes(token)
        if found is None:
            raise InvalidArgumentError(f"token: {token} is none of the vocabulary")
        return found

    def is_special(self, token: int) -> bool:
        """Whether it is a special token, such as the begin of the sentence."""
        return self._core.is_special(token)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Tokenizer cannot be pickled or copied: load the model in each process")


class Model:
    """A loaded checkpoint; made by `load()`. Immutable: any thread may use it."""

    def __init__(self, core: _core.Model, path: str | os.PathLike[str] | None = None) -> None:
        self._core = core
        self._path = path
        self._info = ModelInfo(**core.info())
        self._tokenizer = Tokenizer(core)

    @property
    def info(self) -> ModelInfo:
        return self._info

    @property
    def tokenizer(self) -> Tokenizer:
        return self._tokenizer

    def session(
        self,
        *,
        context_length: int = 0,
        prefill_chunk: int = 0,
        speculation: Speculation = "off",
        cache_type: CacheType = "bf16",
    ) -> Session:
        """A new conversation; see `Session`."""
        return Session(
            self,
            context_length=context_length,
            prefill_chunk=prefill_chunk,
            speculation=speculation,
            cache_type=cache_type,
        )

    def restore(
        self,
        saved: Buffer | NDArray[Any] | str | os.PathLike[str],
        *,
        context_length: int = 0,
        prefill_chunk: int = 0,
        speculation: Speculation = "off",
    ) -> Session:
        """The session that `Session.save()` has saved, from bytes or from a file; its cache is of the
        same type. `context_length` 0: that of the saved one.

        Raises `CorruptFileError` for what is truncated or altered, `InvalidArgumentError` for
        another model's, `UnsupportedError` for that of a library with another layout,
        `ContextFullError` if `context_length` leaves too little room, what `Session()` does; of a
        file `NotFoundError` and `FileIOError`, too."""
        sizes = (context_length, prefill_chunk, speculation_code(speculation))
        if isinstance(saved, (str, os.PathLike)):
            core = _core.Session.restore_file(self._core, os.fsencode(saved), *sizes)
        else:
            core = _core.Session.restore(self._core, saved, *sizes)
        return Session._of(core, self)

    def ask(self, prompt: Prompt, **options: Unpack[ReplyOptions]) -> Reply:
        """The reply to a prompt, in a conversation of its own."""
        with self.session() as session:
            return session.ask(prompt, **options)

    def stream(self, prompt: Prompt, **options: Unpack[ReplyOptions]) -> Generator[Event, None, None]:
        """The same, event by event; see `Session.stream()`."""
        with self.session() as session:
            yield from session.stream(prompt, **options)

    async def aask(self, prompt: Prompt, **options: Unpack[ReplyOptions]) -> Reply:
        """`ask()` in a thread; see `Session.aask()`."""
        with self.session() as session:
            return await session.aask(prompt, **options)

    async def astream(
        self, prompt: Prompt, **options: Unpack[ReplyOptions]
    ) -> AsyncGenerator[Event, None]:
        """`stream()` with its work in threads; see `Session.astream()`."""
        with self.session() as session:
            async with contextlib.aclosing(session.astream(prompt, **options)) as events:
                async for event in events:
                    yield event

    def apply_chat_template(
        self,
        messages: Sequence[Mapping[str, str | None]],
        chat_template: str | None = None,
        *,
        add_generation_prompt: bool = True,
        **variables: Any,
    ) -> str:
        """A prompt for `Session.start_text()` as jinja2, which must be installed, makes it: for a
        chat template that `info.has_chat_template` says is not known. `chat_template`: its text, if
        it is not in the checkpoint's chat_template.jinja or tokenizer_config.json; `variables`: more
        that it understands. The metadata of a GGUF file, and files in memory, are not looked into:
        then give the text, and as variables `bos_token` and the like, which it may write.

        The prompt is one text, in which nobody can tell the template's control words from those in a
        message. Messages with any, but for the delimiters of assistants' thoughts, raise
        `InvalidArgumentError`, as does a template that is no Jinja or refuses the messages. What is
        None in a message, as servers may have `reasoning_content`, is as if not given; `role` and
        `content` must be. Raises ImportError without jinja2 (`pip install pensee[jinja]`),
        `NotFoundError` if there is no template, `CorruptFileError` for a malformed
        tokenizer_config.json, what `Tokenizer.encode()` does for the messages' texts; other errors
        of the template's own code are Python's.
        """
        cleaned = [{k: v for k, v in m.items() if v is not None} for m in messages]
        for i, message in enumerate(cleaned):
            if "role" not in message:
                raise InvalidArgumentError(f"message {i}: expected a role")
            _text(message.get("content"), f"content of message {i}")
            for key, value in message.items():
                text = _text(value, f"{key} of message {i}")
                if message["role"] == "assistant":
                    for delimiter in (self._info.thought_open, self._info.thought_close):
                        text = text.replace(delimiter, "\n") if delimiter else text
                plain = self._tokenizer.encode(text)
                if plain != self._tokenizer.encode(text, parse_special=True):
                    raise InvalidArgumentError(
                        f"{key} of message {i}: has a control word of the model"
                    )
        template, tokens = _jinja.template_and_tokens(self._path, chat_template)
        given = {**tokens, "add_generation_prompt": add_generation_prompt, **variables}
        return _jinja.render(template, cleaned, given)

    def logits(
        self,
        tokens: Tokens,
        *,
        progress: Callable[[int, int], object] | None = None,
    ) -> NDArray[numpy.float32]:
        """(n_tokens, vocab_size): the logits after every token. `progress` is called with (done,
        total) tokens, every few hundred of them; what it raises ends the call. Raises
        `InvalidArgumentError` for no tokens, more than `info.max_context_length`, or one outside
        the vocabulary."""
        return self._core.logits(tokens, progress)

    def close(self) -> None:
        """Lets go of the model; its sessions keep it until they are gone. Every later use raises
        `WrongStateError`."""
        self._core.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        info = self._info
        return f"<pensee.Model {info.architecture}, {info.n_layers} layers, {info.n_threads} threads>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Model cannot be pickled or copied: load it in each process")


def _text(value: object, what: str) -> str:
    if isinstance(value, str):
        return value
    raise InvalidArgumentError(f"{what}: expected a str, found {type(value).__name__}")


def _forward_log(level: int, message: str) -> None:
    _log.log(_LEVELS[level], "%s", message)


class _Progress:
    """The function that a load reports to, with the bar that it may need."""

    def __init__(self, wanted: bool | Callable[[float], object]) -> None:
        self._wanted = wanted
        self._bar: Any = None

    def __enter__(self) -> Callable[[float], object] | None:
        if callable(self._wanted):
            return self._wanted
        if not self._wanted:
            return None
        from tqdm.auto import tqdm

        self._bar = tqdm(total=1.0, desc="loading", bar_format="{l_bar}{bar}| {elapsed}")
        return self._show

    def _show(self, fraction: float) -> None:
        self._bar.update(fraction - self._bar.n)

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
