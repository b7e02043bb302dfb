# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Who is who in a routing table; see table.pxd."""

from rmlb.fastpath.pen cimport Pen, pen_on, put_char, put_number


def room():
    """For how much a Snapshot has room: octets of a name, secrets, listeners."""
    return HOST_ROOM, MOST_KEYS, MOST_LISTENERS


cdef void text_of_ipv4(uint32_t host, Text* text) noexcept nogil:
    cdef Pen pen = pen_on(text.octets, HOST_ROOM)
    cdef int shift
    for shift in range(24, -8, -8):
        put_number(&pen, host >> shift & 255)
        if shift:
            put_char(&pen, 46)
    text.size = pen.size


cdef int member_at(const Snapshot* s, const uint8_t* host, int32_t size, int port) noexcept nogil:
    """The member that listens there, -1: none."""
    cdef uint32_t place = endpoint_place(host, size, port)
    cdef const Endpoint* e
    while True:
        e = &s.endpoints[place & s.endpoint_mask]
        if not e.used:
            return -1
        if e.port == port and is_text(&e.host, host, size):
            return e.member
        place += 1


cdef int member_named(const Snapshot* s, const uint8_t* data, const Uri* uri) noexcept nogil:
    """The member that a URI names, -1: none."""
    return member_at(
        s, data + uri.host.start, uri.host.end - uri.host.start, uri.port if uri.port else 5060
    )


cdef bint names_us(const Snapshot* s, const uint8_t* data, const Uri* uri) noexcept nogil:
    """The VIP on a port of ours, or an alias."""
    cdef int i, k
    cdef int32_t size = uri.host.end - uri.host.start
    cdef const OwnName* name
    for i in range(s.name_count):
        name = &s.names[i]
        if not is_text(&name.host, data + uri.host.start, size):
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


cdef bint is_vip(const Snapshot* s, const uint8_t* host, int32_t size) noexcept nogil:
    cdef int i
    for i in range(s.name_count):
        if s.names[i].is_vip and is_text(&s.names[i].host, host, size):
            return True
    return False


cdef bint is_member_host(const Snapshot* s, const uint8_t* host, int32_t size) noexcept nogil:
    cdef int i
    for i in range(s.member_host_count):
        if is_text(&s.member_hosts[i], host, size):
            return True
    return False


cdef bint is_own_endpoint(
    const Snapshot* s, const uint8_t* host, int32_t size, int port
) noexcept nogil:
    """One of our own listening addresses: nothing is ever sent there."""
    cdef int i
    for i in range(s.own_count):
        if s.own[i].port == port and is_text(&s.own[i].host, host, size):
            return True
    return False
