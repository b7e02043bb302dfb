"""Of the rig: two Kamailio as Resource Managers before one shared server, one killed while calls
ring; and what became of each call."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rig_balancer import Balancer
from rig_calls import Callers, Made
from rig_kamailio import Kamailio, Manager
from rig_process import free_port
from rig_server import Served, SharedServer

VIP = "127.0.1.100"
MANAGERS = {1: "127.0.1.11", 2: "127.0.1.12"}
SERVER, CALLER = "127.0.1.21", "127.0.1.31"
DEADLINE_S = 4.0
"""`retry.deadline` here, so that a failing call is waited for a short time (default: 16 s)."""


@dataclass(frozen=True)
class Variant:
    """How the members sign, and how the server answers."""

    name: str
    signs_vip: bool
    """The members' Via and Record-Route name the VIP (`virtual-ip-in-via`), else themselves."""
    to_sent_by: bool = False
    """The server answers to the sent-by, else to where the request came from (18.2.2)."""
    stamps: bool = True
    """Its answers carry `received` where the sent-by is not the source (18.2.1)."""
    merges: bool = True
    """It refuses a merged request (8.2.2.2)."""
    server_ends: int = 0
    """Every so many calls are ended by the server; 0: none."""


VARIANTS = {
    "vip-sent-by": Variant("sign with the VIP; answers to the sent-by", True, True, server_ends=3),
    "vip-bare": Variant(
        "sign with the VIP; answers to the sent-by, without received", True, True, stamps=False,
        server_ends=3,
    ),
    "vip-received": Variant("sign with the VIP; answers to received (18.2.2)", True),
    "own": Variant("sign with their own address", False),
    "unchecked": Variant("sign with their own address; no merge check", False, merges=False),
}  # fmt: skip


@dataclass
class Fate:
    """One call, from both ends."""

    made: Made
    served: Served | None
    rang_at: bool
    """It was ringing behind the member that was killed."""
    what: str


ON_THE_WAY_S = 0.05
"""What a member sent before its end has arrived after so long, on a busy machine, too."""

ONE_MEMBER = "through one member"
MOVED = "answered, then re-homed"
FORK = "answered by the survivor as well"
PAST = "482 held, then answered by the first attempt"
REFUSED = "482, then 500"


class Site:
    """Callers, a balancer on the VIP, two members, one server."""

    def __init__(self, stack: ExitStack, directory: Path, variant: Variant, ring_s: float) -> None:
        port = free_port()  # one number everywhere, as at a site: 5060
        self.variant = variant
        self.callers = stack.enter_context(
            Callers(port, (VIP, port), host=CALLER, server_ends=variant.server_ends)
        )
        self.server = stack.enter_context(
            SharedServer(
                port,
                host=SERVER,
                ring_s=ring_s,
                merges=variant.merges,
                to_sent_by=variant.to_sent_by,
                stamps=variant.stamps,
                server_ends=variant.server_ends,
            )
        )
        self.kamailio = {
            number: stack.enter_context(
                Kamailio(
                    directory,
                    Manager(
                        number,
                        (f"udp:{host}:{port}{f' advertise {VIP}:{port}' * variant.signs_vip}",),
                        media=f"sip:{SERVER}:{port}",
                        virtual=f"{VIP}:{port}" * variant.signs_vip,
                    ),
                )
            )
            for number, host in MANAGERS.items()
        }
        self.balancer = stack.enter_context(
            Balancer(
                directory,
                {number: f"udp:{host}:{port}" for number, host in MANAGERS.items()},
                port=port,
                virtual_ip=VIP,
                extra=f'[retry]\ndeadline = "{DEADLINE_S:g}s"\n',
            )
        )
        for number in MANAGERS:
            self.balancer.wait_health(number, "in service")


@dataclass
class Outcome:
    """What a run showed."""

    variant: Variant
    fates: list[Fate]
    resent: int
    """Requests that the balancer sent again."""
    longest_s: float
    """From the first INVITE to the end of the slowest call."""

    @property
    def classes(self) -> Counter[str]:
        return Counter(fate.what for fate in self.fates)

    @property
    def ringing(self) -> int:
        return sum(fate.rang_at for fate in self.fates)

    @property
    def failed(self) -> list[Fate]:
        return [fate for fate in self.fates if fate.made.outcome != "completed"]


def kill_while_calls_ring(
    directory: Path,
    variant: Variant,
    *,
    calls: int,
    rate: float,
    ring_s: float = 1.5,
    thaws_after_s: float = 0.0,
) -> Outcome:
    """Member 1 is killed in the middle of the calls, all its processes at once.

    `thaws_after_s`: it is frozen instead, and goes on so long after it went out of service.
    """
    with ExitStack() as stack:
        site = Site(stack, directory, variant, ring_s)
        site.callers.begin(calls, rate)
        time.sleep(calls / rate / 2)
        killed = time.monotonic()
        if thaws_after_s:
            site.kamailio[1].freeze()
        else:
            site.kamailio[1].kill()
        silent = time.monotonic() + ON_THE_WAY_S
        site.balancer.wait_health(1, "out of service")
        if thaws_after_s:
            time.sleep(thaws_after_s)
            site.kamailio[1].resume()
        made = site.callers.finish(calls / rate / 2 + 60.0)
        site.balancer.assert_balanced()
        resent = int(site.balancer.metrics().total("rmlb_own_messages_total", what="resend"))
        fates = [
            fate_of(each, site.server.served.get(each.call_id), killed, silent) for each in made
        ]
        return Outcome(variant, fates, resent, max(m.ended - m.begun for m in made))


def fate_of(made: Made, served: Served | None, killed: float, silent: float) -> Fate:
    """Which class a call belongs to, by what its two ends saw; from `silent` on no answer came
    from the member."""
    rang_at = bool(
        served is not None
        and served.via_invite == "1"
        and 0 < made.rang <= killed
        and not 0 < made.answered <= silent
    )
    if made.outcome != "completed":
        merged = served is not None and served.merged_via and made.outcome == "500"
        what = REFUSED if merged else f"failed: {made.outcome or 'hangs'}"
    elif served is not None and served.merged_via:
        what = PAST if made.finals == 1 and made.tags == {first_tag(made)} else FORK
    else:
        ways = {served.via_invite, served.ended_via} - {""} if served is not None else set()
        what = ONE_MEMBER if len(ways) == 1 else MOVED
    return Fate(made, served, rang_at, what)


def first_tag(made: Made) -> str:
    """The To tag of the first INVITE that reached the server."""
    return f"s0-{made.call_id}"


def row(outcome: Outcome) -> dict[str, object]:
    """Figures for a table."""
    classes = outcome.classes
    known = (ONE_MEMBER, MOVED, PAST, FORK, REFUSED)
    return {
        "members and server": outcome.variant.name,
        "calls": len(outcome.fates),
        "ringing at the dead member": outcome.ringing,
        **{name: classes[name] for name in known},
        "requests sent again": outcome.resent,
        "failed otherwise": sum(n for name, n in classes.items() if name not in known),
        "slowest_s": round(outcome.longest_s, 2),
    }
