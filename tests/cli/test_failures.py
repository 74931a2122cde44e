"""`weir failures` as a person runs it while something is wrong with more than one thing."""

from pathlib import Path

import anyio

from common.bus import Bus
from common.settings import Settings
from tests.cli.test_errors import weir
from tests.cli.test_history import a_bill
from tests.cli.test_policy import REALM, WS, tenant
from tests.conftest import environment

__all__ = ["tenant"]


async def test_what_cannot_be_tried_now_does_not_hold_up_the_rest(tenant: Bus, settings: Settings) -> None:
    for ident in ("7", "8"):
        await a_bill(tenant, ident, "nothing like it")
    folder, variables = Path(settings.data_dir), environment(settings)

    async def run(*arguments: str) -> tuple[int, str, str]:
        ended = await anyio.to_thread.run_sync(lambda: weir(*arguments, cwd=folder, variables=variables))
        return ended.returncode, ended.stdout, ended.stderr

    code, shown, _ = await run("failures", "ls", WS)
    assert (await run("failures"))[:2] == (code, shown)  # said alone it lists too
    assert (code, shown.splitlines()[-1]) == (0, "2 failures")
    code, shown, _ = await run("failures", "retry-all", WS)
    assert (code, shown.splitlines()[-1]) == (1, "0 of 2 succeeded")
    for ident in ("7", "8"):
        assert f"lessons.{REALM}-{ident}" in shown
    assert shown.count("it was not tried again: no running service answers") == 2
    code, shown, line = await run("failures", "ls", "mistyped")
    assert (code, shown) == (2, "")
    assert "workspace mistyped is not known here" in line
