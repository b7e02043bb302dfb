# cython: language_level=3
"""Octets handed to the compiled engine in heap blocks of exactly their size.

Under AddressSanitizer one octet read past the end ends the process, which octets inside a Python
object or a receive buffer would hide.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from rmlb.fastpath.core cimport Core
from rmlb.fastpath.framing cimport cut_at
from rmlb.fastpath.scan cimport (
    Scan, Span, Uri, Via, ipv4_at, number_at, parse_route, parse_uri, parse_via, scan, uri_param,
)


cdef uint8_t* _copied(bytes data) except NULL:
    """malloc(0) too gives a block that must not be read."""
    cdef uint8_t* block = <uint8_t*> malloc(len(data))
    if block == NULL:
        raise MemoryError
    memcpy(block, <const char*> data, len(data))
    return block


def decide(Core core not None, bytes data not None, origin, double now):
    """Core.decide"""
    cdef uint8_t* block = _copied(data)
    try:
        return core.decide_at(block, <int> len(data), origin, now)
    finally:
        free(block)


def cut(bytes data not None, int64_t most):
    """framing.cut"""
    cdef uint8_t* block = _copied(data)
    cdef list messages = []
    cdef int64_t at
    try:
        at = cut_at(block, len(data), most, messages)
    finally:
        free(block)
    assert 0 <= at <= len(data) and at == sum(map(len, messages))
    return messages, data[at:]


def read(bytes data not None):
    """Scan it, and read each value that was found. True if all of it is plain."""
    cdef uint8_t* block = _copied(data)
    cdef int32_t size = <int32_t> len(data)
    cdef Scan m
    cdef Via via
    cdef Uri uri
    cdef int32_t at
    cdef int i
    cdef bint plain = False
    try:
        if scan(block, size, 256, &m):
            plain = True
            _inside(m.call_id, size)
            _inside(m.from_tag, size)
            _inside(m.to_tag, size)
            _inside(m.method_at, size)
            assert 0 < m.body <= m.size <= size and m.below_vias < m.size
            for i in range(m.via_count):
                at = m.vias[i].value
                while at and parse_via(block, at, m.vias[i].end, &via):
                    assert m.vias[i].value <= via.start <= via.end <= m.vias[i].end
                    assert not via.next or at < via.next <= m.vias[i].end
                    at = via.next
            for i in range(m.route_count):
                _read_routes(block, m.routes[i].value, m.routes[i].end)
            if m.is_request:
                _inside(m.uri, size)
                _read_uri(block, m.uri.start, m.uri.end)
        return plain
    finally:
        free(block)


def read_piece(bytes data not None):
    """Any octets as a Via value, a Route value, a URI, an address and a number."""
    cdef uint8_t* block = _copied(data)
    cdef int32_t size = <int32_t> len(data)
    cdef Via via
    cdef Span whole
    cdef uint32_t address
    cdef int64_t number
    try:
        parse_via(block, 0, size, &via)
        _read_routes(block, 0, size)
        _read_uri(block, 0, size)
        whole.start = 0
        whole.end = size
        ipv4_at(block, whole, &address)
        number_at(block, whole, &number)
    finally:
        free(block)


cdef _inside(Span span, int32_t size):
    assert 0 <= span.start <= span.end <= size


cdef _read_uri(const uint8_t* block, int32_t at, int32_t end):
    cdef Uri uri
    cdef Span value
    if parse_uri(block, at, end, &uri):
        assert at <= uri.host.start < uri.host.end <= uri.params.start <= uri.params.end == end
        for name in (b"rmlb", b"lr", b"transport", b"gvp.rm.datanodes"):
            if uri_param(block, &uri, name, <int32_t> len(name), &value):
                assert uri.params.start < value.start <= value.end <= end


cdef _read_routes(const uint8_t* block, int32_t at, int32_t end):
    cdef Uri uri
    cdef Span value
    cdef int32_t following
    while parse_route(block, at, end, &value, &uri, &following):
        assert at <= value.start < value.end < end
        if not following:
            return
        assert at < following <= end
        at = following
