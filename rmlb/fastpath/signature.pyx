# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""How a transaction is signed; see signature.pxd."""

from libc.stdint cimport uint32_t
from libc.string cimport memcmp

from rmlb.fastpath.pen cimport pen_on, put, put_char, put_hex, put_number
from rmlb.fastpath.scan cimport Span, hex_at, number_at
from rmlb.fastpath.siphash cimport siphash24
from rmlb.fastpath.table cimport TCP, TLS, UDP, key_of

cdef enum:
    SCRATCH = 6144


cdef uint64_t branch_mac(
    const KeySet* key, const uint8_t* data, const Scan* m, const Via* via, bint* fits
) noexcept nogil:
    """The transaction's key, under that secret. `via` is its top Via as received."""
    cdef uint8_t[SCRATCH] scratch
    cdef Pen pen = pen_on(scratch, SCRATCH)
    put(&pen, data + via.branch.start, via.branch.end - via.branch.start)
    put_char(&pen, 10)
    _put_sent_by(&pen, data, via)
    put_char(&pen, 10)
    put(&pen, data + m.call_id.start, m.call_id.end - m.call_id.start)
    put_char(&pen, 10)
    put(&pen, data + m.from_tag.start, m.from_tag.end - m.from_tag.start)
    put_char(&pen, 10)
    put_number(&pen, m.cseq)
    put_char(&pen, 10)
    fits[0] = pen.room > 0
    return siphash24(key.branch, scratch, pen.size) if fits[0] else 0


cdef int put_signed(
    Pen* pen, const Snapshot* s, const uint8_t* data, const Request* r, const From* o,
    const uint8_t* number, int32_t size,
) noexcept nogil:
    """Branch and parameter for our Via, by the secret that signs; 0: not sure.

    `number` is the member's ID in decimal, 0 outward.
    """
    cdef const KeySet* key = &s.keys[0]
    cdef uint8_t[1024] scratch
    cdef Pen proof = pen_on(scratch, 1024)
    cdef Pen via = pen[0]  # nobody else sees it, so it stays in registers
    cdef int32_t from_here = via.size
    cdef bint fits
    cdef uint32_t loop = _loop_hash(key, data, r, number, size, &fits)
    if not fits:
        return 0
    put(&via, b"z9hG4bK", 7)
    put(&via, key.id, 4)
    put_char(&via, 46)
    put(&via, number, size)
    put_char(&via, 46)
    put_hex(&via, r.mac, 16)
    # the proof is over branch, body, and where the answer goes from here
    put(&proof, via.octets + from_here, via.size - from_here)
    put_char(&proof, 10)
    put(&via, b";rmlb=", 6)
    from_here = via.size
    put(&via, s.instance, 8)
    put_char(&via, 46)
    put_char(&via, 117 if o.transport == UDP else 116 if o.transport == TCP else 115)
    put_hex(&via, <uint64_t> o.channel, 0)
    put_char(&via, 46)
    put_hex(&via, loop, 8)
    put(&proof, via.octets + from_here, via.size - from_here)
    put_char(&proof, 10)
    _put_sent_by(&proof, data, &r.via)
    put_char(&proof, 10)
    put(&proof, o.text.octets, o.text.size)
    put_char(&proof, 10)
    if r.via.has_rport:
        put_number(&proof, o.port)
    if proof.room < 0:
        return 0
    put_char(&via, 46)
    put_hex(&via, siphash24(key.via, scratch, proof.size), 16)
    pen[0] = via
    return via.room > 0


cdef int read_own(
    const Snapshot* s, const uint8_t* data, const Via* via, OwnVia* out
) noexcept nogil:
    """Branch and parameter of our Via, of the form that they have; not verified."""
    cdef int32_t at = via.branch.start, end = via.branch.end
    cdef Span digits
    cdef uint64_t number
    if end - at < 7 + 4 + 1 + 1 + 1 + 16 or memcmp(data + at, b"z9hG4bK", 7) != 0:
        return 0
    out.key = key_of(s, data + at + 7)
    if out.key < 0 or data[at + 11] != 46:
        return 0
    digits.start = at + 12
    digits.end = end - 17
    if data[digits.end] != 46 or not number_at(data, digits, &out.member):
        return 0
    if not hex_at(data + end - 16, 16, &out.mac):
        return 0
    at = via.own.start
    end = via.own.end
    if end - at < 8 + 1 + 2 + 1 + 8 + 1 + 16 or not hex_at(data + at, 8, &number):
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
    if not hex_at(data + digits.start, digits.end - digits.start, &number):
        return 0
    out.channel = <int64_t> number
    if data[end - 26] != 46 or data[end - 17] != 46:
        return 0
    if not hex_at(data + end - 25, 8, &number) or not hex_at(data + end - 16, 16, &number):
        return 0
    out.body_end = end - 17
    return 1


cdef bint is_ours(
    const Snapshot* s, const uint8_t* data, const Scan* m, const Via* via, const Via* below,
    const OwnVia* own,
) noexcept nogil:
    """signature.verify_response"""
    cdef const KeySet* key = &s.keys[own.key]
    cdef uint8_t[2048] scratch
    cdef Pen proof = pen_on(scratch, 2048)
    cdef uint64_t mac
    cdef bint fits
    if branch_mac(key, data, m, below, &fits) != own.mac or not fits:
        return False
    put(&proof, data + via.branch.start, via.branch.end - via.branch.start)
    put_char(&proof, 10)
    put(&proof, data + via.own.start, own.body_end - via.own.start)
    put_char(&proof, 10)
    _put_sent_by(&proof, data, below)
    put_char(&proof, 10)
    if below.has_received:
        put(&proof, data + below.received.start, below.received.end - below.received.start)
    put_char(&proof, 10)
    if below.has_rport:
        put(&proof, data + below.rport.start, below.rport.end - below.rport.start)
    if proof.room < 0 or not hex_at(data + via.own.end - 16, 16, &mac):
        return False
    return siphash24(key.via, scratch, proof.size) == mac


cdef inline void _put_sent_by(Pen* pen, const uint8_t* data, const Via* via) noexcept nogil:
    put(pen, data + via.host.start, via.host.end - via.host.start)
    put_char(pen, 58)
    put_number(pen, via.port)


cdef uint32_t _loop_hash(
    const KeySet* key, const uint8_t* data, const Request* r, const uint8_t* number, int32_t size,
    bint* fits,
) noexcept nogil:
    """What a request must look like again for a loop: Request-URI, Route and member (16.3)."""
    cdef uint8_t[SCRATCH] scratch
    cdef Pen pen = pen_on(scratch, SCRATCH)
    cdef int i
    put(&pen, data + r.m.uri.start, r.m.uri.end - r.m.uri.start)
    put_char(&pen, 10)
    for i in range(r.routes.count):
        if i:
            put_char(&pen, 44)
        put(&pen, data + r.routes.uris[i].start, r.routes.uris[i].end - r.routes.uris[i].start)
    put_char(&pen, 10)
    put(&pen, number, size)
    fits[0] = pen.room > 0
    return <uint32_t> siphash24(key.loop, scratch, pen.size) if fits[0] else 0
