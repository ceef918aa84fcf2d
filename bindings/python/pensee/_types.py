"""What goes in and comes out: options, events, replies."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypedDict

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    Tokens = Sequence[int] | NDArray[numpy.integer[Any]]

Prompt = str | Sequence[Mapping[str, str | None]]
"""A user's text, or messages with `role` (system, user, assistant) and `content`. Thoughts of former
replies (`reasoning_content` or `reasoning`, which may be None) are left out, as R1 wants it, unless
`history` is "keep"."""

Speculation = Literal["off", "prompt_lookup", "mtp", "auto"]
"""prompt_lookup: an earlier place of the prompt or the reply at which the same tokens stood. mtp: the
model's own layer of multi-token prediction, as DeepSeek-V3 and R1 have. auto: prompt lookup; where that
has no guess, the model's layer, if it has one."""


CacheType = Literal["bf16", "f32", "q8"]
"""How the cache of a session holds numbers."""


class SamplerOptions(TypedDict, total=False):
    """How tokens are chosen. What is not given, the checkpoint advises."""

    temperature: float | None
    """0: greedy, the most probable token."""
    top_k: int | None
    """Keeps the k most probable tokens; 0: all."""
    top_p: float | None
    """Keeps the most probable tokens that reach it together; (0, 1]."""
    min_p: float | None
    """Keeps tokens that reach it times the best one's probability; [0, 1]."""
    repetition_penalty: float | None
    """Above 0; 1: none."""
    presence_penalty: float | None
    """-2 to 2."""
    frequency_penalty: float | None
    """-2 to 2."""
    seed: int | None
    """Same model, settings, seed, threads and kernels: same tokens."""


class ReplyOptions(SamplerOptions, total=False):
    """The controls of one reply; counts are tokens. None is as if not given. The settings of the
    sampler are the thought's, and the answer's unless `answer_sampler` has others."""

    thinking: bool | Literal["auto", "on", "off"] | Mapping[str, str] | None
    """True or "on", False or "off"; None or "auto": as the model is used to. Requests to servers say
    {"type": "enabled"}, or "disabled"."""
    chat_template_kwargs: Mapping[str, bool] | None
    """The same in others: {"enable_thinking": False}."""
    reasoning_effort: str | None
    """none (no thought), or minimal, low (1,024 thought tokens at most), medium (8,192), high
    (24,576), unless there is a `thinking_token_budget`."""
    thinking_token_budget: int | None
    """After so many the engine closes the thought; 0: at once; -1: no limit."""
    budget_message: str | None
    """Written before that close."""
    min_thought_tokens: int | None
    """A thought closed before goes on with `extension_text` in place of the close."""
    extension_text: str | None
    max_extensions: int | None
    max_answer_tokens: int | None
    max_tokens: int | None
    """Thought, answer and delimiters together."""
    stop: Iterable[str] | None
    """Each ends the answer and is not part of it."""
    stop_in_thought: bool | None
    """They end the thought too, and with it the reply."""
    history: Literal["strip", "keep"] | None
    """Whether the thoughts of earlier replies are in the prompt: "strip", which is R1's rule and the
    default, or "keep"."""
    answer_grammar: str | None
    """The form of the answer, in llama.cpp's notation (GBNF), `root` being the whole: only tokens that
    go on with some text of it are chosen. The thought stays free."""
    answer_json_schema: str | bool | Mapping[str, Any] | None
    """The same of a JSON schema: as text or as json.loads() has it. Properties come in its order, no
    others unless it has `additionalProperties`. UnsupportedError for keywords that would be
    overlooked, such as `not`."""
    response_format: Mapping[str, Any] | None
    """The same as servers take it: {"type": "json_schema", "json_schema": {"schema": ...}},
    {"type": "json_object"} or {"type": "text"}."""
    answer_sampler: SamplerOptions | None
    prefill_progress: Callable[[int, int], object] | None
    """Called with (done, total) tokens of the prompt, of those that were not in the cache; what it
    raises ends the reply."""


class Phase(str, enum.Enum):
    """The part of the exchange that a token belongs to."""

    PROMPT = "prompt"
    THOUGHT = "thought"
    ANSWER = "answer"


