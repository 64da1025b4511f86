"""Behaviour 2.3: what a definition is refused for, and that every problem of it is named."""

from __future__ import annotations

import functools
import pickle
from types import MappingProxyType
from typing import ClassVar

import pytest
from defining import A, B, C, a_step, define, problems_of, sound

from hephaestus_celery import DefinitionError, Done, Ok, RetryPolicy, Step, Unique, WaitForEvent, Workflow
from hephaestus_celery.core.definition.graph import Target
from hephaestus_celery.core.values.formatting import shown

NO_EXECUTE = type("NoExecute", (Step,), {"events": ("ok",)})
NO_EVENTS = type("NoEvents", (Step,), {"execute": A.execute, "events": ()})
NEITHER = type("Neither", (Step,), {"events": ()})
CHOICE = a_step("Choice", "yes", "no")


def test_a_sound_workflow_is_defined():
    assert define(**sound()).graph.initial.step is A


def test_a_workflow_that_begins_with_done_is_defined():
    assert define(initial_step=Done).graph.topological_order == (Done,)


def test_branches_need_not_meet_before_done():
    flow = define(
        initial_step=A,
        transitions={(A, "ok"): [B, C], (B, "ok"): Done, (C, "ok"): Done},
    )
    assert flow.graph.predecessors(Done) == (B, C)


def test_an_event_may_lead_straight_to_done_and_to_another_step_at_once():
    flow = define(initial_step=A, transitions={(A, "ok"): [B, Done], (B, "ok"): Done})
    assert flow.graph.successors(A) == (B, Done)


def test_the_name_defaults_to_module_and_qualified_name():
    class Named(Workflow):
        unique = Unique("orderid")
        initial_step = Done

    assert Named.name == f"{__name__}.{Named.__qualname__}"


def test_a_name_that_is_set_is_kept():
    assert define(**sound(name="shop.orders")).name == "shop.orders"


def test_a_name_is_not_inherited():
    parent = define(**sound(name="shop.parent"))
    child = type("Child", (parent,), {})
    assert child.name.endswith(".Child")


def test_the_version_defaults_to_one():
    assert define(**sound()).version == 1


def test_an_abstract_workflow_is_not_checked():
    class Base(Workflow, abstract=True):
        tags = ("shop",)

    assert not hasattr(Base, "graph")


def test_an_abstract_workflow_hands_its_attributes_down():
    class Base(Workflow, abstract=True):
        unique = Unique("orderid")
        initial_step = Done

    class Flow(Base):
        pass

    assert Flow.unique == Unique("orderid")


def test_a_missing_unique_is_a_problem():
    with pytest.raises(DefinitionError) as refused:

        class Flow(Workflow):
            initial_step = Done

    assert refused.value.problems == ("unique is missing: declare unique = Unique('key')",)


def test_a_unique_that_is_none_is_missing():
    assert problems_of(**sound(unique=None)) == ("unique is missing: declare unique = Unique('key')",)


def test_a_unique_that_is_a_string_is_a_problem():
    assert problems_of(**sound(unique="orderid")) == ("unique must be a Unique('key'), not 'orderid'",)


@pytest.mark.parametrize("tags", ["shop", 5, None, {"shop": 1}])
def test_tags_that_are_no_list_are_a_problem(tags):
    assert problems_of(**sound(tags=tags)) == (f"tags must be a list or tuple of strings, not {tags!r}",)


@pytest.mark.parametrize("tag", [5, None, "", ("a",), "a\n", "\x00"])
def test_a_tag_that_is_no_printable_string_is_a_problem(tag):
    assert problems_of(**sound(tags=["fine", tag])) == (f"tags has {tag!r}; tags are non-empty printable strings",)


@pytest.mark.parametrize("tags", [[], ("a",), ["a", "b"], {"a"}, frozenset({"b"})])
def test_tags_may_be_any_plain_collection(tags):
    assert define(**sound(tags=tags)).tags == tags


