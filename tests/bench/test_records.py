"""The CSV file that makes the benchmark resumable."""

import math
from dataclasses import replace

from bench.records import Records, Row, fingerprint, read_rows, write_rows

ROW = Row(
    sampler="euler",
    target_steps=28,
    prompt='owl, "big" on blue',
    seed=3,
    method="default",
    group="ours",
    steps=28,
    fingerprint="abc",
    engine="e1",
    host="1",
    cost=0.5,
    psnr=40.5,
    ssim=0.99,
    haarpsi=0.98,
    latent_error=0.01,
    note="",
)


def test_rows_come_back_as_they_were_written(tmp_path):
    file = tmp_path / "new" / "quality.csv"
    records = Records(file)
    records.append(ROW)
    records.append(replace(ROW, seed=4, psnr=math.nan))
    first, second = read_rows(file)
    assert first == ROW
    assert math.isnan(second.psnr)


def test_what_is_in_the_file_is_known_and_nothing_else(tmp_path):
    file = tmp_path / "quality.csv"
    Records(file).append(ROW)
    records = Records(file)
    assert records.has(ROW.place, "abc", "e1")
    assert not records.has(("euler", 28, ROW.prompt, 4, "default"), "abc", "e1")
    assert not records.has(ROW.place, "changed", "e1")


def test_another_engine_does_not_count(tmp_path):
    records = Records(tmp_path / "quality.csv")
    records.append(ROW)
    assert not records.has(ROW.place, "abc", "e2")


def test_the_last_measurement_counts(tmp_path):
    file = tmp_path / "quality.csv"
    for psnr in (30.0, 41.0):
        Records(file).append(replace(ROW, psnr=psnr))
    assert [row.psnr for row in Records(file).rows.values()] == [41.0]


def test_a_row_that_was_cut_off_is_left_out(tmp_path):
    file = tmp_path / "quality.csv"
    write_rows(file, [ROW, replace(ROW, seed=4)])
    file.write_text(file.read_text()[:-40])
    assert [row.seed for row in read_rows(file)] == [3]


def test_a_file_of_other_columns_has_no_rows(tmp_path):
    file = tmp_path / "quality.csv"
    file.write_text("method,psnr\ndefault,40\n")
    assert read_rows(file) == []


def test_fingerprints_tell_parts_apart():
    assert fingerprint("ab", "c") != fingerprint("a", "bc")
    assert len(fingerprint("a")) == 10
