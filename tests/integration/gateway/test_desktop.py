"""The desktop's files and the API's page over a real server."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from services.gateway.settings import Settings


@pytest.fixture
def dist(gateway_settings: Settings) -> Iterator[Path]:
    """A built desktop, for the time of a test."""
    folder = gateway_settings.web
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html><title>公海</title>")
    (folder / "favicon.svg").write_text("<svg/>")
    (folder / "assets" / "index-abc123.js").write_text("console.log(1);" * 1000)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("path", ["/", "/customers", "/customers/018f/edit", "/index.html"])
def test_every_place_in_the_desktop_is_its_page(http: httpx.Client, dist: Path, path: str) -> None:
    answer = http.get(path)
    assert answer.status_code == 200
    assert "公海" in answer.text
    assert answer.headers["cache-control"] == "no-cache"
    assert "script-src 'self';" in answer.headers["content-security-policy"]


def test_assets_are_kept_for_ever_and_compressed(http: httpx.Client, dist: Path) -> None:
    answer = http.get("/assets/index-abc123.js")
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["content-encoding"] == "gzip"
    assert http.get("/favicon.svg").headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("path", ["/assets/gone.js", "/api/v1/gone", "/api/gone"])
def test_a_missing_asset_or_route_is_missing(http: httpx.Client, dist: Path, path: str) -> None:
    assert http.get(path).status_code == 404


@pytest.mark.parametrize("path", ["/../conftest.py", "/%2e%2e/%2e%2e/etc/passwd", "/assets/%2e%2e/%2e%2e/x"])
def test_nothing_outside_of_the_folder_is_served(http: httpx.Client, dist: Path, path: str) -> None:
    (dist.parent / "x").write_text("not for you")
    answer = http.get(path)
    assert "公海" in answer.text or answer.status_code == 404


def test_what_is_not_built_says_how(http: httpx.Client) -> None:
    answer = http.get("/")
    assert answer.status_code == 503
    assert "make web" in answer.text
    assert http.get("/api/docs").status_code == 200


def test_the_apis_page_needs_nothing_from_elsewhere(http: httpx.Client) -> None:
    page = http.get("/api/docs")
    assert page.status_code == 200
    assert "http" not in page.text
    for name in ("swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png", "start.js"):
        assert f"/api/docs/{name}" in page.text
        assert http.get(f"/api/docs/{name}").status_code == 200
    assert http.get("/api/docs/index.html").status_code == 404
    assert http.get("/api/openapi.json").json()["openapi"] == "3.0.3"
