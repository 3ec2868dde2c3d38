"""Pre-training of the tiny backbone on 2D supervision alone: names, counts, captions, places in the picture.

The paper starts from a Qwen3-VL that knows pictures and words but was never taught metric space; this room makes the
laptop's counterpart. Nothing here is metric and nothing has depth.
"""
