"""CPU counts: quotas of every cgroup above, of both versions, affinity, joblib's variable; and why there is but one."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from airflow_joblib.system import cpu_count
from tests.unit.helpers import run_python

if TYPE_CHECKING:
    from collections.abc import Iterator

V1 = "33 31 0:30 {top} /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
V2 = "41 31 0:38 {top} /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n"
OTHER = "29 1 0:26 / /dev/shm rw,nosuid - tmpfs tmpfs rw\n36 31 0:33 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"

several = pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="the machine has one CPU")


def machine(root: Path, own: str, mounts: str, files: dict[str, str]) -> Path:
    """Lay out what the kernel shows of a process's cgroups."""
    for name, text in {"proc/self/cgroup": own, "proc/self/mountinfo": OTHER + mounts, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def v1(folder: str, quota: int) -> dict[str, str]:
    top = f"sys/fs/cgroup/cpu,cpuacct{folder}"
    return {f"{top}/cpu.cfs_quota_us": f"{quota}\n", f"{top}/cpu.cfs_period_us": "100000\n"}


def v2(folder: str, quota: str) -> dict[str, str]:
    return {f"sys/fs/cgroup{folder}/cpu.max": f"{quota} 100000\n"}


@pytest.mark.parametrize(
    ("own", "mounts", "files", "expected"),
    [
        ("0::/\n", V2.format(top="/"), v2("", "150000"), 1.5),  # a container sees its own group as the top
        ("0::/\n", V2.format(top="/"), v2("", "max"), None),
        ("0::/a/b\n", V2.format(top="/"), v2("/a/b", "max") | v2("/a", "200000"), 2),  # a unit in a limited slice
        ("0::/a/b\n", V2.format(top="/"), v2("/a/b", "100000") | v2("/a", "200000"), 1),
        ("0::/a/b\n", V2.format(top="/a"), v2("/b", "300000"), 3),
        ("0::/../x\n", V2.format(top="/"), v2("", "400000"), 4),
        ("5:cpu,cpuacct:/\n0::/\n", V1.format(top="/"), v1("", 250000), 2.5),
        ("5:cpu,cpuacct:/\n", V1.format(top="/"), v1("", -1), None),
        ("5:cpu,cpuacct:/docker/1\n", V1.format(top="/docker/1"), v1("", 50000), 0.5),  # no cgroup namespace
        ("5:cpu,cpuacct:/docker/1\n", V1.format(top="/"), v1("/docker/1", 700000), 7),
        ("5:cpu,cpuacct:/x\n0::/y\n", V1.format(top="/") + V2.format(top="/"), v1("/x", 300000) | v2("/y", "max"), 3),
        ("5:memory:/x\n", V1.format(top="/"), v1("/x", 300000), None),
        ("", "", {}, None),
    ],
)
def test_quota(own: str, mounts: str, files: dict[str, str], expected: float | None, tmp_path: Path) -> None:
    """The least quota of the process's group and of all groups above it holds."""
    assert cpu_count.quota(machine(tmp_path, own, mounts, files)) == expected


def test_no_kernel_files(tmp_path: Path) -> None:
    """Where the system shows no cgroups there is no quota."""
    assert cpu_count.quota(tmp_path) is None


RUN = """
import logging, os, sys
from airflow_joblib.system import cpu_count as cpus; from airflow_joblib import parallel_task
logging.basicConfig(format="%(levelname)s %(message)s", stream=sys.stdout)
@parallel_task(n_jobs={n_jobs}, backend="threading")
def f(item): return item
print(cpus.count())
f([1]), f([1, 2, 3])
"""


@several
def test_affinity() -> None:
    """A run on the one CPU of an affinity set says so in one warning."""
    out = run_python(
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})" + RUN.format(n_jobs=-1)
    ).stdout
    warning = f"WARNING f runs on 1 worker instead of {os.cpu_count()}: its affinity allows 1 of the machine's "
    assert out.splitlines() == ["1", f"{warning}{os.cpu_count()} CPUs."]


@several
@pytest.mark.parametrize(
    ("n_jobs", "environment"), [(1, {}), (-1, {"LOKY_MAX_CPU_COUNT": "1"}), (-(os.cpu_count() or 1), {})]
)
def test_one_worker_on_demand(n_jobs: int, environment: dict[str, str]) -> None:
    """One worker that somebody asked for, in whatever way, is no surprise and gives no warning."""
    assert "WARNING" not in run_python(RUN.format(n_jobs=n_jobs), environment).stdout


@pytest.fixture
def group() -> Iterator[Path]:
    """Make a cgroup within this process's own that allows one CPU."""
    for parent in cpu_count._folders(Path("/")):
        folder = parent / f"airflow-joblib-test-{os.getpid()}"
        with contextlib.suppress(OSError):
            folder.mkdir()
            try:
                if (folder / "cpu.max").exists():
                    (folder / "cpu.max").write_text("100000 100000")
                else:
                    (folder / "cpu.cfs_quota_us").write_text("100000")
                yield folder
            finally:
                folder.rmdir()
            return
    pytest.skip("may make no cgroup that limits CPUs here")


@several
def test_real_cgroup(group: Path) -> None:
    """A process in a limited cgroup of its own, which joblib doesn't see, counts one CPU, and a run says why."""
    join = f"import os; open({str(group / 'cgroup.procs')!r}, 'w').write(str(os.getpid()))"
    out = run_python(join + RUN.format(n_jobs=-1)).stdout
    warning = f"WARNING f runs on 1 worker instead of {os.cpu_count()}: the cgroup that it runs in allows 1 of "
    assert out.splitlines() == ["1", f"{warning}the machine's {os.cpu_count()} CPUs."]
