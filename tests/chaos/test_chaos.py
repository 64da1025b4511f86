"""Under any fault every run completes, or fails where it is to fail, nothing is applied twice, and nothing is left behind.

Short by default; `pytest tests/chaos --chaos-seeds 5 --chaos-runs 200` is the long form, and `python tests/chaos/run.py`
prints its scorecard.
"""

from __future__ import annotations

import episode
import pytest
import scorecard


@pytest.mark.usefixtures("server_program")
def test_every_run_completes_as_if_nothing_had_been(strike, tmp_path):
    fault, seed, runs = strike
    played = episode.play(fault, seed=seed, runs=runs, folder=tmp_path)
    print(scorecard.render([played]))
    for what in played.strikes:
        print(what.said)
    assert played.verdict.problems == []
    assert (played.verdict.lost, played.verdict.committed_twice) == (0, 0)
    assert played.verdict.runs > runs
