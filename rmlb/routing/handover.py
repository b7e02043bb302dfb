"""Remembered requests on their way from one balancer to its successor (HA-RULES 4). Pure.

At a planned hand-over the former owner writes down what it has not seen answered, and the new one
takes that up: so a call that rings meanwhile is not lost with its member afterwards, and its
CANCEL finds the member that has it. Times travel as ages. Knows nothing of who sends the records.
"""

from __future__ import annotations

from typing import Any, Final

from rmlb.routing.affinity import Moment
from rmlb.routing.bindings import Phase
from rmlb.routing.delivery import DIALOG_METHODS
from rmlb.routing.pending import Attempt, Failure, OwnCancel, Remembered
from rmlb.routing.selection import Algorithm
from rmlb.routing.timers import Task
from rmlb.routing.verdict import Destination, Origin
from rmlb.sip.address import Transport

Record = dict[str, Any]
"""One request as JSON has it; octets are Latin-1 text."""

_HANDED: Final = 408
"""Final status of a request whose answer another balancer has seen: any that is no 2xx."""


def unanswered(moment: Moment) -> list[Remembered]:
    """All that waits for its final answer, by member, oldest first."""
    pending = moment.memory.pending
    return [entry for member in moment.table.members for entry in pending.waiting_for(member)]


def write(entry: Remembered, moment: Moment) -> Record:
    """One request for the successor."""
    now, binding = moment.now, moment.memory.bindings.find(entry.call)
    bound = binding is not None and binding.transaction == entry.key
    return {
        "key": entry.key,
        "call": entry.call,
        "loss": binding.loss if binding is not None and bound else None,
        "method": _text(entry.method),
        "initial": entry.initial,
        "data": _text(entry.data),
        "origin": list(entry.origin),
        "age": now - entry.begun,
        "left": entry.expires - now,
        "quiet": entry.quiet,
        "ringing": entry.ringing,
        "cancel": None if entry.cancel is None else [_text(entry.cancel[0]), list(entry.cancel[1])],
        "best": None if entry.best is None else _write_failure(entry.best),
        "attempts": [_write_attempt(attempt, now) for attempt in entry.attempts],
    }


def take(record: Record, moment: Moment) -> bool:
    """Remember it here; False where it came too late, or this balancer knows it already.

    Raises KeyError, TypeError or ValueError for what `write` has not made.
    """
    memory, now = moment.memory, moment.now
    told, loss = _read(record, now), record["loss"]
    key, call, initial = told.key, told.call, told.initial
    attempts, newest = told.attempts, told.newest
    binding = memory.bindings.find(call) if initial else None
    if memory.pending.knows(key) or (binding is not None and binding.phase is Phase.LIVE):
        return False
    memory.pending.remember(
        key, call=call, method=told.method, initial=initial, data=told.data, origin=told.origin,
        attempt=attempts[0], now=now,
    )  # fmt: skip
    entry = memory.pending.find(key)
    if entry is None:
        return False
    entry.inherited = True
    entry.begun, entry.expires = told.begun, told.expires
    entry.quiet, entry.ringing = told.quiet, told.ringing
    entry.cancel, entry.best = told.cancel, told.best
    abandoned = [attempt.abandoned for attempt in attempts]
    entry.attempts[0] = attempts[0]
    for attempt in attempts[1:]:
        memory.pending.add_attempt(entry, attempt)
    for attempt, was in zip(attempts, abandoned, strict=True):
        attempt.abandoned = was
    if binding is not None and not newest.provisional and not binding.is_over:
        # learnt from a 1xx that came while the request was on its way to here
        newest.provisional = newest.rings = entry.ringing = True
        entry.quiet = told.method == b"INVITE"
    memory.pending.weigh(entry)
    _count(attempts, moment)
    if initial and told.method in DIALOG_METHODS:
        _bind(entry, loss, moment)
    _make_appointments(entry, moment)
    return True


def answered_elsewhere(key: int, moment: Moment) -> None:
    """Its final answer has passed another balancer: nothing is left to do for it here."""
    entry = moment.memory.pending.find(key)
    if entry is not None and entry.inherited and not entry.final:
        close(entry, moment)


def close(entry: Remembered, moment: Moment) -> None:
    """The caller has its final answer, which was not seen here."""
    for attempt in entry.attempts:
        if attempt.waiting:
            attempt.waiting = False
            moment.memory.loads.gave_up(attempt.member)
    moment.memory.pending.answered(entry, _HANDED, moment.now, by=entry.newest.member)


