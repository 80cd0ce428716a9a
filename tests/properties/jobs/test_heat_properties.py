from hypothesis import given
from hypothesis import strategies as st

from qallow_agent.jobs.heat import COOL, Heat, Warmth, after
from qallow_agent.jobs.settings import JobSettings

SETTINGS = JobSettings(cool_margin_c=5.0, cool_hold_s=15.0)
LIMIT_C = 90.0

WARMTH = st.builds(
    Warmth,
    temperature_c=st.none() | st.floats(20, 120),
    limit_c=st.none() | st.just(LIMIT_C),
    slowed=st.booleans(),
)
SAMPLES = st.lists(st.tuples(st.floats(0.1, 10), WARMTH), max_size=60)


def too_warm(warmth: Warmth) -> bool:
    heat_c, limit_c = warmth.temperature_c, warmth.limit_c
    return warmth.slowed or (heat_c is not None and limit_c is not None and heat_c >= limit_c)


def near(warmth: Warmth) -> bool:
    """Whether a sample forbids that a hot device counts as cool: too warm, or within the margin."""
    heat_c, limit_c = warmth.temperature_c, warmth.limit_c
    known = heat_c is not None and limit_c is not None
    return too_warm(warmth) or (known and heat_c > limit_c - SETTINGS.cool_margin_c)


def story(samples: list[tuple[float, Warmth]]) -> list[tuple[float, Warmth, Heat]]:
    now_s, heat, told = 0.0, COOL, []
    for step_s, warmth in samples:
        now_s += step_s
        heat = after(heat, warmth, now_s, SETTINGS)
        told.append((now_s, warmth, heat))
    return told


@given(SAMPLES)
def test_it_agrees_with_whoever_reads_the_whole_story_each_time(
    samples: list[tuple[float, Warmth]],
) -> None:
    told = story(samples)
    hot = False
    for index, (now_s, warmth, heat) in enumerate(told):
        if too_warm(warmth):
            hot = True
        elif hot:
            quiet = told[: index + 1]
            while quiet and any(near(seen) for _, seen, _ in quiet):
                del quiet[0]
            hot = not quiet or now_s - quiet[0][0] < SETTINGS.cool_hold_s
        assert heat.hot is hot


@given(SAMPLES)
def test_it_never_flaps(samples: list[tuple[float, Warmth]]) -> None:
    last_near_s, before = None, COOL
    for now_s, warmth, heat in story(samples):
        if before.hot and not heat.hot:
            assert last_near_s is not None
            assert now_s - last_near_s >= SETTINGS.cool_hold_s
        if near(warmth):
            last_near_s = now_s
        if before.hot and heat.hot:
            assert heat.why == before.why
        before = heat


@given(st.lists(st.floats(85.1, 89.9), min_size=1, max_size=50))
def test_a_swing_between_margin_and_limit_changes_nothing(heats_c: list[float]) -> None:
    for start in (COOL, Heat("it was hot")):
        heat = start
        for now_s, heat_c in enumerate(heats_c):
            heat = after(heat, Warmth(heat_c, LIMIT_C), now_s * 60.0, SETTINGS)
            assert heat.hot is start.hot


@given(st.lists(st.floats(-50, 500), max_size=20))
def test_without_a_limit_and_unslowed_nothing_is_ever_hot(heats_c: list[float]) -> None:
    assert not any(after(COOL, Warmth(each), 0.0, SETTINGS).hot for each in heats_c)
