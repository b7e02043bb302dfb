"""What becomes of a plain message, without Python: the twin of rmlb.routing. See decide.pyx."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from rmlb.fastpath.siphash cimport SipKey
from rmlb.fastpath.tables cimport BindTable, LoadTable, PendTable

cdef enum:
    HOST_ROOM = 64
    MOST_KEYS = 8
    MOST_LISTENERS = 16
    PREFIX_ROOM = 160
    TRANSPORTS = 3

cdef enum:
    UDP = 0
    TCP = 1
    TLS = 2

cdef enum:
    NO_STEP = 0
    BY_MARK = 1
    BY_BINDING = 2
    BY_ALGORITHM = 3
    BY_TRANSACTION = 4

cdef enum:
    TO_MEMBER = 0
    RESPONSE = 1
    OUTWARD = 2


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
    KeySet keys[MOST_KEYS]
    int key_count
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


cdef struct Tally:
    # What the fast path counted; see routing.counters.
    uint64_t received[TRANSPORTS]
    uint64_t forwarded
    uint64_t kinds[3]
    uint64_t steps[5]
    uint64_t* requests  # by member slot
    uint64_t* initial
    uint64_t* responses  # by member slot x 7


cdef struct Core:
    Snapshot* snapshot
    BindTable* bindings
    PendTable* pending
    LoadTable* loads
    Tally tally


cdef struct From:
    # Where a message came from; IPv4 only.
    uint32_t host
    int port
    int listener
    uint8_t transport
    int64_t channel
    Text text  # the host


cdef struct Outcome:
    uint8_t* octets
    int32_t room
    int32_t size
    uint8_t transport
    uint8_t listener
    uint16_t port
    uint32_t host
    int64_t channel
    int member  # index, -1: none
    int answered_by  # member index
    int kind
    int step
    bint initial
    int status


cdef void text_of_ipv4(uint32_t host, Text* text) noexcept nogil
cdef int decide(
    Core* core, const uint8_t* data, int32_t size, From* origin, double now, Outcome* out
) noexcept nogil
