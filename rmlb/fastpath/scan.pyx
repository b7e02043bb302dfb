# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Scanning of plain messages; see scan.pxd. What it does not take in stride it is not sure of.

Plain means: as nearly all elements write. One line per header field, no white space around the
colon's name, parameters without white space or quotes, sip URIs with names in lower case or IPv4.
"""

from libc.string cimport memchr, memcmp

# Classes of octets, one bit each.
cdef enum:
    TOKEN = 1  # RFC 3261 25.1
    PARAM = 2  # may stand in a parameter value: anything but ;,"<> and white space
    HOST = 4  # of a host name as it is compared: no upper case
    USER = 8  # may stand before the @ of a URI
    DIGIT = 16
    URI_PARAM = 32  # may stand in a URI parameter

cdef uint8_t[256] CLASS


cdef void _fill_classes() noexcept:
    cdef int c
    for c in range(256):
        CLASS[c] = 0
        if c > 32:  # octets up to 32 are white space or control characters: never plain
            if c not in b';,"<>':
                CLASS[c] |= PARAM
            if c not in b'@<>"':
                CLASS[c] |= USER
            if c not in b';?<>"':
                CLASS[c] |= URI_PARAM
        if chr(c) in "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.!%*_+`'~":
            CLASS[c] |= TOKEN
        if chr(c) in "abcdefghijklmnopqrstuvwxyz0123456789_-.":
            CLASS[c] |= HOST
        if 48 <= c <= 57:
            CLASS[c] |= DIGIT


_fill_classes()


cdef inline bint _is(
    const uint8_t* at, int32_t size, const char* lower, int32_t length
) noexcept nogil:
    """The octets are `lower` in any case; `lower` has letters, digits and hyphens."""
    cdef int32_t i
    cdef uint8_t c
    if size != length:
        return False
    for i in range(length):
        c = at[i]
        if 65 <= c <= 90:
            c |= 32
        if c != <uint8_t> lower[i]:
            return False
    return True


cdef inline int32_t _skip(const uint8_t* data, int32_t at, int32_t end) noexcept nogil:
    while at < end and (data[at] == 32 or data[at] == 9):
        at += 1
    return at


cdef int32_t number_at(const uint8_t* data, Span at, int64_t* out) noexcept nogil:
    """A number of one to nine digits and nothing else; 1 if it is."""
    cdef int32_t i
    cdef int64_t value = 0
    if not 0 < at.end - at.start < 10:
        return 0
    for i in range(at.start, at.end):
        if not CLASS[data[i]] & DIGIT:
            return 0
        value = value * 10 + data[i] - 48
    out[0] = value
    return 1


cdef int ipv4_at(const uint8_t* data, Span at, uint32_t* out) noexcept nogil:
    """A dotted quad as ipaddress takes it (no leading zeros), in host order; 1 if it is."""
    cdef int32_t i = at.start
    cdef uint32_t address = 0, part
    cdef int parts, digits
    for parts in range(4):
        if parts:
            if i >= at.end or data[i] != 46:
                return 0
            i += 1
        part = 0
        digits = 0
        while i < at.end and CLASS[data[i]] & DIGIT:
            if digits == 3 or (digits and part == 0):
                return 0
            part = part * 10 + data[i] - 48
            digits += 1
            i += 1
        if digits == 0 or part > 255:
            return 0
        address = address << 8 | part
    if i != at.end:
        return 0
    out[0] = address
    return 1


cdef inline int32_t _host_port(
    const uint8_t* data, int32_t at, int32_t end, Span* host, int* port
) noexcept nogil:
    """`host[:port]`; where it ends, 0 if it is not plain."""
    cdef int64_t number
    cdef Span digits
    host.start = at
    while at < end and CLASS[data[at]] & HOST:
        at += 1
    host.end = at
    if not 0 < at - host.start <= 253 or data[at - 1] == 46:
        return 0
    port[0] = 0
    if at < end and data[at] == 58:
        at += 1
        digits.start = at
        while at < end and CLASS[data[at]] & DIGIT:
            at += 1
        digits.end = at
        if digits.end - digits.start > 5 or not number_at(data, digits, &number):
            return 0
        if not 0 < number < 65536:
            return 0
        port[0] = <int> number
    return at


cdef inline int32_t _param(
    const uint8_t* data, int32_t at, int32_t end, Span* name, Span* value
) noexcept nogil:
    """`name[=value]`; where it ends, 0 if it is not plain."""
    name.start = at
    while at < end and CLASS[data[at]] & TOKEN:
        at += 1
    name.end = at
    if at == name.start:
        return 0
    if at < end and data[at] == 61:
        at += 1
        value.start = at
        while at < end and CLASS[data[at]] & PARAM:
            at += 1
    else:
        value.start = at
    value.end = at
    return at


cdef int parse_uri(const uint8_t* data, int32_t at, int32_t end, Uri* out) noexcept nogil:
    """`sip:[user@]host[:port][;params]`."""
    cdef int32_t i
    cdef const uint8_t* found
    if end - at < 5 or memcmp(data + at, b"sip:", 4) != 0:
        return 0
    at += 4
    found = <const uint8_t*> memchr(data + at, 64, end - at)
    if found != NULL:
        i = <int32_t> (found - data)
        if i == at:
            return 0
        while at < i:
            if not CLASS[data[at]] & USER:
                return 0
            at += 1
        at = i + 1
    at = _host_port(data, at, end, &out.host, &out.port)
    if not at:
        return 0
    out.params.start = at
    out.params.end = end
    while at < end:
        if data[at] != 59:
            return 0
        at += 1
        i = at
        while at < end and CLASS[data[at]] & URI_PARAM:
            at += 1
        if at == i:
            return 0
    return 1


cdef int uri_param(
    const uint8_t* data, const Uri* uri, const char* name, int32_t length, Span* value
) noexcept nogil:
    """The value of the first parameter of that (lower-case) name; 0 if there is none."""
    cdef int32_t at = uri.params.start, end = uri.params.end, start, equals
    while at < end:
        start = at + 1
        at = start
        equals = -1
        while at < end and data[at] != 59:
            if equals < 0 and data[at] == 61:
                equals = at
            at += 1
        if equals < 0:
            if _is(data + start, at - start, name, length):
                value.start = value.end = at
                return 1
        elif _is(data + start, equals - start, name, length):
            value.start = equals + 1
            value.end = at
            return 1
    return 0


cdef int parse_route(
    const uint8_t* data, int32_t at, int32_t end, Span* uri_at, Uri* out, int32_t* next
) noexcept nogil:
    """One Route value `<uri>`; `next` is where the following one begins, 0 after the last."""
    cdef const uint8_t* close
    at = _skip(data, at, end)
    if at >= end or data[at] != 60:
        return 0
    at += 1
    close = <const uint8_t*> memchr(data + at, 62, end - at)
    if close == NULL:
        return 0
    uri_at.start = at
    uri_at.end = <int32_t> (close - data)
    if not parse_uri(data, at, uri_at.end, out):
        return 0
    at = _skip(data, uri_at.end + 1, end)
    if at == end:
        next[0] = 0
        return 1
    if data[at] != 44 or at + 1 >= end:
        return 0
    next[0] = at + 1
    return 1


cdef int parse_via(const uint8_t* data, int32_t at, int32_t end, Via* out) noexcept nogil:
    """One Via value from `at` on: `SIP/2.0/UDP host[:port];params`."""
    cdef int32_t first
    cdef Span name, value
    out.start = at
    at = _skip(data, at, end)
    if end - at < 12 or memcmp(data + at, b"SIP/2.0/", 8) != 0 or data[at + 11] != 32:
        return 0
    if memcmp(data + at + 8, b"UDP", 3) != 0 and memcmp(data + at + 8, b"TCP", 3) != 0:
        if memcmp(data + at + 8, b"TLS", 3) != 0:
            return 0
    at = _skip(data, at + 11, end)
    at = _host_port(data, at, end, &out.host, &out.port)
    if not at:
        return 0
    out.branch.start = out.branch.end = 0
    out.has_received = out.has_rport = out.has_own = False
    while at < end and data[at] == 59:
        first = at
        at += 1
        at = _param(data, at, end, &name, &value)
        if not at:
            return 0
        if _is(data + name.start, name.end - name.start, b"branch", 6):
            out.branch = value
        elif _is(data + name.start, name.end - name.start, b"received", 8):
            out.has_received = True
            out.received = value
            out.received_at.start = first
            out.received_at.end = at
        elif _is(data + name.start, name.end - name.start, b"rport", 5):
            out.has_rport = True
            out.rport = value
            out.rport_at.start = first
            out.rport_at.end = at
        elif _is(data + name.start, name.end - name.start, b"rmlb", 4):
            out.has_own = True
            out.own = value
    out.end = at
    at = _skip(data, at, end)
    if at == end:
        out.next = 0
        return 1
    if data[at] != 44:
        return 0
    out.next = at + 1
    return 1


cdef int _tag(const uint8_t* data, int32_t at, int32_t end, Span* tag) noexcept nogil:
    """The tag of a From or To value; an empty span if there is none."""
    cdef int32_t i
    cdef Span name, value
    cdef const uint8_t* close
    tag.start = tag.end = 0
    at = _skip(data, at, end)
    i = at
    while i < end and data[i] != 60:
        if data[i] == 34:
            i += 1
            while i < end and data[i] != 34:
                i += 2 if data[i] == 92 else 1
            if i >= end:
                return 0
        elif data[i] == 62 or data[i] == 44 or data[i] == 59:
            break
        i += 1
    if i < end and data[i] == 60:
        close = <const uint8_t*> memchr(data + i + 1, 62, end - i - 1)
        if close == NULL or close == data + i + 1:
            return 0
        if memchr(data + i + 1, 60, close - (data + i + 1)) != NULL:
            return 0
        at = <int32_t> (close - data) + 1
    else:
        i = at
        while at < end and CLASS[data[at]] & PARAM:
            at += 1
        if at == i:
            return 0
    at = _skip(data, at, end)
    while at < end and data[at] == 59:
        at += 1
        at = _param(data, at, end, &name, &value)
        if not at:
            return 0
        if _is(data + name.start, name.end - name.start, b"tag", 3):
            if tag.end or value.end == value.start:
                return 0
            tag[0] = value
        at = _skip(data, at, end)
    return at == end


cdef inline int _plain_number(const uint8_t* data, Line* line, int64_t* out) noexcept nogil:
    cdef Span at
    at.start = _skip(data, line.value, line.end)
    at.end = line.end
    while at.end > at.start and (data[at.end - 1] == 32 or data[at.end - 1] == 9):
        at.end -= 1
    return number_at(data, at, out)


cdef inline int _method(const uint8_t* at, int32_t size) noexcept nogil:
    if size == 6 and memcmp(at, b"INVITE", 6) == 0:
        return INVITE
    if size == 3 and memcmp(at, b"ACK", 3) == 0:
        return ACK
    if size == 3 and memcmp(at, b"BYE", 3) == 0:
        return BYE
    if size == 6 and memcmp(at, b"CANCEL", 6) == 0:
        return CANCEL
    if size == 7 and memcmp(at, b"OPTIONS", 7) == 0:
        return OPTIONS
    if size == 9 and memcmp(at, b"SUBSCRIBE", 9) == 0:
        return SUBSCRIBE
    if size == 5 and memcmp(at, b"REFER", 5) == 0:
        return REFER
    return OTHER


cdef bint _mentions_us(const uint8_t* data, int32_t at, int32_t end) noexcept nogil:
    """"rmlb" stands there, in any case."""
    cdef const uint8_t* found
    cdef int32_t start = at, i
    cdef int turn
    for turn in range(2):
        at = start + 1
        while at + 2 < end:
            found = <const uint8_t*> memchr(data + at, 77 if turn else 109, end - at - 2)
            if found == NULL:
                break
            i = <int32_t> (found - data)
            if (data[i - 1] | 32) == 114 and (data[i + 1] | 32) == 108 and (data[i + 2] | 32) == 98:
                return True
            at = i + 1
    return False


cdef inline int32_t _name_end(const uint8_t* data, int32_t at, int32_t end) noexcept nogil:
    """Where the token at `at` ends. Names that nearly all messages have are known at a glance."""
    cdef const uint8_t* p = data + at
    if end - at > 14:
        if p[3] == 58:
            if memcmp(p, b"Via", 3) == 0:
                return at + 3
        elif p[4] == 58:
            if memcmp(p, b"From", 4) == 0 or memcmp(p, b"CSeq", 4) == 0:
                return at + 4
        elif p[7] == 58:
            if memcmp(p, b"Call-ID", 7) == 0 or memcmp(p, b"Contact", 7) == 0:
                return at + 7
        elif p[12] == 58:
            if memcmp(p, b"Max-Forwards", 12) == 0 or memcmp(p, b"Content-Type", 12) == 0:
                return at + 12
            if memcmp(p, b"Record-Route", 12) == 0:
                return at + 12
        elif p[14] == 58 and memcmp(p, b"Content-Length", 14) == 0:
            return at + 14
    while at < end and CLASS[data[at]] & TOKEN:
        at += 1
    return at


cdef int _start_line(const uint8_t* data, int32_t end, Scan* out) noexcept nogil:
    cdef int32_t at = 0
    cdef const uint8_t* space
    if end >= 12 and memcmp(data, b"SIP/2.0 ", 8) == 0:
        out.is_request = False
        if not (CLASS[data[8]] & CLASS[data[9]] & CLASS[data[10]] & DIGIT):
            return 0
        if data[11] != 32:
            return 0
        out.status = (data[8] - 48) * 100 + (data[9] - 48) * 10 + data[10] - 48
        return 100 <= out.status <= 699
    out.is_request = True
    out.status = 0
    while at < end and CLASS[data[at]] & TOKEN:
        at += 1
    if at == 0 or at >= end or data[at] != 32:
        return 0
    out.method_at.start = 0
    out.method_at.end = at
    out.method = _method(data, at)
    out.uri.start = at + 1
    space = <const uint8_t*> memchr(data + at + 1, 32, end - at - 1)
    if space == NULL:
        return 0
    out.uri.end = <int32_t> (space - data)
    if out.uri.end == out.uri.start or end - out.uri.end != 8:
        return 0
    return memcmp(space + 1, b"SIP/2.0", 7) == 0


cdef inline int _cseq(
    const uint8_t* data, int32_t at, int32_t end, uint32_t* number, Span* method
) noexcept nogil:
    """`number method`."""
    cdef int64_t value
    cdef Span digits
    digits.start = _skip(data, at, end)
    digits.end = digits.start
    while digits.end < end and CLASS[data[digits.end]] & DIGIT:
        digits.end += 1
    if not number_at(data, digits, &value):
        return 0
    number[0] = <uint32_t> value
    method.start = _skip(data, digits.end, end)
    if method.start == digits.end:
        return 0
    method.end = method.start
    while method.end < end and CLASS[data[method.end]] & TOKEN:
        method.end += 1
    return method.end > method.start and _skip(data, method.end, end) == end


cdef int scan(const uint8_t* data, int32_t size, int max_headers, Scan* out) noexcept nogil:
    """Scan one whole message; 1 if it is plain all through."""
    cdef int32_t at = 0, end, name, colon
    cdef const uint8_t* found
    cdef int headers = 0, seen = 0, length
    cdef int64_t number
    cdef Line line
    cdef uint8_t first
    cdef bint in_vias = False
    cdef Span method
    if size < 12 or CLASS[data[0]] & TOKEN == 0:
        return 0
    found = <const uint8_t*> memchr(data, 13, size)
    if found == NULL or found + 1 >= data + size or found[1] != 10:
        return 0
    end = <int32_t> (found - data)
    if memchr(data, 10, end) != NULL or not _start_line(data, end, out):
        return 0
    out.content_length = out.max_forwards = -1
    out.via_count = out.route_count = 0
    out.record_route = out.below_vias = -1
    out.flags = 0
    method.start = method.end = 0
    out.call_id.start = out.call_id.end = 0
    at = end + 2
    while True:
        if at + 1 >= size:
            return 0
        if data[at] == 13:
            if data[at + 1] != 10:
                return 0
            break
        found = <const uint8_t*> memchr(data + at, 10, size - at)
        if found == NULL:
            return 0
        end = <int32_t> (found - data) - 1
        if end < at or data[end] != 13:
            return 0
        name = at
        colon = _name_end(data, at, end)
        if colon == name or colon >= end or data[colon] != 58:
            return 0
        headers += 1
        if headers > max_headers:
            return 0
        line.start = name
        line.value = colon + 1
        line.end = end
        length = colon - name
        first = data[name] | 32
        at = end + 2
        if at < size and (data[at] == 32 or data[at] == 9):
            return 0  # folded
        if in_vias and out.below_vias < 0 and not (
            (length == 1 and first == 118) or _is(data + name, length, b"via", 3)
        ):
            out.below_vias = name
        if first == 118:  # v, via
            if length == 1 or _is(data + name, length, b"via", 3):
                if out.via_count == MAX_VIAS:
                    return 0
                out.vias[out.via_count] = line
                out.via_count += 1
                in_vias = True
                if out.is_request and _mentions_us(data, line.value, end):
                    out.flags |= HAS_OWN_VIA_PARAM
        elif first == 102:  # f, from
            if length == 1 or _is(data + name, length, b"from", 4):
                if seen & 1 or not _tag(data, line.value, end, &out.from_tag):
                    return 0
                seen |= 1
        elif first == 116:  # t, to
            if length == 1 or _is(data + name, length, b"to", 2):
                if seen & 2 or not _tag(data, line.value, end, &out.to_tag):
                    return 0
                seen |= 2
        elif first == 105:  # i
            if length == 1:
                if seen & 4:
                    return 0
                seen |= 4
                out.call_id.start = _skip(data, line.value, end)
                out.call_id.end = end
        elif first == 99:
            if _is(data + name, length, b"call-id", 7):
                if seen & 4:
                    return 0
                seen |= 4
                out.call_id.start = _skip(data, line.value, end)
                out.call_id.end = end
            elif _is(data + name, length, b"cseq", 4):
                if seen & 8:
                    return 0
                seen |= 8
                if not _cseq(data, line.value, end, &out.cseq, &method):
                    return 0
            elif _is(data + name, length, b"content-length", 14):
                if seen & 16 or not _plain_number(data, &line, &number):
                    return 0
                seen |= 16
                out.content_length = number
        elif first == 108:  # l
            if length == 1:
                if seen & 16 or not _plain_number(data, &line, &number):
                    return 0
                seen |= 16
                out.content_length = number
        elif first == 109:
            if _is(data + name, length, b"max-forwards", 12):
                if seen & 32 or not _plain_number(data, &line, &number):
                    return 0
                seen |= 32
                out.max_forwards = number
                out.hops = line
        elif first == 114:
            if _is(data + name, length, b"route", 5):
                if out.route_count == MAX_ROUTES:
                    return 0
                out.routes[out.route_count] = line
                out.route_count += 1
            elif _is(data + name, length, b"record-route", 12):
                if out.record_route < 0:
                    out.record_route = name
        elif first == 112:
            if _is(data + name, length, b"proxy-require", 13):
                out.flags |= HAS_PROXY_REQUIRE
        elif first == 120:
            if _is(data + name, length, b"x-genesys-gvp-session-id", 24):
                out.flags |= HAS_SESSION_HEADER
    if (seen & 15) != 15 or out.via_count == 0:
        return 0
    length = 0  # of carriage returns: as many as lines, or there is a lone one
    for name in range(at):
        length += data[name] == 13
    if length != headers + 1:
        return 0
    if out.below_vias < 0:
        out.below_vias = at
    while out.call_id.end > out.call_id.start and (
        data[out.call_id.end - 1] == 32 or data[out.call_id.end - 1] == 9
    ):
        out.call_id.end -= 1
    if out.call_id.end == out.call_id.start:
        return 0
    for name in range(out.call_id.start, out.call_id.end):
        if data[name] <= 32:
            return 0
    if out.is_request:
        length = method.end - method.start
        if length != out.method_at.end or memcmp(data, data + method.start, length) != 0:
            return 0
    else:
        out.method_at = method
        out.method = _method(data + method.start, method.end - method.start)
    out.body = at + 2
    out.size = size
    if out.content_length >= 0:
        if out.body + out.content_length > size:
            return 0
        out.size = <int32_t> (out.body + out.content_length)
    return 1
