"""Thin base classes of ``Step`` and ``Workflow``, so that values can name them without importing definitions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic

from hephaestus_celery.core.values.data_types import Data, DataType

if TYPE_CHECKING:
    from typing_extensions import TypeVar  # for checkers, which know it: that of Python has defaults from 3.13 on

    R_co = TypeVar("R_co", bound=Data, covariant=True, default=dict[str, Any])
else:
    from typing import TypeVar

    R_co = TypeVar("R_co", covariant=True)


class DeclaredStep(Generic[R_co]):
    """The base of ``Step``: what an instance needs to name its steps, and a context to read their results."""

    __data_type__: ClassVar[DataType | None] = None
    """The type of the step's result; None where it declares none."""

    events: ClassVar[Sequence[str]] = ()
    """The names that ``execute`` may give, ``Ok(event)``, or that ``resume`` may bring."""
    key: ClassVar[str] = "step"
    """Names the step within a workflow, in at most 200 characters; by default the class name in snake case."""

    @classmethod
    def restored_config(cls, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """The config as it was given, from the one that is stored."""
        return config


class DeclaredWorkflow:
    """The base of ``Workflow``: what an instance needs of its workflow."""

    __data_type__: ClassVar[DataType | None] = None
    """The type of the initial context; None where the workflow declares none."""

    name: ClassVar[str]
    """Names the workflow in the store; by default the place of its class, ``module.QualName``."""
    version: ClassVar[int] = 1
    family: ClassVar[str]
    """The name that identities are counted under: the umbrella's, or the workflow's own."""
    tags: ClassVar[Sequence[str]] = ()
    """Strings that listings can be filtered by."""
    metadata: ClassVar[Mapping[str, Any]] = {}
    """Data that every instance of the workflow carries."""

    @classmethod
    def find_step(cls, key: str) -> type[DeclaredStep[Any]] | None:
        """The step with this key, or None."""
        raise NotImplementedError

    @classmethod
    def step_names(cls) -> Sequence[str]:
        """The names of the classes of its steps."""
        raise NotImplementedError
