"""What the worker of a RawEvaluator does: run hostile Python after sealing, as no policy would."""

from evaluators.compiler.compile import DRAFTED, draft
from evaluators.processes import wire, worker


def run(source, order, prepared):
    """Run the source; what it puts into found["program"] is then evaluated as usual."""
    if source.startswith(("def priority", DRAFTED)):
        return worker.evaluate(source, order, prepared)
    found = {"said": "", "program": ""}
    exec(source, {"found": found, "prepared": prepared, "order": order, "worker": worker, "wire": wire})
    if found["program"]:
        return worker.evaluate(draft(found["program"], prepared.problem), order, prepared)
    return wire.encode_failure("crashed", "run", f"survived: {found['said']}")
