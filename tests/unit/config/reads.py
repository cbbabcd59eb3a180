"""Which fields of the configuration the broker reads: its source is followed by syntax tree and types.

A value of a configuration type is known by the annotation of a parameter, the name it is assigned to, or the attribute
of `self` that keeps it. What a validator looks at does not count: judging a value is no use of it.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from broker.config.values import Section

ROOT = Path(__file__).parents[3]

Read = tuple[type, str]
Names = dict[str, Any]


def sections(model: type[Section]) -> set[type[Section]]:
    """Return the model and all models below it."""
    found: set[type[Section]] = set()
    waiting = [model]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting += models_in(one)
    return found


def models_in(model: type[Section]) -> list[type[Section]]:
    """Return the models of the model's own fields."""
    return [part for info in model.model_fields.values() for part in _parts(info.annotation) if _is_model(part)]


def values_of(model: type[Section]) -> set[Read]:
    """Return what can be read of the model: its fields and properties."""
    properties = {name for name, value in vars(model).items() if isinstance(value, property)}
    return {(model, name) for name in {*model.model_fields, *properties}}


def reads_of_the_broker() -> set[Read]:
    """Return what the broker's own modules read, and the functions that judge several files together."""
    reads: set[Read] = set()
    for path in (ROOT / "broker").rglob("*.py"):
        tree = ast.parse(path.read_text())
        if path.is_relative_to(ROOT / "broker" / "config"):
            tree.body = [node for node in tree.body if not isinstance(node, ast.ClassDef)]
        reads |= reads_in(tree)
    return with_what_they_are_made_of(reads)


def reads_in(tree: ast.Module) -> set[Read]:
    """Return the fields and properties that a module reads itself."""
    reads: set[Read] = set()
    _Reader(_imported(tree), reads).walk(tree)
    return reads


def with_what_they_are_made_of(reads: set[Read]) -> set[Read]:
    """Add what the properties and methods among `reads` read of their own model, and so on."""
    done: set[Read] = set()
    waiting = set(reads)
    while waiting:
        one = waiting.pop()
        done.add(one)
        waiting |= _reads_inside(*one) - done
    done |= {(model, name) for base, name in done for model in _made_of(base)}
    return done | _handed_down({model for model, _ in done})


def _returned(called: Any) -> Any:
    """Return the type that a function returns; None for one that is there for type checkers only: it is no section."""
    try:
        return typing.get_type_hints(called).get("return")
    except NameError:
        return None


def _made_of(base: type) -> set[type]:
    """Return the models that are this one and more: who reads of it reads of them."""
    direct = set(base.__subclasses__()) if _is_model(base) and base is not Section else set()
    return direct | {model for each in direct for model in _made_of(each)}


def _reads_inside(model: type, name: str) -> set[Read]:
    if name in getattr(model, "model_fields", {}):
        return set()
    tree = _module_of(model)
    reads: set[Read] = set()
    for function in _functions_of(model, tree):
        if function.name == name:
            _Reader(_imported(tree) | _defined(model), reads).walk_function(function, {"self": model})
    return reads


def _handed_down(models: set[type]) -> set[Read]:
    """Return the fields that a validator gives to others before the model is made, which it knows by their aliases."""
    reads: set[Read] = set()
    for model in models:
        if not _is_model(model):
            continue
        before = {
            name
            for name, decorator in model.__pydantic_decorators__.model_validators.items()
            if decorator.info.mode == "before"
        }
        for function in _functions_of(model, _module_of(model)):
            if function.name in before:
                texts = {node.value for node in ast.walk(function) if isinstance(node, ast.Constant)}
                reads |= {(model, name) for name, info in model.model_fields.items() if info.validation_alias in texts}
    return reads


def _module_of(model: type) -> ast.Module:
    return ast.parse(Path(str(importlib.import_module(model.__module__).__file__)).read_text())


def _functions_of(model: type, tree: ast.Module) -> Iterator[ast.FunctionDef]:
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == model.__name__:
            yield from (item for item in node.body if isinstance(item, ast.FunctionDef))


def _imported(tree: ast.AST) -> Names:
    """Return the configuration's classes and functions that a module imports, wherever in it."""
    names: Names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("broker.config"):
            module = importlib.import_module(str(node.module))
            names |= {alias.asname or alias.name: getattr(module, alias.name) for alias in node.names}
    return names


def _defined(model: type) -> Names:
    return vars(importlib.import_module(model.__module__))


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)


def _is_known(kind: Any) -> bool:
    """Whether attributes of this type are worth following: a model, or a dataclass that carries one."""
    return _is_model(kind) or (
        isinstance(kind, type) and dataclasses.is_dataclass(kind) and kind.__module__.startswith("broker.config")
    )


def _parts(annotation: Any) -> list[Any]:
    """Return an annotation and everything it is made of, such as the item of a tuple."""
    return [annotation, *(part for argument in typing.get_args(annotation) for part in _parts(argument))]


