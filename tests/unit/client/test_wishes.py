import pytest

from qallow_agent.base.errors import ConfigError, UsageError
from qallow_agent.client.wishes import DEFAULTS, take_wishes, without_deadline
from qallow_agent.jobs.messages import JobOptions
from qallow_agent.kernels.spec import Parameter


def test_options_by_name_are_taken_out_of_the_parameters() -> None:
    given = {"pockets": 4, "deadline": "2s", "start_within": 3, "retries": 0, "device": "cpu"}
    options = take_wishes(None, given)
    assert given == {"pockets": 4}
    assert options == JobOptions(deadline_s=2.0, start_s=3.0, retries=0, device="cpu")


def test_names_replace_single_ones_of_the_given_options() -> None:
    options = take_wishes(JobOptions(priority=3, retries=7), {"retries": 1, "device": None})
    assert options == JobOptions(priority=3, retries=1)


def test_without_wishes_the_very_same_options_are_used() -> None:
    mine = JobOptions(priority=1)
    assert take_wishes(None, {"x": 1}) is DEFAULTS
    assert take_wishes(mine, {}) is mine


def test_equal_wishes_are_one_object_so_that_they_share_a_job() -> None:
    assert take_wishes(None, {"priority": 5}) is take_wishes(None, {"priority": 5})
    assert without_deadline(JobOptions(deadline_s=1)) is without_deadline(JobOptions(deadline_s=1))


def test_a_key_implies_that_results_are_retained() -> None:
    assert take_wishes(None, {"idempotency_key": "k"}).retain
    assert take_wishes(JobOptions(idempotency_key="k"), {}).retain


@pytest.mark.parametrize("value", [0, -1, "0s", float("nan")])
def test_no_time_at_all_is_refused(value: object) -> None:
    with pytest.raises(UsageError, match="deadline"):
        take_wishes(None, {"deadline": value})


def test_what_is_no_duration_is_refused() -> None:
    with pytest.raises(ConfigError, match="soon"):
        take_wishes(None, {"deadline": "soon"})


@pytest.mark.parametrize(
    "wrong",
    [
        {"retries": "three"},
        {"priority": True},
        {"device": 1},
        {"retain": 1},
        {"max_joules": "1 J"},
        {"checkpoint_every": 1.5},
    ],
)
def test_a_wish_of_the_wrong_type_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=f"the option {next(iter(wrong))}"):
        take_wishes(None, wrong)


def test_a_run_whose_states_are_asked_for_is_retained() -> None:
    assert take_wishes(None, {"checkpoint_every": 500}).retain
    assert take_wishes(JobOptions(checkpoint_every=500), {}).retain
    assert not take_wishes(None, {"checkpoint_every": 0}).retain


def test_a_parameter_called_like_an_option_is_never_guessed() -> None:
    declared = (Parameter("priority", "i8", 0), Parameter("x", "f8", 0.0))
    given = {"priority": 3, "x": 1.0, "retries": 1}
    with pytest.raises(UsageError, match="'priority' is an option and a parameter"):
        take_wishes(None, dict(given), declared)
    options = take_wishes(JobOptions(priority=7), given, declared)
    assert (options.priority, options.retries) == (7, 1)
    assert given == {"priority": 3, "x": 1.0}
    assert take_wishes(None, {"x": 1.0}, declared) is DEFAULTS


def test_verify_is_a_whole_number() -> None:
    assert take_wishes(None, {"verify": 2}) == JobOptions(verify=2)
    for value in (True, 2.0, "2"):
        with pytest.raises(UsageError, match="verify"):
            take_wishes(None, {"verify": value})
