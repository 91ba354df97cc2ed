"""What the worker of a RawEvaluator does: run hostile Python after sealing, as no policy would."""

from evaluators import wire, worker


def run(source, order, prepared):
    if source.startswith("def priority"):
        return worker.evaluate(source, order, prepared)
    found = {"said": ""}
    exec(source, {"found": found, "prepared": prepared, "order": order, "worker": worker, "wire": wire})
    return wire.encode_failure("crashed", "run", f"survived: {found['said']}")
