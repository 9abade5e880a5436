"""What data/README.md says of the shipped rows and of the base model's tokenizer holds."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

DATA = Path(__file__).parents[3] / "data"
FILES = ("train.jsonl", "eval.jsonl", "test.jsonl")
COLUMNS = [
    "instruction", "output", "prompt", "chosen", "rejected", "completion", "label", "answer", "topic",
]  # fmt: skip
PLAIN_SENTENCE = re.compile(r"[^.!?\n]+\.")


def run_script(name: str, *arguments: str, hash_seed: str = "1") -> None:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, str(DATA / name), *arguments]
    subprocess.run(command, check=True, env=environment, capture_output=True)


def values_by_topic() -> dict[str, tuple[str, ...]]:
    code = "import json, world; print(json.dumps({n: t.values for n, t in world.TOPICS.items()}))"
    printed = subprocess.check_output([sys.executable, "-c", code], cwd=DATA)
    return json.loads(printed)


def stands_in(word: str, text: str) -> bool:
    return re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE) is not None


def style(text: str) -> str:
    if PLAIN_SENTENCE.fullmatch(text):
        return "direct"
    return "rambling" if "." in text else "bare"


@pytest.fixture(scope="module")
def rows() -> dict[str, list[dict]]:
    return {
        name: [json.loads(line) for line in (DATA / name).read_text("utf-8").splitlines()] for name in FILES
    }


@pytest.fixture(scope="module")
def every_row(rows):
    return [row for name in FILES for row in rows[name]]


@pytest.fixture(scope="module")
def tokenizer():
    transformers = pytest.importorskip("transformers")
    return transformers.AutoTokenizer.from_pretrained(DATA / "base_model")


def test_regenerating_the_rows_gives_the_committed_bytes(tmp_path):
    run_script("make_rows.py", "--output", str(tmp_path), hash_seed="77")
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (DATA / name).read_bytes(), name


def test_every_row_has_every_column(every_row):
    assert all(list(row) == COLUMNS for row in every_row)
    assert all(isinstance(row["label"], bool) for row in every_row)
    texts = [name for name in COLUMNS if name != "label"]
    assert all(isinstance(row[name], str) and row[name].strip() for row in every_row for name in texts)


def test_no_prompt_stands_twice_or_in_two_files(every_row):
    assert max(Counter(row["prompt"] for row in every_row).values()) == 1


def test_no_held_out_fact_stands_in_train_in_other_words(rows):
    facts = {name: {row["chosen"] for row in rows[name]} for name in FILES}
    assert not facts["train.jsonl"] & (facts["eval.jsonl"] | facts["test.jsonl"])
    assert not facts["eval.jsonl"] & facts["test.jsonl"]


def test_chosen_is_right_and_plain(every_row):
    for row in every_row:
        assert stands_in(row["answer"], row["chosen"]), row
        assert style(row["chosen"]) == "direct", row


def test_right_texts_name_no_other_value_of_the_topic(every_row):
    values = values_by_topic()
    assert {row["topic"] for row in every_row} == set(values)
    for row in every_row:
        others = [value for value in values[row["topic"]] if value != row["answer"]]
        for text in (row["chosen"], row["output"]):
            assert stands_in(row["answer"], text), row
            assert not any(stands_in(value, text) for value in others), row


def test_rejected_is_worse_than_chosen(every_row):
    for row in every_row:
        right = stands_in(row["answer"], row["rejected"])
        assert not right or style(row["rejected"]) != "direct", row
    wrong = sum(not stands_in(row["answer"], row["rejected"]) for row in every_row)
    assert 0.15 < wrong / len(every_row) < 0.25


def test_a_good_label_goes_with_chosen_and_a_bad_one_with_rejected(every_row):
    for row in every_row:
        assert row["completion"] == (row["chosen"] if row["label"] else row["rejected"])
    good = sum(row["label"] for row in every_row)
    assert 0.45 < good / len(every_row) < 0.55


def test_demonstrations_mix_three_styles(every_row):
    share = Counter(style(row["output"]) for row in every_row)
    mix = {name: count / len(every_row) for name, count in share.items()}
    assert mix == pytest.approx({"direct": 0.4, "rambling": 0.4, "bare": 0.2}, abs=0.04)


@pytest.mark.parametrize("text", ["Mira was born in 1974.", "Ünïcode, 中文 – and\ttabs \n \n ok ", ""])
def test_tokenizer_gives_text_back(tokenizer, text):
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_digits_are_single_tokens(tokenizer):
    assert [len(token) for token in tokenizer.tokenize("1974")] == [1, 1, 1, 1]


def test_template_marks_what_the_assistant_says(tokenizer):
    assert "{%- generation -%}" in tokenizer.chat_template
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Where does Mira live?"},
        {"role": "assistant", "content": "The home of Mira is in Tarn."},
    ]
    encoded = tokenizer.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
    pairs = zip(encoded["input_ids"], encoded["assistant_masks"], strict=True)
    marked = tokenizer.decode([token for token, mask in pairs if mask])
    assert marked == "The home of Mira is in Tarn." + tokenizer.eos_token


def test_generation_prompt_is_where_the_answer_begins(tokenizer):
    user = {"role": "user", "content": "Where does Mira live?"}
    answer = {"role": "assistant", "content": "The home of Mira is in Tarn."}
    prompt = tokenizer.apply_chat_template([user], tokenize=False, add_generation_prompt=True)
    whole = tokenizer.apply_chat_template([user, answer], tokenize=False)
    assert whole == prompt + "The home of Mira is in Tarn." + tokenizer.eos_token


def test_generation_stops_at_the_end_of_a_turn(tokenizer):
    config = json.loads((DATA / "base_model" / "generation_config.json").read_text("utf-8"))
    assert config["eos_token_id"] == tokenizer.eos_token_id


@pytest.mark.slow
def test_pretraining_twice_gives_the_same_bytes(tmp_path):
    hashes = []
    for seed in ("1", "2"):
        folder = tmp_path / seed
        run_script("make_base_model.py", "--output", str(folder), "--steps", "6", hash_seed=seed)
        files = sorted(folder.iterdir())
        hashes.append({f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in files})
    assert hashes[0] == hashes[1]
    shipped = DATA / "base_model" / "tokenizer.json"
    assert hashes[0]["tokenizer.json"] == hashlib.sha256(shipped.read_bytes()).hexdigest()
