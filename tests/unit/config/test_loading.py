"""From text to Config: what is taken from a file, and every class of error."""

from __future__ import annotations

import random
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from config_samples import FILE, HOME, PAIR, WORKING, config, problems, site, wrong
from hypothesis import given, settings
from hypothesis import strategies as st

from rmlb.config import (
    Algorithm,
    ConfigError,
    HaMode,
    HostPort,
    ListenAddress,
    Problem,
    VipProvider,
    load,
    parse,
)
from rmlb.config.rendering import toml
from rmlb.config.schema import TABLES
from rmlb.sip.address import SipAddress, Transport

ROOT = Path(__file__).parents[3]


def both(host: str, port: int) -> tuple[SipAddress, ...]:
    return SipAddress(Transport.UDP, host, port), SipAddress(Transport.TCP, host, port)


def test_the_whole_working_file() -> None:
    found = parse(WORKING, FILE, environ=HOME)
    assert found.path == FILE
    assert found.cluster.ha_mode is HaMode.ACTIVE_ACTIVE
    assert (found.cluster.virtual_ip, found.cluster.virtual_ip_prefix) == ("127.0.0.1", None)
    assert found.cluster.members == (1, 2)
    assert found.cluster.name == found.sip.via_host == "127.0.0.1"
    assert found.rm[1].sip == both("127.0.0.1", 7001)
    assert found.rm[2].sip == both("127.0.0.1", 7002)
    assert found.sip.listen == (
        ListenAddress(Transport.UDP, "127.0.0.1", 5060),
        ListenAddress(Transport.TCP, "127.0.0.1", 5060),
    )
    assert found.admin.listen == HostPort("127.0.0.1", 8560)
    assert found.state.backend == "memory"
    assert found.state.directory == Path("/home/operator/.local/state/rmlb/127.0.0.1")


def test_one_balancer_of_a_pair() -> None:
    found = parse(PAIR, FILE, environ=HOME)
    assert (found.cluster.virtual_ip, found.cluster.virtual_ip_prefix) == ("10.99.0.100", 24)
    assert found.cluster.mymemberid == found.heartbeat.id == 1
    assert found.vip.provider is VipProvider.NETLINK
    assert found.vip.interface == "eth0"
    assert found.heartbeat.interval_s == pytest.approx(0.1)
    assert found.heartbeat.listen == (HostPort("10.99.0.1", 9811),)
    assert found.heartbeat.peers == (HostPort("10.99.0.2", 9811),)
    assert found.security.secrets == ("at least sixteen characters",)
    assert found.witness == found.state.url == "redis://10.99.0.50:6379/0"
    assert found.state.directory == Path("/home/operator/.local/state/rmlb/10.99.0.100-1")


def test_what_make_run_starts() -> None:
    found = load(ROOT / "config" / "quickstart.toml")
    assert found.cluster.virtual_ip == "127.0.0.1"
    assert [str(address) for address in found.sip.listen] == [
        "udp:127.0.0.1:5060",
        "tcp:127.0.0.1:5060",
    ]
    assert found.admin.listen == HostPort("127.0.0.1", 8560)
    assert found.state.backend == "memory"
    assert tuple(found.rm) == (1, 2)


RM_OPTIONS = r"""
[Cluster]
Members = "1 2"
member.1 = "10.1.1.1:9801"
"Member.2" = "10.1.1.2:9801"
HotStandby = "TRUE"
MyMemberID = "2"
Virtual-IP = "10.0.0.1"
virtual-ip-in-via = "False"
ElectionTimer = "3500"
heartbeattimer = 8000
FailOverScript = 'C:\GCTI\NLB.bat'
HA-Mode = "Active Standby"
[GVP]
NICs = "0 1"
nic.eth0 = "00-0F-1F-6D-EB-CA"
"nic.ETH1" = "00:0f:1f:6d:eb:cb"
[RM.1]
SIP = "10.1.1.1:5060"
["rm.2"]
sip = "10.1.1.2:5060"
"""


