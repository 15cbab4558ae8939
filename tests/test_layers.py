"""Imports go one way, torch stays out of what a statistician reads, and every folder is shipped."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LINKED = ("attacks", "trainers", "reports")  # folders of the repository that are imported as dpaudit.NAME

#: The map of the package. A unit is a module or folder of dpaudit; a new one needs a layer before it may exist.
LAYERS = {
    "values": "canaries errors examples likelihood mechanism optimisation recipes results rng scores",
    "science": "accounting bounds conditions metrics planner procedures simulation verdict",
    "mechanics": "data dp models",
    "contract": "calibration discovery environment executors plugins progress runs seal",
    "engine": "probes references training",
    "pipeline": "pipeline",
    "top": "__main__ bench calls cli conformance root",
    "attacks": "attacks",
    "trainers": "trainers",
    "reports": "reports",
}
LAYER_OF = {unit: layer for layer, units in LAYERS.items() for unit in units.split()}
MAY_IMPORT = {
    "values": {"values"},
    "science": {"values"},
    "mechanics": {"values"},
    "contract": {"values", "science", "mechanics", "contract"},
    "engine": {"values", "science", "mechanics", "contract", "engine"},
    "pipeline": {"values", "science", "mechanics", "contract", "engine", "pipeline", "reports"},
    "top": {"values", "science", "mechanics", "contract", "engine", "pipeline", "reports", "top"},
    "attacks": {"values"},
    "trainers": {"values"},
    "reports": {"values"},
}
#: what is allowed besides, by unit or layer: a unit, or one module of it
BESIDES = {
    "planner": {"bounds", "accounting", "metrics", "procedures"},
    "procedures": {"bounds"},
    "attacks": {"calibration", "metrics", "models", "data", "plugins", "dp.clipping", "dp.tensors"},
    "trainers": {"metrics", "models", "data", "plugins", "discovery", "dp.clipping", "dp.pairs", "dp.tensors"},
    "reports": {"metrics"},
}
TORCH = {"torch", "torchvision", "opacus", "open_clip", "timm"}
TORCH_FREE = {"values", "science", "reports"}


@dataclass(frozen=True)
class Import:
    """One import statement's target. lazy: inside a function; typing: under TYPE_CHECKING."""

    importer: str
    imported: str
    lazy: bool = False
    typing: bool = False

    def __str__(self) -> str:
        return f"{self.importer} -> {self.imported}"


def module_files() -> dict[str, Path]:
    """Return every module of the package by import name."""
    files = {}
    for folder in ("dpaudit", *LINKED):
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            if folder == "dpaudit" and len(parts) > 1 and parts[1] in LINKED:
                continue  # the links
            parts = parts if folder == "dpaudit" else ("dpaudit", *parts)
            files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return files


FILES = module_files()


def imports_in(module: str, source: str, *, package: bool = False) -> set[Import]:
    """Return every import of a module, at any level."""
    found: set[Import] = set()

    def visit(node: ast.AST, *, lazy: bool, typing: bool) -> None:
        for name in _targets(node, module, package=package):
            found.add(Import(module, name, lazy, typing))
        lazy = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        guarded = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for field, value in ast.iter_fields(node):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    visit(child, lazy=lazy, typing=typing or (guarded and field == "body"))

    visit(ast.parse(source), lazy=False, typing=False)
    return found


def _targets(node: ast.AST, module: str, *, package: bool) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    base = node.module or ""
    if node.level:
        parents = module.split(".")[: len(module.split(".")) - node.level + package]
        base = ".".join([*parents, *([base] if base else [])])
    names = [f"{base}.{alias.name}" for alias in node.names]
    return [name if name in FILES else base for name in names]


def unit(module: str) -> str:
    """Return the unit of a module of dpaudit: its first name below the package."""
    if module == "dpaudit.data.examples":
        return "examples"
    return module.split(".")[1] if "." in module else "root"


def allowed(each: Import) -> bool:
    """Return whether the arrows of the design permit an import of one module of dpaudit by another."""
    importer, imported = unit(each.importer), unit(each.imported)
    layer, below = LAYER_OF[importer], LAYER_OF[imported]
    if importer == imported:
        return layer not in ("attacks", "trainers") or each.importer == f"dpaudit.{layer}"
    besides = BESIDES.get(importer, BESIDES.get(layer, set()))
    return below in MAY_IMPORT[layer] or imported in besides or each.imported.removeprefix("dpaudit.") in besides


