# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The core as a Python object; see core.pxd.

`publish` turns a routing snapshot into C, `decide` handles one message for those who have it as
octets in Python (streams, tests); datagrams are handled by packets.pyx without Python. The lock is
recursive: the Python router holds it for a whole message, and its tables are these.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE

from rmlb.fastpath.decide cimport (
    HOST_ROOM, MOST_KEYS, MOST_LISTENERS, PREFIX_ROOM, TRANSPORTS, Endpoint, From, KeySet, Loss,
    Losses, Outcome, OwnEndpoint, OwnName, Snapshot, Survivor, Text, Way, decide, text_of_ipv4,
)
from rmlb.fastpath.decide cimport Member as MemberData
from rmlb.fastpath.scan cimport Span, ipv4_at
from rmlb.fastpath.siphash cimport sip_key
from rmlb.fastpath.tables cimport MOST_MEMBERS

from rmlb.routing.forwarding import record_route_line, via_value
from rmlb.routing.keys import member_seed
from rmlb.routing.member import Health
from rmlb.routing.selection import Algorithm
from rmlb.routing.verdict import Destination, Forward, Kind, Step
from rmlb.sip.address import Transport

_TRANSPORTS = (Transport.UDP, Transport.TCP, Transport.TLS)
_LETTER = {transport: number for number, transport in enumerate(_TRANSPORTS)}
_KINDS = (Kind.TO_MEMBER, Kind.RESPONSE, Kind.OUTWARD)
_STEPS = (None, Step.MARK, Step.BINDING, Step.ALGORITHM, Step.TRANSACTION)

cdef enum:
    ROOM = 72 * 1024  # the largest datagram and what we add to it


class _NotPlain(Exception):
    """Something of the configuration does not fit: the Python router sees to everything."""


cdef Text _text(str value) except *:
    cdef bytes octets = value.encode("latin-1", "replace")
    cdef Text text
    if len(octets) > HOST_ROOM:
        raise _NotPlain
    memcpy(text.octets, PyBytes_AS_STRING(octets), PyBytes_GET_SIZE(octets))
    text.size = <int> len(octets)
    return text


cdef int _ipv4(str host, uint32_t* out) except -1:
    """1 for an IPv4 literal."""
    cdef bytes octets = host.encode("latin-1", "replace")
    cdef Span span
    span.start = 0
    span.end = <int> len(octets)
    return ipv4_at(<const uint8_t*> PyBytes_AS_STRING(octets), span, out)


cdef uint32_t _place(const Text* host, int port) noexcept:
    cdef uint32_t place = 2166136261
    cdef int i
    for i in range(host.size):
        place = (place ^ host.octets[i]) * 16777619
    place = (place ^ <uint32_t> port) * 16777619
    return place ^ (place >> 15)


cdef void _free(Snapshot* s) noexcept:
    if s != NULL:
        free(s.members)
        free(s.endpoints)
        free(s.names)
        free(s.own)
        free(s.own_ports)
        free(s.member_hosts)
        free(s.losses)
        free(s.loss_entries)
        free(s.survivors)
        free(s)


