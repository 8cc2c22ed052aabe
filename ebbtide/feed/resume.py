"""What has been acknowledged, so that an interrupted replay goes on where it was."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from contracts.errors import Misconfigured
from ebbtide.feed.records import Sendable
from ebbtide.feed.sink import Sink

_HEAD_BYTES: Final = 1 << 20
_TAIL_BYTES: Final = 1 << 16


class InputFile(msgspec.Struct, frozen=True):
    """A recorded log, recognised by its size, its beginning and its end."""

    path: str
    bytes: int
    sha256: str


class Bookmark(msgspec.Struct):
    """The resume file: per lane, how many records of the ordered input are acknowledged."""

    input: tuple[InputFile, ...]
    target: str
    acknowledged: list[int]
    version: int = 1


def identify(paths: Sequence[Path]) -> tuple[InputFile, ...]:
    """Recognise the input; raises Misconfigured for a file that cannot be read."""
    try:
        return tuple(_identify(path) for path in paths)
    except OSError as error:
        raise Misconfigured(f"cannot read {error.filename}: {error.strerror}") from error


def _identify(path: Path) -> InputFile:
    size = path.stat().st_size
    with path.open("rb") as file:
        digest = hashlib.sha256(file.read(_HEAD_BYTES))
        file.seek(max(size - _TAIL_BYTES, 0))
        digest.update(file.read())
    return InputFile(str(path.resolve()), size, digest.hexdigest())


def input_name(files: Sequence[InputFile]) -> str:
    """Eight hex digits that stand for the content; moving a file does not change them."""
    text = "\n".join(f"{file.bytes} {file.sha256}" for file in files)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def default_path(folder: Path, files: Sequence[InputFile], target: str) -> Path:
    """Where progress of this input towards this target is kept."""
    where = hashlib.sha256(target.encode()).hexdigest()[:8]
    return folder / f"replay-{input_name(files)}-{where}.json"


class Progress:
    """A bookmark that is written as acknowledgements come in."""

    def __init__(self, path: Path, bookmark: Bookmark, sink: Sink) -> None:
        self._path = path
        self._bookmark = bookmark
        self._sink = sink

    @property
    def acknowledged(self) -> int:
        """Records acknowledged so far, in this run and those before."""
        return sum(self._bookmark.acknowledged)

    def remaining(self, records: Iterable[Sendable]) -> Iterator[Sendable]:
        """Leave out what was acknowledged before this run."""
        left = list(self._bookmark.acknowledged)
        for record in records:
            lane = self._sink.lane(record.user_id)
            if left[lane]:
                left[lane] -= 1
            else:
                yield record

    def acknowledge(self, chunk: Iterable[Sendable]) -> None:
        """Count a chunk and write the file, whole or not at all."""
        for record in chunk:
            self._bookmark.acknowledged[self._sink.lane(record.user_id)] += 1
        write(self._path, self._bookmark)


def write(path: Path, bookmark: Bookmark) -> None:
    """Replace the resume file; raises Misconfigured where that is not allowed."""
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            file.write(msgspec.json.encode(bookmark) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise Misconfigured(f"cannot write the resume file {path}: {error.strerror}") from error


def open_progress(
    path: Path, files: tuple[InputFile, ...], sink: Sink, *, restart: bool = False
) -> Progress:
    """Take up the bookmark at `path`, or begin one.

    Raises Misconfigured when it belongs to other input or another target.
    """
    fresh = Bookmark(files, sink.target, [0] * sink.lanes)
    if restart or not path.exists():
        return Progress(path, fresh, sink)
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Bookmark)
    except (OSError, msgspec.MsgspecError) as error:
        raise Misconfigured(f"{path} is no resume file ({error}); {_REMEDY}") from error
    if input_name(found.input) != input_name(files):
        names = ", ".join(file.path for file in found.input)
        raise Misconfigured(f"{path} belongs to other input ({names}); {_REMEDY}")
    if found.target != sink.target or len(found.acknowledged) != sink.lanes:
        raise Misconfigured(f"{path} belongs to another target ({found.target}); {_REMEDY}")
    return Progress(path, found, sink)


_REMEDY = "name another with --resume-file, or give --restart to send everything again"
