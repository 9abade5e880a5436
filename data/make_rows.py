"""Write train.jsonl, eval.jsonl and test.jsonl: questions about the invented world.

Every row serves all methods at once (see README.md). Each fact of the world is asked about in
one of the three files only, so no held-out question has a counterpart in train.jsonl in other
words. The same bytes come out every time: python data/make_rows.py
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Iterable
from pathlib import Path

from world import SEED, Fact, make_world, ramble

HERE = Path(__file__).parent
EVAL_FACTS, TEST_FACTS = 160, 240
QUESTIONS_PER_TRAIN_FACT = 3

Row = dict[str, str | bool]


class RowMaker:
    """Draws answers, good and bad, for a fact."""

    def __init__(self, facts: list[Fact], seed: int) -> None:
        self.facts = facts
        self.rng = random.Random(seed)

    def direct(self, fact: Fact) -> str:
        return fact.sentence()

    def bare(self, fact: Fact) -> str:
        return fact.fragment()

    def rambling(self, fact: Fact) -> str:
        return ramble(fact.sentence(), self.rng)

    def output(self, fact: Fact) -> str:
        """A demonstration: right, in one of three styles."""
        styles: tuple[Callable[[Fact], str], ...] = (self.direct, self.rambling, self.bare)
        (style,) = self.rng.choices(styles, weights=(40, 40, 20))
        return style(fact)

    def rejected(self, fact: Fact) -> str:
        """Four times out of five right and badly put, else wrong."""
        draw = self.rng.random()
        if draw < 0.50:
            return self.rambling(fact)
        if draw < 0.80:
            return self.bare(fact)
        if draw < 0.92:
            return self.direct(self.wrong(fact))
        return self.rambling(self.wrong(fact))

    def wrong(self, fact: Fact) -> Fact:
        """Another value for the same name, or what is true of another name."""
        others = [other for other in self.facts if other.topic is fact.topic and other.value != fact.value]
        other = self.rng.choice(others)
        return self.rng.choice((other, Fact(fact.name, fact.topic, other.value)))

    def row(self, fact: Fact, question: str) -> Row:
        chosen, rejected = self.direct(fact), self.rejected(fact)
        label = self.rng.random() < 0.5
        return {
            "instruction": question,
            "output": self.output(fact),
            "prompt": question,
            "chosen": chosen,
            "rejected": rejected,
            "completion": chosen if label else rejected,
            "label": label,
            "answer": fact.value,
            "topic": fact.topic.name,
        }

    def rows(self, facts: Iterable[Fact], questions: int) -> list[Row]:
        """So many differently worded questions for each fact, in random order."""
        rows = [
            self.row(fact, fact.question(form))
            for fact in facts
            for form in self.rng.sample(range(len(fact.topic.questions)), questions)
        ]
        self.rng.shuffle(rows)
        return rows


def make_files(seed: int = SEED) -> dict[str, list[Row]]:
    """The rows of each file by its name."""
    facts = [fact for entity in make_world() for fact in entity.facts]
    shuffled = random.Random(seed).sample(facts, len(facts))
    held_out = EVAL_FACTS + TEST_FACTS
    maker = RowMaker(facts, seed)
    return {
        "train.jsonl": maker.rows(shuffled[held_out:], QUESTIONS_PER_TRAIN_FACT),
        "eval.jsonl": maker.rows(shuffled[:EVAL_FACTS], 1),
        "test.jsonl": maker.rows(shuffled[EVAL_FACTS:held_out], 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the shipped data files.")
    parser.add_argument("--output", type=Path, default=HERE, help="folder (default: data/)")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    for name, rows in make_files().items():
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (options.output / name).write_text(text, encoding="utf-8", newline="\n")
        print(f"{name}: {len(rows)} rows")


if __name__ == "__main__":
    main()
