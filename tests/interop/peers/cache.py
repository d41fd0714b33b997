"""What is fetched and compiled: published jars, our Java programs, the Go programs.

    $PEERS_HOME (default ~/.cache/rmq-peers)
      VERSION/lib/*.jar, VERSION/.complete     jars of Apache RocketMQ as published, by Maven
      programs/NAME-DIGEST/                    compiled Java programs; the digest covers source and version

Maven, javac and go are used as this machine configures them. Everything is built aside and renamed into place under a
lock, so parallel sessions can share one cache and an interrupted one leaves nothing half done.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.interop.peers.process import PeerError

REFERENCE = "5.3.3"
"""The version whose behaviour ours follows."""
LAST_4X = "4.9.7"
"""The last 4.x whose broker is published."""

_MODULES = ("namesrv", "broker", "tools", "client")
_COPY_DEPENDENCIES = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"
# Published poms name a snapshot repository that nothing here needs: an empty local one takes its id.
_POM = """<project><modelVersion>4.0.0</modelVersion>
<groupId>peer</groupId><artifactId>apache-rocketmq</artifactId><version>{version}</version><packaging>pom</packaging>
<repositories><repository><id>apache.snapshots</id><url>file:///nonexistent</url>
<releases><enabled>false</enabled></releases><snapshots><enabled>false</enabled></snapshots></repository></repositories>
<dependencyManagement><dependencies><dependency><groupId>org.apache.rocketmq</groupId>
<artifactId>rocketmq-all</artifactId><version>{version}</version><type>pom</type><scope>import</scope></dependency>
</dependencies></dependencyManagement>
<dependencies>{dependencies}</dependencies></project>
"""
_DEPENDENCY = (
    "<dependency><groupId>org.apache.rocketmq</groupId>"
    "<artifactId>rocketmq-{module}</artifactId><version>{version}</version></dependency>"
)


def home() -> Path:
    """The cache folder."""
    return Path(os.environ.get("PEERS_HOME") or Path.home() / ".cache" / "rmq-peers").expanduser()


def missing(*tools: str) -> str | None:
    """Why programs that need `tools` cannot run here, or None when all are on the path."""
    absent = [tool for tool in tools if shutil.which(tool) is None]
    return f"not on the path: {', '.join(absent)}" if absent else None


def jars(version: str) -> Path:
    """The folder of the jars of one published version, fetched if it is not there yet.

    Raises: PeerError with Maven's output, when it cannot be fetched.
    """
    folder = home() / version
    if not (folder / ".complete").exists():
        with _locked():
            if not (folder / ".complete").exists():
                _fetch(version, folder)
    return folder / "lib"


def java_program(source: Path, version: str) -> Path:
    """Class folder of one source file, compiled against the jars of `version`.

    Raises: PeerError with the compiler's output.
    """
    libraries = jars(version)

    def build(target: Path) -> None:
        _run("javac", "-encoding", "UTF-8", "-nowarn", "-cp", f"{libraries}/*", "-d", str(target), str(source))

    return _built(f"java-{source.stem}-{version}", [version.encode(), source.read_bytes()], build)


def go_programs(module: Path, target: Path, replace: tuple[str, str]) -> Path:
    """Build every program of a Go module into `target`, after replacing one string in its sources.

    They are not cached, since the string holds a port in use now; Go keeps all but the last step in its own cache.

    Raises: PeerError with the output of `go build`.
    """
    with tempfile.TemporaryDirectory(prefix="rmq-peers-go-") as copied:
        for path in module.rglob("*"):
            if path.suffix in {".go", ".mod", ".sum"}:
                copy = Path(copied) / path.relative_to(module)
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_text(path.read_text(encoding="utf-8").replace(*replace), encoding="utf-8")
        _run("go", "build", "-o", f"{target}{os.sep}", "./...", directory=Path(copied))
    return target


def _fetch(version: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pom = folder / "pom.xml"
    dependencies = "".join(_DEPENDENCY.format(module=module, version=version) for module in _MODULES)
    pom.write_text(_POM.format(version=version, dependencies=dependencies), encoding="utf-8")
    with tempfile.TemporaryDirectory(dir=folder) as aside:
        _run(
            "mvn", "-q", "-B", "-f", str(pom), _COPY_DEPENDENCIES,
            "-DincludeScope=runtime", f"-DoutputDirectory={aside}/lib",
        )  # fmt: skip
        shutil.rmtree(folder / "lib", ignore_errors=True)
        (Path(aside) / "lib").rename(folder / "lib")
    (folder / ".complete").touch()


def _built(name: str, ingredients: Sequence[bytes], build: Callable[[Path], None]) -> Path:
    digest = hashlib.sha256()
    for ingredient in ingredients:
        digest.update(len(ingredient).to_bytes(8, "big") + ingredient)
    programs = home() / "programs"
    target = programs / f"{name}-{digest.hexdigest()[:16]}"
    if not target.exists():
        programs.mkdir(parents=True, exist_ok=True)
        with _locked():
            if not target.exists():
                aside = Path(tempfile.mkdtemp(dir=programs))
                try:
                    build(aside)
                    aside.rename(target)
                finally:
                    shutil.rmtree(aside, ignore_errors=True)
    return target


@contextmanager
def _locked() -> Iterator[None]:
    home().mkdir(parents=True, exist_ok=True)
    with (home() / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(*command: str, directory: Path | None = None) -> None:
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise PeerError(f"{' '.join(command)}\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
