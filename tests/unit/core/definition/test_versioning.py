"""Behaviour 2.4: umbrellas and their versions."""

from __future__ import annotations

import pytest
from defining import A, B, a_step, sound

from hephaestus_celery import ConfigurationError, DefinitionError, Done, MemoryStorage, Unique, WaitForEvent, Workflow
from hephaestus_celery.client.hephaestus import Hephaestus
from hephaestus_celery.core.definition.registry import WORKFLOWS
from hephaestus_celery.core.definition.versioning import resolve


def a_member(kind, /, **attributes):
    """A version to be: it has no unique, and says that it is a version by its `version`."""
    return type(kind, (Workflow,), sound(**attributes))


def members(**attributes):
    return {1: a_member("V1", version=1, **attributes), 2: a_member("V2", version=2, **attributes)}


def umbrella(**attributes):
    return type("Orders", (Workflow,), {"unique": Unique("orderid"), "versions": members(), "current": 2, **attributes})


def problems_of(**attributes):
    with pytest.raises(DefinitionError) as refused:
        umbrella(**attributes)
    return refused.value.problems


def test_the_versions_inherit_unique():
    assert umbrella().versions[1].unique == Unique("orderid")


def test_a_version_has_the_number_of_its_key():
    versions = {3: type("Plain", (Workflow,), sound(unique=Unique("orderid")))}
    assert umbrella(versions=versions, current=3).versions[3].version == 3


def test_the_versions_belong_to_the_family_of_the_umbrella():
    assert umbrella(name="shop.orders").versions[1].family == "shop.orders"


def test_the_umbrella_shows_the_graph_of_the_current_version():
    versions = {1: a_member("V1", version=1), 2: a_member("V2", version=2, initial_step=Done, transitions={})}
    assert umbrella(versions=versions, current=2).graph.initial.step is Done


def test_a_version_is_found_by_its_name_and_number():
    orders = umbrella()
    assert WORKFLOWS.find(orders.versions[2].name, 2) is orders.versions[2]


def test_a_version_that_got_another_number_is_not_found_by_the_old_one():
    plain = type("Renumbered", (Workflow,), sound(unique=Unique("orderid")))
    umbrella(versions={7: plain}, current=7)
    assert WORKFLOWS.find(plain.name, 1) is None


def test_the_versions_use_the_runtime_of_the_umbrella():
    with Hephaestus(storage=MemoryStorage()) as runtime:
        assert umbrella(hephaestus=runtime).versions[1].hephaestus is runtime


@pytest.mark.parametrize("kind", [classmethod, lambda function: function], ids=["classmethod", "plain"])
def test_the_version_may_be_chosen_from_the_options_of_the_start(kind):
    asked = []

    def version_for(cls, versions, options):
        asked.append((cls, sorted(versions), options))
        return 1

    orders = umbrella(version_for=kind(version_for))
    with Hephaestus():
        handle = orders.start("a1", telemetry_metadata={"tenant": "t1"})
        assert handle.get().workflow is orders.versions[1]
    assert asked == [(orders, [1, 2], {"id": "a1", "context": {}, "telemetry_metadata": {"tenant": "t1"}})]


def test_a_version_keeps_a_runtime_of_its_own():
    with Hephaestus() as one, Hephaestus() as other:
        versions = {1: a_member("V1", version=1, hephaestus=other)}
        assert umbrella(versions=versions, current=1, hephaestus=one).versions[1].hephaestus is other


def test_a_version_may_build_on_another():
    first = a_member("V1", version=1)
    second = type("V2", (first,), {"version": 2, "initial_step": B, "transitions": {(B, "ok"): Done}})
    assert umbrella(versions={1: first, 2: second}).versions[2].graph.initial.step is B


def test_a_version_without_unique_says_by_its_version_that_it_is_one():
    assert getattr(a_member("V1", version=1), "unique", None) is None


def test_a_version_without_unique_may_stand_in_the_body_of_its_umbrella():
    attributes = {**sound(), "__qualname__": "Orders.V1"}
    assert type("V1", (Workflow,), attributes).graph.initial.step is A


def test_a_version_that_no_umbrella_has_taken_says_so_where_it_is_used():
    with Hephaestus() as runtime:
        lonely = a_member("Lonely", version=1, hephaestus=runtime)
        with pytest.raises(
            ConfigurationError, match="Lonely has no unique, so it is meant to be a version of an umbrella"
        ):
            lonely.get("a1")


