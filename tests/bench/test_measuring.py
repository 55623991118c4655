"""The arithmetic of the benchmarks: turns, ratios, percentiles, goals, overlaps."""

from __future__ import annotations

import os
import subprocess
import sys
from subprocess import PIPE

import pytest

from taskflow.bench.process_stats import cpu_seconds, family, parent, resident_bytes
from taskflow.bench.report import Figure, Goal, Report
from taskflow.bench.rounds import in_turn, measure, percentile, rates
from taskflow.bench.slots import most_at_once
from taskflow.bench.workers import wait_until
from taskflow.errors import TaskflowError

NO_PROCESS = 2**22 + 1  # past the highest process id of Linux


def test_every_run_of_a_product_stands_between_two_of_the_baseline() -> None:
    order: list[str] = []

    def run(name: str) -> float:
        order.append(name)
        return float(len(order))

    measured = in_turn(lambda: run("base"), {"a": lambda: run("a"), "b": lambda: run("b")}, 2)
    assert order == ["base", "a", "base", "b", "base", "a", "base", "b", "base"]
    assert [(one.before, one.product, one.after) for one in measured["b"]] == [(3, 4, 5), (7, 8, 9)]


def test_a_ratio_compares_with_the_mean_of_both_neighbours_and_is_the_median_of_the_rounds() -> None:
    values = iter([10.0, 10.0, 30.0, 80.0, 50.0, 25.0, 50.0])
    measured = in_turn(lambda: next(values), {"it": lambda: next(values)}, 3)["it"]
    figure = rates("it", measured, "tasks/s", Goal(at_least=0.5))
    assert figure.samples["ratio"] == [10 / 20, 80 / 40, 25 / 50]
    assert figure.value == 0.5
    assert figure.met is True


@pytest.mark.parametrize(
    ("goal", "value", "met"),
    [
        (Goal(at_least=1.0), 0.999, False),
        (Goal(at_least=1.0), 1.0, True),
        (Goal(at_most=4.0), 4.0, True),
        (Goal(at_most=4.0), 4.001, False),
    ],
)
def test_a_goal_is_judged_by_the_unrounded_value(goal: Goal, value: float, met: bool) -> None:
    assert Figure("it", value, "x", goal).met is met


def test_a_missed_goal_is_shouted_in_the_table() -> None:
    table = Report("it", [Figure("slow", 0.5, "x", Goal(at_least=1.0)), measure("told", [12_345.0], "tasks/s")], {}, {})
    slow, told = table.as_table().splitlines()[3:]
    assert slow.endswith("NO")
    assert "12,345 tasks/s" in told


def test_a_percentile_is_a_measured_value() -> None:
    values = [float(value) for value in range(1, 201)]
    assert percentile(values, 50) == 100.0
    assert percentile(values, 99) == 198.0
    assert percentile([7.0], 99) == 7.0


def test_the_most_at_once_counts_overlaps_and_not_neighbours() -> None:
    assert most_at_once([(0.0, 1.0), (1.0, 2.0), (1.5, 3.0)]) == 2


def test_the_cpu_time_of_another_process_is_known_to_less_than_a_tick() -> None:
    with subprocess.Popen([sys.executable, "-c", "print(flush=True); input()"], stdin=PIPE, stdout=PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        seconds = cpu_seconds(child.pid)
        children = os.times()
        child.communicate(b"\n")
    spent = os.times()
    assert seconds is not None
    used = spent.children_user + spent.children_system - children.children_user - children.children_system
    assert 0 < seconds <= used + 0.02  # the kernel's sums come in steps of 10 ms, twice
    assert seconds * 100 % 1 != 0


def test_a_process_that_is_gone_has_no_figures() -> None:
    assert [cpu_seconds(pid) for pid in (NO_PROCESS, 2**40, 0, -1)] == [None] * 4
    assert parent(NO_PROCESS) is None
    assert resident_bytes(NO_PROCESS) == 0
    assert os.getpid() in family(os.getppid())


def test_waiting_in_vain_says_for_what() -> None:
    with pytest.raises(TaskflowError, match="for the moon"):
        wait_until(lambda: False, "the moon", seconds=0.01, every=0.001)