def test_the_options_of_the_resource_manager_pasted() -> None:
    found = parse(RM_OPTIONS, FILE, environ=HOME)
    cluster = found.cluster
    assert cluster.members == (1, 2)
    assert cluster.member == {1: "10.1.1.1:9801", 2: "10.1.1.2:9801"}
    assert cluster.hotstandby is True
    assert cluster.mymemberid == 2
    assert cluster.virtual_ip == "10.0.0.1"
    assert cluster.virtual_ip_in_via is False
    assert cluster.electiontimer_ms == 3500
    assert cluster.heartbeattimer_ms == 8000
    assert cluster.failoverscript == r"C:\GCTI\NLB.bat"
    assert cluster.ha_mode is HaMode.ACTIVE_STANDBY
    assert found.gvp.nics == (0, 1)
    assert found.gvp.nic == {0: "00:0f:1f:6d:eb:ca", 1: "00:0f:1f:6d:eb:cb"}


@pytest.mark.parametrize(
    "word", ["active-active", "Active Active", "ACTIVE_ACTIVE", " active  active "]
)
def test_every_way_to_write_an_ha_mode(word: str) -> None:
    assert config(cluster=f'ha-mode = "{word}"').cluster.ha_mode is HaMode.ACTIVE_ACTIVE


def test_every_table() -> None:
    found = config(
        cluster='name = "east"',
        rm_2='sip = ["udp:rm2.example.com:5060", "tls:[2001:db8::12]:5061"]\nweight = 50',
        sip=(
            'listen = ["udp:10.0.0.9:5070", "tcp:[2001:db8::9]:5060"]\n'
            'aliases = ["RM.example.com"]\noptions-users = "ping"\nvia-host = "rm.example.com"\n'
            'connect-timeout = "2s"\nmax-message-size = "32KiB"\nudp-size-limit = 1300'
        ),
        affinity='keys = ["X-Genesys-CallUUID"]\nalgorithm = "least-calls"\nttl = "24h"',
        health='codes = [200, "400-499"]\ninterval = "500ms"\ntimeout = "250ms"\nuser = "rmlb"',
        retry='timer-c = "240s"\ncodes = [503, 500]\nmemory = "1GiB"',
        overload="calls-per-second = 100\nadaptive = true",
        drain='limit = "0s"',
        state='url = "REDIS://10.0.0.50/3"\ndir = "/srv/rmlb"',
        vip='addresses = "2001:db8::100/64"\ngateway-ip = "10.99.0.254"\nalone = "release"',
        heartbeat='interval = "rm"\nid = 7',
        tls='min-version = "1.3"',
        trace='hep = "homer.example.com"',
        security=(
            'trusted = ["10.0.0.0/8", "192.0.2.7"]\n'
            'secret = ["0123456789abcdef", "fedcba9876543210"]'
        ),
        log='level = "DEBUG"\nformat = "json"',
        admin='listen = "localhost:9000"\ntoken = "0123456789abcdef"',
    )
    assert found.cluster.name == "east"
    assert found.rm[2].sip == (
        SipAddress(Transport.UDP, "rm2.example.com", 5060),
        SipAddress(Transport.TLS, "2001:db8::12", 5061),
    )
    assert found.rm[2].weight == 50
    assert found.sip.listen == (
        ListenAddress(Transport.UDP, "10.0.0.9", 5070),
        ListenAddress(Transport.TCP, "2001:db8::9", 5060),
    )
    assert found.sip.aliases == ("rm.example.com",)
    assert found.sip.options_users == ("ping",)
    assert found.sip.via_host == "rm.example.com"
    assert found.sip.connect_timeout_s == 2.0
    assert found.sip.max_message_size == 32768
    assert found.sip.udp_size_limit == 1300
    assert found.affinity.keys == ("X-Genesys-CallUUID",)
    assert found.affinity.algorithm is Algorithm.LEAST_CALLS
    assert found.affinity.ttl_s == 86400
    assert found.health.interval_s == 0.5
    assert found.retry.timer_c_s == 240
    assert found.retry.codes == (503, 500)
    assert found.retry.memory == 2**30
    assert found.overload.calls_per_second == 100
    assert found.overload.adaptive is True
    assert found.drain.limit_s == 0
    assert found.state.url == "redis://10.0.0.50/3"
    assert found.state.directory == Path("/srv/rmlb")
    assert [str(address) for address in found.virtual_addresses] == [
        "10.99.0.100",
        "2001:db8::100/64",
    ]
    assert found.vip.alone == "release"
    assert found.heartbeat.id == 7
    assert found.heartbeat.interval_s == 2.0, "the RM's heartbeattimer"
    assert found.tls.min_version == "1.3"
    assert found.trace.hep == HostPort("homer.example.com", 9060)
    assert found.security.trusted == (ip_network("10.0.0.0/8"), ip_network("192.0.2.7/32"))
    assert found.security.secrets == ("0123456789abcdef", "fedcba9876543210")
    assert (found.log.level, found.log.format) == ("debug", "json")
    assert found.admin.listen == HostPort("localhost", 9000)


