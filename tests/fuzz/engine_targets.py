"""A short scene through both engines: messages, answers, lost members, time.

An input is the number of a site and scenes: `\\xff`, what happens, who or how, and octets. In the
octets of a message `\\x01` stands for the newest Record-Route value of ours, `\\x02` for the newest
Via of ours and `\\x03` for the newest To tag: a message can carry what no outsider can make.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random

from lockstep import Lockstep
from mutations import mutate
from sip_targets import messages
from sites import Site, make_site
from target import Run, Target, mutate_octets
from traffic import answer_to, tag_of, taken_apart, value_of

from rmlb.routing.member import Health
from rmlb.routing.verdict import Forward, Hold, Origin
from rmlb.sip.address import is_ip_literal

SITES = 24
MOST_SCENES = 24
STATUSES = (100, 180, 183, 200, 200, 202, 302, 404, 482, 486, 487, 500, 503, 503, 603)
HEALTHS = (Health.IN_SERVICE, Health.SUSPECT, Health.REFUSING, Health.OUT_OF_SERVICE)
WAITS = (1 / 16, 0.5, 1.0, 4.0, 16.0, 35.0, 250.0, 8000.0)
TIMES = 4
"""One of many wakes up; more than any of these does not happen to one message."""


def _route() -> Run:
    sites = [_small(make_site(Random(number))) for number in range(SITES)]
    return lambda data: _Play(sites[data[0] % SITES if data else 0]).play(data[1:])


def _small(site: Site) -> Site:
    """Tables that are made quickly: each input gets new ones."""
    limits = site.limits
    bindings = replace(limits.bindings, max_bindings=min(64, limits.bindings.max_bindings))
    pending = replace(limits.pending, max_requests=min(64, limits.pending.max_requests))
    return replace(site, limits=replace(limits, bindings=bindings, pending=pending))


@dataclass
class _Play:
    site: Site
    now: float = 1000.0
    offer: Forward | None = None
    marks: list[bytes] = field(default_factory=lambda: [b"", b"", b""])

    def __post_init__(self) -> None:
        self.both = Lockstep(self.site.table, self.site.limits)

    def play(self, data: bytes) -> None:
        for scene in data.split(b"\xff")[:MOST_SCENES]:
            if scene:
                self._happens(scene[0] % 16, scene[1] if len(scene) > 1 else 0, scene[2:])
        self.both.compare_all(self.now)

    def _happens(self, what: int, how: int, octets: bytes) -> None:
        if what < 8:
            self._receive(self._filled_in(octets), self._caller(how))
        elif what < 11:
            self._answered(how, octets)
        elif what == 11 and self.offer is not None:  # a member passes it on, or back
            self._receive(self._filled_in(octets) or self.offer.data, self._target())
        elif what == 12:
            self._health(how)
        elif what == 13:
            self.now += WAITS[how % len(WAITS)]
            self.both.look(self.now)
            self.both.expire(self.now)
        elif what == 14:
            self.both.ownership.owner = bool(how % 4)
        else:
            self.both.spared(sorted(self.both.table.members)[how % len(self.both.table.members)],
                             self.now)  # fmt: skip

    def _filled_in(self, octets: bytes) -> bytes:
        for mark, text in enumerate(self.marks, start=1):
            octets = octets.replace(bytes((mark,)), text, TIMES)
        return octets

    def _caller(self, how: int) -> Origin:
        listeners = self.both.table.listeners
        listener = listeners[how % len(listeners)]
        hosts = [host for host in self.site.callers if (":" in host) == listener.is_ipv6]
        hosts += [self.site.platform]
        channel = how + 1 if listener.transport.is_stream else listener.index
        host = hosts[(how >> 4) % len(hosts)]
        return Origin(listener.transport, listener.index, channel, host, 5060)

    def _target(self) -> Origin:
        assert self.offer is not None
        to = self.offer.to
        host = to.host if is_ip_literal(to.host) else "198.51.100.9"
        return Origin(to.transport, to.listener, 7, host, to.port)

    def _answered(self, how: int, more: bytes) -> None:
        if self.offer is None:
            return
        status = STATUSES[how % len(STATUSES)]
        data = answer_to(self.offer.data, status, b"c%d" % (how // len(STATUSES) % 3), Random(how))
        if data:
            head, _, _ = data.partition(b"\r\n\r\n")
            self._receive(head + b"\r\n" + more + b"\r\n", self._target())

    def _health(self, how: int) -> None:
        table = self.both.table
        number = sorted(table.members)[how % len(table.members)]
        was = table.members[number]
        members = {**table.members, number: replace(was, health=HEALTHS[how // 16 % 4])}
        table = replace(table, members=members)
        if members[number].lost and not was.lost:
            left = tuple(member.id for member in members.values() if not member.lost)
            table = replace(table, losses=table.losses.record(number, left))
        self.both.publish(table, self.now)

    def _receive(self, data: bytes, origin: Origin) -> None:
        verdict = self.both.receive(data, origin, self.now)
        if isinstance(verdict, Hold):
            verdict = self.both.resume(data, origin, self.now)
        if not isinstance(verdict, Forward):
            return
        lines, _ = taken_apart(verdict.data)
        if verdict.status:
            self.marks[2] = tag_of(value_of(lines, b"to"))[:200]
            return
        self.offer = verdict
        self.marks[1] = value_of(lines, b"via")[:500]
        self.marks[0] = value_of(lines, b"record-route")[:500] or self.marks[0]


_INVITE = (
    b"INVITE sip:ivr@10.0.0.100 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK1;rport"
    b"\r\nMax-Forwards: 70\r\nFrom: <sip:a@b>;tag=f\r\nTo: <sip:ivr@b>\r\nCall-ID: 1@caller\r\n"
    b"CSeq: 1 INVITE\r\nContact: <sip:a@192.0.2.10>\r\nContent-Length: 0\r\n\r\n"
)
_WITHIN = (
    _INVITE.replace(b"INVITE", b"%b")
    .replace(b"1 %b", b"2 %b")
    .replace(b"bK1", b"bK%d")
    .replace(b"To: <sip:ivr@b>", b"To: <sip:ivr@b>;tag=\x03\r\nRoute: \x01")
)


def _scene(what: int, how: int, octets: bytes = b"") -> bytes:
    return bytes((what, how)) + octets.replace(b"\xff", b"\xfe")


def _route_seeds() -> list[bytes]:
    bye = _WITHIN % (b"BYE", 3, b"BYE")
    ack = _WITHIN % (b"ACK", 2, b"ACK")
    cancel = _INVITE.replace(b"INVITE", b"CANCEL")
    fork = b"Via: SIP/2.0/UDP 10.0.0.100:5060;branch=z9hG4bKrm\r\nVia: \x02\r\n"
    inner = _INVITE.replace(b"Via: ", fork + b"Via: ", 1)
    invite = _scene(0, 0, _INVITE)
    ringing, answered = _scene(8, 1), _scene(8, 3)
    scripts = [
        [invite, ringing, answered, _scene(0, 0, ack), _scene(0, 0, bye), answered],
        [invite, ringing, _scene(12, 48), _scene(12, 49), _scene(8, 3), _scene(0, 0, ack)],
        [invite, _scene(8, 12), _scene(8, 3)],
        [invite, _scene(12, 16), _scene(13, 1), _scene(13, 3), _scene(8, 8)],
        [invite, ringing, _scene(0, 0, cancel), _scene(8, 10)],
        [invite, _scene(11, 0, inner), answered],
        [invite, answered, _scene(12, 48), _scene(0, 16, bye), _scene(13, 6), _scene(0, 0, bye)],
        [invite, _scene(14, 0), _scene(0, 0, _INVITE), _scene(14, 1), _scene(0, 0, _INVITE)],
    ]
    seeds = [bytes((n,)) + b"\xff".join(scenes) for n in range(4) for scenes in scripts]
    seeds += [bytes((n,)) + _scene(0, n, data) for n, data in enumerate(messages())]
    return [seed[:4096] for seed in seeds]


def _mutate_scenes(data: bytes, rng: Random) -> bytes:
    """Mostly one scene's octets; else what happens, and in which order."""
    if rng.random() < 0.1:
        return mutate_octets(data, rng)
    site, scenes = data[:1], data[1:].split(b"\xff")
    at = rng.randrange(len(scenes))
    match rng.randrange(8):
        case 0:
            scenes.insert(at, rng.choice(scenes))
        case 1:
            scenes.insert(at, _scene(rng.randrange(8, 16), rng.randrange(255)))
        case 2:
            site = bytes((rng.randrange(SITES),))
        case 3:
            scenes[at] = scenes[at][:1] + bytes((rng.randrange(255),)) + scenes[at][2:]
        case _:
            scenes[at] = scenes[at][:2] + mutate(scenes[at][2:], rng).replace(b"\xff", b"\xfe")
    return site + b"\xff".join(scenes)


TARGETS = (
    Target(
        "route",
        "both engines give the same verdict, octets, counters, bindings and remembered requests; "
        "counters balance",
        _route,
        _route_seeds,
        mutate=_mutate_scenes,
        short=250,
        floor_s=0.5,
        us_per_octet=200.0,
    ),
)
