"""Prompts of all kinds, made of the host's nodes, and what runs with them are expected to do."""

from graphs.host_graph import IDLE, TOKENS, Build

KNOBS = {"tokens": TOKENS, "idle": IDLE}
PLANNED = {"tokens": "fffppfppfppf", "idle": "fffififififf"}
STEPS = 12
SAME = 1e-4
"""Relative distance of latents that only differ in how the processor rounds; measured up to 1e-6."""
MARGIN = 2
"""How much farther from the latent without CAT Pruning one may be than was measured."""
STARTS = "in full: a conditioning starts in the middle of the run"
LENGTH = "in full: a conditioning changes its length in the middle of the run"
APART = "in full: conditionings are evaluated together in another way than before"


def prompt(graph, seed=1, tokens=7):
    return graph("SmallPrompt", seed=seed, tokens=tokens)


def combined(graph, *prompts):
    both = prompts[0]
    for other in prompts[1:]:
        both = graph("ConditioningCombine", conditioning_1=both, conditioning_2=other)
    return both


def area(graph, of, x, y, width, height, kind="ConditioningSetArea"):
    """A prompt for a part of the picture, in pixels of 128 x 128."""
    place = {"x": x, "y": y, "width": width, "height": height}
    return graph(kind, conditioning=of, strength=0.8, **place)


def mask(graph, x, width):
    """White from ``x`` on, so wide and as high as the picture."""
    white = graph("SolidMask", value=1.0, width=width, height=128)
    black = graph("SolidMask", value=0.0, width=128, height=128)
    return graph("MaskComposite", destination=black, source=white, x=x, y=0, operation="add")


def masked(graph, seed, x, width, where="default"):
    part = {"mask": mask(graph, x, width), "strength": 1.0, "set_cond_area": where}
    return graph("ConditioningSetMask", conditioning=prompt(graph, seed), **part)


def ranged(graph, seed, start, end, tokens=7):
    return graph("ConditioningSetTimestepRange", conditioning=prompt(graph, seed, tokens), start=start, end=end)


def hooks(graph, *keyframes):
    """The LoRA; keyframes are (strength, from this part of the run on)."""
    lora = graph("CreateHookLora", lora_name="of_prompts.safetensors", strength_model=1.0, strength_clip=0.0)
    last = {}
    for strength, start in keyframes:
        last = {"prev_hook_kf": graph("CreateHookKeyframe", strength_mult=strength, start_percent=start, **last)}
    return graph("SetHookKeyframes", hooks=lora, hook_kf=last["prev_hook_kf"]) if last else lora


def hooked(graph, seed, lora, **more):
    inputs = {"cond_NEW": prompt(graph, seed), "strength": 1.0, "set_cond_area": "default", "hooks": lora, **more}
    return graph("ConditioningSetProperties", **inputs)


def pair(graph, *keyframes):
    inputs = {"positive_NEW": prompt(graph, 1), "negative_NEW": prompt(graph, 2), "hooks": hooks(graph, *keyframes)}
    both = graph("PairConditioningSetProperties", strength=1.0, set_cond_area="default", **inputs)
    return {"positive": both, "negative": both[1]}


def hooked_part(graph):
    """A LoRA, a mask and a part of the run for one prompt beside another."""
    inputs = {"cond": prompt(graph, 1), "cond_NEW": prompt(graph, 5), "hooks": hooks(graph)}
    when = graph("ConditioningTimestepsRange", start_percent=0.0, end_percent=0.5)
    where = {"mask": mask(graph, 0, 64), "strength": 0.7, "set_cond_area": "mask bounds"}
    return graph("ConditioningSetPropertiesAndCombine", timesteps=when, **where, **inputs)


def rest_of_the_picture(graph, **lora):
    """A prompt wherever no other one is."""
    left, rest = masked(graph, 1, 0, 64), prompt(graph, 5)
    return graph("ConditioningSetDefaultCombine", cond=left, cond_DEFAULT=rest, **lora)


def mixed(graph, kind, **more):
    return graph(kind, conditioning_to=prompt(graph, 1), conditioning_from=prompt(graph, 5, tokens=9), **more)


def whole_run(prompts) -> Build:
    """A graph that samples with ``prompts(graph)``: the positive one, or inputs of the sampler by name."""

    def build(graph, cat):
        model, given = cat(graph("SmallModel")), prompts(graph)
        given = given if isinstance(given, dict) else {"positive": given}
        return model, graph.ksampler(model, steps=STEPS, **given)

    return build
