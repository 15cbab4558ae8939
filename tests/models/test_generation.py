"""Captions that are found are the likeliest, and likelihoods are those of the model."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch
from torch import Tensor

from dpaudit.models.captioner import SIZES, Captioner, caption_losses
from dpaudit.models.generation import IGNORED, beam_search, greedy, greedy_among, token_log_likelihoods
from dpaudit.models.initialisation import seeded
from dpaudit.rng import Rng

WORDS, START, END = 6, 1, 2


def captioner(seed: int = 0, context: int = 5) -> Captioner:
    """A captioner of six tokens whose first guesses are far from even."""
    size = dataclasses.replace(SIZES["micro"], width=16, depth=1, decoder_width=16, decoder_depth=1, context=context)
    with seeded(Rng.from_seed(seed)):
        model = Captioner(size, vocabulary=WORDS)
        torch.nn.init.normal_(model.decoder.head.weight, std=0.5)
    return model.eval()


def pictures(n: int) -> Tensor:
    return torch.randn(n, 3, 16, 16, generator=torch.Generator().manual_seed(4))


def likelihood(model: Captioner, images: Tensor, row: list[int]) -> float:
    """Return the log-probability of one row for one image, token by token."""
    total = 0.0
    for place in range(1, len(row)):
        logits = model(images, torch.tensor([row[:place]]))[0, -1]
        total += float(logits.log_softmax(0)[row[place]])
    return total


def every_caption(context: int) -> list[list[int]]:
    """Return every row that ends with its first end token, or is as long as the context."""
    others = [token for token in range(WORDS) if token != END]
    rows = [[START, *inner, END] for length in range(context - 1) for inner in itertools.product(others, repeat=length)]
    return rows + [[START, *inner] for inner in itertools.product(others, repeat=context - 1)]


@torch.no_grad()
@pytest.mark.parametrize("seed", [0, 1])
def test_wide_beams_find_the_likeliest_caption_of_all(seed: int) -> None:
    model, images = captioner(seed, context=4), pictures(2)
    found = beam_search(model, images, start=START, end=END, beams=WORDS**3)
    for row in range(2):
        best = max(every_caption(4), key=lambda each: likelihood(model, images[row : row + 1], each))
        assert found[row].tolist()[: len(best)] == best
        assert not any(found[row].tolist()[len(best) :])


@torch.no_grad()
def test_greedy_takes_the_likeliest_token_each_time() -> None:
    model, images = captioner(), pictures(7)
    found = greedy(model, images, start=START, end=END)
    for image, row in zip(images, found.tolist(), strict=True):
        expected = [START]
        while len(expected) < 5 and expected[-1] != END:
            expected.append(int(model(image.unsqueeze(0), torch.tensor([expected]))[0, -1].argmax()))
        assert row[: len(expected)] == expected
        assert not any(row[len(expected) :])
    assert len({tuple(row) for row in found.tolist()}) > 1


@torch.no_grad()
def test_one_beam_is_greedy() -> None:
    model, images = captioner(3), pictures(9)
    expected, found = (
        greedy(model, images, start=START, end=END),
        beam_search(model, images, start=START, end=END, beams=1),
    )
    assert torch.equal(found, expected)


@torch.no_grad()
def test_more_beams_find_captions_at_least_as_likely_here() -> None:
    model, images = captioner(5), pictures(20)
    found = {beams: beam_search(model, images, start=START, end=END, beams=beams) for beams in (1, 125)}
    gain = []
    for row in range(20):
        few, many = ([*(_cut(found[beams][row].tolist()))] for beams in (1, 125))
        image = images[row : row + 1]
        gain.append(likelihood(model, image, many) - likelihood(model, image, few))
    assert min(gain) > -1e-5
    assert max(gain) > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_among_captions_the_tree_is_walked_token_by_token(seed: int) -> None:
    model, images = captioner(seed), pictures(8)
    rows = [[START, 4, END], [START, 4, 3, END], [START, 4, 3, 5, END], [START, 5, 3, END], [START, 3, END]]
    table = torch.tensor([[*row, *[0] * (5 - len(row))] for row in rows])
    found = greedy_among(model, images, table)
    for image, chosen in zip(images, found.tolist(), strict=True):
        said, left = [START], rows
        while len(left) > 1:
            logits = model(image.unsqueeze(0), torch.tensor([said]))[0, -1]
            said.append(max({row[len(said)] for row in left}, key=lambda token: float(logits[token])))
            left = [row for row in left if row[: len(said)] == said]
        assert rows[chosen] == left[0]
    assert greedy_among(model, images, table[2:3]).tolist() == [0] * 8


def _cut(row: list[int]) -> list[int]:
    return row[: row.index(END) + 1] if END in row else row


@torch.no_grad()
def test_the_likelihood_of_a_caption_is_the_product_over_its_tokens() -> None:
    model, images = captioner(), pictures(2)
    rows = [[START, 4, 3, 5, END], [START, 5, END]]
    tokens = torch.tensor([rows[0][:-1], [START, 5, 0, 0]])
    targets = torch.tensor([rows[0][1:], [5, END, IGNORED, IGNORED]])
    found = token_log_likelihoods(model, images, tokens, targets)
    expected = [likelihood(model, images[row : row + 1], rows[row]) for row in range(2)]
    assert found.total.tolist() == pytest.approx(expected, abs=1e-5)
    assert found.counts.tolist() == [4, 2]
    assert found.each[1, 2:].tolist() == [0, 0]
    losses = caption_losses(model(images, tokens), targets, pad=IGNORED)
    torch.testing.assert_close(found.per_token, -losses)
