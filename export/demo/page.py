"""The page's server: files, pictures in, answers out; every error is a sentence for the page."""

from __future__ import annotations

import asyncio
import io
import os
import re
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from aiohttp import web
from PIL import Image

from dsg_tf.drawing import answer_pictures
from dsg_tf.process import error_sentences
from export.demo import examples, pictures
from export.demo.pictures import Seen
from export.demo.views import View

_STATIC = os.path.join(os.path.dirname(os.path.abspath(__file__)), "static")
_HEADERS = {
    # Nothing is loaded from elsewhere, and no other page may put this one into a frame.
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
# How models and servers call the one picture that the page is about.
_IS, _NAME = re.compile(r"(?:image \d+ of the batch|the picture:) (?=is |has )"), re.compile(r"^the picture: ")
_Result = TypeVar("_Result")


def serve(view: View, host: str, port: int) -> None:
    """Serves the page until SIGTERM or Ctrl-C; prints its address when it can be opened."""
    web.run_app(application(view), host=host, port=port, print=_address, access_log=None)


def _address(text: str) -> None:
    """Of what aiohttp says at the start, the address."""
    found = re.search(r"http://\S+", text)
    if found:
        print(f"{found[0]}/  (Ctrl-C ends it)", flush=True)


def application(view: View) -> web.Application:
    """The page that asks `view`."""
    app = web.Application(client_max_size=pictures.MAX_BYTES, middlewares=[_sentences])
    page = _Page(view)
    app.add_routes(
        [
            web.get("/", page.index),
            web.get("/about", page.about),
            web.get(r"/examples/{number:\d+}.jpg", page.example),
            web.post("/pictures", page.look),
            web.get(r"/pictures/{key}/graph.png", page.graph_picture),
            web.get(r"/pictures/{key}/answer.png", page.answer_picture),
            web.post(r"/pictures/{key}/questions", page.ask),
            web.static("/static", _STATIC),
        ]
    )
    app.on_response_prepare.append(_set_headers)
    return app


class _Page:
    def __init__(self, view: View):
        self._view, self._pictures = view, pictures.Pictures()

    async def index(self, request: web.Request) -> web.StreamResponse:
        return web.FileResponse(os.path.join(_STATIC, "index.html"))

    async def about(self, request: web.Request) -> web.Response:
        """What the page says of the model, and how it is named in commands."""
        return web.json_response(
            {"flag": self._view.flag, "python": self._view.python, "examples": list(range(examples.COUNT))}
        )

    async def example(self, request: web.Request) -> web.Response:
        number = int(request.match_info["number"])
        if number >= examples.COUNT:
            raise _Refused(404, "There is no such example.")
        return web.Response(body=await asyncio.to_thread(examples.picture, number), content_type="image/jpeg")

    async def look(self, request: web.Request) -> web.Response:
        """A picture in the body; answers with its key and its scene graph."""
        image = await request.read()
        seen = self._pictures.get(pictures.key_of(image))
        if seen is None:
            size = pictures.size(image)
            seen = await self._in_thread(self._seen, image, size)
        graph = None if seen.graph is None else seen.graph.as_dict()
        texts = [] if seen.graph is None else examples.questions(seen.graph)
        key = self._pictures.keep(seen)
        return web.json_response(
            {"key": key, "size": seen.size, "graph": graph, "problem": seen.problem, "questions": texts}
        )

    async def ask(self, request: web.Request) -> web.Response:
        """`{"text": question}` about a picture that was looked at."""
        seen = self._known(request)
        asked = await request.json()
        text = asked.get("text") if isinstance(asked, dict) else None
        if not isinstance(text, str) or not text.strip():
            raise _Refused(400, "There is no question: write one, such as those below the field.")
        answer = await self._in_thread(self._view.ask, seen.encoded, text.strip())
        return web.json_response(answer.as_dict())

    async def graph_picture(self, request: web.Request) -> web.Response:
        seen = self._known(request)
        if seen.graph is None:
            raise _Refused(404, seen.problem)
        graph = seen.graph
        return await _drawn(lambda: answer_pictures.draw_graph(answer_pictures.open_image(seen.image), graph))

    async def answer_picture(self, request: web.Request) -> web.Response:
        """The question in `text`, the threshold in `threshold`."""
        seen = self._known(request)
        try:
            threshold = float(request.query["threshold"])
        except (KeyError, ValueError):
            raise _Refused(400, "The threshold is a number from 0 to 1.") from None
        answer = await self._in_thread(self._view.ask, seen.encoded, request.query.get("text", ""))
        return await _drawn(lambda: answer_pictures.draw(seen.image, [answer], threshold))

    def _seen(self, image: bytes, size: tuple[int, int]) -> Seen:
        encoded = self._view.encode(image)
        try:
            graph = self._view.scene_graph(image, encoded)
        except (ValueError, OSError) as error:  # The picture was read: it is the model that has no graphs.
            return Seen(image, size, encoded, None, f"There is no scene graph: {error_sentences.sentence(error)}.")
        return Seen(image, size, encoded, graph)

    def _known(self, request: web.Request) -> Seen:
        seen = self._pictures.get(request.match_info["key"])
        if seen is None:
            raise _Refused(410, "The picture was shown too long ago: show it again.")
        return seen

    def _in_thread(self, function: Callable[..., _Result], *arguments: Any) -> Awaitable[_Result]:
        return asyncio.get_running_loop().run_in_executor(self._view.executor, function, *arguments)


class _Refused(Exception):
    """An answer with a status and a sentence."""

    def __init__(self, status: int, sentence: str):
        super().__init__(sentence)
        self.status = status


@web.middleware
async def _sentences(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Errors as `{"error": sentence}`."""
    try:
        return await handler(request)
    except _Refused as error:
        return web.json_response({"error": str(error)}, status=error.status)
    except web.HTTPRequestEntityTooLarge:
        size = f"{pictures.MAX_BYTES // 2**20} MB"
        return web.json_response({"error": f"The file is larger than {size}."}, status=413)
    except web.HTTPException as error:
        return web.json_response({"error": f"{request.path}: {error.reason}"}, status=error.status)
    except ValueError as error:
        return web.json_response({"error": _sentence(error)}, status=400)
    except OSError as error:  # A server that is not there, or does not like it.
        return web.json_response({"error": _sentence(error)}, status=502)


async def _set_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)


async def _drawn(draw: Callable[[], Image.Image]) -> web.Response:
    def png() -> bytes:
        buffer = io.BytesIO()
        draw().save(buffer, "PNG")
        return buffer.getvalue()

    return web.Response(body=await asyncio.to_thread(png), content_type="image/png")


def _sentence(error: Exception) -> str:
    """As a sentence with a capital and an end."""
    text = _NAME.sub("", _IS.sub("the picture ", error_sentences.sentence(error)))
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?", "!")) else ".")
