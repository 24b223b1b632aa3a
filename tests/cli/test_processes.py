"""The installed command in processes of its own: pipes, devices, signals, imports."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

SIGNATURE = b"\x89SGL\r\n\x1a\n"


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "site")


def assert_one_line(result: subprocess.CompletedProcess[bytes], code: int, text: str) -> None:
    lines = result.stderr.decode().splitlines()
    assert result.returncode == code, lines
    assert len(lines) == 1 and lines[0].startswith("codec: ") and text in lines[0]
    assert result.stdout == b""


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["encode", "--help"], ["models"], ["completion", "bash"], ["info", "FILE"]],
    ids=" ".join,
)
def test_torch_is_not_imported(arguments: list[str], process, photo: Path) -> None:
    file = photo.with_suffix(".sgl")
    assert process("encode", photo).returncode == 0
    arguments = [str(file) if argument == "FILE" else argument for argument in arguments]
    result = process(*arguments, env=environment_of(photo) | {"PYTHONPROFILEIMPORTTIME": "1"})
    assert result.returncode == 0
    imported = {line.split(b"|")[-1].strip() for line in result.stderr.splitlines()}
    assert b"click" in imported and b"torch" not in imported


def environment_of(photo: Path) -> dict[str, str]:
    return dict(os.environ) | {"PYTHONPATH": str(photo.parent / "site")}


def test_completion_works(process, photo: Path) -> None:
    request = {"_CODEC_COMPLETE": "bash_complete", "COMP_WORDS": "codec de", "COMP_CWORD": "1"}
    assert process(env=environment_of(photo) | request).stdout == b"plain,decode\n"


def test_a_pipe_through_both_directions(process, photo: Path) -> None:
    encoded = process("encode", "-", input=photo.read_bytes())
    assert encoded.returncode == 0 and encoded.stdout.startswith(SIGNATURE)
    assert encoded.stderr.startswith(b"-  ") and encoded.stderr.count(b"\n") == 1
    decoded = process("decode", "-", input=encoded.stdout)
    assert decoded.returncode == 0 and decoded.stdout.startswith(b"\x89PNG")
    verified = process("verify", "-", input=encoded.stdout)
    assert verified.stdout.startswith(b"-: ok")


@pytest.mark.parametrize("verb", ["encode", "decode", "verify", "info"])
def test_bad_input_is_one_line_and_leaves_nothing(verb: str, process, tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "foreign").write_bytes(b"\x7fELF" + bytes(1000))
    (tmp_path / "folder").mkdir()
    (tmp_path / "cut.sgl").write_bytes(SIGNATURE + b"\1")
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(4))
    before = names_in(tmp_path)
    assert_one_line(process(verb, tmp_path / "empty"), 3, "")
    assert_one_line(process(verb, tmp_path / "foreign"), 3, "not a ")
    assert_one_line(process(verb, tmp_path / "folder"), 2, "is a folder; -r takes the files in it")
    assert_one_line(process(verb, tmp_path / "absent"), 1, "absent: no such file or directory")
    cut = "cut.png" if verb == "encode" else "cut.sgl"
    (tmp_path / cut).replace(tmp_path / f"only-{cut}")
    assert_one_line(process(verb, tmp_path / f"only-{cut}"), 3, "only-cut.")
    (tmp_path / f"only-{cut}").replace(tmp_path / cut)
    assert_one_line(process(verb, "-", input=b""), 3, "-: the file is empty")
    assert_one_line(process(verb, "/dev/zero"), 3, "/dev/zero: not a ")
    assert names_in(tmp_path) == before


def obey_permissions() -> None:
    """Take the right to pass over permissions from the program that is started next, also from root's.

    Another user would do as well, but might not reach the interpreter.
    """
    if os.geteuid() == 0:
        drop = 24  # PR_CAPBSET_DROP
        for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
            ctypes.CDLL(None).prctl(drop, capability, 0, 0, 0)


@pytest.fixture
def permissions(tmp_path: Path) -> Callable[[], None]:
    """What makes a process obey permissions; skips where nothing does."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"")
    secret.chmod(0)
    probe = subprocess.run(["cat", secret], preexec_fn=obey_permissions, capture_output=True, check=False)
    secret.unlink()
    if probe.returncode == 0:
        pytest.skip("this user may read and write everything")
    return obey_permissions


