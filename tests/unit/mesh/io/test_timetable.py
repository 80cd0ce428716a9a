from hypothesis import given, settings
from hypothesis import strategies as st

from qallow_agent.mesh.io.timetable import Timetable

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.integers(0, 5), st.integers(0, 20)),
        st.tuples(st.just("cancel"), st.integers(0, 5), st.just(0)),
        st.tuples(st.just("pop"), st.just(0), st.integers(0, 20)),
    ),
    max_size=200,
)


@settings(deadline=None, max_examples=100)
@given(STEPS)
def test_it_agrees_with_a_plain_dictionary(steps: list[tuple[str, int, int]]) -> None:
    fast: Timetable[int] = Timetable()
    dumb: dict[int, int] = {}
    for step, key, when in steps:
        if step == "set":
            fast.set(key, when)
            dumb[key] = when
        elif step == "cancel":
            fast.cancel(key)
            dumb.pop(key, None)
        else:
            due = [key for key, time in dumb.items() if time <= when]
            popped = fast.pop_due(when)
            assert sorted(popped) == sorted(due)
            assert [dumb[key] for key in popped] == sorted(dumb[key] for key in due)
            dumb = {key: time for key, time in dumb.items() if time > when}
        assert fast.soonest() == (min(dumb.values()) if dumb else None)
        assert all(fast.when(key) == dumb.get(key) for key in range(6))


def test_moving_one_key_for_ever_stays_small() -> None:
    table: Timetable[str] = Timetable()
    for when in range(10_000):
        table.set("only", float(when))
    assert len(table._heap) <= 100
    assert table.pop_due(10_000.0) == ["only"]
    assert table.soonest() is None
