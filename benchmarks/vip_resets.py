"""TCP resets that reach the caller's host from the virtual IP, counted by its kernel.

sipp's own words do not count them: a reset that meets a connection which the former owner has
closed already is a broken pipe to it, or nothing at all; one that refuses the new connection is
"could not reconnect". Every segment sent on a connection that is gone is answered by a reset, so
there may be more of them than connections.
"""

from __future__ import annotations

import json
import subprocess
from typing import Any, Self

from vip_systems import VIP, Site

RULES = f"""table inet resets {{
    counter from_vip {{ }}
    chain arrives {{
        type filter hook input priority 0;
        ip saddr {VIP} tcp flags & rst == rst counter name from_vip
    }}
}}
"""


class Resets:
    """Counts as long as it is open."""

    def __init__(self, site: Site) -> None:
        self._nft = ["ip", "netns", "exec", site.name("caller"), "nft"]
        self.count = 0

    def __enter__(self) -> Self:
        subprocess.run([*self._nft, "-f", "-"], input=RULES, text=True, check=True)
        return self

    def __exit__(self, *why: object) -> None:
        asked = [*self._nft, "-j", "list", "counter", "inet", "resets", "from_vip"]
        shown = subprocess.run(asked, capture_output=True, text=True, check=True)
        subprocess.run([*self._nft, "delete", "table", "inet", "resets"], check=True)
        found: list[dict[str, Any]] = json.loads(shown.stdout)["nftables"]
        self.count = sum(each["counter"]["packets"] for each in found if "counter" in each)