def test_no_permission(process, permissions, photo: Path) -> None:
    photo.chmod(0)
    assert_one_line(process("encode", photo, preexec_fn=permissions), 1, "photo.png: permission denied")
    photo.chmod(0o600)
    photo.parent.chmod(0o500)
    try:
        assert_one_line(process("encode", photo, preexec_fn=permissions), 1, "photo.sgl: permission denied")
    finally:
        photo.parent.chmod(0o700)


def test_folders_that_cannot_be_searched_are_reported(process, permissions, photo: Path) -> None:
    album = photo.parent / "album"
    (album / "locked").mkdir(parents=True)
    (album / "locked").chmod(0)
    out = ("--out-dir", photo.parent / "out")
    try:
        alone = process("encode", "-r", album, *out, preexec_fn=permissions)
        photo.rename(album / "photo.png")
        both = process("encode", "-r", album, *out, preexec_fn=permissions)
    finally:
        (album / "locked").chmod(0o700)
    assert_one_line(alone, 1, "album/locked: permission denied")
    lines = both.stderr.decode().splitlines()
    assert both.returncode == 5 and lines[1:] == [
        f"codec: {album / 'locked'}: permission denied",
        "codec: 1 of 2 files failed",
    ]
    assert names_in(photo.parent / "out") == ["photo.sgl"]


def test_standard_streams_that_are_closed(process, photo: Path) -> None:
    assert process("encode", photo).returncode == 0
    result = process("decode", photo.with_suffix(".sgl"), "-o", "-", preexec_fn=lambda: os.close(1))
    assert_one_line(result, 2, "standard output is closed")
    assert_one_line(process("verify", "-", preexec_fn=lambda: os.close(0)), 3, "standard input is closed")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk(process, photo: Path) -> None:
    assert_one_line(process("encode", photo, "-o", "/dev/full"), 1, "/dev/full: no space left on device")
    with Path("/dev/full").open("wb") as full:
        result = process(
            "encode", photo, "-o", "-", stdout=full, stderr=subprocess.PIPE, capture_output=False
        )
    assert result.returncode == 1 and result.stderr.count(b"\n") == 1
    assert b"no space left on device" in result.stderr


def test_a_disk_that_fills_up_leaves_nothing(process, photo: Path) -> None:
    def limit() -> None:
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    before = names_in(photo.parent)
    assert_one_line(process("encode", photo, preexec_fn=limit), 1, "photo.sgl: file too large")
    assert names_in(photo.parent) == before


