"""What is measured in the short and in the full form: workloads, points, curves, durations."""

from __future__ import annotations

from dataclasses import dataclass, field

from benchmarks.arena import Workload
from benchmarks.systems import KAMAILIO_STATELESS, KAMAILIO_TCP

IN_DIALOG = Workload(
    "in-dialog", "in-dialog traffic, UDP", "transactions/s", 2.25, live=10_000
)  # INFO 2, OPTIONS 1, re-INVITE with ACK 1
CALLS = Workload("calls", "whole calls, UDP", "calls/s", 9.0, live=100)
CALLS_TCP = Workload("calls-tcp", "whole calls, TCP", "calls/s", 9.0, "tcp", live=100)
WORKLOADS = (IN_DIALOG, CALLS, CALLS_TCP)

COMPARED: dict[str, tuple[str, ...]] = {
    "in-dialog": ("blind", "rmlb-compiled", "rmlb-python", "kamailio"),
    "calls": (
        "blind",
        "rmlb-compiled",
        "rmlb-python",
        "kamailio",
        "kamailio-tm",
        "kamailio-tm-tlsf",
    ),
    "calls-tcp": ("rmlb-compiled-tcp", "rmlb-python-tcp", "kamailio-tcp"),
}
REFERENCE = {
    "in-dialog": KAMAILIO_STATELESS.name,
    "calls": KAMAILIO_STATELESS.name,
    "calls-tcp": KAMAILIO_TCP.name,
}
"""Whose maximum the rates are shares of."""


HALF, OWN = "50%", "own maximum"
SCRAPED, RELOADED = f"{HALF}, scraped", f"{HALF}, reloaded"
"""Points: /metrics read ten times a second; the configuration read again four times a second."""


def maximum_of(system: str) -> str:
    """The point at which the blind relay carries what is this system's maximum."""
    return f"maximum of {system}"


@dataclass(frozen=True, slots=True)
class Curve:
    """One property varied, in-dialog traffic at half of Kamailio's maximum, all else as usual."""

    name: str
    title: str
    values: tuple[int, ...]


DIALOGS = Curve("dialogs", "live dialogs", (1_000, 100_000, 1_000_000))
MEMBERS = Curve("members", "members", (2, 16, 128))
SIZES = Curve("sizes", "octets of a request", (400, 900, 1_500, 2_500, 4_000))
CURVES = {c.name: c for c in (DIALOGS, MEMBERS, SIZES)}


@dataclass(frozen=True, slots=True)
class Plan:
    """Durations in seconds. `shares` of the reference's maximum; `rounds` interleaved."""

    name: str
    rounds: int
    seconds: float
    search_seconds: float
    tolerance: float
    shares: tuple[float, ...]
    tcp_shares: tuple[float, ...]
    curves: tuple[str, ...] = ()
    curve_rounds: int = 5
    curve_seconds: float = 1.0
    systems: tuple[str, ...] = field(default=())

    def wants(self, system: str) -> bool:
        return not self.systems or system in self.systems


SHORT = Plan("short", 3, 0.6, 0.4, 0.08, (0.5, 0.95), (0.95,))
FULL = Plan(
    "full", 9, 2.0, 2.0, 0.03, (0.5, 0.8, 0.95), (0.5, 0.95),
    curves=("dialogs", "members", "sizes"),
)  # fmt: skip
PLANS = {p.name: p for p in (SHORT, FULL)}
