"""``thinkvla serve``: load a policy, warm it up, serve it until told to stop."""

from __future__ import annotations

import logging

from thinkvla.deploy import load_policy
from thinkvla.serve.greeting import fingerprint
from thinkvla.serve.options import ServeOptions
from thinkvla.serve.server import PolicyServer, served_contract, warm_up
from thinkvla.versions import versions

logger = logging.getLogger(__name__)
_SPOKEN = ("thinkvla", "torch", "transformers", "numpy", "python")


def serve_policy(options: ServeOptions) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        ValueError: the options do not fit the policy, or the port is taken.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("websockets").setLevel(logging.CRITICAL)  # it logs every broken connection with a traceback
    policy = load_policy(options.checkpoint, options.device, options.embodiment)
    normalization = policy.preprocessor.robot().to_dict()["normalization"]
    contract = served_contract(
        policy,
        options,
        normalization={"mode": normalization["mode"], "fingerprint": fingerprint(normalization)},
        versions={name: version for name, version in versions().items() if name in _SPOKEN},
    )
    warm_up(policy)
    server = PolicyServer(policy, contract, options)

    def announce() -> None:
        address = f"{options.host}:{server.port}"
        secure = "" if options.certificate is None else "s"
        logger.info(
            "serving '%s' for '%s' to openpi and vla-eval at ws%s://%s; live page: http%s://%s/",
            options.checkpoint,
            contract.embodiment.name,
            secure,
            address,
            secure,
            address,
        )

    try:
        server.run_to_end(announce)
    except OSError as error:
        raise ValueError(f"cannot listen at {options.host}:{options.port}: {error}; choose another --port") from error
