"""Does LIBERO-Plus work here? Versions, and how many tasks of each dimension: ``thinkvla env check libero_plus``.

Run by the environment's interpreter; prints one line of JSON.
"""

from __future__ import annotations

import contextlib
import io
import json
from typing import Any

from thinkvla.environments.packages import differences

ENVIRONMENT = "libero_plus"


def main() -> None:
    """Print what was found, with ``problems``."""
    problems = differences(ENVIRONMENT)
    found: dict[str, Any] = {}
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # the benchmark prints its tasks' order
            from thinkvla.simulators.libero_plus.benchmark import LiberoPlusBenchmark, versions
            from thinkvla.simulators.libero_plus.variants import DIMENSIONS

            found |= versions()
            found |= {f"tasks of {word}": str(len(LiberoPlusBenchmark(word).get_tasks())) for word in DIMENSIONS}
    except ImportError as error:
        problems.append(
            f"the repository cannot be imported: {error}; it needs ImageMagick (on Debian, libmagickwand-6.q16-6), and "
            "its own folder where --repository said"
        )
    except (OSError, ValueError) as error:
        problems.append(str(error))
    print(json.dumps({**found, "problems": problems}))


if __name__ == "__main__":
    main()
