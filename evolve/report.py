"""The last act of a run: champion, knee and baselines on every split, with intervals and words.

``test`` and the ``shift-*`` suites are read here and nowhere else in a run. The baseline that the
champion is compared with is chosen on ``valid``, before they are read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from evaluators.outcome import Ok
from evolve.loop import Search
from evolve.noise import in_words
from evolve.program import Program
from evolve.simplification import ORIGIN as SIMPLIFIED
from evolve.simplification import terms
from evolve.statistics import Paired, compare, compare_chosen, side
from problems.problem import Instance, Objective, Problem

_ONE_NUMBER = (
    "The task has no test split: its evaluator gives one number, which guided the search and chose the champion. "
    "Whether that carries over to cases which the evaluator does not hold was not measured."
)


async def assess(search: Search, shorter: Program | None = None) -> dict[str, Any]:
    """Evaluate the programs of the report on valid, test and shift suites.

    Parameters
    ----------
    search : Search
        The search that ended.
    shorter : Program, optional
        The champion in fewer terms.

    Returns
    -------
    dict
        ``decoder``, ``champion``, ``best_baseline`` (name), ``improved`` (on valid), ``words`` (a
        list of sentences), ``noise`` (split -> what ``noise_floor`` says) and ``splits``: split -> ``instances``
        (their number), ``references`` (kinds of the reference values) and ``programs``: a list of ``id``,
        ``name``, ``role``, ``outcome``, ``objectives``, ``groups`` and ``against_baseline`` (objective ->
        ``difference``, ``low``, ``high``: 95 % interval of the paired difference). The champion's
        on valid, which chose it, also names ``programs``: how many its interval is corrected for.
    """
    problem = search.problem
    entrants = _entrants(search)
    if shorter is not None:
        entrants.insert(1, (SIMPLIFIED, shorter))
    champion = search.found.champion
    best = _best_baseline(search)
    splits = {}
    # the shift suites shift the problem's own generator: they say nothing of a user's own instances
    own = search.store.config.own_instances
    for split in ("train", "valid", "test") if own else problem.splits:
        search.notify(f"reporting on {split}")
        splits[split] = await _assess_split(search, split, entrants, best)
    words, improved = verdict(problem, splits, champion, best.operator)
    noise = search.store.meta("noise", {})
    words += [sentence for sentence in [in_words(problem, noise)] if sentence]
    if shorter is not None:
        words.append(_simplified(search, shorter, splits))
    if problem.form == "task":
        words.append(_ONE_NUMBER)
    return {
        "decoder": search.store.config.decoder,
        "champion": champion,
        "best_baseline": best.operator,
        "improved": improved,
        "words": words,
        "noise": noise,
        "splits": splits,
    }


def _entrants(search: Search) -> list[tuple[str, Program]]:
    """(role, program): champion, knee of the front, rules, and procedures that are not costly."""
    champion = search.found.candidates[search.found.champion].program
    knee = search.found.archive.knee()
    found = [("champion", champion)]
    if knee is not None and knee.program.origin != "baseline" and knee.program.id != champion.id:
        found.append(("knee", knee.program))
    found += [("baseline", c.program) for c in search.found.baselines if c.program.id != champion.id]
    known = {program.operator: program for program in search.store.programs() if program.origin == "procedure"}
    for baseline in search.problem.baselines:
        if baseline.is_rule or baseline.costly:
            continue
        program = known.get(baseline.name)
        if program is None:
            program = Program(search.attempts.number(), "", "procedure", baseline.name, thought=baseline.title)
            search.attempts.making.journal(program)
        found.append(("procedure", program))
    return found


def _best_baseline(search: Search) -> Program:
    primary = search.problem.primary
    ranked = [c.program for c in search.found.baselines if c.program.id in search.found.valid]
    return min(ranked, key=lambda p: (primary.loss(search.found.valid[p.id].objectives[primary.name]), p.id))


async def _assess_split(
    search: Search, split: str, entrants: list[tuple[str, Program]], best: Program
) -> dict[str, Any]:
    instances = search.evaluator.instances(split)
    bar = await search.outcome_on(best, split)
    rows = []
    for role, program in entrants:
        if role == "procedure" and split == "train":
            continue
        outcome = await search.outcome_on(program, split)
        row: dict[str, Any] = {
            "id": program.id,
            "name": program.operator if role in ("baseline", "procedure") else f"{role} {program.id}",
            "role": role,
            "outcome": outcome.kind,
        }
        if isinstance(outcome, Ok):
            row |= {"objectives": outcome.objectives, "groups": outcome.groups}
            if isinstance(bar, Ok) and program.id != best.id:
                row["against_baseline"] = {
                    objective.name: _interval(compare(search.problem, objective, outcome, bar, instances))
                    for objective in search.problem.objectives
                }
                if role == "champion" and split == "valid":
                    row["against_baseline"][search.problem.primary.name] = _chosen(search, program, bar, instances)
        rows.append(row)
    kinds = sorted({ref.kind for instance in instances for ref in instance.references.values()})
    return {"instances": len(instances), "references": kinds, "programs": rows}


def _simplified(search: Search, shorter: Program, splits: dict[str, Any]) -> str:
    """What the shorter program is, and whether it is another one than the champion on test."""
    champion = search.found.candidates[search.found.champion].program
    before, now = (terms(program.source, search.problem) for program in (champion, shorter))
    rows = {row["id"]: row for row in splits.get("test", {"programs": []})["programs"] if "objectives" in row}
    name = search.problem.primary.name
    where = ""
    if {champion.id, shorter.id} <= rows.keys():
        values = [rows[number]["objectives"][name] for number in (champion.id, shorter.id)]
        where = ", and has the same value on test" if values[0] == values[1] else f", and {values[1]:.4g} on test"
    return (
        f"Program {shorter.id} is champion {champion.id} in {now} instead of {before} terms: "
        f"it decides alike on all of train and valid{where}."
    )


def _interval(paired: Paired) -> dict[str, float]:
    return {"difference": paired.difference, "low": paired.low, "high": paired.high}


def _chosen(search: Search, champion: Program, bar: Ok, instances: Sequence[Instance]) -> dict[str, float]:
    """Interval of the champion on valid, corrected for all programs that were read there."""
    found = search.found
    read = [i for i in found.valid if found.candidates[i].program.origin != "baseline" and i != champion.id]
    paired = compare_chosen(
        search.problem,
        search.problem.primary,
        found.valid[champion.id],
        [found.valid[number] for number in read],
        bar,
        instances,
    )
    return {**_interval(paired), "programs": len(read) + 1}


def verdict(problem: Problem, splits: dict[str, Any], champion: int, baseline: str) -> tuple[list[str], bool]:
    """Say in words what the numbers allow, and whether "improved" may be printed.

    "Improved" needs the 95 % interval of the paired difference to the best baseline on valid to
    lie wholly on the better side. The champion is the best of several programs read on valid, so
    that interval holds for all of them together: of equal programs at most one run in twenty finds
    a champion "improved". Every other split is then named with what it says.
    """
    objective = problem.primary
    on_valid = _champion_interval(splits["valid"], champion, objective)
    if on_valid is None:
        return [f"No program beat the best baseline {baseline} on valid: the champion is the baseline."], False
    where = side(objective, on_valid["low"], on_valid["high"])
    if not math.isfinite(on_valid["low"]):
        return [f"The champion and {baseline} differ by {_words(on_valid, objective)} on valid."], False
    read = on_valid.get("programs", 1)
    among = f", corrected for the {read} programs read there" if read > 1 else ""
    if where != "better":
        return [
            f"Not improved: on valid the champion and {baseline} differ by {_words(on_valid, objective)}{among}: "
            "an interval that does not lie beyond zero."
        ], False
    words = [f"Improved on valid over the best baseline {baseline} by {_words(on_valid, objective)}{among}."]
    for split, result in splits.items():
        interval = None if split in ("train", "valid") else _champion_interval(result, champion, objective)
        if interval is None:
            continue
        words.append(
            {
                "better": f"Better on {split} too: {_words(interval, objective)}.",
                "worse": f"OVERFIT: worse on {split} beyond its interval: {_words(interval, objective)}. "
                "What was found on train and valid does not carry over.",
                "open": f"No difference shown on {split}: {_words(interval, objective)}.",
            }[side(objective, interval["low"], interval["high"])]
        )
    return words, True


def _champion_interval(result: dict[str, Any], champion: int, objective: Objective) -> dict[str, float] | None:
    for row in result["programs"]:
        if row["id"] == champion:
            found: dict[str, float] | None = row.get("against_baseline", {}).get(objective.name)
            return found
    return None


def _words(interval: dict[str, float], objective: Objective) -> str:
    unit = " points" if objective.unit == "%" else f" {objective.unit}"
    if not math.isfinite(interval["low"]):
        return f"{interval['difference']:+.3g}{unit} (too few values for an interval)"
    return f"{interval['difference']:+.2f}{unit} [{interval['low']:+.2f}, {interval['high']:+.2f}]"
