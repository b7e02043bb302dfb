# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The core as a Python object; see core.pxd.

`publish` turns a routing snapshot into C, `decide` handles one message for those who have it as
octets in Python (streams, tests); datagrams are handled by packets.pyx without Python. The lock is
recursive: the Python router holds it for a whole message, and its tables are these.
"""

from libc.stdint cimport int32_t, uint8_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcmp, memcpy, memset

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
from rmlb.fastpath.table cimport MOST_LISTENERS, TRANSPORTS, UDP, Snapshot, Text, text_of_ipv4
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
    SHEAF_ROOM = 4 * ROOM


cdef inline bint _is_joined(const Outcome* a, const Outcome* b) noexcept nogil:
    """They leave one behind the other over one stream."""
    return (
        b.size >= 0 and a.transport == b.transport != UDP and a.host == b.host
        and a.port == b.port and a.channel == b.channel and a.listener == b.listener
    )


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
        self._destinations = [None] * PLACES
        for i in range(PLACES):
            self._places[i].listener = -1
        self._sheaf.octets = <uint8_t*> array_of(SHEAF_ROOM, 1)

    def __dealloc__(self):
        pthread_mutex_destroy(&self.mutex)
        free_snapshot(self.data.moment.snapshot)
        free(self._sheaf.octets)
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

    def decide_all(self, list messages not None, origin, double now):
        """What becomes of messages of one connection: what there is to send, joined for each
        destination that is a stream, as (Destination, octets); and, in its place between them,
        each message that the Python router is to see, as it came.
        """
        cdef From source
        cdef Outcome* out
        cdef bytes data
        cdef list done = []
        cdef Sheaf* sheaf = &self._sheaf
        if not self._is_from(origin, &source):
            return messages
        self.hold()
        try:
            for data in messages:
                if sheaf.count == SHEAF or SHEAF_ROOM - sheaf.used < ROOM:
                    self._bind_sheaf(done)
                out = &sheaf.outcomes[sheaf.count]
                out.octets = sheaf.octets + sheaf.used
                out.room = SHEAF_ROOM - sheaf.used
                if decide(
                    &self.data, <const uint8_t*> PyBytes_AS_STRING(data),
                    <int32_t> PyBytes_GET_SIZE(data), &source, now, out,
                ):
                    sheaf.used += out.size
                    sheaf.count += 1
                else:
                    self._bind_sheaf(done)
                    done.append(data)
            self._bind_sheaf(done)
        finally:
            sheaf.count = sheaf.used = 0
            self.release()
        return done

    cdef int _bind_sheaf(self, list done) except -1:
        """What was decided, joined for each destination, in the order of their first."""
        cdef Sheaf* sheaf = &self._sheaf
        cdef Outcome* first
        cdef Outcome* each
        cdef int i, k
        cdef Py_ssize_t size
        cdef bytes octets
        cdef char* at
        for i in range(sheaf.count):
            first = &sheaf.outcomes[i]
            if first.size < 0:
                continue
            size = first.size
            for k in range(i + 1, sheaf.count):
                if _is_joined(first, &sheaf.outcomes[k]):
                    size += sheaf.outcomes[k].size
            octets = PyBytes_FromStringAndSize(NULL, size)
            at = PyBytes_AS_STRING(octets)
            for k in range(i, sheaf.count):
                each = &sheaf.outcomes[k]
                if k == i or _is_joined(first, each):
                    memcpy(at, each.octets, each.size)
                    at += each.size
                    if k > i:
                        each.size = -1
            done.append((self._destination(first), octets))
        sheaf.count = sheaf.used = 0
        return 0

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
        if not self._is_from(origin, &source):
            return None
        out.octets = <uint8_t*> self._room
        out.room = ROOM
        self.hold()
        try:
            sure = decide(&self.data, data, size, &source, now, &out)
            return self._forward(&out) if sure else None
        finally:
            self.release()

    cdef int _is_from(self, origin, From* source) except -1:
        """0: nothing from there is plain."""
        if not ipv4_of(origin.host, &source.host):
            return 0
        text_of_ipv4(source.host, &source.text)
        source.port = origin.port
        source.listener = origin.listener
        source.channel = origin.channel
        source.transport = _NUMBERS[origin.transport]
        return 0 <= source.listener < MOST_LISTENERS

    cdef object _forward(self, Outcome* out):
        cdef int by = 0
        if out.answered_by >= 0:
            by = self.data.moment.snapshot.members[out.answered_by].id
        octets = PyBytes_FromStringAndSize(<char*> out.octets, out.size)
        return Forward(
            _KINDS[out.kind], octets, self._destination(out), _STEPS[out.step],
            bool(out.initial), out.status, by,
        )

    cdef object _destination(self, const Outcome* out):
        """The same object as before for the same place: to make one costs a microsecond."""
        cdef Text host
        cdef Place place
        cdef int at = <int> ((out.host * 31 + out.port + 7 * <uint32_t> out.channel) % PLACES)
        memset(&place, 0, sizeof(Place))
        place.host = out.host
        place.channel = out.channel
        place.port = out.port
        place.listener = out.listener
        place.transport = out.transport
        if out.member >= 0:
            place.member = self.data.moment.snapshot.members[out.member].id
        if memcmp(&place, &self._places[at], sizeof(Place)) != 0:
            text_of_ipv4(out.host, &host)
            self._destinations[at] = Destination(
                _TRANSPORTS[out.transport],
                host.octets[:host.size].decode("ascii"),
                out.port,
                out.listener,
                out.channel,
                place.member,
            )
            self._places[at] = place
        return self._destinations[at]

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
