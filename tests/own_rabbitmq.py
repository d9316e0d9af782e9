"""A RabbitMQ of a test's own, which it may stop, kill and starve as it likes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import aio_pika
from aio_pika.exceptions import CONNECTION_EXCEPTIONS

from tests.not_run import not_run
from tests.shop import free_ports
from tests.waiting import eventually

_PROGRAMS = Path("/usr/lib/rabbitmq/bin")


class OwnRabbitMQ:
    """One node on ports of its own, with a port mapper of its own."""

    def __init__(self, folder: Path) -> None:
        port, distribution, mapper = free_ports(3)
        self._folder = folder
        self._server: subprocess.Popen[bytes] | None = None
        self.url = f"amqp://guest:guest@127.0.0.1:{port}/"
        (folder / "plugins").write_text("[].\n")
        (folder / "environment").touch()
        self._environment = {
            **os.environ,
            "HOME": str(folder),  # where Erlang's cookie is
            "ERL_EPMD_PORT": str(mapper),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "environment"),
            "RABBITMQ_CONFIG_FILE": str(folder / "none"),
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_NODENAME": f"test-{uuid.uuid4().hex[:8]}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(port),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
        }

        # A child of ours: one that the node starts itself would stay.
        self._mapper = subprocess.Popen(["epmd", "-port", str(mapper)], stdout=subprocess.DEVNULL)

    async def start(self) -> None:
        """Start the node, and wait until it takes connections."""
        self._server = subprocess.Popen(  # noqa: ASYNC220 - it returns at once
            [_PROGRAMS / "rabbitmq-server"],
            env=self._environment,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

        async def answers() -> bool:
            with suppress(*CONNECTION_EXCEPTIONS, TimeoutError):
                await (await aio_pika.connect(self.url, timeout=5)).close()
                return True
            return False

        await eventually(answers, within=90)

    def control(self, *arguments: str) -> None:
        """Run `rabbitmqctl` on the node."""
        command: list[str | Path] = [_PROGRAMS / "rabbitmqctl", *arguments]
        done = subprocess.run(command, env=self._environment, cwd=self._folder, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()[-1000:]

    def kill(self) -> None:
        """End the node as a power cut would."""
        if self._server is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._server.pid, signal.SIGKILL)
            self._server.wait(30)
            self._server = None

    def close(self) -> None:
        """End the node and its port mapper."""
        self.kill()
        self._mapper.kill()
        self._mapper.wait(30)


@contextmanager
def own_rabbitmq_node() -> Iterator[OwnRabbitMQ]:
    """A node that is not started yet, and nothing of which stays. The test is not run where there is no RabbitMQ."""
    if not (_PROGRAMS / "rabbitmq-server").is_file() or not shutil.which("epmd"):
        not_run("rabbitmq", "needs RabbitMQ's own programs (rabbitmq-server, rabbitmqctl)")
    with tempfile.TemporaryDirectory(prefix="rabbitmq-", ignore_cleanup_errors=True) as folder:
        node = OwnRabbitMQ(Path(folder))
        try:
            yield node
        finally:
            node.close()
