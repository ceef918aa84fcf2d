from __future__ import annotations

import gc
import json
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pensee
import pytest
from conftest import QUESTION
from pensee import AnswerEnd, EventKind, Phase, ThoughtEnd

if TYPE_CHECKING:
    from typing_extensions import Unpack


def test_a_whole_reply(model: pensee.Model) -> None:
    reply = model.ask(QUESTION, temperature=0)
    assert "\\boxed{42}" in reply.answer
    assert "12" in reply.thought and "<think>" not in reply.thought
    assert reply.thought_end is ThoughtEnd.CLOSED
    assert reply.answer_end is AnswerEnd.COMPLETE
    usage = reply.usage
    assert usage.prompt_tokens > 5 and usage.thought_tokens > 10 and usage.answer_tokens > 3
    assert usage.prefill_seconds > 0 and usage.thought_seconds > 0 and usage.answer_seconds > 0
    assert reply.to_message() == {
        "role": "assistant",
        "content": reply.answer,
        "reasoning_content": reply.thought,
    }


def test_events_joined_are_the_reply(model: pensee.Model) -> None:
    reply = model.ask(QUESTION, temperature=0)
    events = list(model.stream(QUESTION, temperature=0))
    texts = {phase: "".join(e.text for e in events if e.phase is phase) for phase in Phase}
    assert texts[Phase.THOUGHT].strip() == reply.thought
    assert texts[Phase.ANSWER].strip() == reply.answer
    assert events[-1].kind is EventKind.DONE
    ends = [e for e in events if e.kind is EventKind.THOUGHT_END]
    assert [e.thought_end for e in ends] == [ThoughtEnd.CLOSED]
    for event in events:
        assert (event.token is None) == (event.logprob is None)
        assert event.logprob is None or event.logprob <= 0
        assert not event.forced


def test_a_conversation(session: pensee.Session) -> None:
    first = session.ask(QUESTION, temperature=0)
    assert [(m.role, m.content) for m in session.messages] == [
        ("user", QUESTION),
        ("assistant", first.answer),
    ]
    session.ask("What is 5 + 6?", temperature=0)
    assert session.reply.usage.cached_tokens > 0
    assert len(session.messages) == 4
    session.rewind(2)
    assert len(session.messages) == 2
    with pytest.raises(pensee.InvalidArgumentError):
        session.rewind(3)
    with pytest.raises(pensee.InvalidArgumentError):
        session.rewind(-1)
    session.reset()
    assert session.messages == []


def test_messages_as_a_prompt(model: pensee.Model) -> None:
    session = model.session()
    session.ask(
        [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "What is 1 + 1?"},
            {"role": "assistant", "content": "2", "reasoning_content": "left out"},
            {"role": "user", "content": QUESTION},
        ],
        temperature=0,
        max_tokens=4,
        thinking=False,
    )
    assert [m.role for m in session.messages][:4] == ["system", "user", "assistant", "user"]
    assert "left out" not in model.tokenizer.decode(session.tokens)
    assert session.messages[2].reasoning_content == "left out"
    with pytest.raises(pensee.InvalidArgumentError, match="role"):
        session.add_message("tool", "x")
    with pytest.raises(pensee.InvalidArgumentError, match="role.*found None"):
        session.ask([{"content": "x"}])
    with pytest.raises(pensee.InvalidArgumentError, match="content.*found 3"):
        session.ask([{"role": "user", "content": 3}])  # type: ignore[dict-item] # pyright: ignore
    with pytest.raises(pensee.InvalidArgumentError, match="UTF-8"):
        session.add_message("user", "\udcff")


