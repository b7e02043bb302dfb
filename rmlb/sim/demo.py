"""`make demo`: half a minute of calls. A member is drained, one is killed, the owner is killed.

    python -m rmlb.sim.demo [--pace 0.5]

A pair of balancers and their members are child processes on loopback; the calls come from here.
Shows what happens as it happens and ends with a table. Exit status 0 if no call was lost and
nothing else went wrong, 1 if not, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
import tempfile
from dataclasses import dataclass, field
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Final

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from rmlb.sim.call import CallPlan
from rmlb.sim.network import VIP, VirtualWire
from rmlb.sim.pair import HOST, LOG, Pair
from rmlb.sim.sip_server import SimulatedSipServer
from rmlb.sim.stage import StageError
from rmlb.sim.tally import CallRecord
from rmlb.sim.verdict import Killing, Verdict, judge
from rmlb.sip.address import SipAddress, Transport

RATE: Final = 30.0
HOLD_S: Final = 1.0
T1_S: Final = 0.2
"""The callers' T1: loopback answers within a millisecond, and a lost call is to be known
within the demonstration (64 T1)."""

DRAINED: Final = 1
KILLED: Final = 2


@dataclass(slots=True)
class Show:
    """What is on the stage, and what is known of it."""

    console: Console
    pair: Pair
    caller: SimulatedSipServer
    records: list[CallRecord] = field(default_factory=list)
    seen: dict[int, dict[str, Any]] = field(default_factory=dict)
    """The members as the owner last told."""
    rates: dict[int, int] = field(default_factory=dict)
    """New calls of each member in the last second."""

    def say(self, text: str) -> None:
        self.console.print(f"[bold]{text}[/bold]", highlight=False)

    async def look(self) -> None:
        """Ask the owner how the members are; while there is none, what was known stays."""
        before = self.seen
        with contextlib.suppress(StageError):
            self.seen = await self.pair.seen()
        for number, member in self.seen.items():
            offered = member["initial_requests_total"]
            known = before.get(number, {}).get("initial_requests_total", offered)
            # Each balancer counts for itself: after a takeover the count begins anew.
            self.rates[number] = offered - known if offered >= known else offered

    def standing(self, number: int) -> str:
        """Of a balancer."""
        if not self.pair.balancers[number].child.running:
            return "killed"
        return "owner" if self.pair.network.owner == number else "standby"


@dataclass(frozen=True, slots=True)
class Played:
    """What the scenes tell beside the calls."""

    drained_calls: int
    """New calls that the draining member got."""
    killing: Killing
    takeover_s: float
    """From the end of the owner until the other one had the virtual IP."""


def main(arguments: list[str]) -> int:
    """The exit status. `--pace` stretches the scenes, 1 is some 30 s."""
    parser = argparse.ArgumentParser(prog="python -m rmlb.sim.demo", description="A short show.")
    parser.add_argument("--pace", type=float, default=1.0, help="length of the scenes; 1: 30 s")
    pace = parser.parse_args(arguments).pace
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # also a pipe sees it as it happens
    console = Console()
    try:
        return asyncio.run(_run(console, pace))
    except (StageError, OSError) as error:
        console.print(f"demo: {error}", style="red", highlight=False)
        return 1
    except (asyncio.CancelledError, KeyboardInterrupt):
        console.print("demo: interrupted")
        return 130


async def _run(console: Console, pace: float) -> int:
    _end_by_signal()
    with tempfile.TemporaryDirectory(prefix="rmlb-demo-") as name:
        directory = Path(name)
        try:
            async with Pair.running(directory) as pair:
                target = SipAddress(Transport.UDP, VIP, pair.sip_port)
                caller = SimulatedSipServer(
                    CallPlan(target, hold_s=HOLD_S), rate=RATE, calls=None, t1_s=T1_S,
                    wires=[VirtualWire(HOST, 0, pair.network)],
                )  # fmt: skip
                show = Show(console, pair, caller)
                caller.on_end = show.records.append
                played = await _perform(show, pace)
        except StageError:
            _show_log(console, directory)
            raise
        verdict = judge(show.records, played.killing, played.drained_calls)
        if not verdict.as_promised:
            _show_log(console, directory)
    console.print(_summary(show, verdict, played))
    for line in verdict.words:
        console.print(line, highlight=False)
    return 0 if verdict.as_promised else 1


def _show_log(console: Console, directory: Path) -> None:
    """What the processes said, for who wants to know what went wrong."""
    with contextlib.suppress(OSError):
        log = (directory / LOG).read_text(errors="replace")
        console.print(log, highlight=False, markup=False, soft_wrap=True)


def _end_by_signal() -> None:
    """Cancel the task that calls this, once: a second Ctrl-C does not disturb the tidying up."""
    task = asyncio.current_task()
    assert task is not None
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    loop = asyncio.get_running_loop()

    def end() -> None:
        if not task.cancelling():
            task.cancel()

    for number in signals:
        loop.add_signal_handler(number, end)


async def _perform(show: Show, pace: float) -> Played:
    calls = asyncio.create_task(show.caller.run(), name="calls")
    watching = asyncio.create_task(_watch(show), name="watch")
    try:
        played = await _play(show, pace)
        show.caller.stop()
        await calls
        return played
    finally:
        for running in (watching, calls):
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running


async def _play(show: Show, pace: float) -> Played:
    """The scenes."""
    pair = show.pair
    owner = pair.network.owner
    show.say(f"Watch it on the dashboard: {pair.url}")
    show.say(
        f"{RATE:g} calls a second, each with a re-INVITE, over two members; "
        f"balancer {owner} owns the virtual IP"
    )
    await asyncio.sleep(7.0 * pace)  # also the time to open it

    show.say(f"member {DRAINED} is drained: its calls go on, new ones go elsewhere")
    await pair.put_state(DRAINED, "draining")
    before = await pair.offered(DRAINED)
    await asyncio.sleep(3.0 * pace)
    drained_calls = await pair.offered(DRAINED) - before
    await pair.put_state(DRAINED, "enabled")
    show.say(f"member {DRAINED} is enabled again")
    await asyncio.sleep(2.0 * pace)

    killing = await _kill_member(show, pace)
    takeover_s = await _kill_owner(show, pace)
    return Played(drained_calls, killing, takeover_s)


async def _kill_member(show: Show, pace: float) -> Killing:
    pair = show.pair
    show.say(f"member {KILLED} is killed (SIGKILL) in the middle of its calls")
    killed_at = asyncio.get_running_loop().time()
    await pair.members[KILLED].kill()
    out_at = await pair.wait_health(KILLED, "out of service", 10.0)
    show.say(f"the balancer has noticed after {_ms(out_at - killed_at)}")
    await asyncio.sleep(4.0 * pace)
    show.say(f"member {KILLED} is started again")
    await pair.members[KILLED].start()
    await pair.wait_health(KILLED, "in service", 15.0)
    show.say("and gets new calls again, a growing share at first")
    await asyncio.sleep(4.0 * pace)
    return Killing(KILLED, killed_at, out_at)


async def _kill_owner(show: Show, pace: float) -> float:
    pair = show.pair
    former = pair.network.owner
    show.say(f"balancer {former}, which owns the virtual IP, is killed (SIGKILL, all of it)")
    killed_at = asyncio.get_running_loop().time()
    await pair.balancers[former].child.kill()
    try:
        async with asyncio.timeout(10.0):
            new = await pair.network.wait_owner(other_than=former)
    except TimeoutError:
        raise StageError("no other balancer took over within 10 s") from None
    took_s = asyncio.get_running_loop().time() - killed_at
    show.say(f"balancer {new} has the virtual IP after {_ms(took_s)}; the calls go on")
    await asyncio.sleep(5.0 * pace)
    again = pair.balancers[former]
    show.say(f"balancer {former} is started again, and stands by")
    await again.child.start()
    await again.api.wait_ready(again.child)
    await asyncio.sleep(2.0 * pace)
    return took_s


async def _watch(show: Show) -> None:
    """Show the members and the calls once a second: in place, or line by line into a file."""
    live = Live(console=show.console, refresh_per_second=4, transient=True)
    with live if show.console.is_terminal else contextlib.nullcontext():
        while True:
            await show.look()
            if show.console.is_terminal:
                live.update(Group(_progress(show), _members(show), _balancers(show)))
            else:
                show.console.print(_one_line(show), soft_wrap=True, highlight=False)
            await asyncio.sleep(1.0)


def _progress(show: Show) -> str:
    tally = show.caller.tally
    return (
        f"{tally.placed} placed, {tally.under_way} under way, "
        f"{tally.completed} completed, {tally.failed} failed"
    )


def _one_line(show: Show) -> str:
    members = (
        f"{number}: {member['admin_state']}, {member['health']}, {show.rates[number]} new calls/s"
        for number, member in show.seen.items()
    )
    balancers = ", ".join(f"balancer {n}: {show.standing(n)}" for n in show.pair.balancers)
    return f"  {_progress(show)} | {' | '.join(members)} | {balancers}"


def _members(show: Show) -> Table:
    table = Table(min_width=70)
    for column in ("member", "operator", "health", "calls", "new calls/s"):
        table.add_column(column, justify="left" if column in ("operator", "health") else "right")
    for number, member in show.seen.items():
        health = member["health"]
        colour = "green" if health == "in service" else "red"
        table.add_row(
            str(number),
            member["admin_state"],
            f"[{colour}]{health}[/{colour}]",
            str(member["calls"]),
            str(show.rates[number]),
        )
    return table


def _balancers(show: Show) -> str:
    colours = {"owner": "green", "standby": "default", "killed": "red"}
    words = ((n, show.standing(n)) for n in show.pair.balancers)
    return "   ".join(f"balancer {n}: [{colours[word]}]{word}[/]" for n, word in words)


def _summary(show: Show, verdict: Verdict, played: Played) -> Table:
    tally, killed = show.caller.tally, played.killing.member
    table = Table(title="What became of the calls", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_row("placed", str(tally.placed))
    table.add_row("completed", str(tally.completed))
    table.add_row("lost", str(verdict.lost))
    table.add_row(f"moved away from member {killed} when it was killed", str(verdict.moved))
    table.add_row("answers from a wrong member", str(verdict.misrouted))
    table.add_row("the other balancer had the virtual IP after", _ms(played.takeover_s))
    for number, count in sorted(tally.members.items()):
        table.add_row(f"answered by member {number}", f"{count / tally.members.total():.0%}")
    for quantile, seconds in tally.setup_quantiles().items():
        name = "slowest" if quantile == 1.0 else f"{quantile:.0%}"
        table.add_row(f"INVITE to 200, {name}", f"{seconds * 1000:.1f} ms")
    return table


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
