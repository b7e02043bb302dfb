# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Remembered requests in C; see pending.pxd. Nothing here locks: whoever calls holds the engine.

A remembered request in trouble (it was cancelled, or its member failed) is *promoted*: it becomes
routing.pending's own object, which Python alone handles from then on, while its slot keeps its
place, age and weight.
"""

from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memset

from rmlb.fastpath.containers cimport (
    NONE, __builtin_prefetch, index_free, index_make, index_put, index_remove,
    links_free, links_make, list_append, list_clear, list_remove, reserve, wheel_first,
    wheel_free, wheel_make, wheel_put, wheel_take,
)
from rmlb.fastpath.members cimport MOST_MEMBERS
from rmlb.fastpath.scan cimport Method

from collections import Counter

from rmlb.routing.pending import COMPLETED_S as _COMPLETED_S
from rmlb.routing.pending import Attempt, OwnCancel, Remembered
from rmlb.routing.verdict import Origin
from rmlb.sip.address import Transport

cdef double COMPLETED_S = _COMPLETED_S

cdef enum:
    PEND_SECONDS = 4096

cdef uint32_t[BLOCK_CLASSES] BLOCK_SIZES
BLOCK_SIZES[0], BLOCK_SIZES[1], BLOCK_SIZES[2], BLOCK_SIZES[3] = 1024, 1536, 2048, 4096

_METHODS = {
    b"INVITE": Method.INVITE, b"ACK": Method.ACK, b"BYE": Method.BYE, b"CANCEL": Method.CANCEL,
    b"OPTIONS": Method.OPTIONS, b"SUBSCRIBE": Method.SUBSCRIBE, b"REFER": Method.REFER,
}
_TRANSPORTS = (Transport.UDP, Transport.TCP, Transport.TLS)
_NUMBERS = {transport: number for number, transport in enumerate(_TRANSPORTS)}


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


# what Python sees


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
        p.method = _METHODS.get(method, Method.OTHER)
        if initial:
            p.flags |= INITIAL
        if attempt.waiting:
            p.flags |= WAITING
        p.transport = _NUMBERS[origin.transport]
        p.over = _NUMBERS[attempt.over]
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
