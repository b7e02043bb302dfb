"""The core as a Python object: the tables, the snapshot in force, and the lock around both."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t

from rmlb.fastpath.bindings cimport Bindings
from rmlb.fastpath.decide cimport Core as CoreData
from rmlb.fastpath.members cimport Members
from rmlb.fastpath.overload cimport Loads
from rmlb.fastpath.pending cimport PendingRequests
from rmlb.fastpath.sources cimport Sources
from rmlb.fastpath.system cimport pthread_mutex_t
from rmlb.fastpath.verdict cimport From, Outcome


cdef enum:
    SHEAF = 64


cdef struct Sheaf:
    # What messages of one connection have become, until it is sent.
    Outcome outcomes[SHEAF]
    uint8_t* octets
    int32_t used
    int count


cdef enum:
    PLACES = 64


cdef struct Place:
    # A Destination as numbers; `listener` of -1: none.
    int64_t channel
    uint32_t host
    int32_t port
    int32_t listener
    int32_t transport
    int32_t member  # its ID


cdef class Core:
    cdef CoreData data
    cdef pthread_mutex_t mutex
    cdef readonly Members members
    cdef readonly Bindings bindings
    cdef readonly PendingRequests pending
    cdef readonly Loads loads
    cdef readonly Sources sources
    cdef bytearray _room
    cdef Sheaf _sheaf
    cdef Place _places[PLACES]  # of the Destinations made last
    cdef list _destinations
    cdef void hold(self)
    cdef void release(self)
    cdef object decide_at(self, const uint8_t* data, int size, origin, double now)
    cdef int _is_from(self, origin, From* source) except -1
    cdef int _bind_sheaf(self, list done) except -1
    cdef object _destination(self, const Outcome* out)
    cdef object _forward(self, Outcome* out)
