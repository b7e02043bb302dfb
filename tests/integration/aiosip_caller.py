"""aiosip 0.2.0 as it is, placing calls: a process of its own, run by test_aiosip.py.

Arguments: host, port, and its own ports: one for an OPTIONS and one for each call. Prints one
JSON object. Only what Python has dropped since 2017 is put in its place; dialogs, messages and
sockets are aiosip's own.
"""

from __future__ import annotations

import asyncio
import collections
import collections.abc
import json
import sys
import types
import warnings
from typing import Any

from multidict import CIMultiDict

asyncio.coroutine = types.coroutine  # type: ignore[attr-defined]
collections.MutableMapping = collections.abc.MutableMapping  # type: ignore[attr-defined]
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import aiosip

SDP = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"


async def main(host: str, port: int, own_ports: list[int]) -> dict[str, Any]:
    app = aiosip.Application(loop=asyncio.get_running_loop())
    found: dict[str, Any] = {"options": 0, "completed": 0, "misrouted": 0, "members": []}
    for number, own_port in enumerate(own_ports):
        local = ("127.0.0.1", own_port)
        dialog = await app.start_dialog(
            from_uri=f"sip:aiosip@{local[0]}:{local[1]}",
            to_uri=f"sip:{'ivr@' if number else ''}{host}:{port}",
            local_addr=local,
            remote_addr=(host, port),
        )
        if not number:
            found["options"] = (await answer(dialog.send_message("OPTIONS"))).status_code
            continue
        headers = CIMultiDict({"Content-Type": "application/sdp"})
        ok = await answer(dialog.invite(headers=headers, sdp=SDP))
        member = ok.headers["X-Simulated-Member"]
        dialog.send_message("ACK", to_details=ok.to_details)
        bye = await answer(dialog.send_message("BYE", to_details=ok.to_details))
        found["completed"] += (ok.status_code, bye.status_code) == (200, 200)
        found["misrouted"] += bye.headers.get("X-Simulated-Member") != member
        found["members"].append(member)
    return found


async def answer(future: asyncio.Future[Any]) -> Any:
    return await asyncio.wait_for(future, 5)


if __name__ == "__main__":
    host, port, *own_ports = sys.argv[1:]
    result = asyncio.run(main(host, int(port), list(map(int, own_ports))))
    sys.stdout.write(json.dumps(result))
