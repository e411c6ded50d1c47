"""The bets: against exact arithmetic, and never worth more than their stake on average."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelport.rollouts.sequential import (
    BETS,
    HIGHEST,
    Evidence,
    against_rate,
    against_stable,
    log_normaliser,
    value,
)

sizes = st.integers(0, 40)
odds = st.sampled_from([0.25, 0.5, 1.0, 1.25, 2.0, 5.0, 100.0])


def weights(n_c: int, n_s: int, bad: int, odds_ratio: float) -> dict[int, Fraction]:
    """Fisher's noncentral hypergeometric distribution, unnormalised and exact."""
    support = range(max(0, bad - n_s), min(n_c, bad) + 1)
    theta = Fraction(odds_ratio)
    return {x: math.comb(n_c, x) * math.comb(n_s, bad - x) * theta**x for x in support}


def log(fraction: Fraction) -> float:
    return math.log(fraction.numerator) - math.log(fraction.denominator)


@given(sizes, sizes, st.integers(0, 80), odds)
def test_the_normaliser_is_the_exact_sum(n_c: int, n_s: int, bad: int, theta: float) -> None:
    bad = min(bad, n_c + n_s)
    exact = log(sum(weights(n_c, n_s, bad, theta).values(), Fraction(0)))
    assert log_normaliser(n_c, n_s, bad, theta) == pytest.approx(exact, abs=1e-10)


@pytest.mark.parametrize("theta", [1.0, 1.5, 125.0])
def test_it_is_exact_far_from_where_factorials_fit_a_float(theta: float) -> None:
    exact = log(sum(weights(300, 5000, 900, theta).values(), Fraction(0)))
    assert log_normaliser(300, 5000, 900, theta) == pytest.approx(exact, rel=1e-13)


@given(sizes, sizes, st.integers(0, 80), odds, st.sampled_from([1.0, 1.25, 2.0]))
def test_no_bet_on_a_candidate_no_worse_than_tolerated_wins_on_average(
    n_c: int, n_s: int, bad: int, theta: float, tolerated: float
) -> None:
    bad = min(bad, n_c + n_s)
    theta = min(theta, tolerated)
    chances = weights(n_c, n_s, bad, theta)
    whole = sum(chances.values(), Fraction(0))
    for number in range(len(BETS)):
        mean = sum(
            float(chance / whole)
            * math.exp(against_stable(x, n_c, bad - x, n_s, tolerated)[number])
            for x, chance in chances.items()
        )
        assert mean <= 1 + 1e-9
        if theta == tolerated:
            assert mean == pytest.approx(1, abs=1e-9)


@given(st.integers(0, 40), st.floats(0.001, 0.9), st.floats(0, 1))
def test_no_bet_on_a_tolerated_rate_wins_on_average(n: int, tolerated: float, part: float) -> None:
    rate = tolerated * part
    for number in range(len(BETS)):
        mean = sum(
            math.comb(n, x)
            * rate**x
            * (1 - rate) ** (n - x)
            * math.exp(against_rate(x, n, tolerated)[number])
            for x in range(n + 1)
        )
        assert mean <= 1 + 1e-9


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 80))
def test_more_bad_events_of_the_candidate_are_more_evidence(n_c: int, n_s: int, bad: int) -> None:
    bad = min(bad, n_c + n_s)
    won = [against_stable(x, n_c, bad - x, n_s) for x in weights(n_c, n_s, bad, 1.0)]
    for less, more in pairwise(won):
        assert all(a < b for a, b in zip(less, more, strict=True))


@pytest.mark.parametrize(
    ("bad_c", "n_c", "bad_s", "n_s"), [(0, 0, 3, 10), (3, 10, 0, 0), (0, 9, 0, 9), (9, 9, 9, 9)]
)
def test_what_leaves_nothing_to_chance_is_no_evidence(
    bad_c: int, n_c: int, bad_s: int, n_s: int
) -> None:
    assert set(against_stable(bad_c, n_c, bad_s, n_s)) == {0.0}


def test_windows_of_many_millions_are_no_burden() -> None:
    logs = against_stable(1_000_000, 20_000_000, 4_000_000, 80_000_000)
    assert max(logs) < 0  # exactly as bad as the other: every bet loses
    assert against_stable(1_200_000, 20_000_000, 4_000_000, 80_000_000)[0] > 1000


@given(st.lists(st.lists(st.floats(-50, 50), min_size=3, max_size=3), max_size=20))
def test_evidence_is_the_average_of_products_and_remembers_its_highest(
    windows: list[list[float]],
) -> None:
    evidence, products, highest = Evidence(3), [1.0, 1.0, 1.0], 1.0
    for window in windows:
        evidence.add(window)
        products = [a * math.exp(b) for a, b in zip(products, window, strict=True)]
        highest = max(highest, sum(products) / 3)
        assert evidence.log == pytest.approx(math.log(sum(products) / 3), abs=1e-6)
    assert evidence.highest_log == pytest.approx(math.log(highest), abs=1e-6)


def test_evidence_beyond_all_numbers_is_told_as_the_highest() -> None:
    assert value(math.log(20)) == pytest.approx(20)
    assert value(1e6) == HIGHEST
