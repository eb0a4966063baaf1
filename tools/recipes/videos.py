"""Videos of a text."""

from tools.recipes.parts import (
    HUNYUAN,
    IDLE,
    QWEN_VL,
    SEED,
    File,
    Node,
    Recipe,
    Run,
    checkpoint,
    clip,
    custom,
    ksampler,
    prompts,
    shift,
    size,
    unet,
    vae,
    video,
)

BROKEN = "still picture, blurry, low quality, distorted, jerky, watermark, subtitles"
NO_CACHES = " *automatic* keeps no keys and values of a video: they are large. With memory to spare, try *balanced*."
LTX2 = "Lightricks/LTX-2:ltx-2-19b-dev-fp8.safetensors"
WAN = "Comfy-Org/Wan_2.2_ComfyUI_Repackaged:split_files/"
UMT5 = "Comfy-Org/Wan_2.1_ComfyUI_repackaged:split_files/text_encoders/umt5_xxl_fp8_e4m3fn_scaled.safetensors"


def _ltx2_encoder() -> Node:
    """It needs the checkpoint too."""
    files = (
        File("text_encoders", "Comfy-Org/ltx-2:split_files/text_encoders/gemma_3_12B_it_fp4_mixed.safetensors"),
        File("checkpoints", LTX2),
    )
    return Node("LTXAVTextEncoderLoader", {"text_encoder": files[0].name, "ckpt_name": files[1].name}, files=files)


def _ltx2_sound() -> Node:
    file = File("checkpoints", LTX2)
    return Node("LTXVAudioVAELoader", {"ckpt_name": file.name}, gives=("audio_vae",), files=(file,))


def _expert(title: str, start: int, end: int, first: bool) -> tuple[Node]:
    """The steps of one of Wan 2.2's two models: the first adds noise, and leaves the second what is not yet removed."""
    noise, rest = ("enable", "enable") if first else ("disable", "disable")
    steps = {"steps": 20, "cfg": 3.5, "sampler_name": "euler", "scheduler": "simple"}
    part = {"start_at_step": start, "end_at_step": end, "return_with_leftover_noise": rest}
    return (Node("KSamplerAdvanced", {"add_noise": noise, "noise_seed": SEED, **steps, **part}, title=title),)


RECIPES = (
    Recipe(
        name="wan22_14b",
        title="Wan 2.2 14B",
        template="video_wan2_2_14B_t2v",
        expect="10 steps with each of two models: about 70 % is computed. Each has a *CAT Pruning* of its own.",
        load=(
            unet(WAN + "diffusion_models/wan2.2_t2v_high_noise_14B_fp8_scaled.safetensors"),
            clip("wan", UMT5),
            vae(WAN + "vae/wan_2.1_vae.safetensors"),
        ),
        prompt=(
            *prompts("a potter's hands raise a tall vase on a turning wheel, wet clay, window light, close-up", BROKEN),
            size("EmptyHunyuanLatentVideo", 640, 640, length=81),
        ),
        runs=(
            Run((shift(5.0, "SD3"),), _expert("High noise", 0, 10, first=True)),
            Run(
                (
                    unet(WAN + "diffusion_models/wan2.2_t2v_low_noise_14B_fp8_scaled.safetensors"),
                    shift(5.0, "SD3"),
                ),
                _expert("Low noise", 10, 20, first=False),
            ),
        ),
        save=video(16.0),
    ),
    Recipe(
        name="ltx2",
        title="LTX-2",
        template="video_ltx2_t2v",
        expect=IDLE.format(20)
        + " This is the first of the template's two passes: the second, which doubles the size, has "
        "3 steps, too few to leave any out.",
        load=(checkpoint(LTX2), _ltx2_encoder(), _ltx2_sound()),
        prompt=(
            *prompts(
                "A steam train crosses a stone viaduct in a green valley. The camera follows it from the side while "
                "smoke drifts over the wagons. The wheels clatter, the whistle sounds twice and echoes from the hills.",
                BROKEN,
            ),
            Node("LTXVConditioning", {"frame_rate": 24.0}),
            size("EmptyLTXVLatentVideo", 640, 352, "video_latent", length=121),
            Node("LTXVEmptyLatentAudio", {"frames_number": 121, "frame_rate": 24}, gives=("audio_latent",)),
            Node("LTXVConcatAVLatent"),
        ),
        runs=(
            Run(
                sampling=custom(
                    "CFGGuider",
                    4.0,
                    "euler_ancestral",
                    Node("LTXVScheduler", {"steps": 20}, {"latent": "LATENT"}),
                )
            ),
        ),
        save=video(
            24.0,
            Node("LTXVSeparateAVLatent"),
            Node("LTXVAudioVAEDecode", takes={"samples": "audio_latent"}),
            audio="AUDIO",
        ),
        since="LTXVAudioVAELoader",
    ),
    Recipe(
        name="hunyuan_video15",
        title="HunyuanVideo 1.5",
        template="video_hunyuan_video_1.5_720p_t2v",
        expect=IDLE.format(20) + NO_CACHES,
        load=(
            unet(HUNYUAN + "diffusion_models/hunyuanvideo1.5_720p_t2v_fp16.safetensors"),
            clip(
                "hunyuan_video_15",
                HUNYUAN + QWEN_VL,
                HUNYUAN + "text_encoders/byt5_small_glyphxl_fp16.safetensors",
            ),
            vae(HUNYUAN + "vae/hunyuanvideo15_vae_fp16.safetensors"),
        ),
        prompt=(
            *prompts("a sailing boat rounds a lighthouse in heavy sea, spray over the bow, seen from a helicopter"),
            size("EmptyHunyuanVideo15Latent", 1280, 720, length=121),
        ),
        runs=(Run((shift(7.0, "SD3"),), ksampler(20, 6.0)),),
        save=video(24.0),
    ),
    Recipe(
        name="wan22_5b",
        title="Wan 2.2 5B",
        template="video_wan2_2_5B_ti2v",
        expect=IDLE.format(20) + NO_CACHES,
        load=(
            unet(WAN + "diffusion_models/wan2.2_ti2v_5B_fp16.safetensors"),
            clip("wan", UMT5),
            vae(WAN + "vae/wan2.2_vae.safetensors"),
        ),
        prompt=(
            *prompts("a heron stands in shallow water at dusk, then spreads its wings and flies off, ripples", BROKEN),
            size("Wan22ImageToVideoLatent", 1280, 704, length=121),
        ),
        runs=(Run((shift(8.0, "SD3"),), ksampler(20, 5.0, "uni_pc")),),
        save=video(24.0),
    ),
    Recipe(
        name="kandinsky5_video",
        title="Kandinsky 5 video",
        template="video_kandinsky5_t2v",
        expect=IDLE.format(50),
        load=(
            unet("kandinskylab/Kandinsky-5.0-T2V-Lite-sft-5s:model/kandinsky5lite_t2v_sft_5s.safetensors"),
            clip("kandinsky5", HUNYUAN + QWEN_VL, "comfyanonymous/flux_text_encoders:clip_l.safetensors"),
            vae("Kijai/HunyuanVideo_comfy:hunyuan_video_vae_bf16.safetensors"),
        ),
        prompt=(
            *prompts("a violinist plays under an old archway while people with umbrellas pass by, slow dolly shot"),
            Node("Kandinsky5ImageToVideo", gives=("positive", "negative", "LATENT")),
        ),
        runs=(Run((shift(5.0, "SD3"),), ksampler(50, 5.0, "euler_ancestral", "beta")),),
        save=video(24.0),
        since="Kandinsky5ImageToVideo",
    ),
)
