# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Requests and responses that need no second thought: forwarded as rmlb.routing forwards them.

`decide` returns 1 with the octets that leave and where to, everything learnt from the message
being in the tables and counted; or 0, with nothing changed, for what the Python router is to see:
all that is refused, answered, absorbed or dropped, all that is in trouble, all that is seldom.
Each guard returns 0 for a reason that stands in routing/ under the same words.
"""

from libc.math cimport INFINITY, log
from libc.string cimport memcmp, memcpy

from rmlb.fastpath.scan cimport (
    ACK, BYE, CANCEL, HAS_OWN_VIA_PARAM, HAS_PROXY_REQUIRE, HAS_SESSION_HEADER, INVITE, MAX_ROUTES,
    OPTIONS, REFER, SUBSCRIBE, Scan, Span, Uri, Via, ipv4_at, number_at, parse_route,
    parse_uri, parse_via, scan, uri_param,
)
from rmlb.fastpath.siphash cimport siphash24
from rmlb.fastpath.tables cimport (
    CALLEES, INITIAL, LIVE, PROMOTED, PROVISIONAL, RINGS, TRYING, WAITING,
    Bind, Pend, TAG_ROOM, bind_answered, bind_ended, bind_failed, bind_find, bind_new, bind_touch,
    load_first_answer, load_has_room, load_heard, load_sent, pend_add_tag, pend_answered, pend_find,
    pend_new, pend_prefetch, pend_provisional, METHOD_ROOM,
)
from rmlb.fastpath.containers cimport NONE, __builtin_prefetch, index_prefetch

cdef enum:
    MOST_EDITS = 24
    SCRATCH = 6144
    MOST_MARKS = 8
    MOST_UDP = 65507


cdef struct Edit:
    int32_t start
    int32_t end
    const uint8_t* text
    int32_t size


cdef struct Edits:
    Edit items[MOST_EDITS]
    int count


cdef struct Pen:
    # Writes into a buffer; what does not fit shows in `size`.
    uint8_t* octets
    int32_t room
    int32_t size


cdef struct Mark:
    int64_t member
    int64_t loss
    bint outward


cdef const uint8_t* HEX = b"0123456789abcdef"

cdef uint8_t[3] _LETTERS  # of transports, as the table of remembered requests has them
_LETTERS[UDP], _LETTERS[TCP], _LETTERS[TLS] = 85, 84, 83


cdef inline void _put(Pen* pen, const uint8_t* octets, int32_t size) noexcept nogil:
    if 0 <= size <= pen.room - pen.size:
        memcpy(pen.octets + pen.size, octets, <size_t> size)
        pen.size += size
    else:
        pen.size = 0
        pen.room = -1


cdef inline void _put_char(Pen* pen, uint8_t c) noexcept nogil:
    if pen.size < pen.room:
        pen.octets[pen.size] = c
        pen.size += 1
    else:
        pen.size = 0
        pen.room = -1


cdef inline void _put_number(Pen* pen, uint64_t number) noexcept nogil:
    cdef uint8_t[20] digits
    cdef int i = 20
    while True:
        i -= 1
        digits[i] = <uint8_t> (48 + number % 10)
        number //= 10
        if not number:
            break
    _put(pen, digits + i, 20 - i)


cdef inline void _put_hex(Pen* pen, uint64_t number, int width) noexcept nogil:
    """In that many digits; 0: as few as there are."""
    cdef uint8_t[16] digits
    cdef int i = 16
    while True:
        i -= 1
        digits[i] = HEX[number & 15]
        number >>= 4
        if i == 0 or (16 - i >= width and not number):
            break
        if width and 16 - i == width:
            break
    _put(pen, digits + i, 16 - i)


cdef void text_of_ipv4(uint32_t host, Text* text) noexcept nogil:
    cdef Pen pen
    cdef int shift
    pen.octets = text.octets
    pen.room = HOST_ROOM
    pen.size = 0
    for shift in range(24, -8, -8):
        _put_number(&pen, host >> shift & 255)
        if shift:
            _put_char(&pen, 46)
    text.size = pen.size


cdef inline bint _same(const Text* text, const uint8_t* octets, int32_t size) noexcept nogil:
    return text.size == size and memcmp(text.octets, octets, size) == 0


cdef inline int _hex_value(uint8_t c) noexcept nogil:
    if 48 <= c <= 57:
        return c - 48
    if 97 <= c <= 102:
        return c - 87
    return -1


cdef inline int _hex_at(const uint8_t* at, int digits, uint64_t* out) noexcept nogil:
    """Lower-case hexadecimal; 1 if it is."""
    cdef uint64_t value = 0
    cdef int i, digit
    for i in range(digits):
        digit = _hex_value(at[i])
        if digit < 0:
            return 0
        value = value << 4 | <uint64_t> digit
    out[0] = value
    return 1


cdef inline int _key_of(const Snapshot* s, const uint8_t* id) noexcept nogil:
    cdef int i
    for i in range(s.key_count):
        if memcmp(s.keys[i].id, id, 4) == 0:
            return i
    return -1


# who is who


cdef int _member_named(
    const Snapshot* s, const uint8_t* host, int32_t size, int port
) noexcept nogil:
    """Index of the member that listens there, -1: none."""
    cdef uint32_t place = 2166136261
    cdef int32_t i
    cdef Endpoint* e
    for i in range(size):
        place = (place ^ host[i]) * 16777619
    place = (place ^ <uint32_t> port) * 16777619
    place ^= place >> 15
    while True:
        e = &s.endpoints[place & s.endpoint_mask]
        if not e.used:
            return -1
        if e.port == port and _same(&e.host, host, size):
            return e.member
        place += 1


cdef bint _names_us(const Snapshot* s, const uint8_t* data, const Uri* uri) noexcept nogil:
    cdef int i, k
    cdef int32_t size = uri.host.end - uri.host.start
    cdef const OwnName* name
    for i in range(s.name_count):
        name = &s.names[i]
        if not _same(&name.host, data + uri.host.start, size):
            continue
        if name.any_port or (uri.port and name.port == uri.port):
            return True
        if name.is_vip:
            if not uri.port:
                return True
            for k in range(s.own_port_count):
                if s.own_ports[k] == uri.port:
                    return True
    return False


cdef bint _is_vip(const Snapshot* s, const uint8_t* host, int32_t size) noexcept nogil:
    cdef int i
    for i in range(s.name_count):
        if s.names[i].is_vip and _same(&s.names[i].host, host, size):
            return True
    return False


cdef bint _is_own_endpoint(
    const Snapshot* s, const uint8_t* host, int32_t size, int port
) noexcept nogil:
    cdef int i
    for i in range(s.own_count):
        if s.own[i].port == port and _same(&s.own[i].host, host, size):
            return True
    return False


cdef inline bint _is_unicast(uint32_t host) noexcept nogil:
    return host != 0 and host != <uint32_t> 0xFFFFFFFF and host >> 28 != 14


cdef int _sender(
    const Snapshot* s, const uint8_t* data, const From* o, const Via* via
) noexcept nogil:
    cdef int found = _member_named(s, o.text.octets, o.text.size, o.port)
    cdef int32_t size = via.host.end - via.host.start
    cdef int port
    if found >= 0:
        return found
    port = via.port
    if not port:
        port = 5061 if o.transport == TLS else 5060
    if _same(&o.text, data + via.host.start, size) or _is_vip(s, data + via.host.start, size):
        return _member_named(s, o.text.octets, o.text.size, port)
    return -1


cdef bint _is_from_a_member(
    const Snapshot* s, const uint8_t* data, const From* o, int sender
) noexcept nogil:
    cdef int i
    if o.host >> 24 == 127 or _is_vip(s, o.text.octets, o.text.size):
        return sender >= 0
    for i in range(s.member_host_count):
        if _same(&s.member_hosts[i], o.text.octets, o.text.size):
            return True
    return False


cdef inline int _member_of_id(const Snapshot* s, int64_t number) noexcept nogil:
    cdef int i
    for i in range(s.member_count):
        if s.members[i].id == number:
            return i
    return -1


cdef inline uint64_t _mix(uint64_t value) noexcept nogil:
    value = (value ^ (value >> 30)) * <uint64_t> 0xBF58476D1CE4E5B9
    value = (value ^ (value >> 27)) * <uint64_t> 0x94D049BB133111EB
    return value ^ (value >> 31)


cdef inline double _score(uint64_t value, uint64_t seed, double weight) noexcept nogil:
    cdef double unit = (<double> _mix(value ^ seed) + 0.5) / 18446744073709551616.0
    return weight / -log(unit) if unit < 1.0 else INFINITY


cdef int64_t _holder(
    const Snapshot* s, int64_t member, int64_t since, uint64_t value
) noexcept nogil:
    """affinity._holder: with hotstandby off a dialog is never anyone else's."""
    return _heir(s, member, since, value) if s.hotstandby else member


