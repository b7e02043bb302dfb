"""The admin API as the command line asks it: standard library only, so that it starts fast.

Turns every way in which asking can fail into one line. Knows nothing of what is printed.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from http.client import HTTPException, HTTPResponse
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import BaseHandler, HTTPSHandler, ProxyHandler, Request, build_opener

from rmlb.cli.failure import MISUSED, CliError

TIMEOUT_S: Final = 5.0

STREAM_TIMEOUT_S: Final = 45.0
"""Three times the API's keep-alive of 15 s on an event stream."""


class ApiClient:
    """One balancer's admin API."""

    def __init__(self, url: str, token: str = "", ca_file: str = "") -> None:
        """`url` may lack the scheme. Raises CliError when it is none, or `ca_file` is unusable."""
        self.url = _checked(url)
        self._token = token
        # A proxy for web pages is no way to a balancer, least of all to one on loopback.
        handlers: list[BaseHandler] = [ProxyHandler({})]
        if self.url.startswith("https:"):
            handlers.append(HTTPSHandler(context=_context(ca_file)))
        self._opener = build_opener(*handlers)

    def get(self, path: str, *needed: str, **query: str) -> Any:
        """The JSON object of a GET, with the `needed` keys. Raises CliError."""
        answer = self._ask("GET", path + _query(query))
        if not isinstance(answer, dict) or not answer.keys() >= set(needed):
            raise self._stranger()
        return answer

    def put(self, path: str, body: object) -> Any:
        """The JSON answer to a PUT of JSON. Raises CliError."""
        return self._ask("PUT", path, body)

    def post(self, path: str, body: object = None) -> Any:
        """The JSON answer to a POST, of JSON or of nothing. Raises CliError."""
        return self._ask("POST", path, body)

    def stream(self, path: str, **query: str) -> Iterator[Any]:
        """The data of server-sent events, until the balancer ends them. Raises CliError."""
        with self._open("GET", path + _query(query), timeout_s=STREAM_TIMEOUT_S) as response:
            try:
                for line in response:
                    if line.startswith(b"data: "):
                        yield self._parsed(line[6:])
            except (OSError, HTTPException) as error:
                raise self._unreachable(error) from None

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        with self._open(method, path, body) as response:
            try:
                return self._parsed(response.read())
            except (OSError, HTTPException) as error:
                raise self._unreachable(error) from None

    def _open(
        self, method: str, path: str, body: object = None, timeout_s: float = TIMEOUT_S
    ) -> HTTPResponse:
        headers = {"Accept": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        data = None if body is None else json.dumps(body).encode()
        request = Request(self.url + path, data=data, headers=headers, method=method)
        try:
            response: HTTPResponse = self._opener.open(request, timeout=timeout_s)
        except HTTPError as error:
            with error:
                raise self._refused(error) from None
        except (OSError, HTTPException, UnicodeError) as error:
            raise self._unreachable(error) from None
        return response

    def _parsed(self, data: bytes) -> Any:
        try:
            return json.loads(data)
        except ValueError:
            raise self._stranger() from None

    def _stranger(self, detail: str = "") -> CliError:
        return CliError(f"what answers at {self.url} is no balancer{detail}")

    def _refused(self, error: HTTPError) -> CliError:
        if error.code == 401:
            if self._token:
                return CliError("the balancer has another [admin] token: RMLB_TOKEN or --token")
            return CliError("the balancer wants its [admin] token: RMLB_TOKEN or --token")
        try:
            return CliError(str(json.loads(error.read())["error"]))
        except (ValueError, KeyError, TypeError, OSError, HTTPException):
            return self._stranger(f" (HTTP {error.code})")

    def _unreachable(self, error: Exception) -> CliError:
        cause = error.reason if isinstance(error, URLError) else error
        if isinstance(cause, HTTPException) and not isinstance(cause, OSError):
            return self._stranger()
        reason = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
        return CliError(
            f"no balancer answers at {self.url} ({reason.lower()}); is it running? (--api)"
        )


def _query(query: dict[str, str]) -> str:
    pairs = {key.replace("_", "-"): value for key, value in query.items()}
    return f"?{urlencode(pairs, errors='surrogateescape')}" if pairs else ""


def _context(ca_file: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except OSError as error:
        known = error.strerror if not isinstance(error, ssl.SSLError) else "not a PEM file"
        raise CliError(f"--ca-file {ca_file}: {known}", MISUSED) from None


def _checked(url: str) -> str:
    """The URL without a slash at its end; http:// where there is no scheme."""
    full = url if "://" in url else f"http://{url}"
    try:
        parts = urlsplit(full)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or any(char.isspace() for char in full):
        raise CliError(f"--api {url!r}: not a URL such as http://127.0.0.1:8560", MISUSED)
    return full.rstrip("/")
