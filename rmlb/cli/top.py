"""`rmlb top`: members, calls, rates, latencies, virtual IP, balancers and events, live.

Shows what GET /api/v1/stream pushes once a second; goes on trying when the balancer is away.
Written with rich, which is here anyway: four tables and two keys need no framework.
"""

from __future__ import annotations

import os
import select
import sys
import termios
import threading
import time
import tty
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import pairwise
from typing import Any, Final, Literal

from rich.console import Console, Group, RenderableType
from rich.layout import Layout
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from rmlb.cli import styles
from rmlb.cli.client import ApiClient
from rmlb.cli.failure import CliError
from rmlb.cli.layout import clean, duration

REFRESH_S: Final = 0.25
RETRY_S: Final = 1.0
WIDE: Final = 110
"""Columns of a terminal that shows everything."""

NARROW: Final = 76
"""Columns of a terminal that shows what matters most; below that, less."""

_COLUMNS: Final[tuple[tuple[int, str, Literal["left", "right"]], ...]] = (
    (0, "RM", "left"), (0, "HEALTH", "left"), (0, "OPERATOR", "left"), (0, "CALLS", "right"),
    (0, "NEW/S", "right"), (NARROW, "REQ/S", "right"), (0, "4-6XX", "right"),
    (NARROW, "LATENCY", "right"), (WIDE, "2XX", "right"), (WIDE, "WEIGHT", "right"),
    (WIDE, "NEW CALLS, 2 MIN", "left"),
)  # fmt: skip
"""Of the members: from which width on, head, side."""

FOOT: Final = 1
"""Lines; it is always there, and of the rest as much as there is room for."""

SECONDS: Final = 120
"""Of rates, for the small pictures."""

_BARS: Final = " ▁▂▃▄▅▆▇█"


