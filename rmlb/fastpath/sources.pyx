# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""How much one source may send: the table of routing.sources in C.

The packet thread asks `source_may_send` before it reads a datagram, so that a flood costs little
more than its reception; the class shows the same table to Python, for streams. Nothing here locks:
whoever calls holds the engine.
"""

from libc.math cimport INFINITY
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset

from rmlb.fastpath.containers cimport (
    NONE, index_find, index_free, index_make, index_put, index_remove, links_free, links_make,
    list_append, list_clear, list_remove, reserve,
)
from rmlb.fastpath.siphash cimport sip_key, siphash24

from ipaddress import ip_address
from os import urandom

from rmlb.routing.sources import MOST_SOURCES, source_of
from rmlb.routing.sources import MOST_TOLD as _MOST_TOLD

assert MOST_TOLD == _MOST_TOLD

cdef uint32_t SLOTS = MOST_SOURCES
cdef uint8_t[12] MAPPED  # of IPv4 as IPv6 (RFC 4291 2.5.5.2)
memset(MAPPED, 0, 10)
MAPPED[10] = MAPPED[11] = 255


cdef inline bint _is_spared(SourceTable* t, const uint8_t* address, bint ipv4) noexcept nogil:
    cdef uint32_t i
    cdef int k
    cdef Spared* each
    for i in range(t.spared_count):
        each = &t.spared[i]
        if each.ipv4 != ipv4:
            continue
        for k in range(ADDRESS):
            if address[k] & each.mask[k] != each.network[k]:
                break
        else:
            return True
    return False


cdef inline uint32_t _slot_of(SourceTable* t, uint64_t key, double now) noexcept nogil:
    """Its slot, which is now the youngest; the oldest is given up for a source that is new."""
    cdef uint32_t slot = index_find(&t.index, key)
    if slot != <uint32_t> NONE:
        list_remove(&t.age, &t.links, slot)
    else:
        slot = t.age.count
        if slot == SLOTS:
            slot = t.age.first
            list_remove(&t.age, &t.links, slot)
            index_remove(&t.index, t.index.keys[slot])
        index_put(&t.index, key, slot)
        t.items[slot].tokens = t.rate
        t.items[slot].filled_at = now
        t.items[slot].silent_until = -INFINITY
    list_append(&t.age, &t.links, slot)
    return slot


cdef bint source_may_send(SourceTable* t, const uint8_t* address, double now) noexcept nogil:
    """Whether one more message of that source is to be heard."""
    cdef Source* source
    cdef bint ipv4 = memcmp(address, MAPPED, 12) == 0
    cdef bint goes_on
    if t.rate == 0.0 or _is_spared(t, address, ipv4):
        return True
    source = &t.items[_slot_of(t, siphash24(t.key, address, ADDRESS if ipv4 else 8), now)]
    if now < source.silent_until:
        return False
    if now > source.filled_at:
        source.tokens += (now - source.filled_at) * t.rate
    if source.tokens > t.rate:
        source.tokens = t.rate
    source.filled_at = now
    if source.tokens >= 1.0:
        source.tokens -= 1.0
        return True
    goes_on = now < source.silent_until + t.penalty
    source.silent_until = now + t.penalty
    if not goes_on and t.told_count < MOST_TOLD:
        memcpy(t.told[t.told_count], address, ADDRESS)
        t.told_count += 1
    return False


cdef bytes _octets(object address):
    """Of an ipaddress object."""
    return address.packed if address.version == 6 else bytes(MAPPED[:12]) + address.packed


cdef str _text(const uint8_t* address):
    if memcmp(address, MAPPED, 12) == 0:
        return str(ip_address(address[12:16]))
    return source_of(str(ip_address(address[:16])))


cdef class Sources:
    """All sources that have a limit, as far as they are remembered (routing.sources.Sources)."""

    def __cinit__(self, limits):
        cdef bytes key = urandom(16)
        memset(&self.t, 0, sizeof(SourceTable))
        list_clear(&self.t.age)
        self._hosts = ()
        self.t.key = sip_key(<const uint8_t*> (<const char*> key))
        self.t.items = <Source*> reserve(SLOTS, sizeof(Source))
        if self.t.items == NULL or not index_make(&self.t.index, SLOTS):
            raise MemoryError
        if not links_make(&self.t.links, SLOTS):
            raise MemoryError
        self.limits = limits

    def __dealloc__(self):
        free(self.t.items)
        free(self.t.spared)
        index_free(&self.t.index)
        links_free(&self.t.links)

    @property
    def limits(self):
        return self._limits

    @limits.setter
    def limits(self, limits):
        self._limits = limits
        self.t.rate = limits.rate
        self.t.penalty = limits.penalty_s
        self._spare()

    def __len__(self):
        return self.t.age.count

    def spare(self, hosts):
        self._hosts = tuple(hosts)
        self._spare()

    cdef int _spare(self) except -1:
        """Networks and hosts, as addresses under masks."""
        cdef Spared* made
        cdef bytes network, mask
        cdef int i
        networks = [(each.network_address, each.netmask) for each in self._limits.trusted]
        hosts = [(ip_address(host.partition("%")[0]), None) for host in self._hosts]
        made = <Spared*> calloc(len(networks) + len(hosts) + 1, sizeof(Spared))
        if made == NULL:
            raise MemoryError
        for i, (address, netmask) in enumerate(networks + hosts):
            network = _octets(address)
            # of IPv4 the twelve octets before it are all of the mask
            mask = b"\xff" * 16 if netmask is None else netmask.packed.rjust(16, b"\xff")
            memcpy(made[i].network, <const char*> network, ADDRESS)
            memcpy(made[i].mask, <const char*> mask, ADDRESS)
            made[i].ipv4 = address.version == 4
        free(self.t.spared)
        self.t.spared = made
        self.t.spared_count = <uint32_t> (len(networks) + len(hosts))
        return 0

    def may_send(self, str host not None, double now):
        cdef bytes octets
        if self.t.rate == 0.0:
            return True
        octets = _octets(ip_address(host.partition("%")[0]))
        return source_may_send(&self.t, <const uint8_t*> (<const char*> octets), now)

    def take_limited(self):
        cdef uint32_t i
        told = [_text(self.t.told[i]) for i in range(self.t.told_count)]
        self.t.told_count = 0
        return told
