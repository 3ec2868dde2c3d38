"""A policy as a Hugging Face folder: config.json, model.safetensors, preprocessor and tokenizer.

Written under a temporary name and renamed, so a folder that exists is complete.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from thinkvla import __version__
from thinkvla.backbones.adapters import adapter_state, merged
from thinkvla.backbones.build import FAMILIES, Attention, restore_backbone
from thinkvla.files import new_folder
from thinkvla.method.config import MethodConfig
from thinkvla.method.policy import ThinkVLA
from thinkvla.preprocessor import Preprocessor
from thinkvla.shipped import find_model

MODEL_TYPE = "thinkvla"
ADAPTERS = "adapters.safetensors"


def save_checkpoint(folder: Path, policy: ThinkVLA, preprocessor: Preprocessor) -> None:
    """Write ``folder``, which must not exist.

    Raises:
        ValueError: it does; nothing is overwritten.
    """
    with new_folder(folder) as partial:
        write_policy(partial, policy, preprocessor)


def write_policy(
    folder: Path, policy: ThinkVLA, preprocessor: Preprocessor, weights: dict[str, torch.Tensor] | None = None
) -> None:
    """Write the policy's files into an existing folder (not atomic: see ``save_checkpoint``).

    ``weights`` are its tensors by name, each storage once, for a policy whose own are spread over processes.
    Adapters of its training are merged into the weights they stand beside: the folder acts without them.
    """
    model: Any = policy.backbone
    backbone = json.loads(model.model.config.to_json_string(use_diff=False))
    backbone.pop("_name_or_path", None)  # a path on the machine that trained it
    config = {
        "model_type": MODEL_TYPE,
        "architectures": ["ThinkVLA"],
        "thinkvla_version": __version__,
        "method": asdict(policy.config),
        "backbone": {"family": backbone["model_type"], "config": backbone},
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    tensors = _acting(policy, _stored(policy) if weights is None else weights)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    preprocessor.save(folder)


def load_checkpoint(folder: Path | str, attention: Attention = "sdpa") -> tuple[ThinkVLA, Preprocessor]:
    """Read a policy in evaluation mode, and its preprocessor, from a folder or by the name of a shipped policy.

    Raises:
        ValueError: the folder is not a thinkvla checkpoint, or its weights are of another architecture.
    """
    folder = find_model(folder)
    config, method = _read(folder)
    preprocessor = Preprocessor.load(folder, method)
    prompts = preprocessor.prompts
    backbone = restore_backbone(config["backbone"]["family"], config["backbone"]["config"], attention)
    policy = ThinkVLA(backbone, method, tuple(prompts.anchor), tuple(prompts.queries))
    load_weights(policy, folder / "model.safetensors")
    return policy.eval(), preprocessor


def load_method(folder: Path | str) -> MethodConfig:
    """The method of a policy, without its weights; raises ValueError as :func:`load_checkpoint` does."""
    return _read(find_model(folder))[1]


def _read(folder: Path) -> tuple[dict[str, Any], MethodConfig]:
    path = folder / "config.json"
    if not path.is_file():
        raise ValueError(f"{path} is missing: '{folder}' is not a checkpoint folder")
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if config.get("model_type") != MODEL_TYPE:
        raise ValueError(
            f"{path}: model_type is '{config.get('model_type')}', expected '{MODEL_TYPE}'; this checkpoint is of "
            "another architecture. A plain vision-language model goes into a recipe as its backbone"
        )
    family = config["backbone"]["family"]
    if family not in FAMILIES:
        raise ValueError(f"{path}: backbone family '{family}' is unknown; this version knows {', '.join(FAMILIES)}")
    return config, method_config(config["method"], str(path))


def write_adapters(folder: Path, weights: Mapping[str, torch.Tensor]) -> None:
    """Write what training needs beside the policy's own files to go on: the adapters among its tensors, if any."""
    adapters = adapter_state(weights)
    if adapters:
        save_file(adapters, folder / ADAPTERS)


def load_adapters(folder: Path, policy: ThinkVLA, weights: Path) -> None:
    """Fill the adapters of a policy in training with what :func:`write_adapters` wrote.

    Args:
        folder: where they were written.
        policy: made from the same backbone, with the same adapters; unchanged if it has none.
        weights: weights file of the policy that was saved with them, adapters merged in.

    Raises:
        ValueError: they are missing or others, or the frozen weights are not those they were trained beside.
    """
    expected = adapter_state(_stored(policy))
    if not expected:
        return
    path = folder / ADAPTERS
    found = load_file(path) if path.is_file() else {}
    if {n: t.shape for n, t in found.items()} != {n: t.shape for n, t in expected.items()}:
        raise ValueError(f"{path} is missing or holds adapters of another configuration; the run cannot be resumed")
    policy.load_state_dict(found, strict=False)
    saved = load_file(weights)
    own = policy.state_dict().keys()
    for name, tensor in _acting(policy, _stored(policy)).items():
        if name not in own and not torch.allclose(tensor, saved[name].to(tensor.device), rtol=1e-5, atol=1e-6):
            raise ValueError(
                f"{path}: with these adapters '{name}' is not what {weights} holds, so the backbone is not the one the "
                "run began with; give back that model (or its revision)"
            )


def load_weights(policy: ThinkVLA, path: Path) -> None:
    """Fill ``policy`` from a weights file; raises ValueError naming the first tensor that does not fit.

    Weights with adapters beside them stay as they are: the file holds them merged (see :func:`load_adapters`).
    """
    if not path.is_file():
        raise ValueError(f"{path} is missing: the checkpoint has no weights")
    expected, own = _acting(policy, _stored(policy)), policy.state_dict()
    with safe_open(path, framework="pt") as file:
        found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        for name in sorted(set(found) ^ set(expected)):
            problem = "is missing" if name in expected else "is not part of this architecture"
            raise ValueError(f"{path}: '{name}' {problem}; the weights are of another architecture than config.json")
        for name, tensor in expected.items():
            if found[name] != tuple(tensor.shape):
                raise ValueError(
                    f"{path}: '{name}' has shape {found[name]}, expected {tuple(tensor.shape)}; the "
                    "weights are of another architecture than config.json"
                )
        with torch.no_grad():  # one tensor at a time: large weights need no second copy
            for name in found.keys() & own.keys():
                own[name].copy_(file.get_tensor(name))


def method_config(values: Mapping[str, Any], source: str) -> MethodConfig:
    """A MethodConfig from plain values; raises ValueError naming an unknown key and the nearest known one."""
    known = [field.name for field in fields(MethodConfig)]
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else f"; known keys: {known}"
            raise ValueError(f"{source}: unknown key 'method.{key}'{hint}")
    return MethodConfig(**values)


def fingerprint(folder: Path | str) -> str:
    """SHA-256 (first 16 hex digits) over a checkpoint's configuration, preprocessor and weights."""
    digest = hashlib.sha256()
    for path in sorted(find_model(folder).iterdir()):
        if path.suffix in (".json", ".safetensors"):
            digest.update(path.name.encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _acting(policy: ThinkVLA, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors of the policy that acts: adapters merged."""
    return {name: tensor.contiguous() for name, tensor in merged(policy, weights).items()}


def _stored(policy: ThinkVLA) -> dict[str, torch.Tensor]:
    """The policy's own tensors, each storage once: an output head tied to the embedding is left out."""
    seen: set[int] = set()
    tensors: dict[str, torch.Tensor] = {}
    for name, tensor in policy.state_dict().items():
        if tensor.data_ptr() not in seen:
            seen.add(tensor.data_ptr())
            tensors[name] = tensor
    return tensors
