"""thinkvla: 3D-thinking-guided co-training for vision-language-action policies (3DThinkVLA, arXiv 2606.04436)."""

__version__ = "0.1.0"
