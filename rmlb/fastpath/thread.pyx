# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The packet thread: receives a batch, decides it, sends it; see packets.pyx.

It never takes the GIL, so neither a scrape nor a reload, a slow store or garbage collection holds
up a packet. What `decide` is not sure of, what leaves by a stream, and ICMP refusals go into a
bounded queue; when that is full, the newest is dropped and counted.
"""

from libc.errno cimport EAGAIN, ECONNREFUSED, EHOSTUNREACH, EINTR, ENETUNREACH, errno
from libc.string cimport memcmp, memcpy, memset

from rmlb.fastpath.bindings cimport BindTable
from rmlb.fastpath.decide cimport decide
from rmlb.fastpath.sources cimport ADDRESS, source_may_send
from rmlb.fastpath.system cimport (
    AF_INET, CLOCK_BOOTTIME, CLOCK_MONOTONIC, CLOCK_REALTIME, EPOLLERR, EPOLLIN, MSG_DONTWAIT,
    MSG_ERRQUEUE, PR_SET_TIMERSLACK, PRIO_PROCESS, clock_gettime, epoll_event, epoll_wait, htonl,
    htons, msghdr, nanosleep, ntohl, ntohs, prctl, pthread_mutex_lock, pthread_mutex_unlock,
    recvmmsg, recvmsg, sendmmsg, setpriority, timespec, write,
)
from rmlb.fastpath.table cimport UDP, text_of_ipv4
from rmlb.fastpath.verdict cimport From, Outcome

cdef int64_t FOREVER = 0x7FFFFFFFFFFFFFFF

cdef enum:
    ROUNDS = 16  # batches of one socket in a row, then the others have their turn
    LEAST_ROOM = 72 * 1024
    INNOCENT_TRIES = 16  # as rmlb.transport.udp: another error may have come meanwhile
    NICE = -10
    GATHER_NS = 100000
    BUSY_NS = 300000  # batches that follow one another within this gather
    FULL = 32  # a batch of so many need not wait for more
    LOOK_AROUND = 32  # batches between two looks at everything else


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


cdef bint _append(Records* records, const Record* record, const uint8_t* payload) noexcept nogil:
    """False: there is no room."""
    cdef uint8_t* at = records.octets + records.used
    if records.used + room_of(record) > records.room:
        return False
    memcpy(at, record, sizeof(Record))
    memcpy(at + sizeof(Record), payload, record.size)
    records.used += room_of(record)
    return True


cdef void _queue(Loop* d, Record* record, const uint8_t* payload) noexcept nogil:
    """For Python; when there is no room it is dropped and counted."""
    if _append(&d.queue, record, payload):
        return
    if record.kind == DATAGRAM:
        d.core.tally.received[UDP] += 1
        d.backlog_dropped += 1
    elif record.kind == BY_STREAM:
        d.backlog_unsent += 1


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


cdef int64_t wall_clock() noexcept nogil:
    cdef timespec at
    clock_gettime(CLOCK_REALTIME, &at)
    return <int64_t> at.tv_sec * 1000000 + at.tv_nsec // 1000


cdef void _copy(Loop* d, Record* record, const uint8_t* payload) noexcept nogil:
    """Into the ring, or lost: a reader that is too slow costs copies, never a message."""
    record.channel = d.copied_at
    if not _append(&d.copies, record, payload):
        d.copies_lost += 1


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
    cdef BindTable* bindings = d.core.moment.bindings
    cdef uint32_t queued
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
            d.copied_at = wall_clock()
        d.owner = _may_forward(d)  # if not, Python drops what it is left, counted
        pthread_mutex_lock(d.mutex)
        queued = d.queue.used
        for i in range(got):
            if ARENA - d.arena_used < LEAST_ROOM:
                _flush(d)
            _handle(
                d, by, <const uint8_t*> d.received_at[i].iov_base,
                <int32_t> d.received[i].msg_len, &d.sources[i], &origin, now,
            )
        tell = d.queue.used and not queued  # what waited before was told before
        if bindings.listened and bindings.changed_count:
            bindings.listened = False
            tell = True
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


cdef void* run(void* loop) noexcept nogil:
    cdef Loop* d = <Loop*> loop
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
