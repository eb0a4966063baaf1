"""Rivals get at the demo model by adapters that change nothing, and their cost is counted right."""

from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from bench.methods import EASY, Method, methods, target
from bench.metrics import relative_error
from bench.rivals import CACHE_DIT, EASY_CACHE, CacheDiT, Wrapped, WrappedTransformer
from bench.tasks import RIVALS
from cat_core.host.demo import LATENT_CHANNELS, MAX_WORDS, WIDTH
from cat_core.settings import CATSettings

pytestmark = pytest.mark.usefixtures("as_the_host_runs_nodes")
STEPS, SIDE = 12, 16
BOTH = {"transformer_options": {"cond_or_uncond": [1, 0]}}


def sampled(host, **knobs):
    return host.sample(Method("tested", "tests", STEPS, **knobs), "euler", "red apple on blue", 1)


@pytest.fixture(scope="module")
def full(host):
    with torch.inference_mode():
        return host.sample(target(STEPS), "euler", "red apple on blue", 1)


def arguments(height=SIDE, width=SIDE):
    """Latents of two conditionings, times, context and pooled text."""
    random = torch.Generator().manual_seed(0)
    latents = torch.randn(2, LATENT_CHANNELS, height, width, generator=random)
    context, pooled = (torch.randn(2, *shape, WIDTH, generator=random) for shape in ([MAX_WORDS], []))
    return latents, torch.tensor([900.0, 130.5]), context, pooled


def test_rivals_are_chosen_by_their_groups(monkeypatch):
    for installed in (True, False):
        monkeypatch.setattr("bench.methods.is_installed", lambda there=installed: there)
        table = methods(28, RIVALS)
        rivals = [method for method in table if method.group.startswith(f"{RIVALS.name}/")]
        assert len(rivals) == len(EASY_CACHE) + sum(map(len, CACHE_DIT.values())) * installed
        assert len({method.name for method in table}) == len(table)


class TestEasyCache:
    def test_the_picture_is_the_hosts_where_nothing_is_skipped(self, host, full):
        sample = sampled(host, cache=(EASY, 0.0), rival=Wrapped())
        assert torch.equal(sample.latent, full.latent)
        assert sample.macs == full.macs

    def test_a_large_threshold_skips_whole_steps(self, host, full):
        sample = sampled(host, cache=(EASY, 3.0), rival=Wrapped())
        assert sample.macs < full.macs
        assert sample.macs * STEPS % full.macs == 0
        assert not torch.equal(sample.latent, full.latent)

    def test_what_a_wrapper_does_to_its_input_stays_with_it(self, host):
        """EasyCache adds to its input in place."""
        latents, times, context, pooled = arguments()
        adapter = WrappedTransformer(host.model.get_model_object("diffusion_model"))
        options = {"wrappers": {"diffusion_model": {"test": [lambda executor, x, *rest: x.add_(1)]}}}
        output = adapter(latents.clone(), times, context, pooled, transformer_options=options)
        again = latents.clone()
        assert torch.equal(adapter(again, times, context, pooled, transformer_options=options), output)
        assert torch.equal(again, latents)
        assert adapter.macs == 0

    def test_a_rival_leaves_nothing_on_the_model(self, host, full):
        pruned = {"settings": CATSettings(warmup_steps=2, keep_ratio=0.5, pruned_interval=1)}
        before = sampled(host, **pruned)
        sampled(host, cache=(EASY, 3.0), rival=Wrapped())
        after = sampled(host, **pruned)
        assert torch.equal(after.latent, before.latent)
        assert (after.macs, after.note) == (before.macs, before.note)
        assert torch.equal(sampled(host).latent, full.latent)

    def test_rows_of_the_node_without_the_adapter_still_count(self):
        plain = Method("EasyCache", EASY, 28, None, (EASY, 0.2))
        assert plain.recipe() == '[28, null, ["EasyCache", 0.2]]'
        assert replace(plain, rival=Wrapped()).recipe() != plain.recipe()


class TestCacheDiT:
    @pytest.fixture(autouse=True)
    def adapters(self):
        pytest.importorskip("cache_dit")
        pytest.importorskip("diffusers")
        import bench.rivals_diffusers

        return bench.rivals_diffusers

    @pytest.mark.parametrize("size", [(16, 16), (16, 24), (64, 64)])
    def test_diffusers_model_computes_what_the_hosts_does(self, host, adapters, size):
        latents, times, context, pooled = arguments(*size)
        transformer = host.model.get_model_object("diffusion_model")
        expected = transformer(latents, times, context, pooled)
        found = adapters.convert(transformer)(latents, context, pooled, times, return_dict=False)[0]
        assert relative_error(found, expected) < 1e-5

    def test_all_is_computed_at_threshold_zero(self, host, full):
        sample = sampled(host, rival=CacheDiT(0.0))
        assert relative_error(sample.latent, full.latent) < 1e-4
        assert sample.macs == full.macs

    def test_steps_are_left_out_but_for_their_first_block(self, host, full):
        sample = sampled(host, rival=CacheDiT(1.0, warmup=STEPS - 1))
        blocks = 6
        assert 1 - 1 / STEPS < sample.macs / full.macs < 1 - (1 - 1.5 / blocks) / STEPS
        assert sampled(host, rival=CacheDiT(1.0, first=2, warmup=STEPS - 1)).macs > sample.macs

    @pytest.mark.parametrize("first", [1, 3])
    def test_macs_are_those_of_the_operations(self, host, adapters, first):
        transformer = host.model.get_model_object("diffusion_model")
        adapter = adapters.CachedTransformer(transformer, CacheDiT(1.0, first, warmup=1), STEPS)
        for _ in ("in full", "left out"):
            adapter.macs = 0
            # torch counts attention where it is made of products
            with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
                adapter(*arguments(), **BOTH)
            assert counter.get_total_flops() == 2 * adapter.macs

    def test_every_run_begins_anew(self, host):
        one, other = (sampled(host, rival=CacheDiT(0.2, warmup=2, order=1)) for _ in range(2))
        assert torch.equal(one.latent, other.latent)
        assert one.macs == other.macs

    def test_taylorseer_gives_other_pictures_at_the_same_cost_where_steps_are_given(self, host):
        settings = CacheDiT(1.0, warmup=4, gap=1)
        hold, forecast = (sampled(host, rival=replace(settings, order=order)) for order in (0, 1))
        assert hold.macs == forecast.macs
        assert not torch.equal(hold.latent, forecast.latent)

    def test_masks_leave_out_more_from_slow_to_fast(self, host, full):
        costs = [sampled(host, rival=CacheDiT(1.0, mask=mask)).macs for mask in ("fast", "slow")]
        assert costs[0] < costs[1] < full.macs

    def test_conditionings_in_calls_of_their_own_are_refused(self, host, adapters):
        transformer = host.model.get_model_object("diffusion_model")
        adapter = adapters.CachedTransformer(transformer, CacheDiT(0.1), STEPS)
        with pytest.raises(RuntimeError, match="one call"):
            adapter(*arguments(), transformer_options={"cond_or_uncond": [0]})

    def test_a_recipe_names_settings_and_versions(self):
        recipe = Method("x", "y", 28, rival=CacheDiT(0.1)).recipe()
        assert "threshold=0.1" in recipe
        assert "cache_dit 1." in recipe
        assert Method("x", "y", 28, rival=CacheDiT(0.1, order=1)).recipe() != recipe
