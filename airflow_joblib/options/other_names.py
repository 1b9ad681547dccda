"""What other libraries call options that are ours, or that nobody needs here."""

from __future__ import annotations

__all__ = ["OTHER_NAMES"]

_WORKERS = "Use n_jobs, the number of workers."
_TIMEOUT = "Use item_timeout for one try of one item, execution_timeout for the whole task."
_CHUNKS = "Use batch_size, the items per dispatch."
_RETRIES = "Use item_retries for the tries of one item, retries for those of the whole task."
_DELAY = "Use item_retry_delay, the seconds before an item's first retry."
_WORTH = "Use item_retry_on, the exception types that are worth another try of an item."
_NOT_WORTH = "Use item_retry_on for what is worth another try of an item, or raise FailItem in the item."
_SET_UP = "Use per_worker, which opens a resource once in each worker and closes it."
_OF_JOBLIB = "Give it to joblib: backend_options={{{name!r}: ...}}."
_BACKEND = 'Use backend: "loky" for processes, "threading" for threads.'
_FAIL_FAST = (
    "Use max_failures for how many items may fail, and fail_fast=False for a task that fails when all items have run."
)
_SHOWN = "It isn't needed: progress is shown in the log, in a terminal and in a notebook."
_ORDERED = "It isn't needed: the results are a list in the order of the items."
_BY_NEED = "It isn't needed: items are drawn and sent as workers become free."
_NAMED = "Use label, a function of the item that returns a short text."
_RATE = 'Use rate_limit, the items that may start in a span of time: 10 a second, or "100/min".'
_PARAMETER = "Use over, the name of the parameter that takes the item."
_SEVERAL = 'Use over for items of several parameters, as in over=("record_id", "value"), and pass tuples as the items.'

_TABLE = {
    _WORKERS: """
        workers max_workers n_workers num_workers nb_workers processes n_processes num_processes nprocs num_proc n_proc
        threads n_threads num_threads max_threads num_jobs jobs n_cores cores n_cpus num_cpus cpus parallelism""",
    _TIMEOUT: "timeout time_limit soft_time_limit timeout_seconds task_timeout item_time_limit",
    _CHUNKS: "chunksize chunk_size chunks batch_len n_chunks items_per_chunk",
    _RETRIES: "retry item_retry max_retries n_retries num_retries max_tries tries attempts max_attempts",
    _DELAY: "retry_wait wait_before_retry retry_backoff backoff retry_delay_seconds",
    _WORTH: """
        retry_on retry_for retry_if retry_if_exception_type retry_exceptions retryable_exceptions retry_on_exceptions
        autoretry_for retry_exception retry_on_exception item_retry_exceptions""",
    _NOT_WORTH: "dont_retry_on dont_autoretry_for no_retry_on giveup fatal_exceptions non_retryable_exceptions throws",
    _SET_UP: "initializer initargs worker_init setup worker_setup",
    _OF_JOBLIB: "mmap_mode max_nbytes temp_folder inner_max_num_threads",
    _BACKEND: "prefer require use_threads use_dill start_method mp_context executor_class",
    _FAIL_FAST: """
        fail_on_first stop_on_error stop_on_failure stop_on_first_failure raise_on_error ignore_errors continue_on_error
        continue_on_failure keep_going return_exceptions raise_exceptions on_error allow_failures error_score""",
    _SHOWN: "verbose verbosity progress progress_bar progressbar show_progress desc",
    _ORDERED: "return_as ordered preserve_order return_generator",
    _BY_NEED: "pre_dispatch prefetch buffersize n_jobs_ahead max_tasks_per_child maxtasksperchild",
    _NAMED: "item_name_function task_run_name map_index_name item_label label_function name_of",
    _RATE: """
        rate rate_limits max_rate max_per_second max_per_minute per_second per_minute throttle throttling qps max_qps
        rps max_rps requests_per_second requests_per_minute calls_per_second items_per_second""",
    _PARAMETER: "item_name items_name map_over iterate_over",
    _SEVERAL: "starmap star unpack unpack_items spread splat zip zipped item_names",
}

#: Name of an option of another library to what to use here.
OTHER_NAMES = {name: advice.format(name=name) for advice, names in _TABLE.items() for name in names.split()}
