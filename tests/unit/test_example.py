"""The example without ComfyUI, as its reader runs it."""

import subprocess
import sys

from cat_core.settings import PRESETS
from tools.host import ROOT


def test_the_example_runs_on_torch_alone_and_every_preset_stays_near():
    # the host is on this process's path, not on the example's
    command = [sys.executable, "-m", "standalone.prune_a_transformer"]
    lines = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    found = {name: (float(share), float(error)) for name, share, *_, error in map(str.split, lines)}
    assert set(found) == set(PRESETS)
    assert all(share < 0.65 and 0 < error < 0.03 for share, error in found.values())
    # less computation is less like the original
    by_share = sorted((found[name] for name in ("quality", "balanced", "speed")), reverse=True)
    assert [error for _, error in by_share] == sorted(error for _, error in by_share)