def show_top(client: ApiClient) -> None:
    """Run until q, Ctrl-C or the end of the terminal. Raises CliError off a terminal."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise CliError("top needs a terminal; `rmlb status` does not")
    screen = Screen(client.url)
    reader = threading.Thread(target=_read, args=(client, screen), daemon=True)
    reader.start()
    console = Console()
    with _keys(), Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(screen.render(console.width, console.height), refresh=True)
            if _pressed(REFRESH_S) in ("q", "Q", "\x03", "\x04"):
                return


def _read(client: ApiClient, screen: Screen) -> None:
    """In its own thread: what the balancer pushes, again and again."""
    while True:
        try:
            for frame in client.stream("/api/v1/stream"):
                screen.take(frame)
            screen.lost("the balancer has stopped")
        except CliError as error:
            screen.lost(str(error))
        time.sleep(RETRY_S)


class Screen:
    """What is known, and how it looks. Knows no terminal."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._status: dict[str, Any] | None = None
        self._fault = ""
        self._width = WIDE
        self._events: deque[dict[str, Any]] = deque(maxlen=200)
        self._offered_before: dict[int, list[tuple[float, int | None]]] = {}
        """Initial requests of each member before this screen was opened."""
        self._totals: deque[tuple[float, dict[str, Any]]] = deque(maxlen=SECONDS + 1)

    def take(self, frame: dict[str, Any]) -> None:
        """One object of the stream."""
        with self._lock:
            kind = frame.get("kind")
            if kind == "history":
                self._offered_before = {
                    int(number): list(zip(frame["at"], columns["offered"], strict=True))
                    for number, columns in frame["members"].items()
                }
            elif kind == "snapshot":
                self._status, self._fault = frame["status"], ""
                self._totals.append((frame["at"], frame["status"]))
            elif kind == "events":
                self._events.clear()
                self._events.extend(frame["events"])
                self._totals.clear()
            elif kind == "event":
                self._events.append(frame)

    def lost(self, why: str) -> None:
        with self._lock:
            self._fault = why

    def render(self, width: int, height: int) -> RenderableType:
        """The whole screen."""
        with self._lock:
            self._width = width
            if self._status is None:
                return self._waiting(height)
            status = self._status
            hep = 1 if status["trace"]["collector"] else 0
            parts = [
                Layout(self._head(status), size=4),
                Layout(self._members(status), size=len(status["members"]) * 2 + 3),
                Layout(self._balancers(status), size=max(1, len(status["peers"])) + 4 + hep),
                Layout(self._recent(max(1, height)), minimum_size=3),
            ]
            layout = Layout()
            layout.split_column(*_fitting(parts, height - FOOT), Layout(self._foot(), size=FOOT))
            return layout

    def _waiting(self, height: int) -> RenderableType:
        said = self._fault or f"connecting to {self._url}"
        panel = Panel(Text(said), title="rmlb top", padding=(0, 1), height=max(3, height - FOOT))
        return Group(panel, self._foot())

    def _head(self, status: dict[str, Any]) -> RenderableType:
        line = _one_line(
            ("rmlb ", "bold"),
            f"{status['version']}  ",
            ("ready", "green") if status["ready"] else (f"not ready: {status['reason']}", "red"),
            f"  {status['ha_mode']}  up {duration(status['uptime_s'])}  {status['engine']} engine",
        )
        calls = sum(each["calls"] for each in status["members"])
        dropped = status["messages"]["dropped"]
        second = _one_line(
            ("calls ", "dim"), (f"{calls:,}", "bold"),
            ("   new calls/s ", "dim"), (_rate(self._offered()), "bold"),
            ("   messages/s ", "dim"), (_rate(self._rate(_received)), "bold"),
            ("   dropped ", "dim"),
            (f"{dropped:,}", "yellow" if dropped else ""),
            ("   remembered ", "dim"), f"{status['pending_requests']:,}",
        )  # fmt: skip
        return Panel(Group(line, second), padding=(0, 1), border_style="blue")

    def _members(self, status: dict[str, Any]) -> RenderableType:
        """Two lines each: figures, and since when and why across the whole width."""
        columns = [(head, side) for least, head, side in _COLUMNS if self._width >= least]
        rows = [[Text(head, "dim") for head, _ in columns]]
        for index, each in enumerate(status["members"]):
            cells = self._cells(index, each)
            rows.append([cells[head] for head, _ in columns])
        widths = [max(row[i].cell_len for row in rows) for i in range(len(columns))]
        lines: list[RenderableType] = []
        for number, row in enumerate(rows):
            grid = Table.grid(padding=(0, 2, 0, 0), expand=True, pad_edge=False)
            for (head, side), width in zip(columns, widths, strict=True):
                gives_way = head == "HEALTH"
                grid.add_column(
                    justify=side, no_wrap=True, overflow="ellipsis",
                    width=None if gives_way else width, ratio=1 if gives_way else None,
                )  # fmt: skip
            grid.add_row(*row)
            lines.append(grid)
            if number:
                lines.append(_one_line((f"    {_since(status['members'][number - 1])}", "dim")))
        return Panel(Group(*lines), title="members", title_align="left", padding=(0, 1))

    def _cells(self, index: int, member: dict[str, Any]) -> dict[str, Text]:
        """What there is to say of a member, by head."""
        answers = member["responses_total"]
        failed = sum(answers.get(name, 0) for name in ("4xx", "5xx", "6xx"))
        role = {None: "", True: " active", False: " passive"}[member["active"]]
        health, admin = member["health"], member["admin_state"]
        return {
            "RM": Text(str(member["id"]), "bold"),
            "HEALTH": Text(health + role, styles.HEALTH.get(health, "")),
            "OPERATOR": Text(admin, styles.ADMIN.get(admin, "")),
            "CALLS": Text(f"{member['calls']:,}"),
            "NEW/S": Text(_rate(self._member_rate(index, "initial_requests_total"))),
            "REQ/S": Text(_rate(self._member_rate(index, "requests_total"))),
            "4-6XX": Text(f"{failed:,}", "yellow" if failed else ""),
            "LATENCY": Text(_latency(member)),
            "2XX": Text(f"{answers.get('2xx', 0):,}"),
            "WEIGHT": Text(f"{member['weight']} %" if member["takes_new_calls"] else "none"),
            "NEW CALLS, 2 MIN": Text(self._picture(index, member["id"]), "blue"),
        }

    def _balancers(self, status: dict[str, Any]) -> RenderableType:
        vip = status["vip"]
        here = ("held here", "green") if vip["owner"] else ("not here", "yellow")
        lines = [
            _one_line(
                ("virtual IP  ", "dim"),
                f"{vip['address']}  ",
                here,
                f"  provider {vip['provider']}",
            )
        ]
        for peer in status["peers"]:
            word = ("silent", "bold red") if not peer["alive"] else ("standby", "")
            word = ("owner", "green") if peer["alive"] and peer["owner"] else word
            lines.append(
                _one_line(("balancer ", "dim"), f"{peer['id']}  {peer['address']}  ", word)
            )
        if not status["peers"]:
            lines.append(Text("no other balancer", "dim"))
        state, trace = status["state"], status["trace"]
        store = ("connected", "green") if state["connected"] else ("not connected", "bold red")
        lines.append(
            _one_line(
                ("state       ", "dim"), f"{state['backend']}, ", store, ("   bindings ", "dim"),
                f"{status['bindings']:,}",
            )
        )  # fmt: skip
        if trace["collector"]:
            sent = f"{trace['hep_sent']:,} sent, {trace['hep_lost']:,} lost"
            lines.append(_one_line(("HEP         ", "dim"), f"{trace['collector']}, {sent}"))
        return Panel(Group(*lines), title="balancers", title_align="left", padding=(0, 1))

    def _recent(self, most: int) -> RenderableType:
        table = Table(box=None, show_header=False, pad_edge=False, expand=True)
        table.add_column(no_wrap=True, width=8)
        table.add_column(no_wrap=True, min_width=21)
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        for event in list(self._events)[: -most - 1 : -1]:
            at = datetime.fromtimestamp(event["at"]).astimezone().strftime("%H:%M:%S")
            fields = "  ".join(f"{key}={clean(v)}" for key, v in event["fields"].items())
            style = styles.SEVERITY.get(event["severity"], "")
            table.add_row(Text(at, "dim"), Text(event["name"], style), Text(fields))
        return Panel(table, title="events", title_align="left", padding=(0, 1))

    def _foot(self) -> RenderableType:
        quit = ((" q", "bold"), " quit   ")
        if self._fault and self._status is not None:
            return _one_line(*quit, ("not live: ", "bold red"), (self._fault, "red"))
        word = ("live", "green") if self._status is not None else ("waiting", "yellow")
        return _one_line(*quit, word, (f"  {self._url}", "dim"))

    # rates

    def _rate(self, total: Any, span: int = 3) -> float:
        """Per second, over the last few."""
        if len(self._totals) < 2:
            return 0.0
        (begin, first), (end, last) = (
            self._totals[-min(span + 1, len(self._totals))],
            (self._totals[-1]),
        )
        return float(max(0.0, (total(last) - total(first)) / (end - begin))) if end > begin else 0.0

    def _member_rate(self, index: int, name: str) -> float:
        return self._rate(lambda status: _of(status, index, name))

    def _offered(self) -> float:
        return self._rate(
            lambda status: sum(each["initial_requests_total"] for each in status["members"])
        )

    def _picture(self, index: int, number: int, width: int = 24) -> str:
        """New calls a second as bars, the newest on the right."""
        totals = [(at, _of(status, index, "initial_requests_total")) for at, status in self._totals]
        before = [
            (at, total)
            for at, total in self._offered_before.get(number, ())
            if total is not None and at < totals[0][0]
        ]
        marks = [*before, *totals][::-1][:: SECONDS // width][width::-1]
        rates = [
            max(0.0, (b - a) / max(0.1, end - begin)) for (begin, a), (end, b) in pairwise(marks)
        ]
        most = max([*rates, 0.001])
        return "".join(_BARS[round(rate / most * 8)] for rate in rates).rjust(width)


def _one_line(*parts: str | Text | tuple[str, str]) -> Text:
    """Cut where the terminal ends."""
    return Text.assemble(*parts, no_wrap=True, overflow="ellipsis")


def _fitting(parts: list[Layout], height: int) -> list[Layout]:
    """The first, and of the others, in their order, as many as there is room for."""
    taken = 0
    for count, part in enumerate(parts):
        taken += part.size or part.minimum_size
        if taken > height and count:
            left = height - taken + (part.size or part.minimum_size)
            return [*parts[:count], *([Layout(Text(), size=left)] if left else [])]
    return parts


def _received(status: dict[str, Any]) -> int:
    return int(status["messages"]["received"])


def _of(status: dict[str, Any], index: int, name: str) -> int:
    members = status["members"]
    return int(members[index][name]) if index < len(members) else 0


def _latency(member: dict[str, Any]) -> str:
    seconds = member["probe"]["latency_s"]
    return "-" if seconds is None else f"{seconds * 1000:.1f} ms"


def _since(member: dict[str, Any]) -> str:
    if member["draining"] is not None:
        return f"draining, {member['draining']['left']} left"
    if member["since"] is None:
        return ""
    return f"{duration(max(0.0, time.time() - member['since']))}, {clean(member['why'])}"


def _rate(value: float) -> str:
    return f"{value:.1f}" if 0 < value < 9.95 else f"{value:,.0f}"


@contextmanager
def _keys() -> Iterator[None]:
    """Keys come one by one, and are not shown."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _pressed(timeout_s: float) -> str:
    """The next key, or nothing within that time."""
    readable, _, _ = select.select([sys.stdin], [], [], timeout_s)
    if not readable:
        return ""
    found = os.read(sys.stdin.fileno(), 64)
    return found[:1].decode(errors="replace") if found else "\x04"
