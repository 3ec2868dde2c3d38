"""A policy behind vla-eval's protocol: batched over simulators, checked in both directions."""

from __future__ import annotations

from typing import Any

from vla_eval.model_servers.predict import PredictModelServer
from vla_eval.specs import DimSpec

from thinkvla.contract import ContractError, Policy
from thinkvla.evaluate.wire import action_spec, decode_observation, observation_spec


class PolicyServer(PredictModelServer):  # type: ignore[misc]  # vla-eval ships no types
    """Serves one policy to many simulators.

    A chunk is executed open loop for ``execute`` steps; the observations of the steps between are not looked at, and a
    benchmark that accepts ``observe_every`` does not even render them.

    Args:
        policy: the policy; only ``act`` is called, from one thread at a time.
        execute: actions executed of each chunk; default all.
        batch: most observations in one call of the policy, sensibly the number of simulators.
        privileged: ask the benchmark for ground truth (see PrivilegedObservation).

    Raises ValueError when ``execute`` does not fit the policy's chunk.
    """

    def __init__(self, policy: Policy, *, execute: int | None = None, batch: int = 1, privileged: bool = False) -> None:
        self.execute = policy.chunk if execute is None else execute
        if not 1 <= self.execute <= policy.chunk:
            raise ValueError(f"execute is {execute}; this policy's chunks allow 1 to {policy.chunk} steps")
        super().__init__(chunk_size=self.execute, max_batch_size=batch)
        self.policy = policy
        self.privileged = privileged

    def get_action_spec(self) -> dict[str, DimSpec]:
        """What the policy's actions mean."""
        return action_spec(self.policy.embodiment)

    def get_observation_spec(self) -> dict[str, DimSpec]:
        """What the policy needs to see."""
        return observation_spec(self.policy.embodiment)

    def get_observation_params(self) -> dict[str, Any]:
        """Constructor arguments for the benchmark."""
        params: dict[str, Any] = {"observe_every": self.execute}
        if self.policy.embodiment.point_map_size is not None:
            params["point_map_size"] = list(self.policy.embodiment.point_map_size)
        return {**params, "privileged": True} if self.privileged else params

    async def on_observation(self, obs: dict[str, Any], ctx: Any) -> None:
        """Check what the policy will see before it joins a batch, so that a bad one fails its own episode alone."""
        if ctx.step % self.execute == 0:
            decode_observation(obs).check(self.policy.embodiment)
        await super().on_observation(obs, ctx)

    def predict_batch(self, obs_batch: list[dict[str, Any]], ctx_batch: list[Any]) -> list[dict[str, Any]]:
        """One checked chunk for each observation message; raises ContractError when the policy breaks the contract."""
        chunks = self.policy.act([decode_observation(message) for message in obs_batch])
        if len(chunks) != len(obs_batch):
            raise ContractError(f"the policy returned {len(chunks)} chunks for {len(obs_batch)} observations")
        for chunk in chunks:
            chunk.check(self.policy.embodiment)
            if len(chunk.actions) < self.execute:
                raise ContractError(
                    f"the policy returned a chunk of {len(chunk.actions)} actions; it promised {self.policy.chunk}"
                )
        return [{"actions": chunk.actions} for chunk in chunks]
