"""URLs in logs and errors, without their credentials."""

from __future__ import annotations

import pytest

from airflow_joblib.system.credentials import without_credentials


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://key:secret@bucket/path", "s3://key:***@bucket/path"),
        ("s3://key:sec/ret+=@bucket/path", "s3://key:***@bucket/path"),
        ("sftp://bob:p@ss@host:22/a", "sftp://bob:***@host:22/a"),
        ("sftp://bob:2222@host/a", "sftp://bob:***@host/a"),
        ("ftp://:secret@host", "ftp://:***@host"),
        ("can't reach 'sftp://u:pw@h/x', nor s3://k:s@b", "can't reach 'sftp://u:***@h/x', nor s3://k:***@b"),
        ("https://host/a?sv=1&sig=abc%3D&x=y", "https://host/a?sv=1&sig=***&x=y"),
        ("sc://host:15002/;token=abc;x=1", "sc://host:15002/;token=***;x=1"),
        ("gs://conn_id@bucket/path", "gs://conn_id@bucket/path"),
        ("hdfs://host:8020/folder/a@b", "hdfs://host:8020/folder/a@b"),
        ("file:///home/a:b@c/kept", "file:///home/a:b@c/kept"),
        ("/home/a:b@c/kept", "/home/a:b@c/kept"),
    ],
)
def test_without_credentials(text: str, shown: str) -> None:
    """Passwords go, and everything else stays."""
    assert without_credentials(text) == shown
