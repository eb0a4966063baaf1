"""Families that other packs bring."""

import pytest

from cat_core.host import architecture
from cat_core.host.architecture.registry import FAMILIES
from cat_core.host.families.pixart import PixArt
from cat_core.host.patcher import attach, last_report
from contract.test_families import TOKENS
from zoo import CASES


@pytest.fixture(autouse=True)
def own():
    """What is registered in a test goes with it."""
    before = list(FAMILIES)
    yield
    FAMILIES[:] = before


class Theirs(PixArt):
    """As a pack would write it for a model that is not served."""

    name = "Theirs"


def test_a_model_is_pruned_once_its_family_is_registered():
    FAMILIES[:] = [family for family in FAMILIES if not isinstance(family, PixArt)]
    case = CASES["pixart sigma"]
    model, noise = case.build(), case.noise(1, case.sizes["wide"])
    unknown = attach(model, TOKENS)
    case.sample(unknown, noise)
    assert last_report(unknown).count("pruned") == 0
    assert "is not a supported diffusion transformer" in last_report(unknown).reasons[0]
    architecture.register_family(Theirs())
    known = attach(model, TOKENS)
    case.sample(known, noise)
    assert last_report(known).reasons == []
    assert last_report(known).family == "Theirs"
    assert last_report(known).count("pruned") >= 2


def test_a_served_class_is_not_taken_away():
    with pytest.raises(ValueError, match=r"PixArtMS is served already, by PixArt\."):
        architecture.register_family(Theirs())


def test_a_family_that_is_registered_again_replaces_itself():
    FAMILIES[:] = [family for family in FAMILIES if not isinstance(family, PixArt)]
    first, again = Theirs(), Theirs()
    architecture.register_family(first)
    architecture.register_family(again)
    assert [family for family in FAMILIES if family.name == "Theirs"] == [again]


def test_other_packs_find_it_at_the_node(pack):
    assert {*architecture.__all__} <= {*vars(pack["CATPruning"].architecture)}
