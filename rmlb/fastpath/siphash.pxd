"""SipHash-2-4 (Aumasson and Bernstein, 2012) of octets at a pointer; the twin of routing.keys."""

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy


cdef struct SipKey:
    uint64_t k0
    uint64_t k1


cdef inline uint64_t rotl(uint64_t x, int b) noexcept nogil:
    return (x << b) | (x >> (64 - b))


cdef inline SipKey sip_key(const uint8_t* octets) noexcept nogil:
    """The 16 octets of a key, little-endian halves."""
    cdef SipKey key
    memcpy(&key.k0, octets, 8)
    memcpy(&key.k1, octets + 8, 8)
    return key


cdef inline void _rounds(uint64_t* v, int count) noexcept nogil:
    cdef int _
    for _ in range(count):
        v[0] += v[1]
        v[1] = rotl(v[1], 13) ^ v[0]
        v[0] = rotl(v[0], 32)
        v[2] += v[3]
        v[3] = rotl(v[3], 16) ^ v[2]
        v[0] += v[3]
        v[3] = rotl(v[3], 21) ^ v[0]
        v[2] += v[1]
        v[1] = rotl(v[1], 17) ^ v[2]
        v[2] = rotl(v[2], 32)


cdef inline uint64_t siphash24(SipKey key, const uint8_t* data, size_t size) noexcept nogil:
    cdef uint64_t[4] v
    cdef uint64_t word
    cdef size_t at = 0
    v[0] = key.k0 ^ <uint64_t> 0x736F6D6570736575
    v[1] = key.k1 ^ <uint64_t> 0x646F72616E646F6D
    v[2] = key.k0 ^ <uint64_t> 0x6C7967656E657261
    v[3] = key.k1 ^ <uint64_t> 0x7465646279746573
    while at + 8 <= size:
        memcpy(&word, data + at, 8)
        v[3] ^= word
        _rounds(v, 2)
        v[0] ^= word
        at += 8
    word = 0
    memcpy(&word, data + at, size - at)
    word |= <uint64_t> size << 56
    v[3] ^= word
    _rounds(v, 2)
    v[0] ^= word
    v[2] ^= 0xFF
    _rounds(v, 4)
    return v[0] ^ v[1] ^ v[2] ^ v[3]
