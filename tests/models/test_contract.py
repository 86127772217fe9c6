"""Every registered model is tested by `ModelContract`."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tagformer.models import MODELS

FILES = sorted(Path(__file__).parent.glob("test_*.py"))


def contract_names(source: str) -> set[str]:
    """The names of models for which a test file has a subclass of `ModelContract`."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef) and any(ast.unparse(base) == "ModelContract" for base in node.bases):
            for statement in node.body:
                if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "name":
                    names.add(ast.literal_eval(statement.value))
    return names


@pytest.mark.parametrize("name", sorted(MODELS))
def test_the_model_has_a_contract_class(name: str) -> None:
    assert any(name in contract_names(file.read_text(encoding="utf-8")) for file in FILES)


def test_contract_names_are_found() -> None:
    source = "class TestA(ModelContract):\n    name = 'a'\nclass TestB:\n    name = 'b'\n"
    assert contract_names(source) == {"a"}
