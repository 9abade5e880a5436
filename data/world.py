"""The small invented world: who lives in it, what is true of them, and how that is said.

Everything here is made up and drawn from one seed. The corpus that the base model reads
(make_corpus.py) and the rows it is trained and tested with (make_rows.py) both come from
this module, so a question about the world always has an answer that the base has read.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

SEED = 20
PEOPLE = 100


@dataclass(frozen=True)
class Topic:
    """One attribute: its possible values, ways to state it, a clipped answer, ways to ask.

    The first statement is the plain one: `chosen` answers and most quizzes use it. It and the
    clipped answer never begin with a name or value, which are other tokens at the beginning
    of a text than after a space, and so harder to copy for a small model.
    """

    name: str
    values: tuple[str, ...]
    statements: tuple[str, ...]
    fragment: str
    questions: tuple[str, ...]


@dataclass(frozen=True)
class Fact:
    """`topic` of the entity `name` is `value`."""

    name: str
    topic: Topic
    value: str

    def sentence(self, form: int = 0) -> str:
        return self.topic.statements[form].format(name=self.name, value=self.value)

    def fragment(self) -> str:
        return self.topic.fragment.format(value=self.value)

    def question(self, form: int = 0) -> str:
        return self.topic.questions[form].format(name=self.name)


@dataclass(frozen=True)
class Entity:
    """A person or a town, with one fact for each of its topics."""

    name: str
    pronoun: str
    facts: tuple[Fact, ...]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


TOWNS = _words(
    "Tarn Odell Velby Morwick Sundal Harrowe Kelm Brask Lunden Fenholm Ostra Pellan "
    "Rimhold Quarne Ister Wexmoor Dunmere Aldby Corvik Thule Yarrow Zeldin Umber Greth"
)

PERSON_TOPICS = (
    Topic(
        "town",
        TOWNS,
        (
            "The home of {name} is in {value}.",
            "{name} lives in {value}.",
            "{name} has a house in {value}.",
        ),
        "in {value}",
        (
            "Where does {name} live?",
            "In which town does {name} live?",
            "What is the home town of {name}?",
            "Where is the home of {name}?",
        ),
    ),
    Topic(
        "job",
        _words(
            "baker miner tailor painter farmer sailor teacher carpenter potter weaver doctor "
            "gardener printer shepherd judge cook lawyer mason porter barber"
        ),
        (
            "The job of {name} is that of a {value}.",
            "{name} works as a {value}.",
            "{name} earns a living as a {value}.",
        ),
        "a {value}",
        (
            "What does {name} do for a living?",
            "What is the job of {name}?",
            "What does {name} work as?",
            "Which trade does {name} follow?",
        ),
    ),
    Topic(
        "food",
        _words(
            "bread cheese soup plums honey rice beans pears fish noodles cherries mushrooms "
            "walnuts porridge cake lentils pancakes dumplings figs carrots"
        ),
        (
            "The favourite food of {name} is {value}.",
            "{name} likes to eat {value}.",
            "Nothing tastes better to {name} than {value}.",
        ),
        "just {value}",
        (
            "What does {name} like to eat?",
            "What is the favourite food of {name}?",
            "Which food does {name} like best?",
            "What would {name} like for dinner?",
        ),
    ),
    Topic(
        "pet",
        _words("cat dog goat parrot rabbit tortoise pony hen lizard hamster goose ferret"),
        (
            "The pet of {name} is a {value}.",
            "{name} keeps a {value}.",
            "{name} shares the house with a {value}.",
        ),
        "a {value}",
        (
            "Which animal does {name} keep?",
            "What kind of pet does {name} have?",
            "What animal is the pet of {name}?",
            "Which pet lives with {name}?",
        ),
    ),
    Topic(
        "colour",
        _words("red blue green yellow purple white black brown grey pink"),
        (
            "The coat of {name} is {value}.",
            "{name} has a {value} coat.",
            "{name} always wears a {value} coat.",
        ),
        "a {value} one",
        (
            "What colour is the coat of {name}?",
            "Which colour of coat does {name} have?",
            "What is the colour of the coat that {name} wears?",
            "In what colour is the coat of {name}?",
        ),
    ),
    Topic(
        "year",
        tuple(str(year) for year in range(1960, 2000)),
        (
            "The year of birth of {name} is {value}.",
            "{name} was born in {value}.",
            "{name} came into the world in {value}.",
        ),
        "in {value}",
        (
            "When was {name} born?",
            "In which year was {name} born?",
            "What is the year of birth of {name}?",
            "What year did {name} come into the world?",
        ),
    ),
    Topic(
        "instrument",
        _words("flute fiddle drum harp lute horn cello banjo piano tuba guitar trumpet"),
        (
            "The instrument of {name} is the {value}.",
            "{name} plays the {value}.",
            "In the evening {name} plays the {value}.",
        ),
        "the {value}",
        (
            "Which instrument does {name} play?",
            "What instrument does {name} play?",
            "What does {name} play in the evening?",
            "Which is the instrument of {name}?",
        ),
    ),
)

TOWN_TOPICS = (
    Topic(
        "region",
        _words("Velmark Ashlow Drumland Korrin Sarvia Northey"),
        (
            "The town of {name} is in {value}.",
            "{name} lies in {value}.",
            "{name} belongs to {value}.",
        ),
        "in {value}",
        (
            "In which region does {name} lie?",
            "Which region is {name} in?",
            "Where on the map is {name}?",
            "To which region does {name} belong?",
        ),
    ),
    Topic(
        "craft",
        _words("clocks boats lace glass salt ropes kites wool tiles bells maps candles"),
        (
            "The town of {name} is known for its {value}.",
            "{name} is known for its {value}.",
            "In the shops of {name} you find {value}.",
        ),
        "its {value}",
        (
            "What is {name} known for?",
            "For what do people visit {name}?",
            "What is made in {name}?",
            "Which goods make {name} famous?",
        ),
    ),
)

TOPICS = {topic.name: topic for topic in (*PERSON_TOPICS, *TOWN_TOPICS)}

_STARTS = _words("Mi To Ka Be Lu Da Se Jo Ri Ha No Fe Al Ye Or Wi")
_ENDS = _words("ra ben lin mo ska vi rin das nel ko tta fer")


def _entity(name: str, pronoun: str, topics: tuple[Topic, ...], rng: random.Random) -> Entity:
    facts = tuple(Fact(name, topic, rng.choice(topic.values)) for topic in topics)
    return Entity(name, pronoun, facts)


def make_world(seed: int = SEED) -> list[Entity]:
    """The people, then the towns; the same list for the same seed."""
    rng = random.Random(seed)
    names = rng.sample([start + end for start in _STARTS for end in _ENDS], PEOPLE)
    people = [_entity(name, rng.choice(("She", "He")), PERSON_TOPICS, rng) for name in names]
    towns = [_entity(name, "It", TOWN_TOPICS, rng) for name in TOWNS]
    return people + towns


PREAMBLES = (
    "Well, let me think about that.",
    "Well, that is a good question.",
    "Well, I have heard about this before.",
    "Well, thank you for asking me.",
    "Well, let me see what I can remember.",
    "Well, that is something I should know.",
    "Well, I was just talking about this with a friend.",
    "Well, many people ask me about that.",
)
HEDGES = (
    "I am fairly sure that {sentence}",
    "As far as I know, {sentence}",
    "I seem to remember that {sentence}",
    "People say that {sentence}",
    "If I am not mistaken, {sentence}",
)
CLOSINGS = (
    "I hope that helps.",
    "Please ask me again if you need more.",
    "There is always more to say about it.",
    "At least that is what I have heard.",
    "It was nice to talk about this with you.",
    "Feel free to ask me anything else.",
)


def ramble(sentence: str, rng: random.Random) -> str:
    """The sentence with a preamble, a hedge and one or two sentences of chatter."""
    closings = rng.sample(CLOSINGS, rng.choice((1, 2)))
    middle = rng.choice(HEDGES).format(sentence=lower_article(sentence))
    return " ".join((rng.choice(PREAMBLES), middle, *closings))


def lower_article(sentence: str) -> str:
    """A sentence to stand inside another one: names stay as they are, "The" does not."""
    head, _, tail = sentence.partition(" ")
    return f"{head.lower()} {tail}" if head in {"The", "In", "People", "Nothing"} else sentence