def torch_allowed(each: Import) -> bool:
    """Return whether this import, of any module, keeps torch where it belongs."""
    top = each.imported.split(".")[0]
    if top not in TORCH or not each.importer.startswith("dpaudit"):
        return True
    if each.importer == "dpaudit.accounting.prv":
        return top == "opacus" and each.lazy
    if LAYER_OF[unit(each.importer)] in TORCH_FREE:
        return False
    return unit(each.importer) not in ("cli", "root", "__main__") or each.lazy


IMPORTS = {
    each
    for module, path in FILES.items()
    for each in imports_in(module, path.read_text(encoding="utf-8"), package=path.name == "__init__.py")
}
OWN = {each for each in IMPORTS if each.imported in FILES and each.imported != "dpaudit"}


def test_every_module_has_a_layer() -> None:
    assert {module for module in FILES if unit(module) not in LAYER_OF} == set()


def test_imports_name_modules_that_exist() -> None:
    names = {each.imported for each in IMPORTS if each.imported.split(".")[0] == "dpaudit"}
    assert names - set(FILES) == set()


def test_imports_go_one_way() -> None:
    known = {each for each in OWN if {unit(each.importer), unit(each.imported)} <= set(LAYER_OF)}
    assert sorted(str(each) for each in known if not allowed(each)) == []


def test_torch_stays_out_of_values_science_reports_and_the_top_of_the_command_line() -> None:
    known = {each for each in IMPORTS if unit(each.importer) in LAYER_OF}
    assert sorted(str(each) for each in known if not torch_allowed(each)) == []


def test_bounds_import_no_scipy_stats() -> None:
    bounds = {each for each in IMPORTS if unit(each.importer) == "bounds"}
    assert [str(each) for each in bounds if each.imported.startswith("scipy.stats")] == []


def test_no_import_cycle() -> None:
    graph: dict[str, set[str]] = {}
    for each in OWN:
        graph.setdefault(each.importer, set()).add(each.imported)
    assert find_cycle(graph) is None


def test_nothing_imports_the_linked_folders_by_their_bare_names() -> None:
    paths = [*FILES.values(), *(ROOT / "tests").rglob("*.py")]
    bare = {
        f"{path.relative_to(ROOT)}: {each.imported}"
        for path in paths
        for each in imports_in("m", path.read_text(encoding="utf-8"))
        if each.imported.split(".")[0] in LINKED
    }
    assert bare == set()


def test_every_package_folder_is_shipped() -> None:
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    folders = {module if path.name == "__init__.py" else module.rpartition(".")[0] for module, path in FILES.items()}
    assert folders == listed
    assert {folder for folder in folders if FILES.get(folder, Path()).name != "__init__.py"} == set()


@pytest.mark.parametrize("name", LINKED)
def test_the_links_lead_to_the_folders(name: str) -> None:
    link = ROOT / "dpaudit" / name
    assert link.is_symlink()
    assert link.resolve() == ROOT / name


def test_values_science_contract_and_the_command_line_load_without_torch() -> None:
    wanted = {"values", "science", "contract"}
    names = [module for module in FILES if LAYER_OF.get(unit(module)) in wanted or unit(module) in ("root", "cli")]
    code = f"import sys, importlib\nfor name in {names!r}: importlib.import_module(name)\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"


def find_cycle(graph: dict[str, set[str]]) -> list[str] | None:
    """Return the modules of one import cycle, or None. Depth first; `open_` is the path from the root."""
    done: set[str] = set()

    def visit(node: str, open_: list[str]) -> list[str] | None:
        if node in open_:
            return [*open_[open_.index(node) :], node]
        if node in done:
            return None
        done.add(node)
        cycles = (visit(child, [*open_, node]) for child in sorted(graph.get(node, ())))
        return next((cycle for cycle in cycles if cycle), None)

    return next((cycle for node in sorted(graph) if (cycle := visit(node, []))), None)