cdef int64_t _heir(const Snapshot* s, int64_t member, int64_t since, uint64_t value) noexcept nogil:
    """LossLog.holder"""
    cdef int i, k, of
    cdef bint moved = True
    cdef int32_t heir
    cdef double best, score
    cdef const Loss* loss
    while moved:
        moved = False
        of = -1
        for i in range(s.losses_count):
            if s.losses[i].member == member:
                of = i
                break
        if of < 0:
            break
        for i in range(s.losses[of].first, s.losses[of].first + s.losses[of].count):
            loss = &s.loss_entries[i]
            if loss.number <= since:
                continue
            heir = -1
            best = -1.0
            for k in range(loss.first, loss.first + loss.count):
                score = _score(value, s.survivors[k].seed, 1.0)
                if score > best:
                    heir = s.survivors[k].member
                    best = score
            if heir >= 0 and heir != member:
                member = heir
                since = loss.number
                moved = True
                break
    return member


# signatures


cdef void _put_sent_by(Pen* pen, const uint8_t* data, const Via* via) noexcept nogil:
    _put(pen, data + via.host.start, via.host.end - via.host.start)
    _put_char(pen, 58)
    _put_number(pen, via.port)


cdef uint64_t _branch_mac(
    const KeySet* key, const uint8_t* data, const Scan* m, const Via* via, bint* fits
) noexcept nogil:
    cdef uint8_t[SCRATCH] scratch
    cdef Pen pen
    pen.octets = scratch
    pen.room = SCRATCH
    pen.size = 0
    _put(&pen, data + via.branch.start, via.branch.end - via.branch.start)
    _put_char(&pen, 10)
    _put_sent_by(&pen, data, via)
    _put_char(&pen, 10)
    _put(&pen, data + m.call_id.start, m.call_id.end - m.call_id.start)
    _put_char(&pen, 10)
    _put(&pen, data + m.from_tag.start, m.from_tag.end - m.from_tag.start)
    _put_char(&pen, 10)
    _put_number(&pen, m.cseq)
    _put_char(&pen, 10)
    fits[0] = pen.room > 0
    return siphash24(key.branch, scratch, pen.size) if fits[0] else 0


