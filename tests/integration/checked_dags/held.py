"""Parallel tasks that no name of the file stands for: in a class, a dict, a list, an attribute. No DAG calls them."""

import threading
from types import SimpleNamespace

from airflow.sdk import DAG

from airflow_joblib import parallel_task

OF_CLASS = threading.Lock()  # AJ201
OF_DICT = threading.Lock()  # AJ201
OF_LIST = threading.Lock()  # AJ201
OF_ATTRIBUTE = threading.Lock()  # AJ201
OF_FACTORY = threading.Lock()  # AJ201
DROPPED = threading.Lock()
IN_THREADS = threading.Lock()


class Shop:
    @parallel_task(over="item", item_timeout=9, backend="threading")  # AJ301
    def in_threads(self, item: int) -> int:
        return item

    @staticmethod
    @parallel_task
    def save(item: int) -> bool:
        return OF_CLASS.locked()


def in_dict(item: int) -> bool:
    return OF_DICT.locked()


def in_list(item: int) -> bool:
    return OF_LIST.locked()


def in_attribute(item: int) -> bool:
    return OF_ATTRIBUTE.locked()


def factory(tasks):
    @parallel_task(n_jobs=2)
    def made(item: int) -> bool:
        return OF_FACTORY.locked()

    @parallel_task(n_jobs=2)
    def dropped(item: int) -> bool:
        return DROPPED.locked()

    tasks.append(made)


def threads(item: int) -> bool:
    return IN_THREADS.locked()


TASKS = {"save": parallel_task(in_dict)}
MORE = [[parallel_task(n_jobs=2)(in_list)]]
HOLDER = SimpleNamespace(save=parallel_task(in_attribute))
OVERRIDDEN = [parallel_task(threads).override(backend="threading")]
factory(MORE)

dag = DAG("held", schedule=None)
