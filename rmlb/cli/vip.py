"""`rmlb vip ...`: the virtual IP moved and looked at by hand. One-shot; no balancer needs to run.

What INIT_IPTakeOver.bat, IPTakeOver.bat and NLB.bat, Check_Ip.vbs and Ping.vbs did (seed). An
address put here by `enable` stays until it is removed: there is nobody to refresh it.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Final

from rmlb.cli.balancer import load_config
from rmlb.cli.failure import FAILED, MISUSED, CliError
from rmlb.config import Config
from rmlb.vip import nics
from rmlb.vip.advert import Datagram, Keys
from rmlb.vip.ballot import Beat, Send
from rmlb.vip.heartbeat import Heartbeats
from rmlb.vip.interface import Interface, holds
from rmlb.vip.lease import Lease, LeaseError
from rmlb.vip.rtnetlink import Netlink, new_address

PING_S: Final = 2.0
LISTENED: Final = 4
"""Heartbeat intervals for which `enable` listens for an owner."""


def enable(path: Path, force: bool) -> int:
    """Put it here; refuses while another balancer is heard or recorded as owner."""
    config = _config(path)
    return asyncio.run(_enable(config, force))


async def _enable(config: Config, force: bool) -> int:
    if not force and (owner := await _owner(config)):
        raise CliError(f"{owner}; --force overrides")
    interface = _interface(config)
    try:
        netlink = Netlink()
        link = netlink.link(interface.name)
        assert link is not None
        for address in config.virtual_addresses:
            prefix = address.prefix or (128 if ":" in address.host else 32)
            netlink.request(new_address(link.number, link.name, address.host, prefix, None))
        netlink.close()
        for _ in range(3):
            interface.announce()
            await asyncio.sleep(0.1)
    except OSError as error:
        raise CliError(f"the address cannot be added: {error.strerror}") from None
    finally:
        interface.close()
    for address in config.virtual_addresses:
        print(f"{address.host} is on {config.vip.interface}")
    return 0


def disable(path: Path) -> int:
    """Remove it; nothing to remove is no fault."""
    config = _config(path)

    async def remove() -> list[str]:
        interface = _interface(config)
        try:
            return interface.remove_leftovers()
        except OSError as error:
            raise CliError(f"the address cannot be removed: {error.strerror}") from None
        finally:
            interface.close()

    gone = asyncio.run(remove())
    print(f"removed: {', '.join(gone)}" if gone else "it was not here")
    return 0


def check(path: Path) -> int:
    """0 if every address is here. Also a track script for keepalived."""
    config = _config(path)
    places = [(address.host, address.prefix) for address in config.virtual_addresses]
    found = dict(holds(places))
    for host, _ in places:
        print(f"{host}: {found.get(host, 'not here')}")
    return 0 if len(found) == len(places) else FAILED


def ping(path: Path) -> int:
    """0 if it answers."""
    config = _config(path)
    host = config.cluster.virtual_ip

    async def ask() -> bool:
        try:
            sock = nics.echo_socket(host)
        except OSError as error:
            raise CliError(f"no right to send an ICMP echo: {error.strerror}") from None
        try:
            return await nics.ping(sock, host, int(time.time()) & 0xFFFF, PING_S)
        finally:
            sock.close()

    answered = asyncio.run(ask())
    print(f"{host}: {'answers' if answered else 'no answer'}")
    return 0 if answered else FAILED


def _config(path: Path) -> Config:
    config = load_config(path)
    if config is None:
        raise CliError("the configuration is wrong", MISUSED)
    return config


def _interface(config: Config) -> Interface:
    if not config.vip.interface:
        raise CliError("[vip] interface is missing: which one gets the address?", MISUSED)
    places = [(address.host, address.prefix) for address in config.virtual_addresses]
    try:
        return Interface(config.vip.interface, places, lambda *_: None)
    except OSError as error:
        raise CliError(f"[vip] interface: {error.strerror or error}") from None


async def _owner(config: Config) -> str | None:
    """Who owns it now, as the heartbeats and the witness say, or who answers for it."""
    if (heard := await _owner_heard(config)) is not None:
        return f"balancer {heard} says that it owns it"
    if config.witness and config.heartbeat.peers:
        lease = Lease(config.witness, config.cluster.name, config.heartbeat.id or 0, 1.0)
        try:
            _, before = await lease.ask(None)
            await asyncio.sleep(LISTENED * config.heartbeat.interval_s)
            _, record = await lease.ask(None)
            if record is not None and record != before:
                return f"balancer {record.owner} renews the lease"
        except LeaseError:
            pass
        finally:
            await lease.close()
    interface = _interface(config)
    try:
        strangers = await interface.strangers()
    finally:
        interface.close()
    return f"{strangers[0]} answers for it" if strangers else None


async def _owner_heard(config: Config) -> int | None:
    """Another balancer whose heartbeats say so. While one runs here, they are not ours to hear."""
    found: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def hear(datagram: Datagram, _counts: bool, _source: tuple[str, int]) -> None:
        if datagram.beat.owner and not found.done():
            found.set_result(datagram.beat.sender)

    if not config.heartbeat.peers:
        return None
    try:
        heartbeats = Heartbeats(
            Keys(config.security.secrets), config.heartbeat.listen, (), _never, hear
        )
    except OSError:
        return None
    try:
        async with asyncio.timeout(LISTENED * config.heartbeat.interval_s):
            return await found
    except TimeoutError:
        return None
    finally:
        heartbeats.close()


def _never(_to: int, _send: Send) -> Beat:
    """Nobody is sent anything."""
    raise AssertionError
