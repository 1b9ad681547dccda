"""What a worker process of loky runs: loky's own program, with joblib put off until the worker is there."""

import runpy

from airflow_joblib.lean.late import put_off

if __name__ == "__main__":
    put_off("joblib")
    runpy.run_module("joblib.externals.loky.backend.popen_loky_posix", run_name="__main__", alter_sys=True)
