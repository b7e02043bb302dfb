"""rmlb: a SIP load balancer for a pair of Genesys GVP Resource Managers.

How a message travels:

    SIP Server, MCP ...
        |  a datagram, or octets of a stream
    transport/   a socket of the virtual IP; one clock reading per batch
        |  one whole message
    sip/         scanned once into offsets
        |
    routing/     router: which kind is it, may it pass, where to?
        |           affinity   transaction, mark, datanodes, binding, headers, hash
        |           forwarding Via, Record-Route, Max-Forwards, Route
        |  Forward | Reply | Absorb | Drop(reason), each counted once
    transport/   sends
        |
    a member (Resource Manager), or back to the caller by Via

What keeps the routing table right: health/ (probes), admin/ (what the operator says),
state/ and vip/; node.py is the only place where they meet.

Words: member = one Resource Manager; binding = Call-ID -> member; mark = our own
Record-Route parameter; VIP = the virtual IP; lost = out of service or disabled.
"""

__version__ = "0.1.0"
