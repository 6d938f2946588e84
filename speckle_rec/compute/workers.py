"""Independent tasks on several processes or on a dask cluster: results as they come, failures among them."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor
from concurrent.futures import wait as wait_for
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

import cv2
import numba

from ..errors import InputError, SpeckleRecError
from .memory import keep_freed

Outcome = tuple[int, Any]       # index of the task; its result, or the exception that ended it

CONNECT_S = 20
POLL_S = 5              # between looks at whether a cluster that ends no task has any workers left
WORKERS_BACK_S = 120    # in which lost workers may come back


def run_all(work: Callable[[Any], Any], tasks: Sequence[Any], *, jobs: int = 1,
            scheduler: str | None = None) -> Iterator[Outcome]:
    """Run ``work(task)`` for every task; yields (index, result or exception) as they end.

    Parameters
    ----------
    work : a function of a module, so that other processes find it; it does not depend on the others.
    jobs : processes. The kernels of each take their share of the threads.
    scheduler : address of a dask scheduler; its workers need this package and the same files at the same paths.

    Raises
    ------
    InputError
        If no scheduler answers at the address, or dask is not installed.
    SpeckleRecError
        If a cluster has had no workers for `WORKERS_BACK_S`.
    """
    if scheduler is not None:
        yield from _on_cluster(work, tasks, scheduler)
    elif jobs <= 1 or len(tasks) <= 1:
        yield from ((i, _attempt(work, task)) for i, task in enumerate(tasks))
    else:
        yield from _on_processes(work, tasks, jobs)


def set_threads(threads: int) -> int:
    """Let the kernels of this process use `threads` threads (0: all); returns how many that are."""
    most = int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
    threads = min(threads or most, most)
    numba.set_num_threads(threads)
    cv2.setNumThreads(threads)
    return threads


def _quiet(share: int) -> None:
    """Start of a worker process: Ctrl-C is for the parent to hear, who ends the workers; none outlives it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    set_threads(share)
    keep_freed()


def _end_with_parent() -> None:
    """Wait for the parent to end, however it does, and end at once: nobody is left to hear of the task."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _attempt(work: Callable[[Any], Any], task: Any) -> Any:
    try:
        return work(task)
    except Exception as error:
        return error


def _on_processes(work: Callable[[Any], Any], tasks: Sequence[Any], jobs: int) -> Iterator[Outcome]:
    """As many tasks at a time as processes. If a process dies, those that ran are tried again one by one."""
    jobs = min(jobs, len(tasks))
    waiting, suspects = list(range(len(tasks))), list[int]()
    while waiting or suspects:
        alone = bool(suspects)
        todo = suspects if alone else waiting
        with _ended_early(_pool(1 if alone else jobs)) as pool:
            running: dict[Future, int] = {}
            broken = False
            while (todo and not broken) or running:
                while todo and not broken and len(running) < (1 if alone else jobs):
                    i = todo.pop(0)
                    try:
                        running[pool.submit(_attempt, work, tasks[i])] = i
                    except BrokenProcessPool:
                        todo.insert(0, i)
                        broken = True
                for future in wait_for(running, return_when=FIRST_COMPLETED)[0]:
                    i = running.pop(future)
                    error = future.exception()
                    if not isinstance(error, BrokenProcessPool):
                        yield i, future.result() if error is None else error
                        continue
                    broken = True
                    if alone:
                        yield i, SpeckleRecError("the process died (out of memory?)")
                    else:
                        suspects.append(i)


@contextmanager
def _ended_early(pool: ProcessPoolExecutor) -> Iterator[ProcessPoolExecutor]:
    """The pool, whose processes are killed where the block is left early: by Ctrl-C or a caller that stops."""
    try:
        yield pool
    except BaseException:
        for process in list((pool._processes or {}).values()):
            process.kill()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _pool(jobs: int) -> ProcessPoolExecutor:
    share = max(1, int(numba.config.NUMBA_NUM_THREADS) // jobs)  # type: ignore[attr-defined]
    try:
        return ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _quiet, (share,))
    except OSError as error:
        raise InputError(f"--jobs {jobs}: several processes need /dev/shm, which cannot be written to "
                         f"({error.strerror}); take one") from error


def _on_cluster(work: Callable[[Any], Any], tasks: Sequence[Any], scheduler: str) -> Iterator[Outcome]:
    try:
        from distributed import Client, wait
    except ImportError as error:
        raise InputError("--scheduler: needs dask; pip install 'speckle-rec[cluster]'") from error
    try:
        client = Client(scheduler, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise InputError(f"--scheduler {scheduler}: no dask scheduler answers there "
                         f"({' '.join(str(error).split())[:120]})") from error
    with client:
        futures = {client.submit(_attempt, work, task, pure=False): i for i, task in enumerate(tasks)}
        alone_s = 0.0
        while futures:
            try:
                with client.as_current():
                    ended = wait(list(futures), timeout=POLL_S, return_when="FIRST_COMPLETED").done
            except TimeoutError:
                alone_s = 0.0 if client.nthreads() else alone_s + POLL_S
                if alone_s >= WORKERS_BACK_S:
                    raise SpeckleRecError(f"--scheduler {scheduler}: no workers for {alone_s:.0f} s, "
                                          f"{len(futures)} of {len(tasks)} tasks are not done") from None
                continue
            alone_s = 0.0
            for future in ended:
                while future.done():
                    try:
                        lost = future.exception(timeout=POLL_S)
                        outcome = future.result(timeout=POLL_S) if lost is None else lost
                    except TimeoutError:        # underway; or gone with its machine, and then to be done again
                        continue
                    yield futures.pop(future), outcome
                    future.release()
                    break
