"""Ways to break a layout by one row on purpose: what a host that moved its rows would do to the pack."""

from dataclasses import replace

from cat_core.algorithm.selection import Selection
from cat_core.caching.kv import KVCache
from cat_core.host.architecture.engine import BlockRows

SCATTER, RENEW = Selection.scatter, KVCache.renew
IMAGE, ARGUMENT = BlockRows.gather_image, BlockRows.gather_argument


def break_layout(monkeypatch, what: str) -> None:
    """Let ``tokens`` be taken from, or ``put`` to, their neighbours' places, or have the ``positions`` of these.

    ``keys``: computed keys and values are taken for those of rows one further.
    """

    def tokens(self, given):
        value = given[self.layout.image]
        image = self.layout.take_image(value)
        moved = image.flatten(1, -2).roll(1, dims=1).view_as(image)
        return IMAGE(self, {**given, self.layout.image: self.layout.put_image(value, moved)})

    def positions(self, name, value):
        chosen = self.selection
        self.selection = replace(chosen, indices=(chosen.indices + 1) % chosen.tokens, _rows={})
        try:
            return ARGUMENT(self, name, value)
        finally:
            self.selection = chosen

    def put(self, tokens):
        return SCATTER(self, tokens).roll(1, dims=1)

    def keys(self, name, key, value, chosen, first, *more):
        return RENEW(self, name, key, value, chosen, first + 1, *more)

    owner, method, wrong = {
        "tokens": (BlockRows, "gather_image", tokens),
        "positions": (BlockRows, "gather_argument", positions),
        "put": (Selection, "scatter", put),
        "keys": (KVCache, "renew", keys),
    }[what]
    monkeypatch.setattr(owner, method, wrong)
