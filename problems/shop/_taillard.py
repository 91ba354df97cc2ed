"""Taillard's generator of job shops, and the published facts about his 80 instances.

A linear congruential generator gives every instance from two seeds: one stream for the
processing times, one for the routings. The same streams with other ranges and an order of
machine sets give instances in the manner of Demirkol, Mehta and Uzsoy (harder: all jobs crowd
on the first set).

References
----------
.. [1] Taillard (1993), "Benchmarks for basic scheduling problems", European Journal of
   Operational Research 64(2):278-285.
.. [2] Demirkol, Mehta and Uzsoy (1998), "Benchmarks for shop scheduling problems", European
   Journal of Operational Research 109(1):137-141.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np

_MULTIPLIER, _MODULUS = 16807, 2**31 - 1


class Routing(NamedTuple):
    """Machines and processing times, one row per job in processing order."""

    machine: np.ndarray  # (n, m) int64, from 0
    duration: np.ndarray  # (n, m) int64, >= 1


class _Stream:
    """Uniform integers from one seed in 1..2**31-2."""

    def __init__(self, seed: int):
        self.state = seed

    def integer(self, low: int, high: int) -> int:
        """Next of low..high."""
        self.state = self.state * _MULTIPLIER % _MODULUS
        return low + int(self.state / _MODULUS * (high - low + 1))


def generate(
    jobs: int, machines: int, time_seed: int, machine_seed: int, *, longest: int = 99, sets: int = 1
) -> Routing:
    """Draw an instance.

    Parameters
    ----------
    time_seed, machine_seed : in 1..2**31-2.
    longest : processing times are uniform in 1..longest.
    sets : every job visits all machines of the first set (the first machines // sets of them)
        before any of the next; in random order within each.
    """
    times, routes = _Stream(time_seed), _Stream(machine_seed)
    duration = [[times.integer(1, longest) for _ in range(machines)] for _ in range(jobs)]
    ends = [machines * (s + 1) // sets for s in range(sets)]
    machine = []
    for _ in range(jobs):
        route = list(range(machines))
        for k in range(machines):
            other = routes.integer(k, next(end for end in ends if k < end) - 1)
            route[k], route[other] = route[other], route[k]
        machine.append(route)
    return Routing(np.array(machine, dtype=np.int64), np.array(duration, dtype=np.int64))


def seeds(name: str) -> tuple[int, int]:
    """Time and machine seed of one of our own instances: a digest of its name, so any is drawn alone."""
    digest = hashlib.sha256(name.encode()).digest()
    time, machine = (int.from_bytes(digest[i : i + 8], "big") % (_MODULUS - 1) + 1 for i in (0, 8))
    return time, machine


class Published(NamedTuple):
    """What is published of one of Taillard's instances."""

    name: str
    jobs: int
    machines: int
    time_seed: int
    machine_seed: int
    lower_bound: int
    best_known: int

    def routing(self) -> Routing:
        """Draw it again."""
        return generate(self.jobs, self.machines, self.time_seed, self.machine_seed)


# Ten instances of each size, in this order.
_SIZES = ((15, 15), (20, 15), (20, 20), (30, 15), (30, 20), (50, 15), (50, 20), (100, 20))

# Seeds: the lists of [1], recovered from the published cells (an instance determines them).
# Bounds: best-known archive of the ScheduleOpt benchmarks repository, CC BY-SA 4.0, snapshot
# 2026-08; equal values are proved optimal.
# fmt: off
_FACTS = (  # time seed, machine seed, lower bound, best known makespan
    (840612802, 398197754, 1231, 1231),  # ta01
    (1314640371, 386720536, 1244, 1244),  # ta02
    (1227221349, 316176388, 1218, 1218),  # ta03
    (342269428, 1806358582, 1175, 1175),  # ta04
    (1603221416, 1501949241, 1224, 1224),  # ta05
    (1357584978, 1734077082, 1238, 1238),  # ta06
    (44531661, 1374316395, 1227, 1227),  # ta07
    (302545136, 2092186050, 1217, 1217),  # ta08
    (1153780144, 1393392374, 1274, 1274),  # ta09
    (73896786, 1544979948, 1241, 1241),  # ta10
    (533484900, 317419073, 1357, 1357),  # ta11
    (1894307698, 1474268163, 1367, 1367),  # ta12
    (874340513, 509669280, 1342, 1342),  # ta13
    (1124986343, 1209573668, 1345, 1345),  # ta14
    (1463788335, 529048107, 1339, 1339),  # ta15
    (1056908795, 25321885, 1360, 1360),  # ta16
    (195672285, 1717580117, 1462, 1462),  # ta17
    (961965583, 1353003786, 1396, 1396),  # ta18
    (1610169733, 1734469503, 1332, 1332),  # ta19
    (532794656, 998486810, 1348, 1348),  # ta20
    (1035939303, 773961798, 1642, 1642),  # ta21
    (5997802, 1872541150, 1600, 1600),  # ta22
    (1357503601, 722225039, 1557, 1557),  # ta23
    (806159563, 1166962073, 1644, 1644),  # ta24
    (1902815253, 1879990068, 1595, 1595),  # ta25
    (1503184031, 1850351876, 1643, 1643),  # ta26
    (1032645967, 99711329, 1680, 1680),  # ta27
    (229894219, 1158117804, 1603, 1603),  # ta28
    (823349822, 108033225, 1625, 1625),  # ta29
    (1297900341, 489486403, 1562, 1584),  # ta30
    (98640593, 1981283465, 1764, 1764),  # ta31
    (1839268120, 248890888, 1774, 1783),  # ta32
    (573875290, 2081512253, 1791, 1791),  # ta33
    (1670898570, 788294565, 1828, 1828),  # ta34
    (1118914567, 1074349202, 2007, 2007),  # ta35
    (178750207, 294279708, 1819, 1819),  # ta36
    (1549372605, 596993084, 1771, 1771),  # ta37
    (798174738, 151685779, 1673, 1673),  # ta38
    (553410952, 1329272528, 1795, 1795),  # ta39
    (1661531649, 1173386294, 1658, 1669),  # ta40
    (1841414609, 1357882888, 1926, 2005),  # ta41
    (2116959593, 1546338557, 1900, 1937),  # ta42
    (796392706, 1230864158, 1809, 1846),  # ta43
    (532496463, 254174057, 1961, 1978),  # ta44
    (2020525633, 978943053, 1997, 1997),  # ta45
    (524444252, 185526083, 1976, 2002),  # ta46
    (1569394691, 487269855, 1827, 1889),  # ta47
    (1460267840, 1631446539, 1921, 1937),  # ta48
    (198324822, 1937476577, 1938, 1960),  # ta49
    (38071822, 1541985579, 1848, 1923),  # ta50
    (17271, 718939, 2760, 2760),  # ta51
    (660481279, 449650254, 2756, 2756),  # ta52
    (352229765, 949737911, 2717, 2717),  # ta53
    (1197518780, 166840558, 2839, 2839),  # ta54
    (1376020303, 483922052, 2679, 2679),  # ta55
    (2106639239, 955932362, 2781, 2781),  # ta56
    (1765352082, 1209982549, 2943, 2943),  # ta57
    (1105092880, 1349003108, 2885, 2885),  # ta58
    (907248070, 919544535, 2655, 2655),  # ta59
    (2011630757, 1845447001, 2723, 2723),  # ta60
    (8493988, 2738939, 2868, 2868),  # ta61
    (1991925010, 709517751, 2869, 2869),  # ta62
    (342093237, 786960785, 2755, 2755),  # ta63
    (1634043183, 973178279, 2702, 2702),  # ta64
    (341706507, 286513148, 2725, 2725),  # ta65
    (320167954, 1411193018, 2845, 2845),  # ta66
    (1089696753, 298068750, 2825, 2825),  # ta67
    (433032965, 1589656152, 2784, 2784),  # ta68
    (615974477, 331205412, 3071, 3071),  # ta69
    (236150141, 592292984, 2995, 2995),  # ta70
    (302034063, 1203569070, 5464, 5464),  # ta71
    (1437643198, 1692025209, 5181, 5181),  # ta72
    (1792475497, 1039908559, 5568, 5568),  # ta73
    (1647273132, 1012841433, 5339, 5339),  # ta74
    (696480901, 1689682358, 5392, 5392),  # ta75
    (1785569423, 1092647459, 5342, 5342),  # ta76
    (117806902, 739059626, 5436, 5436),  # ta77
    (1639154709, 1319962509, 5394, 5394),  # ta78
    (2007423389, 749368241, 5358, 5358),  # ta79
    (682761130, 262763021, 5183, 5183),  # ta80
)
# fmt: on

TAILLARD = tuple(Published(f"ta{i + 1:02}", *_SIZES[i // 10], *facts) for i, facts in enumerate(_FACTS))
