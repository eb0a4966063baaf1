"""The chart of tuning can be read on a node, whatever was measured."""

import numpy as np
import pytest

from cat_core.chart import LEFT, LETTERS, Point, draw_chart


@pytest.mark.parametrize("likenesses", [(), (40.0,), (31.0, 78.0), (12.0, 118.0), (30.0, float("inf"))])
def test_levels_do_not_meet(likenesses):
    points = [Point(0.5, each, "settings") for each in likenesses]
    levels = draw_chart(points)[:, : LEFT - 26].max(axis=(1, 2)) > 0.5
    starts, ends = (np.flatnonzero(np.diff(levels.astype(int)) == change) for change in (1, -1))
    assert len(starts) == len(ends) >= 3
    assert max(ends - starts) < LETTERS
