"""References of a stage to an adapter or model folder outside the recipe."""

from __future__ import annotations

from ptspec.recipe.findings import Findings
from ptspec.recipe.hints import did_you_mean, listed
from ptspec.recipe.names import Chain
from ptspec.recipe.paths import Places
from ptspec.recipe.plan import BASE


def outside(
    says: str, text: str, at: str, chain: Chain, places: Places, findings: Findings, *, key: bool = False
) -> str | None:
    """Return the path of an adapter or model; report a bare word without folder as an unknown stage.

    `says`: what the stage does with it, for the message; `key`: it is a key.
    """
    found = places.find(text)
    if found is not None and found.is_dir():
        if any((found / file).is_file() for file in ("config.json", "adapter_config.json")):
            return str(found)
        message = f'"{text}" holds neither a model nor an adapter'
        findings.error(
            "not-a-model", at, message, "it has no config.json and no adapter_config.json", (), key
        )
        return None
    is_path = "/" in text or "\\" in text
    what = "neither a stage nor a folder" if is_path else "not a stage"
    near = places.nearest(text) if is_path else did_you_mean(text, [*chain.before, BASE])
    there = (
        f"stages before it: {listed(chain.before)}" if chain.before else 'no stage is before it; "base" is'
    )
    hint = near or (_download(text, "of" if key else "from") if is_path and places.hub_id(text) else there)
    notes = places.looked(text) if is_path else ()
    findings.error("unknown-stage", at, f"{says}, which is {what}", hint, notes, key)
    return None


def _download(name: str, key: str) -> str:
    """Return how to download the hub repository `name` to a folder for a stage's `key`."""
    folder = f"models/{name.rpartition('/')[2]}"
    named = f'"of": {{"{folder}": …}}' if key == "of" else f'"{key}": "{folder}"'
    return f"one of the hub: hf download {name} --local-dir {folder}, and {named}"