def test_reactions() -> None:
    found = parse(
        site()
        + '\n[[reaction]]\nOn = "member-*"\ncommand = "/bin/echo \'two words\'"\n'
        + '[[reaction]]\non = ["ready"]\ncommand = ["/bin/true"]\ntimeout = "1s"\n',
        FILE,
        environ=HOME,
    )
    first, second = found.reaction
    assert (first.on, first.command, first.timeout_s) == (
        ("member-*",),
        ("/bin/echo", "two words"),
        10.0,
    )
    assert (second.command, second.timeout_s) == (("/bin/true",), 1.0)


def test_an_empty_list_listens_nowhere() -> None:
    assert config(sip="listen = []").sip.listen == ()


def test_ipv6_virtual_ip() -> None:
    found = parse(
        '[cluster]\nvirtual-ip = "2001:DB8:0::100/64"\n[rm.1]\nsip = "[2001:db8::11]:5060"',
        FILE,
        environ=HOME,
    )
    assert found.cluster.virtual_ip == found.cluster.name == "2001:db8::100"
    assert str(found.sip.listen[0]) == "udp:[2001:db8::100]:5060"
    assert found.state.directory.name == "2001:db8::100"


@pytest.mark.parametrize(
    ("status", "accepted"),
    [(200, True), (404, True), (407, True), (408, False), (409, True), (499, True), (500, False),
     (503, False), (600, False)],
)  # fmt: skip
def test_answers_that_prove_life(status: int, accepted: bool) -> None:
    assert config().health.accepts(status) is accepted


def test_the_configuration_cannot_be_changed() -> None:
    found = config()
    with pytest.raises(AttributeError):
        found.path = "other"  # type: ignore[misc]
    with pytest.raises(ValueError, match="frozen"):
        found.sip.via_host = "other"  # type: ignore[misc]


def test_given_names_what_the_file_says() -> None:
    found = config(cluster='"member.1" = "10.99.0.11:9801"', sip="RECORD-ROUTE = true")
    assert found.given == {
        "cluster.virtual-ip",
        "cluster.member",
        "rm.1.sip",
        "sip.record-route",
    }


# -- every class of error ------------------------------------------------------------------------

