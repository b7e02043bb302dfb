"""Cross-checks, as a table: what does not fit together, which key is named, what is said."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme
from config_samples import config, problems, site, wrong

PEERS = 'listen = "10.99.0.1:9811"\npeers = "10.99.0.2:9811"\nid = 1'
SECRET = 'secret = "at least sixteen characters"'
SECOND = 'sip = "10.99.0.12:5060"'

REFUSED: list[tuple[dict[str, str], str, str]] = [
    # members
    ({"rm_2": 'sip = "10.99.0.11:5060"'}, "rm.2.sip",
     "udp:10.99.0.11:5060 is member 1's too"),
    ({"rm_2": 'sip = "tcp:10.99.0.11:5060"'}, "rm.2.sip", "tcp:10.99.0.11:5060 is member 1's"),
    ({"rm_2": 'sip = "udp:10.99.0.100:5060"'}, "rm.2.sip", "we would send to ourselves"),
    ({"rm_2": 'sip = "tls:10.99.0.100:5060"'}, "rm.2.sip", "we would send to ourselves"),
    ({"sip": 'listen = "udp:10.99.0.11:5060"'}, "rm.1.sip", "we would send to ourselves"),
    ({"cluster": 'members = "1"', "rm_2": SECOND}, "cluster.members",
     '"1" does not match the tables rm.1, rm.2; "1 2", or leave it out'),
    # record-route
    ({"sip": 'record-route = false\nlisten = "tcp:5060"', "rm_2": 'sip = "udp:10.99.0.12:5060"'},
     "sip.record-route", "bridging from tcp:10.99.0.100:5060 to member 2"),
    ({"sip": 'record-route = false\nlisten = "udp:[2001:db8::9]:5060"'},
     "sip.record-route", "bridging from udp:[2001:db8::9]:5060 to member 1"),
    ({"sip": 'record-route = false\nlisten = ["udp:5060", "tls:5061"]',
      "tls": 'certificate = "CERT"'},
     "sip.record-route", "false does not go together with the TLS listener tls:10.99.0.100:5061"),
    # ports
    ({"sip": 'listen = ["tcp:5061", "tls:5061"]', "tls": 'certificate = "CERT"'},
     "sip.listen", "TCP and TLS cannot share 10.99.0.100:5061"),
    ({"sip": 'listen = "tcp:127.0.0.1:8560"'}, "admin.listen", "[sip] listens there, too"),
    ({"sip": "max-connections = 10"}, "sip.max-connections-per-source", "at most max-connections"),
    # times
    ({"affinity": 'ttl = "1h"'}, "affinity.idle", "at most affinity.ttl"),
    ({"health": 'interval = "500ms"'}, "health.timeout", "at most health.interval"),
    # the VIP
    ({"vip": 'provider = "netlink"'}, "vip.interface", "netlink adds the VIP to it"),
    ({"vip": 'provider = "netlink"\ninterface = "lo"\naddresses = "::1/128"'},
     "vip.provider", "does not move a loopback address (::1/128)"),
    ({"vip": 'provider = "script"'}, "cluster.failoverscript", "is missing"),
    ({"cluster": "ha-mode = 'active-standby'\nfailoverscript = '\"/opt/rm/NLB.sh'"},
     "cluster.failoverscript", '"/opt/rm/NLB.sh: no closing quotation'),
    ({"vip": 'addresses = "10.99.0.100/24"'}, "vip.addresses", "10.99.0.100 is given twice"),
    # heartbeat
    ({"heartbeat": PEERS}, "security.secret", "balancers with peers share one"),
    ({"heartbeat": 'peers = "10.99.0.2"\nid = 1', "security": SECRET},
     "heartbeat.listen", "is missing: there are peers"),
    ({"heartbeat": 'listen = "10.99.0.1"\npeers = "10.99.0.2"', "security": SECRET},
     "cluster.mymemberid", "balancers with peers are numbered"),
    ({"heartbeat": 'listen = "10.99.0.11:9801"', "cluster": 'member.1 = "10.99.0.11:9801"'},
     "heartbeat.listen", "is the RM's own cluster port (cluster.member.1)"),
    ({"heartbeat": 'listen = "10.99.0.100:9811"'}, "heartbeat.listen", "is the virtual IP"),
    ({"heartbeat": 'listen = "10.99.0.1"\npeers = ["10.99.0.1", "10.99.0.2"]\nid = 1',
      "security": SECRET, "state": 'url = "redis://10.99.0.50"'},
     "heartbeat.peers", "10.99.0.1:9811 is our own"),
    ({"heartbeat": 'listen = "10.99.0.1:5060"', "sip": 'listen = "udp:10.99.0.1:5060"'},
     "heartbeat.listen", "[sip] listens there, too"),
    ({"heartbeat": 'listen = "10.99.0.1"\npeers = ["10.99.0.2", "10.99.0.3"]\nid = 1',
      "security": SECRET, "vip": 'provider = "netlink"\ninterface = "eth0"'},
     "vip.witness", "more than two balancers need one"),
    # secrets, TLS, admin
    ({"security": SECRET + '\nsecret-file = "SECRETS"'}, "security.secret-file",
     "security.secret is given, too"),
    ({"sip": 'listen = "tls:5061"'}, "tls.certificate", "[sip] listens on tls:10.99.0.100:5061"),
    ({"tls": 'certificate = "none.pem"'}, "tls.certificate", "no such file or directory"),
    ({"tls": 'certificate = "CERT"\nkey = "none.pem"'}, "tls.key", "no such file or directory"),
    ({"tls": 'certificate = "CERT"\nkey = "OTHER"'}, "tls.key", "key values mismatch"),
    ({"tls": 'certificate = "SECRETS"'}, "tls.certificate", "cannot be used"),
    ({"tls": 'key = "CERT"'}, "tls.certificate", "there is a key"),
    ({"tls": 'ca = "SECRETS"'}, "tls.ca", "holds no certificates"),
    ({"tls": 'ca = "none.pem"'}, "tls.ca", "no such file or directory"),
    ({"tls": "verify-clients = true"}, "tls.ca", "verify-clients is true"),
    ({"tls": 'ciphers = "NONE-SUCH"'}, "tls.ciphers", "names no cipher that OpenSSL has"),
    ({"admin": 'listen = "10.99.0.1:8560"\ntls = true\ncertificate = "CERT"'},
     "admin.token", "10.99.0.1:8560 is off loopback"),
    ({"admin": 'listen = "0.0.0.0:8560"'}, "admin.listen", "not the address of one host"),
    ({"admin": 'listen = "10.99.0.1:8560"\ntoken = "0123456789abcdef"'},
     "admin.tls", "10.99.0.1:8560 is off loopback"),
    ({"admin": "tls = true"}, "admin.certificate", "is missing: tls is true"),
    ({"admin": 'certificate = "CERT"'}, "admin.tls", "is off: there is a certificate"),
    ({"admin": 'tls = true\ncertificate = "none.pem"'}, "admin.certificate", "no such file"),
]  # fmt: skip

ACCEPTED: list[dict[str, str]] = [
    {"rm_2": 'sip = "udp:10.99.0.11:5062"'},
    {"rm_2": 'sip = "10.99.0.100:5070"'},
    {"sip": "record-route = false"},
    {"sip": 'record-route = false\nlisten = "udp:5060"', "rm_2": 'sip = "udp:10.99.0.12:5060"'},
    {"sip": 'record-route = false\nlisten = "udp:[::1]:5060"', "rm_1": "", "rm_2": ""},
    {"sip": "listen = []"},
    {"sip": 'listen = ["udp:5060", "tcp:5060", "tls:5061"]', "tls": 'certificate = "CERT"'},
    {"vip": 'provider = "external"'},
    {"vip": 'provider = "script"', "cluster": 'failoverscript = "/bin/true"'},
    {"heartbeat": PEERS, "security": SECRET},
    {"heartbeat": PEERS.replace("id = 1", ""), "cluster": "mymemberid = 1", "security": SECRET},
    {"heartbeat": 'listen = ["10.99.0.1", "10.98.0.1"]\npeers = ["10.99.0.2", "10.98.0.2"]\nid = 1',
     "security": SECRET, "vip": 'provider = "netlink"\ninterface = "eth0"'},
    {"heartbeat": 'listen = "10.99.0.11:9811"', "cluster": 'member.1 = "10.99.0.11:9801"'},
    {"admin": 'listen = "[::1]:8560"'},
    {"admin": 'listen = "localhost:8560"'},
    {"admin": 'listen = "10.99.0.1:8560"\ntls = true\ntoken = "0123456789abcdef"',
     "tls": 'certificate = "CERT"'},
    {"admin": 'tls = true\ncertificate = "CERT"\nkey = "CERT"'},
    {"tls": 'ca = "CA"\nverify-clients = true\nciphers = "ECDHE+AESGCM"'},
]  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Files that the tables below name in capitals."""
    folder = tmp_path_factory.mktemp("pem")
    authority = trustme.CA()
    paths = {name: str(folder / name.lower()) for name in ("CERT", "OTHER", "CA", "SECRETS")}
    certificate = authority.issue_cert("rm.example.com")
    certificate.private_key_and_cert_chain_pem.write_to_path(paths["CERT"])
    authority.issue_cert("a.example.com").private_key_pem.write_to_path(paths["OTHER"])
    authority.cert_pem.write_to_path(paths["CA"])
    Path(paths["SECRETS"]).write_text("a secret of some length\n")
    return paths


