# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The core as a Python object; see core.pxd.

`publish` turns a routing snapshot into C, `decide` handles one message for those who have it as
octets in Python (streams, tests); datagrams are handled by packets.pyx without Python. The lock is
recursive: the Python router holds it for a whole message, and its tables are these.
"""

from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memset

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE

from rmlb.fastpath.decide cimport decide
from rmlb.fastpath.members cimport MOST_MEMBERS
from rmlb.fastpath.snapshot cimport (
    array_of, blank_snapshot, free_snapshot, ipv4_of, make_snapshot,
)
from rmlb.fastpath.system cimport (
    PTHREAD_MUTEX_RECURSIVE, pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock,
    pthread_mutex_trylock, pthread_mutex_unlock, pthread_mutexattr_destroy, pthread_mutexattr_init,
    pthread_mutexattr_settype, pthread_mutexattr_t,
)
from rmlb.fastpath.table cimport MOST_LISTENERS, TRANSPORTS, Snapshot, Text, text_of_ipv4
from rmlb.fastpath.verdict cimport From

from rmlb.fastpath.limits import beyond
from rmlb.routing.verdict import Destination, Forward, Kind, Step
from rmlb.sip.address import Transport

_TRANSPORTS = (Transport.UDP, Transport.TCP, Transport.TLS)
_NUMBERS = {transport: number for number, transport in enumerate(_TRANSPORTS)}
_KINDS = (Kind.TO_MEMBER, Kind.RESPONSE, Kind.OUTWARD)
_STEPS = (None, Step.MARK, Step.BINDING, Step.ALGORITHM, Step.TRANSACTION)

cdef enum:
    ROOM = 72 * 1024  # the largest datagram and what we add to it


cdef class Core:
    def __cinit__(self, binding_limits, pending_limits, load_limits, source_limits):
        cdef pthread_mutexattr_t attributes
        memset(&self.data, 0, sizeof(self.data))
        pthread_mutexattr_init(&attributes)
        pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE)
        pthread_mutex_init(&self.mutex, &attributes)
        pthread_mutexattr_destroy(&attributes)
        self.members = Members()
        self.bindings = Bindings(binding_limits, self.members)
        self.pending = PendingRequests(pending_limits, self.members)
        self.loads = Loads(load_limits, self.members)
        self.sources = Sources(source_limits)
        self.data.moment.bindings = &self.bindings.t
        self.data.moment.pending = &self.pending.t
        self.data.moment.loads = &self.loads.t
        self.data.tally.requests = <uint64_t*> array_of(MOST_MEMBERS, sizeof(uint64_t))
        self.data.tally.initial = <uint64_t*> array_of(MOST_MEMBERS, sizeof(uint64_t))
        self.data.tally.responses = <uint64_t*> array_of(MOST_MEMBERS * 7, sizeof(uint64_t))
        self.data.moment.snapshot = blank_snapshot()
        self._room = bytearray(ROOM)

    def __dealloc__(self):
        pthread_mutex_destroy(&self.mutex)
        free_snapshot(self.data.moment.snapshot)
        free(self.data.tally.requests)
        free(self.data.tally.initial)
        free(self.data.tally.responses)

    cdef void hold(self):
        """The GIL is not kept while waiting: the packet thread never needs it."""
        if pthread_mutex_trylock(&self.mutex):
            with nogil:
                pthread_mutex_lock(&self.mutex)

    cdef void release(self):
        pthread_mutex_unlock(&self.mutex)

    def __enter__(self):
        self.hold()
        return self

    def __exit__(self, *_):
        self.release()

    def publish(self, table):
        """The snapshot that counts from the next message on."""
        cdef Snapshot* made
        cdef Snapshot* old
        if beyond(table):
            made = blank_snapshot()
        else:
            made = make_snapshot(table, self.members)
        self.hold()
        old = self.data.moment.snapshot
        self.data.moment.snapshot = made
        self.release()
        free_snapshot(old)

    def decide(self, bytes data not None, origin, double now):
        """A Forward, counted, or None: the Python router is to see it."""
        return self.decide_at(
            <const uint8_t*> PyBytes_AS_STRING(data), <int> PyBytes_GET_SIZE(data), origin, now
        )

    cdef object decide_at(self, const uint8_t* data, int size, origin, double now):
        """As `decide`, of octets at a pointer."""
        cdef From source
        cdef Outcome out
        cdef int sure
        cdef uint8_t* room = <uint8_t*> self._room
        if not ipv4_of(origin.host, &source.host):
            return None
        text_of_ipv4(source.host, &source.text)
        source.port = origin.port
        source.listener = origin.listener
        source.channel = origin.channel
        source.transport = _NUMBERS[origin.transport]
        if not 0 <= source.listener < MOST_LISTENERS:
            return None
        out.octets = room
        out.room = ROOM
        self.hold()
        try:
            sure = decide(&self.data, data, size, &source, now, &out)
            return self._forward(&out) if sure else None
        finally:
            self.release()

    cdef object _forward(self, Outcome* out):
        cdef Text host
        cdef Snapshot* s = self.data.moment.snapshot
        cdef int member = 0, by = 0
        text_of_ipv4(out.host, &host)
        if out.member >= 0:
            member = s.members[out.member].id
        if out.answered_by >= 0:
            by = s.members[out.answered_by].id
        to = Destination(
            _TRANSPORTS[out.transport],
            host.octets[:host.size].decode("ascii"),
            out.port,
            out.listener,
            out.channel,
            member,
        )
        octets = PyBytes_FromStringAndSize(<char*> out.octets, out.size)
        return Forward(
            _KINDS[out.kind], octets, to, _STEPS[out.step], bool(out.initial), out.status, by
        )

    def add_to(self, counters):
        """What was counted here, added to the Python router's counters."""
        cdef int i, k
        cdef uint64_t* responses
        tally = self.data.tally
        for i in range(TRANSPORTS):
            if tally.received[i]:
                counters.received[_TRANSPORTS[i]] += tally.received[i]
        counters.forwarded += tally.forwarded
        for i in range(3):
            if tally.kinds[i]:
                counters.kinds[_KINDS[i]] += tally.kinds[i]
        for i in range(1, 5):
            if tally.steps[i]:
                counters.affinity[_STEPS[i]] += tally.steps[i]
        for i in range(self.members.count):
            responses = &self.data.tally.responses[i * 7]
            if not self.data.tally.requests[i] and not any(
                [responses[k] for k in range(7)]
            ):
                continue
            member = counters.member(self.members.ids[i])
            member.requests += self.data.tally.requests[i]
            member.initial_requests += self.data.tally.initial[i]
            for k in range(1, 7):
                if responses[k]:
                    member.responses[k] += responses[k]
