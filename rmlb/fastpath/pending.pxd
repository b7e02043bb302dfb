"""Remembered requests in C: the twin of rmlb.routing.pending.

What the packet path does with them without Python are the functions; the class shows the same
table to the Python router, method for method.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp

from rmlb.fastpath.containers cimport Index, Links, List, Wheel, index_find
from rmlb.fastpath.members cimport Members
from rmlb.fastpath.scan cimport Span

cdef enum:
    TAG_ROOM = 63
    METHOD_ROOM = 15
    NOBODY = 0xFFFF
    BLOCK_CLASSES = 4

cdef enum PendFlag:
    INITIAL = 1
    WAITING = 2
    PROVISIONAL = 4
    RINGS = 8
    QUIET = 16
    RINGING = 32
    PROMOTED = 64
    UNANSWERED = 128


cdef struct Pend:
    uint64_t call
    double begun
    double expires
    double sent_at
    uint8_t* data
    uint32_t size
    uint32_t octets
    uint64_t turn  # order among those that wait for a member
    int64_t channel
    uint32_t host
    uint16_t port
    uint16_t listener
    uint16_t member  # slot of the attempt
    uint16_t waits_for  # slot under which it is counted as waiting
    uint16_t final
    uint16_t final_by  # member slot; NOBODY: ours or none
    uint16_t attempt_final
    uint8_t transport  # of its origin
    uint8_t over  # of the attempt
    uint8_t flags
    uint8_t method  # scan.Method
    uint8_t name_size
    uint8_t tag_size
    uint8_t name[METHOD_ROOM]
    uint8_t tag[TAG_ROOM]

cdef struct PendTable:
    Index index
    Wheel wheel
    Links age
    List order
    uint32_t unused
    uint32_t fresh
    uint32_t slots
    Pend* items
    uint32_t most
    uint64_t most_octets
    double timer_c
    uint64_t octets
    uint64_t evicted
    int64_t unanswered
    uint64_t turn
    int64_t* waiting  # unanswered, by the slot of their newest member
    int64_t* given_up  # forgotten since, by member slot, while they waited for any answer
    void* blocks[BLOCK_CLASSES]
    uint64_t* orphans  # keys of promoted entries that were forgotten without Python
    uint32_t orphan_count
    uint32_t orphan_room


cdef inline bint is_of_method(const Pend* p, const uint8_t* data, Span method) noexcept nogil:
    cdef int size = method.end - method.start
    return p.name_size == size and memcmp(p.name, data + method.start, size) == 0


cdef inline uint32_t pend_find(const PendTable* t, uint64_t key) noexcept nogil:
    """Its slot, or NONE."""
    return index_find(&t.index, key)


cdef void pend_prefetch(PendTable* t) noexcept nogil
cdef uint32_t pend_new(
    PendTable* t, uint64_t key, const uint8_t* data, uint32_t size, uint16_t member, double now,
    bint invite,
) noexcept nogil
cdef void pend_provisional(PendTable* t, uint32_t slot, int status, double now) noexcept nogil
cdef void pend_answered(PendTable* t, uint32_t slot, int status, double now) noexcept nogil
cdef bint pend_add_tag(
    PendTable* t, uint32_t slot, const uint8_t* tag, uint32_t size
) noexcept nogil


cdef class PendingRequests:
    cdef PendTable t
    cdef Members _members
    cdef dict _promoted
    cdef object _limits
    cdef object _promote(self, uint32_t slot)
    cdef int _forget_orphans(self) except -1
    cdef int _stop_waiting(self, uint32_t slot) except -1
    cdef int _waits(self, uint32_t slot, long member) except -1
