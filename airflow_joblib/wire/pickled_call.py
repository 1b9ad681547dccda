"""What every worker is sent once: the call, pickled and thereby checked, and the classes that items refer to."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from airflow_joblib.exceptions import NotPicklableError
from airflow_joblib.pickling import check_function, explain_call, explain_shared
from airflow_joblib.pickling.pickler import dumps
from airflow_joblib.pickling.plain import is_plain
from airflow_joblib.wire.shared_pickle import pack, send, share_above

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from airflow_joblib.exceptions import Culprit
    from airflow_joblib.pickling.inherited import Inherited
    from airflow_joblib.wire.call import Call
    from airflow_joblib.wire.shared_pickle import Packed, Sent

__all__ = ["PickledCall"]


class PickledCall:
    """The call on its way to the workers.

    Args:
        call: The function with everything but the item.
        local: Whether the workers are children of this process, with which it can share memory.
        backend_options: Which may have joblib's ``max_nbytes``.
        inherited: Whether the workers are likely to be forked, and so to need nothing sent.
    """

    def __init__(self, call: Call, backend_options: Mapping[str, Any], *, local: bool, inherited: bool = False) -> None:
        self._call = call
        self._local = local
        self._inherited = inherited
        self._share_above = share_above(backend_options)
        self._packed: Packed | bytes | None = None

    def check(self) -> list[Culprit]:
        """Pickle the call, and return what of it can't travel."""
        try:
            if self._inherited:
                pack(_without_plain_data(self._call), verify=True)
            else:
                self._packed = self._pack()
        except Exception as error:  # noqa: BLE001 - pickling runs code of the user
            return self._explain() or [explain_call(self._call.function, error)]
        return []

    def _pack(self) -> Packed | bytes:
        if self._local:
            return pack(self._call, share_above=self._share_above, verify=True)
        # Alone first: it is pickled again if it needs more of a module, which large arguments must not be.
        dumps((self._call.function, dict(self._call.factories)))
        return dumps(self._call, verify=True)

    def _explain(self) -> list[Culprit]:
        try:
            check_function(self._call.function, self._call.factories, self._call.retry_on)
        except NotPicklableError as error:
            found = list(error.culprits)
        else:
            found = []
        try:
            dumps(self._call.arguments(), verify=True)
        except Exception:  # noqa: BLE001
            found += explain_shared(self._call.arguments())
        return found

    @contextmanager
    def sent(self, kinds: Iterable[type]) -> Iterator[Sequence[Sent | bytes]]:
        """Give what workers load the call from, and the classes that items refer to by key. To be entered once."""
        packed, self._packed = self._packed, None  # what is shared need not be kept
        if packed is None:
            packed = self._pack()
        if isinstance(packed, bytes):
            yield packed, dumps(list(kinds))
            return
        shared, sent = send(packed, pack(list(kinds)))
        del packed
        with shared:
            yield sent

    @contextmanager
    def sent_by_name(self, shared: Inherited) -> Iterator[Sequence[Sent]]:
        """Give the same to workers that have *shared* from before a fork. They need no classes by key."""
        memory, sent = send(pack(self._call, share_above=self._share_above, verify=True, shared=shared), pack([]))
        with memory:
            yield sent


def _without_plain_data(call: Call) -> Call:
    """Return what of a call has to be pickled to know whether it can be."""
    before, after = (tuple(each for each in part if not is_plain(each)) for part in (call.before, call.after))
    shared = {name: value for name, value in call.shared.items() if not is_plain(value)}
    return replace(call, before=before, after=after, shared=shared)