cdef void* _array(size_t count, size_t size) except NULL:
    cdef void* made = calloc(count if count else 1, size)
    if made == NULL:
        raise MemoryError
    return made


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
        self.data.bindings = &self.bindings.t
        self.data.pending = &self.pending.t
        self.data.loads = &self.loads.t
        self.data.tally.requests = <uint64_t*> _array(MOST_MEMBERS, sizeof(uint64_t))
        self.data.tally.initial = <uint64_t*> _array(MOST_MEMBERS, sizeof(uint64_t))
        self.data.tally.responses = <uint64_t*> _array(MOST_MEMBERS * 7, sizeof(uint64_t))
        self.data.snapshot = <Snapshot*> _array(1, sizeof(Snapshot))
        self._room = bytearray(ROOM)

    def __dealloc__(self):
        pthread_mutex_destroy(&self.mutex)
        _free(self.data.snapshot)
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
        try:
            made = self._make(table)
        except _NotPlain:
            made = <Snapshot*> _array(1, sizeof(Snapshot))
        self.hold()
        old = self.data.snapshot
        self.data.snapshot = made
        self._table = table
        self.release()
        _free(old)

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
        if not _ipv4(origin.host, &source.host):
            return None
        text_of_ipv4(source.host, &source.text)
        source.port = origin.port
        source.listener = origin.listener
        source.channel = origin.channel
        source.transport = _LETTER[origin.transport]
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
        cdef Snapshot* s = self.data.snapshot
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

    cdef Snapshot* _make(self, table) except NULL:
        cdef Snapshot* s = <Snapshot*> _array(1, sizeof(Snapshot))
        try:
            self._fill(s, table)
        except BaseException:
            _free(s)
            raise
        return s

    cdef int _fill(self, Snapshot* s, table) except -1:
        cdef int i
        cdef KeySet* key
        others = [each for each in table.keys.all if each is not table.keys.signing]
        keys = [table.keys.signing, *others]
        if len(keys) > MOST_KEYS or len(table.listeners) > MOST_LISTENERS:
            raise _NotPlain
        if len(table.instance) != 8:
            raise _NotPlain
        for i, each in enumerate(keys):
            key = &s.keys[i]
            memcpy(key.id, <const char*> each.id, 4)
            key.branch = sip_key(<const uint8_t*> (<const char*> each.branch))
            key.via = sip_key(<const uint8_t*> (<const char*> each.via))
            key.loop = sip_key(<const uint8_t*> (<const char*> each.loop))
            key.mark = sip_key(<const uint8_t*> (<const char*> each.mark))
        s.affinity = sip_key(<const uint8_t*> (<const char*> table.affinity_key))
        memcpy(s.instance, <const char*> table.instance, 8)
        s.hotstandby = table.hotstandby
        s.by_hash = table.algorithm is Algorithm.HASH
        s.has_header_keys = bool(table.header_keys)
        s.record_route = table.record_route
        s.max_headers = table.max_headers
        s.datagram_limit = table.datagram_limit
        for code in table.retry_codes:
            if 0 <= code < 700:
                s.retries[code] = True
        self._fill_members(s, table)
        self._fill_own(s, table)
        self._fill_losses(s, table)
        self._fill_listeners(s, table)
        s.key_count = <int> len(keys)  # last: without keys nothing is decided
        return 0

    cdef int _fill_members(self, Snapshot* s, table) except -1:
        cdef MemberData* m
        cdef Way* way
        cdef Endpoint* e
        cdef uint32_t size = 16, at
        cdef int i, k, n
        cdef Text host
        members = list(table.members.values())
        endpoints = [
            (a.host, a.port, index) for index, each in enumerate(members) for a in each.addresses
        ]
        s.member_count = <int> len(members)
        s.members = <MemberData*> _array(len(members), sizeof(MemberData))
        taking = {member.id for member in table.taking}
        for i, member in enumerate(members):
            m = &s.members[i]
            m.id = member.id
            m.slot = self.members.slot(member.id)
            m.lost = member.lost
            passive = (
                table.active is not None
                and member.id != table.active
                and member.id not in table.retiring
            )
            m.usable = not member.lost and not passive
            m.takes_calls = member.id in taking
            m.in_service = member.health is Health.IN_SERVICE
            m.weight = member.weight
            m.seed = member_seed(table.affinity_key, member.id)
            m.number = _text(str(member.id))
            for n, transport in enumerate(_TRANSPORTS):
                address = table.address_of(member, transport, secure=False)
                if address is None:
                    continue
                for k in range(len(table.listeners)):
                    listener = table.listener_for(address.transport, address.host, prefer=k)
                    way = &m.ways[k][n]
                    if listener is None or not _ipv4(address.host, &way.host):
                        continue
                    way.transport = _LETTER[address.transport]
                    way.listener = listener.index
                    way.port = address.port
                    way.is_open = True
        while size < <uint32_t> len(endpoints) * 2 + 1:
            size *= 2
        s.endpoint_mask = size - 1
        s.endpoints = <Endpoint*> _array(size + 1, sizeof(Endpoint))
        # as in the table, of two members on one endpoint the later one counts
        for name, port, i in {each[:2]: each for each in endpoints}.values():
            host = _text(name)
            at = _place(&host, port)
            while s.endpoints[at & s.endpoint_mask].used:
                at += 1
            e = &s.endpoints[at & s.endpoint_mask]
            e.host = host
            e.port = port
            e.member = i
            e.used = True
        hosts = list(dict.fromkeys(name for name, _, _ in endpoints))
        s.member_hosts = <Text*> _array(len(hosts), sizeof(Text))
        s.member_host_count = <int> len(hosts)
        for i, name in enumerate(hosts):
            s.member_hosts[i] = _text(name)
        return 0

    cdef int _fill_own(self, Snapshot* s, table) except -1:
        cdef int i
        cdef OwnName* name
        s.names = <OwnName*> _array(len(table.vips) + len(table.aliases), sizeof(OwnName))
        for vip in table.vips:
            name = &s.names[s.name_count]
            name.host = _text(vip)
            name.is_vip = True
            s.name_count += 1
        for host, port in table.aliases:
            name = &s.names[s.name_count]
            name.host = _text(host)
            name.any_port = port is None
            name.port = port or 0
            s.name_count += 1
        ports = sorted({listener.port for listener in table.listeners})
        s.own_ports = <int*> _array(len(ports), sizeof(int))
        for i, port in enumerate(ports):
            s.own_ports[i] = port
        s.own_port_count = <int> len(ports)
        own = {(x.host, x.port) for x in table.listeners}
        own |= {(vip, x.port) for vip in table.vips for x in table.listeners}
        s.own = <OwnEndpoint*> _array(len(own), sizeof(OwnEndpoint))
        for host, port in own:
            s.own[s.own_count].host = _text(host)
            s.own[s.own_count].port = port
            s.own_count += 1
        return 0

    cdef int _fill_losses(self, Snapshot* s, table) except -1:
        cdef int entry = 0, survivor = 0
        log = table.losses
        of = {}
        for loss in log.losses:
            of.setdefault(loss.member, []).append(loss)
        s.loss_number = log.number
        s.losses = <Losses*> _array(len(of), sizeof(Losses))
        s.loss_entries = <Loss*> _array(len(log.losses), sizeof(Loss))
        s.survivors = <Survivor*> _array(
            sum(len(loss.survivors) for loss in log.losses), sizeof(Survivor)
        )
        for member, losses in of.items():
            s.losses[s.losses_count].member = member
            s.losses[s.losses_count].first = entry
            s.losses[s.losses_count].count = <int> len(losses)
            s.losses_count += 1
            for loss in losses:
                s.loss_entries[entry].number = loss.number
                s.loss_entries[entry].first = survivor
                s.loss_entries[entry].count = <int> len(loss.survivors)
                entry += 1
                for number in loss.survivors:
                    s.survivors[survivor].member = number
                    s.survivors[survivor].seed = member_seed(table.affinity_key, number)
                    survivor += 1
        return 0

    cdef int _fill_listeners(self, Snapshot* s, table) except -1:
        cdef int i, n
        cdef bytes prefix
        s.listener_count = <int> len(table.listeners)
        for n, transport in enumerate(_TRANSPORTS):
            for i in range(MOST_LISTENERS + 1):
                found = table.listener_for(transport, "192.0.2.1", prefer=i)
                s.listener_by_prefer[n][i] = -1 if found is None else found.index
            found = table.listener_for(transport, "192.0.2.1")
            s.has_stream_listener[n] = found is not None
            s.listener_of_stream[n] = 0 if found is None else found.index
        for i, listener in enumerate(table.listeners):
            for n, transport in enumerate(_TRANSPORTS):
                prefix = b"Via: " + via_value(transport, listener, b"", b"")
                if len(prefix) > PREFIX_ROOM:
                    raise _NotPlain
                memcpy(s.via_prefix[n][i], <const char*> prefix, len(prefix))
                s.via_prefix_size[n][i] = <int> len(prefix)
            prefix = record_route_line(listener, b"", sips=False).removesuffix(b">\r\n")
            if len(prefix) > PREFIX_ROOM:
                raise _NotPlain
            memcpy(s.recorded[i], <const char*> prefix, len(prefix))
            s.recorded_size[i] = <int> len(prefix)
        return 0
