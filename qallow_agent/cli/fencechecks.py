"""What ``doctor`` checks of the fences around kernels: a process puts them up and tries them."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Final

import msgspec

from qallow_agent.cli.checks import Check
from qallow_agent.config.schema import Settings
from qallow_agent.runtime.fence_trial import Outcome, Trial
from qallow_agent.runtime.fences import Ground, keys_are_out_of_reach
from qallow_agent.runtime.groups import survey

_TRIAL_S: Final = 20.0
_MODULE: Final = "qallow_agent.runtime.fence_trial"


def fence_checks(settings: Settings) -> Iterator[Check]:
    """Say which fences a runner of this user would have, and fail if one is got round."""
    trial = Trial(settings.runners, Ground((settings.node.state_dir,)), settings.node.socket)
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-P", "-m", _MODULE],
            input=msgspec.json.encode(trial),
            capture_output=True,
            timeout=_TRIAL_S,
            check=True,
        )
        outcome = msgspec.json.decode(done.stdout, type=Outcome)
    except (OSError, subprocess.SubprocessError, msgspec.MsgspecError) as error:
        yield Check("fail", "fences", f"they could not be tried: {error}", "is Python intact?")
        return
    for fence in outcome.fences:
        yield Check("ok" if fence.up else "warn", "fences", fence.what, fence.fix)
    limits = survey(settings.runners)
    yield Check("ok", "limits", limits.what, limits.fix)
    if settings.runners.fences == "required" and not keys_are_out_of_reach(outcome.fences):
        what = "runners.fences is 'required', but nothing here guards the keys"
        yield Check("fail", "fences", what, "mend the fences above")
    for path in outcome.reached:
        what = f"a kernel can reach {path}"
        yield Check("fail", "fences", what, "put up the fences above, or run no foreign kernels")
