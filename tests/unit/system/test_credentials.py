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
        ("s3://user:hunter 2pw@bucket/x", "s3://user:***@bucket/x"),
        ("https://host/a?sas=sv%3D2020%26x&y=1", "https://host/a?sas=***&y=1"),
        ("hf://token@repo/a", "hf://***@repo/a"),
        ("s3://hf_abcDEF123@bucket", "s3://***@bucket"),
        ("no one at hdfs://host:8020, ask a@b", "no one at hdfs://host:8020, ask a@b"),
        ("gs://conn_id@bucket/path", "gs://conn_id@bucket/path"),
        ("hdfs://host:8020/folder/a@b", "hdfs://host:8020/folder/a@b"),
        ("file:///home/a:b@c/kept", "file:///home/a:b@c/kept"),
        ("/home/a:b@c/kept", "/home/a:b@c/kept"),
    ],
)
def test_without_credentials(text: str, shown: str) -> None:
    """Passwords go, and everything else stays."""
    assert without_credentials(text) == shown


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3://user:hunter 2pw@bucket/x", "s3://user:***@bucket/x"),
        ("s3://user:it's p@ss/w d@bucket/x", "s3://user:***@bucket/x"),
        ("az://box?account_key=a b&x=1", "az://box?account_key=***&x=1"),
        ("hdfs://host:8020/folder/a@b", "hdfs://host:8020/folder/a@b"),
        ("s3://conn_id@bucket/my kept", "s3://conn_id@bucket/my kept"),
    ],
)
def test_a_whole_url(url: str, shown: str) -> None:
    """White space and quotation marks don't end a password where the text is one URL."""
    assert without_credentials(url, whole=True) == shown
