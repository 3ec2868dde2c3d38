"""The method of 3DThinkVLA (arXiv 2606.04436), and nothing else; it knows torch and the ``Backbone`` protocol.

Read in this order: ``prompts`` (what the model is shown), ``packing`` (student and teacher in one forward),
``geometry``, ``reasoning`` and ``integration`` (the paper's three parts), ``action_head``, ``policy`` (how they
meet) and ``objective`` (one co-training step).

Shape suffixes in this package: B samples, L tokens, D hidden size of the language model, V views, h w patch grid,
P = V·h·w patches, E hidden size of the vision encoder, G geometry feature size, R anchor tokens, C steps of the
action chunk, A action dimensions.
"""
