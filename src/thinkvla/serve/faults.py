"""What a client is told when it gets no actions: one word for programs and one sentence for people."""

from __future__ import annotations


class Refused(Exception):
    """A request that is answered without actions.

    Attributes:
        code: one word, as ``busy`` or ``frozen_camera``; docs/serving.md lists them.
        reason: what was wrong, what was expected, what to do.
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code, self.reason = code, reason
