"""The VIP by other means: keepalived, a script, by hand, and without proxying."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rig_net import ADDRESSES, VIP, NetBalancer, Site
from rig_process import Process, wait_until

SAMPLE = Path(__file__).parents[2] / "config" / "keepalived.conf"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Site(tmp_path) as site:
        site.members = site.start_members()
        yield site


def configured(balancer: NetBalancer, **replaced: str) -> NetBalancer:
    """With other lines in its file."""
    text = balancer.config_path.read_text()
    for old, new in replaced.items():
        text = re.sub(rf"^{old.replace('_', '-')} *=.*$", new, text, flags=re.MULTILINE)
    balancer.config_path.write_text(text)
    return balancer


def keepalived(site: Site, number: int) -> Process:
    """The sample configuration as it is, but for its script and the second host's addresses."""
    text = SAMPLE.read_text()
    text = re.sub(r"    track_script \{.*?\}\n", "", text, flags=re.DOTALL)
    text = re.sub(r"vrrp_script .*?\n\}\n", "", text, flags=re.DOTALL)
    if number == 2:
        text = text.replace("10.99.0.2\n", "10.99.0.X\n").replace("10.99.0.1\n", "10.99.0.2\n")
        text = text.replace("10.99.0.X", "10.99.0.1").replace("priority 100", "priority 90")
    path = site.directory / f"keepalived{number}.conf"
    path.write_text(text)
    files = [f"--{kind}={site.directory}/{kind}{number}" for kind in ("pid", "vrrp_pid")]
    return site.run(
        f"b{number}", f"keepalived{number}", "keepalived", "--dont-fork", "--vrrp",
        "--log-console", f"--use-file={path}", *files,
    )  # fmt: skip


def test_a_real_keepalived_moves_it(site: Site) -> None:
    for number in (1, 2):
        balancer = site.make_balancer(number, witness=False)
        configured(balancer, provider='provider = "external"')
        site.start(balancer.begin())
    movers = {number: keepalived(site, number) for number in (1, 2)}
    site.wait_settled()
    first = site.owner
    with site.prober() as probe:
        time.sleep(0.3)
        movers[first].kill()  # its children end with it, and leave the address behind
        subprocess.run(
            ["ip", "-n", site.name(f"b{first}"), "address", "del", f"{VIP}/24", "dev", "eth0"],
            check=False,
        )
        wait_until("the other one owns", lambda: site.balancers[3 - first].owner)
        assert not site.balancers[first].owner
        time.sleep(0.3)
    assert probe.silence_ms() < 2000
    status, said = site.balancers[3 - first].post("/api/v1/release")
    assert (status, said["error"]) == (409, "[vip] provider is external: it is not ours to move")


def test_a_script_moves_it(site: Site) -> None:
    site.start_redis()
    for number in (1, 2):
        balancer = site.make_balancer(number)
        script = site.directory / f"script{number}.sh"
        script.write_text(
            '#!/bin/sh\necho "$1 $2" >>"$0.log"\n'
            f'[ "$1" = enable ] && ip address add {VIP}/24 dev eth0 && exit 0\n'
            f"ip address del {VIP}/24 dev eth0\n"
        )
        script.chmod(0o755)
        configured(
            balancer,
            provider='provider = "script"',
            ha_mode=f'ha-mode = "active-active"\nfailoverscript = "{script}"',
        )
        site.start(balancer.begin())
    site.wait_settled()
    first = site.owner
    wait_until("the script has run", site.balancers[first].has_address)
    status, said = site.balancers[first].post("/api/v1/release")
    assert status == 200, said
    wait_until("it is there", site.balancers[3 - first].has_address)
    wait_until("and not here", lambda: not site.balancers[first].has_address())
    log = Path(f"{site.directory}/script{first}.sh.log").read_text()
    assert log.splitlines() == [f"enable {first}", f"disable {first}"]


def test_without_proxying_it_follows_the_local_member(site: Site) -> None:
    """[sip] listen = []: IP takeover alone, for RMs that take calls themselves."""
    site.start_redis()
    for number in (1, 2):
        balancer = site.make_balancer(number)
        configured(
            balancer,
            listen="listen = []",
            ha_mode=f'ha-mode = "active-active"\nmymemberid = {number}',
        )
        text = balancer.config_path.read_text()  # [heartbeat] and [admin] have a listen, too
        own = ADDRESSES[f"b{number}"]
        text = text.replace("[heartbeat]\n", f'[heartbeat]\nlisten = "{own}:9811"\n', 1)
        text = text.replace("[admin]\nlisten = []", '[admin]\nlisten = "127.0.0.1:8560"')
        head, _, tail = text.partition("[heartbeat]\n")
        tail = tail.replace("listen = []\n", "", 1)
        balancer.config_path.write_text(f"{head}[heartbeat]\n{tail}")
        site.start(balancer.begin())
    site.wait_settled()
    first = site.owner
    assert site.balancers[first].has_address()
    site.members[first].kill()
    wait_until("it follows the RM that lives", site.balancers[3 - first].has_address, 20.0)
    assert not site.balancers[first].has_address()


def test_by_hand(site: Site) -> None:
    balancer = site.make_balancer(1, witness=False)

    def vip(word: str, *more: str) -> tuple[int, str]:
        command = ["ip", "netns", "exec", balancer.namespace, sys.executable, "-m", "rmlb.cli"]
        done = subprocess.run(
            [*command, "vip", word, str(balancer.config_path), *more],
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    assert vip("check") == (1, f"{VIP}: not here\n")
    assert vip("init") == (0, "it was not here\n")
    assert vip("enable") == (0, f"{VIP} is on eth0\n")
    assert balancer.has_address()
    assert vip("check") == (0, f"{VIP}: eth0\n")
    assert vip("ping") == (0, f"{VIP}: answers\n")
    time.sleep(2.5)
    assert balancer.has_address(), "nobody has to refresh it"
    other = site.make_balancer(2, witness=False)
    balancer.namespace, own = other.namespace, balancer.namespace
    status, said = vip("enable")
    assert (status, said.split()[-3:]) == (1, ["it;", "--force", "overrides"]), said
    balancer.namespace = own
    assert vip("disable") == (0, f"removed: {VIP}\n")
    assert not balancer.has_address()
    assert vip("ping")[0] == 1
