"""A real browser for the tests of pages: Chromium, headless, with no network to speak of."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

REQUIRED = os.environ.get("MODELBUDGET_BROWSER") == "required"
"""Set by `.ci/run`: there the browser must not be missing."""

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)


def missing() -> str:
    """Why there is no browser; empty where there is one."""
    try:
        import selenium  # noqa: F401
    except ImportError:
        return "selenium is not installed"
    for names in (("chromium", "google-chrome"), ("chromedriver",)):
        if not any(map(shutil.which, names)):
            return f"{names[0]} is not installed"
    return ""


@contextmanager
def browser(profile: Path) -> Iterator[Any]:
    """A driver; `profile` is an empty folder."""
    if reason := missing():
        if REQUIRED:
            pytest.fail(f"{reason}, and MODELBUDGET_BROWSER=required")
        pytest.skip(f"{reason}: the page is not tried in a browser")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome") or ""
    for flag in (*_FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # With a path selenium looks for nothing to download.
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


def wait(driver: Any, condition: Callable[[Any], object]) -> None:
    """Until a condition holds, as a person would where the machine is slow; with an error where it never does."""
    from selenium.webdriver.support.wait import WebDriverWait

    WebDriverWait(driver, 30).until(condition)


def resize(driver: Any, width: int, height: int = 900) -> None:
    """Exactly so wide: a window has a least width."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def theme(driver: Any, name: str) -> None:
    """`light` or `dark`."""
    features = [{"name": "prefers-color-scheme", "value": name}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
