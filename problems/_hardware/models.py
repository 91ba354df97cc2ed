"""Shapes of decoder-only language models, and what follows from them: parameters, bytes, KV cache.

The numbers stand in models.toml. A user's file has the same form; ``like = "Llama-3.1-8B"`` starts
from a known model.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from problems._hardware._toml import Rule, read, refuse_unknown, spelled_out
from problems._hardware.formats import FORMATS, weight_format
from problems.problem import BadInstance
from problems.registry import unknown

HERE = Path(__file__).parent
BYTES = 2  # of a bf16 number


class Model(NamedTuple):
    """One decoder-only transformer, dense or with experts, with grouped-query or latent attention."""

    name: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int  # of dense layers; 0: all layers have experts
    vocabulary: int
    gated: bool = True  # gate and up projection
    tied_embeddings: bool = False
    window_tokens: int = 0  # sliding attention window; 0: none
    experts: int = 0
    experts_per_token: int = 0
    shared_experts: int = 0
    expert_ffn: int = 0
    dense_layers: int = 0  # leading layers without experts, of a model with experts
    latent_dim: int = 0  # > 0: multi-head latent attention with this compressed dimension
    latent_rope_dim: int = 0
    latent_query_dim: int = 0
    weights: str = "bf16"  # format of the layers' weights, of formats.py

    @property
    def expert_layers(self) -> int:
        """Layers with experts."""
        return self.layers - self.dense_layers if self.experts else 0

    @property
    def attention_parameters(self) -> int:
        """Weights of the projections of one layer's attention."""
        if self.latent_dim:
            query = self.latent_query_dim * (self.hidden + self.heads * (self.head_dim + self.latent_rope_dim))
            key = self.hidden * (self.latent_dim + self.latent_rope_dim)
            return query + key + self.heads * self.head_dim * (2 * self.latent_dim + self.hidden)
        return self.hidden * self.head_dim * (2 * self.heads + 2 * self.kv_heads)

    def ffn_parameters(self, width: int) -> int:
        """Weights of one feed-forward block of the given inner width."""
        return (3 if self.gated else 2) * self.hidden * width

    def _parameters(self, experts: int) -> int:
        attention = self.layers * self.attention_parameters
        dense = (self.layers - self.expert_layers) * self.ffn_parameters(self.ffn)
        routed = (experts + self.shared_experts) * self.ffn_parameters(self.expert_ffn) + self.hidden * self.experts
        embeddings = (1 if self.tied_embeddings else 2) * self.vocabulary * self.hidden
        return attention + dense + self.expert_layers * routed + embeddings

    @property
    def parameters(self) -> int:
        """All weights but norms and biases (below 0.1 %)."""
        return self._parameters(self.experts)

    @property
    def active_parameters(self) -> int:
        """Weights that one token passes through."""
        return self._parameters(self.experts_per_token)

    @property
    def stored_bytes(self) -> tuple[float, float]:
        """Bytes of all weights but those of routed experts, and of these."""
        each = weight_format(self.weights).bytes_per_weight
        routed = self.expert_layers * self.experts * self.ffn_parameters(self.expert_ffn)
        packed = self.layers * self.attention_parameters
        packed += (self.layers - self.expert_layers) * self.ffn_parameters(self.ffn)
        packed += self.expert_layers * self.shared_experts * self.ffn_parameters(self.expert_ffn)
        return each * packed + BYTES * (self.parameters - routed - packed), each * routed

    @property
    def kv_bytes_per_token(self) -> int:
        """Key-value cache of one token, all layers."""
        per_layer = self.latent_dim + self.latent_rope_dim if self.latent_dim else 2 * self.kv_heads * self.head_dim
        return BYTES * self.layers * per_layer


_COUNT = Rule("a whole number >= 1", low=1, above=False, whole=True)
_MAYBE = Rule("a whole number >= 0", above=False, whole=True)
REQUIRED = ("layers", "hidden", "heads", "kv_heads", "head_dim", "ffn", "vocabulary")
FLAGS = ("gated", "tied_embeddings")
RULES = {
    key: _COUNT if key in REQUIRED and key != "ffn" else _MAYBE
    for key in Model._fields
    if key not in ("name", "weights") and key not in FLAGS
}


