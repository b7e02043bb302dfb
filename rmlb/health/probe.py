"""Asks each member by OPTIONS whether it is alive. SHELL: sockets and the clock.

Owns one task per member: it follows the plan, times a probe out and reports how it ended.
Decides nothing: every finished probe goes to `on_result`, and `plan` says when the next one
is due (health.tracker). Knows nothing of calls, of the VIP or of routing; what goes over the
wire is health.link's.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from rmlb.health.link import Link, link_to
from rmlb.health.tracker import REPEAT_S, Failure, ProbePlan, ProbeResult
from rmlb.reasons import reason_of
from rmlb.routing.member import Member
from rmlb.sip.message import Message

_PAUSE_AFTER_FAULT_S: Final = 1.0
"""After an error of our own the task goes on, but never in a tight loop."""

OnResult = Callable[[int, ProbeResult], None]
Plan = Callable[[int], ProbePlan]


class ProbeSettings(Protocol):
    """What `[health]` says of probes."""

    @property
    def interval_s(self) -> float: ...

    @property
    def timeout_s(self) -> float: ...

    @property
    def user(self) -> str:
        """User part of the Request-URI; empty for none."""

    @property
    def source(self) -> str:
        """The local address that probes leave from; empty for the system's choice."""


class Prober:
    """Probes every member, each over its first address, until stopped."""

    def __init__(
        self,
        members: Iterable[Member],
        settings: ProbeSettings,
        on_result: OnResult,
        plan: Plan | None = None,
        *,
        ssl_context: ssl.SSLContext | None = None,
        certificate_names: Mapping[tuple[str, int], str] | None = None,
    ) -> None:
        """`on_result(member_id, result)` is called in the event loop's thread.

        `plan(member_id)` names the next probe in monotonic time; None is one every
        `settings.interval_s`. `ssl_context` is for members reached over TLS, whose certificates
        must carry their address or what `certificate_names` says for it.
        """
        names = certificate_names or {}
        self._settings = settings
        self._on_result = on_result
        self._plan = plan
        self._ending = False
        self._watches = {
            member.id: _Watch(
                member.id,
                link_to(
                    address,
                    settings.source,
                    ssl_context,
                    settings.user,
                    names.get((address.host, address.port), ""),
                ),
            )
            for member, address in ((member, member.addresses[0]) for member in members)
        }

    def start(self) -> None:
        """Begin; the first probes leave as soon as the event loop runs."""
        for watch in self._watches.values():
            watch.quiet.set()
            watch.task = asyncio.create_task(
                self._keep_probing(watch), name=f"probe member {watch.member_id}"
            )

    async def stop(self, patience_s: float = 0.0) -> None:
        """End every task and close every socket. No result comes afterwards.

        Probes under way have so long for their answers, which would else meet closed sockets.
        """
        if patience_s:
            self._ending = True
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    for watch in self._watches.values():
                        await watch.quiet.wait()
        tasks = [watch.task for watch in self._watches.values() if watch.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for watch in self._watches.values():
            watch.task = None
            watch.link.close()

    def wake(self, member_id: int) -> None:
        """The plan of that member has changed: a probe under way gives way to the new plan.

        For changes of health, not for every hint: each call interrupts.
        """
        watch = self._watches.get(member_id)
        if watch is not None:  # a member without an address yet is not probed
            watch.woken.set()

    async def _keep_probing(self, watch: _Watch) -> None:
        while True:
            try:
                await self._follow_plan(watch)
            except Exception as error:
                loop = asyncio.get_running_loop()
                loop.call_exception_handler(
                    {"message": f"probing member {watch.member_id} failed", "exception": error}
                )
                watch.link.close()
                await asyncio.sleep(_PAUSE_AFTER_FAULT_S)

    async def _follow_plan(self, watch: _Watch) -> None:
        """Wait for the next probe, or make it."""
        watch.woken.clear()
        if self._ending:
            await watch.woken.wait()
            return
        plan = self._next(watch)
        delay = plan.at - time.monotonic()
        if delay > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await watch.woken.wait()
            return
        watch.last_sent_at = time.monotonic()
        watch.quiet.clear()
        try:
            result = await self._probe(watch, plan)
            if result is not None:
                self._on_result(watch.member_id, result)
        finally:
            watch.quiet.set()

    def _next(self, watch: _Watch) -> ProbePlan:
        if self._plan is not None:
            return self._plan(watch.member_id)
        at = time.monotonic()
        if watch.last_sent_at is not None:
            at = watch.last_sent_at + self._settings.interval_s
        return ProbePlan(at, self._settings.timeout_s, REPEAT_S)

    async def _probe(self, watch: _Watch, plan: ProbePlan) -> ProbeResult | None:
        """One probe to its end; None when it was interrupted by `wake`."""
        sent_at = time.monotonic()
        link = watch.link
        asking = asyncio.create_task(link.ask(plan.repeat_s), name=f"ask member {watch.member_id}")
        woken = asyncio.create_task(watch.woken.wait(), name=f"wake member {watch.member_id}")
        try:
            await asyncio.wait(
                {asking, woken}, timeout=plan.timeout_s, return_when=asyncio.FIRST_COMPLETED
            )
            now = time.monotonic()
            if asking.done():
                return _result(asking, sent_at, now)
            if woken.done():
                return None
            link.start_anew()
            return ProbeResult(sent_at, now, failure=Failure.SILENT, detail=link.waiting_for)
        finally:
            asking.cancel()
            woken.cancel()
            await asyncio.gather(asking, woken, return_exceptions=True)


def _result(asking: asyncio.Task[Message], sent_at: float, now: float) -> ProbeResult:
    error = asking.exception()
    if error is None:
        answer = asking.result()
        return ProbeResult(sent_at, now, status=answer.status, retry_after_s=_retry_after(answer))
    if isinstance(error, OSError):
        return ProbeResult(sent_at, now, failure=Failure.UNREACHABLE, detail=reason_of(error))
    raise error


def _retry_after(answer: Message) -> int | None:
    """Seconds of the Retry-After header (RFC 3261 20.33), None where it has none."""
    digits = (answer.header("retry-after") or b"").split(b"(")[0].split(b";")[0].strip()
    return int(digits) if digits.isdigit() and len(digits) < 10 else None


@dataclass(slots=True)
class _Watch:
    """One member under watch."""

    member_id: int
    link: Link
    task: asyncio.Task[None] | None = None
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    quiet: asyncio.Event = field(default_factory=asyncio.Event)
    """No probe is under way."""
    last_sent_at: float | None = None
