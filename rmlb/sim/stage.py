"""A balancer and simulated RMs as child processes, for `make run` and `make demo`.

Owns starting them in their own session (a Ctrl-C on the terminal reaches only us, so that we
end them in order), noticing that one has died, and the admin API. What happens on the stage
is quickstart's and demo's.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any, Final

import aiohttp

from rmlb.config.addresses import HostPort
from rmlb.sip.address import SipAddress, Transport, bracketed

READY_TIMEOUT_S = 30.0
"""A balancer needs some 0.5 s; a laptop that also installs something may need ten times that, and
a busy one more."""

STOP_TIMEOUT_S = 10.0


_PORTS: Final = range(32_000, 32_768)
"""Just below the ephemeral ports: a member that is killed finds its port free when it comes back,
whatever other programs open meanwhile."""


class StageError(Exception):
    """It cannot go on; the text is one line for who started it."""


class Child:
    """One child process."""

    def __init__(
        self,
        name: str,
        *arguments: str,
        output: IO[bytes] | None = None,
        module: str = "rmlb.cli",
    ) -> None:
        self.name = name
        self._module = module
        self._arguments = arguments
        self._output = output
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start `python -m MODULE ARGUMENTS`."""
        command = [sys.executable, "-m", self._module, *self._arguments]
        self._process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
            start_new_session=True,
        )

    async def ended(self) -> int:
        """Wait for its end: its exit status, negative for a signal."""
        assert self._process is not None
        return await self._process.wait()

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def kill(self) -> None:
        """SIGKILL, to its own children in the same moment."""
        if self.running and self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.wait()

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL for who does not listen."""
        if not self.running or self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await self._process.wait()
        except TimeoutError:
            await self.kill()


class AdminApi:
    """The admin API of the balancer on the stage."""

    def __init__(self, place: HostPort) -> None:
        self.url = f"http://{bracketed(place.host)}:{place.port}"
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5.0))

    async def close(self) -> None:
        await self._session.close()

    async def is_there(self, path: str) -> bool:
        """GET gives 200."""
        try:
            async with self._session.get(self.url + path) as answer:
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def members(self) -> dict[int, dict[str, Any]]:
        """What /api/v1/members says, by id. StageError."""
        try:
            async with self._session.get(f"{self.url}/api/v1/status") as answer:
                status = await answer.json()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise StageError(f"the balancer's admin API does not answer: {error}") from error
        return {int(member["id"]): member for member in status["members"]}

    async def put_state(self, member: int, state: str) -> None:
        """What `rmlb drain N` and its like do. StageError."""
        path = f"{self.url}/api/v1/members/{member}"
        try:
            async with self._session.put(path, json={"state": state}) as answer:
                if answer.status != 200:
                    raise StageError(f"PUT {path}: {answer.status}")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise StageError(f"PUT {path}: {error}") from error

    async def wait_ready(self, balancer: Child) -> None:
        """Until it can carry calls. StageError if it dies or takes too long."""
        ended = asyncio.create_task(balancer.ended(), name="balancer ended")
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                while not await self.is_there("/readyz"):
                    await asyncio.wait([ended], timeout=0.1)
                    if ended.done():
                        raise StageError(f"the balancer ended with status {ended.result()}")
        except TimeoutError:
            raise StageError(f"the balancer is not ready after {READY_TIMEOUT_S:g} s") from None
        finally:
            ended.cancel()


def check_free(addresses: Iterable[SipAddress], purpose: str) -> None:
    """StageError naming the first address that something else uses."""
    for address in addresses:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        kind = socket.SOCK_STREAM if address.transport.is_stream else socket.SOCK_DGRAM
        with socket.socket(family, kind) as probe:
            if address.transport.is_stream:  # as servers do: a closed connection is no user
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address.host, address.port))
            except OSError as error:
                place = str(address)
                why = error.strerror.lower() if error.strerror else str(error)
                raise StageError(f"{place} ({purpose}): {why}") from None


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that are free for UDP and TCP right now."""
    found: list[int] = []
    for port in random.sample(_PORTS, len(_PORTS)):
        here = [
            SipAddress(transport, "127.0.0.1", port) for transport in (Transport.UDP, Transport.TCP)
        ]
        with contextlib.suppress(StageError):
            check_free(here, "")
            found.append(port)
        if len(found) == count:
            return found
    raise StageError(f"no {count} free ports among {_PORTS.start} to {_PORTS.stop - 1}")


def own_command() -> str:
    """How to call `rmlb` from here, as short as it goes."""
    command = Path(sys.executable).with_name("rmlb")
    with contextlib.suppress(ValueError):
        return str(command.relative_to(Path.cwd()))
    return str(command)
