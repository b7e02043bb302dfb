"""Bindings: which member a Call-ID was given to, bounded and expiring (SIP-RULES 6).

Also counts calls per member: a call is a binding with a 2xx not yet ended. While `journal` is set,
what other balancers should know of is kept until it is taken (HA-RULES 5). Keys are 64-bit
affinity hashes; nothing here knows SIP messages, sockets or the store.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from typing import NamedTuple

from rmlb.routing.expiry import ExpiryBuckets

FAILED_S = 32.0
"""After a non-2xx final answer: 64 T1, while retransmissions may come (RFC 3261 17.1.1.2)."""

ENDED_S = 600.0
"""After the 2xx to a BYE: a NOTIFY for a REFER may still come (SIP-RULES 6)."""

MAX_CHANGES = 65_536
"""Changes that wait to be taken: three seconds of 10,000 calls/s, some 8 MiB."""

_LOST_AT_ONCE = MAX_CHANGES // 64


class Phase(Enum):
    """How far the dialog has come."""

    TRYING = "trying"
    FAILED = "failed"
    LIVE = "live"
    ENDED = "ended"


@dataclass(slots=True)
class Binding:
    """One Call-ID's member. `loss` is the cluster's loss number when it was made."""

    member: int
    loss: int
    phase: Phase
    expires: float
    seen: float
    look_at: int = 0
    counted: bool = False
    """It is one of its member's calls."""
    callees: dict[bytes, tuple[int, int]] | None = None
    """Callee tag -> member and its loss number, where a member answered that was given up."""
    transaction: int = 0
    """Key of the remembered request that made it."""
    key: int = 0
    write_at: float = 0.0
    """Traffic from this time on puts it into the journal again, lest it ends elsewhere first."""

    @property
    def is_over(self) -> bool:
        """Its request failed or its call has ended."""
        return self.phase in (Phase.FAILED, Phase.ENDED)


class Change(NamedTuple):
    """What has become of a binding, for other balancers."""

    key: int
    member: int
    loss: int
    live: bool
    """It counts as a call."""
    ended: bool
    """The 2xx to its BYE came. Neither: its request is unanswered, or it is a subscription."""
    expires: float
    """When it may be forgotten, in the time of `now`."""


@dataclass(frozen=True, slots=True)
class BindingLimits:
    """Sizes and lifetimes in seconds ([affinity], [retry] timer-c)."""

    max_bindings: int = 1_000_000
    ttl_s: float = 48 * 3600.0
    idle_s: float = 2 * 3600.0
    timer_c_s: float = 200.0


