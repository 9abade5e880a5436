"""Games with known equilibria for Nash-MD: preference matrices, tiny policies that answer, exact solutions.

A game's answers are words of a tiny vocabulary. Its policy is a one-layer Llama trained until it answers with
given probabilities; any other output loses to every answer.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import torch
from datasets import Dataset
from peft import LoraConfig
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from ptspec.methods.nash_md import METHOD

PROMPT = "play"
PAD, END, UNKNOWN = 0, 1, 2


@dataclass(frozen=True)
class Game:
    """`preference[i][j]` = P(answer i ≻ answer j); `equilibrium`: of the game without regularisation."""

    name: str
    answers: tuple[str, ...]
    preference: torch.Tensor
    equilibrium: tuple[float, ...]

    @property
    def longest(self) -> int:
        return max(len(answer.split()) for answer in self.answers)

    @property
    def ends(self) -> bool:
        """Whether answers close with the end token: those of one token need none."""
        return self.longest > 1

    @property
    def vocabulary(self) -> list[str]:
        words = sorted({word for answer in self.answers for word in answer.split()})
        return ["<pad>", "<end>", "<unk>", PROMPT, *words]

    def tokens(self, answer: str) -> tuple[int, ...]:
        ids = tuple(self.vocabulary.index(word) for word in answer.split())
        return (*ids, END) if self.ends else ids


def cyclic(paper_rock: float, scissors_paper: float, rock_scissors: float) -> torch.Tensor:
    """Rock, paper, scissors with stakes: the first of each pair wins with probability (1 + stake)/2.

    Its one equilibrium plays each move in proportion to the stake of the pair that the move is not in.
    """
    a, b, c = paper_rock / 2, scissors_paper / 2, rock_scissors / 2
    return 0.5 + torch.tensor([[0, -a, c], [a, 0, -b], [-c, b, 0]], dtype=torch.double)


def around(*chances: float, across: tuple[float, float]) -> torch.Tensor:
    """Four answers in a circle, each beating the next with its chance; `across`: the first the third, the
    second the fourth."""
    wins = torch.full((4, 4), 0.5, dtype=torch.double)
    pairs = {(row, (row + 1) % 4): chance for row, chance in enumerate(chances)}
    for (row, other), chance in {**pairs, (0, 2): across[0], (1, 3): across[1]}.items():
        wins[row, other], wins[other, row] = chance, 1 - chance
    return wins


def with_dominated(preference: torch.Tensor, chance: float) -> torch.Tensor:
    """One more answer, which beats each of the others with probability `chance` < 1/2."""
    size = len(preference)
    wider = torch.full((size + 1, size + 1), 0.5, dtype=torch.double)
    wider[:size, :size] = preference
    wider[size, :size], wider[:size, size] = chance, 1 - chance
    return wider


RPS = Game("rock-paper-scissors", ("rock", "paper", "scissors"), cyclic(1, 1, 1), (1 / 3, 1 / 3, 1 / 3))
STAKES = Game("stakes", ("rock", "paper", "scissors"), cyclic(0.9, 0.3, 0.6), (1 / 6, 1 / 3, 1 / 2))
PHRASES = Game(
    "phrases",
    ("hold", "hold then move", "move", "move then hold now"),
    with_dominated(cyclic(0.4, 0.8, 0.8), 0.35),
    (0.4, 0.4, 0.2, 0.0),
)
GAMES = (RPS, STAKES, PHRASES)

SPOKEN = ("I pick rock", "I pick paper now", "scissors it is now")
MOVES = Game("moves", SPOKEN, cyclic(1, 1, 1), (1 / 3, 1 / 3, 1 / 3))
UNEVEN = Game("uneven moves", SPOKEN, cyclic(0.9, 0.3, 0.6), (1 / 6, 1 / 3, 1 / 2))
WINDS = Game(
    "winds",
    ("north", "east then go", "south it is now", "west now"),
    around(0.9, 0.8, 0.9, 0.85, across=(0.6, 0.4)),
    (8 / 17, 0.0, 7 / 17, 2 / 17),
)
SPOKEN_GAMES = (MOVES, UNEVEN, WINDS)
"""Games played in answers of several tokens, two of which may begin alike."""


def starts(game: Game) -> dict[str, list[float]]:
    """Where a policy may begin: nearly even, as an SFT left it, and all but collapsed on the first answer."""
    if len(game.answers) == 4:
        return {
            "even": [0.26, 0.25, 0.25, 0.24],
            "sft": [0.5, 0.25, 0.15, 0.1],
            "one answer": [0.85] + [0.05] * 3,
        }
    return {"even": [0.34, 0.33, 0.33], "sft": [0.58, 0.27, 0.15], "one answer": [0.9, 0.05, 0.05]}


def fixed_point(game: Game, reference: torch.Tensor, tau: float, coef: float) -> torch.Tensor:
    """π ∝ μ·exp(P(· ≻ π_c)/τ) with π_c the mixture of π and μ, token by token; to 1e-10, else an error."""

    def best(log_policy: torch.Tensor) -> torch.Tensor:
        opponent = mixture(game, log_policy.softmax(0), reference, coef)
        return (reference.log() + game.preference @ opponent / tau).log_softmax(0)

    point = reference.log()
    for _ in range(1_000):  # towards it by small steps, then Newton's
        point = (point + 0.02 * (best(point) - point)).log_softmax(0)
    for _ in range(50):
        miss = point - best(point)
        if miss.abs().max() < 1e-10:
            return point.exp()
        slope = torch.eye(len(point), dtype=torch.double) - torch.autograd.functional.jacobian(best, point)
        point = (point - torch.linalg.solve(slope, miss)).log_softmax(0)
    raise ArithmeticError(f"no fixed point of {game.name} at c = {coef}")


def mixture(game: Game, policy: torch.Tensor, reference: torch.Tensor, coef: float) -> torch.Tensor:
    """Probabilities of the answers under π_c(y_t | y_<t) ∝ π(y_t | y_<t)^(1−c)·μ(y_t | y_<t)^c."""
    begins, siblings = _prefixes(tuple(game.tokens(answer) for answer in game.answers))
    # Of the last token of each prefix: what its siblings weigh shares a factor, which cancels.
    weight = (begins @ policy) ** (1 - coef) * (begins @ reference) ** coef
    return ((weight / (siblings @ weight)).log() @ begins).exp()


@cache
def _prefixes(answers: tuple[tuple[int, ...], ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Of everything that answers begin with: 1 where an answer does (prefix × answer), and 1 where two differ
    in their last token at most (prefix × prefix)."""
    found = sorted({answer[: depth + 1] for answer in answers for depth in range(len(answer))})
    begins = [[answer[: len(prefix)] == prefix for answer in answers] for prefix in found]
    siblings = [[len(one) == len(other) and one[:-1] == other[:-1] for other in found] for one in found]
    return torch.tensor(begins, dtype=torch.double), torch.tensor(siblings, dtype=torch.double)


