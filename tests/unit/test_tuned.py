"""Files of tuned settings: what is kept, what is refused and how it is said, and which entry is nearest."""

import json
import math
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

import cat_core
from cat_core.settings import KNOBS, PRESETS, CATSettings, parse_steps
from cat_core.tuned import LARGEST_FILE, Tuned, add, nearest, read, read_folder
from tools.host import ROOT

FIRST, SECOND = "a" * 32, "b" * 32
STARTS = range(1000, 5000, 1000)


def falling(steps, start=1.0):
    return tuple(start * (1 - step / steps) for step in range(steps + 1))


def entry(steps=20, **values):
    given = {
        "fingerprint": FIRST,
        "model": "SD3",
        "sampler": "euler",
        "sigmas": falling(steps),
        "tokens": 256,
        "guided": True,
        "settings": CATSettings(keep_ratio=0.6, full_steps="0-3,7,19"),
        "computed": 0.45,
        "similarity": 41.2,
        "full_seconds": 10.0,
        "tuned_seconds": 5.0,
        "version": "0.1.0",
    }
    return Tuned(**given | values)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / "tuned.json"


def test_the_version_for_entries_is_the_packs():
    assert f'version = "{cat_core.__version__}"' in (ROOT / "pyproject.toml").read_text()


share = st.floats(0, 1)
settings = st.builds(
    CATSettings,
    keep_ratio=share,
    clusters=st.integers(1, 1024),
    refresh_interval=st.integers(1, 1000),
    seed=st.integers(0, 2**64 - 1),
    cache_dtype=st.sampled_from(KNOBS["cache_dtype"].options),
    full_steps=st.sampled_from(["", "0-3,7", "0"]),
)
entries = st.builds(
    entry,
    st.integers(1, 60),
    fingerprint=st.sampled_from([FIRST, SECOND]),
    sampler=st.from_regex(r"\A[a-z_]{1,20}(\(eta=0\.5\))?\Z"),
    tokens=st.integers(1, 10**9),
    guided=st.booleans(),
    settings=settings,
    computed=share,
    similarity=st.none() | st.floats(-100, 100),
    full_seconds=st.floats(0, 1e9),
)


@given(st.lists(entries, max_size=4))
def test_what_was_added_is_read_and_the_latest_of_a_kind_alone(tmp_path_factory, found):
    path = tmp_path_factory.mktemp("file") / "tuned.json"
    for one in found:
        add(path, one)
    assert {one.key: one for one in read(path)} == {one.key: one for one in found} if found else not path.exists()
    assert not found or len(read(path)) == len({one.key for one in found})


def test_an_entry_replaces_that_of_the_same_run_and_no_other(path):
    others = [entry(steps=21), entry(tokens=255), entry(guided=False), entry(sampler="heun"), entry(fingerprint=SECOND)]
    for one in (entry(), *others, entry(computed=0.3)):
        add(path, one)
    assert read(path) == [*others, entry(computed=0.3)]


WRITER = """
from dataclasses import replace
from pathlib import Path
from sys import argv
from cat_core.tuned import add, read
(one,) = read(Path(argv[1]))
for number in range(10):
    add(Path(argv[2]), replace(one, tokens=int(argv[3]) + number))
"""


def test_processes_that_write_at_once_lose_nothing(path):
    first = path.with_name("first.json")
    add(first, entry())
    writers = [subprocess.Popen((sys.executable, "-c", WRITER, first, path, str(start)), cwd=ROOT) for start in STARTS]
    assert [writer.wait() for writer in writers] == [0] * len(STARTS)
    assert sorted(one.tokens for one in read(path)) == [start + number for start in STARTS for number in range(10)]


def test_a_file_that_is_not_understood_is_never_overwritten(path):
    path.parent.mkdir()
    path.write_text("mine")
    with pytest.raises(ValueError, match=r"tuned\.json is no file of tuned settings"):
        add(path, entry())
    assert path.read_text() == "mine"


def test_a_file_that_was_cut_off_while_writing_leaves_the_old_one(path, monkeypatch):
    add(path, entry())

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="no space left"):
        add(path, entry(tokens=1))
    assert read(path) == [entry()]


