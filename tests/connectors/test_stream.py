"""The way from the line to ``notifications()``."""

import asyncio

import pytest

from cti_django.calls.notifications import SessionNotification
from cti_django.connectors.stream import ROOM, NotificationStream
from cti_django.exceptions import ConnectionLost


def said(number):
    return SessionNotification(name="INFO", message=str(number))


async def test_what_was_said_before_the_end_is_still_heard():
    stream = NotificationStream()
    stream.put(said(1))
    stream.put(said(2))
    stream.end()
    stream.put(said(3))
    assert [one.message async for one in stream] == ["1", "2"]
    assert [one async for one in stream] == []


async def test_an_error_comes_behind_everything_else_and_only_the_first_counts():
    stream = NotificationStream()
    stream.put(said(1))
    stream.fail(ConnectionLost("first"))
    stream.fail(ConnectionLost("second"))
    reader = aiter(stream)
    assert (await anext(reader)).message == "1"
    with pytest.raises(ConnectionLost, match="first"):
        await anext(reader)


async def test_a_reader_waits_for_news():
    stream = NotificationStream()
    reading = asyncio.create_task(anext(aiter(stream)))
    await asyncio.sleep(0)
    stream.put(said(1))
    assert (await reading).message == "1"


async def test_a_flood_waits_until_the_reader_has_caught_up():
    stream = NotificationStream()
    for number in range(ROOM + 1):
        stream.put(said(number))
    waiting = asyncio.create_task(stream.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    reader = aiter(stream)
    for _ in range(ROOM):
        await anext(reader)
    async with asyncio.timeout(1):
        await waiting


async def test_nobody_waits_for_room_in_a_stream_that_is_over():
    stream = NotificationStream()
    for number in range(ROOM + 1):
        stream.put(said(number))
    waiting = asyncio.create_task(stream.room())
    await asyncio.sleep(0)
    stream.end()
    async with asyncio.timeout(1):
        await waiting
