"""The core as a Python object: the tables, the snapshot in force, and the lock around both."""

from libc.stdint cimport uint8_t

from rmlb.fastpath.bindings cimport Bindings
from rmlb.fastpath.decide cimport Core as CoreData
from rmlb.fastpath.members cimport Members
from rmlb.fastpath.overload cimport Loads
from rmlb.fastpath.pending cimport PendingRequests
from rmlb.fastpath.sources cimport Sources
from rmlb.fastpath.verdict cimport Outcome


cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_mutex_t:
        pass
    ctypedef struct pthread_mutexattr_t:
        pass
    int PTHREAD_MUTEX_RECURSIVE
    int pthread_mutexattr_init(pthread_mutexattr_t*)
    int pthread_mutexattr_settype(pthread_mutexattr_t*, int)
    int pthread_mutexattr_destroy(pthread_mutexattr_t*)
    int pthread_mutex_init(pthread_mutex_t*, const pthread_mutexattr_t*)
    int pthread_mutex_destroy(pthread_mutex_t*)
    int pthread_mutex_lock(pthread_mutex_t*)
    int pthread_mutex_trylock(pthread_mutex_t*)
    int pthread_mutex_unlock(pthread_mutex_t*)


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
