"""Octets written one piece after the other into a buffer of fixed room."""

from libc.stdint cimport int32_t, uint8_t, uint64_t
from libc.string cimport memcpy


cdef struct Pen:
    # What did not fit shows in `room`: it is below 0 from then on.
    uint8_t* octets
    int32_t room
    int32_t size


cdef inline Pen pen_on(uint8_t* octets, int32_t room) noexcept nogil:
    cdef Pen pen
    pen.octets = octets
    pen.room = room
    pen.size = 0
    return pen


cdef inline void put(Pen* pen, const uint8_t* octets, int32_t size) noexcept nogil:
    if 0 <= size <= pen.room - pen.size:
        memcpy(pen.octets + pen.size, octets, <size_t> size)
        pen.size += size
    else:
        pen.size = 0
        pen.room = -1


cdef inline void put_char(Pen* pen, uint8_t c) noexcept nogil:
    if pen.size < pen.room:
        pen.octets[pen.size] = c
        pen.size += 1
    else:
        pen.size = 0
        pen.room = -1


cdef inline void put_number(Pen* pen, uint64_t number) noexcept nogil:
    cdef uint8_t[20] digits
    cdef int i = 20
    while True:
        i -= 1
        digits[i] = <uint8_t> (48 + number % 10)
        number //= 10
        if not number:
            break
    put(pen, digits + i, 20 - i)


cdef inline void put_hex(Pen* pen, uint64_t number, int width) noexcept nogil:
    """In that many digits; 0: as few as there are."""
    cdef const uint8_t* hexadecimal = b"0123456789abcdef"
    cdef uint8_t[16] digits
    cdef int i = 16
    while True:
        i -= 1
        digits[i] = hexadecimal[number & 15]
        number >>= 4
        if i == 0 or (16 - i >= width and not number):
            break
        if width and 16 - i == width:
            break
    put(pen, digits + i, 16 - i)
