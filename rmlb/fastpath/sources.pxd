"""How much one source may send, in C: the twin of routing.sources. See sources.pyx."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from rmlb.fastpath.containers cimport Index, Links, List
from rmlb.fastpath.siphash cimport SipKey

cdef enum:
    ADDRESS = 16  # octets: IPv6, or IPv4 as ::ffff:a.b.c.d
    MOST_TOLD = 16


cdef struct Source:
    double tokens
    double filled_at
    double silent_until


cdef struct Spared:
    uint8_t network[ADDRESS]
    uint8_t mask[ADDRESS]
    bint ipv4


cdef struct SourceTable:
    double rate  # 0: no limit
    double penalty
    SipKey key
    Spared* spared
    uint32_t spared_count
    Source* items
    Index index
    Links links
    List age
    uint64_t dropped  # datagrams, by whoever reads them without Python
    uint8_t told[MOST_TOLD][ADDRESS]
    uint32_t told_count


cdef bint source_may_send(SourceTable* t, const uint8_t* address, double now) noexcept nogil


cdef class Sources:
    cdef SourceTable t
    cdef object _limits
    cdef tuple _hosts
    cdef int _spare(self) except -1
