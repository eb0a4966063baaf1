"""Pictures of a text."""

import json

from tools.recipes.parts import (
    FLUX2_VAE,
    HALF,
    HUNYUAN,
    IDLE,
    KLEIN,
    QWEN,
    QWEN3_VL,
    QWEN_VL,
    Z_IMAGE,
    Node,
    Recipe,
    Run,
    checkpoint,
    clip,
    custom,
    ksampler,
    on_both,
    prompts,
    shift,
    size,
    unet,
    vae,
)

BLURRED = "blurry, low quality, distorted, artifacts, watermark"
ANIMA = "circlestone-labs/Anima:split_files/"
IDEOGRAM = "Comfy-Org/Ideogram-4:diffusion_models/"
ERNIE = "Comfy-Org/ERNIE-Image:"
LENS = "Comfy-Org/Lens:"
MAGE = "Comfy-Org/Mage-Flow:"
NEWBIE = "Comfy-Org/NewBie-image-Exp0.1_repackaged:split_files/"
OVIS = "Comfy-Org/Ovis-Image:split_files/"

POSTER = {
    "high_level_description": "A poster of a flower market: a bouquet in a tin bucket under the words SPRING FAIR.",
    "style_description": {"medium": "screen print", "color_palette": ["#F4EBDD", "#D1495B", "#2E6F57"]},
    "compositional_deconstruction": {
        "background": "Plain cream paper with a slight grain.",
        "elements": [
            {"type": "obj", "bbox": [80, 100, 240, 900], "desc": "The words SPRING FAIR in tall red letters."},
            {"type": "obj", "bbox": [280, 200, 940, 800], "desc": "Tulips and ferns in a dented tin bucket."},
        ],
    },
}
"""Ideogram 4 reads descriptions of a layout."""
CHARACTER = """Draw a clean, detailed anime picture of what the tags describe. <Prompt Start>
<character_1>
<gender>1boy</gender>
<appearance>short brown hair, round glasses, freckles</appearance>
<clothing>yellow raincoat, rubber boots</clothing>
<action>holding a paper boat over a puddle</action>
</character_1>
<general_tags>
<style>anime style, soft colours</style>
<background>narrow street, rain, evening lights</background>
</general_tags>"""

