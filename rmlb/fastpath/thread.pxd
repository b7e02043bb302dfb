"""What the packet thread works on, and what it leaves to Python."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from rmlb.fastpath.decide cimport Core as CoreData
from rmlb.fastpath.sources cimport SourceTable
from rmlb.fastpath.system cimport iovec, mmsghdr, pthread_mutex_t, sockaddr_in, sockaddr_in6
from rmlb.fastpath.table cimport MOST_LISTENERS

cdef enum:
    BATCH = 64
    STRIDE = 67648  # of receive buffers: a datagram, and no power of two, for the caches' sake
    ARENA = 1024 * 1024
    QUEUE = 1024 * 1024  # some 1,000 messages: 0.2 s of the Python router's work
    ERRORS = 256  # numbers of errors that are counted
    COPIES = 8 * 1024 * 1024  # while somebody asks; a poll of 20 a second takes 1.5 MiB
    STOP = 0xFFFFFFFF  # what epoll says of `wake`

cdef enum:
    DATAGRAM = 1
    BY_STREAM = 2
    REFUSED = 3
    COPY_IN = 4
    COPY_OUT = 5


cdef struct Record:
    uint32_t kind
    uint32_t size
    uint32_t listener
    uint32_t transport
    uint16_t port
    uint16_t family
    uint32_t scope
    uint8_t host[16]
    int64_t channel
    int32_t member


cdef struct Records:
    # One after the other, each with its octets.
    uint8_t* octets
    uint32_t used
    uint32_t room


cdef struct Socket:
    int fd
    int listener


cdef struct Loop:
    CoreData* core
    pthread_mutex_t* mutex
    Socket sockets[MOST_LISTENERS]
    int socket_count
    int fd_of[MOST_LISTENERS]  # by listener, -1: none
    int epoll
    int wake  # tells the thread to stop
    int notify  # tells Python that the queue is not empty
    mmsghdr received[BATCH]
    iovec received_at[BATCH]
    sockaddr_in6 sources[BATCH]
    uint8_t* buffers
    mmsghdr sent[BATCH]
    iovec sent_at[BATCH]
    sockaddr_in destinations[BATCH]
    int sent_by[BATCH]  # descriptor
    int sent_count
    uint8_t* arena
    int32_t arena_used
    Records queue
    uint64_t backlog_dropped
    uint64_t backlog_unsent
    int copying  # somebody asks for copies of messages
    Records copies
    uint64_t copies_lost
    int64_t copied_at  # wall clock of the batch, microseconds since 1970
    SourceTable* limited  # what each source may send
    uint64_t refused
    uint64_t errors[ERRORS]
    int64_t* page  # of rmlb.ownership; NULL: always the owner
    int stamp_ms  # how often the thread shows that it turns; -1: never
    bint owner  # of this batch: nothing may be forwarded otherwise


cdef inline uint32_t room_of(const Record* record) noexcept nogil:
    """Octets that it takes among others."""
    return (<uint32_t> sizeof(Record) + record.size + 7) & ~<uint32_t> 7


cdef void* run(void* loop) noexcept nogil
cdef int64_t wall_clock() noexcept nogil
