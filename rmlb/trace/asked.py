"""What `[trace]` asks for at all times: messages kept for ladders, copies to a HEP3 collector."""

from __future__ import annotations

from rmlb.config import TraceConfig
from rmlb.trace.collector import HepSender
from rmlb.trace.hep import HepNode
from rmlb.trace.tracing import Tracing
from rmlb.trace.wanted import Wanted


class Asked:
    """The standing watchers of one balancer."""

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing
        self._config = TraceConfig()
        self._node = HepNode()
        self._sender: HepSender | None = None
        self._watching: object | None = None

    @property
    def collector(self) -> str | None:
        """Where packets go: "udp:10.0.0.60:9060"."""
        hep = self._config.hep
        return None if hep is None else f"{self._config.hep_transport}:{hep}"

    @property
    def sent(self) -> int:
        """Packets to the present collector."""
        return 0 if self._sender is None else self._sender.sent

    @property
    def lost(self) -> int:
        return 0 if self._sender is None else self._sender.lost

    def configure(self, config: TraceConfig, node: HepNode) -> None:
        """Go on under these settings; a collector that stays keeps its counts."""
        self._tracing.keep(config.keep)
        if (config, node) == (self._config, self._node):
            return
        self.close()
        self._config, self._node = config, node
        if config.hep is not None:
            tcp = config.hep_transport == "tcp"
            sender = self._sender = HepSender(config.hep.host, config.hep.port, node, tcp=tcp)
            sender.start()
            wanted = Wanted(config.filter, sample=config.sample)
            self._watching = self._tracing.add(wanted, sender.take)

    def close(self) -> None:
        """No packet leaves any more."""
        if self._watching is not None:
            self._tracing.remove(self._watching)
            self._watching = None
        if self._sender is not None:
            self._sender.close()
            self._sender = None
