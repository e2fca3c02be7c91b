"""The desktop's files, as Vite built them, and the API's page."""

from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute
from starlette.staticfiles import StaticFiles
from starlette.types import Scope
from swagger_ui_bundle import swagger_ui_path

from services.gateway.frame import HttpRoute

# What Vite writes there has its content's hash in its name.
IMMUTABLE = "public, max-age=31536000, immutable"
# Shown while there is nothing to serve.
NOT_BUILT = (
    "页面尚未构建：在项目目录运行 make web，再刷新本页。\n"
    "The pages are not built yet: run `make web` in the project's folder, then reload.\n"
)
OPENAPI = Path(__file__).with_name("openapi.json")
DOCS = """<!doctype html>
<html lang="zh-CN">
<head><meta charset="utf-8"><title>Gonghai API</title>
<link rel="icon" href="/api/docs/favicon-32x32.png">
<link rel="stylesheet" href="/api/docs/swagger-ui.css"></head>
<body><div id="api"></div>
<script src="/api/docs/swagger-ui-bundle.js"></script>
<script src="/api/docs/start.js"></script></body>
</html>
"""
DOCS_START = 'SwaggerUIBundle({url: "/api/openapi.json", dom_id: "#api", deepLinking: true});\n'
DOCS_FILES = ("swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png")


class Desktop(StaticFiles):
    """Serves the built desktop; a path that is no file is a place inside the desktop: index.html.

    folder: where Vite built; it may come and go while the gateway runs.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(directory=folder, check_dir=False)
        self._index = folder / "index.html"

    async def check_config(self) -> None:
        """Accept a folder that is not there yet."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return the file, or index.html; under api/ and assets/ a missing file is missing."""
        if path.startswith("api/"):
            raise HTTPException(404)
        try:
            response = await super().get_response(path, scope)
        except HTTPException as error:
            if error.status_code != 404 or path.startswith("assets/"):
                raise
            if not self._index.is_file():
                return PlainTextResponse(NOT_BUILT, 503)
            response = FileResponse(self._index)
        response.headers["Cache-Control"] = IMMUTABLE if path.startswith("assets/") else "no-cache"
        return response


async def openapi(_request: Request) -> Response:
    """Return the committed contract."""
    return FileResponse(OPENAPI, headers={"Cache-Control": "no-cache"})


async def docs(_request: Request) -> Response:
    """Return the API's page."""
    return HTMLResponse(DOCS)


async def docs_start(_request: Request) -> Response:
    """Return the script that starts the API's page: the policy allows none inside of it."""
    return Response(DOCS_START, media_type="text/javascript")


async def docs_file(request: Request) -> Response:
    """Return a file of Swagger UI."""
    name = request.path_params["name"]
    if name not in DOCS_FILES:
        raise HTTPException(404)
    return FileResponse(swagger_ui_path / name)


def pages() -> list[BaseRoute]:
    """Return the routes of the contract and its page."""
    return [
        HttpRoute("/api/openapi.json", openapi, name="/api/openapi.json"),
        HttpRoute("/api/docs", docs, name="/api/docs"),
        HttpRoute("/api/docs/start.js", docs_start, name="/api/docs/{name}"),
        HttpRoute("/api/docs/{name}", docs_file, name="/api/docs/{name}"),
    ]
