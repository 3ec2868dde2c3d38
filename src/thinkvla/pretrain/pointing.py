"""Names point at what they name: attention of language layers, supervised.

Where a thing is can only be told by a token that attends to the part of a picture that shows it, and only a token that
attends there learns to tell. Supervising the attention itself breaks that circle.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor

from thinkvla.backbones.qwen_vl import QwenVL
from thinkvla.pretrain.batches import PictureBatch

SMALLEST = 1e-4
"""Added to the attention, so that its logarithm is bounded."""


@contextmanager
def attention_weights(model: QwenVL, layers: Sequence[int]) -> Iterator[list[Tensor]]:
    """Collect the attention weights (B, heads, L, L) of these language layers while the context lasts.

    Raises:
        ValueError: the model's attention is not eager, the only implementation that gives its weights.
    """
    if model.model.config._attn_implementation != "eager":
        raise ValueError("attention weights need a model built with attention='eager'")
    found: list[Tensor] = []
    with ExitStack() as hooks:
        for layer in layers:
            attention = model.model.model.language_model.layers[layer].self_attn
            handle = attention.register_forward_hook(lambda module, inputs, output: found.append(output[1]))
            hooks.callback(handle.remove)
        yield found


def pointing_loss(weights: Sequence[Tensor], batch: PictureBatch, is_image_BL: Tensor, grid: tuple[int, int]) -> Tensor:
    """Mean negative log attention of every mention to the image token that shows the centre of what it names.

    In each layer, view v has the first head of the v-th of as many groups of heads as there are views.

    Args:
        weights: attention (B, heads, L, L) of some layers.
        batch: mentions and places.
        is_image_BL: which tokens are image tokens; those of one view follow those of the view before.
        grid: rows and columns of a view's image tokens, in raster order.

    Returns:
        the loss; 0 for a batch without a mention in sight.
    """
    rows, columns = grid
    views = batch.places_MV2.shape[1]
    total, count = torch.zeros(()), 0
    for view in range(views):
        seen_M = ~batch.places_MV2[:, view].isnan().any(dim=-1)
        places, mentions = batch.places_MV2[seen_M, view], batch.mentions_M2[seen_M]
        column, row = ((places[:, axis] * size).long().clamp(0, size - 1) for axis, size in ((0, columns), (1, rows)))
        number = view * rows * columns + row * columns + column
        image_tokens = [is_image_BL[sample].nonzero().squeeze(1) for sample in mentions[:, 0].tolist()]
        if not image_tokens:
            continue
        target = torch.stack([tokens[n] for tokens, n in zip(image_tokens, number.tolist(), strict=True)])
        for layer in weights:
            head = view * layer.shape[1] // views
            paid = layer[mentions[:, 0], head, mentions[:, 1], target]
            total = total - (paid + SMALLEST).log().sum()
            count += len(paid)
    return total / max(count, 1)
