"""The console page in Chromium."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from cti_django.sandbox.server import Sandbox
from tests.programs import program

playwright = pytest.importorskip("playwright.async_api")

pytestmark = pytest.mark.browser

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(params=[("light", 1280), ("dark", 360)], ids=lambda param: param[0])
async def page(request: pytest.FixtureRequest, sandbox: Sandbox) -> AsyncIterator[Any]:
    """The open page; afterwards nothing may stand in its console, and nothing may be wider than the window."""
    scheme, width = request.param
    complaints: list[str] = []
    path = program("chromium", "chromium-browser", "google-chrome")
    async with playwright.async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        opened = await browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 900})
        opened.set_default_timeout(10_000)
        opened.on("console", lambda message: complaints.append(message.text))
        opened.on("pageerror", lambda error: complaints.append(str(error)))
        opened.on("dialog", lambda dialog: complaints.append(dialog.message))
        await opened.goto(sandbox.base_url)
        await opened.get_by_text("live", exact=True).wait_for()
        yield opened
        assert await opened.evaluate("document.documentElement.scrollWidth <= innerWidth")
        await browser.close()
    # Chromium itself notes each refused request; what matters is that nothing else stands there.
    assert [text for text in complaints if "Failed to load resource" not in text] == []


async def test_a_whole_call_is_played_with_the_keyboard(sandbox: Sandbox, page: Any) -> None:
    await page.get_by_label("Name").fill(HOSTILE)
    await page.get_by_label("Name").press("Enter")
    phone = page.get_by_role("article", name="Phone 10031")
    await phone.get_by_role("button", name="Pick up").press("Enter")
    for name, state in (("Hold", "ON_HOLD"), ("Resume", "CONNECTED")):
        await phone.get_by_role("button", name=name).wait_for()
        assert name in await page.evaluate("document.activeElement.textContent")
        await page.keyboard.press("Enter")
        call = sandbox.switch.call("7310025")
        await sandbox.wait_for(lambda call=call, state=state: call.state == state)
    assert call.origin.party.name == HOSTILE
    await page.get_by_role("article", name="Call 7310025").get_by_role("button", name="Hang up").last.press("Enter")
    await page.get_by_text("Nobody is on the telephone.").wait_for()


async def test_a_withheld_caller_a_click_to_call_and_a_fault(sandbox: Sandbox, page: Any) -> None:
    await page.get_by_role("button", name="Ring, number withheld").click()
    await page.get_by_role("article", name="Call 7310025").get_by_text("Number withheld").first.wait_for()
    await page.get_by_label("Number that Bob Agent calls").fill("+44 20 7946 0018")
    await page.keyboard.press("Enter")
    await page.get_by_role("article", name="Phone 10032").get_by_role("button", name="Decline").click()
    await sandbox.wait_for(lambda: sandbox.switch.ended)
    assert sandbox.switch.ended[0].cause == "declined"
    await page.get_by_role("button", name="Answer slowly").click()
    await page.get_by_text("Answer slowly waits for everybody, until cleared").wait_for()
    await page.get_by_label("When called, Carol Agent's phone").select_option("busy")
    await sandbox.wait_for(lambda: sandbox.switch.users["10033"].phone.conduct.behaviour == "busy")


async def test_what_the_sandbox_refuses_is_said(page: Any) -> None:
    await page.get_by_label("To", exact=True).fill("10999")
    await page.get_by_role("button", name="Ring", exact=True).click()
    await page.get_by_role("alert").get_by_text("There is no such extension.").wait_for()