def test_a_full_file_is_told_and_stays_readable(path):
    size = len(_as_file([entry(tokens=10**8)]))
    full = [entry(tokens=10**8 + number) for number in range(LARGEST_FILE // size)]
    path.parent.mkdir()
    path.write_text(_as_file(full))
    others = [entry(tokens=10**7 + number) for number in range(500)]
    with pytest.raises(ValueError, match=r"tuned\.json is full"):
        _add_all(path, others)
    assert read(path)[: len(full)] == full


def _add_all(path, found):
    for one in found:
        add(path, one)


def _as_json(one):
    return vars(one) | {"settings": json.loads(one.settings.to_json())}


def _as_file(found):
    return json.dumps({"format": 1, "tuned": [_as_json(one) for one in found]})


def changed(**values):
    return {"format": 1, "tuned": [_as_json(entry()) | values]}


def without(key):
    return {"format": 1, "tuned": [{name: value for name, value in _as_json(entry()).items() if name != key}]}


def knobs(**values):
    return changed(settings=_as_json(entry())["settings"] | values)


HOSTILE = {
    "nothing": ("", "EOF"),
    "no JSON": ("{", "EOF"),
    "no text": (b"\xff\xfe\x00", "expected value"),
    "too large": (" " * (LARGEST_FILE + 1), "larger than 1048576 bytes"),
    "too deep": ("[" * 100_000, "recursion limit"),
    "deep inside": (json.dumps(changed(model=1)).replace('"model": 1', '"model": ' + "[" * 100_000), "recursion limit"),
    "a list": ("[]", "object"),
    "no format": ({"tuned": []}, "format: Field required"),
    "another format": ({"format": 2, "tuned": []}, "format: Input should be 1"),
    "no entries": ({"format": 1}, "tuned: Field required"),
    "an entry of nothing": ({"format": 1, "tuned": [None]}, "tuned.0: "),
    "a further key": ({"format": 1, "tuned": [], "more": 1}, "more: "),
    "a further key of an entry": (changed(more=1), "tuned.0.more: "),
    "a key that colours a terminal": (changed(**{"\x1b[31m\n": 1}), r"tuned.0.\[31m: "),
    "a missing key": (without("tokens"), "tuned.0.tokens: Field required"),
    "another fingerprint": (changed(fingerprint="../x"), "tuned.0.fingerprint: "),
    "a name with a control character": (changed(sampler="euler\x1b[31m"), "tuned.0.sampler: "),
    "a long name": (changed(model="x" * 101), "tuned.0.model: "),
    "text for a number": (changed(tokens="256"), "tuned.0.tokens: Input should be a valid integer"),
    "truth for a number": (changed(tokens=True), "tuned.0.tokens: Input should be a valid integer"),
    "no tokens": (changed(tokens=0), "tuned.0.tokens: Input should be greater than or equal to 1"),
    "NaN": (changed(computed=math.nan), "tuned.0.computed: "),
    "infinity": (changed(similarity=math.inf), "tuned.0.similarity"),
    "more than all": (changed(computed=1.1), "tuned.0.computed: Input should be less than or equal to 1"),
    "NaN among sigmas": (changed(sigmas=[1.0, math.nan]), "tuned.0.sigmas.1: "),
    "rising sigmas": (changed(sigmas=[0.0, 1.0]), "sigmas must fall"),
    "no step": (changed(sigmas=[1.0]), "tuned.0.sigmas: "),
    "too many steps": (changed(sigmas=falling(1001)), "tuned.0.sigmas: "),
    "settings of nothing": (changed(settings=None), "tuned.0.settings: "),
    "an unknown knob": (knobs(more=1), "must be knobs by name, without a mask: keep_ratio, "),
    "a mask": (knobs(focus_mask=[[1]]), "must be knobs by name"),
    "a knob out of range": (knobs(keep_ratio=1.5), "keep_ratio is .* from 0 to 1, not 1.5"),
    "NaN for a knob": (knobs(forecast=math.nan), "forecast is .* from 0 to 1, not nan"),
    "a number of many digits": (knobs(seed=10**4000), "seed"),
    "too many named steps": (knobs(full_steps=",".join(["0-9999"] * 100_000)), "full_steps must begin with 0 and rise"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_with_its_name_and_what_is_allowed(tmp_path, name):
    content, says = HOSTILE[name]
    text = content if isinstance(content, str | bytes) else json.dumps(content)
    path = tmp_path / "theirs.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=f"theirs.json is no file of tuned settings: .*{says}") as raised:
        read(path)
    assert len(str(raised.value)) < 400
    assert str(raised.value).isprintable()


def test_a_file_that_is_missing_or_a_folder_is_refused_with_its_name(tmp_path):
    for path in (tmp_path / "gone.json", tmp_path):
        with pytest.raises(ValueError, match=f"{path.name} is no file of tuned settings"):
            read(path)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
PLACES = [*vars(entry()), *(("settings", knob) for knob in KNOBS)]


@given(st.sampled_from(PLACES), anything)
def test_any_value_at_any_place_is_taken_as_it_is_or_refused(tmp_path_factory, place, value):
    given = _as_json(entry())
    name, within = (place[1], given["settings"]) if isinstance(place, tuple) else (place, given)
    within[name] = value
    path = tmp_path_factory.mktemp("file") / "any.json"
    path.write_text(json.dumps({"format": 1, "tuned": [given]}))
    try:
        (found,) = read(path)
    except ValueError as error:
        assert str(error).startswith("any.json is no file of tuned settings: tuned.0")  # noqa: PT017
    else:
        assert json.loads(json.dumps(_as_json(found))) == _whole(given)


def _whole(given):
    """With the knobs that were not named, and sigmas as they are kept."""
    knobs = json.loads(CATSettings(**given["settings"]).to_json())
    return given | {"settings": knobs, "sigmas": [float(f"{sigma:.5g}") for sigma in given["sigmas"]]}


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_any_content_is_refused(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("file") / "any.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"any\.json is no file of tuned settings"):
        read(path)


def test_settings_with_a_mask_make_no_entry():
    with pytest.raises(ValueError, match="without a mask"):
        entry(settings=CATSettings(focus_mask=[[1.0]]))


def test_all_files_of_a_folder_count_and_a_bad_one_changes_nothing(path):
    add(path, entry())
    add(path.with_name("theirs.json"), entry(tokens=1))
    path.with_name("bad.json").write_text("{")
    path.with_name("folder.json").mkdir()
    path.with_name("notes.txt").write_text("{")
    found, faults = read_folder(path.parent)
    assert found == [entry(tokens=1), entry()]
    assert [fault.split(" is ")[0] for fault in faults] == ["bad.json"]


def test_a_missing_folder_has_nothing(tmp_path):
    assert read_folder(tmp_path / "gone") == ([], [])


TWENTY = falling(20)


def find(entries, sigmas=TWENTY, tokens=256):
    return nearest(entries, FIRST, "euler", True, sigmas, tokens)


def test_another_model_sampler_or_guidance_is_never_near():
    others = [entry(fingerprint=SECOND), entry(sampler="heun"), entry(guided=False)]
    assert find(others) is None
    assert find([*others, entry()]) == entry()


def test_steps_come_first_then_noise_levels_then_size():
    karras = tuple(sigma**1.2 for sigma in falling(20))
    steps, levels, size = entry(steps=21), entry(sigmas=karras), entry(tokens=1)
    assert find([steps, levels, size]) == size
    assert find([steps, levels]) == levels
    assert find([steps]) == steps
    assert find([steps, levels, size], sigmas=falling(21)) == steps
    assert find([entry(tokens=64), entry(tokens=1024)], tokens=300) == entry(tokens=1024)


@pytest.mark.parametrize(
    ("then", "now"), [(20, 31), (31, 20), (20, 15), (15, 16)], ids=["longer", "shorter", "a short run", "a long run"]
)
def test_runs_of_other_kinds_are_not_near(then, now):
    assert find([entry(steps=then)], sigmas=falling(now)) is None
    assert find([entry(steps=now)], sigmas=falling(now)) is not None


def test_a_second_pass_is_not_near():
    assert find([entry()], sigmas=falling(20, start=0.5)) is None
    assert find([entry()], sigmas=falling(20, start=0.9)) == entry()


@pytest.mark.parametrize("sigmas", [(), (1.0,), (0.0, 0.0), (0.0, 1.0)])
def test_runs_without_steps_that_fall_are_near_to_nothing(sigmas):
    assert find([entry()], sigmas=sigmas) is None


def test_steps_that_are_named_keep_their_places_in_the_run():
    one = entry(settings=CATSettings(full_steps="0-3,7,19"))
    assert one.settings_for(20) == one.settings
    assert one.settings_for(28).full_steps == "0-4,10,27"
    assert one.settings_for(16).full_steps == "0-2,6,15"


@given(st.integers(1, 60), st.integers(1, 60), st.sets(st.integers(1, 70)))
def test_carried_over_the_first_and_the_last_step_stay_where_they_are(before, after, others):
    named = sorted({0, before - 1, *others})
    found = entry(before, settings=CATSettings(full_steps=",".join(map(str, named)))).settings_for(after).full_steps
    steps = list(parse_steps("full_steps", found))
    assert steps[0] == 0
    assert steps[-1] == (after - 1 if before > 1 else 0)
    assert steps == sorted(set(steps))


@pytest.mark.parametrize("preset", PRESETS)
def test_settings_without_named_steps_are_carried_over_as_they_are(preset):
    assert entry(settings=PRESETS[preset]).settings_for(28) == PRESETS[preset]


def test_an_entry_says_in_words_what_it_is_of():
    assert str(entry()) == "euler, 20 steps and 256 tokens, where 45% was computed at 41.2 dB"
    assert re.search("45% was computed$", str(entry(similarity=None)))