ERRORS: list[tuple[dict[str, str], str, str]] = [
    # tables and keys
    ({"helth": 'interval = "2s"'}, "helth", "unknown key; nearest: health"),
    ({"zzz": "a = 1"}, "zzz", "unknown key; cluster, gvp, rm.N, sip, affinity"),
    ({"sip": 'listne = "udp:5060"'}, "sip.listne", "unknown key; nearest: listen"),
    ({"cluster": "virtual_ip_in_via = true"}, "cluster.virtual_ip_in_via",
     "names have hyphens, not underscores; virtual-ip-in-via"),
    ({"sip": 'virtual-ip = "10.0.0.1"'}, "sip.virtual-ip", "virtual-ip belongs to [cluster]"),
    ({"sip": "qqq = 1"}, "sip.qqq", "unknown key; listen, record-route, aliases"),
    ({"cluster": "qqq = 1"}, "cluster.qqq", "members, member.N, mymemberid"),
    ({"rm_1": "wieght = 50"}, "rm.1.wieght", "nearest: weight"),
    ({"cluster": "a.b.c.d.e.f = 1"}, "cluster.a", "unknown key"),
    ({"cluster": 'FailOverScript = "a"\nfailoverscript = "b"'}, "cluster.failoverscript",
     "given twice (case is ignored)"),
    ({"cluster": 'member.1 = "h:1"\n"MEMBER.1" = "h:2"'}, "cluster.member.1", "given twice"),
    ({"cluster": 'member = 1\n"member.1" = "h:2"'}, "cluster.member",
     "1 stands without a number"),
    ({"rm_01": 'sip = "h:1"'}, "rm.01", "this is no member ID"),
    ({"rm_x": 'sip = "h:1"'}, "rm.x", "IDs are whole numbers from 1 to 65535"),
    ({"rm_0": 'sip = "h:1"'}, "rm.0", "this is no member ID"),
    ({"rm_70000": 'sip = "h:1"'}, "rm.70000", "this is no member ID"),
    ({"rm": '3 = "h:1"'}, "rm.3", '"h:1" stands where a table belongs; [rm.3]'),
    ({"rm_2": "weight = 50"}, "rm.2.sip", "is missing"),
    # the RM's own options
    ({"cluster": 'ha-mode = "None"'}, "cluster.ha-mode",
     '"None" is the RM\'s stand-alone mode: nothing to balance; "active-active" or'),
    ({"cluster": 'ha-mode = "hot"'}, "cluster.ha-mode", '"hot" is no HA mode'),
    ({"cluster": "ha-mode = 1"}, "cluster.ha-mode", "1 is no HA mode"),
    ({"cluster": 'members = "1 2"'}, "cluster.members",
     '"1 2" does not match the tables rm.1; "1"'),
    ({"cluster": 'members = "one"'}, "cluster.members", '"one" is not a whole number'),
    ({"cluster": "mymemberid = 2"}, "cluster.mymemberid", "2 is not among the members; 1"),
    ({"cluster": "mymemberid = 0"}, "cluster.mymemberid", "0 is too small"),
    ({"cluster": 'member.1 = "10.0.0.1"'}, "cluster.member.1", "has no port"),
    ({"cluster": 'member.2 = "10.0.0.1:9801"'}, "cluster.member.2", "there is no member 2"),
    ({"cluster": 'member.one = "10.0.0.1:9801"'}, "cluster.member.one", "member.N"),
    ({"cluster": 'hotstandby = "maybe"'}, "cluster.hotstandby", "neither true nor false"),
    ({"cluster": 'electiontimer = "3s"'}, "cluster.electiontimer",
     '"3s" is not a whole number; a whole number of milliseconds'),
    ({"cluster": "heartbeattimer = 1"}, "cluster.heartbeattimer", "from 10 to"),
    ({"cluster": 'name = "a/b"'}, "cluster.name", "does not fit"),
    ({"cluster": 'name = "{x}"'}, "cluster.name", "does not fit"),
    ({"gvp": 'nic.eth0 = "00-0F"'}, "gvp.nic.eth0", "not a MAC address"),
    ({"gvp": 'nic.en0 = "00-0F-1F-6D-EB-CA"'}, "gvp.nic.en0", "nic.ethN"),
    ({"gvp": 'nics = "0"'}, "gvp.nics", "0 is listed, but there is no nic.eth0"),
    # values
    ({"rm_1": 'weight = "100"'}, "rm.1.weight", "not a whole number"),
    ({"rm_1": "weight = 0"}, "rm.1.weight", "from 1 to 1000"),
    ({"rm_2": 'sip = ["udp:h:1", "h"]'}, "rm.2.sip[1]", "has no port"),
    ({"sip": 'listen = ["udp:5060", 5060]'}, "sip.listen[1]", "not text"),
    ({"sip": 'record-route = "true"'}, "sip.record-route", "true or false (no quotes)"),
    ({"sip": "connect-timeout = 4"}, "sip.connect-timeout", "4 has no unit"),
    ({"sip": 'max-message-size = "100"'}, "sip.max-message-size", "100 is too small"),
    ({"affinity": 'algorithm = "random"'}, "affinity.algorithm",
     '"hash", "round-robin", "least-calls"'),
    ({"affinity": 'keys = ["a b"]'}, "affinity.keys[0]", "a header name"),
    ({"health": 'codes = "all"'}, "health.codes", "final SIP status codes"),
    ({"retry": "codes = [200]"}, "retry.codes[0]", "from 400 to 699"),
    ({"state": 'url = "redis://"'}, "state.url", "must name one server"),
    ({"vip": 'provider = "keepalived"'}, "vip.provider",
     '"none", "netlink", "external", "script"'),
    ({"vip": 'interface = "a-very-long-interface"'}, "vip.interface", "at most 15"),
    ({"heartbeat": 'interval = "1ms"'}, "heartbeat.interval", "too short"),
    ({"heartbeat": 'interval = "2h"'}, "heartbeat.interval", '"rm"'),
    ({"tls": "min-version = 1.2"}, "tls.min-version", '"1.2", "1.3"'),
    ({"trace": 'hep = "a:b:c"'}, "trace.hep", "more than one colon"),
    ({"security": 'trusted = ["10.0.0.1/8"]'}, "security.trusted[0]", 'write "10.0.0.0/8"'),
    ({"log": 'level = "trace"'}, "log.level", '"debug", "info", "warning", "error"'),
    ({"admin": 'listen = "8560"'}, "admin.listen", "has no port"),
    ({"admin": 'token = "short"'}, "admin.token", "has only 5 characters"),
]  # fmt: skip


