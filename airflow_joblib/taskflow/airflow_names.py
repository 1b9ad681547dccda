"""Every name of Airflow that is no public API and is relied on, as a table. :mod:`.airflow_internals` looks them up."""

from __future__ import annotations

__all__ = [
    "COMMS",
    "CONTEXT",
    "DATABASE",
    "FOR_CHECK",
    "LATER",
    "LATER_REQUESTS",
    "LEVELS",
    "LOGGING",
    "LOOK_FOR_RUNNER",
    "LOUD",
    "MASKERS",
    "METRICS",
    "NAMES",
    "NO_DATABASE",
    "REQUESTS",
    "TASK_RUNNER",
    "TESTING",
    "WARNINGS",
    "places",
    "places_for_testing",
]

CONTEXT = "airflow.sdk.definitions._internal.contextmanager"
TASK_RUNNER = "airflow.sdk.execution_time.task_runner"
MASKERS = "airflow.sdk._shared.secrets_masker.secrets_masker"
#: These look for the supervisor only if the task runner's module is loaded, and in the database otherwise.
LOOK_FOR_RUNNER = ("airflow.models.connection", "airflow.models.variable")
#: Loggers that are loud while Airflow is imported, which in the task has been long ago.
LOUD = ("airflow.configuration", "airflow.settings")
#: What keeps the children of a task's process from the database: a variable of the environment, and how it begins.
DATABASE, NO_DATABASE = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "airflow-db-not-allowed:"
#: Modules between the code that logs and what takes the record.
LOGGING = ("airflow._shared.logging", "airflow.sdk._shared.logging")

#: Takes metrics in a task's process, from Airflow 3.2 on.
METRICS = "airflow.sdk.observability.stats"

COMMS = "airflow.sdk.execution_time.comms"
_DECORATOR = "airflow.sdk.bases.decorator"
_ERRORS = "airflow.sdk.exceptions"
_SDK_CONTEXT = "airflow.sdk.execution_time.context"
LEVELS = "airflow.sdk._shared.logging.structlog:PER_LOGGER_LEVELS"

#: Requests that a worker may make, those of all supported versions.
REQUESTS = str.split("""
    DeleteVariable DeleteXCom GetAssetByName GetAssetByUri GetAssetEventByAsset GetAssetEventByAssetAlias GetConnection
    GetDRCount GetDagRunState GetPrevSuccessfulDagRun GetPreviousDagRun GetTICount GetTaskRescheduleStartDate
    GetTaskStates GetVariable GetXCom GetXComCount GetXComSequenceItem GetXComSequenceSlice MaskSecret PutVariable
    SetXCom""")
#: Those that came with Airflow 3.2 or later.
LATER_REQUESTS = str.split("""
    ClearAssetStateStoreByName ClearAssetStateStoreByUri ClearTaskStateStore DeleteAssetStateStoreByName
    DeleteAssetStateStoreByUri DeleteTaskStateStore GetAssetStateStoreByName GetAssetStateStoreByUri GetAssetsByAlias
    GetDag GetDagRun GetPreviousTI GetTaskBreadcrumbs GetTaskStateStore GetVariableKeys SetAssetStateStoreByName
    SetAssetStateStoreByUri SetTaskStateStore""")

