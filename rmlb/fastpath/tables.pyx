# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Bindings, remembered requests and loads in C, under the names and rules of routing/.

What the packet path does with them without Python are the functions at the top; the classes below
show the same tables to the Python router, method for method. A remembered request in trouble (it
was cancelled, or its member failed) is *promoted*: it becomes routing.pending's own object, which
Python alone handles from then on, while its slot keeps its place, age and weight.

Nothing here locks: whoever calls holds the engine.
"""

from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memset

from rmlb.fastpath.containers cimport (
    NONE, __builtin_prefetch, index_find, index_free, index_make, index_put, index_remove,
    links_free, links_make, list_append, list_clear, list_remove, reserve, wheel_first,
    wheel_free, wheel_make, wheel_put, wheel_take,
)
from rmlb.fastpath.scan cimport Method

from collections import Counter

from rmlb.routing.bindings import ENDED_S as _ENDED_S
from rmlb.routing.bindings import FAILED_S as _FAILED_S
from rmlb.routing.bindings import Change, Phase
from rmlb.routing.overload import FIRST_ANSWER_BOUNDS_S, FirstAnswers
from rmlb.routing.overload import (
    BACK_OFF as _BACK_OFF,
    BURST_S as _BURST_S,
    GRACE_S as _GRACE_S,
    LEAST_ADAPTIVE as _LEAST_ADAPTIVE,
    LEAST_BURST as _LEAST_BURST,
    MOST_PATIENCE as _MOST_PATIENCE,
    SLOWER as _SLOWER,
    START_ADAPTIVE as _START_ADAPTIVE,
)
from rmlb.routing.pending import COMPLETED_S as _COMPLETED_S
from rmlb.routing.pending import Attempt, OwnCancel, Remembered
from rmlb.routing.verdict import Origin
from rmlb.sip.address import Transport

cdef double ENDED_S = _ENDED_S
cdef double FAILED_S = _FAILED_S
cdef double COMPLETED_S = _COMPLETED_S
cdef double BACK_OFF = _BACK_OFF
cdef double BURST_S = _BURST_S
cdef double GRACE_S = _GRACE_S
cdef double LEAST_ADAPTIVE = _LEAST_ADAPTIVE
cdef double START_ADAPTIVE = _START_ADAPTIVE
cdef double SLOWER = _SLOWER
cdef int64_t LEAST_BURST = _LEAST_BURST
cdef int64_t MOST_PATIENCE = _MOST_PATIENCE

cdef enum:
    BIND_SECONDS = 131072  # a day and a half; what is due later is looked at on the way
    PEND_SECONDS = 4096
    MAX_CHANGES = 65536

cdef uint32_t[BLOCK_CLASSES] BLOCK_SIZES
BLOCK_SIZES[0], BLOCK_SIZES[1], BLOCK_SIZES[2], BLOCK_SIZES[3] = 1024, 1536, 2048, 4096

_METHODS = {
    Method.INVITE: b"INVITE", Method.ACK: b"ACK", Method.BYE: b"BYE", Method.CANCEL: b"CANCEL",
    Method.OPTIONS: b"OPTIONS", Method.SUBSCRIBE: b"SUBSCRIBE", Method.REFER: b"REFER",
}
_NUMBERS = {name: number for number, name in _METHODS.items()}
_TRANSPORTS = {85: Transport.UDP, 84: Transport.TCP, 83: Transport.TLS}
_LETTERS = {transport: letter for letter, transport in _TRANSPORTS.items()}
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


# bindings


cdef uint32_t bind_find(BindTable* t, uint64_t key) noexcept nogil:
    return index_find(&t.index, key)


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


# remembered requests


cdef uint32_t pend_find(PendTable* t, uint64_t key) noexcept nogil:
    return index_find(&t.index, key)


cdef inline int _block_class(uint32_t size) noexcept nogil:
    cdef int i
    for i in range(BLOCK_CLASSES):
        if size <= BLOCK_SIZES[i]:
            return i
    return -1


cdef uint8_t* _block_take(PendTable* t, uint32_t size) noexcept nogil:
    cdef int of = _block_class(size)
    cdef void* block
    if of < 0:
        return <uint8_t*> malloc(size)
    block = t.blocks[of]
    if block == NULL:
        return <uint8_t*> malloc(BLOCK_SIZES[of])
    t.blocks[of] = (<void**> block)[0]
    return <uint8_t*> block


cdef void _block_give(PendTable* t, uint8_t* block, uint32_t size) noexcept nogil:
    cdef int of = _block_class(size)
    if of < 0:
        free(block)
    else:
        (<void**> block)[0] = t.blocks[of]
        t.blocks[of] = block


cdef inline void _drop_data(PendTable* t, Pend* p) noexcept nogil:
    if p.data != NULL:
        _block_give(t, p.data, p.size)
        p.data = NULL
    p.size = 0


cdef void _pend_forget(PendTable* t, uint32_t slot) noexcept nogil:
    cdef Pend* p = &t.items[slot]
    cdef uint64_t* more
    if p.flags & PROMOTED:
        if t.orphan_count == t.orphan_room:
            more = <uint64_t*> realloc(t.orphans, (t.orphan_room * 2 + 64) * sizeof(uint64_t))
            if more != NULL:
                t.orphans = more
                t.orphan_room = t.orphan_room * 2 + 64
        if t.orphan_count < t.orphan_room:
            t.orphans[t.orphan_count] = t.index.keys[slot]
            t.orphan_count += 1
    elif p.flags & WAITING:
        t.given_up[p.member] += 1
    if p.flags & UNANSWERED:
        t.unanswered -= 1
        t.waiting[p.waits_for] -= 1
    t.octets -= p.octets
    _drop_data(t, p)
    index_remove(&t.index, t.index.keys[slot])
    wheel_take(&t.wheel, slot)
    list_remove(&t.order, &t.age, slot)
    t.age.after[slot] = t.unused
    t.unused = slot


cdef inline void _pend_evict(PendTable* t) noexcept nogil:
    _pend_forget(t, t.order.first)
    t.evicted += 1


cdef void pend_prefetch(PendTable* t) noexcept nogil:
    """One more is about to be remembered: the slot that it will take."""
    cdef uint32_t slot = t.unused
    cdef char* at
    if slot == <uint32_t> NONE:
        slot = t.fresh if t.order.count < t.most else t.order.first
    if slot < t.slots:
        at = <char*> &t.items[slot]
        __builtin_prefetch(at)
        __builtin_prefetch(at + 64)
        __builtin_prefetch(at + 128)


cdef uint32_t pend_new(
    PendTable* t, uint64_t key, const uint8_t* data, uint32_t size, uint16_t member, double now,
    bint invite,
) noexcept nogil:
    """PendingRequests.remember; NONE if there is no memory. Flags, origin and method are set by
    whoever calls."""
    cdef uint32_t slot
    cdef Pend* p
    cdef uint8_t* kept = _block_take(t, size)
    if kept == NULL:
        return <uint32_t> NONE
    while t.order.count and (t.order.count >= t.most or t.octets + size > t.most_octets):
        _pend_evict(t)
    slot = t.unused
    if slot != <uint32_t> NONE:
        t.unused = t.age.after[slot]
    else:
        slot = t.fresh
        t.fresh += 1
    p = &t.items[slot]
    memset(p, 0, sizeof(Pend))
    memcpy(kept, data, size)
    p.data = kept
    p.size = p.octets = size
    p.begun = p.sent_at = now
    p.expires = now + (t.timer_c if invite else COMPLETED_S)
    p.member = p.waits_for = member
    p.final_by = NOBODY
    p.flags = UNANSWERED
    t.turn += 1
    p.turn = t.turn
    t.waiting[member] += 1
    t.unanswered += 1
    t.octets += size
    index_put(&t.index, key, slot)
    list_append(&t.order, &t.age, slot)
    wheel_put(&t.wheel, slot, p.expires)
    return slot


cdef void pend_provisional(PendTable* t, uint32_t slot, int status, double now) noexcept nogil:
    """PendingRequests.provisional"""
    cdef Pend* p = &t.items[slot]
    if p.final:
        return
    if p.method == Method.INVITE:
        p.flags |= QUIET
    else:
        p.flags &= ~QUIET
    if status > 100:
        p.flags |= RINGING
        if p.method == Method.INVITE:
            p.expires = now + t.timer_c


cdef void pend_answered(PendTable* t, uint32_t slot, int status, double now) noexcept nogil:
    """PendingRequests.answered by the one member that was asked."""
    cdef Pend* p = &t.items[slot]
    if p.final:
        return
    p.final = <uint16_t> status
    p.final_by = p.member
    p.expires = now + COMPLETED_S
    wheel_put(&t.wheel, slot, p.expires)
    t.unanswered -= 1
    t.waiting[p.waits_for] -= 1
    p.flags &= ~UNANSWERED
    _drop_data(t, p)
    t.octets -= p.octets - p.tag_size
    p.octets = p.tag_size


cdef bint pend_add_tag(
    PendTable* t, uint32_t slot, const uint8_t* tag, uint32_t size
) noexcept nogil:
    """An early dialog of the attempt; False if it is one more than fits."""
    cdef Pend* p = &t.items[slot]
    cdef uint32_t i
    if p.tag_size:
        if p.tag_size != size:
            return False
        for i in range(size):
            if p.tag[i] != tag[i]:
                return False
        return True
    # weighing could make others go (or this one): for Python
    if size > TAG_ROOM or t.octets + size > t.most_octets:
        return False
    memcpy(p.tag, tag, size)
    p.tag_size = <uint8_t> size
    p.octets += size
    t.octets += size
    return True


# loads


cdef inline void _fill(LoadTable* t, Load* load, double now) noexcept nogil:
    cdef double rate = <double> t.calls_per_second
    cdef double least = rate if rate < LEAST_BURST else <double> LEAST_BURST
    cdef double most = rate * BURST_S
    if most < least:
        most = least
    if not load.has_tokens:
        load.has_tokens = True
        load.tokens = most
    else:
        load.tokens = load.tokens + (now - load.filled_at) * rate
        if load.tokens > most:
            load.tokens = most
    load.filled_at = now


cdef bint load_has_room(LoadTable* t, uint16_t member, double now) noexcept nogil:
    """Loads.has_room"""
    cdef Load* load = &t.items[member]
    if t.calls_per_second:
        _fill(t, load, now)
        if load.tokens < 1.0:
            return False
    if t.adaptive and load.waiting >= load.limit:
        return False
    return not (t.requests_waiting and load.waiting >= t.requests_waiting)


cdef void load_sent(LoadTable* t, uint16_t member, double now, bint limited) noexcept nogil:
    """Loads.sent"""
    cdef Load* load = &t.items[member]
    if not load.is_asked:
        load.is_asked = True
        load.asked_at = now
    if limited:
        load.waiting += 1
        if t.calls_per_second:
            _fill(t, load, now)
            load.tokens -= 1.0


cdef void load_heard(LoadTable* t, uint16_t member) noexcept nogil:
    """Loads.heard"""
    t.items[member].is_asked = False
    t.items[member].patience = 1


cdef void load_first_answer(LoadTable* t, uint16_t member, double took_s) noexcept nogil:
    """Loads.first_answer"""
    cdef Load* load = &t.items[member]
    cdef int bucket = 0
    load.waiting -= 1
    while bucket < FIRST_BOUNDS and took_s > t.first_bounds[bucket]:
        bucket += 1
    load.first_counts[bucket] += 1
    load.first_sum_s += took_s
    if not t.adaptive:
        return
    if not load.has_best:
        load.has_best = True
        load.best = took_s
    else:
        load.best = load.best * 1.001
        if took_s < load.best:
            load.best = took_s
    if took_s > load.best * SLOWER + GRACE_S:
        load.limit = load.limit * BACK_OFF
        if load.limit < LEAST_ADAPTIVE:
            load.limit = LEAST_ADAPTIVE
    else:
        load.limit = load.limit + 1.0 / load.limit
        if t.requests_waiting and load.limit > t.requests_waiting:
            load.limit = <double> t.requests_waiting


# what Python sees


cdef class Members:
    """Member IDs as small numbers, which stay as they are."""

    def __cinit__(self):
        self._slots = {}
        self.count = 0

    cdef int slot(self, long number) except -1:
        found = self._slots.get(number)
        if found is None:
            if self.count == MOST_MEMBERS:
                raise OverflowError("too many different members since the start")
            found = self.count
            self.ids[found] = number
            self._slots[number] = found
            self.count += 1
        return found


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
        self.on_change = None
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
        self._tell()
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
        self._tell()

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
        self._tell()

    def resumed(self, uint64_t key, Binding binding not None, double now):
        self._uncount_evicted(self.t.items[binding._slot].member)
        bind_answered(&self.t, binding._slot, now, self.t.items[binding._slot].member)
        self._tell()

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
            self._tell()

    def subscribed(self, uint64_t key, Binding binding not None, double now, double expires_s):
        self.t.items[binding._slot].phase = FAILED if expires_s <= 0 else TRYING
        _expire_at(&self.t, binding._slot, now, now + expires_s + FAILED_S)
        _note(&self.t, binding._slot)
        self._tell()

    def failed(self, uint64_t key, Binding binding not None, double now):
        bind_failed(&self.t, binding._slot, now)

    def ended(self, uint64_t key, Binding binding not None, double now):
        bind_ended(&self.t, binding._slot, now)
        self._tell()

    def ended_unknown(self, long member):
        self._uncount_evicted(self._members.slot(member))

    def ended_elsewhere(self, uint64_t key, long member, uint32_t loss, double now):
        if self.t.journal:
            if len(self._unbound) >= MAX_CHANGES:
                self.t.changes_lost += len(self._unbound)
                self._unbound.clear()
            self._unbound.append(Change(key, member, loss, False, True, now + ENDED_S))
            self._tell()

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
        cdef list found = []
        for change in self._unbound[:most]:  # of a call that has come here since, its binding tells
            if index_find(&self.t.index, change.key) == <uint32_t> NONE:
                found.append(change)
        del self._unbound[:most]
        while self.t.changed_count and len(found) < most:
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
        cdef list found = []
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

    def _is_worth_writing(self, uint32_t slot):
        cdef Bind* b = &self.t.items[slot]
        if b.phase == TRYING:
            return b.transaction != 0 and not b.flags & REDUNDANT
        return b.phase != FAILED

    cdef object _change(self, uint32_t slot):
        cdef Bind* b = &self.t.items[slot]
        return Change(
            self.t.index.keys[slot], self._members.ids[b.member], b.loss, b.phase == LIVE,
            b.phase == ENDED, _seconds(b.expires),
        )

    cdef int _tell(self) except -1:
        """Somebody waits for changes; those of the packet thread are told by CompiledRouter."""
        if self.on_change is not None and self.t.changed_count + len(self._unbound):
            self.on_change()
        return 0

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


cdef class PendingRequests:
    """The table of routing.pending."""

    def __cinit__(self, limits, Members members not None):
        cdef uint32_t slots = limits.max_requests
        memset(&self.t, 0, sizeof(PendTable))
        self._members = members
        self._promoted = {}
        self.t.slots = slots
        self.t.unused = <uint32_t> NONE
        list_clear(&self.t.order)
        self.t.items = <Pend*> reserve(slots, sizeof(Pend))
        self.t.waiting = <int64_t*> calloc(MOST_MEMBERS, sizeof(int64_t))
        self.t.given_up = <int64_t*> calloc(MOST_MEMBERS, sizeof(int64_t))
        if (
            not index_make(&self.t.index, slots) or not links_make(&self.t.age, slots)
            or not wheel_make(&self.t.wheel, slots, PEND_SECONDS)
            or self.t.items == NULL or self.t.waiting == NULL or self.t.given_up == NULL
        ):
            raise MemoryError("no memory for [retry] max-requests")
        self.limits = limits

    def __dealloc__(self):
        cdef uint32_t slot
        cdef int i
        cdef void* block
        if self.t.items != NULL:
            for slot in range(self.t.fresh):
                if self.t.items[slot].data != NULL:
                    free(self.t.items[slot].data)
        for i in range(BLOCK_CLASSES):
            while self.t.blocks[i] != NULL:
                block = self.t.blocks[i]
                self.t.blocks[i] = (<void**> block)[0]
                free(block)
        index_free(&self.t.index)
        links_free(&self.t.age)
        wheel_free(&self.t.wheel)
        free(self.t.items)
        free(self.t.waiting)
        free(self.t.given_up)
        free(self.t.orphans)

    @property
    def limits(self):
        return self._limits

    @limits.setter
    def limits(self, limits):
        """More requests than at the start need a restart: till then there are as many."""
        self._limits = limits
        self.t.most = min(limits.max_requests, self.t.slots)
        self.t.most_octets = limits.max_octets
        self.t.timer_c = limits.timer_c_s

    @property
    def evicted(self):
        return self.t.evicted

    @property
    def unanswered(self):
        return self.t.unanswered

    @property
    def octets(self):
        return self.t.octets

    def __len__(self):
        return self.t.order.count

    def find(self, uint64_t key):
        cdef uint32_t slot = pend_find(&self.t, key)
        return None if slot == <uint32_t> NONE else self._promote(slot)

    def knows(self, uint64_t key):
        return pend_find(&self.t, key) != <uint32_t> NONE

    def waiting_count(self, long member):
        return self.t.waiting[self._members.slot(member)]

    def waiting_for(self, long member):
        cdef uint16_t of = self._members.slot(member)
        cdef uint32_t slot = self.t.order.first
        cdef list found = []
        if not self.t.waiting[of]:
            return found
        while slot != <uint32_t> NONE:
            if self.t.items[slot].flags & UNANSWERED and self.t.items[slot].waits_for == of:
                found.append((self.t.items[slot].turn, slot))
            slot = self.t.age.after[slot]
        found.sort()
        return [self._promote(each) for _, each in found]

    def remember(
        self, uint64_t key, *, uint64_t call, bytes method, bint initial, bytes data, origin,
        attempt, double now,
    ):
        cdef uint16_t member = self._members.slot(attempt.member)
        cdef uint32_t slot
        cdef Pend* p
        cdef list parts
        slot = pend_new(
            &self.t, key, <const uint8_t*> data, <uint32_t> len(data), member, now,
            method == b"INVITE",
        )
        if slot == <uint32_t> NONE:
            raise MemoryError("no memory for a request")
        self._forget_orphans()  # one of them may have had this key
        p = &self.t.items[slot]
        p.call = call
        p.method = _NUMBERS.get(method, Method.OTHER)
        if initial:
            p.flags |= INITIAL
        if attempt.waiting:
            p.flags |= WAITING
        p.transport = _LETTERS[origin.transport]
        p.over = _LETTERS[attempt.over]
        p.listener = origin.listener
        p.channel = origin.channel
        p.port = origin.port
        parts = origin.host.split(".")
        if ":" in origin.host or len(method) > METHOD_ROOM:
            self._promoted[key] = Remembered(
                key, call, method, initial, data, origin, now, p.expires, [attempt], len(data)
            )
            p.flags |= PROMOTED
            _drop_data(&self.t, p)
            return
        p.host = (
            <uint32_t> int(parts[0]) << 24 | <uint32_t> int(parts[1]) << 16
            | <uint32_t> int(parts[2]) << 8 | <uint32_t> int(parts[3])
        )
        p.name_size = <uint8_t> len(method)
        memcpy(p.name, <const char*> method, p.name_size)

    def add_attempt(self, entry, attempt):
        cdef uint32_t slot = self._slot_of(entry)
        entry.newest.abandoned = True
        entry.attempts.append(attempt)
        self._waits(slot, attempt.member)
        self.weigh(entry)

    def revive(self, entry, attempt):
        entry.newest.abandoned = True
        entry.attempts.remove(attempt)
        entry.attempts.append(attempt)
        attempt.abandoned = False
        attempt.cancel = OwnCancel.ANSWERED if attempt.was_cancelled else OwnCancel.NONE
        self._waits(self._slot_of(entry), attempt.member)

    def provisional(self, entry, int status, double now):
        if entry.final:
            return
        entry.quiet = entry.method == b"INVITE"
        if status > 100:
            entry.ringing = True
            if entry.method == b"INVITE":
                entry.expires = now + self.t.timer_c

    def answered(self, entry, int status, double now, *, long by):
        cdef uint32_t slot
        if entry.final:
            return
        slot = self._slot_of(entry)
        entry.final = status
        entry.final_by = by
        entry.expires = now + COMPLETED_S
        if slot != <uint32_t> NONE:
            wheel_put(&self.t.wheel, slot, entry.expires)
            self.t.items[slot].final = status
            self._stop_waiting(slot)
        if by and not entry.resent:
            entry.data = b""
        entry.cancel = entry.best = None
        self.weigh(entry)

    def weigh(self, entry):
        cdef uint32_t slot = self._slot_of(entry)
        cdef int64_t kept = len(entry.data) + len(entry.answer)
        if slot == <uint32_t> NONE:
            return
        if entry.best is not None:
            kept += len(entry.best.data)
        if entry.cancel is not None:
            kept += len(entry.cancel[0])
        for attempt in entry.attempts:
            kept += len(attempt.sent) + sum(map(len, attempt.tags))
        self.t.octets += kept - <int64_t> self.t.items[slot].octets
        self.t.items[slot].octets = <uint32_t> kept
        entry.octets = kept
        if self.t.octets > self.t.most_octets:
            list_remove(&self.t.order, &self.t.age, slot)
            list_append(&self.t.order, &self.t.age, slot)
            while self.t.octets > self.t.most_octets and self.t.order.count > 1:
                _pend_evict(&self.t)

    def forget(self, entry):
        cdef uint32_t slot = self._slot_of(entry)
        if slot != <uint32_t> NONE:
            _pend_forget(&self.t, slot)
            self._forget_orphans()

    def expire(self, double now):
        cdef int64_t second = wheel_first(&self.t.wheel, now)
        cdef List* due
        cdef uint32_t slot, left
        cdef double expires
        cdef int i
        while second <= <int64_t> now:
            due = &self.t.wheel.seconds[second & self.t.wheel.mask]
            left = due.count
            while left:
                left -= 1
                slot = due.first
                if self.t.items[slot].flags & PROMOTED:
                    expires = self._promoted[self.t.index.keys[slot]].expires
                else:
                    expires = self.t.items[slot].expires
                if expires <= now:
                    _pend_forget(&self.t, slot)
                else:
                    wheel_put(&self.t.wheel, slot, expires)
            second += 1
        self._forget_orphans()
        given_up = Counter()
        for i in range(self._members.count):
            if self.t.given_up[i]:
                given_up[self._members.ids[i]] = self.t.given_up[i]
                self.t.given_up[i] = 0
        return given_up

    cdef object _promote(self, uint32_t slot):
        """The entry as an object of routing.pending."""
        cdef Pend* p = &self.t.items[slot]
        cdef uint64_t key = self.t.index.keys[slot]
        self._forget_orphans()
        if p.flags & PROMOTED:
            return self._promoted[key]
        host = f"{p.host >> 24}.{p.host >> 16 & 255}.{p.host >> 8 & 255}.{p.host & 255}"
        attempt = Attempt(
            self._members.ids[p.member],
            p.sent_at,
            _TRANSPORTS[p.over],
            waiting=bool(p.flags & WAITING),
            provisional=bool(p.flags & PROVISIONAL),
            rings=bool(p.flags & RINGS),
            final=p.attempt_final,
            tags={p.tag[:p.tag_size]} if p.tag_size else set(),
        )
        entry = Remembered(
            key,
            p.call,
            p.name[:p.name_size],
            bool(p.flags & INITIAL),
            p.data[:p.size] if p.data != NULL else b"",
            Origin(_TRANSPORTS[p.transport], p.listener, p.channel, host, p.port),
            p.begun,
            p.expires,
            [attempt],
            p.octets,
            final=p.final,
            final_by=0 if p.final_by == NOBODY else self._members.ids[p.final_by],
            quiet=bool(p.flags & QUIET),
            ringing=bool(p.flags & RINGING),
        )
        self._promoted[key] = entry
        p.flags |= PROMOTED
        _drop_data(&self.t, p)
        return entry

    cdef int _forget_orphans(self) except -1:
        """What the packet path forgot of the promoted ones."""
        cdef uint32_t i
        for i in range(self.t.orphan_count):
            entry = self._promoted.pop(self.t.orphans[i])
            for attempt in entry.attempts:
                if attempt.waiting:
                    self.t.given_up[self._members.slot(attempt.member)] += 1
        self.t.orphan_count = 0
        return 0

    def _slot_of(self, entry):
        """NONE if it was forgotten meanwhile."""
        cdef uint32_t slot = pend_find(&self.t, entry.key)
        self._forget_orphans()
        if slot != <uint32_t> NONE and self._promoted.get(entry.key) is not entry:
            return <uint32_t> NONE
        return slot

    cdef int _stop_waiting(self, uint32_t slot) except -1:
        cdef Pend* p = &self.t.items[slot]
        if p.flags & UNANSWERED:
            p.flags &= ~UNANSWERED
            self.t.unanswered -= 1
            self.t.waiting[p.waits_for] -= 1
        return 0

    cdef int _waits(self, uint32_t slot, long member) except -1:
        """It is that member that it waits for now."""
        cdef Pend* p
        if slot == <uint32_t> NONE:
            return 0
        p = &self.t.items[slot]
        if p.flags & UNANSWERED:
            self.t.waiting[p.waits_for] -= 1
            p.waits_for = self._members.slot(member)
            self.t.waiting[p.waits_for] += 1
            self.t.turn += 1
            p.turn = self.t.turn
        return 0


cdef class LoadView:
    """One member's load, as routing.overload.Load."""

    @property
    def waiting(self):
        return self._of.t.items[self._slot].waiting

    @property
    def patience(self):
        return self._of.t.items[self._slot].patience

    @property
    def refusals(self):
        return self._of.t.items[self._slot].refusals

    @refusals.setter
    def refusals(self, int64_t number):
        self._of.t.items[self._slot].refusals = number

    @property
    def limit(self):
        return self._of.t.items[self._slot].limit

    @property
    def first_answers(self):
        cdef Load* load = &self._of.t.items[self._slot]
        counts = [load.first_counts[i] for i in range(FIRST_BOUNDS + 1)]
        return FirstAnswers(counts, load.first_sum_s)