@pytest.mark.parametrize(("tables", "key", "said"), ERRORS)
def test_an_error_names_key_and_what_is_allowed(
    tables: dict[str, str], key: str, said: str
) -> None:
    found = wrong(**tables)
    assert list(found) == [key]
    assert said in found[key]


@pytest.mark.parametrize(
    ("text", "key", "said"),
    [
        ('[rm.1]\nsip = "h:1"', "cluster.virtual-ip", "is missing"),
        ('[cluster]\nvirtual-ip = "10.0.0.1"', "rm", "there is no member"),
        ('[cluster]\nvirtual-ip = "10.0.0.1"\n[[rm]]\nsip = "h:1"', "rm", "a list stands where"),
        ('cluster = 5\n[rm.1]\nsip = "h:1"', "cluster", "5 stands where a table belongs"),
        ('virtual-ip = "10.0.0.1"\n' + site(), "virtual-ip", "belongs to [cluster]"),
        (site() + '\n[reaction]\non = "x"', "reaction", "[[reaction]], in double brackets"),
        (site() + '\n[[reaction]]\non = "x"', "reaction[0].command", "is missing"),
        (site() + '\n[[reaction]]\non = "X!"\ncommand = "a"', "reaction[0].on", "event name"),
        (
            site() + '\n[[reaction]]\non = "x"\ncommand = "a \'"',
            "reaction[0].command",
            "no closing",
        ),
        (site() + '\n[[reaction]]\non = "x"\ncommand = []', "reaction[0].command", "no program"),
        (site() + '\n[[reaction]]\non = "x"\ncommand = 1', "reaction[0].command", "not a command"),
        ("reaction = [1]\n" + site(), "reaction[0]", "1 stands where a table belongs"),
        ("", "", "empty"),
        ("# nothing\n\n", "", "empty"),
    ],
)
def test_what_is_missing_or_misplaced(text: str, key: str, said: str) -> None:
    (problem,) = problems(text)
    assert problem.key == key
    assert said in str(problem)


def test_all_errors_at_once() -> None:
    found = wrong(
        cluster='ha-mode = "x"\nelectiontimer = -1\nnosuch = 1',
        rm_2='sip = "h"\nweight = 5000',
        health='interval = "2"\nrise = 0',
        admin='listen = "x"',
        nosuch="x = 1",
    )
    assert set(found) == {
        "cluster.ha-mode",
        "cluster.electiontimer",
        "cluster.nosuch",
        "rm.2.sip",
        "rm.2.weight",
        "health.interval",
        "health.rise",
        "admin.listen",
        "nosuch",
    }


def test_a_bad_table_hides_no_cross_check_of_the_others() -> None:
    found = wrong(log="level = 1", heartbeat='listen = "10.99.0.1"\npeers = "10.99.0.2"\nid = 1')
    assert set(found) == {"log.level", "security.secret"}


def test_a_bad_table_causes_no_follow_up_errors() -> None:
    found = wrong(
        security='secret = "short"',
        heartbeat='listen = "10.99.0.1"\npeers = "10.99.0.2"\nid = 1',
    )
    assert set(found) == {"security.secret"}


def test_a_problem_is_one_line() -> None:
    (problem,) = problems(site(sip='"a\\nb\\u0000" = 1'), "two\nlines.toml")
    assert str(problem).startswith("two\\nlines.toml: sip.a\\nb\\x00: unknown key; allowed: ")
    assert str(Problem("f", "", "is empty")) == "f: is empty"
    assert str(Problem("f", "a.b", "is odd", "even")) == "f: a.b: is odd; allowed: even"


def test_the_exception_says_everything_too() -> None:
    with pytest.raises(ConfigError) as error:
        parse("[cluster]\n", FILE)
    assert str(error.value).splitlines() == [str(problem) for problem in error.value.problems]
    assert len(error.value.problems) == 2


# -- files ---------------------------------------------------------------------------------------


