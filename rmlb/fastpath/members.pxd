"""Member IDs as small numbers, their slots: all tables of members are by slot."""

from libc.stdint cimport int32_t

cdef enum:
    MOST_MEMBERS = 65535  # every ID that a member can have: rm_options.MOST_MEMBER_ID


cdef class Members:
    cdef dict _slots
    cdef int32_t ids[MOST_MEMBERS]  # by slot
    cdef int count
    cdef int slot(self, long number) except -1
