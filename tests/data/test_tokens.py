"""Tokenizers: fixed vocabularies, captions cut to length, and folders that are named when they are incomplete."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tokenizers

from dpaudit.data.scenes.source import Scenes
from dpaudit.data.scenes.words import ANSWERS
from dpaudit.data.tokens.clip_bpe import ClipBpe
from dpaudit.data.tokens.named import open_tokenizer
from dpaudit.data.tokens.tokenizer import decode, encode
from dpaudit.data.tokens.words import SCENES, Words
from dpaudit.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from dpaudit.data.tokens.tokenizer import Tokenizer

UNKNOWN = 3
TEXTS = (
    "a dog on a beach",
    "Two CUPS of coffee,   beside an open book!!",
    "it's 1234 o'clock — we'll see; they've 3½ cats",
    "naïve café 北京 🙂 ﬁne",
    "fish &amp;amp; chips &lt;b&gt;",
    "schÃ¶n",  # UTF-8 read as Latin-1, which CLIP puts right
    "supercalifragilisticexpialidocious antidisestablishmentarianism",
    "IMG_0042.jpg http://example.org/?q=%20x",
    "\u200b \t\n",
    "",
)


def bert_folder(folder: Path, **config: Any) -> Path:
    """A tokenizer folder of BERT's kind with a vocabulary of nine."""
    words = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "dog", "##s", "red", ",")
    numbers = {word: number for number, word in enumerate(words)}
    model = tokenizers.models.WordPiece(numbers, unk_token="[UNK]")  # noqa: S106 (a token of text)
    rules = tokenizers.Tokenizer(model)
    rules.normalizer = tokenizers.normalizers.BertNormalizer()
    rules.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    rules.decoder = tokenizers.decoders.WordPiece()
    rules.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    rules.enable_truncation(4)
    rules.enable_padding(length=4)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(rules.to_str())
    named = {"cls_token": "[CLS]", "sep_token": {"content": "[SEP]"}} | config
    (folder / "tokenizer_config.json").write_text(json.dumps(named))
    return folder


@pytest.fixture(scope="module")
def bpe() -> ClipBpe:
    return ClipBpe.installed()


def test_clip_bpe_gives_the_numbers_of_open_clip(bpe: ClipBpe) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what else open_clip imports
        from open_clip.tokenizer import SimpleTokenizer  # noqa: PLC0415

    theirs = SimpleTokenizer()
    assert (bpe.vocabulary, bpe.start, bpe.end) == (theirs.vocab_size, theirs.sot_token_id, theirs.eot_token_id)
    captions = Scenes(size=20).annotations(Scenes(size=20).ids()).captions or ()
    for text in (*TEXTS, *captions):
        assert bpe.pieces(text) == theirs.encode(text), text
        assert bpe.text(bpe.pieces(text)) == theirs.decode(theirs.encode(text)).strip(), text


def test_a_caption_cannot_bring_its_own_end(bpe: ClipBpe, tmp_path: Path) -> None:
    folder = open_tokenizer(str(bert_folder(tmp_path)))
    for tokenizer, text in ((bpe, "a <end_of_text> b"), (folder, "a [SEP] dog"), (SCENES, "a <end> ring")):
        assert not {tokenizer.start, tokenizer.end} & set(tokenizer.pieces(text))


def test_every_word_of_scenes_is_known() -> None:
    scenes = Scenes(size=1000)
    ids = scenes.ids()
    texts = [text for captions in scenes.all_captions(ids) for text in captions]
    texts += [text for asked in scenes.questions(ids) for each in asked for text in (each.text, each.answer)]
    for text in (*texts, *ANSWERS):
        pieces = SCENES.pieces(text)
        assert UNKNOWN not in pieces
        assert SCENES.text(pieces) == text
    assert len(set(np.concatenate([SCENES.pieces(text) for text in texts]).tolist())) == len(SCENES.words)


@pytest.mark.parametrize(("words", "named"), [(("Dog",), "'Dog'"), (("a b",), "'a b'"), (("a", "a"), "repetition")])
def test_words_that_are_none_are_named(words: tuple[str, ...], named: str) -> None:
    with pytest.raises(InputError, match=named):
        Words(words)


def test_words_are_given_in_a_recipe() -> None:
    words = open_tokenizer("words: a cat  dog")
    assert (words.vocabulary, words.text(words.pieces("A dog, a horse"))) == (7, "a dog <unknown> a <unknown>")
    for name, expected in (
        ("words:", "at least one word"),
        ("words: cat Cat", "one lower-case word"),
        ("words: a a", "without rep"),
    ):
        with pytest.raises(InputError, match=f"tokenizer = .*{expected}"):
            open_tokenizer(name)


