"""Files of lines: read up to a torn line, and the last whole one without the rest."""

from prerlkit.runs.jsonl import append_lines, read_last_line, read_lines


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
