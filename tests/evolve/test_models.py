"""Settings that each model may have of its own."""

import pytest

from evolve.errors import UserError
from evolve.models import per_model

MODELS = ("openai/a", "host/b=2", "c:free")


def test_a_number_is_for_every_model_and_a_named_one_for_that_model():
    assert per_model("weight", (), MODELS) == {}
    assert per_model("weight", ("c:free=0.5",), MODELS) == {"c:free": 0.5}
    assert per_model("weight", ("c:free=0.5", "3"), MODELS) == {"openai/a": 3, "host/b=2": 3, "c:free": 0.5}


def test_a_model_may_have_an_equals_sign_in_its_name():
    assert per_model("weight", ("host/b=2=7",), MODELS) == {"host/b=2": 7}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nobody=2", "nobody is none of the models: openai/a"),
        ("host/b=2", "host/b is none of the models"),
        ("openai/a=", "write NUMBER, or MODEL=NUMBER, e.g. openai/a=2"),
        ("openai/a=much", "write NUMBER"),
        ("-1", "write NUMBER"),
        ("nan", "write NUMBER"),
        ("1.5", "write NUMBER"),
    ],
)
def test_another_text_is_refused_by_its_flag(text, said):
    with pytest.raises(UserError, match=f"--requests-per-minute '{text}'.*{said}"):
        per_model("requests_per_minute", (text,), MODELS, whole=True)