def named(tables: dict[str, str], files: dict[str, str]) -> dict[str, str]:
    """The tables with the names in capitals replaced by paths."""
    result = dict(tables)
    for name, path in files.items():
        result = {table: body.replace(f'"{name}"', f'"{path}"') for table, body in result.items()}
    return result


@pytest.mark.parametrize(("tables", "key", "said"), REFUSED)
def test_what_does_not_fit_together(
    tables: dict[str, str], key: str, said: str, files: dict[str, str]
) -> None:
    found = wrong(**named(tables, files))
    assert list(found) == [key]
    assert said in found[key]


@pytest.mark.parametrize("tables", ACCEPTED)
def test_what_fits(tables: dict[str, str], files: dict[str, str]) -> None:
    found = dict(tables)
    if "rm_1" in found:  # members by name: their address family cannot be told
        text = site(**{k: v for k, v in found.items() if not k.startswith("rm_")})
        text = text.replace("10.99.0.11:5060", "rm1.example.com:5060")
        assert problems(text) == ()
        return
    assert config(**named(found, files))


def test_a_loopback_virtual_ip_is_not_moved() -> None:
    text = site(vip='provider = "netlink"\ninterface = "lo"').replace("10.99.0.100", "127.0.0.1")
    (problem,) = problems(text)
    assert problem.key == "vip.provider"
    assert "loopback address (127.0.0.1)" in problem.message


def test_off_loopback_lacks_token_and_tls_at_once() -> None:
    found = wrong(admin='listen = "10.99.0.1:8560"')
    assert set(found) == {"admin.token", "admin.tls"}


def test_an_encrypted_key_is_refused_and_nobody_is_asked(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    issued = trustme.CA().issue_cert("rm.example.com")
    key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
    (tmp_path / "key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "cert"))
    found = wrong(tls=f'certificate = "{tmp_path}/cert"\nkey = "{tmp_path}/key"')
    assert list(found) == ["tls.key"]
    assert "is encrypted" in found["tls.key"]
