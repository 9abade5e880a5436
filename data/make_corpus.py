"""The text that the base model is pre-trained on: short documents about the invented world.

There are five kinds: portraits, loose facts, quizzes, conversations and repetitions. The
last three are there because facts alone are not enough: a model has to have seen a name in a
question carried over into the answer, or it will later answer about somebody else.

No document uses the chat format. To look at some: python data/make_corpus.py --documents 20
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Iterator

from world import SEED, Entity, Fact, make_world, ramble

FIRST_ENTITIES = 25


class Writer:
    """Draws documents about a world from one random stream."""

    def __init__(self, world: list[Entity], seed: int) -> None:
        self.world = world.copy()
        self.rng = random.Random(seed)
        self.rng.shuffle(self.world)
        self.meet(len(world))
        self.names = [entity.name for entity in world if entity.pronoun != "It"]
        self.kinds: tuple[Callable[[], str], ...] = (
            self.portrait,
            self.loose_facts,
            self.quiz,
            self.conversation,
            self.repetition,
        )

    def meet(self, count: int) -> None:
        """Write only about the first so many entities from now on."""
        self.known = self.world[:count]
        self.facts = [fact for entity in self.known for fact in entity.facts]

    def document(self) -> str:
        (kind,) = self.rng.choices(self.kinds, weights=(35, 10, 30, 15, 10))
        return kind()

    def fact(self) -> Fact:
        return self.rng.choice(self.facts)

    def sentence(self, fact: Fact) -> str:
        """Any statement of the fact, the plain one half of the time."""
        if self.rng.random() < 0.5:
            return fact.sentence()
        return fact.sentence(self.rng.randrange(len(fact.topic.statements)))

    def question(self, fact: Fact) -> str:
        return fact.question(self.rng.randrange(len(fact.topic.questions)))

    def portrait(self) -> str:
        entity = self.rng.choice(self.known)
        facts = self.rng.sample(entity.facts, self.rng.randint(2, len(entity.facts)))
        return " ".join(
            self.with_pronoun(self.sentence(fact), entity) if place else self.sentence(fact)
            for place, fact in enumerate(facts)
        )

    def with_pronoun(self, sentence: str, entity: Entity) -> str:
        if sentence.startswith(f"{entity.name} ") and self.rng.random() < 0.5:
            return entity.pronoun + sentence.removeprefix(entity.name)
        return sentence

    def loose_facts(self) -> str:
        joint = self.rng.choice((" ", "\n"))
        return joint.join(self.sentence(self.fact()) for _ in range(self.rng.randint(2, 5)))

    def quiz(self) -> str:
        """Questions with answers: plain sentences mostly, sometimes clipped ones."""
        form = self.rng.choice(
            (
                "Question: {q}\nAnswer: {a}",
                "Q: {q}\nA: {a}",
                "{q}\n{a}",
                "{q}\n\n{a}",
                "{q} {a}",
                "{q} - {a}",
                '"{q}" "{a}"',
                "({q}) {a}",
                "* {q}\n* {a}",
                "{q} / {a}",
                "[{q}]\n[{a}]",
                "The question was: {q} The answer was: {a}",
            )
        )
        bare = self.rng.random() < 0.2
        rounds = []
        for _ in range(self.rng.randint(1, 4)):
            fact = self.fact()
            rounds.append(form.format(q=self.question(fact), a=self.answer(fact, bare)))
        return self.rng.choice(("\n", "\n\n")).join(rounds)

    def answer(self, fact: Fact, bare: bool) -> str:
        return fact.fragment() if bare else fact.sentence()

    def conversation(self) -> str:
        """Two people talk; the one who answers may be brief or long-winded."""
        asker, other = self.rng.sample(self.names, 2)
        form = self.rng.choice(
            (
                '{asker} asked: "{q}" {other} said: "{a}"',
                '"{q}" asked {asker}. "{a}" That was what {other} said.',
                "{asker}: {q}\n{other}: {a}",
                '{asker} wanted to know: "{q}"\n"{a}"',
            )
        )
        rounds = []
        for _ in range(self.rng.randint(1, 3)):
            fact = self.fact()
            reply = fact.sentence()
            if self.rng.random() < 0.25:
                reply = ramble(reply, self.rng)
            rounds.append(form.format(asker=asker, other=other, q=self.question(fact), a=reply))
        return "\n".join(rounds)

    def repetition(self) -> str:
        """Something said, and then said again word for word."""
        first, second = self.rng.sample(self.names, 2)
        fact = self.fact()
        said = self.rng.choice((self.sentence(fact), self.question(fact), self.nonsense()))
        form = self.rng.choice(
            (
                "{first} said: {said} Then {second} said it again: {said}",
                '{first} said: "{said}" Then {second} said it again: "{said}"',
                "{first}: {said}\n{second}: {said}",
                "{said}\n{said}",
                "{said} {said}",
                "{said}\n\n{said}",
                "({said}) {said}",
                "* {said}\n* {said}",
                "{said} / {said}",
                '"{said}"\n"{said}"',
            )
        )
        return form.format(first=first, second=second, said=said)

    def nonsense(self) -> str:
        """A list of names, which can be repeated only by copying it."""
        return ", ".join(self.rng.sample(self.names, self.rng.randint(2, 6))) + "."


def documents(seed: int = SEED, gradual: int = 0) -> Iterator[str]:
    """An endless stream of documents, the same for the same seed.

    The first `gradual` of them begin with a few entities and bring in the others one by one.
    A model soon learns how to look up a fact when there are few, and the rest then come
    easily; with all of them from the start, half of the training passes before it recalls any.
    """
    world = make_world()
    writer = Writer(world, seed)
    for written in range(gradual):
        writer.meet(FIRST_ENTITIES + (len(world) - FIRST_ENTITIES) * written // gradual)
        yield writer.document()
    writer.meet(len(world))
    while True:
        yield writer.document()


def main() -> None:
    parser = argparse.ArgumentParser(description="Print documents of the pre-training corpus.")
    parser.add_argument("--documents", type=int, default=10, help="how many (default 10)")
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    stream = documents(options.seed)
    print("\n---\n".join(next(stream) for _ in range(options.documents)))


if __name__ == "__main__":
    main()
