"""Data sets on the Hugging Face Hub, by address: ``hf://owner/name``, ``hf://owner/name@revision/folder``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_SCHEME = "hf://"
_ADDRESS = re.compile(r"hf://(?:datasets/)?(?P<name>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^/]+))?(?:/(?P<inside>.+))?")


@dataclass(frozen=True)
class Source:
    """Where a data set was found.

    Attributes:
        path: file or folder on this machine.
        address: as it was asked for.
        revision: commit of a Hub repository; None for a local path.
        card: the set's README.md, None where there is none.
    """

    path: Path
    address: str
    revision: str | None
    card: Path | None


def find_source(address: Path | str, only: Sequence[str] = ()) -> Source:
    """A local path as it is, or a Hub data set in the local cache, downloaded if need be.

    Args:
        address: a path, or ``hf://owner/name``, with ``@revision`` (branch, tag or commit) and ``/file or folder``
            inside it where only that is wanted.
        only: what is fetched of a folder, as patterns like ``meta/*``; everything if none is given.

    Raises:
        ValueError: the address is not of that form, or the Hub does not have it (or cannot be reached).
    """
    if not str(address).startswith(_SCHEME):
        path = Path(address)
        card = (path if path.is_dir() else path.parent) / "README.md"
        return Source(path, str(address), None, card if card.is_file() else None)
    match = _ADDRESS.fullmatch(str(address))
    if match is None:
        raise ValueError(f"'{address}' is no Hub data set; expected hf://owner/name or hf://owner/name@revision/folder")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    inside = match["inside"]
    patterns = None if inside is None else [inside, f"{inside.rstrip('/')}/*", "README.md"]
    if only:
        patterns = [
            *(pattern if inside is None else f"{inside.rstrip('/')}/{pattern}" for pattern in only),
            "README.md",
        ]
    try:
        folder = Path(
            snapshot_download(match["name"], repo_type="dataset", revision=match["revision"], allow_patterns=patterns)
        )
    except (HfHubHTTPError, LocalEntryNotFoundError) as error:
        raise ValueError(
            f"'{address}' cannot be had from the Hub ({error}); check the name and the revision, log in if it is "
            "private or gated, or give a local folder"
        ) from error
    path = folder if inside is None else folder / inside
    if not path.exists():
        raise ValueError(f"'{address}': there is no '{inside}' in that data set; look at its files on the Hub")
    card = folder / "README.md"
    # The cache names a snapshot's folder by its commit.
    return Source(path, str(address), folder.name, card if card.is_file() else None)


def stated_licence(card: Path | None) -> str | None:
    """The licence that the front matter of a README.md states; None without a card, or where it states none."""
    if card is None or not card.is_file():
        return None
    from huggingface_hub import RepoCard

    stated = RepoCard.load(card, ignore_metadata_errors=True).data.get("license")
    return ", ".join(stated) if isinstance(stated, list) else stated