def test_thoughts_of_the_past_stay_where_asked(model: pensee.Model) -> None:
    session = model.session()
    first = session.ask(QUESTION, temperature=0)
    assert session.messages[1] == pensee.Message("assistant", first.answer, first.thought)
    n_tokens = len(session.tokens)
    kept = session.ask("What is 5 + 6?", temperature=0, history="keep", max_tokens=4)
    assert kept.usage.cached_tokens >= n_tokens - 1
    for name in ("reasoning_content", "reasoning"):
        messages: list[dict[str, str | None]] = [
            {"role": "user", "content": QUESTION},
            {"role": "assistant", "content": first.answer, name: first.thought},
            {"role": "user", "content": "What is 5 + 6?"},
        ]
        again = model.session().ask(messages, temperature=0, history="keep", max_tokens=4)
        assert again.usage.prompt_tokens == kept.usage.prompt_tokens
    with pytest.raises(pensee.InvalidArgumentError, match="history.*strip.*found 'all'"):
        session.ask(QUESTION, history="all")  # type: ignore[arg-type] # pyright: ignore
    with pytest.raises(pensee.InvalidArgumentError, match="reasoning_content: expected none"):
        session.add_message("user", "x", "a thought")
    with pytest.raises(pensee.InvalidArgumentError, match="thought: not UTF-8"):
        session.add_message("assistant", "x", "\udcff")


def test_stop_strings_in_the_thought(model: pensee.Model) -> None:
    reply = model.session().ask(QUESTION, temperature=0, stop=["+"], stop_in_thought=True)
    assert reply.thought_end is pensee.ThoughtEnd.STOPPED
    assert reply.answer_end is pensee.AnswerEnd.STOP_STRING
    assert "+" not in reply.thought and not reply.answer


