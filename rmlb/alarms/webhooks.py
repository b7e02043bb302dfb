"""`[[webhook]]`: each event posted as JSON, signed, and tried again until it is taken.

SHELL: HTTP. A 2xx takes it; 408, 425, 429, a 5xx and everything that is no answer is tried again
after 1 s, 2 s, ... up to a minute, for `retry-for`; any other answer is final. Redirections are
not followed, the environment's proxies not used.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections.abc import Callable
from typing import Final

import aiohttp

from rmlb import __version__
from rmlb.alarms.advice import place
from rmlb.alarms.document import Document
from rmlb.alarms.lane import Item
from rmlb.config import WebhookConfig
from rmlb.events import EventName, Value

FIRST_WAIT_S: Final = 1.0
LONGEST_WAIT_S: Final = 60.0

_WORTH_ANOTHER_TRY: Final = frozenset({408, 425, 429})

Tell = Callable[[EventName, dict[str, Value]], object]


def signature(secret: str, moment: str, body: bytes) -> str:
    """HMAC-SHA256 of moment, a full stop and the body, in hexadecimal."""
    return hmac.new(secret.encode(), moment.encode() + b"." + body, hashlib.sha256).hexdigest()


class Webhook:
    """One `[[webhook]]` (a lane.Receiver)."""

    def __init__(self, config: WebhookConfig, tell: Tell) -> None:
        self._config = config
        self._tell = tell
        self._session: aiohttp.ClientSession | None = None
        self._failing = False

    async def deliver(self, item: Item) -> bool:
        document = item[1]
        until = time.monotonic() + self._config.retry_for_s
        wait_s = FIRST_WAIT_S
        while True:
            fault, final = await self._post(document)
            if fault is None:
                self._failing = False
                return True
            if final or time.monotonic() + wait_s > until:
                self._failed(document, fault)
                return False
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, LONGEST_WAIT_S)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _failed(self, document: Document, fault: str) -> None:
        """Told for the first event of an outage; the metrics count the others."""
        if self._failing:
            return
        self._failing = True
        self._tell(
            EventName.WEBHOOK_FAILED,
            {"to": place(self._config.url), "for": str(document.name), "why": fault},
        )

    async def _post(self, document: Document) -> tuple[str | None, bool]:
        """What went wrong, if anything, and whether trying again is useless."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=self._config.timeout_s),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        try:
            async with self._session.post(
                self._config.url,
                data=document.body,
                headers=self._headers(document),
                allow_redirects=False,
            ) as answer:
                status = answer.status
        except TimeoutError:
            return f"no answer within {self._config.timeout_s:g} s", False
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return str(error) or type(error).__name__, False
        if 200 <= status < 300:
            return None, True
        return f"answered {status}", status < 500 and status not in _WORTH_ANOTHER_TRY

    def _headers(self, document: Document) -> dict[str, str]:
        moment = str(int(time.time()))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"rmlb/{__version__}",
            "X-Rmlb-Event": str(document.name),
            "X-Rmlb-Delivery": document.id,
            "X-Rmlb-Timestamp": moment,
        }
        if self._config.secret:
            signed = signature(self._config.secret, moment, document.body)
            headers["X-Rmlb-Signature"] = f"sha256={signed}"
        return headers
