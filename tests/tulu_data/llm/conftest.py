import asyncio
import importlib.util
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiohttp import web

spec = importlib.util.spec_from_file_location("fault_server", Path(__file__).with_name("fault_server.py"))
fault_server = importlib.util.module_from_spec(spec)
sys.modules["fault_server"] = fault_server
spec.loader.exec_module(fault_server)


@contextmanager
def running(server):
    """The server on a free port of this machine, in a thread."""
    loop = asyncio.new_event_loop()
    started = threading.Event()

    async def start():
        runner = web.AppRunner(server.app(), access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        server.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/v1"
        return runner

    def serve():
        asyncio.set_event_loop(loop)
        server.runner = loop.run_until_complete(start())
        started.set()
        loop.run_forever()
        loop.run_until_complete(server.runner.cleanup())
        loop.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    started.wait()
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


@pytest.fixture
def serve():
    """Settings → a fault server that runs for the rest of the test."""
    open_ = []

    def start(**settings):
        context = running(fault_server.FaultServer(**settings))
        server = context.__enter__()
        open_.append(context)
        return server

    yield start
    for context in open_:
        context.__exit__(None, None, None)
