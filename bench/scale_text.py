"""What ``docs/scale.md`` says that is not computed."""

OPENING = """# Several GPUs, on paper

What a step takes on several GPUs, where caches lie, and what pruned and idle steps leave of it. This page is
arithmetic, computed by `make bench-scale`: **nothing on it was run**. How far it is from what others measured stands
[below](#predicted-and-measured)."""
SERVED = """| Engine | Idle steps | Pruned steps | Note |
|---|---|---|---|
| One GPU | yes | yes | |
| ComfyUI's MultiGPU CFG Split | yes | yes | keys and values stay on the GPU of their conditioning |
| Raylight, data parallel | yes | yes | every GPU has a run of its own |
| Raylight, CFG parallel | yes | idle ones in their place | a GPU sees one conditioning of a batch of two |
| Raylight, sequence parallel (Ulysses, ring) | yes | idle ones in their place | a GPU sees a part of the tokens |
| Raylight, FSDP | yes | idle ones in their place | all must compute the same blocks |
| PipeFusion | no | no | refused: a step answers with parts of the step before |"""
INPUTS = """P is in billions, L and A in T for one conditioning. Widths and depths are those of [families](families.md);
heads are 128 wide. What the letters stand for: [formulas](#formulas)."""
SYMBOLS = """- T: seconds of a step; n: GPUs; C: conditionings of a step, two with CFG, one where guidance is distilled.
- Of the model: L and A, the multiply-accumulates of linear layers and of attention for one conditioning, as the pack
  [counts](families.md) them; P: parameters; b: bytes of one; B: blocks; N: tokens, image and text; d: width.
- Of the GPU: F, operations a second (a multiply-accumulate is two); e_l and e_a: shares that matrix products and
  attention reach; M: bytes a second of its memory.
- Of the link, each way: W, bytes a second to one neighbour; X, the same where all send to all; D, seconds of a call.
- Of a run: f and p, full and pruned steps.

With these:"""
LINKS = """The share of a step that GPUs wait for the link with Ulysses; *a tenth*: the X with which that were a tenth
of the computing; *weights*: how long FSDP gathers them at every call."""
CACHES = """GiB on every GPU: weights of 16 bit, and keys and values of preset *balanced*, 16 bit / float8. Where they
do not fit, the pack takes float8, then system RAM, then idle steps. Idle steps keep no keys and values. Where guidance
is distilled, CFG split uses one GPU."""
UNFIT_STEP = "\\*: the weights alone do not fit on such a GPU."
UNFIT_RUN = """\\*: the weights, or with *balanced* these and caches of float8, do not fit on such a GPU. The pack then
keeps caches in system RAM, or takes idle steps. Activations come on top."""
MEASURED = """Seconds a step, published runs divided by their steps; with an x, so many times as fast as one GPU.
*Off*: what is predicted too much. A reason stands where that is more than {close:.0%}. Where sources are silent, this
is assumed: FlashAttention-2 for xDiT and vLLM-Omni, FlashAttention-3 for SGLang and LightX2V; CFG for Qwen-Image; an
H100 for Flux.2; 50 steps for SGLang's pictures; Raylight's speeds are seconds a step. LightX2V made a video of an
image, which takes a little more."""
LIMITS = """A prediction is a bound more than a promise. Most are too low, since only what the formulas name is counted:

- **Whole runs** were timed by most: text, decoding and the first call are in their seconds, and more GPUs do not
  make them less.
- **Short steps** wait for the CPU that starts kernels: the fewer tokens a GPU has, the more.
- **Ring** computes attention in pieces and merges them. That is not counted, and it grows with n. So ring stands
  better here than where it was measured.
- **Matrix products** are taken at 70% of the peak on H100, H200 and B200. That share, which attention xDiT ran, and the
  source for *all to all* were chosen with these times in sight: that they agree is in part made so.
- **All to all** is known from one measurement on NVLink 5. Other NVLinks are taken to be as good in proportion.
- **Wan at 480p on an H200** is 2.7 times as fast as at 720p by its source, and has 3.9 times fewer
  multiply-accumulates: no one efficiency meets both.
- **The pack's own work**, choosing tokens and renewing keys and values, is not counted: [speed](speed.md) measures it.
- **ComfyUI** itself adds what it moves and waits for; of all these figures only those of its split
  and of Raylight are from it.

Ratios between rows are worth more than seconds."""