cdef class Loads:
    """The table of routing.overload."""

    def __cinit__(self, limits, Members members not None):
        cdef int i
        memset(&self.t, 0, sizeof(LoadTable))
        self._members = members
        self.t.items = <Load*> calloc(MOST_MEMBERS, sizeof(Load))
        if self.t.items == NULL:
            raise MemoryError
        assert len(FIRST_ANSWER_BOUNDS_S) == FIRST_BOUNDS
        for i in range(FIRST_BOUNDS):
            self.t.first_bounds[i] = FIRST_ANSWER_BOUNDS_S[i]
        for i in range(MOST_MEMBERS):
            self.t.items[i].patience = 1
            self.t.items[i].limit = START_ADAPTIVE
        self.limits = limits

    def __dealloc__(self):
        free(self.t.items)

    @property
    def limits(self):
        return self._limits

    @limits.setter
    def limits(self, limits):
        self._limits = limits
        self.t.calls_per_second = limits.calls_per_second
        self.t.requests_waiting = limits.requests_waiting
        self.t.adaptive = limits.adaptive

    def of(self, long member):
        cdef LoadView view = LoadView.__new__(LoadView)
        view._of = self
        view._slot = self._members.slot(member)
        return view

    def has_room(self, long member, double now):
        return load_has_room(&self.t, self._members.slot(member), now)

    def sent(self, long member, double now, *, bint limited):
        load_sent(&self.t, self._members.slot(member), now, limited)

    def heard(self, long member):
        load_heard(&self.t, self._members.slot(member))

    def first_answer(self, long member, double took_s):
        load_first_answer(&self.t, self._members.slot(member), took_s)

    def gave_up(self, long member, int64_t requests=1):
        self.t.items[self._members.slot(member)].waiting -= requests

    def unanswered_for(self, long member, double now):
        cdef Load* load = &self.t.items[self._members.slot(member)]
        return now - load.asked_at if load.is_asked else 0.0

    def forget_silence(self, long member):
        self.t.items[self._members.slot(member)].is_asked = False

    def forgive_silence(self, long member):
        cdef Load* load = &self.t.items[self._members.slot(member)]
        load.is_asked = False
        load.patience = min(load.patience * 2, MOST_PATIENCE)
