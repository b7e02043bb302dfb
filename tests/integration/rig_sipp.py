"""Of the rig: sipp as a caller or as a member, its scenarios and its statistics."""

from __future__ import annotations

import contextlib
import csv
import re
import signal
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from rig_process import HOST, Process, free_port, free_ports, is_bound, wait_until

SCENARIOS = Path(__file__).parent / "scenarios"


@dataclass(frozen=True, slots=True)
class SippResult:
    """The final line of sipp's statistics. `counters`: those that the scenario declares."""

    exit_status: int
    created: int
    current: int
    successful: int
    failed: int
    unexpected: int
    """Failed calls whose reason is a message that the scenario does not expect there."""
    retransmissions: int
    reasons: dict[str, int] = field(default_factory=dict)
    """Failed calls by sipp's own reason, for example FailedStrcmpDoesntMatch (misrouted)."""
    counters: dict[str, int] = field(default_factory=dict)


class Sipp(Process):
    """One sipp: a caller (with `target`) or a member (without).

    `scenario` names a file of scenarios/ without ".xml", or sipp's own as "sn:uac".
    `transport`: u1, t1 or tn. `hold_ms` is sipp's -d. `keys` are -key, for members always
    {"member": N}. `trace` keeps every message (see `messages`).
    """

    def __init__(
        self,
        directory: Path,
        scenario: str,
        *,
        target: int | str | None = None,
        port: int | None = None,
        transport: str = "u1",
        rate: float = 10,
        calls: int | None = None,
        hold_ms: int = 0,
        keys: Mapping[str, object] | None = None,
        limit: int = 5000,
        timeout_s: float = 120.0,
        trace: bool = False,
        args: Iterable[str] = (),
        name: str | None = None,
    ) -> None:
        self.port = free_port() if port is None else port
        self.transport = transport
        self.timeout_s = timeout_s
        self._is_caller = target is not None
        self._is_ending = False
        name = name or f"{scenario.replace(':', '_')}-{self.port}"
        self._statistics = directory / f"{name}.csv"
        self._errors = directory / f"{name}.errors"
        self._messages = directory / f"{name}.messages"
        own = scenario.partition("sn:")[2]
        media = free_ports(4)  # sipp binds audio and video, RTP and RTCP, whatever the scenario
        command: list[str] = ["sipp"]
        if target is not None:
            command.append(f"{HOST}:{target}" if isinstance(target, int) else target)
        command += ["-sn", own] if own else ["-sf", str(SCENARIOS / f"{scenario}.xml")]
        command += ["-i", HOST, "-p", str(self.port), "-t", transport, "-nostdin"]
        command += ["-cp", str(free_port()), "-mp", str(media[0])]
        command += ["-buff_size", "1048576", "-max_socket", "20000"]
        command += ["-trace_err", "-error_file", str(self._errors)]
        command += ["-trace_stat", "-stf", str(self._statistics), "-fd", "1"]
        command += ["-d", str(hold_ms)]
        for key, value in (keys or {}).items():
            command += ["-key", key, str(value)]
        if trace:
            command += ["-trace_msg", "-message_file", str(self._messages)]
        if self._is_caller:
            command += ["-r", f"{rate:g}", "-l", str(limit), "-timeout", f"{timeout_s:.0f}"]
        if calls is not None:
            command += ["-m", str(calls)]
        super().__init__(directory, name, [*command, *args])

    @classmethod
    def member(
        cls,
        directory: Path,
        member: int,
        scenario: str = "uas_member",
        *,
        port: int | None = None,
        transport: str = "u1",
        ring_ms: int = 0,
        trace: bool = False,
    ) -> Self:
        """A member that names itself in its To tag and in X-Simulated-Member."""
        return cls(
            directory,
            scenario,
            port=port,
            transport=transport,
            hold_ms=ring_ms,
            keys={"member": member},
            trace=trace,
            name=f"{scenario}-m{member}",
        )

    @property
    def address(self) -> str:
        """As `[rm.N] sip` takes it."""
        return f"{'udp' if self.transport[0] == 'u' else 'tcp'}:{HOST}:{self.port}"

    def start(self) -> Self:
        """Start it; a member is waited for until it listens."""
        self._statistics.unlink(missing_ok=True)
        self._is_ending = False
        self._spawn()
        if not self._is_caller:
            transport = self.address.partition(":")[0]
            wait_until(
                f"{self.name} listens: {self.stderr}",
                lambda: is_bound(self.port, transport) or not self.running,
            )
            assert self.running, f"{self.name} ended: {self.stderr}"
        return self

    def run(self) -> SippResult:
        """Start it and wait for its end: a caller with `calls`."""
        return self.start().finish()

    def finish(self) -> SippResult:
        """Wait until every call has been made."""
        return self._result(self.wait(self.timeout_s + 40.0))

    def end_calls(self, at_least: int) -> int:
        """A caller without `calls` makes no new ones; those there are succeed. How many it made."""
        result = self.stop(self.timeout_s)
        assert result.created >= at_least, result
        assert_all_succeeded(self, result, result.created)
        return result.created

    def let_end(self) -> None:
        """No new calls; `stop` waits for the present ones. A member's stay for 2 s, so who stops
        several lets all of them end first."""
        if not self._is_ending:
            self._is_ending = True
            self.send_signal(signal.SIGUSR1)  # a second one would drop calls

    def stop(self, patience_s: float = 5.0) -> SippResult:
        """No new calls, let the present ones end for `patience_s`, then drop them."""
        assert self._child is not None
        self.let_end()
        try:
            code = self._child.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.send_signal(signal.SIGTERM)  # ends at once, the statistics written
            code = self.wait(5.0)
        return self._result(code)

    def snapshot(self) -> SippResult:
        """The statistics so far, at most a second old."""
        return self._result(0)

    def errors(self) -> str:
        """What sipp found wrong, with the messages concerned."""
        return self._errors.read_text(errors="replace") if self._errors.exists() else ""

    def messages(self) -> list[tuple[str, str]]:
        """("sent" or "received", message) in order; needs `trace`."""
        text = self._messages.read_text(errors="replace")
        blocks = re.split(r"^-{40,} .*\n", text, flags=re.MULTILINE)[1:]
        found = []
        for block in blocks:
            head, _, message = block.partition("\n\n")
            found.append(("received" if "received" in head else "sent", message))
        return found

    def _result(self, exit_status: int) -> SippResult:
        with self._statistics.open(newline="") as file:
            rows = [row for row in csv.reader(file, delimiter=";") if row]
        last = dict(zip(rows[0], rows[-1], strict=False))

        def number(column: str) -> int:
            with contextlib.suppress(ValueError):
                return int(last.get(column, "0"))
            return 0

        names = [column[:-3] for column in rows[0] if column.endswith("(C)")]
        after = names.index("CallLengthStDev") + 1
        return SippResult(
            exit_status=exit_status,
            created=number("TotalCallCreated"),
            current=number("CurrentCall"),
            successful=number("SuccessfulCall(C)"),
            failed=number("FailedCall(C)"),
            unexpected=number("FailedUnexpectedMessage(C)"),
            retransmissions=number("Retransmissions(C)"),
            reasons={
                name: number(f"{name}(C)")
                for name in names
                if name.startswith("Failed") and name != "FailedCall" and number(f"{name}(C)")
            },
            counters={
                name: number(f"{name}(C)")
                for name in names[after:]
                if not name.startswith("ResponseTime")
            },
        )


def assert_all_succeeded(caller: Sipp, result: SippResult, calls: int) -> None:
    """Every call succeeded; shows what sipp says otherwise."""
    assert (result.successful, result.failed) == (calls, 0), (
        f"{result}\n{caller.errors()[:4000]}\n{caller.stderr[-1000:]}"
    )
