"""The one road from observations to tensors and back, shared by training, evaluation and serving.

The same object prepares training batches and deployed observations and is saved inside the checkpoint: image
pipeline, normalization with its statistics, and prompt texts. A policy cannot be trained one way and served another.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from torch import Tensor

from thinkvla.contract import ActionChunk, Embodiment, Image, Normalization, Observation
from thinkvla.crops import check_area, cropped, middle_window
from thinkvla.method.batch import LENGTH_STEP, QuestionBatch, RobotBatch, Tokens, labelled_batch, pad_prompts
from thinkvla.method.config import MethodConfig
from thinkvla.method.prompts import Prompt, Prompts
from thinkvla.patches import Patches
from thinkvla.points import CODE_SIZE, point_codes
from thinkvla.question_packing import packed_batch

FILE = "thinkvla_preprocessor.json"
_BOUNDS = {"min_max": ("min", "max"), "quantile": ("q01", "q99")}


@dataclass(frozen=True)
class ActionNormalizer:
    """Maps actions to [−1, 1] per dimension and back.

    Attributes:
        mode: where the bounds come from: the data's smallest and largest value, its 1 % and 99 % quantiles, or the
            range of the embodiment (for actions that are commands in [−1, 1] already; a dimension that hardly moves
            is then not blown up).
        low: lower bound per dimension.
        high: upper bound per dimension.
        raw: dimensions left as they are (the gripper).
    """

    mode: Normalization
    low: tuple[float, ...]
    high: tuple[float, ...]
    raw: tuple[int, ...] = (6,)

    @staticmethod
    def of(
        mode: Normalization,
        statistics: Mapping[str, NDArray[np.float64]],
        embodiment: Embodiment,
        raw: tuple[int, ...] = (6,),
    ) -> ActionNormalizer:
        """For a data set's action statistics; raises ValueError if the bounds of ``mode`` are not among them."""
        if mode == "range":
            return ActionNormalizer(mode, embodiment.action_low, embodiment.action_high, raw)
        for key in _BOUNDS[mode]:
            if key not in statistics:
                raise ValueError(
                    f"the action statistics have no '{key}', which normalization '{mode}' needs (they have "
                    f"{sorted(statistics)}); recompute the data set's statistics"
                )
        low, high = (tuple(float(v) for v in statistics[key]) for key in _BOUNDS[mode])
        return ActionNormalizer(mode, low, high, raw)

    def normalize(self, actions: NDArray[np.float32]) -> NDArray[np.float32]:
        """(..., A) robot actions → (..., A) in [−1, 1]; a dimension that never moves becomes 0."""
        low, span, raw = self._arrays()
        scaled = np.where(span > 0, 2 * (actions - low) / np.where(span > 0, span, 1) - 1, 0)
        return np.where(raw, actions, np.clip(scaled, -1, 1)).astype(np.float32)

    def denormalize(self, actions: NDArray[np.float32]) -> NDArray[np.float32]:
        """(..., A) network outputs, clipped to [−1, 1] → (..., A) robot actions."""
        low, span, raw = self._arrays()
        clipped = np.clip(actions, -1, 1)
        return np.where(raw, clipped, low + (clipped + 1) / 2 * span).astype(np.float32)

    def _arrays(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
        low, high = np.asarray(self.low), np.asarray(self.high)
        raw = np.isin(np.arange(len(low)), self.raw)
        return low, high - low, raw


@dataclass(frozen=True)
class Robot:
    """One embodiment a policy acts for, and the normalization of its actions."""

    embodiment: Embodiment
    normalizer: ActionNormalizer

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-ready form, the inverse of :meth:`from_dict`."""
        bounds = self.normalizer
        return {
            "embodiment": self.embodiment.to_dict(),
            "normalization": {"mode": bounds.mode, "low": bounds.low, "high": bounds.high, "raw": bounds.raw},
        }

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Robot:
        """Rebuild from :meth:`to_dict`."""
        bounds = values["normalization"]
        normalizer = ActionNormalizer(bounds["mode"], tuple(bounds["low"]), tuple(bounds["high"]), tuple(bounds["raw"]))
        return Robot(Embodiment.from_dict(values["embodiment"]), normalizer)


@dataclass(frozen=True)
class RobotSample:
    """One training sample of a demonstration.

    Attributes:
        observation: images and instruction.
        actions: (C, A) robot actions.
        valid: (C,) False past the end of the episode.
        geometry: (V, h, w, G) features of the geometry teacher, or None.
        embodiment: name of the robot, of a policy for several.
        windows: (V, 4) crop of each view; None for the one in the middle, which is the whole view without crops.
    """

    observation: Observation
    actions: NDArray[np.float32]
    valid: NDArray[np.bool_]
    geometry: NDArray[Any] | None
    embodiment: str | None = None
    windows: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class QuestionSample:
    """A conversation about images.

    Attributes:
        images: uint8 (H, W, 3) RGB, of any sizes; none for text alone.
        turns: questions and answers; images stand where the questions say ``<image>``, or first if none says so.
        spatial: whether answers begin with the reasoning anchor.
    """

    images: tuple[Image, ...]
    turns: tuple[tuple[str, str], ...]
    spatial: bool


class Preprocessor:
    """Observations and questions in, tensors out; normalized actions in, action chunks out.

    Args:
        embodiment: what the robot shows and accepts; every observation is checked against it.
        method: the method's configuration, which decides the prompts.
        normalizer: of actions.
        tokenizer: of the backbone, with the method's new tokens.
        image_processor: of the backbone.
        action_text: L_action.
        reasoning_text: L_teacher.
        others: further embodiments that the same policy acts for.
        crop: share of a view's area that is shown; training shows it anywhere, deployment in the middle.

    Attributes:
        robots: name of an embodiment → the embodiment and its normalization, one or several.
        prompts: the three prompts over that tokenizer.

    Raises:
        ValueError: the embodiments differ in number of views, image size or action size, or share a name; or a policy
            that is given points cannot be, or an embodiment brings points to one that is not.
    """

    def __init__(
        self,
        embodiment: Embodiment,
        method: MethodConfig,
        normalizer: ActionNormalizer,
        tokenizer: Any,
        image_processor: Any,
        action_text: str,
        reasoning_text: str,
        others: Sequence[Robot] = (),
        crop: float = 1.0,
    ) -> None:
        check_area(crop)
        self.robots = _by_name([Robot(embodiment, normalizer), *others])
        _check_points(method, [robot.embodiment for robot in self.robots.values()], crop)
        self.crop = crop
        self.method = method
        self.tokenizer = tokenizer
        self.image_processor = image_processor
        self.action_text = action_text
        self.reasoning_text = reasoning_text
        self.prompts = Prompts(tokenizer, method, action_text, reasoning_text)

    @property
    def embodiment(self) -> Embodiment:
        """The embodiment; raises ValueError if there are several."""
        return self.robot().embodiment

    @property
    def normalizer(self) -> ActionNormalizer:
        """Of actions; raises ValueError if there are several embodiments."""
        return self.robot().normalizer

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of a view, the same of all embodiments."""
        return next(iter(self.robots.values())).embodiment.image_size

    def robot(self, name: str | None = None) -> Robot:
        """An embodiment by name, or the only one.

        Raises:
            ValueError: there is none of that name, or none was named and there are several.
        """
        if name is None and len(self.robots) == 1:
            return next(iter(self.robots.values()))
        if name is None:
            raise ValueError(
                f"the policy acts for several embodiments, {sorted(self.robots)}; say which one, as in "
                "load_policy(folder, embodiment=NAME)"
            )
        if name not in self.robots:
            raise ValueError(f"the policy does not act for the embodiment '{name}'; it does for {sorted(self.robots)}")
        return self.robots[name]

    def only(self, name: str) -> Preprocessor:
        """The same for one of its embodiments; raises ValueError if there is none of that name."""
        robot = self.robot(name)
        return Preprocessor(
            robot.embodiment,
            self.method,
            robot.normalizer,
            self.tokenizer,
            self.image_processor,
            self.action_text,
            self.reasoning_text,
            crop=self.crop,
        )

    def robot_batch(self, samples: Sequence[RobotSample]) -> RobotBatch:
        """Co-training prompts, normalized actions and geometry targets of B samples."""
        robots = [self.robot(s.embodiment) for s in samples]
        views = len(robots[0].embodiment.cameras)
        middle = np.tile(np.array(middle_window(self.crop), np.float32), (views, 1))
        windows = np.stack([middle if s.windows is None else s.windows for s in samples])
        pixels, grids, sizes = self._images([s.observation for s in samples], [r.embodiment for r in robots], windows)
        prompts = [
            self.prompts.co_training(s.observation.instruction, sizes[i * views : (i + 1) * views])
            for i, s in enumerate(samples)
        ]
        actions = np.stack([r.normalizer.normalize(s.actions) for r, s in zip(robots, samples, strict=True)])
        geometry = [s.geometry for s in samples if s.geometry is not None]
        points = self.points([s.observation for s in samples], _grid(grids), [r.embodiment for r in robots])
        return RobotBatch(
            replace(pad_prompts(prompts, pixels, grids, LENGTH_STEP), points_NhwG=points),
            torch.from_numpy(actions),
            torch.from_numpy(np.stack([s.valid for s in samples])),
            torch.from_numpy(np.stack(geometry)) if geometry else None,
            windows_BV4=torch.from_numpy(windows) if self.crop < 1 else None,
        )

    def question_batch(self, samples: Sequence[QuestionSample], *, packed: bool = False) -> QuestionBatch:
        """Conversations with labels on the assistant spans.

        Args:
            samples: conversations.
            packed: let several share a row, so that less than ``question_packing.PADDING`` of the tokens are padding;
                losses and gradients stay the same. Otherwise each has a row of its own, in order.
        """
        pixels, grids, sizes = prepare_images(self.image_processor, [i for s in samples for i in s.images])
        remaining = iter(sizes)
        prompts = [
            self.prompts.conversation(s.turns, list(islice(remaining, len(s.images))), spatial=s.spatial)
            for s in samples
        ]
        if not packed:
            return labelled_batch(prompts, pixels, grids)
        return packed_batch(prompts, [len(s.images) for s in samples], pixels, grids)

    @cached_property
    def view_size(self) -> tuple[int, int]:
        """(height, width) at which the image processor shows a view: multiples of its patches."""
        if _keeps_size(self.image_processor, (*self.image_size, 3)):
            return self.image_size
        shown = self.image_processor(images=[np.zeros((*self.image_size, 3), np.uint8)], return_tensors="pt")
        _, rows, columns = shown["image_grid_thw"][0].tolist()
        return rows * self.image_processor.patch_size, columns * self.image_processor.patch_size

    def views(self, observations: Sequence[Observation]) -> Image:
        """What a deployed policy is shown of B observations: uint8 (B · V, H, W, 3) of :attr:`view_size`.

        Cut into ``Patches``, they are the pixels of :meth:`act_tokens`. Raises ContractError as that does.
        """
        height, width = self.view_size
        images = self._shown(observations, [self.embodiment] * len(observations), None)
        if self.view_size != self.image_size:
            resample = self.image_processor.resample
            images = [np.asarray(Pillow.fromarray(i).resize((width, height), resample)) for i in images]
        return np.stack(images)

    def act_tokens(self, observations: Sequence[Observation]) -> Tokens:
        """Action prompts of B observations: what a deployed policy sees."""
        views = len(self.embodiment.cameras)
        pixels, grids, sizes = self._images(observations, [self.embodiment] * len(observations), None)
        prompts: list[Prompt] = [
            self.prompts.action(o.instruction, sizes[i * views : (i + 1) * views]) for i, o in enumerate(observations)
        ]
        points = self.points(observations, _grid(grids))
        return replace(pad_prompts(prompts, pixels, grids), points_NhwG=points)

    def points(
        self, observations: Sequence[Observation], grid: tuple[int, int], embodiments: Sequence[Embodiment] = ()
    ) -> Tensor | None:
        """Codes (B · V, h, w, G) of checked observations' 3D points; None unless the method is given points.

        Args:
            observations: B of them.
            grid: (h, w) patches of a view.
            embodiments: each one's; default the only one there is.
        """
        if not self.method.explicit_points:
            return None
        pairs = list(zip(observations, embodiments or [self.embodiment] * len(observations), strict=True))
        maps = np.stack([[o.point_maps[camera] for camera in e.cameras] for o, e in pairs])  # type: ignore[index]
        return point_codes(torch.from_numpy(maps), grid, "method.explicit_points").flatten(0, 1)

    def action_chunks(self, normalized_BCA: Tensor) -> list[ActionChunk]:
        """Network outputs → robot actions, one checked chunk per observation."""
        actions = self.normalizer.denormalize(normalized_BCA.float().cpu().numpy())
        low, high = (np.asarray(b, np.float32) for b in (self.embodiment.action_low, self.embodiment.action_high))
        chunks = [ActionChunk(np.clip(chunk, low, high)) for chunk in actions]
        for chunk in chunks:
            chunk.check(self.embodiment)
        return chunks

    def save(self, folder: Path) -> None:
        """Write tokenizer, image processor and our own part into a checkpoint folder."""
        self.tokenizer.save_pretrained(folder)
        self.image_processor.save_pretrained(folder)
        robots = [robot.to_dict() for robot in self.robots.values()]
        own = (robots[0] if len(robots) == 1 else {"embodiments": robots}) | {
            "action_text": self.action_text,
            "reasoning_text": self.reasoning_text,
            "crop": self.crop,
        }
        (folder / FILE).write_text(json.dumps(own, indent=2) + "\n", encoding="utf-8")

    @staticmethod
    def load(folder: Path, method: MethodConfig) -> Preprocessor:
        """Read what :meth:`save` wrote; raises ValueError if our own part is missing."""
        from transformers import Qwen2Tokenizer
        from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

        path = folder / FILE
        if not path.is_file():
            raise ValueError(
                f"{path} is missing: the checkpoint has no embodiment and normalization statistics; "
                "copy the whole folder"
            )
        own = json.loads(path.read_text(encoding="utf-8"))
        robot, *others = [Robot.from_dict(values) for values in own.get("embodiments", [own])]
        return Preprocessor(
            robot.embodiment,
            method,
            robot.normalizer,
            Qwen2Tokenizer.from_pretrained(folder),
            Qwen2VLImageProcessorPil.from_pretrained(folder),
            own["action_text"],
            own["reasoning_text"],
            others,
            own.get("crop", 1.0),  # policies from before there were crops
        )

    def _images(
        self,
        observations: Sequence[Observation],
        embodiments: Sequence[Embodiment],
        windows_BV4: NDArray[np.float32] | None,
    ) -> tuple[Tensor | None, Tensor | None, list[int]]:
        return prepare_images(self.image_processor, self._shown(observations, embodiments, windows_BV4))

    def _shown(
        self,
        observations: Sequence[Observation],
        embodiments: Sequence[Embodiment],
        windows_BV4: NDArray[np.float32] | None,
    ) -> list[Image]:
        """All views in order, each checked and cropped to its window, or to the one in the middle."""
        pairs = list(zip(observations, embodiments, strict=True))
        for observation, embodiment in pairs:
            observation.check(embodiment)
        images = [o.images[camera] for o, e in pairs for camera in e.cameras]
        if self.crop == 1:
            return images
        middle = np.array(middle_window(self.crop), np.float32)
        windows = [middle] * len(images) if windows_BV4 is None else windows_BV4.reshape(-1, 4)
        return [cropped(image, window.tolist()) for image, window in zip(images, windows, strict=True)]


def _grid(grids_N3: Tensor | None) -> tuple[int, int]:
    """Rows and columns of patches of views that have one size."""
    assert grids_N3 is not None, "observations have views"
    _, rows, columns = grids_N3[0].tolist()
    return rows, columns


def _check_points(method: MethodConfig, embodiments: Sequence[Embodiment], crop: float) -> None:
    """Raise ValueError unless the embodiments bring 3D points just where the method is given them."""
    for one in embodiments:
        if (one.point_map_size is not None) != method.explicit_points:
            raise ValueError(
                f"method.explicit_points is {method.explicit_points}, but point_map_size of the embodiment "
                f"'{one.name}' is {one.point_map_size}; set both or neither"
            )
    if method.explicit_points and method.geometry_dim != CODE_SIZE:
        raise ValueError(
            f"method.geometry_dim is {method.geometry_dim}, but codes of points (method.explicit_points) have "
            f"{CODE_SIZE} numbers; set it to that"
        )
    if method.explicit_points and crop < 1:
        raise ValueError(f"data.crop is {crop}, but method.explicit_points needs whole views; set it to 1")


def _by_name(robots: Sequence[Robot]) -> dict[str, Robot]:
    """Embodiments by name, checked to fit one policy."""
    first = robots[0].embodiment
    found: dict[str, Robot] = {}
    for robot in robots:
        one = robot.embodiment
        if one.name in found:
            raise ValueError(f"two embodiments are called '{one.name}'; give them names of their own")
        for what, a, b in (
            ("number of views", len(first.cameras), len(one.cameras)),
            ("image size", first.image_size, one.image_size),
            ("number of action dimensions", first.action_dim, one.action_dim),
        ):
            if a != b:
                raise ValueError(
                    f"the embodiments '{first.name}' and '{one.name}' differ in {what} ({a} and {b}), which one policy "
                    "cannot have; change their specifications or train two policies"
                )
        found[one.name] = robot
    return found


def prepare_images(processor: Any, images: Sequence[Image]) -> tuple[Tensor | None, Tensor | None, list[int]]:
    """Patches of all images as a Qwen-VL ``processor`` makes them, their grids, and the language tokens of each."""
    if not images:
        return None, None, []
    if len({image.shape for image in images}) == 1 and _keeps_size(processor, images[0].shape):
        patches = Patches(processor, *images[0].shape[:2])
        pixels = patches(torch.from_numpy(np.stack(images)))
        grids = torch.tensor([[1, *patches.grid]] * len(images))
    else:
        output = processor(images=list(images), return_tensors="pt")
        pixels, grids = output["pixel_values"], output["image_grid_thw"]
    sizes: list[int] = (grids.prod(dim=1) // processor.merge_size**2).tolist()
    return pixels, grids, sizes


def limit_pixels(processor: Any, most: int) -> None:
    """Let a Qwen-VL ``processor`` reduce larger images to ``most`` pixels; it is saved with the policy like that.

    Raises:
        ValueError: the processor enlarges smaller images to more than that.
    """
    least = processor.size["shortest_edge"]
    if most < least:
        raise ValueError(f"data.image_pixels is {most}, but images for this backbone have {least} or more; raise it")
    processor.size = {"shortest_edge": least, "longest_edge": most}


def _keeps_size(processor: Any, shape: tuple[int, ...]) -> bool:
    """Whether the processor leaves images of this (H, W, 3) shape at their size."""
    height, width, _ = shape
    unit = processor.patch_size * processor.merge_size
    least, most = processor.size["shortest_edge"], processor.size["longest_edge"]
    return bool(height % unit == 0 and width % unit == 0 and least <= height * width <= most)
