"""The names of torch's dtypes, known without importing torch: inputs are checked where tests are collected. Pure."""

from __future__ import annotations

import sys
from difflib import get_close_matches

USUAL = (
    "bool",
    "uint8",
    "int8",
    "int16",
    "int32",
    "int64",
    "float16",
    "bfloat16",
    "float32",
    "float64",
    "complex64",
    "complex128",
)
"""What people mean; beside a misspelt `int65`, `int6` is nearer than `int64`, and no help."""

DTYPES = frozenset(
    {
        *USUAL,
        *("half", "float", "double", "short", "int", "long"),
        *("complex32", "bcomplex32", "chalf", "cfloat", "cdouble"),
        *("uint16", "uint32", "uint64"),
        *(f"{sign}int{bits}" for sign in ("", "u") for bits in range(1, 8)),
        *("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu", "float4_e2m1fn_x2"),
        *("qint8", "quint8", "qint32", "quint4x2", "quint2x4"),
        *("bit", "bits1x8", "bits2x4", "bits4x2", "bits8", "bits16"),
    }
)
"""Every one of torch 2.6 to 2.14. Where torch is there, it may have more."""


def unknown_dtype(name: str) -> str:
    """What is wrong with the name of a dtype, and what may be meant; empty where torch has one of that name."""
    torch = sys.modules.get("torch")
    if name in DTYPES or (torch is not None and isinstance(getattr(torch, name, None), torch.dtype)):
        return ""
    found = get_close_matches(name.lower(), USUAL, n=1)
    hint = f"did you mean {found[0]}?" if found else f"usual ones are {', '.join(USUAL)}"
    return f"torch has no dtype {name} ({hint})"
