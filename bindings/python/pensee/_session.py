"""Conversations."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, overload

from . import _core
from ._calls import _Call
from ._errors import InvalidArgumentError, WrongStateError
from ._types import (
    AnswerEnd,
    Ballot,
    Event,
    EventKind,
    Message,
    Phase,
    Prompt,
    Reply,
    ThoughtEnd,
    Usage,
    Vote,
)
from ._wire import cache_type_code, in_our_words, speculation_code

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray
    from typing_extensions import Self, Unpack

    from ._model import Model
    from ._types import CacheType, ReplyOptions, Speculation, Tokens

_T = TypeVar("_T")
_ROLES = ("system", "user", "assistant")  # at the numbers that the C interface has for them


def _utf8(text: str) -> bytes:
    """What is no Unicode text goes on as bytes that the library refuses with its own message."""
    return text.encode("utf-8", "surrogatepass")


def _text(message: Mapping[str, str | None], key: str) -> str:
    """What any dict may hold; said here, since the prompt comes from outside."""
    text: object = message.get(key)
    if not isinstance(text, str):
        raise InvalidArgumentError(f"{key} of a message: expected a str, found {text!r}")
    return text


def _thought(message: Mapping[str, str | None]) -> str:
    """An assistant's thought, by the names that servers have for it."""
    if message.get("role") != "assistant":
        return ""
    for key in ("reasoning_content", "reasoning"):
        if message.get(key) is not None:
            return _text(message, key)
    return ""


def _event(
    fields: tuple[str, str, str, int | None, float | None, bool, str, str],
) -> Event:
    kind, phase, text, token, logprob, forced, thought_end, answer_end = fields
    return Event(EventKind(kind), Phase(phase), text, token, logprob, forced,
                 ThoughtEnd(thought_end), AnswerEnd(answer_end))  # fmt: skip


def _parts(reply: dict[str, Any]) -> tuple[str, str, ThoughtEnd, AnswerEnd, Usage]:
    """The fields of a `Reply`, in their order."""
    return (reply["thought"], reply["answer"], ThoughtEnd(reply["thought_end"]),
            AnswerEnd(reply["answer_end"]), Usage(**reply["usage"]))  # fmt: skip


