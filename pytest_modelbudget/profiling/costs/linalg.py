"""Factorizations and solvers: no MACs, the FLOPs of LAPACK's algorithms, for each matrix of a batch.

Counts are the terms of highest order in LAPACK Working Note 41, appendix C (additions and multiplications), and for
eigenvalues and singular values, whose iterations it does not cover, those of Golub and Van Loan, Matrix Computations,
4th edition, sections 7.5.6, 8.3.5 and 8.6.3. Fractions are rounded down. A complex operation counts as four real ones.
Matrices are m x n, square ones n x n, right-hand sides k columns.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from .cost import Cost
from .formula import CostFunction, Table, other
from .rates import table

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


def _each(matrix: Tensor, flops: int) -> Cost:
    """So many real FLOPs for each matrix of the batch."""
    return Cost(flops=prod(matrix.shape[:-2]) * flops * (4 if matrix.is_complex() else 1))


def cholesky_flops(n: int) -> int:
    return n**3 // 3


def lu_flops(m: int, n: int) -> int:
    longer, shorter = max(m, n), min(m, n)
    return longer * shorter**2 - shorter**3 // 3


def qr_flops(m: int, n: int) -> int:
    """Of R and the reflectors."""
    longer, shorter = max(m, n), min(m, n)
    return 2 * longer * shorter**2 - 2 * shorter**3 // 3


def q_flops(m: int, n: int, reflectors: int) -> int:
    """Of the first n columns of Q from its reflectors."""
    return 4 * m * n * reflectors - 2 * (m + n) * reflectors**2 + 4 * reflectors**3 // 3


def svd_values_flops(m: int, n: int) -> int:
    longer, shorter = max(m, n), min(m, n)
    return 4 * longer * shorter**2 - 4 * shorter**3 // 3


def svd_flops(m: int, n: int) -> int:
    """With as many vectors as there are values (Golub-Reinsch)."""
    longer, shorter = max(m, n), min(m, n)
    return 14 * longer * shorter**2 + 8 * shorter**3


def full_svd_flops(m: int, n: int) -> int:
    """With all vectors of the longer side."""
    longer, shorter = max(m, n), min(m, n)
    return 4 * longer**2 * shorter + 8 * longer * shorter**2 + 9 * shorter**3


def of_size(flops: Callable[[int], int]) -> CostFunction:
    """Of an n x n matrix."""

    def cost(matrix: Tensor) -> Cost:
        return _each(matrix, flops(matrix.shape[-1]))

    return cost


def of_sides(flops: Callable[[int, int], int]) -> CostFunction:
    """Of an m x n matrix."""

    def cost(matrix: Tensor) -> Cost:
        return _each(matrix, flops(*matrix.shape[-2:]))

    return cost


def solution(matrix: Tensor, *, output: Tensor | tuple[Tensor, ...]) -> Cost:
    """From a factorization: 2 n² for each column, or row where the unknown stands on the left."""
    return Cost(flops=2 * _triangular(matrix, output))


def triangular_solution(matrix: Tensor, *, output: Tensor | tuple[Tensor, ...]) -> Cost:
    """From one triangle: n² for each column."""
    return Cost(flops=_triangular(matrix, output))


def _triangular(matrix: Tensor, output: Tensor | tuple[Tensor, ...]) -> int:
    """FLOPs of one triangular solve: n for each element of the solution, whatever side it stands on."""
    unknown = output[0] if isinstance(output, tuple) else output
    return matrix.shape[-1] * unknown.numel() * (4 if matrix.is_complex() else 1)


def factored_solution(matrix: Tensor, *, output: tuple[Tensor, ...]) -> Cost:
    """LU, then the solution from it."""
    n = matrix.shape[-1]
    return Cost(flops=_each(matrix, lu_flops(n, n)).flops + solution(matrix, output=output).flops)


def qr(matrix: Tensor, mode: str = "reduced") -> Cost:
    """R, and as many columns of Q as the mode asks for."""
    m, n = matrix.shape[-2:]
    reflectors = min(m, n)
    columns = {"reduced": reflectors, "complete": m, "r": 0}[mode]
    return _each(matrix, qr_flops(m, n) + (q_flops(m, columns, reflectors) if columns else 0))


def columns_of_q(reflectors: Tensor, scales: Tensor) -> Cost:
    m, n = reflectors.shape[-2:]
    return _each(reflectors, q_flops(m, n, scales.shape[-1]))


def product_with_q(scales: Tensor, factor: Tensor, left: bool = True) -> Cost:
    """`ormqr`: the reflectors applied one by one to an m x n factor."""
    m, n = factor.shape[-2:]
    reflectors = scales.shape[-1]
    return _each(factor, 4 * m * n * reflectors - 2 * (n if left else m) * reflectors**2)


def svd(matrix: Tensor, full_matrices: bool = False, compute_uv: bool = True) -> Cost:
    if not compute_uv:
        return of_sides(svd_values_flops)(matrix)
    return of_sides(full_svd_flops if full_matrices else svd_flops)(matrix)


def symmetric_eigen(matrix: Tensor, compute_v: bool = True) -> Cost:
    return _each(matrix, 9 * matrix.shape[-1] ** 3 if compute_v else 4 * matrix.shape[-1] ** 3 // 3)


def least_squares(matrix: Tensor, right: Tensor) -> Cost:
    """QR, Q applied to the right-hand sides, one triangular solve."""
    m, n = matrix.shape[-2:]
    longer, shorter = max(m, n), min(m, n)
    columns = right.shape[-1] if right.dim() == matrix.dim() else 1
    per_column = 4 * longer * shorter - 2 * shorter**2 + shorter**2
    return _each(matrix, qr_flops(m, n) + columns * per_column)


def pseudo_inverse_flops(m: int, n: int) -> int:
    """The singular value decomposition and one product."""
    return svd_flops(m, n) + 2 * m * n * min(m, n)


_CHOLESKY = other(of_size(cholesky_flops), matrix="self")
_LU = of_sides(lu_flops)
_EIGENVALUES = other(of_size(lambda n: 10 * n**3), matrix="self")

TABLE: Table = {
    **table(_CHOLESKY, "cholesky linalg_cholesky_ex linalg_ldl_factor_ex"),
    "aten::cholesky_solve": other(solution, matrix="input2"),
    "aten::_cholesky_solve_helper": other(solution, matrix="A"),
    "aten::cholesky_inverse": other(of_size(lambda n: 2 * n**3 // 3), matrix="self"),
    "aten::linalg_ldl_solve": other(solution, matrix="LD"),
    **table(other(_LU, matrix="A"), "linalg_lu linalg_lu_factor_ex _linalg_det _linalg_slogdet"),
    "aten::linalg_lu_solve": other(solution, matrix="LU"),
    "aten::_linalg_solve_ex": other(factored_solution, matrix="A"),
    "aten::linalg_inv_ex": other(of_size(lambda n: 2 * n**3), matrix="A"),
    "aten::linalg_solve_triangular": other(triangular_solution, matrix="self"),
    "aten::triangular_solve": other(triangular_solution, matrix="A"),
    "aten::geqrf": other(of_sides(qr_flops), matrix="self"),
    "aten::linalg_qr": other(qr, matrix="A"),
    "aten::linalg_householder_product": other(columns_of_q, reflectors="input", scales="tau"),
    "aten::ormqr": other(product_with_q, scales="input2", factor="input3"),
    "aten::_linalg_svd": other(svd, matrix="A"),
    "prims::svd": other(svd, matrix="A"),
    "aten::_linalg_eigh": other(symmetric_eigen, matrix="A"),
    **table(_EIGENVALUES, "linalg_eigvals _linalg_eigvals"),
    "aten::linalg_eig": other(of_size(lambda n: 25 * n**3), matrix="self"),
    "aten::linalg_lstsq": other(least_squares, matrix="self", right="b"),
    "aten::linalg_pinv": other(of_sides(pseudo_inverse_flops), matrix="self"),
    # The five products of its Taylor polynomial of degree 18. How often it squares the result depends on the data.
    "aten::linalg_matrix_exp": other(of_size(lambda n: 10 * n**3), matrix="self"),
}
