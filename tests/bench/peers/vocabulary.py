"""Words for a model that has none: CTranslate2 takes and gives words, and wants a vocabulary of them."""

from __future__ import annotations

from tests.bench.peers.models import PeerModel

PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"


def token_texts(model: PeerModel) -> list[str]:
    """A word for every token, by number. That of unknown words is a token that is no other special one."""
    words = [f"w{token}" for token in range(model.vocabulary)]
    words[unknown(model)] = UNKNOWN
    words[model.end] = END
    words[model.pad] = PAD
    return words


def unknown(model: PeerModel) -> int:
    """The first token that neither ends nor fills a text."""
    return next(token for token in range(model.vocabulary) if token not in (model.end, model.pad))
