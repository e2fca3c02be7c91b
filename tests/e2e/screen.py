"""A person's page in a real browser, as the stories find things on it."""

import os
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from tests.support.until import until

# Longest wait for something on a page, in milliseconds.
PATIENCE_MS = 60_000
# Width and height of a window.
DESKTOP = (1280, 860)
PHONE = (375, 812)


@dataclass
class Screen:
    """A person's page, as tests find things on it."""

    page: Page

    def at(self, testid: str) -> Locator:
        """Return an element, or all with this id."""
        return self.page.get_by_test_id(testid)

    def open(self, path: str) -> None:
        """Go to a screen by its path."""
        self.page.goto(f"{self.page.url.split('/', 3)[0]}//{self.page.url.split('/', 3)[2]}{path}")

    def click(self, testid: str) -> None:
        """Press something."""
        self.at(testid).first.click(timeout=PATIENCE_MS)

    def tab(self, words: str) -> None:
        """Open a tab by its words."""
        self.page.get_by_role("tab", name=words, exact=True).click(timeout=PATIENCE_MS)

    def fill(self, testid: str, text: str) -> None:
        """Type into a field; of a number, a select or a switch the id is on the element around it."""
        field = self.at(testid).first
        expect(field).to_be_visible(timeout=PATIENCE_MS)
        inner = (
            field
            if field.evaluate("element => ['INPUT', 'TEXTAREA'].includes(element.tagName)")
            else field.locator("input").first
        )
        inner.fill(text)
        inner.press("Tab")

    def choose(self, testid: str, *words: str) -> None:
        """Choose options of a select by their words, as far as they are not chosen."""
        self.at(testid).first.click(timeout=PATIENCE_MS)
        for word in words:
            self.page.locator(".el-select-dropdown:visible .el-select-dropdown__item").filter(
                has_text=word
            ).first.click(timeout=PATIENCE_MS)
        # Another one must not be opened while this one still fades away.
        self.page.keyboard.press("Tab")
        expect(self.page.locator(".el-select-dropdown:visible")).to_have_count(0, timeout=PATIENCE_MS)

    def shows(self, testid: str, count: int) -> None:
        """Wait until so many are on the page."""
        expect(self.at(testid)).to_have_count(count, timeout=PATIENCE_MS)

    def says(self, testid: str, text: str) -> None:
        """Wait until something says this."""
        expect(self.at(testid).first).to_contain_text(text, timeout=PATIENCE_MS)

    def fits(self, name: str) -> None:
        """Look at the page in both widths: nothing of it may stick out sideways.

        SCREENSHOTS=folder keeps what it looked like, as <name>-<width>.png.
        """
        for width, height in (PHONE, DESKTOP):
            self.page.set_viewport_size({"width": width, "height": height})
            until(
                lambda: self.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"),
                timeout_s=PATIENCE_MS / 1000,
            )
            folder = os.environ.get("SCREENSHOTS")
            if folder:
                # What slides in has arrived once it stands still.
                until(
                    lambda: self.page.evaluate(
                        "document.getAnimations().every((one) => one.playState !== 'running')"
                    ),
                    timeout_s=PATIENCE_MS / 1000,
                )
                self.page.screenshot(path=Path(folder) / f"{name}-{width}.png")
