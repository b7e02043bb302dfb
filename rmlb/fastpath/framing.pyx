# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Whole plain messages cut off the front of what a stream brought; see StreamFramer."""

from libc.stdint cimport int32_t
from libc.string cimport memchr

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE

from rmlb.fastpath.scan cimport Span, number_at


cdef inline bint _is(const uint8_t* at, const char* lower, int32_t length) noexcept nogil:
    cdef int32_t i
    for i in range(length):
        if (at[i] | 32) != <uint8_t> lower[i]:
            return False
    return True


cdef int64_t _whole(const uint8_t* data, int64_t at, int64_t size) noexcept nogil:
    """Size of the message that begins at `at`; 0: not whole, or not plain."""
    cdef int64_t start = at, line, end, colon, length = -1
    cdef const uint8_t* found
    cdef Span digits
    if at >= size or data[at] <= 32:
        return 0  # empty lines, keep-alives
    while True:
        line = at
        found = <const uint8_t*> memchr(data + at, 13, size - at)
        if found == NULL or found + 1 >= data + size or found[1] != 10:
            return 0
        end = found - data
        at = end + 2
        if end == line:
            break
        if data[line] == 32 or data[line] == 9:
            return 0  # folded: it may belong to the length
        if line == start:
            continue
        # "l" and "content-length", and white space before the colon
        if (data[line] | 32) == 108:
            colon = line + 1
        elif end - line > 14 and (data[line] | 32) == 99 and _is(
            data + line, b"content-length", 14
        ):
            colon = line + 14
        else:
            continue
        if colon < end and (data[colon] == 32 or data[colon] == 9):
            return 0
        if colon >= end or data[colon] != 58:
            continue
        if length >= 0:
            return 0
        colon += 1
        while colon < end and (data[colon] == 32 or data[colon] == 9):
            colon += 1
        if end - start > 0x7FFFFFFF:
            return 0
        digits.start = <int32_t> (colon - start)
        digits.end = <int32_t> (end - start)
        while digits.end > digits.start and (
            data[start + digits.end - 1] == 32 or data[start + digits.end - 1] == 9
        ):
            digits.end -= 1
        if not number_at(data + start, digits, &length):
            return 0
    if length < 0 or at + length > size:
        return 0
    return at + length - start


def cut(bytes data not None, int64_t most):
    """(whole messages of at most `most` octets, what is left behind them)."""
    cdef list messages = []
    cdef int64_t at = cut_at(
        <const uint8_t*> PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), most, messages
    )
    return messages, data[at:]


cdef int64_t cut_at(const uint8_t* octets, int64_t size, int64_t most, list messages) except -1:
    """As `cut`, of octets at a pointer; returns where it ended."""
    cdef int64_t at = 0, length
    while at < size:
        length = _whole(octets, at, size)
        if not length or length > most:
            break
        messages.append(PyBytes_FromStringAndSize(<const char*> octets + at, length))
        at += length
    return at
