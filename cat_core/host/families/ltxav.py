"""LTX-2: a video and its sound, each with self-attention and cross-attention to text, and attention to each other.

Host file: ``comfy/ldm/lightricks/av_model.py``. The image tokens are the video's. The sound's are always computed, and
attend to all of the video's. Rotary embeddings have a row per token; so has the modulation where frames are given.

Tested on ComfyUI 0.30.0, 0.24.0, 0.18.2.
"""

from __future__ import annotations

from typing import Any

from ...algorithm.macs import ModelCost
from ...algorithm.selection import Selection
from ..architecture.costs import linear_macs, model_cost, parts_macs
from ..architecture.family import Family
from ..architecture.layout import Blocks, Layout
from ..architecture.rows import gather_rows
from .ltxv import gather_rotary


def _gather_modulation(modulation: Any, selection: Selection) -> Any:
    """The host's ``CompressedTimestep``: one for all tokens, for those of a frame, or for each."""
    rows = modulation.expand()
    return modulation if rows.shape[1] == 1 else type(modulation)(gather_rows(rows, selection), None)


def _keys_and_values(blocks: Any, attention: str) -> int:
    return parts_macs(blocks, f"{attention}.to_k", f"{attention}.to_v")


class LTXAV(Family):
    """See :class:`cat_core.host.architecture.family.Family`."""

    name = "LTX-2"
    classes = (("comfy.ldm.lightricks.av_model", "LTXAVModel"),)
    preset = "quality"
    arguments = frozenset({"attention_mask", "audio_denoise_mask", "denoise_mask", "frame_rate", "latent_shapes"})
    layout = Layout(
        blocks=(Blocks("transformer_blocks", "double_block"),),
        stream=0,  # then the sound
        per_token={
            **dict.fromkeys(("v_pe", "v_cross_pe"), gather_rotary),
            **dict.fromkeys(
                ("v_timestep", "v_cross_scale_shift_timestep", "v_cross_gate_timestep"), _gather_modulation
            ),
        },
        attention=(0, 5),  # of the video to itself, and of the sound to it
    )

    def patch(self, transformer: Any) -> tuple[int, int, int]:
        return 1, 1, 1

    def cost(self, transformer: Any) -> ModelCost:
        blocks = transformer.transformer_blocks
        # keys and values of what is seen and heard are computed from the other latent's tokens
        seen, heard = (_keys_and_values(blocks, f"{kind}_attn") for kind in ("video_to_audio", "audio_to_video"))
        of_video, of_sound = (_keys_and_values(blocks, f"{kind}attn2") for kind in ("", "audio_"))
        image = parts_macs(blocks, "attn1", "attn2", "audio_to_video_attn", "ff")
        sound = parts_macs(blocks, "audio_attn1", "audio_attn2", "video_to_audio_attn", "audio_ff")
        sound_ends = linear_macs(transformer.audio_patchify_proj, transformer.audio_proj_out)
        captions = linear_macs(transformer.caption_projection, transformer.audio_caption_projection)
        once_a_run = linear_macs(transformer.video_embeddings_connector, transformer.audio_embeddings_connector)
        if transformer.caption_proj_before_connector:
            captions, once_a_run = 0, once_a_run + captions
        widths = (transformer.inner_dim,) * len(blocks)
        return model_cost(
            transformer,
            image=image - of_video - heard + seen,
            text=of_video + of_sound + captions,
            ends=linear_macs(transformer.patchify_proj, transformer.proj_out),
            companion=sound - of_sound - seen + heard + sound_ends,
            sample=-once_a_run,
            image_widths=widths,
            cross_widths=widths,
            companion_widths=(transformer.audio_inner_dim,) * len(blocks),
        )

    def refuses(self, transformer: Any, extra: dict[str, Any]) -> str | None:
        return None if len(extra.get("latent_shapes", ())) == 2 else "a video without its sound"

    def companions(self, transformer: Any, extra: dict[str, Any]) -> int:
        return sum(shape[2] for shape in extra.get("latent_shapes", ())[1:])
