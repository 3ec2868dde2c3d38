"""The fast way of acting gives what the plain one gives: prompts planned once, other shapes, recorded passes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from published import write_published
from tiny_models import EMBODIMENT, INSTRUCTIONS, build, observation, with_switches
from torch import Tensor

from thinkvla.acting import KEPT_SHAPES, TOLERANCE, FixedPolicy, Recorded
from thinkvla.backbones.build import Attention, BackboneConfig, build_backbone
from thinkvla.contract import ContractError, Embodiment, Observation
from thinkvla.deploy import DeployedPolicy, load_policy
from thinkvla.method.config import MethodConfig
from thinkvla.method.policy import ThinkVLA
from thinkvla.method.prompts import ACTION_PROMPT, REASONING_PROMPT, Prompt, new_tokens
from thinkvla.preprocessor import ActionNormalizer, Preprocessor
from thinkvla.pretrained import ThinkVLA as Pretrained
from thinkvla.shipped import POLICIES, shipped_models

SHIPPED = sorted(name for name, folder in shipped_models().items() if folder.parent == POLICIES)
SEEN = [observation(text, seed) for seed, text in enumerate(INSTRUCTIONS)]


def plain(policy: ThinkVLA, preprocessor: Preprocessor, seen: list[Observation]) -> Tensor:
    """The reference: the method's own pass over prompts and pixels prepared for this call alone."""
    return policy.act(preprocessor.act_tokens(seen))


def fast(policy: DeployedPolicy, seen: list[Observation]) -> Tensor:
    return policy.run(policy.prepare(seen))


def published(folder: Path, family: str, image_size: tuple[int, int] = (96, 96)) -> tuple[ThinkVLA, Preprocessor]:
    """A random policy on a backbone as it is published, for views of any size."""
    write_published(folder, family)
    config = MethodConfig(vision_block=1, geometry_dim=24, pooling="attention", branch_dropout=0.0)
    parts = build_backbone(BackboneConfig(str(folder)), new_tokens(config))
    embodiment = Embodiment.from_dict(EMBODIMENT.to_dict() | {"image_size": list(image_size)})
    normalizer = ActionNormalizer("min_max", (-1.0,) * 7, (1.0,) * 7)
    texts = (ACTION_PROMPT, REASONING_PROMPT)
    preprocessor = Preprocessor(embodiment, config, normalizer, parts.tokenizer, parts.image_processor, *texts)
    prompts = preprocessor.prompts
    return ThinkVLA(parts.backbone, config, tuple(prompts.anchor), tuple(prompts.queries)).eval(), preprocessor


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_policies_act_bit_for_bit_as_before(name: str) -> None:
    policy = load_policy(name, "cpu")
    for seen in (SEEN[:1], SEEN[1:], SEEN[:1]):
        expected = plain(policy.policy, policy.preprocessor, seen)
        assert torch.equal(fast(policy, seen), expected)
        chunks = policy.preprocessor.action_chunks(expected)
        for chunk, other in zip(policy.act(seen), chunks, strict=True):
            np.testing.assert_array_equal(chunk.actions, other.actions)


@pytest.mark.parametrize(
    ("switches", "attention"),
    [
        ({}, "sdpa"),
        ({}, "eager"),
        ({"anchor_tokens": 3, "fusion": "gate"}, "sdpa"),
        ({"reasoning_anchor": False}, "sdpa"),
        ({"geometry_adapter": False}, "sdpa"),
    ],
    ids=["R7", "explicit attention", "three anchors, gate", "R5", "without geometry"],
)
def test_every_switch_of_the_method_acts_alike(switches: dict[str, Any], attention: Attention) -> None:
    policy, preprocessor = build(with_switches(**switches), attention)
    deployed = DeployedPolicy(policy, preprocessor)
    for seen in (SEEN, SEEN[:1]):
        assert torch.equal(fast(deployed, seen), plain(policy, preprocessor, seen))


@pytest.mark.parametrize("family", ["qwen3_vl", "qwen2_5_vl"])
def test_published_families_act_alike(tmp_path: Path, family: str) -> None:
    """Qwen2.5-VL's windows put the patches in an order of their own."""
    policy, preprocessor = published(tmp_path / "model", family)
    deployed = DeployedPolicy(policy, preprocessor)
    for seen in (SEEN, SEEN[:1]):
        assert torch.equal(fast(deployed, seen), plain(policy, preprocessor, seen))


@pytest.mark.parametrize("size", [(96, 96), (84, 84), (120, 90)])
@pytest.mark.parametrize("crop", [1.0, 0.81])
def test_views_are_the_image_processors_pixels(tmp_path: Path, size: tuple[int, int], crop: float) -> None:
    """Views that it resizes too, cropped first."""
    policy, preprocessor = published(tmp_path / "model", "qwen3_vl", size)
    preprocessor.crop = crop
    rng = np.random.default_rng(0)
    seen = [Observation({c: rng.integers(0, 256, (*size, 3), dtype=np.uint8) for c in EMBODIMENT.cameras}, "lift it")]
    network = FixedPolicy(policy, preprocessor)
    shown = preprocessor.views(seen)
    tokens = preprocessor.act_tokens(seen)
    assert shown.shape == (2, *preprocessor.view_size, 3)
    assert tokens.pixels is not None
    kept = size == preprocessor.view_size  # else the processor normalizes in float64, which differs in the last bit
    patches = network.patches(torch.from_numpy(shown))
    torch.testing.assert_close(patches, tokens.pixels, rtol=0, atol=0.0 if kept else 2e-7)
    torch.testing.assert_close(network(shown, ["lift it"]), policy.act(tokens), rtol=0, atol=0.0 if kept else 1e-5)


