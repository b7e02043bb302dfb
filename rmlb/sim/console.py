"""The simulators on a terminal: signals, progress, tallies, exit status.

Owns what `rmlb simulate` prints; its options are cli.simulate's.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from rmlb.sim.rm import SimulatedRm
from rmlb.sim.sip_server import SimulatedSipServer
from rmlb.sim.wire import WireError


def run(main: Coroutine[Any, Any, int]) -> int:
    """Run to the end: its exit status, 1 after one line when an address cannot be had."""
    try:
        return asyncio.run(main)
    except WireError as error:
        print(f"rmlb: {error}", file=sys.stderr)
        return 1


def on_stop_signal(callback: Callable[[], None]) -> None:
    """Call it upon SIGINT (Ctrl-C) and SIGTERM."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, callback)


async def serve(rm: SimulatedRm) -> int:
    """Be a Resource Manager until stopped, then print its tally. Raises WireError.

    Upon SIGUSR1 it winds down: OPTIONS get 503, calls are still taken.
    """
    stop = asyncio.Event()
    on_stop_signal(stop.set)
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, rm.wind_down)
    await rm.start()
    for transport, wire in rm.agent.wires.items():
        print(f"member {rm.member_id} listens on {transport}:{wire.host}:{wire.port}", flush=True)
    await stop.wait()
    print(await rm.stop(), flush=True)
    return 0


async def place(server: SimulatedSipServer) -> int:
    """Place the calls, print the tally: 0 if every call was made and completed, 1 if not."""
    on_stop_signal(server.stop)
    progress = asyncio.create_task(_progress(server), name="progress")
    try:
        tally = await server.run()
    finally:
        progress.cancel()
    _clear_line()
    print(tally, flush=True)
    all_placed = server.calls is None or tally.placed == server.calls
    return 0 if all_placed and tally.all_completed else 1


async def _progress(server: SimulatedSipServer) -> None:
    """One line a second, in place, and on a terminal only."""
    if not sys.stdout.isatty():
        return
    while True:
        await asyncio.sleep(1.0)
        _clear_line()
        print(server.tally.progress, end="", flush=True)


def _clear_line() -> None:
    if sys.stdout.isatty():
        print("\r\033[K", end="", flush=True)