def exploitability(game: Game, policy: torch.Tensor, reference: torch.Tensor, tau: float) -> float:
    """max over π' of P(π' ≻ π) − τ·KL(π'‖μ) + τ·KL(π‖μ) − 1/2: 0 at the regularised equilibrium alone."""
    best = tau * (reference.log() + game.preference @ policy / tau).logsumexp(0)
    return float(best + tau * (policy * (policy / reference).log()).sum() - 0.5)


def total_variation(p: torch.Tensor, q: torch.Tensor) -> float:
    return float((p - q).abs().sum() / 2)


def judge_of(game: Game) -> Callable[..., list[float]]:
    """The game as a judge: an answer beats what is none, and two of those draw."""
    table = game.preference.tolist()
    rows = {answer: row for row, answer in enumerate(game.answers)}

    def judge(prompts: list[str], a: list[str], b: list[str]) -> list[float]:
        return [_wins(rows.get(left), rows.get(right), table) for left, right in zip(a, b, strict=True)]

    return judge


def _wins(left: int | None, right: int | None, table: list[list[float]]) -> float:
    if left is None or right is None:
        return 0.5 + 0.5 * ((left is not None) - (right is not None))
    return table[left][right]


def tokenizer_of(vocabulary: Sequence[str]) -> PreTrainedTokenizerFast:
    """One token a word, split at spaces."""
    ids = {word: number for number, word in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<end>",
        unk_token="<unk>",
        padding_side="left",
    )