@pytest.mark.parametrize("metadata", [None, "x", [("a", 1)]])
def test_metadata_that_is_no_mapping_is_a_problem(metadata):
    assert problems_of(**sound(metadata=metadata)) == (
        f"metadata must be a mapping with string keys, not {metadata!r} ({type(metadata).__name__})",
    )


def test_metadata_with_a_key_that_is_no_string_is_a_problem():
    assert problems_of(**sound(metadata={1: "x"})) == ("metadata has the key 1 (int); keys must be strings",)


def test_metadata_that_json_cannot_carry_is_a_problem():
    (problem,) = problems_of(**sound(metadata={"owner": {"team": object}}))
    assert problem.startswith("metadata.owner.team can't be carried: <class 'object'> (type)")


def test_metadata_may_be_any_mapping():
    assert define(**sound(metadata=MappingProxyType({"a": 1}))).metadata == {"a": 1}


@pytest.mark.parametrize("version", [0, -1, True, 1.0, "2", None])
def test_a_version_that_is_no_positive_int_is_a_problem(version):
    assert problems_of(**sound(version=version)) == (f"version must be a positive int, not {version!r}",)


@pytest.mark.parametrize("name", ["", "a b", "a|b", "a\n", "a\x1f", 5])
def test_a_bad_name_is_a_problem(name):
    assert problems_of(**sound(name=name)) == (
        f"name must be a non-empty printable string without white space or |, not {name!r}",
    )


def test_a_default_retry_that_is_no_policy_is_a_problem():
    assert problems_of(**sound(default_retry=3)) == ("default_retry must be a RetryPolicy or None, not 3",)


def test_a_default_retry_may_be_a_policy():
    policy = RetryPolicy(max_attempts=2)
    assert define(**sound(default_retry=policy)).default_retry is policy


def test_a_misspelled_option_is_a_problem_that_names_the_right_one():
    assert problems_of(**sound(transition={})) == ("transition is no option of a workflow; did you mean transitions?",)


def test_a_misspelled_option_beside_the_right_one_is_found_whatever_its_value():
    def version_fro(cls, versions, options): ...

    found = problems_of(**sound(inital_step=A, transitons=B, versionfor=1, version_fro=version_fro))
    assert found == (
        "inital_step is no option of a workflow; did you mean initial_step?",
        "transitons is no option of a workflow; did you mean transitions?",
        "versionfor is no option of a workflow; did you mean version?",
        "version_fro is no option of a workflow; did you mean version_for?",
    )


def test_what_a_workflow_has_of_its_own_is_no_misspelled_option():
    tags_of_order = a_step("Tags", "ok")
    assert define(**sound(Tags=tags_of_order, Helper=int, version_name=lambda: 1, by_tag=property(len), LIMIT=3, _a=1))


def test_a_misspelled_option_of_a_step_is_a_problem_of_the_workflows_that_use_it():
    base = a_step("Base", "ok", retries=3, timelimit=5, event="a")
    charge = type(
        "Charge",
        (base,),
        {"queue_name": "slow", "prioritiy": 1, "Events": ("a",), "soft_time_limit": 3, "retry_backoff": True},
    )
    assert problems_of(initial_step=charge, transitions={(charge, "ok"): Done}) == (
        "step Charge: queue_name is no option of a step; did you mean queue?",
        "step Charge: prioritiy is no option of a step; did you mean priority?",
        "step Charge: Events is no option of a step; did you mean events?",
        "step Charge: soft_time_limit is no option of a step; did you mean time_limit?",
        "step Charge: retry_backoff is no option of a step; did you mean retry?",
        "step Base: retries is no option of a step; did you mean retry?",
        "step Base: timelimit is no option of a step; did you mean time_limit?",
        "step Base: event is no option of a step; did you mean events?",
    )


