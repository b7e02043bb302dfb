"""A request made ready for a member or the way outward: the twin of rmlb.routing.delivery."""

from libc.stdint cimport uint8_t, uint32_t

from rmlb.fastpath.incoming cimport Request
from rmlb.fastpath.table cimport Snapshot
from rmlb.fastpath.verdict cimport From, Outcome

cdef int to_member(
    const Snapshot* s, const uint8_t* data, Request* r, const From* o, int target, uint32_t loss,
    Outcome* out,
) noexcept nogil
cdef int outward(
    const Snapshot* s, const uint8_t* data, Request* r, const From* o, Outcome* out
) noexcept nogil
