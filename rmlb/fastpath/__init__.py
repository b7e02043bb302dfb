"""The compiled core, and which engine runs: `RMLB_ENGINE=python|compiled`.

By default the compiled one runs where it was built.

decide           a plain message in, the octets that leave out. It asks requests or responses,
                 and these incoming, affinity, delivery, forwarding, mark, signature, verdict:
                 each the twin of the module of its name in routing/, for what needs no thought
bindings, pending, overload, sources
                 what is remembered: twins, too, which the Python router works on as well
table, snapshot  a routing table as structs, and how one is made; members have slots in all
                 tables; limits: how much there is room for
scan, framing    the twins of rmlb.sip
siphash, containers, pen
                 a keyed hash; what tables are built of; octets written into a buffer
core             all of that as one Python object, under one lock
thread, packets  the thread that owns the UDP sockets, and what the event loop sees of it;
                 system: what is declared for it
engine           the Router that hands what is not plain to rmlb.routing

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