def _member(kind: Any, name: str) -> Any:
    """Return the type of an attribute; for a method, the type of what it returns."""
    if _is_model(kind) and name in kind.model_fields:
        return kind.model_fields[name].annotation
    value = vars(kind).get(name)
    function = value.fget if isinstance(value, property) else value
    if callable(function):
        return typing.get_type_hints(function).get("return")
    return typing.get_type_hints(kind).get(name)


class _Reader:
    """Walks functions with the types of the names in scope, and notes each attribute of a model that is read."""

    def __init__(self, imported: Names, reads: set[Read]) -> None:
        self._imported = imported
        self._reads = reads
        self._own: dict[str, Names] = {}
        """Class -> the attributes of `self` and the methods whose types are known."""

    def walk(self, tree: ast.Module) -> None:
        for _ in range(2):  # what one method keeps in `self`, the others read
            self._body(tree, {})

    def walk_function(self, function: ast.FunctionDef, names: Names) -> None:
        self._function(function, names)

    def _body(self, node: ast.AST, names: Names, owner: str = "") -> None:
        for child in ast.iter_child_nodes(node):
            self._visit(child, names, owner)

    def _visit(self, node: ast.AST, names: Names, owner: str) -> None:
        match node:
            case ast.ClassDef():
                own = self._own.setdefault(node.name, {})
                self._body(node, names | {"self": own}, node.name)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                self._function(node, names)
            case ast.Lambda():
                self._body(node, dict(names))
            case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
                inner = dict(names)
                for generator in node.generators:
                    self._bind(generator.target, _item(self._type(generator.iter, inner)), inner)
                self._body(node, inner)
            case ast.Assign():
                self._body(node, names, owner)
                for target in node.targets:
                    self._assign(target, node.value, names)
            case ast.AnnAssign():
                self._body(node, names, owner)
                kind = self._annotation(node.annotation)
                self._bind(node.target, kind, names)
                if owner and isinstance(node.target, ast.Name):  # a field of a dataclass
                    self._own[owner][node.target.id] = kind
            case ast.NamedExpr():
                self._body(node, names, owner)
                self._bind(node.target, self._type(node.value, names), names)
            case ast.For() | ast.AsyncFor():
                self._bind(node.target, _item(self._type(node.iter, names)), names)
                self._body(node, names, owner)
            case ast.Attribute(ctx=ast.Load()):
                self._type(node, names)
                self._body(node, names, owner)
            case _:
                self._body(node, names, owner)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef, names: Names) -> None:
        inner = dict(names)
        arguments = node.args
        for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
            kind = self._annotation(argument.annotation)
            if kind is not None:
                inner[argument.arg] = kind
        for statement in node.body:
            self._visit(statement, inner, "")

    def _assign(self, target: ast.expr, value: ast.expr, names: Names) -> None:
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            for one, other in zip(target.elts, value.elts, strict=True):
                self._assign(one, other, names)
        else:
            self._bind(target, self._type(value, names), names)

    def _bind(self, target: ast.expr, kind: Any, names: Names) -> None:
        match target:
            case ast.Name():
                names.pop(target.id, None)
                if kind is not None:
                    names[target.id] = kind
            case ast.Attribute(value=ast.Name(id="self")) if kind is not None and isinstance(names.get("self"), dict):
                names["self"][target.attr] = kind

    def _annotation(self, annotation: ast.expr | None) -> Any:
        for node in ast.walk(annotation) if annotation else ():
            if isinstance(node, ast.Name) and _is_known(kind := self._imported.get(node.id)):
                is_tuple = isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == "tuple"
                return tuple[kind, ...] if is_tuple else kind
        return None

    def _type(self, node: ast.expr, names: Names) -> Any:
        """Return the configuration type of an expression, or None; notes what it reads on the way."""
        match node:
            case ast.Name():
                return names.get(node.id)
            case ast.Attribute():
                kind = self._type(node.value, names)
                if isinstance(kind, dict):
                    return kind.get(node.attr)
                kind = next((part for part in _parts(kind) if _is_known(part)), None) if kind else None
                if kind is None or typing.get_origin(kind):
                    return None
                self._reads.add((kind, node.attr))
                return _member(kind, node.attr)
            case ast.Call():
                if isinstance(node.func, ast.Name):
                    called = self._imported.get(node.func.id)
                    if _is_known(called):
                        return called
                    return _returned(called) if callable(called) else None
                return self._type(node.func, names)
            case ast.Subscript():
                return _item(self._type(node.value, names))
            case ast.BoolOp() | ast.IfExp():
                branches = node.values if isinstance(node, ast.BoolOp) else [node.body, node.orelse]
                return next((kind for one in branches if (kind := self._type(one, names)) is not None), None)
            case ast.Await():
                return self._type(node.value, names)
        return None


def _item(kind: Any) -> Any:
    return next((part for part in _parts(kind)[1:] if _is_known(part)), None)
