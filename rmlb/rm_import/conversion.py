"""What becomes of a Resource Manager's options: a configuration of ours, and a word on each option.

Takes the exports of one member or of all. Options that mean the same here are taken, some are
changed on the way (and it is said why), the others are left. Pure.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from rmlb.config import HostPort
from rmlb.config.addresses import read_host_port
from rmlb.config.kinds import Wrong
from rmlb.config.problem import one_line
from rmlb.config.rendering import toml
from rmlb.config.rm_options import ClusterConfig, GvpConfig
from rmlb.rm_import.export import Export
from rmlb.sip.address import bracketed

SIP_PORT: Final = 5060

_SHARED: Final = (
    "name",
    "virtual-ip",
    "hotstandby",
    "virtual-ip-in-via",
    "electiontimer",
    "heartbeattimer",
)
"""Options that all members have alike and that are taken as they are."""

_TRANSPORT = re.compile(r"\b(udp|tcp|tls):(\[[0-9a-f:]+\]|[^\s:;,]*):(\d{1,5})\b", re.IGNORECASE)
_ANY_HOST: Final = ("", "any", "*", "0.0.0.0", "[::]")


class NotEnough(Exception):  # noqa: N818  # reads as a verdict
    """The exports do not say what no configuration can do without; one line an operator acts on."""


@dataclass(slots=True)
class Report:
    """Lines about single options, in the order they were met."""

    taken: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Imported:
    text: str
    """The configuration, as TOML."""
    report: Report


def convert(exports: Sequence[tuple[str, Export]], beside: int | None = None) -> Imported:
    """`exports`: file name and content, one for each member. Raises NotEnough.

    `beside`: the balancer is to run on that member's host, and watches its interfaces.
    """
    return _Conversion(exports, beside).result()


class _Conversion:
    def __init__(self, exports: Sequence[tuple[str, Export]], beside: int | None) -> None:
        self._report = Report()
        self._exports = _by_member(exports, self._report)
        self._beside = beside
        if beside is not None and beside not in self._exports:
            raise NotEnough(f"--beside {beside}: no file has mymemberid = {beside}")
        self._used: set[tuple[str, str]] = set()

    def result(self) -> Imported:
        for name, export in self._exports.values():
            self._report.left.extend(f"{name}: {note}" for note in export.notes)
        cluster = list(self._cluster())
        members = list(self._members())
        gvp = list(self._gvp())
        self._leave_the_rest()
        lines = [
            "# Made by `rmlb import-rm` from the options of Resource Manager Applications.",
            "# Every other key, with its meaning and default, stands in the reference rmlb.toml.",
            "",
            "[cluster]",
            *cluster,
            *members,
            *gvp,
            "",
            "[sip]",
            "# where the virtual IP takes calls",
            'listen = ["udp:5060", "tcp:5060"]',
        ]
        return Imported("\n".join(lines) + "\n", self._report)

    # [cluster]

    def _cluster(self) -> Iterator[str]:
        if not self._value("cluster", "virtual-ip"):
            raise NotEnough("no file has [cluster] virtual-ip: add it, or write the file by hand")
        yield self._ha_mode()
        yield from self._mymemberid()
        for key in _SHARED:
            yield from self._taken("cluster", key)
        yield from self._script()

    def _ha_mode(self) -> str:
        given = self._value("cluster", "ha-mode")
        if ClusterConfig.kind("ha-mode").faults(given):
            shown = f'"{given}"' if given else "not given, which the RM takes for None"
            self._report.changed.append(
                f"cluster.ha-mode: {shown}: active-active, the mode in which an external load "
                "balancer is used"
            )
            return 'ha-mode = "active-active"'
        mode = ClusterConfig.kind("ha-mode").read(given)
        self._report.taken.append(f"cluster.ha-mode = {mode}")
        if mode == "active-standby":
            self._report.changed.append(
                "cluster.ha-mode: active-standby: the balancer sends all calls to one member; the "
                "RMs' own move of the virtual IP must be switched off, for the balancer holds it"
            )
        return f"ha-mode = {toml(str(mode))}"

    def _mymemberid(self) -> Iterator[str]:
        self._used.add(("cluster", "mymemberid"))
        if self._beside is not None:
            self._report.taken.append(f"cluster.mymemberid = {self._beside}")
            yield f"mymemberid = {self._beside}"
            return
        known = ", ".join(map(str, self._exports))
        self._report.left.append(
            f"cluster.mymemberid ({known}): a lone balancer needs none; of a pair each has its own"
        )
        yield "# mymemberid = 1    # needed with a second balancer, and different there"

    def _script(self) -> Iterator[str]:
        script = self._value("cluster", "failoverscript")
        if not script:
            return
        windows = "\\" in script or script.lower().endswith((".bat", ".cmd", ".vbs"))
        why = "is a Windows command; rmlb runs on Linux" if windows else "moved the virtual IP"
        self._report.left.append(
            f"cluster.failoverscript = {script}: {why}; the balancer holds the virtual IP "
            "([vip] provider), or runs a script of its own"
        )
        yield f"# failoverscript = {toml(script)}"

    # members

    def _members(self) -> Iterator[str]:
        ports = self._cluster_ports()
        for number, place in ports.items():
            yield f'member.{number} = "{place}"'
            self._report.taken.append(f"cluster.member.{number} = {place}")
        for number in ports:
            yield from ("", f"[rm.{number}]", *self._sip(number, ports[number].host))

    def _cluster_ports(self) -> dict[int, HostPort]:
        """The members that all files together name, with their cluster ports."""
        named = self._value("cluster", "members") or "1 2"
        faults = ClusterConfig.kind("members").faults(named)
        if faults:
            raise NotEnough(f"cluster.members = {named}: {faults[0].message}")
        numbers = sorted(ClusterConfig.kind("members").read(named))
        found = {}
        for number in numbers:
            given = self._value("cluster", f"member.{number}")
            if not given:
                raise NotEnough(
                    f"no file has [cluster] member.{number}: the address of member {number}"
                )
            try:
                found[number] = read_host_port(given, 9801)
            except Wrong as wrong:
                raise NotEnough(f"cluster.member.{number}: {wrong}") from None
        self._report.taken.append(f"cluster.members = {' '.join(map(str, numbers))}")
        return found

    def _sip(self, number: int, host: str) -> Iterator[str]:
        """Where the member takes SIP: its [proxy] transports, else UDP and TCP 5060."""
        found = self._transports(number, host)
        if found:
            shown = ", ".join(found)
            self._report.changed.append(
                f"rm.{number}.sip = {shown}: from [proxy]; where that names no address, the one of "
                f"cluster.member.{number}"
            )
            yield "# from [proxy]; where that names no address, that of the cluster port"
            yield f"sip = {toml(found)}"
            return
        place = f"{bracketed(host)}:{SIP_PORT}"
        self._report.changed.append(
            f"rm.{number}.sip = {place}: assumed from cluster.member.{number}: check that member "
            f"{number} takes SIP there"
        )
        yield "# assumed: the address of the cluster port, with SIP's own port"
        yield f"sip = {toml(place)}"

    def _transports(self, number: int, host: str) -> list[str]:
        if number not in self._exports:
            return []
        _, export = self._exports[number]
        found = []
        for name, value in export.sections.get("proxy", {}).items():
            if not name.startswith("sip.transport.") or not (match := _TRANSPORT.search(value)):
                continue
            self._used.add(("proxy", name))
            given = match[2].lower()
            where = bracketed(host) if given in _ANY_HOST else given
            found.append(f"{match[1].lower()}:{where}:{match[3]}")
        return list(dict.fromkeys(found))

    # [gvp]

    def _gvp(self) -> Iterator[str]:
        """Interfaces are those of the RM's host: they count where the balancer runs there."""
        yield from ("", "[gvp]")
        if self._beside is not None:
            _, export = self._exports[self._beside]
            for name, value in export.sections.get("gvp", {}).items():
                yield from self._nic(name, value)
            return
        yield "# interfaces of this host that count; without any, each that had a carrier at start"
        for number, (_, export) in self._exports.items():
            for name, value in export.sections.get("gvp", {}).items():
                if not _is_nic(name):
                    continue
                self._used.add(("gvp", name))
                self._report.left.append(
                    f"gvp.{name} = {value}: an interface of member {number}'s host, not of the "
                    f"balancer's (taken with --beside {number})"
                )
                yield f"# {one_line(name)} = {toml(value)}    # of member {number}"

    def _nic(self, name: str, value: str) -> Iterator[str]:
        if not _is_nic(name):
            return
        self._used.add(("gvp", name))
        faults = (
            GvpConfig.kind("nics").faults(value)
            if name == "nics"
            else GvpConfig.kind("nic").faults({name.removeprefix("nic."): value})
        )
        if faults:
            self._report.left.append(f"gvp.{name} = {value}: {faults[0].message}")
            yield f"# {one_line(name)} = {toml(value)}"
            return
        self._report.taken.append(f"gvp.{name} = {value}")
        yield f"{name} = {toml(value)}"

    # options in general

    def _taken(self, section: str, key: str) -> Iterator[str]:
        value = self._value(section, key)
        if not value:
            return
        faults = ClusterConfig.kind(key).faults(value)
        if faults and key == "virtual-ip":
            raise NotEnough(f"{section}.{key}: {faults[0].message}")
        if faults:
            self._report.left.append(
                f"{section}.{key} = {value}: {faults[0].message}; {faults[0].allowed}"
            )
            return
        kind = ClusterConfig.kind(key)
        self._report.taken.append(f"{section}.{key} = {value}")
        yield f"{key} = {toml(kind.show(kind.read(value)))}"

    def _value(self, section: str, key: str) -> str:
        """The members' common value; where they differ the first one's, and that is said."""
        self._used.add((section, key))
        values = {
            number: value
            for number, (_, export) in self._exports.items()
            if (value := export.option(section, key))
        }
        if len({value.lower() for value in values.values()}) > 1:
            shown = ", ".join(f"{value} (member {number})" for number, value in values.items())
            line = f"{section}.{key}: the members differ: {shown}; the first is used"
            if line not in self._report.changed:
                self._report.changed.append(line)
        return next(iter(values.values()), "")

    def _leave_the_rest(self) -> None:
        """Sections of our concern option by option, the others by number."""
        others: Counter[str] = Counter()
        for number, (_, export) in self._exports.items():
            for section, options in export.sections.items():
                rest = [key for key in options if (section, key) not in self._used]
                if section not in ("cluster", "gvp"):
                    others[section] += len(rest)
                    continue
                for key in rest:
                    self._report.left.append(
                        f"{section}.{key} = {options[key]}: of the RM alone (member {number})"
                    )
        for section, count in sorted(others.items()):
            if count:
                self._report.left.append(f"[{section}]: {count} options, of the RM alone")


def _is_nic(name: str) -> bool:
    return name == "nics" or name.startswith("nic.")


def _by_member(
    exports: Sequence[tuple[str, Export]], report: Report
) -> dict[int, tuple[str, Export]]:
    """The files by their mymemberid; one without is the next member that no other file is."""
    found: dict[int, tuple[str, Export]] = {}
    nameless = []
    for name, export in exports:
        given = export.option("cluster", "mymemberid")
        if not given:
            nameless.append((name, export))
        elif ClusterConfig.kind("mymemberid").faults(given):
            raise NotEnough(f"{name}: mymemberid = {given} is no member ID")
        elif int(given) in found:
            raise NotEnough(
                f"{name}: mymemberid = {int(given)}, as in {found[int(given)][0]}: give one file "
                "for each member"
            )
        else:
            found[int(given)] = (name, export)
    for name, export in nameless:
        number = next(n for n in range(1, len(exports) + 1) if n not in found)
        report.changed.append(f"{name}: no mymemberid: taken for member {number}")
        found[number] = (name, export)
    return dict(sorted(found.items()))
