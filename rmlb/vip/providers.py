"""Who puts the VIP on this host: we by netlink, a script, somebody else, or nobody. SHELL.

One interface for the keeper, whatever `[vip] provider` says. Knows nothing of elections.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from rmlb.script import FailoverScript, ScriptEnd
from rmlb.vip.interface import Interface, Place, holds


class Provider(Protocol):
    """What the keeper needs of it. `take`, `refresh` and `let_go` raise OSError."""

    elects: bool
    """The election decides; otherwise whoever has the address owns."""

    @property
    def mac(self) -> bytes: ...

    @property
    def removal(self) -> list[bytes]: ...

    def take(self) -> None: ...

    def refresh(self) -> None: ...

    def let_go(self) -> None: ...

    def announce(self) -> None: ...

    async def strangers(self) -> list[str]: ...

    async def close(self) -> None: ...


class Nobody:
    """`none`: the address is there anyway. `external`: it is here while it is here."""

    def __init__(self, elects: bool = False) -> None:
        self.elects = elects

    @property
    def mac(self) -> bytes:
        return bytes(6)

    @property
    def removal(self) -> list[bytes]:
        return []

    def take(self) -> None:
        return

    def refresh(self) -> None:
        return

    def let_go(self) -> None:
        return

    def announce(self) -> None:
        return

    async def strangers(self) -> list[str]:
        return []

    async def close(self) -> None:
        return


class ByNetlink:
    """`netlink`: we add and remove it."""

    elects = True

    def __init__(self, interface: Interface) -> None:
        self.interface = interface

    @property
    def mac(self) -> bytes:
        return self.interface.mac

    @property
    def removal(self) -> list[bytes]:
        return self.interface.removal

    def take(self) -> None:
        self.interface.add()

    def refresh(self) -> None:
        self.interface.refresh()

    def let_go(self) -> None:
        self.interface.remove()

    def announce(self) -> None:
        self.interface.announce()

    async def strangers(self) -> list[str]:
        return await self.interface.strangers()

    async def close(self) -> None:
        self.interface.close()


class ByScript(Nobody):
    """`script`: `failoverscript enable N` and `disable N`, N being this balancer, one at a time."""

    def __init__(
        self, command: str, timeout_s: float, id: int, on_end: Callable[[ScriptEnd], object]
    ) -> None:
        super().__init__(elects=True)
        self._script = FailoverScript(command, timeout_s, on_end)
        self._id = id
        self._wanted: str | None = None
        self._done: str | None = None
        self._task: asyncio.Task[None] | None = None

    def take(self) -> None:
        self._want("enable")

    def let_go(self) -> None:
        self._want("disable")

    async def close(self) -> None:
        if self._task is not None:
            await self._task

    def _want(self, action: str) -> None:
        self._wanted = action
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._catch_up(), name="vip script")

    async def _catch_up(self) -> None:
        while self._wanted is not None and self._wanted != self._done:
            self._done = self._wanted
            await self._script.run(self._done, self._id)


def present(places: Sequence[Place]) -> bool:
    """`external`: all of these addresses are on this host."""
    return len({host for host, _ in holds(places)}) == len({host for host, _ in places})
