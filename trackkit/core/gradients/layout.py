"""Statistics of many tensors by a few operations on their device, and their reading on the host.

The values are looked at as rows of equal length. Sum, norm, smallest and largest value and counts are reduced by
row, in one operation for many rows, into one small buffer, which is copied to the host once; there, rows become
tensors again, in double precision. Large tensors that lie densely in memory are reduced where they are; others are
packed into a buffer first, piece by piece, so that a model of any size takes a bounded amount of further memory.

Histograms come from a sample: the whole of a tensor of up to `SAMPLE` elements, and evenly spread blocks of a larger
one, of as many elements as a cache line or two, since reading one costs as much as reading all of its line. An
element's bin is the exponent of its floating-point form, a shift of its bits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

ROW: Final = 1024
MOST_ROWS: Final = 1 << 17
"""Rows get longer for models with more than `ROW` times as many elements."""
SMALL: Final = 16 * 1024
"""Smaller tensors are always packed, and their spread is measured around their mean, which keeps its precision."""
DIRECT: Final = 1 << 20
"""On a device, where every operation has a price, tensors of at least so many elements are reduced in place."""
PIECE: Final = 1 << 24
"""Elements packed at a time."""
SAMPLE: Final = 16 * 1024
BLOCK: Final = 32
"""Elements of a sample that lie next to each other."""
EXPONENTS: Final = 512
"""Values of sign and exponent of a 32-bit float: 256 of negative numbers, then 256 of positive ones."""

_TOTAL, _NORM, _LEAST, _MOST, _ZEROS, _NAN, _INF, _CENTRED = range(8)
_FIGURES: Final = 8

Floats = NDArray[np.float64]


@dataclass
class Tally:
    """What was measured of each tensor: arrays with an element, or a row, per tensor."""

    count: NDArray[np.int64]
    total: Floats
    squares: Floats
    """Sum of the squares."""
    spread: Floats
    """Sum of the squared distances from the mean."""
    least: Floats
    most: Floats
    zeros: Floats
    nan: Floats
    inf: Floats
    exponents: NDArray[np.int64] | None = None
    """Tensors × 512: how many elements of the sample have each sign and exponent."""


@dataclass
class _Run:
    """Consecutive rows that are reduced together: of one tensor in place, or of slices of several, packed."""

    first: int
    last: int
    slices: list[tuple[int, int, int]] = field(default_factory=list)
    """Tensor, start, end."""
    direct: bool = False


class Layout:
    """How tensors of certain sizes, on one device and of one precision, are laid out in rows.

    Parameters
    ----------
    torch
        The module.
    tensors
        Flat tensors; `measure` takes tensors of the same sizes.
    histograms
        Whether to count exponents.
    """

    def __init__(self, torch: Any, tensors: Sequence[Any], *, histograms: bool) -> None:
        self._torch = torch
        self.device = tensors[0].device
        self.on_cpu = self.device.type == "cpu"
        self.dtype = torch.float64 if tensors[0].dtype == torch.float64 else torch.float32
        self.sizes = [int(tensor.numel()) for tensor in tensors]
        self.row = _row_length(sum(self.sizes))
        self._owners: list[int] = []
        self._widths: list[int] = []
        self._runs = self._lay_heads(tensors)
        self.heads = len(self._owners)
        """Rows before the tails: what doesn't fill a row, and small tensors."""
        self._tails = self._lay_tails()
        self.rows = len(self._owners)
        self._make_buffers()
        self.sampler = Sampler(torch, self.sizes, self.device) if histograms else None

    def _lay_heads(self, tensors: Sequence[Any]) -> list[_Run]:
        """Rows of the tensors that are not small, in runs."""
        runs: list[_Run] = []
        smallest = SMALL if self.on_cpu else DIRECT
        for number, tensor in enumerate(tensors):
            whole = self.sizes[number] // self.row
            if self.sizes[number] < SMALL or not whole:
                continue
            if tensor.dtype == self.dtype and self.sizes[number] >= smallest:
                run = _Run(len(self._owners), len(self._owners) + whole, [(number, 0, whole * self.row)], direct=True)
                self._add_rows(number, [self.row] * whole)
                runs.append(run)
                continue
            self._lay_packed(runs, number, whole)
        return runs

    def _lay_packed(self, runs: list[_Run], number: int, whole: int) -> None:
        """Rows of a tensor that is packed: added to the last piece while it has room."""
        begin = 0
        while begin < whole:
            last = runs[-1] if runs and not runs[-1].direct else None
            room = max(1, PIECE // self.row)
            free = room - (last.last - last.first) if last is not None else 0
            if last is None or free <= 0:
                last = _Run(len(self._owners), len(self._owners))
                runs.append(last)
                free = room
            rows = min(free, whole - begin)
            last.slices.append((number, begin * self.row, (begin + rows) * self.row))
            last.last += rows
            self._add_rows(number, [self.row] * rows)
            begin += rows

    def _lay_tails(self) -> list[tuple[int, int, int]]:
        """Padded rows of small tensors and of what is left of others: tensor, its start, where it lies in the tails."""
        tails = []
        for number, size in enumerate(self.sizes):
            start = size // self.row * self.row if size >= SMALL else 0
            if start < size:
                offset = (len(self._owners) - self.heads) * self.row
                widths = [min(self.row, size - at) for at in range(start, size, self.row)]
                self._add_rows(number, widths)
                tails.append((number, start, offset))
        return tails

    def _add_rows(self, number: int, widths: list[int]) -> None:
        self._owners += [number] * len(widths)
        self._widths += widths

    def _make_buffers(self) -> None:
        torch = self._torch
        packed = max((run.last - run.first for run in self._runs if not run.direct), default=0)
        self._packed = torch.empty((packed, self.row), dtype=self.dtype, device=self.device)
        tails = self.rows - self.heads
        self._padded = torch.zeros((tails, self.row), dtype=self.dtype, device=self.device)
        self._views = [
            self._padded.view(-1)[offset : offset + self.sizes[number] - start] for number, start, offset in self._tails
        ]
        widths = torch.tensor(self._widths[self.heads :], dtype=torch.int64, device=self.device).view(-1, 1)
        valid = torch.arange(self.row, device=self.device).view(1, -1) < widths
        self._valid = valid.to(self.dtype)
        self._beyond = torch.zeros_like(self._valid).masked_fill_(~valid, math.inf)
        self._counts = widths.view(-1).to(self.dtype)

    # On the device.

    def measure(self, tensors: Sequence[Any]) -> Any:
        """The figures of all rows, and the counts of exponents, as one buffer of bytes on the device."""
        torch = self._torch
        item = 8 if self.dtype == torch.float64 else 4
        split = _FIGURES * self.rows * item
        size = split + (len(self.sizes) * EXPONENTS * 4 if self.sampler is not None else 0)
        buffer = torch.empty(size, dtype=torch.uint8, device=self.device)
        figures = buffer[:split].view(self.dtype).view(_FIGURES, self.rows)
        figures[_ZEROS:].zero_()
        for run in self._runs:
            rows, out = self._rows_of(run, tensors), figures[:, run.first : run.last]
            self._reduce(rows, out)
            self._count_zeros(rows, out, together=self.on_cpu and len(run.slices) == 1)
        if self._views:
            tails = [tensors[number][start:] for number, start, _ in self._tails]
            torch._foreach_copy_(self._views, tails)
            self._reduce_padded(figures[:, self.heads :])
        if self.sampler is not None:
            counts = self.sampler.exponents(self.sampler.take(tensors))
            buffer[split:].view(torch.int32).copy_(counts)
        return buffer

    def _rows_of(self, run: _Run, tensors: Sequence[Any]) -> Any:
        slices = [tensors[number][start:end] for number, start, end in run.slices]
        if run.direct and slices[0].dtype == self.dtype:
            return slices[0].view(-1, self.row)
        rows = run.last - run.first
        if rows <= len(self._packed):
            target = self._packed[:rows]
        else:  # of another precision than when the rows were laid
            target = self._torch.empty((rows, self.row), dtype=self.dtype, device=self.device)
        parts = list(target.view(-1).split([end - start for _, start, end in run.slices]))
        self._torch._foreach_copy_(parts, slices)
        return target

    def _reduce(self, rows: Any, figures: Any) -> None:
        torch = self._torch
        torch.sum(rows, 1, out=figures[_TOTAL])
        torch.linalg.vector_norm(rows, 2, 1, out=figures[_NORM])
        torch.amin(rows, 1, out=figures[_LEAST])
        torch.amax(rows, 1, out=figures[_MOST])
        self._count_nonfinite(rows, figures)

    def _count_zeros(self, rows: Any, figures: Any, *, together: bool) -> None:
        """Count zeros by row, or together, which is the quick way on a CPU, for rows of one tensor."""
        if together:
            figures[_ZEROS, 0] = rows.numel() - self._torch.count_nonzero(rows)
        else:
            self._torch.sum(rows == 0, 1, dtype=self.dtype, out=figures[_ZEROS])

    def _reduce_padded(self, figures: Any) -> None:
        """As `_reduce`, for rows that end in zeros which are no values."""
        torch, rows = self._torch, self._padded
        torch.sum(rows, 1, out=figures[_TOTAL])
        torch.linalg.vector_norm(rows, 2, 1, out=figures[_NORM])
        torch.amin(rows + self._beyond, 1, out=figures[_LEAST])
        torch.amax(rows - self._beyond, 1, out=figures[_MOST])
        torch.sum(rows == 0, 1, dtype=self.dtype, out=figures[_ZEROS])
        figures[_ZEROS].add_(self._counts - self.row)
        means = figures[_TOTAL] / self._counts
        torch.linalg.vector_norm((rows - means.view(-1, 1)) * self._valid, 2, 1, out=figures[_CENTRED])
        self._count_nonfinite(rows, figures)

    def _count_nonfinite(self, rows: Any, figures: Any) -> None:
        if self.on_cpu and math.isfinite(float(figures[_NORM].sum())):
            return
        torch = self._torch
        torch.sum(torch.isnan(rows), 1, dtype=self.dtype, out=figures[_NAN])
        torch.sum(torch.isinf(rows), 1, dtype=self.dtype, out=figures[_INF])

    # On the host.

    def read(self, buffer: NDArray[np.uint8]) -> Tally:
        """What a buffer of `measure` says of each tensor."""
        item = 8 if self.dtype == self._torch.float64 else 4
        split = _FIGURES * self.rows * item
        rows = buffer[:split].view(np.float64 if item == 8 else np.float32).reshape(_FIGURES, self.rows)
        tally = _tally(
            rows.astype(np.float64), np.array(self._owners, np.int64), np.array(self._widths), self.sizes, self.heads
        )
        if self.sampler is not None:
            tally.exponents = buffer[split:].view(np.int32).reshape(len(self.sizes), EXPONENTS).astype(np.int64)
        return tally


class Sampler:
    """Takes the same elements of tensors time after time.

    Parameters
    ----------
    sizes
        Of the flat tensors.
    """

    def __init__(self, torch: Any, sizes: Sequence[int], device: Any) -> None:
        self._torch = torch
        self._device = device
        self.on_cpu = device.type == "cpu"
        # With every third block, fifth, and so on, all columns of a matrix get their turn if its width is even.
        self._spans = [0 if size <= SAMPLE else BLOCK * (math.ceil(size / SAMPLE) | 1) for size in sizes]
        self._blocks = [size // span if span else 0 for size, span in zip(sizes, self._spans, strict=True)]
        self.counts = [blocks * BLOCK if blocks else size for size, blocks in zip(sizes, self._blocks, strict=True)]
        self.shares = np.array([size / max(1, count) for size, count in zip(sizes, self.counts, strict=True)])
        """Elements that each of the sample stands for, per tensor."""
        owners = torch.repeat_interleave(
            torch.arange(len(sizes), dtype=torch.int32), torch.tensor(self.counts, dtype=torch.int64)
        )
        self._bases = (owners * EXPONENTS + EXPONENTS // 2).to(device)
        self._tensors = len(sizes)

    def take(self, tensors: Sequence[Any]) -> Any:
        """The sample as one tensor of 32-bit floats."""
        torch = self._torch
        sample = torch.empty(sum(self.counts), dtype=torch.float32, device=self._device)
        parts = list(sample.split(self.counts))
        chosen = list(tensors)
        for number, (span, blocks) in enumerate(zip(self._spans, self._blocks, strict=True)):
            if blocks:
                chosen[number] = torch.as_strided(tensors[number], (blocks, BLOCK), (span, 1))
                parts[number] = parts[number].view(blocks, BLOCK)
        torch._foreach_copy_(parts, chosen)
        return sample

    def norms(self, sample: Any) -> Any:
        """The norm of each tensor's part of a sample."""
        return self._torch.stack(self._torch._foreach_norm(list(sample.split(self.counts))))

    def exponents(self, sample: Any) -> Any:
        """Counts by tensor, sign and exponent, as one flat tensor."""
        torch = self._torch
        bins = sample.view(torch.int32) >> 23  # sign and exponent; negative numbers keep their sign
        bins += self._bases
        size = self._tensors * EXPONENTS
        if self.on_cpu:
            return torch.bincount(bins, minlength=size)
        # bincount would wait for the device to know how many bins there are.
        counts = torch.zeros(size, dtype=torch.int32, device=self._device)
        return counts.scatter_add_(0, bins.long(), torch.ones_like(bins))


def _row_length(elements: int) -> int:
    row = ROW
    while row * MOST_ROWS < elements:
        row *= 2
    return row


def _tally(rows: Floats, owners: NDArray[np.int64], widths: NDArray[Any], sizes: list[int], heads: int) -> Tally:
    """Figures of rows as figures of tensors."""
    count = len(sizes)

    def added(values: Floats, who: NDArray[np.int64] = owners) -> Floats:
        sums: Floats = np.bincount(who, values, minlength=count).astype(np.float64)
        return sums

    with np.errstate(all="ignore"):
        numbers = np.array(sizes, np.int64)
        total = added(rows[_TOTAL])
        squares = added(rows[_NORM] ** 2)
        mean = total / numbers
        tails = owners[heads:]
        spread = np.maximum(squares - numbers * mean**2, 0.0)
        within = rows[_CENTRED, heads:] ** 2
        between = widths[heads:] * (rows[_TOTAL, heads:] / widths[heads:] - mean[tails]) ** 2
        spread = np.where(numbers < SMALL, added(within + between, tails), spread)
        least, most = np.full(count, np.inf), np.full(count, -np.inf)
        np.minimum.at(least, owners, rows[_LEAST])
        np.maximum.at(most, owners, rows[_MOST])
    return Tally(
        numbers, total, squares, spread, least, most, added(rows[_ZEROS]), added(rows[_NAN]), added(rows[_INF])
    )
