from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pensee
import pytest
from conftest import QUESTION
from pensee import AnswerEnd, EventKind, ThoughtEnd


class Prefilled:
    """A `prefill_progress` that lets another thread act once the prompt is read."""

    def __init__(self, act: Callable[[], object]) -> None:
        self._read = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(act,))
        self._thread.start()

    def __call__(self, done: int, total: int) -> None:
        if done == total:
            self._read.set()

    def _run(self, act: Callable[[], object]) -> None:
        self._read.wait()
        act()

    def join(self) -> None:
        self._thread.join()


def test_many_threads_use_one_model(model: pensee.Model) -> None:
    questions = [f"What is {n} + 8?" for n in range(10, 18)]

    def ask(question: str) -> pensee.Reply:
        return model.ask(question, temperature=0)

    with ThreadPoolExecutor(4) as pool:
        replies = list(pool.map(ask, questions))
    assert [reply.answer for reply in replies] == [ask(question).answer for question in questions]


def test_a_model_closed_by_another_thread_lives_through_the_call() -> None:
    model = pensee.load(bundled=True, n_threads=1)
    expected = model.logits([1, 2, 3] * 300)

    def close(done: int, total: int) -> None:
        if done < total:
            closing = threading.Thread(target=model.close)
            closing.start()
            closing.join()

    assert (model.logits([1, 2, 3] * 300, progress=close) == expected).all()
    with pytest.raises(pensee.WrongStateError, match="closed"):
        model.logits([1])


def test_another_thread_cancels(session: pensee.Session, endless: pensee.ReplyOptions) -> None:
    prefilled = Prefilled(session.cancel)
    endless["prefill_progress"] = prefilled
    reply = session.ask(QUESTION, **endless)
    prefilled.join()
    assert reply.thought_end is ThoughtEnd.STOPPED
    assert reply.answer_end in (AnswerEnd.CANCELLED, AnswerEnd.NONE)


def test_another_thread_ends_the_thought(
    session: pensee.Session, endless: pensee.ReplyOptions
) -> None:
    prefilled = Prefilled(session.end_thinking)
    endless["prefill_progress"] = prefilled
    reply = session.ask(QUESTION, **endless)
    prefilled.join()
    assert reply.thought_end is ThoughtEnd.STOPPED
    assert reply.answer_end is AnswerEnd.COMPLETE


def test_one_thread_at_a_time(session: pensee.Session, endless: pensee.ReplyOptions) -> None:
    raised: list[BaseException] = []

    def use() -> None:
        for call in (lambda: session.messages, session.step, session.close):
            try:
                call()
            except pensee.WrongStateError as error:
                raised.append(error)
        session.cancel()

    prefilled = Prefilled(use)
    endless["prefill_progress"] = prefilled
    session.ask(QUESTION, **endless)
    prefilled.join()
    assert ["in use" in str(error) for error in raised] == [True] * 3


def test_a_callback_cannot_use_its_session(session: pensee.Session) -> None:
    with pytest.raises(pensee.WrongStateError, match="in use"):
        session.ask(QUESTION, prefill_progress=lambda _done, _total: session.messages)
    assert "\\boxed{42}" in session.ask(QUESTION, temperature=0).answer


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_ends_each_long_call(
    model: pensee.Model, session: pensee.Session, endless: pensee.ReplyOptions
) -> None:
    calls: list[Callable[[pensee.ReplyOptions], object]] = [
        lambda options: session.ask(QUESTION, **options),
        lambda options: session.think(QUESTION, **options),
        lambda options: list(session.stream(QUESTION, **options)),
        lambda options: list(model.stream(QUESTION, **options)),
    ]
    for call in calls:
        prefilled = Prefilled(interrupt)
        with pytest.raises(KeyboardInterrupt):
            call({**endless, "prefill_progress": prefilled})
        prefilled.join()
        assert not session.is_replying
    session.reset()
    assert "\\boxed{42}" in session.ask(QUESTION, temperature=0).answer


def test_ctrl_c_ends_a_prompt_and_a_load(model: pensee.Model) -> None:
    session = model.session(prefill_chunk=8)

    def press(done: int, _: int) -> None:
        if done == 16:
            interrupt()

    with pytest.raises(KeyboardInterrupt):
        session.ask("1 + 1 " * 50, prefill_progress=press)
    assert session.messages == [] and not session.is_replying
    with pytest.raises(KeyboardInterrupt):
        model.logits([1] * 1500, progress=lambda _done, _total: interrupt())
    with pytest.raises(KeyboardInterrupt):
        pensee.load(bundled=True, progress=lambda _: interrupt())


