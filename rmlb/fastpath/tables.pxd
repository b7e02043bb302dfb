"""The tables of routing/ as C: bindings, remembered requests, loads. See tables.pyx."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from rmlb.fastpath.containers cimport Index, Links, List, Wheel

cdef enum:
    MOST_MEMBERS = 4096  # distinct member IDs over the life of a process
    TAG_ROOM = 63
    METHOD_ROOM = 15

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

cdef enum PendFlag:
    INITIAL = 1
    WAITING = 2
    PROVISIONAL = 4
    RINGS = 8
    QUIET = 16
    RINGING = 32
    PROMOTED = 64
    UNANSWERED = 128


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
    uint64_t* changed  # keys, a ring
    uint32_t changed_first
    uint32_t changed_count
    uint64_t changes_lost
    EvictedCalls* gone
    uint32_t gone_count
    uint32_t gone_room


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
    uint8_t transport  # of its origin: 'U', 'T', 'S'
    uint8_t over  # of the attempt
    uint8_t flags
    uint8_t method  # scan.Method
    uint8_t name_size
    uint8_t tag_size
    uint8_t name[METHOD_ROOM]
    uint8_t tag[TAG_ROOM]

cdef enum:
    NOBODY = 0xFFFF
    BLOCK_CLASSES = 4


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
    bint has_tokens
    bint is_asked
    bint has_best


cdef struct LoadTable:
    Load* items  # by member slot
    double first_bounds[FIRST_BOUNDS]
    int64_t calls_per_second
    int64_t requests_waiting
    bint adaptive


cdef uint32_t bind_find(BindTable* t, uint64_t key) noexcept nogil
cdef uint32_t bind_new(
    BindTable* t, uint64_t key, uint16_t member, uint32_t loss, double now, bint redundant
) noexcept nogil
cdef void bind_touch(BindTable* t, uint32_t slot, double now) noexcept nogil
cdef void bind_answered(
    BindTable* t, uint32_t slot, double now, uint16_t member
) noexcept nogil
cdef void bind_failed(BindTable* t, uint32_t slot, double now) noexcept nogil
cdef void bind_ended(BindTable* t, uint32_t slot, double now) noexcept nogil

cdef uint32_t pend_find(PendTable* t, uint64_t key) noexcept nogil
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

cdef bint load_has_room(LoadTable* t, uint16_t member, double now) noexcept nogil
cdef void load_sent(LoadTable* t, uint16_t member, double now, bint limited) noexcept nogil
cdef void load_heard(LoadTable* t, uint16_t member) noexcept nogil
cdef void load_first_answer(LoadTable* t, uint16_t member, double took_s) noexcept nogil


cdef class Members:
    cdef dict _slots
    cdef int32_t ids[MOST_MEMBERS]
    cdef int count
    cdef int slot(self, long number) except -1


cdef class Bindings:
    cdef BindTable t
    cdef Members _members
    cdef dict _callees
    cdef object _limits
    cdef list _unbound
    cdef uint32_t _repeat
    cdef public dict elsewhere
    cdef public object on_change
    cdef int _tell(self) except -1
    cdef object _change(self, uint32_t slot)


cdef class Binding:
    cdef Bindings _of
    cdef uint32_t _slot


cdef class PendingRequests:
    cdef PendTable t
    cdef Members _members
    cdef dict _promoted
    cdef object _limits
    cdef object _promote(self, uint32_t slot)
    cdef int _forget_orphans(self) except -1
    cdef int _stop_waiting(self, uint32_t slot) except -1
    cdef int _waits(self, uint32_t slot, long member) except -1


cdef class Loads:
    cdef LoadTable t
    cdef Members _members
    cdef object _limits


cdef class LoadView:
    cdef Loads _of
    cdef uint16_t _slot