cdef uint32_t _initiator(
    const KeySet* key, const uint8_t* data, Span tag, bint* fits
) noexcept nogil:
    cdef uint8_t[1024] scratch
    cdef Pen pen
    pen.octets = scratch
    pen.room = 1024
    pen.size = 0
    _put(&pen, b"initiator\n", 10)
    _put(&pen, data + tag.start, tag.end - tag.start)
    fits[0] = pen.room > 0
    return <uint32_t> siphash24(key.mark, scratch, pen.size) if fits[0] else 0


cdef uint64_t _mark_mac(
    const KeySet* key, const uint8_t* body, int32_t size, const uint8_t* data, Span call_id,
    bint* fits,
) noexcept nogil:
    cdef uint8_t[4096] scratch
    cdef Pen pen
    pen.octets = scratch
    pen.room = 4096
    pen.size = 0
    _put(&pen, body, size)
    _put_char(&pen, 10)
    _put(&pen, data + call_id.start, call_id.end - call_id.start)
    fits[0] = pen.room > 0
    return siphash24(key.mark, scratch, pen.size) if fits[0] else 0


cdef int _read_mark(
    const Snapshot* s, const uint8_t* data, Span at, const Scan* m, Mark* out
) noexcept nogil:
    """1: verified; 0: not ours; -1: not sure."""
    cdef int32_t i = at.start, start
    cdef Span digits
    cdef uint64_t initiator, mac, found
    cdef int key
    cdef bint fits
    if at.end - at.start < 4 or not _hex_at(data + i, 4, &found):
        return 0
    key = _key_of(s, data + i)
    i += 4
    for start in range(2):
        if i >= at.end or data[i] != 46:
            return 0
        i += 1
        digits.start = i
        while i < at.end and 48 <= data[i] <= 57:
            i += 1
        digits.end = i
        if not number_at(data, digits, &out.loss if start else &out.member):
            return 0
    if at.end - i != 26 or data[i] != 46 or data[i + 9] != 46:
        return 0
    if not _hex_at(data + i + 1, 8, &initiator) or not _hex_at(data + i + 10, 16, &mac):
        return 0
    if key < 0:
        return 0
    found = _mark_mac(&s.keys[key], data + at.start, i + 9 - at.start, data, m.call_id, &fits)
    if not fits:
        return -1
    if found != mac:
        return 0
    out.outward = _initiator(&s.keys[key], data, m.from_tag, &fits) != initiator
    return 1 if fits else -1


# edits


cdef inline void _edit(
    Edits* edits, int32_t start, int32_t end, const uint8_t* text, int32_t size
) noexcept nogil:
    """Kept sorted by place; equal places keep their order."""
    cdef int i = edits.count
    if i == MOST_EDITS:
        return
    while i and (
        edits.items[i - 1].start > start
        or (edits.items[i - 1].start == start and edits.items[i - 1].end > end)
    ):
        edits.items[i] = edits.items[i - 1]
        i -= 1
    edits.items[i].start = start
    edits.items[i].end = end
    edits.items[i].text = text
    edits.items[i].size = size
    edits.count += 1


cdef int _apply(const Edits* edits, const uint8_t* data, int32_t size, Outcome* out) noexcept nogil:
    """The octets that leave; 0 if they do not fit."""
    cdef Pen pen
    cdef int i
    cdef int32_t at = 0
    pen.octets = out.octets
    pen.room = out.room
    pen.size = 0
    if edits.count == MOST_EDITS:
        return 0
    for i in range(edits.count):
        _put(&pen, data + at, edits.items[i].start - at)
        _put(&pen, edits.items[i].text, edits.items[i].size)
        at = edits.items[i].end
    _put(&pen, data + at, size - at)
    out.size = pen.size
    return pen.room > 0


# requests


cdef struct RouteSet:
    Span uris[MAX_ROUTES]
    Uri values[MAX_ROUTES]
    int32_t starts[MAX_ROUTES]
    int lines[MAX_ROUTES]
    int count


cdef struct Request:
    Scan m
    Via via
    Uri uri
    RouteSet routes
    int first  # index of the first Route that remains
    bint popped
    bint marked
    bint has_mark
    Mark mark
    int sender
    uint64_t mac  # of the branch, under the key that signs
    uint64_t call  # the Call-ID's hash
    uint32_t bound  # its binding's slot


cdef int _read_routes(const Snapshot* s, const uint8_t* data, Request* r) noexcept nogil:
    """Ours popped, the mark verified (incoming.read_request); 0: not sure."""
    cdef int line, i, marks = 0, verified
    cdef int32_t at, following
    cdef Span value
    cdef RouteSet* routes = &r.routes
    routes.count = 0
    for line in range(r.m.route_count):
        at = r.m.routes[line].value
        while at:
            if routes.count == MAX_ROUTES:
                return 0
            i = routes.count
            if not parse_route(
                data, at, r.m.routes[line].end, &routes.uris[i], &routes.values[i], &following
            ):
                return 0
            routes.starts[i] = at
            routes.lines[i] = line
            routes.count += 1
            at = following
    if routes.count and uri_param(data, &r.uri, b"rmlb", 4, &value) and _names_us(s, data, &r.uri):
        return 0  # a strict router
    r.has_mark = r.popped = r.marked = False
    for i in range(routes.count):
        if marks == MOST_MARKS:
            break
        if _names_us(s, data, &routes.values[i]):
            marks += 1
            if r.has_mark or not uri_param(data, &routes.values[i], b"rmlb", 4, &value):
                continue
            if value.end > value.start:
                verified = _read_mark(s, data, value, &r.m, &r.mark)
                if verified < 0:
                    return 0
                r.has_mark = verified
    r.first = 0
    while r.first < routes.count and _names_us(s, data, &routes.values[r.first]):
        i = r.first
        if uri_param(data, &routes.values[i], b"rmlb", 4, &value):
            r.marked = True
        elif uri_param(data, &routes.values[i], b"gvp.rm.datanodes", 16, &value):
            break
        r.popped = True
        r.first += 1
    return 1