class ModelRecord(NamedTuple):
    """A model with the source of its shape."""

    model: Model
    aliases: tuple[str, ...]
    source: str


def models_of(
    content: dict[str, Any], path: Path, base: dict[str, ModelRecord] | None = None
) -> dict[str, ModelRecord]:
    """Models by name from the tables of a file; ``base`` are those that ``like`` may name.

    Raises
    ------
    BadInstance
        If a number is missing, unknown or impossible; the message names file, key and rule.
    """
    known = dict(base or {})
    found: dict[str, ModelRecord] = {}
    for name, table in content.items():
        if name != "sources":
            found[name] = known[name] = _model(content, path, name, table, known)
    return found


def _model(
    content: dict[str, Any], path: Path, name: str, table: dict[str, Any], known: dict[str, ModelRecord]
) -> ModelRecord:
    refuse_unknown(path, name, table, dict.fromkeys(("aliases", "source", "like", "weights", *RULES, *FLAGS)))
    values: dict[str, Any] = {}
    if "like" in table:
        values = find_model(table["like"], known, f"{path}, {name}.like: ").model._asdict()
    for key, value in table.items():
        if key in RULES and RULES[key].broken_by(value):
            raise BadInstance(f"{path}, {name}.{key}: must be {RULES[key].words}, got {value!r}")
        if key in FLAGS and not isinstance(value, bool):
            raise BadInstance(f"{path}, {name}.{key}: must be true or false, got {value!r}")
        if key == "weights" and value not in FORMATS:
            raise BadInstance(f"{path}, {name}.weights: must be one of {', '.join(FORMATS)}, got {value!r}")
        if key in RULES or key in FLAGS or key == "weights":
            values[key] = value
    for key in REQUIRED:
        if key not in values:
            raise BadInstance(
                f'{path}, {name}.{key}: missing; state it, or start from a known model: like = "Llama-3.1-8B"'
            )
    model = Model(**{**values, "name": name})
    _check(path, model)
    source = spelled_out(content, str(table.get("source", f"{path.name}, by its author")))
    return ModelRecord(model, tuple(table.get("aliases", ())), source)


def _check(path: Path, model: Model) -> None:
    """Refuse shapes whose numbers contradict each other."""
    place = f"{path}, {model.name}"
    if model.heads % model.kv_heads:
        raise BadInstance(f"{place}.kv_heads: must divide heads = {model.heads}, got {model.kv_heads}")
    if model.experts_per_token > model.experts:
        raise BadInstance(
            f"{place}.experts_per_token: must be <= experts = {model.experts}, got {model.experts_per_token}"
        )
    if model.experts and not (model.experts_per_token and model.expert_ffn):
        raise BadInstance(f"{place}.experts: a model with experts needs experts_per_token and expert_ffn, both >= 1")
    if model.dense_layers > model.layers:
        raise BadInstance(f"{place}.dense_layers: must be <= layers = {model.layers}, got {model.dense_layers}")
    if model.layers > model.expert_layers and not model.ffn:
        raise BadInstance(f"{place}.ffn: must be >= 1 for the layers without experts, got 0")


def find_model(name: str, known: dict[str, ModelRecord], place: str = "") -> ModelRecord:
    """A record by name or alias, in any case; an unknown name is a BadInstance with a suggestion."""
    wanted = str(name).casefold()
    for record in known.values():
        if wanted in (record.model.name.casefold(), *(alias.casefold() for alias in record.aliases)):
            return record
    raise BadInstance(place + unknown("model", str(name), known))


# read at import: a sealed worker cannot open files
MODELS = models_of(read(HERE / "models.toml"), HERE / "models.toml")


def model(name: str | Model) -> Model:
    """A shipped model by name; a Model stands for itself."""
    return name if isinstance(name, Model) else find_model(name, MODELS).model
