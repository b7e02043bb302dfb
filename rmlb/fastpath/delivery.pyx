# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The last step before a request leaves; see delivery.pxd. Nothing changes here but `out`."""

from libc.stdint cimport int32_t, uint16_t
from libc.string cimport memcmp

from rmlb.fastpath.forwarding cimport render
from rmlb.fastpath.incoming cimport next_route, target_of
from rmlb.fastpath.mark cimport put_mark
from rmlb.fastpath.pen cimport Pen, pen_on, put
from rmlb.fastpath.scan cimport Span, Uri, ipv4_at, uri_param
from rmlb.fastpath.signature cimport put_signed
from rmlb.fastpath.table cimport (
    TCP, UDP, Member, Way, is_own_endpoint, is_unicast, member_named, names_us,
)
from rmlb.fastpath.verdict cimport NO_STEP, OUTWARD, TO_MEMBER

cdef enum:
    MOST_UDP = 65507  # as in rmlb.routing.table
    LINE = 512


cdef int to_member(
    const Snapshot* s, const uint8_t* data, Request* r, const From* o, int target, uint32_t loss,
    Outcome* out,
) noexcept nogil:
    """The request as it goes to a member; 0: not sure."""
    cdef const Member* member = &s.members[target]
    cdef const Way* way = &member.ways[o.listener][o.transport]
    cdef bint record = r.begins and s.record_route
    cdef int named
    cdef uint8_t[LINE] line
    cdef Pen recorded = pen_on(line, LINE)
    if r.sender == target or not way.is_open:
        return 0
    named = member_named(s, data, target_of(r))
    if named >= 0 and named != target:
        return 0  # re-homed, perhaps
    if record and way.listener != o.listener:
        return 0  # two entries
    out.transport = way.transport
    out.listener = way.listener
    out.host = way.host
    out.port = way.port
    out.channel = 0
    out.member = target
    out.answered_by = -1
    out.kind = TO_MEMBER
    out.status = 0
    if record:
        put(&recorded, s.recorded[out.listener], s.recorded_size[out.listener])
        if not put_mark(&recorded, &s.keys[0], data, &r.m, member.id, loss):
            return 0
        put(&recorded, b">\r\n", 3)
        if recorded.room < 0:
            return 0
    if not _leave(s, data, r, o, member.number.octets, member.number.size, &recorded, out):
        return 0
    return way.transport != UDP or out.size <= s.datagram_limit


cdef int outward(
    const Snapshot* s, const uint8_t* data, Request* r, const From* o, Outcome* out
) noexcept nogil:
    """Kind D: along the rest of the route set, or to the Request-URI; 0: not sure."""
    cdef Uri* target = target_of(r)
    cdef Span value
    cdef int32_t size
    cdef int listener, known
    cdef Pen nothing = pen_on(NULL, 0)
    if next_route(r) != NULL and not uri_param(data, target, b"lr", 2, &value):
        return 0
    out.transport = UDP
    if uri_param(data, target, b"transport", 9, &value) and value.end > value.start:
        if value.end - value.start != 3:
            return 0
        if memcmp(data + value.start, b"tcp", 3) == 0:
            out.transport = TCP
        elif memcmp(data + value.start, b"udp", 3) != 0:
            return 0
    if not ipv4_at(data, target.host, &out.host) or not is_unicast(out.host):
        return 0
    listener = s.listener_by_prefer[out.transport][o.listener]
    if listener < 0:
        return 0
    size = target.host.end - target.host.start
    out.port = <uint16_t> (target.port if target.port else 5060)
    if is_own_endpoint(s, data + target.host.start, size, out.port) or names_us(s, data, target):
        return 0
    known = member_named(s, data, target)
    if known >= 0 and known == r.sender:
        return 0
    out.listener = <uint8_t> listener
    out.channel = 0
    out.member = out.answered_by = -1
    out.kind = OUTWARD
    out.step = NO_STEP
    out.initial = False
    out.status = 0
    if not _leave(s, data, r, o, b"0", 1, &nothing, out):
        return 0
    return out.transport != UDP or out.size <= MOST_UDP


cdef int _leave(
    const Snapshot* s, const uint8_t* data, Request* r, const From* o, const uint8_t* number,
    int32_t size, const Pen* recorded, Outcome* out,
) noexcept nogil:
    """The octets, under our Via (delivery._signed); `number` is the member's ID in decimal."""
    cdef uint8_t[LINE] line
    cdef Pen via = pen_on(line, LINE)
    put(
        &via, s.via_prefix[out.transport][out.listener],
        s.via_prefix_size[out.transport][out.listener],
    )
    if not put_signed(&via, s, data, r, o, number, size):
        return 0
    put(&via, b"\r\n", 2)
    return via.room > 0 and render(data, r, o, &via, recorded, out)
