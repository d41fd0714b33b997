"""Servers and clients for the interop tests.

    pytest tests/interop                       published clients against our servers; our client against Apache's
    pytest tests/interop --against=apache      the same tests against Apache's servers: is the test right?
    pytest tests/interop -m sample             the part that runs on every change

A session starts one cluster, and every test uses topics and groups of its own.
"""

from collections.abc import Generator, Iterator

import pytest

from tests.interop.ours import our_cluster
from tests.interop.peers import LAST_4X, REFERENCE, Cluster, apache_cluster, missing

_SERVERS = ("ours", "apache", f"apache-{LAST_4X}")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--against", choices=_SERVERS, default="ours", help="whose servers published clients talk to")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "sample: the interop tests that run on every change")
    config.addinivalue_line("markers", "not_yet(reason): our servers cannot do this yet; strict, so that it is noticed")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What our servers cannot do yet must fail, with the reason printed; Apache's must do it."""
    if config.getoption("--against") != "ours":
        return
    for item in items:
        for mark in item.iter_markers("not_yet"):
            item.add_marker(pytest.mark.xfail(reason=str(mark.args[0]), strict=True))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the servers said last, under every failure."""
    report = yield
    if report.failed:
        for name in ("cluster", "apache"):
            if isinstance(cluster := getattr(item, "funcargs", {}).get(name), Cluster):
                said = f"{cluster.namesrv_process.report()}\n{cluster.broker_process.report()}"
                report.sections.append((f"servers: {cluster.kind}", said))
    return report


@pytest.fixture(scope="session")
def needs_java() -> None:
    """Skip what needs Java where Java is not complete."""
    if reason := missing("java", "javac", "mvn"):
        pytest.skip(reason)


@pytest.fixture(scope="session")
def _servers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    against = request.config.getoption("--against")
    directory = tmp_path_factory.mktemp(against)
    if against == "ours":
        with our_cluster(directory) as cluster:
            yield cluster
    else:
        request.getfixturevalue("needs_java")
        version = against.partition("-")[2] or REFERENCE
        with apache_cluster(directory, version=version) as cluster:
            yield cluster


@pytest.fixture
def cluster(_servers: Cluster) -> Iterator[Cluster]:
    """The servers that --against names; they must live before and after the test."""
    _servers.check_running()
    yield _servers
    _servers.check_running()


@pytest.fixture(scope="session")
def apache(needs_java: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Apache's servers, for our client, whatever --against says."""
    with apache_cluster(tmp_path_factory.mktemp("apache-for-our-client")) as cluster:
        yield cluster
