# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Messages that need no second thought: forwarded as rmlb.routing forwards them, and counted.

`decide` returns 1 with the octets that leave and where to, everything learnt from the message
being in the tables; or 0, with nothing changed, for what the Python router is to see: all that is
refused, answered, absorbed or dropped, all that is in trouble, all that is seldom. Each guard on
the way returns 0 for a reason that stands in routing/ under the same words, in the module of the
same name.
"""

from libc.stdint cimport uint16_t

from rmlb.fastpath.incoming cimport Request
from rmlb.fastpath.requests cimport route_request
from rmlb.fastpath.responses cimport route_response
from rmlb.fastpath.scan cimport scan
from rmlb.fastpath.table cimport Snapshot, is_own_endpoint, is_unicast


cdef int decide(
    Core* core, const uint8_t* data, int32_t size, const From* origin, double now, Outcome* out
) noexcept nogil:
    """1: `out` says what leaves, and it is counted. 0: for the Python router; nothing changed."""
    cdef const Snapshot* s = core.moment.snapshot
    cdef Request r
    if not 0 < origin.port < 65536 or not is_unicast(origin.host) or s.key_count == 0:
        return 0
    if not scan(data, size, s.max_headers, &r.m):
        return 0
    if is_own_endpoint(s, origin.text.octets, origin.text.size, origin.port):
        return 0
    core.moment.now = now
    if r.m.is_request:
        if not route_request(&core.moment, data, &r, origin, out):
            return 0
    elif not route_response(&core.moment, data, &r.m, out):
        return 0
    _count(&core.tally, s, origin, out)
    return 1


cdef inline void _count(
    Tally* tally, const Snapshot* s, const From* origin, const Outcome* out
) noexcept nogil:
    cdef uint16_t slot
    tally.received[origin.transport] += 1
    tally.forwarded += 1
    tally.kinds[out.kind] += 1
    if out.step:
        tally.steps[out.step] += 1
        slot = s.members[out.member].slot
        tally.requests[slot] += 1
        tally.initial[slot] += out.initial
    elif out.answered_by >= 0:
        tally.responses[s.members[out.answered_by].slot * 7 + out.status // 100] += 1
