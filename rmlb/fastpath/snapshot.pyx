# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""rmlb.routing.table.RoutingTable as table.Snapshot; limits.py says for which there is room."""

from libc.stdint cimport uint8_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE

from rmlb.fastpath.scan cimport Span, ipv4_at
from rmlb.fastpath.siphash cimport sip_key
from rmlb.fastpath.table cimport (
    HOST_ROOM, MOST_KEYS, MOST_LISTENERS, PREFIX_ROOM, Endpoint, KeySet, Loss, Losses, Member,
    OwnEndpoint, OwnName, Survivor, Text, Way, endpoint_place,
)

from rmlb.routing.forwarding import record_route_line, via_value
from rmlb.routing.keys import member_seed
from rmlb.routing.member import Health
from rmlb.routing.selection import Algorithm
from rmlb.sip.address import Transport

_TRANSPORTS = (Transport.UDP, Transport.TCP, Transport.TLS)


def room():
    """For how much there is room: octets of a name, secrets, listeners."""
    return HOST_ROOM, MOST_KEYS, MOST_LISTENERS


cdef Snapshot* blank_snapshot() except NULL:
    """Under it nothing is plain."""
    return <Snapshot*> array_of(1, sizeof(Snapshot))


cdef Snapshot* make_snapshot(object table, Members members) except NULL:
    """To be freed by whoever calls; the table has to be within what there is room for."""
    cdef Snapshot* s = blank_snapshot()
    try:
        _fill(s, table)
        _fill_members(s, table, members)
        _fill_endpoints(s, table)
        _fill_own(s, table)
        _fill_losses(s, table)
        _fill_listeners(s, table)
        _fill_keys(s, table)  # last: without keys nothing is decided
    except BaseException:
        free_snapshot(s)
        raise
    return s


cdef void free_snapshot(Snapshot* s) noexcept:
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


cdef void* array_of(size_t count, size_t size) except NULL:
    """Zeroed."""
    cdef void* made = calloc(count if count else 1, size)
    if made == NULL:
        raise MemoryError
    return made


cdef int ipv4_of(str host, uint32_t* out) except -1:
    """1 for an IPv4 literal."""
    cdef bytes octets = host.encode("latin-1", "replace")
    cdef Span span
    span.start = 0
    span.end = <int> len(octets)
    return ipv4_at(<const uint8_t*> PyBytes_AS_STRING(octets), span, out)


cdef Text _text(str value) except *:
    cdef bytes octets = value.encode("latin-1", "replace")
    cdef Text text
    if len(octets) > HOST_ROOM:
        raise ValueError(value)
    memcpy(text.octets, PyBytes_AS_STRING(octets), PyBytes_GET_SIZE(octets))
    text.size = <int> len(octets)
    return text


cdef int _fill(Snapshot* s, table) except -1:
    s.affinity = sip_key(<const uint8_t*> (<const char*> table.affinity_key))
    s.hotstandby = table.hotstandby
    s.by_hash = table.algorithm is Algorithm.HASH
    s.has_header_keys = bool(table.header_keys)
    s.record_route = table.record_route
    s.max_headers = table.max_headers
    s.datagram_limit = table.datagram_limit
    for code in table.retry_codes:
        if 0 <= code < 700:
            s.retries[code] = True
    return 0


cdef int _fill_keys(Snapshot* s, table) except -1:
    cdef int i
    cdef KeySet* key
    others = [each for each in table.keys.all if each is not table.keys.signing]
    keys = [table.keys.signing, *others]
    for i, each in enumerate(keys):
        key = &s.keys[i]
        memcpy(key.id, <const char*> each.id, 4)
        key.branch = sip_key(<const uint8_t*> (<const char*> each.branch))
        key.via = sip_key(<const uint8_t*> (<const char*> each.via))
        key.loop = sip_key(<const uint8_t*> (<const char*> each.loop))
        key.mark = sip_key(<const uint8_t*> (<const char*> each.mark))
    s.key_count = <int> len(keys)
    return 0