def test_a_vote(model: pensee.Model) -> None:
    session = model.session()
    vote = session.vote(QUESTION, voters=5, seed=3, temperature=1.3, max_tokens=200)
    assert len(vote.ballots) == 5
    choices = [b.choice for b in vote.ballots if b.choice]
    assert vote.n_votes == choices.count(vote.winner) == max(map(choices.count, choices))
    elected = next(b for b in vote.ballots if b.choice == vote.winner)
    parts = ("thought", "answer", "thought_end", "answer_end", "usage")
    for part in parts:
        assert getattr(session.reply, part) == getattr(elected, part)
    for ballot in vote.ballots:
        assert ballot.thought_end is not pensee.ThoughtEnd.NONE
        assert ballot.usage.prompt_tokens == session.reply.usage.prompt_tokens
        assert 0 < ballot.usage.thought_tokens <= 200
    assert [m.role for m in session.messages] == ["user", "assistant"]
    alone = model.session()
    alone.add_message("user", QUESTION)
    alone.start(temperature=1.3, max_tokens=200)
    alone.prefill()
    alone.reseed(4)
    assert alone.answer() == vote.ballots[1].answer
    # Answers to one thought.
    thought = session.think("What is 5 + 6?", temperature=1)
    assert {b.thought for b in session.vote(voters=3).ballots} == {thought}
    # What raises leaves the conversation as it was.
    with pytest.raises(pensee.InvalidArgumentError, match="voters"):
        session.vote(QUESTION, voters=0)
    with pytest.raises(ZeroDivisionError):
        session.vote(QUESTION, voters=2, prefill_progress=lambda _done, _total: 1 // 0)
    assert len(session.messages) == 4 and not session.is_replying
    with pytest.raises(pensee.WrongStateError):
        session.vote()
    with pytest.raises(TypeError, match="options"):
        session.vote(max_tokens=3)
    with pytest.raises(pensee.InvalidArgumentError, match="seed"):
        session.vote(QUESTION, seed=-1)
    with pytest.raises(pensee.InvalidArgumentError, match="voters"):
        session.vote(QUESTION, voters=2**40)


def test_progress_is_told_however_late_the_prompt_is_read(session: pensee.Session) -> None:
    calls: list[int] = []
    # Nothing but the session holds the function.
    session.add_message("user", QUESTION)
    session.start(prefill_progress=lambda done, _total: calls.append(done))
    with pytest.raises(pensee.InvalidArgumentError, match="voters"):
        session.vote(voters=0)
    session.answer()
    assert calls
    calls.clear()
    assert session.think("1 + 1", thinking=False, prefill_progress=lambda d, _t: calls.append(d)) == ""
    assert session.vote(voters=2).ballots[0].thought == ""
    assert calls
    calls.clear()
    session.add_message("user", QUESTION)
    session.start(thinking=False, max_tokens=2, prefill_progress=lambda d, _t: calls.append(d))
    while session.is_replying:
        pensee.step_many([session])
    assert calls


def test_a_call_that_raises_leaves_the_conversation(session: pensee.Session) -> None:
    session.add_message("system", "Be brief.")
    with pytest.raises(pensee.ContextFullError):
        session.ask("1 " * 5000)
    with pytest.raises(pensee.InvalidArgumentError, match="top_p"):
        session.think(QUESTION, top_p=2)
    with pytest.raises(pensee.InvalidArgumentError, match="content"):
        session.ask([{"role": "user", "content": "x"}, {"role": "user"}])
    assert [m.role for m in session.messages] == ["system"]
    assert not session.is_replying
    with pytest.raises(pensee.WrongStateError):
        session.answer()
    with pytest.raises(pensee.WrongStateError):
        session.step()


def test_a_second_prompt_during_a_reply_changes_nothing(session: pensee.Session) -> None:
    thought = session.think(QUESTION, temperature=0)
    with pytest.raises(pensee.WrongStateError):
        session.ask("Another")
    with pytest.raises(pensee.WrongStateError):
        session.think()
    assert session.is_replying
    assert session.reply.thought == thought
    assert "\\boxed{42}" in session.answer()


def test_the_thought_and_then_the_answer(model: pensee.Model, session: pensee.Session) -> None:
    whole = model.ask(QUESTION, temperature=0)
    assert session.think(QUESTION, temperature=0) == whole.thought
    fork = session.fork()
    assert session.answer() == fork.answer() == whole.answer
    session.add_message("user", QUESTION)
    session.start(temperature=0)
    session.think()
    assert session.reply.thought_end is ThoughtEnd.CLOSED
    with pytest.raises(TypeError, match="options"):
        session.think(temperature=0)


def test_forks_with_seeds_go_their_own_ways(session: pensee.Session) -> None:
    session.add_message("user", QUESTION)
    session.start(temperature=5.0, max_tokens=30)
    session.prefill()
    forks = [session.fork(seed=seed) for seed in (1, 2, 1)]
    texts: list[str] = []
    for fork in forks:
        fork.think()
        fork.cancel()
        fork.answer()
        texts.append(fork.reply.thought)
    assert texts[0] == texts[2] != texts[1]
    session.reset()
    replies = [
        session.fork(seed=seed).ask(QUESTION, temperature=5.0, max_tokens=30).thought
        for seed in (1, 2, 1)
    ]
    assert replies[0] == replies[2] != replies[1]


def test_controls(model: pensee.Model) -> None:
    reply = model.ask(QUESTION, temperature=0, thinking_token_budget=5, budget_message="\nEnough.")
    assert reply.thought_end is ThoughtEnd.BUDGET
    assert reply.thought.endswith("Enough.")
    assert reply.usage.forced_tokens > 0
    reply = model.ask(QUESTION, temperature=0, thinking=False)
    assert reply.thought == "" and reply.thought_end is ThoughtEnd.SKIPPED
    assert model.ask(QUESTION, temperature=0, thinking=True).thought != ""
    reply = model.ask(QUESTION, temperature=0, max_answer_tokens=2)
    assert reply.answer_end is AnswerEnd.LENGTH and reply.usage.answer_tokens == 2
    reply = model.ask(QUESTION, temperature=0, max_tokens=3)
    assert reply.thought_end is ThoughtEnd.TRUNCATED
    reply = model.ask(QUESTION, temperature=0, stop=(text for text in ["\\boxed"]))
    assert reply.answer_end is AnswerEnd.STOP_STRING and "boxed" not in reply.answer
    reply = model.ask(
        QUESTION, temperature=0, min_thought_tokens=200, extension_text="Wait", max_extensions=1
    )
    assert "Wait" in reply.thought


def test_the_words_of_requests_to_servers(model: pensee.Model) -> None:
    def end_of(**options: Unpack[pensee.ReplyOptions]) -> ThoughtEnd:
        options["temperature"] = 0
        options["max_tokens"] = 2
        return model.ask(QUESTION, **options).thought_end

    skipped, truncated = ThoughtEnd.SKIPPED, ThoughtEnd.TRUNCATED
    assert end_of(thinking="off") is skipped
    assert end_of(thinking="on") is truncated
    assert end_of(thinking="auto") is truncated
    assert end_of(thinking={"type": "disabled"}) is skipped
    assert end_of(thinking={"type": "enabled"}) is truncated
    assert end_of(chat_template_kwargs={"enable_thinking": False}) is skipped
    assert end_of(chat_template_kwargs={"enable_thinking": True}) is truncated
    assert end_of(chat_template_kwargs={"enable_thinking": False}, thinking=True) is truncated
    assert end_of(reasoning_effort="none") is skipped
    assert end_of(reasoning_effort="none", thinking=True) is truncated
    assert end_of(reasoning_effort="high", thinking={"type": "disabled"}) is skipped
    assert end_of(reasoning_effort="low", thinking_token_budget=1) is ThoughtEnd.BUDGET
    thought = model.ask(
        QUESTION, temperature=0, reasoning_effort="low",
        min_thought_tokens=1_000_000, max_extensions=1_000_000,
    )  # fmt: skip
    assert thought.thought_end is ThoughtEnd.BUDGET
    assert thought.usage.thought_tokens == 1024


def test_the_form_of_the_answer(model: pensee.Model) -> None:
    free = model.ask(QUESTION, temperature=0)
    schema = {
        "type": "object",
        "properties": {"result": {"type": "integer"}, "sure": {"type": "boolean"}},
        "required": ["result", "sure"],
    }
    formats = {"type": "json_schema", "json_schema": {"name": "r", "schema": schema}}
    given: list[pensee.ReplyOptions] = [
        {"temperature": 0, "answer_json_schema": schema},
        {"temperature": 0, "answer_json_schema": json.dumps(schema)},
        {"temperature": 0, "response_format": formats},
    ]
    for options in given:
        reply = model.ask(QUESTION, **options)
        assert reply.thought == free.thought and reply.answer_end is AnswerEnd.COMPLETE
        answer = json.loads(reply.answer)
        assert list(answer) == ["result", "sure"] and isinstance(answer["result"], int)
    reply = model.ask(QUESTION, temperature=0, answer_grammar='root ::= "\\\\boxed{" [0-9]+ "}"')
    assert reply.answer == "\\boxed{42}"
    anything = model.ask(QUESTION, temperature=0, response_format={"type": "text"})
    assert anything.answer == free.answer
    some = model.ask(
        QUESTION, temperature=0, response_format={"type": "json_object"}, max_answer_tokens=8
    )
    assert some.answer.startswith("{")


def test_replies_in_the_words_of_servers(model: pensee.Model) -> None:
    session = model.session()
    events = list(session.stream(QUESTION, temperature=0))
    deltas = [event.to_delta() for event in events]
    reply = session.reply
    for key, text in (("reasoning_content", reply.thought), ("content", reply.answer)):
        assert "".join(delta.get(key, "") for delta in deltas).strip() == text
    usage = reply.usage.to_dict()
    n_tokens = len([event for event in events if event.token is not None])
    assert usage["completion_tokens"] == n_tokens
    assert usage["total_tokens"] == usage["prompt_tokens"] + n_tokens == len(session.tokens)
    assert usage["completion_tokens_details"] == {"reasoning_tokens": reply.usage.thought_tokens}
    assert usage["prompt_tokens_details"] == {"cached_tokens": 0}


def test_samplers(model: pensee.Model) -> None:
    def tokens(**options: float) -> list[int | None]:
        events = model.stream(QUESTION, max_tokens=40, **options)  # type: ignore[arg-type]
        return [event.token for event in events]

    assert tokens(temperature=3, seed=7) == tokens(temperature=3, seed=7)
    assert tokens(temperature=3, seed=7) != tokens(temperature=3, seed=8)
    assert tokens(temperature=3, top_k=1, seed=1) == tokens(temperature=0)
    assert tokens(temperature=3, top_p=1e-6, seed=1) == tokens(temperature=0)
    assert tokens(temperature=3, min_p=1.0, seed=1) == tokens(temperature=0)
    assert tokens(temperature=0, repetition_penalty=5.0) != tokens(temperature=0)
    assert tokens(temperature=0, frequency_penalty=2, presence_penalty=2) != []
    greedy = model.ask(QUESTION, temperature=0)
    mixed = model.ask(
        QUESTION, temperature=0, answer_sampler={"temperature": 50.0, "seed": 3}, max_tokens=200
    )
    assert mixed.thought == greedy.thought and mixed.answer != greedy.answer


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"nonsense": 1}, TypeError, "nonsense"),
        ({"thinking": {"type": "on"}}, pensee.InvalidArgumentError, "thinking.type: expected one of"),
        ({"thinking": {}}, pensee.InvalidArgumentError, "thinking: expected a mapping with 'type'"),
        ({"reasoning_effort": "much"}, pensee.InvalidArgumentError, "'high'], found 'much'"),
        ({"chat_template_kwargs": {"x": 1}}, pensee.InvalidArgumentError, "'enable_thinking' alone"),
        ({"chat_template_kwargs": {"enable_thinking": 1}}, pensee.InvalidArgumentError, "found 1"),
        ({"thinking": "maybe"}, pensee.InvalidArgumentError, "['auto', 'on', 'off'], found 'maybe'"),
        ({"thinking": 1}, TypeError, 'thinking: expected True, False, "auto", "on", "off" or None'),
        ({"max_tokens": "1"}, TypeError, "max_tokens: expected an integer, found str"),
        ({"max_tokens": 2**70}, OverflowError, ""),
        ({"max_tokens": -7}, pensee.InvalidArgumentError, "max_tokens"),
        ({"temperature": "hot"}, TypeError, "temperature: expected a number, found str"),
        ({"temperature": float("nan")}, pensee.InvalidArgumentError, "temperature"),
        ({"top_k": 2**40}, pensee.InvalidArgumentError, "top_k"),
        ({"seed": -1}, OverflowError, ""),
        ({"stop": "text"}, TypeError, "stop: expected a sequence of str"),
        ({"stop": [1]}, TypeError, "stop: expected a str, found int"),
        ({"stop": ["a\0b"]}, pensee.InvalidArgumentError, "NUL"),
        ({"stop": ["\ud800"]}, pensee.InvalidArgumentError, "stop"),
        ({"budget_message": 1}, TypeError, "budget_message"),
        ({"extension_text": "\ud800"}, pensee.InvalidArgumentError, "extension_text"),
        ({"answer_grammar": 1}, TypeError, "answer_grammar: expected a str"),
        ({"answer_grammar": "root ::= ("}, pensee.InvalidArgumentError, "answer_grammar: line 1"),
        ({"answer_grammar": ""}, pensee.InvalidArgumentError, "found an empty one"),
        ({"answer_json_schema": 1}, TypeError, "answer_json_schema: expected a str"),
        ({"answer_json_schema": {"a": b""}}, pensee.InvalidArgumentError, "expected JSON"),
        ({"answer_json_schema": {"not": {}}}, pensee.UnsupportedError, '"not"'),
        ({"response_format": {"type": "xml"}}, pensee.InvalidArgumentError, "response_format.type"),
        ({"response_format": 1}, pensee.InvalidArgumentError, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, pensee.InvalidArgumentError, '"schema"'),
        ({"answer_sampler": 1}, TypeError, "answer_sampler: expected a dict"),
        ({"answer_sampler": {1: 0.5}}, TypeError, "answer_sampler: expected names of type str"),
        ({"answer_sampler": {"x": 1}}, TypeError, "answer_sampler: unexpected key 'x'"),
        ({"prefill_progress": 1}, TypeError, "prefill_progress: expected a function"),
    ],
)
def test_wrong_options(
    session: pensee.Session, options: pensee.ReplyOptions, error: type[Exception], text: str
) -> None:
    with pytest.raises(error) as raised:
        session.ask(QUESTION, **options)
    assert text in str(raised.value)
    assert session.messages == []


