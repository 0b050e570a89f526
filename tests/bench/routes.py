"""The baselines for the door: an empty route, and one that enqueues a job per event. `python -m … PORT URL`."""

import sys

import uvicorn
from redis import Redis
from rq import Queue
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


def create_app(redis_url: str) -> Starlette:
    """Both routes."""
    queue = Queue("bench", connection=Redis.from_url(redis_url), serializer="json")

    async def bare(request: Request) -> Response:
        await request.body()
        return JSONResponse({"status": "ok"})

    async def job(request: Request) -> Response:
        body = await request.body()
        await run_in_threadpool(queue.enqueue, "builtins.len", body.decode(), description="an event")
        return JSONResponse({"status": "ok"})

    return Starlette(routes=[Route("/bare", bare, methods=["POST"]), Route("/job", job, methods=["POST"])])


if __name__ == "__main__":
    uvicorn.run(
        create_app(sys.argv[2]),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        access_log=False,
        server_header=False,
        log_config=None,
    )
