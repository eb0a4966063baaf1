"""Several GPUs on paper: ``make bench-scale`` computes ``docs/scale.md``. Nothing is run or downloaded."""

from __future__ import annotations

from bench.scale_document import FILE, document


def main() -> None:
    FILE.write_text(document(), encoding="utf-8")
    print(FILE)


if __name__ == "__main__":
    main()
