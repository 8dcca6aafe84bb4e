"""Readers that threads borrow: one for each at a time, and none that has failed."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from rasterio.errors import RasterioIOError

from network.errors import InputError
from network.serving.readers import Readers

PATH = Path("town.tif")


def test_a_reader_is_lent_again_and_never_twice_at_a_time():
    opened: list[object] = []
    readers = Readers(PATH, lambda: opened.append(object()) or opened[-1])
    for _ in range(3):
        with readers.borrowed() as first:
            assert first is opened[0]
    with readers.borrowed() as first, readers.borrowed() as second:
        assert first is not second
    assert len(opened) == 2


def test_threads_share_as_many_readers_as_read_at_the_same_time():
    lent: set[object] = set()
    everyone = threading.Barrier(4)

    def read(_: int) -> None:
        with readers.borrowed() as reader:
            assert reader not in lent
            lent.add(reader)
            everyone.wait(timeout=60)
            lent.discard(reader)

    opened: list[object] = []
    readers = Readers(PATH, lambda: opened.append(object()) or opened[-1])
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(read, range(40)))
    assert len(opened) == 4


def test_an_error_names_the_raster_and_its_reader_is_not_lent_again():
    readers = Readers(PATH, object)
    with pytest.raises(InputError, match=r"town\.tif: unreadable"), readers.borrowed() as one:
        raise RasterioIOError("damaged")
    with readers.borrowed() as other:
        assert other is not one


def test_an_error_of_opening_names_the_raster():
    def refuse() -> object:
        raise RasterioIOError("no such file")

    readers = Readers(PATH, refuse)
    with pytest.raises(InputError, match=r"town\.tif: unreadable"), readers.borrowed():
        pass
