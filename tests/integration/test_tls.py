"""TLS to the balancer and from it to members (RFC 3261 26.3, RFC 5922): who is believed, what a
reload changes, and that nothing secret leaves by anything else."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trustme
from rig import HOST, Balancer, free_port, wait_until
from rig_dialog import Call, converse, new_call_id, set_up, whole_call
from rig_tls import Authority
from rig_wire import Agent, request, response

URI = "sip:ivr@example.com"


class Setting:
    """A caller by every transport, a member by TLS alone, a balancer with a certificate."""

    def __init__(
        self,
        stack: ExitStack,
        directory: Path,
        *,
        member_names: tuple[str, ...] = (HOST,),
        member_host: str = HOST,
        tls: str = "",
        member_asks: bool = False,
        members: str = "tls",
        ready: bool = True,
        trusts: Path | None = None,
    ) -> None:
        self.directory = directory
        self.authority = Authority(directory)
        self.certificate = self.authority.issue(HOST, file="balancer")
        self.caller = stack.enter_context(Agent("udp tcp", free_port(), name="caller"))
        self.secure = stack.enter_context(
            Agent(
                "tls",
                free_port(),
                server_tls=self.authority.server(HOST),
                client_tls=self.authority.client(),
                name="secure",
            )
        )
        self.member = stack.enter_context(
            Agent(
                members,
                free_port(),
                server_tls=self.authority.server(*member_names, ask_clients=member_asks),
                client_tls=self.authority.client(),
                name="member",
            )
        )
        self.tls_port = free_port()
        self.balancer = Balancer(
            directory,
            {1: [f"{how}:{member_host}:{self.member.port}" for how in members.split()]},
            listen=("udp:{port}", "tcp:{port}", f"tls:{self.tls_port}"),
            extra=f'[tls]\ncertificate = "{self.certificate.pem}"\n'
            f'ca = "{trusts or self.authority.pem}"\n{tls}',
        )
        self.balancer.start(ready=ready)
        stack.enter_context(self.balancer)
        self.place = (HOST, self.balancer.port)
        self.tls_place = (HOST, self.tls_port)

    def call(self, transport: str) -> Call:
        if transport == "tls":
            return whole_call(self.secure, self.member, self.tls_place, "tls")
        return whole_call(self.caller, self.member, self.place, transport)

    def options(self) -> bytes:
        return request(
            "OPTIONS", f"sip:{HOST}:{self.tls_port}", via=self.secure.via("tls"),
            call_id=new_call_id(),
        )  # fmt: skip

    def reload(self) -> None:
        before = self.balancer.stderr.count("event=reloaded")
        self.balancer.send_signal(signal.SIGHUP)
        wait_until("reloaded", lambda: self.balancer.stderr.count("event=reloaded") > before)


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setting]:
    with ExitStack() as stack:
        yield Setting(stack, tmp_path_factory.mktemp("tls"))


def recorded(call: Call) -> list[str]:
    return [value.partition(";rmlb=")[0] for value in call.invite.headers("Record-Route")]


# calls


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
def test_calls_to_a_tls_member(setting: Setting, transport: str) -> None:
    call = setting.call(transport)
    assert call.invite.transport == "tls"
    top = call.invite.headers("Via")[0]
    assert top.startswith(f"SIP/2.0/TLS {HOST}:{setting.tls_port};branch=")
    entry = f"<sip:{HOST}:{setting.tls_port};transport=tls;lr"
    assert recorded(call)[0] == entry
    assert len(recorded(call)) == (1 if transport == "tls" else 2)


def test_one_connection_to_the_member(setting: Setting) -> None:
    for _ in range(5):
        setting.call("udp")
    assert setting.member.accepted <= 2, "one of calls, one of probes"


def test_answer_for_a_vanished_tls_connection(setting: Setting) -> None:
    """18.2.2 over TLS: a new connection to the sent-by, whose certificate is checked."""
    stream = setting.secure.connect(setting.tls_place, tls=True)
    stream.send(request("MESSAGE", URI, via=setting.secure.via("tls"), call_id=new_call_id()))
    got = setting.member.hear("MESSAGE")
    setting.balancer.see_close(stream.close)
    got.answer(response(got, 200, tag="m"))
    answer = setting.secure.hear("200")
    assert answer.transport == "tls"
    assert answer.stream is not None
    assert answer.stream.local == (HOST, setting.secure.port)


def test_sips_reaches_a_tls_member(setting: Setting) -> None:
    """Recorded as sips, so that the rest of the dialog is secure too (16.6 step 4)."""
    secure, member = setting.secure, setting.member
    call = set_up(
        secure, member, setting.tls_place, "tls", uri="sips:ivr@example.com",
        contact=f"sips:caller@{HOST}:{secure.port}",
    )  # fmt: skip
    assert call.invite.transport == "tls"
    assert recorded(call) == [f"<sips:{HOST}:{setting.tls_port};lr"]
    converse(call.callee, call.caller, "INVITE")
    converse(call.caller, call.callee, "BYE")


def test_sips_never_leaves_by_anything_else(tmp_path: Path) -> None:
    """The member has no TLS: 416, though UDP and TCP would reach it (26.2.2)."""
    with ExitStack() as stack:
        plain = Setting(stack, tmp_path, members="udp tcp")
        data = request(
            "INVITE", "sips:ivr@example.com", via=plain.secure.via("tls"), call_id=new_call_id()
        )
        plain.secure.send(data, "tls", plain.tls_place)
        plain.secure.hear("416")
        plain.member.hears_nothing()
        # sip: over TLS may leave by TCP: only this hop was asked to be secure
        assert plain.call("tls").invite.transport == "tcp"
        plain.balancer.assert_balanced()


# who is believed


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_versions(setting: Setting, version: ssl.TLSVersion) -> None:
    context = setting.authority.client()
    context.minimum_version = context.maximum_version = version
    stream = setting.secure.connect(setting.tls_place, tls=True, context=context)
    stream.send(setting.options())
    setting.secure.hear("200")
    stream.close()


def test_nothing_below_tls_1_2(setting: Setting) -> None:
    context = setting.authority.client()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(OSError):
        setting.secure.connect(setting.tls_place, tls=True, context=context)


def test_the_balancers_certificate(setting: Setting) -> None:
    stream = setting.secure.connect(setting.tls_place, tls=True)
    assert stream.peer_certificate() == setting.certificate.der
    stream.close()
    stranger = Authority(setting.directory, "stranger").client()
    with pytest.raises(ssl.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
        setting.secure.connect(setting.tls_place, tls=True, context=stranger)


def test_client_certificates(tmp_path: Path) -> None:
    """verify-clients: ours and no other, in either version of TLS."""
    with ExitStack() as stack:
        strict = Setting(stack, tmp_path, tls="verify-clients = true\n")
        stranger = Authority(tmp_path, "stranger")
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            good = strict.authority.client("sip-server.example.com")
            good.maximum_version = version
            stream = strict.secure.connect(strict.tls_place, tls=True, context=good)
            stream.send(strict.options())
            strict.secure.hear("200")
            stream.close()
            foreign = stranger.client("sip-server.example.com")
            foreign.load_verify_locations(strict.authority.pem)
            for wrong in (strict.authority.client(), foreign):
                wrong.maximum_version = version
                assert not _answered(strict, wrong)
        strict.balancer.assert_balanced()


def _answered(setting: Setting, context: ssl.SSLContext) -> bool:
    """An OPTIONS over a new connection is answered; under TLS 1.3 a client learns late that its
    certificate was refused."""
    with contextlib.suppress(OSError):
        stream = setting.secure.connect(setting.tls_place, tls=True, context=context)
        stream.send(setting.options())
        with contextlib.suppress(AssertionError):
            setting.secure.hear("200", 0.5)
            return True
        assert stream.closed.wait(2)
    return False


def test_our_certificate_towards_members_that_ask(tmp_path: Path) -> None:
    with ExitStack() as stack:
        asking = Setting(stack, tmp_path, member_asks=True)
        asking.call("udp")


def test_member_with_the_name_of_another(tmp_path: Path) -> None:
    """Out of service with a reason that can be read; calls get 503 and never reach it."""
    with ExitStack() as stack:
        wrong = Setting(stack, tmp_path, member_names=("rm2.example.com",), ready=False)
        wait_until(
            "a reason",
            lambda: "certificate" in (wrong.balancer.members()[1]["probe"]["last"] or ""),
        )
        shown = wrong.balancer.members()[1]
        assert shown["health"] == "out of service"
        assert shown["probe"]["last"] == (
            "unreachable: certificate not accepted: IP address mismatch, certificate is not valid "
            f"for '{HOST}'"
        )
        data = request("INVITE", URI, via=wrong.caller.via("udp"), call_id=new_call_id())
        wrong.caller.send(data, "udp", wrong.place)
        wrong.caller.hear("503")
        wrong.member.hears_nothing()


def test_member_of_an_unknown_authority(tmp_path: Path) -> None:
    with ExitStack() as stack:
        stranger = Authority(tmp_path, "stranger")
        wrong = Setting(stack, tmp_path, ready=False, trusts=stranger.pem)
        wait_until(
            "a reason",
            lambda: "certificate" in (wrong.balancer.members()[1]["probe"]["last"] or ""),
        )
        assert wrong.balancer.members()[1]["health"] == "out of service"


def test_members_are_not_verified_when_told_so(tmp_path: Path) -> None:
    with ExitStack() as stack:
        lax = Setting(
            stack, tmp_path, member_names=("other.example.com",), tls="verify-members = false\n"
        )
        lax.call("udp")


def test_member_by_name(tmp_path: Path) -> None:
    """The certificate must carry the configured name, not the address it resolves to."""
    with ExitStack() as stack:
        named = Setting(stack, tmp_path, member_names=("localhost",), member_host="localhost")
        named.call("udp")
        named.call("tls")


# what does harm elsewhere


def test_plain_tcp_on_the_tls_port(setting: Setting) -> None:
    began = time.monotonic()
    before = setting.balancer.metrics().total("rmlb_messages_received_total")
    for junk in (setting.options(), b"\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", bytes(range(256))):
        with socket.create_connection(setting.tls_place, 5) as sock:
            sock.sendall(junk)
            with contextlib.suppress(ConnectionError):
                while sock.recv(65536):
                    pass
    assert time.monotonic() - began < 6, "a part of a record waits for the rest, connect-timeout"
    assert setting.balancer.metrics().total("rmlb_messages_received_total") == before
    setting.call("tls")


def test_a_handshake_that_never_comes(setting: Setting) -> None:
    """The connection is given up after connect-timeout; meanwhile others connect."""
    with socket.create_connection(setting.tls_place, 10) as silent:
        setting.call("tls")
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            assert silent.recv(100) == b""
        assert time.monotonic() - began < 6


def test_tls_on_the_plain_port(setting: Setting) -> None:
    with pytest.raises(OSError):
        setting.secure.connect(setting.place, tls=True)
    setting.call("tcp")


# reload


def test_new_certificate_on_sighup(tmp_path: Path) -> None:
    """New handshakes get the new one, of whatever key type; what is connected stays so."""
    with ExitStack() as stack:
        setting = Setting(stack, tmp_path)
        call = set_up(setting.secure, setting.member, setting.tls_place, "tls")
        for number, kind in enumerate((trustme.KeyType.RSA, trustme.KeyType.ECDSA)):
            fresh = setting.authority.issue(HOST, file=f"fresh{number}", key_type=kind)
            shutil.copy(fresh.pem, setting.certificate.pem)
            setting.reload()
            wait_until("the new certificate", lambda fresh=fresh: _shown(setting) == fresh.der)
        converse(call.caller, call.callee, "INVITE")
        converse(call.callee, call.caller, "INFO")
        assert len([s for s in setting.secure.streams if not s.closed.is_set()]) >= 1
        converse(call.caller, call.callee, "BYE")
        setting.call("tls")
        setting.balancer.assert_balanced()


def test_an_authority_that_was_taken_away(tmp_path: Path) -> None:
    """After the reload its members are believed no more."""
    with ExitStack() as stack:
        setting = Setting(stack, tmp_path)
        other = Authority(tmp_path, "other")
        shutil.copy(other.pem, setting.authority.pem)
        setting.reload()
        setting.balancer.wait_health(1, "out of service")
        assert "certificate" in setting.balancer.members()[1]["probe"]["last"]


def test_a_broken_certificate_changes_nothing(tmp_path: Path) -> None:
    with ExitStack() as stack:
        setting = Setting(stack, tmp_path)
        setting.certificate.pem.write_text("no certificate")
        setting.balancer.send_signal(signal.SIGHUP)
        wait_until("said", lambda: "event=config-rejected" in setting.balancer.stderr)
        assert "tls.certificate" in setting.balancer.stderr
        assert _shown(setting) == setting.certificate.der
        setting.call("tls")


def test_verify_clients_can_be_turned_on_and_off(tmp_path: Path) -> None:
    with ExitStack() as stack:
        setting = Setting(stack, tmp_path)
        path = setting.balancer.config_path
        plain = path.read_text()
        assert _answered(setting, setting.authority.client())
        path.write_text(plain + "verify-clients = true\n")
        setting.reload()
        wait_until("strict", lambda: not _answered(setting, setting.authority.client()))
        path.write_text(plain)
        setting.reload()
        wait_until("lax", lambda: _answered(setting, setting.authority.client()))


def _shown(setting: Setting) -> bytes:
    stream = setting.secure.connect(setting.tls_place, tls=True)
    found = stream.peer_certificate()
    stream.close()
    return found


def test_sums_balance(setting: Setting) -> None:
    setting.balancer.assert_balanced()
