"""Requests, kinds A and D of SIP-RULES 1: the twin of rmlb.routing.requests."""

from libc.stdint cimport uint8_t

from rmlb.fastpath.affinity cimport Moment
from rmlb.fastpath.incoming cimport Request
from rmlb.fastpath.verdict cimport From, Outcome

cdef int route_request(
    Moment* moment, const uint8_t* data, Request* r, const From* o, Outcome* out
) noexcept nogil
