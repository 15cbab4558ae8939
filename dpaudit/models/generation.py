"""What a captioner says of an image, and how likely it finds what others say.

Every function takes the captioner, normalised images (n, 3, S, S) and rows of tokens; text is the tokenizer's matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

if TYPE_CHECKING:
    from dpaudit.models.captioner import Captioner

__all__ = ["IGNORED", "CaptionLikelihoods", "beam_search", "greedy", "greedy_among", "token_log_likelihoods"]

IGNORED = -100  # a target that is none: behind the end of its caption


@dataclass(frozen=True, kw_only=True)
class CaptionLikelihoods:
    """How likely n captions are, given their images.

    each: (n, t), the log-probability in nats of every token after the first, given the tokens before it; 0 behind a
    caption's end. counts: (n,), how many such tokens a caption has.
    """

    each: Tensor
    counts: Tensor

    @property
    def total(self) -> Tensor:
        """Return the log-probability of each caption, (n,), in nats."""
        return self.each.sum(dim=1)

    @property
    def per_token(self) -> Tensor:
        """Return each caption's mean over its tokens, (n,): minus the loss that DP-Cap trains on."""
        return self.total / self.counts.clamp(min=1)


def token_log_likelihoods(model: Captioner, images: Tensor, tokens: Tensor, targets: Tensor) -> CaptionLikelihoods:
    """Return the likelihood of `targets` (n, t), each read after the `tokens` (n, t) up to its own place.

    Other images of the same shape give the likelihood of a caption without its image, to be compared with.
    """
    wanted = targets != IGNORED
    logs = log_softmax(model(images, tokens).float(), dim=2)
    each = logs.gather(2, targets.where(wanted, 0).unsqueeze(2)).squeeze(2)
    return CaptionLikelihoods(each=each * wanted, counts=wanted.sum(dim=1))


def greedy(model: Captioner, images: Tensor, *, start: int, end: int) -> Tensor:
    """Return the likeliest next token, again and again until the end, (n, t) int64, t at most the context.

    A row begins with `start`; behind its `end` it is 0.
    """
    memory = model.memory(images)
    tokens = torch.full((len(images), 1), start, dtype=torch.int64, device=images.device)
    done = torch.zeros(len(images), dtype=torch.bool, device=images.device)
    while tokens.shape[1] < model.size.context and not done.all():
        following = model.decoder(tokens, memory)[:, -1].argmax(dim=1).where(~done, 0)
        tokens = torch.cat([tokens, following.unsqueeze(1)], dim=1)
        done = done | (following == end)
    return tokens


def greedy_among(model: Captioner, images: Tensor, captions: Tensor) -> Tensor:
    """Return the row of `captions` that the captioner says of each image, (n,): greedy along the tree of their tokens.

    captions: (k, t) int64, all beginning with the start token, each ended, then 0; no two alike.
    """
    memory, n = model.memory(images), len(images)
    open_ = torch.ones(n, len(captions), dtype=torch.bool, device=images.device)
    said = captions[:1, :1].expand(n, 1)
    for following in captions.T[1:]:
        if (open_.sum(dim=1) == 1).all():
            break
        logits = model.decoder(said, memory)[:, -1].float()
        best = logits[:, following].masked_fill(~open_, -torch.inf).argmax(dim=1)
        open_ = open_ & (following == following[best].unsqueeze(1))
        said = torch.cat([said, following[best].unsqueeze(1)], dim=1)
    return open_.int().argmax(dim=1)


def beam_search(model: Captioner, images: Tensor, *, start: int, end: int, beams: int) -> Tensor:
    """Return the likeliest caption that is found by keeping `beams` beginnings at a time, (n, t) int64.

    Likeliest as a whole: nothing is divided by the length. Rows are as those of `greedy`.
    """
    n, device = len(images), images.device
    memory = model.memory(images).repeat_interleave(beams, dim=0)
    tokens = torch.full((n, beams, 1), start, dtype=torch.int64, device=device)
    scores = torch.full((n, beams), -torch.inf, device=device)
    scores[:, 0] = 0.0  # the others would begin the same
    done = torch.zeros(n, beams, dtype=torch.bool, device=device)
    while tokens.shape[2] < model.size.context and not done.all():
        logs = log_softmax(model.decoder(tokens.flatten(0, 1), memory)[:, -1].float(), dim=1).reshape(n, beams, -1)
        logs = torch.where(done.unsqueeze(2), _nothing_but_0(logs), logs)
        vocabulary = logs.shape[2]
        scores, kept = (scores.unsqueeze(2) + logs).flatten(1).topk(beams, dim=1)
        parent, following = kept // vocabulary, kept % vocabulary
        tokens = torch.cat([_at(tokens, parent), following.unsqueeze(2)], dim=2)
        done = done.gather(1, parent) | (following == end)
    return tokens[:, 0]  # topk sorts


def _nothing_but_0(logs: Tensor) -> Tensor:
    """Return log-probabilities under which a finished beginning goes on with 0, at no cost."""
    sure = torch.full_like(logs, -torch.inf)
    sure[:, :, 0] = 0.0
    return sure


def _at(tokens: Tensor, beam: Tensor) -> Tensor:
    """Return the beginnings (n, beams, t) that stand at `beam` (n, beams)."""
    return tokens.gather(1, beam.unsqueeze(2).expand(-1, -1, tokens.shape[2]))