def test_instructions_are_tokenized_once(monkeypatch: pytest.MonkeyPatch) -> None:
    policy, preprocessor = build()
    deployed = DeployedPolicy(policy, preprocessor)
    written: list[str] = []
    action = preprocessor.prompts.action

    def write(text: str, sizes: list[int]) -> Prompt:
        written.append(text)
        return action(text, sizes)

    monkeypatch.setattr(preprocessor.prompts, "action", write)
    for seen in (SEEN[:1], SEEN[:2], [SEEN[1], SEEN[0]], SEEN[:1]):
        deployed.act(seen)
    assert written == INSTRUCTIONS[:2]


def test_prepared_observations_are_independent() -> None:
    """A server prepares the next observation while the last one is still to be run."""
    deployed = DeployedPolicy(*build())
    first, second = deployed.prepare(SEEN[:1]), deployed.prepare(SEEN[1:2])
    expected = [fast(deployed, [seen]) for seen in SEEN[:2]]
    assert torch.equal(deployed.run(first), expected[0])
    assert torch.equal(deployed.run(second), expected[1])


def again(run: Callable[[], Tensor]) -> tuple[Callable[[], object], Tensor]:
    """What recording a CUDA graph gives, on a CPU: the same pass over the same buffers, into the same tensor."""
    written = run()
    return lambda: written.copy_(run()), written


def test_a_recorded_pass_takes_new_pixels_and_instructions() -> None:
    policy, preprocessor = build()
    network = FixedPolicy(policy.eval(), preprocessor)
    network.step = 16  # as with CUDA graphs: prompts of different lengths have one shape
    recorded = Recorded(network.run, again)
    passes = []
    with torch.inference_mode():
        for seen in (SEEN[:1], SEEN[1:2], [observation(INSTRUCTIONS[1], 9)], SEEN[:1], SEEN, SEEN[:1]):
            images = torch.from_numpy(preprocessor.views(seen))
            passes.append((recorded(images, network.plan(tuple(o.instruction for o in seen))), seen))
    assert len(recorded.kept) == 2, "one recording for each number of observations"
    for actions, seen in passes:  # none was changed by a later one
        torch.testing.assert_close(actions, plain(policy, preprocessor, seen), rtol=0, atol=1e-5)


def test_old_recordings_are_dropped() -> None:
    policy, preprocessor = build()
    network = FixedPolicy(policy.eval(), preprocessor)
    plan = network.plan(("lift it",))
    recorded = Recorded(lambda images, plan: images.sum(), again)
    for views in (*range(1, KEPT_SHAPES + 1), 1, KEPT_SHAPES + 1):
        assert recorded(torch.ones(views), plan) == views
    kept = sorted(images[0] for images, _ in recorded.kept)
    assert kept == [1, *range(3, KEPT_SHAPES + 2)], "the one used longest ago goes"


def test_the_pass_is_one_graph(tmp_path: Path) -> None:
    """torch.compile finds nothing that it cannot trace; another instruction of that length is no new graph."""
    torch.compiler.reset()
    policy, preprocessor = published(tmp_path / "model", "qwen3_vl")
    network = FixedPolicy(policy, preprocessor, "compile")
    graphs: list[object] = []

    def count(graph: Any, inputs: list[Tensor]) -> Any:
        graphs.append(graph)
        return graph.forward

    network.run = torch.compile(network._run, fullgraph=True, dynamic=False, backend=count)
    for text, seed in (("lift it", 0), ("push it", 1)):
        seen = observation(text, seed)
        actions = network(preprocessor.views([seen]), [text])
        torch.testing.assert_close(actions, plain(policy, preprocessor, [seen]), rtol=0, atol=TOLERANCE)
    assert len(graphs) == 1
    torch.compiler.reset()


def test_bfloat16_is_near_and_leaves_the_head_exact() -> None:
    policy, preprocessor = build()
    expected = plain(policy.eval(), preprocessor, SEEN)
    deployed = DeployedPolicy(policy, preprocessor, precision="bfloat16")
    network: Any = policy.backbone
    assert {p.dtype for p in network.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in policy.action_head.parameters()} == {torch.float32}
    assert network.model.model.language_model.rotary_emb.inv_freq.dtype == torch.float32
    torch.testing.assert_close(fast(deployed, SEEN), expected, rtol=0, atol=0.1)


def test_what_is_not_to_be_had_is_said() -> None:
    with pytest.raises(ValueError, match="speed is graph, which records CUDA graphs, but the policy is on 'cpu'"):
        DeployedPolicy(*build(), speed="graph")
    with pytest.raises(ValueError, match="speed is compile, but attention is eager, which needs a mask"):
        DeployedPolicy(*build(attention="eager"), speed="compile")
    with pytest.raises(ContractError, match="camera 'wrist' is missing"):
        DeployedPolicy(*build()).prepare([Observation({"front": SEEN[0].images["front"]}, "lift it")])


def test_from_pretrained_takes_the_precision() -> None:
    policy: Any = Pretrained.from_pretrained("tabletop_r1", device="cpu", precision="bfloat16")
    assert policy.policy.backbone.model.dtype == torch.bfloat16
    assert np.isfinite(policy.act(SEEN[:1])[0].actions).all()
