"""Errors in the form that OpenAI's clients expect."""

from __future__ import annotations


class RequestError(Exception):
    """What the client is told in place of a reply."""

    def __init__(
        self, status: int, message: str, param: str | None = None, code: str | None = None, allow: str = ""
    ) -> None:
        super().__init__(message)
        self.status = status
        self.allow = allow
        kind = "invalid_request_error" if status < 500 else "server_error"
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}


def stopping() -> RequestError:
    """For clients that are still there; of the others nobody reads it."""
    return RequestError(503, "the server is stopping", code="stopping")
