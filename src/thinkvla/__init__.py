"""thinkvla: 3D-thinking-guided co-training for vision-language-action policies (3DThinkVLA, arXiv 2606.04436)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thinkvla.pretrained import ThinkVLA as ThinkVLA

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """``thinkvla.ThinkVLA``, imported when it is first asked for: the command line must not wait for torch."""
    if name == "ThinkVLA":
        from thinkvla.pretrained import ThinkVLA

        return ThinkVLA
    raise AttributeError(f"module 'thinkvla' has no attribute '{name}'")