RECIPES = (
    Recipe(
        name="anima",
        title="Anima",
        template="image_anima_base_v1",
        expect=HALF.format(30),
        load=(
            unet(ANIMA + "diffusion_models/anima-base-v1.0.safetensors"),
            clip("stable_diffusion", ANIMA + "text_encoders/qwen_3_06b_base.safetensors"),
            vae(ANIMA + "vae/qwen_image_vae.safetensors"),
        ),
        prompt=(
            *prompts(
                "masterpiece, best quality, 1girl, red scarf, feeding pigeons on a rooftop at dawn, city below, wind",
                "worst quality, low quality, blurry, jpeg artifacts",
            ),
            size("EmptyLatentImage", 1024, 1024),
        ),
        runs=(Run(sampling=ksampler(30, 4.0)),),
    ),
    Recipe(
        name="flux2_klein",
        title="Flux.2 klein base 4B",
        template="image_flux2_klein_text_to_image",
        expect=HALF.format(20),
        load=(
            unet(KLEIN + "diffusion_models/flux-2-klein-base-4b.safetensors"),
            clip("flux2", KLEIN + "text_encoders/qwen_3_4b.safetensors"),
            vae(FLUX2_VAE),
        ),
        prompt=(
            *prompts("a beekeeper lifts a frame from a hive in a lavender field, evening sun, photograph"),
            size("EmptyFlux2LatentImage", 1024, 1024),
        ),
        runs=(Run(sampling=custom("CFGGuider", 5.0, "euler", size("Flux2Scheduler", 1024, 1024, steps=20))),),
    ),
    Recipe(
        name="ideogram4",
        title="Ideogram 4",
        template="image_ideogram4_t2i",
        expect=HALF.format(20) + " Patch the first model alone: the second one, without a prompt, is pruned with it.",
        load=(
            unet(IDEOGRAM + "ideogram4_fp8_scaled.safetensors"),
            unet(IDEOGRAM + "ideogram4_unconditional_fp8_scaled.safetensors", "model_negative"),
            clip("ideogram4", QWEN3_VL),
            vae(FLUX2_VAE),
        ),
        prompt=(
            # not on the encoder itself, whose text field takes what is in braces for alternatives
            Node("PrimitiveStringMultiline", {"value": json.dumps(POSTER, indent=1)}, title="Prompt"),
            Node("CLIPTextEncode", takes={"text": "STRING"}, gives=("positive",)),
            Node("ConditioningZeroOut", takes={"conditioning": "positive"}, gives=("negative",)),
            size("EmptyFlux2LatentImage", 1024, 1024),
        ),
        runs=(
            Run(
                patches=(Node("CFGOverride", {"cfg": 3.0, "start_percent": 0.7}),),
                sampling=custom("DualModelGuider", 7.0, "euler", size("Ideogram4Scheduler", 1024, 1024, steps=20)),
            ),
        ),
        since="DualModelGuider",
    ),
    Recipe(
        name="z_image",
        title="Z-Image",
        template="image_z_image",
        expect=HALF.format(25),
        load=(
            unet("Comfy-Org/z_image:split_files/diffusion_models/z_image_bf16.safetensors"),
            clip("lumina2", Z_IMAGE + "text_encoders/qwen_3_4b.safetensors"),
            vae(Z_IMAGE + "vae/ae.safetensors"),
        ),
        prompt=(
            *prompts("a ferry leaves a small harbour in the fog, gulls above the rail, analogue photograph"),
            size("EmptySD3LatentImage", 1024, 1024),
        ),
        runs=(Run((shift(3.0),), ksampler(25, 4.0, "res_multistep")),),
    ),
    Recipe(
        name="qwen_image_2512",
        title="Qwen-Image-2512",
        template="image_qwen_Image_2512",
        expect="50 steps: about two fifths are computed.",
        load=(
            unet(QWEN + "diffusion_models/qwen_image_2512_fp8_e4m3fn.safetensors"),
            clip("qwen_image", QWEN + QWEN_VL),
            vae(QWEN + "vae/qwen_image_vae.safetensors"),
        ),
        prompt=(
            *prompts(
                "a baker writes FRESH RYE on a slate in front of a small bakery, early light, photograph", BLURRED
            ),
            size("EmptySD3LatentImage", 1328, 1328),
        ),
        runs=(Run((shift(3.1),), ksampler(50, 4.0)),),
    ),
    Recipe(
        name="hidream_o1",
        title="HiDream-O1",
        template="image_hidream_o1",
        expect=HALF.format(40)
        + " The sampler is dpmpp_2m: of the template's own, dpmpp_2m_sde_gpu, nothing is left out, "
        "as it adds noise and builds on earlier answers; nor beside a node that smooths seams, which repeats calls.",
        load=(checkpoint("Comfy-Org/HiDream-O1-Image:checkpoints/hidream_o1_image_bf16.safetensors"),),
        prompt=(
            *prompts("a glassblower turns a glowing vase in a dark workshop, sparks, shallow depth of field"),
            size("EmptyHiDreamO1LatentImage", 2048, 2048),
        ),
        runs=(Run((Node("ModelNoiseScale", {"noise_scale": 8.0}),), ksampler(40, 5.0, "dpmpp_2m", "normal")),),
        since="EmptyHiDreamO1LatentImage",
    ),
    Recipe(
        name="netayume",
        title="NetaYume Lumina",
        template="image_netayume_lumina_t2i",
        expect=HALF.format(30),
        load=(checkpoint("duongve/NetaYume-Lumina-Image-2.0:NetaYumev35_pretrained_all_in_one.safetensors"),),
        prompt=(
            # the node puts the model's system prompt in front
            Node(
                "CLIPTextEncodeLumina2",
                {"user_prompt": "1girl, straw hat, sitting on a pier, feet in the water, dragonflies, summer, clouds"},
                gives=("positive",),
                title="Positive prompt",
            ),
            prompts("", BLURRED + ", bad anatomy")[1],
            size("EmptySD3LatentImage", 1024, 1024),
        ),
        runs=(Run((shift(4.0),), ksampler(30, 4.0, "res_multistep")),),
    ),
    Recipe(
        name="newbie",
        title="NewBie",
        template="image_newbieimage_exp0_1-t2i",
        expect=HALF.format(20),
        load=(
            unet(NEWBIE + "diffusion_models/NewBie-Image-Exp0.1-bf16.safetensors"),
            clip(
                "newbie",
                NEWBIE + "text_encoders/gemma_3_4b_it_bf16.safetensors",
                NEWBIE + "text_encoders/jina_clip_v2_bf16.safetensors",
            ),
            vae(Z_IMAGE + "vae/ae.safetensors"),
        ),
        prompt=(
            *prompts(CHARACTER, "low quality, blurry, bad anatomy <Prompt Start>"),
            size("EmptySD3LatentImage", 1024, 1536),
        ),
        runs=(Run((shift(6.0),), ksampler(20, 5.5, "res_multistep")),),
        since="DualCLIPLoader newbie",
    ),
    Recipe(
        name="ernie_image",
        title="ERNIE-Image",
        template="image_ernie_image",
        expect=HALF.format(20),
        load=(
            unet(ERNIE + "diffusion_models/ernie-image.safetensors"),
            clip("flux2", ERNIE + "text_encoders/ministral-3-3b.safetensors"),
            vae(ERNIE + "vae/flux2-vae.safetensors"),
        ),
        prompt=(
            *prompts(
                "A hand-drawn map of a small island on aged paper: a lighthouse in the north, a village with red roofs "
                "around the bay, dotted footpaths, a compass rose in the lower corner, labels in careful handwriting."
            ),
            size("EmptyFlux2LatentImage", 1024, 1024),
        ),
        runs=(Run(sampling=ksampler(20, 4.0)),),
    ),
    Recipe(
        name="ovis",
        title="Ovis-Image",
        template="image_ovis_text_to_image",
        expect=HALF.format(20),
        load=(
            unet(OVIS + "diffusion_models/ovis_image_bf16.safetensors"),
            clip("ovis", OVIS + "text_encoders/ovis_2.5.safetensors"),
            vae(Z_IMAGE + "vae/ae.safetensors"),
        ),
        prompt=(
            *prompts("a tea shop's menu board with the words OOLONG, JASMINE and SENCHA, chalk drawings of cups"),
            size("EmptySD3LatentImage", 1024, 1024),
        ),
        runs=(Run((shift(3.0),), ksampler(20, 5.0)),),
        since="CLIPLoader ovis",
    ),
    Recipe(
        name="longcat_image",
        title="LongCat-Image",
        template="image_longcat_text_to_image",
        expect=HALF.format(20),
        load=(
            unet("Comfy-Org/LongCat-Image:split_files/diffusion_models/longcat_image_bf16.safetensors"),
            clip("longcat_image", HUNYUAN + QWEN_VL),
            vae(Z_IMAGE + "vae/ae.safetensors"),
        ),
        prompt=(
            *prompts(
                "an old fisherman mends a net on a stone quay, weathered hands, overcast light, portrait", BLURRED
            ),
            *on_both("FluxGuidance", guidance=4.0),
            size("EmptySD3LatentImage", 1024, 1024),
        ),
        runs=(Run((Node("CFGNorm"),), ksampler(20, 4.0)),),
        since="CLIPLoader longcat_image",
    ),
    Recipe(
        name="lens",
        title="Lens",
        template="image_lens_t2i",
        expect=HALF.format(20),
        load=(
            unet(LENS + "diffusion_models/lens_bf16.safetensors"),
            clip("lens", LENS + "text_encoders/gpt_oss_20b_nvfp4.safetensors"),
            vae(LENS + "vae/flux2-vae.safetensors"),
        ),
        prompt=(
            *prompts("a stone bridge over a mountain stream, ferns and wet moss, first sun on the water, photograph"),
            size("EmptyLatentImage", 1440, 1440),
        ),
        runs=(Run((size("ModelSamplingFlux", 1440, 1440), Node("CFGNorm")), ksampler(20, 5.0)),),
        since="CLIPLoader lens",
    ),
    Recipe(
        name="kandinsky5",
        title="Kandinsky 5 image",
        template="image_kandinsky5_t2i",
        expect=IDLE.format(50),
        load=(
            unet("kandinskylab/Kandinsky-5.0-T2I-Lite:model/kandinsky5lite_t2i.safetensors"),
            clip("kandinsky5_image", HUNYUAN + QWEN_VL, "comfyanonymous/flux_text_encoders:clip_l.safetensors"),
            vae(Z_IMAGE + "vae/ae.safetensors"),
        ),
        prompt=(
            *prompts("a red tram climbs a steep street of pastel houses, laundry between the windows, low sun"),
            size("EmptyLatentImage", 1024, 1024),
        ),
        runs=(Run((shift(3.0, "SD3"),), ksampler(50, 3.5)),),
        since="DualCLIPLoader kandinsky5_image",
    ),
    Recipe(
        name="mage_flow",
        title="Mage-Flow",
        template="image_mage_flow_t2i_int8",
        expect=HALF.format(30),
        load=(
            unet(MAGE + "diffusion_models/mage_flow_int8_convrot.safetensors"),
            clip("mage", MAGE + "text_encoders/qwen3vl_4b_bf16.safetensors"),
            vae(MAGE + "vae/mage_flow_vae_bf16.safetensors"),
        ),
        prompt=(
            # makes the latent too; with a picture it would edit it
            size(
                "TextEncodeMageFlowEdit",
                1024,
                1024,
                prompt="a hot-air balloon with a patchwork hull above terraced fields, morning haze, photograph",
                negative_prompt="",
            ),
        ),
        runs=(Run(sampling=ksampler(30, 5.0)),),
        since="TextEncodeMageFlowEdit",
    ),
)
