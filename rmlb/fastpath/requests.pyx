# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Requests that need no second thought, to a member or outward; see requests.pxd.

Every function returns 0, with nothing changed, for what rmlb.routing.requests is to see.
"""

from libc.stdint cimport int32_t, int64_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

from rmlb.fastpath.affinity cimport choose_new, holder
from rmlb.fastpath.bindings cimport CALLEES, TRYING, Bind, bind_find, bind_new, bind_touch
from rmlb.fastpath.containers cimport NONE, __builtin_prefetch, index_prefetch
from rmlb.fastpath.delivery cimport outward, to_member
from rmlb.fastpath.incoming cimport has_datanodes, next_route, read_routes
from rmlb.fastpath.overload cimport load_sent
from rmlb.fastpath.pending cimport (
    INITIAL, METHOD_ROOM, PROMOTED, WAITING, Pend, is_of_method, pend_find, pend_new, pend_prefetch,
)
from rmlb.fastpath.scan cimport (
    ACK, CANCEL, HAS_OWN_VIA_PARAM, HAS_PROXY_REQUIRE, HAS_SESSION_HEADER, INVITE, OPTIONS, REFER,
    SUBSCRIBE, Scan, Uri, Via, parse_uri, parse_via,
)
from rmlb.fastpath.signature cimport branch_mac
from rmlb.fastpath.siphash cimport siphash24
from rmlb.fastpath.table cimport (
    TLS, Member, Snapshot, is_member_host, is_text, is_vip, member_at, member_named, member_of_id,
    member_of_slot, names_us,
)
from rmlb.fastpath.verdict cimport BY_ALGORITHM, BY_BINDING, BY_MARK, BY_TRANSACTION


cdef int route_request(
    Moment* moment, const uint8_t* data, Request* r, const From* o, Outcome* out
) noexcept nogil:
    """`r.m` is scanned. 1: `out` says what leaves, and it is remembered."""
    cdef const Snapshot* s = moment.snapshot
    cdef const Scan* m = &r.m
    cdef Uri* following
    cdef bint fits
    r.in_dialog = m.to_tag.end > m.to_tag.start
    r.begins = not r.in_dialog and (
        m.method == INVITE or m.method == SUBSCRIBE or m.method == REFER
    )
    if m.flags & (HAS_PROXY_REQUIRE | HAS_OWN_VIA_PARAM) or m.max_forwards == 0:
        return 0
    if m.method == CANCEL or m.method_at.end - m.method_at.start > METHOD_ROOM:
        return 0
    if not parse_via(data, m.vias[0].value, m.vias[0].end, &r.via):
        return 0
    if r.via.branch.end - r.via.branch.start < 8:
        return 0
    if memcmp(data + r.via.branch.start, b"z9hG4bK", 7) != 0:
        return 0
    r.mac = branch_mac(&s.keys[0], data, m, &r.via, &fits)
    if not fits:
        return 0
    r.call = siphash24(s.affinity, data + m.call_id.start, m.call_id.end - m.call_id.start)
    index_prefetch(&moment.pending.index, r.mac)
    index_prefetch(&moment.bindings.index, r.call)
    pend_prefetch(moment.pending)
    if not parse_uri(data, m.uri.start, m.uri.end, &r.uri):
        return 0
    r.bound = bind_find(moment.bindings, r.call)
    if r.bound != <uint32_t> NONE:
        __builtin_prefetch(&moment.bindings.items[r.bound])
    if m.method == ACK and m.to_tag.end - m.to_tag.start >= 5:
        if memcmp(data + m.to_tag.start, b"rmlb-", 5) == 0:
            return 0
    if not read_routes(s, data, r):
        return 0
    if m.method == OPTIONS and not r.in_dialog and names_us(s, data, &r.uri):
        return 0
    r.sender = _sender(s, data, o, &r.via)
    if r.has_mark and r.mark.outward and r.marked and _is_from_a_member(s, o, r.sender):
        return outward(s, data, r, o, out)
    following = next_route(r)
    if following != NULL:
        if not names_us(s, data, following) and member_named(s, data, following) < 0:
            return 0
    return _route_to_member(moment, data, r, o, out)


cdef int _sender(
    const Snapshot* s, const uint8_t* data, const From* o, const Via* via
) noexcept nogil:
    """The member that sent it, by its source or by its Via from its host; -1: none."""
    cdef int found = member_at(s, o.text.octets, o.text.size, o.port)
    cdef int32_t size = via.host.end - via.host.start
    cdef int port
    if found >= 0:
        return found
    port = via.port
    if not port:
        port = 5061 if o.transport == TLS else 5060
    if is_text(&o.text, data + via.host.start, size) or is_vip(s, data + via.host.start, size):
        return member_at(s, o.text.octets, o.text.size, port)
    return -1


cdef bint _is_from_a_member(const Snapshot* s, const From* o, int sender) noexcept nogil:
    if o.host >> 24 == 127 or is_vip(s, o.text.octets, o.text.size):
        return sender >= 0
    return is_member_host(s, o.text.octets, o.text.size)


cdef int _route_to_member(
    Moment* moment, const uint8_t* data, Request* r, const From* o, Outcome* out
) noexcept nogil:
    """Kind A."""
    cdef const Snapshot* s = moment.snapshot
    cdef Bind* b = NULL
    cdef uint32_t slot = pend_find(moment.pending, r.mac)
    cdef int target
    if slot != <uint32_t> NONE:
        return _again(moment, data, r, o, slot, out)
    if s.key_count > 1 and _is_known_by_an_older_secret(moment, data, r):
        return 0
    if r.bound != <uint32_t> NONE:
        b = &moment.bindings.items[r.bound]
        if b.flags & CALLEES or not r.in_dialog:
            return 0
        if b.phase == TRYING and r.m.method != ACK:
            if pend_find(moment.pending, b.transaction) != <uint32_t> NONE:
                return 0  # perhaps an early dialog
    target = _holder(s, data, r, b, out) if r.in_dialog else _new_holder(moment, data, r, out)
    if target < 0 or not to_member(s, data, r, o, target, s.loss_number, out):
        return 0
    out.initial = not r.in_dialog and r.m.method != ACK
    # sure: from here on things change
    if r.m.method != ACK and not _remember(moment, data, r, o, out):
        return 0
    if r.begins:
        slot = bind_new(
            moment.bindings, r.call, s.members[target].slot, s.loss_number, moment.now,
            s.record_route or s.by_hash,
        )
        moment.bindings.items[slot].transaction = r.mac
    elif b != NULL:
        bind_touch(moment.bindings, r.bound, moment.now)
    return 1


cdef bint _is_known_by_an_older_secret(
    Moment* moment, const uint8_t* data, const Request* r
) noexcept nogil:
    cdef const Snapshot* s = moment.snapshot
    cdef uint64_t found
    cdef bint fits
    cdef int i
    for i in range(1, s.key_count):
        found = branch_mac(&s.keys[i], data, &r.m, &r.via, &fits)
        if pend_find(moment.pending, found) != <uint32_t> NONE:
            return True
    return False


cdef int _holder(
    const Snapshot* s, const uint8_t* data, Request* r, const Bind* b, Outcome* out
) noexcept nogil:
    """Who has the dialog, by mark or binding (steps 1 and 3); -1: not sure."""
    cdef int64_t found
    cdef int target
    if r.has_mark:
        found = holder(s, r.mark.member, r.mark.loss, r.call)
        out.step = BY_MARK
    elif b == NULL or has_datanodes(data, r):
        return -1
    else:
        target = member_of_slot(s, b.member)
        if target < 0:
            return -1
        found = holder(s, s.members[target].id, b.loss, r.call)
        out.step = BY_BINDING
    target = member_of_id(s, found)
    if target < 0 or not s.members[target].usable:
        return -1
    if b != NULL and b.member != s.members[target].slot:
        return -1  # it moves
    return target


cdef int _new_holder(
    Moment* moment, const uint8_t* data, Request* r, Outcome* out
) noexcept nogil:
    """Who gets a new call, by hash (step 6); -1: not sure."""
    cdef const Snapshot* s = moment.snapshot
    if r.m.method == ACK or r.has_mark:
        return -1
    if s.has_header_keys or not s.by_hash or r.m.flags & HAS_SESSION_HEADER:
        return -1
    if has_datanodes(data, r):
        return -1
    out.step = BY_ALGORITHM
    return choose_new(moment, r.call)


cdef int _remember(
    Moment* moment, const uint8_t* data, const Request* r, const From* o, const Outcome* out
) noexcept nogil:
    """0: there is no memory."""
    cdef const Member* member = &moment.snapshot.members[out.member]
    cdef uint32_t slot = pend_new(
        moment.pending, r.mac, data, r.m.size, member.slot, moment.now, r.m.method == INVITE
    )
    cdef Pend* p
    if slot == <uint32_t> NONE:
        return 0
    p = &moment.pending.items[slot]
    p.call = r.call
    p.method = <uint8_t> r.m.method
    p.name_size = <uint8_t> (r.m.method_at.end - r.m.method_at.start)
    memcpy(p.name, data + r.m.method_at.start, p.name_size)
    if out.initial:
        p.flags |= INITIAL | WAITING
    p.host = o.host
    p.port = <uint16_t> o.port
    p.listener = <uint16_t> o.listener
    p.channel = o.channel
    p.transport = o.transport
    p.over = out.transport
    load_sent(moment.loads, member.slot, moment.now, out.initial)
    return 1


cdef int _again(
    Moment* moment, const uint8_t* data, Request* r, const From* o, uint32_t slot, Outcome* out
) noexcept nogil:
    """A retransmission, or the ACK to a failure: with its transaction (SIP-RULES 3, step 0).

    Not left to Python, or it would reach the member after what the caller has sent since.
    """
    cdef const Snapshot* s = moment.snapshot
    cdef const Pend* p = &moment.pending.items[slot]
    cdef Bind* b = NULL
    cdef int target
    cdef uint32_t loss = s.loss_number
    if p.flags & PROMOTED:
        return 0
    if r.m.method == ACK:
        if p.method != INVITE:
            return 0
    elif not is_of_method(p, data, r.m.method_at):
        return 0
    if r.bound != <uint32_t> NONE:
        b = &moment.bindings.items[r.bound]
        if b.flags & CALLEES or (b.phase == TRYING and r.in_dialog):
            return 0
        if b.transaction == r.mac:
            loss = b.loss
    target = member_of_slot(s, p.member)
    if target < 0 or s.members[target].lost:
        return 0
    if not to_member(s, data, r, o, target, loss, out) or p.over != out.transport:
        return 0
    out.step = BY_TRANSACTION
    out.initial = False
    if b != NULL:
        bind_touch(moment.bindings, r.bound, moment.now)
    return 1
