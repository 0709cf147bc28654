"""Visits of the page's server, without a browser."""

import asyncio
import json

from aiohttp import test_utils

from export.demo import page


def visit(view, *requests):
    """The answers (status, content) to requests, (method, path, body) or functions of the answers before, in turn."""

    async def talk():
        async with test_utils.TestClient(test_utils.TestServer(page.application(view))) as client:
            found = []
            for request in requests:
                method, path, body = request(found) if callable(request) else request
                async with client.request(method, path, data=body) as response:
                    content = await response.read()
                    is_json = response.content_type == "application/json"
                    found.append((response.status, json.loads(content) if is_json else content))
                    assert response.headers["Content-Security-Policy"].startswith("default-src 'self';")
            return found

    return asyncio.run(talk())


def question(text, rest="questions"):
    """About the picture that came first."""
    return lambda found: ("POST", f"/pictures/{found[0][1]['key']}/{rest}", json.dumps({"text": text}))
