"""Bindings in C: the twin of rmlb.routing.bindings.

What the packet path does with them without Python are the functions; the class shows the same
table to the Python router, method for method.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from rmlb.fastpath.changes cimport Changed
from rmlb.fastpath.containers cimport Index, Links, List, Wheel, index_find
from rmlb.fastpath.members cimport Members

cdef enum Phases:
    TRYING = 0
    FAILED = 1
    LIVE = 2
    ENDED = 3

cdef enum BindFlag:
    COUNTED = 1
    REDUNDANT = 2
    CALLEES = 4
    CHANGED = 8  # its key waits in the journal


cdef struct Bind:
    uint64_t transaction
    uint32_t expires  # sixteenths of a second
    uint32_t seen
    uint32_t loss
    uint16_t member  # slot
    uint8_t flags
    uint8_t phase


cdef struct EvictedCalls:
    uint32_t minute
    uint32_t member
    int64_t count


cdef struct BindTable:
    Index index
    Wheel wheel
    Links age
    List needed
    List redundant
    uint32_t unused  # chain of slots given back
    uint32_t fresh  # slots never used begin here
    uint32_t slots
    Bind* items
    uint32_t most
    double ttl
    double idle
    double timer_c
    int64_t* calls  # by member slot
    uint64_t evicted
    bint journal
    bint listened  # somebody waits for a change to be told of
    uint64_t* changed  # keys, a ring
    uint32_t changed_first
    uint32_t changed_count
    uint64_t changes_lost
    EvictedCalls* gone
    uint32_t gone_count
    uint32_t gone_room


cdef inline uint32_t bind_find(const BindTable* t, uint64_t key) noexcept nogil:
    """Its slot, or NONE."""
    return index_find(&t.index, key)


cdef uint32_t bind_new(
    BindTable* t, uint64_t key, uint16_t member, uint32_t loss, double now, bint redundant
) noexcept nogil
cdef void bind_touch(BindTable* t, uint32_t slot, double now) noexcept nogil
cdef void bind_answered(
    BindTable* t, uint32_t slot, double now, uint16_t member
) noexcept nogil
cdef void bind_failed(BindTable* t, uint32_t slot, double now) noexcept nogil
cdef void bind_ended(BindTable* t, uint32_t slot, double now) noexcept nogil


cdef class Bindings:
    cdef BindTable t
    cdef Members _members
    cdef dict _callees
    cdef object _limits
    cdef list _unbound
    cdef uint32_t _repeat
    cdef public dict elsewhere
    cdef object _on_change
    cdef Changed _change(self, uint32_t slot)


cdef class Binding:
    cdef Bindings _of
    cdef uint32_t _slot
