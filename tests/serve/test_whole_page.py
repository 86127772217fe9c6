"""The page from the first answer to a new model in use: `tagformer serve` in a process, and a browser."""

from __future__ import annotations

import re
from collections.abc import Callable

import httpx
import pytest
from playwright.sync_api import Browser, expect

from tests.serve.conftest import Server


@pytest.mark.slow
def test_answers_train_a_new_model(start_server: Callable[..., Server], browser: Browser) -> None:
    """Thirty images get an answer, half of them a yes; the model is trained on them, compared and taken."""
    server = start_server("--images", "scenes?images=400&faint=0")
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.goto(server.address)
    expect(page.locator("body")).to_have_attribute("data-ready", "true", timeout=30_000)
    version = httpx.get(f"{server.address}/v1/labels").json()["model"]["version"]
    page.keyboard.press("y")
    expect(page.locator("#labels .is-yes")).to_have_count(1)
    page.keyboard.press("2")
    page.locator("#grid-find").fill("disc")
    page.keyboard.press("Enter")
    for first, (key, word) in enumerate((("y", "yes"), ("n", "no"))):
        page.locator(f"#tile-{15 * first}").click()
        for _ in range(14):
            page.keyboard.press("Shift+ArrowRight")
        page.keyboard.press(key)
        expect(page.locator("#toast")).to_contain_text(f"disc: {word} for 15 images.")
    page.reload()
    page.keyboard.press("5")
    expect(page.locator("#train-answers")).to_have_text(re.compile("3[01] answers on 3[01] images"))
    page.locator("#train-minutes").fill("0.5")
    page.locator("#train-start").click()
    expect(page.locator("#train-title")).to_be_visible()
    expect(page.locator("#train-compared")).to_be_visible(timeout=180_000)
    expect(page.locator("#train-rows tr")).to_have_count(3)
    page.locator("#train-take").click()
    expect(page.locator("#toast")).to_contain_text("The new model is in use")
    assert httpx.get(f"{server.address}/v1/labels").json()["model"]["version"] != version
    page.keyboard.press("1")
    expect(page.locator("#labels .label").first).to_be_visible()
    context.close()
