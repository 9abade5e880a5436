"""Messages for the findings of the look at rendered rows."""

from __future__ import annotations

import json

from ptspec.checks.template import can_mark
from ptspec.data.tokens.look import Finding, Kind, Look
from ptspec.data.tokens.template import TokenizerFiles
from ptspec.diagnostics import Diagnostic, Severity
from ptspec.recipe.hints import listed
from ptspec.recipe.plan import Stage

WARNING = Severity.WARNING


def finding_message(stage: Stage, finding: Finding, look: Look) -> Diagnostic:
    """Return the warning or error of a finding in a row of `stage`, without the row's location."""
    what, who, at = finding.what, f'stage "{stage.name}"', stage.at
    match finding.kind:
        case Kind.LEFT_OUT:
            message = f"{who}: the chat template leaves out {what} of this row: the model never sees that"
            hint = _left_out_hint(what)
            return Diagnostic("template-drops-text", message, None, at, hint, severity=WARNING)
        case Kind.NOT_PREFIX:
            message = (
                f"{who}: generation begins the answer of this row after {what!r}, and what is trained on "
                "does not: the chat template renders a prompt otherwise where the answer follows"
            )
            hint = "the answer is learned from where the two differ; another template may render both alike"
            return Diagnostic("prompt-not-prefix", message, None, at, hint, severity=WARNING)
        case Kind.EMPTY_THOUGHT:
            message = (
                f"{who}: the chat template puts an empty thought ({what!r}) before the answer of this row"
            )
            hint = (
                "the model learns to answer without a thought; rows with thoughts keep them, and "
                '"chat_template_kwargs" with "enable_thinking": false in the rows begins generation so too'
            )
            return Diagnostic("empty-thought-learned", message, None, at, hint, severity=WARNING)
        case Kind.NO_STOP:
            after = f"{what!r} follows it" if what.strip() else "nothing follows it"
            message = f"{who}: the answer of this row ends with no token that generation stops at ({after})"
            hint = f"generation stops at {listed(sorted(look.stops)) or 'no token at all'}"
            return Diagnostic("no-stop-token", message, None, at, hint, severity=WARNING)
        case Kind.SPLIT:
            message = (
                f"{who}: the chat template marks turns with {what}, which the tokenizer does not know: "
                "each is split into pieces"
            )
            hint = '"additional_special_tokens" in /model adds them, or a template made for this tokenizer'
            return Diagnostic("split-special-token", message, None, at, hint, severity=WARNING)
        case Kind.BEYOND:
            message = (
                f"{who}: the model's embedding has {look.embedding:,} rows, and none for what the tokenizer "
                f"makes of this row: {what}"
            )
            tokens = json.dumps(what.split(", "), ensure_ascii=False)
            hint = f'"additional_special_tokens": {tokens} in /model makes the embedding larger'
            return Diagnostic("token-beyond-embedding", message, None, at, hint)


def _left_out_hint(what: str) -> str:
    if what.startswith("earlier turns' thoughts"):
        return "generation does not see it either; a row that ends with that turn learns its thoughts"
    if what in ("the answer", "the user's words"):
        return 'some templates take "content" as a list of parts: [{"type": "text", "text": "…"}]'
    return 'another template keeps it: "model": {"chat_template": a file or a name}'


def user_turns_learned(stage: Stage, tokenizer: TokenizerFiles) -> Diagnostic:
    """Return the warning that the loss covers whole conversations."""
    message = f'stage "{stage.name}": whole conversations are learned, the user\'s words too'
    answers = 'rows of "prompt" and "completion" learn the completion alone'
    hint = f'"assistant_only_loss": true learns the answers alone, false says that this is meant; {answers}'
    if not can_mark(tokenizer):
        hint = f"{answers}; this chat template marks no answers for assistant_only_loss ({{% generation %}})"
    return Diagnostic("user-turns-learned", message, None, stage.at, hint, severity=WARNING)