# The rules themselves, on sources that break them.


def test_imports_are_seen_at_every_level() -> None:
    source = """
import numpy as np, torch.nn
from dpaudit import errors
from dpaudit.rng import Rng
if TYPE_CHECKING:
    from torch import Tensor
else:
    import scipy
def f():
    class Inner:
        from opacus import x
try:
    import yaml
except ImportError:
    import json
"""
    found = {(each.imported, each.lazy, each.typing) for each in imports_in("dpaudit.m", source)}
    assert found == {
        ("numpy", False, False),
        ("torch.nn", False, False),
        ("dpaudit.errors", False, False),
        ("dpaudit.rng", False, False),
        ("torch", False, True),
        ("scipy", False, False),
        ("opacus", True, False),
        ("yaml", False, False),
        ("json", False, False),
    }


def test_relative_imports_are_resolved() -> None:
    assert {each.imported for each in imports_in("dpaudit.data.digits", "from . import examples")} == {
        "dpaudit.data.examples"
    }
    assert {each.imported for each in imports_in("dpaudit.data.digits", "from ..rng import Rng")} == {"dpaudit.rng"}
    package = imports_in("dpaudit.data", "from .examples import Examples", package=True)
    assert {each.imported for each in package} == {"dpaudit.data.examples"}


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("errors", "bounds.one_run"),
        ("results", "runs"),
        ("bounds.one_run", "accounting.events"),
        ("accounting.events", "metrics"),
        ("metrics", "bounds"),
        ("bounds.one_run", "planner"),
        ("bounds.one_run", "dp.step"),
        ("dp.step", "data.digits"),
        ("data.digits", "models.vit"),
        ("dp.step", "metrics"),
        ("plugins", "training"),
        ("training", "pipeline"),
        ("training", "cli.app"),
        ("pipeline", "cli.app"),
        ("pipeline", "attacks.loss"),
        ("cli.app", "trainers.vip"),
        ("attacks.loss", "attacks.audit_block"),
        ("attacks.loss", "training"),
        ("attacks.loss", "bounds.one_run"),
        ("attacks.loss", "dp.step"),
        ("trainers.vip", "attacks.loss"),
        ("trainers.vip", "runs"),
        ("reports.html", "bounds.one_run"),
        ("reports.html", "plugins"),
    ],
)
def test_arrows_that_point_the_wrong_way_are_seen(importer: str, imported: str) -> None:
    assert not allowed(Import(f"dpaudit.{importer}", f"dpaudit.{imported}"))


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("results", "mechanism"),
        ("bounds.one_run", "bounds.gdp"),
        ("planner", "bounds.one_run"),
        ("dp.step", "data.examples"),
        ("metrics", "data.examples"),
        ("plugins", "dp.tensors"),
        ("attacks.loss", "dp.clipping"),
        ("attacks.loss", "plugins"),
        ("attacks", "attacks.loss"),
        ("reports.html", "reports.tables"),
        ("reports.html", "metrics"),
        ("pipeline", "reports.html"),
    ],
)
def test_arrows_of_the_design_are_allowed(importer: str, imported: str) -> None:
    assert allowed(Import(f"dpaudit.{importer}", f"dpaudit.{imported}"))


@pytest.mark.parametrize(
    ("each", "fine"),
    [
        (Import("dpaudit.scores", "torch", typing=True), False),
        (Import("dpaudit.bounds.x", "torch.nn", lazy=True), False),
        (Import("dpaudit.reports.html", "opacus"), False),
        (Import("dpaudit.accounting.prv", "opacus.accountants", lazy=True), True),
        (Import("dpaudit.accounting.prv", "opacus.accountants"), False),
        (Import("dpaudit.accounting.prv", "torch", lazy=True), False),
        (Import("dpaudit.cli.app", "torch"), False),
        (Import("dpaudit.cli.app", "torch", lazy=True), True),
        (Import("dpaudit", "torch"), False),
        (Import("dpaudit.dp.step", "torch"), True),
    ],
)
def test_the_rule_on_torch(each: Import, fine: bool) -> None:
    assert torch_allowed(each) is fine


def test_cycles_are_found() -> None:
    assert find_cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert find_cycle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) is None
