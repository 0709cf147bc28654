"""Whose turn it is."""

from hypothesis import given
from hypothesis import strategies as st

from export.serving.turns import Turns


def order(turns):
    result = []
    while turns:
        peer, _ = turns.first()
        result.append(turns.pop(peer))
    return result


def test_who_asks_little_goes_before_what_another_has_piled_up():
    turns = Turns()
    for number in range(5):
        turns.add("much", f"much {number}", 4)
    assert turns.pop("much") == "much 0"
    turns.add("little", "little", 1)
    assert order(turns) == ["little", "much 1", "much 2", "much 3", "much 4"]


def test_one_cheap_call_does_not_wait_for_many_dear_ones_of_others():
    turns = Turns()
    for number in range(50):
        turns.add(f"peer {number}", number, 10)
    turns.add("light", "light", 1)
    assert turns.first() == ("light", "light")


def test_who_was_away_has_saved_nothing():
    turns = Turns()
    turns.add("a", "a0", 1)
    turns.pop("a")
    for number in range(10):
        turns.add("b", number, 1)
    for _ in range(10):
        turns.pop("b")
    for number in range(4):
        turns.add("a", f"a{number + 1}", 1)
        turns.add("b", number, 1)
    names = [str(name)[0] for name in order(turns)]
    assert names.count("a") == 4 and "aaa" not in "".join(names)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0.1, 100)), max_size=60))
def test_each_peers_jobs_come_in_order_and_all_come(jobs):
    turns, expected = Turns(), {}
    for number, (peer, cost) in enumerate(jobs):
        turns.add(peer, (peer, number), cost)
        expected.setdefault(peer, []).append(number)
    found = {}
    for peer, number in order(turns):
        found.setdefault(peer, []).append(number)
    assert found == expected and len(turns) == 0


@given(st.lists(st.floats(1, 10), min_size=40, max_size=40), st.lists(st.floats(1, 10), min_size=40, max_size=40))
def test_shares_are_equal_up_to_one_job(first, second):
    turns = Turns()
    for k in range(40):
        turns.add("a", ("a", first[k]), first[k])
        turns.add("b", ("b", second[k]), second[k])
    served = {"a": 0.0, "b": 0.0}
    left = {"a": 40, "b": 40}
    while min(left.values()):
        peer, _ = turns.first()
        name, cost = turns.pop(peer)
        served[name] += cost
        left[name] -= 1
        if min(left.values()):
            assert abs(served["a"] - served["b"]) <= 20