def test_an_umbrella_may_be_defined_again():
    versions = members()
    first = umbrella(versions=versions)
    assert umbrella(versions=versions).family == first.family


def test_version_together_with_versions_is_a_problem():
    assert problems_of(version=3) == ("version together with versions: an umbrella has versions and current only",)


@pytest.mark.parametrize("name", ["initial_step", "transitions"])
def test_steps_together_with_versions_are_a_problem(name):
    assert problems_of(**{name: sound()[name]}) == (f"{name} together with versions: the versions have the steps",)


def test_an_umbrella_without_unique_is_a_problem():
    assert problems_of(unique=None) == ("unique is missing: declare unique = Unique('key')",)


@pytest.mark.parametrize("versions", [None, 5, [1, 2]])
def test_versions_that_are_no_mapping_are_a_problem(versions):
    assert problems_of(versions=versions) == (
        f"versions must be a mapping of version numbers to workflows, not {versions!r}",
    )


def test_an_umbrella_of_nothing_is_a_problem():
    assert problems_of(versions={}) == ("versions is empty: an umbrella needs one workflow at least",)


@pytest.mark.parametrize("key", [0, -1, True, "1", 1.5, None])
def test_a_key_that_is_no_positive_int_is_a_problem(key):
    versions = {key: type("V", (Workflow,), sound(unique=Unique("orderid"))), 2: a_member("V2", version=2)}
    assert problems_of(versions=versions) == (f"versions has the key {key!r}; version numbers are positive ints",)


@pytest.mark.parametrize("member", [None, "V1", A, 5])
def test_a_version_that_is_no_workflow_is_a_problem(member):
    assert problems_of(versions={1: member, 2: a_member("V2", version=2)}) == (
        f"version 1 is {member!r}, which is no workflow",
    )


def test_a_version_that_is_an_umbrella_is_a_problem():
    versions = {1: umbrella(current=1), 2: a_member("V2", version=2)}
    assert problems_of(versions=versions) == ("version 1, Orders, is an umbrella itself",)


def test_a_version_that_says_another_number_is_a_problem():
    assert problems_of(versions={2: a_member("V1", version=1)}) == (
        "version 2, V1, says of itself that it is version 1",
    )


def test_a_version_with_another_unique_is_a_problem():
    assert problems_of(versions={2: a_member("V2", unique=Unique("other"))}) == (
        f"version 2, V2, has a unique of its own, {Unique('other')!r}; it inherits the umbrella's",
    )


def test_a_version_may_repeat_the_unique_of_its_umbrella():
    assert umbrella(versions={2: a_member("V2", unique=Unique("orderid"))}).versions[2].version == 2


def test_a_version_of_another_umbrella_is_a_problem():
    versions = members()
    umbrella(versions=versions, name="shop.first")
    assert problems_of(versions=versions, name="shop.second") == (
        "version 1, V1, belongs to shop.first already",
        "version 2, V2, belongs to shop.first already",
    )


def test_one_workflow_in_two_versions_is_a_problem():
    member = type("V", (Workflow,), sound(unique=Unique("orderid")))
    assert problems_of(versions={1: member, 2: member}) == ("versions names a workflow twice",)


@pytest.mark.parametrize("current", [3, 0, None, "2", True, 2.0, [2]])
def test_a_current_that_is_no_version_is_a_problem(current):
    assert problems_of(current=current) == (f"current is {current!r}, which is none of the versions (1, 2)",)


def test_a_missing_current_is_a_problem():
    with pytest.raises(DefinitionError, match="current is None, which is none of the versions"):
        type("Orders", (Workflow,), {"unique": Unique("orderid"), "versions": members()})


def test_an_unknown_option_of_an_umbrella_is_a_problem():
    assert problems_of(curent=1) == ("curent is no option of a workflow; did you mean current?",)


def test_a_bad_name_of_an_umbrella_is_a_problem():
    assert problems_of(name="a b") == ("name must be a non-empty printable string without white space or |, not 'a b'",)


def test_all_problems_of_an_umbrella_are_listed():
    assert len(problems_of(unique=None, current=9, tags=5, versions={0: a_member("V", version=1)})) == 5


def test_the_version_asked_for_comes_first():
    orders = umbrella(version_for=classmethod(lambda cls, versions, options: 2))
    assert resolve(orders, version=1, options={}) is orders.versions[1]


