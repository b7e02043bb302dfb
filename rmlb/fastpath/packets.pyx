# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The packet thread as the event loop sees it: sockets go in, what is not plain comes out.

What thread.pyx does with a batch is its own affair; here it is started and stopped, and its queue
and its copies of messages are turned into Python.
"""

from libc.errno cimport errno
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from rmlb.fastpath.core cimport Core
from rmlb.fastpath.system cimport (
    AF_INET, EFD_CLOEXEC, EFD_NONBLOCK, EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLLIN, close,
    epoll_create1, epoll_ctl, epoll_event, eventfd, pthread_create, pthread_join, pthread_t, read,
    sockaddr_in, write,
)
from rmlb.fastpath.table cimport MOST_LISTENERS, TCP
from rmlb.fastpath.thread cimport (
    ARENA, BATCH, COPIES, COPY_IN, DATAGRAM, ERRORS, QUEUE, REFUSED, STOP, STRIDE, Loop, Record,
    Records, room_of, run, wall_clock,
)

import errno as _errno
import os
import socket as _socket

from rmlb.routing.verdict import Destination, Kind, Origin, Reason
from rmlb.sip.address import Transport


cdef class PacketLoop:
    """The thread, and the queue of what it leaves to Python."""

    cdef Loop* d
    cdef Core _core
    cdef pthread_t _thread
    cdef bint _runs
    cdef object _page
    cdef Records _taking  # out of them Python takes, while the thread fills others
    cdef uint32_t _taken
    cdef Records _copies

    def __cinit__(self, Core core not None):
        cdef int i
        self._core = core
        self.d = <Loop*> calloc(1, sizeof(Loop))
        if self.d == NULL:
            raise MemoryError
        self._taking = _records(QUEUE)
        self.d.queue = _records(QUEUE)
        self.d.epoll = self.d.wake = self.d.notify = -1
        self.d.stamp_ms = -1
        self.d.core = &core.data
        self.d.limited = &core.sources.t
        self.d.mutex = &core.mutex
        self.d.buffers = <uint8_t*> malloc(BATCH * STRIDE)
        self.d.arena = <uint8_t*> malloc(ARENA)
        if self.d.buffers == NULL or self.d.arena == NULL:
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
            free(self.d.queue.octets)
            free(self.d.copies.octets)
            free(self.d)
        free(self._taking.octets)
        free(self._copies.octets)

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
        cdef int failed = pthread_create(&self._thread, NULL, run, self.d)
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
        cdef uint8_t* at
        cdef list found = []
        while len(found) < most:
            if self._taken == self._taking.used:
                read(self.d.notify, &count, 8)
                self._exchange(&self._taking, &self.d.queue)
                self._taken = 0
                if not self._taking.used:
                    break
            at = self._taking.octets + self._taken
            memcpy(&record, at, sizeof(Record))
            found.append(_shown(&record, at + sizeof(Record)))
            self._taken += room_of(&record)
        if self._taken < self._taking.used:
            count = 1
            write(self.d.notify, &count, 8)
        return found

    def copy(self, bint on):
        """Make copies of plain messages from now on, or no more."""
        if on and self._copies.octets == NULL:
            self.d.copies = _records(COPIES)
            self._copies = _records(COPIES)
        self._core.hold()
        self.d.copying = on
        self.d.copied_at = wall_clock()
        self.d.copies.used = 0
        self._core.release()

    def take_copies(self):
        """Copies since the last call: (wall clock, came, listener, host, port, octets)."""
        cdef Record record
        cdef uint8_t* at
        cdef uint8_t* end
        cdef list found = []
        if self._copies.octets == NULL:
            return found
        self._exchange(&self._copies, &self.d.copies)
        at = self._copies.octets
        end = at + self._copies.used
        while at < end:
            memcpy(&record, at, sizeof(Record))
            octets = at[sizeof(Record) : sizeof(Record) + record.size]
            found.append(
                (
                    record.channel / 1e6, record.kind == COPY_IN, record.listener,
                    _host(&record), record.port, octets,
                )
            )
            at += room_of(&record)
        return found

    cdef void _exchange(self, Records* taken, Records* filled):
        """What the thread has filled, for what is empty again."""
        cdef Records full
        self._core.hold()
        full = filled[0]
        taken.used = 0
        filled[0] = taken[0]
        taken[0] = full
        self._core.release()

    @property
    def copies_lost(self):
        """Copies that found no room, since start."""
        return self.d.copies_lost

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


cdef Records _records(uint32_t room) except *:
    cdef Records made
    made.octets = <uint8_t*> malloc(room)
    made.used = 0
    made.room = room
    if made.octets == NULL:
        raise MemoryError
    return made


cdef object _host(const Record* record):
    if record.family == AF_INET:
        return _socket.inet_ntop(_socket.AF_INET, record.host[:4])
    return _socket.inet_ntop(_socket.AF_INET6, record.host[:16])


cdef object _shown(const Record* record, const uint8_t* payload):
    """As `take` gives it."""
    host = _host(record)
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
