"""Fourier transforms: 5 N log2 N FLOPs for each complex transform, half for real ones."""

from __future__ import annotations

import pytest
import torch

from pytest_modelbudget.profiling.costs.sizes import times_log2


def ones(*shape):
    return torch.ones(shape)


def complex_ones(*shape):
    return torch.ones(shape, dtype=torch.complex64)


@pytest.mark.parametrize(
    ("transform", "flops"),
    [
        (lambda: torch.fft.fft(complex_ones(3, 64)), 3 * 5 * 64 * 6),
        (lambda: torch.fft.ifft(complex_ones(3, 64)), 3 * 5 * 64 * 6),
        (lambda: torch.fft.fft(complex_ones(64, 3), dim=0), 3 * 5 * 64 * 6),
        (lambda: torch.fft.fft2(complex_ones(3, 8, 16)), 3 * 5 * 128 * 7),
        (lambda: torch.fft.fftn(complex_ones(4, 8, 16)), 5 * 512 * 9),
        (lambda: torch.fft.rfft(ones(3, 64)), 3 * 5 * 64 * 6 // 2),
        (lambda: torch.fft.rfft2(ones(3, 8, 16)), 3 * 5 * 128 * 7 // 2),
        (lambda: torch.fft.irfft(complex_ones(3, 33)), 3 * 5 * 64 * 6 // 2),
        (lambda: torch.fft.irfft2(complex_ones(3, 8, 9)), 3 * 5 * 128 * 7 // 2),
        (lambda: torch.fft.fft(complex_ones(3, 1)), 0),
    ],
)
def test_transforms(measure, transform, flops):
    cost = measure(transform)
    assert (cost.macs, cost.flops) == (0, flops)


def test_the_gradient_is_the_transform_back(measure):
    x = torch.ones(64, dtype=torch.complex64, requires_grad=True)
    y = torch.fft.fft(x)
    assert measure(lambda: y.backward(torch.ones_like(y))).flops == 5 * 64 * 6


@pytest.mark.parametrize(
    ("factor", "n", "product"),
    # log2(3) = 1.58496, to 1/1024 below 1623/1024; log2(1000) = 9.96578, 10204/1024.
    [(5, 0, 0), (5, 1, 0), (5, 2, 5), (7, 1024, 70), (1, 2**40, 40), (1024, 3, 1623), (1024, 1000, 10204), (10, 3, 15)],
)
def test_the_logarithm_is_exact_for_powers_of_two_and_else_rounded_down(factor, n, product):
    assert times_log2(factor, n) == product
