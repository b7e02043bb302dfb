"""A request taken apart for routing: the twin of rmlb.routing.incoming."""

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from rmlb.fastpath.mark cimport Mark
from rmlb.fastpath.scan cimport MAX_ROUTES, Scan, Span, Uri, Via, uri_param
from rmlb.fastpath.table cimport Snapshot


cdef struct RouteSet:
    # All of the request's, as they came.
    Span uris[MAX_ROUTES]
    Uri values[MAX_ROUTES]
    int32_t starts[MAX_ROUTES]
    int lines[MAX_ROUTES]
    bint ours[MAX_ROUTES]
    bint marked[MAX_ROUTES]  # of ours: it has our parameter
    int count


cdef struct Request:
    Scan m
    Via via
    Uri uri
    RouteSet routes
    int first  # index of the first Route that remains after popping ours
    bint in_dialog  # has a To tag
    bint begins  # a dialog: it is bound and recorded
    bint marked  # among the popped ones was one with our mark
    bint has_mark
    Mark mark
    int sender  # the member that sent it, -1: none
    uint64_t mac  # of the branch, under the key that signs
    uint64_t call  # the Call-ID's hash
    uint32_t bound  # its binding's slot


cdef inline Uri* next_route(Request* r) noexcept nogil:
    """The top Route after popping ours, NULL: none."""
    return &r.routes.values[r.first] if r.first < r.routes.count else NULL


cdef inline Uri* target_of(Request* r) noexcept nogil:
    """Where it wants to go next: that Route, else the Request-URI."""
    return &r.routes.values[r.first] if r.first < r.routes.count else &r.uri


cdef inline bint has_datanodes(const uint8_t* data, Request* r) noexcept nogil:
    """Its next Route names the members of the RM's session."""
    cdef Span value
    cdef Uri* route = next_route(r)
    return route != NULL and uri_param(data, route, b"gvp.rm.datanodes", 16, &value)


cdef int read_routes(const Snapshot* s, const uint8_t* data, Request* r) noexcept nogil
