"""The metrics as bare rows, and the names of our marks: all that every pytest start can afford.

`metrics` makes objects of the rows; defining an enumeration takes as long as reading this whole file.
"""

from __future__ import annotations

ROWS: tuple[tuple[str, str, str, str, str], ...] = (
    ("params", "count", "parameters", "state", "elements of the model's distinct parameters, tied ones once"),
    ("trainable_params", "count", "trainable parameters", "state", "elements of the parameters that require grad"),
    ("size", "byte", "bytes", "state", "storage of the model's distinct parameters and buffers"),
    ("macs", "MAC", "MACs", "compute", "multiply-accumulates of the contractions of a forward pass"),
    ("flops", "FLOP", "FLOPs", "compute", "flops_per_mac x MACs, plus FFTs and linear algebra, of a forward pass"),
    ("elementwise_flops", "FLOP", "other FLOPs", "compute", "everything else that computes in a forward pass"),
    ("total_flops", "FLOP", "FLOPs in all", "compute", "FLOPs and other FLOPs of a forward pass together"),
    ("backward_flops", "FLOP", "FLOPs", "compute", "FLOPs of contractions of a backward pass"),
    ("training_flops", "FLOP", "FLOPs", "compute", "FLOPs of a forward and a backward pass"),
    ("activations", "count", "activations", "compute", "elements produced by convolutions and matrix products"),
    ("memory", "byte", "bytes", "storage", "peak of the bytes alive at once during a call and its backward"),
    ("traffic", "byte", "bytes", "compute", "bytes read and written by the operators of a forward pass, nothing fused"),
    ("latency", "second", "seconds", "clock", "median wall time of a call on a real device, warmed up, synchronised"),
)
"""Name, `Unit`, noun, `Source` and definition, as in `metrics.Metric`; in the order in which reports show them."""

MARKS: set[str] = {"modelbudget", "max_growth", *(f"max_{row[0]}" for row in ROWS)}
"""The names of the marks that are ours."""
