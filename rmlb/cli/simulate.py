"""`rmlb simulate rm|sip-server`: options of the simulators; what they do is rmlb.sim's.

rmlb.sim is imported when a command runs, because aiosip comes with the extra `sim` only.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated

import typer

from rmlb.config.addresses import HostPort, read_host_port
from rmlb.config.kinds import Wrong, seconds
from rmlb.sip.address import SipAddress, Transport, is_ip_literal

app = typer.Typer(
    help="A simulated Resource Manager or SIP Server, for trying out and for tests.",
    epilog="Example: rmlb simulate rm --listen 127.0.0.1:7001",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


class Carrier(StrEnum):
    """What a simulated SIP Server's calls travel over."""

    UDP = "udp"
    TCP = "tcp"


class Carriers(StrEnum):
    """What a simulated Resource Manager listens to."""

    UDP = "udp"
    TCP = "tcp"
    BOTH = "both"


def _place(text: str) -> HostPort:
    try:
        place = read_host_port(text)
    except Wrong as error:
        raise typer.BadParameter(f"{error}; an address and port such as 127.0.0.1:7001") from None
    host = "127.0.0.1" if place.host == "localhost" else place.host
    if not is_ip_literal(host):
        raise typer.BadParameter(f"{place.host} is a name; an IP address is needed")
    return HostPort(host, place.port)


def _duration(text: str, option: str) -> float:
    try:
        return seconds(text)
    except Wrong as error:
        hint = f'{error}; a duration such as "500ms" or "2s"'
        raise typer.BadParameter(hint, param_hint=option) from None


@app.command(
    "rm",
    short_help="Be a Resource Manager: answer probes and calls.",
    epilog="Example: rmlb simulate rm --id 2 --listen 127.0.0.1:7002 --ring 500ms",
)
def simulate_rm(
    listen: Annotated[
        HostPort, typer.Option(parser=_place, metavar="IP:PORT", help="Where it takes SIP.")
    ],
    member: Annotated[
        int, typer.Option("--id", min=1, help="Its member ID; its To tags begin with it: m1-")
    ] = 1,
    transport: Annotated[Carriers, typer.Option(help="What it listens to.")] = Carriers.BOTH,
    ring: Annotated[str, typer.Option(metavar="DURATION", help="From 180 to the answer.")] = "0s",
    answer: Annotated[
        int, typer.Option(min=200, max=699, help="Status of its answer to an INVITE.")
    ] = 200,
    probe_answer: Annotated[
        int, typer.Option(min=200, max=699, help="Status of its answer to OPTIONS.")
    ] = 200,
    record_route: Annotated[
        str | None,
        typer.Option(
            metavar="VALUE", help="A Record-Route to add, as a real RM does with the virtual IP."
        ),
    ] = None,
) -> None:
    """Be a Resource Manager: answer probes and calls until Ctrl-C, then print a tally.

    Every answer carries X-Simulated-Member. Misrouted in the tally are requests in dialogs
    whose To tag names another member. SIGUSR1: it winds down, OPTIONS get 503.
    """
    ring_s = _duration(ring, "--ring")
    with _simulators():
        from rmlb.sim.console import run, serve
        from rmlb.sim.rm import SimulatedRm
    rm = SimulatedRm(
        member,
        listen.host,
        listen.port,
        transports=list(Transport)[:2] if transport == "both" else [Transport(transport)],
        ring_s=ring_s,
        answer=answer,
        probe_answer=probe_answer,
        record_route=record_route,
    )
    raise typer.Exit(run(serve(rm)))


@app.command(
    "sip-server",
    epilog="Example: rmlb simulate sip-server --target 127.0.0.1:5060 --rate 50 --calls 1000",
)
def simulate_sip_server(
    target: Annotated[
        HostPort, typer.Option(parser=_place, metavar="IP:PORT", help="Where the calls go.")
    ],
    transport: Annotated[Carrier, typer.Option(help="What they travel over.")] = Carrier.UDP,
    rate: Annotated[float, typer.Option(min=0.01, max=10_000, help="Calls per second.")] = 10.0,
    calls: Annotated[int, typer.Option(min=0, help="How many; 0: until Ctrl-C.")] = 100,
    hold: Annotated[str, typer.Option(metavar="DURATION", help="From ACK to BYE.")] = "1s",
    reinvite: Annotated[
        bool, typer.Option("--reinvite/--no-reinvite", help="A re-INVITE halfway.")
    ] = True,
    user: Annotated[str, typer.Option(help="User part of the Request-URI.")] = "service",
    listen: Annotated[
        HostPort | None,
        typer.Option(
            parser=_place,
            metavar="IP:PORT",
            help="Where it calls from; by default the address that reaches the target, any port.",
        ),
    ] = None,
) -> None:
    """Be a SIP Server: place calls, then print a tally. Exit status 0 if every call completed.

    A call is INVITE, 200, ACK, re-INVITE, BYE with the route set honoured. An answer from
    another member than the To tag names is misrouted, and fails the run.
    """
    hold_s = _duration(hold, "--hold")
    with _simulators():
        from rmlb.sim.call import CallPlan
        from rmlb.sim.console import place, run
        from rmlb.sim.sip_server import SimulatedSipServer
    address = SipAddress(Transport(transport), target.host, target.port)
    server = SimulatedSipServer(
        CallPlan(address, user=user, hold_s=hold_s, reinvite=reinvite),
        rate=rate,
        calls=calls or None,
        host=listen.host if listen else None,
        port=listen.port if listen else 0,
    )
    raise typer.Exit(run(place(server)))


@contextmanager
def _simulators() -> Iterator[None]:
    """One line, and exit status 1, for who has not installed the extra."""
    try:
        yield
    except ImportError as error:
        print(f"rmlb: {error.name} is missing: pip install 'rmlb[sim]'", file=sys.stderr)
        raise typer.Exit(1) from None