def test_none_is_not_given(model: pensee.Model) -> None:
    plain = model.ask(QUESTION, temperature=0)
    nones = model.ask(
        QUESTION, temperature=0, thinking=None, max_tokens=None, stop=None, answer_sampler=None,
        budget_message=None, seed=None, prefill_progress=None,
    )  # fmt: skip
    assert (nones.thought, nones.answer) == (plain.thought, plain.answer)


def test_progress_of_a_prompt(model: pensee.Model) -> None:
    session = model.session(prefill_chunk=8)
    seen: list[tuple[int, int]] = []
    prompt = "1 + 1 " * 20
    session.ask(prompt, max_tokens=1, prefill_progress=lambda done, total: seen.append((done, total)))
    assert len(seen) > 2 and seen[-1][0] == seen[-1][1]

    def fail(done: int, _: int) -> None:
        if done >= 16:
            raise ZeroDivisionError

    session.reset()
    with pytest.raises(ZeroDivisionError):
        session.ask("2 + 2 " * 20, prefill_progress=fail)
    assert not session.is_replying and session.messages == []
    session.add_message("user", "3 + 3 " * 20)
    session.start(prefill_progress=fail, max_tokens=5)
    fork = session.fork()
    for one in (session, fork):
        with pytest.raises(ZeroDivisionError):
            one.step()
        assert not one.is_replying
    assert "\\boxed{42}" in model.ask(QUESTION, temperature=0).answer