def test_version_for_comes_before_current():
    orders = umbrella(version_for=classmethod(lambda cls, versions, options: 1))
    assert resolve(orders, version=None, options={}) is orders.versions[1]


def test_version_for_sees_the_versions_and_the_options():
    orders = umbrella(
        version_for=classmethod(lambda cls, versions, options: min(versions) if options["id"] == "old" else None)
    )
    assert resolve(orders, version=None, options={"id": "old"}) is orders.versions[1]


def test_current_is_the_last_resort():
    orders = umbrella()
    assert resolve(orders, version=None, options={}) is orders.versions[2]


def test_a_workflow_of_one_version_is_its_own():
    plain = type("Plain", (Workflow,), sound(unique=Unique("orderid"), version=4))
    assert resolve(plain, version=None, options={}) is plain


def test_a_version_can_be_started_by_itself():
    orders = umbrella()
    assert resolve(orders.versions[1], version=None, options={}) is orders.versions[1]


@pytest.mark.parametrize("version", [3, 0, "1", True, 1.0])
def test_an_unknown_version_names_the_known_ones(version):
    with pytest.raises(ValueError, match=r"^Orders has no version .*; known: 1, 2$"):
        resolve(umbrella(), version=version, options={})


def test_an_unknown_version_from_version_for_names_the_known_ones():
    orders = umbrella(version_for=classmethod(lambda cls, versions, options: 9))
    with pytest.raises(ValueError, match=r"^Orders has no version 9; known: 1, 2$"):
        resolve(orders, version=None, options={})


def test_an_unknown_version_of_a_plain_workflow_names_the_one_there_is():
    plain = type("Plain", (Workflow,), sound(unique=Unique("orderid"), version=4))
    with pytest.raises(ValueError, match=r"^Plain has no version 1; known: 4$"):
        resolve(plain, version=1, options={})


def test_versions_may_differ_in_their_steps():
    other = a_step("Other", "ok")
    second = a_member("V2", version=2, initial_step=other, transitions={(other, "ok"): Done})
    orders = umbrella(versions={1: a_member("V1", version=1), 2: second})
    assert list(orders.versions[1].graph.by_key) != list(orders.versions[2].graph.by_key)


def test_a_first_version_that_is_not_found_under_the_umbrellas_name_is_noted_once_to_who_makes_a_runtime(caplog):
    with Hephaestus():
        made = umbrella(name="shop.parcel")
    with Hephaestus():
        pass
    noted = [record.getMessage() for record in caplog.records if "shop.parcel" in record.getMessage()]
    assert len(noted) == 1
    assert "give V1 name = 'shop.parcel'" in noted[0]
    assert f"name = '{made.versions[1].name}' says so" in noted[0]


@pytest.mark.parametrize("name", ["shop.parcel", "shop.parcel_v1"])
def test_a_first_version_that_says_its_name_is_no_news(name, caplog):
    with Hephaestus():
        caplog.clear()  # it may have noted of what other tests have defined
        versions = {1: a_member("V1", version=1, name=name), 2: a_member("V2", version=2)}
        umbrella(name="shop.parcel", versions=versions)
        umbrella(name="shop.later", versions={2: a_member("V2", version=2)})
    noted = [record.getMessage() for record in caplog.records]
    assert [
        line for line in noted if "shop.parcel" in line or "shop.later" in line
    ] == []  # others' umbrellas may be there


def test_a_run_that_began_without_versions_goes_on_where_version_1_bears_the_old_name():
    waiting = sound(
        initial_step=(WaitForEvent, {"event_name": "go"}), transitions={(WaitForEvent, "received"): A, (A, "ok"): Done}
    )
    old = type("Parcel", (Workflow,), {"unique": Unique("parcel"), "name": "shop.growing", **waiting})
    with Hephaestus() as hephaestus:
        handle = old.start("p1")
        WORKFLOWS.discard(old)  # the code is another now
        new = umbrella(
            name="shop.growing",
            unique=Unique("parcel"),
            versions={1: a_member("V1", version=1, name="shop.growing", **waiting), 2: a_member("V2", version=2)},
        )
        new.resume("p1", "go", keep_early=True)
        instance = hephaestus.wait(handle.run_id, 10)
    assert (instance.status, instance.workflow) == ("completed", new.versions[1])
