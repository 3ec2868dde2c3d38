"""What the live page shows: cameras, the last chunk, latencies, guard counts."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

from thinkvla.contract import Image
from thinkvla.serve.service import Glimpse, Service

PAGE = Path(__file__).with_name("live.html")


def snapshot(service: Service, sessions: int) -> dict[str, Any]:
    """The page's numbers and pictures as plain JSON; takes milliseconds, for the pictures."""
    contract = service.contract
    robot = contract.embodiment
    return {
        "embodiment": robot.name,
        "control_hz": robot.control_hz,
        "execute": contract.execute,
        "names": list(robot.action_names),
        "units": list(robot.action_units),
        "low": list(robot.action_low),
        "high": list(robot.action_high),
        "sessions": sessions,
        "waiting": service.batcher.waiting,
        "latency_ms": service.metrics.percentiles(),
        "outcomes": dict(service.metrics.outcomes),
        "guards": dict(service.metrics.guards),
        "latest": None if service.latest is None else _glimpse(service.latest, robot.cameras),
    }


def _glimpse(latest: Glimpse, cameras: tuple[str, ...]) -> dict[str, Any]:
    return {
        "session": latest.session,
        "instruction": latest.observation.instruction,
        "cameras": {camera: _picture(latest.observation.images[camera]) for camera in cameras},
        "actions": [[round(float(value), 4) for value in step] for step in latest.served.actions],
        "guards": latest.served.guards,
        "timing": {name: round(value, 2) for name, value in latest.served.timing.items()},
    }


def _picture(image: Image) -> str:
    from PIL import Image as Pillow

    data = io.BytesIO()
    Pillow.fromarray(image).save(data, "PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()
