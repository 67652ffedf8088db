"""The Triton backend: tables of pointers on a GPU, stepped without the host waiting, where nothing was compiled."""

from __future__ import annotations

import contextlib
from array import array
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ..buckets import Bucket
from ..errors import BackendError, QlangevinError
from ..reference import STATISTICS
from . import triton_support
from .device import LARGEST, SQUARES, as_float32, is_interpreting, scope_of
from .plan import DeviceSide, Plan, StepInput
from .storage import why_no_kernel
from .triton_tables import TritonTables
from .uninterrupted import uninterrupted


class TritonBackend:
    """Triton kernels for the tensors of GPUs; for the CPU's in Triton's interpreter, for tests."""

    name = "triton"

    def why_not(self, device: torch.device, dtypes: tuple[torch.dtype, ...]) -> str | None:
        """Why it cannot step such tensors here; None if it can."""
        return why_no_kernel(dtypes) or triton_support.why_not(device)

    def is_chosen_by_name_only(self, device: torch.device) -> bool:
        """Whether "auto" passes it over: its interpreter is for tests."""
        return device.type == "cpu"

    def make_plan(self, bucket: Bucket) -> Plan:
        """Makes the tables of the bucket's tensors."""
        with naming_errors(bucket.device), scope_of(bucket.device):
            plan = TritonPlan(bucket)
            plan.compile(observes=False)
            return plan

    def draws_levy(self, device: torch.device) -> bool:
        """Never."""
        return False

    def counts_on_device(self, device: torch.device) -> bool:
        """Whether its plans can count steps on the device, where the host does not know of a step that was skipped."""
        return device.type != "cpu" or is_interpreting()


