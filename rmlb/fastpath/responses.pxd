"""Responses, kind B of SIP-RULES 1: the twin of rmlb.routing.responses."""

from libc.stdint cimport uint8_t

from rmlb.fastpath.affinity cimport Moment
from rmlb.fastpath.scan cimport Scan
from rmlb.fastpath.verdict cimport Outcome

cdef int route_response(
    Moment* moment, const uint8_t* data, const Scan* m, Outcome* out
) noexcept nogil
