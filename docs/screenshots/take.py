"""`make screenshots`: takes the pictures of this folder anew, of a real balancer with real calls.

    python docs/screenshots/take.py [--settle 60] [NAME ...]

Balancer, members and calls are processes on free ports of loopback; for the takeover they are on
hosts of their own, as network namespaces, which needs root. Needs the extra dev and the system's
chromium. `--settle`: seconds of calls before the first picture, for curves with a past.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from playwright.async_api import Browser, Page, Playwright, async_playwright

from rmlb.config.addresses import HostPort
from rmlb.sim.stage import AdminApi, Child, free_ports

HERE: Final = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tests" / "integration"))

from rig_browser import CHROMIUM, chromium_on  # noqa: E402 - found by the line above
from rig_net import ADDRESSES, VIP, Site  # noqa: E402
from rig_process import until  # noqa: E402

HOST: Final = "127.0.0.1"
RATE: Final = 6

FLAGS: Final = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)

CONFIG: Final = """\
[cluster]
ha-mode = "active-active"
virtual-ip = "{host}"
[rm.1]
sip = "{host}:{rm1}"
[rm.2]
sip = "{host}:{rm2}"
[sip]
listen = ["udp:{sip}", "tcp:{sip}"]
[health]
slow-start = "5s"
[state]
dir = "{state}"
[admin]
listen = "{host}:{admin}"
[trace]
keep = 20000
[log]
level = "error"
"""


class Set:
    """Everything that runs."""

    def __init__(self, directory: Path) -> None:
        sip, admin, first, second = free_ports(4)
        config = directory / "rmlb.toml"
        config.write_text(
            CONFIG.format(
                host=HOST, sip=sip, admin=admin, rm1=first, rm2=second, state=directory / "state"
            )
        )
        self.url = f"http://{HOST}:{admin}/"
        self.api = AdminApi(HostPort(HOST, admin))
        self.balancer = Child("balancer", "run", str(config))
        self.members = {
            n: Child(f"member {n}", "simulate", "rm", "--id", str(n), "--listen", f"{HOST}:{port}")
            for n, port in ((1, first), (2, second))
        }
        target = ("--target", f"{HOST}:{sip}", "--rate", str(RATE), "--calls", "0", "--hold", "3s")
        self.caller = Child("caller", "simulate", "sip-server", *target)

    async def start(self) -> None:
        for child in (*self.members.values(), self.balancer):
            await child.start()
        await self.api.wait_ready(self.balancer)
        await self.caller.start()

    async def stop(self) -> None:
        await self.api.close()
        for child in (self.caller, self.balancer, *self.members.values()):
            await child.kill()

    async def health(self, member: int, word: str) -> None:
        while (await self.api.members())[member]["health"] != word:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.1)


async def page_of(browser: Browser, url: str, width: int, height: int, scheme: str) -> Page:
    context = await browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if scheme == "dark" else "light",
        device_scale_factor=2 if width < 600 else 1,
    )
    page = await context.new_page()
    await page.goto(url)
    await page.wait_for_selector('body[data-ready="yes"]')
    await asyncio.sleep(3.0)  # dots on their way, rates of a few seconds
    return page


async def shoot(page: Page, name: str) -> None:
    await page.screenshot(path=HERE / f"{name}.png")
    await page.context.close()
    print(f"{name}.png")


async def calm(browser: Browser, stage: Set) -> None:
    await shoot(await page_of(browser, stage.url, 1360, 900, "light"), "calm")


async def dark(browser: Browser, stage: Set) -> None:
    await shoot(await page_of(browser, stage.url, 1360, 900, "dark"), "dark")


async def ladder(browser: Browser, stage: Set) -> None:
    page = await page_of(browser, stage.url, 1360, 900, "light")
    for _ in range(3):  # the list moves on while calls come
        await page.locator("[data-call]").nth(8).click()
        await page.wait_for_selector(".rung")
    await page.locator(".rung").nth(1).click()
    await page.evaluate("document.querySelector('.calls').scrollIntoView()")
    await page.evaluate("scrollBy(0, -70)")
    await asyncio.sleep(0.5)
    await shoot(page, "ladder")


async def phone(browser: Browser, stage: Set) -> None:
    await shoot(await page_of(browser, stage.url, 390, 844, "light"), "phone")


async def member_down(browser: Browser, stage: Set) -> None:
    page = await page_of(browser, stage.url, 1360, 1000, "light")
    await stage.members[2].kill()
    await stage.health(2, "out of service")
    await asyncio.sleep(5.0)
    await shoot(page, "member-down")
    await stage.members[2].start()
    await stage.health(2, "in service")


PICTURES: Final[dict[str, Callable[[Browser, Set], Awaitable[None]]]] = {
    "calm": calm,
    "dark": dark,
    "phone": phone,
    "ladder": ladder,
    "member-down": member_down,
}


async def launch(playwright: Playwright, program: str | Path) -> Browser:
    return await playwright.chromium.launch(executable_path=program, args=list(FLAGS))


async def takeover(playwright: Playwright, settle_s: float) -> None:
    """The cable of the owner is cut; the picture is the other balancer's."""
    rmlb = (sys.executable, "-m", "rmlb.cli", "simulate")
    with tempfile.TemporaryDirectory(prefix="rmlb-screenshots-") as name, Site(Path(name)) as site:
        for n in (1, 2):
            listen = f"{ADDRESSES[f'm{n}']}:5060"
            site.run(f"m{n}", f"member{n}", *rmlb, "rm", "--id", str(n), "--listen", listen)
        site.start_redis()
        await asyncio.to_thread(
            site.start_balancers, interval="500ms", extra="[trace]\nkeep = 20000\n"
        )
        calls = ("--rate", str(RATE), "--calls", "0", "--hold", "3s")
        site.run("caller", "calls", *rmlb, "sip-server", "--target", f"{VIP}:5060", *calls)
        await asyncio.sleep(settle_s)
        owner = site.owner
        other = site.balancers[3 - owner]
        browser = await launch(playwright, chromium_on(other.namespace, Path(name)))
        page = await page_of(browser, "http://127.0.0.1:8560/", 1360, 900, "light")
        site.delete_cable(f"b{owner}")
        await until("it takes over", lambda: other.owner)
        await asyncio.sleep(12.0)  # calls, and a curve of them
        await shoot(page, "takeover")
        await browser.close()


async def take(names: list[str], settle_s: float) -> None:
    async with async_playwright() as playwright:
        if "takeover" in names or not names:
            await takeover(playwright, settle_s)
        of_one = [name for name in names or PICTURES if name != "takeover"]
        if of_one:
            await take_of_one(playwright, of_one, settle_s)


async def take_of_one(playwright: Playwright, names: list[str], settle_s: float) -> None:
    with tempfile.TemporaryDirectory(prefix="rmlb-screenshots-") as directory:
        stage = Set(Path(directory))
        try:
            await stage.start()
            await asyncio.sleep(settle_s)
            browser = await launch(playwright, CHROMIUM)
            for name in names:
                await PICTURES[name](browser, stage)
            await browser.close()
        finally:
            await stage.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Take the screenshots of the dashboard anew.")
    parser.add_argument("--settle", type=float, default=60.0)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join([*PICTURES, "takeover"]))
    options = parser.parse_args()
    asyncio.run(take(options.names, options.settle))
