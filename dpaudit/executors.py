"""Where independent pieces of work are done: local processes of one thread each, or a Ray cluster, both by joblib."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from dpaudit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["Executor", "executor"]

Name = Literal["local", "ray"]
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Executor:
    """jobs: pieces that are worked on at a time; None = as many as there are cores.

    >>> list(Executor(jobs=1).each(abs, [-1, -2]))
    [1, 2]
    """

    name: Name = "local"
    jobs: int | None = None

    def __post_init__(self) -> None:
        if self.name not in get_args(Name):
            raise InputError("--executor", self.name, f"one of {', '.join(get_args(Name))}")
        if self.jobs is not None and self.jobs < 1:
            raise InputError("--jobs", self.jobs, "at least 1")

    def each(self, work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """Yield what `work`, a function that other processes can import, makes of each item, as soon as it is done."""
        if self.name == "local" and (self.jobs == 1 or len(items) < 2):
            yield from map(work, items)
            return
        from joblib import Parallel, cpu_count, delayed  # noqa: PLC0415 (takes a tenth of a second, seldom needed)

        jobs = min(self.jobs or cpu_count(), len(items))
        with self._backend(jobs):
            as_done = "generator_unordered" if self.name == "local" else "list"  # Ray's backend knows lists only
            yield from Parallel(return_as=as_done)(delayed(work)(item) for item in items)

    def _backend(self, jobs: int) -> Any:
        from joblib import parallel_config  # noqa: PLC0415

        if self.name == "local":
            return parallel_config(backend="loky", n_jobs=jobs, inner_max_num_threads=1)
        try:
            import_module("ray.util.joblib").register_ray()  # an extra
        except ImportError:
            raise InputError("--executor", self.name, "ray to be installed: pip install 'dpaudit[ray]'") from None
        return parallel_config(backend="ray", n_jobs=self.jobs or -1)


def executor(name: str = "local", jobs: int | None = None) -> Executor:
    """Return the executor of this name; InputError names what is wrong."""
    return Executor(name=name, jobs=jobs)  # type: ignore[arg-type]  # checked when it is made
