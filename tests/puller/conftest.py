"""The fixtures of the puller's tests."""

from tests.puller.stand import running_sandbox, sandbox, swift, wired, world

__all__ = ["running_sandbox", "sandbox", "swift", "wired", "world"]