def test_captions_are_cut_and_keep_their_end() -> None:
    encoded = encode(SCENES, ["a red ring", "a large red ring and a small blue star"], ["s/0", "s/1"], 6)
    assert encoded.tokens.dtype == np.int64
    assert encoded.tokens[0].tolist() == [SCENES.start, *SCENES.pieces("a red ring"), SCENES.end, 0]
    assert encoded.tokens[1].tolist() == [SCENES.start, *SCENES.pieces("a large red ring"), SCENES.end]
    assert encoded.mask.tolist() == [[True] * 5 + [False], [True] * 6]
    assert decode(SCENES, encoded.tokens.tolist()) == ["a red ring", "a large red ring"]


@pytest.mark.parametrize("caption", ["", " \n"])
@pytest.mark.parametrize("name", ["scenes", "clip-bpe"])
def test_a_caption_without_a_token_names_its_record(name: str, caption: str) -> None:
    with pytest.raises(InputError, match=r"caption of row/7 = '.*': expected text with at least one token"):
        encode(open_tokenizer(name), ["a ring", caption], ["row/6", "row/7"], 8)


def test_a_length_without_room_is_refused() -> None:
    with pytest.raises(InputError, match="caption length = 2: expected at least 3"):
        encode(SCENES, ["a"], ["s/0"], 2)


def test_a_folder_is_read_without_its_own_truncation_and_padding(tmp_path: Path) -> None:
    found = open_tokenizer(str(bert_folder(tmp_path)))
    assert (found.vocabulary, found.start, found.end) == (9, 2, 3)
    assert found.pieces("A dogs, red cat, a dog") == [4, 5, 6, 8, 7, 1, 8, 4, 5]
    assert found.text([2, 4, 5, 6, 0]) == "a dogs"
    assert encode(found, ["a dog"], ["r"], 6).tokens.tolist() == [[2, 4, 5, 3, 0, 0]]


def test_start_and_end_may_be_called_bos_and_eos(tmp_path: Path) -> None:
    names = {"cls_token": None, "sep_token": None, "bos_token": "[PAD]", "eos_token": "[UNK]"}
    found = open_tokenizer(str(bert_folder(tmp_path, **names)))
    assert (found.start, found.end) == (0, 1)


@pytest.mark.parametrize(
    ("lost", "expected"),
    [
        (("tokenizer.json",), "a folder that save_pretrained wrote; it lacks tokenizer.json"),
        (("tokenizer_config.json",), "it lacks tokenizer_config.json"),
        (("tokenizer.json", "tokenizer_config.json"), "it lacks tokenizer.json and tokenizer_config.json"),
    ],
)
def test_an_incomplete_folder_says_what_it_lacks(tmp_path: Path, lost: tuple[str, ...], expected: str) -> None:
    folder = bert_folder(tmp_path / "bert")
    for name in lost:
        (folder / name).unlink()
    with pytest.raises(InputError, match=f"tokenizer = '{folder}': expected .*{expected}$"):
        open_tokenizer(str(folder))


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"cls_token": None}, "cls_token or bos_token"),
        ({"sep_token": None}, "sep_token or eos_token"),
        ({"sep_token": "</s>"}, "a tokenizer.json with the token </s>"),
    ],
)
def test_special_tokens_that_are_missing_are_named(tmp_path: Path, config: dict[str, Any], expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        open_tokenizer(str(bert_folder(tmp_path, **config)))


@pytest.mark.parametrize("file", ["tokenizer.json", "tokenizer_config.json"])
def test_a_damaged_file_is_named_in_one_line(tmp_path: Path, file: str) -> None:
    folder = bert_folder(tmp_path)
    (folder / file).write_text("{")
    with pytest.raises(InputError, match=f"a {file} ") as caught:
        open_tokenizer(str(folder))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["bert", "/nowhere/bert"])
def test_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"tokenizer = '{name}'"):
        open_tokenizer(name)


def test_every_tokenizer_keeps_start_and_end_within_its_vocabulary(bpe: ClipBpe, tmp_path: Path) -> None:
    every: tuple[Tokenizer, ...] = (bpe, SCENES, open_tokenizer(str(bert_folder(tmp_path))))
    for tokenizer in every:
        ids = [tokenizer.start, tokenizer.end, *tokenizer.pieces("a red dog, what?")]
        assert 0 <= min(ids) <= max(ids) < tokenizer.vocabulary
        assert tokenizer.start != tokenizer.end