@contextlib.contextmanager
def naming_errors(device: torch.device) -> Iterator[None]:
    """What Triton or a driver raises, as an error of ours."""
    try:
        yield
    except (QlangevinError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise BackendError(f"Triton failed on {device}: {error}") from error


class TritonPlan(TritonTables):
    """A bucket's tables, and the launches over them."""

    def counters_fit(self) -> bool:
        """Whether every step counter of the host can be advanced; the device's are not looked at."""
        return self.counters is None or self.counters.fit()

    def step(self, step_input: StepInput, observes: bool) -> Tensor | None:
        """Steps every tensor once and advances its counter; with `observes` returns the statistics of each."""
        return step_together([(self, step_input)], observes)[0]

    def look_ahead(self, step_input: StepInput) -> list[tuple[float, float]]:
        """For each tensor the sum of squares and the largest magnitude of its coming displacement; waits for the device."""
        with naming_errors(self.device), scope_of(self.device):
            begun = Begun(self, step_input, Common([self], step_input))
            begun.look_ahead()
            found = self.of_tensors("ahead").tolist()
        return [(one[SQUARES], one[LARGEST]) for one in found]

    def square_grads(self, step_input: StepInput) -> list[float]:
        """The sum of squares of each gradient; waits for the device."""
        with naming_errors(self.device), scope_of(self.device):
            Begun(self, step_input, Common([self], step_input)).square_grads()
            return list(self.sums[: len(self.bucket.items)].tolist())


class Common:
    """What the plans of one device share in a step."""

    def __init__(self, plans: Sequence[TritonPlan], step_input: StepInput) -> None:
        first, side = plans[0], step_input.side or DeviceSide()
        grad_scale, found_inf = as_float32(side.grad_scale, first.device), as_float32(side.found_inf, first.device)
        self.grad_scale = first.one if grad_scale is None else grad_scale
        self.found_inf = first.none if found_inf is None else found_inf
        self.overrun = first.no_flag if side.overrun is None else side.overrun
        self.places = max(plan.places for plan in plans)
        self.grad_squares = self.displacement_squares = first.no_sum


class Begun:
    """One plan's part in a step, whose input is on its way to the device."""

    def __init__(self, plan: TritonPlan, step_input: StepInput, common: Common) -> None:
        capturing = plan.is_capturing()
        plan.keep_for_stream()
        plan.put_groups(step_input, capturing)
        plan.grads.put(pack_addresses(step_input.pointers), capturing)
        self.plan, self.common, self.chain = plan, common, step_input.chain
        self.step = self.put_steps(capturing)
        self.has_compensations = len(step_input.compensations) > 0
        if self.has_compensations:
            numbers = array("f", step_input.compensations)
            plan.compensations.put(numbers.tobytes() + b"\0" * (4 * (len(numbers) % 2)), capturing)
        self.tables = plan.step_tables(common.found_inf)

    def put_steps(self, capturing: bool) -> int:
        """The step that all tensors take; 0 where they differ, and are uploaded, or where the device counts."""
        if self.plan.counters is None:
            return 0
        steps = [step + 1 for step in self.plan.counters.read()]
        if min(steps) == max(steps):
            return steps[0]
        self.plan.steps.put(array("q", steps).tobytes(), capturing)
        return 0

    def prepare(self, counts: bool, compensates: bool = False) -> None:
        """Makes the scalars on the device. compensates: the norms that the compensation terms need are there."""
        plan, common = self.plan, self.common
        inputs = plan.kernels.prepare.Inputs(
            tensors=plan.tensors,
            groups=plan.groups.tensor,
            steps=plan.steps.tensor,
            compensations=plan.compensations.tensor.view(torch.float32),
            grad_scale=common.grad_scale,
            found_inf=common.found_inf,
            grad_squares=common.grad_squares,
            displacement_squares=common.displacement_squares,
            ahead=plan.of_tensors("ahead") if compensates else plan.no_sum,
            rows=plan.rows,
            overrun=common.overrun,
        )
        request = plan.kernels.prepare.Request(
            chain=self.chain,
            step=self.step,
            from_counters=plan.counters is None,
            host_compensations=self.has_compensations,
            device_compensations=compensates,
            counts=counts,
        )
        plan.kernels.prepare.launch_prepare(plan.bucket.rule, inputs, request)

    def launch(self, purpose: str | None = None, stores: bool = True) -> None:
        """Launches the step; with a purpose also takes statistics."""
        plan = self.plan
        if purpose is None:
            plan.kernels.step.launch_step(plan.bucket.rule, plan.bucket.dtypes, self.tables)
            return
        numbers = plan.statistics_for(purpose)
        plan.kernels.step.launch_step(plan.bucket.rule, plan.bucket.dtypes, self.tables, numbers, stores)
        self.fold_chunks(numbers, numbers[plan.statistics_at :], len(STATISTICS))

    def look_ahead(self) -> None:
        """Takes the statistics of the coming displacements; nothing is stored and nothing counted."""
        self.prepare(counts=False)
        self.launch("ahead", stores=False)

    def square_grads(self) -> None:
        """Takes the sum of squares of each gradient."""
        squares = torch.empty(len(self.plan.chunks), dtype=torch.float64, device=self.plan.device)
        self.plan.kernels.squares.launch_squares(self.plan.bucket.dtypes[1], self.tables, squares)
        self.fold_chunks(squares, self.plan.sums, 1)

    def fold_chunks(self, values: Tensor, sums: Tensor, width: int) -> None:
        """The chunks' numbers to those of the tensors, which are the first of `sums`."""
        for source, folds in ((values, self.plan.folds), (sums, self.plan.last_folds)):
            self.fold(source, sums, folds, width, width, width)

    def gather(self, squares: Tensor, stride: int, by_place: Tensor) -> None:
        """A number of each tensor to its place among all that are stepped together."""
        self.fold(squares, by_place, self.plan.gathers, 1, stride, 1)

    def fold(self, values: Tensor, sums: Tensor, folds: Tensor, width: int, value_stride: int, sum_stride: int) -> None:
        """Sums in the fixed order."""
        squares = self.plan.kernels.squares
        squares.launch_fold(values, sums, self.common.found_inf, folds, squares.Shape(width, value_stride, sum_stride))


def pack_addresses(pointers: Sequence[int]) -> bytes:
    """Addresses as words of 64 bits; the native module's at once."""
    try:
        return bytes(memoryview(pointers))  # type: ignore[arg-type]  # a list of integers has no buffer, and raises
    except TypeError:
        return array("Q", pointers).tobytes()


def sum_places(list_of: Tensor, common: Common, kernels: Any) -> Tensor:
    """The sum of a list in the fixed order, level by level."""
    while len(list_of) > 1:
        sums = torch.empty(-(-len(list_of) // kernels.tables.CHUNK.value), dtype=torch.float64, device=list_of.device)
        kernels.squares.launch_fold(list_of, sums, common.found_inf, len(list_of))
        list_of = sums
    return list_of


def take_norms(begun: Sequence[Begun], common: Common) -> bool:
    """The norms that the device needs before the scalars are made; whether there are compensation terms among their uses."""
    clips = any(facts["max_grad_norm"] for one in begun for facts in one.plan.facts)
    compensates = any(one.plan.compensates for one in begun)
    kernels, device = begun[0].plan.kernels, begun[0].plan.device
    if clips:
        by_place = torch.zeros(common.places, dtype=torch.float64, device=device)
        for one in begun:
            one.square_grads()
            one.gather(one.plan.sums, 1, by_place)
        common.grad_squares = sum_places(by_place, common, kernels)
    if compensates:
        by_place = torch.zeros(common.places, dtype=torch.float64, device=device)
        for one in begun:
            one.look_ahead()
            one.gather(one.plan.of_tensors("ahead").view(-1)[SQUARES:], len(STATISTICS), by_place)
        common.displacement_squares = sum_places(by_place, common, kernels)
    return compensates


def step_together(parts: Sequence[tuple[TritonPlan, StepInput]], observes: bool) -> list[Tensor | None]:
    """Steps the plans of one device; Ctrl-C waits until all of them are stepped and counted.

    Raises:
        BackendError: with what Triton or the driver says.
    """
    plans, step_input = [plan for plan, _ in parts], parts[0][1]
    device = plans[0].device
    with uninterrupted(), naming_errors(device), scope_of(device):
        for plan in plans:
            plan.compile(observes)
        common = Common(plans, step_input)
        begun = [Begun(plan, part, common) for plan, part in parts]
        compensates = step_input.side is not None and take_norms(begun, common)
        for one in begun:
            one.prepare(counts=True, compensates=compensates)
            one.launch("observed" if observes else None)
            if one.plan.counters is not None:
                one.plan.counters.advance()
    return [plan.of_tensors("observed").clone() if observes else None for plan in plans]
