"""The sums behind the benchmarks: medians, books, levels and verdicts. Nothing is measured here."""

import sys

import brokers
import churn
import clients
import encrypted
import pytest
import report
import verdict


def test_medians_are_taken_but_what_went_wrong_is_added_up() -> None:
    rounds = [{"cpu_us": 1.0, "lost": 1}, {"cpu_us": 9.0, "lost": 0}, {"cpu_us": 2.0, "lost": 2}]
    assert report.medians(rounds) == {"cpu_us": 2.0, "lost": 3}


def test_a_figure_that_one_round_lacks_is_the_median_of_the_others() -> None:
    assert report.medians([{"p50_us": 4.0}, {}, {"p50_us": 6.0}]) == {"p50_us": 5.0}


@pytest.mark.parametrize(("value", "shown"), [(0, "0"), (0.01234, "0.0123"), (1.5, "1.50"), (1234.5, "1,234")])
def test_figures_are_shown_with_the_digits_that_mean_something(value: float, shown: str) -> None:
    assert report.significant(value) == shown


def test_a_run_that_fails_says_what_was_run_and_its_last_word() -> None:
    with pytest.raises(report.RunError, match=r"-c .*: no memory"):
        report.run_json([sys.executable, "-c", "raise SystemExit('no memory')"], seconds=30)


def test_a_run_that_does_not_end_is_ended() -> None:
    with pytest.raises(report.RunError, match="not done after 0 s"):
        report.run_json([sys.executable, "-c", "input()"], seconds=0)


def test_drops_that_the_broker_counted_balance_with_the_books() -> None:
    stats = {"messages_received": 10, "messages_delivered": 7, "messages_dropped_qos0": 3}
    assert brokers.balance({"sent": 10, "delivered": 7}, stats) == {"dropped": 3, "lost": 0}


def test_a_drop_that_the_broker_did_not_count_is_a_loss() -> None:
    stats = {"messages_received": 10, "messages_delivered": 8, "messages_dropped_qos0": 2}
    assert brokers.balance({"sent": 10, "delivered": 7}, stats)["lost"] > 0


def test_where_nobody_gets_it_the_cost_is_that_of_a_message_published() -> None:
    result = {"measured": 0, "published": 100, "cpu_seconds": 0.001, "seconds": 1.0, "lost": 0}
    assert brokers.derive(result)["cpu_us"] == pytest.approx(10)


def test_every_scenario_has_a_name_of_its_own() -> None:
    everything = [*brokers.MAIN, *brokers.GROWTH, *brokers.CORES, *brokers.DROPS, *encrypted.SCENARIOS]
    assert len({scenario.name for scenario in everything}) == len(everything)


def test_slow_clients_get_fewer_messages_but_whole_steps() -> None:
    scenario = next(s for s in clients.SCENARIOS if s.name == "publish-q1-1000")
    assert clients.messages_of(scenario, "aiomqtt", 0.001) == 1000
    assert clients.messages_of(scenario, "rmqtt", 1.0) % 1000 == 0


def test_a_client_without_such_a_call_is_not_started_to_say_so() -> None:
    scenario = next(s for s in clients.SCENARIOS if s.name == "receive-many")
    assert clients.lacks(scenario, "gmqtt")
    assert not clients.lacks(scenario, "rmqtt")


def test_memory_is_level_by_medians_and_not_by_a_single_sample() -> None:
    samples = [100.0] * 600
    samples[60] = samples[-1] = 500.0
    assert churn.levels(samples, 600) == (100.0, 100.0)


def test_memory_that_grows_by_a_tenth_is_not_level() -> None:
    counts = dict.fromkeys(("lost", "duplicates", "out_of_order", "sessions_lost", "retained_wrong"), 0)
    samples = [1000.0] * 300 + [1100.0] * 300
    result = churn.judge({"rss_kib": samples, "seconds": 600, "wills": 3, "wills_due": 3, **counts})
    assert not result["is_level"]
    assert result["faults"] == {}


def test_a_will_that_did_not_come_is_a_fault() -> None:
    counts = dict.fromkeys(("lost", "duplicates", "out_of_order", "sessions_lost", "retained_wrong"), 0)
    result = churn.judge({"rss_kib": [1.0] * 60, "seconds": 60, "wills": 2, "wills_due": 3, **counts})
    assert result["faults"] == {"wills_missing": 1}


@pytest.mark.parametrize(("reached", "word"), [(3.0, "met"), (5.0, "**missed**")])
def test_a_target_is_met_up_to_its_bound(reached: float, word: str) -> None:
    target = verdict.Target(what="something", figure=lambda _: reached, bound=4)
    assert verdict.row(target, {})[-1] == word


def test_a_least_target_is_met_from_its_bound_on() -> None:
    target = verdict.Target(what="rate", figure=lambda _: 5.0, bound=4, is_least=True)
    assert verdict.row(target, {})[-1] == "met"


def test_a_target_without_figures_is_not_called_met() -> None:
    assert "not measured" in verdict.page({})
    assert "| met |" not in verdict.page({})


def test_every_target_of_the_brokers_names_scenarios_that_there_are() -> None:
    names = {s.name for s in (*brokers.MAIN, *brokers.GROWTH, *brokers.CORES, *brokers.DROPS)}
    secret = {s.name for s in encrypted.SCENARIOS}
    row = {"cpu_us": 1.0, "rate": 1.0, "p50_us": 1.0, "p99_us": 1.0, "kib_each": 1.0, "rss_mib": 1.0}
    all_ = {
        suite: {"figures": {name: dict.fromkeys(brokers.ALL, row) for name in of}}
        for suite, of in (("brokers", names), ("encrypted", secret))
    }
    assert all("not measured" not in verdict.row(target, all_) for target in (*verdict.BROKER, *verdict.TLS))
