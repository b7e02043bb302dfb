"""What a proxy changes in a message, and nothing else: the twin of rmlb.routing.forwarding."""

from libc.stdint cimport int32_t, uint8_t

from rmlb.fastpath.incoming cimport Request
from rmlb.fastpath.pen cimport Pen
from rmlb.fastpath.scan cimport Scan, Via
from rmlb.fastpath.verdict cimport From, Outcome

cdef int render(
    const uint8_t* data, Request* r, const From* o, const Pen* own_via, const Pen* recorded,
    Outcome* out,
) noexcept nogil
cdef int without_via(
    const uint8_t* data, const Scan* m, const Via* via, Outcome* out
) noexcept nogil
