"""Streams cut into messages: the twin of rmlb.sip.framing for what is plain."""

from libc.stdint cimport int64_t, uint8_t

cdef int64_t cut_at(const uint8_t* octets, int64_t size, int64_t most, list messages) except -1