def test_the_problem_of_a_step_without_execute_names_what_it_has_instead():
    class Charge(Step):
        events = ("ok",)

        def excute(self, instance, config, context): ...

    [problem] = problems_of(initial_step=Charge)
    assert problem == (
        "initial_step has Charge, an unknown step: it has no execute; step Charge: excute is no option of a step; did you "
        "mean execute?"
    )


def _wrapped(self, instance, config, context, extra): ...


def _wrapper(*args, **kwargs): ...


def _takes_keywords(self, instance, config, context, *, client=None, **rest): ...


def _wants_a_keyword(self, instance, config, context, *, client): ...


@pytest.mark.parametrize(
    ("execute", "written"),
    [
        (lambda self, context: Ok("ok"), "<lambda>(self, context)"),
        (lambda instance, config, context: Ok("ok"), "<lambda>(instance, config, context)"),
        (_wrapped, "_wrapped(self, instance, config, context, extra)"),
        (_wants_a_keyword, "_wants_a_keyword(self, instance, config, context, *, client)"),
    ],
)
def test_an_execute_that_no_call_of_a_runner_fits_is_a_problem(execute, written):
    step = type("Charge", (Step,), {"events": ("ok",), "execute": execute})
    assert problems_of(**sound(initial_step=step, transitions={(step, "ok"): Done})) == (
        f"step Charge: {written} must be execute(self, instance, config, context)",
    )


@pytest.mark.parametrize(
    "execute",
    [
        lambda self, *rest: Ok("ok"),
        lambda self, instance, config, context, more=1: Ok("ok"),
        _takes_keywords,
        functools.wraps(_wrapped)(_wrapper),
        staticmethod(lambda instance, config, context: Ok("ok")),
        functools.partialmethod(_wrapped, extra=1),
    ],
)
def test_an_execute_may_be_anything_that_the_call_fits(execute):
    step = type("Charge", (Step,), {"events": ("ok",), "execute": execute})
    assert define(**sound(initial_step=step, transitions={(step, "ok"): Done}))


def test_a_step_that_can_not_be_made_without_arguments_is_a_problem():
    step = a_step("Charge", "ok", __init__=lambda self, client: None)
    [problem] = problems_of(**sound(initial_step=step, transitions={(step, "ok"): Done}))
    assert problem == (
        "step Charge: <lambda>(self, client) wants arguments, and steps are made without any; what a step needs comes with "
        "its config or the context"
    )
    step = a_step("Charge", "ok", __init__=lambda self, client=None: None)
    assert define(**sound(initial_step=step, transitions={(step, "ok"): Done}))


@pytest.mark.parametrize(
    "name",
    ["url", "client", "timeout", "keys", "api_key", "entry", "query", "name", "request", "limit", "RETRIES", "_retries",
     "event_name", "retry_after", "times", "model", "key_prefix", "session", "version"],
)  # fmt: skip
def test_what_a_step_has_of_its_own_is_no_misspelled_option(name):
    step = type("Own", (A,), {name: 1})
    assert define(initial_step=step, transitions={(step, "ok"): Done})


def test_a_step_that_is_named_anew_at_each_place_is_to_be_kept_in_a_variable():
    found = problems_of(**sound(transitions={(A, "ok"): B.named("second"), (B.named("second"), "ok"): Done}))
    [problem] = found
    assert problem == (
        "B.named('second') stands here more than once, and each call of named makes another step: keep it in a variable, "
        "and use that"
    )


def test_two_steps_that_were_given_one_key_are_two_steps():
    [problem] = problems_of(
        **sound(transitions={(A, "ok"): [b := B.named("x"), c := C.named("x")], (b, "ok"): Done, (c, "ok"): Done})
    )
    assert problem == "B.named('x') and C.named('x') have one key, 'x'; use C.named('x').named('another_key')"


