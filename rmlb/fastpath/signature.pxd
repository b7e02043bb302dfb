"""The branch and our Via parameter, and the loop hash: the twin of rmlb.routing.signature."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t

from rmlb.fastpath.incoming cimport Request
from rmlb.fastpath.pen cimport Pen
from rmlb.fastpath.scan cimport Scan, Via
from rmlb.fastpath.table cimport KeySet, Snapshot
from rmlb.fastpath.verdict cimport From


cdef struct OwnVia:
    # Branch and parameter of our Via.
    int key
    int64_t member
    uint64_t mac
    int64_t channel
    uint8_t transport
    bint is_instance
    int32_t body_end


cdef uint64_t branch_mac(
    const KeySet* key, const uint8_t* data, const Scan* m, const Via* via, bint* fits
) noexcept nogil
cdef int put_signed(
    Pen* pen, const Snapshot* s, const uint8_t* data, const Request* r, const From* o,
    const uint8_t* number, int32_t size,
) noexcept nogil
cdef int read_own(
    const Snapshot* s, const uint8_t* data, const Via* via, OwnVia* out
) noexcept nogil
cdef bint is_ours(
    const Snapshot* s, const uint8_t* data, const Scan* m, const Via* via, const Via* below,
    const OwnVia* own,
) noexcept nogil