def test_ready_prompts(model: pensee.Model, session: pensee.Session) -> None:
    whole = model.session()
    reply = whole.ask(QUESTION, temperature=0)
    prompt = whole.tokens[: reply.usage.prompt_tokens]
    session.start_tokens(prompt, temperature=0)
    assert session.answer() == reply.answer
    assert session.tokens == whole.tokens
    session.start_text(model.tokenizer.decode(prompt), temperature=0)
    session.answer()
    assert session.reply.answer == reply.answer
    assert session.messages == []


def test_a_thought_that_is_not_there(session: pensee.Session) -> None:
    expected = session.ask(QUESTION, temperature=0, thinking=False)
    session.reset()
    assert session.think(QUESTION, temperature=0, thinking=False) == ""
    assert session.answer() == expected.answer
    assert session.reply.thought_end is ThoughtEnd.SKIPPED
    with pytest.raises(pensee.WrongStateError):
        session.think()


def test_a_stream_left_behind_cancels_no_later_reply(session: pensee.Session) -> None:
    left = session.stream(QUESTION, temperature=0)
    while next(left).kind is not EventKind.THOUGHT_END:
        pass
    answer = session.answer()
    session.add_message("user", QUESTION)
    session.start(temperature=0)
    session.step()
    del left
    assert session.is_replying
    session.reset()
    left = session.stream(QUESTION, temperature=0)
    next(left)
    session.close()
    left.close()
    assert "\\boxed{42}" in answer


