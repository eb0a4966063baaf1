"""Draw ``demo/prompts.txt`` with the demo model into docs/contact_sheet.jpg: ``python -m tools.contact_sheet``."""

from __future__ import annotations

from tools.host import ROOT, import_host, restart_with_allocator

restart_with_allocator()
import_host()
import comfy.sample  # noqa: E402
import matplotlib.pyplot as plt  # noqa: E402
import torch  # noqa: E402
from tqdm import tqdm  # noqa: E402

from cat_core.host.demo import LATENT_CHANNELS, load_demo  # noqa: E402

PROMPTS = ROOT / "demo" / "prompts.txt"
SHEET = ROOT / "docs" / "contact_sheet.jpg"
COLUMNS, STEPS, CFG, SEED = 8, 28, 4.0, 5


@torch.inference_mode()
def draw(prompts: list[str], models: tuple) -> torch.Tensor:
    """Pictures [B, 256, 256, 3] in 0..1, all from the same seed."""
    model, clip, vae = models
    positive, negative = (_conditioning(clip, texts) for texts in (prompts, [""] * len(prompts)))
    noise = torch.randn(1, LATENT_CHANNELS, 64, 64, generator=torch.Generator().manual_seed(SEED))
    noise = noise.repeat(len(prompts), 1, 1, 1)
    latent = comfy.sample.sample(
        model, noise, STEPS, CFG, "euler", "simple", positive, negative, torch.zeros_like(noise), disable_pbar=True
    )
    return vae.decode(latent).float().clamp(0, 1)


def _conditioning(clip, texts: list[str]) -> list:
    """One conditioning for a batch of prompts, which are all of the same length here."""
    parts = [clip.encode_from_tokens_scheduled(clip.tokenize(text))[0] for text in texts]
    pooled = torch.cat([extra["pooled_output"] for _, extra in parts])
    return [[torch.cat([context for context, _ in parts]), {"pooled_output": pooled}]]


def main() -> None:
    prompts = PROMPTS.read_text(encoding="utf-8").splitlines()
    models = load_demo()
    rows = [prompts[i : i + COLUMNS] for i in range(0, len(prompts), COLUMNS)]
    figure, axes = plt.subplots(len(rows), COLUMNS, figsize=(2 * COLUMNS, 2.2 * len(rows)))
    for row, places in zip(tqdm(rows), axes, strict=True):
        for prompt, picture, place in zip(row, draw(row, models), places, strict=True):
            place.imshow(picture.numpy())
            place.set_title(prompt, fontsize=6)
            place.axis("off")
    figure.tight_layout()
    SHEET.parent.mkdir(exist_ok=True)
    figure.savefig(SHEET, dpi=110)


if __name__ == "__main__":
    main()
