"""The compiled core, and which engine runs: `RMLB_ENGINE=python|compiled`.

By default the compiled one runs where it was built.

siphash, scan   octets at a pointer, no Python: the twins of routing.keys and rmlb.sip
containers      index, lists, wheel: what tables are built of
pen             octets written into a buffer
decide          a plain message in, the octets that leave out; from there on each module is the
                twin of the one of its name in routing/, for what needs no thought: requests,
                responses, incoming, affinity, delivery, forwarding, mark, signature, verdict
bindings, pending, overload, members
                what is remembered, for both engines' code: twins, too; members have slots there
table, snapshot a routing table as structs, and the making of it; limits says what has room there
core            all of that as one Python object, under one lock
packets         the thread that owns the UDP sockets
framing         streams cut into messages
engine          the Router that hands what is not plain to rmlb.routing

What is not plain (refused, answered, in trouble, seldom) is routed in Python, on the same tables.
docs/decisions/0010-compiled-engine.md says why it is so.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module

from rmlb.routing.affinity import Memory
from rmlb.routing.router import Ownership, Router
from rmlb.routing.table import RoutingTable

VARIABLE = "RMLB_ENGINE"
CHOICES = ("python", "compiled")
NOT_BUILT = "the compiled engine is not built: it wants gcc and python3-dev at installation"


class EngineError(ValueError):
    """The engine that was asked for is not there."""


def is_built() -> bool:
    """The compiled engine is installed, all of it."""
    try:
        import_module("rmlb.fastpath.engine")
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("rmlb.fastpath."):
            raise
        return False
    return True


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


def warnings(engine: str, table: RoutingTable) -> tuple[str, ...]:
    """Why that engine is slow under this table; each reason begins with its key path."""
    if engine == "python":
        return ()
    from rmlb.fastpath.limits import beyond

    return beyond(table)