cdef int _fill_members(Snapshot* s, table, Members slots) except -1:
    cdef Member* m
    cdef int i
    s.member_count = <int> len(table.members)
    s.members = <Member*> array_of(s.member_count, sizeof(Member))
    taking = {member.id for member in table.taking}
    for i, member in enumerate(table.members.values()):
        m = &s.members[i]
        m.id = member.id
        m.slot = slots.slot(member.id)
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
        _fill_ways(m, member, table)
    return 0


cdef int _fill_ways(Member* m, member, table) except -1:
    cdef Way* way
    cdef int k, n
    for n, transport in enumerate(_TRANSPORTS):
        address = table.address_of(member, transport, secure=False)
        if address is None:
            continue
        for k in range(len(table.listeners)):
            listener = table.listener_for(address.transport, address.host, prefer=k)
            way = &m.ways[k][n]
            if listener is None or not ipv4_of(address.host, &way.host):
                continue
            way.transport = _TRANSPORTS.index(address.transport)
            way.listener = listener.index
            way.port = address.port
            way.is_open = True
    return 0


cdef int _fill_endpoints(Snapshot* s, table) except -1:
    cdef Endpoint* e
    cdef uint32_t size = 16, at
    cdef int i
    cdef Text host
    endpoints = [
        (address.host, address.port, index)
        for index, member in enumerate(table.members.values())
        for address in member.addresses
    ]
    while size < <uint32_t> len(endpoints) * 2 + 1:
        size *= 2
    s.endpoint_mask = size - 1
    s.endpoints = <Endpoint*> array_of(size + 1, sizeof(Endpoint))
    # as in the table, of two members on one endpoint the later one counts
    for name, port, i in {each[:2]: each for each in endpoints}.values():
        host = _text(name)
        at = endpoint_place(host.octets, host.size, port)
        while s.endpoints[at & s.endpoint_mask].used:
            at += 1
        e = &s.endpoints[at & s.endpoint_mask]
        e.host = host
        e.port = port
        e.member = i
        e.used = True
    hosts = list(dict.fromkeys(name for name, _, _ in endpoints))
    s.member_hosts = <Text*> array_of(len(hosts), sizeof(Text))
    s.member_host_count = <int> len(hosts)
    for i, name in enumerate(hosts):
        s.member_hosts[i] = _text(name)
    return 0


cdef int _fill_own(Snapshot* s, table) except -1:
    cdef int i
    cdef OwnName* name
    s.names = <OwnName*> array_of(len(table.vips) + len(table.aliases), sizeof(OwnName))
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
    s.own_ports = <int*> array_of(len(ports), sizeof(int))
    for i, port in enumerate(ports):
        s.own_ports[i] = port
    s.own_port_count = <int> len(ports)
    own = {(x.host, x.port) for x in table.listeners}
    own |= {(vip, x.port) for vip in table.vips for x in table.listeners}
    s.own = <OwnEndpoint*> array_of(len(own), sizeof(OwnEndpoint))
    for host, port in own:
        s.own[s.own_count].host = _text(host)
        s.own[s.own_count].port = port
        s.own_count += 1
    return 0


cdef int _fill_losses(Snapshot* s, table) except -1:
    cdef int entry = 0, survivor = 0
    log = table.losses
    of = {}
    for loss in log.losses:
        of.setdefault(loss.member, []).append(loss)
    s.loss_number = log.number
    s.losses = <Losses*> array_of(len(of), sizeof(Losses))
    s.loss_entries = <Loss*> array_of(len(log.losses), sizeof(Loss))
    s.survivors = <Survivor*> array_of(
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


cdef int _fill_listeners(Snapshot* s, table) except -1:
    cdef int i, n
    cdef bytes prefix
    if len(table.instance) != 8:
        raise ValueError(table.instance)
    memcpy(s.instance, <const char*> table.instance, 8)
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
            s.via_prefix_size[n][i] = _prefix(prefix, s.via_prefix[n][i])
        prefix = record_route_line(listener, b"", sips=False).removesuffix(b">\r\n")
        s.recorded_size[i] = _prefix(prefix, s.recorded[i])
    return 0


cdef int _prefix(bytes prefix, uint8_t* room) except -1:
    """Its size."""
    if len(prefix) > PREFIX_ROOM:
        raise ValueError(prefix)
    memcpy(room, <const char*> prefix, len(prefix))
    return <int> len(prefix)
