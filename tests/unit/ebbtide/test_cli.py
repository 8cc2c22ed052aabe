"""The command line: finding commands, complaining in one line."""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest

from contracts.errors import BadRecord, ChurnError, Misconfigured, StoreUnavailable
from ebbtide import cli, commands
from ebbtide.commands import alerts


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_exists(name: str) -> None:
    """
    Each command of the help has a module that describes it under that name and can run it.
    """
    module = importlib.import_module(f"ebbtide.commands.{name.replace('-', '_')}")
    subparsers = argparse.ArgumentParser().add_subparsers()

    module.add_parser(subparsers)

    assert [name] == list(subparsers.choices)
    assert callable(module.run)


def test_every_command_is_in_the_help() -> None:
    """
    A module among the commands that the help does not know could never be run.
    """
    modules = {path.stem for path in Path(commands.__path__[0]).glob("[!_]*.py")}
    actions = {f"alerts_{name}" for name in alerts.SUBCOMMANDS}

    assert modules == {name.replace("-", "_") for name in cli.COMMANDS} | actions


def test_help_imports_no_heavy_library() -> None:
    """
    Asking for help must not wait for scikit-learn, numpy, pyarrow, Kafka, Redis or pydantic.
    """
    code = (
        "import sys; from ebbtide.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'sklearn', 'numpy', 'pyarrow', 'aiokafka', 'redis', 'pydantic', 'fastapi'}\n"
        "sys.exit(' '.join(heavy & set(sys.modules)) or 0)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert "" == done.stderr
    assert 0 == done.returncode
    assert all(name in done.stdout for name in cli.COMMANDS)


def test_the_version_is_the_package_s(capsys: pytest.CaptureFixture[str]) -> None:
    """
    `--version` prints the version that is installed.
    """
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])

    assert 0 == ended.value.code
    assert f"ebbtide {version('ebbtide')}\n" == capsys.readouterr().out


@pytest.mark.parametrize("words", [[], ["nonsense"], ["--nonsense"]])
def test_nonsense_is_refused_in_one_line(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """
    An unknown command or option is one line on standard error and exit code 2.
    """
    with pytest.raises(SystemExit) as ended:
        cli.main(words)

    assert 2 == ended.value.code
    assert 1 == capsys.readouterr().err.count("\n")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StoreUnavailable("Redis is away"), 1),
        (ChurnError("something else"), 1),
        (Misconfigured("two\nlines"), 2),
        (BadRecord("events.csv:7: no user_id"), 2),
        (KeyboardInterrupt(), 130),
    ],
)
def test_errors_become_one_line_and_an_exit_code(
    error: BaseException,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """
    What we raise on purpose is told in one line, without a traceback; Ctrl-C is told by nothing.
    """

    def run(_args: argparse.Namespace) -> int:
        raise error

    def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
        subparsers.add_parser("up").set_defaults(run=run)

    monkeypatch.setitem(sys.modules, "ebbtide.commands.up", SimpleNamespace(add_parser=add_parser))

    assert code == cli.main(["up"])
    told = capsys.readouterr().err
    expected = " ".join(str(error).split())
    assert (f"ebbtide: {expected}\n" if expected else "") == told
