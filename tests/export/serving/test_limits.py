"""What one request, and all together, may ask: slots, memory, gzip, JSON, words."""

import asyncio
import gzip
import threading
import time

import numpy as np
import orjson
import pytest

from dsg_tf.data.scene import Vocabulary
from export.serving import rest_json, unpacking
from export.serving.limits import Limits, Slots
from export.serving.memory import Budget
from export.serving.status import LONGEST_MESSAGE, Status
from export.serving.words import Words


def test_slots_refuse_the_next_one_and_close_waits_for_the_last():
    slots, entered, leave = Slots(1, 1), threading.Event(), threading.Event()

    def stay():
        with slots.one("a"):
            entered.set()
            leave.wait(30)

    thread = threading.Thread(target=stay)
    thread.start()
    assert entered.wait(30)
    with pytest.raises(Status, match="1 requests are already") as caught, slots.one("b"):
        pass
    assert caught.value.code == "RESOURCE_EXHAUSTED"
    start = time.monotonic()
    slots.close(0.2)
    assert time.monotonic() - start >= 0.2 and thread.is_alive()
    leave.set()
    slots.close(30)
    thread.join(30)
    assert not thread.is_alive()
    with pytest.raises(Status, match="stopping") as caught, slots.one("b"):
        pass
    assert caught.value.code == "UNAVAILABLE"


def test_one_peer_does_not_take_all_slots():
    slots = Slots(4, 2)
    with slots.one("a"), slots.one("a"):
        with pytest.raises(Status, match="2 requests of this connection"), slots.one("a"):
            pass
        with slots.one("b"):
            pass
    with slots.one("a"):
        pass


async def hold(budget, size, peer, leave, seconds=30):
    async with budget.place(size, seconds, peer):
        await leave.wait()


async def silence():
    await asyncio.Event().wait()


def test_memory_is_given_back_and_never_more_than_there_is():
    async def run():
        budget, leave = Budget(100), asyncio.Event()
        first = asyncio.create_task(hold(budget, 60, "a", leave))
        await asyncio.sleep(0)
        assert budget.reserved == 60
        with pytest.raises(Status, match="no memory left") as caught:
            async with budget.place(60, 0.05, "b"):
                pass
        assert caught.value.code == "RESOURCE_EXHAUSTED"
        second = asyncio.create_task(hold(budget, 60, "c", leave))
        await asyncio.sleep(0.01)
        assert budget.reserved == 60 and not second.done()
        leave.set()
        await asyncio.gather(first, second)
        assert budget.reserved == 0
        async with budget.place(50, 1, "d") as place:
            place.resize(100)
            with pytest.raises(Status, match="no memory left"):
                place.resize(101)
            assert budget.reserved == 100
            place.resize(10)
            assert budget.reserved == 10
        assert budget.reserved == 0

    asyncio.run(run())


def test_who_sends_slowly_goes_when_others_need_the_memory_and_not_before():
    async def run():
        budget = Budget(100, grace=0.1)
        slow, codes = [], []

        async def send_slowly():
            try:
                async with budget.place(25, 30, "strangers") as place:
                    await place.receive(silence(), 30)
            except Status as error:
                codes.append(error)

        slow = [asyncio.create_task(send_slowly()) for _ in range(10)]
        await asyncio.sleep(0.3)
        # Two have the half that strangers may have; the others wait, and the first two have gone for two of them.
        assert 0 < len(codes) < 10 and budget.reserved == 50
        assert all("others need its memory" in error.message for error in codes)
        budget.known["friend"] = None
        start = time.monotonic()
        async with budget.place(50, 30, "friend") as place:
            assert time.monotonic() - start < 0.05  # At once: half of it is for those that are known.
            assert await place.receive(asyncio.sleep(0, "message"), 30) == "message"
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)
        assert budget.reserved == 0 and not budget.receiving

    asyncio.run(run())


def test_who_waits_gets_what_another_gives_back_before_it_ends():
    async def run():
        budget, leave = Budget(100), asyncio.Event()
        budget.known["b"] = None
        async with budget.place(100, 1, "a") as place:
            waiting = asyncio.create_task(hold(budget, 60, "b", leave))
            await asyncio.sleep(0.01)
            assert budget.reserved == 100
            place.resize(40)
            await asyncio.sleep(0.01)
            assert budget.reserved == 100 and not waiting.done()
            leave.set()
            await waiting
            assert budget.reserved == 40

    asyncio.run(run())


def test_a_message_has_to_arrive_in_time():
    async def run():
        budget = Budget(100)
        with pytest.raises(Status, match="did not arrive within 0.1 s") as caught:
            async with budget.place(10, 1, "a") as place:
                await place.receive(silence(), 0.1)
        assert caught.value.code == "DEADLINE_EXCEEDED" and budget.reserved == 0

    asyncio.run(run())


def test_gzip_is_unpacked_up_to_the_limit():
    limits = Limits(message_bytes=1000)
    assert unpacking.gunzip(gzip.compress(bytes(1000)), limits) == bytes(1000)
    with pytest.raises(Status, match="more than 1000 bytes when unpacked"):
        unpacking.gunzip(gzip.compress(bytes(1001)), limits)
    with pytest.raises(Status, match="ends too early"):
        unpacking.gunzip(gzip.compress(np.random.default_rng(0).bytes(900))[:-20], limits)
    with pytest.raises(Status, match="damaged"):
        unpacking.gunzip(b"\x1f\x8b" + bytes(50), limits)


def test_values_of_json_are_counted_before_they_are_made():
    limits = Limits(json_values=100)
    assert rest_json.count_values(orjson.dumps({"a": [[1, 2], [3]]}), limits) >= 6
    with pytest.raises(Status, match="more than 100"):
        rest_json.count_values(b"[" + b"[]," * 60 + b"[]]", limits)


def test_words_are_known_in_every_spelling_and_near_ones_are_named():
    words = Words(Vocabulary(("red cube", "blue ball"), ("left of",)))

    def query(*parts):
        return {
            name: np.array([[part.encode()]], object) for name, part in zip(("subject", "relation", "object"), parts)
        }

    words.check(query("Red  Cube", " LEFT of", "blue ball"))
    words.check(query("", "", ""))
    words.check(query(" ", "", ""))
    with pytest.raises(
        Status, match="query 0 of image 0: unknown subject 'red cub': did you mean 'red cube'"
    ) as caught:
        words.check(query("red cub", "left of", "blue ball"))
    assert caught.value.code == "INVALID_ARGUMENT"
    with pytest.raises(Status, match="unknown object 'left of'"):
        words.check(query("red cube", "left of", "left of"))
    with pytest.raises(Status, match="query 0 of image 0 has no relation"):
        words.check(query("red cube", "", "blue ball"))
    start = time.monotonic()
    with pytest.raises(Status) as caught:
        words.check(query("x" * 2**20, "left of", "blue ball"))
    assert time.monotonic() - start < 0.5 and len(caught.value.message) < 500


def test_messages_fit_into_the_trailers_of_http2():
    assert len(Status("INTERNAL", "x" * 10_000).message) == LONGEST_MESSAGE
    assert Status("INTERNAL", "x" * LONGEST_MESSAGE).message == "x" * LONGEST_MESSAGE