cdef int _cut_routes(const uint8_t* data, Request* r, Edits* edits) noexcept nogil:
    """Those before the first that remains leave: whole lines, or the beginning of one."""
    cdef int i = 0, line
    while i < r.first:
        line = r.routes.lines[i]
        while i < r.first and r.routes.lines[i] == line:
            i += 1
        if i < r.routes.count and r.routes.lines[i] == line:
            _edit(edits, r.m.routes[line].value, r.routes.starts[i], b"", 0)
        else:
            _edit(edits, r.m.routes[line].start, r.m.routes[line].end + 2, b"", 0)
    return 1


cdef uint32_t _loop_hash(
    const KeySet* key, const uint8_t* data, Request* r, const uint8_t* number, int32_t size,
    bint* fits,
) noexcept nogil:
    cdef uint8_t[SCRATCH] scratch
    cdef Pen pen
    cdef int i
    pen.octets = scratch
    pen.room = SCRATCH
    pen.size = 0
    _put(&pen, data + r.m.uri.start, r.m.uri.end - r.m.uri.start)
    _put_char(&pen, 10)
    for i in range(r.routes.count):
        if i:
            _put_char(&pen, 44)
        _put(&pen, data + r.routes.uris[i].start, r.routes.uris[i].end - r.routes.uris[i].start)
    _put_char(&pen, 10)
    _put(&pen, number, size)
    fits[0] = pen.room > 0
    return <uint32_t> siphash24(key.loop, scratch, pen.size) if fits[0] else 0


cdef int _render(
    Snapshot* s, const uint8_t* data, Request* r, const From* o, const KeySet* key, uint64_t mac,
    const uint8_t* number, int32_t number_size, int32_t member, bint record, uint32_t loss,
    Outcome* out,
) noexcept nogil:
    """The request as it leaves under our Via (forwarding.Leaving); 0: not sure."""
    cdef uint8_t[512] own
    cdef uint8_t[1024] proof
    cdef uint8_t[64] received
    cdef uint8_t[16] rport
    cdef uint8_t[8] hops
    cdef uint8_t[512] recorded
    cdef uint8_t[640] added
    cdef Pen via, pen, more
    cdef Edits edits
    cdef int32_t branch, body, top = r.m.vias[0].start, i
    cdef int64_t left
    cdef uint32_t loop
    cdef uint64_t vouched
    cdef bint fits
    edits.count = 0
    loop = _loop_hash(key, data, r, number, number_size, &fits)
    if not fits:
        return 0
    via.octets = own
    via.room = 512
    via.size = 0
    _put(
        &via, s.via_prefix[out.transport][out.listener],
        s.via_prefix_size[out.transport][out.listener],
    )
    branch = via.size
    _put(&via, b"z9hG4bK", 7)
    _put(&via, key.id, 4)
    _put_char(&via, 46)
    _put(&via, number, number_size)
    _put_char(&via, 46)
    _put_hex(&via, mac, 16)
    # the proof is over branch, body, and where the answer goes from here
    pen.octets = proof
    pen.room = 1024
    pen.size = 0
    _put(&pen, own + branch, via.size - branch)
    _put_char(&pen, 10)
    _put(&via, b";rmlb=", 6)
    body = via.size
    _put(&via, s.instance, 8)
    _put_char(&via, 46)
    _put_char(&via, 117 if o.transport == UDP else 116 if o.transport == TCP else 115)
    _put_hex(&via, <uint64_t> o.channel, 0)
    _put_char(&via, 46)
    _put_hex(&via, loop, 8)
    _put(&pen, own + body, via.size - body)
    _put_char(&pen, 10)
    _put_sent_by(&pen, data, &r.via)
    _put_char(&pen, 10)
    _put(&pen, o.text.octets, o.text.size)
    _put_char(&pen, 10)
    if r.via.has_rport:
        _put_number(&pen, o.port)
    if pen.room < 0:
        return 0
    vouched = siphash24(key.via, proof, pen.size)
    _put_char(&via, 46)
    _put_hex(&via, vouched, 16)
    _put(&via, b"\r\n", 2)
    if via.room < 0:
        return 0
    _edit(&edits, top, top, own, via.size)
    # received and rport
    pen.octets = received
    pen.room = 64
    pen.size = 0
    _put(&pen, b";received=", 10)
    _put(&pen, o.text.octets, o.text.size)
    if r.via.has_received:
        _edit(&edits, r.via.received_at.start, r.via.received_at.end, received, pen.size)
    else:
        _edit(&edits, r.via.end, r.via.end, received, pen.size)
    if r.via.has_rport:
        pen.octets = rport
        pen.room = 16
        pen.size = 0
        _put(&pen, b";rport=", 7)
        _put_number(&pen, o.port)
        _edit(&edits, r.via.rport_at.start, r.via.rport_at.end, rport, pen.size)
    _cut_routes(data, r, &edits)
    more.octets = added
    more.room = 640
    more.size = 0
    if record:
        pen.octets = recorded
        pen.room = 512
        pen.size = 0
        _put(&pen, s.recorded[out.listener], s.recorded_size[out.listener])
        i = pen.size
        _put(&pen, s.keys[0].id, 4)
        _put_char(&pen, 46)
        _put_number(&pen, member)
        _put_char(&pen, 46)
        _put_number(&pen, loss)
        _put_char(&pen, 46)
        _put_hex(&pen, _initiator(&s.keys[0], data, r.m.from_tag, &fits), 8)
        if not fits:
            return 0
        vouched = _mark_mac(&s.keys[0], recorded + i, pen.size - i, data, r.m.call_id, &fits)
        if not fits:
            return 0
        _put_char(&pen, 46)
        _put_hex(&pen, vouched, 16)
        _put(&pen, b">\r\n", 3)
        if pen.room < 0:
            return 0
        if r.m.record_route >= 0:
            _edit(&edits, r.m.record_route, r.m.record_route, recorded, pen.size)
        else:
            _put(&more, recorded, pen.size)
    if r.m.max_forwards < 0:
        _put(&more, b"Max-Forwards: 70\r\n", 18)
    else:
        left = r.m.max_forwards - 1
        if left > 255:
            left = 255
        pen.octets = hops
        pen.room = 8
        pen.size = 0
        _put_char(&pen, 32)
        _put_number(&pen, <uint64_t> left)
        _edit(&edits, r.m.hops.value, r.m.hops.end, hops, pen.size)
    if out.transport != UDP and r.m.content_length < 0:
        _put(&more, b"Content-Length: ", 16)
        _put_number(&more, r.m.size - r.m.body)
        _put(&more, b"\r\n", 2)
    if more.size:
        _edit(&edits, r.m.below_vias, r.m.below_vias, added, more.size)
    if not _apply(&edits, data, r.m.size, out):
        return 0
    return 1


