"""One variant of one setup in this process: prints a line of JSON.

`training`: TRL's `train`, and a reference's log-probabilities where they are taken once before it. `whole`:
from rows and a loaded model to the saved policy, with what the trainer makes of the rows. ptspec compares
probes besides, before the first step and after the last.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

MARK = "RESULT "
CPU_SETTINGS = {"bf16": False, "gradient_checkpointing": False}


class Clock:
    """Wall and processor seconds of what is wrapped in it, added up."""

    def __init__(self) -> None:
        self.wall = self.processor = 0.0

    def timing(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, whose calls count."""

        def timed(*given: Any, **named: Any) -> Any:
            wall, processor = time.perf_counter(), time.process_time()
            try:
                return function(*given, **named)
            finally:
                self.wall += time.perf_counter() - wall
                self.processor += time.process_time() - processor

        return timed

    def read(self) -> dict[str, float]:
        return {"wall": self.wall, "processor": self.processor}


class Steps:
    """When each step of what trains in this process was logged, and how many tokens had been read by then."""

    def __init__(self) -> None:
        self.at: list[tuple[float, float]] = []

    def noting(self, log: Callable[..., Any]) -> Callable[..., Any]:
        """A trainer's `log`; a loss that is logged has been waited for on the device."""

        def noted(trainer: Any, logs: dict[str, float], *given: Any, **named: Any) -> Any:
            found = log(trainer, logs, *given, **named)
            if "loss" in logs:
                tokens = trainer.state.log_history[-1].get("num_tokens", 0)
                self.at.append((time.perf_counter(), tokens))
            return found

        return noted

    def read(self) -> dict[str, float]:
        """Of the steps after the first, which pays for what is made once."""
        (begins, had), (ends, has) = self.at[0], self.at[-1]
        return {"wall": ends - begins, "tokens": has - had}


def training_clock() -> tuple[Clock, Steps]:
    """Times every trainer of this process from now on."""
    import transformers
    import trl

    clock, steps = Clock(), Steps()
    transformers.Trainer.log = steps.noting(transformers.Trainer.log)
    transformers.Trainer.train = clock.timing(transformers.Trainer.train)
    trl.DPOTrainer._precompute_ref_logps = clock.timing(trl.DPOTrainer._precompute_ref_logps)
    return clock, steps


def with_ptspec(job: dict[str, Any], work: Path) -> dict[str, Any]:
    """`pt run` of a recipe of one stage; its `train` is timed."""
    from ptspec.checks.preflight import preflight
    from ptspec.run import train_stage
    from ptspec.run.options import Options
    from ptspec.run.session import execute

    recipe = work / "recipe.json"
    value = {
        "name": "throughput",
        "seed": job["seed"],
        "model": {"path": job["model"], **({"dtype": job["dtype"]} if job["dtype"] else {})},
        "performance": job["variant"],
        "adapter": job["adapter"],
        "data": {"rows": {"path": job["rows"], "chat": False}},
        "stages": [{"name": "s", "method": job["method"], "data": "rows", "config": job["config"]}],
    }
    if job["method"] == "grpo":
        value["rewards"] = {"short": {"function": "length", "max": 64}}
        value["stages"][0]["rewards"] = ["short"]
    recipe.write_text(json.dumps(value))
    (training, steps), whole = training_clock(), Clock()
    train_stage.train = whole.timing(train_stage.train)  # type: ignore[attr-defined]  # timed in place
    reading = preflight(recipe, output=work / "run")
    plan = reading.plan
    if plan is None:
        sys.exit("\n".join(error.message for error in reading.errors))
    execute(plan, lambda event: None, Options())
    folder = work / "run" / "s"
    record = json.loads((folder / "stage.json").read_text())
    chosen = [choice["about"] for choice in (record["performance"] or {}).get("choices", ())]
    clocks = {"training": training.read(), "whole": whole.read(), "steady": steps.read()}
    return {**clocks, "log": _log(folder), "chosen": chosen, "gpu_bytes": record["peak_memory_bytes"]}


def _log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def with_trl(job: dict[str, Any], work: Path) -> dict[str, Any]:
    """A script as TRL's documentation has it, with TRL's defaults; `trl-32`: those that suit a CPU."""
    import torch
    import trl
    from datasets import load_dataset
    from peft import LoraConfig, prepare_model_for_kbit_training
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

    name = {"sft": "SFT", "dpo": "DPO", "grpo": "GRPO"}[job["method"]]
    keep = {"sft": ("prompt", "completion"), "dpo": ("prompt", "chosen", "rejected"), "grpo": ("prompt",)}
    rows = load_dataset("json", data_files=job["rows"], split="train", cache_dir=str(work / "cache"))
    rows = rows.select_columns(list(keep[job["method"]]))
    adapter = job["adapter"]
    on_gpu = torch.cuda.is_available()
    half = job["dtype"] or (on_gpu and adapter["use_lora"])
    loading: dict[str, Any] = {"dtype": torch.bfloat16 if half else torch.float32}
    if adapter.get("use_qlora"):
        loading["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
    if on_gpu:
        loading["device_map"] = {"": 0}
    torch.manual_seed(job["seed"])
    model = AutoModelForCausalLM.from_pretrained(job["model"], **loading)
    if adapter.get("use_qlora"):
        model = prepare_model_for_kbit_training(model)
    lora = None
    if adapter["use_lora"]:
        fields = {key: value for key, value in adapter.items() if not key.startswith("use_")}
        lora = LoraConfig(task_type="CAUSAL_LM", **fields)
    own: dict[str, Any] = CPU_SETTINGS if job["variant"] == "trl-32" else {}
    if not on_gpu:
        own = {**own, "use_cpu": True}  # TRL's bf16 is refused on a CPU without it
    arguments = getattr(trl, f"{name}Config")(
        output_dir=str(work / "trl"),
        seed=job["seed"],
        data_seed=job["seed"],
        report_to="none",
        logging_steps=1,
        disable_tqdm=True,
        **{**own, **job["config"]},
    )
    parts: dict[str, Any] = {"model": model, "args": arguments, "train_dataset": rows, "peft_config": lora}
    parts["processing_class"] = AutoTokenizer.from_pretrained(job["model"])
    if job["method"] == "grpo":
        parts["reward_funcs"] = lambda completions, **columns: [-float(len(one)) for one in completions]
    (training, steps), whole = training_clock(), Clock()

    def done() -> Any:
        trainer = getattr(trl, f"{name}Trainer")(**parts)
        trainer.train()
        trainer.save_model(str(work / "saved"))
        return trainer

    trainer = whole.timing(done)()
    clocks = {"training": training.read(), "whole": whole.read(), "steady": steps.read()}
    log = [entry for entry in trainer.state.log_history if "loss" in entry]
    used = torch.cuda.max_memory_allocated() if on_gpu else 0
    return {**clocks, "log": log, "chosen": [], "gpu_bytes": used}


def main() -> None:
    job, work = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[1]).parent
    found = with_trl(job, work) if job["variant"].startswith("trl") else with_ptspec(job, work)
    log = found.pop("log")
    found["losses"] = [entry["loss"] for entry in log]
    found["tokens"] = max(entry.get("num_tokens", 0) for entry in log)
    found["resident_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(MARK + json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
