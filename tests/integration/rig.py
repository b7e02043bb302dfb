"""The rig of the integration tests: a real balancer, real sipp, simulated members, as processes.

Everything listens on loopback, on ports that were free a moment ago, and is ended by its own
process object. All calls block: an async test runs them in `asyncio.to_thread`. The fixtures
of conftest.py start these and end them with the test.

    members = {1: rig.free_port(), 2: rig.free_port()}
    with rig.Balancer(tmp_path, {i: f"udp:127.0.0.1:{p}" for i, p in members.items()}) as lb:
        result = rig.Sipp(tmp_path, "uac_full", target=lb.port, calls=100).run()
        assert result.failed == 0
        lb.assert_balanced()
"""

from rig_balancer import Balancer, Metrics, Sample
from rig_process import (
    HOST,
    Process,
    SimulatedMember,
    free_port,
    free_ports,
    is_bound,
    until,
    wait_until,
)
from rig_sipp import SCENARIOS, Sipp, SippResult, assert_all_succeeded

__all__ = [
    "Balancer",
    "SimulatedMember",
    "Sipp",
    "SippResult",
    "assert_all_succeeded",
    "free_port",
    "free_ports",
    "wait_until",
    "until",
    "is_bound",
    "Process",
    "Metrics",
    "Sample",
    "HOST",
    "SCENARIOS",
]
