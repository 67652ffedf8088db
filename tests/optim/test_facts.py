"""The comparison in C is the loop in Python."""

from __future__ import annotations

import operator
from typing import Any

import pytest
import torch

from qlangevin import facts
from qlangevin._native import all_equal

GETTERS = (operator.attrgetter("shape"), torch.Tensor.is_contiguous)


def compare(expected: list[Any]) -> tuple[bool, bool]:
    objects = [torch.ones(2, 3), torch.ones(4)]
    return all_equal(objects, GETTERS, expected), facts.all_equal_slowly(objects, GETTERS, expected)


@pytest.mark.parametrize("place", range(4))
def test_any_other_fact_is_noticed(place: int) -> None:
    right = [torch.Size([2, 3]), True, torch.Size([4]), True]
    assert compare(right) == (True, True)
    wrong = [*right]
    wrong[place] = torch.Size([5]) if place % 2 == 0 else False
    assert compare(wrong) == (False, False)


def test_an_error_of_a_getter_is_raised() -> None:
    with pytest.raises(TypeError):
        all_equal([None], (torch.Tensor.data_ptr,), [0])


def test_a_missing_expectation_is_refused() -> None:
    with pytest.raises(ValueError, match="one expected value"):
        all_equal([1, 2], (abs,), [1])


def test_the_native_comparison_is_used() -> None:
    assert facts.all_equal is all_equal
