"""joblib as a whole: to import this fills the empty package that may stand in its place."""

from airflow_joblib.lean.late import fill

fill()
