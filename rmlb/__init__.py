"""rmlb: a SIP load balancer for a pair of Genesys GVP Resource Managers.

How a message travels:

    SIP Server, MCP ...
        |  a datagram, or octets of a stream
    transport/   a socket of the virtual IP; one clock reading per batch
        |        (a source over its rate is not heard: routing/sources.py, fastpath/sources)
    fastpath/    what is plain is decided, rewritten and sent here, in a thread without Python
        |  the rest, one whole message at a time, on the same tables
    sip/         scanned once into offsets
        |
    routing/     router: requests (incoming, affinity, delivery) or responses
        |           failover   what a member's answer means for a remembered request
        |           resending  a member fails: what it has not answered goes to another one
        |  Forward | Reply | Absorb | Drop(reason), each counted once; own messages in an outbox
    transport/   sends
        |
    a member (Resource Manager), or back to the caller by Via

A request inside a dialog of which nothing is known here waits in transport/held.py until sharing.py
has asked the store that balancers share (state/); what becomes of bindings is written there behind.

Two processes: keeper/ owns the virtual IP (vip/: election, lease, addresses) and starts the
worker, which is all of the above and forwards as long as ownership.py's page says so (duty.py).
At a planned hand-over handover.py gives the successor what waits for an answer.

What keeps the routing table right: watch.py (health/: probes, refusals, silence), roles.py (who is
active, who drains, who was lost), the operator (admin/, cli/). snapshot.py makes the table of it
all, node.py is the only place where the parts meet.

Words: member = one Resource Manager; binding = Call-ID -> member; mark = our own Record-Route
parameter; VIP = the virtual IP; lost = out of service or disabled; holder = where the dialogs of
a lost member live.
"""

__version__ = "0.1.0"
