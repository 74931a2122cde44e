"""`weir`: what can be done from a terminal.

Commands are named by import path and loaded when called, so an installation with one service's extra has
that service's command and does not need the others' libraries. The list of commands has a line for each; a
command's own `--help` shows its docstring.
"""

import os
import signal
import sys
from importlib.metadata import version

from cyclopts import App
from rich.console import Console

from common.errors import UserError, WeirError, cause
from common.service import BAD_INPUT, STOPPED

app = App(
    name="weir",
    help="Keeps QuickBooks Online bills and Qonto supplier invoices in step.",
    version=lambda: version("weir"),
    result_action="return_value",
)

_ALL = "All on one machine"
_SERVICES = "Services"
_WORK = "Work"

app.command("services.cli.demo:demo", name="demo", group=_ALL, help="Watch it work on a fictional company.")
app.command("services.cli.up:up", name="up", group=_ALL, help="Run the broker and every service.")
app.command("services.cli.setup:setup", name="setup", group=_WORK, help="Create or upgrade streams and buckets.")
app.command(
    "services.cli.brokerconfig:broker_config",
    name="broker-config",
    group=_WORK,
    help="Keys for every service, and what each may do on the broker.",
)
app.command("services.cli.settings:settings", name="settings", group=_WORK, help="List all settings.")
app.command("services.cli.pull:pull", name="pull", group=_WORK, help="Pull a workspace now.")
app.command("services.cli.pull:rewind", name="rewind", group=_WORK, help="Read everything since a date again.")
app.command("services.cli.pull:backfill", name="backfill", group=_WORK, help="Read from an earlier date on.")
app.command(
    "services.cli.connections:connections",
    name="connections",
    group=_WORK,
    help="What is connected, and how it stands.",
)
app.command("services.cli.policy:policy", name="policy", group=_WORK, help="What a workspace lets Weir do by itself.")
app.command("services.cli.history:history", name="history", group=_WORK, help="What became of a bill, step by step.")
app.command("services.cli.review:review", name="review", group=_WORK, help="What waits for you, and deciding on it.")
app.command("services.cli.undo:undo", name="undo", group=_WORK, help="Take one link or creation back.")
app.command(
    "services.cli.failures:failures",
    name="failures",
    group=_WORK,
    help="What could not be handled, and trying it again.",
)
app.command(
    "services.cli.people:people",
    name="people",
    group=_WORK,
    help="Who may use the console, and what each may do.",
)
app.command(
    "services.cli.vault:vault",
    name="vault",
    group=_WORK,
    help="Which master key what is sealed with, and replacing it.",
)
app.command(
    "services.cli.reviewers:reviewers",
    name="reviewers",
    group=_WORK,
    help="Outsiders who answer the reviews of one workspace.",
)
app.command(
    "services.scorer.offline.score:score",
    name="score",
    group=_WORK,
    help="Decide on files, without broker or accounts.",
)
app.command("services.scorer.explain:explain", name="explain", group=_WORK, help="Why a bill was decided as it was.")
app.command(
    "services.cli.contracts.command:contracts",
    name="contracts",
    group=_WORK,
    help="Write AsyncAPI and JSON Schemas.",
)
app.command(
    "services.cli.certificates:certificates",
    name="certificates",
    group=_WORK,
    help="Make a certificate for your broker.",
)
_RUN = {
    "puller": "Read QuickBooks.",
    "scorer": "Decide on bills.",
    "poster": "Post to Qonto.",
    "console": "Connect accounts in a browser.",
    "sandbox": "Stand-ins for QuickBooks and Qonto.",
}
for _name, _what in _RUN.items():
    app.command(f"services.{_name}.app:run", name=_name, group=_SERVICES, help=_what)


def main() -> None:
    """Entry point; bad input ends with one line and exit code 2."""
    # Told to stop or Ctrl-C: the same drain. (Services bring their own handlers.)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs start without it
    signal.signal(signal.SIGTERM, lambda _number, _frame: signal.raise_signal(signal.SIGINT))
    code: object = 0
    try:
        _explain(_command())
        code = app()
    except ImportError as error:
        missing = error if isinstance(error, ModuleNotFoundError) else error.__cause__
        if not isinstance(missing, ModuleNotFoundError):
            raise
        _end(_missing(missing), BAD_INPUT)
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(STOPPED)
    except OSError as error:
        _end(f"{error.filename or 'the system'}: {error.strerror or error}", BAD_INPUT)
    except (WeirError, BaseExceptionGroup) as raised:
        error_ = cause(raised)
        if not isinstance(error_, WeirError):
            raise
        _end(str(error_), BAD_INPUT if isinstance(error_, UserError) else STOPPED)
    sys.exit(code if isinstance(code, int) else 0)


def _command() -> str | None:
    return next((word for word in sys.argv[1:] if not word.startswith("-")), None)


def _explain(name: str | None) -> None:
    """Have a command explain itself by its docstring; that of a service says no more than its line in the list."""
    if name is not None and name in app and name not in _RUN:
        app[name].help = None


def _missing(error: ModuleNotFoundError) -> str:
    command = _command() or "all"
    extra = {
        "demo": "all",
        "up": "all",
        "contracts": "all",
        "score": "scorer",
        "explain": "scorer",
        "certificates": "cli",
    }.get(command, command)
    return (
        f"`weir {command}` needs {error.name}, which is not installed; `pip install '.[{extra}]'` in a clone brings it"
    )


def _end(line: str, code: int) -> None:
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"weir: {line}", markup=False)
    sys.exit(code)


if __name__ == "__main__":
    main()
