"""Given pictures, changed as a text says."""

from tools.recipes.parts import (
    HALF,
    HUNYUAN,
    IDLE,
    QWEN,
    QWEN3_VL,
    QWEN_VL,
    Node,
    Recipe,
    Run,
    clip,
    given_picture,
    ksampler,
    shift,
    size_of_picture,
    unet,
    vae,
)

EDIT_2511 = "Comfy-Org/Qwen-Image-Edit_ComfyUI:split_files/diffusion_models/qwen_image_edit_2511_fp8mixed.safetensors"
BOOGU = "Comfy-Org/Boogu-Image:diffusion_models/boogu_image_edit_fp8_scaled.safetensors"
JOY = "Comfy-Org/JoyAI-Image-Edit:"


def _encoders(kind: str, text: str, picture: str) -> tuple[Node, Node]:
    """One for each conditioning; both see the picture."""
    takes = {"vae": "VAE", picture: "IMAGE"}
    return (
        Node(kind, {"prompt": text}, takes, ("positive",), title="What to change"),
        Node(kind, {"prompt": ""}, takes, ("negative",), title="Negative prompt"),
    )


def _on(role: str) -> Node:
    method = {"reference_latents_method": "index_timestep_zero"}
    return Node("FluxKontextMultiReferenceLatentMethod", method, {"conditioning": role}, (role,))


RECIPES = (
    Recipe(
        name="qwen_image_edit_2511",
        title="Qwen-Image-Edit-2511",
        template="image_qwen_image_edit_2511",
        expect=IDLE.format(40),
        load=(
            unet(EDIT_2511),
            clip("qwen_image", HUNYUAN + QWEN_VL),
            vae(QWEN + "vae/qwen_image_vae.safetensors"),
            *given_picture(Node("FluxKontextImageScale")),
        ),
        prompt=(
            *_encoders(
                "TextEncodeQwenImageEditPlus", "make it winter, with fresh snow; keep everything else", "image1"
            ),
            _on("positive"),
            _on("negative"),
            Node("VAEEncode"),
        ),
        runs=(Run((shift(3.1), Node("CFGNorm")), ksampler(40, 4.0)),),
    ),
    Recipe(
        name="firered_edit",
        title="FireRed-Image-Edit 1.1",
        template="image_firered_image_edit1_1",
        expect=HALF.format(40),
        load=(
            unet("FireRedTeam/FireRed-Image-Edit-1.1-ComfyUI:FireRed-Image-Edit-1.1-transformer.safetensors"),
            clip("qwen_image", HUNYUAN + QWEN_VL),
            vae("FireRedTeam/FireRed-Image-Edit-1.0-ComfyUI:qwen_image_vae.safetensors"),
            *given_picture(Node("FluxKontextImageScale")),
        ),
        prompt=(
            *_encoders("TextEncodeQwenImageEditPlus", "turn it into a pencil drawing on rough paper", "image1"),
            Node("VAEEncode"),
        ),
        runs=(Run((shift(3.1), Node("CFGNorm")), ksampler(40, 4.0)),),
    ),
    Recipe(
        name="boogu_edit",
        title="Boogu-Image edit",
        template="image_boogu_image_0_1_edit",
        expect=HALF.format(25),
        load=(
            unet(BOOGU),
            clip("boogu", QWEN3_VL),
            vae("Comfy-Org/HiDream-I1_ComfyUI:split_files/vae/ae.safetensors"),
            *given_picture(Node("ImageScaleToTotalPixels", {"upscale_method": "lanczos"})),
        ),
        prompt=(
            Node(
                "TextEncodeBooguEdit",
                {"prompt": "make the sky a starry night", "negative_prompt": ""},
                {"images": "IMAGE"},
                title="What to change",
            ),
            *size_of_picture("EmptyLatentImage"),
        ),
        runs=(Run((shift(3.16),), ksampler(25, 3.5, "dpmpp_2m")),),
        since="TextEncodeBooguEdit",
    ),
    Recipe(
        name="joyimage_edit",
        title="JoyAI-Image-Edit",
        template="image_joyai_image_edit",
        expect=HALF.format(40),
        load=(
            unet(JOY + "diffusion_models/joyai_image_edit_int8_convrot.safetensors"),
            clip("joyimage", JOY + "text_encoders/qwen3vl_8b_joyimage_edit_int8_convrot.safetensors"),
            vae(JOY + "vae/wan_2.1_vae.safetensors"),
            *given_picture(Node("ImageScaleToTotalPixels", {"resolution_steps": 16})),
        ),
        prompt=(
            *_encoders("TextEncodeJoyImageEdit", "put it into a meadow full of poppies", "images"),
            *size_of_picture("EmptySD3LatentImage"),
        ),
        runs=(Run((Node("CFGNorm", {"pre_cfg": True}),), ksampler(40, 4.0, "euler", "normal")),),
        since="TextEncodeJoyImageEdit",
    ),
)
