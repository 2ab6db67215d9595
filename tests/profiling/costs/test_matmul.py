"""Matrix products: m x k by k x n is m k n MACs, whatever the operator is called."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from executing import meta, operator_named
from hypothesis import given
from hypothesis import strategies as st

from pytest_modelbudget.profiling.costs import Cost, lookup

aten = torch.ops.aten
sizes = st.integers(1, 7)


def ones(*shape, dtype=torch.float32):
    return torch.ones(shape, dtype=dtype)


# Operands and the MACs that follow from their sizes by hand.
PRODUCTS = {
    "mm": (lambda: torch.mm(ones(2, 3), ones(3, 4)), 2 * 3 * 4),
    "bmm": (lambda: torch.bmm(ones(5, 2, 3), ones(5, 3, 4)), 5 * 2 * 3 * 4),
    "addmm": (lambda: torch.addmm(ones(4), ones(2, 3), ones(3, 4)), 24),
    "addmm_": (lambda: ones(2, 4).addmm_(ones(2, 3), ones(3, 4)), 24),
    "baddbmm": (lambda: torch.baddbmm(ones(1, 1, 4), ones(5, 2, 3), ones(5, 3, 4)), 120),
    "addbmm": (lambda: torch.addbmm(ones(2, 4), ones(5, 2, 3), ones(5, 3, 4)), 120),
    "mv": (lambda: torch.mv(ones(2, 3), ones(3)), 6),
    "addmv": (lambda: torch.addmv(ones(2), ones(2, 3), ones(3)), 6),
    "dot": (lambda: torch.dot(ones(7), ones(7)), 7),
    "vdot": (lambda: torch.vdot(ones(7), ones(7)), 7),
    "addr": (lambda: torch.addr(ones(2, 3), ones(2), ones(3)), 6),
    "linear on 1-D": (lambda: F.linear(ones(3), ones(4, 3)), 12),
    "linear on 3-D": (lambda: F.linear(ones(2, 5, 3), ones(4, 3), ones(4)), 2 * 5 * 3 * 4),
    "matmul broadcasts": (lambda: ones(6, 1, 2, 3) @ ones(5, 3, 4), 6 * 5 * 2 * 3 * 4),
    "einsum as the product it executes": (lambda: torch.einsum("bij,bjk->bik", ones(5, 2, 3), ones(5, 3, 4)), 120),
    "tensordot": (lambda: torch.tensordot(ones(2, 3, 4), ones(3, 4, 5)), 2 * 12 * 5),
    "chain_matmul": (lambda: torch.linalg.multi_dot([ones(2, 3), ones(3, 4)]), 24),
    "_int_mm": (lambda: torch._int_mm(ones(32, 16, dtype=torch.int8), ones(16, 24, dtype=torch.int8)), 32 * 16 * 24),
    "bilinear": (lambda: torch.nn.Bilinear(3, 4, 5)(ones(2, 3), ones(2, 4)), 2 * 3 * 4 * 5),
    "cdist": (lambda: torch.cdist(ones(6, 3), ones(5, 3)), 6 * 5 * 3),
    "cdist of many points, as a product": (lambda: torch.cdist(ones(30, 3), ones(31, 3)), 30 * 31 * 3),
    "pdist": (lambda: torch.pdist(ones(4, 3)), 6 * 3),
    "affine_grid": (lambda: F.affine_grid(ones(2, 2, 3), [2, 3, 4, 5], align_corners=False), 2 * 4 * 5 * 3 * 2),
    "empty": (lambda: torch.mm(ones(0, 3), ones(3, 4)), 0),
}


@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad, torch.inference_mode])
@pytest.mark.parametrize(("product", "macs"), PRODUCTS.values(), ids=PRODUCTS)
def test_products_count_their_multiply_accumulates(measure, mode, product, macs):
    with mode():
        assert measure(product).macs == macs


@pytest.mark.parametrize(
    ("product", "macs"),
    [
        (lambda: torch.mm(ones(2, 3, dtype=torch.complex64), ones(3, 4, dtype=torch.complex64)), 4 * 24),
        (lambda: torch.dot(ones(7, dtype=torch.complex64), ones(7, dtype=torch.complex64)), 4 * 7),
        (lambda: F.linear(ones(2, 3, dtype=torch.complex64), ones(4, 3, dtype=torch.complex64)), 4 * 24),
    ],
)
def test_a_complex_mac_is_four_real_ones(measure, product, macs):
    assert measure(product).macs == macs


def test_activations_are_the_elements_of_the_product(measure):
    assert measure(lambda: F.linear(ones(2, 5, 3), ones(4, 3))).activations == 40
    assert measure(lambda: torch.mv(ones(2, 3), ones(3))).activations == 2


def test_the_bias_is_free(measure):
    assert measure(lambda: torch.addmm(ones(4), ones(2, 3), ones(3, 4))).elementwise == 0


def test_a_fused_activation_function_is_other_work(measure):
    assert measure(lambda: torch._addmm_activation(ones(4), ones(2, 3), ones(3, 4))) == Cost(24, 0, 8, 8)


def test_distances_other_than_euclidean_are_other_work(measure):
    assert measure(lambda: torch.cdist(ones(6, 3), ones(5, 3), p=1)) == Cost(elementwise=3 * 6 * 5 * 3)


@pytest.mark.parametrize("points", [4, 30])
def test_the_gradient_of_distances_counts_both_sides(measure, points):
    x, y = (torch.rand(points, 3, requires_grad=True) for _ in range(2))
    forward = points * points * 3
    assert measure(lambda: torch.cdist(x, y).sum().backward()).macs == 3 * forward


def test_a_product_trains_with_three_times_the_macs(measure):
    x, w = ones(2, 3).requires_grad_(), ones(4, 3).requires_grad_()
    assert measure(lambda: F.linear(x, w).sum().backward()).macs == 3 * 24


def test_bilinear_trains_with_a_product_for_each_factor(measure):
    layer = torch.nn.Bilinear(3, 4, 5, bias=False)
    x, y = ones(2, 3).requires_grad_(), ones(2, 4).requires_grad_()
    assert measure(lambda: layer(x, y).sum().backward()).macs == 4 * 2 * 3 * 4 * 5


@given(m=sizes, k=sizes, n=sizes, batch=sizes)
def test_matmul_is_the_product_of_its_sizes_however_it_is_folded(m, k, n, batch):
    for left, right, macs in [
        (meta(m, k), meta(k, n), m * k * n),
        (meta(batch, m, k), meta(batch, k, n), batch * m * k * n),
        (meta(batch, m, k), meta(k, n), batch * m * k * n),
        (meta(k), meta(batch, k, n), batch * k * n),
        (meta(batch, m, k), meta(k), batch * m * k),
        (meta(k), meta(k), k),
    ]:
        product = torch.matmul(left, right)
        assert lookup(aten.matmul.default).cost((left, right), {}, product) == Cost(
            macs=macs, activations=product.numel()
        )


class TestGroupedProducts:
    """Rows x k x n: each row meets the matrix of its group."""

    offsets = torch.tensor([8, 24], dtype=torch.int32)

    def test_rows_by_one_matrix_for_each_group(self, measure):
        operator_named("aten._grouped_mm")
        left, right = ones(24, 16, dtype=torch.bfloat16), ones(2, 16, 32, dtype=torch.bfloat16)
        assert measure(lambda: torch._grouped_mm(left, right, offs=self.offsets)) == Cost(
            macs=24 * 16 * 32, activations=24 * 32
        )

    @pytest.mark.parametrize(
        ("left", "right", "macs"),
        [
            ((2, 4, 16), (2, 16, 32), 2 * 4 * 16 * 32),
            ((2, 4, 16), (16, 24), 4 * 16 * 24),
            ((4, 24), (24, 32), 4 * 24 * 32),
        ],
        ids=["one matrix for each group on both sides", "columns in groups", "the gradient of the weights"],
    )
    @pytest.mark.parametrize("name", ["_grouped_mm", "_scaled_grouped_mm", "_scaled_grouped_mm_v2"])
    def test_other_arrangements(self, cost_of, left, right, macs, name):
        op = operator_named(f"aten.{name}").default
        assert cost_of(op, meta(*left), meta(*right), output=meta(1)).macs == macs

    def test_the_fallback_of_transformers(self, cost_of):
        from transformers.integrations import moe

        assert moe
        ops = torch.ops.transformers
        left, right, result = meta(24, 16), meta(2, 16, 32), meta(24, 32)
        assert cost_of(ops.grouped_mm_fallback.default, left, right, self.offsets, output=result).macs == 24 * 16 * 32
        backward = operator_named("transformers.grouped_mm_fallback_backward").default
        cost = cost_of(backward, left, right, self.offsets, result, output=(left, right))
        assert cost.macs == 2 * 24 * 16 * 32


class TestLowBitWeights:
    @pytest.mark.parametrize(
        "op",
        [
            "aten._weight_int4pack_mm",
            "aten._weight_int4pack_mm_for_cpu",
            "aten._weight_int4pack_mm_with_scales_and_zeros",
            "aten._weight_int8pack_mm",
            "quantized.int4mm_packed_weight_cpu",
        ],
    )
    def test_a_packed_weight_counts_by_its_output(self, cost_of, op):
        op = operator_named(op)
        packed = meta(4, 2, 32, 4, dtype=torch.int32)
        assert cost_of(op.default, meta(5, 64), packed, output=meta(5, 32)) == Cost(5 * 64 * 32, 0, 0, 160)

    def test_a_dynamically_quantized_product(self, cost_of):
        cost = cost_of(
            operator_named("aten._dyn_quant_matmul_4bit").default, meta(5, 64), meta(9), 32, 64, 48, output=meta(5, 48)
        )
        assert cost.macs == 5 * 64 * 48

    @pytest.mark.parametrize("name", ["_scaled_mm", "_scaled_mm_v2"])
    def test_a_scaled_product(self, cost_of, name):
        left, right = meta(16, 64, dtype=torch.float8_e4m3fn), meta(64, 32, dtype=torch.float8_e4m3fn)
        op = operator_named(f"aten.{name}").default
        assert cost_of(op, left, right, meta(1), meta(1), output=meta(16, 32)).macs == 16 * 64 * 32

    @pytest.mark.skipif(not hasattr(torch, "float4_e2m1fn_x2"), reason="this torch has no packed 4-bit type")
    def test_two_numbers_in_an_element_are_two_macs(self, cost_of):
        left, right = (meta(*size, dtype=torch.float4_e2m1fn_x2) for size in ((16, 32), (32, 8)))
        assert cost_of(aten._scaled_mm.default, left, right, output=meta(16, 8)).macs == 16 * 64 * 8


class TestBackends:
    """Formulas need shapes only: kernels of other devices count here as there."""

    @pytest.mark.parametrize("mask", [(True, True, True), (True, False, False), (False, True, False)], ids=str)
    def test_linear_backward_counts_the_gradients_that_are_asked_for(self, cost_of, mask):
        for op in (aten.linear_backward, aten.mkldnn_linear_backward):
            cost = cost_of(op.default, meta(2, 5, 3), meta(2, 5, 4), meta(4, 3), mask)
            assert cost == Cost(macs=(mask[0] + mask[1]) * 2 * 5 * 3 * 4, elementwise=mask[2] * 2 * 5 * 4)

    def test_parts_of_the_mkldnn_backward(self, cost_of):
        op = aten.mkldnn_linear_backward_input.default
        assert cost_of(op, [10, 3], meta(10, 4), meta(4, 3)).macs == 120
        op = aten.mkldnn_linear_backward_weights.default
        assert cost_of(op, meta(10, 4), meta(10, 3), meta(4, 3), True) == Cost(macs=120, elementwise=40)

    @pytest.mark.parametrize(("attribute", "steps"), [("none", 0), ("relu", 1)])
    def test_onednn_linear_with_a_fused_step(self, cost_of, attribute, steps):
        op = torch.ops.mkldnn._linear_pointwise.default
        cost = cost_of(op, meta(5, 3), meta(4, 3), None, attribute, [], "", output=meta(5, 4))
        assert cost == Cost(macs=60, elementwise=steps * 20, activations=20)

    @pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="this torch has no MKL")
    def test_mkl_linear(self, cost_of):
        op = torch.ops.mkl._mkl_linear.default
        assert cost_of(op, meta(5, 3), meta(9), meta(4, 3), None, 5, output=meta(5, 4)).macs == 60

    def test_semi_structured_sparsity_counts_the_stored_half(self, cost_of):
        linear = aten._sparse_semi_structured_linear.default
        assert cost_of(linear, meta(5, 64), meta(32, 32), meta(32, 4), output=meta(5, 32)).macs == 5 * 64 * 32 // 2
        product = aten._sparse_semi_structured_mm.default
        assert cost_of(product, meta(32, 32), meta(32, 4), meta(64, 8), output=meta(32, 8)).macs == 32 * 64 * 8 // 2
        cusparselt = aten._cslt_sparse_mm.default
        assert cost_of(cusparselt, meta(1152), meta(64, 8), output=meta(32, 8)).macs == 32 * 64 * 8 // 2


class TestSparse:
    """Sparse by dense: stored elements x n."""

    dense = ones(3, 5)

    def coo(self):
        return torch.sparse_coo_tensor(torch.tensor([[0, 1, 1], [0, 0, 2]]), ones(3), (2, 3), check_invariants=False)

    @pytest.mark.parametrize("product", [torch.mm, torch.matmul, torch.sparse.mm], ids=lambda f: f.__name__)
    def test_coo_by_dense(self, measure, product):
        assert measure(lambda: product(self.coo(), self.dense)).macs == 3 * 5

    def test_coo_by_vector(self, measure):
        assert measure(lambda: torch.mv(self.coo(), ones(3))).macs == 3

    def test_coo_as_an_addend_product(self, measure):
        assert measure(lambda: torch.sparse.addmm(ones(2, 5), self.coo(), self.dense)).macs == 3 * 5

    @pytest.mark.filterwarnings("ignore:Sparse CSR tensor support:UserWarning")
    @pytest.mark.filterwarnings("ignore:Sparse invariant checks:UserWarning")
    def test_csr_by_dense_and_a_sampled_product(self, measure):
        csr = torch.sparse_csr_tensor(torch.tensor([0, 1, 3]), torch.tensor([0, 0, 2]), ones(3), (2, 3))
        assert measure(lambda: torch.mm(csr, self.dense)).macs == 3 * 5
        assert measure(lambda: torch.sparse.sampled_addmm(csr, ones(2, 7), ones(7, 3))).macs == 3 * 7


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
class TestNested:
    """The sum over the components, each with its own sizes."""

    def nested(self, *shapes):
        return torch.nested.nested_tensor([torch.ones(shape) for shape in shapes])

    def test_linear(self, measure):
        nested = self.nested((2, 3), (5, 3))
        assert measure(lambda: F.linear(nested, ones(4, 3))).macs == 7 * 3 * 4

    def test_batched_product(self, measure):
        left, right = self.nested((2, 3), (5, 4)), self.nested((3, 6), (4, 7))
        assert measure(lambda: torch.bmm(left, right)).macs == 2 * 3 * 6 + 5 * 4 * 7
