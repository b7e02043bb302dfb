"""A SIP message scanned into offsets, without Python: the twin of rmlb.sip for what is plain.

Everything takes (pointer, length) and reads nothing outside. 1 means: read, and rmlb.sip reads the
same; 0 means: not sure, let rmlb.sip decide.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

cdef enum:
    MAX_VIAS = 24
    MAX_ROUTES = 12

cdef enum Method:
    OTHER = 0
    INVITE = 1
    ACK = 2
    BYE = 3
    CANCEL = 4
    OPTIONS = 5
    SUBSCRIBE = 6
    REFER = 7

cdef enum Flag:
    HAS_PROXY_REQUIRE = 1
    HAS_SESSION_HEADER = 2
    HAS_OWN_VIA_PARAM = 4  # "rmlb" in some Via line, in any case

cdef struct Span:
    int32_t start
    int32_t end

cdef struct Line:
    int32_t start
    int32_t value
    int32_t end

cdef struct Scan:
    bint is_request
    int method  # of the start line; of a response that of its CSeq
    Span method_at
    Span uri
    int status
    int32_t body
    int32_t size  # where the body ends
    int64_t content_length  # -1: none
    Span call_id
    Span from_tag
    Span to_tag
    uint32_t cseq
    int64_t max_forwards  # -1: none
    Line hops
    Line vias[MAX_VIAS]
    int via_count
    int32_t below_vias
    Line routes[MAX_ROUTES]
    int route_count
    int32_t record_route  # start of the first such line, -1: none
    int flags

cdef struct Uri:
    Span host
    int port  # 0: none
    Span params

cdef struct Via:
    int32_t start
    int32_t end  # without trailing white space
    int32_t next  # where the next value of the line begins, 0: none
    Span host
    int port  # 0: none
    Span branch
    Span received
    Span received_at
    Span rport
    Span rport_at
    bint has_received
    bint has_rport
    bint has_own
    Span own

cdef int scan(const uint8_t* data, int32_t size, int max_headers, Scan* out) noexcept nogil
cdef int parse_via(const uint8_t* data, int32_t at, int32_t end, Via* out) noexcept nogil
cdef int parse_uri(const uint8_t* data, int32_t at, int32_t end, Uri* out) noexcept nogil
cdef int parse_route(
    const uint8_t* data, int32_t at, int32_t end, Span* uri_at, Uri* out, int32_t* next
) noexcept nogil
cdef int uri_param(
    const uint8_t* data, const Uri* uri, const char* name, int32_t length, Span* value
) noexcept nogil
cdef inline int hex_at(const uint8_t* at, int digits, uint64_t* out) noexcept nogil:
    """Lower-case hexadecimal of that many digits; 1 if it is."""
    cdef uint64_t value = 0
    cdef uint8_t c
    cdef int i
    for i in range(digits):
        c = at[i]
        if 48 <= c <= 57:
            c -= 48
        elif 97 <= c <= 102:
            c -= 87
        else:
            return 0
        value = value << 4 | c
    out[0] = value
    return 1


cdef int32_t number_at(const uint8_t* data, Span at, int64_t* out) noexcept nogil
cdef int ipv4_at(const uint8_t* data, Span at, uint32_t* out) noexcept nogil