def _bind(entry: Remembered, loss: int | None, moment: Moment) -> None:
    table, bindings = moment.table, moment.memory.bindings
    binding, member = bindings.find(entry.call), entry.newest.member
    if binding is None or binding.is_over or binding.member != member:
        number = table.losses.number if loss is None else int(loss)
        redundant = table.record_route or table.algorithm is Algorithm.HASH
        binding = bindings.bind(entry.call, member, number, moment.now, redundant=redundant)
    binding.transaction = entry.key


def _count(attempts: list[Attempt], moment: Moment) -> None:
    """What no member has answered yet counts for its load, and its silence begins now."""
    for attempt in attempts:
        if attempt.waiting or not (attempt.provisional or attempt.final or attempt.abandoned):
            moment.memory.loads.sent(attempt.member, moment.now, limited=attempt.waiting)


def _make_appointments(entry: Remembered, moment: Moment) -> None:
    """As they were with the former owner."""
    timers, now, newest = moment.memory.timers, moment.now, entry.newest
    for attempt in entry.attempts:
        udp = attempt.over is Transport.UDP
        if udp and attempt.alive and attempt.cancel is OwnCancel.SENT:
            timers.repeat(Task.CANCEL, entry.key, attempt.member, now)
    alone = entry.quiet or entry.origin.transport.is_stream
    if entry.resent and newest.over is Transport.UDP and alone and not newest.provisional:
        timers.repeat(Task.REPEAT, entry.key, newest.member, now)
    if any(attempt.final for attempt in entry.attempts):
        begun = now if entry.quiet else entry.begun
        due = max(now, begun + moment.table.deadline_s)
        timers.put(due, Task.DEADLINE, entry.key)
    member = moment.table.members.get(newest.member)
    if member is None or not member.reachable:
        timers.put(now, Task.TAKE_OVER, entry.key, newest.member)


def _read(record: Record, now: float) -> Remembered:
    """As it was with the former owner."""
    attempts = [_read_attempt(each, now) for each in record["attempts"]]
    if not attempts:
        raise ValueError("a request that was sent to nobody")
    cancel, best = record["cancel"], record["best"]
    return Remembered(
        key=int(record["key"]),
        call=int(record["call"]),
        method=_octets(record["method"]),
        initial=bool(record["initial"]),
        data=_octets(record["data"]),
        origin=_origin(record["origin"]),
        begun=now - float(record["age"]),
        expires=now + float(record["left"]),
        attempts=attempts,
        quiet=bool(record["quiet"]),
        ringing=bool(record["ringing"]),
        cancel=None if cancel is None else (_octets(cancel[0]), _origin(cancel[1])),
        best=None if best is None else _read_failure(best),
        inherited=True,
    )


def _write_attempt(attempt: Attempt, now: float) -> Record:
    return {
        "member": attempt.member,
        "age": now - attempt.sent_at,
        "over": attempt.over,
        "sent": _text(attempt.sent),
        "to": None if attempt.to is None else list(attempt.to),
        "waiting": attempt.waiting,
        "provisional": attempt.provisional,
        "rings": attempt.rings,
        "by_vip": attempt.by_vip,
        "final": attempt.final,
        "abandoned": attempt.abandoned,
        "cancel": attempt.cancel,
        "tags": [_text(tag) for tag in attempt.tags],
    }


def _read_attempt(record: Record, now: float) -> Attempt:
    return Attempt(
        member=int(record["member"]),
        sent_at=now - float(record["age"]),
        over=Transport(record["over"]),
        sent=_octets(record["sent"]),
        to=None if record["to"] is None else _destination(record["to"]),
        waiting=bool(record["waiting"]),
        provisional=bool(record["provisional"]),
        rings=bool(record["rings"]),
        by_vip=bool(record["by_vip"]),
        final=int(record["final"]),
        abandoned=bool(record["abandoned"]),
        cancel=OwnCancel(record["cancel"]),
        tags={_octets(tag) for tag in record["tags"]},
    )


def _write_failure(failure: Failure) -> Record:
    return {
        "status": failure.status,
        "member": failure.member,
        "to": list(failure.to),
        "data": _text(failure.data),
    }


def _read_failure(record: Record) -> Failure:
    to, data = _destination(record["to"]), _octets(record["data"])
    return Failure(int(record["status"]), int(record["member"]), to, data)


def _origin(told: list[Any]) -> Origin:
    """Its connection, if it had one, was the former owner's."""
    transport, listener, _, host, port = told
    return Origin(Transport(transport), int(listener), 0, str(host), int(port))


def _destination(told: list[Any]) -> Destination:
    transport, host, port, listener, _, member = told
    return Destination(Transport(transport), str(host), int(port), int(listener), 0, int(member))


def _text(octets: bytes) -> str:
    return octets.decode("latin-1")


def _octets(text: str) -> bytes:
    return text.encode("latin-1")
