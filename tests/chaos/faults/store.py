"""A full disk under the store: a small tmpfs, mounted over its data for the length of the fault."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.faults.steps import whole
from tests.chaos.stage import Fault, Stage
from tests.servers import RedisServer

ROOM_BYTES = 16 << 20
"""Beyond the data; a ballast takes what they leave of it."""

BALLAST = "ballast"


@dataclass(frozen=True)
class DiskFull:
    """The disk under the data is full for some seconds: Redis ends itself, or refuses writes."""

    name: str = "disk full under redis"
    needs: frozenset[str] = frozenset({"single-redis", "local-redis", "mounts"})

    async def strike(self, stage: Stage) -> None:
        async with stage.alone("redis"):
            server = stage.servers.redis
            mounted = SmallDisk(server)
            try:
                await whole(mounted.mount)
                await whole(mounted.fill)
                await asyncio.sleep(stage.random.uniform(2.0, 6.0))
                ended = "" if server.is_running() else " and ended itself"
                stage.log(f"redis met a full disk{ended}")
            finally:
                await whole(mounted.unmount)


class SmallDisk:
    """A disk of its own under a server's data, which move there and back."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self._data = server.data
        self._aside = server.data.with_name("data-aside")

    def mount(self) -> None:
        """Restart the server on the small disk, with its data."""
        self._server.stop()
        self._data.rename(self._aside)
        self._data.mkdir()
        _mount(self._data, _size(self._aside) + ROOM_BYTES)
        shutil.copytree(self._aside, self._data, dirs_exist_ok=True)
        self._server.start()

    def fill(self) -> None:
        """Leave no byte of room."""
        with suppress(OSError), (self._data / BALLAST).open("wb", buffering=0) as ballast:
            while True:
                ballast.write(bytes(1 << 16))

    def unmount(self) -> None:
        """Make room, and restart the server on its data in their old place."""
        (self._data / BALLAST).unlink(missing_ok=True)
        self._server.stop()
        if self._data.is_mount():
            back = self._data.with_name("data-back")
            shutil.copytree(self._data, back)
            subprocess.run(["umount", str(self._data)], check=True)
            shutil.rmtree(self._aside)
            back.rename(self._aside)
        if self._aside.exists():
            self._data.rmdir()
            self._aside.rename(self._data)
        self._server.start()


def can_mount() -> bool:
    """Whether we may: root may, outside of most containers."""
    if os.geteuid() != 0:
        return False
    with tempfile.TemporaryDirectory() as folder:
        try:
            _mount(Path(folder), 1 << 20)
        except subprocess.CalledProcessError:
            return False
        subprocess.run(["umount", folder], check=True)
    return True


def _mount(at: Path, size: int) -> None:
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "ebbtide-small-disk", str(at)],
        check=True,
        capture_output=True,
    )


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


FAULTS: tuple[Fault, ...] = (DiskFull(),)