cdef int _choose_new(Core* core, uint64_t value, double now) noexcept nogil:
    """affinity.choose_new by hash: index of the member, -1: nobody."""
    cdef Snapshot* s = core.snapshot
    cdef int i, best_any = -1, best_sure = -1
    cdef double score, any_score = -1.0, sure_score = -1.0
    cdef Member* member
    for i in range(s.member_count):
        member = &s.members[i]
        if not member.takes_calls or not load_has_room(core.loads, member.slot, now):
            continue
        score = _score(value, member.seed, member.weight)
        if score > any_score:
            any_score = score
            best_any = i
        if member.in_service and score > sure_score:
            sure_score = score
            best_sure = i
    return best_sure if best_sure >= 0 else best_any


cdef int _towards(
    Snapshot* s, const uint8_t* data, Request* r, From* o, int target, bint begins, uint32_t loss,
    Outcome* out,
) noexcept nogil:
    """The request as it goes to a member (delivery.to_member); 0: not sure. Changes nothing."""
    cdef Member* member = &s.members[target]
    cdef Way* way = &member.ways[o.listener][o.transport]
    cdef Uri* towards = &r.routes.values[r.first] if r.first < r.routes.count else &r.uri
    cdef bint record = begins and s.record_route
    cdef int named
    if r.sender == target or not way.is_open:
        return 0
    named = _member_named(
        s, data + towards.host.start, towards.host.end - towards.host.start,
        towards.port if towards.port else 5060,
    )
    if named >= 0 and named != target and s.members[named].lost:
        return 0  # re-homed
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
    if not _render(
        s, data, r, o, &s.keys[0], r.mac, member.number.octets, member.number.size, member.id,
        record, loss, out,
    ):
        return 0
    return way.transport != UDP or out.size <= s.datagram_limit


cdef int _again(
    Core* core, const uint8_t* data, Request* r, From* o, uint32_t slot, double now, Outcome* out
) noexcept nogil:
    """A retransmission, or the ACK to a failure: with its transaction (SIP-RULES 3, step 0).

    Not left to Python, or it would reach the member after what the caller has sent since.
    """
    cdef Snapshot* s = core.snapshot
    cdef Pend* p = &core.pending.items[slot]
    cdef Bind* b = NULL
    cdef int target
    cdef uint32_t loss = s.loss_number
    cdef int32_t size = r.m.method_at.end - r.m.method_at.start
    cdef bint to_tag = r.m.to_tag.end > r.m.to_tag.start
    cdef bint begins = not to_tag and (
        r.m.method == INVITE or r.m.method == SUBSCRIBE or r.m.method == REFER
    )
    if p.flags & PROMOTED:
        return 0
    if r.m.method == ACK:
        if p.method != INVITE:
            return 0
    elif p.name_size != size or memcmp(p.name, data + r.m.method_at.start, size) != 0:
        return 0
    if r.bound != <uint32_t> NONE:
        b = &core.bindings.items[r.bound]
        if b.flags & CALLEES or (b.phase == TRYING and to_tag):
            return 0
        if b.transaction == r.mac:
            loss = b.loss
    for target in range(s.member_count):
        if s.members[target].slot == p.member:
            break
    else:
        return 0
    if s.members[target].lost:
        return 0
    if not _towards(s, data, r, o, target, begins, loss, out) or p.over != _LETTERS[out.transport]:
        return 0
    out.step = BY_TRANSACTION
    out.initial = False
    if b != NULL:
        bind_touch(core.bindings, r.bound, now)
    return 1


