"""A service that dies of something nobody foresaw says where, and tells no secret."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.leaks import secrets_of

TOKEN = "ory_at_a-fictional-access-token"
DYING = f"""
import asyncio, gc, resource, sys, threading
import anyio
from common.service import main

token = "{TOKEN}"[:-5] + "{TOKEN}"[-5:]

class Thing:
    def __del__(self) -> None:
        fail("of a finalizer")

def fail(what: str) -> None:
    raise ValueError(f"{{what}}: Authorization: Bearer {{token}}, refresh_token={{token}}")

async def fail_later(what: str) -> None:
    fail(what)

async def serve(settings: object) -> None:
    assert resource.getrlimit(resource.RLIMIT_CORE)[0] == 0
    thread = threading.Thread(target=fail, args=["of a thread"])
    thread.start()
    thread.join()
    Thing()
    task = asyncio.ensure_future(fail_later("of a task"))
    await asyncio.wait([task])
    del task
    gc.collect()
    async with anyio.create_task_group() as group:
        group.start_soon(fail_later, "of the service")

main("scorer", serve)
"""


@pytest.mark.parametrize("style", ["json", "text"])
def test_no_last_words_tell_a_secret(style: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", DYING],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "WEIR_LOG_FORMAT": style},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    said = ended.stdout + ended.stderr
    assert secrets_of(None, {}, TOKEN).found_in(said) == []
    for event in (b"process.crashed", b"thread.crashed", b"error.passed_over", b"Task exception was never retrieved"):
        assert event in said
    for what in (b"of a finalizer", b"of a thread", b"of a task", b"of the service"):
        assert what in said
    assert b"fail_later" in said
