import queue
import threading
from collections.abc import Callable

from rmq_server.store.flush import FlushThread


def thread_and_posts() -> tuple[FlushThread, "queue.SimpleQueue[Callable[[], None]]"]:
    posts: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
    return FlushThread(posts.put), posts


def test_work_runs_elsewhere_and_reports_here() -> None:
    worker, posts = thread_and_posts()
    threads: list[int] = []
    errors: list[Exception | None] = []
    worker.submit(lambda: threads.append(threading.get_ident()), errors.append)
    worker.submit(lambda: 1 / 0 and None, errors.append)
    while len(errors) < 2:
        posts.get(timeout=10)()
    assert threads != [threading.get_ident()]
    assert errors[0] is None
    assert isinstance(errors[1], ZeroDivisionError)
    worker.close()


def test_urgent_work_goes_first() -> None:
    worker, _ = thread_and_posts()
    started, go = threading.Event(), threading.Event()
    order: list[str] = []

    def first() -> None:
        started.set()
        go.wait(10)

    worker.submit(first, lambda _: order.append("first"))
    started.wait(10)
    worker.submit(lambda: None, lambda _: order.append("background"))
    worker.submit(lambda: None, lambda _: order.append("urgent"), urgent=True)
    go.set()
    worker.close()
    assert order == ["first", "urgent", "background"]


def test_close_finishes_what_reports_submit() -> None:
    worker, _ = thread_and_posts()
    order: list[int] = []

    def again(_: Exception | None) -> None:
        order.append(len(order))
        if len(order) < 5:
            worker.submit(lambda: None, again)

    worker.submit(lambda: None, again)
    worker.close()
    assert order == [0, 1, 2, 3, 4]
    worker.close()
