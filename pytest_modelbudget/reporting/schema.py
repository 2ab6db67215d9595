"""The JSON Schema of the report, derived from the table of metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_modelbudget.budget import Level, Per
from pytest_modelbudget.metrics import METRICS, Unit
from pytest_modelbudget.reporting.document import KIND, VERSION
from pytest_modelbudget.verdict import Outcome

if TYPE_CHECKING:
    from enum import Enum

    from pytest_modelbudget.metrics import Metric

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
FIGURE: Schema = {
    "description": "an exact figure in the metric's unit: a whole number, or a fraction such as '100/3'",
    "oneOf": [{"type": "number"}, {"type": "string", "pattern": "^-?[0-9]+/[1-9][0-9]*$"}],
}


def schema() -> Schema:
    """The schema, draft 2020-12."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Report of pytest-modelbudget",
        **_object(
            {
                "kind": {"const": KIND},
                "version": {"const": VERSION},
                "run": _object(
                    {
                        **dict.fromkeys(("torch", "plugin", "python", "platform", "device"), TEXT),
                        "flops_per_mac": {"enum": [1, 2]},
                        "exit_status": COUNT,
                    }
                ),
                "tests": _list(
                    _object(
                        {
                            "id": TEXT,
                            "outcome": {"enum": ["passed", "failed", "skipped", "xfailed"]},
                            "verdicts": _list({"$ref": "#/$defs/verdict"}),
                            "profiles": _list({"$ref": "#/$defs/profile"}),
                        }
                    )
                ),
                "times": _list(
                    {
                        "description": "limits on times, which differ from run to run",
                        **_object({"id": TEXT}),
                        "$ref": "#/$defs/verdict",
                    }
                ),
                "details": _list({"$ref": "#/$defs/details"}),
                "unmeasured": _list(TEXT),
                "changes": _list({"$ref": "#/$defs/change"}),
            }
        ),
        "$defs": {
            "verdict": _verdict(),
            "profile": _profile(),
            "details": _details(),
            "module": _module(),
            "operator": _operator(),
            "change": _change(),
        },
    }


def _object(properties: Schema, *, optional: Schema | None = None) -> Schema:
    # Later versions and the hook pytest_modelbudget_update_report may add keys; those that are here stay.
    return {"type": "object", "properties": {**properties, **(optional or {})}, "required": list(properties)}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _or_null(schema: Schema) -> Schema:
    return {"oneOf": [schema, {"type": "null"}]}


def _one_of(choices: type[Enum]) -> Schema:
    return {"enum": [choice.value for choice in choices]}


def _verdict() -> Schema:
    return _object(
        {
            **dict.fromkeys(("metric", "model", "module", "reason"), TEXT),
            "relative": {"type": "boolean", "description": "whether the limit is on growth over the baseline"},
            "per": _one_of(Per),
            "level": _one_of(Level),
            "outcome": _one_of(Outcome),
            "failed": {"type": "boolean"},
            "measured": _or_null({"type": "string", "description": "the figure for people"}),
            "limit": _or_null({"type": "string", "description": "the limit for people"}),
            "figure": _or_null(FIGURE),
            "bound": _or_null(FIGURE),
            "baseline": _or_null({**FIGURE, "description": "what the baseline holds; null of limits that need none"}),
            "used": _or_null({"type": "number", "description": "the share of the limit that is used up"}),
            "growth": _or_null({"type": "string", "description": "the change against the baseline, for people"}),
            "unknown": {"type": "object", "additionalProperties": COUNT},
            "straddles": {
                "type": "boolean",
                "description": "whether the limit is within the spread of a measured time",
            },
            "source": _object({"text": TEXT, "location": TEXT, "direct": {"type": "boolean"}}),
        },
        optional={
            "notes": {**_list(TEXT), "description": "what a reader must know to trust the figure"},
            "known_as": {**TEXT, "description": "what of the baseline it is held to, under another name; else empty"},
        },
    )


def _figure(metric: Metric) -> Schema:
    kind: Schema = {"type": "number", "minimum": 0} if metric.unit is Unit.SECOND else COUNT
    return {**_or_null(kind), "description": f"{metric.definition}; null where it was not measured"}


