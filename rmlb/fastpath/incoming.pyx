# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The Routes of a request; see incoming.pxd."""

from rmlb.fastpath.mark cimport read_mark
from rmlb.fastpath.scan cimport parse_route
from rmlb.fastpath.table cimport names_us

cdef enum:
    MOST_MARKS = 8  # as in rmlb.routing.incoming


cdef int read_routes(const Snapshot* s, const uint8_t* data, Request* r) noexcept nogil:
    """Ours popped, the mark verified; 0: not sure."""
    cdef RouteSet* routes = &r.routes
    cdef Span value
    cdef int i
    if not _parse_routes(data, r):
        return 0
    if routes.count and uri_param(data, &r.uri, b"rmlb", 4, &value) and names_us(s, data, &r.uri):
        return 0  # a strict router
    if not _find_mark(s, data, r):
        return 0
    r.first = 0
    r.marked = False
    while r.first < routes.count and routes.ours[r.first]:
        i = r.first
        if routes.marked[i]:
            r.marked = True
        elif uri_param(data, &routes.values[i], b"gvp.rm.datanodes", 16, &value):
            break
        r.first += 1
    return 1


cdef int _parse_routes(const uint8_t* data, Request* r) noexcept nogil:
    cdef RouteSet* routes = &r.routes
    cdef int line, i
    cdef int32_t at, following
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
    return 1


cdef int _find_mark(const Snapshot* s, const uint8_t* data, Request* r) noexcept nogil:
    """The first that verifies, wherever in the Route it stands; 0: not sure."""
    cdef RouteSet* routes = &r.routes
    cdef int i, looked_at = 0, verified
    cdef Span value
    r.has_mark = False
    for i in range(routes.count):
        routes.ours[i] = names_us(s, data, &routes.values[i])
        if not routes.ours[i]:
            continue
        routes.marked[i] = uri_param(data, &routes.values[i], b"rmlb", 4, &value)
        looked_at += 1
        if r.has_mark or looked_at > MOST_MARKS or not routes.marked[i]:
            continue
        if value.end > value.start:
            verified = read_mark(s, data, value, &r.m, &r.mark)
            if verified < 0:
                return 0
            r.has_mark = verified
    return 1
