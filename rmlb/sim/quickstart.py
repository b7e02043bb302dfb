"""`make run`: the balancer of a configuration file in front of simulated members.

    python -m rmlb.sim.quickstart CONFIG

The balancer is a child process, the members live here. Ends all of it upon Ctrl-C, SIGTERM or
SIGHUP, and when the balancer dies. Exit status 0 when asked to end, 1 when it could not go on,
2 when the configuration is wrong.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import Final

from rmlb import __version__
from rmlb.config import Config, ConfigError, load
from rmlb.sim.aiosip_adapter import UdpWire
from rmlb.sim.rm import SimulatedRm
from rmlb.sim.stage import AdminApi, Child, StageError, check_free, own_command
from rmlb.sim.tcp import TcpWire
from rmlb.sim.wire import Wire, WireError
from rmlb.sip.address import SipAddress, Transport, bracketed

DEFAULT_ADMIN: Final = "127.0.0.1:8560"
"""Where the command line looks for the admin API by itself."""


def main(arguments: list[str]) -> int:
    """The exit status."""
    if len(arguments) != 1:
        print("usage: python -m rmlb.sim.quickstart CONFIG", file=sys.stderr)
        return 2
    try:
        config = load(arguments[0])
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return 2
    try:
        return asyncio.run(_run(config, arguments[0]))
    except (StageError, WireError) as error:
        print(f"quickstart: {error}", file=sys.stderr)
        return 1


async def _run(config: Config, path: str) -> int:
    listeners = sip_listeners(config)
    admin = config.admin.listen
    check_free(listeners, "[sip] listen")
    check_free([SipAddress(Transport.TCP, admin.host, admin.port)], "[admin] listen")
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    members = [simulated(number, rm.sip) for number, rm in sorted(config.rm.items())]
    balancer = Child("balancer", "run", path)
    api = AdminApi(admin)
    try:
        for member in members:
            await member.start()
        await balancer.start()
        await api.wait_ready(balancer)
        dashboard = await api.is_there("/")
        print(welcome(config, listeners, dashboard=dashboard), flush=True)
        return await _until(stop, balancer)
    finally:
        await api.close()
        await balancer.stop()
        for member in members:
            print(await member.stop(), flush=True)


async def _until(stop: asyncio.Event, balancer: Child) -> int:
    """0 when asked to end, 1 when the balancer ends first."""
    ended = asyncio.create_task(balancer.ended(), name="balancer ended")
    stopped = asyncio.create_task(stop.wait(), name="stop")
    await asyncio.wait([ended, stopped], return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if ended.done():
        print(f"quickstart: the balancer ended with status {ended.result()}", file=sys.stderr)
        return 1
    ended.cancel()
    return 0


def simulated(number: int, addresses: tuple[SipAddress, ...]) -> SimulatedRm:
    """The simulated member at the addresses of its [rm.N] table. StageError for TLS."""
    wires: list[Wire] = []
    for transport, host, port in addresses:
        if transport is Transport.TLS:
            raise StageError(f"[rm.{number}] sip: a simulated member has no tls")
        wires.append(UdpWire(host, port) if transport is Transport.UDP else TcpWire(host, port))
    return SimulatedRm(number, addresses[0].host, addresses[0].port, wires=wires)


def sip_listeners(config: Config) -> list[SipAddress]:
    """Where the balancer takes SIP; a bare port is on the virtual IP."""
    vip = config.cluster.virtual_ip
    return [SipAddress(a.transport, a.host or vip, a.port) for a in config.sip.listen]


def welcome(config: Config, listeners: list[SipAddress], *, dashboard: bool) -> str:
    """What to do now."""
    udp = next((a for a in listeners if a.transport is Transport.UDP), listeners[0])
    place = f"{bracketed(udp.host)}:{udp.port}"
    rmlb = own_command()
    admin = f"http://{config.admin.listen}"
    api = "" if str(config.admin.listen) == DEFAULT_ADMIN else f" --api {admin}"
    names = " and ".join(str(number) for number in sorted(config.rm))
    rows = [
        ("calls by sipp", f"sipp -sn uac {place} -m 100"),
        ("or our own", f"{rmlb} simulate sip-server --target {place} --calls 0"),
        ("watch", f"{rmlb} top{api}"),
        ("ladder", f"{rmlb} trace{api}"),
        ("see members", f"{rmlb} members{api}"),
        ("drain one", f"{rmlb} drain {min(config.rm)}{api}"),
        ("status", f"{admin}/api/v1/status"),
        ("metrics", f"{admin}/metrics"),
    ]
    if dashboard:
        rows.insert(0, ("dashboard", f"{admin}/"))
    taken = ", ".join(map(str, listeners))
    lines = [
        "",
        f"rmlb {__version__} takes SIP on {taken}; members {names} are simulated.",
        "Point something at it, in another terminal:",
        "",
        *(f"  {what:<15}{how}" for what, how in rows),
        "",
        "Ctrl-C ends all of it.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
