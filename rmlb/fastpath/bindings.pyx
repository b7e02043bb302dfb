# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Bindings in C; see bindings.pxd. Nothing here locks: whoever calls holds the engine."""

from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memset

from rmlb.fastpath.changes cimport Changed, Changes
from rmlb.fastpath.containers cimport (
    NONE, index_find, index_free, index_make, index_put, index_remove, links_free, links_make,
    list_append, list_clear, list_remove, reserve, wheel_first, wheel_free, wheel_make, wheel_put,
    wheel_take,
)
from rmlb.fastpath.members cimport MOST_MEMBERS

from collections import Counter

from rmlb.routing.bindings import ENDED_S as _ENDED_S
from rmlb.routing.bindings import FAILED_S as _FAILED_S
from rmlb.routing.bindings import Phase

cdef double ENDED_S = _ENDED_S
cdef double FAILED_S = _FAILED_S

cdef enum:
    BIND_SECONDS = 131072  # a day and a half; what is due later is looked at on the way
    MAX_CHANGES = 65536

_PHASES = (Phase.TRYING, Phase.FAILED, Phase.LIVE, Phase.ENDED)


cdef inline uint32_t _ticks(double seconds) noexcept nogil:
    """Sixteenths of a second: eight years of them fit."""
    if seconds <= 0.0:
        return 0
    if seconds >= 268435455.0:
        return <uint32_t> 0xFFFFFFFF
    return <uint32_t> (seconds * 16.0 + 0.5)


cdef inline double _seconds(uint32_t ticks) noexcept nogil:
    return ticks / 16.0


cdef void _note(BindTable* t, uint32_t slot) noexcept nogil:
    """Have what becomes of it taken (Bindings.take_changes)."""
    cdef uint32_t oldest
    if not t.journal or t.items[slot].flags & CHANGED:
        return
    if t.changed_count == MAX_CHANGES:
        oldest = index_find(&t.index, t.changed[t.changed_first])
        if oldest != <uint32_t> NONE:
            t.items[oldest].flags &= ~CHANGED
        t.changed_first = (t.changed_first + 1) % MAX_CHANGES
        t.changed_count -= 1
        t.changes_lost += 1
    t.items[slot].flags |= CHANGED
    t.changed[(t.changed_first + t.changed_count) % MAX_CHANGES] = t.index.keys[slot]
    t.changed_count += 1


cdef inline bint _is_due(BindTable* t, uint32_t slot, uint32_t before, uint32_t now) noexcept nogil:
    """Every half of `idle` a dialog with traffic is noted again; keys spread them in time."""
    cdef uint32_t every = _ticks(t.idle / 2.0)
    cdef uint32_t offset
    if not every:
        return True
    offset = <uint32_t> (t.index.keys[slot] % every)
    return (before + offset) // every != (now + offset) // every


cdef inline void _count(BindTable* t, Bind* b) noexcept nogil:
    b.flags |= COUNTED
    t.calls[b.member] += 1


cdef inline void _uncount(BindTable* t, Bind* b) noexcept nogil:
    if b.flags & COUNTED:
        b.flags &= ~COUNTED
        t.calls[b.member] -= 1


cdef void _bind_remove(BindTable* t, uint32_t slot) noexcept nogil:
    """Its slot is free again; counts are the caller's."""
    cdef Bind* b = &t.items[slot]
    index_remove(&t.index, t.index.keys[slot])
    wheel_take(&t.wheel, slot)
    list_remove(&t.redundant if b.flags & REDUNDANT else &t.needed, &t.age, slot)
    t.age.after[slot] = t.unused
    t.unused = slot


cdef void _bind_drop(BindTable* t, uint32_t slot) noexcept nogil:
    _uncount(t, &t.items[slot])
    _bind_remove(t, slot)


cdef void _call_evicted(BindTable* t, uint32_t minute, uint16_t member) noexcept nogil:
    """A call goes on without its binding, and so does its count."""
    cdef uint32_t i
    cdef EvictedCalls* more
    for i in range(t.gone_count):
        if t.gone[i].minute == minute and t.gone[i].member == member:
            t.gone[i].count += 1
            return
    if t.gone_count == t.gone_room:
        more = <EvictedCalls*> realloc(t.gone, (t.gone_room * 2 + 64) * sizeof(EvictedCalls))
        if more == NULL:
            t.calls[member] -= 1
            return
        t.gone = more
        t.gone_room = t.gone_room * 2 + 64
    t.gone[t.gone_count].minute = minute
    t.gone[t.gone_count].member = member
    t.gone[t.gone_count].count = 1
    t.gone_count += 1