def _profile() -> Schema:
    return _object(
        {
            **{metric.name: _figure(metric) for metric in METRICS.values()},
            **dict.fromkeys(("model", "inputs", "device", "how"), TEXT),
            "batch": _or_null(COUNT),
            "calls": COUNT,
            "flops_per_mac": {"enum": [1, 2]},
            "uncounted": {"type": "object", "additionalProperties": COUNT},
            "notes": _list(TEXT),
        },
        optional={
            "custom": {
                "type": "object",
                "description": "figures of the metrics of the hook pytest_modelbudget_metrics",
                "additionalProperties": {"type": "number", "minimum": 0},
            },
            "outside": {
                "type": "boolean",
                "description": "whether this is work of the model's parts outside a call of the model itself",
            },
            "details": {**COUNT, "description": "which of the report's `details` are those of this profile"},
        },
    )


def _details() -> Schema:
    return _object(
        {},
        optional={
            "modules": {
                "description": 'by dotted path, "" is the model',
                "type": "object",
                "additionalProperties": {"$ref": "#/$defs/module"},
            },
            "operators": {
                "description": "by name, the costliest first; they add up to the figures of the call",
                "type": "object",
                "additionalProperties": {"$ref": "#/$defs/operator"},
            },
            "memory_by_kind": {
                "description": "bytes alive at the peak, by what they are",
                "type": "object",
                "additionalProperties": COUNT,
            },
            "memory_course": _or_null(_memory_course()),
            "uncounted_in": {
                "description": "operators of unknown cost and how often they ran, by the path of their module",
                "type": "object",
                "additionalProperties": {"type": "object", "additionalProperties": COUNT},
            },
        },
    )


def _module() -> Schema:
    shapes = _list(_list(COUNT))
    return _object(
        {"type": TEXT, "calls": COUNT, "input_shapes": shapes, "output_shapes": shapes},
        optional={
            **{metric.name: _figure(metric) for metric in METRICS.values()},
            **dict.fromkeys(
                ("read", "written"), _or_null({**COUNT, "description": "bytes that the forward pass moves"})
            ),
            "memory": _or_null(
                {
                    **COUNT,
                    "description": "of the bytes alive at the peak of the call, those of the module: its parameters, "
                    "its buffers and what it made",
                }
            ),
        },
    )


def _operator() -> Schema:
    names = ("calls", "backward_calls", "macs", "flops", "elementwise_flops", "backward_flops", "activations")
    return _object({**dict.fromkeys(names, COUNT), **dict.fromkeys(("read", "written"), _or_null(COUNT))})


def _memory_course() -> Schema:
    return {
        "description": "bytes alive over the course of the call, sampled as storages were made; the peak is kept",
        **_object(
            {
                "points": _list(
                    {
                        "description": "storages made until then, bytes alive, path of the module that made the last",
                        "type": "array",
                        "prefixItems": [COUNT, COUNT, TEXT],
                        "items": False,
                        "minItems": 3,
                    }
                ),
                "storages": {**COUNT, "description": "made in all, inputs included"},
                "forward": {**COUNT, "description": "made until the forward pass was over"},
            }
        ),
    }


def _change() -> Schema:
    return _object(
        {
            **dict.fromkeys(("test", "model", "metric", "per", "device"), TEXT),
            "kind": {"enum": ["new", "gone", "moved", "grown", "shrunk"]},
            "before": _or_null(FIGURE),
            "after": _or_null(FIGURE),
            "modules": _list(_object({"path": TEXT, "kind": TEXT, "delta": FIGURE, "before": TEXT})),
            "figures": {
                "description": "of each module that changed, by its path, the figure before and after",
                "type": "object",
                "additionalProperties": {"type": "array", "items": _or_null(FIGURE), "minItems": 2, "maxItems": 2},
            },
            "recorded": {"type": "boolean", "description": "whether the run put it into the baseline"},
            "known_as": {**TEXT, "description": "the model, and its test, that it was before; empty: itself"},
        }
    )