def test_leaving_a_loop_early_cancels(session: pensee.Session) -> None:
    for event in session.stream(QUESTION, temperature=0):
        if event.kind is EventKind.TOKEN:
            break
    assert not session.is_replying
    assert session.reply.thought_end is ThoughtEnd.STOPPED
    assert "\\boxed{42}" in session.ask(QUESTION, temperature=0).answer


def test_several_sessions_step_together(model: pensee.Model) -> None:
    questions = [QUESTION, "What is 7 + 8?", "What is 3 * 4?"]
    expected = [model.ask(question, temperature=0).answer for question in questions]
    sessions = [model.session() for _ in questions]
    for session, question in zip(sessions, questions):
        session.add_message("user", question)
        session.start(temperature=0)
    left = list(sessions)
    while left:
        events = pensee.step_many(left)
        left = [s for s, event in zip(left, events) if event.kind is not EventKind.DONE]
    assert [session.reply.answer for session in sessions] == expected
    with pytest.raises(pensee.WrongStateError) as done:
        pensee.step_many(sessions)
    assert list(done.value.events) == [None, None, None]
    sessions[1].add_message("user", QUESTION)
    sessions[1].start(temperature=0)
    with pytest.raises(pensee.WrongStateError) as mixed:
        pensee.step_many(sessions)
    first, second, third = mixed.value.events
    assert first is None and third is None and second is not None
    sessions[1].answer()
    assert sessions[1].reply.thought.startswith(second.text.strip())
    with pytest.raises(pensee.WrongStateError):
        pensee.step_many([sessions[0], sessions[0]])
    assert pensee.step_many([]) == []


