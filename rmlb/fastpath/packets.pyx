# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The packet thread: owns the UDP sockets, decides what is plain, hands the rest to Python.

It never takes the GIL, so neither a scrape nor a reload, a slow store or garbage collection holds
up a packet. A batch is received, decided under the core's lock, and sent. What `decide` is not sure
of, what leaves by a stream, and ICMP refusals go into a bounded queue, out of which the event loop
takes them; when that is full, the newest is dropped and counted.
"""

from libc.errno cimport EAGAIN, ECONNREFUSED, EHOSTUNREACH, EINTR, ENETUNREACH, errno
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memset

from rmlb.fastpath.core cimport (
    Core, pthread_mutex_lock, pthread_mutex_t, pthread_mutex_unlock,
)
from rmlb.fastpath.decide cimport Core as CoreData
from rmlb.fastpath.decide cimport decide
from rmlb.fastpath.sources cimport ADDRESS, SourceTable, source_may_send
from rmlb.fastpath.table cimport MOST_LISTENERS, TCP, UDP, text_of_ipv4
from rmlb.fastpath.verdict cimport From, Outcome

import errno as _errno
import os
import socket as _socket

from rmlb.routing.verdict import Destination, Kind, Origin, Reason
from rmlb.sip.address import Transport


cdef extern from "<pthread.h>" nogil:
    ctypedef unsigned long pthread_t
    int pthread_create(pthread_t*, const void*, void* (*)(void*) noexcept nogil, void*)
    int pthread_join(pthread_t, void**)

cdef extern from "<time.h>" nogil:
    ctypedef long time_t
    struct timespec:
        time_t tv_sec
        long tv_nsec
    int clock_gettime(int, timespec*)
    int nanosleep(const timespec*, timespec*)
    int CLOCK_MONOTONIC
    int CLOCK_REALTIME
    int CLOCK_BOOTTIME

cdef extern from "<unistd.h>" nogil:
    long read(int, void*, size_t)
    long write(int, const void*, size_t)
    int close(int)

cdef extern from "<sys/eventfd.h>" nogil:
    int eventfd(unsigned int, int)
    int EFD_NONBLOCK
    int EFD_CLOEXEC

cdef extern from "<sys/resource.h>" nogil:
    int setpriority(int, int, int)
    int PRIO_PROCESS

cdef extern from "<sys/prctl.h>" nogil:
    int prctl(int, unsigned long)
    int PR_SET_TIMERSLACK

cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data_t:
        uint32_t u32
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_create1(int)
    int epoll_ctl(int, int, int, epoll_event*)
    int epoll_wait(int, epoll_event*, int, int)
    int EPOLL_CTL_ADD
    int EPOLL_CLOEXEC
    uint32_t EPOLLIN
    uint32_t EPOLLERR

cdef extern from "<sys/socket.h>" nogil:
    ctypedef unsigned int socklen_t
    struct iovec:
        void* iov_base
        size_t iov_len
    struct msghdr:
        void* msg_name
        socklen_t msg_namelen
        iovec* msg_iov
        size_t msg_iovlen
        void* msg_control
        size_t msg_controllen
        int msg_flags
    struct mmsghdr:
        msghdr msg_hdr
        unsigned int msg_len
    int recvmmsg(int, mmsghdr*, unsigned int, int, void*)
    int sendmmsg(int, mmsghdr*, unsigned int, int)
    long recvmsg(int, msghdr*, int)
    int MSG_DONTWAIT
    int MSG_ERRQUEUE
    int AF_INET
    int AF_INET6

cdef extern from "<netinet/in.h>" nogil:
    struct in_addr:
        uint32_t s_addr
    struct sockaddr_in:
        uint16_t sin_family
        uint16_t sin_port
        in_addr sin_addr
    struct in6_addr:
        uint8_t s6_addr[16]
    struct sockaddr_in6:
        uint16_t sin6_family
        uint16_t sin6_port
        in6_addr sin6_addr
        uint32_t sin6_scope_id
    uint16_t htons(uint16_t)
    uint16_t ntohs(uint16_t)
    uint32_t htonl(uint32_t)
    uint32_t ntohl(uint32_t)

cdef int64_t FOREVER = 0x7FFFFFFFFFFFFFFF

cdef enum:
    BATCH = 64
    ROUNDS = 16  # batches of one socket in a row, then the others have their turn
    STRIDE = 67648  # of receive buffers: a datagram, and no power of two, for the caches' sake
    ARENA = 1024 * 1024
    LEAST_ROOM = 72 * 1024
    QUEUE = 1024 * 1024  # some 1,000 messages: 0.2 s of the Python router's work
    ERRORS = 256
    INNOCENT_TRIES = 16  # as rmlb.transport.udp: another error may have come meanwhile
    COPIES = 8 * 1024 * 1024  # while somebody asks; a poll of 20 a second takes 1.5 MiB
    NICE = -10
    GATHER_NS = 100000
    BUSY_NS = 300000  # batches that follow one another within this gather
    FULL = 32  # a batch of so many need not wait for more
    LOOK_AROUND = 32  # batches between two looks at everything else
    STOP = 0xFFFFFFFF

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
    uint8_t* queue
    uint32_t queue_used
    uint64_t backlog_dropped
    uint64_t backlog_unsent
    int copying  # somebody asks for copies of messages
    uint8_t* copies
    uint32_t copies_used
    uint64_t copies_lost
    int64_t copied_at  # wall clock of the batch, microseconds since 1970
    SourceTable* limited  # what each source may send
    uint64_t refused
    uint64_t errors[ERRORS]
    int64_t* page  # of rmlb.ownership; NULL: always the owner
    int stamp_ms  # how often the thread shows that it turns; -1: never
    bint owner  # of this batch: nothing may be forwarded otherwise


cdef inline double _now() noexcept nogil:
    cdef timespec at
    clock_gettime(CLOCK_MONOTONIC, &at)
    return <double> at.tv_sec + at.tv_nsec * 1e-9


cdef inline bint _may_forward(Loop* d) noexcept nogil:
    """Read once a batch: word 0 is the deadline in nanoseconds since boot (rmlb.ownership)."""
    cdef timespec at
    cdef int64_t until
    if d.page == NULL:
        return True
    until = (<volatile int64_t*> d.page)[0]
    if until == FOREVER:
        return True
    clock_gettime(CLOCK_BOOTTIME, &at)
    return at.tv_sec * 1000000000 + at.tv_nsec < until


cdef inline void _stamp(Loop* d) noexcept nogil:
    """Word 1: the packet loop turns."""
    cdef timespec at
    if d.page != NULL:
        clock_gettime(CLOCK_BOOTTIME, &at)
        (<volatile int64_t*> d.page)[1] = at.tv_sec * 1000000000 + at.tv_nsec


cdef void _queue(Loop* d, Record* record, const uint8_t* payload) noexcept nogil:
    cdef uint32_t size = (<uint32_t> sizeof(Record) + record.size + 7) & ~<uint32_t> 7
    if d.queue_used + size > QUEUE:
        if record.kind == DATAGRAM:
            d.core.tally.received[UDP] += 1
            d.backlog_dropped += 1
        elif record.kind == BY_STREAM:
            d.backlog_unsent += 1
        return
    memcpy(d.queue + d.queue_used, record, sizeof(Record))
    memcpy(d.queue + d.queue_used + sizeof(Record), payload, record.size)
    d.queue_used += size


cdef inline void _address(uint8_t* out, const sockaddr_in6* source) noexcept nogil:
    """As fastpath.sources has them."""
    if source.sin6_family == AF_INET:
        memset(out, 0, 10)
        out[10] = out[11] = 255
        memcpy(out + 12, &(<const sockaddr_in*> source).sin_addr, 4)
    else:
        memcpy(out, &source.sin6_addr, ADDRESS)


cdef inline void _from_address(Record* record, const sockaddr_in6* address) noexcept nogil:
    cdef const sockaddr_in* ipv4 = <const sockaddr_in*> address
    record.family = address.sin6_family
    if address.sin6_family == AF_INET:
        record.port = ntohs(ipv4.sin_port)
        memcpy(record.host, &ipv4.sin_addr, 4)
    else:
        record.port = ntohs(address.sin6_port)
        memcpy(record.host, &address.sin6_addr, 16)
        record.scope = address.sin6_scope_id


cdef int64_t _wall_clock() noexcept nogil:
    cdef timespec at
    clock_gettime(CLOCK_REALTIME, &at)
    return <int64_t> at.tv_sec * 1000000 + at.tv_nsec // 1000


cdef void _copy(Loop* d, Record* record, const uint8_t* payload) noexcept nogil:
    """Into the ring, or lost: a reader that is too slow costs copies, never a message."""
    cdef uint32_t size = (<uint32_t> sizeof(Record) + record.size + 7) & ~<uint32_t> 7
    if d.copies_used + size > COPIES:
        d.copies_lost += 1
        return
    record.channel = d.copied_at
    memcpy(d.copies + d.copies_used, record, sizeof(Record))
    memcpy(d.copies + d.copies_used + sizeof(Record), payload, record.size)
    d.copies_used += size


cdef void _copy_plain(
    Loop* d, Socket* by, const uint8_t* data, int32_t size, const sockaddr_in6* source, Outcome* out
) noexcept nogil:
    """A plain message as it came, and as it leaves; by a stream it is Python that sends it."""
    cdef Record record
    cdef uint32_t host
    memset(&record, 0, sizeof(Record))
    record.kind = COPY_IN
    record.size = <uint32_t> size
    record.listener = by.listener
    _from_address(&record, source)
    _copy(d, &record, data)
    if out.transport != UDP or d.fd_of[out.listener] < 0:
        return
    memset(&record, 0, sizeof(Record))
    record.kind = COPY_OUT
    record.size = <uint32_t> out.size
    record.listener = out.listener
    record.port = out.port
    record.family = <uint16_t> AF_INET
    host = htonl(out.host)
    memcpy(record.host, &host, 4)
    _copy(d, &record, out.octets)


cdef void _flush(Loop* d) noexcept nogil:
    """Send what the batch has made. An error stops sendmmsg at its first message: HA-RULES 6."""
    cdef int i = 0, run, done, tries = 0
    while i < d.sent_count:
        run = 1
        while i + run < d.sent_count and d.sent_by[i + run] == d.sent_by[i]:
            run += 1
        done = sendmmsg(d.sent_by[i], &d.sent[i], run, MSG_DONTWAIT)
        if done > 0:
            i += done
            tries = 0
            continue
        if errno == EINTR:
            continue
        if tries < INNOCENT_TRIES and (
            errno == ECONNREFUSED or errno == EHOSTUNREACH or errno == ENETUNREACH
        ):
            tries += 1  # an earlier datagram to somebody else was refused; this one is innocent
            continue
        if 0 <= errno < ERRORS:
            d.errors[errno] += 1
        i += 1
        tries = 0
    d.sent_count = 0
    d.arena_used = 0


cdef void _handle(
    Loop* d, Socket* by, const uint8_t* data, int32_t size, const sockaddr_in6* source,
    From* origin, double now,
) noexcept nogil:
    """One datagram. `origin` keeps the last source, for bursts come from one."""
    cdef const sockaddr_in* ipv4 = <const sockaddr_in*> source
    cdef Outcome out
    cdef Record record
    cdef uint32_t host
    cdef int sure = 0, fd
    cdef uint8_t[ADDRESS] address
    if d.limited.rate != 0.0:
        _address(address, source)
        if not source_may_send(d.limited, address, now):
            d.limited.dropped += 1
            return
    if d.owner and source.sin6_family == AF_INET and 0 <= by.listener < MOST_LISTENERS:
        host = ntohl(ipv4.sin_addr.s_addr)
        if host != origin.host or not origin.text.size:
            origin.host = host
            text_of_ipv4(host, &origin.text)
        origin.port = ntohs(ipv4.sin_port)
        origin.listener = by.listener
        origin.channel = by.listener
        origin.transport = UDP
        out.octets = d.arena + d.arena_used
        out.room = ARENA - d.arena_used
        sure = decide(d.core, data, size, origin, now, &out)
    if not sure:
        memset(&record, 0, sizeof(Record))
        record.kind = DATAGRAM
        record.size = <uint32_t> size
        record.listener = by.listener
        _from_address(&record, source)
        _queue(d, &record, data)
        return
    if d.copying:
        _copy_plain(d, by, data, size, source, &out)
    fd = d.fd_of[out.listener] if out.transport == UDP else -1
    if fd < 0:
        memset(&record, 0, sizeof(Record))
        record.kind = BY_STREAM
        record.size = <uint32_t> out.size
        record.listener = out.listener
        record.transport = out.transport
        record.channel = out.channel
        record.port = out.port
        record.member = d.core.moment.snapshot.members[out.member].id if out.member >= 0 else 0
        host = htonl(out.host)
        memcpy(record.host, &host, 4)
        record.family = <uint16_t> AF_INET
        _queue(d, &record, out.octets)
        return
    d.sent_at[d.sent_count].iov_base = out.octets
    d.sent_at[d.sent_count].iov_len = out.size
    d.destinations[d.sent_count].sin_port = htons(out.port)
    d.destinations[d.sent_count].sin_addr.s_addr = htonl(out.host)
    d.sent_by[d.sent_count] = fd
    d.sent_count += 1
    d.arena_used += (out.size + 63) & ~63


cdef int _read(Loop* d, Socket* by) noexcept nogil:
    """What has arrived; returns how many datagrams, -1 for an error that the error queue tells."""
    cdef int i, got, _, total = 0
    cdef double now
    cdef From origin
    cdef uint32_t queued, changed
    cdef bint tell
    cdef uint64_t one = 1
    origin.text.size = 0
    for _ in range(ROUNDS):
        for i in range(BATCH):
            d.received[i].msg_hdr.msg_namelen = sizeof(sockaddr_in6)
        got = recvmmsg(by.fd, d.received, BATCH, MSG_DONTWAIT, NULL)
        if got < 0:
            return total if errno == EAGAIN or errno == EINTR else -1
        total += got
        now = _now()
        if d.copying:
            d.copied_at = _wall_clock()
        d.owner = _may_forward(d)  # if not, Python drops what it is left, counted
        pthread_mutex_lock(d.mutex)
        queued = d.queue_used
        changed = d.core.moment.bindings.changed_count
        for i in range(got):
            if ARENA - d.arena_used < LEAST_ROOM:
                _flush(d)
            _handle(
                d, by, <const uint8_t*> d.received_at[i].iov_base,
                <int32_t> d.received[i].msg_len, &d.sources[i], &origin, now,
            )
        # what waited before was told before
        tell = (d.queue_used and not queued) or (d.core.moment.bindings.changed_count and not changed)
        pthread_mutex_unlock(d.mutex)
        if tell:
            write(d.notify, &one, 8)
        _flush(d)
        if got < BATCH:
            break
    return total


cdef void _gather(Loop* d) noexcept nogil:
    """While batches follow each other closely, wait for more of them at a time.

    As network cards do with interrupts: a tenth of a millisecond costs nobody anything, and a
    batch of ten costs a third of ten batches. Alone, a datagram is seen to at once.
    """
    cdef timespec pause
    cdef int i, got, read, _
    cdef double before, now = _now()
    pause.tv_sec = 0
    pause.tv_nsec = GATHER_NS
    for _ in range(LOOK_AROUND):
        _stamp(d)
        before = now
        nanosleep(&pause, NULL)
        got = 0
        for i in range(d.socket_count):
            read = _read(d, &d.sockets[i])
            if read < 0:
                return
            got += read
        now = _now()
        if got == 0 or now - before > BUSY_NS * 1e-9:
            return


cdef void _read_errors(Loop* d, Socket* by) noexcept nogil:
    """Whose datagrams were refused; each address once per turn."""
    cdef msghdr message
    cdef iovec into
    cdef sockaddr_in6 address
    cdef uint8_t[512] scrap
    cdef Record record, last
    cdef uint64_t one = 1
    cdef int _
    memset(&last, 0, sizeof(Record))
    for _ in range(ERRORS):
        memset(&message, 0, sizeof(msghdr))
        memset(&record, 0, sizeof(Record))
        into.iov_base = scrap
        into.iov_len = 512
        message.msg_name = &address
        message.msg_namelen = sizeof(sockaddr_in6)
        message.msg_iov = &into
        message.msg_iovlen = 1
        if recvmsg(by.fd, &message, MSG_ERRQUEUE | MSG_DONTWAIT) < 0:
            return
        if message.msg_namelen == 0:
            continue
        record.kind = REFUSED
        record.listener = by.listener
        _from_address(&record, &address)
        if last.kind and record.port == last.port and memcmp(record.host, last.host, 16) == 0:
            continue
        last = record
        pthread_mutex_lock(d.mutex)
        d.refused += 1
        _queue(d, &record, scrap)
        pthread_mutex_unlock(d.mutex)
        write(d.notify, &one, 8)


cdef void* _run(void* arg) noexcept nogil:
    cdef Loop* d = <Loop*> arg
    cdef epoll_event[MOST_LISTENERS + 1] events
    cdef int i, got, read
    cdef double last = 0.0, now
    setpriority(PRIO_PROCESS, 0, NICE)  # this thread alone; not permitted is no fault
    prctl(PR_SET_TIMERSLACK, 1000)
    while True:
        _stamp(d)
        got = epoll_wait(d.epoll, events, MOST_LISTENERS + 1, d.stamp_ms)
        for i in range(got):
            if events[i].data.u32 == <uint32_t> STOP:
                return NULL
            if events[i].events & EPOLLERR:
                _read_errors(d, &d.sockets[events[i].data.u32])
            if events[i].events & EPOLLIN:
                read = _read(d, &d.sockets[events[i].data.u32])
                if 0 < read < FULL:
                    now = _now()
                    if now - last < BUSY_NS * 1e-9:
                        _gather(d)
                        now = _now()
                    last = now


cdef class PacketLoop:
    """The thread, and the queue of what it leaves to Python."""

    cdef Loop* d
    cdef Core _core
    cdef pthread_t _thread
    cdef bint _runs
    cdef object _page
    cdef uint8_t* _taking
    cdef uint32_t _taken
    cdef uint32_t _taking_size
    cdef uint8_t* _copies

    def __cinit__(self, Core core not None):
        cdef int i
        self._core = core
        self.d = <Loop*> calloc(1, sizeof(Loop))
        self._taking = <uint8_t*> malloc(QUEUE)
        if self.d == NULL or self._taking == NULL:
            raise MemoryError
        self.d.epoll = self.d.wake = self.d.notify = -1
        self.d.stamp_ms = -1
        self.d.core = &core.data
        self.d.limited = &core.sources.t
        self.d.mutex = &core.mutex
        self.d.buffers = <uint8_t*> malloc(BATCH * STRIDE)
        self.d.arena = <uint8_t*> malloc(ARENA)
        self.d.queue = <uint8_t*> malloc(QUEUE)
        if self.d.buffers == NULL or self.d.arena == NULL or self.d.queue == NULL:
            raise MemoryError
        for i in range(MOST_LISTENERS):
            self.d.fd_of[i] = -1
        for i in range(BATCH):
            self.d.received_at[i].iov_base = self.d.buffers + i * STRIDE
            self.d.received_at[i].iov_len = 65535
            self.d.received[i].msg_hdr.msg_iov = &self.d.received_at[i]
            self.d.received[i].msg_hdr.msg_iovlen = 1
            self.d.received[i].msg_hdr.msg_name = &self.d.sources[i]
            self.d.destinations[i].sin_family = <uint16_t> AF_INET
            self.d.sent[i].msg_hdr.msg_iov = &self.d.sent_at[i]
            self.d.sent[i].msg_hdr.msg_iovlen = 1
            self.d.sent[i].msg_hdr.msg_name = &self.d.destinations[i]
            self.d.sent[i].msg_hdr.msg_namelen = sizeof(sockaddr_in)
        self.d.epoll = epoll_create1(EPOLL_CLOEXEC)
        self.d.wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
        self.d.notify = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
        if self.d.epoll < 0 or self.d.wake < 0 or self.d.notify < 0:
            raise OSError(errno, os.strerror(errno))
        self._watch(self.d.wake, <uint32_t> STOP)

    def heed(self, page, int stamp_ms):
        """Before `start`: forward only as long as the page of rmlb.ownership says, and stamp it."""
        cdef int64_t[::1] words = memoryview(page).cast("q")
        self._page = words
        self.d.page = &words[0]
        self.d.stamp_ms = stamp_ms

    def __dealloc__(self):
        self.stop()
        if self.d != NULL:
            for fd in (self.d.epoll, self.d.wake, self.d.notify):
                if fd >= 0:
                    close(fd)
            free(self.d.buffers)
            free(self.d.arena)
            free(self.d.queue)
            free(self.d.copies)
            free(self.d)
        free(self._taking)
        free(self._copies)

    cdef int _watch(self, int fd, uint32_t what) except -1:
        cdef epoll_event event
        event.events = EPOLLIN
        event.data.u32 = what
        if epoll_ctl(self.d.epoll, EPOLL_CTL_ADD, fd, &event) < 0:
            raise OSError(errno, os.strerror(errno))
        return 0

    def add(self, int fd, int listener, *, bint ipv4):
        """A bound, non-blocking UDP socket, before `start`; it stays the caller's to close."""
        cdef int place = self.d.socket_count
        if self._runs or place == MOST_LISTENERS or not 0 <= listener < MOST_LISTENERS:
            raise ValueError(f"at most {MOST_LISTENERS} listeners, and before the start")
        self.d.sockets[place].fd = fd
        self.d.sockets[place].listener = listener
        if ipv4:
            self.d.fd_of[listener] = fd
        self._watch(fd, place)
        self.d.socket_count += 1

    def start(self):
        """Raises OSError where there can be no thread."""
        cdef int failed = pthread_create(&self._thread, NULL, _run, self.d)
        if failed:
            raise OSError(failed, os.strerror(failed))
        self._runs = True

    def stop(self):
        """The sockets may be closed afterwards."""
        cdef uint64_t one = 1
        if self._runs:
            write(self.d.wake, &one, 8)
            with nogil:
                pthread_join(self._thread, NULL)
            read(self.d.wake, &one, 8)
            self._runs = False

    def fileno(self):
        """Readable while there is something to take."""
        return self.d.notify

    def take(self, int most):
        """At most so many of what waits: (what, Origin or Destination or (host, port), octets).

        what: "datagram" from an Origin, "send" to a Destination, "refused".
        """
        cdef uint64_t count
        cdef Record record
        cdef list found = []
        cdef uint8_t* other
        while len(found) < most:
            if self._taken == self._taking_size:
                read(self.d.notify, &count, 8)
                self._core.hold()
                other = self._taking
                self._taking = self.d.queue
                self._taking_size = self.d.queue_used
                self.d.queue = other
                self.d.queue_used = 0
                self._core.release()
                self._taken = 0
                if not self._taking_size:
                    break
            memcpy(&record, self._taking + self._taken, sizeof(Record))
            found.append(self._shown(&record, self._taking + self._taken + sizeof(Record)))
            self._taken += (<uint32_t> sizeof(Record) + record.size + 7) & ~<uint32_t> 7
        if self._taken < self._taking_size:
            count = 1
            write(self.d.notify, &count, 8)
        return found

    def copy(self, bint on):
        """Make copies of plain messages from now on, or no more."""
        if on and self._copies == NULL:
            self._copies = <uint8_t*> malloc(COPIES)
            self.d.copies = <uint8_t*> malloc(COPIES)
            if self._copies == NULL or self.d.copies == NULL:
                raise MemoryError
        self._core.hold()
        self.d.copying = on
        self.d.copied_at = _wall_clock()
        self.d.copies_used = 0
        self._core.release()

    def take_copies(self):
        """Copies since the last call: (wall clock, came, listener, host, port, octets)."""
        cdef Record record
        cdef uint8_t* other
        cdef uint32_t at = 0, end
        cdef list found = []
        if self._copies == NULL:
            return found
        self._core.hold()
        other = self._copies
        self._copies = self.d.copies
        end = self.d.copies_used
        self.d.copies = other
        self.d.copies_used = 0
        self._core.release()
        while at < end:
            memcpy(&record, self._copies + at, sizeof(Record))
            at += <uint32_t> sizeof(Record)
            if record.family == AF_INET:
                host = _socket.inet_ntop(_socket.AF_INET, record.host[:4])
            else:
                host = _socket.inet_ntop(_socket.AF_INET6, record.host[:16])
            octets = self._copies[at : at + record.size]
            found.append(
                (
                    record.channel / 1e6, record.kind == COPY_IN, record.listener, host,
                    record.port, octets,
                )
            )
            at += (record.size + 7) & ~<uint32_t> 7
        return found

    @property
    def copies_lost(self):
        """Copies that found no room, since start."""
        return self.d.copies_lost

    cdef object _shown(self, Record* record, uint8_t* payload):
        if record.family == AF_INET:
            host = _socket.inet_ntop(_socket.AF_INET, record.host[:4])
        else:
            host = _socket.inet_ntop(_socket.AF_INET6, record.host[:16])
        if record.kind == REFUSED:
            return "refused", (host, record.port), b""
        octets = payload[:record.size]
        if record.kind == DATAGRAM:
            origin = Origin(Transport.UDP, record.listener, record.listener, host, record.port)
            return "datagram", origin, octets
        transport = Transport.TCP if record.transport == TCP else Transport.TLS
        to = Destination(
            transport, host, record.port, record.listener, record.channel, record.member
        )
        return "send", to, octets

    def add_to(self, counters):
        """What was counted here, added to the router's counters."""
        cdef int i
        for i in range(ERRORS):
            if self.d.errors[i]:
                cause = _errno.errorcode.get(i, "unknown").lower()
                counters.send_errors[cause] += self.d.errors[i]
        if self.d.refused:
            counters.send_errors["refused"] += self.d.refused
        if self.d.backlog_unsent:
            counters.send_errors["backlog"] += self.d.backlog_unsent
        if self.d.backlog_dropped:
            counters.dropped[Reason.BACKLOG] += self.d.backlog_dropped
            counters.kinds[Kind.OTHER] += self.d.backlog_dropped
        if self.d.limited.dropped:
            counters.received[Transport.UDP] += self.d.limited.dropped
            counters.dropped[Reason.SOURCE_RATE] += self.d.limited.dropped
            counters.kinds[Kind.OTHER] += self.d.limited.dropped