def test_several_steps_may_come_first():
    flow = define(initial_step=[A, (B, {"n": 1})], transitions={(A, "ok"): C, (B, "ok"): C, (C, "ok"): Done})
    assert flow.graph.initials == (Target(A), Target(B, {"n": 1}))
    assert (flow.graph.topological_order, flow.graph.predecessors(C)) == ((A, B, C, Done), (A, B))
    assert flow.graph.configs(B) == ({"n": 1},)
    assert flow.to_text() == "a --ok--> c\nb --ok--> c\nc --ok--> done\n"


def test_one_step_in_a_list_comes_first_alone():
    assert define(**sound(initial_step=[A])).graph.initials == (Target(A),)


BOTH = {(A, "ok"): Done, (B, "ok"): Done}


@pytest.mark.parametrize(
    ("initial", "transitions", "problem"),
    [
        ([], BOTH, "initial_step has an empty list of steps"),
        ([A, B, A], BOTH, "initial_step names the step A twice"),
        ([A, (A, {"n": 1}), B], BOTH, "initial_step names the step A twice"),
        ([A, B, Done], BOTH, "initial_step has Done in a list; a workflow of nothing but its end has initial_step = Done"),
        ([A, B, "C"], BOTH, "initial_step has 'C', which is neither a step nor (step, config)"),
        ([A, B, int], BOTH, "initial_step has int, an unknown step: it is no subclass of Step"),
        ([A, (B, 5)], BOTH, "B: config must be a mapping with string keys, not 5 (int)"),
        ([A, B], {**BOTH, (C, "ok"): Done}, "C can't be reached from A, B"),
        ((A, B), BOTH, f"initial_step has ({A}, {B}), a tuple, which is (step, config); several steps are a list"),
        (
            [A, C],
            {(A, "ok"): B, (B, "ok"): C, (C, "ok"): Done},
            "initial_step has C, which B leads to: it would start twice; leave it out of one of them",
        ),
    ],
)  # fmt: skip
def test_what_can_not_come_first_is_a_problem(initial, transitions, problem):
    assert problem in problems_of(initial_step=initial, transitions=transitions)


def test_several_first_steps_in_a_cycle_are_named_as_one():
    found = problems_of(initial_step=[A, B], transitions={(A, "ok"): B, (B, "ok"): A})
    assert "a cycle: A -> B -> A" in found


def test_a_long_cycle_is_named_in_part():
    steps = [a_step(f"S{number}", "ok") for number in range(1000)]
    around = dict(zip([(step, "ok") for step in steps], [*steps[1:], steps[0]], strict=True))
    [problem] = problems_of(initial_step=steps[0], transitions=around)
    assert problem.startswith("a cycle: S0 -> S1 -> S2 -> ")
    assert problem.endswith(" -> S49 -> (950 more) -> S0")


def test_an_option_like_no_other_is_a_problem_that_lists_the_options():
    (problem,) = problems_of(**sound(zzz=1))
    assert problem == (
        "zzz is no option of a workflow; options are compensations, current, deadline, default_retry, hephaestus, initial_step, joins, "
        "metadata, name, result, tags, transitions, unique, version, versions"
    )


def test_an_unknown_option_of_an_abstract_base_is_a_problem():
    base = type("Base", (Workflow,), {"retries": 3}, abstract=True)
    with pytest.raises(DefinitionError, match="retries is no option of a workflow; options are"):
        type("Flow", (base,), sound(unique=Unique("orderid")))


def test_methods_constants_and_private_names_are_no_options():
    class Flow(Workflow):
        unique = Unique("orderid")
        initial_step = Done
        LIMIT = 5
        _cache: ClassVar = {}

        class Nested:
            pass

        @property
        def size(self):
            return 1

        @staticmethod
        def total():
            return 1

        @classmethod
        def label(cls):
            return "x"

        def note(self):
            return "x"

    assert Flow.graph.initial.step is Done


def test_a_missing_initial_step_is_a_problem():
    assert problems_of() == (
        "initial_step is missing: name the step, or (step, config), that comes first, or a list of them",
    )