class Session:
    """One conversation, with its key-value cache; made by `Model.session()`.

    Whole replies: `ask()`. Token by token: `stream()`. Apart: `think()`, then `answer()`.

    Messages make the conversation. The answer of a reply becomes a message; its thought is out of
    later prompts unless they ask for it (`history`). One thread at a time may use a session, except
    `cancel()` and `end_thinking()`, which come from any thread; a second call meanwhile raises
    `WrongStateError`. Long calls release the GIL, and Ctrl-C ends them. What goes wrong in a step,
    Ctrl-C, and what a callback raises end the reply under way; a call that is refused does not. The
    session can be used on.
    """

    def __init__(
        self,
        model: Model,
        *,
        context_length: int = 0,
        prefill_chunk: int = 0,
        speculation: Speculation = "off",
        cache_type: CacheType = "bf16",
    ) -> None:
        """`context_length` in tokens, 0: the model's, at most 32,768. `prefill_chunk`: tokens of a
        prompt that are read together, 1 to 8192; 0: 512 if the model has latent attention or experts,
        otherwise 256. `speculation`: where guesses at coming tokens are taken from, which are read
        together with the newest one; they change no reply, but the time it takes. `cache_type`: how
        the cache holds numbers, "f32" being exact and "q8" taking about half the memory of "bf16".
        Raises `InvalidArgumentError` naming the option, and `UnsupportedError` for "mtp" if the
        model has no such layer."""
        self._core = _core.Session(
            model._core,
            context_length,
            prefill_chunk,
            speculation_code(speculation),
            cache_type_code(cache_type),
        )
        self._model = model

    @classmethod
    def _of(cls, core: _core.Session, model: Model) -> Session:
        session = cls.__new__(cls)
        session._core = core
        session._model = model
        return session

    # --- Messages ---

    @property
    def messages(self) -> list[Message]:
        return [Message(_ROLES[role], text, thought) for role, text, thought in self._core.messages()]

    def add_message(self, role: str, content: str, reasoning_content: str = "") -> None:
        """Adds a message; `role` is system, user or assistant. `reasoning_content`: what an assistant
        thought before it, for replies with `history="keep"`. Raises `InvalidArgumentError` for another
        role, a thought of others, or what is no Unicode text, `WrongStateError` while a reply is under
        way."""
        if role not in _ROLES:
            raise InvalidArgumentError(f"role: expected system, user or assistant, found {role!r}")
        if not reasoning_content:
            self._core.add_message(_ROLES.index(role), _utf8(content))
        elif role == "assistant":
            self._core.add_answer(_utf8(reasoning_content), _utf8(content))
        else:
            raise InvalidArgumentError(f"reasoning_content: expected none of the role {role}")

    def rewind(self, n_messages: int) -> None:
        """Keeps the first `n_messages`. Raises `InvalidArgumentError` if there are fewer,
        `WrongStateError` while a reply is under way."""
        if n_messages < 0:
            raise InvalidArgumentError(f"n_messages: expected 0 or more, found {n_messages}")
        self._core.rewind(n_messages)

    def reset(self) -> None:
        """Gives up a reply that is under way, and forgets all messages."""
        self._core.reset()

    # --- Replies ---

    def ask(self, prompt: Prompt, **options: Unpack[ReplyOptions]) -> Reply:
        """Adds the prompt to the conversation and gives the whole reply. If it raises, the
        conversation is as before. Raises what `add_message()`, `start()` and `step()` do, as do the
        other functions that take a prompt."""
        return self._ask(prompt, options)

    def stream(self, prompt: Prompt, **options: Unpack[ReplyOptions]) -> Generator[Event, None, None]:
        """The same, event by event, the last of kind `DONE`. A loop that is left early cancels the
        reply."""
        self._begin(prompt, options)
        reply = self._core.n_replies()
        try:
            while True:
                event = self.step()
                yield event
                if event.kind is EventKind.DONE:
                    return
        finally:
            self._core.abandon(reply)

    def think(self, prompt: Prompt | None = None, **options: Unpack[ReplyOptions]) -> str:
        """Begins the reply to `prompt`, or goes on with the one under way, and runs to the end of its
        thought, which it returns. Raises what `step()` does, and `WrongStateError` if the thought
        has ended."""
        if prompt is not None:
            before = self._begin(prompt, options)
            try:
                self._core.think()
            except BaseException:
                self._core.rewind(before)
                raise
        elif options:
            raise TypeError("think: options belong to a prompt, or to start()")
        else:
            self._core.think()
        return self.reply.thought

    def answer(self) -> str:
        """Runs to the end of the reply under way and returns its answer. Raises what `step()`
        does."""
        self._core.answer()
        return self.reply.answer

    def vote(
        self, prompt: Prompt | None = None, *, voters: int = 8, **options: Unpack[ReplyOptions]
    ) -> Vote:
        """Lets `voters` (1 to 1024) copies of the session reply to `prompt`, or finish the reply under
        way, and counts what their answers have in \\boxed{} (self-consistency, arXiv:2203.11171). `seed`
        is the first one's; the others have the numbers after it. They write together. The conversation
        goes on with the answer of the first that chose as most did; if none chose, of the first. With a
        prompt the copies differ in their thoughts; after `think()` they are answers to one thought. If
        it raises, the conversation is as before, and a reply that was under way goes on unless its own
        prompt, memory or Ctrl-C ended it. Raises what `ask()` does, and `InvalidArgumentError` for the number of
        voters."""
        seed = options.pop("seed", None) or 0
        if prompt is None and options:
            raise TypeError("vote: options belong to a prompt, or to start()")
        if not 0 <= seed < 1 << 64:
            raise InvalidArgumentError(f"seed: expected 0 to 2 ** 64 - 1, found {seed}")
        before = len(self._core.messages()) if prompt is None else self._begin(prompt, options)
        try:
            winner, n_votes, ballots = self._core.vote(voters, seed)
        except BaseException:
            if prompt is not None:
                self._core.abandon(self._core.n_replies())
            if not self._core.is_replying():  # else it goes on, and has added nothing
                self._core.rewind(before)
            raise
        return Vote(winner, n_votes, [Ballot(*_parts(reply), choice) for choice, reply in ballots])

    async def aask(self, prompt: Prompt, **options: Unpack[ReplyOptions]) -> Reply:
        """`ask()` in a thread. If the task is cancelled, so is the reply, and the conversation is as
        before."""
        return await self._in_thread(lambda call: self._ask(prompt, options, call))

    async def astream(
        self, prompt: Prompt, **options: Unpack[ReplyOptions]
    ) -> AsyncGenerator[Event, None]:
        """`stream()` with its work in threads. If the task is cancelled, so is the reply. Python
        cleans up behind an `async for` that is left early only later: until then the reply is under
        way, unless the stream is in a `contextlib.aclosing()`."""
        self._begin(prompt, options)
        reply = self._core.n_replies()
        try:
            while True:
                event = await self._in_thread(lambda _: self.step())
                yield event
                if event.kind is EventKind.DONE:
                    return
        finally:
            self._core.abandon(reply)

    # --- Token by token ---

    def start(self, **options: Unpack[ReplyOptions]) -> None:
        """Begins the reply to the messages, whose last is the user's.

        Raises `WrongStateError` while a reply is under way or if the last message is not the
        user's; `InvalidArgumentError` naming the option, or if the chat template refuses these
        messages; `ContextFullError` if the prompt does not fit; `NotFoundError` or
        `UnsupportedError` if the model has no chat template that is known; the latter also if these
        messages lead it to what is not, or for `thinking=True` of a model without thoughts; what
        `Tokenizer.encode()` does."""
        self._core.start(_encoded(options))

    def start_text(self, text: str, **options: Unpack[ReplyOptions]) -> None:
        """Begins the reply to a ready prompt, whose special tokens are parsed and in which a thought
        may be open. It has nothing to do with the messages, and takes no `thinking`,
        `reasoning_effort` or `chat_template_kwargs`. Raises `WrongStateError` while a reply is
        under way, `InvalidArgumentError` naming the option, or for a text without tokens,
        `ContextFullError` if it does not fit, and what `Tokenizer.encode()` does."""
        self._core.start_text(_utf8(text), _encoded(options))

    def start_tokens(self, tokens: Tokens, **options: Unpack[ReplyOptions]) -> None:
        """The same with tokens. Raises `InvalidArgumentError` for one outside the vocabulary,
        too."""
        self._core.start_tokens(tokens, _encoded(options))

    def prefill(self) -> None:
        """Reads the prompt now, before the first step; for forks of one prompt. Raises
        `WrongStateError` if no reply is under way."""
        self._core.prefill()

    def step(self) -> Event:
        """The next event, after at most one token's work (the first: the prompt's too). Raises
        `WrongStateError` if no reply is under way, `InternalError` for logits that are not
        numbers, `UnsupportedError` if no token goes on with the form of the answer."""
        return _event(self._core.step())

    @property
    def is_replying(self) -> bool:
        return self._core.is_replying()

    def end_thinking(self) -> None:
        """From any thread: closes the thought under way, or the one that the model begins its
        reply with, at the next whole character."""
        self._core.end_thinking()

    def cancel(self) -> None:
        """From any thread: ends the reply within one token, or within one chunk of the prompt."""
        self._core.cancel()

    # --- What there is ---

    @property
    def reply(self) -> Reply:
        """The reply under way as far as it is, or the last one."""
        return Reply(*_parts(self._core.reply()))

    @property
    def model(self) -> Model:
        return self._model

    @property
    def tokens(self) -> list[int]:
        """All tokens of the context, prompt and reply."""
        return self._core.tokens()

    @property
    def context_length(self) -> int:
        """Tokens that the session can hold."""
        return self._core.context_length()

    def logits(self) -> NDArray[numpy.float32]:
        """(vocab_size): after the newest token; where a prompt was cancelled, the last one read.
        Raises `WrongStateError` before any token was read, or while a prompt still has to be,
        `ContextFullError` if the newest token found no room."""
        return self._core.logits()

    # --- Copies ---

    def fork(self, *, seed: int | None = None) -> Session:
        """An independent copy, also in the middle of a reply, with a cache of its own. With `seed`, see
        `reseed()`."""
        fork = Session._of(self._core.fork(), self._model)
        if seed is not None:
            fork.reseed(seed)
        return fork

    def reseed(self, seed: int) -> None:
        """Gives the sampler a new random stream from the next token on, with which later replies
        begin, too, unless their options have a seed."""
        self._core.reseed(seed)

    @overload
    def save(self, path: None = None) -> bytes: ...

    @overload
    def save(self, path: str | os.PathLike[str]) -> None: ...

    def save(self, path: str | os.PathLike[str] | None = None) -> bytes | None:
        """Messages, tokens and cache, with a checksum, for `Model.restore()`: into a file, which
        appears only when whole, or without `path` as bytes. Raises `WrongStateError` while a reply
        is under way; for a file, `FileIOError`, `NotFoundError` if there is no such directory, and
        `InvalidArgumentError` for an empty path, a device or a pipe."""
        if path is None:
            return self._core.save()
        self._core.save_file(os.fsencode(path))
        return None

    def close(self) -> None:
        """Frees the memory now. Every later use raises `WrongStateError`."""
        self._core.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Session cannot be pickled or copied: use save() and Model.restore(), or fork()")

    # --- Within ---

    def _begin(self, prompt: Prompt, options: ReplyOptions) -> int:
        """Adds the prompt, starts the reply, returns how many messages there were before. If it
        raises, nothing has changed."""
        before = len(self._core.messages())
        try:
            if isinstance(prompt, str):
                self.add_message("user", prompt)
            else:
                for message in prompt:
                    self.add_message(
                        _text(message, "role"), _text(message, "content"), _thought(message)
                    )
            self.start(**options)
        except BaseException:
            if not self._core.is_replying():
                self._core.rewind(before)
            raise
        return before

    def _ask(self, prompt: Prompt, options: ReplyOptions, call: _Call | None = None) -> Reply:
        before = self._begin(prompt, options)
        try:
            # A cancel() before the reply had begun did not reach it.
            if call is not None and call.is_given_up:
                self.cancel()
            self._core.answer()
            reply = self.reply
            if call is not None:
                after = (self._core.n_replies(), len(self.messages))
                call.end(lambda: self._take_back(after, before))
        except BaseException:
            self._core.rewind(before)
            raise
        return reply

    def _take_back(self, after: tuple[int, int], before: int) -> None:
        """Rewinds to the `before` messages that there were before a reply, `after` which the numbers
        of replies and messages were these, unless others have changed them since then."""
        with contextlib.suppress(WrongStateError, InvalidArgumentError):  # in use, closed or rewound
            if after == (self._core.n_replies(), len(self.messages)):
                self._core.rewind(before)

    async def _in_thread(self, function: Callable[[_Call], _T]) -> _T:
        call = _Call()
        future = asyncio.get_running_loop().run_in_executor(None, lambda: call.run(function))
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError:
            if not call.give_up(self.cancel):
                future.cancel()
            # The thread still has the session, for one token or one chunk of the prompt at most.
            while not future.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([future])
            if not future.cancelled():
                future.exception()  # not wanted any more
            raise
        return future.result()


def _encoded(given: Any) -> dict[str, Any]:
    """What the extension takes. Checks texts, which it could only call a wrong type."""
    options = in_our_words(given)
    for name in ("budget_message", "extension_text", "answer_grammar", "answer_json_schema"):
        _check_text(name, options.get(name))
        if name.startswith("answer_") and options.get(name) == "":
            raise InvalidArgumentError(f"{name}: expected a text, found an empty one")
    stop = options.get("stop")
    if stop is not None and not isinstance(stop, str):
        options["stop"] = list(stop)
        for text in options["stop"]:
            _check_text("stop", text)
    return options


def _check_text(name: str, text: object) -> None:
    if isinstance(text, str):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InvalidArgumentError(f"{name}: not Unicode text: {error}") from None
