"""Where a message came from and what leaves in its place; see rmlb.routing.verdict."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t

from rmlb.fastpath.table cimport Text

cdef enum:  # kinds
    TO_MEMBER = 0
    RESPONSE = 1
    OUTWARD = 2

cdef enum:  # steps
    NO_STEP = 0
    BY_MARK = 1
    BY_BINDING = 2
    BY_ALGORITHM = 3
    BY_TRANSACTION = 4


cdef struct From:
    # IPv4 only.
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