@pytest.mark.parametrize("initial", ["A", 5, (A,), (A, {}, 1), ("A", {})])
def test_an_initial_step_that_is_no_step_is_a_problem(initial):
    assert problems_of(initial_step=initial) == (
        f"initial_step has {initial!r}, which is neither a step nor (step, config)",
    )


def test_an_initial_step_that_is_another_class_is_a_problem():
    assert problems_of(initial_step=int) == ("initial_step has int, an unknown step: it is no subclass of Step",)


def test_an_initial_step_may_have_a_config():
    assert define(**sound(initial_step=(A, {"limit": 3}))).graph.initial.config == {"limit": 3}


@pytest.mark.parametrize("transitions", [None, [("A", "ok")], "x"])
def test_transitions_that_are_no_mapping_are_a_problem(transitions):
    assert (
        "transitions must be a mapping of (step, event), or of a step with one event, to targets, not "
        f"{transitions!r}" in problems_of(**sound(transitions=transitions))
    )


@pytest.mark.parametrize("pair", ["ok", int, A(), (A,), (A, "ok", "x")], ids=range(5))
def test_a_key_that_is_no_step_and_event_is_a_problem(pair):
    assert f"transitions has the key {shown(pair)}, which is neither (step, event) nor a step" in problems_of(
        **sound(transitions={(A, "ok"): Done, pair: Done})
    )


@pytest.mark.parametrize(("source", "shown"), [("A", "'A'"), (5, "5"), (int, "int"), (None, "None")])
def test_a_source_that_is_no_step_is_a_problem(source, shown):
    assert problems_of(**sound(transitions={(A, "ok"): Done, (source, "ok"): Done})) == (
        f"transitions has the source {shown}, which is no step",
    )


def test_a_source_that_declares_no_such_event_is_a_problem():
    assert problems_of(**sound(transitions={(A, "ok"): Done, (A, "okay"): Done})) == (
        "transitions: A does not declare the event 'okay' (it declares 'ok')",
    )


def test_done_as_a_source_is_a_problem():
    assert problems_of(**sound(transitions={(A, "ok"): Done, (Done, "done"): Done})) == (
        "transitions: Done is the end; nothing follows it",
    )


def test_an_event_without_transition_is_a_problem():
    assert problems_of(initial_step=CHOICE, transitions={(CHOICE, "yes"): Done}) == (
        "Choice declares the event 'no', which has no transition",
    )


@pytest.mark.parametrize(
    ("step", "missing"), [(NO_EXECUTE, "no execute"), (NO_EVENTS, "no events"), (NEITHER, "no execute and no events")]
)
def test_a_target_that_is_an_unknown_step_is_a_problem(step, missing):
    assert problems_of(**sound(transitions={(A, "ok"): step})) == (
        f"transition (A, 'ok') has {step.__name__}, an unknown step: it has {missing}",
    )


@pytest.mark.parametrize(
    ("step", "missing"), [(NO_EXECUTE, "no execute"), (NO_EVENTS, "no events"), (NEITHER, "no execute and no events")]
)
def test_a_source_that_is_an_unknown_step_is_a_problem(step, missing):
    assert problems_of(**sound(transitions={(A, "ok"): Done, (step, "ok"): Done})) == (
        f"transitions has {step.__name__}, an unknown step: it has {missing}",
    )


@pytest.mark.parametrize("target", [None, "B", 5, (B,), (B, {}, 1), ("B", {}), ()])
def test_a_target_that_is_neither_step_nor_step_and_config_is_a_problem(target):
    assert problems_of(**sound(transitions={(A, "ok"): target})) == (
        f"transition (A, 'ok') has {target!r}, which is neither a step nor (step, config)",
    )


def test_a_target_that_is_another_class_is_a_problem():
    assert problems_of(**sound(transitions={(A, "ok"): int})) == (
        "transition (A, 'ok') has int, an unknown step: it is no subclass of Step",
    )


def test_an_empty_list_of_targets_is_a_problem():
    assert problems_of(**sound(transitions={(A, "ok"): []})) == ("transition (A, 'ok') has an empty list of targets",)


