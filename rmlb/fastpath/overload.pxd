"""Loads of members in C: the twin of rmlb.routing.overload."""

from libc.stdint cimport int64_t, uint16_t

from rmlb.fastpath.members cimport Members

cdef enum:
    FIRST_BOUNDS = 12  # of routing.overload.FIRST_ANSWER_BOUNDS_S


cdef struct Load:
    int64_t first_counts[FIRST_BOUNDS + 1]
    double first_sum_s
    int64_t waiting
    double tokens
    double filled_at
    double asked_at
    double limit
    double best
    int64_t patience
    int64_t refusals
    bint is_used  # else patience and limit are not set yet
    bint has_tokens
    bint is_asked
    bint has_best


cdef struct LoadTable:
    Load* items  # by member slot
    double first_bounds[FIRST_BOUNDS]
    int64_t calls_per_second
    int64_t requests_waiting
    bint adaptive


cdef bint load_has_room(LoadTable* t, uint16_t member, double now) noexcept nogil
cdef void load_sent(LoadTable* t, uint16_t member, double now, bint limited) noexcept nogil
cdef void load_heard(LoadTable* t, uint16_t member) noexcept nogil
cdef void load_first_answer(LoadTable* t, uint16_t member, double took_s) noexcept nogil


cdef class Loads:
    cdef LoadTable t
    cdef Members _members
    cdef object _limits


cdef class LoadView:
    cdef Loads _of
    cdef uint16_t _slot