def policy_of(game: Game, start: Sequence[float], seed: int) -> LlamaForCausalLM:
    """A one-layer Llama that gives the game's answers with the probabilities `start`, to about a percent."""
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            vocab_size=len(game.vocabulary),
            max_position_embeddings=32,
            pad_token_id=PAD,
            eos_token_id=END,
            bos_token_id=None,
        )
    )
    # Heads and embeddings wide enough that LoRA on the layer between them can express any answer.
    torch.nn.init.normal_(model.lm_head.weight, std=0.5)
    torch.nn.init.normal_(model.model.embed_tokens.weight, std=1.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    weights = torch.tensor(start)
    for _ in range(500):
        loss = -(weights * log_probabilities(model, game)).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def log_probabilities(model: Any, game: Game) -> torch.Tensor:
    """log π(answer | prompt) of each answer."""
    answers = [torch.tensor(game.tokens(answer)) for answer in game.answers]
    targets = torch.nn.utils.rnn.pad_sequence(answers, batch_first=True, padding_value=PAD)
    prompt = torch.full((len(answers), 1), game.vocabulary.index(PROMPT))
    logits = model(input_ids=torch.cat([prompt, targets[:, :-1]], dim=1)).logits
    each = logits.log_softmax(-1).gather(2, targets.unsqueeze(2)).squeeze(2)
    return (each * (targets != PAD)).sum(1)


@torch.no_grad()
def distribution(model: Any, game: Game) -> torch.Tensor:
    """The model's probabilities of the game's answers, normalised over them."""
    probabilities: torch.Tensor = log_probabilities(model, game).double().softmax(0)
    return probabilities


def distances(game: Game, favourite: int, folder: Path, **config: Any) -> tuple[float, float]:
    """Total variation from the fixed point, before and after Nash-MD, of a policy that begins at about
    80/10/10, the answer number `favourite` (also the seed) its favourite; `config` as for `trainer_for`."""
    start = [0.1] * len(game.answers)
    start[favourite] = 1.1 - sum(start)
    policy = policy_of(game, start, favourite)
    reference = distribution(policy, game)
    target = fixed_point(game, reference, TAU, COEF)
    trained = play(game, policy, folder, seed=favourite, **config)
    return total_variation(reference, target), total_variation(distribution(trained, game), target)


def play(game: Game, policy: Any, folder: Path, **options: Any) -> Any:
    """The policy after Nash-MD on the game; options as for `trainer_for`."""
    trainer = trainer_for(game, policy, folder, **options)
    trainer.train()
    return trainer.accelerator.unwrap_model(trainer.model).eval()


def trainer_for(
    game: Game,
    policy: Any,
    folder: Path,
    *,
    reference: Any = None,
    watch: Any = None,
    settings: Mapping[str, Any] | None = None,
    **config: Any,
) -> Any:
    """Nash-MD on the game: of a new LoRA adapter, or with `reference`, a second model, of all weights.
    `config` above `settings` (else `SETTINGS`)."""
    from transformers import PrinterCallback

    from ptspec.training.nash_md.config import NashMDConfig
    from ptspec.training.nash_md.trainer import NashMDTrainer

    config.setdefault("max_completion_length", game.longest + game.ends)
    parts = {"ref_model": reference} if reference is not None else {"peft_config": lora()}
    trainer = NashMDTrainer(
        policy,
        NashMDConfig(output_dir=str(folder), **{**(settings or SETTINGS), **config}),
        judge=judge_of(game),
        train_dataset=Dataset.from_dict({"prompt": [PROMPT] * 256}),
        processing_class=tokenizer_of(game.vocabulary),
        callbacks=[watch] if watch else [],
        **parts,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def lora() -> LoraConfig:
    return LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")


OF_A_TEST = (
    *("logging_steps", "bf16", "gradient_checkpointing", "report_to", "save_strategy", "disable_tqdm"),
    "use_cpu",
)
"""Settings that have no part in what is learned."""
TAU = 0.1
COEF = 0.125
SETTINGS: dict[str, Any] = {
    "beta": TAU,
    "mixture_coef": COEF,
    "max_steps": 200,
    "per_device_train_batch_size": 256,
    "num_generations": 64,
    "num_opponents": 32,
    "learning_rate": 1e-3,
    "lr_scheduler_type": "cosine",
    # Momentum turns the play around the equilibrium into a spiral outwards.
    "adam_beta1": 0.0,
    "max_grad_norm": 0.0,
    "probe_steps": 0,
    "logging_steps": 1000,
    "bf16": False,
    "gradient_checkpointing": False,
    "report_to": "none",
    "save_strategy": "no",
    "disable_tqdm": True,
    "use_cpu": True,
}
AS_IT_COMES: dict[str, Any] = {
    **{name: SETTINGS[name] for name in ("beta", "mixture_coef", *OF_A_TEST)},
    "max_steps": 300,
    "per_device_train_batch_size": 64,
    "learning_rate": 5e-4,
    **METHOD.defaults,
}
"""What a recipe must say for a game, over the method's own defaults."""
