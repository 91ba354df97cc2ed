"""A run with several models: who is asked is journalled, and a replay asks the same."""

from collections import Counter

import pytest
from scripted import evolve, finish, model, search

from evolve.store import Store

STRONG = "openai/strong"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A portfolio of a cheap and a strong model, on a plateau soon: the model knows few programs."""
    folder = tmp_path_factory.mktemp("models") / "run"
    prices = ("--price", "openai/scripted=1,2", "--price", f"{STRONG}=10,20", "--max-usd", "9")
    flags = ("--strong-model", STRONG, *prices, "--strategy", "portfolio", "--evaluations", "70", "--deterministic")
    with model() as server:
        code, _, err = finish(search(folder, server, *flags))
        assert code == 0, err
        asked = Counter(request.body["model"] for request in server.requests)
    return folder, asked


def test_the_strong_model_is_asked_for_redesigns_alone(run):
    folder, asked = run
    with Store(folder) as store:
        by_model = Counter((p.model, p.operator == "redesign") for p in store.programs() if p.origin == "llm")
        named = {ask.operator for ask in store.asks().values() if ask.model == STRONG}
    assert {(model, rare) for model, rare in by_model if model == STRONG} == {(STRONG, True)}
    assert named == {"redesign"}
    assert sum(by_model.values()) == sum(asked.values())
    assert by_model[STRONG, True] == asked["strong"]


def test_a_replay_asks_the_same_models_without_their_prices(run, tmp_path):
    folder, _ = run
    code, _, err = finish(evolve("replay", folder, "--out", tmp_path / "again"))
    assert code == 0, err
    with Store(folder) as store, Store(tmp_path / "again") as again:
        assert [p.model for p in store.programs()] == [p.model for p in again.programs()]
        assert again.config.call_usd == store.config.call_usd != ()