class Bindings:
    """The table. Entries that mark or hash would answer alike are the first to go when full."""

    def __init__(self, limits: BindingLimits) -> None:
        self.limits = limits
        self.calls: Counter[int] = Counter()
        """Calls by member id."""
        self.elsewhere: dict[int, int] = {}
        """What `load` adds to a member's calls, less than nothing where calls of here have ended
        through others; whoever asks the store sets it."""
        self.journal = False
        """Changes are kept for `take_changes`; set and cleared by whoever takes them."""
        self.on_change: Callable[[], None] | None = None
        """Called once, on the event loop's thread, by the next change; None again then."""
        self.changes_lost = 0
        """Changes that gave way to newer ones before they were taken."""
        self.evicted = 0
        self._needed: OrderedDict[int, Binding] = OrderedDict()
        self._redundant: OrderedDict[int, Binding] = OrderedDict()
        self._expiry = ExpiryBuckets()
        self._evicted_calls: OrderedDict[int, Counter[int]] = OrderedDict()  # minute -> members
        self._changed: dict[int, Binding | Change] = {}
        self._again: list[int] = []  # keys that `repeat_changes` still has to give

    def __len__(self) -> int:
        return len(self._needed) + len(self._redundant)

    def find(self, key: int) -> Binding | None:
        return self._redundant.get(key) or self._needed.get(key)

    def bind(self, key: int, member: int, loss: int, now: float, *, redundant: bool) -> Binding:
        """Give a Call-ID to a member while its request is unanswered; replaces an ended one."""
        old = self.find(key)
        if old is not None:
            self._drop(key, old)
        self._make_room(now)
        limit = now + self.limits.timer_c_s
        binding = Binding(member, loss, Phase.TRYING, limit, now, key=key)
        (self._redundant if redundant else self._needed)[key] = binding
        binding.look_at = self._expiry.put(key, limit)
        if self.journal and not redundant:
            self._note(binding)
        return binding

    def recall(
        self, key: int, member: int, loss: int, now: float, *, live: bool, ended: bool
    ) -> Binding:
        """Take up a binding that another balancer made; one that is here already stays as it is.

        It is no change, and lives as one that was answered, or ended, now.
        """
        binding = self.find(key)
        if binding is not None:
            return binding
        self._make_room(now)
        binding = self._needed[key] = Binding(member, loss, Phase.TRYING, now, now, key=key)
        binding.write_at = now + self.limits.idle_s / 2
        if live:
            binding.phase = Phase.LIVE
            self._count(binding)
            lasts_s = self.limits.ttl_s
        elif ended:
            binding.phase = Phase.ENDED
            lasts_s = ENDED_S
        else:
            lasts_s = self.limits.timer_c_s
        self._expire_at(key, binding, now, now + lasts_s)
        return binding

    def bind_header(self, key: int, member: int, loss: int, now: float) -> None:
        """A configured header's value was seen with this member: the next dialog follows it.

        No call by itself; it lasts as long as a silent call counts.
        """
        binding = self.find(key)
        expires = now + self.limits.idle_s
        if binding is None:
            self._make_room(now)
            binding = Binding(member, loss, Phase.TRYING, expires, now, key=key)
            self._needed[key] = binding
            binding.look_at = self._expiry.put(key, expires)
        binding.member, binding.loss, binding.expires = member, loss, expires

    def touch(self, binding: Binding, now: float) -> None:
        """Traffic of a dialog: its lifetime starts anew."""
        binding.seen = now
        if binding.phase is Phase.LIVE:
            binding.expires = now + self.limits.ttl_s
            if not binding.counted:
                self._count(binding)
            if self.journal and now >= binding.write_at:
                self._note(binding)
        elif binding.phase is Phase.TRYING:
            # a subscription's entry or a header's lasts longer than that
            binding.expires = max(binding.expires, now + self.limits.timer_c_s)

    def answered(
        self,
        key: int,
        binding: Binding,
        now: float,
        *,
        member: int,
        loss: int,
        tag: bytes,
        fork: bool = False,
    ) -> None:
        """A 2xx to the INVITE came from `member`, with this callee tag, at that loss number.

        `fork`: from a member that the balancer had given up; its dialog is its own, whatever mark
        and loss log say.
        """
        if binding.phase is Phase.ENDED:
            return
        if binding.phase is Phase.LIVE and binding.member == member and not fork:  # a re-INVITE
            self.touch(binding, now)
            return
        second = binding.phase is Phase.LIVE and binding.member != member
        if fork or second:
            binding.callees = {**(binding.callees or {}), tag: (member, loss)}
        if not second:
            if fork:
                binding.loss = loss
            self._uncount(binding)
            binding.member = member
            binding.phase = Phase.LIVE
            self._count(binding)
        self._expire_at(key, binding, now, now + self.limits.ttl_s)
        if self.journal and not second:
            self._note(binding)

    def resumed(self, key: int, binding: Binding, now: float) -> None:
        """An answer to a re-INVITE made this binding: its call was evicted, and is counted here."""
        self.ended_unknown(binding.member)
        self.answered(key, binding, now, member=binding.member, loss=binding.loss, tag=b"")

    def moved(self, binding: Binding, member: int, loss: int) -> None:
        """Its request went to another member, and its call with it."""
        counted = binding.counted
        self._uncount(binding)
        binding.member, binding.loss = member, loss
        if counted:
            self._count(binding)
        if self.journal and self._is_worth_writing(binding):
            self._note(binding)

    def subscribed(self, key: int, binding: Binding, now: float, expires_s: float) -> None:
        """A 2xx to a SUBSCRIBE: no call, and it lives as long as the subscription."""
        binding.phase = Phase.FAILED if expires_s <= 0 else Phase.TRYING
        self._expire_at(key, binding, now, now + expires_s + FAILED_S)
        if self.journal:
            self._note(binding)

    def failed(self, key: int, binding: Binding, now: float) -> None:
        """A final answer other than 2xx to the initial request."""
        if binding.phase is Phase.TRYING:
            binding.phase = Phase.FAILED
            self._expire_at(key, binding, now, now + FAILED_S)

    def ended(self, key: int, binding: Binding, now: float) -> None:
        """The 2xx to a BYE."""
        self._uncount(binding)
        binding.phase = Phase.ENDED
        self._expire_at(key, binding, now, now + ENDED_S)
        if self.journal:
            self._note(binding)

    def ended_elsewhere(self, key: int, member: int, loss: int, now: float) -> None:
        """The 2xx to a BYE of a call without a binding here: another balancer may count it."""
        if self.journal:
            self._keep_change(key, Change(key, member, loss, False, True, now + ENDED_S))

    def ended_unknown(self, member: int) -> None:
        """The 2xx to a BYE whose binding was evicted: its call still counted until now."""
        for minute, members in self._evicted_calls.items():
            if members[member] > 0:
                members[member] -= 1
                self.calls[member] -= 1
                if not members.total():
                    del self._evicted_calls[minute]
                return

    def load(self, member: int) -> int:
        """The member's calls on all balancers."""
        return max(0, self.calls[member] + self.elsewhere.get(member, 0))

    # the journal

    @property
    def changes_waiting(self) -> int:
        """How many `take_changes` can give."""
        return len(self._changed)

    @property
    def changes_to_repeat(self) -> int:
        """How many bindings `repeat_changes` has not looked at yet."""
        return len(self._again)

    def take_changes(self, most: int) -> Sequence[Change]:
        """Up to `most` changes, the oldest first, each key once with what it is by now.

        They are given once.
        """
        changed = self._changed
        if len(changed) <= most:
            self._changed = {}
            return [_as_change(each) for each in changed.values()]
        return [_as_change(changed.pop(key)) for key in [*islice(changed, most)]]

    def start_repeating(self) -> None:
        """From now on `repeat_changes` gives all that is here, whatever was taken before."""
        # past OrderedDict's own iterator, which takes ten times as long: 17 ms for a million
        self._again = [*dict.keys(self._needed), *dict.keys(self._redundant)]

    def repeat_changes(self, most: int) -> Sequence[Change]:
        """The next of what is here and worth writing; looks at no more than `most` bindings."""
        repeated = []
        for key in self._again[-most:]:
            binding = self.find(key)
            if binding is not None and self._is_worth_writing(binding):
                repeated.append(_as_change(binding))
        del self._again[-most:]
        return repeated

    def forget_changes(self) -> None:
        """Nobody wants changes any more, for now: what waits is let go."""
        self.journal = False
        self._changed.clear()
        self._again.clear()

    def _note(self, binding: Binding) -> None:
        """Have what becomes of it taken."""
        binding.write_at = binding.seen + self.limits.idle_s / 2
        self._keep_change(binding.key, binding)

    def _keep_change(self, key: int, change: Binding | Change) -> None:
        changed = self._changed
        changed[key] = change
        if self.on_change is not None:
            tell, self.on_change = self.on_change, None
            tell()
        if len(changed) > MAX_CHANGES:
            # many at a time: to find the first of a dict takes as long as many went before it
            for oldest in [*islice(changed, _LOST_AT_ONCE)]:
                del changed[oldest]
            self.changes_lost += _LOST_AT_ONCE

    def _is_worth_writing(self, binding: Binding) -> bool:
        """Others could not tell by mark or hash, or it counts as a call."""
        if binding.phase is Phase.TRYING:
            return binding.transaction != 0 and binding.key in self._needed
        return binding.phase is not Phase.FAILED

    def expire(self, now: float) -> None:
        """Forget what is due and stop counting calls silent for `idle_s`."""
        for key, second in self._expiry.due(now):
            binding = self.find(key)
            if binding is None or binding.look_at != second:
                continue
            if binding.expires <= now:
                self._drop(key, binding)
                continue
            if binding.counted and binding.seen + self.limits.idle_s <= now:
                self._uncount(binding)
            self._look_again(key, binding, now)
        idle_minute = int(now - self.limits.idle_s) // 60
        for minute in [m for m in self._evicted_calls if m < idle_minute]:
            self.calls.subtract(self._evicted_calls.pop(minute))

    def _expire_at(self, key: int, binding: Binding, now: float, at: float) -> None:
        binding.seen = now
        binding.expires = at
        self._look_again(key, binding, now)

    def _look_again(self, key: int, binding: Binding, now: float) -> None:
        at = binding.expires
        if binding.counted:
            at = min(at, binding.seen + self.limits.idle_s)
        elif binding.phase is Phase.LIVE:  # silent now; traffic may make it count again
            at = min(at, now + self.limits.idle_s)
        binding.look_at = self._expiry.put(key, at)

    def _count(self, binding: Binding) -> None:
        binding.counted = True
        self.calls[binding.member] += 1

    def _uncount(self, binding: Binding) -> None:
        if binding.counted:
            binding.counted = False
            self.calls[binding.member] -= 1

    def _drop(self, key: int, binding: Binding) -> None:
        self._uncount(binding)
        if self._redundant.pop(key, None) is None:
            self._needed.pop(key, None)

    def _make_room(self, now: float) -> None:
        while len(self) >= self.limits.max_bindings:
            table = self._redundant or self._needed
            _, binding = table.popitem(last=False)
            self.evicted += 1
            if binding.counted:  # its call goes on, and so does its count
                minute = int(binding.seen) // 60
                self._evicted_calls.setdefault(minute, Counter())[binding.member] += 1


def _as_change(entry: Binding | Change) -> Change:
    """What a binding is by now."""
    if isinstance(entry, Change):
        return entry
    phase = entry.phase
    live, ended = phase is Phase.LIVE, phase is Phase.ENDED
    return Change(entry.key, entry.member, entry.loss, live, ended, entry.expires)
