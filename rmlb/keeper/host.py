"""This host as the kernel tells of it: interfaces, the gateway, the address. SHELL: netlink.

What it is worth goes into the score; an address that must be here is put back when somebody takes
it away. Knows nothing of the worker or of who should own.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine

from rmlb.config import Config, VipProvider
from rmlb.vip.holding import Report
from rmlb.vip.interface import Interface
from rmlb.vip.nics import GATEWAY_WORTH, NIC_WORTH, Gateway, Nics
from rmlb.vip.providers import present
from rmlb.vip.rtnetlink import Address, Monitor, Netlink

MOST_NICS = 10
"""So many interfaces that are down make a difference; more are as bad."""


class Host:
    """One balancer's."""

    def __init__(
        self,
        config: Config,
        interface: Interface | None,
        report: Report,
        is_owner: Callable[[], bool],
    ) -> None:
        """`interface`: the one that carries the address, if it is ours to put there."""
        self.on_worth: Callable[[], object] = lambda: None
        """What this host is worth may have changed."""
        self.on_address: Callable[[], object] = lambda: None
        """The address has come or gone, by somebody else's hand (`external`)."""
        self.here = False
        """Where others move the address: it is on this host."""
        self._config = config
        self._interface = interface
        self._report = report
        self._is_owner = is_owner
        self._places = [(address.host, address.prefix) for address in config.virtual_addresses]
        macs = [config.gvp.nic[n] for n in config.gvp.nics or config.gvp.nic]
        self._nics = Nics(macs, self._nic_changed)
        self._monitor: Monitor | None = None
        self._gateway: Gateway | None = None

    def begin(self) -> None:
        """Remove leftovers, and listen to the kernel from now on. Raises OSError."""
        if self._interface is not None:
            for host in self._interface.remove_leftovers():
                self._report("leftover-removed", False, {"address": host})
        provider = self._config.vip.provider
        if provider is not VipProvider.NONE or self._config.gvp.nic:
            self._monitor = Monitor()
            asyncio.get_running_loop().add_reader(self._monitor.fileno(), self._kernel_changed)
            netlink = Netlink()
            unknown = self._nics.begin(netlink.links())
            netlink.close()
            for mac in unknown:
                why = f"[gvp] no interface has the hardware address {mac}"
                self._report("config-warning", False, {"why": why})
        if provider is VipProvider.EXTERNAL:
            self.here = present(self._places)
        elif provider is VipProvider.NONE:
            self.here = True
        if self._config.vip.gateway_ip:
            self._gateway = Gateway(self._config.vip.gateway_ip, self._gateway_changed)

    def watch(self) -> Coroutine[None, None, None] | None:
        """To be run: what asks the gateway; None without one."""
        return self._gateway.watch() if self._gateway is not None else None

    def close(self) -> None:
        if self._monitor is not None:
            asyncio.get_running_loop().remove_reader(self._monitor.fileno())
            self._monitor.close()
        if self._gateway is not None:
            self._gateway.close()

    @property
    def worth(self) -> int:
        """Its part of the score."""
        worth = max(0, MOST_NICS - self._nics.down) * NIC_WORTH
        return worth + (GATEWAY_WORTH if self._gateway is None or self._gateway.answers else 0)

    def know_mac(self, mac: bytes) -> None:
        """Another balancer's: no stranger."""
        if self._interface is not None and any(mac):
            self._interface.known_macs.add(mac)

    def _kernel_changed(self) -> None:
        assert self._monitor is not None
        external = False
        try:
            for change in self._monitor.changes():
                if change.link is not None:
                    if self._nics.follow(change.link, change.gone):
                        self.on_worth()
                    interface = self._interface
                    if interface and change.link.name == interface.name and not change.gone:
                        renewed = interface.follow(change.link)
                        if self._is_owner() and (renewed or change.link.running):
                            self._restore(interface)
                elif change.address is not None:
                    external |= any(change.address.host == host for host, _ in self._places)
                    if self._interface is not None and change.gone:
                        self._address_gone(self._interface, change.address)
        except OSError:  # so much has changed that some of it was lost
            external = True
        if external and self._config.vip.provider is VipProvider.EXTERNAL:
            here = present(self._places)
            if here is not self.here:
                self.here = here
                self.on_address()

    def _restore(self, interface: Interface) -> None:
        """The interface is another one, or has carrier again: hold and announce it there."""
        with contextlib.suppress(OSError):
            interface.add()

    def _address_gone(self, interface: Interface, address: Address) -> None:
        if interface.held and interface.concerns(address):
            self._report("address-failed", True, {"why": f"somebody removed {address.host}"})
            self._restore(interface)

    def _nic_changed(self, name: str, running: bool) -> None:
        self._report("nic-up" if running else "nic-down", not running, {"interface": name})

    def _gateway_changed(self, answers: bool) -> None:
        fields: dict[str, int | float | str] = {"address": self._config.vip.gateway_ip}
        self._report("gateway-back" if answers else "gateway-lost", not answers, fields)
        self.on_worth()
