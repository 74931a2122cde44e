"""What the owner of a workspace is told about its connection to one provider."""

from common.bus import Bus
from common.messages import Notice, NoticeKind, Provider, now


class Notices:
    """Tells owners about their connections to one provider."""

    def __init__(self, bus: Bus, provider: Provider) -> None:
        self._bus = bus
        self._provider = provider

    async def tell(
        self, workspace: str, kind: NoticeKind, why: str, fix: str | None = None, *, key: str | None = None
    ) -> None:
        """Tell the workspace's owner how the connection stands; the same `key` twice in two minutes is one notice."""
        notice = Notice(workspace=workspace, kind=kind, at=now(), why=why, fix=fix, provider=self._provider)
        await self._bus.notify(notice, key=key)
