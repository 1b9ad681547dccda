"""``python -m airflow_joblib``: the command where Airflow has none of ours."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    if not sys.flags.safe_path:  # what -m has put first: no executor looks for modules in the current folder
        del sys.path[0]
    from airflow_joblib.cli.main import main

    main()
