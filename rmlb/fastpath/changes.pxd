"""Changes of bindings as one block: what the journal gives when it is taken."""

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t


cdef struct Changed:
    uint64_t key
    double expires
    uint32_t loss
    int32_t member  # its ID
    uint8_t phase  # of bindings.pxd


cdef class Changes:
    cdef Changed* items
    cdef int count
    cdef int room
    cdef int append(self, Changed item) except -1
