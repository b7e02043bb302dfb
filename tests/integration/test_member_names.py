"""Members by host name: found at the start, and one that has no address keeps nobody waiting."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

from rig import Balancer, free_port, wait_until
from rig_dialog import new_call_id, whole_call
from rig_wire import HOST, Agent, request, response

UNKNOWN = "no-such-host.invalid"
"""RFC 6761: a name that has no address anywhere."""


def test_member_by_name(tmp_path: Path) -> None:
    with ExitStack() as stack:
        caller = stack.enter_context(Agent("udp tcp", free_port(), name="caller"))
        member = stack.enter_context(Agent("udp tcp", free_port(), name="member"))
        balancer = stack.enter_context(Balancer(tmp_path, {1: f"localhost:{member.port}"}))
        for transport in ("udp", "tcp"):
            call = whole_call(caller, member, (HOST, balancer.port), transport)
            assert call.invite.transport == transport
        assert balancer.members()[1]["sip"] == f"localhost:{member.port}", "as it was configured"
        balancer.assert_balanced()


def test_a_name_without_address(tmp_path: Path) -> None:
    """Said once; the other member works, and quickly."""
    with ExitStack() as stack:
        caller = stack.enter_context(Agent("udp", free_port(), name="caller"))
        member = stack.enter_context(Agent("udp", free_port(), name="member"))
        began = time.monotonic()
        balancer = stack.enter_context(
            Balancer(tmp_path, {1: f"udp:{HOST}:{member.port}", 2: f"udp:{UNKNOWN}:5060"})
        )
        assert time.monotonic() - began < 6
        for index in range(10):
            call_id = new_call_id(f"name-{index}")
            data = request("MESSAGE", "sip:x@example.com", via=caller.via("udp"), call_id=call_id)
            caller.send_udp(data, (HOST, balancer.port))
            got = member.hear("MESSAGE")
            got.answer(response(got, 200, tag="m"))
            caller.hear("200")
        assert balancer.members()[2]["health"] == "out of service"
        assert balancer.members()[2]["sip"] == f"udp:{UNKNOWN}:5060"
        time.sleep(3.5)  # asked again in the meantime
        assert balancer.stderr.count(f"no address for {UNKNOWN}") == 1
        balancer.assert_balanced()


def test_a_name_that_gets_its_address_later(tmp_path: Path) -> None:
    """A hosts file of its own, in a mount namespace: the member comes into service by itself."""
    name = "rm1.test"
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost\n")
    with ExitStack() as stack:
        caller = stack.enter_context(Agent("udp", free_port(), name="caller"))
        member = stack.enter_context(Agent("udp", free_port(), name="member"))
        balancer = Balancer(tmp_path, {1: f"udp:{name}:{member.port}"})
        balancer.command = [
            "unshare", "--map-root-user", "--mount", "--",
            "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', str(hosts),
            *balancer.command,
        ]  # fmt: skip
        balancer.start(ready=False)
        stack.enter_context(balancer)
        wait_until("said", lambda: f"no address for {name}" in balancer.stderr)
        hosts.write_text(f"127.0.0.1 localhost {name}\n")
        balancer.wait_health(1, "in service")
        whole_call(caller, member, (HOST, balancer.port), "udp")
        balancer.assert_balanced()


def test_all_names_without_address(tmp_path: Path) -> None:
    """The balancer runs all the same, and says what is the matter."""
    with ExitStack() as stack:
        balancer = Balancer(tmp_path, {1: f"udp:{UNKNOWN}:5060"})
        balancer.start(ready=False)
        stack.enter_context(balancer)
        wait_until("said", lambda: f"no address for {UNKNOWN}" in balancer.stderr)
        assert balancer.get("/readyz")[0] == 503
        caller = stack.enter_context(Agent("udp", free_port(), name="caller"))
        data = request("INVITE", "sip:x@example.com", via=caller.via("udp"), call_id=new_call_id())
        caller.send_udp(data, (HOST, balancer.port))
        caller.hear("503")


def test_the_callers_contact_may_be_a_name(tmp_path: Path) -> None:
    """Requests that leave outward to a host name are resolved too, off the packet path."""
    with ExitStack() as stack:
        caller = stack.enter_context(Agent("udp tcp", free_port(), name="caller"))
        member = stack.enter_context(Agent("udp", free_port(), name="member"))
        balancer = stack.enter_context(Balancer(tmp_path, {1: f"udp:{HOST}:{member.port}"}))
        for how in ("udp", "tcp"):
            contact = f"sip:caller@localhost:{caller.port};transport={how}"
            whole_call(caller, member, (HOST, balancer.port), how, contact=contact)
        balancer.assert_balanced()
