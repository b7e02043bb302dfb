"""What becomes of a plain message, without Python: the entry. See decide.pyx."""

from libc.stdint cimport int32_t, uint8_t, uint64_t

from rmlb.fastpath.affinity cimport Moment
from rmlb.fastpath.table cimport TRANSPORTS
from rmlb.fastpath.verdict cimport From, Outcome


cdef struct Tally:
    # What the fast path counted; see routing.counters.
    uint64_t received[TRANSPORTS]
    uint64_t forwarded
    uint64_t kinds[3]
    uint64_t steps[5]
    uint64_t* requests  # by member slot
    uint64_t* initial
    uint64_t* responses  # by member slot x 7


cdef struct Core:
    Moment moment
    Tally tally


cdef int decide(
    Core* core, const uint8_t* data, int32_t size, const From* origin, double now, Outcome* out
) noexcept nogil
