"""An SFTP server of its own: a real remote storage, with a folder behind it to look into."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["sftp_server"]

LOGIN, PASSWORD = "storage", "the password of the storage"


@contextmanager
def sftp_server(root: Path) -> Iterator[dict[str, Any]]:
    """Serve *root* on this machine; gives an Airflow connection to it, without an id."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="sftp-server")
    thread.start()
    try:
        server = asyncio.run_coroutine_threadsafe(_listen(root), loop).result(30)
        yield {
            "conn_type": "sftp",
            "host": "127.0.0.1",
            "port": server.get_port(),
            "login": LOGIN,
            "password": PASSWORD,
            "extra": '{"no_host_key_check": "true"}',
        }
        asyncio.run_coroutine_threadsafe(_close(server), loop).result(30)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _listen(root: Path) -> Any:
    import asyncssh

    class Login(asyncssh.SSHServer):
        def validate_password(self, username: str, password: str) -> bool:
            return (username, password) == (LOGIN, PASSWORD)

        def password_auth_supported(self) -> bool:
            return True

    def files(channel: Any) -> Any:
        return asyncssh.SFTPServer(channel, chroot=str(root).encode())

    keys = [asyncssh.generate_private_key("ssh-ed25519")]
    return await asyncssh.listen("127.0.0.1", 0, server_factory=Login, server_host_keys=keys, sftp_factory=files)


async def _close(server: Any) -> None:
    server.close()
    await server.wait_closed()
