# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Loads of members in C; see overload.pxd. Nothing here locks: whoever calls holds the engine."""

from libc.stdlib cimport calloc, free
from libc.string cimport memset

from rmlb.fastpath.members cimport MOST_MEMBERS

from rmlb.routing.overload import FIRST_ANSWER_BOUNDS_S, FirstAnswers
from rmlb.routing.overload import (
    BACK_OFF as _BACK_OFF,
    BURST_S as _BURST_S,
    GRACE_S as _GRACE_S,
    LEAST_ADAPTIVE as _LEAST_ADAPTIVE,
    LEAST_TOOK_S as _LEAST_TOOK_S,
    LEAST_BURST as _LEAST_BURST,
    MOST_PATIENCE as _MOST_PATIENCE,
    SLOWER as _SLOWER,
    START_ADAPTIVE as _START_ADAPTIVE,
)

cdef double BACK_OFF = _BACK_OFF
cdef double BURST_S = _BURST_S
cdef double GRACE_S = _GRACE_S
cdef double LEAST_ADAPTIVE = _LEAST_ADAPTIVE
cdef double LEAST_TOOK_S = _LEAST_TOOK_S
cdef double START_ADAPTIVE = _START_ADAPTIVE
cdef double SLOWER = _SLOWER
cdef int64_t LEAST_BURST = _LEAST_BURST
cdef int64_t MOST_PATIENCE = _MOST_PATIENCE


cdef inline Load* _load(LoadTable* t, uint16_t member) noexcept nogil:
    """Set up when it is first asked for: memory for members that never are is not touched."""
    cdef Load* load = &t.items[member]
    if not load.is_used:
        load.is_used = True
        load.patience = 1
        load.limit = START_ADAPTIVE
    return load


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
    cdef Load* load = _load(t, member)
    if t.calls_per_second:
        _fill(t, load, now)
        if load.tokens < 1.0:
            return False
    if t.adaptive and load.waiting >= load.limit:
        return False
    return not (t.requests_waiting and load.waiting >= t.requests_waiting)


cdef void load_sent(LoadTable* t, uint16_t member, double now, bint limited) noexcept nogil:
    """Loads.sent"""
    cdef Load* load = _load(t, member)
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
    cdef Load* load = _load(t, member)
    load.is_asked = False
    load.patience = 1


cdef void load_first_answer(LoadTable* t, uint16_t member, double took_s) noexcept nogil:
    """Loads.first_answer"""
    cdef Load* load = _load(t, member)
    cdef int bucket = 0
    load.waiting -= 1
    if took_s < 0.0:
        took_s = 0.0
    while bucket < FIRST_BOUNDS and took_s > t.first_bounds[bucket]:
        bucket += 1
    load.first_counts[bucket] += 1
    load.first_sum_s += took_s
    if not t.adaptive:
        return
    if took_s < LEAST_TOOK_S:
        took_s = LEAST_TOOK_S
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


cdef class LoadView:
    """One member's load, as routing.overload.Load."""

    @property
    def waiting(self):
        return _load(&self._of.t, self._slot).waiting

    @property
    def patience(self):
        return _load(&self._of.t, self._slot).patience

    @property
    def refusals(self):
        return _load(&self._of.t, self._slot).refusals

    @refusals.setter
    def refusals(self, int64_t number):
        _load(&self._of.t, self._slot).refusals = number

    @property
    def limit(self):
        return _load(&self._of.t, self._slot).limit

    @property
    def first_answers(self):
        cdef Load* load = _load(&self._of.t, self._slot)
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
        _load(&self.t, self._members.slot(member)).waiting -= requests

    def unanswered_for(self, long member, double now):
        cdef Load* load = _load(&self.t, self._members.slot(member))
        return now - load.asked_at if load.is_asked else 0.0

    def forget_silence(self, long member):
        _load(&self.t, self._members.slot(member)).is_asked = False

    def forgive_silence(self, long member):
        cdef Load* load = _load(&self.t, self._members.slot(member))
        load.is_asked = False
        load.patience = min(load.patience * 2, MOST_PATIENCE)
