"""``from thinkvla import ThinkVLA``: a trained policy from a folder or the Hugging Face Hub, ready to act.

    policy = ThinkVLA.from_pretrained("owner/name", revision="v1.0")
    [chunk] = policy.act([Observation({"front": image}, "put the red cube on the plate")])

It bundles the network (``thinkvla.method.policy.ThinkVLA``) with its preprocessor; nothing of training is imported.
"""

from __future__ import annotations

from pathlib import Path

import torch

from thinkvla.acting import Speed
from thinkvla.deploy import DeployedPolicy, Precision, load_policy
from thinkvla.method.policy import ThinkVLA as Network
from thinkvla.preprocessor import Preprocessor
from thinkvla.shipped import find_model, shipped_models

CARD = "README.md"
_FILES = ("*.json", "*.safetensors", "*.txt", "*.jinja", CARD)


class ThinkVLA(DeployedPolicy):
    """A trained policy that acts, and the folder it came from."""

    def __init__(
        self,
        folder: Path,
        policy: Network,
        preprocessor: Preprocessor,
        device: torch.device | str = "cpu",
        speed: Speed = "eager",
        precision: Precision = "float32",
    ) -> None:
        super().__init__(policy, preprocessor, device, speed, precision)
        self.folder = folder

    @classmethod
    def from_pretrained(
        cls,
        name: Path | str,
        *,
        revision: str | None = None,
        device: torch.device | str | None = None,
        embodiment: str | None = None,
        speed: Speed = "eager",
        precision: Precision = "float32",
    ) -> ThinkVLA:
        """Load a policy onto ``device`` (a GPU if there is one).

        Args:
            name: a folder, a shipped policy by name, or ``owner/name`` on the Hub, downloaded if need be.
            revision: branch, tag or commit on the Hub.
            device: where to run it.
            embodiment: the robot to act for; needed if the policy was trained for several.
            speed: how the network is run, see ``thinkvla.acting``.
            precision: of the backbone's weights.

        Raises:
            ValueError: there is no such policy, or ``load_policy`` refuses its folder.
        """
        folder = _folder(name, revision)
        loaded = load_policy(folder, device, embodiment, speed, precision)
        return cls(folder, loaded.policy, loaded.preprocessor, loaded.device, speed, precision)

    def push_to_hub(self, repository: str, *, private: bool = False) -> str:
        """Upload the policy's folder, made by ``thinkvla export``, to ``owner/name`` on the Hub; returns its address.

        Raises:
            ValueError: the folder has no model card.
        """
        if not (self.folder / CARD).is_file():
            raise ValueError(f"{self.folder} has no {CARD}; make a folder with a model card by 'thinkvla export'")
        from huggingface_hub import create_repo, upload_folder

        create_repo(repository, private=private, exist_ok=True)
        upload_folder(repo_id=repository, folder_path=self.folder, allow_patterns=list(_FILES))
        return f"hf://{repository}"


def _folder(name: Path | str, revision: str | None) -> Path:
    if Path(name).is_dir() or str(name) in shipped_models() or str(name).count("/") != 1:
        if revision is not None:
            raise ValueError(f"'{name}' is not on the Hub, which alone has revisions; leave out revision='{revision}'")
        return find_model(name)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(str(name), revision=revision, allow_patterns=list(_FILES)))
    except (HfHubHTTPError, LocalEntryNotFoundError) as error:
        raise ValueError(
            f"'{name}' is neither a folder nor to be had from the Hub ({error}); check the name and the revision"
        ) from error
