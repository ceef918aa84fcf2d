"""Server: the chat completions of OpenAI's interface, with thoughts and answers apart.

    python examples/server [--model MODEL] [--port 8080]

    curl -N http://127.0.0.1:8080/v1/chat/completions -d '{"stream": true, "temperature": 0,
        "messages": [{"role": "user", "content": "What is 12 + 30?"}]}'

Thoughts come as `reasoning_content`, answers as `content`; without `stream` in one piece. Beside the
usual settings, every control of `pensee.ReplyOptions` may be in a request: `thinking`,
`reasoning_effort`, `thinking_token_budget`, `max_answer_tokens`, `response_format`, `answer_grammar`
and so on. GET /v1/models names the model, GET /health tells how many requests are being answered.

Each request borrows one of `--sessions` conversations, the one that holds most of its messages in the
cache; when all are lent, requests wait in line. A client that goes away cancels its reply. There is no
encryption and no key: what is not for this machine alone belongs behind a server that has both.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path

import pensee
from serving import Server


def count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="server", description="Serves a model as OpenAI's interface has it."
    )
    parser.add_argument("--model", type=Path, help="a checkpoint; without it the bundled model")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen at (%(default)s)")
    parser.add_argument("--port", type=int, default=8080, help="0: any that is free (%(default)s)")
    parser.add_argument("--context", type=int, default=0, help="tokens of a conversation")
    parser.add_argument("--threads", type=int, default=0, help="without it all cores")
    parser.add_argument(
        "--sessions", type=count, default=2, help="requests answered at once (%(default)s)"
    )
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    # All threads inherit it, those of the model too: the signals wait for sigwait().
    ending = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, ending)
    path: Path = (arguments.model or pensee.bundled_model()).resolve()
    name = path.stem if path.is_file() else path.name  # names of directories have dots, too
    try:
        model = pensee.load(path, n_threads=arguments.threads)
        if not model.info.has_chat_template:
            sys.exit(f"server: {path}: no chat template that is known")
        server = Server(
            model, name, (arguments.host, arguments.port),
            n_sessions=arguments.sessions, context_length=arguments.context,
        )  # fmt: skip
    except (pensee.PenseeError, OSError, OverflowError) as error:
        sys.exit(f"server: {error}")
    threading.Thread(target=server.serve_forever, args=(0.1,)).start()
    print(f"{name} at http://{arguments.host}:{server.server_port}/v1; Ctrl-C ends it", flush=True)
    signal.sigwait(ending)
    for number in ending:  # a second one ends it at once
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ending)
    server.stop()


if __name__ == "__main__":
    main()
