"""`make demo`: half a minute of calls, in which a member is drained and another one killed.

    python -m rmlb.sim.demo [--pace 0.5]

Balancer and members are child processes on free ports of loopback; the calls come from here.
Shows what happens as it happens and ends with a table. Exit status 0 unless something fails
that this version promises; what it does not promise is shown, not hidden.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.live import Live
from rich.table import Table

from rmlb.config.addresses import HostPort
from rmlb.sim.call import CallPlan
from rmlb.sim.sip_server import SimulatedSipServer
from rmlb.sim.stage import AdminApi, Child, StageError, free_ports
from rmlb.sim.tally import CallRecord
from rmlb.sim.verdict import Killing, Verdict, judge
from rmlb.sip.address import SipAddress, Transport

HOST: Final = "127.0.0.1"
RATE: Final = 50.0
HOLD_S: Final = 1.0
T1_S: Final = 0.1
"""The callers' T1: loopback answers within a millisecond, and a lost call is to be known
within the demonstration (64 T1)."""

LOG: Final = "processes.log"
"""What balancer and members print; shown when something goes wrong."""

DRAINED: Final = 1
KILLED: Final = 2

_CONFIG: Final = """\
[cluster]
ha-mode = "active-active"
virtual-ip = "{host}"
[rm.1]
sip = "{host}:{rm1}"
[rm.2]
sip = "{host}:{rm2}"
[sip]
listen = ["udp:{sip}", "tcp:{sip}"]
[health]
interval = "1s"
timeout = "1s"
slow-start = "2s"
[state]
dir = "{state}"
[admin]
listen = "{host}:{admin}"
[trace]
keep = 20000
[log]
level = "warning"
"""


@dataclass(slots=True)
class Stage:
    """Everything that runs, and what is known of it."""

    console: Console
    api: AdminApi
    balancer: Child
    members: dict[int, Child]
    caller: SimulatedSipServer
    records: list[CallRecord] = field(default_factory=list)
    seen: dict[int, dict[str, Any]] = field(default_factory=dict)
    """The members as the balancer last told."""
    rates: dict[int, int] = field(default_factory=dict)
    """New calls of each member in the last second."""

    def say(self, text: str) -> None:
        self.console.print(f"[bold]{text}[/bold]", highlight=False)

    async def look(self) -> None:
        """Ask the balancer how its members are."""
        before, self.seen = self.seen, await self.api.members()
        for number, member in self.seen.items():
            offered = member["initial_requests_total"]
            self.rates[number] = offered - before.get(number, {}).get("initial_requests_total", 0)

    async def wait_health(self, member: int, health: str, limit_s: float) -> float:
        """Wait until the balancer says that of the member: the moment. StageError."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(limit_s):
                while True:
                    if (await self.api.members())[member]["health"] == health:
                        return loop.time()
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise StageError(f"member {member} is not {health} after {limit_s:g} s") from None


def main(arguments: list[str]) -> int:
    """The exit status. `--pace` stretches the scenes, 1 is some 30 s."""
    parser = argparse.ArgumentParser(prog="python -m rmlb.sim.demo", description="A short show.")
    parser.add_argument("--pace", type=float, default=1.0, help="length of the scenes; 1: 30 s")
    pace = parser.parse_args(arguments).pace
    console = Console()
    try:
        return asyncio.run(_show(console, pace))
    except (StageError, OSError) as error:
        console.print(f"demo: {error}", style="red", highlight=False)
        return 1
    except asyncio.CancelledError:
        console.print("demo: interrupted")
        return 130


async def _show(console: Console, pace: float) -> int:
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with tempfile.TemporaryDirectory(prefix="rmlb-demo-") as directory:
        async with _set(console, Path(directory)) as stage:
            calls = asyncio.create_task(stage.caller.run(), name="calls")
            watching = asyncio.create_task(_watch(stage), name="watch")
            try:
                drained_calls, killing = await _play(stage, pace)
                stage.caller.stop()
                await calls
            finally:
                for running in (watching, calls):
                    running.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await running
            verdict = judge(stage.records, killing, drained_calls)
            console.print(_summary(stage, verdict, killing))
            for line in verdict.words:
                console.print(line, highlight=False)
            return 0 if verdict.as_promised else 1