#: Name in :mod:`.airflow_internals` to where Airflow has it, as ``module:name``. Versions differ: the first place that
#: there is counts.
NAMES: dict[str, tuple[str, ...]] = {
    "AirflowNotFoundException": (f"{_ERRORS}:AirflowNotFoundException", "airflow.exceptions:AirflowNotFoundException"),
    "AirflowRuntimeError": (f"{_ERRORS}:AirflowRuntimeError",),
    "BaseXCom": ("airflow.sdk.bases.xcom:BaseXCom",),
    "CLASSNAME": ("airflow.sdk.serde:CLASSNAME", "airflow.serialization.serde:CLASSNAME"),
    "CommsDecoder": (f"{COMMS}:CommsDecoder",),
    "ConnectionAccessor": (f"{_SDK_CONTEXT}:ConnectionAccessor",),
    "ConnectionResult": (f"{COMMS}:ConnectionResult",),
    "DagContext": (f"{CONTEXT}:DagContext",),
    "DecoratedMappedOperator": (f"{_DECORATOR}:DecoratedMappedOperator",),
    "DecoratedOperator": (f"{_DECORATOR}:DecoratedOperator",),
    "ErrorResponse": (f"{COMMS}:ErrorResponse",),
    "ErrorType": (f"{_ERRORS}:ErrorType",),
    "LazyXComSequence": ("airflow.sdk.execution_time.lazy_sequence:LazyXComSequence",),
    "RequestFrame": (f"{COMMS}:_RequestFrame",),
    "ResponseFrame": (f"{COMMS}:_ResponseFrame",),
    "SCHEMA_ID": ("airflow.sdk.serde:SCHEMA_ID", "airflow.serialization.serde:SCHEMA_ID"),
    "SecretsMasker": (f"{MASKERS}:SecretsMasker",),
    "TaskDecorator": (f"{_DECORATOR}:_TaskDecorator",),
    "VariableAccessor": (f"{_SDK_CONTEXT}:VariableAccessor",),
    "VariableResult": (f"{COMMS}:VariableResult",),
    "XCom": ("airflow.sdk.execution_time.xcom:XCom",),
    "coerce_datetime": ("airflow.sdk.timezone:coerce_datetime",),
    "conf": ("airflow.sdk.configuration:conf", "airflow.configuration:conf"),
    "core_conf": ("airflow.configuration:conf",),
    "deserialize": ("airflow.sdk.serde:deserialize", "airflow.serialization.serde:deserialize"),
    "block_orm_access": ("airflow.sdk.execution_time.supervisor:block_orm_access",),
    "get_connection": (f"{_SDK_CONTEXT}:_get_connection",),
    "get_previous_dagrun_success": (f"{_SDK_CONTEXT}:get_previous_dagrun_success",),
    "get_variable": (f"{_SDK_CONTEXT}:_get_variable",),
    "get_unique_dag_module_name": (
        "airflow.utils.file:get_unique_dag_module_name",
        "airflow._shared.module_loading.dag_file:get_unique_dag_module_name",
    ),
    "mask_secret": ("airflow.sdk.log:mask_secret",),
    "redact": ("airflow.sdk._shared.secrets_masker:redact",),
    "serialize": ("airflow.sdk.serde:serialize", "airflow.serialization.serde:serialize"),
    "should_hide_value_for_key": ("airflow.sdk._shared.secrets_masker:should_hide_value_for_key",),
    "task_decorator_factory": (f"{_DECORATOR}:task_decorator_factory",),
}
#: Those of later versions; None stands in the place of one that there is not.
LATER = {"AirflowSecretsBackendAccessDenied": f"{_ERRORS}:AirflowSecretsBackendAccessDenied"}
#: Those that the check of DAG files alone needs: parallel tasks run without them.
FOR_CHECK: dict[str, tuple[str, ...]] = {
    "find_path_from_directory": (
        "airflow._shared.module_loading.file_discovery:find_path_from_directory",
        "airflow.utils.file:find_path_from_directory",
    ),
    "might_contain_dag": (
        "airflow.utils.file:might_contain_dag",
        "airflow._shared.module_loading.dag_file:might_contain_dag",
    ),
}
#: Those that unit tests alone need: an Airflow that lacks one runs parallel tasks all the same.
TESTING: dict[str, tuple[str, ...]] = {
    "AirflowSkipException": (f"{_ERRORS}:AirflowSkipException", "airflow.exceptions:AirflowSkipException"),
    "DagRunModel": ("airflow.sdk.api.datamodels._generated:DagRun",),
    "RuntimeTaskInstance": (f"{TASK_RUNNER}:RuntimeTaskInstance",),
    "TIRunContext": ("airflow.sdk.api.datamodels._generated:TIRunContext",),
    "configure_logging": ("airflow.sdk.log:configure_logging",),
    "finalize_task": (f"{TASK_RUNNER}:finalize",),
    "run_task": (f"{TASK_RUNNER}:run",),
    "secrets_masker": ("airflow.sdk._shared.secrets_masker:_secrets_masker",),
}
#: Where Airflow keeps what showed warnings before it did; versions differ, and what is not there needs no care.
WARNINGS = (
    "airflow.sdk._shared.logging.structlog:_WarningsInterceptor._original_showwarning",
    "airflow.sdk.log:_warnings_showwarning",
)
_PARTS_FOR_TESTING = (
    "airflow.sdk.log:configure_logging.__wrapped__",
    f"{TASK_RUNNER}:RuntimeTaskInstance.get_template_context",
    f"{TASK_RUNNER}:RuntimeTaskInstance.model_construct",
    f"{MASKERS}:SecretsMasker.patterns",
    f"{MASKERS}:SecretsMasker.replacer",
    "airflow.sdk.bases.xcom:BaseXCom.deserialize_value",
    *(
        f"{COMMS}:{reply}"
        for reply in str.split("""
    AssetEventsResult ConnectionResult DagRunStateResult InactiveAssetsResult OKResponse PrevSuccessfulDagRunResult
    PreviousDagRunResult TaskRescheduleStartDate VariableResult XComCountResponse XComResult XComSequenceIndexResult
    XComSequenceSliceResult""")
    ),
)
#: What is used of the above, or by its own name.
_PARTS = (
    f"{CONTEXT}:DagContext.get_current",
    f"{CONTEXT}:_CURRENT_CONTEXT",
    f"{CONTEXT}:_get_current_context",
    f"{TASK_RUNNER}:SUPERVISOR_COMMS",
    *(f"{COMMS}:CommsDecoder.{part}" for part in ("_from_frame", "id_counter", "resp_decoder", "send")),
    f"{COMMS}:_RequestFrame.as_bytes",
    f"{COMMS}:_ResponseFrame.as_bytes",
    *(f"{COMMS}:{request}" for request in REQUESTS),
    f"{_DECORATOR}:DecoratedMappedOperator.prepare_for_execution",
    *(f"{_DECORATOR}:_TaskDecorator.{part}" for part in ("function", "kwargs", "operator_class")),
    f"{_ERRORS}:ErrorType.CONNECTION_NOT_FOUND",
    f"{_ERRORS}:ErrorType.GENERIC_ERROR",
    f"{MASKERS}:SecretsMasker.add_mask",
    "airflow.sdk.bases.xcom:BaseXCom.serialize_value",
    LEVELS,
    *(f"{module}:" for module in LOOK_FOR_RUNNER),
)


def places() -> list[tuple[str, ...]]:
    """Return where every name has to be: in one of the places of each tuple."""
    return [*NAMES.values(), *((place,) for place in _PARTS)]


def places_for_testing() -> list[tuple[str, ...]]:
    """Return the same for what unit tests need besides."""
    return [*TESTING.values(), *((place,) for place in _PARTS_FOR_TESTING)]
