"""The mark in our Record-Route entry: the twin of rmlb.routing.mark."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t

from rmlb.fastpath.pen cimport Pen
from rmlb.fastpath.scan cimport Scan, Span
from rmlb.fastpath.table cimport KeySet, Snapshot


cdef struct Mark:
    int64_t member
    int64_t loss
    bint outward  # the request goes towards the dialog's initiator


cdef int put_mark(
    Pen* pen, const KeySet* key, const uint8_t* data, const Scan* m, int32_t member, uint32_t loss
) noexcept nogil
cdef int read_mark(
    const Snapshot* s, const uint8_t* data, Span at, const Scan* m, Mark* out
) noexcept nogil
