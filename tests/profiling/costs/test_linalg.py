"""Linear algebra: the FLOPs of LAPACK's algorithms, by the highest-order terms of LAPACK Working Note 41."""

from __future__ import annotations

import pytest
import torch

# A symmetric positive definite 6 x 6 matrix, twice; 5 right-hand sides; tall and wide ones of 8 x 6 and 6 x 8.
SPD = torch.eye(6).expand(2, 6, 6).clone()
RIGHT = torch.ones(2, 6, 5)
TALL = torch.rand(8, 6)
WIDE = torch.rand(6, 8)
CHOLESKY = torch.linalg.cholesky(SPD)
LU, PIVOTS = torch.linalg.lu_factor(SPD)

# n^3 is 216; everything on SPD twice.
ALGORITHMS = {
    "cholesky": (lambda: torch.linalg.cholesky(SPD), 2 * 72),
    "cholesky_solve": (lambda: torch.cholesky_solve(RIGHT, CHOLESKY), 2 * 2 * 36 * 5),
    "cholesky_inverse": (lambda: torch.cholesky_inverse(CHOLESKY), 2 * 2 * 72),
    "lu": (lambda: torch.linalg.lu_factor(SPD), 2 * 144),
    "lu of a tall matrix": (lambda: torch.linalg.lu_factor(TALL), 8 * 36 - 72),
    "lu of a wide matrix": (lambda: torch.linalg.lu_factor(WIDE), 8 * 36 - 72),
    "lu_solve": (lambda: torch.linalg.lu_solve(LU, PIVOTS, RIGHT), 2 * 2 * 36 * 5),
    "solve": (lambda: torch.linalg.solve(SPD, RIGHT), 2 * (144 + 2 * 36 * 5)),
    "solve for one vector": (lambda: torch.linalg.solve(SPD, torch.ones(2, 6)), 2 * (144 + 2 * 36)),
    "det": (lambda: torch.linalg.det(SPD), 2 * 144),
    "slogdet": (lambda: torch.linalg.slogdet(SPD), 2 * 144),
    "inv": (lambda: torch.linalg.inv(SPD), 2 * 2 * 216),
    "solve_triangular": (lambda: torch.linalg.solve_triangular(CHOLESKY, RIGHT, upper=False), 2 * 36 * 5),
    "qr, R only": (lambda: torch.linalg.qr(TALL, mode="r"), 2 * 8 * 36 - 144),
    # 4mnk - 2(m+n)k^2 + 4k^3/3 more for the columns of Q.
    "qr": (lambda: torch.linalg.qr(TALL), (576 - 144) + (4 * 8 * 36 - 2 * 14 * 36 + 288)),
    "qr, all columns": (
        lambda: torch.linalg.qr(TALL, mode="complete"),
        (576 - 144) + (4 * 64 * 6 - 2 * 16 * 36 + 288),
    ),
    # Under a dispatch mode torch computes the vectors even for `eigvalsh`, `eigvals` and `svdvals`.
    "eigenvalues, symmetric": (lambda: torch.ops.aten._linalg_eigh(SPD, compute_v=False), 2 * 288),
    "eigh": (lambda: torch.linalg.eigh(SPD), 2 * 9 * 216),
    "eigenvalues": (lambda: torch.ops.aten._linalg_eigvals(SPD), 2 * 10 * 216),
    "eig": (lambda: torch.linalg.eig(SPD), 2 * 25 * 216),
    "singular values": (lambda: torch.ops.aten._linalg_svd(TALL, compute_uv=False), 4 * 8 * 36 - 288),
    "svd": (lambda: torch.linalg.svd(WIDE, full_matrices=False), 14 * 8 * 36 + 8 * 216),
    "svd, all vectors": (lambda: torch.linalg.svd(TALL), 4 * 64 * 6 + 8 * 8 * 36 + 9 * 216),
    # QR, Q applied to 3 columns, and a triangular solve.
    "lstsq": (
        lambda: torch.linalg.lstsq(TALL, torch.ones(8, 3)),
        (576 - 144) + 3 * (4 * 8 * 6 - 2 * 36 + 36),
    ),
    "ldl_factor": (lambda: torch.linalg.ldl_factor(SPD), 2 * 72),
    "householder_product": (
        lambda: torch.linalg.householder_product(TALL, torch.zeros(6)),
        4 * 8 * 36 - 2 * 14 * 36 + 288,
    ),
    "complex": (lambda: torch.linalg.cholesky(SPD.to(torch.complex64)), 4 * 2 * 72),
}


@pytest.mark.parametrize(("algorithm", "flops"), ALGORITHMS.values(), ids=ALGORITHMS)
def test_factorizations_and_solvers(measure, algorithm, flops):
    cost = measure(algorithm)
    assert (cost.macs, cost.flops) == (0, flops)
