"""A routing table turned into structs, once for each that is published."""

from libc.stdint cimport uint32_t

from rmlb.fastpath.members cimport Members
from rmlb.fastpath.table cimport Snapshot

cdef int ipv4_of(str host, uint32_t* out) except -1
cdef void* array_of(size_t count, size_t size) except NULL
cdef Snapshot* blank_snapshot() except NULL
cdef Snapshot* make_snapshot(object table, Members members) except NULL
cdef void free_snapshot(Snapshot* s) noexcept