@contextlib.asynccontextmanager
async def _set(console: Console, directory: Path) -> AsyncIterator[Stage]:
    """Two members, a balancer, and calls that are ready to begin."""
    sip, admin, first, second = free_ports(4)
    config = directory / "demo.toml"
    config.write_text(
        _CONFIG.format(
            host=HOST, sip=sip, admin=admin, rm1=first, rm2=second, state=directory / "state"
        )
    )
    with (directory / LOG).open("wb") as log:
        members = {
            number: Child(
                f"member {number}",
                *("simulate", "rm", "--id", str(number), "--listen", f"{HOST}:{port}"),
                output=log,
            )
            for number, port in ((1, first), (2, second))
        }
        balancer = Child("balancer", "run", str(config), output=log)
        plan = CallPlan(SipAddress(Transport.UDP, HOST, sip), hold_s=HOLD_S)
        caller = SimulatedSipServer(plan, rate=RATE, calls=None, t1_s=T1_S)
        api = AdminApi(HostPort(HOST, admin))
        stage = Stage(console, api, balancer, members, caller)
        caller.on_end = stage.records.append
        try:
            for child in (*members.values(), balancer):
                await child.start()
            await api.wait_ready(balancer)
            for number in members:
                await stage.wait_health(number, "in service", 10.0)
            yield stage
        except StageError:
            console.print((directory / LOG).read_text(errors="replace"), highlight=False)
            raise
        finally:
            await api.close()
            for child in (balancer, *members.values()):
                await child.stop()


async def _play(stage: Stage, pace: float) -> tuple[int, Killing]:
    """The scenes. New calls that a drained member got, and what is known of the killing."""
    loop = asyncio.get_running_loop()
    stage.say(f"Watch it on the dashboard: {stage.api.url}/")
    await asyncio.sleep(4.0 * pace)  # time to open it
    stage.say(f"{RATE:g} calls a second, each with a re-INVITE, over two members")
    await asyncio.sleep(6.0 * pace)

    stage.say(f"member {DRAINED} is drained: its calls go on, new ones go elsewhere")
    await stage.api.put_state(DRAINED, "draining")
    before = (await stage.api.members())[DRAINED]["initial_requests_total"]
    await asyncio.sleep(5.0 * pace)
    after = (await stage.api.members())[DRAINED]["initial_requests_total"]
    await stage.api.put_state(DRAINED, "enabled")
    stage.say(f"member {DRAINED} is enabled again")
    await asyncio.sleep(5.0 * pace)

    stage.say(f"member {KILLED} is killed (SIGKILL) in the middle of its calls")
    killed_at = loop.time()
    await stage.members[KILLED].kill()
    out_at = await stage.wait_health(KILLED, "out of service", 10.0)
    stage.say(f"the balancer has noticed after {(out_at - killed_at) * 1000:.0f} ms")
    await asyncio.sleep(4.0 * pace)

    stage.say(f"member {KILLED} is started again")
    await stage.members[KILLED].start()
    back_at = await stage.wait_health(KILLED, "in service", 15.0)
    stage.say("and gets new calls again, a growing share at first")
    await asyncio.sleep(5.0 * pace)
    return after - before, Killing(KILLED, killed_at, out_at, back_at)


async def _watch(stage: Stage) -> None:
    """Show the members and the calls once a second: in place, or line by line into a file."""
    live = Live(console=stage.console, refresh_per_second=4, transient=True)
    with live if stage.console.is_terminal else contextlib.nullcontext():
        while True:
            await stage.look()
            if stage.console.is_terminal:
                live.update(_members(stage))
            else:
                stage.console.print(_one_line(stage), soft_wrap=True, highlight=False)
            await asyncio.sleep(1.0)


def _progress(stage: Stage) -> str:
    tally = stage.caller.tally
    return (
        f"{tally.placed} placed, {tally.under_way} under way, "
        f"{tally.completed} completed, {tally.failed} failed"
    )


def _one_line(stage: Stage) -> str:
    members = (
        f"{number}: {member['admin_state']}, {member['health']}, {stage.rates[number]} new calls/s"
        for number, member in stage.seen.items()
    )
    return f"  {_progress(stage)} | {' | '.join(members)}"


def _members(stage: Stage) -> Table:
    table = Table(title=_progress(stage), title_justify="left", min_width=70)
    for column in ("member", "operator", "health", "calls", "new calls/s"):
        table.add_column(column, justify="left" if column in ("operator", "health") else "right")
    for number, member in stage.seen.items():
        health = member["health"]
        colour = "green" if health == "in service" else "red"
        table.add_row(
            str(number),
            member["admin_state"],
            f"[{colour}]{health}[/{colour}]",
            str(member["calls"]),
            str(stage.rates[number]),
        )
    return table


def _summary(stage: Stage, verdict: Verdict, killing: Killing) -> Table:
    tally = stage.caller.tally
    table = Table(title="What became of the calls", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_row("placed", str(tally.placed))
    table.add_row("completed", str(tally.completed))
    table.add_row("failed", str(tally.failed))
    table.add_row(f"moved away from member {killing.member} when it was killed", str(verdict.moved))
    table.add_row("answers from a wrong member", str(verdict.misrouted))
    for number, count in sorted(tally.members.items()):
        table.add_row(f"answered by member {number}", f"{count / tally.members.total():.0%}")
    for quantile, seconds in tally.setup_quantiles().items():
        name = "slowest" if quantile == 1.0 else f"{quantile:.0%}"
        table.add_row(f"INVITE to 200, {name}", f"{seconds * 1000:.1f} ms")
    return table


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
