"""Pre-training of what ships: the tiny backbone, and the tiny geometry teacher.

The paper starts from a Qwen3-VL that knows pictures and words but was never taught metric space, and from a VGGT that
knows nothing else; this room makes the laptop's counterparts. The backbone learns from 2D supervision alone: names,
counts, captions, places in the picture. The teacher learns depth, points and cameras from images. Neither sees the
other's supervision.
"""