def test_a_target_named_twice_is_a_problem():
    assert problems_of(initial_step=A, transitions={(A, "ok"): [B, (B, {"x": 1})], (B, "ok"): Done}) == (
        "transition (A, 'ok') names the target B twice",
    )


@pytest.mark.parametrize("config", [5, "x", ["x"]])
def test_a_config_that_is_no_mapping_is_a_problem(config):
    assert problems_of(initial_step=A, transitions={(A, "ok"): (B, config), (B, "ok"): Done}) == (
        f"B: config must be a mapping with string keys, not {config!r} ({type(config).__name__})",
    )


def test_a_config_that_json_cannot_carry_is_a_problem():
    (problem,) = problems_of(initial_step=(A, {"hosts": [{"port": {1}}]}), transitions={(A, "ok"): Done})
    assert problem.startswith("A: config.hosts[0].port can't be carried: {1} (set)")


def test_a_cycle_is_a_problem_that_names_its_steps():
    assert problems_of(initial_step=A, transitions={(A, "ok"): B, (B, "ok"): C, (C, "ok"): B}) == (
        "a cycle: B -> C -> B",
    )


def test_each_step_of_a_cycle_is_named():
    transitions = {(CHOICE, "yes"): [B, C], (CHOICE, "no"): Done, (B, "ok"): CHOICE, (C, "ok"): CHOICE}
    assert problems_of(initial_step=CHOICE, transitions=transitions) == (
        "a cycle: Choice -> B -> Choice",
        "a cycle: C -> Choice -> C",
    )


def test_steps_before_and_after_a_cycle_are_not_named():
    d = a_step("D", "ok")
    transitions = {(CHOICE, "yes"): B, (CHOICE, "no"): d, (B, "ok"): C, (C, "ok"): [B, d], (d, "ok"): Done}
    assert problems_of(initial_step=CHOICE, transitions=transitions) == ("a cycle: B -> C -> B",)


def test_a_step_that_follows_itself_is_a_cycle():
    assert problems_of(initial_step=A, transitions={(A, "ok"): A}) == ("a cycle: A -> A",)


def test_the_problem_of_a_wait_that_stands_twice_says_how_it_may():
    first, second = ((WaitForEvent, {"event_name": name}) for name in ("paid", "packed"))
    [problem] = problems_of(initial_step=first, transitions={(WaitForEvent, "received"): second})
    assert problem == (
        "a cycle: WaitForEvent -> WaitForEvent; a second WaitForEvent of the workflow needs a key of its own: "
        "WaitForEvent.named('another_key')"
    )


def test_of_a_config_that_is_wrong_nothing_else_is_reported():
    found = problems_of(initial_step=(WaitForEvent, {"event": "paid"}), transitions={(WaitForEvent, "received"): Done})
    assert [problem.partition(": config ")[2][:20] for problem in found] == [
        "needs an event_name ",
        "has the unknown key ",
    ]


def test_two_cycles_are_both_named():
    d = a_step("D", "ok")
    transitions = {
        (CHOICE, "yes"): [A, B],
        (CHOICE, "no"): Done,
        (A, "ok"): C,
        (C, "ok"): A,
        (B, "ok"): d,
        (d, "ok"): B,
    }
    assert problems_of(initial_step=CHOICE, transitions=transitions) == ("a cycle: A -> C -> A", "a cycle: B -> D -> B")


def test_a_diamond_is_no_cycle():
    d = a_step("D", "ok")
    flow = define(initial_step=A, transitions={(A, "ok"): [B, C], (B, "ok"): d, (C, "ok"): d, (d, "ok"): Done})
    assert flow.graph.topological_order == (A, B, C, d, Done)


def test_a_chain_deeper_than_the_recursion_limit_is_defined():
    steps = [a_step(f"S{number}", "ok") for number in range(1500)]
    transitions = {(step, "ok"): following for step, following in zip(steps, [*steps[1:], Done], strict=True)}
    flow = define(initial_step=steps[0], transitions=transitions)
    assert flow.graph.topological_order[-2:] == (steps[-1], Done)


