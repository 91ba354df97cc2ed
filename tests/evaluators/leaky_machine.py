"""The online machine by an author who shows the true size where the prediction should be."""

from online_machine import make_problem

PROBLEM = make_problem(__name__, 1.0)
