# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The mark, made and read; see mark.pxd."""

from libc.stdint cimport uint64_t

from rmlb.fastpath.pen cimport pen_on, put, put_char, put_hex, put_number
from rmlb.fastpath.scan cimport hex_at, number_at
from rmlb.fastpath.siphash cimport siphash24
from rmlb.fastpath.table cimport key_of


cdef int put_mark(
    Pen* pen, const KeySet* key, const uint8_t* data, const Scan* m, int32_t member, uint32_t loss
) noexcept nogil:
    """The mark of a dialog that this request starts; 0: not sure."""
    cdef Pen mark = pen[0]
    cdef int32_t body = pen.size
    cdef uint64_t mac
    cdef bint fits
    put(&mark, key.id, 4)
    put_char(&mark, 46)
    put_number(&mark, member)
    put_char(&mark, 46)
    put_number(&mark, loss)
    put_char(&mark, 46)
    put_hex(&mark, _initiator(key, data, m.from_tag, &fits), 8)
    if not fits or mark.room < 0:
        return 0
    mac = _mac(key, mark.octets + body, mark.size - body, data, m.call_id, &fits)
    put_char(&mark, 46)
    put_hex(&mark, mac, 16)
    pen[0] = mark
    return fits


cdef int read_mark(
    const Snapshot* s, const uint8_t* data, Span at, const Scan* m, Mark* out
) noexcept nogil:
    """1: verified; 0: not ours; -1: not sure."""
    cdef int32_t i = at.start, start
    cdef Span digits
    cdef uint64_t initiator, mac, found
    cdef int key
    cdef bint fits
    if at.end - at.start < 4 or not hex_at(data + i, 4, &found):
        return 0
    key = key_of(s, data + i)
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
    if not hex_at(data + i + 1, 8, &initiator) or not hex_at(data + i + 10, 16, &mac):
        return 0
    if key < 0:
        return 0
    found = _mac(&s.keys[key], data + at.start, i + 9 - at.start, data, m.call_id, &fits)
    if not fits:
        return -1
    if found != mac:
        return 0
    out.outward = _initiator(&s.keys[key], data, m.from_tag, &fits) != initiator
    return 1 if fits else -1


cdef uint32_t _initiator(
    const KeySet* key, const uint8_t* data, Span tag, bint* fits
) noexcept nogil:
    """Short hash of a From tag."""
    cdef uint8_t[1024] scratch
    cdef Pen pen = pen_on(scratch, 1024)
    put(&pen, b"initiator\n", 10)
    put(&pen, data + tag.start, tag.end - tag.start)
    fits[0] = pen.room > 0
    return <uint32_t> siphash24(key.mark, scratch, pen.size) if fits[0] else 0


cdef uint64_t _mac(
    const KeySet* key, const uint8_t* body, int32_t size, const uint8_t* data, Span call_id,
    bint* fits,
) noexcept nogil:
    cdef uint8_t[4096] scratch
    cdef Pen pen = pen_on(scratch, 4096)
    put(&pen, body, size)
    put_char(&pen, 10)
    put(&pen, data + call_id.start, call_id.end - call_id.start)
    fits[0] = pen.room > 0
    return siphash24(key.mark, scratch, pen.size) if fits[0] else 0
