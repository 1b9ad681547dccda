"""Libraries that have threads of their own: each has its parallel part used by a function ``use(n)``."""

from __future__ import annotations

__all__ = ["LIBRARIES"]

_GRPC = """
from concurrent.futures import ThreadPoolExecutor

import grpc


def asked(n):
    server = grpc.server(ThreadPoolExecutor(2))
    method = grpc.unary_unary_rpc_method_handler(lambda request, context: request * 2)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("s", {"m": method}),))
    channel = grpc.insecure_channel(f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}")
    server.start()
    return server, channel, list(channel.unary_unary("/s/m")(bytes([n]), timeout=20))
"""
_NUMPY = """
import numpy as np


def use(n):
    return float((np.ones((300, 300)) @ np.full((300, 300), n))[0, 0])
"""
_SCIPY = """
import numpy as np
from scipy import fft, linalg


def use(n):
    values = linalg.svdvals(np.eye(200) * n)
    return float(values[0]), float(fft.fft(np.ones((64, 256)) * n, workers=2)[0, 0].real)
"""
_PANDAS = """
import pandas as pd


def use(n):
    frame = pd.DataFrame({"a": range(1000), "b": ["x", "y"] * 500})
    return [*frame.groupby("b")["a"].sum().tolist(), n]
"""
_POLARS = """
import polars as pl


def use(n):
    frame = pl.DataFrame({"a": range(1000)}).lazy()
    return frame.group_by(pl.col("a") % n).agg(pl.col("a").sum().alias("s")).sort("a").collect()["s"].to_list()
"""
_PYARROW = """
import pyarrow as pa


def use(n):
    table = pa.table({"a": list(range(1000)), "b": ["x", "y"] * 500})
    return [*sorted(table.group_by("b").aggregate([("a", "sum")])["a_sum"].to_pylist()), n]
"""
_DUCKDB = """
import duckdb


def use(n):
    return duckdb.sql(f"select sum(range) + {n} from range(1000000)").fetchall()[0][0]
"""
_SCIKIT_LEARN = """
import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor


def use(n):
    X = np.arange(400).reshape(-1, 2)
    return HistGradientBoostingRegressor(max_iter=3).fit(X, X[:, 0] * n).predict(X[:3]).tolist()
"""
_LIGHTGBM = """
import lightgbm
import numpy as np


def use(n):
    X = np.arange(400).reshape(-1, 2)
    data = lightgbm.Dataset(X, X[:, 0] * n)
    return lightgbm.train({"verbose": -1}, data, num_boost_round=3).predict(X[:3]).tolist()
"""
_CLOSED = """

def use(n):
    server, channel, answer = asked(n)
    channel.close()
    server.stop(None).wait()
    return answer
"""
_LEFT_OPEN = """

def use(n):
    *grpc.left_open, answer = asked(n)
    return answer
"""
_NUMBA = """
import numba
import numpy as np


@numba.njit(parallel=True)
def total(values):
    found = 0
    for index in numba.prange(len(values)):
        found += values[index]
    return found


def use(n):
    return int(total(np.arange(100_000) * n))
"""
#: By the name in the documentation: the module, and the source.
LIBRARIES = {
    "NumPy": ("numpy", _NUMPY),
    "SciPy": ("scipy", _SCIPY),
    "pandas": ("pandas", _PANDAS),
    "polars": ("polars", _POLARS),
    "pyarrow": ("pyarrow", _PYARROW),
    "DuckDB": ("duckdb", _DUCKDB),
    "scikit-learn": ("sklearn", _SCIKIT_LEARN),
    "LightGBM": ("lightgbm", _LIGHTGBM),
    "gRPC": ("grpc", _GRPC + _CLOSED),
    "gRPC, a channel left open": ("grpc", _GRPC + _LEFT_OPEN),
    "Numba": ("numba", _NUMBA),
}
