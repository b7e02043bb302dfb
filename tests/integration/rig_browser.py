"""Of the rig: the system's Chromium, driven by Playwright, without a network of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page, async_playwright, expect

expect.set_options(timeout=15_000)

CHROMIUM = "/usr/bin/chromium"

_FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@asynccontextmanager
async def browser(program: str | Path = CHROMIUM) -> AsyncIterator[Browser]:
    """A Chromium with an empty profile."""
    async with async_playwright() as playwright:
        found = await playwright.chromium.launch(executable_path=program, args=list(_FLAGS))
        try:
            yield found
        finally:
            await found.close()


def chromium_on(namespace: str, directory: Path) -> Path:
    """A Chromium that lives on a host of the site."""
    path = directory / f"chromium-{namespace}"
    path.write_text(f'#!/bin/sh\nexec ip netns exec {namespace} {CHROMIUM} "$@"\n')
    path.chmod(0o755)
    return path


class Watched:
    """A page, and everything that went wrong on it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.faults: list[str] = []
        self.requests: list[str] = []
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("console", self._said)
        page.on("request", lambda request: self.requests.append(request.url))

    def _said(self, message: Any) -> None:
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.faults.append(message.text)

    async def shows(self, url: str) -> Page:
        """Open the dashboard and wait until it shows the balancer."""
        await self.page.goto(url)
        await self.page.wait_for_selector('body[data-ready="yes"]')
        return self.page


@asynccontextmanager
async def dashboard(browser: Browser, url: str, **options: Any) -> AsyncIterator[Page]:
    """The dashboard at `url`; it must run without any fault, and ask nobody else for anything."""
    context = await browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | options))
    context.set_default_timeout(15_000)
    watched = Watched(await context.new_page())
    try:
        yield await watched.shows(url)
    finally:
        await context.close()
        await asyncio.sleep(0)
    assert watched.faults == []
    assert [each for each in watched.requests if not each.startswith(url)] == []
