"""Measurements made by hand, and what a comparison says of one metric."""

from dataclasses import replace

from ptspec.evaluation.measurement import Measurement, RowMeasurement, Settings

SETTINGS = Settings(seed=1, max_new_tokens=48, preference_reference="raw likelihood", chat=True)


def made(name, right, lengths, nll=None, style=None, reference="raw likelihood"):
    """A measurement of as many rows as `right` has."""
    rows = tuple(
        RowMeasurement(
            id=str(i),
            prompt=f"question {i}",
            answer="x",
            correct=bool(correct),
            response="words",
            response_tokens=int(length),
            nll=None if nll is None else float(nll[i]),
            tokens=None if nll is None else 5,
            bytes=None if nll is None else 20,
            logp_chosen=-1.0,
            logp_rejected=-1.0 - i,
            margin=float(length),
            rewards={} if style is None else {"style": float(style[i])},
        )
        for i, (correct, length) in enumerate(zip(right, lengths, strict=True))
    )
    return Measurement(name, rows, {}, replace(SETTINGS, preference_reference=reference))


def effect(comparison, name):
    (found,) = [effect for effect in comparison.effects if effect.metric == name]
    return found
