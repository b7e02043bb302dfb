"""The dashboard in a real browser, in front of a real balancer."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import rig
from conftest import Start
from playwright.async_api import Page, expect
from rig_browser import browser, dashboard

from rmlb.admin.pages import POLICY

TOKEN = "a token of enough characters"
KEEP = "[trace]\nkeep = 5000\n"


def balancer(
    start: Start,
    directory: Path,
    *,
    extra: str = KEEP,
    token: str = "",
    ha_mode: str = "active-active",
) -> tuple[rig.Balancer, dict[int, rig.SimulatedMember]]:
    members = {n: start(rig.SimulatedMember(directory, n)) for n in (1, 2)}
    lb = rig.Balancer(
        directory,
        {n: member.address for n, member in members.items()},
        extra=extra,
        ha_mode=ha_mode,
    )
    if token:
        text = lb.config_path.read_text()
        lb.config_path.write_text(text.replace("[admin]\n", f'[admin]\ntoken = "{token}"\n'))
    return start(lb), members


def url(lb: rig.Balancer) -> str:
    return f"http://{rig.HOST}:{lb.admin_port}/"


def place_calls(lb: rig.Balancer, directory: Path, calls: int = 20) -> None:
    caller = rig.Sipp(directory, "uac_full", target=lb.port, calls=calls, rate=40)
    rig.assert_all_succeeded(caller, caller.run(), calls)


async def press(page: Page, action: str, member: int) -> None:
    await page.click(f'button[data-action="{action}"][data-member="{member}"]')
    await expect(page.locator("#confirm")).to_be_visible()


class TestStates:
    async def test_calls_members_and_events(self, start: Start, tmp_path: Path) -> None:
        lb, members = balancer(start, tmp_path)
        async with browser() as chromium, dashboard(chromium, url(lb)) as page:
            await expect(page.locator("#link-text")).to_have_text("live")
            await expect(page.locator("#badges")).to_contain_text("owner")
            await expect(page.locator("article.member")).to_have_count(2)
            await asyncio.to_thread(place_calls, lb, tmp_path)
            await expect(page.locator("#vip .sum")).to_contain_text(re.compile(r"forwarded [1-9]"))
            total = page.locator("#member-1 .answers, #member-2 .answers")
            await expect(total.first).to_contain_text(re.compile(r"2xx \d+"))
            await expect(page.locator("#topology .node.member.good")).to_have_count(2)

            await asyncio.to_thread(members[1].kill)
            first = page.locator("#member-1")
            await expect(first.locator(".badge.bad")).to_have_text("out of service")
            await expect(page.locator("#topology .node.member.bad")).to_have_count(1)
            await expect(page.locator("#topology .wire.cut")).to_have_count(1)
            await expect(page.locator("#events")).to_contain_text("member-out-of-service")
            await page.check("#only-trouble")
            await expect(page.locator("#events li.info")).to_have_count(0)
            await expect(page.locator("#topology-text")).to_contain_text("Member 1: out of service")

    async def test_active_standby(self, start: Start, tmp_path: Path) -> None:
        lb, _ = balancer(start, tmp_path, ha_mode="active-standby")
        async with browser() as chromium, dashboard(chromium, url(lb)) as page:
            await rig.until("somebody is active", lambda: lb.status()["active"] is not None)
            active = lb.status()["active"]
            other = 3 - active
            await expect(
                page.locator(f"#member-{active} .badge", has_text="active")
            ).to_be_visible()
            await press(page, "switchover", other)
            await page.click("#confirm-yes")
            await expect(page.locator(f"#member-{other} .badge", has_text="active")).to_be_visible()
            await expect(page.locator("#vip")).to_contain_text(f"RM {other}")
            await expect(page.locator("button", has_text="Take over")).to_have_count(0)

    async def test_a_page_that_is_opened_late_has_the_history(
        self, start: Start, tmp_path: Path
    ) -> None:
        lb, members = balancer(start, tmp_path)
        await rig.until("two good seconds", lambda: lb.status()["uptime_s"] > 3.0)
        await asyncio.to_thread(members[2].kill)
        await asyncio.to_thread(lb.wait_health, 2, "out of service")
        bad = lb.status()["uptime_s"]
        await rig.until("two bad ones", lambda: lb.status()["uptime_s"] > bad + 2.0)
        async with browser() as chromium, dashboard(chromium, url(lb)) as page:
            await expect(page.locator("#member-2 .chart .state.good")).not_to_have_count(0)
            await expect(page.locator("#member-2 .chart .state.bad")).not_to_have_count(0)


class TestActions:
    async def test_without_token(self, start: Start, tmp_path: Path) -> None:
        lb, _ = balancer(start, tmp_path)
        async with browser() as chromium, dashboard(chromium, url(lb)) as page:
            await press(page, "draining", 1)
            await expect(page.locator("#token-label")).to_be_hidden()
            await page.click("#confirm-no")
            await expect(page.locator("#confirm")).to_be_hidden()
            assert lb.members()[1]["admin_state"] == "enabled"
            for action in ("draining", "disabled", "enabled"):
                await press(page, action, 1)
                await page.click("#confirm-yes")
                await expect(page.locator("#toast")).to_contain_text(f"member 1 is {action}")
                assert lb.members()[1]["admin_state"] == action

    async def test_with_a_token(self, start: Start, tmp_path: Path) -> None:
        lb, _ = balancer(start, tmp_path, token=TOKEN)
        async with browser() as chromium, dashboard(chromium, url(lb)) as page:
            await expect(page.locator("#call-list")).to_contain_text("holders of the token")
            await press(page, "disabled", 2)
            await page.fill("#token", "not the right one")
            await page.click("#confirm-yes")
            await expect(page.locator("#confirm-error")).to_contain_text("not the right one")
            assert lb.members()[2]["admin_state"] == "enabled"
            await page.fill("#token", TOKEN)
            await page.click("#confirm-yes")
            await expect(page.locator("#member-2 .badge", has_text="disabled")).to_be_visible()
            await press(page, "enabled", 2)  # it is remembered now
            await expect(page.locator("#token-label")).to_be_hidden()
            await page.click("#confirm-yes")
            await expect(page.locator("#member-2 .badge", has_text="disabled")).to_have_count(0)
            await expect(page.locator("#call-list")).to_contain_text("No calls yet")
            assert TOKEN not in await page.content()

    async def test_a_refusal_is_explained(self, start: Start, tmp_path: Path) -> None:
        lb, _ = balancer(start, tmp_path)
        async with browser() as chromium, dashboard(chromium, url(lb)) as page:
            await press(page, "draining", 1)
            await asyncio.to_thread(lb.stop)
            await page.click("#confirm-yes")
            await expect(page.locator("#confirm-error")).to_have_text(
                "The balancer does not answer."
            )


async def test_it_comes_back_by_itself(start: Start, tmp_path: Path) -> None:
    lb, _ = balancer(start, tmp_path)
    async with browser() as chromium, dashboard(chromium, url(lb)) as page:
        await asyncio.to_thread(lb.stop)
        await expect(page.locator("#banner")).to_contain_text("Trying again")
        await expect(page.locator("#link-text")).to_have_text("reconnecting")
        await asyncio.to_thread(lb.start)
        await expect(page.locator("#link-text")).to_have_text("live")
        await expect(page.locator("#banner")).to_be_hidden()
        await expect(page.locator("#events")).to_contain_text("started")


class TestCalls:
    async def test_search_and_ladder(self, start: Start, tmp_path: Path) -> None:
        lb, _ = balancer(start, tmp_path)
        await asyncio.to_thread(place_calls, lb, tmp_path, 4)
        async with browser() as chromium, dashboard(chromium, url(lb)) as page:
            calls = page.locator("[data-call]")
            await expect(calls).to_have_count(4)
            call_id = await calls.nth(2).get_attribute("data-call")
            assert call_id is not None
            await page.fill("#query", call_id)
            await page.press("#query", "Enter")
            await expect(page.locator("#found")).to_contain_text("This Call-ID is at member")
            await expect(calls).to_have_count(1)
            rungs = page.locator(".rung")
            await expect(rungs.first).to_have_attribute("aria-label", re.compile("INVITE from SIP"))
            labels = await page.locator(".rung .label").all_text_contents()
            assert labels[:2] == ["INVITE", "INVITE"]
            assert labels[-1] == "200 OK"
            await rungs.first.click()
            await expect(page.locator(".message pre")).to_contain_text(f"Call-ID: {call_id}")
            await page.keyboard.press("ArrowDown")
            await expect(page.locator(".message header")).to_contain_text("rmlb → RM")
            await page.fill("#query", "no-such-call")
            await page.press("#query", "Enter")
            await expect(page.locator("#found")).to_contain_text("Neither a binding nor a kept")

    async def test_follow_live_without_keeping(self, start: Start, tmp_path: Path) -> None:
        lb, _ = balancer(start, tmp_path, extra="")
        async with browser() as chromium, dashboard(chromium, url(lb)) as page:
            await expect(page.locator("#call-list")).to_contain_text("No messages are kept")
            await page.keyboard.press("f")
            await expect(page.locator("#found")).to_contain_text("Following every message")
            await asyncio.to_thread(place_calls, lb, tmp_path, 2)
            await expect(page.locator(".rung")).not_to_have_count(0)
            assert lb.status()["trace"]["watchers"] == 1
            await page.click("#follow")
            await expect(page.locator("#follow")).to_have_text("Follow live")
            await rig.until("nobody watches", lambda: lb.status()["trace"]["watchers"] == 0)


class TestKeyboard:
    async def test_everything_is_reached_without_a_mouse(
        self, start: Start, tmp_path: Path
    ) -> None:
        lb, _ = balancer(start, tmp_path)
        async with browser() as chromium, dashboard(chromium, url(lb)) as page:
            await page.keyboard.press("Tab")
            assert await focused(page) == "Skip to content"
            await page.keyboard.press("/")
            await expect(page.locator("#query")).to_be_focused()
            await page.keyboard.press("Escape")
            await page.keyboard.press("?")
            await expect(page.locator("#help")).to_be_visible()
            await page.keyboard.press("Escape")
            await expect(page.locator("#help")).to_be_hidden()
            await page.keyboard.press("2")
            await expect(page.locator("#member-2")).to_be_focused()
            await page.keyboard.press("Tab")
            assert await focused(page) == "Drain"
            await page.keyboard.press("Enter")
            await expect(page.locator("#confirm-yes")).to_be_focused()
            await page.keyboard.press("Escape")
            await expect(page.locator("#confirm")).to_be_hidden()
            assert await focused(page) == "Drain"
            await page.keyboard.press("Enter")
            await page.keyboard.press("Enter")
            await expect(page.locator("#member-2 .badge", has_text="draining")).to_be_visible()

    async def test_a_question_asked_at_once_after_another(
        self, start: Start, tmp_path: Path
    ) -> None:
        lb, _ = balancer(start, tmp_path)
        async with browser() as chromium, dashboard(chromium, url(lb)) as page:
            await press(page, "draining", 2)
            await page.evaluate(
                """async () => {
                    const dialog = document.getElementById("confirm");
                    const told = new Promise((done) => dialog.addEventListener("close", done));
                    dialog.close();
                    document.querySelector('[data-action="draining"][data-member="2"]').click();
                    await told;
                }"""
            )
            await expect(page.locator("#confirm-yes")).to_be_focused()
            await page.keyboard.press("Enter")
            await expect(page.locator("#member-2 .badge", has_text="draining")).to_be_visible()

    async def test_focus_outlives_a_second_of_news(self, start: Start, tmp_path: Path) -> None:
        lb, _ = balancer(start, tmp_path)
        async with browser() as chromium, dashboard(chromium, url(lb)) as page:
            await page.focus('button[data-action="disabled"][data-member="1"]')
            before = lb.status()["uptime_s"]
            await rig.until("news", lambda: lb.status()["uptime_s"] > before + 2.5)
            assert await focused(page) == "Disable"


class TestLooks:
    async def test_a_phone(self, start: Start, tmp_path: Path) -> None:
        lb, _ = balancer(start, tmp_path)
        await asyncio.to_thread(place_calls, lb, tmp_path, 2)
        phone = {"viewport": {"width": 375, "height": 740}, "has_touch": True}
        async with browser() as chromium, dashboard(chromium, url(lb), **phone) as page:
            await page.locator("[data-call]").first.click()
            await expect(page.locator(".rung").first).to_be_visible()
            too_wide = await page.evaluate(
                "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
            assert too_wide == 0
            for button in await page.locator(".member .actions button").all():
                box = await button.bounding_box()
                assert box is not None
                assert box["height"] >= 38

    async def test_light_and_dark(self, start: Start, tmp_path: Path) -> None:
        lb, _ = balancer(start, tmp_path)
        async with browser() as chromium, dashboard(chromium, url(lb), color_scheme="dark") as page:
            dark = await background(page)
            await page.keyboard.press("t")
            assert await background(page) != dark
            await page.keyboard.press("t")
            assert await background(page) == dark
            await page.reload()
            await page.wait_for_selector('body[data-ready="yes"]')
            await expect(page.locator("#theme-name")).to_have_text("dark")

    async def test_no_motion_for_who_wants_none(self, start: Start, tmp_path: Path) -> None:
        lb, _ = balancer(start, tmp_path)
        async with (
            browser() as chromium,
            dashboard(chromium, url(lb), reduced_motion="reduce") as page,
        ):
            await asyncio.to_thread(place_calls, lb, tmp_path)
            await expect(page.locator("#topology .rate").first).to_be_visible()
            await expect(page.locator("#topology .dots circle")).to_have_count(0)

    async def test_nothing_comes_from_elsewhere(self, start: Start, tmp_path: Path) -> None:
        lb, _ = balancer(start, tmp_path)
        async with browser() as chromium:
            page = await chromium.new_page()
            answer = await page.goto(url(lb))
            assert answer is not None
            assert answer.headers["content-security-policy"] == POLICY
            assert answer.headers["x-content-type-options"] == "nosniff"


async def focused(page: Page) -> str:
    found: str = await page.evaluate("document.activeElement.textContent.trim()")
    return found


async def background(page: Page) -> str:
    found: str = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    return found
