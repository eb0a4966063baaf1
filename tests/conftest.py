"""Brings the host into the tests, on the CPU."""

import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent
sys.path += [str(TESTS.parent), str(TESTS)]

from tools.host import import_host  # noqa: E402

import_host()
