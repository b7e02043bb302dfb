"""The core as a Python object: the tables, the snapshot in force, and the lock around both."""

from libc.stdint cimport uint8_t

from rmlb.fastpath.decide cimport Core as CoreData
from rmlb.fastpath.decide cimport Outcome, Snapshot
from rmlb.fastpath.sources cimport Sources
from rmlb.fastpath.tables cimport Bindings, Loads, Members, PendingRequests


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
    cdef object _table
    cdef bytearray _room
    cdef void hold(self)
    cdef void release(self)
    cdef object decide_at(self, const uint8_t* data, int size, origin, double now)
    cdef object _forward(self, Outcome* out)
    cdef Snapshot* _make(self, table) except NULL
    cdef int _fill(self, Snapshot* s, table) except -1
    cdef int _fill_members(self, Snapshot* s, table) except -1
    cdef int _fill_own(self, Snapshot* s, table) except -1
    cdef int _fill_losses(self, Snapshot* s, table) except -1
    cdef int _fill_listeners(self, Snapshot* s, table) except -1
