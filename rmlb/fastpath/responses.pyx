# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Responses that need no second thought, back to the caller; see responses.pxd.

Every function returns 0, with nothing changed, for what rmlb.routing.responses is to see.
"""

from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t

from rmlb.fastpath.affinity cimport heir
from rmlb.fastpath.bindings cimport (
    CALLEES, LIVE, Bind, bind_answered, bind_ended, bind_failed, bind_find, bind_touch,
)
from rmlb.fastpath.containers cimport NONE, __builtin_prefetch
from rmlb.fastpath.forwarding cimport without_via
from rmlb.fastpath.overload cimport load_first_answer, load_heard
from rmlb.fastpath.pending cimport (
    INITIAL, PROMOTED, PROVISIONAL, RINGS, TAG_ROOM, WAITING, Pend, is_of_method, pend_add_tag,
    pend_answered, pend_find, pend_provisional,
)
from rmlb.fastpath.scan cimport (
    BYE, CANCEL, INVITE, REFER, SUBSCRIBE, Span, Via, ipv4_at, number_at, parse_via,
)
from rmlb.fastpath.signature cimport OwnVia, is_ours, read_own
from rmlb.fastpath.siphash cimport siphash24
from rmlb.fastpath.table cimport (
    MOST_LISTENERS, TLS, UDP, Snapshot, is_own_endpoint, is_unicast, member_of_id, member_of_slot,
)
from rmlb.fastpath.verdict cimport NO_STEP, RESPONSE


cdef struct Response:
    const Scan* m
    Via via  # ours
    Via below
    OwnVia own
    int member  # that answered, -1: none
    bint success
    bint has_tag
    uint32_t slot  # of the remembered request
    Pend* p  # NULL: it is not remembered
    bint initial
    bint repeated  # it had a final answer before
    uint64_t call  # the Call-ID's hash
    uint32_t bound  # its binding's slot
    Bind* b  # NULL: there is none


cdef int route_response(
    Moment* moment, const uint8_t* data, const Scan* m, Outcome* out
) noexcept nogil:
    """1: `out` says what leaves, and what it teaches is in the tables."""
    cdef const Snapshot* s = moment.snapshot
    cdef Response r
    r.m = m
    r.success = 200 <= m.status < 300
    r.has_tag = m.to_tag.end > m.to_tag.start
    if m.status == 503 or m.method == CANCEL or m.method == SUBSCRIBE or m.method == REFER:
        return 0
    if not _read_vias(data, &r) or not read_own(s, data, &r.via, &r.own):
        return 0
    r.slot = pend_find(moment.pending, r.own.mac)
    if r.slot != <uint32_t> NONE:
        __builtin_prefetch(&moment.pending.items[r.slot])
    if not is_ours(s, data, m, &r.via, &r.below, &r.own):
        return 0
    if not _return_address(s, data, &r, out):
        return 0
    r.member = -1
    if r.own.member:
        r.member = member_of_id(s, r.own.member)
        if r.member < 0:
            return 0
    if not _find_request(moment, data, &r) or not _find_dialog(moment, &r):
        return 0
    if not without_via(data, m, &r.via, out):
        return 0
    # sure: from here on things change
    if not _learn_of_request(moment, data, &r):
        return 0
    _learn_of_dialog(moment, &r)
    out.member = -1
    out.answered_by = r.member
    out.kind = RESPONSE
    out.step = NO_STEP
    out.initial = False
    out.status = m.status
    return 1


cdef int _read_vias(const uint8_t* data, Response* r) noexcept nogil:
    """Ours on top, and the next one."""
    cdef const Scan* m = r.m
    if not parse_via(data, m.vias[0].value, m.vias[0].end, &r.via) or not r.via.has_own:
        return 0
    if r.via.next:
        return parse_via(data, r.via.next, m.vias[0].end, &r.below)
    return m.via_count > 1 and parse_via(data, m.vias[1].value, m.vias[1].end, &r.below)


cdef int _return_address(
    const Snapshot* s, const uint8_t* data, const Response* r, Outcome* out
) noexcept nogil:
    """Back to the caller: 18.2.2, or the connection that it came by."""
    cdef const Via* below = &r.below
    cdef Span host = below.host
    cdef int64_t port
    cdef int listener
    if below.has_received and below.received.end > below.received.start:
        host = below.received
    if not ipv4_at(data, host, &out.host) or not is_unicast(out.host):
        return 0
    port = below.port
    if not port:
        port = 5061 if r.own.transport == TLS else 5060
    out.transport = r.own.transport
    out.channel = 0
    if r.own.transport == UDP:
        if below.has_rport and below.rport.end > below.rport.start:
            if below.rport.end - below.rport.start > 5 or not number_at(data, below.rport, &port):
                return 0
        if not 0 < port < 65536:
            return 0
        listener = MOST_LISTENERS
        if r.own.channel < s.listener_count:
            listener = <int> r.own.channel
        listener = s.listener_by_prefer[UDP][listener]
        if listener < 0:
            return 0
        out.listener = <uint8_t> listener
    else:
        if not s.has_stream_listener[r.own.transport]:
            return 0
        out.listener = s.listener_of_stream[r.own.transport]
        if r.own.is_instance:
            out.channel = r.own.channel
        if r.m.content_length < 0:
            return 0
    out.port = <uint16_t> port
    return out.channel or not is_own_endpoint(
        s, data + host.start, host.end - host.start, out.port
    )


cdef int _find_request(Moment* moment, const uint8_t* data, Response* r) noexcept nogil:
    """What is known of the request that it answers."""
    cdef const Snapshot* s = moment.snapshot
    cdef const Scan* m = r.m
    r.p = NULL
    r.initial = r.repeated = False
    if r.slot == <uint32_t> NONE:
        r.call = siphash24(s.affinity, data + m.call_id.start, m.call_id.end - m.call_id.start)
        return 1
    r.p = &moment.pending.items[r.slot]
    if r.p.flags & PROMOTED or r.member < 0 or r.p.member != s.members[r.member].slot:
        return 0
    if not is_of_method(r.p, data, m.method_at):
        return 0
    r.repeated = r.p.attempt_final != 0
    r.initial = r.p.flags & INITIAL
    if m.status >= 300 and r.initial and not r.repeated and s.retries[m.status]:
        return 0
    r.call = r.p.call
    return not (m.status < 200 and r.has_tag and m.to_tag.end - m.to_tag.start > TAG_ROOM)


cdef int _find_dialog(Moment* moment, Response* r) noexcept nogil:
    """What is known of its dialog, and that it teaches nothing out of the ordinary."""
    cdef const Snapshot* s = moment.snapshot
    cdef const Scan* m = r.m
    cdef int holder
    r.b = NULL
    r.bound = bind_find(moment.bindings, r.call)
    if r.bound == <uint32_t> NONE:
        if r.member >= 0 and m.method == INVITE and 100 < m.status < 300:
            return 0
        return not (r.member >= 0 and m.method == BYE and r.success)
    r.b = &moment.bindings.items[r.bound]
    if r.b.flags & CALLEES and r.success:
        return 0
    if m.method == INVITE and r.success:
        if r.member >= 0 and r.b.phase == LIVE and r.b.member != s.members[r.member].slot:
            return 0
        if r.p != NULL and r.initial and not r.repeated:
            holder = member_of_slot(s, r.b.member)
            if holder < 0:
                return 0
            if heir(s, s.members[holder].id, r.b.loss, r.call) != s.members[r.member].id:
                return 0  # a fork
    return 1


cdef int _learn_of_request(Moment* moment, const uint8_t* data, const Response* r) noexcept nogil:
    """Its tag first: that alone can fail."""
    cdef const Scan* m = r.m
    cdef Pend* p = r.p
    if p != NULL and m.status < 200 and r.has_tag:
        if not pend_add_tag(
            moment.pending, r.slot, data + m.to_tag.start, m.to_tag.end - m.to_tag.start
        ):
            return 0
    if r.member >= 0:
        load_heard(moment.loads, moment.snapshot.members[r.member].slot)
    if p == NULL:
        return 1
    if p.flags & WAITING:
        p.flags &= ~WAITING
        load_first_answer(moment.loads, p.member, moment.now - p.sent_at)
    if m.status < 200:
        p.flags |= PROVISIONAL
        if m.status > 100:
            p.flags |= RINGS
        pend_provisional(moment.pending, r.slot, m.status, moment.now)
    elif not r.repeated:
        p.attempt_final = <uint16_t> m.status
        if r.initial:
            moment.loads.items[p.member].refusals = 0
        pend_answered(moment.pending, r.slot, m.status, moment.now)
    return 1


cdef void _learn_of_dialog(Moment* moment, const Response* r) noexcept nogil:
    """responses._learn"""
    cdef const Scan* m = r.m
    cdef Bind* b = r.b
    cdef double now = moment.now
    if b == NULL:
        return
    if m.status < 200:
        bind_touch(moment.bindings, r.bound, now)
    elif m.status >= 300:
        if r.p != NULL and r.initial and b.transaction == r.own.mac:
            bind_failed(moment.bindings, r.bound, now)
    elif m.method == INVITE:
        bind_answered(
            moment.bindings, r.bound, now,
            moment.snapshot.members[r.member].slot if r.member >= 0 else b.member,
        )
    elif m.method == BYE:
        bind_ended(moment.bindings, r.bound, now)
    else:
        bind_touch(moment.bindings, r.bound, now)
