"""Operators that compute nothing: copies, allocation, indexing, layout, metadata.

Views are not listed: their schema says what they are (see `schema`).
"""

from __future__ import annotations

from .formula import FREE, Table
from .rates import table

_ALLOCATION = (
    "empty empty_like empty_permuted empty_strided empty_quantized _empty_affine_quantized"
    " _empty_per_channel_affine_quantized _efficientzerotensor new_empty new_empty_strided new_full new_ones new_zeros"
    " _new_zeros_with_same_feature_meta zeros zeros_like ones ones_like full full_like eye scalar_tensor arange range"
    " linspace logspace tril_indices triu_indices fft_fftfreq fft_rfftfreq from_file fill zero _foreach_zero"
    " _cudnn_init_dropout_state _philox_key_fold_in _philox_key_split _nested_get_jagged_dummy"
    " sparse_compressed_tensor sparse_coo_tensor _sparse_compressed_tensor_with_dims _sparse_coo_tensor_with_dims"
    " _sparse_coo_tensor_with_dims_and_tensors _make_dep_token"
)
_COPIES = (
    "clone copy _copy_from _copy_from_and_resize _to_copy to lift lift_fresh_copy contiguous _lazy_clone _pin_memory"
    " _foreach_clone _foreach_copy cat stack _stack _chunk_cat concat hstack vstack repeat repeat_interleave tile flip"
    " roll rot90 block_diag diag_embed tril triu constant_pad_nd pad reflection_pad1d reflection_pad2d reflection_pad3d"
    " replication_pad1d replication_pad2d replication_pad3d im2col channel_shuffle native_channel_shuffle pixel_shuffle"
    " pixel_unshuffle unsafe_split unsafe_split_with_sizes complex int_repr to_padded_tensor lu_unpack"
    " _jagged_to_padded_dense_forward _padded_dense_to_jagged_forward _nested_from_padded"
    " _nested_from_padded_and_nested_example _nested_from_padded_tensor _nested_tensor_from_mask"
    " _nested_tensor_from_tensor_list _pack_padded_sequence _cudnn_rnn_flatten_weight"
    " _reshape_copy _reshape_alias_copy _indices_copy _values_copy indices_copy values_copy crow_indices_copy"
    " col_indices_copy ccol_indices_copy row_indices_copy _make_dual_copy _fw_primal_copy"
    " _nested_view_from_buffer_copy _nested_view_from_jagged_copy _nested_get_values_copy"
    " _sparse_broadcast_to_copy view_as_complex_copy view_as_real_copy _test_autograd_multiple_dispatch_view_copy"
)
_INDEXING = (
    "index index_select index_copy index_fill _unsafe_index _unsafe_masked_index gather take take_along_dim nonzero"
    " nonzero_static masked_select masked_scatter masked_scatter_backward scatter embedding slice_scatter"
    " select_scatter diagonal_scatter as_strided_scatter select_backward slice_backward diagonal_backward"
    " _nested_select_backward _nested_sum_backward _sparse_sum_backward trace_backward _spdiags sparse_mask"
    " _sparse_mask_projection"
)
_LAYOUT = (
    "resize resize_as resize_as_sparse _resize_output sparse_resize sparse_resize_and_clear set as_strided"
    " _reshape_alias _unsafe_view detach squeeze t transpose unsqueeze _coalesced copy_sparse_to_sparse"
    " _to_dense to_dense _to_sparse _to_sparse_bsc _to_sparse_bsr _to_sparse_csc _to_sparse_csr"
    " _to_sparse_semi_structured _sparse_semi_structured_tile _sparse_semi_structured_apply"
    " _sparse_semi_structured_apply_dense _cslt_compress to_mkldnn _mkldnn_reshape _mkldnn_transpose"
    " mkldnn_reorder_conv2d_weight mkldnn_reorder_conv3d_weight _convert_weight_to_int4pack"
    " _convert_weight_to_int4pack_for_cpu _dyn_quant_pack_4bit_weight _wrapped_linear_prepack"
    " _convert_indices_from_coo_to_csr _convert_indices_from_csr_to_coo"
    " fbgemm_linear_quantize_weight fbgemm_pack_gemm_matrix_fp16 fbgemm_pack_quantized_matrix"
)
_METADATA = (
    "_local_scalar_dense item is_same_size is_pinned is_set_to is_coalesced is_complex is_floating_point is_nonzero"
    " _has_same_storage_numel dense_dim sparse_dim _dimI _dimV _nnz sym_size sym_stride sym_numel sym_storage_offset"
    " sym_is_contiguous size stride dim numel storage_offset is_contiguous is_non_overlapping_and_dense"
    " is_strides_like_format layout q_scale q_zero_point q_per_channel_scales q_per_channel_zero_points"
    " q_per_channel_axis qscheme record_stream retain_grad requires_grad _version output_nr"
    " _nested_tensor_size _nested_tensor_strides _nested_tensor_storage_offsets _nested_get_lengths"
    " _nested_get_max_seqlen _nested_get_min_seqlen _nested_get_offsets _nested_get_ragged_idx"
    " _nested_compute_contiguous_strides_offsets _nested_tensor_from_mask_left_aligned"
    " _fused_sdp_choice _use_cudnn_ctc_loss _use_miopen_ctc_loss _use_cudnn_rnn_flatten_weight"
    # Times the kernels of a sparse product to choose one; the product itself is another operator.
    " _cslt_sparse_mm_search"
    " _assert_async _assert_scalar _assert_tensor_metadata _functional_assert_async _functional_assert_scalar"
    " sym_constrain_range sym_constrain_range_for_size _functional_sym_constrain_range"
    " _functional_sym_constrain_range_for_size _validate_compressed_sparse_indices _linalg_check_errors _print"
)
_PRIMS = (
    "_make_token _sink_tokens as_strided_scatter cat clone collapse convert_element_type copy_strided copy_to"
    " device_put empty empty_permuted empty_strided fill full full_like iota item maximum_value minimum_value reshape"
    " resize rev scalar_tensor as_strided"
)

TABLE: Table = {
    **table(FREE, _ALLOCATION),
    **table(FREE, _COPIES),
    **table(FREE, _INDEXING),
    **table(FREE, _LAYOUT),
    **table(FREE, _METADATA),
    **table(FREE, _PRIMS, "prims"),
    **table(
        FREE,
        "_reorder_linear_weight _reorder_convolution_weight _reorder_convolution_transpose_weight"
        " _reorder_mkldnn_rnn_layer_weight _nbytes data_ptr _get_mkldnn_serialized_md",
        "mkldnn",
    ),
    "mkl::_mkl_reorder_linear_weight": FREE,
    "mkldnn_prepacked::conv2d_prepack": FREE,
    **table(FREE, "_FloatToBfloat16Quantized _Bfloat16QuantizedToFloat", "quantization"),
    **table(FREE, "_reinterpret_tensor accumulate_grad_ resize_storage_bytes_", "inductor"),
}