def test_what_one_callback_raises_ends_one_reply(model: pensee.Model) -> None:
    def fail(done: int, total: int) -> None:
        raise RuntimeError("of one session")

    sessions = [model.session() for _ in range(3)]
    calls: list[int] = []

    def note(done: int, total: int) -> None:
        calls.append(done)

    functions: list[Callable[[int, int], None] | None] = [None, fail, note]
    for session, progress in zip(sessions, functions):
        session.add_message("user", QUESTION)
        session.start(temperature=0, prefill_progress=progress)
    with pytest.raises(RuntimeError, match="of one session") as raised:
        pensee.step_many(sessions)
    first, second, third = raised.value.events  # type: ignore[attr-defined]
    assert first is not None and second is None and third == first
    assert calls
    assert [session.is_replying for session in sessions] == [True, False, True]
    assert sessions[1].reply.answer_end is AnswerEnd.CANCELLED
    sessions[0].answer()
    sessions[2].answer()
    assert sessions[0].reply.answer == sessions[2].reply.answer


def test_a_fork_that_has_read_its_prompt_goes_on(session: pensee.Session) -> None:
    fails = False

    def progress(done: int, total: int) -> None:
        if fails:
            raise RuntimeError("too late for the fork")

    session.add_message("user", QUESTION)
    session.start(temperature=0, prefill_progress=progress)
    fork = session.fork()
    fork.prefill()
    fails = True
    with pytest.raises(RuntimeError, match="too late") as raised:
        pensee.step_many([session, fork])
    first, second = raised.value.events  # type: ignore[attr-defined]
    assert first is None and second is not None
    assert not session.is_replying
    assert "\\boxed{42}" in fork.answer()


def test_settings_that_are_none_are_as_if_not_given(session: pensee.Session) -> None:
    expected = session.ask(QUESTION, temperature=0)
    session.reset()
    again = session.ask(
        QUESTION, temperature=0, answer_sampler={"temperature": None, "top_k": None, "seed": None}
    )
    assert again.answer == expected.answer


def test_cache_types(model: pensee.Model) -> None:
    types: tuple[pensee.CacheType, ...] = ("bf16", "f32", "q8")
    sizes = {}
    for cache_type in types:
        with model.session(context_length=256, cache_type=cache_type) as session:
            session.ask("What is 5 + 6?", temperature=0)
            sizes[cache_type] = len(session.save())
    assert sizes["q8"] < sizes["bf16"] < sizes["f32"]
    with pytest.raises(pensee.InvalidArgumentError, match="cache_type: expected one of"):
        model.session(cache_type="q4")  # type: ignore[arg-type] # pyright: ignore


