from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

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


async def assert_cancelled(task: asyncio.Task[object]) -> None:
    """Cancels a task whose thread is to end soon, or never to begin."""
    task.cancel()
    await asyncio.wait([task], timeout=20)
    assert task.cancelled()


def test_a_task_cancelled_before_its_reply_begins(
    session: pensee.Session, endless: pensee.ReplyOptions
) -> None:
    async def stream() -> None:
        async for _ in session.astream(QUESTION, **endless):
            pass

    async def run(use: Callable[[], Coroutine[None, None, object]], n_messages: int) -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        free = threading.Event()
        other = loop.run_in_executor(None, free.wait)
        try:
            task = asyncio.create_task(use())
            await asyncio.sleep(0)
            await assert_cancelled(task)
            assert not session.is_replying
        finally:
            free.set()
        await other
        await loop.run_in_executor(None, lambda: None)
        assert len(session.messages) == n_messages

    asyncio.run(run(lambda: session.aask(QUESTION, temperature=0, max_tokens=1), 0))
    asyncio.run(run(stream, 1))
    session.reset()
    assert "\\boxed{42}" in session.ask(QUESTION, temperature=0).answer


def test_a_thread_that_is_free_just_after_the_task_was_cancelled(session: pensee.Session) -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        pool = ThreadPoolExecutor(1)
        loop.set_default_executor(pool)
        free = threading.Event()
        pool.submit(free.wait)

        def go_on() -> None:
            free.set()
            pool.submit(lambda: None).result()

        task = asyncio.create_task(session.aask(QUESTION, temperature=0))
        await asyncio.sleep(0)
        task.cancel()
        loop.call_soon(go_on)
        await assert_cancelled(task)

    asyncio.run(run())
    assert session.messages == []
    assert session.reply.thought_end is ThoughtEnd.NONE


def test_a_cancelled_task_leaves_the_conversation(
    session: pensee.Session, endless: pensee.ReplyOptions
) -> None:
    session.ask(QUESTION, temperature=0)
    before = session.messages

    async def run() -> None:
        loop = asyncio.get_running_loop()
        begun = asyncio.Event()
        endless["prefill_progress"] = lambda _done, _total: loop.call_soon_threadsafe(begun.set)
        task = asyncio.create_task(session.aask("What is 5 + 6?", **endless))
        await begun.wait()
        await assert_cancelled(task)
        assert session.messages == before
        assert "11" in (await session.aask("What is 5 + 6?", temperature=0)).answer

    asyncio.run(run())


def test_a_task_cancelled_while_its_prompt_is_added(
    session: pensee.Session, endless: pensee.ReplyOptions
) -> None:
    begun, free = threading.Event(), threading.Event()

    class Slow(dict[str, str]):
        def get(self, key: str, default: object = None) -> Any:
            begun.set()
            free.wait()
            return super().get(key, default)

    async def run() -> None:
        prompt = [Slow(role="user", content=QUESTION)]
        task = asyncio.create_task(session.aask(prompt, **endless))
        await asyncio.to_thread(begun.wait)
        task.cancel()
        await asyncio.sleep(0)
        free.set()
        await assert_cancelled(task)

    asyncio.run(run())
    assert session.messages == []
    assert session.reply.usage.thought_tokens == 0


def test_a_task_cancelled_when_it_does_not_know_that_its_reply_has_ended(
    session: pensee.Session,
) -> None:
    async def run(use: Callable[[], object]) -> None:
        pool = ThreadPoolExecutor(1)
        asyncio.get_running_loop().set_default_executor(pool)
        task = asyncio.create_task(session.aask(QUESTION, temperature=0))
        await asyncio.sleep(0)
        pool.submit(lambda: None).result()
        assert len(session.messages) == 2
        use()
        await assert_cancelled(task)

    asyncio.run(run(lambda: None))
    assert session.messages == []
    # What others have said since then stays.
    asyncio.run(run(lambda: session.ask("What is 5 + 6?", temperature=0)))
    assert len(session.messages) == 4


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