def test_steps_that_cannot_be_reached_are_problems():
    assert problems_of(**sound(transitions={(A, "ok"): Done, (B, "ok"): C, (C, "ok"): Done})) == (
        "B can't be reached from A",
        "C can't be reached from A",
    )


def test_a_transition_beside_an_initial_done_cannot_be_reached():
    assert problems_of(initial_step=Done, transitions={(A, "ok"): Done}) == ("A can't be reached from Done",)


def test_a_leaf_that_is_not_done_is_a_problem():
    assert problems_of(initial_step=A, transitions={(A, "ok"): CHOICE}) == (
        "Choice is a leaf but not Done: its events ('yes', 'no') have no transition",
    )


def test_two_steps_with_one_key_are_a_problem():
    twin = a_step("Twin", "ok", key="b")
    assert problems_of(initial_step=A, transitions={(A, "ok"): [B, twin], (B, "ok"): Done, (twin, "ok"): Done}) == (
        "B and Twin have one key, 'b'; use Twin.named('another_key')",
    )


def test_a_step_with_the_key_of_done_is_a_problem():
    imposter = a_step("Imposter", "ok", key="done")
    assert problems_of(initial_step=imposter, transitions={(imposter, "ok"): Done}) == (
        "step Imposter has the key 'done', which is Done's",
    )


def test_one_step_stands_twice_under_two_keys():
    again = A.named("again")
    flow = define(initial_step=A, transitions={(A, "ok"): again, (again, "ok"): Done})
    assert list(flow.graph.by_key) == ["a", "again", "done"]


def test_all_problems_are_listed_at_once():
    assert problems_of(
        unique=None, tags=5, version=0, initial_step=CHOICE, transitions={(CHOICE, "yes"): [Done, 7]}, zzz=1
    ) == (
        problems_of(**sound(zzz=1))[0],
        "tags must be a list or tuple of strings, not 5",
        "version must be a positive int, not 0",
        "unique is missing: declare unique = Unique('key')",
        "transition (Choice, 'yes') has 7, which is neither a step nor (step, config)",
        "Choice declares the event 'no', which has no transition",
    )


def test_the_message_has_a_line_for_each_problem():
    with pytest.raises(DefinitionError) as refused:
        define(**sound(tags=5, version=0))
    assert str(refused.value).splitlines() == [
        "Flow is not well defined:",
        "  - tags must be a list or tuple of strings, not 5",
        "  - version must be a positive int, not 0",
    ]


def test_a_definition_error_survives_pickling():
    with pytest.raises(DefinitionError) as refused:
        define(**sound(tags=5))
    assert pickle.loads(pickle.dumps(refused.value)).problems == refused.value.problems


def test_the_steps_retry_comes_before_the_workflows():
    policy = RetryPolicy(max_attempts=2)
    step = a_step("Own", "ok", retry=policy)
    flow = define(initial_step=step, transitions={(step, "ok"): Done}, default_retry=RetryPolicy(max_attempts=3))
    assert flow.retry_policy(step, RetryPolicy()) is policy


def test_the_workflows_retry_comes_before_the_setting():
    policy = RetryPolicy(max_attempts=3)
    assert define(**sound(default_retry=policy)).retry_policy(A, RetryPolicy()) is policy


def test_the_setting_is_the_last_resort_for_a_retry():
    policy = RetryPolicy(max_attempts=4)
    assert define(**sound()).retry_policy(A, policy) is policy


def test_a_tag_and_a_name_have_an_end():
    long = "x" * 501
    assert problems_of(**sound(tags=["y" * 500, long]))[0].endswith("a tag has at most 500 characters")
    [problem] = problems_of(**sound(name=long))
    assert problem.startswith("name has at most 500 characters, and not 501: 'xxx")
    assert len(problem) < 500
