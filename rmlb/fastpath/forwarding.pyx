# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The octets that leave: edits are cuts into what was received; see forwarding.pxd."""

from libc.stdint cimport int64_t, uint64_t

from rmlb.fastpath.pen cimport pen_on, put, put_char, put_number
from rmlb.fastpath.table cimport UDP

cdef enum:
    MOST_EDITS = 24


cdef struct Edit:
    int32_t start
    int32_t end
    const uint8_t* text
    int32_t size


cdef struct Edits:
    Edit items[MOST_EDITS]
    int count


cdef int render(
    const uint8_t* data, Request* r, const From* o, const Pen* own_via, const Pen* recorded,
    Outcome* out,
) noexcept nogil:
    """The request as it leaves, our Via line on top and our Record-Route line if there is one.

    As forwarding.Leaving; 0: not sure.
    """
    cdef uint8_t[64] received
    cdef uint8_t[16] rport
    cdef uint8_t[8] hops
    cdef uint8_t[640] added
    cdef Pen pen, more = pen_on(added, 640)
    cdef Edits edits
    cdef int32_t top = r.m.vias[0].start
    cdef int64_t left
    edits.count = 0
    _edit(&edits, top, top, own_via.octets, own_via.size)
    pen = pen_on(received, 64)
    put(&pen, b";received=", 10)
    put(&pen, o.text.octets, o.text.size)
    if r.via.has_received:
        _edit(&edits, r.via.received_at.start, r.via.received_at.end, received, pen.size)
    else:
        _edit(&edits, r.via.end, r.via.end, received, pen.size)
    if r.via.has_rport:
        pen = pen_on(rport, 16)
        put(&pen, b";rport=", 7)
        put_number(&pen, o.port)
        _edit(&edits, r.via.rport_at.start, r.via.rport_at.end, rport, pen.size)
    _cut_routes(r, &edits)
    if recorded.size:
        if r.m.record_route >= 0:
            _edit(&edits, r.m.record_route, r.m.record_route, recorded.octets, recorded.size)
        else:
            put(&more, recorded.octets, recorded.size)
    if r.m.max_forwards < 0:
        put(&more, b"Max-Forwards: 70\r\n", 18)
    else:
        left = r.m.max_forwards - 1
        if left > 255:
            left = 255
        pen = pen_on(hops, 8)
        put_char(&pen, 32)
        put_number(&pen, <uint64_t> left)
        _edit(&edits, r.m.hops.value, r.m.hops.end, hops, pen.size)
    if out.transport != UDP and r.m.content_length < 0:
        put(&more, b"Content-Length: ", 16)
        put_number(&more, r.m.size - r.m.body)
        put(&more, b"\r\n", 2)
    if more.size:
        _edit(&edits, r.m.below_vias, r.m.below_vias, added, more.size)
    return _apply(&edits, data, r.m.size, out)


cdef int without_via(
    const uint8_t* data, const Scan* m, const Via* via, Outcome* out
) noexcept nogil:
    """A response without its topmost Via value (16.7 step 3); 0: not sure."""
    cdef Edits edits
    cdef int32_t at = via.next
    edits.count = 0
    if at:
        while data[at] == 32 or data[at] == 9:
            at += 1
        _edit(&edits, m.vias[0].value, at, b" ", 1)
    else:
        _edit(&edits, m.vias[0].start, m.vias[0].end + 2, b"", 0)
    return _apply(&edits, data, m.size, out)


cdef void _cut_routes(const Request* r, Edits* edits) noexcept nogil:
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
    """0 if they do not fit."""
    cdef Pen pen = pen_on(out.octets, out.room)
    cdef int i
    cdef int32_t at = 0
    if edits.count == MOST_EDITS:
        return 0
    for i in range(edits.count):
        put(&pen, data + at, edits.items[i].start - at)
        put(&pen, edits.items[i].text, edits.items[i].size)
        at = edits.items[i].end
    put(&pen, data + at, size - at)
    out.size = pen.size
    return pen.room > 0
