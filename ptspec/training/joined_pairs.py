"""Join the two conversations of a preference pair into one sequence with a shared prompt.

The outputs are split back to the original rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

LEAST = 1.05
"""Factor by which joining must reduce the tokens, padding included."""
IGNORED = -100


@dataclass(frozen=True)
class Joined:
    """Joined pairs.

    `ids`, `positions`, `targets`: (pairs, joined tokens); a target is the next token, or -100. `mask`:
    (pairs, 1, joined tokens, joined tokens), True where a token is visible. `labelled`: (2 × pairs, tokens −
    1), where rows have a label; `places`: for each label in row order the index of its target in the
    flattened `targets`.
    """

    ids: Tensor
    mask: Tensor
    positions: Tensor
    targets: Tensor
    labelled: Tensor
    places: Tensor

    def parted(self, values: Tensor) -> Tensor:
        """Scatter `values` (pairs, joined tokens) of the targets to the rows' positions; 0 elsewhere."""
        found = values.new_zeros(self.labelled.shape)
        return found.masked_scatter(self.labelled, values.flatten()[self.places])


def joined(ids: Tensor, mask: Tensor, labels: Tensor, least: float = LEAST) -> Joined | None:
    """Return the joined pairs of `ids`, `mask`, `labels`: (2 × pairs, tokens), chosen rows first.

    Rows are padded at the end. None if it saves less than `least`, or the rows are not such pairs.
    """
    rows, tokens = ids.shape
    lengths = mask.sum(dim=1)
    column = torch.arange(tokens, device=ids.device)
    if rows % 2 or not torch.equal(mask.bool(), column < lengths[:, None]):
        return None
    shared = _shared(ids, labels, lengths, column)
    chosen, rejected = lengths.chunk(2)
    ends = chosen + rejected - shared
    width = int(ends.max())
    if rows * tokens < least * (rows // 2) * width:
        return None
    at = torch.arange(width, device=ids.device).expand(rows // 2, width)
    second = at >= chosen[:, None]
    source = torch.where(second, at - (chosen - shared)[:, None], at).clamp(max=tokens - 1)
    row = torch.arange(rows // 2, device=ids.device)[:, None] + second * (rows // 2)
    is_real = at < ends[:, None]
    follows = torch.cat([labels[:, 1:], labels.new_full((rows, 1), IGNORED)], dim=1)
    labelled = labels[:, 1:] != IGNORED
    pair_of, after = labelled.nonzero(as_tuple=True)
    moved = torch.where(pair_of >= rows // 2, (chosen - shared).repeat(2)[pair_of], 0)
    return Joined(
        ids=ids[row, source],
        mask=_seen(at, second, shared, is_real),
        positions=source,
        targets=follows[row, source].masked_fill(~is_real, IGNORED),
        labelled=labelled,
        places=pair_of % (rows // 2) * width + after + moved,
    )


def _shared(ids: Tensor, labels: Tensor, lengths: Tensor, column: Tensor) -> Tensor:
    """Return the number of shared tokens, (pairs,).

    Without the last one before a label, which predicts both answers.
    """
    tokens = ids.shape[1]
    first = torch.where(labels != IGNORED, column, tokens).amin(dim=1)
    most = torch.minimum(first, lengths) - 1
    one, other = ids.chunk(2)
    alike = (one == other).cumprod(dim=1).sum(dim=1)
    return torch.minimum(alike, torch.minimum(*most.chunk(2))).clamp(min=0)


def _seen(at: Tensor, second: Tensor, shared: Tensor, is_real: Tensor) -> Tensor:
    """Return the mask: a token sees itself, and of earlier ones the prompt and its own answer."""
    same = second[:, :, None] == second[:, None, :]
    prompt = (at < shared[:, None])[:, None, :]
    before = at[:, :, None] >= at[:, None, :]
    itself = at[:, :, None] == at[:, None, :]
    return ((before & (same | prompt) & is_real[:, None, :]) | itself)[:, None]


def first_pair(ids: Tensor, mask: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the first pair of rows as `joined` takes them, without common padding."""
    pair = torch.tensor([0, len(ids) // 2], device=ids.device)
    width = int(mask[pair].sum(dim=1).max())
    return ids[pair, :width], mask[pair, :width], labels[pair, :width]
