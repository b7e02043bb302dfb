"""The link to the store: written behind, asked in time, looked at; lost and found again. SHELL.

    behind     changed bindings leave within FLUSH_S (BUSY_FLUSH_S where they are many), in batches,
               one under way at a time
    asked      Call-IDs for which a message waits, all that came meanwhile in one command
    looked at  every LOOK_S, and at once when this balancer has something to say: what the
               balancers share, merged by `Sharer.agree`, each member's calls
    lost       with the first command that fails: nothing is kept for the store then, because on
               return all that is here is written again, at a bounded pace; and so when it was
               emptied

Nothing here is awaited by the packet path. Knows the store's commands, nothing of what bindings,
losses and operator states mean.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from rmlb.metrics import Histogram
from rmlb.state.records import Change, StoredBinding
from rmlb.state.store import PATIENCE_S, Look, Store, StoreError

FLUSH_S: Final = 0.004
"""From the first change to the command that carries it: five milliseconds with its way."""

BUSY: Final = 20
BUSY_FLUSH_S: Final = 0.01
"""After a command with so many changes the next one waits longer: it is commands that cost, a tenth
of what routing costs at 5,000 calls/s (docs/decisions/0020)."""

BATCH: Final = 200
"""Bindings in one command: beyond that a command takes Redis longer than a millisecond or two."""

REPEATED: Final = 100
REPEAT_S: Final = 0.01
"""On return so many bindings are looked at every so often: 10,000/s, a million in 100 s, for some
five percent of a processor."""

LOOK_S: Final = 0.25
"""What one balancer was told holds on the others within that, and their calls count."""

RETRY_S: Final = 0.5
"""Between two tries to reach a lost store."""

ASKED_MOST: Final = 1000
"""Call-IDs that wait for their turn to be asked for."""

STUCK_S: Final = 0.25
"""A question unanswered for so long: no other message waits for this store meanwhile. Five waits
of a message, so that a pause of the balancer itself is not taken for one of the store."""


class Journal(Protocol):
    """Where changed bindings come from; as routing.bindings.Bindings has it."""

    def keep_journal(self) -> None: ...
    def tell_of_change(self, tell: Callable[[], None]) -> None: ...
    def changes_to_repeat(self) -> int: ...
    def take_changes(self, most: int) -> Sequence[Change]: ...
    def start_repeating(self) -> None: ...
    def repeat_changes(self, most: int) -> Sequence[Change]: ...
    def forget_changes(self) -> None: ...


class Proposal(NamedTuple):
    """A document that should be replaced in the store."""

    key: str
    before: bytes | None
    after: bytes
    ttl_s: float


class Sharer(Protocol):
    """Whose link it is."""

    def agree(self, look: Look) -> list[Proposal]:
        """Take up what the store shows; what it should show instead."""

    def told(self, key: int, binding: StoredBinding | None) -> None:
        """The answer to `ask`."""

    def on_link(self, connected: bool, why: str) -> None:
        """The store is lost, or back."""

    def presence(self) -> bytes:
        """What this balancer says of itself."""


@dataclass(slots=True)
class LinkStats:
    """What has gone over the link since start."""

    written: int = 0
    """Bindings."""
    asked: int = 0
    """Call-IDs."""
    found: int = 0
    failures: int = 0
    """Commands that failed."""
    losses: int = 0
    """How many times the store was lost."""
    durations: dict[str, Histogram] = field(
        default_factory=lambda: {what: Histogram() for what in ("write", "find", "look")}
    )
    """Of commands, in seconds."""


def rest_s(written: int) -> float:
    """From the start of a command with so many changes to the next one."""
    if written == BATCH:  # more wait
        return 0.0
    return BUSY_FLUSH_S if written >= BUSY else FLUSH_S


class Link:
    """One balancer's way to the store. Lives on the event loop."""

    def __init__(
        self,
        store: Store,
        journal: Journal,
        sharer: Sharer,
        members: Callable[[], Sequence[int]],
        counted_s: Callable[[], float],
    ) -> None:
        """`counted_s`: a silent call counts so long ([affinity] idle)."""
        self.connected = False
        self.why = ""
        """Why it is not, as of the last try."""
        self.stats = LinkStats()
        self._store = store
        self._journal = journal
        self._sharer = sharer
        self._members = members
        self._counted_s = counted_s
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._news = asyncio.Event()
        self._asked: list[int] = []
        self._asking_since: float | None = None
        self._tried = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False

    async def start(self, patience_s: float) -> None:
        """Begin; waits for the first look's outcome, no longer than `patience_s`."""
        self._keep(self._keep_looking(), "look at the store")
        self._keep(self._keep_writing(), "write to the store")
        try:
            async with asyncio.timeout(patience_s):
                await self._tried.wait()
        except TimeoutError:
            self._lost("no answer")

    async def stop(self) -> None:
        """Write what waits, say goodbye, close. No longer than a command may take."""
        self._closing = True
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            # asyncio.wait_for in redis-py may swallow a cancellation: then it ends by itself
            await asyncio.wait(self._tasks, timeout=PATIENCE_S)
        if self.connected:
            try:
                while changes := self._journal.take_changes(BATCH):
                    await self._store.write(changes, self._loop.time(), self._counted_s())
                await self._store.leave()
            except StoreError:
                self.connected = False
        self._journal.forget_changes()
        await self._store.close()

    def wake(self) -> None:
        """This balancer has something to say: look at once."""
        self._news.set()

    def ask(self, key: int) -> bool:
        """Have the store asked for a Call-ID. False: it would not answer in time."""
        since = self._asking_since
        stuck = since is not None and self._loop.time() - since > STUCK_S
        if not self.connected or stuck or len(self._asked) >= ASKED_MOST:
            return False
        self._asked.append(key)
        if since is None:
            self._asking_since = self._loop.time()
            self._keep(self._ask(), "ask the store")
        return True

    # behind

    def _on_change(self) -> None:
        self._loop.call_later(FLUSH_S, self._changed.set)

    async def _keep_writing(self) -> None:
        while not self._closing:
            self._changed.clear()
            self._journal.tell_of_change(self._on_change)
            await self._changed.wait()
            while self.connected and not self._closing:
                begun = self._loop.time()
                changes = self._journal.take_changes(BATCH)
                if not changes:
                    break
                await self._write(changes)
                await asyncio.sleep(begun + rest_s(len(changes)) - self._loop.time())

    async def _keep_repeating(self) -> None:
        """All that is here, once; begins anew with each return of the store."""
        while self.connected and not self._closing and self._journal.changes_to_repeat():
            await self._write(self._journal.repeat_changes(REPEATED))
            await asyncio.sleep(REPEAT_S)

    async def _write(self, changes: Sequence[Change]) -> None:
        if not changes:
            return
        begun = self._loop.time()
        try:
            await self._store.write(changes, begun, self._counted_s())
        except StoreError as error:
            self._lost(str(error))
            return
        self.stats.durations["write"].observe(self._loop.time() - begun)
        self.stats.written += len(changes)

    # asked

    async def _ask(self) -> None:
        while self._asked:
            begun = self._asking_since = self._loop.time()
            keys, self._asked = self._asked, []
            try:
                found = await self._store.find(keys)
            except StoreError as error:
                self._asking_since = None
                unanswered, self._asked = keys + self._asked, []
                self._lost(str(error))
                for key in unanswered:
                    self._sharer.told(key, None)
                return
            self.stats.durations["find"].observe(self._loop.time() - begun)
            self.stats.asked += len(keys)
            self.stats.found += sum(binding is not None for binding in found)
            for key, binding in zip(keys, found, strict=True):
                self._sharer.told(key, binding)
        self._asking_since = None

    # looked at

    async def _keep_looking(self) -> None:
        while not self._closing:
            again_s = LOOK_S
            try:
                if not await self._look():
                    again_s = 0.0  # somebody else was faster: once more with what is there now
            except StoreError as error:
                self._lost(str(error))
                again_s = RETRY_S
            self._tried.set()
            if again_s:
                await self._wait_for_news(again_s)

    async def _wait_for_news(self, most_s: float) -> None:
        try:
            async with asyncio.timeout(most_s):
                await self._news.wait()
        except TimeoutError:
            return
        self._news.clear()

    async def _look(self) -> bool:
        """False if what was to be said could not be said yet."""
        begun = self._loop.time()
        look = await self._store.look(self._sharer.presence(), self._members())
        self.stats.durations["look"].observe(self._loop.time() - begun)
        proposals = self._sharer.agree(look)
        done = True
        for each in proposals:
            done &= await self._store.replace(*each)
        if not self.connected:
            self._found()
        elif not look.known:  # emptied, or restored from an older copy
            self._write_again()
        return done

    # lost and found

    def _found(self) -> None:
        self.connected, self.why = True, ""
        self._journal.keep_journal()
        self._write_again()
        self._sharer.on_link(True, "")

    def _write_again(self) -> None:
        """All that is here, from the beginning if that is under way already."""
        under_way = self._journal.changes_to_repeat()
        self._journal.start_repeating()
        if not under_way:
            self._keep(self._keep_repeating(), "write again")

    def _lost(self, why: str) -> None:
        self.stats.failures += 1
        self.why = why
        self._journal.forget_changes()
        if self.connected or not self.stats.losses:
            self.connected = False
            self.stats.losses += 1
            self._sharer.on_link(False, why)

    def _keep(self, work: Coroutine[None, None, None], name: str) -> None:
        task = self._loop.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
