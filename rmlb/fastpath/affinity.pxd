"""Which member a request belongs to: the twin of rmlb.routing.affinity, with the loss log."""

from libc.stdint cimport int64_t, uint64_t

from rmlb.fastpath.bindings cimport BindTable
from rmlb.fastpath.overload cimport LoadTable
from rmlb.fastpath.pending cimport PendTable
from rmlb.fastpath.table cimport Snapshot


cdef struct Moment:
    # What one decision sees: the snapshot, the memory, and the time.
    Snapshot* snapshot
    BindTable* bindings
    PendTable* pending
    LoadTable* loads
    double now


cdef int64_t holder(
    const Snapshot* s, int64_t member, int64_t since, uint64_t value
) noexcept nogil
cdef int64_t heir(const Snapshot* s, int64_t member, int64_t since, uint64_t value) noexcept nogil
cdef int choose_new(const Moment* moment, uint64_t value) noexcept nogil
