"""The compiled core, and which engine runs: `RMLB_ENGINE=python|compiled`.

By default the compiled one runs where it was built.

siphash, scan     octets at a pointer, no Python: the twins of routing.keys and rmlb.sip
containers        index, lists, wheel: what tables are built of
tables            bindings, remembered requests, loads: the twins of those of routing/
decide            what becomes of a plain message: the twin of routing/ for what needs no thought
core              all of that as one Python object, under one lock
packets           the thread that owns the UDP sockets
engine            the Router that hands what is not plain to rmlb.routing

What is not plain (refused, answered, in trouble, seldom) is routed in Python, on the same tables.
docs/decisions/0010-compiled-engine.md says why it is so.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.util import find_spec

from rmlb.routing.affinity import Memory
from rmlb.routing.router import Ownership, Router
from rmlb.routing.table import RoutingTable

VARIABLE = "RMLB_ENGINE"
CHOICES = ("python", "compiled")
NOT_BUILT = "the compiled engine is not built: it wants gcc and python3-dev at installation"


class EngineError(ValueError):
    """The engine that was asked for is not there."""


def is_built() -> bool:
    """The compiled engine is installed."""
    return all(
        find_spec(f"rmlb.fastpath.{part}") is not None
        for part in ("scan", "tables", "decide", "core", "packets")
    )


def choose(environ: Mapping[str, str] = os.environ) -> str:
    """The engine to run. Raises EngineError where RMLB_ENGINE asks for what is not there."""
    wanted = environ.get(VARIABLE, "")
    if wanted and wanted not in CHOICES:
        raise EngineError(f"{VARIABLE}={wanted!r}: allowed: {', '.join(CHOICES)}")
    if wanted == "compiled" and not is_built():
        raise EngineError(f"{VARIABLE}=compiled: {NOT_BUILT}")
    return wanted or ("compiled" if is_built() else "python")


def make_router(
    engine: str, table: RoutingTable, memory: Memory, ownership: Ownership | None = None
) -> Router:
    """A router of that engine; `memory` is empty, and says how large the tables are to be."""
    if engine == "python":
        return Router(table, memory, ownership)
    from rmlb.fastpath.engine import CompiledRouter

    return CompiledRouter(table, memory, ownership)