def test_ctrl_c_leaves_the_conversation(
    session: pensee.Session, endless: pensee.ReplyOptions
) -> None:
    session.ask(QUESTION, temperature=0)
    before = session.messages
    prefilled = Prefilled(interrupt)
    endless["prefill_progress"] = prefilled
    with pytest.raises(KeyboardInterrupt):
        session.ask("What is 5 + 6?", **endless)
    prefilled.join()
    assert session.messages == before


def test_async_replies(model: pensee.Model) -> None:
    expected = model.ask(QUESTION, temperature=0)

    async def run() -> None:
        session = model.session()
        kinds = [event.kind async for event in session.astream(QUESTION, temperature=0)]
        assert kinds[-1] is EventKind.DONE
        assert session.reply.answer == expected.answer
        texts = [event.text async for event in model.astream(QUESTION, temperature=0)]
        assert expected.thought in "".join(texts)
        replies = await asyncio.gather(*(model.aask(QUESTION, temperature=0) for _ in range(3)))
        assert {reply.answer for reply in replies} == {expected.answer}
        with pytest.raises(pensee.InvalidArgumentError):
            await model.aask(QUESTION, temperature=-1)

    asyncio.run(run())


def test_an_async_stream_left_early(model: pensee.Model) -> None:
    faults: list[object] = []

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
        async for _ in model.astream(QUESTION, temperature=0):
            break
        session = model.session()
        async with contextlib.aclosing(session.astream(QUESTION, temperature=0)) as events:
            async for _ in events:
                break
        assert not session.is_replying
        assert "42" in (await session.aask(QUESTION, temperature=0)).answer

    asyncio.run(run())
    assert not faults


def test_a_cancelled_task_cancels_its_reply(
    model: pensee.Model, endless: pensee.ReplyOptions
) -> None:
    async def run(use_stream: bool) -> None:
        session = model.session()
        loop = asyncio.get_running_loop()
        begun = asyncio.Event()

        def progress(done: int, total: int) -> None:
            if done == total:
                loop.call_soon_threadsafe(begun.set)

        async def use() -> None:
            endless["prefill_progress"] = progress
            if use_stream:
                async for _ in session.astream(QUESTION, **endless):
                    pass
            else:
                await session.aask(QUESTION, **endless)

        task = asyncio.create_task(use())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not session.is_replying
        session.reset()
        assert "\\boxed{42}" in (await session.aask(QUESTION, temperature=0)).answer

    asyncio.run(run(use_stream=True))
    asyncio.run(run(use_stream=False))


def test_ctrl_c_ends_a_run_of_asyncio(
    session: pensee.Session, endless: pensee.ReplyOptions
) -> None:
    async def stream() -> None:
        async for _ in session.astream(QUESTION, **endless):
            pass

    async def ask() -> None:
        await session.aask(QUESTION, **endless)

    for use in (stream, ask):
        prefilled = Prefilled(interrupt)
        endless["prefill_progress"] = prefilled
        with pytest.raises(KeyboardInterrupt):
            asyncio.run(use())
        prefilled.join()
        assert not session.is_replying
        session.reset()
    assert "\\boxed{42}" in session.ask(QUESTION, temperature=0).answer


def test_a_task_cancelled_before_its_reply_begins(
    session: pensee.Session, endless: pensee.ReplyOptions
) -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        free = threading.Event()
        other = loop.run_in_executor(None, free.wait)
        task = asyncio.create_task(session.aask(QUESTION, **endless))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        free.set()
        await other
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not session.is_replying

    asyncio.run(run())


def _use_after_fork(model: pensee.Model, session: pensee.Session) -> None:
    for use in (model.session, session.step, lambda: model.logits([1])):
        try:
            use()
        except pensee.WrongStateError as error:
            assert "forked" in str(error)
        else:
            os._exit(2)
    model.close()
    assert "\\boxed{42}" in pensee.load(bundled=True).ask(QUESTION, temperature=0).answer


def test_a_forked_process_is_told() -> None:
    model = pensee.load(bundled=True, n_threads=2)
    session = model.session()
    context = multiprocessing.get_context("fork")
    child = context.Process(target=_use_after_fork, args=(model, session))
    child.start()
    child.join(120)
    assert child.exitcode == 0
    assert "\\boxed{42}" in session.ask(QUESTION, temperature=0).answer