cdef int _to_member(
    Core* core, const uint8_t* data, Request* r, From* o, double now, Outcome* out
) noexcept nogil:
    """Kind A."""
    cdef Snapshot* s = core.snapshot
    cdef uint64_t mac, found, call
    cdef uint32_t bound, slot
    cdef int i, target, step
    cdef int64_t holder
    cdef bint fits
    cdef bint to_tag = r.m.to_tag.end > r.m.to_tag.start
    cdef bint initial = not to_tag and r.m.method != ACK
    cdef bint begins = initial and (
        r.m.method == INVITE or r.m.method == SUBSCRIBE or r.m.method == REFER
    )
    cdef Bind* b = NULL
    cdef Pend* p
    cdef Member* member
    cdef Span value
    mac = r.mac
    call = r.call
    slot = pend_find(core.pending, mac)
    if slot != <uint32_t> NONE:
        return _again(core, data, r, o, slot, now, out)
    for i in range(1, s.key_count):
        found = _branch_mac(&s.keys[i], data, &r.m, &r.via, &fits)
        if pend_find(core.pending, found) != <uint32_t> NONE:
            return 0
    bound = r.bound
    if bound != <uint32_t> NONE:
        b = &core.bindings.items[bound]
        if b.flags & CALLEES or not to_tag:
            return 0
        if b.phase == TRYING and r.m.method != ACK:
            if pend_find(core.pending, b.transaction) != <uint32_t> NONE:
                return 0  # perhaps an early dialog
    if not to_tag and (r.m.method == ACK or r.has_mark):
        return 0
    if to_tag:
        if r.has_mark:
            holder = _holder(s, r.mark.member, r.mark.loss, call)
            step = BY_MARK
        elif b == NULL:
            return 0
        else:
            if r.first < r.routes.count and uri_param(
                data, &r.routes.values[r.first], b"gvp.rm.datanodes", 16, &value
            ):
                return 0
            for i in range(s.member_count):
                if s.members[i].slot == b.member:
                    break
            else:
                return 0
            holder = _holder(s, s.members[i].id, b.loss, call)
            step = BY_BINDING
        target = _member_of_id(s, holder)
        if target < 0 or not s.members[target].usable:
            return 0
        if b != NULL and b.member != s.members[target].slot:
            return 0  # it moves
    else:
        if s.has_header_keys or not s.by_hash or r.m.flags & HAS_SESSION_HEADER:
            return 0
        if r.first < r.routes.count and uri_param(
            data, &r.routes.values[r.first], b"gvp.rm.datanodes", 16, &value
        ):
            return 0
        target = _choose_new(core, call, now)
        if target < 0:
            return 0
        step = BY_ALGORITHM
    if not _towards(s, data, r, o, target, begins, s.loss_number, out):
        return 0
    out.step = step
    out.initial = initial
    member = &s.members[target]
    # sure: from here on things change
    if r.m.method != ACK:
        slot = pend_new(
            core.pending, mac, data, r.m.size, member.slot, now, r.m.method == INVITE
        )
        if slot == <uint32_t> NONE:
            return 0
        p = &core.pending.items[slot]
        p.call = call
        p.method = <uint8_t> r.m.method
        p.name_size = <uint8_t> (r.m.method_at.end - r.m.method_at.start)
        memcpy(p.name, data + r.m.method_at.start, p.name_size)
        if initial:
            p.flags |= INITIAL | WAITING
        p.host = o.host
        p.port = <uint16_t> o.port
        p.listener = <uint16_t> o.listener
        p.channel = o.channel
        p.transport = _LETTERS[o.transport]
        p.over = _LETTERS[out.transport]
        load_sent(core.loads, member.slot, now, initial)
    if begins:
        bound = bind_new(
            core.bindings, call, member.slot, s.loss_number, now, s.record_route or s.by_hash
        )
        core.bindings.items[bound].transaction = mac
    elif b != NULL:
        bind_touch(core.bindings, bound, now)
    return 1


cdef int _outward(
    Core* core, const uint8_t* data, Request* r, From* o, Outcome* out
) noexcept nogil:
    """Kind D."""
    cdef Snapshot* s = core.snapshot
    cdef Uri* target = &r.uri
    cdef Span value
    cdef int32_t size
    cdef int listener, known
    if r.first < r.routes.count:
        target = &r.routes.values[r.first]
        if not uri_param(data, target, b"lr", 2, &value):
            return 0
    out.transport = UDP
    if uri_param(data, target, b"transport", 9, &value) and value.end > value.start:
        if value.end - value.start != 3:
            return 0
        if memcmp(data + value.start, b"tcp", 3) == 0:
            out.transport = TCP
        elif memcmp(data + value.start, b"udp", 3) != 0:
            return 0
    if not ipv4_at(data, target.host, &out.host) or not _is_unicast(out.host):
        return 0
    listener = s.listener_by_prefer[out.transport][o.listener]
    if listener < 0:
        return 0
    size = target.host.end - target.host.start
    out.port = <uint16_t> (target.port if target.port else 5060)
    if _is_own_endpoint(s, data + target.host.start, size, out.port) or _names_us(s, data, target):
        return 0
    known = _member_named(s, data + target.host.start, size, out.port)
    if known >= 0 and known == r.sender:
        return 0
    out.listener = <uint8_t> listener
    out.channel = 0
    out.member = out.answered_by = -1
    out.kind = OUTWARD
    out.step = NO_STEP
    out.initial = False
    out.status = 0
    if not _render(s, data, r, o, &s.keys[0], r.mac, b"0", 1, 0, False, 0, out):
        return 0
    return out.transport != UDP or out.size <= MOST_UDP


