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


cdef inline uint64_t siphash24(SipKey key, const uint8_t* data, size_t size) noexcept nogil:
    cdef uint64_t v0 = key.k0 ^ <uint64_t> 0x736F6D6570736575
    cdef uint64_t v1 = key.k1 ^ <uint64_t> 0x646F72616E646F6D
    cdef uint64_t v2 = key.k0 ^ <uint64_t> 0x6C7967656E657261
    cdef uint64_t v3 = key.k1 ^ <uint64_t> 0x7465646279746573
    cdef uint64_t word
    cdef size_t at = 0
    cdef int i
    cdef uint64_t last = (<uint64_t> size) << 56
    while at + 8 <= size:
        memcpy(&word, data + at, 8)
        v3 ^= word
        for i in range(2):
            v0 += v1; v1 = rotl(v1, 13); v1 ^= v0; v0 = rotl(v0, 32)
            v2 += v3; v3 = rotl(v3, 16); v3 ^= v2
            v0 += v3; v3 = rotl(v3, 21); v3 ^= v0
            v2 += v1; v1 = rotl(v1, 17); v1 ^= v2; v2 = rotl(v2, 32)
        v0 ^= word
        at += 8
    word = 0
    memcpy(&word, data + at, size - at)
    word |= last
    v3 ^= word
    for i in range(2):
        v0 += v1; v1 = rotl(v1, 13); v1 ^= v0; v0 = rotl(v0, 32)
        v2 += v3; v3 = rotl(v3, 16); v3 ^= v2
        v0 += v3; v3 = rotl(v3, 21); v3 ^= v0
        v2 += v1; v1 = rotl(v1, 17); v1 ^= v2; v2 = rotl(v2, 32)
    v0 ^= word
    v2 ^= 0xFF
    for i in range(4):
        v0 += v1; v1 = rotl(v1, 13); v1 ^= v0; v0 = rotl(v0, 32)
        v2 += v3; v3 = rotl(v3, 16); v3 ^= v2
        v0 += v3; v3 = rotl(v3, 21); v3 ^= v0
        v2 += v1; v1 = rotl(v1, 17); v1 ^= v2; v2 = rotl(v2, 32)
    return v0 ^ v1 ^ v2 ^ v3
