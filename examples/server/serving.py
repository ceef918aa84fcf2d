"""Connections and what is said over them."""

from __future__ import annotations

import contextlib
import json
import re
import select
import socket
import time
import traceback
from collections.abc import Callable, Generator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

import pensee
from incoming import Request, read_request
from outgoing import Completion, Trimmer
from pensee import AnswerEnd, EventKind
from refusal import RequestError, stopping
from sessions import Pool, begin

MAX_BODY_BYTES = 8 << 20
IDLE_SECONDS = 60  # for a client that sends or takes nothing
LINGER_SECONDS = 2  # for the rest of a request that was refused unread
STOP_SECONDS = 5  # for clients to hear that the server stops


class Handler(BaseHTTPRequestHandler):
    """One connection, in its own thread."""

    protocol_version = "HTTP/1.1"
    server_version = f"pensee/{pensee.version()}"
    disable_nagle_algorithm = True  # tokens are small packets
    timeout = IDLE_SECONDS

    def setup(self) -> None:
        super().setup()
        self._is_streaming = False
        self._is_unread = False
        self._poll = select.poll()
        # The other side has closed, or Server.stop() has shut the connection down.
        self._poll.register(self.connection, select.POLLRDHUP)

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            super().handle()

    def finish(self) -> None:
        super().finish()
        if not self._is_unread:
            return
        # Closing now would reset the connection, and the client might lose the answer.
        end = time.monotonic() + LINGER_SECONDS
        with contextlib.suppress(OSError):
            self.connection.settimeout(LINGER_SECONDS)
            self.connection.shutdown(socket.SHUT_WR)
            while self.connection.recv(1 << 16) and time.monotonic() < end:
                pass

    def do_GET(self) -> None:  # noqa: N802
        try:
            self._route()
        except RequestError as error:
            self._refuse(error)
        except (ConnectionError, TimeoutError):
            self.close_connection = True
        except Exception:
            traceback.print_exc()
            self._refuse(RequestError(500, "internal error"))

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_HEAD = do_GET  # noqa: N815

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the base class says of malformed requests."""
        self.close_connection = True
        self._refuse(RequestError(code, message or explain or "malformed request"))

    def _route(self) -> None:
        routes: dict[str, tuple[str, Callable[[bytes], None]]] = {
            "/v1/chat/completions": ("POST", self._complete),
            "/v1/models": ("GET", self._list_models),
            "/health": ("GET", self._tell_health),
        }
        body = self._read_body()
        path = self.path.partition("?")[0]
        if path not in routes:
            raise RequestError(404, f"{path}: there is {', '.join(routes)}", code="not_found")
        method, answer = routes[path]
        if self.command != method:
            raise RequestError(405, f"{path}: expected {method}", code="method_not_allowed", allow=method)
        answer(body)

    def _read_body(self) -> bytes:
        length, *others = self.headers.get_all("Content-Length", ["0"])
        if others or "Transfer-Encoding" in self.headers or not re.fullmatch("[0-9]+", length):
            self._is_unread = self.close_connection = True
            raise RequestError(400, "Content-Length: expected the number of bytes of the body")
        if len(length) > 9 or int(length) > MAX_BODY_BYTES:
            self._is_unread = self.close_connection = True
            raise RequestError(413, f"the body has more than {MAX_BODY_BYTES} bytes")
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise ConnectionResetError
        return body

    # --- Answers ---

    def _list_models(self, _: bytes) -> None:
        model = {"id": self._server.name, "object": "model", "created": self._server.created,
                 "owned_by": "pensee"}  # fmt: skip
        self._send_json(200, {"object": "list", "data": [model]})

    def _tell_health(self, _: bytes) -> None:
        self._send_json(200, {"status": "ok", **self._server.pool.counts()})

    def _complete(self, body: bytes) -> None:
        request = read_request(body, self._server.name)
        with self._server.pool.lend(request.messages, self._is_gone) as session:
            begin(session, request, lambda _done, _total: self._look(session))
            if request.stream:
                self._stream(session, request)
                return
            for _ in self._events(session):
                pass
            reply = session.reply
        self._send_json(200, Completion("chat.completion", self._server.name).whole(reply))

    def _stream(self, session: pensee.Session, request: Request) -> None:
        self.close_connection = True  # which tells any client where the stream ends
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-cache")
        self.send_header("Connection", "close")
        self.end_headers()
        self._is_streaming = True
        completion = Completion(
            "chat.completion.chunk", self._server.name, tells_usage=request.include_usage
        )
        self._send_event(completion.chunk({"role": "assistant"}))
        trimmer = Trimmer()
        for event in self._events(session):
            if delta := trimmer.trim(event.to_delta()):
                self._send_event(completion.chunk(delta))
        for chunk in completion.last_chunks(session.reply):
            self._send_event(chunk)
        self.wfile.write(b"data: [DONE]\n\n")

    def _events(self, session: pensee.Session) -> Generator[pensee.Event, None, None]:
        while True:
            self._look(session)
            event = session.step()
            yield event
            if event.kind is EventKind.DONE:
                break
        if session.reply.answer_end is AnswerEnd.CANCELLED:
            raise stopping()

    def _look(self, session: pensee.Session) -> None:
        """Between tokens, and between chunks of the prompt."""
        if self._is_gone():
            session.cancel()

    def _is_gone(self) -> bool:
        return bool(self._poll.poll(0))

    def _refuse(self, error: RequestError) -> None:
        with contextlib.suppress(ConnectionError, TimeoutError):
            if self._is_streaming:  # the status has been sent
                self._send_event(error.body)
            else:
                self._send_json(error.status, error.body, error.allow)

    def _send_json(self, status: int, body: Mapping[str, Any], allow: str = "") -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if allow:
            self.send_header("Allow", allow)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _send_event(self, body: Mapping[str, Any]) -> None:
        self.wfile.write(b"data: " + json.dumps(body).encode() + b"\n\n")

    @property
    def _server(self) -> Server:
        return cast("Server", self.server)


class Server(ThreadingHTTPServer):
    """Bound to `address` when it is made; `serve_forever()` answers until another thread calls
    `stop()`. Raises OSError for an address that cannot be had, and what `pensee.Session()` does."""

    daemon_threads = False  # stop() waits for them
    request_queue_size = 128

    def __init__(
        self, model: pensee.Model, name: str, address: tuple[str, int] = ("127.0.0.1", 0), *,
        n_sessions: int = 2, context_length: int = 0,
    ) -> None:  # fmt: skip
        self.name = name
        self.created = int(time.time())
        self.pool = Pool([model.session(context_length=context_length) for _ in range(n_sessions)])
        self._connections: set[socket.socket] = set()
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, Handler)

    def stop(self) -> None:
        """Takes no more requests, cancels the replies under way and waits for their threads."""
        self.shutdown()
        # To their threads as if the clients had gone, which can still be told.
        self._shut_connections(socket.SHUT_RD)
        end = time.monotonic() + STOP_SECONDS
        while self._connections and time.monotonic() < end:
            time.sleep(0.01)
        self._shut_connections(socket.SHUT_RDWR)  # of clients that take nothing
        self.server_close()

    def _shut_connections(self, how: int) -> None:
        for connection in self._connections.copy():
            with contextlib.suppress(OSError):
                connection.shutdown(how)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)