def test_a_closed_pipe(process, photo: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    result = process("encode", photo, "-o", "-", stdout=writing, stderr=subprocess.PIPE, capture_output=False)
    os.close(writing)
    assert result.returncode == 1 and result.stderr.count(b"\n") == 1
    assert b"the output was closed before everything was written" in result.stderr


def test_nothing_binary_goes_to_a_terminal(process, photo: Path) -> None:
    import pty

    terminal, end = pty.openpty()
    try:
        for arguments in (["encode", photo, "-o", "-"], ["encode", "-"]):
            result = process(*arguments, stdin=end, stdout=end, stderr=subprocess.PIPE, capture_output=False)
            assert result.returncode == 2 and b"binary data does not go to a terminal" in result.stderr
    finally:
        os.close(terminal)
        os.close(end)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_nothing_behind(number: int, code: int, process, photo: Path) -> None:
    # The temporary file exists while the picture is written: the writing is made to wait there.
    site = photo.parent / "site" / "sitecustomize.py"
    site.write_text(
        site.read_text()
        + "import time, siglum.codecs.image.picture as picture\n"
        + "def wait(*_, **__):\n    print('writing', flush=True)\n    time.sleep(30)\n"
        + "picture.write_picture = wait\n"
    )
    assert process("encode", photo).returncode == 0
    command = [str(Path(sys.executable).with_name("codec")), "decode", str(photo.with_suffix(".sgl")), "-f"]
    child = subprocess.Popen(
        command,
        env=environment_of(photo),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # jobs in the background inherit it ignored
    )
    with child:
        assert child.stdout is not None and child.stdout.readline() == "writing\n"
        assert any(name.endswith(".part") for name in names_in(photo.parent))
        child.send_signal(number)
        start = time.monotonic()
        errors = child.communicate(timeout=20)[1]
        assert time.monotonic() - start < 10
    assert child.returncode == code and len(errors.split("\n")) <= 3
    assert names_in(photo.parent) == ["photo.png", "photo.sgl"]


def test_tracebacks_come_only_when_asked_for(process, photo: Path) -> None:
    result = process("decode", photo, env=environment_of(photo) | {"SIGLUM_DEBUG": "1"})
    assert result.returncode == 3 and b"Traceback" in result.stderr
    assert b"Traceback" not in process("decode", photo).stderr


def test_colour_only_on_a_terminal_that_wants_it(process, photo: Path) -> None:
    import pty

    def stderr_of(extra: dict[str, str]) -> bytes:
        terminal, end = pty.openpty()
        try:
            process(
                "decode", photo, env=environment_of(photo) | extra, stderr=end, stdout=subprocess.PIPE,
                capture_output=False,
            )  # fmt: skip
            return os.read(terminal, 4096)
        finally:
            os.close(terminal)
            os.close(end)

    assert b"\x1b[" in stderr_of({}) and b"\x1b[" not in stderr_of({"NO_COLOR": "1"})
    assert b"\x1b[" not in process("decode", photo).stderr


def test_several_processes_share_a_batch(process, photo: Path) -> None:
    album, out = photo.parent / "album", photo.parent / "out"
    album.mkdir()
    for i in range(4):
        (album / f"{i}.png").write_bytes(photo.read_bytes())
    (album / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(4))
    encode = ("encode", "-r", album, "--out-dir", out, "-j", "2", "--json")
    result = process(*encode)
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert sorted(Path(record["output"]).name for record in records) == [f"{i}.sgl" for i in range(4)]
    lines = result.stderr.decode().splitlines()
    assert result.returncode == 5 and lines[1:] == ["codec: 1 of 5 files failed"]
    assert lines[0].startswith(f"codec: {album / 'cut.png'}: ")
    # What is done is not done again, what has changed is.
    (album / "cut.png").unlink()
    os.utime(album / "3.png", (2e9, 2e9))
    assert process(*encode).returncode == 5
    resumed = process(*encode, "--resume", "-f")
    assert resumed.returncode == 0
    assert [Path(json.loads(line)["output"]).name for line in resumed.stdout.splitlines()] == ["3.sgl"]
    decoded = process("decode", "-r", out, "--out-dir", photo.parent / "back", "-j", "2", "--json")
    assert decoded.returncode == 0
    assert names_in(photo.parent / "back") == [f"{i}.png" for i in range(4)]
    (out / "1.png.sgl").write_bytes((out / "1.sgl").read_bytes())
    assert_one_line(process("decode", "-r", out, "--out-dir", "x", "-j", "2"), 2, "would both be written to")


def test_ending_several_processes_leaves_nothing_behind(process, photo: Path) -> None:
    other = photo.with_name("other.png")
    other.write_bytes(photo.read_bytes())
    assert process("encode", photo, other).returncode == 0
    site = photo.parent / "site" / "sitecustomize.py"
    site.write_text(
        site.read_text()
        + "import os, time, siglum.codecs.image.picture as picture\n"
        + "def wait(*_, **__):\n    os.write(1, b'writing\\n')\n    time.sleep(30)\n"
        + "picture.write_picture = wait\n"
    )
    files = [str(path.with_suffix(".sgl")) for path in (photo, other)]
    child = subprocess.Popen(
        [str(Path(sys.executable).with_name("codec")), "decode", *files, "-f", "-j", "2"],
        env=environment_of(photo),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL),
    )
    with child:
        assert child.stdout is not None
        assert [child.stdout.readline() for _ in files] == ["writing\n"] * 2
        assert sum(name.endswith(".part") for name in names_in(photo.parent)) == 2
        child.terminate()
        child.communicate(timeout=20)
    assert child.returncode == 143
    assert names_in(photo.parent) == ["other.png", "other.sgl", "photo.png", "photo.sgl"]
