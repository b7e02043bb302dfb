"""What two balancers compare of their configurations."""

from __future__ import annotations

import hashlib

from rmlb.config.schema import Config


def digest_of(config: Config) -> bytes:
    """Of all by which two balancers must route alike (HA-RULES 3); 8 octets."""
    parts = (
        config.cluster.ha_mode,
        config.cluster.hotstandby,
        config.cluster.name,
        sorted((n, rm.sip, rm.weight) for n, rm in config.rm.items()),
        config.affinity.algorithm,
        config.affinity.keys,
        config.affinity.hash_key,
        config.affinity.ttl_s,
        config.sip.record_route,
        config.sip.via_host,
        sorted(map(str, config.virtual_addresses)),
    )
    return hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
