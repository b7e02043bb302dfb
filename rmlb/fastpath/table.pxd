"""A routing table as structs, and who is who in it: the twin of rmlb.routing.table.

Members are named by their index in it. snapshot.pyx makes one.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp

from rmlb.fastpath.pen cimport Pen, pen_on, put_char, put_number
from rmlb.fastpath.scan cimport Uri
from rmlb.fastpath.siphash cimport SipKey

cdef enum:
    HOST_ROOM = 64  # octets of a name or address
    MOST_KEYS = 8
    MOST_LISTENERS = 16
    PREFIX_ROOM = 160  # a header field's name, our host with its port, and parameters
    TRANSPORTS = 3

cdef enum:  # transports
    UDP = 0
    TCP = 1
    TLS = 2


cdef struct Text:
    uint8_t octets[HOST_ROOM]
    int size


cdef struct KeySet:
    uint8_t id[4]
    SipKey branch
    SipKey via
    SipKey loop
    SipKey mark


cdef struct Way:
    # How a member is reached by what came over one transport and listener.
    bint is_open
    uint8_t transport
    uint8_t listener
    uint16_t port
    uint32_t host


cdef struct Member:
    int32_t id
    uint16_t slot
    bint lost
    bint usable  # may be named by mark or binding: neither lost nor passive
    bint takes_calls
    bint in_service
    double weight
    uint64_t seed
    Text number  # its ID in decimal
    Way ways[MOST_LISTENERS][TRANSPORTS]


cdef struct Endpoint:
    Text host
    int port
    int member  # index
    bint used


cdef struct OwnName:
    Text host
    bint is_vip
    bint any_port  # an alias without port
    int port  # an alias with one; 0: none


cdef struct OwnEndpoint:
    Text host
    int port


cdef struct Survivor:
    int32_t member
    uint64_t seed


cdef struct Loss:
    uint32_t number
    int first  # index of its survivors
    int count


cdef struct Losses:
    # of one member, oldest first
    int32_t member
    int first
    int count


cdef struct Snapshot:
    KeySet keys[MOST_KEYS]  # the first one signs
    int key_count  # 0: nothing is plain under this table
    SipKey affinity
    uint8_t instance[8]
    Member* members
    int member_count
    Endpoint* endpoints
    uint32_t endpoint_mask
    OwnName* names
    int name_count
    OwnEndpoint* own
    int own_count
    int* own_ports
    int own_port_count
    Text* member_hosts
    int member_host_count
    Losses* losses
    int losses_count
    Loss* loss_entries
    Survivor* survivors
    uint32_t loss_number
    bint hotstandby
    bint by_hash
    bint has_header_keys
    bint record_route
    int max_headers
    int datagram_limit
    bint retries[700]  # by status: upon it another member is asked
    int listener_count
    int listener_by_prefer[TRANSPORTS][MOST_LISTENERS + 1]  # IPv4; -1: none
    uint8_t listener_of_stream[TRANSPORTS]
    bint has_stream_listener[TRANSPORTS]
    uint8_t via_prefix[TRANSPORTS][MOST_LISTENERS][PREFIX_ROOM]
    int via_prefix_size[TRANSPORTS][MOST_LISTENERS]
    uint8_t recorded[MOST_LISTENERS][PREFIX_ROOM]
    int recorded_size[MOST_LISTENERS]


cdef inline bint is_text(const Text* text, const uint8_t* octets, int32_t size) noexcept nogil:
    return text.size == size and memcmp(text.octets, octets, size) == 0


cdef inline bint is_unicast(uint32_t host) noexcept nogil:
    return host != 0 and host != <uint32_t> 0xFFFFFFFF and host >> 28 != 14


cdef inline uint32_t endpoint_place(const uint8_t* host, int32_t size, int port) noexcept nogil:
    """Where to look first in the table of endpoints: FNV-1a."""
    cdef uint32_t place = 2166136261
    cdef int32_t i
    for i in range(size):
        place = (place ^ host[i]) * 16777619
    place = (place ^ <uint32_t> port) * 16777619
    return place ^ place >> 15


cdef inline int key_of(const Snapshot* s, const uint8_t* id) noexcept nogil:
    """The secret of that ID, -1: none."""
    cdef int i
    for i in range(s.key_count):
        if memcmp(s.keys[i].id, id, 4) == 0:
            return i
    return -1


cdef inline int member_of_id(const Snapshot* s, int64_t number) noexcept nogil:
    cdef int i
    for i in range(s.member_count):
        if s.members[i].id == number:
            return i
    return -1


cdef inline int member_of_slot(const Snapshot* s, uint16_t slot) noexcept nogil:
    cdef int i
    for i in range(s.member_count):
        if s.members[i].slot == slot:
            return i
    return -1


cdef inline void text_of_ipv4(uint32_t host, Text* text) noexcept nogil:
    cdef Pen pen = pen_on(text.octets, HOST_ROOM)
    cdef int shift
    for shift in range(24, -8, -8):
        put_number(&pen, host >> shift & 255)
        if shift:
            put_char(&pen, 46)
    text.size = pen.size


cdef inline int member_at(
    const Snapshot* s, const uint8_t* host, int32_t size, int port
) noexcept nogil:
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


cdef inline int member_named(const Snapshot* s, const uint8_t* data, const Uri* uri) noexcept nogil:
    """The member that a URI names, -1: none."""
    return member_at(
        s, data + uri.host.start, uri.host.end - uri.host.start, uri.port if uri.port else 5060
    )


cdef inline bint names_us(const Snapshot* s, const uint8_t* data, const Uri* uri) noexcept nogil:
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


cdef inline bint is_vip(const Snapshot* s, const uint8_t* host, int32_t size) noexcept nogil:
    cdef int i
    for i in range(s.name_count):
        if s.names[i].is_vip and is_text(&s.names[i].host, host, size):
            return True
    return False


cdef inline bint is_member_host(
    const Snapshot* s, const uint8_t* host, int32_t size
) noexcept nogil:
    cdef int i
    for i in range(s.member_host_count):
        if is_text(&s.member_hosts[i], host, size):
            return True
    return False


cdef inline bint is_own_endpoint(
    const Snapshot* s, const uint8_t* host, int32_t size, int port
) noexcept nogil:
    """One of our own listening addresses: nothing is ever sent there."""
    cdef int i
    for i in range(s.own_count):
        if s.own[i].port == port and is_text(&s.own[i].host, host, size):
            return True
    return False
