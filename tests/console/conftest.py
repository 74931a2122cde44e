"""The console is tried with a real puller behind it."""

from tests.puller.stand import running_sandbox, sandbox, wired, world

__all__ = ["running_sandbox", "sandbox", "wired", "world"]