cdef void _bind_make_room(BindTable* t) noexcept nogil:
    cdef uint32_t slot
    cdef Bind* b
    while t.index.used and t.index.used >= t.most:
        slot = t.redundant.first if t.redundant.count else t.needed.first
        b = &t.items[slot]
        t.evicted += 1
        if b.flags & COUNTED:
            _call_evicted(t, b.seen // 960, b.member)
        _bind_remove(t, slot)


cdef uint32_t _bind_add(BindTable* t, uint64_t key, bint redundant) noexcept nogil:
    """A blank binding; there has to be room."""
    cdef uint32_t slot = t.unused
    if slot != <uint32_t> NONE:
        t.unused = t.age.after[slot]
    else:
        slot = t.fresh
        t.fresh += 1
    memset(&t.items[slot], 0, sizeof(Bind))
    if redundant:
        t.items[slot].flags = REDUNDANT
    index_put(&t.index, key, slot)
    list_append(&t.redundant if redundant else &t.needed, &t.age, slot)
    return slot


cdef uint32_t bind_new(
    BindTable* t, uint64_t key, uint16_t member, uint32_t loss, double now, bint redundant
) noexcept nogil:
    """Bindings.bind"""
    cdef uint32_t slot = index_find(&t.index, key)
    cdef Bind* b
    if slot != <uint32_t> NONE:
        _bind_drop(t, slot)
    _bind_make_room(t)
    slot = _bind_add(t, key, redundant)
    b = &t.items[slot]
    b.member = member
    b.loss = loss
    b.phase = TRYING
    b.seen = _ticks(now)
    b.expires = _ticks(now + t.timer_c)
    wheel_put(&t.wheel, slot, now + t.timer_c)
    if not redundant:
        _note(t, slot)
    return slot


cdef void bind_touch(BindTable* t, uint32_t slot, double now) noexcept nogil:
    """Bindings.touch"""
    cdef Bind* b = &t.items[slot]
    cdef uint32_t until, before = b.seen
    b.seen = _ticks(now)
    if b.phase == LIVE:
        b.expires = _ticks(now + t.ttl)
        if not b.flags & COUNTED:
            _count(t, b)
        if t.journal and _is_due(t, slot, before, b.seen):
            _note(t, slot)
    elif b.phase == TRYING:
        until = _ticks(now + t.timer_c)
        if until > b.expires:
            b.expires = until


cdef void _look_again(BindTable* t, uint32_t slot, double now) noexcept nogil:
    cdef Bind* b = &t.items[slot]
    cdef double at = _seconds(b.expires), idle
    if b.flags & COUNTED:
        idle = _seconds(b.seen) + t.idle
    elif b.phase == LIVE:
        idle = now + t.idle
    else:
        idle = at
    wheel_put(&t.wheel, slot, idle if idle < at else at)


cdef void _expire_at(BindTable* t, uint32_t slot, double now, double at) noexcept nogil:
    t.items[slot].seen = _ticks(now)
    t.items[slot].expires = _ticks(at)
    _look_again(t, slot, now)


cdef void bind_answered(BindTable* t, uint32_t slot, double now, uint16_t member) noexcept nogil:
    """Bindings.answered of the member that holds it, or while its request is unanswered."""
    cdef Bind* b = &t.items[slot]
    if b.phase == ENDED:
        return
    if b.phase == LIVE and b.member == member:  # a re-INVITE
        bind_touch(t, slot, now)
        return
    _uncount(t, b)
    b.member = member
    b.phase = LIVE
    _count(t, b)
    _expire_at(t, slot, now, now + t.ttl)
    _note(t, slot)


cdef void bind_failed(BindTable* t, uint32_t slot, double now) noexcept nogil:
    """Bindings.failed"""
    if t.items[slot].phase == TRYING:
        t.items[slot].phase = FAILED
        _expire_at(t, slot, now, now + FAILED_S)


cdef void bind_ended(BindTable* t, uint32_t slot, double now) noexcept nogil:
    """Bindings.ended"""
    _uncount(t, &t.items[slot])
    t.items[slot].phase = ENDED
    _expire_at(t, slot, now, now + ENDED_S)
    _note(t, slot)


# what Python sees


cdef class Binding:
    """One Call-ID's member: a view of its slot, as routing.bindings.Binding."""

    @property
    def member(self):
        return self._of._members.ids[self._of.t.items[self._slot].member]

    @member.setter
    def member(self, long number):
        self._of.t.items[self._slot].member = self._of._members.slot(number)

    @property
    def loss(self):
        return self._of.t.items[self._slot].loss

    @property
    def phase(self):
        return _PHASES[self._of.t.items[self._slot].phase]

    @property
    def expires(self):
        return _seconds(self._of.t.items[self._slot].expires)

    @property
    def seen(self):
        return _seconds(self._of.t.items[self._slot].seen)

    @property
    def counted(self):
        return bool(self._of.t.items[self._slot].flags & COUNTED)

    @property
    def is_over(self):
        cdef int phase = self._of.t.items[self._slot].phase
        return phase == FAILED or phase == ENDED

    @property
    def transaction(self):
        return self._of.t.items[self._slot].transaction

    @transaction.setter
    def transaction(self, uint64_t key):
        self._of.t.items[self._slot].transaction = key

    @property
    def callees(self):
        if not self._of.t.items[self._slot].flags & CALLEES:
            return None
        return self._of._callees.get(self._of.t.index.keys[self._slot])


cdef Binding _view(Bindings table, uint32_t slot):
    cdef Binding view = Binding.__new__(Binding)
    view._of = table
    view._slot = slot
    return view


cdef class Bindings:
    """The table of routing.bindings, for as many bindings as the limits say at the start."""

    def __cinit__(self, limits, Members members not None):
        cdef uint32_t slots = limits.max_bindings
        memset(&self.t, 0, sizeof(BindTable))
        self._members = members
        self._callees = {}
        self._unbound = []
        self.elsewhere = {}
        self._on_change = None
        self.t.slots = slots
        self.t.unused = <uint32_t> NONE
        self.t.changed = <uint64_t*> calloc(MAX_CHANGES, sizeof(uint64_t))
        list_clear(&self.t.needed)
        list_clear(&self.t.redundant)
        self.t.items = <Bind*> reserve(slots, sizeof(Bind))
        self.t.calls = <int64_t*> calloc(MOST_MEMBERS, sizeof(int64_t))
        if (
            not index_make(&self.t.index, slots) or not links_make(&self.t.age, slots)
            or not wheel_make(&self.t.wheel, slots, BIND_SECONDS)
            or self.t.items == NULL or self.t.calls == NULL or self.t.changed == NULL
        ):
            raise MemoryError("no memory for [affinity] max-bindings")
        self.limits = limits

    def __dealloc__(self):
        index_free(&self.t.index)
        links_free(&self.t.age)
        wheel_free(&self.t.wheel)
        free(self.t.items)
        free(self.t.calls)
        free(self.t.gone)
        free(self.t.changed)

    @property
    def limits(self):
        return self._limits

    @limits.setter
    def limits(self, limits):
        """A larger table than at the start needs a restart: till then it stays as large."""
        self._limits = limits
        self.t.most = min(limits.max_bindings, self.t.slots)
        self.t.ttl = limits.ttl_s
        self.t.idle = limits.idle_s
        self.t.timer_c = limits.timer_c_s

    @property
    def calls(self):
        return Counter(
            {self._members.ids[i]: self.t.calls[i] for i in range(self._members.count)}
        )

    @property
    def evicted(self):
        return self.t.evicted

    def __len__(self):
        return self.t.index.used

    def find(self, uint64_t key):
        cdef uint32_t slot = bind_find(&self.t, key)
        return None if slot == <uint32_t> NONE else _view(self, slot)

    def bind(self, uint64_t key, long member, uint32_t loss, double now, *, bint redundant):
        cdef uint32_t slot = bind_new(
            &self.t, key, self._members.slot(member), loss, now, redundant
        )
        self.tell_changes()
        return _view(self, slot)

    def recall(
        self, uint64_t key, long member, uint32_t loss, double now, *, bint live, bint ended
    ):
        cdef uint32_t slot = bind_find(&self.t, key)
        cdef Bind* b
        cdef double lasts_s = self.t.timer_c
        if slot != <uint32_t> NONE:
            return _view(self, slot)
        _bind_make_room(&self.t)
        slot = _bind_add(&self.t, key, False)
        b = &self.t.items[slot]
        b.member = self._members.slot(member)
        b.loss = loss
        b.phase = TRYING
        if live:
            b.phase = LIVE
            _count(&self.t, b)
            lasts_s = self.t.ttl
        elif ended:
            b.phase = ENDED
            lasts_s = ENDED_S
        _expire_at(&self.t, slot, now, now + lasts_s)
        return _view(self, slot)

    def bind_header(self, uint64_t key, long member, uint32_t loss, double now):
        cdef uint32_t slot = bind_find(&self.t, key)
        cdef uint16_t of = self._members.slot(member)
        cdef Bind* b
        if slot == <uint32_t> NONE:
            _bind_make_room(&self.t)
            slot = _bind_add(&self.t, key, False)
            b = &self.t.items[slot]
            b.phase = TRYING
            b.seen = _ticks(now)
            wheel_put(&self.t.wheel, slot, now + self.t.idle)
        b = &self.t.items[slot]
        if b.flags & COUNTED:  # somebody's Call-ID is this header's value
            self.t.calls[b.member] -= 1
            self.t.calls[of] += 1
        b.member = of
        b.loss = loss
        b.expires = _ticks(now + self.t.idle)

    def touch(self, Binding binding not None, double now):
        bind_touch(&self.t, binding._slot, now)
        self.tell_changes()

    def answered(
        self, uint64_t key, Binding binding not None, double now, *, long member, uint32_t loss,
        bytes tag, bint fork=False,
    ):
        cdef Bind* b = &self.t.items[binding._slot]
        cdef uint16_t of = self._members.slot(member)
        cdef bint second = b.phase == LIVE and b.member != of
        if b.phase == ENDED:
            return
        if fork or second:
            self._callees[key] = {**(binding.callees or {}), tag: (member, loss)}
            b.flags |= CALLEES
        if second:
            _expire_at(&self.t, binding._slot, now, now + self.t.ttl)
            return
        if fork:
            b.loss = loss
        bind_answered(&self.t, binding._slot, now, of)
        if fork:
            _note(&self.t, binding._slot)
        self.tell_changes()

    def resumed(self, uint64_t key, Binding binding not None, double now):
        self._uncount_evicted(self.t.items[binding._slot].member)
        bind_answered(&self.t, binding._slot, now, self.t.items[binding._slot].member)
        self.tell_changes()

    def moved(self, Binding binding not None, long member, uint32_t loss):
        cdef Bind* b = &self.t.items[binding._slot]
        cdef bint counted = b.flags & COUNTED
        _uncount(&self.t, b)
        b.member = self._members.slot(member)
        b.loss = loss
        if counted:
            _count(&self.t, b)
        if self._is_worth_writing(binding._slot):
            _note(&self.t, binding._slot)
            self.tell_changes()

    def subscribed(self, uint64_t key, Binding binding not None, double now, double expires_s):
        self.t.items[binding._slot].phase = FAILED if expires_s <= 0 else TRYING
        _expire_at(&self.t, binding._slot, now, now + expires_s + FAILED_S)
        _note(&self.t, binding._slot)
        self.tell_changes()

    def failed(self, uint64_t key, Binding binding not None, double now):
        bind_failed(&self.t, binding._slot, now)

    def ended(self, uint64_t key, Binding binding not None, double now):
        bind_ended(&self.t, binding._slot, now)
        self.tell_changes()

    def ended_unknown(self, long member):
        self._uncount_evicted(self._members.slot(member))

    def ended_elsewhere(self, uint64_t key, long member, uint32_t loss, double now):
        if self.t.journal:
            if len(self._unbound) >= MAX_CHANGES:
                self.t.changes_lost += len(self._unbound)
                self._unbound.clear()
            self._unbound.append((key, now + ENDED_S, loss, member))
            self.tell_changes()

    def load(self, long member):
        cdef int64_t calls = self.t.calls[self._members.slot(member)]
        return max(0, calls + self.elsewhere.get(member, 0))

    @property
    def journal(self):
        return bool(self.t.journal)

    @journal.setter
    def journal(self, bint wanted):
        self.t.journal = wanted

    @property
    def changes_lost(self):
        return self.t.changes_lost

    @property
    def changes_waiting(self):
        return self.t.changed_count + len(self._unbound)

    @property
    def changes_to_repeat(self):
        return self._repeat

    def take_changes(self, int most):
        cdef uint32_t slot
        cdef Changes found = Changes()
        for key, expires, loss, member in self._unbound[:most]:
            # of a call that has come here since, its binding tells
            if index_find(&self.t.index, key) == <uint32_t> NONE:
                found.append(Changed(key, expires, loss, member, ENDED))
        del self._unbound[:most]
        while self.t.changed_count and found.count < most:
            slot = index_find(&self.t.index, self.t.changed[self.t.changed_first])
            self.t.changed_first = (self.t.changed_first + 1) % MAX_CHANGES
            self.t.changed_count -= 1
            if slot != <uint32_t> NONE and self.t.items[slot].flags & CHANGED:
                self.t.items[slot].flags &= ~CHANGED
                found.append(self._change(slot))
        return found

    def start_repeating(self):
        self._repeat = self.t.fresh

    def repeat_changes(self, int most):
        cdef Changes found = Changes()
        while self._repeat and most:
            self._repeat -= 1
            most -= 1
            if index_find(&self.t.index, self.t.index.keys[self._repeat]) != self._repeat:
                continue
            if self._is_worth_writing(self._repeat):
                found.append(self._change(self._repeat))
        return found

    def forget_changes(self):
        self.t.journal = False
        self.take_changes(MAX_CHANGES * 2)
        self._repeat = 0
        self.t.listened = self._on_change is not None  # what the packet thread told of is gone

    def _is_worth_writing(self, uint32_t slot):
        cdef Bind* b = &self.t.items[slot]
        if b.phase == TRYING:
            return b.transaction != 0 and not b.flags & REDUNDANT
        return b.phase != FAILED

    cdef Changed _change(self, uint32_t slot):
        cdef Bind* b = &self.t.items[slot]
        cdef Changed change
        change.key = self.t.index.keys[slot]
        change.member = self._members.ids[b.member]
        change.loss = b.loss
        change.phase = b.phase
        change.expires = _seconds(b.expires)
        return change

    @property
    def on_change(self):
        return self._on_change

    @on_change.setter
    def on_change(self, tell):
        self._on_change = tell
        self.t.listened = tell is not None

    def tell_changes(self):
        """Call `on_change` if a change waits. What the packet thread has changed, too."""
        if self._on_change is not None and self.changes_waiting:
            tell, self.on_change = self._on_change, None
            tell()

    def _uncount_evicted(self, uint16_t of):
        cdef uint32_t i
        for i in range(self.t.gone_count):
            if self.t.gone[i].member == of and self.t.gone[i].count > 0:
                self.t.gone[i].count -= 1
                self.t.calls[of] -= 1
                return

    def expire(self, double now):
        cdef int64_t second = wheel_first(&self.t.wheel, now)
        cdef List* due
        cdef uint32_t slot, left, i, kept = 0
        cdef Bind* b
        cdef double minute
        while second <= <int64_t> now:
            due = &self.t.wheel.seconds[second & self.t.wheel.mask]
            left = due.count
            while left:
                left -= 1
                slot = due.first
                b = &self.t.items[slot]
                if _seconds(b.expires) <= now:
                    _bind_drop(&self.t, slot)
                    continue
                if b.flags & COUNTED and _seconds(b.seen) + self.t.idle <= now:
                    _uncount(&self.t, b)
                _look_again(&self.t, slot, now)
            second += 1
        minute = (now - self.t.idle) // 60.0
        for i in range(self.t.gone_count):
            if self.t.gone[i].minute < minute or not self.t.gone[i].count:
                self.t.calls[self.t.gone[i].member] -= self.t.gone[i].count
            else:
                self.t.gone[kept] = self.t.gone[i]
                kept += 1
        self.t.gone_count = kept
        if self._callees:
            for key in list(self._callees):
                slot = bind_find(&self.t, key)
                if slot == <uint32_t> NONE or not self.t.items[slot].flags & CALLEES:
                    del self._callees[key]

    def __sizeof__(self):
        """Octets of the table for as many bindings as there may be."""
        cdef uint64_t each = sizeof(Bind) + 8 + 8 + 12  # key, age, wheel
        cdef uint64_t index = 4 * (<uint64_t> self.t.index.mask + 1)
        return 8 * MAX_CHANGES + each * self.t.slots + index + 12 * BIND_SECONDS
