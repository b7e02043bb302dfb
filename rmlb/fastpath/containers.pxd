"""What both tables are built of: an index by 64-bit key, lists in order of age, a wheel of seconds.

All of them hold slot numbers; what is in a slot is the table's own. Memory is taken once, for the
most slots there may be, and touched only as slots are used: no growth, so no pause.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdint cimport uintptr_t
from libc.stdlib cimport calloc, free

cdef extern from "<sys/mman.h>" nogil:
    int madvise(void*, size_t, int)
    int MADV_HUGEPAGE

cdef extern from * nogil:
    void __builtin_prefetch(const void*)

cdef enum:
    NONE = 0xFFFFFFFF


cdef inline void* reserve(size_t count, size_t each) noexcept nogil:
    """Zeroed memory, taken as it is used; NULL: there is none. Large tables are in huge pages: a
    look-up may miss the cache, but not the translation of its address, too."""
    cdef void* made = calloc(count if count else 1, each)
    cdef size_t size = count * each
    cdef uintptr_t first
    if made != NULL and size >= 4194304:
        first = (<uintptr_t> made + 4095) & ~<uintptr_t> 4095
        madvise(<void*> first, size - 4096, MADV_HUGEPAGE)
    return made


cdef struct Index:
    # Open addressing; a place holds slot + 1, 0 is empty.
    uint32_t* places
    uint64_t* keys  # by slot
    uint32_t mask
    uint32_t used


cdef struct Links:
    # Of lists in which a slot stands at most once.
    uint32_t* before
    uint32_t* after


cdef struct List:
    uint32_t first
    uint32_t last
    uint32_t count


cdef struct Wheel:
    # Slots by the second in which to look at them; each stands in one second.
    List* seconds
    Links links
    uint32_t* at  # by slot: its second, 0: none
    uint32_t mask
    int64_t next  # all before it have been looked at; -1: none yet
    int64_t earliest


cdef inline int index_make(Index* index, uint32_t slots) noexcept nogil:
    """Room for that many slots, half full at most. 0: no memory."""
    cdef uint64_t size = 16
    while size < <uint64_t> slots * 2:
        size *= 2
    index.mask = <uint32_t> (size - 1)
    index.used = 0
    index.places = <uint32_t*> reserve(size, sizeof(uint32_t))
    index.keys = <uint64_t*> reserve(slots, sizeof(uint64_t))
    return index.places != NULL and index.keys != NULL


cdef inline void index_free(Index* index) noexcept nogil:
    free(index.places)
    free(index.keys)


cdef inline void index_prefetch(const Index* index, uint64_t key) noexcept nogil:
    """It will be looked for soon."""
    __builtin_prefetch(&index.places[<uint32_t> key & index.mask])


cdef inline uint32_t index_find(const Index* index, uint64_t key) noexcept nogil:
    """The slot of a key, or NONE."""
    cdef uint32_t place = <uint32_t> key & index.mask
    cdef uint32_t slot
    while index.places[place]:
        slot = index.places[place] - 1
        if index.keys[slot] == key:
            return slot
        place = (place + 1) & index.mask
    return <uint32_t> NONE


cdef inline void index_put(Index* index, uint64_t key, uint32_t slot) noexcept nogil:
    """A key that is not there yet."""
    cdef uint32_t place = <uint32_t> key & index.mask
    while index.places[place]:
        place = (place + 1) & index.mask
    index.places[place] = slot + 1
    index.keys[slot] = key
    index.used += 1


cdef inline void index_remove(Index* index, uint64_t key) noexcept nogil:
    """Those that were pushed past its place move up, so that no gap hides them."""
    cdef uint32_t hole = <uint32_t> key & index.mask
    cdef uint32_t place, home
    while index.places[hole] and index.keys[index.places[hole] - 1] != key:
        hole = (hole + 1) & index.mask
    if not index.places[hole]:
        return
    index.used -= 1
    place = hole
    while True:
        place = (place + 1) & index.mask
        if not index.places[place]:
            break
        home = <uint32_t> index.keys[index.places[place] - 1] & index.mask
        if ((place - home) & index.mask) >= ((place - hole) & index.mask):
            index.places[hole] = index.places[place]
            hole = place
    index.places[hole] = 0


cdef inline int links_make(Links* links, uint32_t slots) noexcept nogil:
    links.before = <uint32_t*> reserve(slots, sizeof(uint32_t))
    links.after = <uint32_t*> reserve(slots, sizeof(uint32_t))
    return links.before != NULL and links.after != NULL


cdef inline void links_free(Links* links) noexcept nogil:
    free(links.before)
    free(links.after)


cdef inline void list_clear(List* line) noexcept nogil:
    line.first = line.last = <uint32_t> NONE
    line.count = 0


cdef inline void list_append(List* line, Links* links, uint32_t slot) noexcept nogil:
    links.before[slot] = line.last
    links.after[slot] = <uint32_t> NONE
    if line.last == <uint32_t> NONE:
        line.first = slot
    else:
        links.after[line.last] = slot
    line.last = slot
    line.count += 1


cdef inline void list_remove(List* line, Links* links, uint32_t slot) noexcept nogil:
    if links.before[slot] == <uint32_t> NONE:
        line.first = links.after[slot]
    else:
        links.after[links.before[slot]] = links.after[slot]
    if links.after[slot] == <uint32_t> NONE:
        line.last = links.before[slot]
    else:
        links.before[links.after[slot]] = links.before[slot]
    line.count -= 1


cdef inline int wheel_make(Wheel* wheel, uint32_t slots, uint32_t seconds) noexcept nogil:
    """`seconds` is a power of two: what is due later than that is looked at on the way."""
    cdef uint32_t i
    wheel.seconds = <List*> reserve(seconds, sizeof(List))
    wheel.at = <uint32_t*> reserve(slots, sizeof(uint32_t))
    wheel.mask = seconds - 1
    wheel.next = wheel.earliest = -1
    if wheel.seconds == NULL or wheel.at == NULL or not links_make(&wheel.links, slots):
        return 0
    for i in range(seconds):
        list_clear(&wheel.seconds[i])
    return 1


cdef inline void wheel_free(Wheel* wheel) noexcept nogil:
    free(wheel.seconds)
    free(wheel.at)
    links_free(&wheel.links)


cdef inline void wheel_take(Wheel* wheel, uint32_t slot) noexcept nogil:
    """Out of its second."""
    if wheel.at[slot]:
        list_remove(&wheel.seconds[wheel.at[slot] & wheel.mask], &wheel.links, slot)
        wheel.at[slot] = 0


cdef inline void wheel_put(Wheel* wheel, uint32_t slot, double due) noexcept nogil:
    """Look at the slot in the second after `due`; it leaves the second it was in."""
    cdef int64_t second = <int64_t> due + 1
    wheel_take(wheel, slot)
    if wheel.next >= 0:
        if second < wheel.next:
            second = wheel.next
        if second > wheel.next + wheel.mask:
            second = wheel.next + wheel.mask
    elif wheel.earliest < 0 or second < wheel.earliest:
        wheel.earliest = second
    elif second > wheel.earliest + wheel.mask:
        second = wheel.earliest + wheel.mask
    wheel.at[slot] = <uint32_t> second
    list_append(&wheel.seconds[second & wheel.mask], &wheel.links, slot)


cdef inline int64_t wheel_first(Wheel* wheel, double now) noexcept nogil:
    """The first second to look at until `now`; all before the last are done afterwards."""
    cdef int64_t last = <int64_t> now
    cdef int64_t first = wheel.next if wheel.next >= 0 else wheel.earliest
    if first < 0:
        first = last
    if last - first > wheel.mask:
        first = last - wheel.mask
    wheel.next = last + 1
    return first
