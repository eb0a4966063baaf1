"""Translations of the nodes and of their help pages, as the front end gets them."""

import re

import pytest

import raylight
from tools.server import running_server

LANGUAGES = ["en", "zh", "ja", "ko", "fr", "de", "es"]
# special to the front end's formatter (vue-i18n)
SPECIAL = "@{}|"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    # with Raylight there are all nodes
    with running_server(*raylight.install(tmp_path_factory.mktemp("raylight"))) as running:
        yield running


@pytest.fixture(scope="module")
def nodes(server):
    """What the nodes themselves say, in the form of a translation."""
    info = server.get("/object_info")
    return {name: said(node) for name, node in info.items() if node["python_module"] == "custom_nodes.cat-pruning"}


@pytest.fixture(scope="module")
def translations(server):
    every = server.get("/i18n")
    return {language: every[language]["nodeDefs"] for language in LANGUAGES}


def said(node):
    inputs = {**node["input"].get("required", {}), **node["input"].get("optional", {})}
    outputs = zip(node["output_name"], node["output_tooltips"], strict=True)
    return {
        "display_name": node["display_name"],
        "description": node["description"],
        "inputs": {key: {"name": key, "tooltip": options["tooltip"]} for key, (_, options) in inputs.items()},
        "outputs": {str(slot): {"name": name, "tooltip": tooltip} for slot, (name, tooltip) in enumerate(outputs)},
    }


def texts(tree, place=()):
    """(place, text) of every leaf."""
    if isinstance(tree, str):
        return [(place, tree)]
    return [leaf for key, value in tree.items() for leaf in texts(value, (*place, key))]


def test_english_is_what_the_nodes_say(translations, nodes):
    ours = {name: translations["en"][name] for name in nodes}
    assert ours == nodes


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_every_language_has_every_text(translations, nodes, language):
    ours = {name: translations[language].get(name, {}) for name in nodes}
    assert [place for place, _ in texts(ours)] == [place for place, _ in texts(nodes)]
    assert [place for place, text in texts(ours) if not text.strip() or set(text) & set(SPECIAL)] == []


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_sentences_are_translated(translations, nodes, language):
    english = dict(texts(nodes))
    sentences = [place for place in english if place[-1] in ("tooltip", "description")]
    found = dict(texts({name: translations[language][name] for name in nodes}))
    assert [place for place in sentences if found[place] == english[place]] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_nodes_name_keeps_the_packs_name(translations, nodes, language):
    assert all(translations[language][name]["display_name"].startswith("CAT Pruning") for name in nodes)


def outline(page):
    """What a help page must have in every language: levels of headings, pictures, and how many items and rows."""
    headings = re.findall(r"^(#+) ", page, re.MULTILINE)
    pictures = re.findall(r"!\[.+?\]\((.+?)\)", page)
    items, rows = (len(re.findall(mark, page, re.MULTILINE)) for mark in (r"^\s*- ", r"^\|"))
    return headings, pictures, items, rows


def help_page(server, name):
    return server.get(f"/extensions/cat-pruning/docs/{name}.md").decode()


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_help_is_there_in_every_language(server, translations, nodes, language):
    for name in nodes:
        english, page = help_page(server, name), help_page(server, f"{name}/{language}")
        assert page.splitlines()[0] == f"# {translations[language][name]['display_name']}"
        assert outline(page) == outline(english)
        assert page != english