def test_a_file_is_loaded_with_or_without_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "rmlb.toml"
    for mark in (b"", b"\xef\xbb\xbf"):
        path.write_bytes(mark + WORKING.replace("\n", "\r\n").encode())
        assert load(path).path == str(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"[cluster]\nname = \xff\n", "line 2: not UTF-8"),
        ("[cluster]".encode("utf-16"), "line 1: not UTF-8; save it as UTF-8"),
        (b"#" * (2**20 + 1), "larger than 1 MiB"),
    ],
)
def test_a_file_that_is_none(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "rmlb.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as error:
        load(path)
    (problem,) = error.value.problems
    assert problem.file == str(path)
    assert said in problem.message


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    for path, said in [
        (tmp_path / "none.toml", "no such file or directory"),
        (tmp_path, "is a directory"),
        ("a\0b", "null byte"),
    ]:
        with pytest.raises(ConfigError, match=f"cannot be read: .*{said}"):
            load(path)


# -- nothing but ConfigError ever ----------------------------------------------------------------

_KEYS = sorted(
    {key for model in TABLES.values() for key in model.fields()}
    | {"1", "2", "eth0", "member.1", "on", "command", "é", "", "x_y"}
)
_SCALARS = (
    st.text(max_size=20)
    | st.integers()
    | st.floats()
    | st.booleans()
    | st.sampled_from(
        ["10.0.0.1", "10.0.0.1:5060", "udp:5060", "1s", "rm", "netlink", "1 2", "redis://a",
         "true", "tls:5061", "0123456789abcdef", "127.0.0.1/8", "/", "a/b"]
    )
)  # fmt: skip
_VALUES = _SCALARS | st.lists(_SCALARS, max_size=3)
_BODIES = st.dictionaries(
    st.sampled_from(_KEYS), _VALUES | st.dictionaries(st.sampled_from(_KEYS), _VALUES, max_size=2),
    max_size=6,
)  # fmt: skip
_FILES = st.dictionaries(st.sampled_from([*TABLES, "rm.1", "rm.2", "rm", "reaction"]), _BODIES)


def written(tables: dict[str, dict[str, Any]]) -> str:
    lines = []
    for name, body in tables.items():
        lines.append(f"[[{name}]]" if name == "reaction" else f"[{name}]")
        for key, value in body.items():
            if isinstance(value, dict):
                lines += [f"{toml(key)}.{toml(part)} = {toml(v)}" for part, v in value.items()]
            else:
                lines.append(f"{toml(key)} = {toml(value)}")
    return "\n".join(lines)


def loads_or_explains(text: str) -> None:
    """Anything but ConfigError fails the test by itself."""
    for problem in problems(text):
        assert problem.message
        assert "\n" not in str(problem)


@settings(max_examples=300)
@given(_FILES)
def test_any_tables_load_or_are_explained(tables: dict[str, dict[str, Any]]) -> None:
    loads_or_explains(written(tables))


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from(sorted(TABLES)), _BODIES))
def test_anything_beside_a_working_pair_loads_or_is_explained(
    tables: dict[str, dict[str, Any]],
) -> None:
    loads_or_explains(written({**tables, "cluster": {"virtual-ip": "10.99.0.100"},
                               "rm.1": {"sip": "10.99.0.11:5060"}}))  # fmt: skip


@given(st.text())
def test_any_text_loads_or_is_explained(text: str) -> None:
    loads_or_explains(text)


@given(at=st.integers(0, len(PAIR)), gone=st.integers(0, 5), put=st.text(max_size=5))
def test_a_damaged_file_loads_or_is_explained(at: int, gone: int, put: str) -> None:
    loads_or_explains(PAIR[:at] + put + PAIR[at + gone :])


def test_deep_and_long_tables_are_explained() -> None:
    assert problems("a." * 3000 + "b = 1")
    assert problems("cluster." + "a." * 3000 + "b = 1")
    assert problems(f"[rm.1]\nweight = 0x{'f' * 9000}")
    assert problems("[reaction]\n" + "a." * 3000 + "b = 1")


@pytest.mark.parametrize("octets", [random.Random(7).randbytes(64), bytes(range(256)), b"\0" * 10])
def test_any_octets_load_or_are_explained(tmp_path: Path, octets: bytes) -> None:
    (tmp_path / "f").write_bytes(octets)
    with pytest.raises(ConfigError):
        load(tmp_path / "f")