cdef int _request(
    Core* core, const uint8_t* data, Request* r, From* o, double now, Outcome* out
) noexcept nogil:
    cdef Snapshot* s = core.snapshot
    cdef Scan* m = &r.m
    cdef Uri* following
    cdef bint fits
    cdef bint to_tag = m.to_tag.end > m.to_tag.start
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
    r.mac = _branch_mac(&s.keys[0], data, m, &r.via, &fits)
    if not fits:
        return 0
    r.call = siphash24(s.affinity, data + m.call_id.start, m.call_id.end - m.call_id.start)
    index_prefetch(&core.pending.index, r.mac)
    index_prefetch(&core.bindings.index, r.call)
    pend_prefetch(core.pending)
    if not parse_uri(data, m.uri.start, m.uri.end, &r.uri):
        return 0
    r.bound = bind_find(core.bindings, r.call)
    if r.bound != <uint32_t> NONE:
        __builtin_prefetch(&core.bindings.items[r.bound])
    if m.method == ACK and m.to_tag.end - m.to_tag.start >= 5:
        if memcmp(data + m.to_tag.start, b"rmlb-", 5) == 0:
            return 0
    if not _read_routes(s, data, r):
        return 0
    if m.method == OPTIONS and not to_tag and _names_us(s, data, &r.uri):
        return 0
    r.sender = _sender(s, data, o, &r.via)
    if r.has_mark and r.mark.outward and r.marked and _is_from_a_member(s, data, o, r.sender):
        return _outward(core, data, r, o, out)
    if r.first < r.routes.count:
        following = &r.routes.values[r.first]
        if not _names_us(s, data, following) and _member_named(
            s, data + following.host.start, following.host.end - following.host.start,
            following.port if following.port else 5060,
        ) < 0:
            return 0
    return _to_member(core, data, r, o, now, out)


# responses


cdef struct OwnVia:
    int key
    int64_t member
    uint64_t mac
    int64_t channel
    uint8_t transport
    bint is_instance
    int32_t body_end


cdef int _read_own(
    const Snapshot* s, const uint8_t* data, const Via* via, OwnVia* out
) noexcept nogil:
    """Branch and parameter of our Via, of the form that they have; not verified."""
    cdef int32_t at = via.branch.start, end = via.branch.end
    cdef Span digits
    cdef uint64_t number
    if end - at < 7 + 4 + 1 + 1 + 1 + 16 or memcmp(data + at, b"z9hG4bK", 7) != 0:
        return 0
    out.key = _key_of(s, data + at + 7)
    if out.key < 0 or data[at + 11] != 46:
        return 0
    digits.start = at + 12
    digits.end = end - 17
    if data[digits.end] != 46 or not number_at(data, digits, &out.member):
        return 0
    if not _hex_at(data + end - 16, 16, &out.mac):
        return 0
    at = via.own.start
    end = via.own.end
    if end - at < 8 + 1 + 2 + 1 + 8 + 1 + 16 or not _hex_at(data + at, 8, &number):
        return 0
    out.is_instance = memcmp(data + at, s.instance, 8) == 0
    if data[at + 8] != 46:
        return 0
    if data[at + 9] == 117:
        out.transport = UDP
    elif data[at + 9] == 116:
        out.transport = TCP
    elif data[at + 9] == 115:
        out.transport = TLS
    else:
        return 0
    digits.start = at + 10
    digits.end = end - 26
    if not 0 < digits.end - digits.start <= 12:
        return 0
    if not _hex_at(data + digits.start, digits.end - digits.start, &number):
        return 0
    out.channel = <int64_t> number
    if data[end - 26] != 46 or data[end - 17] != 46:
        return 0
    if not _hex_at(data + end - 25, 8, &number) or not _hex_at(data + end - 16, 16, &number):
        return 0
    out.body_end = end - 17
    return 1


cdef bint _is_ours(
    const Snapshot* s, const uint8_t* data, const Scan* m, const Via* via, const Via* below,
    const OwnVia* own,
) noexcept nogil:
    """signature.verify_response"""
    cdef const KeySet* key = &s.keys[own.key]
    cdef uint8_t[2048] proof
    cdef uint64_t mac
    cdef Pen pen
    cdef bint fits
    if _branch_mac(key, data, m, below, &fits) != own.mac or not fits:
        return False
    pen.octets = proof
    pen.room = 2048
    pen.size = 0
    _put(&pen, data + via.branch.start, via.branch.end - via.branch.start)
    _put_char(&pen, 10)
    _put(&pen, data + via.own.start, own.body_end - via.own.start)
    _put_char(&pen, 10)
    _put_sent_by(&pen, data, below)
    _put_char(&pen, 10)
    if below.has_received:
        _put(&pen, data + below.received.start, below.received.end - below.received.start)
    _put_char(&pen, 10)
    if below.has_rport:
        _put(&pen, data + below.rport.start, below.rport.end - below.rport.start)
    if pen.room < 0 or not _hex_at(data + via.own.end - 16, 16, &mac):
        return False
    return siphash24(key.via, proof, pen.size) == mac


