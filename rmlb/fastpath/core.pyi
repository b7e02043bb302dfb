from rmlb.fastpath.bindings import Bindings
from rmlb.fastpath.overload import Loads
from rmlb.fastpath.pending import PendingRequests
from rmlb.fastpath.sources import Sources
from rmlb.routing.bindings import BindingLimits
from rmlb.routing.counters import Counters
from rmlb.routing.overload import LoadLimits
from rmlb.routing.pending import PendingLimits
from rmlb.routing.sources import SourceLimits
from rmlb.routing.table import RoutingTable
from rmlb.routing.verdict import Destination, Forward, Origin

class Core:
    bindings: Bindings
    pending: PendingRequests
    loads: Loads
    sources: Sources
    def __init__(
        self,
        bindings: BindingLimits,
        pending: PendingLimits,
        loads: LoadLimits,
        sources: SourceLimits,
    ) -> None: ...
    def __enter__(self) -> Core: ...
    def __exit__(self, *exc: object) -> None: ...
    def publish(self, table: RoutingTable) -> None: ...
    def decide_all(
        self, messages: list[bytes], origin: Origin, now: float
    ) -> list[bytes | tuple[Destination, bytes]]: ...
    def decide(self, data: bytes, origin: Origin, now: float) -> Forward | None: ...
    def add_to(self, counters: Counters) -> None: ...
