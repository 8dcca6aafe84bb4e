"""Micro-batches: what goes together, what stays apart, and what an error or an end leaves."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import numpy as np
import pytest

from network.serving.batches import Batches, Cancelled, Ticket


class Network:
    """Doubles its input, notes the shapes that it sees, and can be held back."""

    def __init__(self):
        self.shapes: list[tuple[int, ...]] = []
        self.open, self.is_called = threading.Event(), threading.Event()
        self.open.set()

    def __call__(self, images):
        self.is_called.set()
        self.open.wait(10)
        self.shapes.append(tuple(images.shape))
        if (images == 13).any():
            raise ValueError("thirteen")
        return 2 * images


@pytest.fixture
def network():
    return Network()


def run(batches, images, pool):
    """Ask for all images at once, each by a ticket of its own."""
    with ExitStack() as stack:
        tickets = [stack.enter_context(Ticket(batches)) for _ in images]
        asked = [pool.submit(t.logits, i) for t, i in zip(tickets, images, strict=True)]
        for one in asked:
            one.exception(10)
        return asked


def test_windows_of_one_shape_go_together(network):
    sizes = [4, 4, 8, 4, 8, 4]
    images = [np.full((1, 3, size, size), float(n)) for n, size in enumerate(sizes)]
    seen: list[int] = []
    batches = Batches(network, most=8, wait=0.5, observe=seen.append)
    with ThreadPoolExecutor(8) as pool:
        asked = run(batches, images, pool)
    batches.close()
    for image, one in zip(images, asked, strict=True):
        assert np.array_equal(one.result(), 2 * image)
    assert sorted(network.shapes) == [(2, 3, 8, 8), (4, 3, 4, 4)]
    assert sorted(seen) == [2, 4]


def test_a_batch_is_never_larger_than_allowed(network):
    batches = Batches(network, most=3, wait=0.2)
    with ThreadPoolExecutor(8) as pool:
        asked = run(batches, [np.ones((1, 1, 2, 2)) for _ in range(7)], pool)
    batches.close()
    assert all(one.result().sum() == 8 for one in asked)
    assert max(shape[0] for shape in network.shapes) <= 3


def test_large_windows_are_fewer_at_once(network):
    """A batch has no more pixels than allowed, unless one request brings them."""
    sizes = [4, 4, 4, 4, 4, 9, 9]
    batches = Batches(network, most=8, wait=0.2, pixels=2 * 4 * 4)
    with ThreadPoolExecutor(8) as pool:
        asked = run(batches, [np.ones((1, 1, size, size)) for size in sizes], pool)
    batches.close()
    assert [one.result().sum() for one in asked] == [2 * size**2 for size in sizes]
    shapes = sorted(network.shapes)
    assert shapes == [(1, 1, 4, 4), (1, 1, 9, 9), (1, 1, 9, 9), (2, 1, 4, 4), (2, 1, 4, 4)]


def test_a_single_request_does_not_wait(network):
    batches = Batches(network, most=8, wait=5)
    start = time.monotonic()
    with Ticket(batches) as ticket:
        ticket.logits(np.ones((1, 1, 2, 2)))
    assert time.monotonic() - start < 2
    batches.close()


def test_an_error_stays_with_its_request(network):
    batches = Batches(network, most=8, wait=0.5)
    with ThreadPoolExecutor(8) as pool:
        asked = run(batches, [np.full((1, 1, 2, 2), float(n)) for n in (1, 13, 2)], pool)
    batches.close()
    assert isinstance(asked[1].exception(), ValueError)
    assert [asked[n].result()[0, 0, 0, 0].item() for n in (0, 2)] == [2, 4]


def test_a_cancelled_request_leaves_the_queue(network):
    network.open.clear()
    batches = Batches(network, most=1, wait=0)
    with ThreadPoolExecutor(4) as pool, Ticket(batches) as first, Ticket(batches) as second:
        running = pool.submit(first.logits, np.ones((1, 1, 2, 2)))
        assert network.is_called.wait(10)
        waiting = pool.submit(second.logits, np.ones((1, 1, 4, 4)))
        while not batches._queue:
            time.sleep(0.01)
        second.cancel()
        with pytest.raises(Cancelled):
            waiting.result(5)  # although the network is still held back
        with pytest.raises(Cancelled):
            second.logits(np.ones((1, 1, 4, 4)))
        network.open.set()
        assert running.result(5).sum() == 8
    batches.close()
    assert network.shapes == [(1, 1, 2, 2)]


def test_a_request_cancelled_while_it_waits_for_others(network):
    """The queue is empty then, and the thread of the network goes on."""
    batches = Batches(network, most=8, wait=0.3)
    with ThreadPoolExecutor(2) as pool, Ticket(batches) as other, Ticket(batches) as one:
        waiting = pool.submit(one.logits, np.ones((1, 1, 2, 2)))
        while not batches._queue:
            time.sleep(0.01)
        one.cancel()
        with pytest.raises(Cancelled):
            waiting.result(5)
        batches._thread.join(0.6)  # longer than windows wait
        assert batches._thread.is_alive()
        assert other.logits(np.ones((1, 1, 2, 2))).sum() == 8
    batches.close()


def test_the_end_cancels_what_waits(network):
    network.open.clear()
    batches = Batches(network, most=1, wait=0)
    with ThreadPoolExecutor(4) as pool, Ticket(batches) as ticket:
        asked = [pool.submit(ticket.logits, np.ones((1, 1, 2, 2))) for _ in range(3)]
        assert network.is_called.wait(10)
        while len(batches._queue) < 2:
            time.sleep(0.01)
        threading.Timer(0.2, network.open.set).start()
        batches.close()
        assert sorted(type(one.exception(5)).__name__ for one in asked) == [
            *("Cancelled", "Cancelled", "NoneType"),
        ]
        with pytest.raises(Cancelled):
            ticket.logits(np.ones((1, 1, 2, 2)))
