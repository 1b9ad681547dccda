"""The bounds of what a run waits for, in seconds."""

from __future__ import annotations

from typing import Final

__all__ = ["BEYOND", "DRAIN", "GRACE", "LEAVING", "LOOK", "UNTAKEN", "WATCH"]

#: After a good run a worker may take so long to leave its ``per_worker`` resources.
LEAVING: Final = 600.0
#: After a failed run a worker gets so long to come out of what it runs and leave its resources, before it is killed;
#: after a good one so long to begin with it, before it is sent SIGTERM.
GRACE: Final = 3.0
#: An item gets so long beyond its ``item_timeout`` to end in Python code, clean-up included.
BEYOND: Final = 1.0
#: Other items get so long to end before a worker is killed, which some pools don't survive.
DRAIN: Final = 1.0
#: Between two looks at whether the workers still live, and at the task's own state.
WATCH: Final = 0.5
#: Between two looks of a worker at whether the task is still there, where the kernel does not notify it.
LOOK: Final = 0.5
#: All workers may wait so long while something is to be done, after one of them was killed: what is missing died with
#: it, unless another has just taken it and the machine gives it no time to report.
UNTAKEN: Final = 5.0
