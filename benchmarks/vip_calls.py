"""Calls through the virtual IP while its owner fails: over UDP by sipp, over TCP by our simulator.

sipp 3.6.1 is no caller over TCP here: after a reset it makes a new connection, and from then on
sends nothing or ends itself. `rmlb simulate sip-server` fails what had no answer yet, and goes on.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from typing import Any, Protocol, Self

from vip_systems import VIP, Site

from rig_net import NetSipp  # isort: skip - found by vip_systems

TALK_MS = 1500
"""Between the requests of a call: longer than 2 T1, or sipp would take a member's repeated 200 to
the first INVITE for the one to the second."""

ENDS_S = 40.0
"""Requests that wait for an answer give up sooner."""

_RULES = f"""table inet resets {{
    counter from_vip {{ }}
    chain arrives {{
        type filter hook input priority 0;
        ip saddr {VIP} tcp flags & rst == rst counter name from_vip
    }}
}}
"""

_TALLY = re.compile(r"calls: (\d+) placed, (\d+) completed, (\d+) failed, (\d+) answers misrouted")
_REASON = re.compile(r"failed: (\d+) x (.+)")


class Calls(Protocol):
    """Whole calls with a re-INVITE, as long as it is open."""

    row: dict[str, Any]
    """How many were made, failed, unfinished, misrouted, and why."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *why: object) -> None: ...


def calls_over(transport: str, site: Site, rate: float) -> Calls:
    return TcpCalls(site, rate) if transport == "tcp" else UdpCalls(site, rate)


class UdpCalls:
    """Of sipp."""

    def __init__(self, site: Site, rate: float) -> None:
        self._site = site
        self._caller = NetSipp.at(
            site, "caller", "uac_full", target=f"{VIP}:5060", rate=rate, calls=10_000_000,
            timeout_s=36_000.0, hold_ms=TALK_MS, name=f"calls-{time.monotonic_ns()}",
            args=["-recv_timeout", "20000"], transport="u1",
        )  # fmt: skip
        self.row: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self._caller.start()
        return self

    def __exit__(self, *why: object) -> None:
        result = self._caller.stop(ENDS_S)
        self._caller.kill()
        self.row = {
            "made": result.created,
            "failed": result.failed,
            "unfinished": result.created - result.successful - result.failed,
            "misrouted": result.reasons.get("FailedStrcmpDoesntMatch", 0),
        }
        if result.failed:
            self.row["reasons"] = result.reasons
            sys.stderr.write(f"{self._caller.errors()[:4000]}\n")
            show_events(self._site)


class TcpCalls:
    """Of the simulated SIP Server."""

    def __init__(self, site: Site, rate: float) -> None:
        self._site = site
        self._resets = Resets(site)
        caller = [sys.executable, "-m", "rmlb.cli", "simulate", "sip-server"]
        talk = ["--hold", f"{2 * TALK_MS}ms", "--rate", str(rate), "--calls", "0"]
        self._command = [*caller, "--target", f"{VIP}:5060", "--transport", "tcp", *talk]
        self.row: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self._resets.__enter__()
        name = f"calls-{time.monotonic_ns()}"
        self._caller = self._site.run("caller", name, *self._command)
        return self

    def __exit__(self, *why: object) -> None:
        self._caller.send_signal(signal.SIGTERM)
        self._caller.wait(ENDS_S)
        self._resets.__exit__(*why)
        found = _TALLY.search(self._caller.stdout)
        if found is None:
            raise RuntimeError(f"no tally from the caller: {self._caller.stderr[-500:]}")
        made, completed, failed, misrouted = map(int, found.groups())
        self.row = {
            "made": made,
            "failed": failed,
            "unfinished": made - completed - failed,
            "misrouted": misrouted,
            "resets": self._resets.count,
        }
        if failed:
            told = _REASON.findall(self._caller.stdout)
            self.row["reasons"] = {reason: int(count) for count, reason in told}


def show_events(site: Site) -> None:
    """What the balancers said, on standard error."""
    for each in site.balancers.values():
        sys.stderr.write(f"--- {each.name}\n{each.stderr[-20000:]}\n")


class Resets:
    """Resets from the virtual IP that reach the caller's host, counted by its kernel.

    Every segment sent on a connection that is gone is answered by one, so there may be more of
    them than connections.
    """

    def __init__(self, site: Site) -> None:
        self._nft = ["ip", "netns", "exec", site.name("caller"), "nft"]
        self.count = 0

    def __enter__(self) -> Self:
        subprocess.run([*self._nft, "-f", "-"], input=_RULES, text=True, check=True)
        return self

    def __exit__(self, *why: object) -> None:
        asked = [*self._nft, "-j", "list", "counter", "inet", "resets", "from_vip"]
        shown = subprocess.run(asked, capture_output=True, text=True, check=True)
        subprocess.run([*self._nft, "delete", "table", "inet", "resets"], check=True)
        found: list[dict[str, Any]] = json.loads(shown.stdout)["nftables"]
        self.count = sum(each["counter"]["packets"] for each in found if "counter" in each)
