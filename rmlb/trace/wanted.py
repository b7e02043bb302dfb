"""Which messages a watcher wants: those of some calls, or of one call in N. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32

from rmlb.trace.reading import Traced


@dataclass(frozen=True, slots=True)
class Wanted:
    """The filter of one watcher. A call is wanted as a whole or not at all."""

    call_id: str = ""
    """A part of the Call-ID or of the X-Genesys-CallUUID; empty for every call."""
    exact: bool = False
    """`call_id` is all of it."""
    sample: int = 1
    """One call in so many."""

    def __call__(self, traced: Traced) -> bool:
        if self.sample > 1 and crc32(traced.correlation.encode()) % self.sample:
            return False
        if not self.call_id:
            return True
        if self.exact:
            return self.call_id in (traced.call_id, traced.correlation)
        return self.call_id in traced.call_id or self.call_id in traced.correlation
