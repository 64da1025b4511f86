"""What holds of every workflow that can be defined, and which small change of it can't be."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from random_runs import transition_tables, workflow_of

from hephaestus_celery import FAILED, DefinitionError, RetryPolicy


def ancestors(transitions, key):
    """By walking back, step by step."""
    found = {source for (source, _), targets in transitions.items() if key in targets}
    return found.union(*(ancestors(transitions, source) for source in found))


@given(transition_tables())
def test_the_topological_order_has_every_step_once(transitions):
    keys = {source for source, _ in transitions} | {"done"}
    order = [step.key for step in workflow_of(transitions).graph.topological_order]
    assert (len(order), set(order)) == (len(keys), keys)


@given(transition_tables())
def test_no_edge_leads_back_in_topological_order(transitions):
    graph = workflow_of(transitions).graph
    assert [edge for edge in graph.edges if graph.rank(edge.source.key) >= graph.rank(edge.target.key)] == []


@given(transition_tables())
def test_done_is_the_last_in_topological_order(transitions):
    assert workflow_of(transitions).graph.topological_order[-1].key == "done"


@given(transition_tables())
def test_the_edges_are_the_transitions(transitions):
    edges = [(edge.source.key, edge.event, edge.target.key) for edge in workflow_of(transitions).graph.edges]
    assert edges == [(source, event, target) for (source, event), targets in transitions.items() for target in targets]


@given(transition_tables(), st.data())
def test_a_step_without_any_transition_is_refused(transitions, data):
    step = data.draw(st.sampled_from(sorted({source for source, _ in transitions})))
    flow = workflow_of(transitions)
    kept = {pair: list(steps) for pair, steps in flow.transitions.items() if pair[0].key != step}
    with pytest.raises(DefinitionError, match=f"{step.upper()} is a leaf but not Done"):
        type("Cut", (flow,), {"transitions": kept})


@given(transition_tables(), st.data())
def test_an_edge_back_is_refused_as_a_cycle(transitions, data):
    flow = workflow_of(transitions)
    source, event = data.draw(st.sampled_from(list(flow.transitions)))
    back = data.draw(
        st.sampled_from([source, *(flow.graph.by_key[key] for key in sorted(ancestors(transitions, source.key)))])
    )
    bent = {**flow.transitions, (source, event): [*flow.transitions[source, event], back]}
    with pytest.raises(DefinitionError, match="a cycle: "):
        type("Bent", (flow,), {"transitions": bent})


@given(transition_tables(), st.data())
def test_an_event_without_transition_is_refused(transitions, data):
    flow = workflow_of(transitions)
    source, event = data.draw(st.sampled_from(list(flow.transitions)))
    assume(len(source.events) > 1 and event != FAILED)
    kept = {pair: steps for pair, steps in flow.transitions.items() if pair != (source, event)}
    with pytest.raises(
        DefinitionError, match=f"{source.__name__} declares the event '{event}', which has no transition"
    ):
        type("Holed", (flow,), {"transitions": kept})


@given(transition_tables())
def test_a_diagram_draws_every_edge(transitions):
    drawn = [line for line in workflow_of(transitions).to_mermaid().splitlines() if "-->" in line or "==>" in line]
    assert len(drawn) == sum(len(targets) for targets in transitions.values())


@given(
    st.builds(
        RetryPolicy,
        backoff=st.sampled_from(["exponential", "linear", "constant"]),
        base=st.floats(0, 1e6),
        max_backoff=st.floats(0, 1e6),
        jitter=st.booleans(),
    ),
    st.integers(1, 10_000),
    st.floats(0, 1, exclude_max=True),
)
def test_a_rest_is_never_negative_nor_longer_than_allowed(policy, attempt, chance):
    assert 0 <= policy.delay(attempt, chance=chance) <= policy.max_backoff


@given(st.floats(0, 1e6), st.sampled_from(["exponential", "linear", "constant"]), st.integers(1, 100))
def test_without_jitter_no_rest_is_shorter_than_the_one_before(base, backoff, attempt):
    policy = RetryPolicy(backoff=backoff, base=base, jitter=False)
    assert policy.delay(attempt, chance=0.0) <= policy.delay(attempt + 1, chance=0.0)


@given(transition_tables())
def test_a_step_with_one_event_means_the_same_alone(transitions):
    flow = workflow_of(transitions)
    alone = {
        source if len(source.events) == 1 and event != FAILED else (source, event): targets
        for (source, event), targets in flow.transitions.items()
    }
    graph = type("Alone", (flow,), {"transitions": alone}).graph
    assert (list(graph.table.items()), graph.edges) == (list(flow.graph.table.items()), flow.graph.edges)
