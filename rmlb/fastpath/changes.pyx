# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Changes of bindings as one block, see changes.pxd: a sequence of routing.bindings.Change that can
write itself, because a Python object for each of 10,000 changes a second costs as much as routing
their calls."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy

from cpython.bytes cimport PyBytes_FromStringAndSize

from rmlb.fastpath.bindings cimport ENDED, LIVE

from rmlb.routing.bindings import Change

cdef enum:
    LINE = 16 + 5 * 11 + 8  # the longest: a key, five numbers with a space each, a phase

cdef const char* DIGITS = "0123456789abcdef"


cdef uint8_t* _number(uint8_t* at, uint64_t value) noexcept nogil:
    """Its decimal digits and a space; returns what is behind them."""
    cdef uint8_t[20] digits
    cdef int count = 0
    while True:
        digits[count] = <uint8_t> (48 + value % 10)
        count += 1
        value //= 10
        if not value:
            break
    while count:
        count -= 1
        at[0] = digits[count]
        at += 1
    at[0] = 32
    return at + 1


cdef uint8_t* _line(uint8_t* at, const Changed* item, uint32_t format, double now) noexcept nogil:
    """As rmlb.state.records.encode_changes writes it."""
    cdef int i
    for i in range(16):
        at[i] = DIGITS[(item.key >> (60 - 4 * i)) & 15]
    at[16] = 32
    at = _number(at + 17, format)
    at = _number(at, item.member)
    at = _number(at, item.loss)
    if item.phase == LIVE:
        memcpy(at, <const char*> b"live ", 5)
        at += 5
    else:
        memcpy(at, <const char*> (b"ended " if item.phase == ENDED else b"bound "), 6)
        at += 6
    at = _number(at, <uint64_t> (item.expires - now) + 1 if item.expires > now else 1)
    (at - 1)[0] = 10
    return at


cdef class Changes:
    """What was taken from the journal."""

    def __dealloc__(self):
        free(self.items)

    cdef int append(self, Changed item) except -1:
        cdef Changed* more
        if self.count == self.room:
            more = <Changed*> realloc(self.items, (2 * self.room + 128) * sizeof(Changed))
            if more == NULL:
                raise MemoryError
            self.items = more
            self.room = 2 * self.room + 128
        self.items[self.count] = item
        self.count += 1
        return 0

    def __len__(self):
        return self.count

    def __getitem__(self, int place):
        cdef Changed* item
        if place < 0:
            place += self.count
        if not 0 <= place < self.count:
            raise IndexError(place)
        item = &self.items[place]
        return Change(
            item.key, item.member, item.loss, item.phase == LIVE, item.phase == ENDED, item.expires
        )

    def lines(self, uint32_t format, double now):
        """The batch, as rmlb.state.records.encode_changes would write these."""
        cdef uint8_t* start = <uint8_t*> malloc(self.count * LINE + 1)
        cdef uint8_t* at = start
        cdef int i
        if start == NULL:
            raise MemoryError
        try:
            for i in range(self.count):
                at = _line(at, &self.items[i], format, now)
            return PyBytes_FromStringAndSize(<char*> start, at - start)
        finally:
            free(start)
