"""Taking over and releasing by the dashboard: a real pair, a real browser on the standby's host."""

from __future__ import annotations

import asyncio
from pathlib import Path

from playwright.async_api import Page, expect
from rig import until
from rig_browser import browser, chromium_on, dashboard
from rig_net import Site

TOKEN = "a token of enough characters"
URL = "http://127.0.0.1:8560/"


def pair(site: Site) -> int:
    """Start it; the standby's number."""
    site.members = site.start_members()
    site.start_redis()
    for number in (1, 2):
        balancer = site.make_balancer(number, interval="500ms")
        text = balancer.config_path.read_text()
        balancer.config_path.write_text(text.replace("[admin]", f'[admin]\ntoken = "{TOKEN}"'))
        site.start(balancer.begin())
    site.wait_settled()
    return 3 - site.owner


async def press(page: Page, action: str) -> None:
    await page.click(f'button[data-action="{action}"]')
    await expect(page.locator("#confirm")).to_be_visible()


async def test_takeover_and_release(tmp_path: Path) -> None:
    with Site(tmp_path) as site:
        number = await asyncio.to_thread(pair, site)
        here, other = site.balancers[number], site.balancers[3 - number]
        program = chromium_on(here.namespace, tmp_path)
        async with browser(program) as chromium, dashboard(chromium, URL) as page:
            badges, buttons = page.locator("#badges"), page.locator("#vip .actions")
            await expect(badges).to_contain_text("standby")
            await expect(page.locator("#vip")).to_contain_text(f"balancer {3 - number}")

            await press(page, "takeover")
            await page.fill("#token", "not the right one")
            await page.click("#confirm-yes")
            await expect(page.locator("#confirm-error")).to_contain_text("not the right one")
            assert not here.owner
            await page.fill("#token", TOKEN)
            await page.click("#confirm-yes")
            await expect(badges).to_contain_text("owner")
            await expect(buttons).to_have_text("Release")
            await expect(page.locator("#topology .node.balancer.owns")).to_contain_text("this one")
            assert here.owner
            await until("the other one knows", lambda: not other.owner)

            await press(page, "release")  # the token is remembered
            await page.click("#confirm-yes")
            await expect(badges).to_contain_text("standby")
            await expect(buttons).to_have_text("Take over")
            assert other.owner

            await press(page, "takeover")
            await page.click("#confirm-yes")
            await expect(badges).to_contain_text("owner")
            await asyncio.to_thread(other.stop)
            await press(page, "release")
            await page.click("#confirm-yes")
            await expect(page.locator("#confirm-error")).to_have_text(
                "no other balancer is ready to take over"
            )
            assert here.owner
            await page.click("#confirm-no")
            await expect(page.locator("#confirm")).to_be_hidden()
