"""What a worker process of loky runs: its own program, in a process that is closed to others."""

import runpy
import sys

from airflow_joblib.system.isolated_start.handover import take_over

if __name__ == "__main__":
    take_over(int(sys.argv[-1]), sys.argv.pop(1))
    runpy.run_module("joblib.externals.loky.backend.popen_loky_posix", run_name="__main__", alter_sys=True)