class EventKind(str, enum.Enum):
    """What an event tells."""

    TOKEN = "token"
    THOUGHT_BEGIN = "thought_begin"
    THOUGHT_END = "thought_end"
    ANSWER_END = "answer_end"
    DONE = "done"


class ThoughtEnd(str, enum.Enum):
    """How a thought ended."""

    NONE = "none"
    CLOSED = "closed"
    BUDGET = "budget"
    STOPPED = "stopped"
    TRUNCATED = "truncated"
    SKIPPED = "skipped"
    EOS = "eos"


class AnswerEnd(str, enum.Enum):
    """How an answer ended."""

    NONE = "none"
    COMPLETE = "complete"
    STOP_STRING = "stop_string"
    LENGTH = "length"
    CANCELLED = "cancelled"
    CONTEXT_FULL = "context_full"


@dataclass(frozen=True)
class Event:
    """One step of a reply. The texts of all events of a phase, joined, are the phase's text."""

    kind: EventKind
    phase: Phase
    text: str
    """Whole characters, often none."""
    token: int | None
    logprob: float | None
    """Of `token`: natural logarithm, under the model's own logits."""
    forced: bool
    """The engine wrote the token, not the model."""
    thought_end: ThoughtEnd
    answer_end: AnswerEnd

    def to_delta(self) -> dict[str, str]:
        """The `delta` that servers stream of it: its text as `reasoning_content` or `content`; empty
        without text."""
        if not self.text:
            return {}
        return {"reasoning_content" if self.phase is Phase.THOUGHT else "content": self.text}


@dataclass(frozen=True)
class Usage:
    """Tokens and seconds of a reply. Every token of a reply counts once: thought, answer or control
    (delimiters that begin or end a thought, and the end of the sentence)."""

    prompt_tokens: int
    cached_tokens: int
    """Of the prompt's: already in the key-value cache."""
    thought_tokens: int
    answer_tokens: int
    control_tokens: int
    forced_tokens: int
    """Of the last three: written by the engine."""
    draft_tokens: int
    """Guessed and read ahead; see `Session`."""
    accepted_tokens: int
    """Of these: written."""
    prefill_seconds: float
    thought_seconds: float
    answer_seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The `usage` that servers tell."""
        completion_tokens = self.thought_tokens + self.answer_tokens + self.control_tokens
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": self.prompt_tokens + completion_tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
            "completion_tokens_details": {"reasoning_tokens": self.thought_tokens},
        }


@dataclass(frozen=True)
class Reply:
    """A thought and an answer, without white space at their ends."""

    thought: str
    answer: str
    thought_end: ThoughtEnd
    answer_end: AnswerEnd
    usage: Usage

    def to_message(self) -> dict[str, str]:
        """The message that servers make of it, with the thought in `reasoning_content`."""
        return {"role": "assistant", "content": self.answer, "reasoning_content": self.thought}


@dataclass(frozen=True)
class Ballot(Reply):
    """A voter's reply. What it shares with others, such as the prompt and the time of steps made
    together, is in the `usage` of each."""

    choice: str
    """What its answer has in \\boxed{}, in one spelling; "" if nothing."""


@dataclass(frozen=True)
class Vote:
    """Many answers to one prompt, and the choice of most of them."""

    winner: str
    """"" if none made a choice."""
    n_votes: int
    """For the winner."""
    ballots: list[Ballot]


@dataclass(frozen=True)
class Message:
    """A message of the conversation: `role` is system, user or assistant."""

    role: str
    content: str
    reasoning_content: str = ""
    """What an assistant thought before it, if anything."""


@dataclass(frozen=True)
class ModelInfo:
    """Facts of a model, as `pensee_model_info` has them."""

    architecture: str
    kernels: str
    n_threads: int
    n_layers: int
    hidden_size: int
    vocab_size: int
    max_context_length: int
    n_routed_experts: int
    num_experts_per_tok: int
    weights_bytes: int
    can_think: bool
    has_chat_template: bool
    thought_open: str
    thought_close: str


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes that a checkpoint would need."""

    weights_bytes: int
    """Mapped from the files, shared by all sessions."""
    converted_bytes: int
    """Copied from them: scales and vectors; likewise."""
    session_bytes: int
    """Of each session; committed as tokens arrive."""
