"""A real Chromium without a window, for the tests that look at pages."""

from playwright.sync_api import Browser, Playwright

# Debian's own build, as the program that never draws a window: it costs half of what the whole browser does.
CHROMIUM = "/usr/bin/chromium-headless-shell"
# Without them it looks for its maker's servers.
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def launch(playwright: Playwright) -> Browser:
    """Start the browser; whoever does closes it."""
    return playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