def test_save_and_restore(model: pensee.Model, session: pensee.Session, tmp_path: Path) -> None:
    session.ask(QUESTION, temperature=0)
    data = session.save()
    assert data is not None
    path = tmp_path / "saved"
    assert session.save(path) is None
    assert path.read_bytes() == data
    following = session.ask("What is 5 + 6?", temperature=0)
    for saved in (data, bytearray(data), path, str(path)):
        restored = model.restore(saved)
        assert len(restored.messages) == 2
        reply = restored.ask("What is 5 + 6?", temperature=0)
        assert (reply.thought, reply.answer) == (following.thought, following.answer)
        assert reply.usage.cached_tokens > 0
    with pytest.raises(pensee.CorruptFileError):
        model.restore(data[:-1])
    with pytest.raises(pensee.NotFoundError):
        model.restore(tmp_path / "nowhere")
    with pytest.raises(TypeError):
        model.restore(3)  # type: ignore[arg-type] # pyright: ignore


def test_sizes_of_a_session(model: pensee.Model) -> None:
    assert model.session(context_length=64).context_length == 64
    assert model.session().context_length == model.info.max_context_length
    with pytest.raises(pensee.InvalidArgumentError):
        model.session(context_length=-1)
    with pytest.raises(pensee.InvalidArgumentError):
        model.session(prefill_chunk=-1)
    with pytest.raises(pensee.InvalidArgumentError, match="speculation: expected one of"):
        model.session(speculation="on")  # type: ignore[arg-type] # pyright: ignore
    with pytest.raises(pensee.WrongStateError):
        model.session().logits()


def test_guesses_change_no_reply(model: pensee.Model) -> None:
    plain = model.session()
    guessing = model.session(speculation="prompt_lookup")
    by_layer = model.session(speculation="mtp")
    for session in (plain, guessing, by_layer):
        session.ask("What is 34 + 57?", temperature=0)
        # The same once more, after a whole reply to it.
        tokens = [*session.tokens, *session.tokens[: session.reply.usage.prompt_tokens]]
        session.start_tokens(tokens, temperature=0, max_tokens=100)
        session.answer()
    assert list(guessing.tokens) == list(plain.tokens) == list(by_layer.tokens)
    assert by_layer.reply.usage.draft_tokens > 0
    assert plain.reply.usage.draft_tokens == 0
    assert 0 < guessing.reply.usage.accepted_tokens <= guessing.reply.usage.draft_tokens
    restored = model.restore(guessing.save(), speculation="prompt_lookup")
    assert list(restored.tokens) == list(plain.tokens)


def test_a_closed_session_says_so(model: pensee.Model) -> None:
    with model.session() as session:
        session.ask(QUESTION, max_tokens=1)
    uses: list[Callable[[], object]] = [
        session.cancel, session.end_thinking, session.step, session.fork, session.save,
    ]  # fmt: skip
    for use in uses:
        with pytest.raises(pensee.WrongStateError, match="closed"):
            use()
    session.close()
    assert session.model is model


def test_a_progress_function_may_lead_to_its_session(model: pensee.Model) -> None:
    class Host:
        def __init__(self) -> None:
            self.session = model.session()
            self.calls = 0

        def progress(self, done: int, total: int) -> None:
            self.calls += 1

    for use in ("ask", "start", "step_many"):
        host = Host()
        gone = weakref.ref(host)
        if use == "ask":
            host.session.ask(QUESTION, max_tokens=1, prefill_progress=host.progress)
        else:
            host.session.start_text(QUESTION, max_tokens=1, prefill_progress=host.progress)
            if use == "step_many":
                pensee.step_many([host.session])
            else:
                host.session.reset()
        assert (host.calls > 0) == (use != "start")
        del host
        gc.collect()
        assert gone() is None