cdef int _response(
    Core* core, const uint8_t* data, Scan* m, double now, Outcome* out
) noexcept nogil:
    """Kind B."""
    cdef Snapshot* s = core.snapshot
    cdef Via via, below
    cdef OwnVia own
    cdef Edits edits
    cdef Span host
    cdef int64_t port, holder
    cdef int i, member = -1
    cdef int32_t at
    cdef uint32_t slot, bound
    cdef uint64_t call
    cdef Pend* p = NULL
    cdef Bind* b = NULL
    cdef bint repeated = False, initial = False, success = 200 <= m.status < 300
    cdef bint has_tag = m.to_tag.end > m.to_tag.start
    if m.status == 503 or m.method == CANCEL or m.method == SUBSCRIBE or m.method == REFER:
        return 0
    if not parse_via(data, m.vias[0].value, m.vias[0].end, &via) or not via.has_own:
        return 0
    if via.next:
        if not parse_via(data, via.next, m.vias[0].end, &below):
            return 0
    elif m.via_count < 2 or not parse_via(data, m.vias[1].value, m.vias[1].end, &below):
        return 0
    if not _read_own(s, data, &via, &own):
        return 0
    slot = pend_find(core.pending, own.mac)
    if slot != <uint32_t> NONE:
        __builtin_prefetch(&core.pending.items[slot])
    if not _is_ours(s, data, m, &via, &below, &own):
        return 0
    # back to the caller (responses._return_address)
    host = below.host
    if below.has_received and below.received.end > below.received.start:
        host = below.received
    if not ipv4_at(data, host, &out.host) or not _is_unicast(out.host):
        return 0
    port = below.port
    if not port:
        port = 5061 if own.transport == TLS else 5060
    out.transport = own.transport
    out.channel = 0
    if own.transport == UDP:
        if below.has_rport and below.rport.end > below.rport.start:
            if below.rport.end - below.rport.start > 5 or not number_at(data, below.rport, &port):
                return 0
        if not 0 < port < 65536:
            return 0
        i = MOST_LISTENERS if own.channel >= s.listener_count else <int> own.channel
        i = s.listener_by_prefer[UDP][i]
        if i < 0:
            return 0
        out.listener = <uint8_t> i
    else:
        if not s.has_stream_listener[own.transport]:
            return 0
        out.listener = s.listener_of_stream[own.transport]
        if own.is_instance:
            out.channel = own.channel
        if m.content_length < 0:
            return 0
    out.port = <uint16_t> port
    if not out.channel and _is_own_endpoint(s, data + host.start, host.end - host.start, out.port):
        return 0
    # what is known of the request
    if own.member:
        member = _member_of_id(s, own.member)
        if member < 0:
            return 0
    if slot != <uint32_t> NONE:
        p = &core.pending.items[slot]
        if p.flags & PROMOTED or member < 0 or p.member != s.members[member].slot:
            return 0
        if p.name_size != m.method_at.end - m.method_at.start:
            return 0
        if memcmp(p.name, data + m.method_at.start, p.name_size) != 0:
            return 0
        repeated = p.attempt_final != 0
        initial = p.flags & INITIAL
        if m.status >= 300 and initial and not repeated and s.retries[m.status]:
            return 0
        call = p.call
        if m.status < 200 and has_tag and m.to_tag.end - m.to_tag.start > TAG_ROOM:
            return 0
    else:
        call = siphash24(s.affinity, data + m.call_id.start, m.call_id.end - m.call_id.start)
    # what it teaches of its dialog (responses._learn)
    bound = bind_find(core.bindings, call)
    if bound == <uint32_t> NONE:
        if member >= 0 and m.method == INVITE and 100 < m.status < 300:
            return 0
        if member >= 0 and m.method == BYE and success:
            return 0
    else:
        b = &core.bindings.items[bound]
        if b.flags & CALLEES and success:
            return 0
        if m.method == INVITE and success:
            if member >= 0 and b.phase == LIVE and b.member != s.members[member].slot:
                return 0
            if p != NULL and initial and not repeated:
                for i in range(s.member_count):
                    if s.members[i].slot == b.member:
                        break
                else:
                    return 0
                holder = _heir(s, s.members[i].id, b.loss, call)
                if holder != s.members[member].id:
                    return 0  # a fork
    edits.count = 0
    if via.next:
        at = via.next
        while data[at] == 32 or data[at] == 9:
            at += 1
        _edit(&edits, m.vias[0].value, at, b" ", 1)
    else:
        _edit(&edits, m.vias[0].start, m.vias[0].end + 2, b"", 0)
    if not _apply(&edits, data, m.size, out):
        return 0
    # sure: from here on things change
    if p != NULL and m.status < 200 and has_tag:
        if not pend_add_tag(
            core.pending, slot, data + m.to_tag.start, m.to_tag.end - m.to_tag.start
        ):
            return 0
    if member >= 0:
        load_heard(core.loads, s.members[member].slot)
    if p != NULL:
        if p.flags & WAITING:
            p.flags &= ~WAITING
            load_first_answer(core.loads, p.member, now - p.sent_at)
        if m.status < 200:
            p.flags |= PROVISIONAL
            if m.status > 100:
                p.flags |= RINGS
            pend_provisional(core.pending, slot, m.status, now)
        elif not repeated:
            p.attempt_final = <uint16_t> m.status
            if initial:
                core.loads.items[p.member].refusals = 0
            pend_answered(core.pending, slot, m.status, now)
    if b != NULL:
        if m.status < 200:
            bind_touch(core.bindings, bound, now)
        elif m.status >= 300:
            if p != NULL and initial and b.transaction == own.mac:
                bind_failed(core.bindings, bound, now)
        elif m.method == INVITE:
            bind_answered(
                core.bindings, bound, now, s.members[member].slot if member >= 0 else b.member
            )
        elif m.method == BYE:
            bind_ended(core.bindings, bound, now)
        else:
            bind_touch(core.bindings, bound, now)
    out.member = -1
    out.answered_by = member
    out.kind = RESPONSE
    out.step = NO_STEP
    out.initial = False
    out.status = m.status
    return 1


cdef int decide(
    Core* core, const uint8_t* data, int32_t size, From* origin, double now, Outcome* out
) noexcept nogil:
    """1: `out` says what leaves, and it is counted. 0: for the Python router; nothing changed."""
    cdef Snapshot* s = core.snapshot
    cdef Tally* tally = &core.tally
    cdef Request r
    cdef uint16_t slot
    if not 0 < origin.port < 65536 or not _is_unicast(origin.host) or s.key_count == 0:
        return 0
    if not scan(data, size, s.max_headers, &r.m):
        return 0
    if _is_own_endpoint(s, origin.text.octets, origin.text.size, origin.port):
        return 0
    if r.m.is_request:
        if not _request(core, data, &r, origin, now, out):
            return 0
    elif not _response(core, data, &r.m, now, out):
        return 0
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
    return 1
