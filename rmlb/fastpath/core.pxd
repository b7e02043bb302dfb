"""The core as a Python object: the tables, the snapshot in force, and the lock around both."""

from libc.stdint cimport uint8_t

from rmlb.fastpath.bindings cimport Bindings
from rmlb.fastpath.decide cimport Core as CoreData
from rmlb.fastpath.members cimport Members
from rmlb.fastpath.overload cimport Loads
from rmlb.fastpath.pending cimport PendingRequests
from rmlb.fastpath.sources cimport Sources
from rmlb.fastpath.system cimport pthread_mutex_t
from rmlb.fastpath.verdict cimport Outcome


cdef class Core:
    cdef CoreData data
    cdef pthread_mutex_t mutex
    cdef readonly Members members
    cdef readonly Bindings bindings
    cdef readonly PendingRequests pending
    cdef readonly Loads loads
    cdef readonly Sources sources
    cdef bytearray _room
    cdef void hold(self)
    cdef void release(self)
    cdef object decide_at(self, const uint8_t* data, int size, origin, double now)
    cdef object _forward(self, Outcome* out)
