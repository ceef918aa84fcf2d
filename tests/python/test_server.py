from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pensee
import pytest
from conftest import QUESTION

SERVER = Path(__file__).parents[2] / "examples" / "server"
sys.path.insert(0, str(SERVER))
import serving  # noqa: E402
import sessions  # noqa: E402
from outgoing import Trimmer  # noqa: E402

CHAT = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": QUESTION}]
# Replies that fill the context, as the model's own would not.
LONG = {"min_thought_tokens": 1_000_000, "max_extensions": 1_000_000, "thinking_token_budget": -1}


def running(model: pensee.Model, n_sessions: int) -> Generator[serving.Server, None, None]:
    server = serving.Server(model, "tiny", n_sessions=n_sessions)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.stop()
    thread.join()


@pytest.fixture
def server(model: pensee.Model) -> Generator[serving.Server, None, None]:
    yield from running(model, 2)


@pytest.fixture
def narrow(model: pensee.Model) -> Generator[serving.Server, None, None]:
    """A server that answers one request at a time."""
    yield from running(model, 1)


@pytest.fixture
def slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long replies take half a minute, and are under way when tests look."""
    step = pensee.Session.step

    def step_slowly(session: pensee.Session) -> pensee.Event:
        time.sleep(0.015)
        return step(session)

    monkeypatch.setattr(pensee.Session, "step", step_slowly)


def connect(server: serving.Server) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)


def call(
    server: serving.Server, method: str, path: str, body: bytes | None = None
) -> tuple[int, dict[str, Any]]:
    connection = connect(server)
    connection.request(method, path, body)
    response = connection.getresponse()
    assert response.headers["Content-Type"] == "application/json"
    return response.status, json.loads(response.read())


def ask(server: serving.Server, **fields: Any) -> dict[str, Any]:
    request = {"messages": MESSAGES, "temperature": 0, **fields}
    status, reply = call(server, "POST", CHAT, json.dumps(request).encode())
    assert status == 200, reply
    return reply


def open_stream(server: serving.Server, **fields: Any) -> http.client.HTTPResponse:
    request = {"messages": MESSAGES, "temperature": 0, "stream": True, **fields}
    connection = connect(server)
    connection.request("POST", CHAT, json.dumps(request))
    response = connection.getresponse()
    assert response.status == 200
    assert response.headers["Content-Type"] == "text/event-stream"
    return response


def read_events(response: http.client.HTTPResponse) -> list[Any]:
    """The chunks; the last is the word that ends a stream."""
    *events, rest = response.read().decode().split("\n\n")
    assert rest == "" and all(event.startswith("data: ") for event in events)
    texts = [event.removeprefix("data: ") for event in events]
    return [text if text == "[DONE]" else json.loads(text) for text in texts]


def busy(server: serving.Server) -> int:
    status, health = call(server, "GET", "/health")
    assert status == 200 and health["status"] == "ok"
    number: int = health["busy"]
    return number


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def test_a_whole_reply(server: serving.Server, model: pensee.Model) -> None:
    expected = model.ask(QUESTION, temperature=0)
    reply = ask(server)
    assert "\\boxed{42}" in reply["choices"][0]["message"]["content"]
    assert reply["object"] == "chat.completion" and reply["model"] == "tiny"
    assert reply["choices"] == [
        {"index": 0, "message": expected.to_message(), "finish_reason": "stop"}
    ]
    assert reply["usage"] == expected.usage.to_dict()
    assert reply["usage"]["completion_tokens_details"]["reasoning_tokens"] > 10
    assert ask(server)["id"] != reply["id"]


def test_a_stream_is_the_whole_reply(server: serving.Server, model: pensee.Model) -> None:
    whole = ask(server)
    *chunks, last, done = read_events(open_stream(server))
    assert done == "[DONE]"
    assert last["choices"] == [{"index": 0, "delta": {}, "finish_reason": "stop"}]
    assert {chunk["id"] for chunk in chunks} == {last["id"]}
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert not any("usage" in chunk for chunk in [*chunks, last])
    assert all(chunk["choices"][0]["finish_reason"] is None for chunk in chunks)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0] == {"role": "assistant"} and len(deltas) > 20
    for key in ("reasoning_content", "content"):
        assert "".join(delta.get(key, "") for delta in deltas) == whole["choices"][0]["message"][key]


def test_the_usage_of_a_stream(server: serving.Server) -> None:
    usage = ask(server)["usage"]
    *chunks, last, done = read_events(open_stream(server, stream_options={"include_usage": True}))
    assert done == "[DONE]" and last["choices"] == []
    assert all(chunk["usage"] is None for chunk in chunks)
    assert last["usage"]["completion_tokens"] == usage["completion_tokens"]
    assert last["usage"]["completion_tokens_details"] == usage["completion_tokens_details"]


def test_white_space_at_the_ends_of_streams() -> None:
    trimmer = Trimmer()
    texts = ["\n", " a", " \n", "b ", " ", "c\n", "\n"]
    assert [trimmer.trim({"content": text}).get("content") for text in texts] == [
        None, "a", None, " \nb", None, "  c", None,
    ]  # fmt: skip
    assert trimmer.trim({"reasoning_content": " d"}) == {"reasoning_content": "d"}


@pytest.mark.parametrize(
    "fields",
    [
        {"thinking": {"type": "disabled"}},
        {"chat_template_kwargs": {"enable_thinking": False}},
        {"reasoning_effort": "none"},
    ],
)
def test_no_thought(server: serving.Server, fields: dict[str, Any]) -> None:
    reply = ask(server, **fields)
    assert reply["choices"][0]["message"]["reasoning_content"] == ""
    assert reply["choices"][0]["message"]["content"]
    assert reply["usage"]["completion_tokens_details"] == {"reasoning_tokens": 0}


def test_controls(server: serving.Server) -> None:
    cut = ask(server, max_completion_tokens=5)
    assert cut["choices"][0]["finish_reason"] == "length"
    assert cut["usage"]["completion_tokens"] == 5
    assert ask(server, thinking=False, max_tokens=3)["choices"][0]["finish_reason"] == "length"
    short = ask(server, thinking_token_budget=5)
    assert short["usage"]["completion_tokens_details"]["reasoning_tokens"] <= 5
    stopped = ask(server, stop="boxed")["choices"][0]
    assert stopped["finish_reason"] == "stop" and "boxed" not in stopped["message"]["content"]
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    form = {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": schema}}
    formed = ask(server, response_format=form)["choices"][0]["message"]["content"]
    assert isinstance(json.loads(formed)["n"], int)
    # What changes nothing.
    plain = ask(server, max_tokens=1, n=1, tools=[], user="x", seed=None, model="tiny")
    assert plain["usage"]["completion_tokens"] == 1


def test_seeds(server: serving.Server) -> None:
    def text(**fields: Any) -> str:
        reply = ask(server, temperature=5, max_tokens=30, **fields)
        thought: str = reply["choices"][0]["message"]["reasoning_content"]
        return thought

    assert text(seed=1) == text(seed=1) != text(seed=2)
    assert text() != text()


def test_a_conversation(narrow: serving.Server) -> None:
    first = ask(narrow)
    messages = [*MESSAGES, first["choices"][0]["message"], {"role": "user", "content": "5 + 6"}]
    usage = ask(narrow, messages=messages)["usage"]
    assert usage["prompt_tokens_details"]["cached_tokens"] >= first["usage"]["prompt_tokens"] - 2
    parts = [{"type": "text", "text": "Be"}, {"type": "text", "text": "brief."}]
    for role, content in (("system", "Be\nbrief."), ("developer", parts)):
        briefed = [{"role": role, "content": content}, *messages]
        longer = ask(narrow, messages=briefed, max_tokens=1)["usage"]["prompt_tokens"]
        assert longer > usage["prompt_tokens"]
    assert ask(narrow, messages=briefed, max_tokens=1)["usage"]["prompt_tokens"] == longer
    kept = ask(narrow, messages=messages, history="keep", max_tokens=1)["usage"]
    assert kept["prompt_tokens"] > usage["prompt_tokens"]


def test_a_conversation_finds_its_session(server: serving.Server) -> None:
    """Another one in between uses the other session."""
    first = ask(server)["choices"][0]["message"]
    ask(server, messages=[{"role": "user", "content": "What is 7 * 8?"}])
    messages = [*MESSAGES, first, {"role": "user", "content": "5 + 6"}]
    ask(server, messages=messages, max_tokens=1)
    usage = ask(server, messages=messages, max_tokens=1)["usage"]
    assert usage["prompt_tokens_details"]["cached_tokens"] == usage["prompt_tokens"] - 1


def test_models(server: serving.Server) -> None:
    status, models = call(server, "GET", "/v1/models?x=1")
    assert status == 200 and models["object"] == "list"
    assert [(m["id"], m["object"]) for m in models["data"]] == [("tiny", "model")]


WRONG: list[tuple[Any, int, str | None, str]] = [
    (b"{", 400, None, "no JSON"),
    (b"\xff", 400, None, "no JSON"),
    (b"[" * 200_000, 400, None, "no JSON"),
    (b"[]", 400, None, "expected an object"),
    (b'{"temperature": NaN}', 400, None, "NaN"),
    ({"model": "other"}, 404, "model", "tiny"),
    ({"messages": None}, 400, "messages", "array"),
    ({"messages": []}, 400, "messages", "user"),
    ({"messages": ["x"]}, 400, "messages[0]", "object"),
    ({"messages": [{"role": "tool", "content": ""}]}, 400, "messages[0].role", "'tool'"),
    ({"messages": [{"role": ["user"], "content": ""}]}, 400, "messages[0].role", "['user']"),
    ({"messages": [{"role": "user"}]}, 400, "messages[0].content", "text"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400,
     "messages[0].content", "text"),
    ({"messages": [{"role": "user", "content": "\ud800"}]}, 400, None, "UTF-8"),
    ({"messages": [{"role": "assistant", "content": "x"}]}, 400, "messages", "user"),
    ({"messages": [{"role": "assistant", "content": "x", "reasoning": 1}, *MESSAGES]}, 400,
     "messages[0].reasoning", "text"),
    ({"messages": [{"role": "assistant", "content": "", "tool_calls": [{}]}, *MESSAGES]}, 400,
     "messages[0].tool_calls", "not supported"),
    ({"messages": [{"role": "user", "content": "1 " * 5000}]}, 400, "messages", "context"),
    ({"tools": [{"type": "function"}]}, 400, "tools", "not supported"),
    ({"n": 2}, 400, "n", "not supported"),
    ({"prefill_progress": 1}, 400, "prefill_progress", "not supported"),
    ({"stream": 1}, 400, "stream", "true or false"),
    ({"stream_options": []}, 400, "stream_options", "object"),
    ({"stream_options": {"include_usage": 1}}, 400, "stream_options.include_usage", "true"),
    ({"stream_options": 1}, 400, "stream_options", "object"),
    ({"temperature": "hot"}, 400, "temperature", "number"),
    ({"temperature": True}, 400, "temperature", "true"),
    ({"temperature": -1}, 400, "temperature", "temperature"),
    ({"max_tokens": 1.5}, 400, "max_tokens", "integer"),
    ({"max_tokens": 2**70}, 400, None, ""),
    ({"stop": {"a": 1}}, 400, "stop", "array"),
    ({"stop": [1]}, 400, "stop", "str"),
    ({"thinking": {"type": "on"}}, 400, "thinking", "enabled"),
    ({"answer_json_schema": {"not": {}}}, 400, "answer_json_schema", "not"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "status", "param", "text"), WRONG)
def test_wrong_requests(
    server: serving.Server, fields: Any, status: int, param: str | None, text: str
) -> None:
    body = fields
    if not isinstance(fields, bytes):
        body = json.dumps({"messages": MESSAGES, "max_tokens": 1, **fields}).encode()
    found, reply = call(server, "POST", CHAT, body)
    assert found == status, reply
    assert list(reply["error"]) == ["message", "type", "param", "code"]
    assert text in reply["error"]["message"]
    assert (reply["error"]["type"], reply["error"]["param"]) == ("invalid_request_error", param)
    assert busy(server) == 0


def test_codes_of_errors(server: serving.Server) -> None:
    def code(**fields: Any) -> str:
        body = json.dumps({"messages": MESSAGES, **fields}).encode()
        found: str = call(server, "POST", CHAT, body)[1]["error"]["code"]
        return found

    assert code(model="other") == "model_not_found"
    assert code(tools=[{}]) == "unsupported_parameter"
    long = [{"role": "user", "content": "1 " * 5000}]
    assert code(messages=long) == "context_length_exceeded"


def test_a_fault_is_no_end(server: serving.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("a secret")

    with monkeypatch.context() as patch:
        patch.setattr(pensee.Session, "step", fail)
        body = json.dumps({"messages": MESSAGES}).encode()
        status, reply = call(server, "POST", CHAT, body)
        assert status == 500 and reply["error"]["type"] == "server_error"
        assert "secret" not in json.dumps(reply)
        # A stream has its status already.
        _, error = read_events(open_stream(server))
        assert error == reply
    assert ask(server, max_tokens=1) and busy(server) == 0


def test_wrong_paths_and_methods(server: serving.Server) -> None:
    assert call(server, "GET", "/")[0] == 404
    assert call(server, "POST", "/v1/nothing", b"x")[0] == 404
    for method, path, allowed in (("GET", CHAT, "POST"), ("DELETE", "/v1/models", "GET")):
        connection = connect(server)
        connection.request(method, path)
        response = connection.getresponse()
        assert (response.status, response.headers["Allow"]) == (405, allowed)
        assert json.loads(response.read())["error"]["code"] == "method_not_allowed"
    connection = connect(server)
    connection.request("HEAD", "/health")
    assert connection.getresponse().status == 405
    assert call(server, "FROB", "/health")[0] == 501


def test_a_connection_serves_many_requests(server: serving.Server) -> None:
    connection = connect(server)
    for method, path, status in (("GET", "/health", 200), ("POST", "/nothing", 404)) * 2:
        connection.request(method, path, "a body")
        response = connection.getresponse()
        response.read()
        assert response.status == status and connection.sock is not None


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (f"Content-Length: {serving.MAX_BODY_BYTES + 1}", 413),
        ("Content-Length: " + "9" * 5000, 413),
        ("Content-Length: -1", 400),
        ("Content-Length: 1\r\nContent-Length: 2", 400),
        ("Content-Length: 1_0", 400),
        ("Transfer-Encoding: chunked", 400),
    ],
)
def test_wrong_lengths(server: serving.Server, header: str, status: int) -> None:
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=20) as client:
        client.sendall(f"POST {CHAT} HTTP/1.1\r\n{header}\r\n\r\n".encode())
        head, _, body = b"".join(iter(lambda: client.recv(65536), b"")).partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert json.loads(body)["error"]["type"] == "invalid_request_error"


def test_the_answer_to_a_long_body_arrives(server: serving.Server) -> None:
    status, reply = call(server, "POST", CHAT, b" " * (serving.MAX_BODY_BYTES + 1))
    assert status == 413 and str(serving.MAX_BODY_BYTES) in reply["error"]["message"]


def test_what_is_no_http(server: serving.Server) -> None:
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=20) as client:
        client.sendall(b"\x16\x03\x01 nonsense\r\n\r\n")
        assert b'{"error"' in b"".join(iter(lambda: client.recv(65536), b""))
    # A client that goes away before it has sent all that it announced.
    with socket.create_connection(("127.0.0.1", server.server_port)) as client:
        client.sendall(f"POST {CHAT} HTTP/1.1\r\nContent-Length: 100\r\n\r\n{{".encode())
    assert busy(server) == 0


@pytest.mark.usefixtures("slowly")
def test_two_at_once(server: serving.Server) -> None:
    streams = [open_stream(server, **LONG) for _ in range(2)]
    assert busy(server) == 2
    for stream in streams:
        assert json.loads(stream.readline().removeprefix(b"data: "))["choices"][0]["delta"]
        stream.close()
    until(lambda: busy(server) == 0)


def test_replies_at_once_do_not_mix(server: serving.Server) -> None:
    questions = [f"What is {n} + 8?" for n in range(10, 14)]

    def answer(question: str) -> str:
        reply = ask(server, messages=[{"role": "user", "content": question}])
        text: str = reply["choices"][0]["message"]["content"]
        return text

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(answer, questions))
    assert answers == [answer(question) for question in questions]


@pytest.mark.usefixtures("slowly")
def test_others_wait_in_line(narrow: serving.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_stream(narrow, **LONG)
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(ask, narrow)
        until(lambda: narrow.pool.counts() == {"sessions": 1, "busy": 1, "waiting": 1})
        monkeypatch.setattr(sessions, "MAX_WAITING", 1)
        body = json.dumps({"messages": MESSAGES}).encode()
        status, refused = call(narrow, "POST", CHAT, body)
        assert (status, refused["error"]["code"]) == (503, "overloaded")
        assert not second.done()
        first.close()
        assert "\\boxed{42}" in second.result(20)["choices"][0]["message"]["content"]


@pytest.mark.usefixtures("slowly")
def test_a_client_that_leaves_cancels_its_reply(
    narrow: serving.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancelled = threading.Event()
    cancel = pensee.Session.cancel

    def note(session: pensee.Session) -> None:
        cancelled.set()
        cancel(session)

    monkeypatch.setattr(pensee.Session, "cancel", note)
    body = json.dumps({"messages": MESSAGES, **LONG})
    # While it is written: as a stream, and whole, where nothing is sent that could fail.
    for stream in (True, False):
        cancelled.clear()
        connection = connect(narrow)
        connection.request("POST", CHAT, body.replace("{", '{"stream": true, ' if stream else "{", 1))
        until(lambda: busy(narrow) == 1)
        assert not cancelled.is_set()
        if stream:
            connection.getresponse().close()
        connection.close()
        assert cancelled.wait(20)
        until(lambda: busy(narrow) == 0)
    # In line.
    first = open_stream(narrow, **LONG)
    connection = connect(narrow)
    connection.request("POST", CHAT, body)
    until(lambda: narrow.pool.counts()["waiting"] == 1)
    connection.close()
    until(lambda: narrow.pool.counts()["waiting"] == 0)
    first.close()
    assert "\\boxed{42}" in ask(narrow)["choices"][0]["message"]["content"]


@pytest.mark.usefixtures("slowly")
def test_a_server_that_stops_tells_its_clients(model: pensee.Model) -> None:
    server = serving.Server(model, "tiny", n_sessions=1)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    idle = connect(server)
    idle.connect()
    stream = open_stream(server, **LONG)
    with ThreadPoolExecutor(1) as pool:
        body = json.dumps({"messages": MESSAGES}).encode()
        waiting = pool.submit(call, server, "POST", CHAT, body)
        until(lambda: server.pool.counts()["waiting"] == 1)
        server.stop()
        status, refused = waiting.result(20)
    assert (status, refused["error"]["code"]) == (503, "stopping")
    assert read_events(stream)[-1] == refused
    thread.join()
    with pytest.raises(ConnectionRefusedError):
        connect(server).connect()


@pytest.mark.usefixtures("slowly")
def test_a_client_that_takes_nothing_stops_no_stop(
    model: pensee.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "STOP_SECONDS", 0.2)

    def much(_: pensee.Event) -> dict[str, str]:
        return {"content": "x" * (16 << 20)}

    monkeypatch.setattr(pensee.Event, "to_delta", much)
    server = serving.Server(model, "tiny", n_sessions=1)
    threading.Thread(target=server.serve_forever, args=(0.02,)).start()
    with socket.create_connection(("127.0.0.1", server.server_port)) as client:
        body = json.dumps({"messages": MESSAGES, "stream": True, **LONG})
        client.sendall(f"POST {CHAT} HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        assert client.recv(4) == b"HTTP"
        time.sleep(0.2)  # until it waits for room to send more
        begun = time.monotonic()
        server.stop()
        assert time.monotonic() - begun < serving.IDLE_SECONDS / 2


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_the_program(end: signal.Signals) -> None:
    command = [sys.executable, str(SERVER), "--port", "0", "--threads", "1", "--sessions", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        try:
            assert run.stdout is not None
            line = run.stdout.readline()
            found = re.match(r"tiny_r1 at http://127\.0\.0\.1:(\d+)/v1", line)
            assert found is not None
            connection = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=20)
            connection.request("POST", CHAT, json.dumps({"messages": MESSAGES, "stream": True, **LONG}))
            response = connection.getresponse()
            response.readline()
            run.send_signal(end)
            assert b'"stopping"' in (rest := response.read()) or b"[DONE]" in rest
            _, errors = run.communicate(timeout=20)
        finally:
            run.kill()
    assert run.returncode == 0 and "Traceback" not in errors


@pytest.mark.parametrize(
    ("arguments", "text"),
    [(["--model", "nowhere"], "nowhere"), (["--port", "70000"], "port"), (["--sessions", "0"], "--sessions"),
     (["--context", "-1"], "context_length")],
)  # fmt: skip
def test_wrong_arguments(arguments: list[str], text: str) -> None:
    done = subprocess.run(
        [sys.executable, str(SERVER), *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode != 0 and text in done.stderr and "Traceback" not in done.stderr
