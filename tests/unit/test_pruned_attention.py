"""Attention at pruned steps: which keys and masks a computation over some of the tokens is given."""

import pytest
import torch

from cat_core.algorithm.selection import LayoutError, Selection
from cat_core.caching.kv import KVCache
from cat_core.host.attention import PrunedAttention

BLOCK = ("blocks", 0)
N, TEXT = 4, 2
SELECTION = Selection(torch.tensor([[1, 3]]), N)


def numbered(rows, first=0):
    """[1, rows, 1], every row with its number."""
    return torch.arange(first, first + rows).view(1, -1, 1).float()


def attention(kept, before, text=0, chunks=1):
    """In a block whose caches hold ``kept`` rows."""
    caches = [KVCache() for _ in range(chunks)]
    for cache in caches:
        cache.store((*BLOCK, 0), numbered(kept), numbered(kept))
    made = PrunedAttention(caches, None, [SELECTION] * chunks, [None] * chunks)
    made.enter(BLOCK)
    made.before, made.text = before, text
    return made


def given(made, queries, keys, *mask, **named):
    """What the host's function is given: keys and mask of every chunk."""
    seen = []

    def host(q, k, v, heads, mask=None):
        seen.append((k.flatten().tolist(), None if mask is None else mask.tolist()))
        return q

    made(host, queries, keys, keys, 1, *mask, **named)
    return seen


def test_rows_that_were_computed_are_renewed_behind_the_text():
    seen = given(attention(TEXT + N, TEXT, TEXT), numbered(4, 10), numbered(4, 10))
    assert seen == [([10, 11, 2, 12, 4, 13], None)]


def test_an_attention_without_the_text_may_still_have_references_in_front():
    seen = given(attention(1 + N, before=TEXT + 1, text=TEXT), numbered(3, 10), numbered(3, 10))
    assert seen == [([10, 1, 11, 3, 12], None)]


def test_rows_whose_keys_the_model_keeps_by_itself_are_in_front():
    """Of five rows of keys three have no query: two the model kept, and one is in front of the image in both."""
    seen = given(attention(3 + N, before=1), numbered(3, 12), numbered(5, 10))
    assert seen == [([10, 11, 12, 3, 13, 5, 14], None)]


def test_other_tokens_may_attend_to_image_tokens_alone():
    """As a video's sound: more queries than keys, or fewer."""
    for queries in (1, 5):
        seen = given(attention(N, before=1), numbered(queries), numbered(2, 10))
        assert seen == [([0, 10, 2, 11], None)]


def test_image_rows_where_others_should_be_are_no_layout():
    with pytest.raises(LayoutError):
        given(attention(TEXT + N, before=3), numbered(4), numbered(4))


@pytest.mark.parametrize("columns", [4, 6])
@pytest.mark.parametrize("by_name", [False, True])
def test_a_mask_has_a_column_for_every_key_and_goes_with_its_chunk(columns, by_name):
    """As the host makes it for all rows, or for those that are computed: here the first of the text is masked."""
    mask = torch.zeros(2, 1, columns)
    mask[0, :, 0], mask[1, :, 1] = -1, -1
    named, placed = ({"mask": mask}, ()) if by_name else ({}, (mask,))
    rows = numbered(4).expand(2, -1, -1)
    seen = given(attention(TEXT + N, TEXT, TEXT, chunks=2), rows, rows, *placed, **named)
    assert [mask for _, mask in seen] == [[[[-1, 0, 0, 0, 0, 0]]], [[[0, -1, 0, 0, 0, 0]]]]


def test_one_mask_for_all_samples_goes_to_every_chunk():
    rows = numbered(4).expand(2, -1, -1)
    seen = given(attention(TEXT + N, TEXT, TEXT, chunks=2), rows, rows, torch.ones(1, 1, 6))
    assert [mask for _, mask in seen] == [[[[1] * 6]]] * 2
