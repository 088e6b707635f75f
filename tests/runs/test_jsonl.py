"""Files of lines: read up to a torn line, and the last whole one without the rest."""

import pytest

from prerlkit.runs.jsonl import append_lines, keep_lines, read_last_line, read_lines


def test_lines_are_read_up_to_a_torn_one(tmp_path):
    file = tmp_path / "x.jsonl"
    append_lines(file, [{"step": 1}, {"step": 2, "text": "\ud800"}])  # a lone surrogate, as models write them
    with file.open("a") as end:
        end.write('{"step": 3\n{"step": 4}\n')
    assert [line["step"] for line in read_lines(file)] == [1, 2]
    assert read_lines(tmp_path / "missing.jsonl") == []


def test_the_last_whole_line_is_found_behind_much_else(tmp_path):
    file = tmp_path / "x.jsonl"
    append_lines(file, [{"step": step, "text": "x" * 1000} for step in range(200)])
    with file.open("a") as end:
        end.write('{"step": 200')
    assert read_last_line(file)["step"] == 199
    assert read_last_line(tmp_path / "missing.jsonl") == {}


def test_a_flipped_digit_is_found_where_lines_carry_a_check(tmp_path):
    file = tmp_path / "x.jsonl"
    lines = [{"step": step, "reward/mean": 0.25} for step in (1, 2, 3)]
    append_lines(file, lines, checked=True)
    assert read_lines(file) == lines
    assert read_last_line(file) == lines[-1]
    file.write_text(file.read_text().replace("0.25", "0.75", 2).replace("0.75", "0.25", 1))  # of the second line
    assert read_lines(file) == lines[:1]


def test_a_line_that_only_looks_as_if_it_had_a_check_is_read(tmp_path):
    file = tmp_path / "x.jsonl"
    odd = [{"step": 1, "details": {"a": 1, "crc32": "00000000"}}, {"step": 2, "text": ', "crc32": "00000000"}'}]
    append_lines(file, odd)
    append_lines(file, odd, checked=True)
    assert read_lines(file) == odd * 2


@pytest.mark.parametrize("damage", ["a byte", "a null byte", "not an object", "no step"])
def test_no_readable_line_is_lost_to_a_damaged_one(tmp_path, damage):
    file, said = tmp_path / "samples.jsonl", []
    append_lines(file, [{"step": step, "text": "x"} for step in (1, 2, 3, 4)])
    whole = file.read_bytes().splitlines(keepends=True)
    broken = {
        "a byte": b'{"step": 2, "text": x"}\n',
        "a null byte": b"\0\0\n",
        "not an object": b"[2]\n",
        "no step": b"{}\n",
    }
    torn = b"".join([whole[0], broken[damage], *whole[2:], b'{"step": 5, "te'])
    file.write_bytes(torn)
    keep_lines(file, lambda line: line["step"] <= 3, said.append)
    assert file.read_bytes() == whole[0] + whole[2]
    assert (tmp_path / "samples.jsonl.damaged-1").read_bytes() == torn
    assert "line 2 can't be read" in said[0]
    assert "samples.jsonl.damaged-1" in said[0]
    file.write_bytes(torn)
    keep_lines(file, lambda line: line["step"] <= 3, said.append)
    assert (tmp_path / "samples.jsonl.damaged-2").read_bytes() == torn


def test_a_file_of_which_all_stays_is_not_written_again(tmp_path):
    file, said = tmp_path / "x.jsonl", []
    append_lines(file, [{"step": 1}])
    before = file.stat()
    keep_lines(file, lambda line: line["step"] <= 3, said.append)
    assert (file.stat().st_ino, said) == (before.st_ino, [])
    with file.open("a") as end:
        end.write('{"step": 2')
    keep_lines(file, lambda line: line["step"] <= 3, said.append)  # killed while it wrote: no damage
    assert (read_lines(file), said, len(list(tmp_path.iterdir()))) == ([{"step": 1}], [], 1)
