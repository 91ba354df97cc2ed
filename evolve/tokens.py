"""Upper bounds on the input tokens of a chat.

A cap needs an upper bound, and only a model's own tokenizer gives a close one: OpenAI's are known
and come with litellm. For every other model, and behind every other server, a byte is counted as a
token, which no tokenizer passes; litellm's own counts for these are of another tokenizer, or load one
from the network. Nothing here goes to the network.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from evolve.prices import provider_of

# Role names and chat templates add tokens that are not in the text.
_PER_MESSAGE, _PER_CALL = 16, 128
# Instructions that a provider puts before those of reasoning models are not in the text either.
_MARGIN_PERCENT = 10
_ADDRESS = "https://openaipublic.blob.core.windows.net/encodings/{}.tiktoken"
_BUNDLED = Path("litellm_core_utils", "tokenizers")

Messages = Sequence[Mapping[str, str]]


def most_tokens(messages: Messages, count: Callable[[str], int] | None = None) -> int:
    """An upper bound on the input tokens of a chat.

    Parameters
    ----------
    messages : sequence of mappings
        Chat messages with ``content``.
    count : callable, optional
        Counts the tokens of a text exactly.
    """
    size = sum(len(message["content"].encode()) for message in messages)
    if count is not None:
        tokens = sum(count(message["content"]) for message in messages)
        size = min(size, tokens + -(-tokens * _MARGIN_PERCENT // 100))
    return size + _PER_MESSAGE * len(messages) + _PER_CALL


def counter(model: str, api_base: str | None = None) -> Callable[[str], int] | None:
    """The tokenizer of a model, or None where it is not known exactly; loading takes half a second."""
    # litellm reads where OpenAI's server is from the environment
    address = api_base or os.environ.get("OPENAI_BASE_URL") or os.environ.get("OPENAI_API_BASE")
    if provider_of(model) != "openai" and api_base is None:
        return None
    known = address is None or urlsplit(address).hostname == "api.openai.com"
    return _tiktoken(model.rpartition("/")[2]) if known else None


@functools.cache
def _tiktoken(name: str) -> Callable[[str], int] | None:
    import tiktoken

    litellm = importlib.util.find_spec("litellm")
    try:
        encoding = tiktoken.encoding_name_for_model(name)
    except KeyError:
        return None
    if litellm is None or litellm.origin is None:
        return None
    folder = Path(litellm.origin).parent / _BUNDLED
    # tiktoken downloads what it does not find under this name
    if not (folder / hashlib.sha1(_ADDRESS.format(encoding).encode()).hexdigest()).is_file():
        return None
    os.environ["TIKTOKEN_CACHE_DIR"] = str(folder)
    loaded = tiktoken.get_encoding(encoding)
    # ordinary: what looks like a special token in a text is text
    return lambda text: len(loaded.encode_ordinary(text))
